//! Lists that come in pages: what tells one page from another.

use std::fmt;

use super::{Dialect, azure};

/// What tells a page from all others, however a client writes its address.
#[derive(Clone, PartialEq, Eq)]
pub struct PageName(pub String);

impl fmt::Debug for PageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageName")
    }
}

impl Dialect {
    /// What a read of `path`, as the API reads it, is as a page; `None` where there are none.
    pub fn page_name(self, path: &str, query: Option<&str>) -> Option<PageName> {
        match self {
            Dialect::Azure => Some(azure::pages::name(path, query)),
            Dialect::Proxmox | Dialect::Plain => None,
        }
    }

    /// Whether a read asks for a page behind the first.
    pub fn is_later_page(self, query: Option<&str>) -> bool {
        match self {
            Dialect::Azure => query.is_some_and(azure::pages::is_later),
            Dialect::Proxmox | Dialect::Plain => false,
        }
    }

    /// The page that comes next, as the body of one says.
    pub fn next_page(self, body: &[u8]) -> Option<PageName> {
        match self {
            Dialect::Azure => azure::pages::next(body),
            Dialect::Proxmox | Dialect::Plain => None,
        }
    }
}
