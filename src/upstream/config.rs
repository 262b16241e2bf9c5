//! What an upstream is made of: endpoints, trust, limits and times. Parsed values only; reading YAML
//! is not done here.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use rustls_pki_types::ServerName;

use super::UpstreamError;
use super::quota::QuotaConfig;
use crate::semantics::failure::FailureStatuses;

mod resilience;

pub use resilience::{BreakerConfig, Growth, Pacing, RetryConfig, RetryPolicy};

/// More calls at once than any endpoint has sockets for.
const MOST_PLACES: usize = 65_536;

/// How often an idle endpoint is asked: a dead one is found before most clients come back to it, and the others
/// have six cheap calls a minute.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Everything an [`Upstream`](super::Upstream) needs to know.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// The name from the configuration; the `upstream` label of metrics.
    pub name: String,
    /// Equal endpoints in order of preference; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Whom to trust and how to identify ourselves, for `https` endpoints.
    pub tls: TlsConfig,
    /// The protocols offered in TLS; plaintext endpoints speak HTTP/1.1.
    pub alpn: Alpn,
    /// What may reach the API; a call must pass every limit that matches it.
    pub limits: Vec<LimitConfig>,
    /// Calls in flight per endpoint, at most.
    pub concurrency: usize,
    /// Whether so many always, or as many as an endpoint bears.
    pub pacing: Pacing,
    /// Calls that may wait over the whole upstream.
    pub queue_length: usize,
    /// How long one call may wait.
    pub queue_wait: Duration,
    /// Resolving, connecting and the TLS handshake, together.
    pub connect_timeout: Duration,
    /// From the last byte of the request that was handed over to the head of the answer.
    pub first_byte_timeout: Duration,
    /// Silence inside the body of an answer.
    pub idle_timeout: Duration,
    /// How long a connection may stay unused; must be below the server's own keep-alive time.
    pub pool_idle: Duration,
    /// A connection is given up after so many requests; `None` for never.
    pub requests_per_connection: Option<u32>,
    /// More request field lines than this are refused before they are sent.
    pub max_header_lines: Option<usize>,
    /// A larger request head, in bytes, is refused before it is sent.
    pub max_header_bytes: Option<usize>,
    /// What an answer with both `Connection: close` and `Connection: Keep-Alive` means.
    pub contradictory_close: ContradictoryClose,
    /// What the API's statuses mean for the calls that got them.
    pub failures: FailureStatuses,
    /// What is sent again.
    pub retry: RetryConfig,
    /// How calls are charged to the API's own buckets.
    pub quota: QuotaConfig,
    /// When calls to an endpoint are held back.
    pub breaker: BreakerConfig,
    /// How often an endpoint is asked that has answered no call meanwhile; `None` for never.
    pub probe_every: Option<Duration>,
    /// A cheap read that asks for no credential, to find out whether an endpoint answers.
    pub probe: &'static str,
}

impl UpstreamConfig {
    /// A configuration with the documented defaults: system roots, HTTP/1.1 only, no limits.
    pub fn new(name: impl Into<String>, endpoints: Vec<Endpoint>) -> Self {
        // Of the only one every call finds out the same as soon, and has nowhere else to go.
        let probe_every = (endpoints.len() > 1).then_some(PROBE_EVERY);
        Self {
            name: name.into(),
            endpoints,
            tls: TlsConfig { trust: Trust::SystemRoots, client: None },
            alpn: Alpn::Http1Only,
            limits: Vec::new(),
            concurrency: 16,
            pacing: Pacing::Fixed,
            queue_length: 1000,
            queue_wait: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            first_byte_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            pool_idle: Duration::from_secs(20),
            requests_per_connection: None,
            max_header_lines: None,
            max_header_bytes: None,
            contradictory_close: ContradictoryClose::Obey,
            failures: FailureStatuses::COMMON,
            retry: RetryConfig::default(),
            quota: QuotaConfig::default(),
            breaker: BreakerConfig::default(),
            probe_every,
            probe: "/",
        }
    }

    /// Lets each endpoint have as many calls in flight as it bears.
    pub fn adapt(&mut self) {
        (self.pacing, self.concurrency) = (Pacing::Adaptive, super::adaptive::MOST);
    }

    /// Checks what the types cannot hold.
    pub(super) fn validate(&self) -> Result<(), UpstreamError> {
        if self.endpoints.is_empty() {
            return Err(UpstreamError::NoEndpoints);
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if self.endpoints[..index].contains(endpoint) {
                return Err(UpstreamError::Endpoint { text: endpoint.to_string(), reason: "named twice" });
            }
        }
        if self.concurrency == 0 || self.concurrency > MOST_PLACES {
            return Err(UpstreamError::Concurrency);
        }
        self.limits.iter().try_for_each(LimitConfig::validate)
    }
}

/// One base URL of the API: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    scheme: EndpointScheme,
    host: String,
    port: u16,
}

/// The two schemes an endpoint may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointScheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

impl EndpointScheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let wrong = |reason| UpstreamError::Endpoint { text: text.to_owned(), reason };
        let uri: Uri = text.parse().map_err(|_| wrong("not a URL"))?;
        let scheme = match uri.scheme() {
            Some(s) if *s == Scheme::HTTP => EndpointScheme::Http,
            Some(s) if *s == Scheme::HTTPS => EndpointScheme::Https,
            _ => return Err(wrong("the scheme must be http or https")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            // The text is not repeated in the error: it may hold a password.
            return Err(UpstreamError::Endpoint { text: "URL".into(), reason: "must not hold a user name" });
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
            return Err(wrong("must not have a path, a query or a fragment"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(wrong("the host is neither a name nor an address"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str() != authority.host() => return Err(wrong("the port is not a number")),
            None => scheme.default_port(),
        };
        Ok(Self { scheme, host, port })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority_text())
    }
}

impl Endpoint {
    /// Whether TLS is spoken.
    pub fn scheme(&self) -> EndpointScheme {
        self.scheme
    }

    /// A name or an address; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn authority_text(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            port if port == self.scheme.default_port() => host,
            port => format!("{host}:{port}"),
        }
    }

    /// The `Host` field of requests that name none of their own.
    pub fn host_field(&self) -> HeaderValue {
        HeaderValue::from_str(&self.authority_text()).expect("a valid server name is a valid field value")
    }

    /// The same as an authority, for HTTP/2.
    pub(super) fn authority(&self) -> Authority {
        self.authority_text().parse().expect("it was an authority when it was parsed")
    }

    /// The identity of this endpoint.
    pub fn id(&self) -> EndpointId {
        // FNV-1a: the identity must be the same in the next process, which std's hashers do not promise.
        let text = self.to_string();
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        EndpointId(hash)
    }
}

/// Which endpoint; derived from its URL, so it survives reloads and restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(u64);

impl EndpointId {
    /// The endpoint whose number this is.
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number, for keys.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// TLS towards the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Whose certificates are accepted.
    pub trust: Trust,
    /// Our certificate chain and key, PEM files.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Whose certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The system's roots.
    SystemRoots,
    /// The roots in this PEM file, and no others.
    CaFile(PathBuf),
    /// Exactly the certificates with these SHA-256 fingerprints (of the DER), whatever they say.
    Pins(Vec<[u8; 32]>),
}

/// The protocols offered in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1 only.
    Http1Only,
    /// HTTP/2 where the server speaks it.
    Http2Preferred,
}

/// What to make of an answer that says both `Connection: close` and `Connection: Keep-Alive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContradictoryClose {
    /// `close` wins (RFC 9112 §9.3).
    Obey,
    /// `Keep-Alive` wins: for a server known to relay a stray `close` and stay open.
    KeepOpen,
}

/// One limit on what may reach the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitConfig {
    /// Which calls it counts.
    pub matches: LimitMatches,
    /// So many calls ...
    pub count: u32,
    /// ... in this time, evenly spread.
    pub period: Duration,
    /// So many at once after a quiet time.
    pub burst: u32,
    /// Each combination of these has its own level; empty: one level for the upstream.
    pub per: Vec<LimitKey>,
}

/// Which calls a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitMatches {
    /// [`CallKind::Read`](super::CallKind::Read).
    Reads,
    /// [`CallKind::Write`](super::CallKind::Write).
    Writes,
    /// Both.
    All,
}

/// What a limit distinguishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// Who is charged.
    Principal,
    /// The endpoint the call goes to.
    Endpoint,
    /// A capture of the path template; calls without it share one level.
    Capture(String),
}

impl LimitConfig {
    /// The time between two calls at the steady rate.
    pub(super) fn interval(&self) -> Duration {
        self.period / self.count.max(1)
    }

    fn validate(&self) -> Result<(), UpstreamError> {
        // A day per token is slower than any API's budget; longer would overflow the limiter's arithmetic.
        let sane = self.count > 0
            && self.burst > 0
            && !self.interval().is_zero()
            && self.interval() <= Duration::from_secs(86_400);
        if sane { Ok(()) } else { Err(UpstreamError::Limit) }
    }
}
