//! Audits: hits are compared with the API behind the client's back, and what is no longer true goes.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::sim::proxmox::{
    ADMIN_TOKEN, ADMIN_TOKEN_SECRET, AUDITOR_TOKEN, AUDITOR_TOKEN_SECRET, Sim, SimConfig,
};
use serde_json::Value;

use crate::cluster;
use crate::support::{Ask, Gate, Got, Options, Reply, Rig, until};

const PATH: &str = "/api2/json/item/1";
const CALL: &str = "GET /api2/json/item/1";
const MOVES: &str = "/api2/json/moves/1";

const RULES: &str = r#"
api: proxmox
reads:
  - {path: "/api2/{format}/item/{id}", ttl: 10s, stale_if_error: 1h, groups: ["item/{id}", items]}
  - {path: "/api2/{format}/item/{id}/sub", ttl: 10s, groups: ["item/{id}", items]}
  - {path: "/api2/{format}/moves/{id}", ttl: 10s, moving: [/data/uptime, /data/guests/*/cpu]}
  - {path: "/api2/{format}/public/{id}", ttl: 10s, anonymous: true}
  - {path: "/text/**", ttl: 10s}
writes:
  - {methods: [PUT], path: "/api2/{format}/item/{id}", invalidates: ["item/{id}"]}
"#;

async fn audited(share: &str, more: &str) -> Rig {
    let upstream = format!("audit: {share}\n{more}");
    Rig::with(Options { rules: RULES.into(), upstream, ..Options::default() }).await
}

impl Rig {
    /// A hit whose audit, if there is one, has ended.
    async fn hit(&self, ask: Ask) -> Got {
        let got = ask.send().await;
        assert!(got.is_hit(), "{}", got.cache());
        self.audits_end().await;
        got
    }

    async fn audits_end(&self) {
        until("no audit under way", || self.app.sites().all()[0].audits_running() == 0).await;
    }

    /// How many audits came to `result`.
    fn audits(&self, result: &str) -> u64 {
        self.counter_of("forebay_audits_total", &format!("result=\"{result}\""))
    }

    fn audit_calls(&self) -> u64 {
        self.counter_of("forebay_upstream_requests_total", "cause=\"audit\"")
    }
}

#[tokio::test]
async fn without_a_share_hits_cost_nothing() {
    let rig = audited("0%", "").await;
    rig.warm(PATH).await;
    for _ in 0..100 {
        rig.hit(rig.get(PATH)).await;
    }
    assert_eq!((rig.origin().calls().len(), rig.counter("forebay_audits_total")), (1, 0));
    rig.finish().await;
}

#[tokio::test]
async fn a_share_of_the_hits_is_compared() {
    let rig = audited("20%", "").await;
    rig.origin().on(CALL, Reply::body("{}"));
    rig.warm(PATH).await;
    for _ in 0..500 {
        rig.hit(rig.get(PATH)).await;
    }
    // 100 are expected; fewer than 40 or more than 180 come of it once in billions of runs.
    let same = rig.audits("same");
    assert!((40..180).contains(&same), "{same} of 501");
    assert_eq!((rig.audit_calls(), rig.origin().calls().len() as u64), (same, 1 + same));
    rig.finish().await;
}

#[tokio::test]
async fn the_same_in_another_order_and_what_moves_by_itself_are_no_change() {
    let rig = audited("100%", "").await;
    let kept = r#"{"data": {"uptime": 1, "guests": [{"id": 1, "cpu": 0.1}, {"id": 2, "cpu": 0.2}], "status": "running"}}"#;
    let now = r#"{"data":{"guests":[{"cpu":0.5,"id":2},{"id":1}],"status":"running","uptime":9}}"#;
    rig.origin().on_each(&format!("GET {MOVES}"), [Reply::body(kept), Reply::body(now)]);
    rig.get(MOVES).send().await;
    for n in 1..4 {
        assert_eq!(rig.hit(rig.get(MOVES)).await.text(), kept, "what is kept stays");
        assert_eq!((rig.audits("same"), rig.audit_calls()), (n, n));
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_change_is_gone_for_everybody_at_the_next_read() {
    let rig = audited("100%", "").await;
    let sub = format!("{PATH}/sub");
    let (other, extjs) = ("/api2/json/item/2", "/api2/extjs/item/1");
    rig.origin().on(&format!("GET {extjs}"), Reply::body(r#"{"success":1,"data":0}"#));
    let old = rig.get(PATH).send().await;
    for ask in [rig.get(PATH).token("two"), rig.get(&sub), rig.get(extjs), rig.get(other)] {
        ask.send().await;
    }
    let before = rig.origin().calls().len();
    // The origin's bodies name the call, so the API never says the same twice.
    assert_eq!(rig.hit(rig.get(PATH)).await.text(), old.text(), "the client does not wait for the audit");
    assert_eq!((rig.audits("changed"), rig.audits("same")), (1, 0));
    assert_eq!(rig.counter_of("forebay_invalidations_total", "cause=\"audit\""), 1);
    assert_eq!(rig.origin().calls().len(), before + 1, "nothing is fetched by itself");
    // Nobody gets the old answer again: not whoever shares the path, nor what else is of the same thing.
    for ask in [rig.get(PATH).token("two"), rig.get(&sub), rig.get(extjs), rig.get(PATH)] {
        let got = ask.send().await;
        assert!(got.cache().starts_with("fwd=stale"), "{}", got.cache());
    }
    assert!(rig.get(other).send().await.is_hit(), "another item of the same list");
    rig.audits_end().await;
    rig.finish().await;
}

#[tokio::test]
async fn a_change_is_never_shown_again_in_an_outage() {
    let rig = audited("100%", "").await;
    rig.get(PATH).send().await;
    rig.hit(rig.get(PATH)).await;
    assert_eq!(rig.audits("changed"), 1);
    rig.origin().on(CALL, Reply::status(503, "Later"));
    assert_eq!(rig.get(PATH).send().await.status, 503);
    rig.finish().await;
}

#[tokio::test]
async fn what_is_not_json_is_compared_byte_by_byte() {
    let rig = audited("100%", "").await;
    rig.origin().on_each("GET /text/a", [Reply::body("a b"), Reply::body("a b"), Reply::body("b a")]);
    rig.get("/text/a").send().await;
    rig.hit(rig.get("/text/a")).await;
    assert_eq!((rig.audits("same"), rig.audits("changed")), (1, 0));
    rig.hit(rig.get("/text/a")).await;
    assert_eq!((rig.audits("same"), rig.audits("changed")), (1, 1));
    rig.finish().await;
}

#[tokio::test]
async fn another_status_means_a_change_or_says_nothing() {
    let extjs = "/api2/extjs/item/1";
    let failure =
        |status: u16| Reply::body(format!(r#"{{"success":0,"status":{status},"message":"x","data":null}}"#));
    let cases = [
        (PATH, Reply::status(500, "no such item"), "changed"),
        (PATH, Reply::status(404, "Not found"), "changed"),
        (PATH, Reply::status(403, "Permission check failed"), "changed"),
        (extjs, failure(500), "changed"),
        (PATH, Reply::status(503, "Later"), "error"),
        (PATH, Reply::status(596, "Timeout"), "error"),
        (PATH, Reply::status(401, "No ticket"), "error"),
        (PATH, Reply::reset(), "error"),
        (PATH, Reply::body("x".repeat(2000)).cut(), "error"),
        (extjs, failure(596), "error"),
    ];
    for (path, reply, result) in cases {
        let rig = audited("100%", "").await;
        let kept = Reply::body(r#"{"success":1,"data":0}"#);
        rig.origin().on_each(&format!("GET {path}"), [kept, reply]);
        rig.get(path).send().await;
        rig.hit(rig.get(path)).await;
        assert_eq!(rig.audits(result), 1, "{path} {result}");
        assert_eq!(rig.counter("forebay_audits_total"), 1);
        rig.finish().await;
    }
}

#[tokio::test]
async fn an_audit_asks_with_the_credential_that_got_the_hit_and_its_refusal_ends_it() {
    let rig = audited("100%", "").await;
    rig.origin().on_each(CALL, [Reply::body("{}"), Reply::body("{}"), Reply::status(401, "No ticket")]);
    rig.get(PATH).token("two").send().await;
    let ask = rig.get(PATH).token("two").field("If-None-Match", "\"x\"").field("Cookie", "theme=dark");
    rig.hit(ask).await;
    let call = rig.origin().last(CALL);
    assert_eq!(call.field("authorization"), Some("PVEAPIToken=user@pve!two=secret"));
    assert_eq!((call.field("cookie"), call.field("if-none-match")), (Some("theme=dark"), None));
    rig.hit(rig.get(PATH).token("two")).await;
    rig.origin().on(CALL, Reply::body("{}"));
    assert!(!rig.get(PATH).token("two").send().await.is_hit(), "the API refused it");
    rig.finish().await;
}

#[tokio::test]
async fn a_write_explains_a_difference() {
    // The write ends before the audit's answer comes, or after it.
    for write_ends_first in [true, false] {
        let rig = audited("100%", "").await;
        let (answer, outcome) = (Gate::new(), Gate::new());
        let new = Reply::body(r#"{"data":"new"}"#);
        rig.origin().on_each(CALL, [Reply::body(r#"{"data":"old"}"#), new.clone().held(&answer), new]);
        rig.origin().on("PUT /api2/json/item/1", Reply::body("{}").held(&outcome));
        rig.get(PATH).send().await;
        assert!(rig.get(PATH).send().await.is_hit());
        rig.origin().came(CALL, 2).await;
        let write = rig.ask("PUT", PATH).token("two").spawn();
        rig.origin().came("PUT /api2/json/item/1", 1).await;
        if write_ends_first {
            outcome.open();
            write.await.expect("answered");
            answer.open();
            rig.audits_end().await;
            assert_eq!(rig.audits("overtaken"), 1);
        } else {
            answer.open();
            rig.audits_end().await;
            assert_eq!(rig.audits("unsettled"), 1);
            assert!(rig.get(PATH).send().await.is_hit(), "the write's own answer will tell");
            rig.audits_end().await;
            assert_eq!((rig.audits("unsettled"), rig.audit_calls()), (2, 1), "none begins meanwhile");
            outcome.open();
            write.await.expect("answered");
        }
        assert_eq!(rig.audits("changed"), 0, "{write_ends_first}");
        assert_eq!(rig.get(PATH).send().await.text(), r#"{"data":"new"}"#);
        rig.audits_end().await;
        rig.finish().await;
    }
}

#[tokio::test]
async fn while_a_write_settles_nothing_is_audited() {
    let rig = audited("100%", "").await;
    rig.origin().on(CALL, Reply::body("{}"));
    rig.ask("PUT", PATH).send().await;
    rig.get(PATH).send().await;
    rig.hit(rig.get(PATH)).await;
    assert_eq!((rig.audits("unsettled"), rig.audit_calls()), (1, 0));
    rig.seconds(3).await;
    rig.get(PATH).send().await;
    rig.hit(rig.get(PATH)).await;
    assert_eq!((rig.audits("same"), rig.audit_calls()), (1, 1));
    rig.finish().await;
}

#[tokio::test]
async fn audits_are_few_and_one_for_each_target() {
    let rig = audited("100%", "concurrency: 100").await;
    let gate = Gate::new();
    for n in 0..6 {
        let path = format!("/api2/json/item/{n}");
        let body = || Reply::body("{}");
        rig.origin().on_each(&format!("GET {path}"), [body(), body().held(&gate)]);
        rig.get(&path).send().await;
        for _ in 0..2 {
            assert!(rig.get(&path).send().await.is_hit());
        }
    }
    until("four audits under way", || rig.origin().calls().len() == 10).await;
    // Of each of the four the second hit, and both of the other two targets.
    assert_eq!(rig.audits("skipped"), 8);
    gate.open();
    rig.audits_end().await;
    assert_eq!((rig.audits("same"), rig.counter("forebay_audits_total")), (4, 12));
    rig.finish().await;
}

#[tokio::test]
async fn clients_come_first() {
    // Half of a burst of four stays for them, whatever is hit.
    let limits = "limits: [{match: reads, rate: 1/h, burst: 4}]\nqueue: {wait: 5s}";
    let rig = audited("100%", limits).await;
    rig.origin().on(CALL, Reply::body("{}"));
    rig.get(PATH).send().await;
    for _ in 0..10 {
        rig.hit(rig.get(PATH)).await;
    }
    assert_eq!((rig.audits("same"), rig.audits("skipped")), (1, 9));
    assert_eq!(rig.counter("forebay_limit_rejected_total"), 0, "no client was turned away");
    for path in ["/api2/json/item/2", "/api2/json/item/3"] {
        assert_eq!(rig.get(path).send().await.status, 200);
    }
    rig.finish().await;

    // Half of the places in flight too.
    let rig = audited("100%", "concurrency: 4").await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::body("{}"));
    rig.origin().on("GET /api2/json/item/2", Reply::numbered().held(&gate));
    rig.get(PATH).send().await;
    rig.hit(rig.get(PATH)).await;
    let (busy, two) = (rig.get("/api2/json/item/2").spawn(), "GET /api2/json/item/2");
    rig.origin().came(two, 1).await;
    rig.hit(rig.get(PATH)).await;
    assert_eq!((rig.audits("same"), rig.audits("skipped")), (2, 0), "three of four are free");
    let forced = |n: usize| rig.get("/api2/json/item/2").field("Cache-Control", &format!("no-cache, x={n}"));
    let more = [forced(1).spawn(), forced(2).spawn()];
    rig.origin().came(two, 3).await;
    rig.hit(rig.get(PATH)).await;
    assert_eq!((rig.audits("same"), rig.audits("skipped")), (2, 1));
    gate.open();
    for reader in [busy].into_iter().chain(more) {
        reader.await.expect("answered");
    }
    rig.finish().await;
}

#[tokio::test]
async fn an_answer_without_a_credential_is_compared_too() {
    let rig = audited("100%", "").await;
    let path = "/api2/json/public/1";
    rig.get(path).anonymous().send().await;
    rig.hit(rig.get(path).anonymous()).await;
    assert_eq!(rig.audits("changed"), 1);
    assert_eq!(rig.origin().last(&format!("GET {path}")).field("authorization"), None);
    rig.finish().await;
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no writer panics").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_what_differed_and_shows_none_of_it() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // The tasks of this test run on its own thread.
    let _here = tracing::subscriber::set_default(subscriber);
    let rig = audited("100%", "").await;
    let answer = |secret: &str| Reply::body(format!(r#"{{"data":{{"name":"{secret}","n":1}}}}"#));
    rig.origin().on_each(CALL, [answer("hunter1"), answer("hunter2")]);
    rig.get(PATH).send().await;
    rig.hit(rig.get(PATH)).await;
    let logged = String::from_utf8(lines.0.lock().expect("no writer panics").clone()).expect("text");
    let line = logged.lines().find(|line| line.contains("differs=")).unwrap_or_else(|| panic!("{logged}"));
    for part in ["WARN", "upstream=lab", "rule=/api2/{format}/item/{id}", "differs=/data/name"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!logged.contains("hunter") && !logged.contains("secret"), "{logged}");
    rig.finish().await;
}

/// The built-in rules in front of a simulated cluster, every hit audited.
async fn in_front_of_a_cluster() -> (Rig, Sim) {
    let config =
        SimConfig { penalty_401: Duration::ZERO, dead_agent_delay: Duration::ZERO, ..SimConfig::default() };
    let sim = Sim::start(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("a free port");
    let apis = vec![format!("http://{}", sim.address())];
    let upstream = "audit: 100%".to_owned();
    (Rig::with(Options { rules: "proxmox".into(), apis, upstream, ..Options::default() }).await, sim)
}

async fn finish(rig: Rig, sim: Sim) {
    rig.audits_end().await;
    rig.finish_with(|| sim.calls()).await;
    sim.stop().await;
}

#[tokio::test]
async fn on_a_quiet_cluster_every_audit_says_same() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let (rig, sim) = in_front_of_a_cluster().await;
    let guest = "/nodes/pve1/qemu/100";
    let more = ["/rrddata", "/agent/network-get-interfaces", "/agent/get-time"];
    let more = more.iter().map(|path| format!("{guest}{path}"));
    let more = more.chain(["/nodes/pve1/rrddata", "/cluster/backup", "/cluster/log"].map(String::from));
    let reads: Vec<String> = cluster::reads().into_iter().chain(more).collect();
    let clients = [(ADMIN_TOKEN, ADMIN_TOKEN_SECRET), (AUDITOR_TOKEN, AUDITOR_TOKEN_SECRET)];
    for round in 0..8 {
        for (name, secret) in clients {
            for path in &reads {
                let ask = rig.get(&format!("/api2/{}{path}", ["json", "extjs"][round / 4]));
                cluster::credential(ask, name, secret).send().await;
            }
        }
        rig.audits_end().await;
        // Not a divisor of any lifetime, so that hits are of every age.
        rig.advance(Duration::from_millis(1_300)).await;
    }
    let lines = String::from_utf8(lines.0.lock().expect("no writer panics").clone()).expect("text");
    assert_eq!(rig.audits("changed"), 0, "{lines}");
    assert_eq!(rig.audits("error"), 0);
    assert!(rig.audits("same") > 500, "only {} of all hits were compared", rig.audits("same"));
    finish(rig, sim).await;
}

#[tokio::test]
async fn what_is_changed_behind_forebay_is_found_and_read_right_the_next_time() {
    let (rig, sim) = in_front_of_a_cluster().await;
    let read = async |path: &str| {
        let ask = rig.get(&format!("/api2/json{path}"));
        cluster::credential(ask, ADMIN_TOKEN, ADMIN_TOKEN_SECRET).send().await
    };
    let truth = |path: &str| {
        let told = sim.change_behind(ADMIN_TOKEN, "GET", path, &[]).map_err(|(status, _)| status);
        told.map(cluster::still)
    };
    let told = |got: &Got| match got.status {
        200 => Ok(cluster::still(serde_json::from_slice::<Value>(&got.body).expect("JSON")["data"].clone())),
        status => Err(status),
    };
    let changes = [
        ("PUT", "/nodes/pve1/qemu/100/config", "description=edited", "/nodes/pve1/qemu/100/config"),
        ("PUT", "/nodes/pve1/dns", "search=elsewhere.example", "/nodes/pve1/dns"),
        ("PUT", "/pools/dev", "comment=elsewhere", "/pools/dev"),
        ("POST", "/storage", "storage=extra&type=dir&path=/mnt", "/storage"),
        ("DELETE", "/storage/extra", "", "/storage/extra"),
    ];
    for (n, (method, change, fields, path)) in (1..).zip(changes) {
        let before = read(path).await;
        assert_eq!(told(&before), truth(path), "{path}");
        let fields: Vec<_> = fields.split('&').filter_map(|field| field.split_once('=')).collect();
        sim.change_behind("root@pam", method, change, &fields).expect("the superuser may");
        assert_ne!(told(&before), truth(path), "{method} {change} changed nothing");
        let hit = read(path).await;
        assert!(hit.is_hit() && told(&hit) == told(&before), "{path}: {}", hit.cache());
        rig.audits_end().await;
        assert_eq!(rig.audits("changed"), n, "{path}");
        let after = read(path).await;
        assert!(!after.is_hit());
        assert_eq!(told(&after), truth(path), "{path}");
    }
    finish(rig, sim).await;
}
