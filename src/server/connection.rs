//! One connection: TLS, the choice of protocol, the requests on it, and its end.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::{Admission, Books};
use super::flag::Flag;
use super::guard::{Guard, Limits};
use super::inside::Inside;
use super::refusal::Refusal;
use super::{Handler, ListenerConfig, Peer, Protocols};
use crate::net::Tcp;

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much of requests and answers one connection buffers beside a head.
const BUFFER_BYTES: usize = 64 * 1024;
/// How often a silent HTTP/2 connection is asked whether it is still there, and for how long.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How the service of a connection ended.
type Served = Result<(), Box<dyn Error + Send + Sync>>;

/// The service of a connection.
pub(super) type Serving<'a> = Pin<Box<dyn Future<Output = Served> + Send + 'a>>;

/// What all connections of a listener share, and who answers their requests.
pub(super) struct Shared<H> {
    pub(super) handler: H,
    protocols: Protocols,
    pub(super) common: Arc<Common>,
}

/// The part of it that does not depend on who answers.
pub(super) struct Common {
    pub(super) limits: Limits,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// Raised when the listener drains.
    pub(super) draining: Flag,
    pub(super) books: Arc<Books>,
}

impl Common {
    fn new(config: &ListenerConfig, books: Arc<Books>) -> Self {
        let mut http1 = http1::Builder::new();
        // The guard keeps the time and the size of heads; a client that has sent its request and closed
        // its sending side still gets the answer.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(true)
            .max_buf_size(config.max_head_bytes + BUFFER_BYTES);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING_EVERY)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_header_list_size(u32::try_from(config.max_head_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(200);
        let limits = Limits {
            max_head_bytes: config.max_head_bytes,
            header_timeout: config.header_timeout,
            idle_timeout: config.idle_timeout,
        };
        Self { limits, http1, http2, draining: Flag::default(), books }
    }
}

impl<H: Handler> Shared<H> {
    pub(super) fn new(config: &ListenerConfig, handler: H, books: Arc<Books>) -> Self {
        Self { handler, protocols: config.protocols, common: Arc::new(Common::new(config, books)) }
    }

    /// For HTTP inside of a connection of the same listener.
    pub(super) fn inside(common: Arc<Common>, protocols: Protocols, handler: H) -> Self {
        Self { handler, protocols, common }
    }

    /// Serves one accepted connection to its end.
    pub(super) async fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        admission: Admission,
    ) {
        // Small answers must not wait for the client's delayed acknowledgement.
        let (Ok(()), Ok(local)) = (stream.set_nodelay(true), stream.local_addr()) else { return };
        let peer = Peer { address, local, tls: tls.is_some(), client_certificate: None };
        let stream = Tcp::new(stream);
        let result = match tls {
            None => self.serve_cleartext(stream, peer, admission).await,
            // In a box, which ends with the handshake: the connection does not carry the room for it.
            Some(config) => match Box::pin(self.shake_hands(stream, peer, config, admission)).await {
                Ok(Some(serving)) => serving.await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = result {
            tracing::debug!(%address, %error, "connection ended with an error");
        }
    }

    /// The service of what is left after the handshake; nothing if the listener drains before its end.
    async fn shake_hands(
        &self,
        stream: Tcp,
        peer: Peer,
        config: Arc<ServerConfig>,
        admission: Admission,
    ) -> Result<Option<Serving<'_>>, Box<dyn Error + Send + Sync>> {
        let handshake = timeout(self.common.limits.header_timeout, TlsAcceptor::from(config).accept(stream));
        let stream = tokio::select! {
            biased;
            () = self.common.draining.raised() => return Ok(None),
            result = handshake => match result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => stream,
                Err(error) => {
                    admission.count(Refusal::Handshake);
                    return Err(error.into());
                }
            },
        };
        Ok(Some(self.serve_encrypted(stream, peer, admission)))
    }

    /// Serves what is left after a handshake.
    pub(super) fn serve_encrypted<T>(
        &self,
        stream: TlsStream<T>,
        mut peer: Peer,
        admission: Admission,
    ) -> Serving<'_>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (_, session) = stream.get_ref();
        peer.client_certificate = session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|certificate| certificate.clone().into_owned());
        if session.alpn_protocol() == Some(b"h2") || !self.protocols.http1 {
            Box::pin(self.serve_http2(stream, &[], peer, admission))
        } else {
            Box::pin(self.serve_http1(stream, &[], peer, admission))
        }
    }

    async fn serve_cleartext(&self, mut stream: Tcp, peer: Peer, admission: Admission) -> Served {
        match self.protocols {
            Protocols { http2: false, .. } => self.serve_http1(stream, &[], peer, admission).await,
            Protocols { http1: false, .. } => self.serve_http2(stream, &[], peer, admission).await,
            _ => {
                let mut first = [0; HTTP2_PREFACE.len()];
                let preface =
                    timeout(self.common.limits.header_timeout, read_preface(&mut stream, &mut first));
                let length = tokio::select! {
                    biased;
                    () = self.common.draining.raised() => return Ok(()),
                    result = preface => match result {
                        Ok(result) => result?,
                        Err(_) => {
                            admission.count(Refusal::HeadTimeout);
                            return Ok(());
                        }
                    },
                };
                match &first[..length] {
                    [] => Ok(()),
                    first if first == HTTP2_PREFACE => self.serve_http2(stream, first, peer, admission).await,
                    first => self.serve_http1(stream, first, peer, admission).await,
                }
            }
        }
    }

    /// No `async fn`: that would hold the stream beside the connection which it went into, in a task of
    /// every client. For the same reason the connection has a box.
    fn serve_http1<T>(
        &self,
        stream: T,
        first: &[u8],
        peer: Peer,
        admission: Admission,
    ) -> impl Future<Output = Served> + Send + use<'_, T, H>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let guard = Guard::new(stream, first, self.common.limits, admission);
        let link = guard.link();
        let handler = self.handler.clone();
        let peer = Arc::new(peer);
        let requests = Cell::new(0);
        let common = self.common.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let number = requests.get() + 1;
            requests.set(number);
            if *request.method() == Method::CONNECT {
                request.extensions_mut().insert(Inside::new(common.clone()));
            }
            let (handler, link, peer) = (handler.clone(), link.clone(), peer.clone());
            async move {
                if let Some(refusal) = link.refusal(number) {
                    return Ok(closing(handler.refused(refusal, &peer)));
                }
                let mut response = handler.handle(request, peer.clone()).await;
                if let Some(refusal) = link.broken_body(number) {
                    response = closing(handler.refused(refusal, &peer));
                }
                link.answered(number, response.status());
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection =
            Box::pin(self.common.http1.serve_connection(TokioIo::new(guard), service).with_upgrades());
        async move { Ok(self.drive(connection.as_mut()).await?) }
    }

    fn serve_http2<T>(
        &self,
        stream: T,
        first: &[u8],
        peer: Peer,
        admission: Admission,
    ) -> impl Future<Output = Served> + Send + use<'_, T, H>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let guard = Guard::open(stream, first, self.common.limits, admission);
        let handler = self.handler.clone();
        let peer = Arc::new(peer);
        let requests = Arc::new(AtomicU64::new(0));
        let seen = requests.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            seen.fetch_add(1, Ordering::Relaxed);
            let (handler, peer) = (handler.clone(), peer.clone());
            async move { Ok::<_, Infallible>(handler.handle(request, peer).await) }
        });
        let mut connection = Box::pin(self.common.http2.serve_connection(TokioIo::new(guard), service));
        async move {
            loop {
                let before = requests.load(Ordering::Relaxed);
                match timeout(self.common.limits.idle_timeout, self.drive(connection.as_mut())).await {
                    Ok(result) => return Ok(result?),
                    // Nothing new for a whole timeout: no further streams, those that are open may finish.
                    Err(_) if requests.load(Ordering::Relaxed) == before => {
                        connection.as_mut().graceful_shutdown();
                        return Ok(connection.await?);
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// Runs a connection, and tells it when the listener drains.
    async fn drive<C: Graceful>(&self, mut connection: Pin<&mut C>) -> hyper::Result<()> {
        let mut begun = pin!(self.common.draining.raised());
        let mut waiting = false;
        let mut draining = false;
        poll_fn(|cx| {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            // Polling the notification takes a lock that all connections share, so it is done once: the
            // waker of a task stays the same for as long as the task lives.
            if !draining && (!waiting || self.common.draining.is_raised()) {
                waiting = true;
                if begun.as_mut().poll(cx).is_ready() {
                    draining = true;
                    connection.as_mut().graceful();
                    return connection.as_mut().poll(cx);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Reads until it is clear whether the client speaks HTTP/2; returns the bytes read.
async fn read_preface(stream: &mut Tcp, first: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < first.len() && first[..length] == HTTP2_PREFACE[..length] {
        match stream.read(&mut first[length..]).await? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn closing<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The connections of the HTTP library, which share no trait.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn graceful(self: Pin<&mut Self>);
}

impl<I, B, S> Graceful for http1::UpgradeableConnection<I, S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn graceful(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, B, S> Graceful for http2::Connection<I, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn graceful(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
