//! Hosts that are passed through.

use std::sync::Arc;

use forebay::server::certs::Authority;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::rig::{Front, shake_hands};
use crate::support::{until, within};

const OPEN: &str = "forebay_tunnels{upstream=\"(tunnel)\"}";
const COUNTED: &str =
    "forebay_upstream_requests_total{upstream=\"(tunnel)\",rule=\"none\",cause=\"tunnel\",status=\"none\"}";

/// Somewhere to tunnel to, and forebay with a tunnel to there.
async fn front(more: &str) -> (Front, TcpListener, String) {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = format!("localhost:{}", server.local_addr().expect("bound").port());
    let front = Front::start(&format!("tunnel: [{target:?}]"), more).await;
    (front, server, target)
}

async fn accepted(server: &TcpListener) -> TcpStream {
    within("a connection", server.accept()).await.expect("one comes").0
}

#[tokio::test]
async fn a_tunnel_carries_a_session_of_tls_untouched() {
    let (front, server, target) = front("").await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let authority = Authority::make_or_load(elsewhere.path()).expect("a CA");
    let issued = authority.issue(&["localhost".to_owned()]).expect("a name");
    let certificate = issued.chain[0].clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("the provider has them").with_no_client_auth();
    let config = config.with_single_cert(issued.chain, issued.key).expect("they belong together");
    let echo = tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut stream = acceptor.accept(accepted(&server).await).await.expect("a handshake");
        let mut said = vec![0; 300_000];
        stream.read_exact(&mut said).await.expect("all of it");
        stream.write_all(&said).await.expect("the client reads");
        stream.shutdown().await.expect("the client reads");
    });
    let stream = front.connected(&target).await;
    let mut stream =
        shake_hands(stream, "localhost", authority.certificate().clone(), &[]).await.expect("theirs");
    assert_eq!(stream.get_ref().1.peer_certificates().expect("verified"), [certificate]);
    front.until_metric(OPEN, 1).await;
    let said: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
    let (mut reading, mut writing) = tokio::io::split(&mut stream);
    let mut heard = Vec::new();
    let (written, read) = within(
        "the echo",
        futures_util::future::join(writing.write_all(&said), reading.read_to_end(&mut heard)),
    )
    .await;
    written.and(read.map(drop)).expect("a clean end");
    assert_eq!(heard, said);
    echo.await.expect("no panic");
    drop(stream);
    front.until_metric(OPEN, 0).await;
    front.until_metric("forebay_connections", 0).await;
    assert_eq!((front.metric(COUNTED), front.origin.calls().len()), (1, 0));
    assert_eq!(front.metric("forebay_connects_total{outcome=\"tunnelled\"}"), 1);
    front.app.drain().await;
}

#[tokio::test]
async fn either_side_may_close_first() {
    let (front, server, target) = front("").await;
    let mut client = front.connected(&target).await;
    let mut far = accepted(&server).await;
    client.write_all(b"question").await.expect("forebay reads");
    client.shutdown().await.expect("open");
    let mut heard = String::new();
    within("the question", far.read_to_string(&mut heard)).await.expect("its end too");
    assert_eq!(heard, "question");
    far.write_all(b"answer").await.expect("forebay reads");
    drop(far);
    let mut heard = String::new();
    within("the answer", client.read_to_string(&mut heard)).await.expect("its end too");
    assert_eq!(heard, "answer");
    front.until_metric(OPEN, 0).await;

    let client = front.connected(&target).await;
    let mut far = accepted(&server).await;
    // Gone for good, not only silent.
    client.set_zero_linger().expect("an option of sockets");
    drop(client);
    let _reset_or_end = within("the end", far.read(&mut [0])).await;
    front.until_metric(OPEN, 0).await;
    front.app.drain().await;
}

#[tokio::test]
async fn tunnels_are_bounded_and_so_is_their_silence() {
    let (front, server, target) = front("tunnels: {most: 1, idle: 10m}").await;
    let mut client = front.connected(&target).await;
    let mut far = accepted(&server).await;
    let (_, head) = front.connect(&target).await;
    assert!(head.starts_with("HTTP/1.1 429 forebay: as many tunnels"), "{head}");
    assert!(head.contains("retry-after: 10"), "{head}");
    assert_eq!(front.metric("forebay_tunnels_refused_total{upstream=\"(tunnel)\"}"), 1);
    assert_eq!(front.metric("forebay_connects_total{outcome=\"limited\"}"), 1);
    let minutes = async |minutes: u64| {
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(60 * minutes)).await;
        tokio::time::resume();
    };
    for _ in 0..3 {
        minutes(9).await;
        client.write_all(b"x").await.expect("forebay reads");
        within("a byte", far.read_exact(&mut [0])).await.expect("it is handed on");
    }
    assert_eq!(front.metric(OPEN), 1);
    minutes(11).await;
    assert_eq!(within("the end", far.read(&mut [0])).await.expect("a clean end"), 0);
    assert_eq!(within("the end", client.read(&mut [0])).await.expect("a clean end"), 0);
    front.until_metric(OPEN, 0).await;
    drop((front.connected(&target).await, accepted(&server).await));
    front.until_metric(OPEN, 0).await;
    front.app.drain().await;
}

#[tokio::test]
async fn a_host_that_is_not_there_is_no_tunnel() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    let front = Front::start(&format!("tunnel: [\"{nobody}\", nowhere.invalid]"), "tunnels: {most: 1}").await;
    for target in [nobody.to_string(), "nowhere.invalid:443".to_owned()] {
        let (_, head) = front.connect(&target).await;
        assert!(head.starts_with("HTTP/1.1 502 forebay: "), "{head}");
        assert!(!head.contains(&nobody.port().to_string()), "{head}");
    }
    assert_eq!((front.metric(OPEN), front.metric(COUNTED)), (0, 0));
    assert_eq!(front.metric("forebay_connects_total{outcome=\"unreachable\"}"), 2);
    front.app.drain().await;
}

#[tokio::test]
async fn a_drain_waits_for_tunnels() {
    let (front, server, target) = front("").await;
    let mut client = front.connected(&target).await;
    let mut far = accepted(&server).await;
    front.until_metric(OPEN, 1).await;
    let address = front.address();
    let Front { app, origin: _origin, directory: _directory } = front;
    let drain = tokio::spawn(app.drain());
    until("new connections are refused", || std::net::TcpStream::connect(address).is_err()).await;
    client.write_all(b"still here").await.expect("forebay reads");
    within("what was said", far.read_exact(&mut [0; 10])).await.expect("it is handed on");
    assert!(!drain.is_finished());
    drop((client, far));
    within("the drain", drain).await.expect("no panic");
}
