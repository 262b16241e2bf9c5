//! Tasks, from their start to the answer that shows their end: until then what they change is unsettled.
//!
//! Some were started by writes that passed through and change what the write's rule says; of others the
//! API told, and the rows of `tasks:` say what they change. The end is learnt from whatever answer shows
//! it first. It overtakes once more, before anybody hears of it: what is done here for an end is done
//! under one lock, so that whoever comes second with the same news finds it done. An operation whose end
//! is never learnt ends with a cap.

mod addresses;
mod ended;
mod reload;
mod shown;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cache::groups::{GroupId, Groups, Sequence};
use crate::clock::{Clock, Timestamp};
use crate::dialect::{OperationId, Task, TaskEvent, TaskState};
use crate::telemetry::Registry;
use ended::Ended;
use watch::MAX_WATCHED;

pub use shown::Shown;
pub use watch::{About, Question, Reply, Target, Watch, Writer};

/// How many operations are followed at once. One more of a write is not followed to its end: its groups
/// stay unsettled until the cap. One more of somebody else holds nothing.
pub const MAX_OPEN: usize = 10_000;

/// For how long the end of a task past its cap is waited for: longer than any backup or migration.
const LAPSED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How far the clocks of an API's nodes may be apart, in seconds.
const CLOCKS_APART: u64 = 60;

/// The operations that have not ended.
pub struct Operations {
    clock: Clock,
    groups: Arc<Groups>,
    open: Mutex<Open>,
    /// How many names of operations are addresses.
    names: AtomicUsize,
    /// Told when there is an operation to ask after.
    watched: Notify,
    /// Counts what a bound kept from being followed or asked after.
    bounded: [Counter; 2],
}

/// A task of an upstream.
pub type Name = (u32, OperationId);

/// Which bound was reached: the labels of `forebay_operations_limited_total`.
#[derive(Clone, Copy)]
enum Bound {
    Open,
    Watched,
}

const BOUNDS: [&str; 2] = ["open", "watched"];

#[derive(Default)]
struct Open {
    named: HashMap<Name, Operation>,
    /// Past their cap: they hold nothing any more, but their end still overtakes what they change.
    lapsed: HashMap<Name, Operation>,
    /// Writes whose task nobody named, by number, the oldest first.
    nameless: BTreeMap<u64, (u32, Operation)>,
    numbers: u64,
    /// Which operation has each name that is an address.
    addresses: HashMap<Name, Name>,
    ended: Ended,
    /// The latest second of each upstream's own clock that an answer has shown.
    latest: HashMap<u32, u64>,
    /// The fingerprint of the rules that judge what happens at each upstream.
    rules: HashMap<u32, u64>,
}

/// One task, or a write that may have started one.
#[derive(Debug)]
pub struct Operation {
    /// What it is.
    pub subject: Subject,
    /// The names by which it is told of, where the API names operations by addresses.
    pub names: Vec<OperationId>,
    /// Whether it has an address, at which its end shows.
    pub has_address: bool,
    /// The groups that it changes.
    pub groups: Arc<[GroupId]>,
    /// The fingerprint of the rules that say so.
    pub rules: u64,
    /// Where the API shows the task itself: its end overtakes that too, but it does not lag.
    pub shown: Option<GroupId>,
    /// Whether its groups are unsettled until its end.
    pub holds: bool,
    /// Since when it is known.
    pub since: Timestamp,
    /// The same by the logical clock: what left before may show the time before it.
    pub known: Sequence,
    /// When it counts as ended.
    pub until: Timestamp,
    /// When a list of what runs may tell that it has ended, if it has no name.
    pub earliest: Timestamp,
    /// How long its groups settle after its end.
    pub settle: Duration,
    /// The endpoint that took the write.
    pub endpoint: Option<u64>,
    /// How it became known.
    pub origin: Origin,
    /// How forebay asks after it itself.
    pub watch: Option<Watch>,
}

/// What an operation is.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A task that the API named.
    Task(Task),
    /// A write, by the name of its rule, whose task is not known.
    Write(String),
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
    pub fn new(clock: Clock, groups: Arc<Groups>, registry: &Registry) -> Self {
        let bounded =
            BOUNDS.map(|bound| registry.counter("forebay_operations_limited_total", &[("bound", bound)]));
        Self {
            clock,
            groups,
            open: Mutex::default(),
            names: AtomicUsize::new(0),
            watched: Notify::new(),
            bounded,
        }
    }

    /// A write to `site` started a task, or may have started one that nobody named. Its groups are
    /// unsettled from here on; the caller invalidates them afterwards.
    pub fn begin(&self, site: u32, mut operation: Operation) {
        let mut open = self.open.lock();
        self.widen(&open, site, &mut operation);
        self.hold(&operation);
        let name = match &operation.subject {
            Subject::Task(task) => Some((site, task.id.clone())),
            Subject::Write(_) => None,
        };
        let known = |id: &OperationId| open.ended.contains(&(site, id.clone()), None);
        if name.as_ref().is_some_and(|name| known(&name.1)) || operation.names.iter().any(known) {
            return self.end(&operation);
        }
        if let Some(name) = &name {
            self.name(&mut open, name, &operation.names);
        }
        if operation.watch.is_some() && open.watched() >= MAX_WATCHED {
            operation.watch = None;
            self.limited(Bound::Watched);
        }
        if operation.watch.is_some() {
            self.watched.notify_one();
        }
        let replaced = match name {
            // The API may have told of it before its write was answered.
            Some(name) if open.named.len() < MAX_OPEN => open.named.insert(name, operation),
            name => {
                if name.is_some() {
                    self.limited(Bound::Open);
                }
                open.numbers += 1;
                let number = open.numbers;
                open.nameless.insert(number, (site, operation));
                let is_over = open.nameless.len() > MAX_OPEN;
                is_over.then(|| open.nameless.pop_first()).flatten().map(|(_, (_, oldest))| oldest)
            }
        };
        if let Some(replaced) = replaced {
            self.end(&replaced);
        }
    }

    fn limited(&self, bound: Bound) {
        self.bounded[bound as usize].increment(1);
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
        let mut open = self.open.lock();
        let name = open.primary((site, event.task.id.clone()));
        let other = other.map(|mut other| {
            self.widen(&open, site, &mut other);
            other
        });
        if open.ended.contains(&name, None) {
            return Some(News::Old);
        }
        match event.state {
            TaskState::Running => {
                if let Some(known) = open.named.get_mut(&name) {
                    let now = self.clock.now();
                    known.watch.iter_mut().for_each(|watch| watch.heard(now));
                    return Some(News::Old);
                }
                if open.lapsed.contains_key(&name) {
                    return Some(News::Old);
                }
                let other = other?;
                self.invalidate(&other);
                if open.named.len() < MAX_OPEN {
                    self.hold(&other);
                    open.named.insert(name, other);
                } else {
                    self.limited(Bound::Open);
                }
                Some(News::Of(Origin::Elsewhere))
            }
            TaskState::Ending { sign } => {
                if sign.is_some() && open.ended.contains(&name, sign) {
                    return Some(News::Old);
                }
                let followed = open.named.get(&name).or_else(|| open.lapsed.get(&name));
                let operation = followed.or(other.as_ref())?;
                self.overtake(operation);
                let origin = operation.origin;
                if sign.is_some() {
                    open.ended.insert(name, sign);
                }
                Some(News::Of(origin))
            }
            TaskState::Ended { at } => {
                let origin = if let Some(operation) = open.named.remove(&name) {
                    self.end(&operation);
                    self.forget(&mut open, &name, &operation);
                    operation.origin
                } else if let Some(operation) = open.lapsed.remove(&name) {
                    self.overtake(&operation);
                    self.forget(&mut open, &name, &operation);
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
                open.ended.insert(name, None);
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
        let gone = lapsed.extract_if(|_, operation| now.since(operation.until) >= LAPSED_FOR);
        let mut gone: Vec<(Name, Operation)> = gone.collect();
        for (name, mut operation) in named.extract_if(|_, operation| operation.until <= now) {
            self.end(&operation);
            operation.watch = None;
            if lapsed.len() < MAX_OPEN && !operation.is_known_by_its_resource() {
                lapsed.insert(name, operation);
            } else {
                gone.push((name, operation));
            }
        }
        nameless.retain(|_, (_, operation)| {
            let is_over = operation.until <= now;
            if is_over {
                self.end(operation);
            }
            !is_over
        });
        gone.iter().for_each(|(name, operation)| self.forget(&mut open, name, operation));
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
        named + open.nameless.values().filter(|(of, _)| *of == site).count()
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
