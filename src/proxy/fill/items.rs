//! Entries of items, from the list that they stand in.
//!
//! An item's entry is as old as the list, has its number on the logical clock and its groups beside its own: a
//! write to one item, or to the list, that came after the list had left overtakes it like any other. Its
//! lifetimes are those of its own rule, and so are the conditions on what may be kept.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use super::Errand;
use crate::cache::entry::{Entry, Head, Lifetimes, Provenance};
use crate::cache::flight::Fill;
use crate::cache::groups::{GroupId, Sequence};
use crate::cache::items::{Item, items};
use crate::cache::storable::{self, BodyVerdict, HeadVerdict};
use crate::clock::Timestamp;
use crate::dialect::Continuation;
use crate::proxy::admit::Admitted;
use crate::proxy::forward::joined;
use crate::proxy::route::Read;
use crate::proxy::site::Site;
use crate::proxy::{Failure, promote, share};
use crate::rules::Promote;

/// How many items a list has at most that tells of them: so many entries take a few hundredths of a second to
/// make, and a larger list is more than what a few single reads are worth.
const MAX_ITEMS: usize = 1000;

/// After so many items others get their turn.
const AT_ONCE: usize = 32;

/// A whole list.
pub(in crate::proxy) struct Listed<'l> {
    /// The read of it, or of its first page.
    pub read: &'l Read<'static>,
    /// Its query.
    pub query: Option<&'l str>,
    /// The fields that it was asked for with.
    pub headers: &'l HeaderMap,
    /// The head of the answer.
    pub head: &'l Head,
    /// All pages.
    pub pages: &'l [Bytes],
    /// The number of the first fetch of any page.
    pub sequence: Sequence,
    /// The groups of all pages.
    pub groups: &'l [GroupId],
    /// When the first fetch left.
    pub left: Timestamp,
    /// When the oldest page was so old,
    pub at: Timestamp,
    /// that is, this old.
    pub age: Duration,
}

/// What the items of a list have in common by their rule.
struct Kind<'l> {
    rule: usize,
    promote: &'l Promote,
    lifetimes: Lifetimes,
    /// A read of any of them.
    any: Read<'static>,
}

/// How old an answer was by its own account when it came (RFC 9111 §4.2.3).
pub(super) fn initial_age(fields: &HeaderMap) -> Duration {
    let age = fields.get(header::AGE).and_then(|age| age.to_str().ok()?.parse().ok());
    Duration::from_secs(age.unwrap_or(0))
}

impl Errand {
    /// The head of an answer came, which nobody has seen yet.
    pub(super) fn answered(&self, fill: &Fill<Failure>, status: StatusCode) {
        if status.is_success() {
            self.page_came();
        }
        if self.read.rule(&self.site).promote.is_some() {
            let shared = &self.site.shared;
            let note = || shared.promotions.answered_alone(self.key, fill.sequence());
            shared.flights.store(self.key, note);
        }
    }

    /// Takes what a whole answer tells of items, before anybody knows its end: which lists it names several
    /// items of, and the items themselves, if it is such a list.
    pub(super) async fn tell_items(
        &self,
        fill: &Fill<Failure>,
        head: &Head,
        verdict: HeadVerdict,
        left: Timestamp,
        at: Timestamp,
    ) {
        if self.site.rules.promotes() {
            // In a box: other fetches do not carry the room for it.
            Box::pin(self.tell(fill, head, verdict, left, at)).await;
        }
    }

    async fn tell(
        &self,
        fill: &Fill<Failure>,
        head: &Head,
        verdict: HeadVerdict,
        left: Timestamp,
        at: Timestamp,
    ) {
        let (site, shared) = (&self.site, &self.site.shared);
        shared.promotions.note(&shared.groups, at);
        if !head.status.is_success() || verdict.lifetimes().is_none() {
            return;
        }
        let body = joined(&fill.body());
        promote::note_named(site, self.read.credential, &self.read.path, &body);
        let is_whole = self.page.is_first()
            && site.rules.promoted_by(&self.read.path).next().is_some()
            && site.dialect().continuation(&body) == Continuation::Whole;
        if is_whole {
            let listed = Listed {
                read: &self.read,
                query: self.target.query(),
                headers: &self.headers,
                head,
                pages: &[body],
                sequence: fill.sequence(),
                groups: fill.groups(),
                left,
                at,
                age: initial_age(&head.fields),
            };
            listed.keep(site).await;
        }
    }
}

impl Listed<'_> {
    /// Keeps the items that may be.
    pub async fn keep(&self, site: &Site) {
        if !site.dialect().lists_alike(self.query) {
            return;
        }
        for (rule, promote) in site.rules.promoted_by(&self.read.path) {
            let Some(kind) = self.kind(site, rule, promote) else { continue };
            let Some(items) = self.items(promote) else { continue };
            for some in items.chunks(AT_ONCE) {
                for item in some {
                    self.keep_item(site, &kind, item);
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// `None` where the head keeps its answer out of the store.
    fn kind<'k>(&self, site: &Site, rule: usize, promote: &'k Promote) -> Option<Kind<'k>> {
        let policy = &site.rules.reads[rule];
        let verdict = storable::judge_head(policy, self.head, None, site.shared.max_object);
        let lifetimes = verdict.lifetimes()?;
        let credential = site.dialect().credential(self.headers, &site.config.credentials);
        let admitted = Admitted { path: None, caller: self.read.caller(), credential };
        let (who, wanted) = (self.read.credential, site.reads[rule].share);
        let now = site.shared.clock.now();
        let (partition, share) = share::partition(site, policy, wanted, who, &admitted, now);
        let any = Read { rule, partition, share, ..self.read.clone() };
        Some(Kind { rule, promote, lifetimes, any })
    }

    fn items(&self, promote: &Promote) -> Option<Vec<Item<'_>>> {
        let mut all = Vec::new();
        for page in self.pages {
            all.extend(items(page, &promote.items, &promote.member, MAX_ITEMS - all.len())?);
        }
        Some(all)
    }

    /// `None` where this item is not to be kept, or not found at its own path by the same rule.
    fn keep_item(&self, site: &Site, kind: &Kind<'_>, item: &Item<'_>) -> Option<()> {
        let (shared, dialect, rule) = (&site.shared, site.dialect(), &site.rules.reads[kind.rule]);
        let raw = dialect.item_path(&item.name)?;
        let path = dialect.read_path(raw)?;
        if kind.promote.list_of(&path) != self.read.path
            || storable::judge_body(rule, item.text.as_bytes()) != BodyVerdict::Keep
        {
            return None;
        }
        let captures = site.rules.is_read_by(kind.rule, &path, self.query)?;
        let path = Cow::Owned(path.into_owned());
        let read = Read { captures, path, ..kind.any.clone() };
        let mut groups = read.groups(site, self.query);
        groups.extend(self.groups);
        groups.sort_unstable();
        groups.dedup();
        let now = shared.clock.now();
        if !shared.promotions.may_tell(
            site.id,
            &shared.groups,
            &groups,
            (self.left, now),
            dialect.lists_lag(),
        ) {
            return None;
        }
        let about = Provenance {
            target: self.query.map_or_else(|| raw.to_owned(), |query| format!("{raw}?{query}")),
            rule: site.reads[kind.rule].name.clone(),
            share: read.share,
            maker: read.credential,
            site: site.id,
            sequence: self.sequence,
            groups: groups.into(),
            at: self.at,
            initial_age: self.age,
            lifetimes: kind.lifetimes,
        };
        let fields = dialect.item_fields(&self.head.fields, item.text.as_bytes());
        let head = Head { fields, ..self.head.clone() };
        let entry =
            Arc::new(Entry::assemble(&head, &[Bytes::copy_from_slice(item.text.as_bytes())], about, None));
        site.note_kept(kind.rule, kind.lifetimes, self.at);
        let key = read.key_at(site, raw, self.query, self.headers, None);
        shared.flights.store(key, || {
            if shared.promotions.is_news(key, self.sequence) {
                shared.memory.insert_newer(key, entry);
            }
        });
        Some(())
    }
}
