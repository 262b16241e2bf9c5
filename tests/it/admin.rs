//! The admin address from outside, in front of a simulated cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use forebay::app::App;
use forebay::cache::key::Secret;
use forebay::clock::Clock;
use forebay::config;
use forebay::sim::proxmox::{ADMIN_TOKEN, ADMIN_TOKEN_SECRET, Gate, HoldAt, Sim, SimConfig};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = "/api2/json/nodes/pve1/qemu/100/config";
const STATUS: &str = "/api2/json/nodes/pve1/qemu/100/status/current";
const OTHER: &str = "/api2/json/nodes/pve1/qemu";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    sim: Sim,
    app: App,
    directory: TempDir,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own.
async fn send(
    address: SocketAddr,
    method: Method,
    target: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> Reply {
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(target);
        if !fields.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", address.to_string());
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::<Bytes>::from(body.to_owned())).expect("a request");
        let (parts, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        connection.abort();
        Reply { status: parts.status, headers: parts.headers, body }
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time")
}

fn credential() -> String {
    format!("PVEAPIToken={ADMIN_TOKEN}={ADMIN_TOKEN_SECRET}")
}

/// A request of a client, with an accepted credential.
async fn client(proxy: SocketAddr, method: Method, target: &str, body: &str) -> Reply {
    let credential = credential();
    let mut fields = vec![("authorization", credential.as_str())];
    if !body.is_empty() {
        fields.push(("content-type", "application/x-www-form-urlencoded"));
    }
    send(proxy, method, target, &fields, body).await
}

impl Rig {
    async fn start() -> Rig {
        Self::with_admin("{address: 127.0.0.1:0}").await
    }

    async fn with_admin(admin: &str) -> Rig {
        let simulated = SimConfig { penalty_401: Duration::ZERO, ..SimConfig::default() };
        let sim = Sim::start(simulated, ([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("forebay.yaml");
        std::fs::write(&file, configuration(&sim, admin, "proxmox")).expect("a file");
        std::fs::write(directory.path().join("token"), "the-token\n").expect("a file");
        let settings = config::load(&file).expect("a good file");
        // Nothing expires while a test runs.
        let app = App::start_with(settings, Clock::manual(), Secret::from_bytes(&[7; 16]))
            .await
            .expect("it starts");
        Rig { sim, app, directory }
    }

    fn proxy(&self) -> SocketAddr {
        self.app.addresses()[0]
    }

    fn admin(&self) -> SocketAddr {
        self.app.admin_address().expect("an admin address")
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn read(&self, target: &str) -> Reply {
        client(self.proxy(), Method::GET, target, "").await
    }

    async fn get(&self, target: &str) -> Reply {
        send(self.admin(), Method::GET, target, &[], "").await
    }

    async fn post(&self, target: &str, body: &str) -> Reply {
        send(self.admin(), Method::POST, target, &[("content-type", "application/json")], body).await
    }

    async fn purge(&self, order: Value) -> u64 {
        let reply = self.post("/api/purge", &order.to_string()).await;
        assert_eq!(reply.status, StatusCode::OK, "{order}: {}", reply.text());
        reply.json()["purged"].as_u64().expect("a count")
    }

    fn calls(&self, path: &str) -> u64 {
        self.sim.calls_to(&format!("GET {path}"))
    }

    async fn stop(self) {
        self.app.drain().await;
        self.sim.stop().await;
    }
}

fn configuration(sim: &Sim, admin: &str, rules: &str) -> String {
    format!(
        "listen: [{{address: '127.0.0.1:0', upstream: lab}}]\n\
         admin: {admin}\n\
         upstreams:\n  lab:\n    endpoints: ['http://{}']\n    rules: [{rules}]\n",
        sim.address()
    )
}

fn cache_status(reply: &Reply) -> &str {
    reply.headers.get("cache-status").expect("on every answer").to_str().expect("a text")
}

/// The sum of all samples of a metric.
fn sum(exposition: &str, name: &str) -> u64 {
    let of_name =
        |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
    let value = |line: &str| line.rsplit(' ').next().and_then(|v| v.parse::<u64>().ok()).expect("a number");
    exposition.lines().filter(of_name).map(value).sum()
}

/// Reads, hits, collapsed requests, errors, a refused credential, passed reads and a write.
async fn mixed_run(rig: &Rig) {
    for target in
        [CONFIG, CONFIG, STATUS, OTHER, "/api2/json/version", "/api2/json/cluster/nextid", "/nothing"]
    {
        rig.read(target).await;
    }
    rig.read("/api2/json/nodes/pve1/qemu/4711/config").await;
    client(rig.proxy(), Method::HEAD, CONFIG, "").await;
    send(rig.proxy(), Method::GET, CONFIG, &[("authorization", "PVEAPIToken=who@pve!a=b")], "").await;
    let gate = rig.sim.hold("GET /api2/json/cluster/resources", HoldAt::BeforeReading);
    let burst: Vec<_> = (0..8)
        .map(|_| {
            let proxy = rig.proxy();
            tokio::spawn(async move { client(proxy, Method::GET, "/api2/json/cluster/resources", "").await })
        })
        .collect();
    gate.arrived(1).await;
    gate.open();
    for request in burst {
        assert_eq!(request.await.expect("no panic").status, StatusCode::OK);
    }
    let written = client(rig.proxy(), Method::PUT, CONFIG, "description=new").await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.text());
    client(rig.proxy(), Method::POST, "/api2/json/nodes/pve1/qemu/100/status/reboot", "").await;
    rig.read(CONFIG).await;
}

#[tokio::test]
async fn the_upstream_calls_counted_are_those_that_the_api_got() {
    let rig = Rig::start().await;
    mixed_run(&rig).await;
    // What forebay sends by itself may be under way at the moment of a look.
    let mut seen = (0, 1);
    for _ in 0..100 {
        seen = (sum(&rig.get("/metrics").await.text(), "forebay_upstream_requests_total"), rig.sim.calls());
        if seen.0 == seen.1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(seen.0, seen.1);
    assert!(seen.1 >= 10, "{:?}", rig.sim.calls_seen());
    rig.stop().await;
}

#[tokio::test]
async fn everybody_may_ask_for_metrics_and_health() {
    let rig = Rig::with_admin("{address: '127.0.0.1:0', token_file: token}").await;
    mixed_run(&rig).await;
    let reply = rig.get("/metrics").await;
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4");
    let text = reply.text();
    let named = |kind: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind));
        lines.filter_map(|line| line.split(' ').next()).collect::<Vec<_>>()
    };
    let (types, helps) = (named("# TYPE "), named("# HELP "));
    for name in &types {
        assert!(helps.contains(name), "{name} is not explained");
    }
    for name in [
        "forebay_requests_total",
        "forebay_upstream_requests_total",
        "forebay_request_seconds",
        "forebay_upstream_seconds",
        "forebay_entries",
        "forebay_entry_bytes",
        "forebay_collapsed_total",
        "forebay_invalidations_total",
        "forebay_limit_wait_seconds",
        "forebay_limit_rejected_total",
        "forebay_unsettled_groups",
        "forebay_operations_open",
        "forebay_operations_limited_total",
        "forebay_tunnels",
        "forebay_build_info",
    ] {
        assert!(types.contains(&name), "{name} is missing");
    }
    assert!(sum(&text, "forebay_entries") > 0);
    assert!(sum(&text, "forebay_entry_bytes") > 0);
    assert!(sum(&text, "forebay_operations_open") > 0, "the reboot is still under way");
    assert!(sum(&text, "forebay_unsettled_groups") > 0);
    assert!(text.contains("forebay_requests_total{upstream=\"lab\",rule=\"/api2/{format}/nodes/{node}/qemu/{vmid}/config\",outcome=\"hit\"}"));
    for path in ["/healthz", "/readyz"] {
        let reply = send(rig.admin(), Method::GET, path, &[("host", "forebay")], "").await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_drains_is_not_ready() {
    let rig = Rig::start().await;
    let gate = rig.sim.hold(&format!("GET {CONFIG}"), HoldAt::BeforeReading);
    let (admin, proxy) = (rig.admin(), rig.proxy());
    let held = tokio::spawn(async move { client(proxy, Method::GET, CONFIG, "").await });
    gate.arrived(1).await;
    let draining = tokio::spawn(rig.app.drain());
    let unready = async {
        while send(admin, Method::GET, "/readyz", &[], "").await.status != StatusCode::SERVICE_UNAVAILABLE {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, unready).await.expect("not ready while it drains");
    assert_eq!(send(admin, Method::GET, "/healthz", &[], "").await.status, StatusCode::OK);
    gate.open();
    assert_eq!(held.await.expect("no panic").status, StatusCode::OK);
    draining.await.expect("no panic");
    rig.sim.stop().await;
}

#[tokio::test]
async fn stats_and_upstreams_and_rules_say_what_was_counted() {
    let rig = Rig::start().await;
    for _ in 0..4 {
        rig.read(CONFIG).await;
    }
    let stats = rig.get("/api/stats").await.json();
    assert_eq!(stats["requests"], json!({"total": 4, "by_outcome": {"hit": 3, "miss": 1}}));
    assert_eq!(stats["upstream_requests"], json!({"total": 1, "by_cause": {"miss": 1}}));
    assert_eq!(stats["saved"], json!(0.75));
    assert_eq!(stats["entries"], json!(1));
    assert_eq!(stats["flights"], json!(0));
    assert_eq!(stats["upstreams"]["lab"]["saved"], json!(0.75));

    let upstreams = rig.get("/api/upstreams").await.json();
    let upstream = &upstreams["upstreams"][0];
    assert_eq!(upstream["name"], json!("lab"));
    assert_eq!(upstream["endpoints"][0]["address"], json!(format!("http://{}", rig.sim.address())));
    assert_eq!(upstream["endpoints"][0]["up"], json!(true));
    assert_eq!(upstream["endpoints"][0]["in_flight"], json!(0));
    assert_eq!((&upstream["failing_since"], &upstream["waiting"]), (&Value::Null, &json!(0)));

    let rules = rig.get("/api/rules").await.json();
    let of = |kind: &str, path: &str| {
        let rules = rules["rules"].as_array().expect("a list").iter();
        let mut found = rules.filter(|rule| rule["kind"] == kind && rule["path"] == path);
        found.next().cloned().expect("the rule")
    };
    let read = of("read", "/api2/{format}/nodes/{node}/qemu/{vmid}/config");
    assert_eq!((&read["ttl"], &read["share"]), (&json!("10s"), &json!("principal")));
    assert_eq!((&read["requests"], &read["upstream_requests"]), (&json!({"hit": 3, "miss": 1}), &json!(1)));
    assert!(read["source"].as_str().is_some_and(|source| source.starts_with("proxmox:")), "{read}");
    let write = of("write", "/api2/{format}/nodes/{node}/qemu");
    assert_eq!((&write["methods"], &write["operation"]), (&json!(["POST"]), &json!("proxmox-task")));
    rig.stop().await;
}

#[tokio::test]
async fn open_operations_are_listed_without_a_credential() {
    let rig = Rig::start().await;
    client(rig.proxy(), Method::POST, "/api2/json/nodes/pve1/qemu/100/status/reboot", "").await;
    let reply = rig.get("/api/upstreams").await;
    assert!(!reply.text().contains(ADMIN_TOKEN_SECRET));
    let upstream = &reply.json()["upstreams"][0];
    assert_eq!(upstream["operations_open"], json!(1));
    let operation = &upstream["operations"][0];
    assert!(operation["task"].as_str().is_some_and(|task| task.starts_with("UPID:pve1:")), "{operation}");
    let told = ["kind", "id", "node", "origin", "asks", "asked_seconds"].map(|name| operation[name].clone());
    assert_eq!(
        told,
        [json!("qmreboot"), json!("100"), json!("pve1"), json!("write"), json!(true), Value::Null]
    );
    rig.stop().await;
}

#[tokio::test]
async fn audits_are_shown_by_rule() {
    let rig = Rig::start().await;
    let file = rig.file("forebay.yaml");
    let audited =
        std::fs::read_to_string(&file).expect("readable").replace("rules:", "audit: 100%\n    rules:");
    std::fs::write(&file, audited).expect("writable");
    assert_eq!(rig.post("/api/reload", "").await.status, StatusCode::OK);
    let ended = async || {
        let running = || rig.app.sites().all()[0].audits_running() > 0;
        while running() {
            tokio::task::yield_now().await;
        }
    };
    for _ in 0..3 {
        rig.read(CONFIG).await;
        ended().await;
    }
    rig.sim.set_guest_config(100, "description", json!("edited elsewhere"));
    rig.read(CONFIG).await;
    ended().await;
    let counted = json!({"changed": 1, "same": 2});
    assert_eq!(rig.get("/api/stats").await.json()["audits"], counted);
    let rules = rig.get("/api/rules").await.json();
    let with_audits: Vec<_> = rules["rules"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|rule| rule["audits"] != Value::Null)
        .collect();
    let [rule] = with_audits[..] else { panic!("{with_audits:?}") };
    assert_eq!(rule["path"], json!("/api2/{format}/nodes/{node}/qemu/{vmid}/config"));
    assert_eq!(rule["audits"], counted);
    let resources = rules["rules"].as_array().expect("a list").iter();
    let resources = resources.filter(|rule| rule["path"] == "/api2/{format}/cluster/resources");
    assert!(resources.map(|rule| rule["moving"].to_string()).all(|moving| moving.contains("/data/*/cpu")));
    rig.stop().await;
}

#[tokio::test]
async fn entries_show_no_body_and_no_secret() {
    let rig = Rig::start().await;
    rig.read(CONFIG).await;
    rig.read(&format!("{STATUS}?my-ticket=hidden&x=shown")).await;
    let all = rig.get("/api/entries").await;
    assert!(!all.text().contains(ADMIN_TOKEN_SECRET) && !all.text().contains("hidden"), "{}", all.text());
    assert!(!all.text().contains("smbios"), "a body is shown");
    let all = all.json();
    assert_eq!((&all["total"], all["entries"].as_array().map(Vec::len)), (&json!(2), Some(2)));
    let entry = &all["entries"][0];
    assert_eq!((&entry["target"], &entry["upstream"]), (&json!(CONFIG), &json!("lab")));
    assert_eq!((&entry["status"], &entry["age"], &entry["stale"]), (&json!(200), &json!(0), &json!(false)));
    assert_eq!(entry["rule"], json!("/api2/{format}/nodes/{node}/qemu/{vmid}/config"));
    assert_eq!(entry["share"], json!("principal"));
    assert!(entry["size"].as_u64() > Some(100) && entry["ttl"] == json!(10), "{entry}");
    assert_eq!(all["entries"][1]["target"], json!(format!("{STATUS}?my-ticket=***&x=shown")));
    let cases = [
        ("path=*/config", 1),
        ("path=/api2/json/nodes/*", 2),
        ("path=/api2/json/nodes", 0),
        ("group=guest/100", 2),
        ("group=guest-status", 1),
        ("group=/nodes/pve1/qemu/100/config", 1),
        ("group=/nodes/pve1/**", 2),
        ("group=guest/101", 0),
        ("group=guest/100&path=*current", 1),
    ];
    for (query, total) in cases {
        assert_eq!(rig.get(&format!("/api/entries?{query}")).await.json()["total"], json!(total), "{query}");
    }
    let limited = rig.get("/api/entries?limit=1").await.json();
    assert_eq!((&limited["total"], limited["entries"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    // What a write has overtaken is not there any more.
    client(rig.proxy(), Method::PUT, CONFIG, "description=new").await;
    assert_eq!(rig.get("/api/entries").await.json()["total"], json!(0));
    rig.stop().await;
}

#[tokio::test]
async fn explain_says_which_rule_and_why() {
    let rig = Rig::start().await;
    let found = rig.get(&format!("/api/explain?url={CONFIG}")).await.json();
    assert_eq!(found["rule"], json!("/api2/{format}/nodes/{node}/qemu/{vmid}/config"));
    assert_eq!((&found["api"], &found["ttl"]), (&json!("proxmox"), &json!("10s")));
    let found =
        rig.get(&format!("/api/explain?method=put&upstream=lab&url=https%3A%2F%2Fh%3A1{CONFIG}")).await;
    assert!(found.json()["invalidates"].as_array().is_some_and(|i| i.contains(&json!("guest/100"))));
    assert_eq!(rig.get("/api/explain").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(rig.get("/api/explain?url=/&upstream=x").await.status, StatusCode::NOT_FOUND);
    rig.stop().await;
}

#[tokio::test]
async fn a_purge_empties_what_it_names() {
    let cases = [
        (json!({"groups": ["guest/100"]}), 2, ["uri-miss", "uri-miss", "hit"]),
        (json!({"groups": ["guest-status", "nothing"]}), 1, ["hit", "uri-miss", "hit"]),
        (json!({"groups": ["/nodes/pve1/qemu/100/config"]}), 1, ["uri-miss", "hit", "hit"]),
        (json!({"groups": ["/nodes/pve1/qemu/**"]}), 3, ["uri-miss", "uri-miss", "uri-miss"]),
        (json!({"path": CONFIG}), 1, ["uri-miss", "hit", "hit"]),
        (json!({"path": "*/qemu/100/*"}), 2, ["uri-miss", "uri-miss", "hit"]),
        (json!({"path": "/api2/json/nodes"}), 0, ["hit", "hit", "hit"]),
        (json!({"all": true}), 3, ["uri-miss", "uri-miss", "uri-miss"]),
        (json!({"groups": ["guest/100"], "soft": true}), 2, ["stale", "stale", "hit"]),
        (json!({"path": CONFIG, "soft": true}), 1, ["stale", "hit", "hit"]),
        (json!({"all": true, "soft": true}), 3, ["stale", "stale", "stale"]),
    ];
    let rig = Rig::start().await;
    for (order, purged, expected) in cases {
        for target in [CONFIG, STATUS, OTHER] {
            rig.read(target).await;
        }
        assert_eq!(rig.purge(order.clone()).await, purged, "{order}");
        if order["soft"] != json!(true) {
            assert_eq!(rig.purge(order.clone()).await, 0, "{order} once more");
        }
        for (target, word) in [CONFIG, STATUS, OTHER].into_iter().zip(expected) {
            let reply = rig.read(target).await;
            let status = cache_status(&reply);
            assert!(status.contains(word), "{target} after {order}: {status}");
        }
    }
    assert!(sum(&rig.get("/metrics").await.text(), "forebay_invalidations_total") >= 11);
    rig.stop().await;
}

/// Walking a large store takes longer than requests may wait: it is done by a thread that may block.
#[test]
fn a_purge_keeps_no_worker_from_its_requests() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    runtime.expect("a runtime").block_on(async {
        let rig = Rig::start().await;
        rig.read(CONFIG).await;
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let address = rig.admin();
        let fields = [("content-type", "application/json")];
        let purge = tokio::spawn(async move {
            send(address, Method::POST, "/api/purge", &fields, r#"{"all": true}"#).await
        });
        for _ in 0..20 {
            assert_eq!(rig.get("/healthz").await.status, StatusCode::OK);
        }
        assert!(!purge.is_finished(), "it did not wait for a thread that may block");
        release.send(()).expect("it waits");
        assert_eq!(purge.await.expect("no panic").json(), json!({"purged": 1}));
        busy.await.expect("no panic").expect("released");
        rig.stop().await;
    });
}

#[tokio::test]
async fn what_is_under_way_at_a_purge_is_neither_joined_nor_kept() {
    let cases = [
        (None, 1),
        (Some(json!({"path": "/api2/json/nodes/*"})), 3),
        (Some(json!({"path": CONFIG})), 3),
        (Some(json!({"groups": ["guest/100"]})), 3),
        (Some(json!({"all": true})), 3),
    ];
    for (order, calls) in cases {
        let rig = Rig::start().await;
        let proxy = rig.proxy();
        let read = move || tokio::spawn(async move { client(proxy, Method::GET, CONFIG, "").await });
        let hold = || rig.sim.hold(&format!("GET {CONFIG}"), HoldAt::BeforeAnswering);
        let arrive = async |gate: &Gate, count| {
            tokio::time::timeout(PATIENCE, gate.arrived(count)).await.expect("a call of its own")
        };
        let gate = hold();
        let first = read();
        arrive(&gate, 1).await;
        if let Some(order) = &order {
            assert_eq!(rig.purge(order.clone()).await, 0, "{order}: nothing is stored yet");
            let second = read();
            arrive(&gate, 2).await;
            // Now neither of the two may be kept.
            rig.purge(order.clone()).await;
            gate.open();
            assert_eq!(second.await.expect("no panic").status, StatusCode::OK);
        }
        gate.open();
        assert_eq!(first.await.expect("no panic").status, StatusCode::OK, "who came before has the answer");
        rig.read(CONFIG).await;
        assert_eq!(rig.calls(CONFIG), calls, "{order:?}");
        assert!(cache_status(&rig.read(CONFIG).await).contains("hit"), "{order:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn the_token_is_asked_for() {
    let rig = Rig::with_admin("{address: '127.0.0.1:0', token_file: token}").await;
    let ask = async |token: &str| {
        send(rig.admin(), Method::GET, "/api/stats", &[("authorization", token), ("host", "any.example")], "")
            .await
    };
    let refused = rig.get("/api/stats").await;
    assert_eq!(
        (refused.status, &refused.headers["www-authenticate"]),
        (StatusCode::UNAUTHORIZED, &"Bearer".parse().unwrap())
    );
    assert!(!refused.text().contains("the-token"));
    for path in ["/", "/api/nothing", "/nothing"] {
        assert_eq!(rig.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(rig.post("/api/purge", r#"{"all": true}"#).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("Bearer another").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("Bearer the-token").await.status, StatusCode::OK);
    std::fs::write(rig.file("token"), "a-new-one").expect("a file");
    assert_eq!(ask("Bearer the-token").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("Bearer a-new-one").await.status, StatusCode::OK);
    std::fs::write(rig.file("token"), "\n").expect("a file");
    assert_eq!(ask("Bearer ").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let settings = config::load(&rig.file("forebay.yaml")).expect("a good file");
    assert!(App::start(settings, Clock::manual()).await.is_err(), "an empty token is found out at the start");
    rig.stop().await;
}

#[tokio::test]
async fn pages_of_others_get_nothing() {
    let rig = Rig::start().await;
    let json = ("content-type", "application/json");
    let own = format!("http://{}", rig.admin());
    let cases: [(&[(&str, &str)], StatusCode); 5] = [
        (&[json], StatusCode::OK),
        (&[json, ("origin", &own)], StatusCode::OK),
        (&[json, ("origin", "http://page.example")], StatusCode::FORBIDDEN),
        (&[json, ("host", "page.example")], StatusCode::FORBIDDEN),
        (&[("content-type", "text/plain")], StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ];
    for (fields, status) in cases {
        let reply = send(rig.admin(), Method::POST, "/api/purge", fields, r#"{"all": true}"#).await;
        assert_eq!(reply.status, status, "{fields:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn errors_say_what_there_is() {
    let rig = Rig::start().await;
    let large = format!("{{\"path\": \"{}\"}}", "a".repeat(64 * 1024));
    let cases = [
        (Method::GET, "/nothing", "", StatusCode::NOT_FOUND, "GET /api/stats"),
        (Method::GET, "/api/nothing", "", StatusCode::NOT_FOUND, "POST /api/purge"),
        (Method::POST, "/api/stats", "{}", StatusCode::METHOD_NOT_ALLOWED, "GET"),
        (Method::POST, "/metrics", "{}", StatusCode::METHOD_NOT_ALLOWED, "GET"),
        (Method::GET, "/api/purge", "", StatusCode::METHOD_NOT_ALLOWED, "POST"),
        (Method::DELETE, "/api/purge", "", StatusCode::METHOD_NOT_ALLOWED, "POST"),
        (Method::POST, "/api/purge", "", StatusCode::BAD_REQUEST, "groups"),
        (Method::POST, "/api/purge", "{}", StatusCode::BAD_REQUEST, "groups"),
        (Method::POST, "/api/purge", r#"{"al": true}"#, StatusCode::BAD_REQUEST, "all"),
        (Method::POST, "/api/purge", &large, StatusCode::PAYLOAD_TOO_LARGE, "64 KiB"),
        (Method::GET, "/api/entries?limit=many", "", StatusCode::BAD_REQUEST, "limit"),
    ];
    for (method, target, body, status, says) in cases {
        let fields = [("content-type", "application/json")];
        let reply = send(rig.admin(), method.clone(), target, &fields, body).await;
        assert_eq!(reply.status, status, "{method} {target}");
        let message = reply.json()["error"].as_str().expect("a message").to_owned();
        assert!(message.contains(says), "{method} {target}: {message}");
        assert_eq!(reply.headers.contains_key("allow"), status == StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(send(rig.admin(), Method::HEAD, "/metrics", &[], "").await.status, StatusCode::OK);
    assert!(rig.get("/").await.text().contains("/metrics"));
    rig.stop().await;
}

const PACK: &str =
    "api: proxmox\nreads:\n  - {path: '/api2/{format}/nodes/{node}/qemu', ttl: 1m, share: principal}\n";

#[tokio::test]
async fn a_reload_takes_a_good_file_and_refuses_a_bad_one() {
    let rig = Rig::start().await;
    let rules = async || rig.get("/api/rules").await.json()["rules"].as_array().map_or(0, Vec::len);
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("a file");
    let before = rules().await;
    write(&rig.file("forebay.yaml"), "upstreams: {lab: {endpoint: x}}\n");
    let refused = rig.post("/api/reload", "").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let diagnostic = &refused.json()["diagnostics"][0];
    assert!(diagnostic["line"] == json!(1) && diagnostic["message"].is_string(), "{diagnostic}");
    assert_eq!(rules().await, before);
    write(&rig.file("rules.yaml"), PACK);
    write(&rig.file("forebay.yaml"), &configuration(&rig.sim, "{address: '127.0.0.1:0'}", "rules.yaml"));
    let reloaded = rig.post("/api/reload", "").await;
    assert_eq!((reloaded.status, reloaded.json()), (StatusCode::OK, json!({"reloaded": true})));
    assert_eq!(rules().await, 1);
    tokio::time::timeout(PATIENCE, rig.app.reloaded()).await.expect("the process hears of it");
    assert!(rig.app.files().contains(&rig.file("rules.yaml")));
    // A token that cannot be used changes nothing, and a good one counts at once.
    let with_token = "{address: '127.0.0.1:0', token_file: absent}";
    write(&rig.file("forebay.yaml"), &configuration(&rig.sim, with_token, "proxmox"));
    assert_eq!(rig.post("/api/reload", "").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(rules().await, 1);
    let with_token = "{address: '127.0.0.1:0', token_file: token}";
    write(&rig.file("forebay.yaml"), &configuration(&rig.sim, with_token, "proxmox"));
    assert_eq!(rig.post("/api/reload", "").await.status, StatusCode::OK);
    assert_eq!(rig.get("/api/rules").await.status, StatusCode::UNAUTHORIZED);
    rig.stop().await;
}
