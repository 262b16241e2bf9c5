//! What of an answer belongs to that answer alone, and what forebay's own answers have in its place.

use http::HeaderMap;

use super::{Dialect, azure};

impl Dialect {
    /// Whether forebay may give an answer a validator of its own.
    pub fn takes_validators(self) -> bool {
        match self {
            Dialect::Proxmox | Dialect::Plain => true,
            // Clients copy them into the conditions of writes.
            Dialect::Azure => false,
        }
    }

    /// The fields of an answer without those that speak of that one call, if it has any: what is kept of
    /// it, and what others get who waited for it.
    pub fn without_own(self, fields: &HeaderMap) -> Option<HeaderMap> {
        match self {
            Dialect::Proxmox | Dialect::Plain => None,
            Dialect::Azure => azure::without_own(fields),
        }
    }

    /// Puts into the fields of an answer that was not given to this very `request` what the API has in
    /// each of its own.
    pub fn sign(self, request: &HeaderMap, fields: &mut HeaderMap) {
        match self {
            Dialect::Proxmox | Dialect::Plain => {}
            Dialect::Azure => azure::sign(request, fields),
        }
    }
}
