//! One endpoint while it is in use: whether it is up, how much it has to do, its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;
use hyper::client::conn::http2;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::{Alpn, ContradictoryClose, Endpoint, EndpointId, EndpointScheme, UpstreamConfig};
use super::connect::{Connector, Fresh, Speak};
use super::connection::Connection;
use super::gauge::Gauge;
use super::line::Line;
use super::pool::Pool;
use super::request::SendBody;
use super::tls::TlsSettings;

/// How long an endpoint that could not be connected to is left alone.
pub(super) const DOWN_FOR: Duration = Duration::from_secs(2);

/// What of the configuration makes an endpoint's connections what they are. A reload that leaves it
/// as it is keeps them.
#[derive(Clone, PartialEq)]
pub(super) struct EndpointSettings {
    endpoint: Endpoint,
    tls: Option<TlsSettings>,
    alpn: Alpn,
    concurrency: usize,
    connect_timeout: Duration,
    pool_idle: Duration,
    requests_per_connection: Option<u32>,
    contradictory_close: ContradictoryClose,
}

impl EndpointSettings {
    pub(super) fn new(config: &UpstreamConfig, endpoint: &Endpoint, tls: Option<&TlsSettings>) -> Self {
        let tls = match endpoint.scheme() {
            EndpointScheme::Http => None,
            EndpointScheme::Https => tls.cloned(),
        };
        Self {
            endpoint: endpoint.clone(),
            tls,
            alpn: config.alpn,
            concurrency: config.concurrency,
            connect_timeout: config.connect_timeout,
            pool_idle: config.pool_idle,
            requests_per_connection: config.requests_per_connection,
            contradictory_close: config.contradictory_close,
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// An endpoint's state.
pub(super) struct EndpointState {
    pub(super) id: EndpointId,
    pub(super) settings: EndpointSettings,
    /// The `Host` field of calls that name none.
    pub(super) host_field: HeaderValue,
    pub(super) connector: Connector,
    pub(super) pool: Arc<Pool>,
    /// Calls that chose this endpoint: waiting for it or in flight.
    pub(super) load: Gauge,
    /// Places for calls in flight, which are taken until the answers' bodies have ended.
    pub(super) places: Arc<Line>,
    http2: tokio::sync::Mutex<Option<http2::SendRequest<SendBody>>>,
    /// The server was offered HTTP/2 and did not take it.
    only_http1: AtomicBool,
    down_until: Mutex<Option<Instant>>,
}

/// What a call may try.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Up,
    /// It was down; whoever asks first may try it.
    Probe,
    Down,
}

/// A connection for one call.
pub(super) enum Lease {
    /// An HTTP/1.1 connection of its own, used before or new.
    Http1(Box<Connection>),
    /// The shared HTTP/2 connection.
    Http2(http2::SendRequest<SendBody>, Reuse),
}

/// Whether a connection has carried a request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    Fresh,
    Reused,
}

/// Where a connection may come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    IdleOrNew,
    New,
}

impl EndpointState {
    pub(super) fn new(settings: EndpointSettings) -> Arc<Self> {
        Arc::new(Self {
            id: settings.endpoint.id(),
            host_field: settings.endpoint.host_field(),
            connector: Connector {
                endpoint: settings.endpoint.clone(),
                tls: settings.tls.clone(),
                timeout: settings.connect_timeout,
                close: settings.contradictory_close,
                open: Gauge::default(),
            },
            pool: Pool::new(settings.pool_idle, settings.requests_per_connection),
            load: Gauge::default(),
            places: Line::new(settings.concurrency),
            http2: tokio::sync::Mutex::new(None),
            only_http1: AtomicBool::new(false),
            down_until: Mutex::new(None),
            settings,
        })
    }

    /// Whether a call may go here now.
    pub(super) fn standing(&self) -> Standing {
        match *self.down_until.lock() {
            None => Standing::Up,
            Some(until) if Instant::now() >= until => Standing::Probe,
            Some(_) => Standing::Down,
        }
    }

    /// Claims the probe of an endpoint that was down; false if another call has claimed it.
    pub(super) fn claim(&self) -> bool {
        let mut down_until = self.down_until.lock();
        let now = Instant::now();
        match *down_until {
            None => true,
            Some(until) if now >= until => {
                *down_until = Some(now + DOWN_FOR.max(self.settings.connect_timeout));
                true
            }
            Some(_) => false,
        }
    }

    fn mark_down(&self) {
        *self.down_until.lock() = Some(Instant::now() + DOWN_FOR);
    }

    fn mark_up(&self) {
        *self.down_until.lock() = None;
    }

    /// Calls in flight, tunnels not counted.
    pub(super) fn in_flight(&self) -> usize {
        self.places.taken()
    }

    /// A connection, from the pool or new. A failure to connect marks the endpoint as down.
    pub(super) async fn lease(&self, speak: Speak, source: Source) -> std::io::Result<Lease> {
        let multiplex = speak == Speak::Any
            && self.settings.alpn == Alpn::Http2Preferred
            && self.settings.tls.is_some()
            && !self.only_http1.load(Ordering::Acquire);
        if multiplex {
            // Held while connecting, so that a burst of calls makes one connection, not one each.
            let mut shared = self.http2.lock().await;
            if source == Source::IdleOrNew
                && let Some(sender) = shared.as_ref().filter(|sender| sender.is_ready())
            {
                self.mark_up();
                return Ok(Lease::Http2(sender.clone(), Reuse::Reused));
            }
            // Another call may have learnt meanwhile that the server takes HTTP/1.1 only; then each
            // call needs a connection of its own and they are made side by side.
            if !self.only_http1.load(Ordering::Acquire) {
                return match self.connect(speak).await? {
                    Fresh::Http2(sender) => {
                        *shared = Some(sender.clone());
                        Ok(Lease::Http2(sender, Reuse::Fresh))
                    }
                    Fresh::Http1(connection) => {
                        self.only_http1.store(true, Ordering::Release);
                        Ok(Lease::Http1(connection))
                    }
                };
            }
        }
        if source == Source::IdleOrNew
            && speak == Speak::Any
            && let Some(connection) = self.pool.checkout()
        {
            self.mark_up();
            return Ok(Lease::Http1(connection));
        }
        match self.connect(speak).await? {
            Fresh::Http1(connection) => Ok(Lease::Http1(connection)),
            Fresh::Http2(sender) => {
                self.only_http1.store(false, Ordering::Release);
                *self.http2.lock().await = Some(sender.clone());
                Ok(Lease::Http2(sender, Reuse::Fresh))
            }
        }
    }

    async fn connect(&self, speak: Speak) -> std::io::Result<Fresh> {
        // Most calls find a connection; those need not carry the room for making one.
        match Box::pin(self.connector.connect(speak)).await {
            Ok(fresh) => {
                self.mark_up();
                Ok(fresh)
            }
            Err(error) => {
                self.mark_down();
                tracing::warn!(endpoint = %self.settings.endpoint, %error, "cannot connect");
                Err(error)
            }
        }
    }

    /// Closes idle connections; the shared HTTP/2 one once its streams have ended.
    pub(super) fn close_idle(&self) {
        self.pool.clear();
        if let Ok(mut shared) = self.http2.try_lock() {
            *shared = None;
        }
    }
}
