//! The only readers of time for ages and expiries.
//!
//! Ages are measured on a clock that goes on through suspend and knows no steps of the wall clock;
//! the wall clock is read only where a credential's own expiry or a `Date` field needs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A point on the ageing clock: nanoseconds since an arbitrary start, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The point from a number that [`Timestamp::as_nanos`] gave.
    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start, for storing in an atomic.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here, zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point moved `by` into the past; it stops at the clock's start.
    pub fn before(self, by: Duration) -> Timestamp {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This point moved `by` into the future; it stops at the end of time.
    pub fn after(self, by: Duration) -> Timestamp {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where time comes from: the machine, or a hand that a test moves.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// The machine's clock (`CLOCK_BOOTTIME`).
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn manual() -> Self {
        Self(Some(Arc::new(AtomicU64::new(Duration::from_secs(1_000_000).as_nanos() as u64))))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(nanos) => Timestamp(nanos.load(Ordering::SeqCst)),
            None => {
                let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                Timestamp(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
            }
        }
    }

    /// Moves a manual clock; a system clock cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Some(nanos) = &self.0 {
            nanos.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
        }
    }
}

/// The wall clock, for expiries that credentials name and for dates shown to people.
pub fn wall() -> SystemTime {
    SystemTime::now()
}
