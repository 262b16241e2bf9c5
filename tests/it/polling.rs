//! Operations whose end no client asks for: forebay asks itself, as whoever wrote.

use crate::support::{Gate, Options, Origin, RULES, Reply, Rig, until};

const UPID: &str = "UPID:pve1:0000A1B2:00C3D4E5:65F0A1B2:qmstart:1:root@pam:";
const STATUS: &str =
    "GET /api2/json/nodes/pve1/tasks/UPID:pve1:0000A1B2:00C3D4E5:65F0A1B2:qmstart:1:root@pam:/status";
const LIST: &str = "GET /api2/json/nodes/pve1/tasks";
const WRITE: &str = "/api2/json/nodes/pve1/start/1";
const PATH: &str = "/api2/json/item/1";
const CALL: &str = "GET /api2/json/item/1";

const MORE: &str = r#"
  - {methods: [POST], path: "/api2/{format}/nodes/{node}/start/{id}", invalidates: ["item/{id}"], operation: proxmox-task, settle: 15s}
tasks:
  - {types: [qmstart], invalidates: ["item/{task.id}"], settle: 15s}
"#;

const RUNS: &str = r#"{"data":{"status":"running"}}"#;
const ENDED: &str = r#"{"data":{"status":"stopped","exitstatus":"OK"}}"#;

async fn rig(upstream: &str) -> Rig {
    let rules = format!("{}{}", RULES.trim_end(), MORE);
    let rig = Rig::with(Options { rules, upstream: upstream.into(), ..Options::default() }).await;
    rig.origin().on(&format!("POST {WRITE}"), Rig::task(UPID));
    rig.origin().on(STATUS, Reply::body(RUNS));
    rig
}

/// A write has started a task, and nobody asks after it.
async fn started() -> Rig {
    let rig = rig("").await;
    rig.warm(PATH).await;
    assert_eq!(rig.ask("POST", WRITE).send().await.status, 200);
    rig
}

fn open(rig: &Rig) -> usize {
    rig.app.shared().operations.len()
}

async fn ended(rig: &Rig) {
    until("the end of the operation", || open(rig) == 0).await;
}

fn calls_by_cause(rig: &Rig, cause: &str) -> u64 {
    let text = rig.app.shared().registry.render();
    let wanted = format!("cause=\"{cause}\"");
    let lines = text
        .lines()
        .filter(|line| line.starts_with("forebay_upstream_requests_total{") && line.contains(&wanted));
    lines.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a count")).sum()
}

#[tokio::test]
async fn an_end_that_nobody_asks_for_is_learnt_as_the_writer() {
    let rig = started().await;
    rig.pass_until("two questions", || calls_by_cause(&rig, "operation") == 2).await;
    let asked = rig.origin().last(STATUS);
    assert_eq!(asked.field("authorization"), Some("PVEAPIToken=user@pve!one=secret"));
    assert_eq!(open(&rig), 1);
    let gate = Gate::new();
    rig.origin().on_each(CALL, [Reply::body("the past").held(&gate), Reply::body("the present")]);
    let early = rig.get(PATH).spawn();
    rig.origin().came(CALL, 2).await;
    rig.origin().on(STATUS, Reply::body(ENDED));
    rig.pass_until("the end", || open(&rig) == 0).await;
    // What was under way when it ended is neither joined nor kept.
    assert_eq!(rig.get(PATH).send().await.text(), "the present");
    gate.open();
    assert_eq!(early.await.expect("answered").text(), "the past");
    rig.quiet().await;
    assert_eq!(rig.get(PATH).send().await.text(), "the present");
    let asked = rig.origin().count(STATUS);
    rig.seconds(60).await;
    assert_eq!(rig.origin().count(STATUS), asked, "nothing is asked after the end");
    assert_eq!(calls_by_cause(&rig, "operation"), asked as u64);
    rig.warm(PATH).await;
    rig.finish().await;
}

#[tokio::test]
async fn the_pace_slows_down_and_ends_with_the_cap() {
    let rig = started().await;
    for round in 1..=20 {
        rig.seconds(5).await;
        rig.origin().came(STATUS, round).await;
        until("the answer", || calls_by_cause(&rig, "operation") == round as u64).await;
    }
    rig.seconds(30 * 60).await;
    until("the cap", || open(&rig) == 0).await;
    // A question that left just before it may still be on its way.
    rig.seconds(60).await;
    let asked = rig.origin().count(STATUS);
    assert!((20..=21).contains(&asked), "{asked} questions");
    rig.seconds(60).await;
    assert_eq!(rig.origin().count(STATUS), asked);
    // Past its cap its end counts all the same, if somebody tells of it.
    rig.warm(PATH).await;
    rig.origin().on(STATUS, Reply::body(ENDED));
    rig.get(STATUS.trim_start_matches("GET ")).send().await;
    assert!(!rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn where_a_client_asks_it_costs_nothing() {
    let rig = started().await;
    for round in 1..=10 {
        rig.seconds(2).await;
        rig.get(STATUS.trim_start_matches("GET ")).send().await;
        assert_eq!(rig.origin().count(STATUS), round);
    }
    assert_eq!(calls_by_cause(&rig, "operation"), 0);
    rig.finish().await;
}

#[tokio::test]
async fn without_a_right_nothing_is_asked_and_the_cap_ends_it() {
    for (refusal, asked) in [(401, 1), (403, 1), (500, 3)] {
        let rig = started().await;
        rig.origin().on(STATUS, Reply::status(refusal, "No").with_body("{}"));
        for round in 1..=6 {
            rig.seconds(5).await;
            let answered = round.min(asked);
            until("the answer", || calls_by_cause(&rig, "operation") == answered).await;
        }
        assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled", "{refusal}");
        assert_eq!(rig.origin().count(STATUS) as u64, asked, "{refusal}");
        rig.seconds(30 * 60).await;
        until("the cap", || open(&rig) == 0).await;
        rig.warm(PATH).await;
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_refused_credential_is_refused_for_its_owner_too() {
    let rig = started().await;
    rig.warm("/api2/json/item/2").await;
    rig.origin().on(STATUS, Reply::status(401, "No ticket"));
    rig.seconds(3).await;
    until("the answer", || calls_by_cause(&rig, "operation") == 1).await;
    assert!(!rig.get("/api2/json/item/2").send().await.is_hit(), "what it fetched is overtaken");
    rig.finish().await;
}

#[tokio::test]
async fn an_api_that_is_down_is_asked_again() {
    let rig = started().await;
    let down = [Reply::reset(), Reply::status(596, "Connection timed out"), Reply::body(RUNS).cut()];
    rig.origin().on_each(STATUS, down.into_iter().chain([Reply::body(ENDED)]));
    rig.pass_until("the end", || open(&rig) == 0).await;
    rig.finish().await;
}

#[tokio::test]
async fn few_questions_are_under_way_at_once() {
    let rig = rig("").await;
    let gate = Gate::new();
    let mut polls = Vec::new();
    for number in 0..6 {
        let upid = UPID.replace("0000A1B2", &format!("0000A1B{number}"));
        let status = STATUS.replace(UPID, &upid);
        rig.origin().on(&format!("POST {WRITE}"), Rig::task(&upid));
        rig.origin().on(&status, Reply::body(ENDED).held(&gate));
        rig.ask("POST", WRITE).send().await;
        polls.push(status);
    }
    let asked = || polls.iter().map(|status| rig.origin().count(status)).sum::<usize>();
    for _ in 0..5 {
        rig.seconds(3).await;
        until("two questions", || asked() == 2).await;
    }
    gate.open();
    rig.pass_until("the end of all", || open(&rig) == 0).await;
    assert!(asked() >= 6);
    rig.finish().await;
}

#[tokio::test]
async fn questions_go_on_after_a_reload_and_end_with_the_process() {
    let rig = started().await;
    let settings = forebay::config::load(&rig.directory.path().join("forebay.yaml")).expect("a right file");
    rig.app.reload(settings).await.expect("reloads");
    let gate = Gate::new();
    rig.origin().on(STATUS, Reply::body(RUNS).held(&gate));
    rig.seconds(3).await;
    rig.origin().came(STATUS, 1).await;
    assert!(!format!("{:?}", rig.app.shared().operations.shown(0, 10)).contains("secret"));
    // With a question under way.
    rig.app.drain().await;
}

#[tokio::test]
async fn an_upstream_that_is_another_api_gets_no_old_credential() {
    let mut rig = started().await;
    let other = Origin::start().await;
    let file = rig.directory.path().join("forebay.yaml");
    let text = std::fs::read_to_string(&file).expect("readable");
    let text = text.replace(&rig.origin().address.to_string(), &other.address.to_string());
    std::fs::write(&file, text).expect("writable");
    let settings = forebay::config::load(&file).expect("a right file");
    rig.app.reload(settings).await.expect("reloads");
    for _ in 0..5 {
        rig.seconds(5).await;
        tokio::task::yield_now().await;
    }
    assert_eq!((rig.origin().count(STATUS), other.count(STATUS)), (0, 0));
    rig.origins.push(other);
    rig.finish().await;
}

/// A write whose answer never came, by each way that there is.
async fn lost(rig: &Rig) {
    rig.warm(PATH).await;
    let got = rig.ask("POST", WRITE).send().await;
    assert!([502, 596].contains(&got.status), "{}", got.head);
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
}

fn lost_answers() -> [Reply; 3] {
    [Reply::reset(), Reply::status(596, "Connection timed out"), Rig::task(UPID).cut()]
}

#[tokio::test]
async fn a_lost_answer_settles_when_the_api_lists_nothing_and_time_has_passed() {
    for reply in lost_answers() {
        let rig = rig("").await;
        rig.origin().on(&format!("POST {WRITE}"), reply);
        rig.origin().on(LIST, Reply::body(r#"{"data":[]}"#));
        lost(&rig).await;
        rig.seconds(59).await;
        assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
        assert_eq!(rig.origin().count(LIST), 0, "a call that was given up may go on");
        rig.seconds(1).await;
        ended(&rig).await;
        let asked = rig.origin().last(LIST);
        assert_eq!(asked.target, "/api2/json/nodes/pve1/tasks?source=active&limit=1000");
        assert_eq!(asked.field("authorization"), Some("PVEAPIToken=user@pve!one=secret"));
        rig.warm(PATH).await;
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_lost_answer_whose_task_runs_ends_with_the_task() {
    let rig = rig("").await;
    rig.origin().on(&format!("POST {WRITE}"), Reply::reset());
    rig.origin().on(LIST, Reply::body(format!(r#"{{"data":[{{"upid":"{UPID}","status":"RUNNING"}}]}}"#)));
    lost(&rig).await;
    rig.seconds(60).await;
    until("a name for it", || {
        rig.app.shared().operations.shown(0, 10).iter().all(|operation| operation.task.is_some())
    })
    .await;
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
    rig.origin().on_each(CALL, [Reply::body("the end")]);
    rig.origin().on(STATUS, Reply::body(ENDED));
    rig.pass_until("the end", || open(&rig) == 0).await;
    assert_eq!(rig.origin().count(LIST), 1);
    assert_eq!(rig.warm(PATH).await, "the end");
    rig.finish().await;
}

#[tokio::test]
async fn a_list_that_cannot_be_had_leaves_it_to_the_cap() {
    let full = (0..1_000).map(|n| format!(r#"{{"upid":"{}"}}"#, UPID.replace("C3D4E5", &format!("{n:06X}"))));
    let full = format!(r#"{{"data":[{}]}}"#, full.collect::<Vec<_>>().join(","));
    let ended_all = full.replace(r#""}"#, r#"","endtime":1}"#);
    let cases = [
        Reply::status(403, "Permission check failed").with_body(r#"{"data":null}"#),
        Reply::body(r#"{"data":null}"#),
        Reply::body("<html>"),
        Reply::body(ended_all),
    ];
    for reply in cases {
        let rig = rig("").await;
        rig.origin().on(&format!("POST {WRITE}"), Reply::reset());
        rig.origin().on(LIST, reply);
        lost(&rig).await;
        rig.seconds(55).await;
        for _ in 0..5 {
            rig.seconds(5).await;
            tokio::task::yield_now().await;
        }
        rig.origin().came(LIST, 1).await;
        assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
        rig.seconds(30 * 60).await;
        ended(&rig).await;
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_half_way_is_asked_for_too() {
    let rig = rig("").await;
    rig.warm(PATH).await;
    let gate = Gate::new();
    rig.origin().on(&format!("POST {WRITE}"), Rig::task(UPID).held(&gate));
    let client = rig.ask("POST", WRITE).sent().await;
    rig.origin().came(&format!("POST {WRITE}"), 1).await;
    client.abort();
    gate.open();
    until("the operation", || open(&rig) == 1).await;
    rig.origin().on(STATUS, Reply::body(ENDED));
    rig.seconds(3).await;
    ended(&rig).await;
    rig.finish().await;
}

#[tokio::test]
async fn strangers_hold_no_longer_than_a_call_goes_on() {
    let rig = rig("").await;
    rig.warm(PATH).await;
    rig.origin().on(&format!("POST {WRITE}"), Reply::reset());
    rig.ask("POST", WRITE).token("nobody").send().await;
    rig.origin().on(LIST, Reply::body(r#"{"data":[]}"#));
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
    rig.seconds(60).await;
    ended(&rig).await;
    rig.finish().await;
}
