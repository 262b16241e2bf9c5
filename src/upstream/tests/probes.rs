//! Endpoints that nobody calls: their death is known before a client finds out.

use std::sync::atomic::Ordering;

use super::breaker::{calls, pass, patient, state};
use super::*;

/// How often they are asked here.
const EVERY: Duration = Duration::from_secs(10);

/// How long the answer to a question may take, and how long after a bad one the next is asked.
const SILENCE: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(1);

/// An upstream of which idle endpoints are asked.
async fn watched(servers: &[&Server], change: impl FnOnce(&mut UpstreamConfig)) -> Bench {
    let bench = Bench::with(servers, |config| {
        config.probe = "/probe";
        config.breaker.failures = 3;
        change(config);
    });
    take_effect(&bench).await;
    bench
}

async fn take_effect(bench: &Bench) {
    bench.upstream.take_effect();
    // Their time begins with their first turn.
    tokio::task::yield_now().await;
}

fn at(bench: &Bench, endpoint: usize, path: &str) -> Outgoing {
    let id = bench.upstream.endpoints()[endpoint].id;
    Outgoing { endpoint: EndpointChoice::Prefer(id), ..bench.get(path) }
}

fn up(bench: &Bench) -> Vec<bool> {
    bench.upstream.endpoints().iter().map(|endpoint| endpoint.up).collect()
}

fn places(bench: &Bench, endpoint: usize) -> usize {
    bench.upstream.0.endpoints[endpoint].places.limit()
}

/// Waits until so many questions have their answers: whoever asked sleeps again then.
async fn answered(bench: &Bench, questions: u64) {
    eventually(|| {
        let text = bench.registry.render();
        let counted = text.lines().filter(|line| line.contains(r#"cause="probe""#));
        let counted = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        counted.sum::<u64>() == questions
    })
    .await;
}

/// A server that answers the cheap call with this status line and everything else with 200.
async fn says(line: Arc<Mutex<&'static str>>) -> Server {
    Server::start(move |mut conn| {
        let line = Arc::clone(&line);
        async move {
            while let Some(head) = conn.head().await {
                match head.contains("/probe") {
                    true => {
                        let line = *line.lock();
                        conn.send(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n")).await;
                    }
                    false => conn.ok("fine").await,
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_idle_endpoint_that_dies_is_known_before_a_call_and_comes_back_step_by_step() {
    let (idle, busy) = (Server::echo().await, Server::echo().await);
    let address = idle.address;
    let bench = watched(&[&idle, &busy], |_| {}).await;
    pass(EVERY).await;
    answered(&bench, 2).await;
    assert_eq!([&idle, &busy].map(|server| calls(server, "/probe")), [1, 1]);
    assert_eq!((up(&bench), state(&bench).len()), (vec![true, true], 2));
    idle.stop().await;
    pass(EVERY).await;
    eventually(|| up(&bench) == [false, true]).await;
    assert!(state(&bench).contains(&"2".to_owned()), "{:?}", state(&bench));
    // The clients' calls find the other one at the first try, also those that would rather have had this one:
    // there they would wait for ever now.
    let mute = std::net::TcpListener::bind(address).unwrap();
    for _ in 0..4 {
        assert_eq!(bench.send(at(&bench, 0, "/a")).await.unwrap().endpoint, bench.upstream.endpoints()[1].id);
        assert_eq!(bench.send(bench.get("/a")).await.unwrap().endpoint, bench.upstream.endpoints()[1].id);
    }
    assert!(bench.counted().iter().all(|(status, _)| status == "2xx"), "{:?}", bench.counted());
    drop(mute);
    let back = Server::echo_at(address).await;
    pass(AGAIN).await;
    eventually(|| up(&bench) == [true, true]).await;
    assert_eq!((calls(&back, "/a"), places(&bench, 0)), (0, 1), "one call decides");
    assert_eq!(bench.text(at(&bench, 0, "/b")).await.0, 200);
    assert_eq!((calls(&back, "/b"), places(&bench, 0)), (1, 4));
    for n in [8, 12, 16] {
        pass(Duration::from_millis(500)).await;
        eventually(|| places(&bench, 0) >= n).await;
    }
    assert_eq!(state(&bench), ["0", "0"]);
}

#[tokio::test]
async fn an_idle_endpoint_that_hangs_is_known_within_some_seconds() {
    let (patient, well) = (patient().await, Server::echo().await);
    let bench = watched(&[&patient.server, &well], |config| config.breaker.failures = 4).await;
    let began = Instant::now();
    // It answers once in between, which ends the row.
    for (asked, ill) in [(1, true), (2, true), (3, false), (4, true), (5, true), (6, true), (7, true)] {
        patient.ill.store(ill, Ordering::SeqCst);
        let after_a_good_one = [1, 4].contains(&asked);
        pass(if after_a_good_one { EVERY } else { AGAIN }).await;
        eventually(|| calls(&patient.server, "/probe") == asked).await;
        assert_eq!(up(&bench), [true, true]);
        if ill {
            pass(SILENCE).await;
        }
        let misses = if ill { asked - if asked > 3 { 3 } else { 0 } } else { 0 };
        eventually(|| bench.upstream.0.endpoints[0].health.failures() == misses as u32).await;
    }
    assert_eq!(up(&bench), [false, true]);
    let waited = 2 * EVERY + 5 * AGAIN + 6 * SILENCE;
    assert!(began.elapsed() < waited + EVERY / 2, "it was asked again soon: {:?}", began.elapsed());
    for _ in 0..4 {
        assert_eq!(bench.text(bench.get("/a")).await.0, 200);
    }
    assert_eq!((calls(&patient.server, "/a"), calls(&well, "/a")), (0, 4));
    patient.ill.store(false, Ordering::SeqCst);
    pass(AGAIN).await;
    eventually(|| up(&bench) == [true, true]).await;
}

#[tokio::test]
async fn an_endpoint_that_answers_calls_is_not_asked() {
    let servers = [Server::echo().await, Server::echo().await];
    let bench = watched(&servers.each_ref(), |_| {}).await;
    for _ in 0..6 {
        for endpoint in 0..2 {
            assert_eq!(bench.text(at(&bench, endpoint, "/a")).await.0, 200);
        }
        pass(EVERY).await;
    }
    assert_eq!(servers.each_ref().map(|server| calls(server, "/a")), [6, 6]);
    // Once nobody calls it any more, it is.
    pass(EVERY).await;
    answered(&bench, 2).await;
    assert_eq!(servers.each_ref().map(|server| calls(server, "/probe")), [1, 1]);
}

#[tokio::test]
async fn the_only_endpoint_is_asked_if_that_is_wanted_and_several_unless_it_is_not() {
    let server = Server::echo;
    let (unasked, asked, off) = (server().await, server().await, [server().await, server().await]);
    let _single = watched(&[&unasked], |_| {}).await;
    let named = watched(&[&asked], |config| config.probe_every = Some(EVERY)).await;
    let _off = watched(&off.each_ref(), |config| config.probe_every = None).await;
    for n in 1..=3 {
        pass(EVERY).await;
        answered(&named, n).await;
    }
    assert_eq!([&unasked, &off[0], &off[1]].map(|server| server.seen.connections()), [0, 0, 0]);
}

#[tokio::test]
async fn what_a_server_always_says_to_the_cheap_call_does_not_speak_against_it() {
    let lines = [(); 2].map(|()| Arc::new(Mutex::new("503 No such host")));
    let (odd, other) = (says(Arc::clone(&lines[0])).await, says(Arc::clone(&lines[1])).await);
    let bench = watched(&[&odd, &other], |_| {}).await;
    for n in 1..=5 {
        pass(EVERY).await;
        answered(&bench, 2 * n).await;
    }
    // Once it has had a better answer, it does.
    *lines[0].lock() = "404 Not Found";
    pass(EVERY).await;
    answered(&bench, 12).await;
    *lines[0].lock() = "503 Service Unavailable";
    for n in 7..=9 {
        assert_eq!(up(&bench), [true, true]);
        pass(if n == 7 { EVERY } else { AGAIN }).await;
        eventually(|| bench.upstream.0.endpoints[0].health.failures() == n as u32 - 6).await;
    }
    assert_eq!(up(&bench), [false, true]);
}

#[tokio::test]
async fn nobody_is_asked_while_the_api_wants_to_be_left_alone() {
    let server = Server::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let more = if head.contains("/probe") { "" } else { "Retry-After: 25\r\n" };
            conn.send(format!("HTTP/1.1 429 Slow down\r\n{more}Content-Length: 0\r\n\r\n")).await;
        }
    })
    .await;
    let idle = Server::echo().await;
    let bench = watched(&[&server, &idle], |_| {}).await;
    assert_eq!(bench.text(at(&bench, 0, "/a")).await.0, 429);
    for _ in 0..2 {
        pass(EVERY).await;
    }
    assert_eq!((calls(&server, "/probe"), calls(&idle, "/probe")), (0, 0));
    pass(EVERY).await;
    eventually(|| calls(&server, "/probe") == 1 && calls(&idle, "/probe") == 1).await;
}

#[tokio::test]
async fn a_reload_asks_after_the_new_endpoints_alone_and_nobody_after_what_is_gone() {
    let servers = [Server::echo().await, Server::echo().await, patient().await.server];
    let mut bench = watched(&[&servers[0], &servers[1]], |_| {}).await;
    pass(EVERY).await;
    answered(&bench, 2).await;
    let mut config = bench.upstream.config().clone();
    config.endpoints = vec![servers[1].url().parse().unwrap(), servers[2].url().parse().unwrap()];
    // Calls that began before still hold the old one.
    let before = bench.upstream.clone();
    bench.upstream = before.reconfigured(config).unwrap();
    assert!(Arc::ptr_eq(&before.0.endpoints[1], &bench.upstream.0.endpoints[0]));
    take_effect(&bench).await;
    pass(EVERY).await;
    eventually(|| calls(&servers[1], "/probe") == 2 && calls(&servers[2], "/probe") == 1).await;
    assert_eq!(calls(&servers[0], "/probe"), 1);
    // A question that waits for its answer keeps nothing alive.
    let gone = Arc::downgrade(&bench.upstream.0.endpoints[1]);
    let dropped = Instant::now();
    drop((before, bench));
    eventually(|| gone.strong_count() == 0).await;
    assert!(dropped.elapsed() < SILENCE / 2, "it waited for its answer");
}
