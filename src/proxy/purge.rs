//! Emptying the cache at an operator's word.
//!
//! A hard purge is final: nothing that was fetched, or under way, before it is served afterwards. Of
//! groups that is one mark each; of paths the entries go, and every flight leaves the table, because
//! which of them a pattern means cannot be told from a key. A soft purge only ends freshness: what may
//! be served stale still may.

use std::cell::Cell;
use std::sync::Arc;

use super::route::named;
use super::site::{InvalidationCause, Shared, Site};
use crate::cache::entry::{Entry, Freshness};
use crate::cache::groups::{GroupId, GroupName};
use crate::clock::Timestamp;
use crate::dialect::Dialect;
use crate::rules::Group;
use crate::rules::policy::glob_matches;

/// What is purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Groups, as rules write them without placeholders: `guest/100`, `/nodes/pve1`, `/nodes/**`.
    Groups(Vec<String>),
    /// Entries whose path or target matches; `*` stands for any characters.
    Path(String),
    /// Everything.
    All,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing of it is served any more.
    Hard,
    /// It is stale from now on.
    Soft,
}

/// Purges and says how many entries that could have been served it met. `sites` are all that share
/// `shared`. Walks the store, so it belongs into a thread that may block.
pub fn purge(shared: &Shared, sites: &[Arc<Site>], what: &Purge, manner: Manner) -> usize {
    let groups = match what {
        Purge::Groups(groups) => {
            let of = |site: &Arc<Site>| groups.iter().map(|g| group_of(site, g)).collect::<Vec<_>>();
            sites.iter().flat_map(of).collect()
        }
        Purge::All => sites.iter().map(|s| shared.groups.id(s.id, GroupName::Subtree(""))).collect(),
        Purge::Path(glob) => own_path(sites, glob),
    };
    let met = |entry: &Entry| match what {
        Purge::Groups(_) => entry.groups().iter().any(|group| groups.contains(group)),
        Purge::Path(glob) => matches_path(sites, entry, glob),
        Purge::All => true,
    };
    let now = shared.clock.now();
    let mut purged = 0;
    shared.memory.for_each(|entry| {
        if !entry.is_recoded() && met(entry) && is_usable(shared, entry, now) {
            purged += 1;
        }
    });
    match manner {
        Manner::Soft => shared.memory.for_each(|entry| {
            if met(entry) {
                entry.expire_softly();
            }
        }),
        Manner::Hard => {
            if matches!(what, Purge::Path(_)) {
                // Before the entries: what ends in between is stored and removed, and what ends
                // afterwards is not stored.
                shared.flights.detach_all();
                shared.promotions.forget(&shared.groups);
                purged += purge_tier(shared, &met, now);
            }
            if !groups.is_empty() {
                shared.groups.invalidate(&groups);
            }
            shared.memory.remove_where(met);
        }
    }
    shared.count_invalidation(InvalidationCause::Purge);
    purged
}

/// Forgets what the tier has of what is `met`, before memory does, and says how many entries that could have
/// been served only the tier had. Of groups their marks tell it everything, and nothing has to be read.
fn purge_tier(shared: &Shared, met: &dyn Fn(&Entry) -> bool, now: Timestamp) -> usize {
    let Some(tier) = shared.tier.get() else { return 0 };
    let purged = Cell::new(0);
    tier.forget_where(&|key, entry| {
        let is_met = met(entry);
        if is_met && shared.memory.get(key).is_none() && is_usable(shared, entry, now) {
            purged.set(purged.get() + 1);
        }
        is_met
    });
    purged.get()
}

/// Whether an entry may still be served to anybody, fresh or stale.
pub fn is_usable(shared: &Shared, entry: &Entry, now: Timestamp) -> bool {
    let lifetimes = entry.lifetimes();
    let in_time = match entry.freshness(now) {
        Freshness::Fresh(_) => true,
        Freshness::Stale(past) => past < lifetimes.stale_while_revalidate.max(lifetimes.stale_if_error),
    };
    in_time && shared.groups.is_current(entry.sequence(), entry.groups())
}

/// Whether `glob` matches the entry's path, as the client wrote it or as the API reads it, or its
/// whole target.
pub fn matches_path(sites: &[Arc<Site>], entry: &Entry, glob: &str) -> bool {
    let matches = |text: &str| glob_matches(glob.as_bytes(), text.as_bytes());
    let target = entry.target();
    let path = target.split('?').next().unwrap_or(target);
    let dialect = sites.iter().find(|site| site.id == entry.site()).map_or(Dialect::Plain, |s| s.dialect());
    matches(path) || matches(target) || dialect.read_path(path).is_some_and(|path| matches(&path))
}

/// The place of a group that an operator names.
pub fn group_of(site: &Site, text: &str) -> GroupId {
    // Where case does not matter groups are rendered in lower case.
    let folded = site.rules.case_insensitive.then(|| text.to_ascii_lowercase());
    named(site, &Group::from_text(folded.as_deref().unwrap_or(text)))
}

/// The groups of one exact path, so that copies of it outside of memory are overtaken too. A pattern
/// has none.
fn own_path(sites: &[Arc<Site>], glob: &str) -> Vec<GroupId> {
    if glob.contains(['*', '?']) {
        return Vec::new();
    }
    let group = |site: &Arc<Site>| {
        let path = site.dialect().read_path(glob)?;
        let resource = &path[site.dialect().resource_offset(&path)..];
        Some(site.shared.groups.id(site.id, GroupName::Path(resource)))
    };
    sites.iter().filter_map(group).collect()
}
