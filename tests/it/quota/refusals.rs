//! What a 429 of the API's shuts, and what it does not.

use std::time::Duration;

use super::super::support::{Got, Reply, Rig};
use super::{admin, rig, token};

const SUB: &str = "/subscriptions/s1";
const VM: &str = "/subscriptions/s1/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1";
const THROTTLED: &str = r#"{"error":{"code":"SubscriptionRequestsThrottled","message":"Number of 'read' requests for subscription 's1' actor 'a' exceeded. Please try again after '10' seconds."}}"#;
const LOCKED: &str = r#"{"error":{"code":"RetryableErrorDueToAnotherOperation","message":"Operation PutNicOperation is canceled or superseded","details":[]}}"#;

/// A refusal as the API gives it.
fn refusal(body: &str, after: &str) -> Reply {
    let reply = Reply::status(429, "Too Many Requests").with_body(body);
    let reply = reply.field("Content-Type", "application/json; charset=utf-8");
    if after.is_empty() { reply } else { reply.field("Retry-After", after) }
}

async fn get(rig: &Rig, who: &str, target: &str) -> Got {
    rig.get(target).bearer(&token(who)).send().await
}

async fn upstreams(rig: &Rig) -> serde_json::Value {
    serde_json::from_str(&admin(rig, "/api/upstreams").await).expect("JSON")
}

/// Forebay, and principals that the API has accepted.
async fn accepted() -> Rig {
    let rig = rig("queue: {wait: 1s}\n", Vec::new()).await;
    for who in ["a", "b"] {
        assert_eq!(get(&rig, who, "/subscriptions").await.status, 200);
    }
    rig
}

/// One of forebay's own, that every client can use.
fn is_usable(got: &Got) -> u64 {
    assert_eq!(got.status, 429, "{}", got.head);
    assert!(got.cache().starts_with("detail="), "{}", got.cache());
    let body: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
    assert_eq!(body["error"]["code"], "TooManyRequests");
    assert!(body["error"]["message"].is_string());
    let seconds = got.field("retry-after").expect("says when").parse().expect("whole seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    seconds
}

#[tokio::test]
async fn a_refusal_passes_once_and_shuts_its_own_class() {
    let rig = accepted().await;
    let gateway = refusal(THROTTLED, "10").field("x-ms-failure-cause", "gateway");
    rig.origin().on(&format!("GET {SUB}/x"), gateway);
    let first = get(&rig, "a", &format!("{SUB}/x")).await;
    assert_eq!((first.status, first.text()), (429, THROTTLED));
    assert_eq!(first.field("retry-after"), Some("10"));
    assert_eq!(first.field("x-ms-failure-cause"), Some("gateway"));
    assert_eq!(rig.origin().count(&format!("GET {SUB}/x")), 1, "not sent again");

    // The same principal's reads of that subscription wait, longer than they may.
    let told = is_usable(&get(&rig, "a", &format!("{SUB}/y")).await);
    assert!((10..=11).contains(&told), "{told}");
    assert_eq!(rig.origin().count(&format!("GET {SUB}/y")), 0);
    // Nobody else's, and nothing else of theirs.
    assert_eq!(get(&rig, "b", &format!("{SUB}/y")).await.status, 200);
    assert_eq!(get(&rig, "a", "/subscriptions/s2/y").await.status, 200);
    assert_eq!(get(&rig, "a", "/subscriptions").await.status, 200);
    assert_eq!(rig.ask("PUT", &format!("{SUB}/y")).bearer(&token("a")).body("{}").send().await.status, 200);
    assert_eq!(rig.ask("DELETE", &format!("{SUB}/y")).bearer(&token("a")).send().await.status, 200);

    rig.seconds(9).await;
    // What is left is shorter than the wait by now, or a little longer.
    rig.advance(Duration::from_millis(2_001)).await;
    assert_eq!(get(&rig, "a", &format!("{SUB}/y")).await.status, 200, "open again");
    assert_eq!(rig.counter_of("forebay_quota_refused_total", "by=\"front-door\""), 1);
    rig.finish().await;
}

#[tokio::test]
async fn a_lock_is_no_limit() {
    let rig = accepted().await;
    let nic = format!("{SUB}/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n");
    rig.origin().on_each(&format!("PUT {nic}"), [refusal(LOCKED, "10"), Reply::body("{}")]);
    let put = || rig.ask("PUT", &nic).bearer(&token("a")).body("{}").send();
    let first = put().await;
    assert_eq!((first.status, first.text(), first.field("retry-after")), (429, LOCKED, Some("10")));
    assert_eq!(put().await.status, 200, "nothing is shut");
    assert_eq!(rig.counter_of("forebay_quota_refused_total", "by=\"lock\""), 1);
    rig.finish().await;
}

#[tokio::test]
async fn a_providers_refusal_is_for_everybody_and_for_that_policy() {
    let rig = accepted().await;
    let list = format!("{SUB}/providers/Microsoft.Compute/virtualMachines");
    let body = r#"{"error":{"code":"OperationNotAllowed","details":[{"code":"TooManyRequests","target":"HighCostGetSubscriptionMaximum","message":"{}"}]}}"#;
    rig.origin().on(&format!("GET {list}"), refusal(body, "372"));
    assert_eq!(get(&rig, "a", &list).await.field("retry-after"), Some("372"), "unchanged");
    for who in ["a", "b"] {
        assert_eq!(is_usable(&get(&rig, who, &list).await), 60, "more than some clients bear");
    }
    assert_eq!(get(&rig, "a", VM).await.status, 200);
    let upstreams = upstreams(&rig).await;
    let quotas = upstreams["upstreams"][0]["quotas"].as_array().expect("a list").clone();
    let shut = quotas.iter().find(|quota| quota["bucket"] == "compute-high-cost-get").expect("there");
    assert!(shut["shut_seconds"].as_u64().expect("shut") >= 371, "{shut}");
    assert!(shut["remaining"].as_f64().expect("a number") < 0.01, "{shut}");
    assert!(!upstreams.to_string().contains("s1"), "no subscription is told: {upstreams}");
    rig.seconds(300).await;
    is_usable(&get(&rig, "a", &list).await);
    rig.seconds(115).await;
    assert_eq!(rig.origin().count(&format!("GET {list}")), 1);
    assert_eq!(get(&rig, "a", &list).await.status, 429, "asked again, and refused again");
    assert_eq!(rig.origin().count(&format!("GET {list}")), 2);
    rig.finish().await;
}

#[tokio::test]
async fn a_refusal_in_plain_text_without_a_time_shuts_its_type() {
    let rig = accepted().await;
    let roles = format!("{SUB}/providers/Microsoft.Authorization/roleAssignments");
    rig.origin().on_each(&format!("GET {roles}"), [refusal("Too Many Requests", ""), Reply::body("{}")]);
    assert_eq!(get(&rig, "a", &roles).await.text(), "Too Many Requests");
    let told = is_usable(&get(&rig, "a", &roles).await);
    assert!((2..=3).contains(&told), "{told}");
    assert_eq!(get(&rig, "a", &format!("{SUB}/x")).await.status, 200);
    rig.seconds(3).await;
    assert_eq!(get(&rig, "a", &roles).await.status, 200);
    rig.finish().await;
}

#[tokio::test]
async fn what_the_answers_say_is_left_counts() {
    let rig = accepted().await;
    let none = Reply::body("{}").field(
        "x-ms-ratelimit-remaining-resource",
        "Microsoft.Compute/LowCostGetSubscriptionMaximum;23997,Microsoft.Compute/LowCostGetResource;0",
    );
    rig.origin().on(&format!("GET {VM}"), none);
    assert_eq!(get(&rig, "a", VM).await.status, 200);
    // Four fifths of twelve a minute: the next in six seconds and a quarter.
    assert_eq!(is_usable(&get(&rig, "b", VM).await), 7);
    assert_eq!(get(&rig, "b", &VM.replace("vm1", "vm2")).await.status, 200, "another machine");
    rig.advance(Duration::from_millis(6_300)).await;
    assert_eq!(get(&rig, "b", VM).await.status, 200);
    let text = admin(&rig, "/metrics").await;
    let line = "forebay_quota_remaining{upstream=\"lab\",bucket=\"compute-low-cost-get-resource\"} 0";
    assert!(text.contains(line), "{text}");
    rig.finish().await;
}

#[tokio::test]
async fn whom_the_api_does_not_know_it_does_not_charge() {
    let rig = accepted().await;
    let unknown = Reply::status(401, "Unauthorized").with_body("{}");
    rig.origin().to("Bearer forged", &format!("GET {VM}"), unknown);
    // More than the machine's own bucket holds.
    for _ in 0..40 {
        assert_eq!(rig.get(VM).bearer("forged").send().await.status, 401);
    }
    assert_eq!(get(&rig, "a", VM).await.status, 200);
    rig.finish().await;
}

#[tokio::test]
async fn a_claim_charges_the_address_until_the_api_has_accepted_it() {
    let rig = rig("queue: {wait: 1s}\n", Vec::new()).await;
    assert_eq!(get(&rig, "a", "/subscriptions").await.status, 200);
    // Whoever is not accepted says that they are `a`: another token with the same claims.
    let forged = format!("{}x", token("a"));
    let gateway = refusal(THROTTLED, "30").field("x-ms-failure-cause", "gateway");
    rig.origin().to(&forged, &format!("GET {SUB}/x"), gateway);
    assert_eq!(rig.get(&format!("{SUB}/x")).bearer(&forged).send().await.status, 429);
    is_usable(&rig.get(&format!("{SUB}/x")).bearer(&forged).send().await);
    assert_eq!(get(&rig, "a", &format!("{SUB}/x")).await.status, 200, "nobody else pays for that");
    // Another token that is accepted drinks from the same bucket.
    let renewed = format!("{}y", token("a"));
    assert_eq!(rig.get("/subscriptions").bearer(&renewed).send().await.status, 200);
    rig.origin().on(&format!("GET {SUB}/z"), refusal(THROTTLED, "30").field("x-ms-failure-cause", "gateway"));
    assert_eq!(get(&rig, "a", &format!("{SUB}/z")).await.status, 429);
    is_usable(&rig.get(&format!("{SUB}/y")).bearer(&renewed).send().await);
    rig.finish().await;
}

#[tokio::test]
async fn watchers_see_the_last_known_state_while_a_gate_is_shut() {
    let rig = accepted().await;
    let groups = format!("{SUB}/resourceGroups");
    let known = get(&rig, "a", &groups).await;
    assert_eq!(known.status, 200);
    rig.seconds(11).await;
    rig.origin().on(&format!("GET {SUB}/x"), refusal(THROTTLED, "30").field("x-ms-failure-cause", "gateway"));
    assert_eq!(get(&rig, "a", &format!("{SUB}/x")).await.status, 429);
    let stale = get(&rig, "a", &groups).await;
    assert_eq!((stale.status, stale.text()), (200, known.text()));
    assert!(stale.cache().contains("detail=stale-if-error"), "{}", stale.cache());
    assert_eq!(rig.origin().count(&format!("GET {groups}")), 1);
    rig.finish().await;
}

#[tokio::test]
async fn an_api_without_known_buckets_is_not_charged() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/api2/json/item/1").send().await.status, 200);
    assert!(!admin(&rig, "/metrics").await.contains("forebay_quota_remaining{"));
    assert_eq!(upstreams(&rig).await["upstreams"][0]["quotas"], serde_json::json!([]));
    rig.finish().await;
}
