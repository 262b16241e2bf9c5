use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;

#[tokio::test]
async fn one_connection_serves_calls_one_after_another() {
    let server = Server::echo().await;
    let bench = Bench::new(&[&server]);
    for index in 0..5 {
        let path = format!("/{index}");
        assert_eq!(bench.text(bench.get(&path)).await, (200, path));
        // The connection is back once its permit is.
        eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
    }
    assert_eq!((server.seen.connections(), server.seen.requests()), (1, 5));
    assert_eq!(bench.counted(), [("2xx".to_owned(), 5)]);
}

#[tokio::test]
async fn a_connection_is_given_up_after_its_share_of_requests() {
    let server = Server::echo().await;
    let bench = Bench::with(&[&server], |config| config.requests_per_connection = Some(2));
    for _ in 0..5 {
        bench.text(bench.get("/")).await;
        eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
    }
    assert_eq!(server.seen.connections(), 3);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let closed = Arc::new(Notify::new());
    let tell = Arc::clone(&closed);
    let server = Server::start(move |mut conn| {
        let tell = Arc::clone(&tell);
        async move {
            conn.echo_paths().await;
            tell.notify_one();
        }
    })
    .await;
    let bench = Bench::with(&[&server], |config| config.pool_idle = Duration::from_millis(20));
    bench.text(bench.get("/")).await;
    within(closed.notified()).await;
    eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
    bench.text(bench.get("/")).await;
    assert_eq!(server.seen.connections(), 2);
}

#[tokio::test]
async fn close_idle_closes() {
    let server = Server::echo().await;
    let bench = Bench::new(&[&server]);
    bench.text(bench.get("/")).await;
    eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
    assert_eq!(bench.upstream.endpoints()[0].open_connections, 1);
    bench.upstream.close_idle();
    eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
}

/// Answers the first request of each connection; the first connection takes a second one and closes.
async fn closes_on_second() -> Server {
    Server::start(|mut conn| async move {
        if conn.number > 0 {
            return conn.echo_paths().await;
        }
        conn.head().await;
        conn.ok("first").await;
        conn.head().await;
    })
    .await
}

#[tokio::test]
async fn a_read_on_a_connection_that_just_closed_is_sent_again_on_a_new_one() {
    let server = closes_on_second().await;
    let bench = Bench::new(&[&server]);
    bench.text(bench.get("/a")).await;
    eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
    assert_eq!(bench.text(bench.get("/b")).await, (200, "/b".into()));
    assert_eq!((server.seen.connections(), server.seen.requests()), (2, 3));
    // What the metric says is what the server saw.
    assert_eq!(bench.counted(), [("2xx".to_owned(), 2), ("none".to_owned(), 1)]);
}

#[tokio::test]
async fn a_write_that_left_is_never_sent_again() {
    let server = closes_on_second().await;
    let bench = Bench::new(&[&server]);
    bench.text(bench.get("/a")).await;
    eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
    let error = bench.send(bench.post("/b", "x=1")).await.unwrap_err();
    assert!(matches!(error, SendError::Lost(_)), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(server.seen.requests(), 2);
    assert!(bench.upstream.failing_since().is_some());
    bench.text(bench.get("/c")).await;
    assert!(bench.upstream.failing_since().is_none());
    assert_eq!(bench.total(), server.seen.requests() as u64);
}

#[tokio::test]
async fn a_write_finds_a_connection_that_the_server_did_not_close() {
    let server = Server::start(|mut conn| async move {
        conn.head().await;
        conn.ok("once").await;
    })
    .await;
    let bench = Bench::new(&[&server]);
    for _ in 0..4 {
        assert_eq!(bench.text(bench.post("/", "x")).await.0, 200);
        eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
    }
    assert_eq!((server.seen.requests(), bench.total()), (4, 4));
}

#[tokio::test]
async fn a_read_on_a_new_connection_is_not_sent_again() {
    let server = Server::start(|mut conn| async move {
        conn.head().await;
    })
    .await;
    let bench = Bench::new(&[&server]);
    assert!(matches!(bench.send(bench.get("/")).await, Err(SendError::Lost(_))));
    assert_eq!((server.seen.connections(), bench.total()), (1, 1));
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection_and_still_counts() {
    let (arrived, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell_arrived, tell_closed) = (Arc::clone(&arrived), Arc::clone(&closed));
    let server = Server::start(move |mut conn| {
        let (arrived, closed) = (Arc::clone(&tell_arrived), Arc::clone(&tell_closed));
        async move {
            conn.head().await;
            arrived.notify_one();
            conn.closed().await;
            closed.notify_one();
        }
    })
    .await;
    let bench = Bench::new(&[&server]);
    let (upstream, call) = (bench.upstream.clone(), bench.get("/"));
    let task = tokio::spawn(async move { upstream.send(call).await.map(drop) });
    within(arrived.notified()).await;
    assert_eq!(bench.upstream.endpoints()[0].in_flight, 1);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    within(closed.notified()).await;
    assert_eq!(bench.upstream.endpoints()[0].in_flight, 0);
    assert_eq!(bench.counted(), [("none".to_owned(), 1)]);
}

#[tokio::test]
async fn a_body_holds_its_place_until_its_end_or_its_drop() {
    let server = Server::start(|mut conn| async move {
        while conn.head().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
            if conn.number > 0 {
                conn.send(" more").await;
            }
        }
    })
    .await;
    let bench = Bench::with(&[&server], |config| {
        config.concurrency = 1;
        config.queue_wait = Duration::from_millis(30);
    });
    let first = bench.send(bench.get("/")).await.unwrap();
    assert!(matches!(bench.send(bench.get("/")).await, Err(SendError::QueueTimeout { .. })));
    drop(first);
    assert_eq!(bench.text(bench.get("/")).await.1, "half more");
    eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
    assert_eq!((server.seen.connections(), bench.total()), (2, 2));
}

#[tokio::test]
async fn no_more_calls_than_allowed_are_in_flight() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |mut conn| {
        let (now, most) = counters.clone();
        async move {
            while conn.head().await.is_some() {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                conn.ok("x").await;
            }
        }
    })
    .await;
    let bench = Arc::new(Bench::with(&[&server], |config| config.concurrency = 3));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let bench = Arc::clone(&bench);
        calls.spawn(async move { bench.text(bench.get("/")).await });
    }
    while let Some(result) = calls.join_next().await {
        assert_eq!(result.unwrap().0, 200);
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert!(server.seen.connections() <= 3, "{} connections", server.seen.connections());
}

#[tokio::test]
async fn a_contradicted_close_keeps_the_connection_where_told_so() {
    for (close, connections) in [(ContradictoryClose::Obey, 3), (ContradictoryClose::KeepOpen, 1)] {
        let server = Server::start(|mut conn| async move {
            while conn.head().await.is_some() {
                let fields = "Connection: close\r\nConnection: Keep-Alive\r\nContent-Length: 2";
                conn.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nok")).await;
            }
        })
        .await;
        let bench = Bench::with(&[&server], |config| config.contradictory_close = close);
        for _ in 0..3 {
            assert_eq!(bench.text(bench.get("/")).await.1, "ok");
            eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
        }
        assert_eq!(server.seen.connections(), connections, "{close:?}");
    }
}

/// What becomes of a call does not change how it is counted: answered, refused, cut or abandoned at
/// any moment, the metric is what the server saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metric_is_what_the_server_saw() {
    let server = Server::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let path = head.split(' ').nth(1).unwrap_or_default();
            match path.trim_start_matches('/').parse::<usize>().unwrap() % 8 {
                0 => return,
                1 => return conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await,
                2 => return conn.send("nonsense\r\n\r\n").await,
                3 => conn.send("HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n").await,
                _ => conn.ok(path).await,
            }
        }
    })
    .await;
    let bench = Arc::new(Bench::with(&[&server], |config| config.concurrency = 4));
    let mut calls = tokio::task::JoinSet::new();
    for index in 0..600 {
        let bench = Arc::clone(&bench);
        calls.spawn(async move {
            let path = format!("/{index}");
            let call = if index % 3 == 0 { bench.get(&path) } else { bench.call(Method::POST, &path) };
            let patience = match index % 5 {
                0 => Duration::from_micros(index as u64 * 20),
                _ => PATIENCE,
            };
            let _ = tokio::time::timeout(patience, async {
                if let Ok(answer) = bench.upstream.send(call).await {
                    let status = answer.parts.status.as_u16();
                    let text = answer.body.collect().await.map(|body| body.to_bytes());
                    if let Ok(text) = text {
                        assert!(status == 500 || text == path, "{status} {text:?} for {path}");
                    }
                }
            })
            .await;
        });
    }
    while let Some(result) = within(calls.join_next()).await {
        result.unwrap();
    }
    bench.upstream.close_idle();
    eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
    eventually(|| bench.total() == server.seen.requests() as u64).await;
    assert_eq!((bench.upstream.endpoints()[0].in_flight, bench.upstream.waiting()), (0, 0));
}
