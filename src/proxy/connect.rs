//! CONNECT at a forward proxy (RFC 9110 §9.3.6): what may be asked, and the answers.
//!
//! Nothing of such a request goes anywhere: not its fields, of which `Proxy-Authorization` is one, and not
//! what it has as content.

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use metrics::Counter;

use super::body::Body;
use super::{Failure, error};
use crate::dialect::Dialect;
use crate::semantics::authority::Authority;
use crate::semantics::cache_status::{CACHE_STATUS, CacheStatus, Detail};
use crate::telemetry::Registry;

/// What became of a CONNECT: the label `outcome` of `forebay_connects_total` and of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectOutcome {
    /// The host is served here.
    Intercepted,
    /// Bytes are passed both ways.
    Tunnelled,
    /// It was none, or for what is not named.
    Refused,
    /// As many tunnels as may be were open.
    Limited,
    /// The host could not be connected to.
    Unreachable,
}

impl ConnectOutcome {
    const ALL: [Self; 5] =
        [Self::Intercepted, Self::Tunnelled, Self::Refused, Self::Limited, Self::Unreachable];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intercepted => "intercepted",
            Self::Tunnelled => "tunnelled",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The counters of all forward proxies.
pub struct ConnectCounters([Counter; ConnectOutcome::ALL.len()]);

impl ConnectCounters {
    /// Resolves them.
    pub fn new(registry: &Registry) -> Self {
        Self(
            ConnectOutcome::ALL
                .map(|outcome| registry.counter("forebay_connects_total", &[("outcome", outcome.as_str())])),
        )
    }

    /// One more.
    pub fn count(&self, outcome: ConnectOutcome) {
        self.0[outcome as usize].increment(1);
    }
}

/// The host that a request to a forward proxy wants to be connected with.
pub fn connect_target<B>(request: &Request<B>) -> Result<Authority, Failure> {
    if *request.method() != Method::CONNECT {
        return Err(Failure::NotForwarded(match request.uri().scheme_str() {
            Some("http") => {
                "forebay: plain http is not forwarded, because credentials would travel in clear; use https"
            }
            _ => "forebay: this address is a forward proxy and takes CONNECT only; set HTTPS_PROXY to it",
        }));
    }
    if has_content(request.headers()) {
        return Err(Failure::BadRequest("forebay: a CONNECT has no content"));
    }
    let target = request.uri().authority().map(|authority| Authority::with_port(authority.as_str()));
    match target {
        Some(Ok(authority)) => Ok(authority),
        _ => Err(Failure::BadRequest("forebay: the target of a CONNECT is a host and a port")),
    }
}

/// It would be taken for what comes after the answer.
fn has_content(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// The host that a request inside of a connection is for: everything that names one names the same.
pub fn inner_host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let fields = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok());
    let named = uri.authority().map(|named| Some(named.as_str()));
    let mut all = fields.chain(named).map(|text| Authority::of_https(text?).ok());
    let first = all.next()??;
    all.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

/// The answer to a CONNECT that is granted.
pub fn connected() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CACHE_STATUS, CacheStatus::Own(Detail::Tunnel).value());
    response
}

/// The answer to one that is not.
pub fn not_connected(failure: Failure) -> Response<Body> {
    error::not_connected(failure)
}

/// The answer to what a listener refused before it was a request, where no API is.
pub fn refused(status: StatusCode, message: &'static str) -> Response<Body> {
    error::refused(Dialect::Plain, status, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connect_to_a_host_and_a_port() {
        let ask = |method: &str, target: &str, field: Option<(&str, &str)>| {
            let mut request = Request::builder().method(method).uri(target);
            if let Some((name, value)) = field {
                request = request.header(name, value);
            }
            connect_target(&request.body(()).unwrap()).map(|authority| authority.to_string())
        };
        assert_eq!(ask("CONNECT", "A.example:443", None), Ok("a.example:443".into()));
        assert_eq!(
            ask("CONNECT", "a.example:443", Some(("content-length", "0"))),
            Ok("a.example:443".into())
        );
        for (method, target, field, status) in [
            ("CONNECT", "a.example:443", Some(("content-length", "1")), 400),
            ("CONNECT", "a.example:443", Some(("transfer-encoding", "chunked")), 400),
            ("CONNECT", "a.example", None, 400),
            ("CONNECT", "user@a.example:443", None, 400),
            ("CONNECT", "a.example.:443", None, 400),
            ("GET", "http://a.example/", None, 403),
            ("GET", "https://a.example/", None, 403),
            ("GET", "/", None, 403),
        ] {
            let failure = ask(method, target, field).unwrap_err();
            assert_eq!(failure.status(), status, "{method} {target}");
        }
        let plain = ask("GET", "http://a.example/", None).unwrap_err();
        assert!(plain.message().contains("plain http"));
    }

    #[test]
    fn everything_that_names_a_host_names_the_same() {
        let cases: [(&str, &[&str], Option<&str>); 10] = [
            ("/x", &["a.example"], Some("a.example:443")),
            ("/x", &["A.EXAMPLE:443"], Some("a.example:443")),
            ("https://a.example/x", &[], Some("a.example:443")),
            ("https://a.example/x", &["a.example:443"], Some("a.example:443")),
            ("/x", &["a.example:8443"], Some("a.example:8443")),
            ("/x", &["a.example."], None),
            ("/x", &[], None),
            ("/x", &["a.example", "b.example"], None),
            ("/x", &["a.example", ""], None),
            ("https://b.example/x", &["a.example"], None),
        ];
        for (uri, hosts, expected) in cases {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append("host", host.parse().unwrap());
            }
            let named = inner_host(&uri.parse().unwrap(), &headers).map(|host| host.to_string());
            assert_eq!(named.as_deref(), expected, "{uri} {hosts:?}");
        }
    }
}
