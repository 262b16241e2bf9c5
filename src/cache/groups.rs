//! The logical clock: in which order fetches left and groups were overtaken.
//!
//! Every fetch takes the next number before it leaves, every invalidation takes one when a write's
//! outcome is known and marks its groups with it. An answer is usable only while its fetch's number
//! is newer than the mark of each of its groups (invariant 1): a fetch that was under way when a
//! write landed is older than the mark and can never be served to a reader who came after it.
//!
//! The marks live in a fixed table indexed by hash (RFC 9875 groups without a registry): two groups
//! that share a slot invalidate each other, which costs a hit and never truth; nothing is ever
//! evicted; a group of any size is invalidated by one store.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::key::Secret;
use crate::clock::Timestamp;

/// How many slots the table has. 65,536 make two of the dozen groups of an entry meet those of a
/// write by chance in about one of 500 writes, and the table costs 1.5 MiB.
pub const SLOTS: usize = 1 << 16;

/// What [`Groups::lasting`] gives for a place that a write may be changing: newer than every number.
pub const BEING_WRITTEN: u64 = u64::MAX;

/// Where marks outlive the process, so that what was overtaken stays so after a restart.
pub trait Marks: Send + Sync {
    /// [`Groups::lasting`] gives something else for these places than it did.
    fn changed(&self, ids: &[GroupId]);

    /// Waits, for a short time at most, until the next process would find every change so far.
    fn written(&self);
}

/// A point of the logical clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(u64);

impl Sequence {
    /// The point from a number that [`Sequence::as_u64`] gave.
    pub(crate) fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number, for storing in an atomic.
    pub(crate) fn as_u64(self) -> u64 {
        self.0
    }
}

/// A group's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u32);

impl GroupId {
    /// The group of a place in the table, as [`GroupId::place`] gave it; `None`: there is no such place.
    pub(crate) fn from_place(place: u32) -> Option<Self> {
        ((place as usize) < SLOTS).then_some(Self(place))
    }

    /// Its place in the table.
    pub(crate) fn place(self) -> u32 {
        self.0
    }
}

/// What names a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupName<'n> {
    /// A name from a rule (`guest/100`).
    Named(&'n str),
    /// Exactly this resource path.
    Path(&'n str),
    /// This resource path and everything below it; the empty path is everything.
    Subtree(&'n str),
    /// Everything that one credential fetched, or those that share a partition.
    Partition(super::key::Partition),
    /// What was fetched because the page with this hash of its name named it as the next.
    Pages(u128),
    /// What was fetched of the page with this hash of its name while nothing told which list it is of.
    Strays(u128),
}

/// How settled the groups of a read are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settling {
    /// Nothing recent was written.
    Settled,
    /// A write was answered lately, so another node may lag; reads go to the endpoint that took it.
    Lately,
    /// A task of a write may still be running.
    Open,
}

/// The table of marks and the clock.
pub struct Groups {
    clock: AtomicU64,
    slots: Box<[Slot]>,
    secret: Secret,
    marks: OnceLock<Arc<dyn Marks>>,
}

#[derive(Default)]
struct Slot {
    overtaken: AtomicU64,
    settled_at: AtomicU64,
    open: AtomicU32,
    writing: AtomicU32,
    endpoint: AtomicU64,
}

/// Stands for no endpoint; an endpoint whose number it is by chance is merely not preferred.
const NOBODY: u64 = 0;

impl Slot {
    fn endpoint(&self) -> Option<u64> {
        Some(self.endpoint.load(Ordering::SeqCst)).filter(|endpoint| *endpoint != NOBODY)
    }
}

impl Groups {
    /// An empty table; `secret` keeps anybody from choosing names that collide.
    pub fn new(secret: Secret) -> Self {
        let slots = (0..SLOTS).map(|_| Slot::default()).collect();
        Self { clock: AtomicU64::new(1), slots, secret, marks: OnceLock::new() }
    }

    /// Goes on where an earlier process ended: its numbers were all below `clock`, and `marks` is what
    /// [`Groups::lasting`] gave then. From here on `lasting` is told of changes.
    pub fn resume(&self, clock: u64, marks: impl Iterator<Item = u64>, lasting: Arc<dyn Marks>) {
        self.clock.fetch_max(clock, Ordering::SeqCst);
        for (slot, mark) in self.slots.iter().zip(marks) {
            slot.overtaken.fetch_max(mark.min(clock), Ordering::SeqCst);
        }
        let _one_for_all_time = self.marks.set(lasting);
    }

    /// The number at which the place was overtaken last, as the next process is to see it. A write under
    /// way may never have an outcome there, so it counts as one that changed everything until its end.
    pub fn lasting(&self, place: usize) -> u64 {
        let slot = &self.slots[place];
        match slot.writing.load(Ordering::SeqCst) {
            0 => slot.overtaken.load(Ordering::SeqCst),
            _ => BEING_WRITTEN,
        }
    }

    /// The number that was taken last.
    pub fn latest(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }

    /// The place of a group of the upstream `site`.
    pub fn id(&self, site: u32, name: GroupName<'_>) -> GroupId {
        let hash = match name {
            GroupName::Named(name) => self.secret.group(site, 0, name.as_bytes()),
            GroupName::Path(path) => self.secret.group(site, 1, path.as_bytes()),
            GroupName::Subtree(path) => self.secret.group(site, 2, path.as_bytes()),
            GroupName::Partition(partition) => self.secret.group(site, 3, &partition.as_u128().to_le_bytes()),
            GroupName::Pages(name) => self.secret.group(site, 4, &name.to_le_bytes()),
            GroupName::Strays(name) => self.secret.group(site, 5, &name.to_le_bytes()),
        };
        GroupId((hash % SLOTS as u64) as u32)
    }

    /// The groups that a resource path belongs to by itself: its own path, and the subtrees of it
    /// and each of its ancestors up to everything.
    pub fn of_path(&self, site: u32, resource: &str, ids: &mut Vec<GroupId>) {
        let resource = &*one_spelling(resource);
        ids.push(self.id(site, GroupName::Path(resource)));
        ids.push(self.id(site, GroupName::Subtree("")));
        for (end, _) in resource.match_indices('/').filter(|(at, _)| *at > 0) {
            ids.push(self.id(site, GroupName::Subtree(&resource[..end])));
        }
        if resource.len() > 1 {
            ids.push(self.id(site, GroupName::Subtree(resource)));
        }
    }

    /// The place of one resource path alone.
    pub fn own_path(&self, site: u32, resource: &str) -> GroupId {
        self.id(site, GroupName::Path(&one_spelling(resource)))
    }

    /// What a write without a rule changes: its own path, everything below it, and the collections
    /// above it.
    pub fn around_path(&self, site: u32, resource: &str, ids: &mut Vec<GroupId>) {
        let resource = &*one_spelling(resource);
        ids.push(self.id(site, GroupName::Subtree(if resource == "/" { "" } else { resource })));
        for (end, _) in resource.match_indices('/') {
            ids.push(self.id(site, GroupName::Path(if end == 0 { "/" } else { &resource[..end] })));
        }
        ids.push(self.id(site, GroupName::Path("")));
    }

    /// The next number, for a fetch that is about to leave.
    pub fn next(&self) -> Sequence {
        Sequence(self.clock.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Overtakes everything fetched so far that belongs to one of `ids`.
    pub fn invalidate(&self, ids: &[GroupId]) -> Sequence {
        let now = self.next();
        for id in ids {
            self.slot(*id).overtaken.fetch_max(now.0, Ordering::SeqCst);
        }
        if let Some(marks) = self.marks.get().filter(|_| !ids.is_empty()) {
            marks.changed(ids);
            marks.written();
        }
        now
    }

    /// Whether nothing has overtaken what was fetched at `sequence`.
    pub fn is_current(&self, sequence: Sequence, ids: &[GroupId]) -> bool {
        ids.iter().all(|id| self.slot(*id).overtaken.load(Ordering::SeqCst) < sequence.0)
    }

    /// Marks `ids` as changing until [`Groups::close`] is called as often.
    pub fn open(&self, ids: &[GroupId]) {
        for id in ids {
            self.slot(*id).open.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Takes back one [`Groups::open`].
    pub fn close(&self, ids: &[GroupId]) {
        for id in ids {
            self.slot(*id).open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// A write to `ids` is about to leave. Nothing is kept or overtaken by this: what the API says from
    /// now on may already be what the write made of it, until [`Groups::write_judged`].
    pub fn write_leaves(&self, ids: &[GroupId]) {
        for id in ids {
            self.slot(*id).writing.fetch_add(1, Ordering::SeqCst);
        }
        // Nobody waits for this one: what a write's answer waits for comes after it.
        if let Some(marks) = self.marks.get() {
            marks.changed(ids);
        }
    }

    /// The write has an outcome, and has overtaken what it changed.
    pub fn write_judged(&self, ids: &[GroupId]) {
        for id in ids {
            self.slot(*id).writing.fetch_sub(1, Ordering::SeqCst);
        }
        if let Some(marks) = self.marks.get() {
            marks.changed(ids);
        }
    }

    /// Whether a write to one of `ids` is under way.
    pub fn is_being_written(&self, ids: &[GroupId]) -> bool {
        ids.iter().any(|id| self.slot(*id).writing.load(Ordering::SeqCst) > 0)
    }

    /// From now to `until` the nodes may disagree about `ids`; `endpoint` has seen the write.
    pub fn settle(&self, ids: &[GroupId], until: Timestamp, endpoint: Option<u64>) {
        for id in ids {
            let slot = self.slot(*id);
            slot.endpoint.store(endpoint.unwrap_or(NOBODY), Ordering::SeqCst);
            slot.settled_at.fetch_max(until.as_nanos(), Ordering::SeqCst);
        }
    }

    /// How settled all of `ids` are.
    pub fn settling(&self, ids: &[GroupId], now: Timestamp) -> Settling {
        let mut found = Settling::Settled;
        for slot in ids.iter().map(|id| self.slot(*id)) {
            if slot.open.load(Ordering::SeqCst) > 0 {
                return Settling::Open;
            }
            if slot.settled_at.load(Ordering::SeqCst) > now.as_nanos() {
                found = Settling::Lately;
            }
        }
        found
    }

    /// When all that settles now has settled.
    pub fn settled_at(&self) -> Timestamp {
        let nanos = self.slots.iter().map(|slot| slot.settled_at.load(Ordering::SeqCst)).max();
        Timestamp::from_nanos(nanos.unwrap_or(0))
    }

    /// The endpoint that took the latest write to one of `ids` that has not settled.
    pub fn settled_by(&self, ids: &[GroupId], now: Timestamp) -> Option<u64> {
        ids.iter()
            .map(|id| self.slot(*id))
            .filter(|slot| {
                slot.open.load(Ordering::SeqCst) > 0
                    || slot.settled_at.load(Ordering::SeqCst) > now.as_nanos()
            })
            .find_map(Slot::endpoint)
    }

    /// How many places of the table are not settled, for the admin and the metrics.
    pub fn unsettled(&self, now: Timestamp) -> usize {
        let unsettled = |slot: &&Slot| {
            slot.open.load(Ordering::Relaxed) > 0 || slot.settled_at.load(Ordering::Relaxed) > now.as_nanos()
        };
        self.slots.iter().filter(unsettled).count()
    }

    fn slot(&self, id: GroupId) -> &Slot {
        &self.slots[id.0 as usize]
    }
}

/// A path without empty segments, so that a write to `/x/` reaches what was read from `/x/y`,
/// whatever the API makes of the slash.
fn one_spelling(resource: &str) -> Cow<'_, str> {
    if !resource.contains("//") && (resource.len() == 1 || !resource.ends_with('/')) {
        return Cow::Borrowed(resource);
    }
    let segments = resource.split('/').filter(|segment| !segment.is_empty());
    Cow::Owned(segments.flat_map(|segment| ["/", segment]).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// With a fixed secret: with another one in a few hundred two of the groups below would collide.
    fn groups() -> Groups {
        Groups::new(Secret::from_bytes(&[7; 16]))
    }

    fn of(groups: &Groups, path: &str) -> Vec<GroupId> {
        let mut ids = Vec::new();
        groups.of_path(0, path, &mut ids);
        ids
    }

    #[test]
    fn a_fetch_under_way_is_overtaken_and_a_later_one_is_not() {
        let groups = groups();
        let guest = [groups.id(0, GroupName::Named("guest/100"))];
        let before = groups.next();
        assert!(groups.is_current(before, &guest));
        groups.invalidate(&guest);
        assert!(!groups.is_current(before, &guest));
        assert!(groups.is_current(groups.next(), &guest));
        assert!(groups.is_current(before, &[groups.id(1, GroupName::Named("guest/100"))]));
    }

    #[test]
    fn a_write_without_a_rule_reaches_itself_below_and_the_collections_above() {
        let cases = [
            ("/nodes/a/qemu/100", true),
            ("/nodes/a/qemu/100/config", true),
            ("/nodes/a/qemu//100/", true),
            ("/nodes/a/qemu", true),
            ("/nodes", true),
            ("/", true),
            ("/nodes/a/qemu/1000", false),
            ("/nodes/a/lxc/100", false),
            ("/cluster/resources", false),
        ];
        for (read, reached) in cases {
            let groups = groups();
            let fetched = groups.next();
            let mut ids = Vec::new();
            groups.around_path(0, "/nodes/a/qemu/100", &mut ids);
            groups.invalidate(&ids);
            assert_eq!(!groups.is_current(fetched, &of(&groups, read)), reached, "{read}");
        }
    }

    #[test]
    fn a_write_is_under_way_until_each_of_them_is_judged() {
        let groups = groups();
        let guest = [groups.id(0, GroupName::Named("guest/100"))];
        groups.write_leaves(&guest);
        groups.write_leaves(&guest);
        groups.write_judged(&guest);
        assert!(groups.is_being_written(&guest));
        assert!(!groups.is_being_written(&[groups.id(0, GroupName::Named("guest/101"))]));
        groups.write_judged(&guest);
        assert!(!groups.is_being_written(&guest));
    }

    #[test]
    fn everything_is_one_group() {
        let groups = groups();
        let fetched = groups.next();
        groups.invalidate(&[groups.id(0, GroupName::Subtree(""))]);
        for read in ["/", "/a", "/a/b/c"] {
            assert!(!groups.is_current(fetched, &of(&groups, read)), "{read}");
        }
    }

    #[test]
    fn unsettled_until_every_operation_closed_and_the_time_has_passed() {
        let groups = groups();
        let ids = [groups.id(0, GroupName::Named("a")), groups.id(0, GroupName::Named("b"))];
        let now = Timestamp::from_nanos(1_000);
        let until = now.after(Duration::from_secs(3));
        groups.open(&ids);
        groups.open(&ids[..1]);
        groups.close(&ids);
        assert_eq!(groups.settling(&ids, now), Settling::Open);
        assert_eq!(groups.settling(&ids[1..], now), Settling::Settled);
        groups.close(&ids[..1]);
        groups.settle(&ids, until, Some(2));
        assert_eq!(groups.settling(&ids, now), Settling::Lately);
        assert_eq!(groups.settled_by(&ids, now), Some(2));
        assert_eq!(groups.unsettled(now), 2);
        assert_eq!(groups.settling(&ids, until), Settling::Settled);
    }
}
