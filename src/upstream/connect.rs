//! From an endpoint to a connection that speaks HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::config::{ContradictoryClose, Endpoint, EndpointScheme};
use super::connection::Connection;
use super::dial;
use super::gauge::{Entered, Gauge};
use super::request::SendBody;
use super::tls::TlsSettings;
use super::wire::{Io, MAX_ANSWER_HEAD, Wire, WireState};
use crate::net::Tcp;

/// Pings on HTTP/2 connections: without them a dead one swallows calls until TCP gives up.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that nobody uses yet.
pub(super) enum Fresh {
    Http1(Box<Connection>),
    Http2(http2::SendRequest<SendBody>),
}

/// What the caller can speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speak {
    /// Whatever the server prefers of what is configured.
    Any,
    /// HTTP/1.1 only.
    Http1,
}

/// How connections to one endpoint are made.
pub(super) struct Connector {
    pub(super) endpoint: Endpoint,
    /// Absent for plaintext.
    pub(super) tls: Option<TlsSettings>,
    pub(super) timeout: Duration,
    pub(super) close: ContradictoryClose,
    pub(super) open: Gauge,
}

/// The library's part of a connection. No `async` block: that would keep it twice.
struct Codec<C> {
    connection: C,
    _open: Entered,
}

impl<C: Future + Unpin> Future for Codec<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Its error reaches the call that is under way; without one the closed sender tells it.
        Pin::new(&mut self.connection).poll(cx).map(|_ended| ())
    }
}

impl Connector {
    /// Connects within the time allowed.
    pub(super) async fn connect(&self, speak: Speak) -> io::Result<Fresh> {
        let deadline = Instant::now() + self.timeout;
        match tokio::time::timeout_at(deadline, self.connect_by(deadline, speak)).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn connect_by(&self, deadline: Instant, speak: Speak) -> io::Result<Fresh> {
        let tcp = dial::connect(self.endpoint.host(), self.endpoint.port(), deadline).await?;
        tcp.set_nodelay(true)?;
        let tcp = Tcp::new(tcp);
        let Some(tls) = &self.tls else {
            debug_assert_eq!(self.endpoint.scheme(), EndpointScheme::Http);
            return self.http1(Box::new(tcp)).await;
        };
        let config = match speak {
            Speak::Any => Arc::clone(&tls.any),
            Speak::Http1 => Arc::clone(&tls.http1),
        };
        let name = ServerName::try_from(self.endpoint.host().to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => self.http2(Box::new(stream)).await,
            _ => self.http1(Box::new(stream)).await,
        }
    }

    async fn http1(&self, io: Box<dyn Io>) -> io::Result<Fresh> {
        let state = Arc::new(WireState::default());
        let wire = Wire::new(io, Arc::clone(&state), self.close);
        // The codec's own bound of 100 field lines stays: only for that it needs no memory.
        let (sender, connection) = http1::Builder::new()
            .max_header_size(MAX_ANSWER_HEAD)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(io::Error::other)?;
        let codec = Codec { connection: connection.with_upgrades(), _open: self.open.enter() };
        Ok(Fresh::Http1(Connection::new(sender, codec, state)))
    }

    async fn http2(&self, io: Box<dyn Io>) -> io::Result<Fresh> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .max_header_list_size(MAX_ANSWER_HEAD as u32)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        let open = self.open.enter();
        tokio::spawn(async move {
            let _ = connection.await;
            drop(open);
        });
        Ok(Fresh::Http2(sender))
    }
}
