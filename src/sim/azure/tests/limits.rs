//! Throttling: buckets, their fields, their refusals, and the nine kinds of 429 on demand.

use serde_json::json;

use super::*;

fn throttled(throttle: Throttle) -> SimConfig {
    SimConfig { throttle, ..still() }
}

#[tokio::test]
async fn one_machine_is_read_thirty_six_times_and_no_more() {
    let sim = start(throttled(Throttle::Refuse)).await;
    let client = Client::admin(&sim);
    let path = format!("{}?{COMPUTE}", vm("rg-alpha", "web-01"));
    let first = client.get(&path).await;
    assert_eq!(first.field("x-ms-ratelimit-remaining-subscription-reads"), "249");
    assert_eq!(first.field("x-ms-ratelimit-remaining-subscription-global-reads"), "3749");
    assert_eq!(
        first.field("x-ms-ratelimit-remaining-resource"),
        "Microsoft.Compute/LowCostGetSubscriptionMaximum;23999,Microsoft.Compute/LowCostGetResource;35"
    );
    for _ in 1..36 {
        assert_eq!(client.get(&path).await.status, 200);
    }
    let refused = client.get(&path).await;
    assert_eq!((refused.status, refused.code()), (429, "OperationNotAllowed"));
    assert_eq!(refused.body["error"]["details"][0]["target"], "LowCostGetResource");
    assert!((1..=60).contains(&refused.field("retry-after").parse::<u32>().expect("seconds")));
    assert_eq!(client.get(&format!("{}?{COMPUTE}", vm("rg-alpha", "web-02"))).await.status, 200);
    let overdrawn = sim.overdrawn();
    assert_eq!(overdrawn.len(), 1);
    assert!(overdrawn[0].name.starts_with("compute/LowCostGetResource/"), "{overdrawn:?}");
    assert_eq!((overdrawn[0].taken, overdrawn[0].overdrawn), (36, 1));
    sim.stop().await;
}

#[tokio::test]
async fn each_principal_has_a_share_of_the_front_door() {
    let sim = start(SimConfig { quota: 0.04, ..throttled(Throttle::Refuse) }).await;
    let (admin, dev) = (Client::admin(&sim), Client::dev(&sim));
    let path = format!("{SUB}/locations?api-version=2022-12-01");
    let mut refused = None;
    for _ in 0..12 {
        refused = Some(admin.get(&path).await).filter(|answer| answer.status == 429).or(refused);
    }
    let refused = refused.expect("ten tokens do not last for twelve reads");
    assert_eq!(refused.code(), "SubscriptionRequestsThrottled");
    assert!(refused.body["error"]["message"].as_str().expect("text").contains(ADMIN_OBJECT_ID));
    assert_eq!(refused.field("x-ms-failure-cause"), "gateway");
    assert_eq!(dev.get(&path).await.status, 200, "another principal has its own");
    let tenant = admin.get(&format!("/tenants?{RESOURCES}")).await;
    assert!(!tenant.field("x-ms-ratelimit-remaining-tenant-reads").is_empty());
    sim.stop().await;
}

#[tokio::test]
async fn buckets_that_only_count_refuse_nothing() {
    let sim = start(SimConfig { quota: 0.01, ..throttled(Throttle::Count) }).await;
    let client = Client::admin(&sim);
    for _ in 0..10 {
        assert_eq!(client.get(&format!("{SUB}/locations?api-version=2022-12-01")).await.status, 200);
    }
    assert!(!sim.overdrawn().is_empty());
    sim.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tokens_come_back_with_time() {
    let config = throttled(Throttle::Refuse);
    let estate = seed::estate(&config, Instant::now());
    let mut buckets = buckets::Buckets::default();
    let actor = Actor {
        object: "someone".to_owned(),
        application: String::new(),
        number: 0,
        expires: 0,
        audience: String::new(),
        tenant: String::new(),
    };
    let mut take = |times: usize| -> usize {
        let target = format!("{SUB}/resourcegroups?{RESOURCES}");
        let call = || Call::new(http::Method::GET, &target, actor.clone(), "", Instant::now());
        (0..times).filter(|_| buckets.take(&estate, &call(), Throttle::Refuse, 1.0).1.is_none()).count()
    };
    assert_eq!(take(300), 250);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(take(300), 50, "twenty-five a second");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(take(300), 250, "never more than fit in");
}

#[tokio::test]
async fn nine_kinds_of_429_on_demand() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let target = format!("{SUB}/locations?api-version=2022-12-01");
    let expected = [
        ("SubscriptionRequestsThrottled", "10"),
        ("ResourceRequestsThrottled", "5"),
        ("ResourceRequestsThrottled", "372"),
        ("SubscriptionRequestsThrottled", "6"),
        ("OperationNotAllowed", "60"),
        ("RetryableErrorDueToTooManyCalls", "30"),
        ("RetryableErrorDueToAnotherOperation", "10"),
        ("TooManyRequests", "17"),
        ("", ""),
    ];
    for (refusal, (code, after)) in Refusal::THROTTLED.into_iter().zip(expected) {
        sim.inject("GET ", Fault::Answer(refusal), 1);
        let answer = client.get(&target).await;
        assert_eq!(
            (answer.status, answer.code(), answer.field("retry-after")),
            (429, code, after),
            "{refusal:?}"
        );
    }
    sim.inject("GET ", Fault::Answer(Refusal::ThrottledPlain), 1);
    assert_eq!(client.get(&target).await.field("content-type"), "text/plain");
    assert_eq!(client.get(&target).await.status, 200);
    let others = [
        (Refusal::Expired, 401),
        (Refusal::ClaimsChallenge, 401),
        (Refusal::Forbidden, 403),
        (Refusal::Conflict, 409),
        (Refusal::PreconditionFailed, 412),
        (Refusal::Internal, 500),
        (Refusal::Unavailable, 503),
        (Refusal::Timeout, 504),
    ];
    for (refusal, status) in others {
        sim.inject("GET ", Fault::Answer(refusal), 1);
        assert_eq!(client.get(&target).await.status, status);
    }
    sim.stop().await;
}

#[tokio::test]
async fn providers_have_buckets_of_their_own() {
    let sim = start(SimConfig { quota: 0.2, ..throttled(Throttle::Refuse) }).await;
    let client = Client::admin(&sim);
    let query = json!({ "query": "Resources | count" });
    let ask = || {
        client.send(
            "POST",
            "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01",
            query.clone(),
            &[],
        )
    };
    for left in ["2", "1", "0"] {
        let answer = ask().await;
        assert_eq!((answer.status, answer.field("x-ms-user-quota-remaining")), (200, left));
    }
    let refused = ask().await;
    assert_eq!((refused.status, refused.code()), (429, "RateLimiting"));
    assert!(refused.field("x-ms-user-quota-resets-after").starts_with("00:00:0"));
    sim.stop().await;
}

#[tokio::test]
async fn one_read_in_so_many_is_refused_if_that_is_asked_for() {
    let sim = start(SimConfig { refuse_every: NonZeroU64::new(3), ..still() }).await;
    let client = Client::admin(&sim);
    let path = format!("{SUB}/locations?api-version=2022-12-01");
    for (turn, expected) in [200, 200, 429, 200, 200, 429].into_iter().enumerate() {
        let answer = client.get(&path).await;
        assert_eq!(answer.status, expected, "{turn}");
        if expected == 429 {
            assert_eq!((answer.field("retry-after"), answer.code()), ("1", "SubscriptionRequestsThrottled"));
        }
    }
    let start = format!("{}/start?{COMPUTE}", vm("rg-alpha", "web-01"));
    for _ in 0..4 {
        assert_eq!(client.send("POST", &start, Value::Null, &[]).await.status, 202, "no write is");
    }
    assert_eq!(sim.refused(), 2);
    sim.stop().await;
}
