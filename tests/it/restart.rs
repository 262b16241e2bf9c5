//! What a restart leaves, whether the process ended in order or was killed: with the built program, because
//! nothing less ends like one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::binary::{Answer, Call, Forebay, Then, Wire, config, reply, until};

/// One family of paths per behaviour; lifetimes that no test outlives.
pub const RULES: &str = r#"api: proxmox
reads:
  - {path: "/api2/{format}/kept/{id}", ttl: 1h, stale_if_error: 1h, groups: ["kept/{id}"]}
  - {path: "/api2/{format}/brief/{id}", ttl: 1h, groups: ["brief/{id}"]}
  - {path: "/api2/{format}/private/{id}", ttl: 1h, stale_if_error: 1h, disk: false}
  - {path: "/api2/{format}/soon/{id}", ttl: 1h, stale_while_revalidate: 1h, groups: ["soon/{id}"]}
  - {path: "/api2/{format}/task/{id}", ttl: 1h, stale_if_error: 1h, groups: ["task/{id}"]}
writes:
  - {methods: [POST], path: "/api2/{format}/kept/{id}", invalidates: ["kept/{id}"], settle: 0s}
  - {methods: [POST], path: "/api2/{format}/task/{id}", invalidates: ["task/{id}"], settle: 0s}
"#;

/// An API that counts its answers, and can be switched off.
pub struct Api {
    /// Where it is.
    pub wire: Wire,
    down: Arc<AtomicBool>,
}

impl Api {
    /// It answers each call with the next number.
    pub fn start() -> Self {
        let number = AtomicU64::new(0);
        Self::answering(move |_, _| format!("{{\"data\":{}}}", number.fetch_add(1, Ordering::SeqCst) + 1))
    }

    /// It answers each call by `answer`; a call for `/gone/` never.
    pub fn answering(answer: impl Fn(&Call, u64) -> String + Send + Sync + 'static) -> Self {
        let down = Arc::new(AtomicBool::new(false));
        let (is_down, calls) = (down.clone(), AtomicU64::new(0));
        let wire = Wire::start(move |call, stream| {
            if is_down.load(Ordering::SeqCst) {
                return Then::Close;
            }
            reply(stream, &answer(call, calls.fetch_add(1, Ordering::SeqCst)))
        });
        Self { wire, down }
    }

    /// From here on it closes every connection without an answer, or does not.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

/// A forebay that keeps its entries in `disk`, with `more` about the upstream.
pub fn start(api: &Api, disk: &Path, more: &str) -> Forebay {
    start_with(api, disk, "64MiB", &format!("retry: {{attempts: 1}}\n{more}"), RULES)
}

/// The configuration of a forebay that keeps its entries in `disk`.
fn text(api: &Api, disk: &Path, size: &str, more: &str) -> String {
    let upstream = config(&format!("http://{}", api.wire.address), &format!("rules: [rules.yaml]\n{more}"));
    format!("cache: {{disk: {{path: {}, size: {size}}}}}\n{upstream}", disk.display())
}

fn start_with(api: &Api, disk: &Path, size: &str, more: &str, rules: &str) -> Forebay {
    Forebay::start(&[("forebay.yaml", &text(api, disk, size, more)), ("rules.yaml", rules)])
}

/// The same in a mount namespace of its own, where `script` was run; `None`: this machine lets nobody have one.
pub fn start_mounted(api: &Api, disk: &Path, more: &str, script: &str) -> Option<Forebay> {
    let config = text(api, disk, "32MiB", &format!("retry: {{attempts: 1}}\n{more}"));
    Forebay::start_mounted(&[("forebay.yaml", &config), ("rules.yaml", RULES)], script)
}

/// The same for what only root may mount.
pub fn start_mounted_by_root(api: &Api, disk: &Path, more: &str, script: &str) -> Option<Forebay> {
    let config = text(api, disk, "32MiB", &format!("retry: {{attempts: 1}}\n{more}"));
    Forebay::start_mounted_by_root(&[("forebay.yaml", &config), ("rules.yaml", RULES)], script)
}

/// Ends it as a machine does that has run out of patience.
pub fn kill(mut forebay: Forebay) {
    forebay.signal(Signal::KILL);
    forebay.ended();
}

fn stop(mut forebay: Forebay) {
    forebay.signal(Signal::TERM);
    assert!(forebay.ended().success());
}

/// Waits until `n` entries are on disk.
pub fn written(forebay: &Forebay, n: usize) {
    let wanted = format!("forebay_disk_entries {n}");
    until(&wanted, || forebay.metrics().lines().any(|line| line == wanted));
}

/// Waits until what is known of credentials is on disk too.
pub fn settled(forebay: &Forebay, n: usize) {
    written(forebay, n);
    // Whoever is accepted is noted once a second, and nothing tells when.
    std::thread::sleep(Duration::from_millis(1_200));
}

pub fn ask(forebay: &Forebay, method: &str, target: &str, token: &str) -> Answer {
    forebay.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: lab\r\nAuthorization: PVEAPIToken=user@pve!{token}=0f0f\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    ))
}

pub fn get(forebay: &Forebay, target: &str, token: &str) -> Answer {
    ask(forebay, "GET", target, token)
}

/// Who wrote before the first start nobody knows, so everybody counts as one who did for as long as this.
pub const LONG: &str = "accept_for: 10m\nactor_window: 1s";

pub const STALE: &str = "fwd=stale; detail=stale-if-error";

#[test]
fn after_a_kill_watchers_get_the_last_known_state_and_nobody_else_anything() {
    let (api, disk) = (Api::start(), tempfile::tempdir().expect("a directory"));
    let forebay = start(&api, disk.path(), LONG);
    let path = "/api2/json/kept/1";
    assert_eq!(get(&forebay, path, "one").text(), r#"{"data":1}"#);
    assert_eq!(get(&forebay, "/api2/json/kept/2", "two").text(), r#"{"data":2}"#);
    assert_eq!(get(&forebay, "/api2/json/kept/3", "three").text(), r#"{"data":3}"#);
    assert_eq!(get(&forebay, "/api2/json/private/1", "one").status(), 200);
    assert_eq!(get(&forebay, "/api2/json/brief/1", "one").status(), 200);
    assert_eq!(get(&forebay, "/api2/json/kept/4", "one").status(), 200);
    settled(&forebay, 4);
    assert_eq!(ask(&forebay, "POST", "/api2/json/kept/4", "two").status(), 200);
    kill(forebay);

    api.set_down(true);
    let forebay = start(&api, disk.path(), LONG);
    assert_eq!(
        forebay.metrics().lines().find(|l| l.starts_with("forebay_disk_entries")),
        Some("forebay_disk_entries 4")
    );
    let got = get(&forebay, path, "one");
    assert_eq!((got.status(), got.cache(), got.text().as_str()), (200, STALE, r#"{"data":1}"#));
    assert!((1..20).contains(&got.field("age").expect("an age").parse::<u64>().expect("seconds")));
    let etag = got.field("etag").expect("its own").to_owned();
    assert_eq!(get(&forebay, path, "one").field("etag"), Some(&*etag));
    for (target, token, why) in [
        ("/api2/json/kept/4", "one", "a write has overtaken it"),
        ("/api2/json/kept/1", "other", "nobody else's"),
        ("/api2/json/private/1", "one", "the rule says so"),
        ("/api2/json/brief/1", "one", "never stale"),
    ] {
        let got = get(&forebay, target, token);
        assert_eq!((got.status(), got.cache()), (502, "detail=lost"), "{why}");
    }
    assert_eq!(get(&forebay, "/api2/json/kept/3", "three").cache(), STALE);
    // With the API up nothing from disk is fresh.
    api.set_down(false);
    let fresh = until_up(&forebay, "/api2/json/kept/3", "three");
    assert!(fresh.cache().starts_with("fwd=stale"), "{}", fresh.cache());
    assert_ne!(fresh.text(), r#"{"data":3}"#);
    assert!(get(&forebay, "/api2/json/kept/3", "three").cache().starts_with("hit; ttl=3"));
    stop(forebay);
}

fn until_up(forebay: &Forebay, target: &str, token: &str) -> Answer {
    let mut answer = get(forebay, target, token);
    until("the API is asked again", || {
        let is_up = answer.status() == 200 && !answer.cache().contains("stale-if-error");
        if !is_up {
            answer = get(forebay, target, token);
        }
        is_up
    });
    answer
}

/// What readers and writers of [`storm`] share.
struct Storm {
    /// Which version of each object a client has been told of by the answer to a write.
    told: Vec<AtomicU64>,
    /// What the API says now.
    truth: Vec<AtomicU64>,
    /// Since when, in milliseconds.
    began: std::time::SystemTime,
}

/// How many objects there are.
const OBJECTS: usize = 12;

/// For how long an object is shown in an outage at most: its lifetime and what is allowed past it.
const SHOWN_FOR: Duration = Duration::from_secs(5);

const STORM_RULES: &str = r#"api: proxmox
reads:
  - {path: "/api2/{format}/object/{id}", ttl: 1s, stale_while_revalidate: 1s, stale_if_error: 4s, groups: ["object/{id}"]}
writes:
  - {methods: [POST], path: "/api2/{format}/object/{id}", invalidates: ["object/{id}"], settle: 0s}
"#;

impl Storm {
    fn new() -> Arc<Self> {
        let zeros = || (0..OBJECTS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { told: zeros(), truth: zeros(), began: forebay::clock::wall() })
    }

    fn millis(&self) -> u64 {
        forebay::clock::wall().duration_since(self.began).map_or(0, |since| since.as_millis() as u64)
    }

    /// The API's answer: which object, which version, from when, and enough behind it to be torn.
    fn answer(&self, call: &Call) -> String {
        let id: usize = call.line().rsplit('/').next().and_then(|id| id.parse().ok()).expect("an object");
        let version = match call.line().starts_with("POST") {
            true => self.truth[id].fetch_add(1, Ordering::SeqCst) + 1,
            false => self.truth[id].load(Ordering::SeqCst),
        };
        let padding = format!("{:04}", version % 10_000).repeat(50 * (id + 1));
        format!("{{\"data\":[{id},{version},{},\"{padding}\"]}}", self.millis())
    }

    /// Whether an answer about `id` may be given to a watcher who knows of version `told`; `age` is what it
    /// claims to be, where the API is down.
    fn judge(&self, id: usize, told: u64, answer: &Answer, is_down: bool) {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON that is whole");
        let number = |n: usize| body["data"][n].as_u64().expect("a number");
        let version = number(1);
        assert_eq!(number(0), id as u64, "another object's");
        let padding = format!("{:04}", version % 10_000).repeat(50 * (id + 1));
        assert_eq!(body["data"][3].as_str(), Some(&*padding), "torn");
        assert!(
            answer.whole && version >= told,
            "{id}: version {version} after {told} was told: {}",
            answer.head
        );
        if is_down {
            let age = Duration::from_millis(self.millis() - number(2));
            let claimed: u64 = answer.field("age").expect("an age").parse().expect("seconds");
            // The clock of this test was read after the answer was given.
            assert!(age < SHOWN_FOR + Duration::from_secs(2), "{id} is {age:?} old: {}", answer.head);
            assert!(
                Duration::from_secs(claimed + 1) + Duration::from_secs(2) > age,
                "{claimed} s for {age:?}"
            );
        }
    }
}

/// One round: load, a kill at a moment that nobody chose, a start without the API, and a look at everything.
/// Says how many objects were shown.
fn storm(api: &Api, storm: &Arc<Storm>, disk: &Path, random: &mut fastrand::Rng, longest: Duration) -> usize {
    let more = format!("retry: {{attempts: 1}}\n{LONG}");
    let forebay = start_with(api, disk, "32MiB", &more, STORM_RULES);
    let address = forebay.address();
    let stopped = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let (storm, stopped, seed) = (storm.clone(), stopped.clone(), random.u64(..));
            std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                while !stopped.load(Ordering::SeqCst) {
                    // What is written all the time is never on disk.
                    let often = client < 2 && random.u8(..8) > 0;
                    let id = random.usize(..if often { OBJECTS / 3 } else { OBJECTS });
                    let (method, token) = if client < 2 { ("POST", "writer") } else { ("GET", "watcher") };
                    let told = storm.told[id].load(Ordering::SeqCst);
                    let Some(answer) = try_ask(address, method, &format!("/api2/json/object/{id}"), token)
                    else {
                        continue;
                    };
                    if answer.status() != 200 {
                        continue;
                    }
                    storm.judge(id, told, &answer, false);
                    if method == "POST" {
                        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
                        let version = body["data"][1].as_u64().expect("a number");
                        storm.told[id].fetch_max(version, Ordering::SeqCst);
                    }
                    if client < 2 {
                        // Else everything would be overtaken all the time.
                        std::thread::sleep(Duration::from_millis(random.u64(5..120)));
                    }
                }
            })
        })
        .collect();
    // At any moment: the load is what it is about, and no event of it.
    std::thread::sleep(Duration::from_millis(random.u64(300..longest.as_millis() as u64)));
    forebay.signal(Signal::KILL);
    stopped.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().expect("what clients saw was right"));
    kill(forebay);
    api.set_down(true);
    let forebay = start_with(api, disk, "32MiB", &more, STORM_RULES);
    let mut shown = 0;
    for id in 0..OBJECTS {
        let told = storm.told[id].load(Ordering::SeqCst);
        let answer = get(&forebay, &format!("/api2/json/object/{id}"), "watcher");
        if answer.status() == 200 {
            assert!(answer.cache().contains("stale-"), "{}", answer.head);
            storm.judge(id, told, &answer, true);
            shown += 1;
        }
    }
    kill(forebay);
    api.set_down(false);
    shown
}

/// An answer, unless the other side is gone.
fn try_ask(address: std::net::SocketAddr, method: &str, target: &str, token: &str) -> Option<Answer> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: lab\r\nAuthorization: PVEAPIToken=user@pve!{token}=0f0f\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let body = bytes.split_off(end);
    let head = String::from_utf8(bytes).expect("heads are text");
    let length: usize = crate::binary::field(&head, "content-length")?.parse().ok()?;
    (body.len() == length).then_some(Answer { head, body, whole: true })
}

fn storms(rounds: usize, longest: Duration) {
    let shared = Storm::new();
    let answering = shared.clone();
    let api = Api::answering(move |call, _| answering.answer(call));
    let disk = tempfile::tempdir().expect("a directory");
    let seed =
        std::env::var("FOREBAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    eprintln!("FOREBAY_SEED={seed}");
    let (mut shown, mut empty) = (0, 0);
    for round in 0..rounds {
        let of_this = storm(&api, &shared, disk.path(), &mut random, longest);
        shown += of_this;
        empty += usize::from(of_this == 0);
        eprintln!("round {round}: {of_this} of {OBJECTS} shown");
    }
    let told: u64 = shared.told.iter().map(|told| told.load(Ordering::SeqCst)).sum();
    eprintln!("{rounds} kills, {shown} answers from disk, {empty} rounds without any, {told} writes told");
    assert!(told > 0 && (shown > 0 || rounds < 4), "nothing was tried");
}

#[test]
fn killed_at_a_random_moment_every_start_succeeds_and_nothing_is_torn_or_of_before() {
    storms(3, Duration::from_millis(1_500));
}

#[test]
#[ignore = "several minutes; CONTRIBUTING.md names it"]
fn killed_a_hundred_times() {
    storms(100, Duration::from_secs(3));
}

/// Without a store nobody knows who wrote before the start.
#[test]
fn without_a_store_everybody_counts_as_an_actor_for_the_window() {
    let api = Api::start();
    let more = |window: &str| format!("rules: [rules.yaml]\nretry: {{attempts: 1}}\nactor_window: {window}");
    let begin = |window: &str| {
        let text = config(&format!("http://{}", api.wire.address), &more(window));
        Forebay::start(&[("forebay.yaml", &text), ("rules.yaml", &RULES.replace("ttl: 1h", "ttl: 1s"))])
    };
    let path = "/api2/json/kept/1";
    for (window, status) in [("1h", 502), ("1s", 200)] {
        let forebay = begin(window);
        assert_eq!(get(&forebay, path, "one").status(), 200);
        api.set_down(true);
        until("it has expired", || !get(&forebay, path, "one").cache().starts_with("hit"));
        if status == 200 {
            until("the window is over", || get(&forebay, path, "one").status() == 200);
        }
        assert_eq!(get(&forebay, path, "one").status(), status, "{window}");
        api.set_down(false);
        stop(forebay);
    }
}
