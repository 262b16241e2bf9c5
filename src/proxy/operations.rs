//! Tasks, from their start to the answer that shows their end: until then what they change is unsettled.
//!
//! Some were started by writes that passed through and change what the write's rule says; of others the
//! API told, and the rows of `tasks:` say what they change. The end is learnt from whatever answer shows
//! it first. It overtakes once more, before anybody hears of it: what is done here for an end is done
//! under one lock, so that whoever comes second with the same news finds it done. An operation whose end
//! is never learnt ends with a cap.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::groups::{GroupId, Groups};
use crate::clock::{Clock, Timestamp};
use crate::dialect::{OperationId, Task, TaskEvent, TaskState};

/// How many operations are followed at once. One more of a write is not followed to its end: its groups
/// stay unsettled until the cap. One more of somebody else holds nothing.
pub const MAX_OPEN: usize = 10_000;

/// How many ends are remembered. Proxmox lists 25 tasks of each node in its feed, and a node's list is read
/// in pages of 50 or 500; an end that is forgotten and shown again overtakes again, which costs hits.
const MAX_ENDED: usize = 16_384;

/// For how long the end of a task past its cap is waited for: longer than any backup or migration.
const LAPSED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How far the clocks of an API's nodes may be apart, in seconds.
const CLOCKS_APART: u64 = 60;

/// The operations that have not ended.
pub struct Operations {
    clock: Clock,
    groups: Arc<Groups>,
    open: Mutex<Open>,
}

/// An operation of an upstream.
type Name = (u32, OperationId);

#[derive(Default)]
struct Open {
    named: HashMap<Name, Operation>,
    /// Past their cap: they hold nothing any more, but their end still overtakes what they change.
    lapsed: HashMap<Name, Operation>,
    nameless: Vec<(u32, Operation)>,
    ended: Ended,
    /// The latest second of each upstream's own clock that an answer has shown.
    latest: HashMap<u32, u64>,
}

/// The ends that were seen, and the hints of ends, the latest of them: one may be told again, also before
/// the answer that names its task has been read.
#[derive(Default)]
struct Ended {
    names: HashSet<Arc<(Name, Option<u64>)>>,
    order: VecDeque<Arc<(Name, Option<u64>)>>,
}

impl Ended {
    fn contains(&self, name: &(Name, Option<u64>)) -> bool {
        self.names.contains(name)
    }

    fn insert(&mut self, name: (Name, Option<u64>)) {
        let name = Arc::new(name);
        if self.names.insert(name.clone()) {
            self.order.push_back(name);
        }
        if self.order.len() > MAX_ENDED
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }
}

/// One task, or a write that may have started one.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The groups that it changes.
    pub groups: Arc<[GroupId]>,
    /// Where the API shows the task itself: its end overtakes that too, but it does not lag.
    pub shown: Option<GroupId>,
    /// Whether its groups are unsettled until its end.
    pub holds: bool,
    /// When it counts as ended.
    pub until: Timestamp,
    /// How long its groups settle after its end.
    pub settle: Duration,
    /// The endpoint that took the write.
    pub endpoint: Option<u64>,
    /// How it became known.
    pub origin: Origin,
}

/// How an operation became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A write that passed through forebay.
    Write,
    /// An answer of the API about a task that somebody else started.
    Elsewhere,
}

/// What an event was here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Known already, or nothing that overtakes anything.
    Old,
    /// It overtook what an operation of this origin changed.
    Of(Origin),
}

impl Operations {
    /// No operations.
    pub fn new(clock: Clock, groups: Arc<Groups>) -> Self {
        Self { clock, groups, open: Mutex::default() }
    }

    /// A write to `site` started `task`, or may have started one that nobody named. Its groups are
    /// unsettled from here on; the caller invalidates them afterwards.
    pub fn begin(&self, site: u32, task: Option<OperationId>, operation: Operation) {
        let mut open = self.open.lock();
        self.hold(&operation);
        let name = task.map(|id| (site, id));
        if name.as_ref().is_some_and(|name| open.ended.contains(&(name.clone(), None))) {
            return self.end(&operation);
        }
        let replaced = match name {
            // The API may have told of it before its write was answered.
            Some(name) if open.named.len() < MAX_OPEN => open.named.insert(name, operation),
            _ => {
                open.nameless.push((site, operation));
                (open.nameless.len() > MAX_OPEN).then(|| open.nameless.swap_remove(0).1)
            }
        };
        if let Some(replaced) = replaced {
            self.end(&replaced);
        }
    }

    /// The API told of tasks of `site`; `others` says what one changes that no write through forebay
    /// started. When this returns, whatever is news has overtaken what it changed.
    pub fn told(&self, site: u32, events: &[TaskEvent], others: impl Fn(&Task) -> Operation) -> Vec<News> {
        self.note_latest(site, events);
        let tell = |event: &TaskEvent| {
            // What others change is looked up without the lock, and only where it is needed.
            self.tell(site, event, None)
                .unwrap_or_else(|| self.tell(site, event, Some(others(&event.task))).unwrap_or(News::Old))
        };
        events.iter().map(tell).collect()
    }

    /// Acts on an event; `None` when it is about a task of others and `other` is needed.
    fn tell(&self, site: u32, event: &TaskEvent, other: Option<Operation>) -> Option<News> {
        let name = (site, event.task.id.clone());
        let mut open = self.open.lock();
        if open.ended.contains(&(name.clone(), None)) {
            return Some(News::Old);
        }
        match event.state {
            TaskState::Running => {
                if open.named.contains_key(&name) || open.lapsed.contains_key(&name) {
                    return Some(News::Old);
                }
                let other = other?;
                self.invalidate(&other);
                if open.named.len() < MAX_OPEN {
                    self.hold(&other);
                    open.named.insert(name, other);
                }
                Some(News::Of(Origin::Elsewhere))
            }
            TaskState::Ending { sign } => {
                if sign.is_some() && open.ended.contains(&(name.clone(), sign)) {
                    return Some(News::Old);
                }
                let followed = open.named.get(&name).or_else(|| open.lapsed.get(&name)).cloned();
                let operation = followed.or(other)?;
                self.overtake(&operation);
                if sign.is_some() {
                    open.ended.insert((name, sign));
                }
                Some(News::Of(operation.origin))
            }
            TaskState::Ended { at } => {
                let origin = if let Some(operation) = open.named.remove(&name) {
                    self.end(&operation);
                    operation.origin
                } else if let Some(operation) = open.lapsed.remove(&name) {
                    self.overtake(&operation);
                    operation.origin
                } else {
                    let mut other = other?;
                    // What ended long ago has settled; that it did is told by the API's own clock, by what
                    // it has shown since.
                    let latest = open.latest.get(&site).copied().unwrap_or(0);
                    if at.is_some_and(|at| at + other.settle.as_secs() + CLOCKS_APART < latest) {
                        other.settle = Duration::ZERO;
                    }
                    self.overtake(&other);
                    other.origin
                };
                open.ended.insert((name, None));
                Some(News::Of(origin))
            }
        }
    }

    fn note_latest(&self, site: u32, events: &[TaskEvent]) {
        let times = events.iter().flat_map(|event| match event.state {
            TaskState::Ended { at: Some(at) } => [event.task.started, at],
            _ => [event.task.started; 2],
        });
        if let Some(shown) = times.max() {
            let mut open = self.open.lock();
            let latest = open.latest.entry(site).or_default();
            *latest = shown.max(*latest);
        }
    }

    /// Ends what has reached its cap. A named task may run on; it is remembered for its end.
    pub fn sweep(&self) {
        let now = self.clock.now();
        let mut open = self.open.lock();
        let Open { named, lapsed, nameless, .. } = &mut *open;
        lapsed.retain(|_, operation| now.since(operation.until) < LAPSED_FOR);
        for (name, operation) in named.extract_if(|_, operation| operation.until <= now) {
            self.end(&operation);
            if lapsed.len() < MAX_OPEN {
                lapsed.insert(name, operation);
            }
        }
        for (_, operation) in nameless.extract_if(.., |(_, operation)| operation.until <= now) {
            self.end(&operation);
        }
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

    fn hold(&self, operation: &Operation) {
        if operation.holds {
            self.groups.open(&operation.groups);
        }
    }

    /// The lag begins before the groups open for keeping, so that no fetch falls between.
    fn end(&self, operation: &Operation) {
        self.overtake(operation);
        if operation.holds {
            self.groups.close(&operation.groups);
        }
    }

    fn overtake(&self, operation: &Operation) {
        if !operation.settle.is_zero() {
            let until = self.clock.now().after(operation.settle);
            self.groups.settle(&operation.groups, until, operation.endpoint);
        }
        self.invalidate(operation);
    }

    fn invalidate(&self, operation: &Operation) {
        self.groups.invalidate(&operation.groups);
        self.groups.invalidate(operation.shown.as_slice());
    }
}

#[cfg(test)]
mod tests;
