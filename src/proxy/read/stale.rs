//! The last known state for a read: behind which it is refreshed, and in place of an outage.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};

use super::{Part, Reading};
use crate::cache::entry::{Entry, Why};
use crate::cache::flight::{Arrival, FlightBody};
use crate::cache::groups::GroupId;
use crate::clock::Timestamp;
use crate::proxy::body::Body;
use crate::proxy::counters::{Cause, Outcome};
use crate::proxy::{Failure, actors, fill, lookup, respond, rights};
use crate::semantics::cache_status::{CacheStatus, Detail, Forward};

/// What was begun cannot be taken back: whoever has the last known state to fall back on gets an answer of up
/// to so many bytes when it is whole. What is larger begins at once.
const HELD_BACK: usize = 256 << 10;

/// An answer that has begun and is not whole after so long is as good as one that broke off.
const HELD_BACK_FOR: Duration = Duration::from_secs(10);

impl Reading {
    /// The stale answer, with a refresh behind it, where the rule and the client allow it
    /// (RFC 5861 §3).
    pub(super) fn while_revalidating(&self) -> Option<Response<Body>> {
        let entry = self.absent.stale.as_ref()?;
        let asks = &self.absent.asks;
        let past = lookup::staleness(entry, self.started);
        let unwilling = past >= entry.lifetimes().stale_while_revalidate
            || self.absent.for_outages_only
            // A refresh is for everybody, in the one spelling that the key has.
            || self.read.is_spelled_otherwise(&self.site, self.request.uri().path())
            || entry.age(self.started) >= self.site.ceiling(self.read.rule, self.started)
            || asks.no_cache
            || asks.max_age.is_some()
            || asks.min_fresh.is_some();
        if unwilling || !self.may_have_stale(self.started) {
            return None;
        }
        let groups: Arc<[GroupId]> = entry.groups().into();
        let shared = &self.site.shared;
        let key = self.absent.key;
        let wanted = || shared.memory.get(key).is_some_and(|now| now.sequence() == entry.sequence());
        // A stale entry is found only for those whom the API accepts, so the refresh may carry this one's.
        let who = self.read.credential;
        if let Some(fill) = shared.flights.begin_refresh(key, &shared.groups, who, &groups, wanted) {
            tokio::spawn(fill::run(self.errand(Cause::Refresh, self.page()), fill, None));
        }
        entry.note_served_stale(self.started, Why::WhileRevalidating);
        Some(self.stale(entry, |ttl| CacheStatus::Hit {
            ttl: ttl.min(0),
            detail: Some(Detail::StaleWhileRevalidate),
        }))
    }

    /// What may stand in for an answer in an outage (RFC 5861 §4), for those who may have it: whoever wrote
    /// lately gets the error instead, because the last known state may be the one before the write.
    fn stand_in(&self, now: Timestamp) -> Option<&Arc<Entry>> {
        let entry = self.absent.stale.as_ref()?;
        let shared = &self.site.shared;
        let allowed = !self.absent.asks.no_cache
            && lookup::staleness(entry, now) < entry.lifetimes().stale_if_error
            && shared.groups.is_current(entry.sequence(), entry.groups())
            && rights::still_holds(&self.site, &self.read, now)
            && !lookup::has_ended(&self.site, &self.read, now)
            && self.may_have_stale(now);
        allowed.then_some(entry)
    }

    /// The stale answer in place of an outage.
    pub(super) fn in_place_of(&self, status: Option<StatusCode>) -> Option<Response<Body>> {
        let now = self.site.shared.clock.now();
        let entry = self.stand_in(now)?;
        entry.note_served_stale(now, status.map_or(Why::Silent, Why::Answered));
        Some(self.stale(entry, |_| CacheStatus::Forwarded {
            forward: Forward::Stale,
            status: status.map(|status| status.as_u16()),
            stored: false,
            collapsed: false,
            detail: Some(Detail::StaleIfError),
        }))
    }

    /// The stale answer in place of a success whose head is here, if its body breaks off. Nobody else waits
    /// for more than the head: only where something can stand in there is anything to wait for.
    pub(super) async fn in_place_of_a_part(
        &self,
        part: &mut Part,
        body: &FlightBody<Failure>,
    ) -> Option<Response<Body>> {
        let arrival = match body.arrived(HELD_BACK) {
            Some(arrival) => arrival,
            None => {
                self.stand_in(self.site.shared.clock.now())?;
                let whole = part.beside(body.arrival(HELD_BACK));
                tokio::time::timeout(HELD_BACK_FOR, whole).await.unwrap_or(Arrival::Broken)
            }
        };
        (arrival == Arrival::Broken).then(|| self.in_place_of(None)).flatten()
    }

    /// Whether this caller is one for the last known state, at `now`.
    fn may_have_stale(&self, now: Timestamp) -> bool {
        let (rule, caller) = (self.read.rule(&self.site), self.read.caller());
        actors::may_have_stale(&self.site, rule, caller, self.client, now)
    }

    /// An answer from `entry` that is none of the store's usual hits, as `status` says.
    pub(super) fn stale(
        &self,
        entry: &Arc<Entry>,
        status: impl FnOnce(i64) -> CacheStatus,
    ) -> Response<Body> {
        let mut said = None;
        let now = self.site.shared.clock.now();
        let ceiling = self.site.ceiling(self.read.rule, now);
        let response =
            respond::stored(&self.site, &self.request, now, self.absent.key, entry, ceiling, |ttl| {
                let status = status(ttl);
                said = Some(status);
                status
            });
        let detail = match said {
            Some(
                CacheStatus::Hit { detail: Some(detail), .. }
                | CacheStatus::Forwarded { detail: Some(detail), .. },
            ) => detail,
            _ => Detail::StaleIfError,
        };
        self.asked().conclude(Outcome::Other(detail), response)
    }
}
