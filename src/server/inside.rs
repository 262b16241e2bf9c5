//! TLS and HTTP inside of a CONNECT, for a host that the client believes to speak with.
//!
//! What is served there has the limits of the listener that the CONNECT came to: its place among the
//! connections, its times, the guard, the drain.

use std::io;
use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::Admission;
use super::connection::{Common, Shared};
use super::refusal::Refusal;
use super::{Handler, Peer, Protocols};
use crate::semantics::authority::Host;

/// A fatal alert `unrecognized_name` (RFC 8446 §6.2, RFC 6066 §3) in a record of its own: what a client shows
/// says what is wrong.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What a CONNECT needs to be served here; among the extensions of every such request.
#[derive(Clone)]
pub struct Inside(Arc<Common>);

/// How a host is served.
#[derive(Clone)]
pub struct InsideTls {
    /// With which certificates.
    pub config: Arc<ServerConfig>,
    /// The protocols, of which one is chosen by ALPN.
    pub protocols: Protocols,
}

impl Inside {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Self(common)
    }

    /// Serves what follows a CONNECT to `host`, once that was answered, to its end. The name that the client
    /// names in its handshake must be that host.
    pub async fn serve<H: Handler>(
        self,
        following: OnUpgrade,
        host: Host,
        tls: InsideTls,
        peer: Peer,
        handler: H,
    ) {
        let address = peer.address;
        if let Err(error) = self.serve_or_fail(following, host, tls, peer, handler).await {
            tracing::debug!(%address, %error, "a connection inside of a CONNECT ended with an error");
        }
    }

    async fn serve_or_fail<H: Handler>(
        self,
        following: OnUpgrade,
        host: Host,
        InsideTls { config, protocols }: InsideTls,
        peer: Peer,
        handler: H,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TokioIo::new(following.await?);
        let admission = Admission::inside(&self.0.books);
        let handshake = timeout(self.0.limits.header_timeout, shake_hands(stream, &host, config));
        let stream = tokio::select! {
            biased;
            () = self.0.draining.raised() => return Ok(()),
            result = handshake => match result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => stream,
                Err(error) => {
                    admission.count(Refusal::Handshake);
                    return Err(error.into());
                }
            },
        };
        let peer = Peer { tls: true, ..peer };
        Shared::inside(self.0, protocols, handler).serve_encrypted(stream, peer, admission).await
    }
}

async fn shake_hands<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    host: &Host,
    config: Arc<ServerConfig>,
) -> io::Result<TlsStream<T>> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let named = match (start.client_hello().server_name(), host) {
        // Only names are named (RFC 6066 §3).
        (name, Host::Address(_)) => name.is_none(),
        (Some(name), Host::Name(host)) => name.eq_ignore_ascii_case(host),
        (None, Host::Name(_)) => false,
    };
    if !named {
        let mut stream = start.io;
        // The client may have gone; then nobody needs to be told.
        let _it_may_have_gone = stream.write_all(&UNRECOGNIZED_NAME).await;
        let _it_may_have_gone = stream.shutdown().await;
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS is asked for another host"));
    }
    start.into_stream(config).await
}
