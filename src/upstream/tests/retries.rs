//! What is sent again, and what never is.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::nobody;
use super::*;

/// Quick retries, and a budget that does not end within a test.
fn quick() -> RetryConfig {
    let policy = RetryPolicy { base: Duration::from_millis(2), ..RetryPolicy::default() };
    RetryConfig { never_sent: policy, transient: policy, throttled: policy, ..RetryConfig::default() }
}

/// The first `failures` calls get `failure` and a closed connection, the others 200.
async fn failing(failures: usize, failure: &'static str) -> Server {
    let calls = Arc::new(AtomicUsize::new(0));
    Server::start(move |mut conn| {
        let calls = Arc::clone(&calls);
        async move {
            while conn.head().await.is_some() {
                if calls.fetch_add(1, Ordering::SeqCst) < failures {
                    return conn.send(failure).await;
                }
                conn.ok("well").await;
            }
        }
    })
    .await
}

const RESET: &str = "";
const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n";
const NODE_DOWN: &str = "HTTP/1.1 595 No route to host\r\nContent-Length: 0\r\n\r\n";
const NOT_FOUND: &str = "HTTP/1.1 500 does not exist\r\nContent-Length: 0\r\n\r\n";

fn metric(bench: &Bench, line: &str) -> bool {
    bench.registry.render().lines().any(|found| found == line)
}

#[tokio::test]
async fn a_read_is_sent_again_and_each_attempt_counts() {
    let proxmox = crate::dialect::Dialect::Proxmox.failures();
    for (failure, first) in [(RESET, "none"), (BAD_GATEWAY, "5xx"), (NODE_DOWN, "5xx")] {
        let server = failing(2, failure).await;
        let bench = Bench::with(&[&server], |config| {
            config.retry = quick();
            config.failures = proxmox;
        });
        assert_eq!(bench.text(bench.get("/")).await, (200, "well".into()), "{failure:?}");
        assert_eq!(
            bench.counted(),
            [("2xx".to_owned(), 1), (first.to_owned(), 2)]
                .into_iter()
                .collect::<std::collections::BTreeMap<_, _>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
        assert_eq!(server.seen.requests(), 3);
        assert!(metric(&bench, r#"forebay_retries_total{upstream="lab",class="transient",result="sent"} 2"#));
        assert!(metric(&bench, r#"forebay_upstream_failures_total{upstream="lab",class="transient"} 2"#));
    }
}

#[tokio::test]
async fn what_is_not_safe_or_not_for_now_is_sent_once() {
    for (failure, call) in [
        (RESET, Method::POST),
        (BAD_GATEWAY, Method::PUT),
        (BAD_GATEWAY, Method::OPTIONS),
        (NOT_FOUND, Method::GET),
    ] {
        let server = failing(1, failure).await;
        let bench = Bench::with(&[&server], |config| config.retry = quick());
        let _ = bench.send(bench.call(call.clone(), "/")).await;
        assert_eq!((server.seen.requests(), bench.total()), (1, 1), "{call} {failure:?}");
    }
    // A read that its rule says must not be repeated.
    let server = failing(1, RESET).await;
    let bench = Bench::with(&[&server], |config| config.retry = quick());
    let terms = Terms { repeat: Repeat::IfNeverSent, ..Terms::default() };
    assert!(within(bench.upstream.send_on(bench.get("/"), terms)).await.is_err());
    assert_eq!(server.seen.requests(), 1);
}

#[tokio::test]
async fn a_write_that_never_left_finds_the_api_when_it_is_back() {
    let address = nobody().await;
    let bench = Bench::with(&[], |config| {
        config.endpoints = vec![address.parse().unwrap()];
        config.retry =
            RetryConfig { never_sent: RetryPolicy { attempts: 10, ..quick().never_sent }, ..quick() };
        config.retry.never_sent.base = Duration::from_millis(40);
    });
    let (upstream, call) = (bench.upstream.clone(), bench.post("/", "x=1"));
    let sending = tokio::spawn(async move { upstream.send(call).await.map(|answer| answer.parts.status) });
    let failed = r#"forebay_retries_total{upstream="lab",class="never-sent",result="sent"} "#;
    eventually(|| {
        bench.registry.render().lines().any(|line| line.starts_with(failed) && !line.ends_with(" 0"))
    })
    .await;
    let listener = tokio::net::TcpListener::bind(address.trim_start_matches("http://")).await.unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut tcp, _) = within(listener.accept()).await.unwrap();
    let _ = tcp.read(&mut [0; 1024]).await;
    tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    assert_eq!(within(sending).await.unwrap().unwrap(), 200);
    assert_eq!(bench.total(), 1);
}

#[tokio::test]
async fn another_endpoint_is_tried_before_the_one_that_failed() {
    let (ill, well) = (failing(usize::MAX, BAD_GATEWAY).await, Server::echo().await);
    let bench = Bench::with(&[&ill, &well], |config| config.retry = quick());
    for _ in 0..3 {
        assert_eq!(bench.text(bench.get("/a")).await, (200, "/a".into()));
    }
    assert!(ill.seen.requests() <= 3, "{}", ill.seen.requests());
}

#[tokio::test]
async fn whoever_waits_is_told_before_the_retry() {
    let server = failing(1, BAD_GATEWAY).await;
    let bench = Bench::with(&[&server], |config| config.retry = quick());
    let told = Mutex::new(Vec::new());
    let requests = || server.seen.requests();
    let troubled =
        |status: Option<http::StatusCode>| told.lock().push((status.map(|s| s.as_u16()), requests()));
    let terms = Terms { troubled: Some(&troubled), ..Terms::default() };
    assert_eq!(within(bench.upstream.send_on(bench.get("/"), terms)).await.unwrap().parts.status, 200);
    assert_eq!(*told.lock(), [(Some(502), 1)]);
}

#[tokio::test]
async fn an_api_that_is_down_gets_its_share_and_no_more() {
    let server = failing(usize::MAX, BAD_GATEWAY).await;
    let bench = Bench::with(&[&server], |config| {
        config.retry = quick();
        config.breaker.failures = u32::MAX;
    });
    for _ in 0..200 {
        assert_eq!(bench.text(bench.get("/")).await.0, 502);
    }
    // A tenth of 200, and the ten that were saved up.
    let expected = 200..=230;
    assert!(expected.contains(&server.seen.requests()), "{}", server.seen.requests());
}

#[tokio::test]
async fn a_wish_for_a_pause_is_heard() {
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    let server = failing(1, busy).await;
    let bench = Bench::with(&[&server], |config| config.retry = quick());
    let began = Instant::now();
    assert_eq!(bench.text(bench.get("/")).await.0, 200);
    assert!(began.elapsed() >= Duration::from_secs(1));
    let busy = "HTTP/1.1 429 Busy\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n";
    let server = failing(1, busy).await;
    let bench = Bench::with(&[&server], |config| config.retry = quick());
    assert_eq!(bench.text(bench.get("/")).await.0, 429, "longer than the cap");
    assert_eq!(server.seen.requests(), 1);
}
