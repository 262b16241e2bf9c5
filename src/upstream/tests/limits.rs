use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::admit::{Charge, Gate, QueueBounds};
use super::limit::Charged;
use super::line::Line;
use super::*;
use crate::units::Share;

fn limit(count: u32, burst: u32, per: &[LimitKey]) -> LimitConfig {
    LimitConfig {
        matches: LimitMatches::All,
        count,
        period: Duration::from_secs(1),
        burst,
        per: per.to_vec(),
    }
}

/// The gate alone, so that time can be paused: no sockets.
struct GateBench {
    gate: Arc<Gate>,
    places: Arc<Line>,
    bounds: QueueBounds,
    started: Instant,
}

impl GateBench {
    fn new(limits: &[LimitConfig]) -> Self {
        Self {
            gate: Arc::new(Gate::new("lab", limits, &Registry::new())),
            places: Line::new(10_000),
            bounds: QueueBounds { length: 1_000, wait: Duration::from_secs(10), share: Share(1.0) },
            started: Instant::now(),
        }
    }

    /// One call; when it was let through, in milliseconds since the start.
    fn pass(&self, principal: u128) -> impl Future<Output = Result<u64, SendError>> + Send + use<> {
        let (gate, places, bounds, started) =
            (Arc::clone(&self.gate), Arc::clone(&self.places), self.bounds, self.started);
        async move {
            let call = Charged {
                kind: CallKind::Read,
                principal,
                captures: &[],
                urgency: Urgency::Read,
                charges: &[],
            };
            let id = "http://pve1".parse::<Endpoint>().unwrap().id();
            let mut visit = gate.visit(bounds, Priority::Client);
            drop(gate.admit(&mut visit, &call, Charge::All, id, &places).await?);
            Ok(started.elapsed().as_millis() as u64)
        }
    }

    /// `count` calls at once, in order; the moments at which they passed, in order of passing.
    async fn burst(&self, count: usize) -> Vec<(usize, Result<u64, SendError>)> {
        let passed = Arc::new(Mutex::new(Vec::new()));
        let mut calls = tokio::task::JoinSet::new();
        for index in 0..count {
            let (call, passed) = (self.pass(1), Arc::clone(&passed));
            calls.spawn(async move {
                let result = call.await;
                passed.lock().push((index, result));
            });
        }
        while let Some(result) = calls.join_next().await {
            result.unwrap();
        }
        std::mem::take(&mut *passed.lock())
    }
}

#[tokio::test(start_paused = true)]
async fn calls_pass_in_order_and_at_the_rate() {
    let bench = GateBench::new(&[limit(20, 40, &[])]);
    let passed = bench.burst(150).await;
    let order: Vec<usize> = passed.iter().map(|(index, _)| *index).collect();
    assert_eq!(order, (0..150).collect::<Vec<_>>());
    let times: Vec<u64> = passed.into_iter().map(|(_, result)| result.unwrap()).collect();
    for second in 0..6 {
        let window = (second * 1000)..(second * 1000 + 1000);
        let count = times.iter().filter(|time| window.contains(*time)).count();
        assert!(count <= 20 + if second == 0 { 40 } else { 0 }, "{count} in second {second}");
    }
    // 110 beyond the burst at 20 a second.
    assert!((5_400..=5_600).contains(times.last().unwrap()), "{:?}", times.last());
    // Any window holds the rate, not only those on the second.
    for (index, start) in times.iter().enumerate().skip(40) {
        let count = times[index..].iter().take_while(|time| **time < start + 1000).count();
        assert!(count <= 21, "{count} within a second from {start}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_wait_too_long_is_refused_at_once() {
    let mut bench = GateBench::new(&[limit(1, 1, &[])]);
    bench.bounds.wait = Duration::from_secs(3);
    let passed = bench.burst(10).await;
    let (good, refused): (Vec<_>, Vec<_>) = passed.into_iter().partition(|(_, result)| result.is_ok());
    assert_eq!(good.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    for (index, result) in refused {
        let Err(SendError::QueueTimeout { retry_after }) = result else { panic!("{index}: {result:?}") };
        assert!((3..=10).contains(&retry_after), "{index}: {retry_after}");
    }
    // Those refused at once did not wait for the deadline.
    let refused_at_once = bench.pass(1).await;
    assert_eq!(bench.started.elapsed().as_secs(), 4, "{refused_at_once:?}");
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let mut bench = GateBench::new(&[limit(1, 1, &[])]);
    bench.bounds = QueueBounds { length: 3, wait: Duration::from_secs(60), share: Share(1.0) };
    let passed = bench.burst(10).await;
    let full = passed.iter().filter(|(_, result)| matches!(result, Err(SendError::QueueFull { .. })));
    assert_eq!(full.count(), 6);
    assert_eq!(bench.gate.waiting(), 0);
    let Some((_, Err(error))) = passed.iter().find(|(_, result)| result.is_err()) else { panic!() };
    assert_eq!(error.retry_after(), Some(60));
}

#[tokio::test(start_paused = true)]
async fn what_goes_aside_needs_nobodys_place_and_pays_like_all() {
    let mut bench = GateBench::new(&[limit(1, 1, &[])]);
    (bench.places, bench.bounds.length) = (Line::new(0), 0);
    let aside = Line::new(1);
    let urgency = Urgency::Change;
    let call = Charged { kind: CallKind::Read, principal: 1, captures: &[], urgency, charges: &[] };
    let id = "http://pve1".parse::<Endpoint>().unwrap().id();
    let pass = async || {
        let mut visit = bench.gate.visit(bench.bounds, Priority::Aside { place: &aside });
        let spot = bench.gate.admit(&mut visit, &call, Charge::All, id, &bench.places).await.unwrap();
        (bench.started.elapsed().as_secs(), spot)
    };
    assert!(matches!(bench.pass(1).await, Err(SendError::QueueFull { .. })));
    let (first, spot) = pass().await;
    let free = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(spot);
    };
    let ((second, spot), ()) = tokio::join!(pass(), free);
    drop(spot);
    let (third, _) = pass().await;
    assert_eq!((first, second, third), (0, 5, 6), "one at a time, and each pays for a token");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_gives_its_turn_to_the_next() {
    let bench = GateBench::new(&[limit(1, 1, &[])]);
    assert_eq!(bench.pass(1).await.unwrap(), 0);
    let first = tokio::spawn(bench.pass(1));
    tokio::task::yield_now().await;
    let second = tokio::spawn(bench.pass(1));
    tokio::task::yield_now().await;
    assert_eq!(bench.gate.waiting(), 2);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let time = second.await.unwrap().unwrap();
    assert!((1_000..=1_005).contains(&time), "{time}");
    assert_eq!(bench.gate.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn principals_have_levels_of_their_own() {
    let bench = GateBench::new(&[limit(10, 20, &[]), limit(1, 1, &[LimitKey::Principal])]);
    assert_eq!(bench.pass(1).await.unwrap(), 0);
    let second = tokio::spawn(bench.pass(1));
    tokio::task::yield_now().await;
    // The other waits for its own level, not in the line that all share.
    for principal in 2..12 {
        assert_eq!(bench.pass(principal).await.unwrap(), 0);
    }
    assert!(second.await.unwrap().unwrap() >= 1_000);
}

#[tokio::test(start_paused = true)]
async fn invented_keys_do_not_fill_the_memory() {
    let bench = GateBench::new(&[limit(10, 1, &[LimitKey::Principal])]);
    for principal in 0..10_000 {
        assert!(bench.pass(principal).await.unwrap() < 1);
    }
    // The rest share one level.
    assert!(bench.pass(20_000).await.unwrap() < 100);
    assert!(bench.pass(20_001).await.unwrap() >= 100);
    // Levels that are full again make room.
    tokio::time::advance(Duration::from_secs(1)).await;
    let now = bench.started.elapsed().as_millis() as u64;
    assert_eq!(bench.pass(20_002).await.unwrap(), now);
    assert_eq!(bench.pass(20_003).await.unwrap(), now);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_spent_while_all_places_are_taken() {
    let mut bench = GateBench::new(&[limit(1, 1, &[])]);
    bench.places = Line::new(1);
    let held = bench.places.try_take().unwrap();
    let first = tokio::spawn(bench.pass(1));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(bench.gate.waiting(), 1);
    drop(held);
    assert_eq!(first.await.unwrap().unwrap(), 5_000);
    // Five seconds of waiting saved up one token, not five.
    assert!(bench.pass(1).await.unwrap() >= 6_000);
}

#[tokio::test(start_paused = true)]
async fn a_reload_grants_no_second_burst_and_keeps_unchanged_levels() {
    let bench = GateBench::new(&[limit(1, 3, &[])]);
    for _ in 0..3 {
        assert_eq!(bench.pass(1).await.unwrap(), 0);
    }
    bench.gate.set_limits(&[limit(1, 3, &[])]);
    assert!(bench.pass(1).await.unwrap() >= 1_000);
    bench.gate.set_limits(&[limit(2, 5, &[])]);
    let time = bench.pass(1).await.unwrap();
    assert!((1_500..=1_510).contains(&time), "{time}");
    bench.gate.set_limits(&[]);
    assert_eq!(bench.pass(1).await.unwrap(), time);
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_all_calls_or_turns_them_away() {
    let mut bench = GateBench::new(&[]);
    let ask = |seconds: &str| {
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, seconds.parse().unwrap())]);
        bench.gate.pause.observe(http::StatusCode::TOO_MANY_REQUESTS, &headers);
    };
    ask("3");
    ask("1");
    let time = bench.pass(1).await.unwrap();
    assert!((3_000..=3_005).contains(&time), "{time}");
    ask("30");
    bench.bounds.wait = Duration::from_secs(5);
    let Err(SendError::Paused { retry_after: 30 }) = bench.pass(1).await else { panic!("not paused") };
}

#[tokio::test]
async fn a_429_passes_and_pauses_the_whole_upstream() {
    let server = Server::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            match head.contains("/busy") {
                true => {
                    conn.send("HTTP/1.1 429 Slow down\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n").await
                }
                false => conn.ok("x").await,
            }
        }
    })
    .await;
    let bench = Bench::new(&[&server]);
    assert_eq!(bench.text(bench.get("/")).await.0, 200);
    assert_eq!(bench.text(bench.get("/busy")).await.0, 429);
    assert!(bench.upstream.paused_until().is_some());
    let error = bench.send(bench.post("/", "x")).await.unwrap_err();
    assert!(matches!(error, SendError::Paused { retry_after: 19..=20 }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NeverSent);
    assert_eq!(server.seen.requests(), 2);
    let rejected = r#"forebay_limit_rejected_total{upstream="lab",reason="paused"} 1"#;
    assert!(bench.registry.render().contains(rejected), "{}", bench.registry.render());
}

#[tokio::test]
async fn limits_tell_reads_from_writes() {
    let server = Server::echo().await;
    let writes =
        LimitConfig { matches: LimitMatches::Writes, period: Duration::from_secs(3600), ..limit(1, 1, &[]) };
    let bench = Bench::with(&[&server], |config| config.limits = vec![writes]);
    assert_eq!(bench.text(bench.post("/", "x")).await.0, 200);
    assert_eq!(bench.text(bench.get("/")).await.0, 200);
    let error = bench.send(bench.post("/", "x")).await.unwrap_err();
    assert!(matches!(error, SendError::QueueTimeout { retry_after: 60 }), "{error:?}");
}

/// A server that answers one call after the other when it is told to, and says which.
#[tokio::test]
async fn an_operator_is_not_behind_all_that_an_exporter_asked() {
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let server = Server::start(move |mut conn| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(head) = conn.head().await {
                gate.acquire().await.unwrap().forget();
                conn.ok(head.split(' ').nth(1).unwrap()).await;
            }
        }
    })
    .await;
    let bench = Bench::with(&[&server], |config| config.concurrency = 1);
    let call = |target: &str, principal, urgency| {
        let (upstream, call) = (bench.upstream.clone(), Outgoing { principal, ..bench.get(target) });
        let terms = Terms { urgency, ..Terms::default() };
        tokio::spawn(
            async move { upstream.send_on(call, terms).await.unwrap().body.collect().await.map(drop) },
        )
    };
    let mut calls = vec![call("/first", 1, None)];
    eventually(|| server.seen.requests() == 1).await;
    for _ in 0..20 {
        calls.push(call("/exporter", 1, None));
    }
    eventually(|| bench.upstream.waiting() == 20).await;
    calls.push(call("/refresh", 2, Some(Urgency::Refresh)));
    eventually(|| bench.upstream.waiting() == 21).await;
    calls.push(call("/operator", 3, None));
    eventually(|| bench.upstream.waiting() == 22).await;
    calls.push(call("/write", 1, Some(Urgency::Change)));
    eventually(|| bench.upstream.waiting() == 23).await;
    go.add_permits(calls.len());
    for call in calls {
        within(call).await.unwrap().unwrap();
    }
    let order = server.seen.heads();
    let place = |path: &str| order.iter().position(|head| head.contains(path)).unwrap();
    assert_eq!((place("/write"), place("/operator"), place("/refresh")), (1, 3, 23));
}
