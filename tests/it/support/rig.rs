//! Forebay in this process, in front of scripted upstreams.

use std::path::PathBuf;
use std::time::Duration;

use forebay::app::App;
use forebay::cache::key::Secret;
use forebay::clock::Clock;
use forebay::config;

use super::client::{Ask, Opened};
use super::gate::until;
use super::origin::{Origin, Reply};

/// Rules for tests: one family of paths per behaviour.
pub const RULES: &str = r#"
api: proxmox
reads:
  - {path: "/api2/{format}/item/{id}", ttl: 10s, groups: ["item/{id}"]}
  - {path: "/api2/{format}/item/{id}/sub", ttl: 10s, stale_if_error: 1h, groups: ["item/{id}"]}
  - {path: "/api2/{format}/swr/{id}", ttl: 10s, stale_while_revalidate: 20s, groups: ["item/{id}"]}
  - {path: "/api2/{format}/sie/{id}", ttl: 10s, stale_if_error: 1h, groups: ["item/{id}"]}
  - {path: "/api2/{format}/all/{id}", ttl: 10s, stale_if_error: 1h, stale_to: everyone}
  - {path: "/api2/{format}/joined/{id}", ttl: 0s}
  - {path: "/api2/{format}/passed/{id}", ttl: pass}
  - {path: "/api2/{format}/public/{id}", ttl: 10s, anonymous: true}
  - {path: "/api2/{format}/odd/{id}", ttl: 10s, stale_if_error: 1h, only: {statuses: [200, 404, 595, 596, 599]}}
  - {path: "/api2/{format}/lock/{id}", ttl: 10s, stale_if_error: 1h, unless: {json: /data/lock, present: true}}
  - {path: "/api2/{format}/watch/{id}", ttl: 10s, bypass: {header: CommandName, matches: ["vm wait"]}}
  - {path: "/api2/{format}/nodes/{node}/tasks/{upid}/status", ttl: 0s}
  - {path: "/plain/**", ttl: 10s}
writes:
  - {methods: [POST, PUT, DELETE], path: "/api2/{format}/item/{id}", invalidates: ["item/{id}"]}
  - {methods: [POST], path: "/api2/{format}/task/{id}", invalidates: ["item/{id}"], operation: proxmox-task, settle: 15s}
  - {methods: [POST], path: "/api2/{format}/clone", invalidates: ["item/{body.newid}"]}
  - {methods: [POST], path: "/api2/{format}/access/ticket", invalidates: [], reason: "a login changes nothing"}
  - {methods: [POST], path: "/api2/{format}/nodes/{node}/qemu/{vmid}/vncproxy", invalidates: [], reason: "a console"}
"#;

/// What differs from one rig to another.
pub struct Options {
    /// The rules, or the name of a built-in pack.
    pub rules: String,
    /// Lines of YAML for the upstream, without indentation.
    pub upstream: String,
    /// The most that one stored body may have.
    pub max_object: &'static str,
    /// How many scripted upstreams are equals.
    pub endpoints: usize,
    /// Further listeners, as items of the YAML list.
    pub listeners: Vec<&'static str>,
    /// One more line of YAML for the process.
    pub more: &'static str,
    /// URLs of what stands in the place of scripted upstreams.
    pub apis: Vec<String>,
    /// Where the store on disk is.
    pub disk: Option<PathBuf>,
    /// The clock of ages.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: RULES.into(),
            upstream: String::new(),
            max_object: "1MiB",
            endpoints: 1,
            listeners: Vec::new(),
            more: "",
            apis: Vec::new(),
            disk: None,
            clock: Clock::manual(),
        }
    }
}

/// Forebay and what stands around it.
pub struct Rig {
    /// Forebay.
    pub app: App,
    /// The clock of ages; [`Rig::advance`] moves the timers along.
    pub clock: Clock,
    /// The upstreams.
    pub origins: Vec<Origin>,
    /// Where its files are: `forebay.yaml` and `rules.yaml`.
    pub directory: tempfile::TempDir,
}

impl Rig {
    /// Forebay with the rules for tests in front of one upstream.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// The same with options.
    pub async fn with(options: Options) -> Self {
        let mut origins = Vec::new();
        let mut endpoints = options.apis.clone();
        if options.apis.is_empty() {
            for _ in 0..options.endpoints {
                origins.push(Origin::start().await);
            }
            endpoints.extend(origins.iter().map(|origin| format!("http://{}", origin.address)));
        }
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("writable");
            path
        };
        let pack = forebay::rules::builtin(&options.rules).is_some();
        let rules = if pack { &options.rules } else { "rules.yaml" };
        if !pack {
            write("rules.yaml", &options.rules);
        }
        // Nobody watches here for changes made elsewhere, and what a rule says is what is tested.
        let feed = if options.upstream.contains("feed:") { "" } else { "feed: {ceiling: 30d}\n" };
        let more: String =
            format!("{feed}{}", options.upstream).lines().map(|line| format!("    {line}\n")).collect();
        let disk = options.disk.map(|path| format!(", disk: {{path: {}, size: 32MiB}}", path.display()));
        let disk = disk.unwrap_or_default();
        let config = write(
            "forebay.yaml",
            &format!(
                "listen: [{{address: 127.0.0.1:0, upstream: lab}}{}]\nadmin: {{address: 127.0.0.1:0}}\n\
                 cache: {{memory: 64MiB, max_object: {}{disk}}}\n{}\nupstreams:\n  lab:\n    \
                 endpoints: [{}]\n    rules: [{rules}]\n{more}",
                options.listeners.iter().map(|listener| format!(", {listener}")).collect::<String>(),
                options.max_object,
                options.more,
                endpoints.join(", ")
            ),
        );
        let settings = config::load(&config).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        let clock = options.clock;
        let app = App::start_with(settings, clock.clone(), Secret::from_bytes(&[7; 16]))
            .await
            .expect("forebay starts");
        Self { app, clock, origins, directory }
    }

    /// The first upstream.
    pub fn origin(&self) -> &Origin {
        &self.origins[0]
    }

    /// A request to forebay.
    pub fn ask(&self, method: &str, target: &str) -> Ask {
        Ask::new(self.app.addresses()[0], method, target)
    }

    /// A GET to forebay.
    pub fn get(&self, target: &str) -> Ask {
        self.ask("GET", target)
    }

    /// A connection to forebay.
    pub async fn connect(&self) -> Opened {
        Opened::connect(self.app.addresses()[0]).await
    }

    /// Moves ages and timers on.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        tokio::time::pause();
        tokio::time::advance(by).await;
        tokio::time::resume();
    }

    /// The same in seconds.
    pub async fn seconds(&self, seconds: u64) {
        self.advance(Duration::from_secs(seconds)).await;
    }

    /// Lets time pass until `condition` holds, for some minutes at most.
    pub async fn pass_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        for _ in 0..600 {
            for _ in 0..1_000 {
                if condition() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            self.advance(Duration::from_millis(500)).await;
        }
        panic!("never came: {what}");
    }

    /// Reads `target` until it is stored, and says what the body is.
    pub async fn warm(&self, target: &str) -> String {
        let got = self.get(target).send().await;
        assert_eq!(got.status, 200, "{}", got.head);
        let again = self.get(target).send().await;
        assert!(again.is_hit(), "not stored: {}", again.cache());
        assert_eq!(again.text(), got.text());
        got.text().to_owned()
    }

    /// Waits until `n` clients wait for fetches under way or read their bodies.
    pub async fn waiting(&self, n: usize) {
        until(&format!("{n} readers"), || self.app.shared().flights.readers() >= n).await;
    }

    /// Waits until nothing is fetched any more.
    pub async fn quiet(&self) {
        until("no fetch under way", || self.app.shared().flights.is_empty()).await;
    }

    /// The sum of a counter over all its labels.
    pub fn counter(&self, name: &str) -> u64 {
        self.counter_of(name, "")
    }

    /// The same over those whose labels contain `label`, such as `cause="audit"`.
    pub fn counter_of(&self, name: &str, label: &str) -> u64 {
        let text = self.app.shared().registry.render();
        let named = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
        let lines = text.lines().filter(named);
        lines.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a count")).sum()
    }

    /// Everything ends well, and every call that an upstream saw was counted.
    pub async fn finish(self) {
        let origins: Vec<_> = self.origins.iter().map(|origin| origin.script()).collect();
        self.finish_with(|| origins.iter().map(|script| script.calls() as u64).sum()).await;
    }

    /// The same where `seen` says how many calls the upstreams saw.
    pub async fn finish_with(self, seen: impl Fn() -> u64) {
        self.quiet().await;
        let counted = || self.counter("forebay_upstream_requests_total");
        // A call is counted when its head has come, which the upstream cannot know.
        let mut tries = 0..100_000;
        while seen() != counted() && tries.next().is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(seen(), counted(), "calls that the upstreams saw, and that were counted");
        self.app.drain().await;
    }

    /// A reply that starts a task.
    pub fn task(upid: &str) -> Reply {
        Reply::body(format!(r#"{{"data":"{upid}"}}"#))
    }
}
