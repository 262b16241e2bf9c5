//! Which credentials the API has accepted lately, and which of them wrote.
//!
//! A credential is accepted by an answer of the API to that very credential, never by what it
//! claims (invariant 4). Only keyed hashes are held. What was accepted and then not seen for long is
//! dropped by the bound on their number; a dropped one costs a call, never truth.
//!
//! Acceptances stand on the same logical clock as entries: each has the number that its request took
//! before it left, and counts only while nothing has overtaken the group [`ACCEPTANCES`]. So a write that
//! may have taken rights away ends them all, and an answer that was under way meanwhile begins none.

mod rights;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;

pub use rights::{RightsWord, Validity};

use rights::OfRights;

use super::groups::{GroupId, GroupName, Groups, Sequence};
use super::key::{CredentialId, Partition};
use crate::clock::Timestamp;
use crate::rules::template::ACCEPTANCES;

/// How many credentials are remembered; one that polls stays among them.
const REMEMBERED: usize = 100_000;

/// The request that the API gave a success to.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// The number that the request took before it left.
    pub sequence: Sequence,
    /// When it left.
    pub left: Timestamp,
}

/// What a credential says of itself: no longer a claim, now that the API has read it too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    /// The principal that it names.
    pub principal: Option<Partition>,
    /// When it ends by itself.
    pub ends: Option<Timestamp>,
}

/// What was known of a credential that the API refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whether anything was.
    pub was_known: bool,
    /// Its principal, if the API had accepted it.
    pub principal: Option<Partition>,
}

/// What is remembered of one credential at one upstream.
#[derive(Debug)]
struct Known {
    /// The latest number of a request that the API accepted, and when that left.
    accepted: AtomicU64,
    accepted_left: AtomicU64,
    /// The number at which the API refused it last. An answer to a request that left before says
    /// nothing any more.
    refused: AtomicU64,
    wrote_at: AtomicU64,
    /// When it ends by itself. Several answers may put this differently by their delays: the
    /// earliest counts.
    ends: AtomicU64,
    /// The principal that it names, if any, once the API has accepted it.
    principal: OnceLock<Option<Partition>>,
    /// What is overtaken when all acceptances end.
    all: GroupId,
    /// What the API said of its rights, where a rule asks for that.
    said: Mutex<OfRights>,
}

/// The credentials of all upstreams.
pub struct Acceptance {
    known: Cache<(u32, CredentialId), Arc<Known>>,
    groups: Arc<Groups>,
}

impl Acceptance {
    /// Nobody is accepted; `groups` tells when acceptances end.
    pub fn new(groups: Arc<Groups>) -> Self {
        Self { known: Cache::new(REMEMBERED), groups }
    }

    /// The API accepted `credential`. `said` reads what that says of itself, which is not done again for
    /// one that does not end: the same bytes always name the same principal.
    pub fn accept(
        &self,
        site: u32,
        credential: CredentialId,
        evidence: Evidence,
        said: impl FnOnce() -> Said,
    ) {
        let known = self.known(site, credential);
        if known.principal.get().is_none() || known.ends.load(Ordering::SeqCst) != u64::MAX {
            let said = said();
            let _the_same_before = known.principal.set(said.principal);
            if let Some(ends) = said.ends {
                known.ends.fetch_min(ends.as_nanos(), Ordering::SeqCst);
            }
        }
        let number = evidence.sequence.as_u64();
        // Whoever reads between the two takes the older time, which ends earlier.
        if known.accepted.fetch_max(number, Ordering::SeqCst) < number {
            known.accepted_left.store(evidence.left.as_nanos(), Ordering::SeqCst);
        }
    }

    /// Calls `each` with every credential that the API has accepted and not refused since, and with what
    /// it was accepted by last.
    pub fn for_each(&self, mut each: impl FnMut(u32, CredentialId, Evidence, Said)) {
        for ((site, credential), known) in self.known.iter() {
            let ends = known.ends.load(Ordering::SeqCst);
            if known.is_not_refused() {
                let evidence = Evidence {
                    sequence: Sequence::from_u64(known.accepted.load(Ordering::SeqCst)),
                    left: Timestamp::from_nanos(known.accepted_left.load(Ordering::SeqCst)),
                };
                let said = Said {
                    principal: known.principal.get().copied().flatten(),
                    ends: (ends != u64::MAX).then(|| Timestamp::from_nanos(ends)),
                };
                each(site, credential, evidence, said);
            }
        }
    }

    /// An earlier process saw the API accept `credential`. It counts unless something has overtaken it
    /// since: an order that ended all acceptances, or a refusal, which empties the partition.
    pub fn resume(&self, site: u32, credential: CredentialId, evidence: Evidence, said: Said) {
        let partitions = [Some(Partition::of(credential)), said.principal];
        let group = |partition| self.groups.id(site, GroupName::Partition(partition));
        if partitions.into_iter().flatten().all(|p| self.groups.is_current(evidence.sequence, &[group(p)])) {
            self.accept(site, credential, evidence, || said);
        }
    }

    /// The API refused `credential`: whatever it accepted so far counts no more.
    pub fn refuse(&self, site: u32, credential: CredentialId) -> Refused {
        let before = self.known.get(&(site, credential));
        let principal = before.as_ref().filter(|known| known.is_not_refused());
        let refused = Refused {
            was_known: before.is_some(),
            principal: principal.and_then(|known| *known.principal.get()?),
        };
        // Recorded in any case: an answer under way to an earlier request must not accept it again.
        let number = self.groups.next().as_u64();
        self.known(site, credential).refused.fetch_max(number, Ordering::SeqCst);
        refused
    }

    /// Whether the API accepted `credential` within `accept_for` before `now`, and it has not ended.
    pub fn is_accepted(
        &self,
        site: u32,
        credential: CredentialId,
        now: Timestamp,
        accept_for: Duration,
    ) -> bool {
        self.was_accepted(site, credential, now, now, accept_for)
    }

    /// Whether `credential` was accepted at `then` and nothing but time has ended that until `now`: for
    /// while the API cannot accept anybody. Its own end is by the present.
    pub fn was_accepted(
        &self,
        site: u32,
        credential: CredentialId,
        then: Timestamp,
        now: Timestamp,
        accept_for: Duration,
    ) -> bool {
        self.known
            .get(&(site, credential))
            .is_some_and(|known| known.was_accepted(then, now, accept_for, &self.groups))
    }

    /// Whether `credential` had come to its own end at `at`; `None` where the API never accepted it, so that
    /// what it says of itself is only a claim.
    pub fn had_ended(&self, site: u32, credential: CredentialId, at: Timestamp) -> Option<bool> {
        let known = self.known.get(&(site, credential))?;
        known.principal.get()?;
        Some(at.as_nanos() >= known.ends.load(Ordering::SeqCst))
    }

    /// The principal that `credential` names, if any, where it is accepted at `now`.
    pub fn accepted_as(
        &self,
        site: u32,
        credential: CredentialId,
        now: Timestamp,
        accept_for: Duration,
    ) -> Option<Option<Partition>> {
        let known = self.known.get(&(site, credential))?;
        let is_accepted = known.was_accepted(now, now, accept_for, &self.groups);
        is_accepted.then(|| known.principal.get().copied().flatten())
    }

    /// Whether the API ever accepted `credential` and has not refused it since, however long ago.
    pub fn is_known(&self, site: u32, credential: CredentialId) -> bool {
        self.known.get(&(site, credential)).is_some_and(|known| known.is_not_refused())
    }

    /// Whether the API refused `credential` and has not accepted it since.
    pub fn is_refused(&self, site: u32, credential: CredentialId) -> bool {
        let known = self.known.get(&(site, credential));
        known.is_some_and(|known| known.refused.load(Ordering::SeqCst) > 0 && !known.is_not_refused())
    }

    /// The principal that `credential` names, if the API ever accepted it.
    pub fn principal(&self, site: u32, credential: CredentialId) -> Option<Partition> {
        self.named(site, credential)?
    }

    /// The principal that `credential` names, if any, as far as it need not be read for that: if the API
    /// ever accepted it.
    pub fn named(&self, site: u32, credential: CredentialId) -> Option<Option<Partition>> {
        self.known.get(&(site, credential))?.principal.get().copied()
    }

    /// `credential` sent a write at `now`.
    pub fn wrote(&self, site: u32, credential: CredentialId, now: Timestamp) {
        self.known(site, credential).wrote_at.fetch_max(now.as_nanos(), Ordering::SeqCst);
    }

    /// Whether `credential` is an actor: it wrote within `window` before `now`.
    pub fn is_actor(&self, site: u32, credential: CredentialId, now: Timestamp, window: Duration) -> bool {
        self.known.get(&(site, credential)).is_some_and(|known| {
            let at = known.wrote_at.load(Ordering::SeqCst);
            at > 0 && now.since(Timestamp::from_nanos(at)) < window
        })
    }

    fn known(&self, site: u32, credential: CredentialId) -> Arc<Known> {
        let known: Result<_, std::convert::Infallible> =
            self.known.get_or_insert_with(&(site, credential), || {
                Ok(Arc::new(Known::new(self.groups.id(site, GroupName::Named(ACCEPTANCES)))))
            });
        match known {
            Ok(known) => known,
            Err(never) => match never {},
        }
    }
}

impl Known {
    fn new(all: GroupId) -> Self {
        Self {
            accepted: AtomicU64::new(0),
            accepted_left: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            wrote_at: AtomicU64::new(0),
            ends: AtomicU64::new(u64::MAX),
            principal: OnceLock::new(),
            all,
            said: Mutex::default(),
        }
    }

    fn was_accepted(&self, then: Timestamp, now: Timestamp, accept_for: Duration, groups: &Groups) -> bool {
        let left = Timestamp::from_nanos(self.accepted_left.load(Ordering::SeqCst));
        let accepted = Sequence::from_u64(self.accepted.load(Ordering::SeqCst));
        self.is_not_refused()
            && then.since(left) < accept_for
            && now.as_nanos() < self.ends.load(Ordering::SeqCst)
            && groups.is_current(accepted, &[self.all])
    }

    fn is_not_refused(&self) -> bool {
        self.accepted.load(Ordering::SeqCst) > self.refused.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests;
