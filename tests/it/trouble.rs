//! An hour of trouble in compressed time: three nodes that are slow, break off, lie, throttle, hang and
//! die, alone and together, and come back. Time is the runtime's own and paused, so that hours take
//! seconds, and everything keeps the lengths that it has in earnest.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::support::{Options, Rig};

const RULES: &str = r#"
api: proxmox
reads:
  - {path: "/api2/{format}/seen/{id}", ttl: 1s, stale_if_error: 2h}
  - {path: "/api2/{format}/fresh/{id}", ttl: 0s}
writes:
  - {methods: [POST], path: "/api2/{format}/item/{id}", invalidates: ["item/{id}"]}
"#;

/// Calls in flight at a node.
const PLACES: usize = 4;
const PATHS: usize = 5;

/// How long things last, and how many clients there are.
#[derive(Clone, Copy)]
struct Scale {
    /// The twentieth part of it all.
    part: Duration,
    /// How long the API may take to begin an answer.
    first_byte: u64,
    /// After how long a node says that another one is silent.
    relay: u64,
    watchers: usize,
    /// How long a watcher looks at what it read.
    pause: Duration,
    /// Whether nothing else runs in this process.
    is_alone: bool,
}

impl Scale {
    /// What one call may take: its time in the queue, two connections that are tried, and the API's time.
    fn deadline(self) -> Duration {
        Duration::from_secs(10 + 2 * 2 + self.first_byte + 1)
    }
}

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fair {
        ms: u64,
    },
    /// Resets the connection before it answers.
    Reset,
    /// Resets it within the body.
    ResetInBody,
    /// Ends it within the body.
    Truncated,
    /// Announces more than it sends, or two lengths.
    WrongLength,
    /// Says after 30 s that another node is silent.
    Relay {
        seconds: u64,
    },
    /// Some get 429 and are told to come in two seconds.
    Throttle,
    /// Says that it is overloaded.
    Overloaded,
    /// Takes calls and never answers.
    BlackHole,
    /// Nobody listens.
    Refused,
}

use Weather::{
    BlackHole, Fair, Overloaded, Refused, Relay, Reset, ResetInBody, Throttle, Truncated, WrongLength,
};

const WELL: Weather = Fair { ms: 20 };

/// The hour: for each time its length in parts, and the weather at the three nodes.
const HOUR: [(u32, [Weather; 3]); 16] = [
    (2, [WELL; 3]),
    (1, [Fair { ms: 200 }; 3]),
    (1, [Fair { ms: 2_000 }, WELL, Fair { ms: 500 }]),
    (1, [Reset; 3]),
    (1, [ResetInBody, WELL, Truncated]),
    (1, [Truncated; 3]),
    (1, [WrongLength; 3]),
    // As many seconds as the scale says.
    (1, [Relay { seconds: 0 }; 3]),
    (1, [Throttle; 3]),
    (1, [Overloaded; 3]),
    (1, [Refused, WELL, WELL]),
    (1, [WELL, BlackHole, WELL]),
    (1, [Refused; 3]),
    (2, [WELL; 3]),
    (1, [BlackHole; 3]),
    (3, [WELL; 3]),
];

/// The parts of the hour.
const PARTS: u32 = 20;

/// One node.
struct Node {
    address: SocketAddr,
    state: Arc<State>,
    task: Option<JoinHandle<()>>,
}

struct State {
    weather: Mutex<Weather>,
    /// Wakes what hangs when the weather changes.
    changed: tokio::sync::Notify,
    in_flight: AtomicUsize,
    most: AtomicUsize,
    calls: AtomicUsize,
    /// How often each write came, by its number.
    writes: Mutex<HashMap<String, usize>>,
    throttled: AtomicBool,
}

impl Node {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State {
            weather: Mutex::new(WELL),
            changed: tokio::sync::Notify::new(),
            in_flight: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            writes: Mutex::default(),
            throttled: AtomicBool::new(false),
        });
        let task = Some(tokio::spawn(accept(listener, state.clone())));
        Self { address, state, task }
    }

    async fn turn(&mut self, weather: Weather) {
        *self.state.weather.lock() = weather;
        self.state.changed.notify_waiters();
        match (weather, self.task.take()) {
            (Refused, Some(task)) => {
                task.abort();
                let _aborted = task.await;
            }
            (Refused, None) => {}
            (_, Some(task)) => self.task = Some(task),
            (_, None) => {
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.set_reuseaddr(true).expect("an option of sockets");
                socket.bind(self.address).expect("still free");
                let listener = socket.listen(256).expect("listens");
                self.task = Some(tokio::spawn(accept(listener, self.state.clone())));
            }
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, state.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// A call that a node works at.
struct AtWork<'s>(&'s State);

impl<'s> AtWork<'s> {
    fn begin(state: &'s State) -> Self {
        state.most.fetch_max(state.in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut unread = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read_buf(&mut unread).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let rest = unread.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut unread, rest)).expect("heads are text");
        state.calls.fetch_add(1, Ordering::SeqCst);
        if head.contains("/access/domains") {
            // A question of forebay's own takes no place.
            if answer(&mut stream, &state, "{}").await.is_none() {
                return;
            }
            continue;
        }
        if let Some(number) = head.strip_prefix("POST ").and_then(|rest| rest.split_whitespace().next()) {
            *state.writes.lock().entry(number.to_owned()).or_default() += 1;
        }
        // Whoever has hung up meanwhile is no longer here.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let _at_work = AtWork::begin(&state);
        let body = format!(r#"{{"data":"{}"}}"#, "x".repeat(400));
        if answer(&mut stream, &state, &body).await.is_none() {
            return;
        }
    }
}

/// Answers as the weather is; `None` when the connection is over.
async fn answer(stream: &mut TcpStream, state: &State, body: &str) -> Option<()> {
    let weather = *state.weather.lock();
    let whole = |status: &str, more: &str| {
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let half = || {
        let mut text = whole("200 OK", "");
        text.truncate(text.len() - body.len().div_ceil(2));
        text
    };
    let text = match weather {
        Fair { ms } => {
            gone_or(stream, tokio::time::sleep(Duration::from_millis(ms))).await?;
            whole("200 OK", "")
        }
        Relay { seconds } => {
            gone_or(stream, tokio::time::sleep(Duration::from_secs(seconds))).await?;
            whole("596 Connection timed out", "")
        }
        Overloaded => whole("503 Service Unavailable", ""),
        Throttle => match state.throttled.fetch_xor(true, Ordering::SeqCst) {
            true => whole("200 OK", ""),
            false => whole("429 Too Many Requests", "Retry-After: 2\r\n"),
        },
        WrongLength => match state.throttled.fetch_xor(true, Ordering::SeqCst) {
            true => format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{body}"),
            false => format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{body}"),
        },
        Truncated | ResetInBody => half(),
        Reset | Refused => String::new(),
        BlackHole => {
            gone_or(stream, state.changed.notified()).await?;
            // What it was to do is forgotten.
            return None;
        }
    };
    stream.write_all(text.as_bytes()).await.ok()?;
    match weather {
        Reset | ResetInBody => {
            stream.set_zero_linger().ok()?;
            None
        }
        Truncated | WrongLength | Refused => None,
        _ => Some(()),
    }
}

/// Waits for `what`; `None` if the client hangs up before.
async fn gone_or(stream: &mut TcpStream, what: impl Future<Output = ()>) -> Option<()> {
    let mut more = [0];
    tokio::select! {
        () = what => Some(()),
        _ = stream.peek(&mut more) => None,
    }
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    reads: AtomicUsize,
    stale: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    /// In milliseconds.
    slowest: AtomicUsize,
    /// The writes that a client was told of as done, and those of which it was told anything else.
    done: Mutex<Vec<String>>,
    failed: Mutex<Vec<String>>,
    /// Which part of the hour it is.
    part: AtomicUsize,
}

impl Seen {
    fn wrong(&self, what: String) {
        let part = self.part.load(Ordering::SeqCst);
        self.wrong.lock().push(format!("part {part}: {what}"));
    }
}

/// What one client was told. Those of the other tests have less patience than these need.
struct Told {
    status: u16,
    head: String,
    whole: bool,
}

async fn ask(address: SocketAddr, method: &str, target: &str, who: &str) -> Told {
    let mut told = Told { status: 0, head: String::new(), whole: false };
    let Ok(mut stream) = TcpStream::connect(address).await else { return told };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Length: 0\r\n\
         Authorization: PVEAPIToken=root@pam!{who}=secret\r\n\r\n"
    );
    let mut answer = Vec::new();
    let sent = stream.write_all(request.as_bytes()).await;
    if sent.is_err() || stream.read_to_end(&mut answer).await.is_err() {
        return told;
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return told };
    told.status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    told.head = head.to_lowercase();
    let length = told.head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    told.whole = match length.and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) => length == body.len(),
        None => told.head.contains("chunked") && body.ends_with("0\r\n\r\n"),
    };
    told
}

async fn watch(address: SocketAddr, who: usize, scale: Scale, seen: Arc<Seen>, over: Arc<AtomicBool>) {
    let mut turn = who;
    while !over.load(Ordering::SeqCst) {
        let target = format!("/api2/json/seen/{}", turn % PATHS);
        turn += 1;
        let began = Instant::now();
        let got = ask(address, "GET", &target, &format!("watcher{who}")).await;
        let took = began.elapsed();
        seen.reads.fetch_add(1, Ordering::SeqCst);
        seen.stale.fetch_add(usize::from(got.head.contains("stale-if-error")), Ordering::SeqCst);
        seen.slowest.fetch_max(took.as_millis() as usize, Ordering::SeqCst);
        if got.status != 200 || !got.whole || took > scale.deadline() {
            let whole = if got.whole { "whole" } else { "cut" };
            seen.wrong(format!("watcher {who}: {whole} after {took:?}: {}", got.head));
        }
        tokio::time::sleep(scale.pause).await;
    }
}

async fn change(address: SocketAddr, who: usize, scale: Scale, seen: Arc<Seen>, over: Arc<AtomicBool>) {
    let mut turn = 0;
    while !over.load(Ordering::SeqCst) {
        let target = format!("/api2/json/item/{who}?n={who}-{turn}");
        turn += 1;
        let began = Instant::now();
        let got = ask(address, "POST", &target, &format!("writer{who}")).await;
        let done = (200..300).contains(&got.status);
        if done { &seen.done } else { &seen.failed }.lock().push(target);
        if got.status == 0 {
            seen.wrong(format!("a write of {who} ended without a word"));
        }
        if began.elapsed() > scale.deadline() {
            seen.wrong(format!("a write took {:?}", began.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

/// Somebody who reads what is never kept, and must wait for the API.
async fn read_on(address: SocketAddr, over: Arc<AtomicBool>) {
    while !over.load(Ordering::SeqCst) {
        let _whatever = ask(address, "GET", "/api2/json/fresh/1", "reader").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// What is held on to.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Connections to the nodes.
    connections: usize,
    /// Descriptors of the process, which has both sides of each connection.
    descriptors: usize,
    mib: usize,
}

impl Held {
    fn by(rig: &Rig) -> Self {
        let sites = rig.app.sites().all();
        let endpoints = sites.iter().flat_map(|site| site.upstream.endpoints());
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = resident.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
        Self {
            connections: endpoints.map(|endpoint| endpoint.open_connections).sum(),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            mib: kib.unwrap_or(0) / 1024,
        }
    }

    /// Whether it is no more than `before`, but for what is on its way at any moment.
    fn is_flat(self, before: Held, scale: Scale) -> bool {
        let (connections, mib) = (3 * PLACES + 3, 16);
        let clients = scale.watchers + 3;
        self.connections <= before.connections + connections
            && (!scale.is_alone
                || self.descriptors <= before.descriptors + 2 * (connections + clients)
                    && self.mib <= before.mib + mib)
    }
}

/// Runs the hour in so much time, and judges it.
async fn hour(scale: Scale, pacing: &str) -> Rig {
    let mut nodes = [Node::start().await, Node::start().await, Node::start().await];
    let rig = Rig::with(Options {
        rules: RULES.into(),
        upstream: format!(
            "concurrency: {pacing}\ntimeouts: {{connect: 2s, first_byte: {}s, idle: 5s}}\nqueue: {{wait: 10s}}",
            scale.first_byte
        ),
        apis: nodes.iter().map(|node| format!("http://{}", node.address)).collect(),
        ..Options::default()
    })
    .await;
    let address = rig.app.addresses()[0];
    for who in 0..scale.watchers {
        for path in 0..PATHS {
            let target = format!("/api2/json/seen/{path}");
            assert_eq!(ask(address, "GET", &target, &format!("watcher{who}")).await.status, 200);
        }
    }
    let (seen, over) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for who in 0..scale.watchers {
        clients.spawn(watch(address, who, scale, seen.clone(), over.clone()));
    }
    for who in 0..2 {
        clients.spawn(change(address, who, scale, seen.clone(), over.clone()));
    }
    clients.spawn(read_on(address, over.clone()));
    let calls =
        |nodes: &[Node; 3]| nodes.iter().map(|node| node.state.calls.load(Ordering::SeqCst)).sum::<usize>();
    // Calls in each second of the hour.
    let mut rate = Vec::new();
    let mut parts = Vec::new();
    let (mut passed, mut at_a_quarter) = (0, None);
    for (length, weather) in HOUR {
        if passed >= PARTS / 4 {
            at_a_quarter.get_or_insert_with(|| Held::by(&rig));
        }
        passed += length;
        seen.part.store(parts.len(), Ordering::SeqCst);
        for (node, weather) in nodes.iter_mut().zip(weather) {
            node.turn(match weather {
                Relay { .. } => Relay { seconds: scale.relay },
                weather => weather,
            })
            .await;
        }
        parts.push((rate.len(), weather));
        let until = Instant::now() + scale.part * length;
        while Instant::now() < until {
            let before = calls(&nodes);
            tokio::time::sleep(Duration::from_secs(1)).await;
            rig.clock.advance(Duration::from_secs(1));
            rate.push(calls(&nodes) - before);
        }
    }
    let (before, after) = (at_a_quarter.expect("there were more parts"), Held::by(&rig));
    assert!(after.is_flat(before, scale), "{before:?} {after:?}");
    over.store(true, Ordering::SeqCst);
    while let Some(client) = clients.join_next().await {
        client.expect("clients do not panic");
    }

    let wrong = seen.wrong.lock().clone();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), seen.reads.load(Ordering::SeqCst));
    assert!(seen.stale.load(Ordering::SeqCst) > 0, "there was no trouble");
    // No write came twice, none that was told of as done is missing, and none went unanswered.
    let mut came: HashMap<String, usize> = HashMap::new();
    for node in &nodes {
        for (write, times) in &*node.state.writes.lock() {
            *came.entry(write.clone()).or_default() += times;
        }
    }
    assert!(came.values().all(|times| *times == 1), "{came:?}");
    let (done, failed) = (seen.done.lock().clone(), seen.failed.lock().clone());
    assert!(done.iter().all(|write| came.contains_key(write)), "a write was lost");
    assert!(came.keys().all(|write| done.contains(write) || failed.contains(write)), "one was invented");
    assert!(!done.is_empty() && !failed.is_empty());
    // A node here bears anything, so what is learnt of it is bounded by the most that anybody may learn.
    let allowed = if pacing == "adaptive" { 128 } else { PLACES };
    for node in &nodes {
        let most = node.state.most.load(Ordering::SeqCst);
        assert!(most <= allowed, "{most} calls at once");
    }
    // After each recovery the load is what it was: within five seconds, and without a herd.
    let mean = |seconds: &[usize]| seconds.iter().sum::<usize>() as f64 / seconds.len().max(1) as f64;
    let normal = mean(&rate[2..parts[1].0]);
    for (part, (from, weather)) in parts.iter().enumerate().skip(1) {
        if *weather != [WELL; 3] {
            continue;
        }
        let to = parts.get(part + 1).map_or(rate.len(), |next| next.0);
        let after = &rate[(from + 5).min(to)..to];
        let share = mean(after) / normal;
        assert!((0.6..1.4).contains(&share), "{share:.2} of the load before, {after:?}");
        let herd = rate[*from..to].iter().max().copied().unwrap_or(0);
        assert!(
            (herd as f64) < 2.5 * normal + (3 * PLACES) as f64,
            "{herd} in a second, normal is {normal:.0}"
        );
    }
    // Nothing is left over.
    rig.quiet().await;
    assert_eq!(rig.app.shared().flights.len(), 0);
    eprintln!(
        "{} reads, {} of them stale, the slowest after {:?}; {} writes done, {} failed; {} calls, {:.0} in a normal second; at a quarter {before:?}, at the end {after:?}",
        seen.reads.load(Ordering::SeqCst),
        seen.stale.load(Ordering::SeqCst),
        Duration::from_millis(seen.slowest.load(Ordering::SeqCst) as u64),
        done.len(),
        failed.len(),
        calls(&nodes),
        normal
    );
    rig
}

#[tokio::test(start_paused = true)]
async fn an_hour_in_short() {
    let part = Duration::from_secs(12);
    let scale = Scale {
        part,
        first_byte: 8,
        relay: 6,
        watchers: 3,
        pause: Duration::from_millis(500),
        is_alone: false,
    };
    hour(scale, "4").await.app.drain().await;
}

/// The whole hour, with a fixed and with a learnt number of calls at once, and what the process holds on to:
/// `cargo test --release --test it trouble::an_hour -- --ignored --exact --nocapture`.
/// `FOREBAY_TROUBLE_SECONDS` makes it another length.
#[tokio::test(start_paused = true)]
#[ignore = "takes minutes"]
async fn an_hour() {
    let seconds = std::env::var("FOREBAY_TROUBLE_SECONDS").ok().and_then(|text| text.parse().ok());
    let whole = Duration::from_secs(seconds.unwrap_or(3_600));
    for pacing in ["4", "adaptive"] {
        let scale = Scale {
            part: whole / PARTS,
            first_byte: 35,
            relay: 30,
            watchers: 8,
            pause: Duration::from_millis(200),
            is_alone: true,
        };
        hour(scale, pacing).await.app.drain().await;
    }
}
