//! What is remembered for promotion: which lists are being read, which are of no use for a while, what speaks
//! for a list, and how the logical clock stood some time ago.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::cache::groups::{GroupId, Groups, Sequence, Settling};
use crate::cache::key::Key;
use crate::clock::Timestamp;

/// How many lists are remembered of each kind, with some 50 bytes each.
const REMEMBERED: usize = 10_000;

/// Of how many items it is remembered when they were read alone last. Of one that is forgotten a list that left
/// before may be kept.
const READ_ALONE: usize = 32_768;

/// How many lists are read at once in place of single reads; with more, single reads stay what they are.
const AT_ONCE: usize = 64;

/// Two different items of one list that are asked for within this time speak for reading the list: a tool
/// that goes through all of them asks for the next as soon as it has one, and a person does not.
const COMPANIONS_WITHIN: Duration = Duration::from_secs(2);

/// An answer that named several items of a list speaks for reading it during this time: who reads what a list
/// of machines names begins with the first machine's, and comes to the last one's some time later.
const NAMED_FOR: Duration = Duration::from_secs(60);

/// How often it is noted how the logical clock stands.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// How many of those notes there are at most: more than a lag has seconds.
const NOTES: usize = 1024;

/// Everything that is remembered for promotion.
pub(in crate::proxy) struct Promotions {
    under_way: Mutex<HashMap<Key, watch::Receiver<()>>>,
    not_before: Cache<Key, Timestamp>,
    /// By list and credential: what was asked for last.
    missed: Cache<u128, Missed>,
    /// By list and credential: until when it counts that an answer named several of its items.
    named: Cache<u128, Timestamp>,
    notes: Mutex<VecDeque<(Timestamp, Sequence)>>,
    /// By an item's key: the latest read of it alone that has an answer.
    alone: Cache<Key, Sequence>,
    /// What left before tells nothing.
    floor: AtomicU64,
    /// By site: when other rules took over. What was written before overtook groups of other names.
    took_over: Mutex<HashMap<u32, Timestamp>>,
}

impl Default for Promotions {
    fn default() -> Self {
        Self {
            under_way: Mutex::default(),
            not_before: Cache::new(REMEMBERED),
            missed: Cache::new(REMEMBERED),
            named: Cache::new(REMEMBERED),
            notes: Mutex::default(),
            alone: Cache::new(READ_ALONE),
            floor: AtomicU64::new(0),
            took_over: Mutex::default(),
        }
    }
}

/// An item that was asked for and was not here.
#[derive(Clone, Copy)]
struct Missed {
    item: u128,
    at: Timestamp,
    /// Whether another one was a moment before.
    is_one_of_several: bool,
}

/// How a reader comes to a list that is read in place of its own read.
pub(super) enum Turn {
    /// It is being read: whoever waits is woken at its end.
    Joins(watch::Receiver<()>),
    /// Nobody reads it: this reader has to begin.
    Leads(Place, watch::Receiver<()>),
    /// It is not to be read now.
    Not,
}

/// The place of a list that is being read; it is free again when this is dropped.
pub(super) struct Place {
    table: Arc<Promotions>,
    key: Key,
    _wakes_all: watch::Sender<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.under_way.lock().remove(&self.key);
    }
}

impl Promotions {
    /// The turn of a reader that needs the list `key`.
    pub(super) fn turn(self: &Arc<Self>, key: Key, now: Timestamp) -> Turn {
        let mut under_way = self.under_way.lock();
        if let Some(end) = under_way.get(&key) {
            return Turn::Joins(end.clone());
        }
        if under_way.len() >= AT_ONCE || self.not_before.get(&key).is_some_and(|from| now < from) {
            return Turn::Not;
        }
        let (sender, receiver) = watch::channel(());
        under_way.insert(key, receiver.clone());
        Turn::Leads(Place { table: self.clone(), key, _wakes_all: sender }, receiver)
    }

    /// The list `key` is of no use before `from`.
    pub(super) fn not_before(&self, key: Key, from: Timestamp) {
        self.not_before.insert(key, from);
    }

    /// `item` of `list` is asked for and is not here. Whether it will probably not be the only one.
    pub(super) fn is_one_of_several(&self, list: u128, item: u128, now: Timestamp) -> bool {
        let before = self.missed.get(&list).filter(|before| now.since(before.at) < COMPANIONS_WITHIN);
        let is_one_of_several = before.is_some_and(|before| before.item != item || before.is_one_of_several);
        self.missed.insert(list, Missed { item, at: now, is_one_of_several });
        is_one_of_several || self.named.get(&list).is_some_and(|until| now < until)
    }

    /// An answer named several items of `list`.
    pub(super) fn named(&self, list: u128, now: Timestamp) {
        self.named.insert(list, now.after(NAMED_FOR));
    }

    /// The API answered a read of `key` alone that left at `sequence`, whatever it said: what left before is
    /// no news any more. To be called under the lock that entries of `key` are stored under.
    pub(in crate::proxy) fn answered_alone(&self, key: Key, sequence: Sequence) {
        let latest = self.alone.get(&key).map_or(sequence, |latest| latest.max(sequence));
        self.alone.insert(key, latest);
    }

    /// What left before now tells nothing: an operator emptied the store of something.
    pub(in crate::proxy) fn forget(&self, groups: &Groups) {
        self.floor.fetch_max(groups.latest(), Ordering::SeqCst);
    }

    /// Whether what a list that left at `sequence` tells of `key` may be kept. To be called under the same lock.
    pub(in crate::proxy) fn is_news(&self, key: Key, sequence: Sequence) -> bool {
        sequence.as_u64() > self.floor.load(Ordering::SeqCst)
            && self.alone.get(&key).is_none_or(|alone| alone < sequence)
    }

    /// Notes how the logical clock stands at `now`.
    pub(in crate::proxy) fn note(&self, groups: &Groups, now: Timestamp) {
        let mut notes = self.notes.lock();
        if notes.back().is_some_and(|(last, _)| now.since(*last) < NOTED_EVERY) {
            return;
        }
        if notes.len() >= NOTES {
            notes.pop_front();
        }
        notes.push_back((now, Sequence::from_u64(groups.latest() + 1)));
    }

    /// Other rules judge what happens at `site` from `now` on.
    pub(in crate::proxy) fn rules_change(&self, site: u32, now: Timestamp) {
        self.took_over.lock().insert(site, now);
    }

    /// Whether a list of `site` that left at `left` may tell of `ids` at `now`: no write to them is under way or
    /// settles, and nothing overtook them in the `lag` before, in which the rules stayed the same. Where too
    /// little was noted a longer time counts.
    pub(in crate::proxy) fn may_tell(
        &self,
        site: u32,
        groups: &Groups,
        ids: &[GroupId],
        (left, now): (Timestamp, Timestamp),
        lag: Duration,
    ) -> bool {
        if self.took_over.lock().get(&site).is_some_and(|at| left < at.after(lag)) {
            return false;
        }
        if groups.is_being_written(ids)
            || groups.settling(ids, left) != Settling::Settled
            || groups.settling(ids, now) != Settling::Settled
        {
            return false;
        }
        groups.is_current(self.stood(left, lag), ids)
    }

    /// How the logical clock stood `lag` before `left` or earlier; at its beginning where nothing was noted.
    fn stood(&self, left: Timestamp, lag: Duration) -> Sequence {
        let notes = self.notes.lock();
        let noted = notes.iter().rev().find(|(at, _)| at.after(lag) <= left);
        noted.map_or(Sequence::from_u64(1), |(_, sequence)| *sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::groups::GroupName;
    use crate::cache::key::Secret;
    use crate::clock::Clock;

    const LAG: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn several_are_asked_for_where_two_come_together_or_an_answer_named_them() {
        let (clock, table) = (Clock::manual(), Promotions::default());
        let asked = |list, item| table.is_one_of_several(list, item, clock.now());
        assert!(!asked(1, 1));
        assert!(!asked(1, 1), "the same one again");
        assert!(!asked(2, 2), "of another list");
        assert!(asked(1, 2));
        assert!(asked(1, 2), "by another reader");
        clock.advance(COMPANIONS_WITHIN);
        assert!(!asked(1, 3));
        table.named(1, clock.now());
        assert!(asked(1, 3));
        assert!(!asked(3, 3));
        clock.advance(NAMED_FOR);
        assert!(!asked(1, 3));
    }

    #[test]
    fn what_was_written_lately_is_not_told_by_a_list() {
        let (clock, table) = (Clock::manual(), Promotions::default());
        let groups = Groups::new(Secret::from_bytes(&[7; 16]));
        let ids = [groups.id(0, GroupName::Named("a"))];
        let may = || {
            table.note(&groups, clock.now());
            table.may_tell(0, &groups, &ids, (clock.now(), clock.now()), LAG)
        };
        assert!(may(), "nothing was ever written");
        groups.invalidate(&[groups.id(0, GroupName::Named("b"))]);
        assert!(may(), "something else was");
        clock.advance(SECOND);
        groups.invalidate(&ids);
        assert!(!may());
        clock.advance(LAG - SECOND);
        assert!(!may());
        clock.advance(SECOND);
        assert!(may());
        groups.write_leaves(&ids);
        assert!(!may());
        groups.write_judged(&ids);
        groups.settle(&ids, clock.now().after(SECOND), None);
        assert!(!may());
    }

    #[test]
    fn where_nothing_was_noted_all_that_was_ever_written_counts() {
        let (clock, table) = (Clock::manual(), Promotions::default());
        let groups = Groups::new(Secret::from_bytes(&[7; 16]));
        let ids = [groups.id(0, GroupName::Named("a"))];
        groups.invalidate(&ids);
        clock.advance(2 * LAG);
        assert!(!table.may_tell(0, &groups, &ids, (clock.now(), clock.now()), LAG));
        table.note(&groups, clock.now());
        clock.advance(LAG);
        assert!(table.may_tell(0, &groups, &ids, (clock.now(), clock.now()), LAG));
    }

    #[test]
    fn other_rules_know_nothing_of_what_was_written_before() {
        let (clock, table) = (Clock::manual(), Promotions::default());
        let groups = Groups::new(Secret::from_bytes(&[7; 16]));
        let ids = [groups.id(0, GroupName::Named("a"))];
        let may = |site| {
            table.note(&groups, clock.now());
            table.may_tell(site, &groups, &ids, (clock.now(), clock.now()), LAG)
        };
        assert!(may(0));
        table.rules_change(0, clock.now());
        assert!(!may(0));
        assert!(may(1), "those of another upstream stay");
        clock.advance(LAG - SECOND);
        assert!(!may(0));
        clock.advance(SECOND);
        assert!(may(0));
    }

    #[test]
    fn what_left_before_is_no_news() {
        let (table, groups) = (Promotions::default(), Groups::new(Secret::from_bytes(&[7; 16])));
        let (key, other) = (Key::from_u128(1), Key::from_u128(2));
        let (list, alone) = (groups.next(), groups.next());
        assert!(table.is_news(key, list));
        table.answered_alone(key, alone);
        table.answered_alone(key, list);
        assert!(!table.is_news(key, list) && table.is_news(other, list) && table.is_news(key, groups.next()));
        table.forget(&groups);
        assert!(!table.is_news(other, alone) && table.is_news(other, groups.next()));
    }

    #[test]
    fn one_reads_a_list_and_the_others_wait_for_it() {
        let (clock, table) = (Clock::manual(), Arc::new(Promotions::default()));
        let key = |number| Key::from_u128(number);
        let Turn::Leads(place, _) = table.turn(key(1), clock.now()) else { panic!("nobody reads it") };
        let Turn::Joins(end) = table.turn(key(1), clock.now()) else { panic!("it is being read") };
        assert!(end.has_changed().is_ok());
        table.not_before(key(1), clock.now().after(SECOND));
        drop(place);
        assert!(end.has_changed().is_err(), "over");
        assert!(matches!(table.turn(key(1), clock.now()), Turn::Not));
        let places: Vec<Turn> =
            (2..).take(AT_ONCE).map(|number| table.turn(key(number), clock.now())).collect();
        assert!(matches!(table.turn(key(1000), clock.now()), Turn::Not), "too many");
        drop(places);
        clock.advance(SECOND);
        assert!(matches!(table.turn(key(1), clock.now()), Turn::Leads(..)));
    }
}
