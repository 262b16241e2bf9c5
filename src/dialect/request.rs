//! How the API reads a request: its path, its query, and which fields of it are a credential.

use std::borrow::Cow;

use http::HeaderMap;

use super::{Claims, Dialect, azure, plain, proxmox};
use crate::semantics::query::Syntax;

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

impl Dialect {
    /// The path as the API itself reads it, which rules are matched against: absolute, decoded,
    /// without what the API ignores. `None` when the API's reading is not certain (bytes that are no
    /// UTF-8, a broken escape).
    pub fn read_path(self, raw: &str) -> Option<Cow<'_, str>> {
        match self {
            Dialect::Proxmox => proxmox::read_path(raw),
            Dialect::Azure => azure::read_path(raw),
            Dialect::Plain => plain::read_path(raw),
        }
    }

    /// Whether [`Dialect::read_path`] folds case, so that rules have to.
    pub fn folds_case(self) -> bool {
        self == Dialect::Azure
    }

    /// Where in a path that [`Dialect::read_path`] gave the resource's own path begins, behind a
    /// prefix that only chooses a format: writes in one format change what every format shows.
    pub fn resource_offset(self, path: &str) -> usize {
        match self {
            Dialect::Proxmox => proxmox::resource_offset(path),
            Dialect::Azure | Dialect::Plain => 0,
        }
    }

    /// The resource's own path in a path, or in a template of paths, that [`Dialect::read_path`] gave.
    pub fn resource_of(self, path: &str) -> &str {
        &path[self.resource_offset(path)..]
    }

    /// How the API reads a query.
    pub fn query_syntax(self) -> Syntax {
        match self {
            Dialect::Proxmox => Syntax::Semicolons,
            Dialect::Azure => Syntax::FoldedNames,
            Dialect::Plain => Syntax::Plain,
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
            Dialect::Azure | Dialect::Plain => &[],
        }
    }

    /// The credential of a request. `extra` names more fields that are one (`credentials:` of an
    /// upstream).
    pub fn credential<'r>(self, headers: &'r HeaderMap, extra: &[http::HeaderName]) -> Credential<'r> {
        match self {
            Dialect::Proxmox => proxmox::credential(headers, extra),
            Dialect::Azure => azure::credential(headers, extra),
            Dialect::Plain => plain::credential(headers, extra),
        }
    }

    /// What a credential claims to be, as the API itself would read it. In doubt it claims nothing: two
    /// credentials that the API takes for two principals must never claim the same one.
    pub fn claims(self, credential: &Credential<'_>) -> Claims {
        match (self, credential) {
            (Dialect::Proxmox, Credential::Present(parts)) => proxmox::claims(parts),
            (Dialect::Azure, Credential::Present(parts)) => azure::claims(parts),
            _ => Claims::default(),
        }
    }

    /// Whether credentials of this API can name a principal at all.
    pub fn names_principals(self) -> bool {
        self != Dialect::Plain
    }

    /// Request fields that mean something inside the API's own cluster and must never come from a
    /// client.
    pub fn internal_fields(self) -> &'static [http::HeaderName] {
        match self {
            Dialect::Proxmox => &proxmox::INTERNAL_FIELDS,
            Dialect::Azure | Dialect::Plain => &[],
        }
    }

    /// What a console's POST and the websocket that follows it have in common: both must reach the
    /// same endpoint. `None` for every other path.
    pub fn console(self, path: &str) -> Option<&str> {
        match self {
            Dialect::Proxmox => proxmox::console(path),
            Dialect::Azure | Dialect::Plain => None,
        }
    }
}
