//! The first look at a request: can it be understood in one way only, what does it ask for, and with
//! which credential.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::{HeaderMap, Method, Request, Version, header};

use super::{Failure, Site};
use crate::cache::key::CredentialId;
use crate::dialect::Credential;
use crate::semantics::fields;

/// What is known of a request before a rule is looked for.
pub(super) struct Admitted<'r> {
    /// The path as the API reads it; `None` where its reading is not certain.
    pub path: Option<Cow<'r, str>>,
    /// Who asks.
    pub caller: Caller,
    /// The credential as it came.
    pub credential: Credential<'r>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// One credential, or none at all.
    One(CredentialId),
    /// Fields that more than one reading is possible of: nothing may be shared.
    Ambiguous,
}

/// What the API makes of a caller, as far as one can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallerStanding {
    /// It accepted the caller lately.
    Accepted,
    /// Nobody knows.
    Stranger,
}

impl Caller {
    /// Whether the API accepted this caller lately; for callers without a credential, whether it
    /// answers such callers.
    pub fn is_accepted(self, site: &Site) -> bool {
        let Caller::One(credential) = self else { return false };
        let now = site.shared.clock.now();
        site.shared.acceptance.is_accepted(site.id, credential, now, site.config.accept_for)
    }

    /// What the API makes of this caller, for the places in flight.
    pub fn standing(self, site: &Site) -> CallerStanding {
        if self.is_accepted(site) { CallerStanding::Accepted } else { CallerStanding::Stranger }
    }

    /// Who is charged for a call of this caller's, and how it stands: the principal once the API has
    /// accepted the credential, else the client's address, so that nobody is charged for what somebody
    /// else claims to be.
    pub fn account(self, site: &Site, client: SocketAddr) -> Account {
        let shared = &site.shared;
        let accepted = match self {
            Caller::One(credential) => {
                let now = shared.clock.now();
                let principal =
                    shared.acceptance.accepted_as(site.id, credential, now, site.config.accept_for);
                principal.map(|principal| (credential, principal))
            }
            Caller::Ambiguous => None,
        };
        let standing = accepted.map_or(CallerStanding::Stranger, |_| CallerStanding::Accepted);
        let principal = match accepted {
            Some((credential, principal)) if credential != CredentialId::ANONYMOUS => {
                principal.map_or(credential.as_u128(), |principal| principal.as_u128())
            }
            _ => shared.secret.credential(&[client.ip().to_string().as_bytes()]).as_u128(),
        };
        Account { standing, principal }
    }
}

/// Whom a call counts for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    /// How the caller stands.
    pub standing: CallerStanding,
    /// Who is charged, an opaque number.
    pub principal: u128,
}

/// Reads the request, or says why it cannot be read.
pub(super) fn admit<'r, B>(site: &Site, request: &'r Request<B>) -> Result<Admitted<'r>, Failure> {
    let Some(target) = request.uri().path_and_query() else {
        return Err(match *request.method() {
            Method::CONNECT => Failure::Method,
            _ => Failure::BadRequest("forebay: the request target is not a path"),
        });
    };
    if *request.method() == Method::CONNECT {
        return Err(Failure::Method);
    }
    // RFC 9112 §3.2; HTTP/2 has :authority in its place.
    if request.version() == Version::HTTP_11 {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Failure::BadRequest("forebay: the request needs exactly one Host field"));
        };
        if !is_host(host.as_bytes()) {
            return Err(Failure::BadRequest("forebay: the Host field names no host"));
        }
    }
    let raw = target.path();
    if !raw.starts_with('/') {
        return Err(Failure::BadRequest("forebay: the request target is not a path"));
    }
    let path = site.dialect().read_path(raw);
    // Whoever stands between could resolve them, and the rules would judge another path than the API
    // serves.
    if has_dot_segment(raw) || path.as_deref().is_some_and(has_dot_segment) {
        return Err(Failure::BadRequest("forebay: the path has dot segments; send it resolved"));
    }
    let mut credential = site.dialect().credential(request.headers(), &site.config.credentials);
    if is_kept_back(site, request.headers(), &credential) {
        credential = Credential::Ambiguous;
    }
    let caller = caller(site, &credential);
    Ok(Admitted { path, caller, credential })
}

fn caller(site: &Site, credential: &Credential<'_>) -> Caller {
    match credential {
        Credential::Absent => Caller::One(CredentialId::ANONYMOUS),
        Credential::Present(parts) => Caller::One(site.shared.secret.credential(parts)),
        Credential::Ambiguous => Caller::Ambiguous,
    }
}

/// Whether the API is shown another credential, because `Connection` names a field of this one, which then
/// does not go on: what it answers is said to somebody else.
fn is_kept_back(site: &Site, headers: &HeaderMap, credential: &Credential<'_>) -> bool {
    let mut named = fields::named_by_connection(headers);
    named.retain(|name| headers.contains_key(name));
    if named.is_empty() {
        return false;
    }
    let mut sent = headers.clone();
    named.iter().for_each(|name| drop(sent.remove(name)));
    caller(site, &site.dialect().credential(&sent, &site.config.credentials)) != caller(site, credential)
}

/// Whether a `Host` is one by its characters (RFC 9110 §7.2, RFC 3986 §3.2): a registered name or an address,
/// and a port. Empty is what a request says whose target has no authority.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            (&rest[..end], &rest[end + 1..])
        }
        None => host.split_at(memchr::memchr(b':', host).unwrap_or(host.len())),
    };
    let is_address = name.len() + port.len() < host.len();
    let may_stand = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte) || is_address && *byte == b':'
    };
    let is_port = |port: &[u8]| port.first() == Some(&b':') && port[1..].iter().all(u8::is_ascii_digit);
    name.iter().all(may_stand) && (port.is_empty() || is_port(port))
}

pub(super) fn has_dot_segment(path: &str) -> bool {
    // Many paths have no dot at all, which is found out soonest.
    let has_dot = memchr::memchr(b'.', path.as_bytes()).is_some();
    has_dot && path.contains("/.") && path.split('/').any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
mod tests {
    use super::{has_dot_segment, is_host};

    #[test]
    fn hosts() {
        for host in ["", "pve1", "pve1:8006", "10.0.0.1", "[::1]", "[::1]:8006", "a_b.c", "pve1:"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in ["a b", "x/y", "x@y", "[::1", "::1", "[::1]x", "a:b", "a:1:2", "h?", "h#", "\u{e9}", "a]"]
        {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn dot_segments() {
        for path in ["/..", "/a/../b", "/a/.", "/./a"] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["/", "/a.b", "/.a", "/a/...", "/a/..b"] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }
}
