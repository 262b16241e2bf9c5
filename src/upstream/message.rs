//! What goes in and what comes out of [`Upstream::send`](super::Upstream::send).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;

use super::answer::AnswerBody;
use super::config::EndpointId;
use super::counter::CallCounter;
use crate::semantics::failure::{Effect, FailureClass};
use crate::semantics::quota::Charge;

/// The error type of request bodies.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One call to the API.
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// The target in origin-form, byte for byte as it shall be sent.
    pub target: PathAndQuery,
    /// End-to-end fields only, in order, and `TE: trailers` if the caller bears trailers. `Host`, `Content-Length` and `Connection` are set here and
    /// replaced if present, `Expect` is dropped; with `upgrade` the `Upgrade` field must be among them.
    pub headers: HeaderMap,
    /// The `Host` field; `None`: the endpoint's authority.
    pub host: Option<HeaderValue>,
    /// The content.
    pub body: OutgoingBody,
    /// Where it goes.
    pub endpoint: EndpointChoice,
    /// Which limits count it.
    pub kind: CallKind,
    /// Who is charged for it, an opaque number.
    pub principal: u128,
    /// Captures of the path, for limits that name one.
    pub captures: Vec<(String, String)>,
    /// The metric that counts each attempt that leaves.
    pub counter: CallCounter,
    /// Whether the client asked for an upgrade; such a call always uses a connection of its own.
    pub upgrade: bool,
}

impl Outgoing {
    /// A read without content that may go to any endpoint. The rest is said by whoever knows better:
    /// `Outgoing { endpoint, ..Outgoing::get(...) }`.
    #[inline]
    pub fn get(target: PathAndQuery, headers: HeaderMap, principal: u128, counter: CallCounter) -> Self {
        Self {
            method: Method::GET,
            target,
            headers,
            host: None,
            body: OutgoingBody::Empty,
            endpoint: EndpointChoice::Any,
            kind: CallKind::Read,
            principal,
            captures: Vec::new(),
            counter,
            upgrade: false,
        }
    }
}

/// The content of a request.
pub enum OutgoingBody {
    /// None.
    Empty,
    /// Held in memory, so that it can be sent again if it provably never left.
    Full(Bytes),
    /// Passed through as it arrives.
    Stream {
        /// The bytes; with a length trailers are dropped, because a sized HTTP/1.1 request cannot carry
        /// them.
        body: UnsyncBoxBody<Bytes, BoxError>,
        /// How many bytes there will be; more or fewer fail the call. `None`: it comes in chunks.
        length: Option<u64>,
    },
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointChoice {
    /// The endpoint with the least to do.
    Any,
    /// This one as long as it is up, else as with `Any`.
    Prefer(EndpointId),
}

/// Whether a call can change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// It cannot.
    Read,
    /// It may.
    Write,
}

/// On which terms a call is sent.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Before whom it is served where calls have to wait; `None`: as its kind says.
    pub urgency: Option<Urgency>,
    /// What becomes of it when it fails.
    pub repeat: Repeat,
    /// Told of each failure after which the call is sent again, so that whoever can do with something
    /// else need not wait for that.
    pub troubled: Option<&'a Troubled<'a>>,
    /// The API's own buckets that it is charged to; with none nothing of an answer is read for them.
    pub charges: &'a [Charge],
}

/// What waits for what: the more urgent come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Writes, and what tells how they go on and what others changed: polls of tasks, the change feed.
    /// They are few, and what is true hangs on them.
    Change,
    /// Reads that a client waits for.
    Read,
    /// Reads whose client has been served something expired.
    Refresh,
    /// What forebay does for itself.
    Background,
    /// What of that can wait longest.
    Leisure,
}

impl Urgency {
    /// All of them, the most urgent first.
    pub(super) const ALL: [Self; 5] =
        [Self::Change, Self::Read, Self::Refresh, Self::Background, Self::Leisure];
}

/// What is told of a failure: the status, where there was an answer.
pub type Troubled<'a> = dyn Fn(Option<StatusCode>) + Send + Sync + 'a;

/// What of a call that failed is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// What its method and kind allow: a safe one always (RFC 9110 §9.2.2), others only if they provably
    /// never left.
    AsItMay,
    /// Only what provably never left: a read that is not repeatable, whatever its method says.
    IfNeverSent,
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self { urgency: None, repeat: Repeat::AsItMay, troubled: None, charges: &[] }
    }
}

/// The head of an answer with its body to follow.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields as received, connection-specific ones included; a reason phrase other than
    /// the registered one is in the extensions ([`hyper::ext::ReasonPhrase`]).
    pub parts: http::response::Parts,
    /// The content.
    pub body: AnswerBody,
    /// Who answered.
    pub endpoint: EndpointId,
    /// The time spent waiting for limits, pauses and concurrency.
    pub waited: Duration,
    /// From leaving to the head of the answer.
    pub took: Duration,
    /// The tunnel, for a 101.
    pub upgraded: Option<hyper::upgrade::OnUpgrade>,
}

/// Why there is no answer. The messages are safe for clients: they name no address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// No endpoint could be connected to.
    #[error("the API cannot be reached")]
    Unreachable,
    /// More calls wait than may.
    #[error("too many calls are waiting for the API")]
    QueueFull {
        /// Seconds, 1 to 60.
        retry_after: u32,
    },
    /// The call would have had to wait longer than it may.
    #[error("the limit on calls to the API is reached")]
    QueueTimeout {
        /// Seconds, 1 to 60.
        retry_after: u32,
    },
    /// The API itself asked for a pause.
    #[error("the API asked for a pause")]
    Paused {
        /// Seconds, 1 to 60.
        retry_after: u32,
    },
    /// No answer began in time.
    #[error("the API did not answer in time")]
    TimedOut,
    /// The connection broke before the answer's head was complete, or the head made no sense.
    #[error("the API broke off without a proper answer")]
    Lost(#[source] Option<Arc<hyper::Error>>),
    /// The request's own body failed or had another length than announced.
    #[error("the request's content broke off")]
    RequestBody,
    /// The request head is larger than the API takes.
    #[error("the request has more or longer fields than the API takes")]
    TooManyHeaders,
}

/// What is known about a call without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The API cannot have seen it.
    NeverSent,
    /// The API may have seen it and may have acted.
    Unknown,
}

impl SendError {
    /// What is known about the call's effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable
            | Self::QueueFull { .. }
            | Self::QueueTimeout { .. }
            | Self::Paused { .. }
            | Self::TooManyHeaders => Outcome::NeverSent,
            Self::TimedOut | Self::Lost(_) | Self::RequestBody => Outcome::Unknown,
        }
    }

    /// When to try again, in seconds from 1 to 60, where there is a time to name.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::QueueFull { retry_after }
            | Self::QueueTimeout { retry_after }
            | Self::Paused { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// A stable word for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::QueueFull { .. } => "queue-full",
            Self::QueueTimeout { .. } => "queue-timeout",
            Self::Paused { .. } => "paused",
            Self::TimedOut => "timed-out",
            Self::Lost(_) => "lost",
            Self::RequestBody => "request-body",
            Self::TooManyHeaders => "too-many-headers",
        }
    }

    /// Its class; `None` where the API has no part in it: calls that were not made, and clients that
    /// broke off.
    pub fn class(&self, effect: Effect) -> Option<FailureClass> {
        match self {
            Self::Unreachable => Some(FailureClass::NeverSent),
            Self::TimedOut | Self::Lost(_) if effect == Effect::Possible => Some(FailureClass::Unknown),
            Self::TimedOut | Self::Lost(_) => Some(FailureClass::Transient),
            Self::QueueFull { .. }
            | Self::QueueTimeout { .. }
            | Self::Paused { .. }
            | Self::RequestBody
            | Self::TooManyHeaders => None,
        }
    }

    /// Whether the API itself stayed silent, as opposed to us not asking or the client breaking off.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable | Self::TimedOut | Self::Lost(_))
    }
}

/// A duration as a `Retry-After` for clients: whole seconds, rounded up, 1 to 60.
pub(super) fn retry_after_seconds(wait: Duration) -> u32 {
    wait.as_millis().div_ceil(1000).clamp(1, 60) as u32
}
