//! What an API's answers say of calls that failed: the one place where a dialect tells that.

use http::StatusCode;

use super::Dialect;
use crate::semantics::failure::FailureStatuses;

/// pveproxy relays calls to other nodes and to its own privileged daemon, and says what came of it with
/// statuses of its HTTP client: 595 for no connection, 596 for 30 s of silence or broken TLS, 599 for
/// anything else. With 596 and 599 the call goes on behind it.
const PROXMOX: FailureStatuses = FailureStatuses {
    transient: &[502, 503, 504, 595, 596, 599],
    gave_up: &[502, 504, 596, 599],
    relayed: &[595, 596, 599],
};

impl Dialect {
    /// What its statuses mean for the calls that got them.
    pub fn failures(self) -> FailureStatuses {
        match self {
            Dialect::Proxmox => PROXMOX,
            Dialect::Azure | Dialect::Plain => FailureStatuses::COMMON,
        }
    }

    /// The path of a read that costs the API next to nothing and needs no credential.
    pub fn probe(self) -> &'static str {
        match self {
            // The realms to choose from before a login, from memory. Whatever asks for a credential and
            // gets none is answered after 3 s only.
            Dialect::Proxmox => "/api2/json/access/domains",
            Dialect::Azure => "/metadata/endpoints?api-version=2022-09-01",
            Dialect::Plain => "/",
        }
    }

    /// Whether an answer with this status means that the API, or a part of it, is down.
    pub fn is_outage(self, status: StatusCode) -> bool {
        self.failures().is_outage(status)
    }

    /// Whether the outcome of a write with this status is not known: a relay gave up on it while it
    /// may still be running.
    pub fn is_unknown_outcome(self, status: StatusCode) -> bool {
        self.failures().gave_up(status)
    }
}
