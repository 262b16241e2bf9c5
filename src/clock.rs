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
    pub const fn from_nanos(nanos: u64) -> Self {
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
pub struct Clock(Option<Arc<Hand>>);

/// The two clocks that a test moves.
#[derive(Debug)]
struct Hand {
    nanos: AtomicU64,
    /// Seconds since 1970 by the wall clock, as they are where `nanos` began.
    wall: AtomicU64,
}

/// Where a manual clock begins.
const MANUAL_START: Duration = Duration::from_secs(1_000_000);

/// What a manual wall clock shows there: the 14th of November 2023.
const MANUAL_WALL: u64 = 1_700_000_000;

impl Clock {
    /// The machine's clock (`CLOCK_BOOTTIME`).
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn manual() -> Self {
        let nanos = AtomicU64::new(MANUAL_START.as_nanos() as u64);
        Self(Some(Arc::new(Hand { nanos, wall: AtomicU64::new(MANUAL_WALL) })))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(hand) => Timestamp(hand.nanos.load(Ordering::SeqCst)),
            None => {
                let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                Timestamp(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
            }
        }
    }

    /// Moves a manual clock; a system clock cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Some(hand) = &self.0 {
            hand.nanos.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
        }
    }

    /// The wall clock, in whole seconds since 1970.
    pub fn wall_seconds(&self) -> u64 {
        match &self.0 {
            Some(hand) => {
                let since = Duration::from_nanos(hand.nanos.load(Ordering::SeqCst)) - MANUAL_START;
                hand.wall.load(Ordering::SeqCst) + since.as_secs()
            }
            None => wall().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        }
    }

    /// Sets a manual clock's wall clock, as an operator may: ages do not notice.
    pub fn step_wall(&self, seconds: u64) {
        if let Some(hand) = &self.0 {
            let since = Duration::from_nanos(hand.nanos.load(Ordering::SeqCst)) - MANUAL_START;
            hand.wall.store(seconds.saturating_sub(since.as_secs()), Ordering::SeqCst);
        }
    }
}

/// The wall clock, for expiries that credentials name and for dates shown to people.
pub fn wall() -> SystemTime {
    SystemTime::now()
}
