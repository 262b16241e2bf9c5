//! The state of the model: its cells and all that happened to them ([`super::history`]), tasks, credentials and
//! the answers that it gave.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use forebay::clock::{Clock, Timestamp};

use super::answering::Answering;
use super::cells::{Cell, GUESTS, PASSING_GUESTS, PRINCIPALS, Read, Shape, Write, node_of, vmid};
use super::history::{Cause, CellState, Change, Stamp, WriteRecord, milliseconds};
use super::people::People;
use super::tasks::Task;
use super::weather::Weather;

/// An answer that the API formed. What it is for and what it shows is known here alone; the answer carries
/// its number, which nobody could guess.
pub struct Answer {
    /// The target that it was formed for.
    pub target: String,
    /// The credential that it was formed for.
    pub credential: Option<usize>,
    /// Its status, or the one in its body.
    pub status: u16,
    /// When it was formed.
    pub formed: Stamp,
    /// When the last of its bytes was written; not yet if `None`.
    pub sent: Option<Stamp>,
    /// The versions that it shows, or that a write left in effect.
    pub shows: Vec<(Cell, usize)>,
    /// The tasks whose end it shows.
    pub ended: Vec<usize>,
    /// The tasks that it shows running.
    pub running: Vec<usize>,
    /// How many lines of the cluster's log it shows, with those before.
    pub lines: usize,
    /// The task that it names.
    pub names: Option<usize>,
    /// Whether it may be kept a second at most.
    pub in_transition: bool,
    /// Its content.
    pub body: Bytes,
}

/// A line of the cluster's log.
pub struct LogLine {
    /// Whose.
    pub node: usize,
    /// What it says.
    pub said: String,
    /// The task whose end it tells.
    pub ended: Option<usize>,
    /// When forebay's watch first read it, and which forebay.
    pub fed: Option<(Stamp, u32)>,
}

/// Something that will happen at the API by itself.
pub(super) struct Due {
    pub step: u64,
    pub at: Timestamp,
    pub what: Event,
}

pub(super) enum Event {
    Change(Vec<Cell>, Cause),
    End(usize),
}

/// The model.
pub struct World {
    /// Forebay's clock.
    pub clock: Clock,
    /// Where all that is random at the API comes from.
    pub rng: Rng,
    /// How many things have happened.
    ticks: u64,
    /// How many requests and ticks of the clock there have been: what the API does later counts by it.
    pub step: u64,
    /// The cells, by their place.
    pub cells: Vec<CellState>,
    /// Whether the guests that come and go are there.
    pub exists: HashMap<usize, bool>,
    /// Credentials and rights.
    pub people: People,
    /// What may be read, by its path.
    pub reads: HashMap<String, Read>,
    /// Every answer.
    pub answers: HashMap<u128, Answer>,
    /// Every task.
    pub tasks: Vec<Task>,
    /// The cluster's log, the newest line last.
    pub log: Vec<LogLine>,
    /// The tasks by their id.
    pub by_upid: HashMap<String, usize>,
    /// Every write.
    pub writes: Vec<WriteRecord<Write>>,
    /// The cells that are written to and looked at most.
    pub focus: Vec<Cell>,
    /// The reads that are asked for most.
    pub hot: Vec<Read>,
    /// The credentials that are used most.
    pub active: Vec<usize>,
    /// What goes wrong at the moment.
    pub weather: Weather,
    /// How often forebay was started.
    pub generation: u32,
    /// Validators that forebay gave, and the answers that they stand for.
    pub etags: HashMap<String, u128>,
    /// The latest events, for the report.
    pub trace: VecDeque<String>,
    /// When the write took effect that last changed who may do what, and when its client was told.
    pub access_changed: Option<Stamp>,
    /// The latter.
    pub access_told: Option<Stamp>,
    /// When the rules were last changed.
    pub reloaded: Option<Stamp>,
    /// Whether forebay reads the feed.
    pub has_feed: bool,
    /// Since when nothing breaks and time moves evenly.
    pub calm_since: Option<Timestamp>,
    /// What became of every call.
    pub answering: Answering,
    pub(super) due: Vec<Due>,
    traced: usize,
}

/// How many events a report shows, if `FOREBAY_TRACE` does not say otherwise.
const TRACED: usize = 150;

/// Up to so many milliseconds of a tick the feed is read in time.
const EVEN: u64 = 700;

/// The longest that the API does something after it was asked to, tasks included.
pub const LATEST: Duration = Duration::from_secs(3);

impl World {
    /// A cluster in which nothing has happened.
    pub fn new(clock: Clock, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = Self {
            people: People::new(&mut rng),
            rng,
            ticks: 0,
            step: 0,
            cells: Cell::all().map(|_| CellState::default()).collect(),
            exists: PASSING_GUESTS.map(|guest| (guest, true)).into(),
            reads: (Read::all().into_iter().map(|read| (read.path(), read)))
                .chain([("/access/permissions?path=/".to_owned(), Read::Permissions)])
                .chain(
                    ["/cluster/log?max=100", "/cluster/log?max=5000"]
                        .map(|path| (path.to_owned(), Read::Log)),
                )
                .collect(),
            answers: HashMap::new(),
            tasks: Vec::new(),
            log: Vec::new(),
            by_upid: HashMap::new(),
            writes: Vec::new(),
            focus: Vec::new(),
            hot: Vec::new(),
            active: Vec::new(),
            weather: Weather::CALM,
            generation: 0,
            etags: HashMap::new(),
            trace: VecDeque::new(),
            reloaded: None,
            access_changed: None,
            access_told: None,
            has_feed: false,
            calm_since: None,
            answering: Answering::default(),
            due: Vec::new(),
            traced: super::number("FOREBAY_TRACE").map_or(TRACED, |number| number as usize),
            clock,
        };
        let when = world.stamp();
        for cell in &mut world.cells {
            cell.history.push(Change { when, cause: Cause::Beginning });
        }
        world.look_elsewhere();
        world
    }

    /// Other clients come, and turn to other cells and to some of the reads that show them.
    pub fn look_elsewhere(&mut self) {
        self.active = (0..4).map(|_| self.people.any_valid(&mut self.rng)).collect();
        let mut cells: Vec<Cell> = Cell::all().filter(|cell| !cell.is_derived()).collect();
        self.rng.shuffle(&mut cells);
        cells.truncate(6);
        let mut reads = Read::all();
        reads.retain(|read| read.cells().iter().any(|cell| cells.contains(cell)));
        self.rng.shuffle(&mut reads);
        reads.truncate(10);
        reads.extend([Read::Tasks(None), Read::Permissions, Read::Constant]);
        if self.weather.unseen {
            // Few guests, and what is kept of them for long.
            cells = (0..2).map(|_| Cell::guest(self.rng.usize(..GUESTS - 2))).collect();
            let kept = ["config", "pending", "snapshot"];
            let of = |cell: &Cell| kept.map(|what| Read::Guest(cell.index(), what));
            reads = cells.iter().flat_map(of).collect();
        }
        if self.weather.rights {
            // Everybody looks at what is kept for long.
            self.active = (0..3).map(|_| self.people.any_valid(&mut self.rng)).collect();
            reads = vec![
                Read::Storages(None),
                Read::Storages(Some(0)),
                Read::Content(0, 0),
                Read::Guest(0, "config"),
            ];
            cells = (1..PRINCIPALS).map(Cell::rights).collect();
        }
        (self.focus, self.hot) = (cells, reads);
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.ticks
    }

    /// Now: the next of all events.
    pub fn stamp(&mut self) -> Stamp {
        self.ticks += 1;
        Stamp { tick: self.ticks, at: self.clock.now() }
    }

    /// Notes an event for the report.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.trace.len() >= self.traced {
            self.trace.pop_front();
        }
        let at = milliseconds(self.clock.now());
        let line = format!("{:>7} {at:>9} ms  {}", self.ticks, text());
        self.trace.push_back(line);
    }

    /// One more request or tick: what is due happens, and the neighbours may do something.
    pub fn advance_step(&mut self) {
        self.step += 1;
        self.run_due(self.clock.now());
        if self.rng.f32() < self.weather.behind {
            self.neighbour();
        }
    }

    /// The weather changes.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
        let calm = weather.fault == 0.0 && !weather.outage && !weather.lost && weather.tick <= EVEN;
        self.calm_since = calm.then(|| self.calm_since.unwrap_or(self.clock.now()));
    }

    /// Forebay was restarted or reloaded, or the clock has leapt.
    pub fn leapt(&mut self) {
        self.calm_since = self.calm_since.map(|_| self.clock.now());
    }

    /// Everything happens that is due by now or by `until`.
    pub fn run_due(&mut self, until: Timestamp) {
        while let Some(at) = self.due.iter().position(|due| due.step <= self.step || due.at <= until) {
            match self.due.remove(at).what {
                Event::Change(cells, cause) => self.change(&cells, cause),
                Event::End(task) => self.end(task),
            }
        }
    }

    /// `cells` change now.
    pub fn change(&mut self, cells: &[Cell], cause: Cause) {
        let when = self.stamp();
        for cell in cells {
            let state = &mut self.cells[cell.index()];
            state.history.push(Change { when, cause });
            let version = state.version();
            self.note(|| format!("{cell} is {version} by {cause:?}"));
        }
    }

    /// What `cells` are now.
    pub fn versions(&self, cells: &[Cell]) -> Vec<(Cell, usize)> {
        cells.iter().map(|cell| (*cell, self.cells[cell.index()].version())).collect()
    }

    /// Carries `write` out later.
    pub fn change_later(&mut self, write: &Write, cause: Cause) {
        let (mut step, at) = self.later();
        if self.weather.lost {
            // By the clock alone.
            step = u64::MAX;
        }
        self.due.push(Due { step, at, what: Event::Change(write.cells(), cause) });
        self.flip(write);
    }

    /// A time within [`LATEST`].
    pub(super) fn later(&mut self) -> (u64, Timestamp) {
        let at = self.clock.now().after(LATEST.mul_f32(self.rng.f32()));
        (self.step + self.rng.u64(1..60), at)
    }

    pub(super) fn flip(&mut self, write: &Write) {
        match write {
            Write::Create(guest) => drop(self.exists.insert(*guest, true)),
            Write::Delete(guest) => drop(self.exists.insert(*guest, false)),
            _ => {}
        }
    }

    /// Somebody who does not use forebay does something.
    fn neighbour(&mut self) {
        if self.rng.bool() || self.weather.rights {
            let cell = self.focus[self.rng.usize(..self.focus.len())];
            if cell.index() < GUESTS {
                let (node, said) = (node_of(cell.index()), format!("update VM {}: -x", vmid(cell.index())));
                self.log.push(LogLine { node, said, ended: None, fed: None });
                self.change(&[cell], Cause::Logged(self.log.len() - 1));
            } else {
                self.change(&[cell], Cause::Behind);
            }
        } else {
            let write = super::plan::any_write(&mut self.rng, &self.focus);
            if write.shape() == Shape::Task {
                self.begin_task(&write, "neighbour@pve", Cause::BehindTask);
            }
        }
    }

    /// Forebay's watch has been sent `answer`.
    pub fn fed(&mut self, id: u128, when: Stamp) {
        let Some(answer) = self.answers.get(&id).filter(|a| a.credential == Some(self.people.own)) else {
            return;
        };
        let generation = self.generation;
        let since = |fed: &mut Option<(Stamp, u32)>| {
            if fed.is_none_or(|(_, to)| to != generation) {
                *fed = Some((when, generation));
            }
        };
        answer.running.iter().chain(&answer.ended).for_each(|task| since(&mut self.tasks[*task].fed));
        self.log[..answer.lines].iter_mut().rev().take(100).for_each(|line| since(&mut line.fed));
    }

    /// Promises that from now on `cell` is shown at `version` or later.
    pub fn promise(&mut self, cell: Cell, version: usize, by: &str) {
        self.cells[cell.index()].promise(version, by);
    }

    /// All that is known of `cell`, and what happened lately.
    pub fn report(&self, cells: &[Cell]) -> String {
        let mut text: String = cells.iter().map(|cell| self.cells[cell.index()].report(cell)).collect();
        self.trace.iter().for_each(|line| text += &format!("{line}\n"));
        text
    }
}
