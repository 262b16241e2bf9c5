//! The first look at a request: can it be understood in one way only, what does it ask for, and with
//! which credential.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::{Method, Request, Version, header};

use super::{Failure, Site};
use crate::cache::key::CredentialId;
use crate::dialect::Credential;

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
    if request.version() == Version::HTTP_11 && request.headers().get_all(header::HOST).iter().count() != 1 {
        return Err(Failure::BadRequest("forebay: the request needs exactly one Host field"));
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
    let credential = site.dialect().credential(request.headers(), &site.config.credentials);
    let caller = match &credential {
        Credential::Absent => Caller::One(CredentialId::ANONYMOUS),
        Credential::Present(parts) => Caller::One(site.shared.secret.credential(parts)),
        Credential::Ambiguous => Caller::Ambiguous,
    };
    Ok(Admitted { path, caller, credential })
}

fn has_dot_segment(path: &str) -> bool {
    // Many paths have no dot at all, which is found out soonest.
    let has_dot = memchr::memchr(b'.', path.as_bytes()).is_some();
    has_dot && path.contains("/.") && path.split('/').any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
mod tests {
    use super::has_dot_segment;

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
