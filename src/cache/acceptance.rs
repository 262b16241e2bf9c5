//! Which credentials the API has accepted lately, and which of them wrote.
//!
//! A credential is accepted by an answer of the API to that very credential, never by what it
//! claims (invariant 4). Only keyed hashes are held. What was accepted and then not seen for long is
//! dropped by the bound on their number; a dropped one costs a call, never truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use super::key::Partition;
use crate::clock::Timestamp;

/// How many credentials are remembered; one that polls stays among them.
const REMEMBERED: usize = 100_000;

/// What is remembered of one credential at one upstream.
#[derive(Debug, Default)]
struct Known {
    /// When the latest request left that the API accepted.
    accepted_left: AtomicU64,
    /// When the API refused it last. An answer to a request that left before says nothing any more.
    refused_at: AtomicU64,
    wrote_at: AtomicU64,
}

/// The credentials of all upstreams.
pub struct Acceptance(Cache<(u32, Partition), Arc<Known>>);

impl Default for Acceptance {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Acceptance {
    /// The API accepted `credential` by its answer to a request that left at `left`.
    pub fn accept(&self, site: u32, credential: Partition, left: Timestamp) {
        self.known(site, credential).accepted_left.fetch_max(left.as_nanos(), Ordering::SeqCst);
    }

    /// The API refused `credential`: whatever it accepted before `now` counts no more. Whether anything
    /// was known of it before.
    pub fn refuse(&self, site: u32, credential: Partition, now: Timestamp) -> bool {
        let was_known = self.0.get(&(site, credential)).is_some();
        // Recorded in any case: an answer under way to an earlier request must not accept it again.
        self.known(site, credential).refused_at.fetch_max(now.as_nanos(), Ordering::SeqCst);
        was_known
    }

    /// Whether the API accepted `credential` within `accept_for` before `now`.
    pub fn is_accepted(
        &self,
        site: u32,
        credential: Partition,
        now: Timestamp,
        accept_for: Duration,
    ) -> bool {
        self.0.get(&(site, credential)).is_some_and(|known| {
            let left = known.accepted_left.load(Ordering::SeqCst);
            left > known.refused_at.load(Ordering::SeqCst)
                && now.since(Timestamp::from_nanos(left)) < accept_for
        })
    }

    /// `credential` sent a write at `now`.
    pub fn wrote(&self, site: u32, credential: Partition, now: Timestamp) {
        self.known(site, credential).wrote_at.fetch_max(now.as_nanos(), Ordering::SeqCst);
    }

    /// Whether `credential` is an actor: it wrote within `window` before `now`.
    pub fn is_actor(&self, site: u32, credential: Partition, now: Timestamp, window: Duration) -> bool {
        self.0.get(&(site, credential)).is_some_and(|known| {
            let at = known.wrote_at.load(Ordering::SeqCst);
            at > 0 && now.since(Timestamp::from_nanos(at)) < window
        })
    }

    fn known(&self, site: u32, credential: Partition) -> Arc<Known> {
        let known: Result<_, std::convert::Infallible> =
            self.0.get_or_insert_with(&(site, credential), || Ok(Arc::default()));
        match known {
            Ok(known) => known,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::Secret;
    use crate::clock::Clock;

    #[test]
    fn acceptance_ends_with_time_and_with_a_refusal() {
        let (clock, acceptance, secret) = (Clock::manual(), Acceptance::default(), Secret::random());
        let (one, other) = (secret.partition(&[b"one"]), secret.partition(&[b"other"]));
        let minute = Duration::from_secs(60);
        assert!(!acceptance.is_accepted(0, one, clock.now(), minute));
        acceptance.accept(0, one, clock.now());
        assert!(acceptance.is_accepted(0, one, clock.now(), minute));
        assert!(!acceptance.is_accepted(0, other, clock.now(), minute));
        assert!(!acceptance.is_accepted(1, one, clock.now(), minute));
        clock.advance(minute);
        assert!(!acceptance.is_accepted(0, one, clock.now(), minute));
        let left_before = clock.now();
        acceptance.accept(0, one, left_before);
        clock.advance(Duration::from_secs(1));
        acceptance.refuse(0, one, clock.now());
        assert!(!acceptance.is_accepted(0, one, clock.now(), minute));
        acceptance.accept(0, one, left_before);
        assert!(!acceptance.is_accepted(0, one, clock.now(), minute), "a late answer from before");
        clock.advance(Duration::from_secs(1));
        acceptance.accept(0, one, clock.now());
        assert!(acceptance.is_accepted(0, one, clock.now(), minute));
    }

    #[test]
    fn a_write_makes_an_actor_for_the_window() {
        let (clock, acceptance, secret) = (Clock::manual(), Acceptance::default(), Secret::random());
        let one = secret.partition(&[b"one"]);
        acceptance.wrote(0, one, clock.now());
        assert!(acceptance.is_actor(0, one, clock.now(), Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert!(!acceptance.is_actor(0, one, clock.now(), Duration::from_secs(1)));
    }
}
