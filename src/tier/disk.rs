//! The last known state on disk: what a restart leaves of the store in memory.
//!
//! A directory with a secret, a table of what must not be forgotten ([`table`]), segments of records
//! ([`segment`]) and the meaning of numbers ([`layout`]). Entries are written behind: a killed process loses
//! those of its last second. That something was overtaken is written before an answer tells of it, and by
//! one system call, so it is there after a kill at any moment.
//!
//! What is in doubt counts for nothing: a table that is damaged, a machine that ended before the process
//! did, a disk that did not take a mark. Then the store is emptied, which costs hits.

mod era;
mod error;
mod home;
mod index;
mod layout;
mod marker;
mod resume;
mod segment;
mod table;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use self::era::Era;
use self::error::{BY_HAND, Troubles};
use self::home::Home;
use self::marker::Marker;
use self::table::{Place, ROW, Table};
use self::writer::Writer;
use super::{Loading, Tier};
use crate::cache::entry::Entry;
use crate::cache::groups::Marks;
use crate::cache::key::{Key, Secret};
use crate::clock::{Clock, Timestamp};
use crate::telemetry::Registry;

pub use error::{DiskError, Trouble};
pub use layout::{KnownSite, Layout};

/// A store of less holds nothing worth the trouble.
pub const LEAST_SIZE: u64 = 32 << 20;

/// What everything but the segments may have, in bytes: two tables, of which one was put aside, and what is
/// being replaced.
const BESIDE: u64 = 4 * table::BYTES as u64;

/// A segment has at most this, and a sixteenth of the whole: what goes first goes together.
const LARGEST_SEGMENT: u64 = 32 << 20;

/// How long a read may take before the API is asked without it.
const LOAD_WITHIN: Duration = Duration::from_millis(250);

/// How many reads there are at once: a disk that hangs must not take the threads of everything else.
const LOADS: usize = 16;

/// Before anything that a clock of ours can tell.
const LONG_AGO: Timestamp = Timestamp::from_nanos(1);

/// A silence is the same one if it seems to have begun within so long.
const SAME_SILENCE: Duration = Duration::from_secs(1);

/// Where a store is and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// The directory.
    pub path: PathBuf,
    /// The most that all of it may have, in bytes.
    pub size: u64,
}

/// A store on disk, in use by this process alone.
pub struct Disk {
    marker: Arc<Marker>,
    writer: Arc<Writer>,
    /// What the process before left, until it was taken over.
    before: Mutex<Option<Table>>,
    /// Since when upstreams had been down then.
    outages: Mutex<Vec<(u32, u64)>>,
    start: u64,
    threads: Mutex<Vec<JoinHandle<()>>>,
    loads: Arc<Semaphore>,
    loaded: [Counter; LOADED.len()],
}

/// What came of a read: the labels of `forebay_disk_loads_total`.
const LOADED: [&str; 3] = ["found", "lost", "late"];

/// A store, with what it brings.
pub struct Opened {
    /// The store.
    pub disk: Disk,
    /// The secret of its keys.
    pub secret: Secret,
    /// What the numbers in keys mean.
    pub layout: Layout,
}

impl Disk {
    /// Takes the store, or makes an empty one. Blocks for as long as reading what is known of its records
    /// takes.
    pub fn open(config: &DiskConfig, clock: &Clock, registry: &Registry) -> Result<Opened, DiskError> {
        let troubles = Troubles::new(registry, clock.clone());
        Self::take(config, clock, registry, troubles).inspect_err(|error| {
            let troubles = Troubles::new(registry, clock.clone());
            troubles.note_error(error, "this process serves without it: nothing will survive a restart");
        })
    }

    fn take(
        config: &DiskConfig,
        clock: &Clock,
        registry: &Registry,
        troubles: Troubles,
    ) -> Result<Opened, DiskError> {
        let home = Home::take(&config.path)?;
        let (secret, is_old) = home.secret()?;
        let left = left(&home, &secret, clock, is_old);
        let (table, era, layout) = match left {
            Left::Good(good) => *good,
            lost => {
                if let Left::Damaged = lost {
                    let what = format!("{}: damaged, or not of this version", config.path.display());
                    troubles.note(Trouble::Corrupt, &what, "it was put aside, and an empty store begins");
                }
                if let Left::Old(why) = lost {
                    tracing::warn!("cache.disk: {}; an empty store begins", why.as_str());
                }
                home.empty()?;
                (Table::new(&secret), Era::first(era::this_boot()), Layout::default())
            }
        };
        let is_new = table.get(Place::Clock) == 0;
        let file = match is_new {
            true => {
                Layout::remove(&home)?;
                home.replace("table", table.bytes())?
            }
            false => {
                let path = home.file("table");
                let options = &mut std::fs::OpenOptions::new();
                home::private(&path, options.read(true).write(true)).map_err(DiskError::at(&path))?
            }
        };
        let segments = home.segments()?;
        let start = table.get(Place::Clock);
        let marker =
            Arc::new(Marker::new(home, secret.clone(), era, clock.clone(), troubles, (file, &table)));
        marker.begin()?;
        let budget = config.size.max(LEAST_SIZE) - BESIDE;
        let segment_size = (budget / 16).min(LARGEST_SEGMENT);
        let writer = Arc::new(Writer::new(marker.clone(), budget, segment_size, registry));
        writer.scan(segments, start);
        let disk = Disk {
            marker,
            writer,
            before: Mutex::new((!is_new).then_some(table)),
            outages: Mutex::default(),
            start,
            threads: Mutex::default(),
            loads: Arc::new(Semaphore::new(LOADS)),
            loaded: LOADED.map(|result| registry.counter("forebay_disk_loads_total", &[("result", result)])),
        };
        Ok(Opened { disk, secret, layout })
    }

    /// The directory gave no answer within `time`, so this process serves without its store.
    pub fn gave_no_answer(config: &DiskConfig, time: Duration, clock: &Clock, registry: &Registry) {
        let what = format!("{}: no answer within {} s", config.path.display(), time.as_secs());
        let costs =
            format!("this process serves without it, and what is overtaken is noted nowhere; {BY_HAND}");
        Troubles::new(registry, clock.clone()).note(Trouble::Slow, &what, &costs);
    }

    /// Leaves nothing in the directory that a later process could take for the last known state: this one
    /// serves without noting there what it overtakes.
    pub fn discard(path: &Path) -> Result<(), DiskError> {
        if !path.exists() {
            return Ok(());
        }
        Home::take(path)?.empty()
    }

    /// Says once that [`Disk::discard`] could not, and what follows from that.
    pub fn was_not_discarded(error: &DiskError) {
        tracing::warn!("cache.disk: {error}; what is overtaken from now on is noted nowhere, and {BY_HAND}");
    }

    /// Since when the upstream `site` answered that it is down, when the process before ended.
    pub fn outage(&self, site: u32) -> Option<Timestamp> {
        let (_, since) = *self.outages.lock().iter().find(|(of, _)| *of == site)?;
        self.marker.era.here(since, self.marker.clock.now())
    }

    /// Counts trouble with the store, and logs what it `costs`.
    pub fn note(&self, trouble: Trouble, what: &str, costs: &str) {
        self.marker.troubles.note(trouble, &what, costs);
    }

    /// The numbers in keys are about to mean something else. Until they are told anew the store counts for
    /// nothing.
    pub fn layout_changes(&self) {
        if let Err(error) = Layout::remove(&self.marker.home) {
            self.marker.give_up(&error);
        }
    }

    /// What the numbers in keys mean from now on.
    pub fn layout_is(&self, layout: &Layout) {
        if let Err(error) = layout.save(&self.marker.home, &self.marker.secret) {
            self.marker.troubles.note_error(&error, "the store will be empty after a restart");
        }
    }

    /// Writes what waits, and that the end was orderly. Blocks for as long as that takes.
    pub fn close(&self) {
        self.stop();
        if self.marker.is_broken() {
            return;
        }
        let closed = self.writer.sync().and_then(|()| self.marker.close());
        if let Err(source) = closed {
            let error = DiskError { path: self.marker.home.file("table"), source };
            self.marker.troubles.note_error(&error, "the store will not survive the end of the machine");
        }
        self.marker.home.release();
    }

    fn stop(&self) {
        self.writer.stop();
        let mut threads = self.threads.lock();
        let mut threads = threads.drain(..);
        // What is written last may have marks of its own.
        let _writer = threads.next().map(JoinHandle::join);
        self.marker.stop();
        threads.for_each(|thread| drop(thread.join()));
    }
}

/// What is known of the time before a store was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing: anybody may have written.
    Unknown,
    /// There was none.
    First,
}

/// How an upstream stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Which.
    pub site: u32,
    /// Since when it gives no answer at all.
    pub silent: Option<Timestamp>,
    /// Since when it answers that it is down.
    pub down: Option<Timestamp>,
}

fn one(number: u64) -> [u64; ROW] {
    let mut numbers = [0; ROW];
    numbers[0] = number;
    numbers
}

/// What a process before left.
enum Left {
    Good(Box<(Table, Era, Layout)>),
    /// Nothing.
    Nothing,
    /// What does not count any more.
    Old(era::Lost),
    Damaged,
}

fn left(home: &Home, secret: &Secret, clock: &Clock, secret_is_old: bool) -> Left {
    let Ok(bytes) = home::read(&home.file("table")) else {
        let is_empty = home.segments().is_ok_and(|segments| segments.is_empty());
        return if is_empty { Left::Nothing } else { Left::Damaged };
    };
    let table = Table::read(bytes, secret).filter(|_| secret_is_old);
    let (Some(table), Some(layout)) = (table, Layout::load(home, secret)) else { return Left::Damaged };
    match Era::after(&table, era::this_boot(), clock) {
        Ok(era) => Left::Good(Box::new((table, era, layout))),
        Err(why) => Left::Old(why),
    }
}

impl Tier for Disk {
    fn keep(&self, key: Key, entry: &Arc<Entry>) {
        self.writer.keep(key, entry);
    }

    fn has(&self, key: Key) -> bool {
        !self.marker.is_broken() && self.writer.has(key)
    }

    fn load(&self, key: Key) -> Loading<'_> {
        Box::pin(async move {
            let [found, lost, late] = &self.loaded;
            let Ok(place) = self.loads.clone().try_acquire_owned() else {
                late.increment(1);
                return None;
            };
            let writer = self.writer.clone();
            let read = tokio::task::spawn_blocking(move || {
                let _place = place;
                writer.read(key)
            });
            match tokio::time::timeout(LOAD_WITHIN, read).await {
                Ok(Ok(Some(entry))) => {
                    found.increment(1);
                    Some(entry)
                }
                Ok(_) => {
                    lost.increment(1);
                    None
                }
                Err(_) => {
                    late.increment(1);
                    let costs = "the API is asked without it";
                    self.marker.troubles.note(Trouble::Slow, &"an entry was not read in time", costs);
                    None
                }
            }
        })
    }

    fn is_forgotten(&self, key: Key, entry: &Entry) -> bool {
        self.marker.is_broken() || self.marker.is_forgotten(key, entry.sequence().as_u64())
    }

    fn forget(&self, key: Key) {
        if self.writer.is_anywhere(key) {
            // Before it is taken out: whoever puts it in meanwhile looks at the mark first.
            self.marker.forget(key);
            self.writer.remove(key);
            self.marker.written();
        }
    }

    fn forget_where(&self, gone: &dyn Fn(Key, &Entry) -> bool) {
        let mut picked: Vec<Key> = Vec::new();
        picked.extend(
            self.writer.waiting().iter().filter(|(key, entry)| gone(*key, entry)).map(|(key, _)| key),
        );
        let keys = self.writer.index.lock().keys();
        picked.extend(keys.into_iter().filter(|key| self.writer.read(*key).is_some_and(|e| gone(*key, &e))));
        for key in picked {
            self.marker.forget(key);
            self.writer.remove(key);
        }
        self.marker.written();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
