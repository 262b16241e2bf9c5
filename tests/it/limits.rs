//! How much reaches the upstream, and what those are told who have to wait too long.

use crate::support::{Gate, Opened, Options, Reply, Rig, until};

async fn limited(upstream: &str) -> Rig {
    Rig::with(Options { upstream: upstream.into(), ..Options::default() }).await
}

#[tokio::test]
async fn a_limit_answers_429_in_the_apis_form() {
    let rig = limited("limits: [{match: reads, rate: 1/m, burst: 2}]\nqueue: {wait: 5s}").await;
    rig.warm("/api2/json/item/1").await;
    rig.get("/api2/json/passed/1").send().await;
    for path in ["/api2/json/passed/1", "/api2/json/item/2"] {
        let got = rig.get(path).send().await;
        let reason = "forebay: the limit on calls to the API is reached";
        assert_eq!((got.status, got.reason.as_str(), got.cache()), (429, reason, "detail=limited"));
        let after: u32 = got.field("retry-after").and_then(|value| value.parse().ok()).expect("an integer");
        assert!((1..=60).contains(&after));
        assert!(got.text().contains(reason));
    }
    assert_eq!(rig.origin().calls().len(), 2);
    assert!(rig.get("/api2/json/item/1").send().await.is_hit(), "hits cost nothing");
    assert_eq!(rig.ask("POST", "/api2/json/item/2").send().await.status, 200, "writes are not reads");
    rig.finish().await;
}

#[tokio::test]
async fn a_refused_write_changes_nothing_and_was_not_sent() {
    let rig = limited("limits: [{match: writes, rate: 1/m, burst: 1}]\nqueue: {wait: 5s}").await;
    rig.ask("POST", "/api2/json/item/9").send().await;
    rig.warm("/api2/json/item/1").await;
    assert_eq!(rig.ask("POST", "/api2/json/item/1").send().await.status, 429);
    assert!(rig.get("/api2/json/item/1").send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn principals_have_their_own_share_once_they_are_accepted() {
    let rig =
        limited("limits: [{match: reads, per: [principal], rate: 1/m, burst: 2}]\nqueue: {wait: 5s}").await;
    // The first call of each is charged to the address that all of them come from.
    for token in ["one", "two"] {
        assert_eq!(rig.get("/api2/json/passed/1").token(token).send().await.status, 200);
    }
    for token in ["one", "two"] {
        for status in [200, 200, 429] {
            assert_eq!(rig.get("/api2/json/passed/1").token(token).send().await.status, status, "{token}");
        }
    }
    assert_eq!(rig.get("/api2/json/passed/1").token("three").send().await.status, 429);
    rig.finish().await;
}

#[tokio::test]
async fn the_upstreams_429_pauses_everybody() {
    let rig = limited("queue: {wait: 5s}").await;
    rig.warm("/api2/json/sie/1").await;
    rig.seconds(11).await;
    let slow = Reply::status(429, "Slow down").field("Retry-After", "30");
    rig.origin().on_each("GET /api2/json/passed/1", [slow, Reply::numbered()]);
    let first = rig.get("/api2/json/passed/1").send().await;
    assert_eq!(
        (first.status, first.reason.as_str(), first.field("retry-after")),
        (429, "Slow down", Some("30"))
    );
    for (method, path) in [("GET", "/api2/json/item/1"), ("POST", "/api2/json/item/1")] {
        let got = rig.ask(method, path).token("two").send().await;
        assert_eq!((got.status, got.cache()), (429, "detail=paused"));
        assert_eq!(got.reason, "forebay: the API asked for a pause");
        let after: u32 = got.field("retry-after").and_then(|value| value.parse().ok()).expect("an integer");
        assert!((1..=30).contains(&after));
    }
    let stale = rig.get("/api2/json/sie/1").send().await;
    assert_eq!(stale.cache(), "fwd=stale; detail=stale-if-error");
    assert_eq!(rig.origin().calls().len(), 2);
    // Near its end, calls wait for it instead.
    rig.seconds(27).await;
    let waiting = rig.get("/api2/json/passed/1").spawn();
    until("one in the queue", || rig.app.sites().all()[0].upstream.waiting() == 1).await;
    assert_eq!(rig.origin().calls().len(), 2);
    rig.seconds(3).await;
    assert_eq!(waiting.await.expect("answered").status, 200);
    rig.finish().await;
}

#[tokio::test]
async fn a_full_queue_answers_at_once() {
    let rig = limited("concurrency: 1\nqueue: {length: 1, wait: 10s}").await;
    // Accepted, so that it is no stranger.
    rig.warm("/api2/json/item/1").await;
    let gate = Gate::new();
    rig.origin().on("GET /api2/json/passed/1", Reply::numbered().held(&gate));
    let first = rig.get("/api2/json/passed/1").spawn();
    rig.origin().came("GET /api2/json/passed/1", 1).await;
    let second = rig.get("/api2/json/passed/1").spawn();
    until("one in the queue", || rig.app.sites().all()[0].upstream.waiting() == 1).await;
    let third = rig.get("/api2/json/passed/1").send().await;
    assert_eq!((third.status, third.cache()), (429, "detail=limited"));
    assert_eq!(third.reason, "forebay: too many calls are waiting for the API");
    gate.open();
    for reader in [first, second] {
        assert_eq!(reader.await.expect("answered").status, 200);
    }
    rig.finish().await;
}

#[tokio::test]
async fn strangers_leave_room_for_those_who_were_accepted() {
    let rig = limited("concurrency: 8\nqueue: {wait: 5s}").await;
    rig.warm("/api2/json/item/1").await;
    let gate = Gate::new();
    rig.origin().on("GET /api2/json/item/2", Reply::status(401, "No ticket").held(&gate));
    let strangers: Vec<_> =
        (0..20).map(|n| rig.get("/api2/json/item/2").token(&format!("x{n}")).spawn()).collect();
    rig.waiting(20).await;
    rig.origin().came("GET /api2/json/item/2", 2).await;
    assert_eq!(rig.get("/api2/json/passed/1").send().await.status, 200);
    assert_eq!(rig.origin().count("GET /api2/json/item/2"), 2);
    gate.open();
    for stranger in strangers {
        assert_eq!(stranger.await.expect("answered").status, 401);
    }
    rig.finish().await;
}

const LOGIN: &str = "/api2/json/access/ticket";
const POSTED: &str = "POST /api2/json/access/ticket";

/// The beginning of a request with content of `length` bytes, of which `sent` are there.
async fn trickling(rig: &Rig, length: usize, sent: usize) -> Opened {
    let mut connection = rig.connect().await;
    let head = format!("POST {LOGIN} HTTP/1.1\r\nHost: forebay.test\r\nContent-Length: {length}\r\n\r\n");
    connection.write(head.as_bytes()).await;
    connection.write(&vec![b'x'; sent]).await;
    connection
}

#[tokio::test]
async fn content_that_trickles_holds_no_place_of_strangers() {
    // Two places for strangers.
    let rig = limited("concurrency: 8\nqueue: {wait: 5s}").await;
    let mut slow = Vec::new();
    for (length, sent) in [(100, 1), (100, 99), (10 << 20, 0), (10 << 20, 1000)] {
        slow.push(trickling(&rig, length, sent).await);
    }
    assert_eq!(rig.ask("POST", LOGIN).anonymous().body("username=a").send().await.status, 200);
    assert_eq!(rig.get("/api2/json/passed/1").token("new").send().await.status, 200);
    assert_eq!(rig.origin().count(POSTED), 1, "the others are not here yet");
    // One comes to its end, and another one gets going.
    slow[0].write(&[b'x'; 99]).await;
    slow[2].write(&vec![b'x'; 64 << 10]).await;
    rig.origin().came(POSTED, 3).await;
    slow[0].read_head().await;
    assert_eq!(slow[0].status(), 200);
    slow[2].write(&vec![b'x'; (10 << 20) - (64 << 10)]).await;
    slow[2].read_head().await;
    assert_eq!(slow[2].status(), 200);
    drop(slow);
    rig.finish().await;
}

#[tokio::test]
async fn content_of_strangers_that_stops_coming_gives_its_place_back() {
    let rig = limited("concurrency: 4\nqueue: {wait: 5s}").await;
    let mut slow = trickling(&rig, 10 << 20, 64 << 10).await;
    rig.origin().came(POSTED, 1).await;
    let waits = rig.get("/api2/json/passed/1").token("new").spawn();
    until("one in the queue", || rig.app.sites().all()[0].upstream.waiting() == 1).await;
    for _ in 0..5 {
        // A little all the time, but never enough.
        slow.write(&[b'x'; 1000]).await;
        rig.seconds(13).await;
    }
    slow.read_head().await;
    assert_eq!(slow.status(), 400);
    assert_eq!(waits.await.expect("answered").status, 429, "it waited for 5 s");
    assert_eq!(rig.get("/api2/json/passed/1").token("new").send().await.status, 200);
    rig.finish().await;
}

#[tokio::test]
async fn strangers_wait_in_a_quarter_of_the_queue_and_no_longer_than_others() {
    let rig = limited("concurrency: 8\nqueue: {length: 8, wait: 5s}").await;
    let gate = Gate::new();
    rig.origin().on("GET /api2/json/passed/1", Reply::numbered().held(&gate));
    let stranger = |n: usize| rig.get("/api2/json/passed/1").token(&format!("x{n}")).spawn();
    let waiting = || rig.app.sites().all()[0].upstream.waiting();
    let held: Vec<_> = (0..2).map(stranger).collect();
    rig.origin().came("GET /api2/json/passed/1", 2).await;
    let queued: Vec<_> = (2..4).map(stranger).collect();
    until("two in the queue", || waiting() == 2).await;
    let more = stranger(4).await.expect("answered");
    assert_eq!((more.status, more.cache()), (429, "detail=limited"));
    assert_eq!(more.reason, "forebay: too many calls are waiting for the API");
    assert_eq!(rig.counter_of("forebay_limit_rejected_total", "queue-full"), 1);
    rig.seconds(5).await;
    for stranger in queued {
        let got = stranger.await.expect("answered");
        assert_eq!((got.status, got.field("retry-after")), (429, Some("5")));
    }
    assert_eq!(rig.counter_of("forebay_limit_rejected_total", "queue-timeout"), 2);
    assert_eq!((waiting(), rig.counter("forebay_limit_wait_seconds_count")), (0, 2));
    let late = stranger(5);
    until("one in the queue", || waiting() == 1).await;
    gate.open();
    for reader in held.into_iter().chain([late]) {
        assert_eq!(reader.await.expect("answered").status, 200);
    }
    assert_eq!(rig.counter("forebay_limit_wait_seconds_count"), 3);
    rig.finish().await;
}
