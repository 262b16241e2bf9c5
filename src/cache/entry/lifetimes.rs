//! For how long an entry may be used.

use std::time::Duration;

/// For how long an entry may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// The freshness lifetime (RFC 9111 §4.2).
    pub fresh: Duration,
    /// How long past it while a refresh runs (RFC 5861 §3).
    pub stale_while_revalidate: Duration,
    /// How long past it when the upstream fails (RFC 5861 §4).
    pub stale_if_error: Duration,
}

/// The same in half of the room, for hundreds of thousands of entries: nanoseconds, 584 years at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compact {
    pub fresh: u64,
    pub stale_while_revalidate: u64,
    pub stale_if_error: u64,
}

impl From<Lifetimes> for Compact {
    fn from(from: Lifetimes) -> Self {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self {
            fresh: nanos(from.fresh),
            stale_while_revalidate: nanos(from.stale_while_revalidate),
            stale_if_error: nanos(from.stale_if_error),
        }
    }
}

impl From<Compact> for Lifetimes {
    fn from(from: Compact) -> Self {
        Self {
            fresh: Duration::from_nanos(from.fresh),
            stale_while_revalidate: Duration::from_nanos(from.stale_while_revalidate),
            stale_if_error: Duration::from_nanos(from.stale_if_error),
        }
    }
}
