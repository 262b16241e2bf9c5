//! Everything between "send this request to the API" and the socket: endpoints, TLS, connections,
//! limits, and the pauses that the API asks for.
//!
//! It knows nothing of caches, rules or dialects. Invariants: a request that may have left is never
//! sent again unless it is safe; each attempt that leaves counts once; every queue, pool and wait is
//! bounded; dropping a call or an answer's body frees all it held.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use metrics::Histogram;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::telemetry::Registry;
use admit::{Gate, Priority};
use endpoint::{EndpointSettings, EndpointState};
use health::Standing;
use line::Line;
use retry::Retries;
use streams::Streams;
use tls::TlsSettings;

pub use answer::{AnswerBody, AnswerError, Delimited};
pub use config::{
    Alpn, BreakerConfig, ContradictoryClose, Endpoint, EndpointId, EndpointScheme, Growth, LimitConfig,
    LimitKey, LimitMatches, Pacing, RetryConfig, RetryPolicy, TlsConfig, Trust, UpstreamConfig,
};
pub use counter::CallCounter;
pub use dial::{DialError, dial};
pub use message::{
    Answer, BoxError, CallKind, EndpointChoice, Outcome, Outgoing, OutgoingBody, Repeat, SendError, Terms,
    Urgency,
};
pub use quota::{QuotaConfig, QuotaStatus};
pub use splice::{Ended, splice};
pub use tls::check as check_tls;

mod adaptive;
mod admit;
mod alarm;
mod answer;
mod call;
mod config;
mod connect;
mod connection;
mod counter;
mod dial;
mod endpoint;
mod gauge;
mod health;
mod limit;
mod line;
mod message;
mod pause;
mod pool;
mod probe;
mod quota;
mod request;
mod retry;
mod splice;
mod streams;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

/// What comes of a call.
type Sent = Result<Answer, SendError>;

/// One API, reached through any of its endpoints. Clones are the same upstream.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    config: UpstreamConfig,
    endpoints: Vec<Arc<EndpointState>>,
    shared: Arc<Shared>,
    /// Places in flight for callers that the API has not accepted lately.
    strangers: Arc<Line>,
}

/// What outlives a reload.
struct Shared {
    gate: Gate,
    retries: Retries,
    /// The next of equals.
    turn: AtomicUsize,
    registry: Registry,
    seconds: Histogram,
    streams: Arc<Streams>,
    silence: Mutex<Silence>,
    /// A place in flight beyond all others.
    aside: Arc<Line>,
    /// Those who ask after idle endpoints. They end with this.
    watches: Mutex<JoinSet<()>>,
}

/// When calls last got an answer, and since when they get none.
#[derive(Default)]
struct Silence {
    answered: Option<Instant>,
    since: Option<Instant>,
}

impl Shared {
    fn mark_answered(&self) {
        *self.silence.lock() = Silence { answered: Some(Instant::now()), since: None };
    }

    /// Whether any call was answered after `then`.
    fn has_answered_since(&self, then: Instant) -> bool {
        self.silence.lock().answered.is_some_and(|answered| answered > then)
    }

    /// A call that began at `began` got no answer: the silence began then, unless others were answered
    /// since.
    fn mark_silent(&self, began: Instant) {
        let mut silence = self.silence.lock();
        let since = silence.answered.map_or(began, |answered| answered.max(began));
        silence.since.get_or_insert(since);
    }
}

/// Why an upstream cannot be set up. Meant for the operator: paths are named.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No endpoint is named.
    #[error("no endpoint is named")]
    NoEndpoints,
    /// An endpoint's URL is of no use.
    #[error("endpoint `{text}`: {reason}")]
    Endpoint {
        /// As written.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a number of calls that can be in flight.
    #[error("the concurrency is zero or too large")]
    Concurrency,
    /// Not a rate.
    #[error("a limit needs a rate between one a day and one a nanosecond, and a burst of at least one")]
    Limit,
    /// A list of pins without a pin trusts nobody.
    #[error("the list of pins is empty")]
    NoPins,
    /// The system has no root certificates.
    #[error("the system has no root certificates; name a CA file or a pin")]
    NoSystemRoots,
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates or the key are of no use.
    #[error("TLS settings")]
    Tls(#[source] rustls::Error),
}

/// An endpoint as the admin address shows it.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// Its place in the configuration, from zero.
    pub index: usize,
    /// Its identity.
    pub id: EndpointId,
    /// Its URL; never for clients.
    pub address: String,
    /// Whether calls go to it.
    pub up: bool,
    /// Connections, idle ones and tunnels included.
    pub open_connections: usize,
    /// Calls in flight.
    pub in_flight: usize,
}

impl Upstream {
    /// Reads the files that `config` names and makes an upstream; nothing is connected yet.
    pub fn new(config: UpstreamConfig, registry: &Registry) -> Result<Self, UpstreamError> {
        config.validate()?;
        let shared = Arc::new(Shared {
            gate: Gate::new(&config.name, &config.limits, registry),
            retries: Retries::new(&config.name, registry),
            turn: AtomicUsize::new(0),
            registry: registry.clone(),
            seconds: registry.histogram("forebay_upstream_seconds", &[("upstream", &config.name)]),
            streams: Streams::new(&config.name, registry),
            silence: Mutex::default(),
            aside: Line::new(1),
            watches: Mutex::default(),
        });
        let endpoints = endpoints(&config, &[], registry)?;
        let strangers = Line::new(stranger_places(&config));
        Ok(Self(Arc::new(Inner { config, endpoints, shared, strangers })))
    }

    /// The same upstream under a new configuration of the same name. Endpoints whose settings and TLS
    /// files are unchanged keep their connections and state, unchanged limits their levels; pauses
    /// and the queue go on. Calls in progress end under the old configuration. New limits count from
    /// [`Upstream::take_effect`] on; until then, and after an error, the old upstream is as it was.
    pub fn reconfigured(&self, config: UpstreamConfig) -> Result<Self, UpstreamError> {
        config.validate()?;
        let endpoints = endpoints(&config, &self.0.endpoints, &self.0.shared.registry)?;
        let strangers = Arc::clone(&self.0.strangers);
        Ok(Self(Arc::new(Inner { config, endpoints, shared: Arc::clone(&self.0.shared), strangers })))
    }

    /// Puts the limits of this configuration into force, for all that share its level, and asks after its
    /// endpoints and no others from now on. Call it when nothing can fail any more, within a runtime.
    pub fn take_effect(&self) {
        let Inner { config, endpoints, shared, strangers } = &*self.0;
        shared.gate.set_limits(&config.limits);
        strangers.set_limit(stranger_places(config));
        let watch = |every| endpoints.iter().map(move |endpoint| probe::watch(endpoint, shared, every));
        *shared.watches.lock() = config.probe_every.into_iter().flat_map(watch).collect();
    }

    /// Sends one call and waits for the head of its answer. Dropping the future frees all it holds
    /// and closes the connection of a request under way; the request may have arrived all the same.
    ///
    /// The future is in a box, because a call is by far the largest part of whatever awaits it, and
    /// those are moved several times before they are polled.
    pub fn send<'a>(&'a self, request: Outgoing) -> Pin<Box<impl Future<Output = Sent> + use<'a>>> {
        self.send_by(request, Priority::Client, Terms::default())
    }

    /// The same for a caller of whom nobody knows whether the API accepts it. All such calls share a
    /// quarter of the places in flight, until their answers have ended, and of those in the queue.
    pub fn send_for_stranger<'a>(
        &'a self,
        request: Outgoing,
    ) -> Pin<Box<impl Future<Output = Sent> + use<'a>>> {
        self.send_stranger_on(request, Terms::default())
    }

    /// As [`Upstream::send`], on these terms.
    pub fn send_on<'a>(
        &'a self,
        request: Outgoing,
        terms: Terms<'a>,
    ) -> Pin<Box<impl Future<Output = Sent> + use<'a>>> {
        self.send_by(request, Priority::Client, terms)
    }

    /// As [`Upstream::send_for_stranger`], on these terms.
    pub fn send_stranger_on<'a>(
        &'a self,
        request: Outgoing,
        terms: Terms<'a>,
    ) -> Pin<Box<impl Future<Output = Sent> + use<'a>>> {
        if self.0.config.pacing == Pacing::Adaptive {
            let all: usize = self.0.endpoints.iter().map(|endpoint| endpoint.places.limit()).sum();
            self.0.strangers.set_limit((all / 4).max(1));
        }
        self.send_by(request, Priority::Stranger { places: &self.0.strangers }, terms)
    }

    /// Sends one call that no client waits for, or refuses it at once as if the queue were full: it goes
    /// only while nobody waits and half of what the limits, the concurrency and the API's own buckets allow
    /// is free.
    pub fn send_if_idle<'a>(
        &'a self,
        request: Outgoing,
        terms: Terms<'a>,
    ) -> Pin<Box<impl Future<Output = Sent> + use<'a>>> {
        self.send_by(request, Priority::Background, terms)
    }

    /// Sends one call that what is true hangs on, although no client waits for it: clients that fill the queue
    /// and take all places in flight do not hold it up. There is one such call at a time; limits, pauses and
    /// the API's own buckets count for it as for any other.
    pub fn send_aside<'a>(
        &'a self,
        request: Outgoing,
        terms: Terms<'a>,
    ) -> Pin<Box<impl Future<Output = Sent> + use<'a>>> {
        self.send_by(request, Priority::Aside { place: &self.0.shared.aside }, terms)
    }

    fn send_by<'a>(
        &'a self,
        request: Outgoing,
        priority: Priority<'a>,
        terms: Terms<'a>,
    ) -> Pin<Box<impl Future<Output = Sent> + use<'a>>> {
        let Inner { config, endpoints, shared, .. } = &*self.0;
        Box::pin(call::send(config, endpoints, shared, request, priority, terms))
    }

    /// The configuration in force.
    pub fn config(&self) -> &UpstreamConfig {
        &self.0.config
    }

    /// The endpoints, in the order of the configuration.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        let status = |(index, endpoint): (usize, &Arc<EndpointState>)| EndpointStatus {
            index,
            id: endpoint.id,
            address: endpoint.settings.endpoint().to_string(),
            up: endpoint.health.standing() == Standing::Up,
            open_connections: endpoint.connector.open.get(),
            in_flight: endpoint.in_flight(),
        };
        self.0.endpoints.iter().enumerate().map(status).collect()
    }

    /// The first endpoint that calls go to, in the order of the configuration; the first of all when
    /// none is up.
    pub fn first_up(&self) -> EndpointId {
        let endpoints = &self.0.endpoints;
        endpoints.iter().find(|e| e.health.standing() == Standing::Up).unwrap_or(&endpoints[0]).id
    }

    /// Calls that wait for a limit, a pause or a place in flight.
    pub fn waiting(&self) -> usize {
        self.0.shared.gate.waiting()
    }

    /// Since when calls have got no answer at all; `None` after any answer.
    pub fn failing_since(&self) -> Option<Instant> {
        self.0.shared.silence.lock().since
    }

    /// How the API's own buckets stand, by kind.
    pub fn quotas(&self) -> Vec<QuotaStatus> {
        self.0.shared.gate.quotas.status()
    }

    /// Until when the API has asked not to be called.
    pub fn paused_until(&self) -> Option<Instant> {
        self.0.shared.gate.pause.until()
    }

    /// Closes the connections that nobody uses.
    pub fn close_idle(&self) {
        self.0.endpoints.iter().for_each(|endpoint| endpoint.close_idle());
    }
}

/// A quarter of what may be in flight.
fn stranger_places(config: &UpstreamConfig) -> usize {
    (config.concurrency * config.endpoints.len() / 4).max(1)
}

/// The state for each endpoint of `config`, taken from `old` where its settings are the same.
fn endpoints(
    config: &UpstreamConfig,
    old: &[Arc<EndpointState>],
    registry: &Registry,
) -> Result<Vec<Arc<EndpointState>>, UpstreamError> {
    let secure = config.endpoints.iter().any(|endpoint| endpoint.scheme() == EndpointScheme::Https);
    let tls = if secure { Some(TlsSettings::load(&config.tls, config.alpn)?) } else { None };
    let state = |endpoint: &Endpoint| {
        let settings = EndpointSettings::new(config, endpoint, tls.as_ref());
        match old.iter().find(|state| state.settings == settings) {
            Some(state) => Arc::clone(state),
            None => EndpointState::new(settings, &config.name, registry),
        }
    };
    Ok(config.endpoints.iter().map(state).collect())
}
