//! What the store has for a read, and whether this caller may have it.

use std::sync::Arc;
use std::time::Duration;

use http::Request;

use super::route::Read;
use super::{Site, rights};
use crate::cache::entry::{Entry, Freshness};
use crate::cache::key::{CredentialId, Key};
use crate::clock::Timestamp;
use crate::rules::{ReadRule, Reuse};
use crate::semantics::cache_control::RequestDirectives;
use crate::semantics::cache_status::{Detail, Forward};

/// What was found.
pub(super) enum Lookup {
    /// An answer to give now.
    Fresh(Key, Arc<Entry>),
    /// Nothing to give now.
    Absent(Absent),
    /// The request does not go through the store at all.
    Pass(Forward, Detail),
}

/// A read that the store does not answer.
pub(super) struct Absent {
    /// The key to fetch for.
    pub key: Key,
    /// The endpoint that the key names, where the rule keeps answers by endpoint.
    pub endpoint: Option<u64>,
    /// Why.
    pub forward: Forward,
    /// More about why.
    pub detail: Option<Detail>,
    /// What the client asks of the cache.
    pub asks: RequestDirectives,
    /// What has expired and nothing has overtaken, if this caller may see it.
    pub stale: Option<Arc<Entry>>,
    /// Whether `stale` may be given only in place of an outage: the caller was accepted before it began.
    pub for_outages_only: bool,
}

/// Looks a read up.
pub(super) fn lookup<B>(site: &Site, request: &Request<B>, read: &Read<'_>, now: Timestamp) -> Lookup {
    let rule = read.rule(site);
    let headers = request.headers();
    let asks = RequestDirectives::of(headers);
    if asks.no_store {
        return Lookup::Pass(Forward::Request, Detail::NoStore);
    }
    if rule.bypass.iter().any(|bypass| bypass.applies(headers)) {
        return Lookup::Pass(Forward::Bypass, Detail::Bypass);
    }
    let endpoint = rule.per_endpoint.then(|| site.upstream.first_up().as_u64());
    let key = read.key(site, request, endpoint);
    let absent = |forward, detail, stale| {
        let for_outages_only = detail == Some(Detail::Unaccepted);
        Lookup::Absent(Absent { key, endpoint, forward, detail, asks, stale, for_outages_only })
    };
    if rule.reuse == Reuse::CollapseOnly {
        return absent(Forward::UriMiss, None, None);
    }
    let Some(entry) = site.shared.memory.get(key) else {
        return absent(Forward::UriMiss, None, None);
    };
    if !site.shared.groups.is_current(entry.sequence(), entry.groups()) {
        return absent(Forward::Stale, None, None);
    }
    if !rights::may_have(site, read, &entry, now) {
        return absent(Forward::Stale, None, None);
    }
    if !is_accepted(site, rule, read.credential, now) {
        let known = accepted_before_outage(site, read.credential, now).then_some(entry);
        return absent(Forward::Stale, Some(Detail::Unaccepted), known);
    }
    if rule.keep_warm.is_some() {
        entry.note_use(now);
    }
    if asks.no_cache {
        return absent(Forward::Request, Some(Detail::NoCache), Some(entry));
    }
    match entry.freshness_within(site.ceiling(read.rule, now), now) {
        Freshness::Fresh(left) if satisfies(&asks, &entry, left, now) => Lookup::Fresh(key, entry),
        Freshness::Fresh(_) => absent(Forward::Request, Some(Detail::NoCache), Some(entry)),
        Freshness::Stale(_) => absent(Forward::Stale, None, Some(entry)),
    }
}

/// The entry of `key`, if it may be given to this caller, who asks `asks`, now: the second look under
/// the lock of a flight.
pub(super) fn usable(
    site: &Site,
    read: &Read<'_>,
    key: Key,
    asks: &RequestDirectives,
    now: Timestamp,
) -> Option<Arc<Entry>> {
    let entry = site.shared.memory.get(key)?;
    let freshness = entry.freshness_within(site.ceiling(read.rule, now), now);
    let usable = site.shared.groups.is_current(entry.sequence(), entry.groups())
        && is_accepted(site, read.rule(site), read.credential, now)
        && rights::may_have(site, read, &entry, now)
        && matches!(freshness, Freshness::Fresh(left) if satisfies(asks, &entry, left, now));
    usable.then_some(entry)
}

/// Whether what a client asks of an answer's age holds (RFC 9111 §5.2.1.1, §5.2.1.3).
fn satisfies(asks: &RequestDirectives, entry: &Entry, left: Duration, now: Timestamp) -> bool {
    asks.max_age.is_none_or(|most| entry.age(now) <= most) && asks.min_fresh.is_none_or(|least| left >= least)
}

/// Whether the API accepted this credential lately (invariant 4). Callers without a credential need
/// none: what was answered to nobody in particular is for anybody. While the API gives no answer at
/// all, time stands still for acceptances.
pub(super) fn is_accepted(site: &Site, rule: &ReadRule, credential: CredentialId, now: Timestamp) -> bool {
    if rule.anonymous || credential == CredentialId::ANONYMOUS {
        return true;
    }
    let (acceptance, accept_for) = (&site.shared.acceptance, site.config.accept_for);
    acceptance.is_accepted(site.id, credential, now, accept_for)
        || site.upstream.failing_since().is_some_and(|since| {
            acceptance.was_accepted(site.id, credential, now.before(since.elapsed()), now, accept_for)
        })
}

/// Whether this credential, which the API has accepted once, had come to its own end at `at`.
pub(super) fn has_ended(site: &Site, read: &Read<'_>, at: Timestamp) -> bool {
    !read.rule(site).anonymous
        && read.credential != CredentialId::ANONYMOUS
        && site.shared.acceptance.had_ended(site.id, read.credential, at) == Some(true)
}

/// Whether the API had accepted this credential lately when it began to fail everybody. Who was in then may
/// see the last known state in place of an outage, though nobody can be accepted now.
fn accepted_before_outage(site: &Site, credential: CredentialId, now: Timestamp) -> bool {
    let (then, accept_for) = (site.time_of_acceptances(now), site.config.accept_for);
    site.shared.acceptance.was_accepted(site.id, credential, then, now, accept_for)
}

/// How far past its freshness an entry is.
pub(super) fn staleness(entry: &Entry, now: Timestamp) -> Duration {
    match entry.freshness(now) {
        Freshness::Fresh(_) => Duration::ZERO,
        Freshness::Stale(past) => past,
    }
}
