//! The state of the model: its cells and all that happened to them, operations, tokens and the answers that it
//! gave.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use forebay::clock::{Clock, Timestamp};

use super::super::answering::Answering;
use super::super::history::{Cause, CellState, Change, Stamp, WriteRecord, milliseconds};
use super::super::weather::Weather;
use super::super::world::LATEST;
use super::cells::{Cell, GROUPS, Kind, LISTED, PRINCIPALS, SUBSCRIPTIONS};
use super::operations::Operation;
use super::people::{Lives, People};
use super::reads::{Read, Scope};
use super::writes::Write;

/// An answer that the API formed. The answer carries its number, which nobody could guess.
#[derive(Clone)]
pub struct Answer {
    /// The target that it was formed for.
    pub target: String,
    /// The token that it was formed for.
    pub credential: Option<usize>,
    /// Its status.
    pub status: u16,
    /// When it was formed.
    pub formed: Stamp,
    /// When the last of its bytes was written; not yet if `None`.
    pub sent: Option<Stamp>,
    /// The versions that it shows, or that a write left in effect.
    pub shows: Vec<(Cell, usize)>,
    /// The operation whose end it tells, and whether it runs.
    pub tells: Option<(usize, bool)>,
    /// The operation that a write began.
    pub names: Option<usize>,
    /// Whether it is an item of a list that was one.
    pub listed: bool,
    /// Whether something in it moves, so that it may be kept for a second at most.
    pub moves: bool,
    /// Its content as clients must get it: addresses in it lead to forebay.
    pub body: Bytes,
}

/// Something that will happen at the API by itself.
pub(super) struct Due {
    pub step: u64,
    pub at: Timestamp,
    pub what: Event,
}

pub(super) enum Event {
    Change(Write, Cause),
    End(usize),
}

/// The model.
pub struct World {
    /// Forebay's clock.
    pub clock: Clock,
    /// Where all that is random at the API comes from.
    pub rng: Rng,
    ticks: u64,
    /// How many requests and ticks of the clock there have been.
    pub step: u64,
    /// The cells, by their place.
    pub cells: Vec<CellState>,
    /// Whether what they stand for is there.
    pub exists: Vec<bool>,
    /// Tokens and rights.
    pub people: People,
    /// What may be read, by its path in small letters.
    pub reads: HashMap<String, Read>,
    /// Every answer.
    pub answers: HashMap<u128, Answer>,
    /// Every operation.
    pub operations: Vec<Operation>,
    /// The operations whose state shows in a resource.
    pub moving: HashMap<Cell, usize>,
    /// Every write.
    pub writes: Vec<WriteRecord<Write>>,
    /// The cells that are written to and looked at most.
    pub focus: Vec<Cell>,
    /// The reads that are asked for most.
    pub hot: Vec<Read>,
    /// The tokens that are used most.
    pub active: Vec<usize>,
    /// What goes wrong at the moment.
    pub weather: Weather,
    /// How often forebay was started.
    pub generation: u32,
    /// What was promised before it was started last.
    pub floors_before: Vec<usize>,
    /// Whether lists may be read in place of their items; then some lag behind them.
    pub few_calls: bool,
    /// The latest events, for the report.
    trace: VecDeque<String>,
    /// What became of every call.
    pub answering: Answering,
    pub(super) due: Vec<Due>,
    traced: usize,
}

/// How many events a report shows, if `FOREBAY_TRACE` does not say otherwise.
const TRACED: usize = 150;

impl World {
    /// Subscriptions in which nothing has happened.
    pub fn new(clock: Clock, lives: Lives, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let reads = Read::all().into_iter().filter(|read| !matches!(read, Read::Expanded(_)));
        let mut world = Self {
            people: People::new(clock.wall_seconds(), lives, &mut rng),
            rng,
            ticks: 0,
            step: 0,
            cells: Cell::all().map(|_| CellState::default()).collect(),
            exists: Cell::all().map(|_| true).collect(),
            reads: reads.map(|read| (read.path().to_ascii_lowercase(), read)).collect(),
            answers: HashMap::new(),
            operations: Vec::new(),
            moving: HashMap::new(),
            writes: Vec::new(),
            focus: Vec::new(),
            hot: Vec::new(),
            active: Vec::new(),
            weather: Weather::CALM,
            generation: 0,
            floors_before: Cell::all().map(|_| 0).collect(),
            few_calls: false,
            trace: VecDeque::new(),
            answering: Answering::default(),
            due: Vec::new(),
            traced: super::super::number("FOREBAY_TRACE").map_or(TRACED, |number| number as usize),
            clock,
        };
        let when = world.stamp();
        for cell in &mut world.cells {
            cell.history.push(Change { when, cause: Cause::Beginning });
        }
        world.turn_elsewhere();
        world
    }

    /// Other clients come, and turn to other cells and to some of the reads that show them.
    pub fn turn_elsewhere(&mut self) {
        self.active = (0..4).map(|_| self.people.any_valid(&mut self.rng)).collect();
        let mut cells: Vec<Cell> = Cell::all().filter(|cell| cell.kind != Kind::Rights).collect();
        self.rng.shuffle(&mut cells);
        cells.truncate(5);
        let mut reads = Read::all();
        reads.retain(|read| read.cells().iter().any(|cell| cells.contains(cell)));
        self.rng.shuffle(&mut reads);
        reads.truncate(7);
        // Lists with pages, and what is the same for everybody.
        let subscription = self.rng.usize(..SUBSCRIPTIONS);
        let kind = LISTED[self.rng.usize(..LISTED.len())];
        let scope = Scope::Subscription(subscription);
        reads.extend([Read::List(kind, scope), Read::All(scope), Read::Subscriptions, Read::Metadata]);
        if self.weather.unseen || self.weather.rights {
            // Few things, that are kept for long.
            let group = self.rng.usize(..GROUPS);
            let kinds = [Kind::Account, Kind::Network, Kind::Disk];
            cells = kinds.map(|kind| Cell { kind, at: group }).to_vec();
            reads = cells.iter().map(|cell| Read::Item(*cell)).collect();
            reads.push(Read::List(Kind::Account, Scope::Group(group)));
        }
        if self.few_calls {
            // What stands in lists, and what names it.
            let group = self.rng.usize(..GROUPS);
            let interfaces = [2 * group, 2 * group + 1].map(|at| Cell { kind: Kind::Interface, at });
            let address = Cell { kind: Kind::Address, at: group };
            cells = [&interfaces[..], &[address]].concat();
            reads = cells.iter().map(|cell| Read::Item(*cell)).collect();
            reads.extend([Kind::Interface, Kind::Machine].map(|kind| Read::List(kind, Scope::Group(group))));
            reads.push(Read::Item(Cell { kind: Kind::Machine, at: 2 * group }));
        }
        if self.weather.rights {
            self.active = (0..3).map(|_| self.people.any_valid(&mut self.rng)).collect();
        }
        (self.focus, self.hot) = (cells, reads);
    }

    /// How many events there were.
    pub fn happened(&self) -> u64 {
        self.ticks
    }

    /// Now: the next of all events.
    pub fn stamp(&mut self) -> Stamp {
        self.ticks += 1;
        Stamp { tick: self.ticks, at: self.clock.now() }
    }

    /// Notes an event for the report.
    pub fn write_down(&mut self, text: impl FnOnce() -> String) {
        if self.trace.len() >= self.traced {
            self.trace.pop_front();
        }
        let at = milliseconds(self.clock.now());
        let line = format!("{:>7} {at:>9} ms  {}", self.ticks, text());
        self.trace.push_back(line);
    }

    /// One more request or tick: what is due happens, and the neighbours may do something.
    pub fn one_more(&mut self) {
        self.step += 1;
        self.happen_until(self.clock.now());
        let wall = self.clock.wall_seconds();
        if self.people.any_is_over(wall) {
            let when = self.stamp();
            let renewed = self.people.renew(when, wall, &mut self.rng);
            if self.people.live_shortly() {
                // Whoever is told of the end goes on with the new one.
                let new =
                    |old: usize| renewed.iter().find(|(ended, _)| *ended == old).map_or(old, |(_, new)| *new);
                self.active.iter_mut().for_each(|active| *active = new(*active));
            }
        }
        if self.rng.f32() < self.weather.behind {
            self.neighbour();
        }
    }

    /// Everything happens that is due by now or by `until`.
    pub fn happen_until(&mut self, until: Timestamp) {
        while let Some(at) = self.due.iter().position(|due| due.step <= self.step || due.at <= until) {
            match self.due.remove(at).what {
                Event::Change(write, cause) => self.carry_out(write, cause),
                Event::End(operation) => self.end(operation),
            }
        }
    }

    /// What `write` changes changes now.
    pub fn carry_out(&mut self, write: Write, cause: Cause) {
        self.change(&write.cells(), cause);
        if let Some((cells, there)) = write.existence() {
            cells.into_iter().for_each(|cell| self.exists[cell.index()] = there);
        }
    }

    /// `cells` change now.
    pub fn change(&mut self, cells: &[Cell], cause: Cause) {
        let when = self.stamp();
        for cell in cells {
            let state = &mut self.cells[cell.index()];
            state.history.push(Change { when, cause });
            let version = state.version();
            self.write_down(|| format!("{cell} is {version} by {cause:?}"));
        }
    }

    /// What `cells` are now.
    pub fn versions(&self, cells: &[Cell]) -> Vec<(Cell, usize)> {
        cells.iter().map(|cell| (*cell, self.cells[cell.index()].version())).collect()
    }

    /// What `cell` was a while before now.
    pub fn version_before(&self, cell: Cell, lag: Duration) -> usize {
        let then = self.clock.now().before(lag);
        let history = &self.cells[cell.index()].history;
        history.iter().rposition(|change| change.when.at <= then).unwrap_or(0)
    }

    /// Carries `write` out later.
    pub fn carry_out_later(&mut self, write: Write, cause: Cause) {
        let (mut step, at) = self.later();
        if self.weather.lost {
            // By the clock alone.
            step = u64::MAX;
        }
        self.due.push(Due { step, at, what: Event::Change(write, cause) });
    }

    /// A time within [`LATEST`].
    pub(super) fn later(&mut self) -> (u64, Timestamp) {
        let at = self.clock.now().after(LATEST.mul_f32(self.rng.f32()));
        (self.step + self.rng.u64(1..60), at)
    }

    /// Somebody who does not use forebay does something.
    fn neighbour(&mut self) {
        if self.rng.bool() {
            let mut cell = self.focus[self.rng.usize(..self.focus.len())];
            if self.weather.rights && self.rng.u8(..4) == 0 {
                cell = Cell::rights(self.rng.usize(1..PRINCIPALS), cell.subscription());
            }
            self.change(&[cell], Cause::Behind);
        } else {
            let write = super::plan::any_write(&mut self.rng, &self.focus);
            if write.shapes() != [super::writes::Shape::AtOnce] {
                let shape = write.shapes()[self.rng.usize(..write.shapes().len())];
                self.begin_operation(write, shape, None);
            }
        }
    }

    /// Promises that from now on `cell` is shown at `version` or later.
    pub fn promise(&mut self, cell: Cell, version: usize, by: &str) {
        self.cells[cell.index()].promise(version, by);
    }

    /// All that is known of `cells`, and what happened lately.
    pub fn tell_of(&self, cells: &[Cell]) -> String {
        let mut text: String = cells.iter().map(|cell| self.cells[cell.index()].report(cell)).collect();
        self.trace.iter().for_each(|line| text += &format!("{line}\n"));
        text
    }
}

/// The shortest time for which what was written settles: what the API's own answers may lag.
pub const LEAST_SETTLE: Duration = Duration::from_secs(5);
