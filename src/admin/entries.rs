//! The stored answers, for people: what they are of and how old, never what they say or to whom.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::query::Query;
use crate::cache::entry::{Entry, Freshness, ServedStale, Why};
use crate::cache::groups::GroupId;
use crate::clock::Timestamp;
use crate::proxy::{Shared, Site, group_of, is_usable, matches_path};
use crate::semantics::cache_status::Detail;
use crate::semantics::secrets;

/// How many entries are shown when nothing is said, and at the most.
const SHOWN: usize = 100;
const MOST_SHOWN: usize = 10_000;

/// Which entries are asked for.
pub(super) struct Wanted {
    path: Option<String>,
    group: Option<String>,
    /// Only what was given to somebody although it had expired, and has not been fetched anew since.
    stale: bool,
    limit: usize,
}

/// Those found.
#[derive(Serialize)]
pub(super) struct Found {
    /// How many there are in all.
    total: usize,
    entries: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    target: String,
    upstream: String,
    rule: String,
    /// Who shares it: `credential`, `principal` or `everyone`, of those that the API has accepted.
    share: &'static str,
    status: u16,
    /// Seconds since the API made it.
    age: u64,
    /// Seconds of freshness left, negative when stale.
    ttl: i64,
    stale: bool,
    /// Whether somebody was given it although it had expired.
    served_stale: Option<ServedStaleView>,
    /// The body's size in bytes.
    size: usize,
    /// What it takes of `cache.memory`, in bytes.
    weight: u64,
}

/// Times are seconds until now.
#[derive(Serialize)]
struct ServedStaleView {
    /// The first time.
    since: u64,
    /// The last time.
    last: u64,
    /// `stale-while-revalidate` or `stale-if-error`, then.
    why: &'static str,
    /// The status that the API failed with, if it answered.
    status: Option<u16>,
    /// How many seconds more it may be given in place of an error.
    left: u64,
}

impl Wanted {
    pub(super) fn read(query: &Query) -> Result<Self, String> {
        let limit = match query.get("limit").map(str::parse) {
            None => SHOWN,
            Some(Ok(limit)) => limit,
            Some(Err(_)) => return Err("limit must be a whole number".to_owned()),
        };
        let stale = match query.get("stale") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err("stale must be true or false".to_owned()),
        };
        let text = |name| query.get(name).map(str::to_owned);
        Ok(Self { path: text("path"), group: text("group"), stale, limit: limit.min(MOST_SHOWN) })
    }
}

/// The entries that could be served and are `wanted`, ordered by their target. Walks the store.
pub(super) fn list(shared: &Shared, sites: &[Arc<Site>], wanted: &Wanted) -> Found {
    let now = shared.clock.now();
    let groups: Option<Vec<GroupId>> =
        wanted.group.as_ref().map(|group| sites.iter().map(|site| group_of(site, group)).collect());
    let is_wanted = |entry: &Entry| {
        !entry.is_recoded()
            && groups.as_ref().is_none_or(|groups| entry.groups().iter().any(|id| groups.contains(id)))
            && wanted.path.as_ref().is_none_or(|glob| matches_path(sites, entry, glob))
            && is_usable(shared, entry, now)
            && (!wanted.stale || entry.served_stale().is_some())
    };
    let mut found = Vec::new();
    shared.memory.for_each(|entry| {
        if is_wanted(entry) {
            found.push(entry.clone());
        }
    });
    found.sort_by(|a, b| a.target().cmp(b.target()));
    let total = found.len();
    Found { total, entries: found.iter().take(wanted.limit).map(|entry| show(sites, entry, now)).collect() }
}

fn show(sites: &[Arc<Site>], entry: &Entry, now: Timestamp) -> Shown {
    let site = sites.iter().find(|site| site.id == entry.site());
    let freshness = site.map_or_else(|| entry.freshness(now), |site| site.freshness(entry, now));
    let (ttl, stale) = match freshness {
        Freshness::Fresh(left) => (left.as_secs() as i64, false),
        Freshness::Stale(past) => (-(past.as_secs() as i64), true),
    };
    Shown {
        target: masked(entry.target()),
        upstream: site.map(|site| site.config.name.clone()).unwrap_or_default(),
        rule: entry.rule().to_owned(),
        share: entry.share().as_str(),
        status: entry.status().as_u16(),
        age: entry.age(now).as_secs(),
        ttl,
        stale,
        served_stale: entry.served_stale().map(|served| served_stale(entry, served, now)),
        size: entry.body_length(),
        weight: entry.weight(),
    }
}

fn served_stale(entry: &Entry, served: ServedStale, now: Timestamp) -> ServedStaleView {
    let (why, status) = match served.why {
        Why::WhileRevalidating => (Detail::StaleWhileRevalidate, None),
        Why::Silent => (Detail::StaleIfError, None),
        Why::Answered(status) => (Detail::StaleIfError, Some(status.as_u16())),
    };
    let past = match entry.freshness(now) {
        Freshness::Fresh(_) => Duration::ZERO,
        Freshness::Stale(past) => past,
    };
    ServedStaleView {
        since: now.since(served.since).as_secs(),
        last: now.since(served.last).as_secs(),
        why: why.as_str(),
        status,
        left: entry.lifetimes().stale_if_error.saturating_sub(past).as_secs(),
    }
}

/// The target without the values of parameters that are secrets.
fn masked(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let mut shown = format!("{path}?");
    for piece in query.split_inclusive(['&', ';']) {
        let (pair, separator) = match piece.strip_suffix(['&', ';']) {
            Some(pair) => (pair, &piece[pair.len()..]),
            None => (piece, ""),
        };
        match pair.split_once('=') {
            Some((name, _)) if secrets::names_secret(name) => shown.extend([name, "=***"]),
            _ => shown.push_str(pair),
        }
        shown.push_str(separator);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_queries_are_not_shown() {
        let cases = [
            ("/a", "/a"),
            ("/a?b=1&c=2", "/a?b=1&c=2"),
            ("/a?vncticket=PVEVNC%3A1&port=5", "/a?vncticket=***&port=5"),
            ("/a?port=5;VncTicket=x;", "/a?port=5;VncTicket=***;"),
            ("/a?vnc%74icket=x", "/a?vnc%74icket=***"),
            ("/a?api_key=x&new-password=a=b", "/a?api_key=***&new-password=***"),
            ("/a?token&x", "/a?token&x"),
        ];
        for (target, expected) in cases {
            assert_eq!(masked(target), expected, "{target}");
        }
    }
}
