//! Pages of one list: they live and fall together.
//!
//! A page is kept with a word of the one before it: the first page gives all that follow their deadline, and
//! each names the next. To every page that names one belongs a group, in which are all that were fetched
//! because of it; when the page is fetched again they are overtaken, as by a write. A page is known by its name
//! there, not by the key of an entry: however a client writes it, what the API names as the next may be the
//! same. So a hit on any page is a hit like all others, and an API without pages pays for nothing.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use super::Failure;
use super::fill::Errand;
use super::route::Read;
use super::site::Site;
use crate::cache::entry::{Entry, Lifetimes};
use crate::cache::flight::{Fill, Join};
use crate::cache::groups::{GroupId, GroupName, Sequence};
use crate::clock::Timestamp;

/// How many pages are remembered, with some 300 bytes each: 10,000 lists of a few pages. Of one that is
/// forgotten the next page is not kept.
const MAX_PAGES: usize = 32_768;

/// What pages say of the next ones.
pub(super) struct Pages {
    /// By the hash of who asks for which page, where its link was seen.
    named: Cache<u128, Named>,
    /// The pages that name another, in the same way.
    naming: Cache<u128, ()>,
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

/// What a read is among the pages of a list; `None` where there are no pages. In a box, so that the fetches of
/// other APIs do not carry the room.
#[derive(Clone)]
pub(super) struct Page(Option<Box<Paged>>);

#[derive(Clone)]
struct Paged {
    /// The hash of its name and of who asks.
    name: u128,
    place: Place,
}

/// Where it stands among them.
#[derive(Clone)]
enum Place {
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
        let Some(name) = site.dialect().page_name(&read.path, query) else { return Page(None) };
        let (shared, now) = (&site.shared, site.shared.clock.now());
        let is_whole = |named: &Named| {
            let First { sequence, groups, until, .. } = &*named.first;
            *until > now && shared.groups.is_current(*sequence, groups)
        };
        let name = shared.secret.page(site.id, read.partition, name.0.as_bytes());
        let place = match shared.pages.named.get(&name) {
            Some(named) if is_whole(&named) => Place::Later(named),
            _ if site.dialect().is_later_page(query) => Place::Stray,
            _ => Place::First,
        };
        Page(Some(Box::new(Paged { name, place })))
    }

    /// Whether it is the first, or no list.
    pub(super) fn is_first(&self) -> bool {
        self.0.as_deref().is_none_or(|paged| matches!(paged.place, Place::First))
    }

    /// Whether its first page is not known any more.
    pub(super) fn is_stray(&self) -> bool {
        matches!(self.0.as_deref(), Some(Paged { place: Place::Stray, .. }))
    }

    /// Who reads it joins others as it may; but where nothing tells which list is meant, what is under way may
    /// be older than the page that this reader has seen.
    pub(super) fn join(&self, join: Join) -> Join {
        if self.is_stray() { Join::Refused } else { join }
    }

    /// The groups that the page belongs to beside those of its rule.
    pub(super) fn groups(&self, site: &Site) -> impl Iterator<Item = GroupId> {
        let groups = match self.0.as_deref() {
            Some(Paged { place: Place::Later(Named { first, before }), .. }) => {
                vec![first.followers, *before]
            }
            // Whoever is told of it by the page before it must not get what left earlier.
            Some(Paged { place: Place::Stray, name }) => vec![strays(site, *name)],
            _ => Vec::new(),
        };
        groups.into_iter()
    }

    /// What is left of the lifetimes of a page that arrived at `at`.
    pub(super) fn bounded(&self, site: &Site, lifetimes: Lifetimes, at: Timestamp) -> Option<Lifetimes> {
        match self.0.as_deref().map(|paged| &paged.place) {
            None | Some(Place::First) => Some(lifetimes),
            Some(Place::Stray) => None,
            Some(Place::Later(Named { first, .. })) => {
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
        let Some(Paged { name, .. }) = self.page.0.as_deref() else { return };
        let shared = &self.site.shared;
        let naming = &shared.pages.naming;
        // What may have been forgotten counts as known.
        if naming.get(name).is_some() || naming.len() >= MAX_PAGES {
            shared.groups.invalidate(&[followers(&self.site, *name)]);
        }
    }

    /// Notes which page comes next, before anybody has seen the end of this one, which is kept.
    pub(super) fn note_next(&self, fill: &Fill<Failure>, entry: &Entry, at: Timestamp) {
        let (site, shared) = (&self.site, &self.site.shared);
        let (Some(links), Some(paged)) = (&site.links, self.page.0.as_deref()) else { return };
        let addressed = links.addressed(self.target.path());
        if entry.places(|body| links.places(addressed, body)).is_empty() {
            return;
        }
        let Some(next) = site.dialect().next_page(&entry.body()) else { return };
        let before = followers(site, paged.name);
        let first = match &paged.place {
            Place::Later(Named { first, .. }) => first.clone(),
            Place::First | Place::Stray => Arc::new(First {
                followers: before,
                sequence: fill.sequence(),
                groups: fill.groups().clone(),
                until: at.after(entry.lifetimes().fresh),
            }),
        };
        shared.pages.naming.insert(paged.name, ());
        let name = shared.secret.page(site.id, self.read.partition, next.0.as_bytes());
        shared.pages.named.insert(name, Named { first, before });
        shared.groups.invalidate(&[strays(site, name)]);
    }
}

/// The group of what was fetched because the page of this name named it.
fn followers(site: &Site, name: u128) -> GroupId {
    site.shared.groups.id(site.id, GroupName::Pages(name))
}

/// The group of what was fetched of the page of this name while nothing told which list it is of.
fn strays(site: &Site, name: u128) -> GroupId {
    site.shared.groups.id(site.id, GroupName::Strays(name))
}
