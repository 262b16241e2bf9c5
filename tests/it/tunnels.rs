//! Upgraded connections: their places, their silence, their end.

use std::time::Duration;

use crate::support::{Opened, Options, Reply, Rig, until, within};

const SOCKET: &str = "/api2/json/nodes/pve1/qemu/100/vncwebsocket";

async fn rig(upstream: &str, more: &'static str) -> Rig {
    let rig = Rig::with(Options { upstream: upstream.to_owned(), more, ..Options::default() }).await;
    rig.origin().on(&format!("GET {SOCKET}"), Reply::tunnel());
    rig
}

async fn upgraded(rig: &Rig, token: &str) -> Opened {
    let ask = rig.get(SOCKET).token(token).field("Connection", "Upgrade").field("Upgrade", "websocket");
    let mut opened = ask.open().await;
    assert_eq!(opened.status(), 101, "{}", opened.head);
    opened.write(b"echo").await;
    assert_eq!(opened.bytes(4).await, b"echo");
    opened
}

async fn open(rig: &Rig, n: u64) {
    until(&format!("{n} tunnels"), || gauge(rig) == n).await;
}

fn gauge(rig: &Rig) -> u64 {
    rig.counter("forebay_tunnels")
}

#[tokio::test]
async fn a_tunnel_holds_no_place_that_a_request_needs() {
    // One call in flight, one that may wait, one place for all strangers: whatever a tunnel held on to,
    // nothing else would get through.
    let rig = rig("concurrency: 1\nqueue: {length: 1, wait: 1s}", "").await;
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        // Of callers that the API has never answered: they are strangers.
        tunnels.push(upgraded(&rig, "unknown").await);
    }
    open(&rig, 3).await;
    assert_eq!(rig.app.sites().all()[0].upstream.endpoints()[0].in_flight, 0);
    for id in 0..4 {
        let got = rig.get(&format!("/api2/json/passed/{id}")).token("stranger").send().await;
        assert_eq!(got.status, 200, "a stranger's place: {}", got.head);
        let got = rig.ask("POST", &format!("/api2/json/item/{id}")).body("a=1").send().await;
        assert_eq!(got.status, 200, "{}", got.head);
        rig.warm(&format!("/api2/json/item/{id}")).await;
    }
    assert_eq!(rig.counter("forebay_limit_rejected_total"), 0);
    drop(tunnels);
    open(&rig, 0).await;
    rig.finish().await;
}

#[tokio::test]
async fn they_are_bounded_over_a_reload() {
    let rig = rig("", "tunnels: {most: 2}").await;
    let (one, _two) = (upgraded(&rig, "one").await, upgraded(&rig, "two").await);
    rig.app.reload_file().await.expect("a right file");
    let ask = rig.get(SOCKET).field("Connection", "Upgrade").field("Upgrade", "websocket");
    let refused = ask.clone().open().await;
    assert_eq!(refused.status(), 429, "{}", refused.head);
    assert!(refused.head.contains("retry-after: 10"), "{}", refused.head);
    assert_eq!(rig.counter_of("forebay_tunnels_refused_total", "upstream=\"lab\""), 1);
    drop((refused, one));
    open(&rig, 1).await;
    upgraded(&rig, "one").await;
    assert_eq!(rig.counter_of("forebay_upstream_requests_total", "cause=\"tunnel\""), 3);
    open(&rig, 1).await;
    drop(_two);
    open(&rig, 0).await;
    rig.finish().await;
}

#[tokio::test]
async fn one_that_is_silent_for_too_long_ends() {
    let rig = rig("", "tunnels: {idle: 10m}").await;
    let mut tunnel = upgraded(&rig, "one").await;
    for _ in 0..3 {
        rig.advance(Duration::from_secs(9 * 60)).await;
        tunnel.write(b"here").await;
        assert_eq!(tunnel.bytes(4).await, b"here");
    }
    assert_eq!(gauge(&rig), 1);
    rig.advance(Duration::from_secs(11 * 60)).await;
    open(&rig, 0).await;
    assert!(within("the end", tunnel.ended()).await);
    rig.finish().await;
}

#[tokio::test]
async fn a_drain_waits_for_them() {
    let rig = rig("", "").await;
    let mut tunnel = upgraded(&rig, "one").await;
    let address = rig.app.addresses()[0];
    let Rig { app, origins: _origins, .. } = rig;
    let drain = tokio::spawn(app.drain());
    until("new connections are refused", || std::net::TcpStream::connect(address).is_err()).await;
    tunnel.write(b"here").await;
    assert_eq!(tunnel.bytes(4).await, b"here");
    assert!(!drain.is_finished());
    drop(tunnel);
    within("the drain", drain).await.expect("no panic");
}
