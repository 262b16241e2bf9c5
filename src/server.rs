//! Listeners: sockets, TLS in, the HTTP connections on them, draining, and the triggers of a reload.
//!
//! What a request means is none of this module's business: it is handed to a [`Handler`] with the [`Peer`]
//! it came from. Here it is only made sure that there *is* one request, whole and unambiguous
//! ([`Refusal`] lists what is not), that limits hold (connections, head bytes, time), and that a drain
//! finishes what has begun.
//!
//! Invariant: no request reaches a handler whose end two readers could see at different bytes.

mod admission;
pub mod certs;
mod connection;
mod flag;
mod guard;
mod inside;
mod listener;
mod refusal;
pub mod signals;
mod tls;
pub mod watch;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use rustls_pki_types::CertificateDer;

pub use self::inside::{Inside, InsideTls};
pub use self::listener::{FreshTls, Listener};
pub use self::refusal::{MAX_FIELDS, Refusal};
pub use self::tls::{configure as tls_config, issued as issued_tls_config, minted as minted_tls_config};

/// One listener and its limits.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS, or cleartext if absent.
    pub tls: Option<TlsIn>,
    /// Which versions of HTTP to speak.
    pub protocols: Protocols,
    /// The most connections open at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long a TLS handshake, and a request head from its first byte, may take.
    pub header_timeout: Duration,
    /// The most bytes of a request head; more get a 431.
    pub max_head_bytes: usize,
    /// How long a kept connection may stay without a request, and a body or an unread answer stand still.
    pub idle_timeout: Duration,
    /// How long a drain waits for what has begun.
    pub drain_timeout: Duration,
}

impl ListenerConfig {
    /// A cleartext HTTP/1 listener on `address` with the default limits.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            protocols: Protocols { http1: true, http2: false },
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            max_head_bytes: 64 * 1024,
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Where a listener's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsIn {
    /// A private CA and a certificate, made once and kept in this directory ([`certs`]).
    Auto {
        /// The directory.
        certs: PathBuf,
    },
    /// Files of the operator's, in PEM.
    Files {
        /// The certificate, followed by its intermediates.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
        /// If given, clients must show a certificate that one of these CAs has issued.
        client_ca: Option<PathBuf>,
    },
}

impl TlsIn {
    /// The files whose change asks for [`Listener::reload_tls`].
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            TlsIn::Auto { .. } => Vec::new(),
            TlsIn::Files { certificate, key, client_ca } => {
                [Some(certificate), Some(key), client_ca.as_ref()].into_iter().flatten().cloned().collect()
            }
        }
    }
}

/// The versions of HTTP that a listener speaks; at least one must be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.0 and HTTP/1.1.
    pub http1: bool,
    /// HTTP/2: by ALPN over TLS, with prior knowledge in cleartext.
    pub http2: bool,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The certificate that the client showed and that was verified, if the listener asks for one.
    pub client_certificate: Option<CertificateDer<'static>>,
}

/// What answers requests. A clone is made for every request, so it should be one `Arc`.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// Answers one request. Over HTTP/1 it runs to its end even if the client has gone, because a client
    /// that has closed its sending side may still be waiting: only writing the answer tells. It is dropped
    /// when an HTTP/2 stream is reset and when a drain runs out of time. To switch protocols, take
    /// `hyper::upgrade::on(&mut request)` and answer 101, or 2xx to `CONNECT`; what follows a `CONNECT` can be
    /// served here with the [`Inside`] among its extensions.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The answer to what was refused before [`Handler::handle`] saw it, or to a request whose body turned
    /// out to be broken while it was being handled. The connection is closed after it.
    fn refused(&self, refusal: Refusal, peer: &Peer) -> Response<Self::Body>;
}

/// Why a listener could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Neither HTTP/1 nor HTTP/2 is allowed.
    #[error("a listener needs at least one protocol")]
    NoProtocol,
    /// The private CA or its certificate is unusable.
    #[error(transparent)]
    Certificates(#[from] certs::CertError),
    /// A certificate or key file is unusable.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate, key and settings do not go together.
    #[error("TLS settings are unusable: {0}")]
    Tls(#[from] rustls::Error),
}
