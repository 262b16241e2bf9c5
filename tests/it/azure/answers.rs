//! What an answer that was not given to this very caller has of its own.

use super::super::support::{Gate, Got, Reply};
use super::{VM, arm, rig};

/// Fields that speak of one call.
const OWN: [(&str, &str); 12] = [
    ("x-ms-ratelimit-remaining-subscription-reads", "249"),
    ("x-ms-ratelimit-remaining-subscription-global-reads", "3749"),
    ("x-ms-ratelimit-remaining-resource", "Microsoft.Compute/LowCostGetSubscriptionMaximum;23997"),
    ("x-ms-routing-request-id", "WESTEUROPE:20261121T140000Z:0b1e"),
    ("x-ms-client-request-id", "the leader's"),
    ("x-ms-original-request-ids", "1,2"),
    ("x-ms-arm-service-request-id", "3"),
    ("x-ms-request-charge", "2"),
    ("x-ms-throttling-version", "v2"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("X-MSEdge-Ref", "Ref A: 1"),
    ("X-Cache", "CONFIG_NOCACHE"),
];

const IDS: [&str; 2] = ["x-ms-request-id", "x-ms-correlation-request-id"];

fn answer() -> Reply {
    OWN.iter().fold(arm("{}"), |reply, (name, value)| reply.field(name, value))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// An answer with numbers of its own and nothing of another's call; the numbers.
fn own_ids(got: &Got, seen: &mut Vec<String>) {
    for (name, value) in OWN {
        assert_ne!(got.field(name), Some(value), "{name}");
    }
    let [id, correlation] = IDS.map(|name| got.field(name).unwrap_or_else(|| panic!("{name}: {}", got.head)));
    assert!(is_uuid(id) && id == correlation, "{}", got.head);
    assert!(!seen.contains(&id.to_owned()), "{id} again");
    seen.push(id.to_owned());
    assert_eq!(got.field("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(got.field("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn a_hit_has_numbers_of_its_own_and_nothing_of_another_call() {
    let rig = rig("azure").await;
    rig.origin().on(&format!("GET {VM}"), answer().field("X-Content-Type-Options", "nosniff"));
    let ask = || rig.get(VM).bearer("one");
    let first = ask().send().await;
    for (name, value) in OWN {
        assert_eq!(first.field(name), Some(value), "a miss is the API's own answer");
    }
    let mut seen: Vec<String> = IDS.iter().filter_map(|name| first.field(name)).map(str::to_owned).collect();
    for coding in ["identity", "gzip"] {
        let hit = ask().field("Accept-Encoding", coding).send().await;
        assert!(hit.is_hit());
        own_ids(&hit, &mut seen);
        assert_eq!(hit.field("x-ms-client-request-id"), None);
    }
    let told = |wants: &str| {
        let ask = ask().field("x-ms-client-request-id", "mine").field("x-ms-correlation-request-id", "run 7");
        ask.field("x-ms-return-client-request-id", wants).send()
    };
    for (wants, expected) in [("true", Some("mine")), ("True", Some("mine")), ("false", None)] {
        let hit = told(wants).await;
        assert!(hit.is_hit());
        assert_eq!(hit.field("x-ms-client-request-id"), expected);
        assert_eq!(hit.field("x-ms-correlation-request-id"), Some("run 7"));
    }
    rig.finish().await;
}

#[tokio::test]
async fn who_waited_for_another_has_numbers_of_its_own_too() {
    let rig = rig("azure").await;
    let gate = Gate::new();
    let reply = answer().field("X-Content-Type-Options", "nosniff").held(&gate);
    rig.origin().on_each(&format!("GET {VM}"), [arm("{}"), reply]);
    let ask = || rig.get(VM).bearer("one");
    // Only whom the API has accepted may wait with others.
    ask().send().await;
    rig.ask("POST", &format!("{VM}/start")).bearer("one").send().await;
    rig.seconds(5).await;
    let clients: Vec<_> = (0..5).map(|_| ask().spawn()).collect();
    rig.waiting(5).await;
    gate.open();
    let mut seen = Vec::new();
    for client in clients {
        let got = client.await.expect("answered");
        match got.cache().ends_with("collapsed") {
            true => own_ids(&got, &mut seen),
            false => assert_eq!(got.field(OWN[0].0), Some(OWN[0].1), "the leader has the API's own answer"),
        }
    }
    assert_eq!(seen.len(), 4);
    rig.finish().await;
}

#[tokio::test]
async fn an_error_that_many_waited_for_says_to_each_when_to_come_again() {
    let rig = rig("azure").await;
    let gate = Gate::new();
    let throttled = Reply::status(429, "Too Many Requests").with_body("{}").field("Retry-After", "10");
    let throttled = throttled.field("x-ms-ratelimit-remaining-subscription-reads", "0").held(&gate);
    rig.origin().on_each(&format!("GET {VM}"), [arm("{}"), throttled]);
    let ask = || rig.get(VM).bearer("one");
    ask().send().await;
    rig.seconds(40).await;
    let clients: Vec<_> = (0..3).map(|_| ask().spawn()).collect();
    rig.waiting(3).await;
    gate.open();
    for client in clients {
        let got = client.await.expect("answered");
        assert_eq!((got.status, got.field("retry-after")), (429, Some("10")), "{}", got.head);
    }
    rig.finish().await;
}
