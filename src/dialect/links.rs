//! Absolute addresses in answers: which of them lead back to the API, so that they can lead to forebay
//! instead, and what a request means that follows one.
//!
//! Only the beginning of an address changes: in place of the scheme and the host of the API stand forebay's
//! own base and, where the host says more than that, a prefix of the path that says it. All else stays byte
//! for byte, so what is followed is what the API wrote. An address that is not certain to be the API's own
//! is left as it is.

mod scan;

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::{Dialect, azure};
use scan::{Scan, Shape};

/// The addresses of one upstream's API.
#[derive(Clone, Debug)]
pub struct Links {
    dialect: Dialect,
    /// The scheme and authority of its endpoints, without a port that goes without saying.
    own: Vec<String>,
}

/// What of an answer's body are addresses that clients go on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// The next page.
    Pages,
    /// The API itself: the answer describes it, anonymously.
    Api,
}

/// How the beginning of an address changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// So many bytes are replaced,
    pub replaced: usize,
    /// by forebay's base and this.
    pub prefix: String,
}

/// A place in a body where an address of the API begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What is replaced,
    pub range: Range<usize>,
    /// by forebay's base and this.
    pub prefix: Box<str>,
}

/// What a request's path says beside the path of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inward<'p> {
    /// Nothing: all of it is the API's.
    Plain,
    /// The path of the API follows a prefix that names a host of it, or nothing but a port.
    Host {
        /// The part of the API that the host names; none for a mere spelling of the usual one.
        region: Option<&'p str>,
        /// So many bytes are the prefix.
        prefix: usize,
    },
    /// It begins like such a prefix and is none.
    Wrong,
}

impl Dialect {
    /// The addresses of an API whose endpoints have these schemes, hosts and ports; `None` where answers
    /// have no absolute addresses that clients follow.
    pub fn links<'e>(self, endpoints: impl IntoIterator<Item = (&'e str, &'e str, u16)>) -> Option<Links> {
        if self != Dialect::Azure {
            return None;
        }
        let mut own = Vec::new();
        for (scheme, host, port) in endpoints {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            own.push(match (scheme, port) {
                ("https", 443) | ("http", 80) => format!("{scheme}://{host}"),
                _ => format!("{scheme}://{host}:{port}"),
            });
        }
        Some(Links { dialect: self, own })
    }

    /// The part of the API that `host` is, if it is the name of one.
    pub fn region_of(self, host: &str) -> Option<&str> {
        match self {
            Dialect::Azure => azure::links::region_of(host),
            Dialect::Proxmox | Dialect::Plain => None,
        }
    }

    /// The host of a part of the API that an address named, where the API is reached at `host` itself and
    /// not at a stand-in for it.
    pub fn regional_host(self, region: &str, host: &str) -> Option<HeaderValue> {
        match self {
            Dialect::Azure => azure::links::regional_host(region, host),
            Dialect::Proxmox | Dialect::Plain => None,
        }
    }
}

impl Links {
    /// The fields of answers that hold one address each, which clients follow.
    pub fn fields(&self) -> &'static [HeaderName] {
        &azure::links::FIELDS
    }

    /// How the address that is the value of a field changes; `None` where it is not certainly the API's.
    pub fn turn_field(&self, value: &[u8]) -> Option<Turn> {
        // There a backslash is no escape, and what readers take it for differs.
        if value.contains(&b'\\') { None } else { self.turn(value) }
    }

    /// How an address in JSON that begins with `head` changes.
    fn turn(&self, head: &[u8]) -> Option<Turn> {
        debug_assert_eq!(self.dialect, Dialect::Azure);
        azure::links::turn(&self.own, head)
    }

    /// What the path of a request says.
    pub fn inward<'p>(&self, path: &'p str) -> Inward<'p> {
        azure::links::inward(path)
    }

    /// What a body for `path`, as it came, has for addresses.
    pub fn addressed(&self, path: &str) -> Addressed {
        if azure::links::describes_the_api(path) { Addressed::Api } else { Addressed::Pages }
    }

    fn scan(addressed: Addressed) -> Scan {
        match addressed {
            Addressed::Pages => Scan::new(azure::links::MEMBERS, Shape::Object),
            Addressed::Api => Scan::new(azure::links::API_MEMBERS, Shape::ObjectOrList),
        }
    }

    /// Where in a whole body addresses of the API begin.
    pub fn places(&self, addressed: Addressed, body: &[u8]) -> Box<[Place]> {
        let (mut scan, mut at, mut places) = (Self::scan(addressed), 0, Vec::new());
        while scan.advance(body, &mut at) {
            let (begin, head) = (scan.take_begin(), scan.take_head());
            if let Some(Turn { replaced, prefix }) = self.turn(&head) {
                places.push(Place { range: begin..begin + replaced, prefix: prefix.into() });
            }
        }
        places.into()
    }

    /// Changes the addresses in a body that comes in pieces, so that they begin with `base`.
    pub fn rewriter(&self, addressed: Addressed, base: &str) -> Rewriter {
        Rewriter { scan: Self::scan(addressed), links: self.clone(), base: base.to_owned() }
    }
}

/// Changes the addresses in a body as it comes.
#[derive(Debug)]
pub struct Rewriter {
    scan: Scan,
    links: Links,
    base: String,
}

impl Rewriter {
    /// Takes a piece, and gives `out` what may go on of all that has come: everything but the beginning of
    /// an address that has not come as a whole.
    pub fn push(&mut self, piece: &Bytes, mut out: impl FnMut(Bytes)) {
        if self.scan.is_over() {
            return out(piece.clone());
        }
        let mut give = |bytes: Bytes| {
            if !bytes.is_empty() {
                out(bytes);
            }
        };
        let (mut at, mut from) = (0, 0);
        while self.scan.advance(piece, &mut at) {
            give(piece.slice(from..self.scan.take_begin()));
            let head = self.scan.take_head();
            match self.links.turn(&head) {
                Some(Turn { replaced, prefix }) => {
                    give(Bytes::from([self.base.as_bytes(), prefix.as_bytes(), &head[replaced..]].concat()));
                }
                None => give(head.into()),
            }
            from = at;
        }
        let until = if self.scan.is_in_head() { self.scan.take_begin() } else { piece.len() };
        give(piece.slice(from..until));
    }

    /// What was held back when the body ended within an address.
    pub fn finish(&mut self) -> Bytes {
        self.scan.take_head().into()
    }
}

#[cfg(test)]
mod tests;
