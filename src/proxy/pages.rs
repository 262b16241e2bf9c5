//! Pages of one list: they live and fall together.
//!
//! A page is kept with a word of the one before it: the first page gives all that follow their deadline, and
//! each names the next. To every page that names one belongs a group, in which are all that were fetched
//! because of it; when the page is fetched again they are overtaken, as by a write. So a hit on any page is a
//! hit like all others, and an API without pages pays for nothing.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use super::Failure;
use super::fill::Errand;
use super::route::Read;
use super::site::Site;
use crate::cache::entry::{Entry, Lifetimes};
use crate::cache::flight::Fill;
use crate::cache::groups::{GroupId, GroupName, Sequence};
use crate::cache::key::Key;
use crate::clock::Timestamp;

/// How many pages are remembered, with some 300 bytes each: 10,000 lists of a few pages. Of one that is
/// forgotten the next page is not kept.
const MAX_PAGES: usize = 32_768;

/// What pages say of the next ones.
pub(super) struct Pages {
    /// By the hash of who asks for which page, where its link was seen.
    named: Cache<u128, Named>,
    /// The pages that name another.
    naming: Cache<Key, ()>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { named: Cache::new(MAX_PAGES), naming: Cache::new(MAX_PAGES) }
    }
}

/// Where a page stands.
#[derive(Clone)]
pub(super) struct Named {
    first: Arc<First>,
    /// The group of the page before it.
    before: GroupId,
}

/// The first page of a list, as it was kept.
struct First {
    /// The group of what follows it.
    followers: GroupId,
    sequence: Sequence,
    groups: Arc<[GroupId]>,
    /// The deadline of all pages.
    until: Timestamp,
}

/// What a read is among the pages of a list.
#[derive(Clone)]
pub(super) enum Page {
    /// The first, or no list.
    First,
    /// One that another named.
    Later(Named),
    /// One whose first page is not known any more: it belongs to nothing that is kept.
    Stray,
}

impl Page {
    /// By what was kept of the pages before.
    pub(super) fn of(site: &Site, read: &Read<'_>, query: Option<&str>) -> Self {
        let Some(name) = site.dialect().page_name(&read.path, query) else { return Page::First };
        let (shared, now) = (&site.shared, site.shared.clock.now());
        let is_whole = |named: &Named| {
            let First { sequence, groups, until, .. } = &*named.first;
            *until > now && shared.groups.is_current(*sequence, groups)
        };
        match shared.pages.named.get(&shared.secret.page(site.id, read.partition, name.0.as_bytes())) {
            Some(named) if is_whole(&named) => Page::Later(named),
            _ if site.dialect().is_later_page(query) => Page::Stray,
            _ => Page::First,
        }
    }

    /// The groups that the page belongs to beside those of its rule.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> {
        let groups = match self {
            Page::Later(Named { first, before }) => vec![first.followers, *before],
            Page::First | Page::Stray => Vec::new(),
        };
        groups.into_iter()
    }

    /// What is left of the lifetimes of a page that arrived at `at`.
    pub(super) fn bounded(&self, site: &Site, lifetimes: Lifetimes, at: Timestamp) -> Option<Lifetimes> {
        match self {
            Page::First => Some(lifetimes),
            Page::Stray => None,
            Page::Later(Named { first, .. }) => {
                let fresh = lifetimes.fresh.min(first.until.since(at));
                let is_whole = site.shared.groups.is_current(first.sequence, &first.groups);
                // A page of the old list behind the first one of a new list would tear it.
                let stale_while_revalidate = Duration::ZERO;
                (is_whole && !fresh.is_zero()).then_some(Lifetimes {
                    fresh,
                    stale_while_revalidate,
                    ..lifetimes
                })
            }
        }
    }
}

impl Errand {
    /// A page came anew: whatever was fetched because of the one before is of another list.
    pub(super) fn page_came(&self) {
        let shared = &self.site.shared;
        if !self.site.dialect().has_pages() {
            return;
        }
        let naming = &shared.pages.naming;
        // What may have been forgotten counts as known.
        if naming.get(&self.key).is_some() || naming.len() >= MAX_PAGES {
            shared.groups.invalidate(&[self.followers()]);
        }
    }

    /// Notes which page comes next, before anybody has seen the end of this one, which is kept.
    pub(super) fn note_next(&self, fill: &Fill<Failure>, entry: &Entry, at: Timestamp) {
        let (site, shared) = (&self.site, &self.site.shared);
        let Some(links) = site.links.as_ref().filter(|_| site.dialect().has_pages()) else { return };
        let addressed = links.addressed(self.target.path());
        if entry.places(|body| links.places(addressed, body)).is_empty() {
            return;
        }
        let Some(next) = site.dialect().next_page(&entry.body()) else { return };
        let before = self.followers();
        let first = match &self.page {
            Page::Later(Named { first, .. }) => first.clone(),
            Page::First | Page::Stray => Arc::new(First {
                followers: before,
                sequence: fill.sequence(),
                groups: fill.groups().clone(),
                until: at.after(entry.lifetimes().fresh),
            }),
        };
        shared.pages.naming.insert(self.key, ());
        let name = shared.secret.page(site.id, self.read.partition, next.0.as_bytes());
        shared.pages.named.insert(name, Named { first, before });
    }

    fn followers(&self) -> GroupId {
        self.site.shared.groups.id(self.site.id, GroupName::Pages(self.key))
    }
}
