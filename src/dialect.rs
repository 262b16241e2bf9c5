//! What is special to an API: how it reads a path, which fields are a credential, how it says that a
//! call failed or that a task started, and what its server bears. Everything else in forebay knows
//! only this interface; nothing outside this module names an API.
//!
//! Each topic has a file with its types and its `impl Dialect`; each API a module that answers.

mod answer;
mod azure;
mod claims;
mod failure;
mod feed;
mod links;
mod operation;
mod own;
mod pages;
mod passing;
mod plain;
mod promotion;
mod proxmox;
mod quota;
mod request;
mod rights;
mod server;

use std::borrow::Cow;

pub use answer::{ErrorForm, ListOrder};
pub use claims::{Claims, Principal};
pub use feed::{Change, FeedReads, FeedRights, LogLine, LogNews, TaskList};
pub use links::{Addressed, Inward, Links, Place, Rewriter, Turn};
pub use operation::{
    Address, AddressName, Heard, OperationId, Pending, Progress, Task, TaskEvent, TaskState,
};
pub use own::FieldOfWrite;
pub use pages::PageName;
pub use promotion::Continuation;
pub use quota::{Charged, Payer};
pub use request::Credential;
pub use server::{PublishedWrite, ServerLimits};

/// An API that forebay speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Proxmox VE's `/api2`.
    Proxmox,
    /// Azure Resource Manager.
    Azure,
    /// Any HTTP API: nothing special is known of it.
    Plain,
}

impl Dialect {
    /// The dialect that a rule pack's `api:` names.
    pub fn named(name: &str) -> Option<Dialect> {
        match name {
            "proxmox" => Some(Dialect::Proxmox),
            "azure" => Some(Dialect::Azure),
            "none" => Some(Dialect::Plain),
            _ => None,
        }
    }

    /// The name that `api:` uses.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Proxmox => "proxmox",
            Dialect::Azure => "azure",
            Dialect::Plain => "none",
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
