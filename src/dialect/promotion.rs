//! Lists whose items are what a read of each shows: how the two belong together.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::{Dialect, azure};

/// Whether a list goes on behind what an answer shows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// It does not.
    Whole,
    /// It does, at this address of the API.
    Next(String),
    /// That cannot be told.
    Unclear,
}

impl Dialect {
    /// Whether items of this API's lists say where they are read alone.
    pub fn promotes(self) -> bool {
        self == Dialect::Azure
    }

    /// Whether a list that is asked for with this query shows all that there is, each item as a read of it
    /// with the same query does.
    pub fn lists_alike(self, query: Option<&str>) -> bool {
        match self {
            Dialect::Azure => azure::promotion::lists_alike(query),
            Dialect::Proxmox | Dialect::Plain => false,
        }
    }

    /// The path at which an item is read alone, written as clients write it, by what its naming member says.
    pub fn item_path(self, name: &str) -> Option<&str> {
        match self {
            Dialect::Azure => azure::promotion::item_path(name),
            Dialect::Proxmox | Dialect::Plain => None,
        }
    }

    /// Whether the list in a body goes on.
    pub fn continuation(self, body: &[u8]) -> Continuation {
        match self {
            Dialect::Azure => azure::promotion::continuation(body),
            Dialect::Proxmox | Dialect::Plain => Continuation::Unclear,
        }
    }

    /// The fields that the answer to a read of `item` has, where those of the list's answer were `fields`.
    pub fn item_fields(self, fields: &HeaderMap, item: &[u8]) -> HeaderMap {
        match self {
            Dialect::Azure => azure::promotion::item_fields(fields, item),
            Dialect::Proxmox | Dialect::Plain => HeaderMap::new(),
        }
    }

    /// For how long after a write a list may show what a read of the item itself no longer does.
    pub fn lists_lag(self) -> Duration {
        match self {
            Dialect::Azure => azure::promotion::LISTS_LAG,
            Dialect::Proxmox | Dialect::Plain => Duration::ZERO,
        }
    }

    /// The body that the API would have answered to a request for the path `asked`, when it answered `body`
    /// to the same request with the path written as `kept`; `None` where that is the same. The length stays.
    pub fn respelled(self, kept: &str, asked: &str, body: &Bytes) -> Option<Bytes> {
        match self {
            Dialect::Azure => azure::casing::respelled(kept, asked, body).map(Bytes::from),
            Dialect::Proxmox | Dialect::Plain => None,
        }
    }
}
