//! Errors of forebay's own: the only place that picks status codes.

use http::{HeaderValue, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;

use super::body::Body;
use crate::cache::flight::LeaderLost;
use crate::dialect::Dialect;
use crate::semantics::cache_status::{CACHE_STATUS, CacheStatus, Detail};
use crate::upstream::SendError;

/// Tunnels are long: whoever found no place for one need not ask again at once.
const TUNNEL_RETRY: u32 = 10;

/// Why a request has no answer of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No endpoint could be reached.
    Unreachable,
    /// The upstream did not begin an answer in time.
    TimedOut,
    /// The upstream broke off before its answer began, or spoke no HTTP.
    Lost,
    /// More calls wait for the upstream than may.
    QueueFull {
        /// Seconds until it is worth to come again.
        retry_after: u32,
    },
    /// The limit would make the call wait too long.
    QueueTimeout {
        /// Seconds until it is worth to come again.
        retry_after: u32,
    },
    /// The upstream asked everybody to wait.
    Paused {
        /// Seconds until it is worth to come again.
        retry_after: u32,
    },
    /// As many connections have left HTTP as may.
    TooManyTunnels,
    /// The client's own body broke off.
    RequestBody,
    /// The client's body is larger than what can be held to measure it.
    BodyTooLarge,
    /// What is held of all requests' content together is as much as may be.
    NoRoom,
    /// A condition of a write, made with a validator of forebay's own, does not hold.
    Precondition,
    /// Whether such a condition holds could not be learnt.
    Unconfirmed,
    /// More or longer fields than the upstream bears.
    TooManyFields,
    /// A request that cannot be understood in one way only.
    BadRequest(&'static str),
    /// A method that makes no sense at this address.
    Method,
    /// What a forward proxy does not forward, and why.
    NotForwarded(&'static str),
    /// A request for another host than the one that its connection was made to.
    Misdirected,
    /// `only-if-cached` and nothing usable is stored.
    OnlyIfCached,
    /// The task that fetched ended without a word.
    LeaderLost,
}

impl From<LeaderLost> for Failure {
    fn from(_: LeaderLost) -> Self {
        Failure::LeaderLost
    }
}

impl From<&SendError> for Failure {
    fn from(error: &SendError) -> Self {
        match *error {
            SendError::Unreachable => Failure::Unreachable,
            SendError::QueueFull { retry_after } => Failure::QueueFull { retry_after },
            SendError::QueueTimeout { retry_after } => Failure::QueueTimeout { retry_after },
            SendError::Paused { retry_after } => Failure::Paused { retry_after },
            SendError::TimedOut => Failure::TimedOut,
            SendError::Lost(_) => Failure::Lost,
            SendError::RequestBody => Failure::RequestBody,
            SendError::TooManyHeaders => Failure::TooManyFields,
        }
    }
}

impl Failure {
    /// The status code.
    pub fn status(self) -> StatusCode {
        match self {
            Failure::Unreachable | Failure::Lost | Failure::Unconfirmed => StatusCode::BAD_GATEWAY,
            Failure::Precondition => StatusCode::PRECONDITION_FAILED,
            Failure::TimedOut | Failure::OnlyIfCached => StatusCode::GATEWAY_TIMEOUT,
            Failure::QueueFull { .. }
            | Failure::QueueTimeout { .. }
            | Failure::Paused { .. }
            | Failure::TooManyTunnels => StatusCode::TOO_MANY_REQUESTS,
            Failure::RequestBody | Failure::BadRequest(_) => StatusCode::BAD_REQUEST,
            Failure::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Failure::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Failure::Method => StatusCode::METHOD_NOT_ALLOWED,
            Failure::NotForwarded(_) => StatusCode::FORBIDDEN,
            Failure::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Failure::LeaderLost => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The word behind `detail=`.
    pub fn detail(self) -> Detail {
        match self {
            Failure::Unreachable => Detail::Unreachable,
            Failure::TimedOut => Detail::Timeout,
            Failure::Lost | Failure::Unconfirmed => Detail::Lost,
            Failure::Precondition => Detail::Precondition,
            Failure::QueueFull { .. }
            | Failure::QueueTimeout { .. }
            | Failure::NoRoom
            | Failure::TooManyTunnels => Detail::Limited,
            Failure::Paused { .. } => Detail::Paused,
            Failure::RequestBody
            | Failure::BodyTooLarge
            | Failure::TooManyFields
            | Failure::BadRequest(_)
            | Failure::NotForwarded(_)
            | Failure::Misdirected
            | Failure::Method => Detail::BadRequest,
            Failure::OnlyIfCached => Detail::OnlyIfCached,
            Failure::LeaderLost => Detail::Internal,
        }
    }

    /// The sentence for the client; it names neither the upstream nor a credential.
    pub fn message(self) -> &'static str {
        match self {
            Failure::Unreachable => "forebay: the API cannot be reached",
            Failure::TimedOut => "forebay: the API did not answer in time",
            Failure::Lost => "forebay: the API broke off without a proper answer",
            Failure::QueueFull { .. } => "forebay: too many calls are waiting for the API",
            Failure::QueueTimeout { .. } => "forebay: the limit on calls to the API is reached",
            Failure::Paused { .. } => "forebay: the API asked for a pause",
            Failure::TooManyTunnels => "forebay: as many tunnels as may be are open",
            Failure::RequestBody => "forebay: the request's content broke off",
            Failure::BodyTooLarge => {
                "forebay: the request's content is too large without a Content-Length; send one"
            }
            Failure::Precondition => "forebay: the resource is not as it was when it was read",
            Failure::Unconfirmed => "forebay: the API did not show whether the request's condition holds",
            Failure::NoRoom => {
                "forebay: too much of other requests is held; send this with a Content-Length, or later"
            }
            Failure::TooManyFields => {
                "forebay: the request has more or longer header fields than the API takes"
            }
            Failure::BadRequest(why) | Failure::NotForwarded(why) => why,
            Failure::Misdirected => "forebay: the request is for another host than its connection",
            Failure::Method => "forebay: the method is not served at this address",
            Failure::OnlyIfCached => {
                "forebay: nothing stored answers this, and only-if-cached forbids to ask"
            }
            Failure::LeaderLost => "forebay: an internal error",
        }
    }

    /// Whether the API itself gave no answer, so that a stale one may stand in for it (RFC 5861 §4).
    pub fn is_outage(self) -> bool {
        matches!(
            self,
            Failure::Unreachable
                | Failure::TimedOut
                | Failure::Lost
                | Failure::QueueFull { .. }
                | Failure::QueueTimeout { .. }
                | Failure::Paused { .. }
        )
    }

    fn retry_after(self) -> Option<u32> {
        match self {
            Failure::QueueFull { retry_after }
            | Failure::QueueTimeout { retry_after }
            | Failure::Paused { retry_after } => Some(retry_after.clamp(1, 60)),
            Failure::TooManyTunnels => Some(TUNNEL_RETRY),
            _ => None,
        }
    }

    /// The answer in the dialect's form, for a request to `path`.
    pub(super) fn response(self, dialect: Dialect, path: &str) -> Response<Body> {
        let mut response = in_dialect(dialect, path, self.status(), self.message(), self.detail());
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The answer to a CONNECT, or to what should have been one. Its sentence is the reason phrase too, which is
/// all that most clients show of it.
pub(super) fn not_connected(failure: Failure) -> Response<Body> {
    let mut response = failure.response(Dialect::Plain, "");
    if let Ok(reason) = ReasonPhrase::try_from(failure.message().as_bytes()) {
        response.extensions_mut().insert(reason);
    }
    response
}

/// The answer to a request inside of a connection to another host (RFC 9110 §15.5.20).
pub(super) fn misdirected(dialect: Dialect) -> Response<Body> {
    Failure::Misdirected.response(dialect, "")
}

/// The answer to what a listener refused before it was a request.
pub(super) fn refused(dialect: Dialect, status: StatusCode, message: &'static str) -> Response<Body> {
    in_dialect(dialect, "", status, message, Detail::BadRequest)
}

fn in_dialect(
    dialect: Dialect,
    path: &str,
    status: StatusCode,
    message: &str,
    detail: Detail,
) -> Response<Body> {
    let form = dialect.error(path, status, message);
    let mut response = Response::new(Body::full(form.body));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, form.content_type);
    fields.insert(CACHE_STATUS, CacheStatus::Own(detail).value());
    if let Some(reason) = form.reason.and_then(|r| ReasonPhrase::try_from(r).ok()) {
        response.extensions_mut().insert(reason);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_429_says_when_to_come_again() {
        let failures = [
            (Failure::Unreachable, 502, None),
            (Failure::TimedOut, 504, None),
            (Failure::QueueFull { retry_after: 3 }, 429, Some("3")),
            (Failure::Paused { retry_after: 600 }, 429, Some("60")),
            (Failure::QueueTimeout { retry_after: 0 }, 429, Some("1")),
            (Failure::BadRequest("no"), 400, None),
            (Failure::OnlyIfCached, 504, None),
        ];
        for (failure, status, retry_after) in failures {
            let response = failure.response(Dialect::Proxmox, "/api2/json/x");
            assert_eq!(response.status(), status);
            let told = response.headers().get(header::RETRY_AFTER).map(|v| v.to_str().expect("text"));
            assert_eq!(told, retry_after, "{failure:?}");
            assert_eq!(
                response.headers()["cache-status"],
                format!("forebay; detail={}", failure.detail().as_str())
            );
        }
    }
}
