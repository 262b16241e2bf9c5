//! Operations of ARM: nothing is kept until their end is seen, whoever asks after them.

use std::time::Duration;

use super::super::support::{Ask, Gate, Origin, Reply, Rig, until};
use super::arm;

const RULES: &str = r#"
api: azure
match: {case_insensitive: true}
reads:
  - {path: "/subscriptions/{s}/vms/{vm}", ttl: 30s, groups: ["vm/{vm}"]}
  - {path: "/subscriptions/{s}/vms", ttl: 30s, groups: [vms]}
  - {path: "/subscriptions/{s}/**", ttl: 30s}
writes:
  - {methods: [PUT, PATCH, DELETE], path: "/subscriptions/{s}/vms/{vm}", invalidates: ["vm/{vm}", vms], operation: arm}
  - {methods: [POST], path: "/subscriptions/{s}/vms/{vm}/start", invalidates: ["vm/{vm}", vms], operation: arm}
  - {methods: [POST], path: /batch, invalidates: ["/**"], operation: arm}
"#;

const VM: &str = "/subscriptions/s/vms/a?api-version=1";
const GET_VM: &str = "GET /subscriptions/s/vms/a";
const LIST: &str = "/subscriptions/s/vms?api-version=1";
const GET_LIST: &str = "GET /subscriptions/s/vms";
const OTHER: &str = "/subscriptions/s/vms/b?api-version=1";
const START: &str = "/subscriptions/s/vms/a/start?api-version=1";

const ASYNC: &str = "/subscriptions/s/providers/Microsoft.Compute/locations/eastus/operations/4c03?api-version=1&t=638&c=MIIHcertificate&s=signature*&h=hash";
const MONITOR: &str = "/subscriptions/s/providers/Microsoft.Compute/locations/eastus/operations/4c03?api-version=1&t=638&c=MIIHcertificate&s=signature*&h=hash&monitor=true";
const RESULT: &str = "/subscriptions/s/providers/Microsoft.Network/locations/eastus/operationResults/4c04?api-version=1&t=638&c=MIIHcertificate&s=signature*&h=hash";

/// One that nothing tells from a resource but that the API named it.
const ODD: &str = "/subscriptions/s/things/4c05?api-version=1";

const UPDATING: &str = r#"{"id":"a","properties":{"provisioningState":"Updating"}}"#;
const SUCCEEDED: &str = r#"{"id":"a","properties":{"provisioningState":"Succeeded"}}"#;
const RUNS: &str = r#"{"status":"InProgress"}"#;
const ENDED: &str = r#"{"status":"Succeeded"}"#;

fn call(target: &str) -> String {
    format!("GET {}", target.split('?').next().expect("a path"))
}

fn ask(rig: &Rig, method: &str, target: &str) -> Ask {
    rig.ask(method, target).bearer("token")
}

async fn get(rig: &Rig, target: &str) -> super::super::support::Got {
    ask(rig, "GET", target).send().await
}

fn accepted(fields: &[(&str, &str)]) -> Reply {
    let reply = Reply::status(202, "Accepted").with_body("").field("Retry-After", "10");
    fields
        .iter()
        .fold(reply, |reply, (name, path)| reply.field(name, &format!("https://management.azure.com{path}")))
}

async fn rig() -> Rig {
    super::rig(RULES).await
}

async fn warm(rig: &Rig, target: &str) {
    assert_eq!(get(rig, target).await.status, 200);
    let again = get(rig, target).await;
    assert!(again.is_hit(), "not stored: {}", again.cache());
}

/// A rig in which what is stored of a machine is changed by an operation with these addresses.
async fn started(reply: Reply) -> Rig {
    let rig = rig().await;
    for target in [VM, LIST, OTHER] {
        warm(&rig, target).await;
    }
    rig.origin().on("POST /subscriptions/s/vms/a/start", reply);
    assert_eq!(ask(&rig, "POST", START).body("").send().await.status, 202);
    rig
}

fn open(rig: &Rig) -> usize {
    rig.app.shared().operations.len()
}

fn origin(rig: &Rig) -> &Origin {
    rig.origin()
}

async fn is_unsettled(rig: &Rig) {
    rig.seconds(1).await;
    for target in [VM, LIST] {
        assert_eq!(get(rig, target).await.cache(), "fwd=bypass; stored; detail=unsettled");
    }
    assert!(get(rig, OTHER).await.is_hit(), "another machine is not touched");
}

/// Lets so many seconds pass, in which forebay does what is due.
async fn rest(rig: &Rig, seconds: u64) {
    for _ in 0..seconds * 2 {
        rig.advance(Duration::from_millis(500)).await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn each_kind_of_address_tells_of_the_end_before_its_client_hears_it() {
    let done = arm("{}");
    let cases: [(&str, &str, Reply, Reply); 6] = [
        ("Azure-AsyncOperation", ASYNC, arm(RUNS), arm(ENDED)),
        ("Operation-Location", ASYNC, arm(RUNS), arm(r#"{"status":"Failed"}"#)),
        ("Azure-AsyncOperation", RESULT, arm(RUNS), arm("{}")),
        ("Location", MONITOR, accepted(&[]), done.clone()),
        ("Location", RESULT, accepted(&[]), Reply::status(204, "No Content").with_body("")),
        (
            "Location",
            RESULT,
            accepted(&[("Location", RESULT)]),
            Reply::status(404, "Not Found").with_body("{}"),
        ),
    ];
    for (name, address, runs, ends) in cases {
        let rig = started(accepted(&[(name, address)])).await;
        assert_eq!(open(&rig), 1);
        is_unsettled(&rig).await;
        origin(&rig).on(&call(address), runs);
        assert!([200, 202].contains(&get(&rig, address).await.status));
        assert_eq!(open(&rig), 1);
        is_unsettled(&rig).await;
        // The read that a poller sends when it hears of the end sees what is then, also where another is
        // still under way.
        let gate = Gate::new();
        origin(&rig).on_each(GET_VM, [Reply::body("the past").held(&gate), Reply::body("the present")]);
        rig.seconds(1).await;
        let early = ask(&rig, "GET", VM).spawn();
        origin(&rig).came(GET_VM, 4).await;
        origin(&rig).on(&call(address), ends);
        get(&rig, address).await;
        assert_eq!(open(&rig), 0, "{name} {address}");
        assert_eq!(get(&rig, VM).await.text(), "the present", "{name} {address}");
        gate.open();
        assert_eq!(early.await.expect("answered").text(), "the past");
        rig.quiet().await;
        assert_eq!(get(&rig, VM).await.text(), "the present");
        // Poll answers are for the one who asks.
        let before = origin(&rig).count(&call(address));
        for _ in 0..2 {
            assert_eq!(get(&rig, address).await.cache().split(';').next(), Some("fwd=bypass"));
        }
        assert_eq!(origin(&rig).count(&call(address)), before + 2);
        // For a while the API itself may lag, then entries live as their rule says.
        rig.seconds(6).await;
        warm(&rig, VM).await;
        rig.seconds(29).await;
        assert!(get(&rig, VM).await.is_hit());
        rig.finish().await;
    }
}

#[tokio::test]
async fn polls_at_once_are_calls_of_their_own() {
    let rig = started(accepted(&[("Azure-AsyncOperation", ODD)])).await;
    let gate = Gate::new();
    origin(&rig).on(&call(ODD), arm(RUNS).held(&gate));
    let polls = [
        ask(&rig, "GET", ODD).spawn(),
        ask(&rig, "GET", ODD).spawn(),
        rig.ask("GET", ODD).bearer("other").spawn(),
    ];
    origin(&rig).came(&call(ODD), 3).await;
    gate.open();
    for poll in polls {
        assert_eq!(poll.await.expect("answered").text(), RUNS);
    }
    assert_eq!(get(&rig, ODD).await.cache(), "fwd=bypass; detail=pass");
    assert_eq!(origin(&rig).count(&call(ODD)), 4);
    rig.finish().await;
}

#[tokio::test]
async fn a_resource_that_is_changing_is_unsettled_until_it_shows_otherwise() {
    let address = [("Azure-AsyncOperation", ASYNC)];
    for (status, fields) in [(201, &[][..]), (200, &[][..]), (201, &address[..])] {
        let rig = rig().await;
        warm(&rig, VM).await;
        warm(&rig, LIST).await;
        warm(&rig, OTHER).await;
        let reply = Reply::status(status, "Created").with_body(UPDATING);
        let reply = fields.iter().fold(reply, |reply, (name, path)| {
            reply.field(name, &format!("https://management.azure.com{path}"))
        });
        origin(&rig).on("PUT /subscriptions/s/vms/a", reply);
        // A read that left before the write was answered may show the state before it.
        let gate = Gate::new();
        rig.seconds(40).await;
        origin(&rig).on_each(GET_VM, [arm(SUCCEEDED).held(&gate), arm(UPDATING)]);
        let early = ask(&rig, "GET", VM).spawn();
        origin(&rig).came(GET_VM, 2).await;
        assert_eq!(ask(&rig, "PUT", VM).body("{}").send().await.status, status);
        rig.advance(Duration::from_millis(1)).await;
        gate.open();
        early.await.expect("answered");
        assert_eq!(open(&rig), 1);
        assert_eq!(get(&rig, VM).await.text(), UPDATING);
        assert_eq!(open(&rig), 1);
        rig.seconds(1).await;
        origin(&rig).on(GET_VM, arm(SUCCEEDED));
        origin(&rig).on_each(GET_LIST, [Reply::body("the past"), Reply::body("the present")]);
        assert_eq!(get(&rig, LIST).await.text(), "the past");
        assert!(get(&rig, LIST).await.is_hit());
        assert_eq!(get(&rig, VM).await.text(), SUCCEEDED);
        assert_eq!(open(&rig), 0);
        assert_eq!(get(&rig, LIST).await.text(), "the present");
        rig.seconds(6).await;
        warm(&rig, LIST).await;
        if !fields.is_empty() {
            // Where its address tells of the end later, that counts too.
            origin(&rig).on(&call(ASYNC), arm(ENDED));
            get(&rig, ASYNC).await;
            assert!(!get(&rig, LIST).await.is_hit());
            warm(&rig, OTHER).await;
        }
        rig.finish().await;
    }
}

#[tokio::test]
async fn an_end_that_nobody_asks_for_is_learnt_as_the_writer_at_the_pace_of_the_api() {
    let rig = started(accepted(&[("Azure-AsyncOperation", ASYNC), ("Location", MONITOR)])).await;
    origin(&rig).on(&call(ASYNC), arm(RUNS).field("Retry-After", "20"));
    let count = || origin(&rig).count(&call(ASYNC));
    rest(&rig, 14).await;
    assert_eq!(count(), 0, "not before the time that the API named");
    rig.pass_until("a question", || count() == 1).await;
    let asked = origin(&rig).last(&call(ASYNC));
    assert_eq!(asked.field("authorization"), Some("Bearer token"));
    assert_eq!(asked.target, ASYNC);
    rest(&rig, 20).await;
    assert_eq!(count(), 1, "the next pace is the one that the answer named");
    warm(&rig, OTHER).await;
    is_unsettled(&rig).await;
    origin(&rig).on(&call(ASYNC), arm(ENDED));
    rig.pass_until("the end", || open(&rig) == 0).await;
    rig.seconds(6).await;
    warm(&rig, VM).await;
    let asked = count();
    rig.seconds(120).await;
    assert_eq!(count(), asked, "nothing is asked after the end");
    rig.finish().await;
}

#[tokio::test]
async fn where_a_client_asks_forebay_does_not() {
    let rig = started(accepted(&[("Azure-AsyncOperation", ASYNC)])).await;
    origin(&rig).on(&call(ASYNC), arm(RUNS).field("Retry-After", "10"));
    for round in 1..10 {
        rig.seconds(10).await;
        get(&rig, ASYNC).await;
        assert_eq!(origin(&rig).count(&call(ASYNC)), round);
    }
    rig.finish().await;
}

#[tokio::test]
async fn an_operation_that_nobody_can_ask_after_settles_in_five_minutes() {
    let rig = started(accepted(&[])).await;
    rig.seconds(290).await;
    assert_eq!(get(&rig, VM).await.cache(), "fwd=bypass; stored; detail=unsettled");
    rig.seconds(10).await;
    rig.app.shared().operations.sweep();
    assert_eq!(open(&rig), 0);
    rig.finish().await;
    // One with an address, after the cap; and its end overtakes even then.
    let rig = started(accepted(&[("Location", RESULT)])).await;
    origin(&rig).on(&call(RESULT), Reply::status(401, "Unauthorized").with_body("{}"));
    rig.seconds(29 * 60).await;
    rig.app.shared().operations.sweep();
    assert_eq!(get(&rig, VM).await.cache(), "fwd=bypass; stored; detail=unsettled");
    rig.seconds(60).await;
    rig.app.shared().operations.sweep();
    assert_eq!(open(&rig), 0);
    rig.seconds(10).await;
    warm(&rig, VM).await;
    origin(&rig).on(&call(RESULT), arm("{}"));
    get(&rig, RESULT).await;
    assert!(!get(&rig, VM).await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn refusals_and_outages_end_nothing() {
    for status in [401, 403, 408, 429, 502, 503, 504] {
        let rig = started(accepted(&[("Location", RESULT)])).await;
        origin(&rig).on(&call(RESULT), Reply::status(status, "No").with_body("{}"));
        assert_eq!(rig.ask("GET", RESULT).bearer("stranger").send().await.status, status);
        assert_eq!(open(&rig), 1, "{status}");
        rig.app.drain().await;
    }
}

#[tokio::test]
async fn a_write_without_a_rule_is_followed_too() {
    let rig = rig().await;
    let (path, write) = ("/subscriptions/s/things/x?api-version=1", "PUT /subscriptions/s/things/x");
    warm(&rig, path).await;
    origin(&rig).on(write, Reply::status(201, "Created").with_body(UPDATING));
    ask(&rig, "PUT", path).body("{}").send().await;
    origin(&rig).on(&call(path), arm(UPDATING));
    assert_eq!(get(&rig, path).await.cache(), "fwd=bypass; stored; detail=unsettled");
    rig.seconds(2).await;
    origin(&rig).on(&call(path), arm(SUCCEEDED));
    get(&rig, path).await;
    assert_eq!(open(&rig), 0);
    rig.finish().await;
}

#[tokio::test]
async fn the_end_of_an_operation_of_somebody_else_reaches_its_subscription() {
    let rig = rig().await;
    warm(&rig, VM).await;
    warm(&rig, "/subscriptions/t/vms").await;
    origin(&rig).on(&call(ASYNC), arm(RUNS));
    get(&rig, ASYNC).await;
    assert!(get(&rig, VM).await.is_hit());
    for refused in [401, 403, 404] {
        origin(&rig).on(&call(ASYNC), Reply::status(refused, "No").with_body("{}"));
        rig.ask("GET", ASYNC).bearer("stranger").send().await;
        assert!(get(&rig, VM).await.is_hit(), "a stranger cannot empty the cache");
    }
    origin(&rig).on(&call(ASYNC), arm(ENDED));
    get(&rig, ASYNC).await;
    assert!(!get(&rig, VM).await.is_hit());
    assert!(get(&rig, "/subscriptions/t/vms").await.is_hit());
    warm_again(&rig).await;
    rig.finish().await;
}

/// The same news again does nothing.
async fn warm_again(rig: &Rig) {
    rig.seconds(6).await;
    warm(rig, VM).await;
    get(rig, ASYNC).await;
    assert!(get(rig, VM).await.is_hit());
}

#[tokio::test]
async fn addresses_are_never_shown() {
    let rig = started(accepted(&[("Azure-AsyncOperation", ASYNC), ("Location", RESULT)])).await;
    let site = rig.app.sites().all().pop().expect("one");
    let shown = format!("{:?}", rig.app.shared().operations.shown(site.id, 10));
    for secret in ["MIIH", "signature", "4c03", "4c04", "638"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("/subscriptions/{s}/vms/{vm}/start"), "{shown}");
    rig.finish().await;
}

#[tokio::test]
async fn a_region_is_asked_at_the_endpoint() {
    let address = [("Location", "https://westeurope.management.azure.com")].map(|(name, host)| {
        Reply::status(202, "Accepted")
            .with_body("")
            .field("Retry-After", "1")
            .field(name, &format!("{host}{RESULT}"))
    });
    let [reply] = address;
    let rig = started(reply).await;
    origin(&rig).on(&call(RESULT), arm("{}"));
    get(&rig, &format!("/~r/westeurope{RESULT}")).await;
    assert_eq!(open(&rig), 0);
    rig.finish().await;
}

#[tokio::test]
async fn an_end_that_is_told_before_its_write_is_answered_counts() {
    let rig = rig().await;
    warm(&rig, VM).await;
    let gate = Gate::new();
    let reply = accepted(&[("Location", RESULT), ("Azure-AsyncOperation", ASYNC)]);
    origin(&rig).on("POST /subscriptions/s/vms/a/start", reply.held(&gate));
    let write = ask(&rig, "POST", START).body("").spawn();
    origin(&rig).came("POST /subscriptions/s/vms/a/start", 1).await;
    origin(&rig).on(&call(ASYNC), arm(ENDED));
    get(&rig, ASYNC).await;
    gate.open();
    assert_eq!(write.await.expect("answered").status, 202);
    until("the end of the operation", || open(&rig) == 0).await;
    rig.seconds(6).await;
    warm(&rig, VM).await;
    rig.finish().await;
}

#[tokio::test]
async fn a_rule_of_an_operator_names_it() {
    let rules = RULES.replace("operation: arm", "operation: proxmox-task");
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let file = directory.path().join("pack.yaml");
    std::fs::write(&file, rules).expect("writable");
    let mistakes = forebay::config::check(&[file]);
    assert_eq!(mistakes.len(), 3, "{mistakes:#?}");
}

#[tokio::test]
async fn what_a_batch_began_holds_all_that_it_may_change() {
    let done = r#"{"responses":[{"httpStatusCode":200,"content":{}}]}"#;
    let began = r#"{"responses":[{"httpStatusCode":200},{"httpStatusCode":202,"headers":{"Location":"https://management.azure.com/b"}}]}"#;
    for (answer, holds) in [(done, false), (began, true)] {
        let rig = rig().await;
        rig.origin().on("POST /batch", arm(answer));
        warm(&rig, VM).await;
        let body = r#"{"requests":[]}"#;
        let batch = ask(&rig, "POST", "/batch?api-version=2020-06-01").body(body).send().await;
        assert_eq!((batch.status, batch.text()), (200, answer), "nothing in it is changed");
        assert!(!get(&rig, VM).await.is_hit(), "it was overtaken");
        // Longer than ARM's own answers may lag, and than what is held could be kept.
        rest(&rig, 6).await;
        get(&rig, VM).await;
        rig.seconds(2).await;
        assert_eq!(get(&rig, VM).await.is_hit(), !holds, "{answer}");
        rest(&rig, 300).await;
        get(&rig, VM).await;
        rig.seconds(2).await;
        assert!(get(&rig, VM).await.is_hit(), "{answer}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn an_answer_that_names_an_operation_is_not_kept() {
    for field in ["Azure-AsyncOperation", "operation-location"] {
        let rig = rig().await;
        rig.origin().on(GET_VM, arm("{}").field(field, &format!("https://management.azure.com{ASYNC}")));
        for _ in 0..2 {
            assert!(!get(&rig, VM).await.is_hit(), "{field}");
        }
        rig.origin().on(GET_VM, arm("{}"));
        get(&rig, VM).await;
        assert!(get(&rig, VM).await.is_hit(), "{field}");
        rig.finish().await;
    }
}
