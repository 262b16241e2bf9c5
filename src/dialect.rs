//! What is special to an API: how it reads a path, which fields are a credential, how it says that a
//! call failed or that a task started, and what its server bears. Everything else in forebay knows
//! only this interface; nothing outside this module names an API.

mod claims;
mod feed;
mod plain;
mod proxmox;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

pub use claims::{Claims, Principal};
pub use feed::{Change, FeedReads, FeedRights, LogLine, LogNews, TaskList};

use crate::semantics::query::Separators;

/// An API that forebay speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Proxmox VE's `/api2`.
    Proxmox,
    /// Any HTTP API: nothing special is known of it.
    Plain,
}

/// The credential of a request as the API itself would choose it among the fields.
#[derive(Debug, PartialEq, Eq)]
pub enum Credential<'r> {
    /// The request carries none.
    Absent,
    /// Exactly one; these bytes (all of them, in this order) are it.
    Present(smallvec::SmallVec<[&'r [u8]; 2]>),
    /// More than one, or one that cannot be read for certain: only the API may judge.
    Ambiguous,
}

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

/// What the API's server bears, from its source and from measurements of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Whether HTTP/2 may be offered to clients and spoken to the API.
    pub http2: bool,
    /// How long an idle connection may be kept before the server closes it under us.
    pub pool_idle: Duration,
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

/// Whether the items of lists in answers have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    /// The order is part of the answer.
    Kept,
    /// It is drawn anew for every answer.
    Random,
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

/// The name that the API gives a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OperationId(pub String);

/// What the API says of a task by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub id: OperationId,
    /// Its type.
    pub kind: String,
    /// What it is about; empty when the API does not say.
    pub object: String,
    /// Where it runs.
    pub node: String,
    /// Who started it, with the token that was used.
    pub who: String,
    /// The second when it started, by the API's own clock (seconds since 1970).
    pub started: u64,
    /// The resource below which the API shows it.
    pub resource: String,
}

/// What an answer of the API tells of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEvent {
    /// Which.
    pub task: Task,
    /// How it stands.
    pub state: TaskState,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It runs.
    Running,
    /// Something hints that its work is done, which whoever reads it may take for the end; that it has
    /// ended is not certain. `sign` tells one hint from another, if they can be told apart.
    Ending {
        /// The number of the hint.
        sign: Option<u64>,
    },
    /// It has ended.
    Ended {
        /// The second when it did, by the API's own clock, where the answer says so.
        at: Option<u64>,
    },
}

impl Dialect {
    /// The dialect that a rule pack's `api:` names.
    pub fn named(name: &str) -> Option<Dialect> {
        match name {
            "proxmox" => Some(Dialect::Proxmox),
            "none" => Some(Dialect::Plain),
            _ => None,
        }
    }

    /// The name that `api:` uses.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Proxmox => "proxmox",
            Dialect::Plain => "none",
        }
    }

    /// The path as the API itself reads it, which rules are matched against: absolute, decoded,
    /// without what the API ignores. `None` when the API's reading is not certain (bytes that are no
    /// UTF-8, a broken escape).
    pub fn read_path(self, raw: &str) -> Option<Cow<'_, str>> {
        match self {
            Dialect::Proxmox => proxmox::read_path(raw),
            Dialect::Plain => plain::read_path(raw),
        }
    }

    /// Where in a path that [`Dialect::read_path`] gave the resource's own path begins, behind a
    /// prefix that only chooses a format: writes in one format change what every format shows.
    pub fn resource_offset(self, path: &str) -> usize {
        match self {
            Dialect::Proxmox => proxmox::resource_offset(path),
            Dialect::Plain => 0,
        }
    }

    /// The resource's own path in a path, or in a template of paths, that [`Dialect::read_path`] gave.
    pub fn resource_of(self, path: &str) -> &str {
        &path[self.resource_offset(path)..]
    }

    /// How the API splits a query.
    pub fn separators(self) -> Separators {
        match self {
            Dialect::Proxmox => Separators::AmpersandAndSemicolon,
            Dialect::Plain => Separators::Ampersand,
        }
    }

    /// Whether the API takes the query of a write as further fields of its content, before those.
    pub fn query_is_content(self) -> bool {
        self == Dialect::Proxmox
    }

    /// Query names that the API itself drops (cache busters).
    pub fn ignored_query(self) -> &'static [&'static str] {
        match self {
            Dialect::Proxmox => &["_dc"],
            Dialect::Plain => &[],
        }
    }

    /// The credential of a request. `extra` names more fields that are one (`credentials:` of an
    /// upstream).
    pub fn credential<'r>(self, headers: &'r HeaderMap, extra: &[http::HeaderName]) -> Credential<'r> {
        match self {
            Dialect::Proxmox => proxmox::credential(headers, extra),
            Dialect::Plain => plain::credential(headers, extra),
        }
    }

    /// What a credential claims to be, as the API itself would read it. In doubt it claims nothing: two
    /// credentials that the API takes for two principals must never claim the same one.
    pub fn claims(self, credential: &Credential<'_>) -> Claims {
        match (self, credential) {
            (Dialect::Proxmox, Credential::Present(parts)) => proxmox::claims(parts),
            _ => Claims::default(),
        }
    }

    /// Whether credentials of this API can name a principal at all.
    pub fn names_principals(self) -> bool {
        self == Dialect::Proxmox
    }

    /// Request fields that mean something inside the API's own cluster and must never come from a
    /// client.
    pub fn internal_fields(self) -> &'static [http::HeaderName] {
        match self {
            Dialect::Proxmox => &proxmox::INTERNAL_FIELDS,
            Dialect::Plain => &[],
        }
    }

    /// Whether the outcome of a call to `path` stands in its body rather than in its status, so that
    /// [`Dialect::status_in_body`] must be asked.
    pub fn outcome_in_body(self, path: &str) -> bool {
        match self {
            Dialect::Proxmox => proxmox::outcome_in_body(path),
            Dialect::Plain => false,
        }
    }

    /// The status that a body of such a path says; `None` when it says nothing readable.
    pub fn status_in_body(self, body: &[u8]) -> Option<StatusCode> {
        match self {
            Dialect::Proxmox => proxmox::status_in_body(body),
            Dialect::Plain => None,
        }
    }

    /// The kinds of operation that a rule's `operation:` may name.
    pub fn operation_kinds(self) -> &'static [&'static str] {
        match self {
            Dialect::Proxmox => &["proxmox-task"],
            Dialect::Plain => &[],
        }
    }

    /// The task that the answer to a write names.
    pub fn operation_started(self, body: &[u8]) -> Option<Task> {
        match self {
            Dialect::Proxmox => proxmox::tasks::started(body),
            Dialect::Plain => None,
        }
    }

    /// Whether an answer for `path` (as the API reads it) may tell how tasks stand.
    pub fn tells_of_operations(self, path: &str) -> bool {
        match self {
            Dialect::Proxmox => proxmox::tasks::tells(path),
            Dialect::Plain => false,
        }
    }

    /// What the answer for `path` tells of tasks.
    pub fn tasks_told(self, path: &str, body: &[u8]) -> Vec<TaskEvent> {
        match self {
            Dialect::Proxmox => proxmox::tasks::told(path, body),
            Dialect::Plain => Vec::new(),
        }
    }

    /// The path and query of the read that shows how a task stands.
    pub fn task_status(self, task: &Task) -> Option<String> {
        match self {
            Dialect::Proxmox => Some(proxmox::tasks::status(task)),
            Dialect::Plain => None,
        }
    }

    /// The path and query of a list that shows to whoever wrote to `path` every task which that may have
    /// started and which runs; `None` where no one list does.
    pub fn tasks_running(self, path: &str) -> Option<String> {
        match self {
            Dialect::Proxmox => proxmox::tasks::running(path),
            Dialect::Plain => None,
        }
    }

    /// Whether the body of such a list could be read and leaves nothing out.
    pub fn lists_all_tasks(self, body: &[u8]) -> bool {
        match self {
            Dialect::Proxmox => proxmox::tasks::lists_all(body),
            Dialect::Plain => false,
        }
    }

    /// What a console's POST and the websocket that follows it have in common: both must reach the
    /// same endpoint. `None` for every other path.
    pub fn console(self, path: &str) -> Option<&str> {
        match self {
            Dialect::Proxmox => proxmox::console(path),
            Dialect::Plain => None,
        }
    }

    /// Whether an answer with this status means that the API, or a part of it, is down (RFC 5861 §4
    /// and what the API's own relays say).
    pub fn is_outage(self, status: StatusCode) -> bool {
        match status.as_u16() {
            429 | 502 | 503 | 504 => true,
            595 | 596 | 599 => self == Dialect::Proxmox,
            _ => false,
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

    /// Whether the outcome of a write with this status is not known: a relay gave up on it while it
    /// may still be running.
    pub fn is_unknown_outcome(self, status: StatusCode) -> bool {
        match status.as_u16() {
            502 | 504 => true,
            596 | 599 => self == Dialect::Proxmox,
            _ => false,
        }
    }

    /// Whether the order of lists in its answers means something. Proxmox lists what its Perl hashes hold,
    /// in an order that differs from call to call; where order counts an item has its place as a field.
    pub fn list_order(self) -> ListOrder {
        match self {
            Dialect::Proxmox => ListOrder::Random,
            Dialect::Plain => ListOrder::Kept,
        }
    }

    /// The form of an error of forebay's own for a request to `path`.
    pub fn error(self, path: &str, status: StatusCode, message: &str) -> ErrorForm {
        match self {
            Dialect::Proxmox => proxmox::error(path, status, message),
            Dialect::Plain => plain::error(status, message),
        }
    }

    /// Every write of the API that is published, so that rules can be checked against all of them; empty
    /// where nobody publishes such a list.
    pub fn published_writes(self) -> Vec<PublishedWrite> {
        match self {
            Dialect::Proxmox => proxmox::published_writes(),
            Dialect::Plain => Vec::new(),
        }
    }

    /// What the API's server bears.
    pub fn server_limits(self) -> ServerLimits {
        match self {
            Dialect::Proxmox => proxmox::SERVER_LIMITS,
            Dialect::Plain => plain::SERVER_LIMITS,
        }
    }
}

/// Percent-decodes once; `None` for a broken escape or bytes that are no UTF-8.
fn decode(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    let bytes = raw.as_bytes();
    let broken = bytes.iter().enumerate().any(|(i, b)| {
        *b == b'%' && !bytes.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    if broken {
        return None;
    }
    percent_encoding::percent_decode_str(raw).decode_utf8().ok()
}
