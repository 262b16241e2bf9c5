//! How the API says what came of a call, and how forebay says in its words what went wrong.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::{Dialect, azure, plain, proxmox};

/// The body, its media type and the reason phrase of an error of forebay's own.
#[derive(Debug)]
pub struct ErrorForm {
    /// The body.
    pub body: Bytes,
    /// `Content-Type`.
    pub content_type: HeaderValue,
    /// The reason phrase, where the API's clients read it.
    pub reason: Option<String>,
}

/// Whether the items of lists in answers have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    /// The order is part of the answer.
    Kept,
    /// It is drawn anew for every answer.
    Random,
}

impl Dialect {
    /// Whether the outcome of a call to `path` stands in its body rather than in its status, so that
    /// [`Dialect::status_in_body`] must be asked.
    pub fn outcome_in_body(self, path: &str) -> bool {
        match self {
            Dialect::Proxmox => proxmox::outcome_in_body(path),
            Dialect::Azure | Dialect::Plain => false,
        }
    }

    /// The status that a body of such a path says; `None` when it says nothing readable.
    pub fn status_in_body(self, body: &[u8]) -> Option<StatusCode> {
        match self {
            Dialect::Proxmox => proxmox::status_in_body(body),
            Dialect::Azure | Dialect::Plain => None,
        }
    }

    /// Whether an answer with this status says that what is stored for its target is gone or no
    /// longer this caller's to see.
    pub fn ends_entry(self, status: StatusCode) -> bool {
        match status.as_u16() {
            401 | 403 | 404 | 410 => true,
            // Proxmox answers 500 for what does not exist.
            500 => self == Dialect::Proxmox,
            _ => false,
        }
    }

    /// Whether the order of lists in its answers means something. Proxmox lists what its Perl hashes hold,
    /// in an order that differs from call to call; where order counts an item has its place as a field.
    pub fn list_order(self) -> ListOrder {
        match self {
            Dialect::Proxmox => ListOrder::Random,
            Dialect::Azure | Dialect::Plain => ListOrder::Kept,
        }
    }

    /// The form of an error of forebay's own for a request to `path`.
    pub fn error(self, path: &str, status: StatusCode, message: &str) -> ErrorForm {
        match self {
            Dialect::Proxmox => proxmox::error(path, status, message),
            Dialect::Azure => azure::error(status, message),
            Dialect::Plain => plain::error(status, message),
        }
    }
}
