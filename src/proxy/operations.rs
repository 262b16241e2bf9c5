//! Tasks that writes started: until the end of one is seen, its groups are unsettled.
//!
//! The end is learnt from a client's poll that passes through; it invalidates once more, before the
//! client that asked hears of it. An operation whose end is never learnt ends with a cap.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::cache::groups::{GroupId, Groups};
use crate::clock::{Clock, Timestamp};
use crate::dialect::OperationId;

/// How many operations are followed at once. One more is not followed to its end: its groups stay
/// unsettled until the cap.
pub const MAX_OPEN: usize = 10_000;

/// How many ends are remembered.
const MAX_SEEN: usize = 1_000;

/// For how long the end of a task past its cap is waited for: longer than any backup or migration.
const LAPSED_FOR: Duration = Duration::from_secs(24 * 3600);

/// The operations that have not ended.
pub struct Operations {
    clock: Clock,
    groups: Arc<Groups>,
    open: Mutex<Open>,
    /// Ends seen lately: one may be told before the answer that names its task has been read.
    seen: Cache<(u32, OperationId), ()>,
}

#[derive(Default)]
struct Open {
    named: HashMap<(u32, OperationId), Operation>,
    /// Past their cap: they hold nothing any more, but their end still overtakes what they change.
    lapsed: HashMap<(u32, OperationId), Operation>,
    nameless: Vec<(u32, Operation)>,
}

/// One task, or a write that may have started one.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The groups that the write changes.
    pub groups: Arc<[GroupId]>,
    /// When it counts as ended.
    pub until: Timestamp,
    /// How long its groups settle after its end.
    pub settle: Duration,
    /// The endpoint that took the write.
    pub endpoint: Option<u64>,
}

impl Operations {
    /// No operations.
    pub fn new(clock: Clock, groups: Arc<Groups>) -> Self {
        Self { clock, groups, open: Mutex::default(), seen: Cache::new(MAX_SEEN) }
    }

    /// A write to `site` started the task `id`, or may have started one that nobody named. Its groups
    /// are unsettled from here on; the caller invalidates them afterwards.
    pub fn begin(&self, site: u32, id: Option<OperationId>, operation: Operation) {
        self.groups.open(&operation.groups);
        if id.as_ref().is_some_and(|id| self.seen.get(&(site, id.clone())).is_some()) {
            return self.end(&operation);
        }
        let mut open = self.open.lock();
        let replaced = match id {
            Some(id) if open.named.len() < MAX_OPEN => open.named.insert((site, id), operation),
            _ => {
                open.nameless.push((site, operation));
                (open.nameless.len() > MAX_OPEN).then(|| open.nameless.swap_remove(0).1)
            }
        };
        drop(open);
        if let Some(replaced) = replaced {
            self.end(&replaced);
        }
    }

    /// The API told that the task `id` of `site` has ended. Whether it was followed here.
    pub fn ended(&self, site: u32, id: &OperationId) -> bool {
        let key = (site, id.clone());
        self.seen.insert(key.clone(), ());
        let (open, lapsed) = {
            let mut open = self.open.lock();
            (open.named.remove(&key), open.lapsed.remove(&key))
        };
        if let Some(operation) = &open {
            self.end(operation);
        }
        if let Some(operation) = &lapsed {
            self.overtake(operation);
        }
        open.or(lapsed).is_some()
    }

    /// Ends what has reached its cap. A named task may run on; it is remembered for its end.
    pub fn sweep(&self) {
        let now = self.clock.now();
        let mut ended = Vec::new();
        {
            let mut open = self.open.lock();
            let Open { named, lapsed, nameless } = &mut *open;
            lapsed.retain(|_, operation| now.since(operation.until) < LAPSED_FOR);
            for (key, operation) in named.extract_if(|_, operation| operation.until <= now) {
                ended.push(operation.clone());
                if lapsed.len() < MAX_OPEN {
                    lapsed.insert(key, operation);
                }
            }
            ended.extend(nameless.extract_if(.., |(_, operation)| operation.until <= now).map(|(_, o)| o));
        }
        ended.iter().for_each(|operation| self.end(operation));
    }

    /// How many have not ended.
    pub fn len(&self) -> usize {
        let open = self.open.lock();
        open.named.len() + open.nameless.len()
    }

    /// How many of `site` have not ended.
    pub fn open_of(&self, site: u32) -> usize {
        let open = self.open.lock();
        let named = open.named.keys().filter(|(of, _)| *of == site).count();
        named + open.nameless.iter().filter(|(of, _)| *of == site).count()
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lag begins before the groups open for keeping, so that no fetch falls between.
    fn end(&self, operation: &Operation) {
        self.overtake(operation);
        self.groups.close(&operation.groups);
    }

    fn overtake(&self, operation: &Operation) {
        let until = self.clock.now().after(operation.settle);
        self.groups.settle(&operation.groups, until, operation.endpoint);
        self.groups.invalidate(&operation.groups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::groups::{GroupName, Settling};
    use crate::cache::key::Secret;

    fn rig() -> (Clock, Arc<Groups>, Operations, Operation) {
        let clock = Clock::manual();
        let groups = Arc::new(Groups::new(Secret::random()));
        let ids = [groups.id(0, GroupName::Named("g"))].into();
        let until = clock.now().after(Duration::from_secs(60));
        let operation = Operation { groups: ids, until, settle: Duration::from_secs(15), endpoint: Some(1) };
        (clock.clone(), groups.clone(), Operations::new(clock, groups), operation)
    }

    #[test]
    fn the_end_invalidates_once_more_and_the_settle_time_follows() {
        let (clock, groups, operations, operation) = rig();
        let ids = operation.groups.clone();
        let id = OperationId("UPID:x".into());
        operations.begin(0, Some(id.clone()), operation);
        assert_eq!(groups.settling(&ids, clock.now()), Settling::Open);
        let fetched = groups.next();
        assert!(!operations.ended(1, &id), "another upstream's task");
        assert!(operations.ended(0, &id));
        assert!(!groups.is_current(fetched, &ids));
        assert_eq!(groups.settling(&ids, clock.now()), Settling::Lately);
        clock.advance(Duration::from_secs(15));
        assert_eq!(groups.settling(&ids, clock.now()), Settling::Settled);
        assert!(!operations.ended(0, &id));
    }

    #[test]
    fn a_task_that_outlives_its_cap_still_overtakes_when_it_ends() {
        let (clock, groups, operations, operation) = rig();
        let ids = operation.groups.clone();
        let id = OperationId("a".into());
        operations.begin(0, Some(id.clone()), operation);
        clock.advance(Duration::from_secs(60));
        operations.sweep();
        clock.advance(Duration::from_secs(3600));
        assert_eq!(groups.settling(&ids, clock.now()), Settling::Settled);
        let fetched = groups.next();
        assert!(operations.ended(0, &id));
        assert!(!groups.is_current(fetched, &ids));
        assert_eq!(groups.settling(&ids, clock.now()), Settling::Lately);
    }

    #[test]
    fn an_end_that_is_told_before_its_task_is_known_counts() {
        let (clock, groups, operations, operation) = rig();
        let ids = operation.groups.clone();
        let id = OperationId("a".into());
        assert!(!operations.ended(0, &id));
        operations.begin(0, Some(id), operation);
        assert!(operations.is_empty());
        assert_eq!(groups.settling(&ids, clock.now()), Settling::Lately);
    }

    #[test]
    fn an_operation_without_an_end_ends_with_its_cap() {
        let (clock, groups, operations, operation) = rig();
        let ids = operation.groups.clone();
        operations.begin(0, Some(OperationId("a".into())), operation.clone());
        operations.begin(0, None, operation);
        operations.sweep();
        assert_eq!((operations.len(), operations.open_of(0), operations.open_of(1)), (2, 2, 0));
        clock.advance(Duration::from_secs(60));
        operations.sweep();
        assert!(operations.is_empty());
        assert_ne!(groups.settling(&ids, clock.now()), Settling::Open);
    }
}
