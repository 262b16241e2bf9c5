//! What every answer carries, faults, gates and counts.

use super::*;

#[tokio::test]
async fn every_answer_carries_the_fields_of_the_front_door() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let target = format!("{SUB}/resourcegroups?{RESOURCES}");
    let answer = client.get(&target).await;
    let table = [
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
        ("content-type", "application/json; charset=utf-8"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-cache", "CONFIG_NOCACHE"),
    ];
    for (name, value) in table {
        assert_eq!(answer.field(name), value, "{name}");
    }
    assert_eq!(answer.field("x-ms-request-id"), answer.field("x-ms-correlation-request-id"));
    assert!(answer.field("x-msedge-ref").starts_with("Ref A: "));
    assert!(!answer.headers.contains_key("x-ms-client-request-id"));
    let fields = [("x-ms-client-request-id", "mine"), ("x-ms-correlation-request-id", "ours")];
    let asked = client.send("GET", &target, Value::Null, &fields).await;
    assert!(!asked.headers.contains_key("x-ms-client-request-id"), "not unless it is asked for");
    assert_eq!(asked.field("x-ms-correlation-request-id"), "ours");
    assert_ne!(asked.field("x-ms-request-id"), answer.field("x-ms-request-id"));
    let fields = [("x-ms-client-request-id", "mine"), ("x-ms-return-client-request-id", "true")];
    assert_eq!(
        client.send("GET", &target, Value::Null, &fields).await.field("x-ms-client-request-id"),
        "mine"
    );
    let packed = client.send("GET", &target, Value::Null, &[("accept-encoding", "gzip, deflate")]).await;
    assert_eq!((packed.field("content-encoding"), packed.field("vary")), ("gzip", "Accept-Encoding"));
    assert_eq!(packed.body, answer.body);
    sim.stop().await;
}

#[tokio::test]
async fn faults_strike_as_often_as_they_are_told() {
    let sim = start(still()).await;
    let token = format!("Bearer {}", sim.token(ADMIN_CLIENT_ID));
    let fields = [("authorization", token.as_str())];
    let target = format!("{SUB}/resourcegroups?{RESOURCES}");
    for fault in [Fault::Close, Fault::Truncate, Fault::LoseAnswer] {
        sim.inject(&format!("GET {SUB}/resourcegroups"), fault, 1);
        assert!(send(&sim, "GET", &target, Value::Null, &fields).await.is_none(), "{fault:?}");
        assert!(send(&sim, "GET", &target, Value::Null, &fields).await.is_some());
    }
    let stop = format!("{}/powerOff?{COMPUTE}", vm("rg-alpha", "web-01"));
    sim.inject("POST ", Fault::LoseAnswer, 1);
    assert!(send(&sim, "POST", &stop, Value::Null, &fields).await.is_none());
    assert_eq!(sim.under_way(), 1, "it was carried out");
    assert_eq!(sim.calls_to(&format!("GET {SUB}/resourcegroups")), 6);
    assert_eq!(sim.calls_seen().len(), 2);
    sim.stop().await;
}

#[tokio::test]
async fn a_held_answer_is_as_old_as_its_request() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let target = format!("{}?{COMPUTE}", vm("rg-alpha", "web-01"));
    let gate = sim.hold(&format!("GET {}", vm("rg-alpha", "web-01")), HoldAt::BeforeAnswering);
    let (old, ()) = tokio::join!(client.get(&target), async {
        gate.arrived(1).await;
        let body = serde_json::json!({ "tags": { "owner": "new" } });
        sim.change_behind("PATCH", &target, body).expect("it is there");
        gate.open();
    });
    assert_eq!(old.body["tags"]["owner"], "alice");
    assert_eq!(client.get(&target).await.body["tags"]["owner"], "new");
    sim.stop().await;
}

#[tokio::test]
async fn several_addresses_share_a_subscription_and_count_apart() {
    let config = still();
    let sims = Sim::start_at(config, &[ANY_PORT, ANY_PORT]).await.expect("free ports");
    let token = sims[0].token(ADMIN_CLIENT_ID);
    for (sim, times) in [(&sims[0], 1), (&sims[1], 2)] {
        let client = Client { sim, token: token.clone() };
        for _ in 0..times {
            assert_eq!(client.get(&format!("/subscriptions?{RESOURCES}")).await.status, 200);
        }
    }
    assert_eq!((sims[0].calls(), sims[1].calls()), (1, 2));
    for sim in sims {
        sim.stop().await;
    }
}

#[tokio::test]
async fn http2_is_spoken_too() {
    let sim = start(still()).await;
    let stream = TcpStream::connect(sim.address()).await.expect("the simulation listens");
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
        .await
        .expect("a fresh connection");
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .uri(format!("http://{}/subscriptions?{RESOURCES}", sim.address()))
        .header("authorization", format!("Bearer {}", sim.token(ADMIN_CLIENT_ID)))
        .body(Full::new(Bytes::new()))
        .expect("a request of valid parts");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 200));
    driver.abort();
    sim.stop().await;
}

#[tokio::test]
async fn an_account_keeps_a_state_with_its_lock() {
    let sim = start(still()).await;
    let at = |query: &str| format!("http://examplestate.blob.core.windows.net/states/lab.tfstate{query}");
    let ask = async |method: &str, query: &str, body: &str, fields: &[(&str, &str)]| {
        let body = if body.is_empty() { Value::Null } else { Value::from(body) };
        send(&sim, method, &at(query), body, fields).await.expect("an answer")
    };
    let missing = ask("GET", "", "", &[]).await;
    assert_eq!((missing.status, missing.field("x-ms-error-code")), (404, "BlobNotFound"));
    assert_eq!(ask("PUT", "?comp=lease", "", &[("x-ms-lease-action", "acquire")]).await.status, 404);
    assert_eq!(ask("PUT", "", "{\"serial\":1}", &[]).await.status, 201);
    let acquire = [("x-ms-lease-action", "acquire"), ("x-ms-proposed-lease-id", "one")];
    let leased = ask("PUT", "?comp=lease", "", &acquire).await;
    assert_eq!((leased.status, leased.field("x-ms-lease-id")), (201, "one"));
    let own = [("x-ms-lease-id", "one"), ("x-ms-meta-terraformlockid", "who")];
    assert_eq!(ask("PUT", "?comp=metadata", "", &own).await.status, 200);
    for query in ["", "?comp=metadata", "?comp=lease"] {
        let other = [("x-ms-lease-id", "two"), ("x-ms-lease-action", "release")];
        assert_eq!(ask("PUT", query, "", &other).await.status, 409, "{query}");
    }
    let shown = ask("GET", "", "", &[]).await;
    assert_eq!((shown.status, &shown.body["serial"]), (200, &Value::from(1)));
    assert_eq!(
        (shown.field("x-ms-lease-status"), shown.field("x-ms-meta-terraformlockid")),
        ("locked", "who")
    );
    let release = [("x-ms-lease-id", "one"), ("x-ms-lease-action", "release")];
    assert_eq!(ask("PUT", "?comp=lease", "", &release).await.status, 200);
    assert_eq!(ask("HEAD", "", "", &[]).await.field("x-ms-lease-status"), "unlocked");
    assert_eq!((sim.calls(), sim.logins()), (0, 0), "they are no part of the API");
    sim.stop().await;
}
