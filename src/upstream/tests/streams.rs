use std::sync::Arc;

use http_body::Body as _;
use tokio::sync::Semaphore;

use super::*;

/// The next piece of a body.
async fn piece(body: &mut AnswerBody) -> Bytes {
    within(body.frame()).await.unwrap().unwrap().into_data().unwrap()
}

#[tokio::test]
async fn an_answer_that_goes_on_for_long_holds_up_nobody() {
    let go_on = Arc::new(Semaphore::new(0));
    let told = Arc::clone(&go_on);
    let server = Server::start(move |mut conn| {
        let told = Arc::clone(&told);
        async move {
            while let Some(head) = conn.head().await {
                if head.starts_with("GET /quick") {
                    conn.ok("quick").await;
                    continue;
                }
                conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
                told.acquire().await.unwrap().forget();
                conn.send("1\r\nb\r\n").await;
                told.acquire().await.unwrap().forget();
                conn.send("0\r\n\r\n").await;
            }
        }
    })
    .await;
    let bench = Bench::with(&[&server], |config| {
        config.concurrency = 1;
        config.queue_wait = Duration::from_millis(30);
    });
    let shown =
        |n: u32| bench.registry.render().contains(&format!("forebay_streams{{upstream=\"lab\"}} {n}\n"));
    let mut answer = bench.send(bench.get("/events")).await.unwrap();
    assert_eq!(piece(&mut answer.body).await, "a");
    assert!(matches!(bench.send(bench.get("/quick")).await, Err(SendError::QueueTimeout { .. })));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    go_on.add_permits(1);
    assert_eq!(piece(&mut answer.body).await, "b");
    assert!(shown(1) && !answer.body.is_end_stream());
    assert_eq!(bench.text(bench.get("/quick")).await.1, "quick", "its place is free");
    go_on.add_permits(1);
    assert!(within(answer.body.frame()).await.is_none(), "and it ends as it should");
    assert!(shown(0));
    assert_eq!(bench.text(bench.get("/quick")).await.1, "quick");
    // Both connections are kept, and there is one place again.
    assert_eq!(server.seen.connections(), 2);
    assert_eq!(bench.upstream.endpoints()[0].in_flight, 0);
}
