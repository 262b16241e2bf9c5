//! Writes that meet: one call for those that are the same, the last of those that are held, and what everybody
//! sees of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::task::JoinHandle;

use crate::support::{Ask, Gate, Got, Options, Reply, Rig, until, within};

const RULES: &str = r#"
api: none
reads:
  - {path: "/item/{id}", ttl: 1h, groups: ["item/{id}"]}
  - {path: "/wide/{id}", ttl: 1h, groups: [wide]}
writes:
  - {methods: [PUT, DELETE], path: "/item/{id}", invalidates: ["item/{id}"], collapse: true, settle: 0s}
  - {methods: [POST], path: "/item/{id}", invalidates: ["item/{id}"], settle: 0s}
  - {methods: [POST], path: "/start/{id}", invalidates: ["item/{id}"], collapse: true, idempotent: true, settle: 0s}
  - {methods: [POST], path: "/other/{id}", invalidates: ["item/{id}"], settle: 0s}
  - {methods: [PUT], path: "/wide/{id}", invalidates: [wide], collapse: true, settle: 0s}
  - {methods: [POST], path: "/wider", invalidates: [wide], settle: 0s}
  - methods: [PUT, DELETE]
    path: "/held/{id}"
    invalidates: ["item/{id}"]
    settle: 0s
    batch: {window: WINDOW, critical: [{header: Urgent}, {field: power, matches: ["off"]}]}
  - {methods: [POST], path: "/held/{id}", invalidates: ["item/{id}"], settle: 0s}
"#;

const PATH: &str = "/item/1";
const CALL: &str = "PUT /item/1";
const HELD: &str = "/held/1";
const HELD_CALL: &str = "PUT /held/1";

async fn rig() -> Rig {
    with_window("2s").await
}

/// Where nothing but what is tested ends the window.
async fn with_window(window: &str) -> Rig {
    let rig = Rig::with(Options { rules: RULES.replace("WINDOW", window), ..Options::default() }).await;
    // Only of whom the API knows anything is held.
    for token in ["one", "two"] {
        rig.get(PATH).token(token).send().await;
    }
    rig
}

fn put(rig: &Rig, target: &str, content: &str) -> Ask {
    rig.ask("PUT", target).field("Content-Type", "application/json").body(content)
}

async fn waiting(rig: &Rig, n: usize) {
    until(&format!("{n} writers"), || rig.app.shared().writers_waiting() >= n).await;
}

async fn all(writers: Vec<JoinHandle<Got>>) -> Vec<Got> {
    let mut answers = Vec::new();
    for writer in writers {
        answers.push(writer.await.expect("answered"));
    }
    answers
}

fn met(rig: &Rig, how: &str) -> u64 {
    rig.counter_of("forebay_writes_met_total", &format!("how=\"{how}\""))
}

fn content(rig: &Rig, call: &str) -> String {
    String::from_utf8(rig.origin().last(call).body).expect("text")
}

/// The answer behind the leave to send content, where that was asked for.
async fn final_answer(ask: Ask) -> Got {
    let mut opened = ask.open().await;
    if opened.status() == 100 {
        opened.read_head().await;
    }
    opened.rest().await
}

/// Lets whatever can happen happen, where nothing should.
async fn nothing_more() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_same_write_at_the_same_time_is_one_call_that_is_judged_before_anybody_is_answered() {
    let rig = rig().await;
    let before = rig.warm(PATH).await;
    let (head, body) = (Gate::new(), Gate::new());
    rig.origin().on(CALL, Reply::numbered().held(&head).held_before_body(&body));
    let writer = |n| put(&rig, PATH, r#"{"a":1}"#).field("User-Agent", &format!("tool/{n}"));
    let writers: Vec<_> = (0..20).map(|n| writer(n).field("traceparent", &format!("{n}")).spawn()).collect();
    waiting(&rig, 20).await;
    assert!(rig.get(PATH).send().await.is_hit(), "nothing has happened yet, as far as anybody knows");
    head.open();
    until("the answer's head", || rig.app.shared().writers_waiting() == 0).await;
    let mut got = rig.get(PATH).send().await;
    let mut tries = 0..10_000;
    while got.is_hit() && tries.next().is_some() && got.text() == before {
        got = rig.get(PATH).send().await;
    }
    assert_ne!(got.text(), before);
    assert!(writers.iter().all(|writer| !writer.is_finished()), "nobody has an answer yet");
    body.open();
    let answers = all(writers).await;
    assert!(answers.iter().all(|got| got.status == 200 && got.whole && got.body == answers[0].body));
    let said: Vec<&str> = answers.iter().map(|got| got.cache()).collect();
    assert_eq!(said.iter().filter(|said| **said == "fwd=method; collapsed; detail=write").count(), 19);
    assert_eq!(said.iter().filter(|said| **said == "fwd=method; detail=write").count(), 1);
    assert_eq!((rig.origin().count(CALL), met(&rig, "collapsed"), met(&rig, "batched")), (1, 19, 0));
    rig.finish().await;
}

#[tokio::test]
async fn what_differs_in_anything_that_matters_is_a_call_of_its_own() {
    type Make = fn(&Rig) -> Ask;
    let same: Make = |rig| put(rig, PATH, "{}");
    let address: IpAddr = [127, 0, 0, 2].into();
    let others: [(&str, Make); 15] = [
        ("the content", |rig| put(rig, PATH, "{ }")),
        ("the query", |rig| put(rig, "/item/1?x", "{}")),
        ("the spelling of the path", |rig| put(rig, "/item/%31", "{}")),
        ("the method", |rig| rig.ask("DELETE", PATH).field("Content-Type", "application/json").body("{}")),
        ("the credential", |rig| put(rig, PATH, "{}").token("two")),
        ("no credential", |rig| put(rig, PATH, "{}").anonymous()),
        ("the media type", |rig| rig.ask("PUT", PATH).field("Content-Type", "text/plain").body("{}")),
        ("what is accepted", |rig| put(rig, PATH, "{}").field("Accept", "text/html")),
        ("an idempotency key", |rig| put(rig, PATH, "{}").field("Idempotency-Key", "2")),
        ("a condition", |rig| put(rig, PATH, "{}").field("If-Match", "\"x\"")),
        ("a date", |rig| put(rig, PATH, "{}").field("If-Unmodified-Since", "Sat, 01 Jan 2022 00:00:00 GMT")),
        ("a wish to be asked", |rig| put(rig, PATH, "{}").field("Expect", "100-continue")),
        ("a part", |rig| put(rig, PATH, "{}").field("Content-Range", "bytes 0-1/2")),
        ("an upload", |rig| {
            rig.ask("PUT", PATH).field("Content-Type", "multipart/form-data; boundary=x").body("{}")
        }),
        ("too much to be held", |rig| put(rig, PATH, &" ".repeat(1 << 20 | 1))),
    ];
    let calls = |rig: &Rig| rig.origin().calls().iter().filter(|call| call.method != "GET").count();
    let separate = async |first: Make, second: &dyn Fn(&Rig) -> Ask, what: &str| {
        let rig = rig().await;
        let gate = Gate::new();
        for call in [CALL, "PUT /item/%31", "DELETE /item/1", "POST /item/1", "PUT /wide/1"] {
            rig.origin().on(call, Reply::numbered().held(&gate));
        }
        let first = first(&rig).spawn();
        until("the first call", || calls(&rig) == 1).await;
        let second = tokio::spawn(final_answer(second(&rig)));
        until(what, || calls(&rig) == 2).await;
        gate.open();
        let answers = all(vec![first, second]).await;
        assert!(answers.iter().all(|got| got.status == 200 && !got.cache().contains("collapsed")), "{what}");
        assert_ne!(answers[0].body, answers[1].body, "{what}");
        rig.finish().await;
    };
    for (what, other) in others {
        separate(same, &other, what).await;
    }
    // What is alone itself is not joined either.
    separate(|rig| put(rig, PATH, "{}").field("If-Match", "\"x\""), &same, "after a condition").await;
    // Nobody knows whether they are the same client.
    let anonymous: Make = |rig| put(rig, PATH, "{}").anonymous();
    separate(anonymous, &|rig| anonymous(rig).from(address), "another address").await;
    // A rule that does not say so.
    let post: Make = |rig| rig.ask("POST", PATH);
    separate(post, &post, "no collapse").await;
}

#[tokio::test]
async fn deletes_and_what_a_rule_calls_idempotent_meet_too() {
    let rig = rig().await;
    for (method, path) in [("DELETE", PATH), ("POST", "/start/1")] {
        let (gate, call) = (Gate::new(), format!("{method} {path}"));
        rig.origin().on(&call, Reply::status(204, "Done").held(&gate));
        let writers: Vec<_> = (0..3).map(|_| rig.ask(method, path).spawn()).collect();
        waiting(&rig, 3).await;
        gate.open();
        assert!(all(writers).await.iter().all(|got| (got.status, got.reason.as_str()) == (204, "Done")));
        assert_eq!(rig.origin().count(&call), 1);
    }
    rig.finish().await;
}

#[tokio::test]
async fn what_came_in_between_is_never_undone_by_joining() {
    // How it is changed in between, and what is written before and after.
    let cases: [(&str, &str, &str); 5] = [
        ("PUT", PATH, PATH),
        ("POST", "/item/1", PATH),
        ("POST", "/item/1/below", PATH),
        ("POST", "/other/1", PATH),
        ("POST", "/wider", "/wide/1"),
    ];
    for (method, between, path) in cases {
        let rig = rig().await;
        let (gate, call) = (Gate::new(), format!("PUT {path}"));
        rig.origin().on_each(&call, [Reply::numbered().held(&gate), Reply::numbered()]);
        let first = put(&rig, path, r#"{"a":1}"#).spawn();
        rig.origin().came(&call, 1).await;
        let other = rig.ask(method, between).field("Content-Type", "application/json").body(r#"{"a":2}"#);
        assert_eq!(other.send().await.status, 200);
        let again = put(&rig, path, r#"{"a":1}"#).send().await;
        assert_eq!((again.status, again.cache()), (200, "fwd=method; detail=write"), "{between}");
        gate.open();
        assert_eq!(first.await.expect("answered").status, 200);
        rig.finish().await;
    }
    // Also while it is under way, and of what it says nobody knows.
    let rig = rig().await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&gate));
    rig.origin().on("POST /other/1", Reply::numbered().held(&gate));
    let mut writers = vec![put(&rig, PATH, "{}").spawn()];
    rig.origin().came(CALL, 1).await;
    writers.push(rig.ask("POST", "/other/1").spawn());
    rig.origin().came("POST /other/1", 1).await;
    writers.push(put(&rig, PATH, "{}").spawn());
    rig.origin().came(CALL, 2).await;
    // Nor is what began while something else was under way.
    writers.push(put(&rig, PATH, "{}").spawn());
    rig.origin().came(CALL, 3).await;
    gate.open();
    all(writers).await;
    rig.finish().await;
}

#[tokio::test]
async fn whoever_leaves_takes_nobody_along_and_no_write() {
    let rig = rig().await;
    let before = rig.warm(PATH).await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&gate));
    let first = put(&rig, PATH, "{}").sent().await;
    rig.origin().came(CALL, 1).await;
    let writers: Vec<_> = (0..3).map(|_| put(&rig, PATH, "{}").spawn()).collect();
    waiting(&rig, 4).await;
    first.abort();
    gate.open();
    assert!(all(writers).await.iter().all(|got| got.status == 200 && got.whole));
    // And where nobody stays.
    rig.warm(PATH).await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&gate));
    let (a, b) = (put(&rig, PATH, "{}").sent().await, put(&rig, PATH, "{}").sent().await);
    waiting(&rig, 2).await;
    a.abort();
    b.abort();
    gate.open();
    until("its outcome is known", || rig.app.shared().writers_waiting() == 0).await;
    until("and counts", || !rig.counter("forebay_invalidations_total").eq(&1)).await;
    assert_ne!(rig.get(PATH).send().await.text(), before);
    assert_eq!(rig.origin().count(CALL), 2);
    rig.finish().await;
}

#[tokio::test]
async fn a_failure_is_everybodys_and_an_unknown_outcome_holds_what_it_may_have_changed() {
    // What everybody gets, and whether nobody knows what became of it.
    for (reply, status, unknown) in [
        (Reply::reset(), 502, true),
        (Reply::garbage(), 502, true),
        (Reply::status(409, "Conflict"), 409, false),
        (Reply::status(401, "No"), 401, false),
        (Reply::body("0123456789").cut(), 502, false),
    ] {
        let rig = rig().await;
        rig.warm(PATH).await;
        let gate = Gate::new();
        rig.origin().on(CALL, reply.held(&gate));
        let writers: Vec<_> = (0..4).map(|_| put(&rig, PATH, "{}").spawn()).collect();
        waiting(&rig, 4).await;
        gate.open();
        let answers = all(writers).await;
        assert!(answers.iter().all(|got| got.status == status), "{status}: {}", answers[0].head);
        assert_eq!((rig.origin().count(CALL), met(&rig, "collapsed")), (1, 3));
        assert_eq!(rig.app.shared().operations.len(), usize::from(unknown), "{status}");
        assert!(!rig.get(PATH).send().await.is_hit(), "{status}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_task_that_several_writes_started_is_one() {
    let rules = r#"
api: proxmox
reads:
  - {path: "/api2/{format}/item/{id}", ttl: 10s, groups: ["item/{id}"]}
writes:
  - methods: [POST]
    path: "/api2/{format}/item/{id}"
    invalidates: ["item/{id}"]
    operation: proxmox-task
    collapse: true
    idempotent: true
"#;
    let rig = Rig::with(Options { rules: rules.into(), ..Options::default() }).await;
    let (gate, call) = (Gate::new(), "POST /api2/json/item/1");
    let upid = "UPID:pve1:0000A1B2:00C3D4E5:65F0A1B2:qmstart:1:user@pve:";
    rig.origin().on(call, Rig::task(upid).held(&gate));
    let writers: Vec<_> = (0..5).map(|_| rig.ask("POST", "/api2/json/item/1").spawn()).collect();
    waiting(&rig, 5).await;
    gate.open();
    assert!(all(writers).await.iter().all(|got| got.text().contains(upid)));
    assert_eq!((rig.origin().count(call), rig.app.shared().operations.len()), (1, 1));
    assert!(rig.get("/api2/json/item/1").send().await.cache().contains("detail=unsettled"));
    // Whoever asks after it, it ends once, and for all.
    let status = format!("/api2/json/nodes/pve1/tasks/{upid}/status");
    let ended = r#"{"data":{"status":"stopped","exitstatus":"OK"}}"#;
    rig.origin().on(&format!("GET {status}"), Reply::body(ended));
    rig.get(&status).send().await;
    assert!(rig.app.shared().operations.is_empty());
    rig.finish().await;
}

#[tokio::test]
async fn the_last_of_rapid_writes_is_sent_when_the_window_is_over_and_answers_all() {
    let rig = rig().await;
    let mut writers = Vec::new();
    for n in 1..=5 {
        writers.push(put(&rig, HELD, &format!(r#"{{"a":{n}}}"#)).spawn());
        waiting(&rig, n).await;
    }
    rig.seconds(1).await;
    nothing_more().await;
    assert_eq!((rig.origin().count(HELD_CALL), rig.app.shared().writes_held()), (0, 1));
    rig.seconds(1).await;
    let answers = all(writers).await;
    assert_eq!((rig.origin().count(HELD_CALL), content(&rig, HELD_CALL).as_str()), (1, r#"{"a":5}"#));
    assert!(answers.iter().all(|got| got.status == 200 && got.body == answers[0].body));
    let said: Vec<&str> = answers.iter().map(|got| got.cache()).collect();
    assert_eq!(said[..4], ["fwd=method; collapsed; detail=batched"; 4]);
    assert_eq!(said[4], "fwd=method; detail=batched");
    assert_eq!((met(&rig, "batched"), met(&rig, "collapsed")), (4, 0));
    // One alone is held as long, since nobody knows what comes.
    let alone = put(&rig, HELD, r#"{"a":6}"#).spawn();
    waiting(&rig, 1).await;
    rig.seconds(2).await;
    assert_eq!(alone.await.expect("answered").cache(), "fwd=method; detail=batched");
    rig.finish().await;
}

#[tokio::test]
async fn while_a_write_is_held_its_writer_sees_what_is_and_afterwards_nothing_of_before() {
    let rig = rig().await;
    let before = rig.warm(PATH).await;
    let gate = Gate::new();
    rig.origin().on(HELD_CALL, Reply::numbered().held(&gate));
    let writer = put(&rig, HELD, r#"{"a":1}"#).spawn();
    waiting(&rig, 1).await;
    let got = rig.get(PATH).send().await;
    assert!(got.is_hit() && got.text() == before, "the API has not been told yet");
    let got = rig.get(PATH).field("Cache-Control", "no-cache").send().await;
    assert!(got.cache().contains("detail=unsettled"), "{}", got.cache());
    rig.seconds(2).await;
    rig.origin().came(HELD_CALL, 1).await;
    let during = rig.get(PATH).send().await;
    assert!(!during.is_hit(), "kept for a second at most: {}", during.cache());
    gate.open();
    writer.await.expect("answered");
    let after = rig.get(PATH).send().await;
    assert!(!after.is_hit() && after.text() != during.text(), "{}", after.cache());
    assert!(rig.warm(PATH).await == after.text(), "it has settled");
    rig.finish().await;
}

#[tokio::test]
async fn what_does_not_set_all_of_it_sends_what_is_held_and_comes_behind() {
    let rig = rig().await;
    let gate = Gate::new();
    rig.origin().on_each(HELD_CALL, [Reply::numbered().held(&gate), Reply::numbered()]);
    let first = put(&rig, HELD, r#"{"a":1,"b":1}"#).spawn();
    waiting(&rig, 1).await;
    let second = put(&rig, HELD, r#"{"a":2}"#).spawn();
    rig.origin().came(HELD_CALL, 1).await;
    assert_eq!(content(&rig, HELD_CALL), r#"{"a":1,"b":1}"#);
    rig.seconds(3).await;
    nothing_more().await;
    assert_eq!(rig.origin().count(HELD_CALL), 1, "in their order, whatever the time");
    gate.open();
    assert!(all(vec![first, second]).await.iter().all(|got| got.cache() == "fwd=method; detail=batched"));
    assert_eq!((rig.origin().count(HELD_CALL), content(&rig, HELD_CALL).as_str()), (2, r#"{"a":2}"#));
    rig.finish().await;
}

#[tokio::test]
async fn what_touches_a_held_write_has_it_sent_and_waits_for_its_end() {
    for (method, path) in [("POST", HELD), ("POST", "/other/1"), ("DELETE", PATH), ("POST", "/held/1/below")]
    {
        let rig = with_window("30s").await;
        let (gate, call) = (Gate::new(), format!("{method} {path}"));
        rig.origin().on(HELD_CALL, Reply::numbered().held(&gate));
        let held = put(&rig, HELD, "{}").spawn();
        waiting(&rig, 1).await;
        let unrelated = rig.ask("POST", "/other/2").send().await;
        assert_eq!((unrelated.status, rig.origin().count(HELD_CALL)), (200, 0));
        let after = rig.ask(method, path).spawn();
        rig.origin().came(HELD_CALL, 1).await;
        nothing_more().await;
        assert_eq!(rig.origin().count(&call), 0, "{call}");
        gate.open();
        assert!(all(vec![held, after]).await.iter().all(|got| got.status == 200));
        let order: Vec<_> = rig.origin().calls().into_iter().map(|call| call.target).collect();
        let at = |target: &str| order.iter().rposition(|found| found == target);
        assert!(at(HELD) <= at(path), "{order:?}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn what_is_critical_is_never_held() {
    // It takes what it supersedes along.
    let rig = with_window("30s").await;
    let held = put(&rig, HELD, r#"{"a":1}"#).spawn();
    waiting(&rig, 1).await;
    // The field that says so makes it another request, so that what is held is sent as well.
    let urgent = put(&rig, HELD, r#"{"a":2}"#).field("Urgent", "yes").send().await;
    assert_eq!(urgent.cache(), "fwd=method; detail=write");
    held.await.expect("answered");
    let held = put(&rig, HELD, r#"{"power":"on"}"#).spawn();
    waiting(&rig, 1).await;
    let off = put(&rig, HELD, r#"{"power":"off"}"#).send().await;
    let held = held.await.expect("answered");
    assert_eq!(
        (off.cache(), held.cache()),
        ("fwd=method; detail=write", "fwd=method; collapsed; detail=batched")
    );
    assert_eq!((off.text(), content(&rig, HELD_CALL).as_str()), (held.text(), r#"{"power":"off"}"#));
    // And waits for nothing.
    let gate = Gate::new();
    rig.origin().on(HELD_CALL, Reply::numbered().held(&gate));
    let calls = rig.origin().count(HELD_CALL);
    let held = put(&rig, HELD, r#"{"b":1}"#).spawn();
    waiting(&rig, 1).await;
    let off = put(&rig, HELD, r#"{"power":"off"}"#).spawn();
    rig.origin().came(HELD_CALL, calls + 2).await;
    gate.open();
    assert!(all(vec![held, off]).await.iter().all(|got| got.status == 200));
    rig.finish().await;
}

#[tokio::test]
async fn credentials_never_meet_and_keep_their_order() {
    let rig = with_window("30s").await;
    let gate = Gate::new();
    rig.origin().on_each(HELD_CALL, [Reply::numbered().held(&gate), Reply::numbered()]);
    let one = put(&rig, HELD, r#"{"a":1}"#).spawn();
    waiting(&rig, 1).await;
    let two = put(&rig, HELD, r#"{"a":1}"#).token("two").spawn();
    rig.origin().came(HELD_CALL, 1).await;
    gate.open();
    let one = one.await.expect("answered");
    let three = put(&rig, HELD, r#"{"a":1}"#).spawn();
    let two = two.await.expect("answered");
    assert_ne!(one.body, two.body);
    assert!(rig.origin().last(HELD_CALL).head.contains("!two="));
    rig.app.shared().hold_no_more_writes();
    three.await.expect("answered");
    rig.finish().await;
}

#[tokio::test]
async fn some_are_never_held() {
    let rig = with_window("30s").await;
    type Make = fn(&Rig) -> Ask;
    let cases: [(&str, Make); 6] = [
        ("of somebody whom the API does not know", |rig| put(rig, HELD, "{}").token("stranger")),
        ("a condition", |rig| put(rig, HELD, "{}").field("If-None-Match", "*")),
        ("Expect", |rig| put(rig, HELD, "{}").field("Expect", "100-continue")),
        ("too large", |rig| put(rig, HELD, &" ".repeat(1 << 20 | 1))),
        ("more fields than are read", |rig| put(rig, &format!("{HELD}?{}", "a&".repeat(1000)), "{}")),
        ("another rule", |rig| rig.ask("POST", HELD)),
    ];
    for (n, (what, make)) in cases.into_iter().enumerate() {
        let got = within(what, final_answer(make(&rig))).await;
        assert_eq!((got.status, got.cache()), (200, "fwd=method; detail=write"), "{what}");
        assert_eq!(rig.app.shared().writes_held(), 0, "{n}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn what_the_api_takes_for_a_condition_or_a_command_is_not_held() {
    let rules = r#"
api: proxmox
reads:
  - {path: "/api2/{format}/item/{id}", ttl: 10s, groups: ["item/{id}"]}
writes:
  - methods: [PUT]
    path: "/api2/{format}/item/{id}"
    invalidates: ["item/{id}"]
    collapse: true
    batch: {window: 30s}
"#;
    let rig = Rig::with(Options { rules: rules.into(), ..Options::default() }).await;
    let (path, call) = ("/api2/json/item/1", "PUT /api2/json/item/1");
    rig.get(path).send().await;
    let form = "application/x-www-form-urlencoded";
    let write = |target: &str, body: &str| rig.ask("PUT", target).field("Content-Type", form).body(body);
    for (target, body) in [
        (path, "delete=net0"),
        (path, "cores=1&digest=0f"),
        ("/api2/json/item/1?digest=0f", "cores=1"),
        (path, "revert=a"),
    ] {
        assert_eq!(write(target, body).send().await.cache(), "fwd=method; detail=write", "{body}");
    }
    // Two credentials: whose it is only the API knows.
    let ticket = "PVEAuthCookie=PVE:root@pam:65F0A1B2::c2lnbmF0dXJl";
    let got = write(path, "cores=1").field("Cookie", ticket).send().await;
    assert_eq!(got.cache(), "fwd=method; detail=write");
    // The same command twice is one, the same condition is not: the first ends what it asks for.
    for (body, calls) in [("delete=net0", 1), ("cores=1&digest=0f", 2)] {
        let (gate, before) = (Gate::new(), rig.origin().count(call));
        rig.origin().on(call, Reply::body("{}").held(&gate));
        let first = write(path, body).spawn();
        rig.origin().came(call, before + 1).await;
        let second = write(path, body).spawn();
        match calls {
            1 => waiting(&rig, 2).await,
            _ => rig.origin().came(call, before + 2).await,
        }
        gate.open();
        all(vec![first, second]).await;
        assert_eq!(rig.origin().count(call), before + calls);
    }
    let held = [write(path, "cores=1").spawn(), write(path, "cores=2&memory=1").spawn()];
    waiting(&rig, 2).await;
    rig.app.shared().hold_no_more_writes();
    all(held.into()).await;
    rig.finish().await;
}

#[tokio::test]
async fn a_held_write_of_a_client_that_left_is_sent() {
    let rig = rig().await;
    let left = put(&rig, HELD, r#"{"a":1}"#).sent().await;
    waiting(&rig, 1).await;
    left.abort();
    rig.seconds(2).await;
    rig.origin().came(HELD_CALL, 1).await;
    until("its outcome is known", || rig.app.shared().writers_waiting() == 0).await;
    // Also if it took the place of another's.
    let stays = put(&rig, HELD, r#"{"a":2}"#).spawn();
    waiting(&rig, 1).await;
    let left = put(&rig, HELD, r#"{"a":3}"#).sent().await;
    waiting(&rig, 2).await;
    left.abort();
    rig.seconds(2).await;
    assert_eq!(stays.await.expect("answered").cache(), "fwd=method; collapsed; detail=batched");
    assert_eq!(content(&rig, HELD_CALL), r#"{"a":3}"#);
    rig.finish().await;
}

#[tokio::test]
async fn a_drain_sends_what_is_held_at_once_and_waits_for_its_end() {
    let rig = with_window("30s").await;
    let gate = Gate::new();
    rig.origin().on(HELD_CALL, Reply::numbered().held(&gate));
    let held = put(&rig, HELD, r#"{"a":1}"#).spawn();
    waiting(&rig, 1).await;
    // And one of nobody who could be waited for.
    let left = put(&rig, "/held/2", r#"{"a":1}"#).sent().await;
    waiting(&rig, 2).await;
    left.abort();
    let late = Gate::new();
    rig.origin().on("PUT /held/2", Reply::numbered().held(&late));
    let Rig { app, origins, .. } = rig;
    let shared = app.shared().clone();
    let drained = tokio::spawn(app.drain());
    let waiting = shared.clone();
    let finished = tokio::spawn(async move { waiting.writes_finished().await });
    origins[0].came(HELD_CALL, 1).await;
    origins[0].came("PUT /held/2", 1).await;
    gate.open();
    assert_eq!(held.await.expect("answered").status, 200);
    nothing_more().await;
    assert!(!drained.is_finished() && !finished.is_finished(), "the other has no answer yet");
    late.open();
    within("what was held", finished).await.expect("finished");
    within("the end", drained).await.expect("drained");
    assert_eq!(shared.writers_waiting(), 0);
}

#[tokio::test]
async fn a_reload_sends_what_is_held_by_the_rules_that_took_it() {
    let rig = with_window("30s").await;
    let before = rig.warm(PATH).await;
    let held = put(&rig, HELD, r#"{"a":1}"#).spawn();
    waiting(&rig, 1).await;
    // Now it would overtake something else.
    let rules = RULES.replace("WINDOW", "30s").replace("item/{id}\"]", "thing/{id}\"]");
    std::fs::write(rig.directory.path().join("rules.yaml"), rules).expect("writable");
    rig.app.reload_file().await.expect("good rules");
    assert_eq!(within("its answer", held).await.expect("answered").status, 200);
    assert_ne!(rig.get(PATH).send().await.text(), before);
    rig.finish().await;
}

#[tokio::test]
async fn each_gets_numbers_of_its_own_where_the_api_has_them() {
    let rules = r#"
api: azure
match: {case_insensitive: true}
reads: []
writes:
  - {methods: [PUT], path: "/subscriptions/{id}/**", invalidates: ["/subscriptions/{id}/**"], collapse: true, settle: 0s}
"#;
    let rig = Rig::with(Options { rules: rules.into(), ..Options::default() }).await;
    let path = "/subscriptions/1/resourceGroups/a";
    let gate = Gate::new();
    let reply = Reply::body(r#"{"id":"x"}"#)
        .field("x-ms-request-id", "first")
        .field("x-ms-ratelimit-remaining-x", "9");
    rig.origin().on(&format!("PUT {path}"), reply.held(&gate));
    let writer = |n: usize| {
        let ask = rig.ask("PUT", path).bearer("token").field("x-ms-return-client-request-id", "true");
        ask.field("x-ms-client-request-id", &format!("{n}")).body("{}").spawn()
    };
    let writers: Vec<_> = (0..3).map(writer).collect();
    waiting(&rig, 3).await;
    gate.open();
    let answers = all(writers).await;
    let numbers: BTreeSet<_> =
        answers.iter().map(|got| got.field("x-ms-request-id").expect("a number")).collect();
    assert_eq!(numbers.len(), 3);
    assert_eq!(answers.iter().filter(|got| got.field("x-ms-ratelimit-remaining-x").is_some()).count(), 1);
    for (n, got) in answers.iter().enumerate().filter(|(_, got)| got.cache().contains("collapsed")) {
        assert_eq!(got.field("x-ms-client-request-id"), Some(n.to_string().as_str()));
    }
    assert_eq!(rig.origin().count(&format!("PUT {path}")), 1);
    rig.finish().await;
}

#[test]
fn explain_says_which_writes_meet() {
    use forebay::proxy::explain;
    use forebay::rules::RuleSet;
    use http::Method;

    let rules = RuleSet::parse("mine.yaml", &RULES.replace("WINDOW", "2s")).expect("good rules");
    let why = |method, path| explain(&rules, &method, path).reason;
    let collapses = "are one call";
    let held = "It is held for 2s, but for what is `critical`";
    for (method, path, expected) in [
        (Method::PUT, PATH, [true, false]),
        (Method::POST, PATH, [false, false]),
        (Method::PUT, HELD, [false, true]),
    ] {
        let why = why(method, path);
        assert_eq!([why.contains(collapses), why.contains(held)], expected, "{why}");
    }
}
