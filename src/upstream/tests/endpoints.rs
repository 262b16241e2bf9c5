use super::server::nobody;
use super::*;

#[test]
fn endpoints_are_read_strictly() {
    let good = [
        ("https://pve1:8006", "pve1", 8006, "pve1:8006"),
        ("https://pve1/", "pve1", 443, "pve1"),
        ("http://[::1]:80", "::1", 80, "[::1]"),
        ("http://10.0.0.1:8080", "10.0.0.1", 8080, "10.0.0.1:8080"),
    ];
    for (text, host, port, field) in good {
        let endpoint: Endpoint = text.parse().unwrap();
        assert_eq!((endpoint.host(), endpoint.port()), (host, port), "{text}");
        assert_eq!(endpoint.host_field(), field, "{text}");
        assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap().id(), endpoint.id());
    }
    let bad = [
        "pve1",
        "pve1:8006",
        "ftp://pve1",
        "https://",
        "https://pve1/api2",
        "https://pve1?x",
        "https://pve1#x",
        "https://pve1:",
        "https://pve1:99999",
        "https://a b",
        "https://user:secret@pve1",
        "https://-x_!:1",
    ];
    for text in bad {
        let error = text.parse::<Endpoint>().expect_err(text).to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn unusable_configurations_are_refused() {
    let base = || UpstreamConfig::new("lab", vec!["http://pve1".parse().unwrap()]);
    let limit = |count, burst| LimitConfig {
        matches: LimitMatches::All,
        count,
        period: Duration::from_secs(1),
        burst,
        per: vec![],
    };
    type Change<'a> = &'a dyn Fn(&mut UpstreamConfig);
    let changes: [Change<'_>; 7] = [
        &|config| config.endpoints.clear(),
        &|config| config.endpoints.push("http://pve1:80".parse().unwrap()),
        &|config| config.concurrency = 0,
        &|config| config.limits.push(limit(0, 1)),
        &|config| config.limits.push(limit(1, 0)),
        &|config| {
            config.endpoints = vec!["https://pve1".parse().unwrap()];
            config.tls.trust = Trust::Pins(vec![]);
        },
        &|config| {
            config.endpoints = vec!["https://pve1".parse().unwrap()];
            config.tls.trust = Trust::CaFile("/nowhere/ca.pem".into());
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut config = base();
        change(&mut config);
        assert!(Upstream::new(config, &Registry::new()).is_err(), "{index}");
    }
    assert!(Upstream::new(base(), &Registry::new()).is_ok());
}

#[tokio::test]
async fn a_call_goes_on_to_the_next_endpoint() {
    let server = Server::echo().await;
    let gone = nobody().await;
    let bench = Bench::with(&[&server], |config| config.endpoints.insert(0, gone.parse().unwrap()));
    for _ in 0..3 {
        let answer = bench.send(bench.post("/", "x")).await.unwrap();
        assert_eq!(answer.endpoint, bench.upstream.endpoints()[1].id);
    }
    let up: Vec<bool> = bench.upstream.endpoints().iter().map(|endpoint| endpoint.up).collect();
    assert_eq!(up, [false, true]);
    assert_eq!((server.seen.requests(), bench.total()), (3, 3));
}

#[tokio::test]
async fn no_endpoint_means_unreachable_until_one_answers() {
    let gone = nobody().await;
    let bench = Bench::with(&[], |config| config.endpoints = vec![gone.parse().unwrap()]);
    let error = bench.send(bench.post("/", "x")).await.unwrap_err();
    assert!(matches!(error, SendError::Unreachable), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NeverSent);
    assert!(!error.to_string().contains("127.0.0.1"));
    assert!(bench.upstream.failing_since().is_some());
    assert_eq!(bench.total(), 0);
    // Left alone for a while, then tried again.
    assert!(matches!(bench.send(bench.get("/")).await, Err(SendError::Unreachable)));
    let listener = tokio::net::TcpListener::bind(gone.trim_start_matches("http://")).await.unwrap();
    let accepting = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let _ = tcp.read(&mut [0; 1024]).await;
            tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    });
    assert_eq!(bench.send(bench.get("/")).await.unwrap().parts.status, 200);
    assert!(bench.upstream.endpoints()[0].up);
    assert!(bench.upstream.failing_since().is_none());
    accepting.abort();
}

#[tokio::test]
async fn calls_spread_and_stick() {
    let (one, two) = (slow().await, slow().await);
    let bench = Bench::new(&[&one, &two]);
    let status = bench.upstream.endpoints();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(bench.send(bench.get("/")).await.unwrap());
    }
    assert_eq!((one.seen.requests(), two.seen.requests()), (2, 2));
    for _ in 0..2 {
        let call = Outgoing { endpoint: EndpointChoice::Prefer(status[1].id), ..bench.get("/") };
        let answer = bench.send(call).await.unwrap();
        assert_eq!(answer.endpoint, status[1].id);
        held.push(answer);
    }
    assert_eq!((one.seen.requests(), two.seen.requests()), (2, 4));
    assert_eq!(bench.upstream.endpoints()[1].in_flight, 4);
}

/// Answers whose bodies do not end.
async fn slow() -> Server {
    Server::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        conn.closed().await;
    })
    .await
}

#[tokio::test]
async fn a_reload_keeps_what_is_unchanged() {
    let server = Server::echo().await;
    let bench = Bench::new(&[&server]);
    bench.text(bench.get("/")).await;
    eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
    let mut config = bench.upstream.config().clone();
    config.queue_length = 5;
    config.endpoints.push("http://127.0.0.1:1".parse().unwrap());
    let upstream = bench.upstream.reconfigured(config.clone()).unwrap();
    assert_eq!(upstream.endpoints()[0].open_connections, 1);
    assert_eq!(upstream.endpoints().len(), 2);
    config.concurrency = 3;
    assert_eq!(upstream.reconfigured(config.clone()).unwrap().endpoints()[0].open_connections, 0);
    config.endpoints.clear();
    assert!(upstream.reconfigured(config).is_err());
}
