//! What of an answer belongs to that answer alone, and what forebay's own answers have in its place.

use http::{HeaderMap, HeaderName};

use super::{Dialect, azure, proxmox};

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

    /// Whether a request field is a number of that one request, or asks to have it back: two requests that differ
    /// in nothing else ask for the same.
    pub fn numbers_requests(self, name: &HeaderName) -> bool {
        self == Dialect::Azure && azure::numbers_requests(name)
    }

    /// What a field of a write's content or query is.
    pub fn field_of_write(self, name: &str) -> FieldOfWrite {
        match self {
            Dialect::Proxmox => proxmox::field_of_write(name),
            Dialect::Azure | Dialect::Plain => FieldOfWrite::State,
        }
    }
}

/// What a field of a write's content or query is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldOfWrite {
    /// A part of the state that the write sets: a later value makes an earlier one pointless.
    State,
    /// What is to be done: the next value asks for something else, and both are meant.
    Command,
    /// What the state must be for the write to be done at all.
    Condition,
}
