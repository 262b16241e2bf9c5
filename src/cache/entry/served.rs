//! What is remembered of an entry that was given to somebody although it had expired.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use super::Entry;
use crate::clock::Timestamp;

/// The first time and the last, and why then. Zero: never.
#[derive(Debug, Default)]
pub(super) struct Served {
    since: AtomicU64,
    last: AtomicU64,
    why: AtomicU64,
}

/// Why somebody was given an entry that had expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A refresh was under way (RFC 5861 §3).
    WhileRevalidating,
    /// The API gave no answer (RFC 5861 §4).
    Silent,
    /// The API answered that it is down (RFC 5861 §4).
    Answered(StatusCode),
}

/// Since when an entry is given to somebody although it has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedStale {
    /// The first time.
    pub since: Timestamp,
    /// The last time.
    pub last: Timestamp,
    /// Why then.
    pub why: Why,
}

/// How [`Why`] is kept where it is no status.
const WHILE_REVALIDATING: u64 = 1;
const SILENT: u64 = 2;

impl Entry {
    /// It is given to somebody at `now` although it has expired.
    pub fn note_served_stale(&self, now: Timestamp, why: Why) {
        let code = match why {
            Why::WhileRevalidating => WHILE_REVALIDATING,
            Why::Silent => SILENT,
            Why::Answered(status) => status.as_u16().into(),
        };
        let served = &self.served_stale;
        served.why.store(code, Ordering::Relaxed);
        served.last.store(now.as_nanos(), Ordering::Relaxed);
        // The first one stays.
        let _known = served.since.compare_exchange(0, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether it was, and since when.
    pub fn served_stale(&self) -> Option<ServedStale> {
        let served = &self.served_stale;
        let time = |at: &AtomicU64| Timestamp::from_nanos(at.load(Ordering::Relaxed));
        let (since, last) = (time(&served.since), time(&served.last));
        let why = match served.why.load(Ordering::Relaxed) {
            WHILE_REVALIDATING => Why::WhileRevalidating,
            SILENT => Why::Silent,
            status => Why::Answered(StatusCode::from_u16(status as u16).ok()?),
        };
        (since.as_nanos() != 0).then_some(ServedStale { since, last, why })
    }
}
