//! The model: an API with versions, the real core before it, and those who read and write as
//! machines that do one step at a time.

mod steps;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::core::{Core, NoAnswer, OBJECTS, version};
use super::plan::{Fate, Mutation, Plan, Reader};
use super::schedule::Found;
use crate::cache::flight::{Fill, Landing, Waiter};
use crate::cache::groups::Sequence;

/// What each reader came to, in the order of the plan: a version, or none for an error.
pub type Outcome = Vec<Option<u64>>;

/// What a step reads and changes: two steps that do not meet may change places without a difference.
#[derive(Clone, Copy, Default)]
pub struct Touch {
    reads: u32,
    changes: u32,
}

impl Touch {
    /// The marks and the order of fetches to them. The order of two fetches of different keys is of no
    /// account, since their numbers are never compared.
    const MARKS: u32 = 1;

    fn of(place: Place, objects: &[usize]) -> u32 {
        objects.iter().fold(0, |all, object| all | 1 << (1 + object * 5 + place as usize))
    }

    pub fn meets(self, other: Touch) -> bool {
        self.changes & (other.reads | other.changes) | self.reads & other.changes != 0
    }
}

#[derive(Clone, Copy)]
enum Place {
    Upstream,
    Delivered,
    Table,
    Store,
    Flight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteStep {
    Apply,
    Invalidate,
    Deliver,
}

/// What one machine does next.
enum Machine {
    Looks(Reader),
    Begins(Reader, u64),
    Waits(Reader, u64, Waiting),
    FallsBack(Reader, u64),
    ReadsForItself(Reader, u64),
    Refreshes(Reader),
    FetchReads(Fetch),
    FetchShares(Fetch, u64),
    FetchEnds(Fetch, u64),
    Writes(usize, &'static [WriteStep]),
    Done,
}

struct Fetch {
    object: usize,
    fate: Fate,
    fill: Fill<NoAnswer>,
}

struct Waiting {
    landing: Pin<Box<dyn Future<Output = Landed>>>,
    woken: Arc<Woken>,
}

enum Landed {
    Body(Option<Bytes>),
    Alone,
    Failed,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Waiting {
    fn new(waiter: Waiter<NoAnswer>) -> Self {
        let landing = Box::pin(async {
            match waiter.landing().await {
                Landing::Shared(_, _, body) => Landed::Body(body.collect().await.ok().map(|b| b.to_bytes())),
                Landing::Alone | Landing::Apart => Landed::Alone,
                Landing::Failed(NoAnswer) => Landed::Failed,
            }
        });
        Self { landing, woken: Arc::new(Woken(AtomicBool::new(true))) }
    }
}

/// How a write went.
#[derive(Clone, Default)]
struct Written {
    applied: Vec<(usize, u64)>,
    promised: Vec<(usize, u64)>,
}

/// One run of a plan.
pub struct World<'w> {
    core: &'w Core,
    plan: &'w Plan<'w>,
    mutation: Option<Mutation>,
    machines: Vec<Machine>,
    written: Vec<Written>,
    /// The version of each object at the API.
    upstream: [u64; OBJECTS],
    /// The version of each object that some client was told of.
    delivered: [u64; OBJECTS],
    /// The number of the newest flight of each key, and of the entry last seen in the store.
    newest: [Option<Sequence>; OBJECTS],
    stored: [Option<Sequence>; OBJECTS],
    fetches: usize,
    outcome: Outcome,
    spare: [Vec<Waiter<NoAnswer>>; OBJECTS],
    trace: Vec<(usize, &'static str)>,
}

impl<'w> World<'w> {
    pub fn new(core: &'w Core, plan: &'w Plan<'w>, mutation: Option<Mutation>) -> Self {
        core.keys.iter().for_each(|key| core.memory.remove(*key));
        let mut machines: Vec<Machine> = plan.readers.iter().map(|reader| Machine::Looks(*reader)).collect();
        machines.extend(plan.refreshes.iter().map(|refresh| Machine::Refreshes(*refresh)));
        // The fetch that a machine begins has its place at a fixed distance, in whatever order they begin.
        machines.extend((0..machines.len()).map(|_| Machine::Done).collect::<Vec<_>>());
        for (number, write) in plan.writes.iter().enumerate() {
            use WriteStep::{Apply, Deliver, Invalidate};
            let steps: &[&[WriteStep]] = match mutation {
                Some(Mutation::NoInvalidation) => &[&[Apply, Deliver]],
                Some(Mutation::InvalidationBeforeTheWrite) => &[&[Invalidate, Apply, Deliver]],
                Some(Mutation::InvalidationAfterDelivery) => &[&[Apply, Deliver, Invalidate]],
                _ if write.outcome_known => &[&[Apply, Invalidate, Deliver]],
                _ => &[&[Apply], &[Invalidate, Deliver]],
            };
            machines.extend(steps.iter().map(|steps| Machine::Writes(number, steps)));
        }
        assert!(machines.len() <= u64::BITS as usize, "a machine is a bit of a sleep set");
        Self {
            core,
            plan,
            mutation,
            machines,
            written: vec![Written::default(); plan.writes.len()],
            upstream: [0; OBJECTS],
            delivered: [0; OBJECTS],
            newest: [None; OBJECTS],
            stored: [None; OBJECTS],
            fetches: 0,
            outcome: vec![None; plan.readers.len()],
            spare: Default::default(),
            trace: Vec::new(),
        }
    }

    /// The machines that can step, with what their steps touch.
    pub fn able(&self) -> Vec<(usize, Touch)> {
        let able = |machine: &Machine| match machine {
            Machine::Done => false,
            Machine::Waits(_, _, waiting) => waiting.woken.0.load(Ordering::SeqCst),
            _ => true,
        };
        let numbered = self.machines.iter().enumerate().filter(|(_, machine)| able(machine));
        numbered.map(|(number, machine)| (number, self.touch(machine))).collect()
    }

    fn touch(&self, machine: &Machine) -> Touch {
        use Place::{Delivered, Flight, Store, Table, Upstream};
        let all = |places: &[Place], objects: &[usize]| {
            places.iter().fold(0, |all, place| all | Touch::of(*place, objects))
        };
        match machine {
            Machine::Looks(r) => {
                Touch { reads: Touch::MARKS | all(&[Delivered, Store], &[r.object]), changes: 0 }
            }
            Machine::Begins(r, _) | Machine::Refreshes(r) => {
                let reads = Touch::MARKS | all(&[Store, Flight], &[r.object]);
                Touch { reads, changes: all(&[Table], &[r.object]) }
            }
            Machine::Waits(r, ..) => Touch { reads: all(&[Flight], &[r.object]), changes: 0 },
            Machine::FallsBack(r, _) => {
                Touch { reads: Touch::MARKS | all(&[Store], &[r.object]), changes: 0 }
            }
            Machine::ReadsForItself(r, _) => Touch { reads: all(&[Upstream], &[r.object]), changes: 0 },
            Machine::FetchReads(f) => Touch { reads: all(&[Upstream], &[f.object]), changes: 0 },
            Machine::FetchShares(f, _) => Touch { reads: 0, changes: all(&[Flight, Table], &[f.object]) },
            Machine::FetchEnds(f, _) => {
                // Under `NumberedAtTheStore` it takes its number here.
                Touch { reads: Touch::MARKS, changes: all(&[Flight, Table, Store], &[f.object]) }
            }
            Machine::Writes(number, steps) => {
                let changed = self.plan.writes[*number].changes;
                match steps[0] {
                    WriteStep::Apply => Touch { reads: 0, changes: all(&[Upstream], changed) },
                    WriteStep::Invalidate => {
                        Touch { reads: all(&[Upstream], changed), changes: Touch::MARKS }
                    }
                    WriteStep::Deliver => Touch { reads: 0, changes: all(&[Delivered], changed) },
                }
            }
            Machine::Done => Touch::default(),
        }
    }

    /// Lets machine `number` do one step and checks what must hold after each.
    pub fn step(&mut self, number: usize) -> Result<(), Found> {
        let machine = std::mem::replace(&mut self.machines[number], Machine::Done);
        let (name, stepped) = match machine {
            Machine::Looks(reader) => ("looks", self.look(number, reader)),
            Machine::Begins(reader, floor) => ("begins", self.begin(number, reader, floor)),
            Machine::Waits(reader, floor, waiting) => ("waits", self.wait(number, reader, floor, waiting)),
            Machine::FallsBack(reader, floor) => ("falls back", self.fall_back(number, reader, floor)),
            Machine::ReadsForItself(reader, floor) => {
                ("reads for itself", self.got(number, reader, floor, self.upstream[reader.object]))
            }
            Machine::Refreshes(reader) => ("refreshes", Ok(self.refresh(number, reader))),
            Machine::FetchReads(fetch) => {
                let version = self.upstream[fetch.object];
                ("has its answer made", Ok(Machine::FetchShares(fetch, version)))
            }
            Machine::FetchShares(fetch, version) => ("arrives", Ok(self.share(fetch, version))),
            Machine::FetchEnds(fetch, version) => ("ends", self.end(fetch, version).map(|()| Machine::Done)),
            Machine::Writes(write, steps) => (
                self.write(write, steps[0]),
                Ok(match &steps[1..] {
                    [] => Machine::Done,
                    left => Machine::Writes(write, left),
                }),
            ),
            Machine::Done => unreachable!("only who is able steps"),
        };
        self.trace.push((number, name));
        self.machines[number] = stepped.map_err(|what| self.found(what))?;
        for object in 0..self.plan.objects.len() {
            let stored = self.core.memory.get(self.core.keys[object]).map(|entry| entry.sequence());
            if stored < self.stored[object] {
                return Err(self.found(format!("object {object}: an entry replaced a newer one")));
            }
            self.stored[object] = stored;
        }
        Ok(())
    }

    /// Checks what must hold when nobody can step any more.
    pub fn quiet(&mut self) -> Result<Outcome, Found> {
        if let Some(number) = self.machines.iter().position(|machine| !matches!(machine, Machine::Done)) {
            return Err(self.found(format!("machine {number} hangs")));
        }
        if !self.core.flights.is_empty() {
            return Err(self.found("a flight is left in the table".into()));
        }
        for object in 0..self.plan.objects.len() {
            let usable = self.core.usable(object).and_then(|entry| version(&entry.body()));
            if usable.is_some_and(|version| version < self.delivered[object]) {
                return Err(self.found(format!("object {object}: what is left in the store is older")));
            }
        }
        if self.plan.fetches.is_some_and(|expected| expected != self.fetches) {
            return Err(self.found(format!("{} fetches", self.fetches)));
        }
        Ok(std::mem::take(&mut self.outcome))
    }

    fn found(&self, what: String) -> Found {
        let fetching = self.plan.readers.len() + self.plan.refreshes.len();
        let name = |number: usize| match number.checked_sub(fetching) {
            None => format!("reader {number}"),
            Some(fetch) if fetch < fetching => format!("fetch of {fetch}"),
            Some(write) => format!("write {}", write - fetching),
        };
        let steps: Vec<_> = self.trace.iter().map(|(n, step)| format!("{} {step}", name(*n))).collect();
        Found { what, schedule: steps.join("; ") }
    }
}
