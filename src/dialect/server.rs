//! What is known of the API's server, and of the API as a whole.

use std::time::Duration;

use http::Method;

use super::{Dialect, azure, plain, proxmox};

/// What the API's server bears, from its source and from measurements of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Whether HTTP/2 may be offered to clients and spoken to the API.
    pub http2: bool,
    /// How long an idle connection may be kept before the server closes it under us.
    pub pool_idle: Duration,
    /// How long it may take to begin an answer, and a little more.
    pub first_byte: Duration,
    /// Whether it takes a request whose content comes in chunks, without a length.
    pub chunked_requests: bool,
    /// After how many requests the server closes a connection.
    pub requests_per_connection: Option<u32>,
    /// How many field lines a request may have.
    pub header_lines: Option<usize>,
    /// How many bytes the head of a request may have.
    pub header_bytes: Option<usize>,
    /// Whether an answer with both `Connection: close` and `Connection: Keep-Alive` leaves the
    /// connection open.
    pub stray_close: bool,
}

/// A write of the API as its makers publish it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedWrite {
    /// The method.
    pub method: Method,
    /// The path template, for people and with the names that the API's documentation has.
    pub path: String,
    /// Paths that stand for all that the template means, as [`Dialect::read_path`] gives them.
    pub samples: Vec<String>,
}

impl Dialect {
    /// Every write of the API that is published, so that rules can be checked against all of them; empty
    /// where nobody publishes such a list.
    pub fn published_writes(self) -> Vec<PublishedWrite> {
        match self {
            Dialect::Proxmox => proxmox::published_writes(),
            Dialect::Azure | Dialect::Plain => Vec::new(),
        }
    }

    /// What the API's server bears.
    pub fn server_limits(self) -> ServerLimits {
        match self {
            Dialect::Proxmox => proxmox::SERVER_LIMITS,
            Dialect::Azure => azure::SERVER_LIMITS,
            Dialect::Plain => plain::SERVER_LIMITS,
        }
    }
}
