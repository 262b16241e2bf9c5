//! One endpoint while it is in use: whether it is up, how much it has to do, its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;
use hyper::client::conn::http2;

use super::adaptive::{Adaptive, Sample};
use super::config::{
    Alpn, BreakerConfig, ContradictoryClose, Endpoint, EndpointId, EndpointScheme, Pacing, UpstreamConfig,
};
use super::connect::{Connector, Fresh, Speak};
use super::connection::Connection;
use super::counter::CallCounter;
use super::gauge::Gauge;
use super::health::{Change, Fault, Health, Standing};
use super::line::Line;
use super::pool::Pool;
use super::probe;
use super::request::SendBody;
use super::tls::TlsSettings;
use crate::semantics::failure::FailureStatuses;
use crate::telemetry::Registry;

/// What of the configuration makes an endpoint's connections what they are. A reload that leaves it
/// as it is keeps them.
#[derive(Clone, PartialEq)]
pub(super) struct EndpointSettings {
    endpoint: Endpoint,
    tls: Option<TlsSettings>,
    alpn: Alpn,
    concurrency: usize,
    pacing: Pacing,
    connect_timeout: Duration,
    pool_idle: Duration,
    requests_per_connection: Option<u32>,
    contradictory_close: ContradictoryClose,
    breaker: BreakerConfig,
    pub(super) failures: FailureStatuses,
    pub(super) probe: &'static str,
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
            pacing: config.pacing,
            connect_timeout: config.connect_timeout,
            pool_idle: config.pool_idle,
            requests_per_connection: config.requests_per_connection,
            contradictory_close: config.contradictory_close,
            breaker: config.breaker,
            failures: config.failures,
            probe: config.probe,
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
    pub(super) health: Health,
    /// What it bears, where that is learnt.
    adaptive: Option<Adaptive>,
    /// Somebody looks after it.
    cared_for: AtomicBool,
    /// A call was answered since [`EndpointState::take_answered`] was asked last.
    answered: AtomicBool,
    /// Calls of our own to find out whether it answers.
    pub(super) probes: CallCounter,
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
    pub(super) fn new(settings: EndpointSettings, upstream: &str, registry: &Registry) -> Arc<Self> {
        let address = settings.endpoint.to_string();
        let labels = [("upstream", upstream), ("endpoint", &address)];
        let breaker = registry.gauge("forebay_breaker_state", &labels);
        let adaptive = match settings.pacing {
            Pacing::Fixed => None,
            Pacing::Adaptive => Some(Adaptive::new(registry.gauge("forebay_concurrency_limit", &labels))),
        };
        let places = adaptive.as_ref().map_or(settings.concurrency, Adaptive::limit);
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
            places: Line::new(places),
            adaptive,
            http2: tokio::sync::Mutex::new(None),
            only_http1: AtomicBool::new(false),
            health: Health::new(settings.breaker, breaker),
            cared_for: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            probes: CallCounter::new(registry, upstream, "none", "probe"),
            settings,
        })
    }

    /// It answered a call.
    pub(super) fn succeeded(self: &Arc<Self>) {
        // Read first: many calls say so at once, and a store would take the line from the other cores.
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
        if !self.health.is_well() {
            self.act_on(self.health.succeeded());
        }
    }

    /// It failed a call.
    pub(super) fn failed(self: &Arc<Self>, fault: Fault) {
        self.act_on(self.health.failed(fault));
    }

    /// Whether it has answered a call since this was asked last.
    pub(super) fn take_answered(&self) -> bool {
        self.answered.swap(false, Ordering::Relaxed)
    }

    /// Whether calls are held back from it, or were until a moment ago.
    pub(super) fn is_cared_for(&self) -> bool {
        self.cared_for.load(Ordering::Acquire)
    }

    /// Acts on what has become of its health.
    pub(super) fn act_on(self: &Arc<Self>, change: Change) {
        match change {
            Change::None => {}
            Change::Places => self.set_places(),
            Change::Opened => {
                tracing::warn!(endpoint = %self.settings.endpoint, "calls are held back until it answers");
                // Whoever waits may find another endpoint, or hear that there is none.
                self.places.dismiss();
                if !self.cared_for.swap(true, Ordering::AcqRel) {
                    tokio::spawn(probe::look_after(Arc::downgrade(self)));
                }
            }
        }
    }

    fn set_places(&self) {
        let bears = self.adaptive.as_ref().map_or(self.settings.concurrency, Adaptive::limit);
        self.places.set_limit(self.health.places(bears.min(self.settings.concurrency)));
    }

    /// Whether it is learnt how many calls it bears.
    pub(super) fn learns(&self) -> bool {
        self.adaptive.is_some()
    }

    /// Learns from a call that was answered.
    pub(super) fn learn(&self, kind: usize, in_flight: usize, took: Duration) {
        if let Some(adaptive) = &self.adaptive
            && adaptive.learn(Sample { kind, in_flight, took })
        {
            self.set_places();
        }
    }

    /// Learns from one that failed as calls fail which are too many.
    pub(super) fn learn_failure(&self) {
        if self.adaptive.as_ref().is_some_and(Adaptive::failed) {
            self.set_places();
        }
    }

    /// Whether it has still to be looked after: it may have failed once more just as it was well.
    pub(super) fn is_looked_after(&self) -> bool {
        self.cared_for.store(false, Ordering::Release);
        self.health.standing() != Standing::Up && !self.cared_for.swap(true, Ordering::AcqRel)
    }

    /// Whether a call that has waited for it may go there; of `all` endpoints it is one.
    pub(super) fn may_be_tried(&self, all: usize) -> bool {
        self.health.is_well()
            || self.health.claim(self.settings.connect_timeout)
            || (all == 1 && self.health.standing() == Standing::Refusing)
    }

    /// How much it has to do for its places, in thousandths.
    pub(super) fn busy(&self) -> usize {
        (self.load.get() + 1) * 1_000 / self.places.limit().max(1)
    }

    /// Calls in flight, tunnels not counted.
    pub(super) fn in_flight(&self) -> usize {
        self.places.taken()
    }

    /// A connection, from the pool or new.
    pub(super) async fn lease(self: &Arc<Self>, speak: Speak, source: Source) -> std::io::Result<Lease> {
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

    async fn connect(self: &Arc<Self>, speak: Speak) -> std::io::Result<Fresh> {
        // Most calls find a connection; those need not carry the room for making one.
        let connected = Box::pin(self.connector.connect(speak)).await;
        if let Err(error) = &connected {
            self.failed(Fault::connecting(error));
            tracing::warn!(endpoint = %self.settings.endpoint, %error, "cannot connect");
        }
        connected
    }

    /// Closes idle connections; the shared HTTP/2 one once its streams have ended.
    pub(super) fn close_idle(&self) {
        self.pool.clear();
        if let Ok(mut shared) = self.http2.try_lock() {
            *shared = None;
        }
    }
}
