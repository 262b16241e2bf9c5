//! When calls to an endpoint are held back, and how it comes back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// A server that takes calls and does not answer them while it is ill.
pub(super) struct Patient {
    pub(super) server: Server,
    pub(super) ill: Arc<AtomicBool>,
    most: Arc<AtomicUsize>,
}

pub(super) async fn patient() -> Patient {
    let (ill, most) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (now, state) = (Arc::new(AtomicUsize::new(0)), (Arc::clone(&ill), Arc::clone(&most)));
    let server = Server::start(move |mut conn| {
        let ((ill, most), now) = (state.clone(), Arc::clone(&now));
        async move {
            while let Some(head) = conn.head().await {
                if ill.load(Ordering::SeqCst) {
                    return conn.closed().await;
                }
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                conn.ok(head.split(' ').nth(1).unwrap()).await;
            }
        }
    })
    .await;
    Patient { server, ill, most }
}

pub(super) fn calls(server: &Server, path: &str) -> usize {
    server.seen.heads().iter().filter(|head| head.contains(path)).count()
}

/// How long the API has to answer: longer than anything else here takes, however much this machine has to do.
const PATIENT_FOR: Duration = Duration::from_secs(5);

/// Has that pass.
async fn lose_patience() {
    pass(PATIENT_FOR).await;
}

/// Has so much time pass at once.
pub(super) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
    // Whom that wakes, goes on.
    tokio::task::yield_now().await;
}

pub(super) fn state(bench: &Bench) -> Vec<String> {
    let text = bench.registry.render();
    let lines = text.lines().filter(|line| line.starts_with("forebay_breaker_state{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_api_that_hangs_is_left_alone_until_it_answers() {
    let patient = patient().await;
    let bench = Bench::with(&[&patient.server], |config| {
        config.first_byte_timeout = PATIENT_FOR;
        config.breaker = BreakerConfig { failures: 3, open_for: Duration::from_secs(60) };
        config.probe = "/probe";
        config.concurrency = 8;
    });
    for n in 1..=3 {
        let (upstream, call) = (bench.upstream.clone(), bench.get("/a"));
        let call = tokio::spawn(async move { upstream.send(call).await.map(drop) });
        eventually(|| calls(&patient.server, "/a") == n).await;
        lose_patience().await;
        assert!(matches!(within(call).await.unwrap(), Err(SendError::TimedOut)));
    }
    assert_eq!((state(&bench), bench.upstream.endpoints()[0].up), (vec!["2".to_owned()], false));
    for _ in 0..50 {
        let error = bench.send(bench.post("/a", "x")).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NeverSent);
    }
    assert_eq!(calls(&patient.server, "/a"), 3, "it is not called");
    patient.ill.store(false, Ordering::SeqCst);
    eventually(|| bench.upstream.endpoints()[0].up).await;
    // Half open: one decides, and the others come step by step.
    let all: Vec<_> = (0..40)
        .map(|_| {
            let (upstream, call) = (bench.upstream.clone(), bench.get("/b"));
            tokio::spawn(async move { upstream.send(call).await.unwrap().body.collect().await.map(drop) })
        })
        .collect();
    for call in all {
        within(call).await.unwrap().unwrap();
    }
    assert!(patient.most.load(Ordering::SeqCst) <= 4, "{}", patient.most.load(Ordering::SeqCst));
    assert_eq!(state(&bench), ["0"]);
    // Each question of our own was counted, too.
    assert_eq!(bench.total(), patient.server.seen.requests() as u64);
    let probes = bench.registry.render();
    assert!(
        probes.lines().any(|line| line.contains(r#"cause="probe""#) && !line.ends_with(" 0")),
        "{probes}"
    );
}

#[tokio::test]
async fn who_waits_for_an_endpoint_that_fails_goes_to_another() {
    let (patient, well) = (patient().await, Server::echo().await);
    let bench = Bench::with(&[&patient.server, &well], |config| {
        config.first_byte_timeout = PATIENT_FOR;
        config.breaker.failures = 1;
        config.concurrency = 1;
    });
    let ill = bench.upstream.endpoints()[0].id;
    let call = |n: usize| {
        let call = Outgoing { endpoint: EndpointChoice::Prefer(ill), ..bench.get(&format!("/{n}")) };
        let upstream = bench.upstream.clone();
        tokio::spawn(async move { upstream.send(call).await.map(|answer| answer.endpoint) })
    };
    let first = call(0);
    eventually(|| patient.server.seen.requests() == 1).await;
    let others: Vec<_> = (1..5).map(call).collect();
    eventually(|| bench.upstream.waiting() == 4).await;
    lose_patience().await;
    assert!(within(first).await.unwrap().is_err());
    for other in others {
        assert_eq!(within(other).await.unwrap().unwrap(), bench.upstream.endpoints()[1].id);
    }
    assert_eq!(patient.server.seen.requests(), 1);
}

#[tokio::test]
async fn what_a_server_says_of_another_is_not_its_fault() {
    let server = Server::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let status = if head.contains("/other") { "595 No route" } else { "503 Down" };
            conn.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
        }
    })
    .await;
    let well = Server::echo().await;
    let bench = Bench::with(&[&server, &well], |config| {
        config.failures = crate::dialect::Dialect::Proxmox.failures();
    });
    let at = bench.upstream.endpoints()[0].id;
    let call = |path: &str| Outgoing { endpoint: EndpointChoice::Prefer(at), ..bench.get(path) };
    for _ in 0..20 {
        assert_eq!(bench.text(call("/other")).await.0, 595);
    }
    for _ in 0..5 {
        assert_eq!(bench.text(call("/own")).await.0, 503);
    }
    assert_eq!(bench.text(call("/own")).await.0, 200, "the other one answers");
    // Where there is no other, the API's own words are better than ours.
    let bench = Bench::new(&[&server]);
    for _ in 0..20 {
        assert_eq!(bench.text(bench.get("/own")).await.0, 503);
    }
}

#[tokio::test]
async fn equal_endpoints_get_equal_shares() {
    let servers = [Server::echo().await, Server::echo().await, Server::echo().await];
    let bench = Bench::new(&servers.each_ref());
    for _ in 0..30 {
        bench.text(bench.get("/")).await;
        eventually(|| bench.upstream.endpoints().iter().all(|endpoint| endpoint.in_flight == 0)).await;
    }
    assert_eq!(servers.each_ref().map(|server| server.seen.requests()), [10, 10, 10]);
}

#[tokio::test]
async fn an_api_that_breaks_off_at_once_is_asked_all_the_same() {
    let server = Server::start(|mut conn| async move { drop(conn.head().await) }).await;
    let bench = Bench::with(&[&server], |config| config.breaker.failures = 3);
    for _ in 0..8 {
        let error = bench.send(bench.post("/a", "x")).await.unwrap_err();
        assert!(matches!(error, SendError::Lost(_)), "{error:?}");
    }
    assert_eq!((calls(&server, "POST /a"), state(&bench)), (8, vec!["2".to_owned()]));
}

#[tokio::test]
async fn calls_that_wait_for_something_behind_a_server_hold_back_nobody_else() {
    let server = Server::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            if head.contains("/slow") {
                return conn.closed().await;
            }
            conn.ok("fast").await;
        }
    })
    .await;
    let bench = Bench::with(&[&server], |config| {
        config.first_byte_timeout = PATIENT_FOR;
        config.breaker.failures = 3;
    });
    let slow: Vec<_> = (0..5)
        .map(|_| {
            let (upstream, call) = (bench.upstream.clone(), bench.get("/slow"));
            tokio::spawn(async move { upstream.send(call).await.map(drop) })
        })
        .collect();
    eventually(|| server.seen.requests() == 5).await;
    assert_eq!(bench.text(bench.get("/fast")).await.0, 200);
    lose_patience().await;
    for call in slow {
        assert!(matches!(within(call).await.unwrap(), Err(SendError::TimedOut)));
    }
    assert!(bench.upstream.endpoints()[0].up);
    assert_eq!((bench.text(bench.get("/fast")).await.0, state(&bench)), (200, vec!["0".to_owned()]));
}
