//! Connections to a server that says `Connection: close` and `Connection: Keep-Alive` in one answer, and means
//! the second: how many a row of reads costs.

use std::net::SocketAddr;

use forebay::app::App;
use forebay::clock::Clock;
use forebay::config;
use forebay::server::{Protocols, TlsIn, tls_config};
use forebay::sim::proxmox::{ADMIN_TOKEN, ADMIN_TOKEN_SECRET, Sim, SimConfig};
use forebay::upstream::ContradictoryClose;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::support::within;

/// A read that runs in the privileged daemon, whose answers have the stray field.
const READ: &str = "/api2/json/nodes/pve1/qemu/100/status/current";

/// How many connections the simulated node saw for so many reads through forebay, one after the other and
/// none from the cache. It closes each after a hundred requests.
async fn connections(reads: u32, close: Option<ContradictoryClose>) -> u64 {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let certs = directory.path().join("theirs");
    let (protocols, local) = (Protocols { http1: true, http2: false }, SocketAddr::from(([127, 0, 0, 1], 0)));
    let tls = tls_config(&TlsIn::Auto { certs }, protocols, local.ip()).expect("a certificate");
    let sim =
        Sim::start(SimConfig { tls: Some(tls), ..SimConfig::default() }, local).await.expect("a free port");
    let path = directory.path().join("forebay.yaml");
    let text = format!(
        "listen: [{{address: 127.0.0.1:0}}]\nadmin: {{address: 127.0.0.1:0}}\nupstreams:\n  lab:\n    \
         endpoints: [https://{}]\n    rules: [proxmox]\n    tls: {{ca: theirs/ca.pem}}\n",
        sim.address()
    );
    std::fs::write(&path, text).expect("writable");
    let mut settings = config::load(&path).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    if let Some(close) = close {
        settings.upstreams[0].upstream.contradictory_close = close;
    }
    let app = App::start(settings, Clock::manual()).await.expect("forebay starts");
    let stream = TcpStream::connect(app.addresses()[0]).await.expect("forebay listens");
    let (mut client, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .expect("it is open");
    let driver = tokio::spawn(connection);
    for _ in 0..reads {
        let request = Request::get(READ)
            .header("host", "forebay.test")
            .header("authorization", format!("PVEAPIToken={ADMIN_TOKEN}={ADMIN_TOKEN_SECRET}"))
            .header("cache-control", "no-store")
            .body(Empty::new())
            .expect("a request");
        let answer = within("an answer", client.send_request(request)).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        within("its body", answer.into_body().collect()).await.expect("all of it");
    }
    assert_eq!(sim.calls(), u64::from(reads), "each went to the API, and none twice");
    drop(client);
    driver.await.expect("no panic").expect("a clean end");
    let seen = sim.connections();
    app.drain().await;
    sim.stop().await;
    seen
}

#[tokio::test]
async fn a_thousand_protected_reads_cost_twelve_connections_at_most() {
    let seen = connections(1_000, None).await;
    eprintln!("{seen} connections for 1,000 reads");
    assert!((10..=12).contains(&seen), "{seen} connections for 1,000 reads");
}

#[tokio::test]
async fn without_keeping_them_each_costs_one() {
    assert_eq!(connections(50, Some(ContradictoryClose::Obey)).await, 50);
    assert_eq!(connections(50, Some(ContradictoryClose::KeepOpen)).await, 1);
}
