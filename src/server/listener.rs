//! Accepting connections: the loop, its limits, reloading certificates, draining.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::admission::{Books, Places};
use super::connection::{Common, Shared};
use super::{Handler, ListenerConfig, ServerError, TlsIn, tls};
use crate::telemetry::Registry;

/// Connections that may wait in the kernel's queue.
const BACKLOG: u32 = 1024;
/// How long accepting pauses when the process has no file descriptor or memory left for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How often the lifetime of a certificate of our own is looked at.
const RENEWAL_CHECK: Duration = Duration::from_secs(12 * 3600);

/// A listener that is serving. Dropping it stops it at once, without a drain.
pub struct Listener {
    address: SocketAddr,
    config: ListenerConfig,
    tls: Arc<ArcSwapOption<ServerConfig>>,
    places: Arc<Places>,
    common: Arc<Common>,
    accepting: JoinHandle<JoinSet<()>>,
    renewing: Option<JoinHandle<()>>,
}

impl Listener {
    /// Starts to listen and to serve.
    pub async fn bind<H: Handler>(
        config: ListenerConfig,
        handler: H,
        registry: &Registry,
    ) -> Result<Listener, ServerError> {
        if !config.protocols.http1 && !config.protocols.http2 {
            return Err(ServerError::NoProtocol);
        }
        let tls = Arc::new(ArcSwapOption::new(read_tls(&config)?));
        let listener =
            listen(config.address).map_err(|source| ServerError::Bind { address: config.address, source })?;
        let address =
            listener.local_addr().map_err(|source| ServerError::Bind { address: config.address, source })?;
        let books = Arc::new(Books::new(registry));
        let places = Arc::new(Places::new(config.max_connections, books.clone()));
        let shared = Arc::new(Shared::new(&config, handler, books.clone()));
        let accepting = tokio::spawn(accept(listener, shared.clone(), tls.clone(), places.clone()));
        let renewing = matches!(config.tls, Some(TlsIn::Auto { .. }))
            .then(|| tokio::spawn(renew(config.clone(), tls.clone())));
        let common = shared.common.clone();
        Ok(Listener { address, config, tls, places, common, accepting, renewing })
    }

    /// The address that is listened on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it was configured.
    pub fn config(&self) -> &ListenerConfig {
        &self.config
    }

    /// Reads the certificate files again, for the connections to come. On an error everything stays as it
    /// was. Blocks on files; a listener without TLS has nothing to do.
    pub fn reload_tls(&self) -> Result<(), ServerError> {
        self.read_tls()?.install();
        Ok(())
    }

    /// Reads the certificate files again without serving them yet: what can fail comes first where several
    /// things have to change together. Blocks on files.
    pub fn read_tls(&self) -> Result<FreshTls, ServerError> {
        Ok(FreshTls { fresh: read_tls(&self.config)?, served: self.tls.clone() })
    }

    /// Stops accepting, lets the requests in progress and the upgraded connections finish for at most
    /// `drain_timeout`, and cuts off what is left.
    pub async fn drain(mut self) {
        self.common.draining.raise();
        let Ok(mut connections) = (&mut self.accepting).await else { return };
        if timeout(self.config.drain_timeout, self.places.all_free()).await.is_err() {
            tracing::warn!(address = %self.address, "connections were cut off at the end of the drain");
        }
        // What has left HTTP is in tasks that are not among these.
        self.common.books.over.raise();
        connections.shutdown().await;
    }
}

/// Certificates that were read again and not served yet.
pub struct FreshTls {
    fresh: Option<Arc<ServerConfig>>,
    served: Arc<ArcSwapOption<ServerConfig>>,
}

impl FreshTls {
    /// Serves them to the connections to come.
    pub fn install(self) {
        self.served.store(self.fresh);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.common.books.over.raise();
        self.accepting.abort();
        if let Some(renewing) = &self.renewing {
            renewing.abort();
        }
    }
}

fn read_tls(config: &ListenerConfig) -> Result<Option<Arc<ServerConfig>>, ServerError> {
    config.tls.as_ref().map(|tls| tls::configure(tls, config.protocols, config.address.ip())).transpose()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the last process' connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until the drain begins, and returns the connections that are still open.
async fn accept<H: Handler>(
    listener: TcpListener,
    shared: Arc<Shared<H>>,
    tls: Arc<ArcSwapOption<ServerConfig>>,
    places: Arc<Places>,
) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.common.draining.raised() => return connections,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("a connection was lost to a panic");
                }
                continue;
            }
            accepted = async { (places.take().await, listener.accept().await) } => accepted,
        };
        match accepted {
            (place, Ok((stream, address))) => {
                let (shared, tls, admission) = (shared.clone(), tls.load_full(), places.admit(place));
                connections.spawn(async move { shared.serve(stream, address, tls, admission).await });
            }
            (_, Err(error)) if is_exhausted(&error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(EXHAUSTED_PAUSE).await;
            }
            // The client has given up, or its network did: the next one is waiting.
            (_, Err(_)) => {}
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| exhausted.iter().any(|errno| errno.raw_os_error() == code))
}

/// Renews a certificate of our own before it expires.
async fn renew(config: ListenerConfig, tls: Arc<ArcSwapOption<ServerConfig>>) {
    loop {
        sleep(RENEWAL_CHECK).await;
        let config = config.clone();
        match tokio::task::spawn_blocking(move || read_tls(&config)).await {
            Ok(Ok(fresh)) => tls.store(fresh),
            Ok(Err(error)) => tracing::warn!(%error, "cannot renew the certificate"),
            Err(_) => tracing::error!("renewing the certificate panicked"),
        }
    }
}
