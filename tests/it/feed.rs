//! Changes made elsewhere, in front of the simulated cluster: what its change feed shows is seen although
//! every lifetime is ten minutes, and without the feed nothing that a task could change lives that long.
//!
//! Time moves only where a test moves it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use forebay::app::App;
use forebay::cache::key::Secret;
use forebay::clock::Clock;
use forebay::proxy::FeedState;
use forebay::sim::proxmox::{
    ADMIN_TOKEN, ADMIN_TOKEN_SECRET, AUDITOR_TOKEN, AUDITOR_TOKEN_SECRET, Fault, HoldAt, POWERLESS_TOKEN,
    POWERLESS_TOKEN_SECRET, Sim, SimConfig,
};

use crate::binary::{Connection, Forebay, RULES, Then, Wire, config, reply, write};
use crate::support::{Ask, Got, Options, Rig, until};

const GUEST: &str = "/nodes/pve1/qemu/100/status/current";
const CONFIG: &str = "/nodes/pve1/qemu/100/config";
const OTHER: &str = "/nodes/pve1/qemu/103/config";
const RESOURCES: &str = "/cluster/resources";
const VERSION: &str = "/version";

const TASKS: &str = "GET /api2/json/cluster/tasks";
const LOG: &str = "GET /api2/json/cluster/log";

/// Sees the tasks of everybody.
const AUDITOR: (&str, &str) = (AUDITOR_TOKEN, AUDITOR_TOKEN_SECRET);
/// Sees the log of everybody too.
const ADMIN: (&str, &str) = (ADMIN_TOKEN, ADMIN_TOKEN_SECRET);
/// Sees an empty list, and no error.
const POWERLESS: (&str, &str) = (POWERLESS_TOKEN, POWERLESS_TOKEN_SECRET);

/// Long lifetimes, and what tasks change as the built-in rules have it.
fn rules() -> String {
    let tasks = forebay::rules::builtin("proxmox").and_then(|pack| pack.split_once("\ntasks:\n"));
    let (_, tasks) = tasks.expect("the built-in rules have tasks");
    let guest = |path: &str| {
        format!(
            "  - {{path: \"/api2/{{format}}/nodes/{{node}}/qemu/{{vmid}}/{path}\", ttl: 10m, \
             stale_while_revalidate: 10m, groups: [\"guest/{{vmid}}\", guests-all]}}\n"
        )
    };
    format!(
        "api: proxmox\nreads:\n{}{}  - {{path: \"/api2/{{format}}/cluster/resources\", ttl: 10m, groups: \
         [guests, nodes]}}\n  - {{path: \"/api2/{{format}}/version\", ttl: 10m, share: everyone}}\ntasks:\n{tasks}",
        guest("config"),
        guest("status/current")
    )
}

fn write_token(file: &Path, (name, secret): (&str, &str)) {
    std::fs::write(file, format!("# forebay's own\nAuthorization: PVEAPIToken={name}={secret}\n"))
        .expect("a directory for temporary files");
}

/// A cluster whose tasks end when they are told to.
async fn cluster() -> Sim {
    let hour = Duration::from_secs(3600);
    let config = SimConfig {
        vms: 9,
        task_time: hour,
        ha_round: hour,
        resources_lag: Duration::ZERO,
        penalty_401: Duration::ZERO,
        ..SimConfig::default()
    };
    Sim::start(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("a free port")
}

struct Lab {
    rig: Rig,
    sim: Sim,
    token: PathBuf,
    _files: tempfile::TempDir,
}

impl Lab {
    /// Forebay with this credential of its own in front of a cluster.
    async fn start(credential: (&str, &str)) -> Self {
        Self::with(Some(credential), "feed: {every: 2s, ceiling: 10s}").await
    }

    async fn with(credential: Option<(&str, &str)>, more: &str) -> Self {
        let sim = cluster().await;
        // A log is never empty: nodes write to it when they start.
        sim.change_behind("root@pam", "PUT", "/nodes/pve3/qemu/102/config", &[("description", "x")])
            .expect("the superuser may");
        let files = tempfile::tempdir().expect("a directory for temporary files");
        let token = files.path().join("token");
        // Acceptances outlast every test, so that a read which is no hit is none for another reason.
        let mut upstream = format!("{more}\naccept_for: 1d");
        if let Some(credential) = credential {
            write_token(&token, credential);
            upstream += &format!("\ncredential_file: {}", token.display());
        }
        let apis = vec![format!("http://{}", sim.address())];
        let rig = Rig::with(Options { rules: rules(), upstream, apis, ..Options::default() }).await;
        Self { rig, sim, token, _files: files }
    }

    fn state(&self) -> FeedState {
        self.rig.app.sites().all()[0].feed_standing().expect("there is a feed").state
    }

    async fn until_state(&self, state: FeedState) {
        until(state.as_str(), || self.state() == state).await;
    }

    fn request(&self, path: &str) -> Ask {
        let token = format!("PVEAPIToken={}={}", ADMIN.0, ADMIN.1);
        self.rig.get(&format!("/api2/json{path}")).anonymous().field("Authorization", &token)
    }

    async fn ask(&self, path: &str) -> Got {
        let got = self.request(path).send().await;
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        got
    }

    async fn is_hit(&self, path: &str) -> bool {
        self.ask(path).await.is_hit()
    }

    async fn warm(&self, paths: &[&str]) {
        for path in paths {
            self.ask(path).await;
            assert!(self.is_hit(path).await, "{path} is not kept");
        }
    }

    fn last_read(&self) -> Option<std::time::SystemTime> {
        self.rig.app.sites().all()[0].feed_standing().and_then(|standing| standing.read)
    }

    /// Lets two seconds pass, and the reading of the feed that is due then.
    async fn turn(&self) {
        let before = self.last_read();
        self.rig.seconds(2).await;
        until("a reading of the feed", || self.last_read() != before).await;
    }

    async fn turns(&self, turns: usize) {
        for _ in 0..turns {
            self.turn().await;
        }
    }

    /// Somebody else writes, at the cluster itself.
    fn behind(&self, method: &str, path: &str, fields: &[(&str, &str)]) {
        self.sim.change_behind("root@pam", method, path, fields).expect("the superuser may");
    }

    /// The lag of what the first list told has passed, and what is read is kept.
    async fn live(&self) {
        self.until_state(FeedState::Live).await;
    }

    async fn finish(self) {
        let sim = self.sim;
        self.rig.finish_with(|| sim.calls()).await;
        sim.stop().await;
    }
}

#[tokio::test]
async fn a_task_of_others_shows_with_the_next_reading_from_its_start_to_its_end() {
    let lab = Lab::start(AUDITOR).await;
    lab.live().await;
    lab.warm(&[GUEST, CONFIG, OTHER, RESOURCES]).await;
    let (before, polls) = (lab.sim.calls(), lab.sim.calls_to(TASKS));
    lab.turns(25).await;
    assert_eq!(lab.sim.calls_to(TASKS) - polls, 25, "one call for each two seconds");
    assert_eq!(lab.sim.calls() - before, 25, "and no other");
    assert_eq!(lab.sim.calls_to(LOG), 0, "an auditor may not see it");
    lab.warm(&[GUEST, CONFIG, OTHER, RESOURCES]).await;

    lab.behind("POST", "/nodes/pve1/qemu/100/status/stop", &[]);
    assert!(lab.is_hit(GUEST).await, "nobody has told yet");
    lab.turn().await;
    for path in [GUEST, CONFIG, RESOURCES] {
        assert_eq!(lab.ask(path).await.cache(), "fwd=bypass; stored; detail=unsettled", "{path}");
    }
    assert!(lab.is_hit(OTHER).await, "nothing happened to the other guest");

    lab.sim.settle();
    lab.turn().await;
    let now = lab.ask(GUEST).await;
    assert!(now.text().contains(r#""status":"stopped""#), "{}", now.text());
    assert!(!now.is_hit() && lab.is_hit(OTHER).await);
    assert!(lab.rig.app.shared().operations.is_empty(), "it has ended");
    assert_eq!(lab.rig.counter_of("forebay_upstream_requests_total", "cause=\"watch\""), 29);
    lab.finish().await;
}

/// Clients of a slow API take all places in flight and fill the queue: whoever gets hits meanwhile is told the
/// truth all the same.
#[tokio::test]
async fn a_full_queue_does_not_keep_the_news_out() {
    let bounds = "feed: {every: 2s, ceiling: 10s}\nconcurrency: 2\nqueue: {length: 2, wait: 1m}";
    let lab = Lab::with(Some(ADMIN), bounds).await;
    lab.live().await;
    lab.warm(&[GUEST, OTHER]).await;
    let gate = lab.sim.hold("GET /api2/json/nodes/", HoldAt::BeforeReading);
    let upstream = &lab.rig.app.sites().all()[0].upstream;
    let mut held = Vec::new();
    for path in ["pve3/qemu/102/config", "pve3/qemu/102/status/current"] {
        held.push(lab.request(&format!("/nodes/{path}")).spawn());
    }
    gate.arrived(2).await;
    for path in ["pve1/qemu/103/status/current", "pve1/qemu/100/config"] {
        held.push(lab.request(&format!("/nodes/{path}")).spawn());
    }
    until("two in the queue", || upstream.waiting() == 2).await;
    let refused = async |path: &str| {
        let got = lab.request(path).send().await;
        assert_eq!((got.status, got.cache()), (429, "detail=limited"), "{path}");
    };
    refused("/nodes/pve1/qemu/100/firewall/rules").await;

    lab.behind("POST", "/nodes/pve1/qemu/100/status/stop", &[]);
    assert!(lab.is_hit(GUEST).await, "nobody has told yet");
    let (tasks, log) = (lab.sim.calls_to(TASKS), lab.sim.calls_to(LOG));
    lab.turn().await;
    assert_eq!((lab.sim.calls_to(TASKS) - tasks, lab.sim.calls_to(LOG) - log), (1, 1));
    assert_eq!((lab.state(), upstream.waiting()), (FeedState::Live, 2));
    refused(GUEST).await;
    assert!(lab.is_hit(OTHER).await, "nothing happened to the other guest");

    gate.open();
    for read in held {
        let got = read.await.expect("answered");
        assert_eq!(got.status, 200, "{}", got.text());
    }
    lab.sim.settle();
    lab.turn().await;
    assert!(lab.ask(GUEST).await.text().contains(r#""status":"stopped""#));
    lab.finish().await;
}

#[tokio::test]
async fn a_task_that_came_and_went_between_two_readings_shows() {
    let lab = Lab::start(AUDITOR).await;
    lab.live().await;
    lab.warm(&[GUEST, OTHER]).await;
    lab.behind("POST", "/nodes/pve1/qemu/100/status/stop", &[]);
    lab.sim.settle();
    lab.turn().await;
    assert!(lab.ask(GUEST).await.text().contains(r#""status":"stopped""#));
    assert!(lab.is_hit(OTHER).await);
    lab.finish().await;
}

#[tokio::test]
async fn what_only_the_log_shows_is_seen_by_who_may_read_it() {
    for (credential, sees) in [(ADMIN, true), (AUDITOR, false)] {
        let lab = Lab::start(credential).await;
        lab.live().await;
        lab.warm(&[CONFIG, OTHER]).await;
        lab.behind("PUT", "/nodes/pve1/qemu/100/config", &[("description", "changed elsewhere")]);
        lab.turn().await;
        assert_eq!(lab.ask(CONFIG).await.text().contains("changed elsewhere"), sees);
        assert!(lab.is_hit(OTHER).await);
        assert_eq!(lab.sim.calls_to(LOG) > 0, sees);
        lab.finish().await;
    }
}

#[tokio::test]
async fn a_log_that_moved_past_what_was_known_overtakes_everything() {
    let lab = Lab::start(ADMIN).await;
    lab.live().await;
    lab.warm(&[CONFIG, OTHER]).await;
    lab.behind("PUT", "/nodes/pve1/qemu/103/config", &[("description", "pushed out")]);
    for number in 0..250 {
        let text = format!("number {number}");
        lab.behind("PUT", "/nodes/pve2/qemu/101/config", &[("description", &text)]);
    }
    lab.turn().await;
    assert!(lab.ask(OTHER).await.text().contains("pushed out"));
    assert!(!lab.is_hit(CONFIG).await, "anything may stand in the lines that were not seen");
    lab.finish().await;
}

#[tokio::test]
async fn more_tasks_than_a_list_shows_overtake_everything() {
    let lab = Lab::start(AUDITOR).await;
    lab.live().await;
    lab.warm(&[GUEST, CONFIG]).await;
    lab.behind("POST", "/nodes/pve1/qemu/100/status/stop", &[]);
    lab.sim.settle();
    for number in 0..26 {
        let verb = if number % 2 == 0 { "start" } else { "stop" };
        lab.behind("POST", &format!("/nodes/pve1/qemu/103/status/{verb}"), &[]);
        lab.sim.settle();
    }
    lab.turn().await;
    assert!(lab.ask(GUEST).await.text().contains(r#""status":"stopped""#), "its task is shown no more");
    lab.finish().await;
}

#[tokio::test]
async fn a_task_that_ends_unshown_is_asked_after() {
    let lab = Lab::start(AUDITOR).await;
    lab.live().await;
    lab.behind("POST", "/nodes/pve1/qemu/100/status/stop", &[]);
    lab.warm(&[OTHER]).await;
    lab.turn().await;
    assert_eq!(lab.rig.app.shared().operations.len(), 1);
    // More tasks than are shown begin later and end sooner, a few at a time, so that some are always known.
    for _ in 0..3 {
        for _ in 0..12 {
            let start = ("POST", "/nodes/pve1/qemu/103/status/start");
            let started = lab.sim.change_behind("root@pam", start.0, start.1, &[]).expect("it may");
            let upid = started.as_str().expect("a task");
            lab.behind("DELETE", &format!("/nodes/pve1/tasks/{upid}"), &[]);
        }
        lab.turn().await;
    }
    assert_eq!(lab.rig.app.shared().operations.len(), 1, "it runs");
    lab.sim.settle();
    lab.turn().await;
    assert!(lab.ask(GUEST).await.text().contains(r#""status":"stopped""#));
    assert!(lab.rig.app.shared().operations.is_empty(), "it has ended");
    lab.finish().await;
}

#[tokio::test]
async fn without_a_feed_what_tasks_could_change_lives_for_the_ceiling() {
    let cases = [(None, FeedState::NoCredential), (Some(POWERLESS), FeedState::NoRight)];
    for (credential, state) in cases {
        let lab = Lab::with(credential, "feed: {every: 2s, ceiling: 10s}").await;
        lab.until_state(state).await;
        lab.warm(&[GUEST, VERSION]).await;
        lab.rig.seconds(9).await;
        let hit = lab.ask(GUEST).await;
        assert_eq!(hit.cache(), "hit; ttl=1", "{state:?}");
        assert!(lab.is_hit(VERSION).await);
        lab.rig.seconds(1).await;
        assert_eq!(lab.ask(GUEST).await.cache(), "fwd=stale; stored", "not even while it is refreshed");
        lab.rig.seconds(100).await;
        assert!(lab.is_hit(VERSION).await, "no task changes it");
        assert_eq!(lab.sim.calls_to(TASKS), 0, "the list would be empty, and say nothing");
        lab.finish().await;
    }
}

#[tokio::test]
async fn a_feed_that_is_lost_puts_the_ceiling_in_force_until_it_is_back() {
    let lab = Lab::start(AUDITOR).await;
    lab.live().await;
    lab.warm(&[GUEST, OTHER, VERSION]).await;
    lab.turns(10).await;
    assert!(lab.is_hit(GUEST).await);
    lab.sim.inject(TASKS, Fault::Status(500, "broken".into()), 1000);
    for _ in 0..3 {
        let polls = lab.sim.calls_to(TASKS);
        lab.rig.seconds(2).await;
        until("a reading of the feed", || lab.sim.calls_to(TASKS) > polls).await;
    }
    lab.until_state(FeedState::Lost).await;
    assert!(lab.rig.app.sites().all()[0].is_under_ceiling());
    // What was stored before the feed was lost is under the ceiling too.
    assert_eq!(lab.ask(GUEST).await.cache(), "fwd=stale; stored");
    assert!(lab.is_hit(VERSION).await);
    lab.behind("POST", "/nodes/pve1/qemu/100/status/stop", &[]);
    lab.sim.settle();
    lab.rig.seconds(10).await;
    assert!(lab.ask(GUEST).await.text().contains(r#""status":"stopped""#), "within the ceiling");
    lab.finish().await;
}

#[tokio::test]
async fn what_a_lost_feed_did_not_show_is_seen_when_it_is_back() {
    let lab = Lab::start(AUDITOR).await;
    lab.live().await;
    lab.warm(&[GUEST, OTHER]).await;
    lab.sim.inject(TASKS, Fault::Close, 6);
    lab.behind("POST", "/nodes/pve1/qemu/100/status/stop", &[]);
    lab.sim.settle();
    for _ in 0..20 {
        lab.rig.seconds(2).await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        if lab.state() == FeedState::Lost {
            break;
        }
    }
    lab.until_state(FeedState::Lost).await;
    while lab.state() != FeedState::Live {
        lab.rig.seconds(2).await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
    assert!(lab.is_hit(OTHER).await, "older than the ceiling, and nothing has overtaken it");
    assert!(lab.ask(GUEST).await.text().contains(r#""status":"stopped""#));
    lab.finish().await;
}

#[tokio::test]
async fn who_is_idle_makes_no_calls_and_misses_nothing() {
    let lab = Lab::start(ADMIN).await;
    lab.until_state(FeedState::Live).await;
    lab.rig.seconds(2).await;
    lab.until_state(FeedState::Idle).await;
    let calls = lab.sim.calls();
    for _ in 0..30 {
        lab.rig.seconds(2).await;
    }
    assert_eq!(lab.sim.calls(), calls, "nothing is kept");

    // Something is, but nobody has fetched for a minute.
    lab.warm(&[GUEST, CONFIG, OTHER]).await;
    lab.turns(29).await;
    lab.rig.seconds(2).await;
    lab.until_state(FeedState::Idle).await;
    let calls = lab.sim.calls();
    for _ in 0..30 {
        lab.rig.seconds(2).await;
    }
    assert_eq!(lab.sim.calls(), calls);
    lab.behind("POST", "/nodes/pve1/qemu/100/status/stop", &[]);
    lab.sim.settle();
    lab.behind("PUT", "/nodes/pve1/qemu/100/config", &[("description", "changed elsewhere")]);
    assert!(lab.ask(GUEST).await.text().contains(r#""status":"stopped""#), "the ceiling stands in");
    lab.turn().await;
    lab.until_state(FeedState::Live).await;
    assert!(lab.ask(CONFIG).await.text().contains("changed elsewhere"), "seen afterwards");
    assert!(lab.is_hit(OTHER).await, "nothing overtook it");
    lab.finish().await;
}

#[tokio::test]
async fn another_credential_counts_from_the_reload_on() {
    let lab = Lab::start(POWERLESS).await;
    lab.until_state(FeedState::NoRight).await;
    write_token(&lab.token, AUDITOR);
    lab.rig.app.reload_file().await.expect("a good file");
    lab.until_state(FeedState::Live).await;
    lab.warm(&[GUEST]).await;
    lab.turns(10).await;
    assert!(lab.is_hit(GUEST).await);
    write_token(&lab.token, ("nobody@pve!x", "wrong"));
    lab.rig.app.reload_file().await.expect("a good file");
    lab.until_state(FeedState::NoRight).await;
    assert!(!lab.is_hit(GUEST).await, "the ceiling is in force");
    std::fs::write(&lab.token, "no header line").expect("writable");
    assert!(lab.rig.app.reload_file().await.is_err(), "a bad file changes nothing");
    lab.finish().await;
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_noticed() {
    let lab = Lab::start(AUDITOR).await;
    lab.behind("POST", "/nodes/pve1/qemu/103/status/start", &[]);
    lab.live().await;
    lab.warm(&[GUEST]).await;
    lab.turns(10).await;
    assert!(lab.is_hit(GUEST).await);
    let user = AUDITOR_TOKEN.split('!').next().expect("a user");
    let fields = [("path", "/"), ("users", user), ("roles", "PVEAuditor"), ("delete", "1")];
    lab.behind("PUT", "/access/acl", &fields);
    lab.rig.seconds(2).await;
    lab.until_state(FeedState::NoRight).await;
    assert!(!lab.is_hit(GUEST).await, "an empty list is no news");
    lab.finish().await;
}

#[tokio::test]
async fn upstreams_have_feeds_of_their_own() {
    let (watched, other) = (cluster().await, cluster().await);
    let files = tempfile::tempdir().expect("a directory for temporary files");
    let path = |name: &str| files.path().join(name);
    write_token(&path("token"), AUDITOR);
    std::fs::write(path("rules.yaml"), rules()).expect("writable");
    let text = format!(
        "listen: [{{address: 127.0.0.1:0, upstream: a}}, {{address: 127.0.0.1:0, upstream: b}}]\n\
         admin: {{address: 127.0.0.1:0}}\nupstreams:\n  \
         a: {{endpoints: [http://{}], rules: [rules.yaml], credential_file: token}}\n  \
         b: {{endpoints: [http://{}], rules: [rules.yaml]}}\n",
        watched.address(),
        other.address()
    );
    std::fs::write(path("forebay.yaml"), text).expect("writable");
    let settings = forebay::config::load(&path("forebay.yaml")).expect("no mistakes");
    let clock = Clock::manual();
    let app =
        App::start_with(settings, clock.clone(), Secret::from_bytes(&[7; 16])).await.expect("it starts");
    let state = |site: usize| app.sites().all()[site].feed_standing().map(|standing| standing.state);
    until("both stand", || (state(0), state(1)) == (Some(FeedState::Live), Some(FeedState::NoCredential)))
        .await;
    let token = format!("PVEAPIToken={}={}", ADMIN.0, ADMIN.1);
    let ask = |site: usize| {
        let target = format!("/api2/json{CONFIG}");
        Ask::new(app.addresses()[site], "GET", &target).anonymous().field("Authorization", &token).send()
    };
    for site in [0, 1] {
        assert_eq!(ask(site).await.status, 200);
        assert!(ask(site).await.is_hit());
    }
    watched.change_behind("root@pam", "POST", "/nodes/pve1/qemu/100/status/stop", &[]).expect("it may");
    let polls = watched.calls_to(TASKS);
    clock.advance(Duration::from_secs(2));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    until("a reading of the feed", || watched.calls_to(TASKS) > polls).await;
    until("the news", || app.shared().operations.len() == 1).await;
    assert!(!ask(0).await.is_hit());
    assert!(ask(1).await.is_hit(), "nothing happened there");
    assert_eq!(other.calls_to(TASKS), 0);
    clock.advance(Duration::from_secs(8));
    assert_eq!(ask(1).await.cache(), "fwd=stale; stored", "under its own ceiling");
    app.drain().await;
    watched.stop().await;
    other.stop().await;
}

#[test]
fn the_credential_reaches_the_api_and_nobody_else() {
    const SECRET: &str = "0f0f0f0f-secret";
    let refuses = Arc::new(AtomicBool::new(false));
    let refusing = refuses.clone();
    let shown = Arc::new(AtomicUsize::new(0));
    let seen = shown.clone();
    let wire = Wire::start(move |call, stream| {
        let is_ours = call.field("authorization").is_some_and(|value| value.contains(SECRET));
        seen.fetch_add(usize::from(is_ours), Ordering::SeqCst);
        match call.line() {
            _ if refusing.load(Ordering::SeqCst) => {
                write(stream, "HTTP/1.1 401 No ticket\r\nConnection: close\r\n\r\n");
                Then::Close
            }
            line if line.contains("permissions") => {
                reply(stream, r#"{"data":{"/":{"Sys.Audit":1,"Sys.Syslog":1}}}"#)
            }
            line if line.contains("/cluster/") => reply(stream, r#"{"data":[]}"#),
            _ => reply(stream, r#"{"data":1}"#),
        }
    });
    let more = "rules: [rules.yaml]\nfeed: {every: 100ms, ceiling: 10s}\ncredential_file: token";
    let text = format!("log: {{level: trace}}\n{}", config(&format!("http://{}", wire.address), more));
    let token = format!("Authorization: PVEAPIToken=a@pve!b={SECRET}\n");
    let forebay = Forebay::start(&[("forebay.yaml", &text), ("rules.yaml", RULES), ("token", &token)]);
    forebay.logs("everybody on this machine may read the credential");
    forebay.logs("state=\"live\"");
    let mut pages = Vec::new();
    let mut look = || {
        assert_eq!(forebay.get("/api2/json/kept/1").status() / 100 % 2, 0);
        for page in ["/metrics", "/api/upstreams", "/api/rules", "/api/entries", "/api/stats"] {
            let mut connection = Connection::open(forebay.admin);
            let ask = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            connection.write(ask.as_bytes());
            pages.push(connection.read().text());
        }
    };
    look();
    refuses.store(true, Ordering::SeqCst);
    std::fs::write(forebay.path("token"), format!("# again\n{token}")).expect("writable");
    forebay.logs("state=\"no-right\"");
    look();
    std::fs::write(forebay.path("token"), format!("{SECRET}\n")).expect("writable");
    forebay.logs("token:1:1: not a header line");
    assert!(pages.iter().any(|page| page.contains(r#""state":"live""#)), "{pages:#?}");
    assert!(pages.iter().any(|page| page.contains(r#""state":"no-right""#)), "{pages:#?}");
    assert!(pages.iter().any(|page| page.contains("forebay_feed_live{upstream=\"lab\"} 0")));
    assert!(shown.load(Ordering::SeqCst) >= 4, "the API was shown it");
    for text in pages.into_iter().chain(forebay.log()) {
        assert!(!text.contains(SECRET), "{text}");
    }
}
