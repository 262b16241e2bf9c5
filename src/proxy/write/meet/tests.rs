//! The table under random orders of what may happen, with a model of an API behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Method;

use super::slot::{MOST_CALLERS, Met, Part, Place, Turn};
use super::table::{Arrival, Coming, Holding, MOST, Seat, Table, Ticket};
use crate::cache::groups::{GroupId, GroupName, Groups};
use crate::cache::key::Secret;
use crate::semantics::supersede::Content;

/// `/a` touches `/a/x` by its path and `/c` by what the rule names.
const PATHS: [&str; 4] = ["/a", "/a/x", "/b", "/c"];

/// What a write sets, of which path.
#[derive(Clone, Debug)]
struct Change {
    path: usize,
    fields: BTreeMap<&'static str, u64>,
}

/// A write's task.
struct Task {
    /// Of the write that began it, and the one that goes.
    change: Option<Change>,
    ticket: Option<Ticket>,
    /// Who is answered if there is no seat.
    caller: Option<usize>,
    before: Vec<Arc<Turn>>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Held,
    Waiting,
    Going,
}

struct World {
    table: Table<Change, usize>,
    groups: Arc<Groups>,
    tasks: Vec<Task>,
    /// What the API has, and what it should have if writes took effect in the order in which they came.
    state: BTreeMap<(usize, &'static str), u64>,
    wanted: BTreeMap<(usize, &'static str), u64>,
    answers: Vec<Vec<Part>>,
    sent: usize,
}

fn is_over(turn: &Turn) -> bool {
    turn.ended().now_or_never().is_some()
}

impl World {
    fn new(groups: &Arc<Groups>) -> Self {
        Self {
            table: Table::default(),
            groups: groups.clone(),
            tasks: Vec::new(),
            state: BTreeMap::new(),
            wanted: BTreeMap::new(),
            answers: Vec::new(),
            sent: 0,
        }
    }

    fn group(&self, path: usize) -> GroupId {
        self.groups.id(0, GroupName::Path(PATHS[path]))
    }

    fn place(&self, path: usize) -> Place {
        let shared = self.groups.id(0, GroupName::Named("named"));
        let named: &[GroupId] = if [0, 3].contains(&path) { &[shared] } else { &[] };
        Place { site: 0, path: Some(PATHS[path].to_owned()), named: named.into() }
    }

    fn apply(state: &mut BTreeMap<(usize, &'static str), u64>, change: &Change) {
        state.extend(change.fields.iter().map(|(field, value)| ((change.path, *field), *value)));
    }

    /// A write comes.
    fn arrive(&mut self, who: u128, change: Change, collapse: bool, holding: Holding) {
        let caller = self.answers.len();
        self.answers.push(Vec::new());
        Self::apply(&mut self.wanted, &change);
        let text = serde_json::to_vec(&change.fields).expect("texts and numbers");
        let json = "application/json";
        let content = Content::of(&Method::PUT, json, &Bytes::from(text), std::iter::empty());
        let target = who << 64 | change.path as u128;
        let values = change
            .fields
            .iter()
            .flat_map(|(name, value)| [u128::from(name.as_bytes()[0]), u128::from(*value)]);
        let same = values.fold(target, |same, n| same.wrapping_mul(1_000_003).wrapping_add(n));
        let coming = Coming {
            place: self.place(change.path),
            groups: [self.group(change.path)].into(),
            collapse,
            holding,
            write: Met { same, target, content, payload: change },
            caller,
        };
        let task = |change, ticket, caller, before, stage| Task { change, ticket, caller, before, stage };
        match self.table.arrive(&self.groups, coming) {
            Arrival::Joined => {}
            Arrival::Held(ticket, before) => {
                self.tasks.push(task(None, Some(ticket), None, before, Stage::Held));
            }
            Arrival::Goes(change, Seat::Taken(ticket), before) => {
                self.tasks.push(task(Some(change), Some(ticket), None, before, Stage::Waiting));
            }
            Arrival::Goes(change, Seat::None(caller), before) => {
                self.tasks.push(task(Some(change), None, Some(caller), before, Stage::Waiting));
            }
        }
        self.go();
    }

    /// One comes that goes with no other.
    fn pass(&mut self, change: Change) {
        let caller = self.answers.len();
        self.answers.push(Vec::new());
        Self::apply(&mut self.wanted, &change);
        let (ticket, before) = self.table.pass(self.place(change.path), Holding::Never);
        let stage = Stage::Waiting;
        self.tasks.push(Task { change: Some(change), ticket, caller: Some(caller), before, stage });
        self.go();
    }

    /// Everything goes that need not wait, and takes effect at once; what came last goes first if nothing but
    /// chance stands against it.
    fn go(&mut self) {
        for task in self.tasks.iter_mut().rev() {
            let is_released =
                || task.ticket.as_ref().is_some_and(|t| t.turn.released().now_or_never().is_some());
            if task.stage == Stage::Held && is_released() {
                task.stage = Stage::Waiting;
            }
            if task.stage == Stage::Waiting && task.before.iter().all(|turn| is_over(turn)) {
                task.stage = Stage::Going;
                if task.change.is_none() {
                    let ticket = task.ticket.as_ref().expect("what is held has one");
                    task.change = self.table.go(&self.groups, ticket);
                }
                if let Some(change) = &task.change {
                    Self::apply(&mut self.state, change);
                    self.sent += 1;
                }
            }
        }
    }

    /// The time of a task that holds is over, or the answer of one that goes comes.
    fn step(&mut self, task: usize) {
        match self.tasks[task].stage {
            Stage::Held => self.tasks[task].stage = Stage::Waiting,
            Stage::Waiting => {}
            Stage::Going => {
                let task = self.tasks.remove(task);
                let callers = task.ticket.as_ref().map_or_else(Vec::new, |ticket| self.table.close(ticket));
                if let Some(change) = &task.change {
                    self.groups.invalidate(&[self.group(change.path)]);
                }
                callers.into_iter().for_each(|(caller, part)| self.answers[caller].push(part));
                task.caller.into_iter().for_each(|caller| self.answers[caller].push(Part::Sent));
                task.ticket.iter().for_each(|ticket| self.table.end(ticket));
            }
        }
        self.go();
    }

    /// Lets everything end, and looks whether it was right.
    fn finish(mut self, seed: u64, in_order: bool) -> (usize, usize) {
        self.table.hold_no_more();
        self.go();
        let mut rounds = 0..100_000;
        while !self.tasks.is_empty() && rounds.next().is_some() {
            (0..self.tasks.len()).rev().for_each(|task| self.step(task));
        }
        assert!(self.tasks.is_empty(), "seed {seed}: something waits for ever");
        assert_eq!((self.table.len(), self.table.held()), (0, 0), "seed {seed}");
        let own = |part: &Part| matches!(part, Part::Sent | Part::Held);
        for (caller, parts) in self.answers.iter().enumerate() {
            assert_eq!(parts.len(), 1, "seed {seed}: {caller} has {parts:?}");
        }
        let sent = self.answers.iter().flatten().filter(|part| own(part)).count();
        assert_eq!(sent, self.sent, "seed {seed}: each call is somebody's own");
        if in_order {
            assert_eq!(self.state, self.wanted, "seed {seed}");
        }
        (self.answers.len(), sent)
    }
}

/// The clock that all worlds share: it is large, and only goes on.
fn groups() -> Arc<Groups> {
    Arc::new(Groups::new(Secret::from_bytes(&[7; 16])))
}

fn run(groups: &Arc<Groups>, seed: u64, urgent: bool) -> (usize, usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(groups);
    // Some worlds are small, so that much meets.
    let (paths, clients) = (random.usize(1..=PATHS.len()), random.u128(1..3));
    for _ in 0..60 {
        let path = PATHS.len() - 1 - random.usize(..paths);
        let mut fields = BTreeMap::from([("p", random.u64(1..3))]);
        match random.u8(..8) {
            0 => fields = BTreeMap::from([("q", random.u64(1..3))]),
            1 => drop(fields.insert("q", random.u64(1..3))),
            _ => {}
        }
        let change = Change { path, fields };
        match random.u8(..12) {
            0 => world.pass(change),
            1..=6 => {
                let holding = match random.u8(..8) {
                    0..=4 => Holding::Window,
                    5 if urgent => Holding::Urgent,
                    _ => Holding::Never,
                };
                world.arrive(random.u128(..clients), change, random.bool(), holding);
            }
            7 if random.u8(..4) == 0 => {
                world.table.release(Some(0));
                world.go();
            }
            _ if !world.tasks.is_empty() => world.step(random.usize(..world.tasks.len())),
            _ => {}
        }
    }
    world.finish(seed, !urgent)
}

#[test]
fn every_write_takes_effect_in_its_order_or_is_superseded_and_everybody_is_answered_once() {
    let (mut written, mut sent) = (0, 0);
    let groups = groups();
    for seed in 0..200 {
        let (came, went) = run(&groups, seed, false);
        (written, sent) = (written + came, sent + went);
    }
    assert!(sent * 10 < written * 9, "{sent} of {written}: hardly any met");
}

#[test]
fn urgent_ones_lose_nobody() {
    let groups = groups();
    for seed in 0..100 {
        run(&groups, seed, true);
    }
}

#[test]
fn an_urgent_one_takes_what_it_supersedes_along_and_waits_for_nothing() {
    let change = |p| Change { path: 0, fields: BTreeMap::from([("p", p)]) };
    let mut world = World::new(&groups());
    world.arrive(1, change(1), false, Holding::Window);
    world.arrive(1, change(2), false, Holding::Window);
    world.arrive(1, change(3), false, Holding::Urgent);
    assert_eq!((world.sent, world.state.get(&(0, "p"))), (1, Some(&3)));
    // Something else at the same place is sent too, and not waited for.
    let other = Change { path: 0, fields: BTreeMap::from([("q", 1)]) };
    world.arrive(1, other, false, Holding::Window);
    world.arrive(1, change(4), false, Holding::Urgent);
    assert_eq!((world.sent, world.state.len()), (3, 2));
    let expected = vec![vec![Part::Replaced], vec![Part::Replaced], vec![Part::Sent]];
    while !world.tasks.is_empty() {
        world.step(0);
    }
    assert_eq!(world.answers[..3], expected);
}

#[test]
fn there_is_a_bound_for_all_and_one_for_each() {
    let change = |p| Change { path: 2, fields: BTreeMap::from([("p", p)]) };
    let mut world = World::new(&groups());
    for _ in 0..=MOST_CALLERS {
        world.arrive(1, change(1), true, Holding::Never);
    }
    assert_eq!((world.sent, world.table.len()), (2, 2), "one more is a call of its own");
    for who in 0..MOST as u128 {
        world.arrive(2 + who, change(1), true, Holding::Never);
    }
    assert_eq!(world.table.len(), MOST);
    assert!(world.table.turned_away() > 0);
    world.finish(0, true);
}
