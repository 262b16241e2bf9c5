//! What is kept warm: fetched again before it expires, while somebody uses it or because a job names it.
//!
//! Time moves only where a test moves it.

mod passes;

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Ask, Call, Options, RULES, Reply, Rig};

const PATH: &str = "/api2/json/warm/1";
const CALL: &str = "GET /api2/json/warm/1";

const WARM: &str = r#"
  - {path: "/api2/{format}/warm/{id}", ttl: 10s, stale_if_error: 1h, groups: ["item/{id}"], keep_warm: {every: 30s, while_used_within: 1m}}
writes:
"#;

async fn rig_with(upstream: &str) -> Rig {
    let rules = RULES.replacen("\nwrites:\n", WARM, 1);
    Rig::with(Options { rules, upstream: format!("{upstream}\naccept_for: 1d"), ..Options::default() }).await
}

async fn rig() -> Rig {
    rig_with("").await
}

/// Lets `seconds` pass, with all that is due meanwhile.
async fn pass(rig: &Rig, seconds: u64) {
    for _ in 0..seconds * 2 {
        rig.advance(Duration::from_millis(500)).await;
        settle(rig).await;
    }
}

/// Lets what has begun come to its end.
async fn settle(rig: &Rig) {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    rig.quiet().await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn kept(rig: &Rig) -> forebay::proxy::WarmShown {
    rig.app.sites().all()[0].kept_warm()
}

fn changing(rig: &Rig) {
    let bodies = (0..200).map(|n| Reply::body(format!("{{\"data\":{n}}}")));
    rig.origin().on_each(CALL, bodies);
}

#[tokio::test]
async fn what_is_used_never_expires() {
    let rig = rig().await;
    changing(&rig);
    rig.warm(PATH).await;
    for second in 0..60 {
        pass(&rig, 1).await;
        assert!(rig.get(PATH).send().await.is_hit(), "after {second} s");
    }
    let calls = rig.origin().count(CALL);
    assert!((7..=10).contains(&calls), "one in eight seconds, somewhat early: {calls}");
    assert_eq!(rig.counter_of("forebay_upstream_requests_total", "cause=\"refresh\""), calls as u64 - 1);
    rig.finish().await;
}

#[tokio::test]
async fn what_does_not_change_is_fetched_more_seldom() {
    let rig = rig().await;
    rig.origin().on(CALL, Reply::body("{\"data\":1}"));
    rig.warm(PATH).await;
    pass(&rig, 55).await;
    let calls = rig.origin().count(CALL);
    assert!((3..=4).contains(&calls), "at once, after 8, 24 and 54 s, somewhat early: {calls}");
    rig.finish().await;
}

#[tokio::test]
async fn what_nobody_uses_is_left_alone() {
    let rig = rig().await;
    changing(&rig);
    rig.warm(PATH).await;
    pass(&rig, 30).await;
    // A minute from here on.
    assert!(rig.get(PATH).send().await.is_hit());
    rig.pass_until("the end", || kept(&rig).kept == 0).await;
    let calls = rig.origin().count(CALL);
    assert!((10..=14).contains(&calls), "for a minute and a half: {calls}");
    pass(&rig, 60).await;
    assert_eq!(rig.origin().count(CALL), calls);
    assert!(!rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn each_partition_is_fetched_with_its_own_credential() {
    // Forebay has a credential too, which is for what its jobs name.
    let (rig, _files) = synced().await;
    rig.warm(PATH).await;
    let other = || rig.get(PATH).token("other");
    other().send().await;
    let used = |credential: &str| {
        let calls = rig.origin().calls();
        let is_its = |call: &&Call| call.target == PATH && call.field("authorization") == Some(credential);
        calls.iter().filter(is_its).count()
    };
    let of = |name: &str| used(&format!("PVEAPIToken=user@pve!{name}=secret"));
    rig.pass_until("both", || rig.origin().count(CALL) >= 5).await;
    settle(&rig).await;
    assert_eq!((of("one"), of("other"), used(OWN)), (2, 2, 0));
    let (one, two) = (rig.get(PATH).send().await, other().send().await);
    assert!(one.is_hit() && two.is_hit());
    assert_ne!(one.text(), two.text());
    rig.finish().await;
}

#[tokio::test]
async fn a_refused_credential_is_not_used_again() {
    let rig = rig().await;
    rig.warm(PATH).await;
    rig.origin().on(CALL, Reply::status(401, "no ticket").with_body("{}"));
    rig.pass_until("the end", || kept(&rig).kept == 0).await;
    assert_eq!(rig.origin().count(CALL), 2);
    rig.finish().await;
}

#[tokio::test]
async fn what_is_gone_is_not_brought_back() {
    let rig = rig().await;
    rig.warm(PATH).await;
    rig.origin().on(CALL, Reply::status(404, "Not Found").with_body("{}"));
    rig.pass_until("the end", || kept(&rig).kept == 0).await;
    assert_eq!(rig.origin().count(CALL), 2);
    rig.finish().await;
}

#[tokio::test]
async fn an_api_that_is_down_is_asked_more_and_more_seldom() {
    let rig = rig_with("retry: {attempts: 1}").await;
    rig.origin().on(CALL, Reply::body("{\"data\":1}"));
    rig.warm(PATH).await;
    rig.origin().on(CALL, Reply::status(503, "down"));
    for _ in 0..12 {
        pass(&rig, 10).await;
        assert_eq!(rig.get(PATH).send().await.text(), "{\"data\":1}", "the last known state");
    }
    let asked = rig.counter_of("forebay_upstream_requests_total", "cause=\"refresh\"");
    assert!((3..=5).contains(&asked), "after 8, 24, 56 and 120 s, somewhat early: {asked}");
    assert_eq!(kept(&rig).errors, asked);
    rig.origin().on(CALL, Reply::body("{\"data\":2}"));
    rig.pass_until("the new state", || kept(&rig).consecutive_errors == 0).await;
    assert_eq!(rig.get(PATH).send().await.text(), "{\"data\":2}");
    rig.finish().await;
}

#[tokio::test]
async fn what_a_write_overtook_is_fetched_when_it_has_settled() {
    let rig = rig().await;
    changing(&rig);
    let before = rig.warm(PATH).await;
    assert_eq!(rig.ask("PUT", "/api2/json/item/1").send().await.status, 200);
    rig.pass_until("the next", || kept(&rig).fetches == 1).await;
    let after = rig.get(PATH).send().await;
    assert!(after.is_hit(), "{}", after.cache());
    assert_ne!(after.text(), before);
    rig.finish().await;
}

#[tokio::test]
async fn rules_that_keep_nothing_warm_any_more_end_it() {
    let rig = rig().await;
    rig.warm(PATH).await;
    assert_eq!(kept(&rig).kept, 1);
    std::fs::write(rig.directory.path().join("rules.yaml"), RULES).expect("writable");
    rig.app.reload_file().await.expect("the file is right");
    rig.pass_until("the end", || kept(&rig).kept == 0).await;
    assert_eq!(rig.origin().count(CALL), 1);
    rig.finish().await;
}

const OWN: &str = "PVEAPIToken=forebay@pve!own=secret";

/// Forebay with a job that is done every 30 s.
async fn synced() -> (Rig, tempfile::TempDir) {
    let files = tempfile::tempdir().expect("a directory for temporary files");
    let token = files.path().join("token");
    std::fs::write(&token, format!("Authorization: {OWN}\n")).expect("writable");
    let rig = rig_with(&format!(
        "credential_file: {}\nsync: [{{path: '{PATH}?full=1', every: 30s, full: 2m}}]",
        token.display()
    ))
    .await;
    (rig, files)
}

fn own(rig: &Rig) -> Ask {
    rig.get(&format!("{PATH}?full=1")).anonymous().field("Authorization", OWN)
}

async fn admin(rig: &Rig, method: &str, path: &str) -> Value {
    let address = rig.app.admin_address().expect("there is one");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn a_job_is_done_before_anybody_asks_and_for_its_credential_alone() {
    let (rig, _files) = synced().await;
    rig.origin().on(CALL, Reply::body("{\"data\":1}"));
    rig.pass_until("the first", || kept(&rig).fetches == 1).await;
    assert!(own(&rig).send().await.is_hit());
    assert!(!rig.get(&format!("{PATH}?full=1")).send().await.is_hit(), "another credential");
    let stats = admin(&rig, "GET", "/api/sync/stats").await;
    let stats = &stats["upstreams"][0];
    assert_eq!((&stats["jobs"], &stats["errors"], &stats["running"]), (&1.into(), &0.into(), &false.into()));
    assert_eq!((&stats["quick"], &stats["full"]), (&2.into(), &0.into()), "nothing is quiet yet");
    assert!(stats["last_quick_pass_seconds"].as_f64().is_some_and(|ago| ago < 5.0), "{stats}");
    assert_eq!(stats["last_full_pass_seconds"], Value::Null);
    pass(&rig, 29).await;
    // The change feed is read with it too.
    let by_own = || {
        let calls = rig.origin().calls();
        let is_jobs =
            |call: &&Call| call.target.contains("full=1") && call.field("authorization") == Some(OWN);
        calls.iter().filter(is_jobs).count()
    };
    let stats = &admin(&rig, "GET", "/api/sync/stats").await["upstreams"][0];
    assert_eq!((&stats["quick"], &stats["full"]), (&1.into(), &1.into()), "what the client used is quiet");
    let before = by_own();
    assert!((1..=2).contains(&before), "every half minute: {before}");
    assert_eq!(admin(&rig, "POST", "/api/sync/trigger").await["triggered"], 2);
    rig.pass_until("at once", || by_own() > before).await;
    rig.finish().await;
}

#[tokio::test]
async fn a_job_that_fails_is_an_issue_until_it_is_done() {
    let (rig, _files) = synced().await;
    rig.origin().on(CALL, Reply::status(401, "no ticket").with_body("{}"));
    rig.pass_until("three failures", || kept(&rig).consecutive_errors == 3).await;
    let health = admin(&rig, "GET", "/api/sync/health").await;
    assert_eq!(health["healthy"], false);
    assert_eq!(health["issues"][0], format!("lab: {PATH}?full=1 could not be fetched 3 times in a row"));
    rig.origin().on(CALL, Reply::body("{\"data\":1}"));
    rig.pass_until("the end of it", || kept(&rig).consecutive_errors == 0).await;
    assert_eq!(admin(&rig, "GET", "/api/sync/health").await["healthy"], true);
    rig.finish().await;
}

#[tokio::test]
async fn a_job_that_a_reload_brings_is_done_although_nothing_was_kept_before() {
    let (rig, _files) = synced().await;
    let file = rig.directory.path().join("forebay.yaml");
    let text = std::fs::read_to_string(&file).expect("readable");
    let reload = async |text: &str| {
        std::fs::write(&file, text).expect("writable");
        rig.app.reload_file().await.expect("a good file");
    };
    let (without, job) = text.split_once("    sync:").expect("it has one");
    let rest = job.split_once('\n').expect("a line").1;
    reload(&format!("{without}{rest}")).await;
    rig.pass_until("the end", || kept(&rig).kept == 0).await;
    pass(&rig, 2).await;
    let before = rig.origin().count(CALL);
    reload(&text).await;
    rig.pass_until("the job", || rig.origin().count(CALL) > before).await;
    assert_eq!(kept(&rig).jobs, 1);
    rig.finish().await;
}
