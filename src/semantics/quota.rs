//! What an API allows in a time, and what its answers tell of that (RFC 6585 §4 and the fields that APIs
//! have of their own for it).
//!
//! The words that a dialect and the client of an upstream have in common: the one says which buckets a
//! call is charged to and how an answer is read, the other keeps them.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use smallvec::SmallVec;

/// A kind of bucket: a label of metrics, from a closed set of each dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Meter(pub &'static str);

/// How many calls a bucket allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// At once, after a quiet time.
    pub burst: f64,
    /// In the long run.
    pub per_second: f64,
}

impl Quota {
    /// A bucket that is refilled all the time.
    pub const fn smooth(max: u32, per_second: u32) -> Self {
        Self { burst: max as f64, per_second: per_second as f64 }
    }

    /// A bucket that gets `refill` at once, every `every`: what is sure to be there at any moment between
    /// two refills.
    pub const fn stepwise(max: u32, refill: u32, every: Duration) -> Self {
        Self { burst: max as f64 - refill as f64, per_second: refill as f64 / every.as_secs() as f64 }
    }

    /// So many calls in every window of time, wherever it begins: half of them at once, and half over the
    /// window.
    pub const fn window(calls: u32, every: Duration) -> Self {
        Self { burst: calls as f64 / 2.0, per_second: calls as f64 / 2.0 / every.as_secs() as f64 }
    }
}

/// One bucket that a call is charged to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charge {
    /// Its kind; a call has at most one charge of each.
    pub meter: Meter,
    /// Which of its kind, a keyed hash.
    pub key: u128,
    /// What it allows; `None`: only the API knows, by refusing.
    pub quota: Option<Quota>,
}

/// The buckets of a call, in the order in which it reserves them.
pub type Charges = SmallVec<[Charge; 7]>;

/// What an answer says is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Of which kind of the call's buckets.
    pub meter: Meter,
    /// Calls.
    pub calls: u64,
    /// When it is full again.
    pub resets_in: Option<Duration>,
}

/// What an answer tells of the buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The API charged nobody for the call: it does not know who sent it.
    NotCharged,
    /// What is left, as far as it says.
    Left(SmallVec<[Remaining; 4]>),
}

/// Which part of an API refused a call for now: a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// The part that all calls go through.
    FrontDoor,
    /// The part that the call was for.
    Provider,
    /// The queue of what goes on behind answers.
    BackgroundJobs,
    /// Another operation on the same resource: no sign of too many calls.
    Lock,
}

impl RefusedBy {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::FrontDoor, Self::Provider, Self::BackgroundJobs, Self::Lock];

    /// The word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FrontDoor => "front-door",
            Self::Provider => "provider",
            Self::BackgroundJobs => "background-jobs",
            Self::Lock => "lock",
        }
    }
}

/// What an answer that wants fewer calls means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused.
    pub by: RefusedBy,
    /// Which of the call's buckets it speaks of: the first that the call has. None for a lock.
    pub meters: SmallVec<[Meter; 4]>,
}

/// How answers of an API are read.
#[derive(Clone, Copy, Debug)]
pub struct QuotaReading {
    /// What the head of an answer tells.
    pub told: fn(StatusCode, &HeaderMap) -> Told,
    /// What a refusal means, by its head and, where it was short enough to be read, its body; `None` for an
    /// answer that is no refusal of this kind.
    pub refused: fn(StatusCode, &HeaderMap, &[u8]) -> Option<Refusal>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_as_they_are_listed() {
        for (place, by) in RefusedBy::ALL.into_iter().enumerate() {
            assert_eq!(by as usize, place);
        }
    }

    /// What is taken from a bucket as fast as it allows is never more than what the API gives.
    #[test]
    fn no_window_allows_too_much() {
        let taken = |quota: Quota, seconds: u32| quota.burst + quota.per_second * f64::from(seconds);
        let stepwise = Quota::stepwise(36, 12, Duration::from_secs(60));
        for seconds in 0..600 {
            let given = 36.0 + 12.0 * f64::from(seconds / 60);
            assert!(taken(stepwise, seconds) <= given + 1e-9, "{seconds}");
        }
        assert!(taken(Quota::window(100, Duration::from_secs(300)), 300) <= 100.0);
    }
}
