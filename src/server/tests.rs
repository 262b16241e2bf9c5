//! Listeners over real sockets.

mod certs;
mod drain;
mod framing;
mod http;
mod signals;
mod tls;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{Handler, Listener, ListenerConfig, Peer, Refusal};
use crate::telemetry::Registry;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers `POST` with its body, `/hold` when released, `/peer` with what it knows of the client, upgrades
/// and `CONNECT` with an echo, and everything else with `hello`.
#[derive(Clone)]
struct TestHandler(Arc<Scene>);

struct Scene {
    requests: AtomicUsize,
    /// One permit for each held request that has arrived.
    arrived: Semaphore,
    /// One permit lets one held request go.
    release: Semaphore,
}

impl Handler for TestHandler {
    type Body = Full<Bytes>;

    async fn handle(&self, mut request: Request<Incoming>, peer: Arc<Peer>) -> Response<Full<Bytes>> {
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        if request.headers().contains_key("x-refuse-upgrade") {
            return answer(StatusCode::FORBIDDEN, "no");
        }
        if request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgraded.await.expect("the client stays"));
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..length]).await.expect("the client reads");
                }
            });
            if request.method() == Method::CONNECT {
                return Response::new(Full::default());
            }
            let mut switching = answer(StatusCode::SWITCHING_PROTOCOLS, "");
            switching.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
            switching.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
            return switching;
        }
        match (request.method().clone(), request.uri().path()) {
            (Method::POST, "/unread") => answer(StatusCode::UNAUTHORIZED, "no"),
            (Method::POST, _) => match request.into_body().collect().await {
                Ok(body) => Response::new(Full::new(body.to_bytes())),
                Err(_) => answer(StatusCode::BAD_GATEWAY, "the body broke"),
            },
            (_, "/hold") => {
                self.0.arrived.add_permits(1);
                self.0.release.acquire().await.expect("open").forget();
                answer(StatusCode::OK, "held")
            }
            (_, "/peer") => {
                let shown = peer.client_certificate.is_some();
                let text = format!("tls={} certificate={shown} {}", peer.tls, peer.address.ip());
                Response::new(Full::new(text.into()))
            }
            _ => answer(StatusCode::OK, "hello"),
        }
    }

    fn refused(&self, refusal: Refusal, _peer: &Peer) -> Response<Full<Bytes>> {
        answer(refusal.status(), refusal.as_str())
    }
}

fn answer(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response
}

/// A listener under test.
struct Server {
    listener: Listener,
    scene: Arc<Scene>,
    registry: Registry,
}

fn config() -> ListenerConfig {
    ListenerConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)))
}

impl Server {
    async fn start(config: ListenerConfig) -> Self {
        let registry = Registry::new();
        let scene = Arc::new(Scene {
            requests: AtomicUsize::new(0),
            arrived: Semaphore::new(0),
            release: Semaphore::new(0),
        });
        let listener =
            Listener::bind(config, TestHandler(scene.clone()), &registry).await.expect("a free port");
        Self { listener, scene, registry }
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listener.address()).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
    }

    /// Sends `request` and reads until the server closes.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("it reads");
        read_to_end(&mut stream).await
    }

    fn requests(&self) -> usize {
        self.scene.requests.load(Ordering::SeqCst)
    }

    fn metric(&self, line: &str) -> Option<String> {
        let text = self.registry.render();
        text.lines().find_map(|found| found.strip_prefix(line)).map(|value| value.trim().to_owned())
    }

    /// Waits for a metric that changes when a connection ends, which nothing else announces.
    async fn until_metric(&self, line: &str, value: &str) {
        let wait = async {
            while self.metric(line).as_deref() != Some(value) {
                tokio::task::yield_now().await;
            }
        };
        within(wait).await;
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("done in time")
}

async fn read_to_end<R: tokio::io::AsyncRead + Unpin>(stream: &mut R) -> String {
    let mut answer = Vec::new();
    let result = within(stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    if let Err(error) = result {
        panic!("{error} after {text:?}");
    }
    text
}

/// Reads until what was read ends with `end`.
async fn read_until<R: tokio::io::AsyncRead + Unpin>(stream: &mut R, end: &str) -> String {
    let mut answer = Vec::new();
    within(async {
        while !answer.ends_with(end.as_bytes()) {
            let mut byte = [0];
            let length = stream.read(&mut byte).await.expect("readable");
            assert_eq!(length, 1, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.push(byte[0]);
        }
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.match_indices("HTTP/1.").map(|(at, _)| &answers[at + 9..at + 12]).collect()
}
