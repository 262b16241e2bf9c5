//! A stored response.
//!
//! Target, fields and body stand in one block of memory, so that an entry costs few allocations and
//! a hit copies nothing: the body and the field values that go out are slices of the block.

mod frozen;
mod lifetimes;
mod served;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::groups::{GroupId, Sequence};
use super::key::CredentialId;
use crate::clock::Timestamp;
use crate::dialect::Place;
use crate::rules::Sharing;
use crate::semantics::fields;

use lifetimes::Compact;

pub use frozen::{FORMAT, Thaw};
pub use lifetimes::Lifetimes;
pub use served::{ServedStale, Why};

/// Field names that are stored as one byte.
static KNOWN: [HeaderName; 16] = [
    header::CONTENT_TYPE,
    header::DATE,
    header::SERVER,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::EXPIRES,
    header::ETAG,
    header::LAST_MODIFIED,
    header::VARY,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_DISPOSITION,
    header::LINK,
    header::ALLOW,
    header::STRICT_TRANSPORT_SECURITY,
    header::X_CONTENT_TYPE_OPTIONS,
];

/// Stands in place of a known name's number before a name in full.
const SPELLED: u8 = 0xff;

/// Status, reason and fields of a response, as they are stored and shared.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status code, registered or not.
    pub status: StatusCode,
    /// The reason phrase, where it is not the status code's usual one.
    pub reason: Option<Bytes>,
    /// The end-to-end fields.
    pub fields: HeaderMap,
}

/// What is known of an entry besides the response.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// The target as the client wrote it: path and query.
    pub target: String,
    /// The name of the rule that keeps it.
    pub rule: Arc<str>,
    /// Who shares it.
    pub share: Sharing,
    /// The credential that it was fetched with.
    pub maker: CredentialId,
    /// Which upstream answered.
    pub site: u32,
    /// The number its fetch took before it left.
    pub sequence: Sequence,
    /// Its groups.
    pub groups: Arc<[GroupId]>,
    /// When its head arrived.
    pub at: Timestamp,
    /// How old it was then by its own `Age` field (RFC 9111 §4.2.3).
    pub initial_age: Duration,
    /// For how long it may be used.
    pub lifetimes: Lifetimes,
}

/// A whole response with what is known of it.
#[derive(Debug)]
pub struct Entry {
    block: Bytes,
    fields_start: u32,
    body_start: u32,
    field_count: u16,
    compressible: bool,
    recoded: bool,
    status: StatusCode,
    soft_expired: AtomicBool,
    compressing: AtomicBool,
    served_stale: served::Served,
    /// When it was used last, where that is asked for.
    used: AtomicU64,
    /// In a box, since few have one.
    reason: Option<Box<Bytes>>,
    groups: Arc<[GroupId]>,
    rule: Arc<str>,
    share: Sharing,
    maker: CredentialId,
    site: u32,
    initial_age: u32,
    sequence: Sequence,
    at: Timestamp,
    lifetimes: Compact,
    places: OnceLock<Box<[Place]>>,
}

/// How an entry stands to its freshness lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Fresh for so long.
    Fresh(Duration),
    /// Stale for so long.
    Stale(Duration),
}

impl Entry {
    /// Puts a response whose whole body has arrived into one block. Fields that do not belong into a
    /// store are left out; `etag` is added where the upstream gave none.
    pub fn assemble(head: &Head, body: &[Bytes], about: Provenance, etag: Option<&str>) -> Entry {
        let body_length: usize = body.iter().map(Bytes::len).sum();
        let mut block = BytesMut::with_capacity(about.target.len() + 48 * (head.fields.len() + 1));
        block.put_slice(about.target.as_bytes());
        let fields_start = block.len() as u32;
        let mut field_count = 0;
        for (name, value) in head.fields.iter().filter(|(name, _)| fields::is_storable(name)) {
            field_count += u16::from(put_field(&mut block, name, value.as_bytes()));
        }
        let compressible = is_compressible(&head.fields, body_length);
        if compressible {
            field_count += u16::from(put_field(&mut block, &header::VARY, b"Accept-Encoding"));
        }
        if let Some(etag) = etag {
            field_count += u16::from(put_field(&mut block, &header::ETAG, etag.as_bytes()));
        }
        let body_start = block.len() as u32;
        // The exact size: growing would leave up to half of a large block unused for its lifetime.
        let mut exact = Vec::with_capacity(block.len() + body_length);
        exact.extend_from_slice(&block);
        body.iter().for_each(|chunk| exact.extend_from_slice(chunk));
        Entry {
            block: Bytes::from(exact.into_boxed_slice()),
            fields_start,
            body_start,
            field_count,
            compressible,
            recoded: false,
            status: head.status,
            soft_expired: AtomicBool::new(false),
            compressing: AtomicBool::new(false),
            served_stale: Default::default(),
            used: AtomicU64::new(0),
            reason: head.reason.clone().map(Box::new),
            groups: about.groups,
            rule: about.rule,
            share: about.share,
            maker: about.maker,
            site: about.site,
            initial_age: u32::try_from(about.initial_age.as_secs()).unwrap_or(u32::MAX),
            sequence: about.sequence,
            at: about.at,
            lifetimes: about.lifetimes.into(),
            places: OnceLock::new(),
        }
    }

    /// The same response under another content coding, as old and as bound to its groups as this.
    pub fn recoded(&self, fields: HeaderMap, body: Bytes, etag: Option<&str>) -> Entry {
        let head = Head { status: self.status, reason: self.reason().cloned(), fields };
        let about = Provenance {
            target: self.target().to_owned(),
            rule: self.rule.clone(),
            share: self.share,
            maker: self.maker,
            site: self.site,
            sequence: self.sequence,
            groups: self.groups.clone(),
            at: self.at,
            initial_age: Duration::from_secs(self.initial_age.into()),
            lifetimes: self.lifetimes(),
        };
        let mut entry = Entry::assemble(&head, &[body], about, etag);
        entry.recoded = true;
        entry.soft_expired.store(self.soft_expired.load(Ordering::Relaxed), Ordering::Relaxed);
        entry
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The reason phrase, where it is not the usual one.
    pub fn reason(&self) -> Option<&Bytes> {
        self.reason.as_deref()
    }

    /// The body; no copy is made.
    pub fn body(&self) -> Bytes {
        self.block.slice(self.body_start as usize..)
    }

    /// Where in the body addresses of the API begin; `find` looks for them the first time.
    pub fn places(&self, find: impl FnOnce(&[u8]) -> Box<[Place]>) -> &[Place] {
        self.places.get_or_init(|| find(&self.block[self.body_start as usize..]))
    }

    /// Notes that it is used now.
    pub fn note_use(&self, now: Timestamp) {
        self.used.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When it was last noted that it is used; the beginning of time if never.
    pub fn used(&self) -> Timestamp {
        Timestamp::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// How many bytes the body has.
    pub fn body_length(&self) -> usize {
        self.block.len() - self.body_start as usize
    }

    /// Whether clients that accept it get the body compressed.
    pub fn compressible(&self) -> bool {
        self.compressible
    }

    /// Whether the caller is the first to compress the body, and so the one to do it.
    pub fn begin_compressing(&self) -> bool {
        !self.compressing.swap(true, Ordering::Relaxed)
    }

    /// Whether it is another entry's response under another content coding.
    pub fn is_recoded(&self) -> bool {
        self.recoded
    }

    /// The target as the client that caused the fetch wrote it.
    pub fn target(&self) -> &str {
        std::str::from_utf8(&self.block[..self.fields_start as usize]).expect("assembled from a str")
    }

    /// The name of the rule that keeps it.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Who shares it.
    pub fn share(&self) -> Sharing {
        self.share
    }

    /// The credential that it was fetched with.
    pub fn maker(&self) -> CredentialId {
        self.maker
    }

    /// Which upstream answered.
    pub fn site(&self) -> u32 {
        self.site
    }

    /// The number its fetch took.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Its groups.
    pub fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    /// For how long it may be used.
    pub fn lifetimes(&self) -> Lifetimes {
        self.lifetimes.into()
    }

    /// Adds the stored fields to `map`.
    pub fn write_fields(&self, map: &mut HeaderMap) {
        let mut at = self.fields_start as usize;
        for _ in 0..self.field_count {
            let name = match self.block[at] {
                SPELLED => {
                    let length = self.block[at + 1] as usize;
                    at += 2 + length;
                    HeaderName::from_bytes(&self.block[at - length..at]).expect("written from a HeaderName")
                }
                known => {
                    at += 1;
                    KNOWN[known as usize].clone()
                }
            };
            let length = usize::from(u16::from_le_bytes([self.block[at], self.block[at + 1]]));
            at += 2;
            let value = HeaderValue::from_maybe_shared(self.block.slice(at..at + length));
            map.append(name, value.expect("written from a HeaderValue"));
            at += length;
        }
    }

    /// One stored field.
    pub fn field(&self, wanted: &HeaderName) -> Option<HeaderValue> {
        let mut map = HeaderMap::new();
        self.write_fields(&mut map);
        map.remove(wanted)
    }

    /// The current age (RFC 9111 §4.2.3).
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.at) + Duration::from_secs(self.initial_age.into())
    }

    /// How it stands to its freshness lifetime.
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        self.freshness_within(Duration::MAX, now)
    }

    /// The same where it is fresh for `ceiling` at most.
    pub fn freshness_within(&self, ceiling: Duration, now: Timestamp) -> Freshness {
        let (age, lifetime) = (self.age(now), self.lifetimes().fresh.min(ceiling));
        if self.soft_expired.load(Ordering::Relaxed) {
            return Freshness::Stale(age.saturating_sub(lifetime));
        }
        match lifetime.checked_sub(age) {
            Some(left) if !left.is_zero() => Freshness::Fresh(left),
            _ => Freshness::Stale(age - lifetime),
        }
    }

    /// Ends its freshness now; what it may do when stale stays.
    pub fn expire_softly(&self) {
        self.soft_expired.store(true, Ordering::Relaxed);
    }

    /// What the block, the groups and the texts weigh, in bytes.
    pub fn weight(&self) -> u64 {
        (self.block.len() + size_of_val(&*self.groups) + self.reason().map_or(0, Bytes::len)) as u64
    }
}

/// Below this a compressed body saves no packet.
const COMPRESS_FROM: usize = 1024;

/// Whether compressing is worth it, and the coding is ours to choose.
fn is_compressible(fields: &HeaderMap, length: usize) -> bool {
    length >= COMPRESS_FROM
        && !fields.contains_key(header::CONTENT_ENCODING)
        && !fields.contains_key(header::VARY)
        && fields.get(header::CONTENT_TYPE).is_some_and(|value| {
            let kind = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default();
            kind.starts_with(b"text/")
                || [&b"json"[..], b"xml", b"javascript"]
                    .iter()
                    .any(|ending| kind.trim_ascii().ends_with(ending))
        })
}

/// Whether the field was written; values over 64 KiB cannot come from the upstream's bounded head.
fn put_field(block: &mut BytesMut, name: &HeaderName, value: &[u8]) -> bool {
    let (Ok(length), Ok(name_length)) = (u16::try_from(value.len()), u8::try_from(name.as_str().len()))
    else {
        return false;
    };
    match KNOWN.iter().position(|known| known == name) {
        Some(number) => block.put_u8(number as u8),
        None => {
            block.put_u8(SPELLED);
            block.put_u8(name_length);
            block.put_slice(name.as_str().as_bytes());
        }
    }
    block.put_u16_le(length);
    block.put_slice(value);
    true
}

#[cfg(test)]
mod tests;
