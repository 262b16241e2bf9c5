//! What must be there after a kill: marks, actors, accepted credentials, and that time passes.
//!
//! One thread writes the table; whoever changes something names the place and, where an answer depends on
//! it, waits for the thread. The thread takes each number when it writes it, so the latest one stands there
//! whatever the order in which places were named.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::era::Era;
use super::error::{BY_HAND, DiskError, Trouble, Troubles};
use super::home::Home;
use super::table::{self, ACTORS, KEYS, Place, ROW, Table};
use crate::cache::actors::{Name, Register};
use crate::cache::groups::{GroupId, Groups, Marks};
use crate::cache::key::{Key, Secret};
use crate::clock::{Clock, Timestamp};

/// How often it is noted that the process lives.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// How long an answer waits for its mark. A disk that takes longer costs this once, and is not waited for
/// again until it has caught up.
const PATIENCE: Duration = Duration::from_millis(250);

/// How many numbers of the logical clock are taken in advance, so that noting them is rare. More than a
/// process takes between two looks at them.
const AHEAD: u64 = 1 << 32;

const SECOND: u64 = 1_000_000_000;

/// The table, as this process goes on with it.
pub(super) struct Marker {
    pub home: Home,
    pub secret: Secret,
    pub era: Era,
    pub clock: Clock,
    pub troubles: Troubles,
    file: File,
    groups: Mutex<Weak<Groups>>,
    keys: Box<[AtomicU64]>,
    actors: Box<[AtomicU64]>,
    /// The other places, as they are to be written.
    others: Mutex<HashMap<Place, [u64; ROW]>>,
    reserved: AtomicU64,
    queue: Mutex<Queue>,
    work: Condvar,
    done: Condvar,
    broken: AtomicBool,
    emptied: AtomicBool,
}

#[derive(Default)]
struct Queue {
    places: HashSet<Place>,
    named: u64,
    written: u64,
    /// Somebody waited in vain, and the thread has not caught up since.
    late: bool,
    stopped: bool,
}

impl Marker {
    /// Goes on with `table`, which stands in `file`.
    pub fn new(
        home: Home,
        secret: Secret,
        era: Era,
        clock: Clock,
        troubles: Troubles,
        (file, table): (File, &Table),
    ) -> Self {
        let numbers = |places: usize, place: fn(usize) -> Place| {
            (0..places).map(|n| AtomicU64::new(table.get(place(n)))).collect()
        };
        Self {
            keys: numbers(KEYS, Place::Key),
            actors: numbers(ACTORS, Place::Actor),
            reserved: AtomicU64::new(table.get(Place::Clock)),
            home,
            secret,
            era,
            clock,
            troubles,
            file,
            groups: Mutex::default(),
            others: Mutex::default(),
            queue: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            broken: AtomicBool::new(false),
            emptied: AtomicBool::new(false),
        }
    }

    /// Begins to serve: nothing of before counts as closed, and no number is taken twice. What the next
    /// process must find is there when this returns.
    pub fn begin(&self) -> Result<(), DiskError> {
        let reserved = self.reserved.fetch_add(AHEAD, Ordering::SeqCst) + AHEAD;
        let now = self.clock.now();
        let numbers = [
            // First, so that a kill in between leaves a store that does not count on another machine.
            (Place::Closed, 0),
            (Place::Offset, self.era.offset),
            (Place::Boot, self.era.boot),
            (Place::Clock, reserved),
            (Place::Alive, self.era.at(now)),
            (Place::Wall, self.clock.wall_seconds()),
        ];
        let written = || numbers.iter().try_for_each(|(place, number)| self.put(*place, &[*number]));
        written().map_err(DiskError::at(&self.home.file("table")))
    }

    /// The groups whose marks these are.
    pub fn attach(&self, groups: &Arc<Groups>) {
        *self.groups.lock() = Arc::downgrade(groups);
    }

    /// Whether the store cannot be relied on any more.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Whether what was fetched for `key` at `sequence` is gone for good.
    pub fn is_forgotten(&self, key: Key, sequence: u64) -> bool {
        self.keys[key.spread() % KEYS].load(Ordering::SeqCst) >= sequence
    }

    /// What was fetched for `key` until now is gone for good, once it was [written](Marks::written).
    pub fn forget(&self, key: Key) {
        let place = key.spread() % KEYS;
        let Some(groups) = self.groups.lock().upgrade() else { return };
        self.keys[place].fetch_max(groups.next().as_u64(), Ordering::SeqCst);
        self.name([Place::Key(place)]);
    }

    /// Writes these numbers to this place soon.
    pub fn set(&self, place: Place, numbers: [u64; ROW]) {
        let known = self.others.lock().insert(place, numbers);
        if known != Some(numbers) {
            self.name([place]);
        }
    }

    /// The first number that stands, or will stand, at a place that was set.
    pub fn get(&self, place: Place) -> u64 {
        self.others.lock().get(&place).map_or(0, |numbers| numbers[0])
    }

    fn name(&self, places: impl IntoIterator<Item = Place>) {
        let mut queue = self.queue.lock();
        queue.places.extend(places);
        queue.named += 1;
        drop(queue);
        self.work.notify_one();
    }

    /// The thread: writes what was named until it is stopped.
    pub fn run(&self) {
        loop {
            let (places, until, stopped) = self.wait();
            if !self.is_broken() {
                let written = places.iter().try_for_each(|place| self.write(*place));
                match written.and_then(|()| self.note_alive()) {
                    Ok(()) => {}
                    Err(error) => self.fail(error),
                }
            } else if !self.emptied.load(Ordering::Relaxed) {
                // Until nothing is left that the next process could take for what it is not.
                self.emptied.store(self.home.empty().is_ok(), Ordering::Relaxed);
            }
            let mut queue = self.queue.lock();
            queue.written = until;
            queue.late = false;
            drop(queue);
            self.done.notify_all();
            if stopped {
                return;
            }
        }
    }

    fn wait(&self) -> (HashSet<Place>, u64, bool) {
        let mut queue = self.queue.lock();
        if queue.places.is_empty() && !queue.stopped {
            self.work.wait_for(&mut queue, ALIVE_EVERY);
        }
        (std::mem::take(&mut queue.places), queue.named, queue.stopped)
    }

    fn write(&self, place: Place) -> std::io::Result<()> {
        let number = match place {
            Place::Group(group) => match self.groups.lock().upgrade() {
                Some(groups) => groups.lasting(group),
                None => return Ok(()),
            },
            Place::Key(key) => self.keys[key].load(Ordering::SeqCst),
            Place::Actor(actor) => self.actors[actor].load(Ordering::SeqCst),
            place => {
                let numbers = self.others.lock().get(&place).copied().unwrap_or_default();
                let width = if matches!(place, Place::Accepted(_)) { ROW } else { 1 };
                return self.put(place, &numbers[..width]);
            }
        };
        self.put(place, &[number])
    }

    fn put(&self, place: Place, numbers: &[u64]) -> std::io::Result<()> {
        table::write(&self.file, &self.secret, place, numbers)
    }

    fn note_alive(&self) -> std::io::Result<()> {
        let latest = self.groups.lock().upgrade().map_or(0, |groups| groups.latest());
        let reserved = self.reserved.load(Ordering::SeqCst);
        if latest > reserved - AHEAD / 2 {
            self.put(Place::Clock, &[reserved + AHEAD])?;
            self.reserved.store(reserved + AHEAD, Ordering::SeqCst);
        }
        self.put(Place::Alive, &[self.era.at(self.clock.now())])?;
        self.put(Place::Wall, &[self.clock.wall_seconds()])
    }

    /// A mark may be missing from now on.
    fn fail(&self, source: std::io::Error) {
        self.give_up(&DiskError { path: self.home.file("table"), source });
    }

    /// Nothing of the store may come back.
    pub fn give_up(&self, error: &DiskError) {
        self.broken.store(true, Ordering::Relaxed);
        let is_emptied = self.home.empty().is_ok();
        self.emptied.store(is_emptied, Ordering::Relaxed);
        let costs = match is_emptied {
            true => "the store is given up until the next start, and emptied".to_owned(),
            false => format!("the store is given up until the next start; {BY_HAND}"),
        };
        self.troubles.note_error(error, &costs);
    }

    /// Ends the thread, when it has written what was named.
    pub fn stop(&self) {
        self.queue.lock().stopped = true;
        self.work.notify_one();
    }

    /// Writes that the end was orderly: what is in the store survives the machine too.
    pub fn close(&self) -> std::io::Result<()> {
        self.note_alive()?;
        self.file.sync_all()?;
        self.put(Place::Closed, &[1])?;
        self.file.sync_all()
    }

    fn actor(&self, site: u32, name: Name) -> (usize, u64) {
        let hash = self.secret.seal(b'w', &[&site.to_le_bytes(), &name.0.to_le_bytes()]);
        // Zero stands for several.
        (hash as usize % ACTORS, (hash >> 32).max(1))
    }
}

impl Marks for Marker {
    fn changed(&self, ids: &[GroupId]) {
        self.name(ids.iter().map(|id| Place::Group(id.place() as usize)));
    }

    fn written(&self) {
        let mut queue = self.queue.lock();
        let named = queue.named;
        while queue.written < named && !queue.late && !self.is_broken() && !queue.stopped {
            if self.done.wait_for(&mut queue, PATIENCE).timed_out() && queue.written < named {
                queue.late = true;
                drop(queue);
                let costs = "answers do not wait for it until it has caught up";
                self.troubles.note(Trouble::Slow, &"a mark was not written in time", costs);
                return;
            }
        }
    }
}

impl Register for Marker {
    fn wrote(&self, site: u32, name: Name, now: Timestamp) {
        let (place, tag) = self.actor(site, name);
        // Rounded up: nobody is forgotten early.
        let at = self.era.at(now) / SECOND + 1;
        let noted = self.actors[place].fetch_update(Ordering::SeqCst, Ordering::SeqCst, |known| {
            let tag = if known == 0 || known & u64::from(u32::MAX) == tag { tag } else { 0 };
            let next = at.max(known >> 32) << 32 | tag;
            (next != known).then_some(next)
        });
        if noted.is_ok() {
            self.name([Place::Actor(place)]);
        }
    }

    fn wrote_before(&self, site: u32, name: Name) -> Option<Timestamp> {
        let (place, tag) = self.actor(site, name);
        let known = self.actors[place].load(Ordering::SeqCst);
        let is_it = known != 0 && [0, tag].contains(&(known & u64::from(u32::MAX)));
        is_it.then(|| self.era.here((known >> 32) * SECOND, self.clock.now())).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::groups::GroupName;
    use crate::telemetry::Registry;
    use crate::tier::disk::era;

    #[test]
    fn a_mark_that_is_not_taken_is_waited_for_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let (clock, registry) = (Clock::manual(), Registry::new());
        let home = Home::take(directory.path()).expect("usable");
        let (secret, _) = home.secret().expect("made");
        let table = Table::new(&secret);
        let file = home.replace("table", table.bytes()).expect("writable");
        let troubles = Troubles::new(&registry, clock.clone());
        let era = Era::first(era::this_boot());
        let marker = Arc::new(Marker::new(home, secret.clone(), era, clock, troubles, (file, &table)));
        marker.begin().expect("writable");
        let groups = Arc::new(Groups::new(secret));
        marker.attach(&groups);
        groups.resume(1, std::iter::empty(), marker.clone());
        let thread = std::thread::spawn({
            let marker = marker.clone();
            move || marker.run()
        });
        let guest = [groups.id(0, GroupName::Named("guest/100"))];
        let slow = || registry.render().contains("forebay_disk_errors_total{kind=\"slow\"} 1");
        groups.invalidate(&guest);
        assert!(!slow());
        // As if the call that writes did not return: the thread waits for this before it.
        let hangs = marker.groups.lock();
        groups.invalidate(&guest);
        assert!(slow());
        for _ in 0..20 {
            groups.invalidate(&guest);
        }
        drop(hangs);
        let at = (Place::Group(guest[0].place() as usize), groups.latest());
        marker.stop();
        thread.join().expect("it ends");
        let bytes = super::super::home::read(&marker.home.file("table")).expect("there");
        let table = Table::read(bytes, &marker.secret).expect("whole");
        assert_eq!(table.get(at.0), at.1, "it has caught up");
        assert!(slow(), "nobody else waited in vain");
    }
}
