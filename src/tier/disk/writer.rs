//! The thread that writes entries, behind everybody's back: at most once a second or when enough has come
//! together, the latest of each key.

mod found;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Gauge};
use parking_lot::{Condvar, Mutex};

use super::error::DiskError;
use super::index::{Held, Index, Spot};
use super::marker::Marker;
use super::segment::{RecordHead, Segment, record};
use crate::cache::entry::Entry;
use crate::cache::groups::Groups;
use crate::cache::key::Key;
use crate::clock::Timestamp;
use crate::semantics::secrets;
use crate::telemetry::Registry;

/// A killed process loses what came in this time.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// What may wait to be written, in bytes. Beyond it nothing is added until some of it has been written.
const MOST_WAITING: u64 = 16 << 20;

/// What is enough to be written at once, in bytes.
const ENOUGH: u64 = 4 << 20;

/// How many records count at most: the index takes some 150 bytes for each.
const MOST_RECORDS: usize = 100_000;

/// After an error nothing is written for so long: a disk that is full is not asked for every entry.
const REST: Duration = Duration::from_secs(10);

/// What is kept and where.
pub(super) struct Writer {
    pub marker: Arc<Marker>,
    pub index: Mutex<Index>,
    groups: Mutex<Weak<Groups>>,
    /// What all segments together may have, and one of them.
    budget: u64,
    segment_size: u64,
    queue: Mutex<Queue>,
    work: Condvar,
    pub open: Mutex<Open>,
    dropped: [Counter; DROPPED.len()],
    entries: Gauge,
    bytes: Gauge,
}

/// Why an entry was not written: the labels of `forebay_disk_dropped_total`.
#[derive(Clone, Copy)]
enum Dropped {
    Queue,
    Large,
    Failed,
}

const DROPPED: [&str; 3] = ["queue", "large", "failed"];

#[derive(Default)]
struct Queue {
    waiting: HashMap<Key, Arc<Entry>>,
    bytes: u64,
    /// What is being written.
    taken: HashMap<Key, Arc<Entry>>,
    stopped: bool,
}

/// The segment that is written to.
#[derive(Default)]
pub(super) struct Open {
    pub current: Option<(Arc<Segment>, u64)>,
    next: u32,
    rests_until: Option<Timestamp>,
}

/// Records on their way to a segment.
struct Batch {
    bytes: Vec<u8>,
    spots: Vec<Spot>,
}

impl Writer {
    pub fn new(marker: Arc<Marker>, budget: u64, segment_size: u64, registry: &Registry) -> Self {
        let dropped =
            DROPPED.map(|reason| registry.counter("forebay_disk_dropped_total", &[("reason", reason)]));
        Self {
            marker,
            index: Mutex::default(),
            groups: Mutex::default(),
            budget,
            segment_size,
            queue: Mutex::default(),
            work: Condvar::new(),
            open: Mutex::default(),
            dropped,
            entries: registry.gauge("forebay_disk_entries", &[]),
            bytes: registry.gauge("forebay_disk_bytes", &[]),
        }
    }

    /// The groups that overtake entries.
    pub fn attach(&self, groups: &Arc<Groups>) {
        *self.groups.lock() = Arc::downgrade(groups);
    }

    /// Writes `entry` soon.
    pub fn keep(&self, key: Key, entry: &Arc<Entry>) {
        if self.marker.is_broken() {
            return;
        }
        let mut queue = self.queue.lock();
        let before = queue.waiting.get(&key).map_or(0, |before| before.weight());
        if queue.bytes + entry.weight() > MOST_WAITING {
            return self.count(Dropped::Queue);
        }
        queue.bytes = queue.bytes + entry.weight() - before;
        queue.waiting.insert(key, entry.clone());
        if queue.bytes >= ENOUGH {
            self.work.notify_one();
        }
    }

    /// Whether there may be a record of `key` that could still be shown.
    pub fn has(&self, key: Key) -> bool {
        let until = self.index.lock().until(key);
        until.is_some_and(|until| until > self.marker.era.at(self.marker.clock.now()))
    }

    /// Whether there is anything of `key`, on its way or written.
    pub fn is_anywhere(&self, key: Key) -> bool {
        let queue = self.queue.lock();
        // Both at once: what is taken is in the index before it is let go.
        queue.waiting.contains_key(&key)
            || queue.taken.contains_key(&key)
            || self.index.lock().until(key).is_some()
    }

    /// Entries that wait or are being written.
    pub fn waiting(&self) -> Vec<(Key, Arc<Entry>)> {
        let queue = self.queue.lock();
        queue.waiting.iter().chain(&queue.taken).map(|(key, entry)| (*key, entry.clone())).collect()
    }

    /// Takes `key` out.
    pub fn remove(&self, key: Key) {
        let mut queue = self.queue.lock();
        let waited = queue.waiting.remove(&key);
        queue.bytes -= waited.map_or(0, |entry| entry.weight());
        drop(queue);
        self.index.lock().remove(key);
    }

    fn count(&self, why: Dropped) {
        self.dropped[why as usize].increment(1);
    }

    /// The thread: writes what waits until it is stopped and nothing waits.
    pub fn run(&self) {
        loop {
            let (entries, stopped) = self.take();
            if !entries.is_empty() && !self.marker.is_broken() {
                self.write(&entries);
            }
            if self.marker.is_broken() {
                self.index.lock().clear();
            }
            self.queue.lock().taken.clear();
            self.measure();
            if stopped {
                return;
            }
        }
    }

    fn measure(&self) {
        let index = self.index.lock();
        self.entries.set(index.len() as f64);
        self.bytes.set(index.size() as f64);
    }

    pub fn stop(&self) {
        self.queue.lock().stopped = true;
        self.work.notify_one();
    }

    fn take(&self) -> (Vec<(Key, Arc<Entry>)>, bool) {
        let mut queue = self.queue.lock();
        if !queue.stopped && queue.bytes < ENOUGH {
            self.work.wait_for(&mut queue, WRITE_EVERY);
        }
        queue.taken = std::mem::take(&mut queue.waiting);
        queue.bytes = 0;
        (queue.taken.iter().map(|(key, entry)| (*key, entry.clone())).collect(), queue.stopped)
    }

    /// Writes these now.
    pub fn write(&self, entries: &[(Key, Arc<Entry>)]) {
        let mut open = self.open.lock();
        let now = self.marker.clock.now();
        if open.rests_until.is_some_and(|until| now < until) {
            return entries.iter().for_each(|_| self.count(Dropped::Failed));
        }
        open.rests_until = None;
        let mut batch = Batch { bytes: Vec::new(), spots: Vec::new() };
        for (key, entry) in entries {
            // What stands in a query may be a secret, and nothing of that kind is written anywhere.
            let is_secret =
                entry.target().split_once('?').is_some_and(|(_, query)| secrets::holds_secret(query));
            if is_secret || !self.is_current(entry) {
                continue;
            }
            let at = self.marker.era.at(entry.arrived());
            let usable = u64::try_from(entry.usable_for().as_nanos()).unwrap_or(u64::MAX);
            let content = entry.freeze(at).freeze();
            let head = RecordHead {
                key: *key,
                sequence: entry.sequence().as_u64(),
                until: at.saturating_add(usable),
                length: content.len() as u32,
            };
            if let Err(error) = self.add(&mut open, &mut batch, head, &content) {
                return self.fail(&mut open, error);
            }
        }
        if let Err(error) = self.flush(&mut open, &mut batch) {
            self.fail(&mut open, error);
        }
    }

    fn fail(&self, open: &mut Open, error: io::Error) {
        self.count(Dropped::Failed);
        if let Some((segment, 0)) = open.current.take() {
            // Nothing fitted into it, and each attempt would leave another one.
            let _stays_empty = self.remove_segment(&Held { segment, size: 0 });
        }
        open.rests_until = Some(self.marker.clock.now().after(REST));
        let error = DiskError { path: self.marker.home.file("segments"), source: error };
        self.marker.troubles.note_error(&error, "entries of this time will be missing after a restart");
    }

    /// Adds a record to the batch, which is written when its segment is full.
    fn add(&self, open: &mut Open, batch: &mut Batch, head: RecordHead, content: &Bytes) -> io::Result<()> {
        if head.size() > self.segment_size {
            self.count(Dropped::Large);
            return Ok(());
        }
        let filled = open.current.as_ref().map_or(0, |(_, size)| *size) + batch.bytes.len() as u64;
        if filled + head.size() > self.segment_size {
            self.flush(open, batch)?;
            open.current = None;
        }
        if open.current.is_none() {
            self.begin_segment(open, batch)?;
        }
        let (segment, size) = open.current.as_ref().expect("there is one, or it was just made");
        let at = size + batch.bytes.len() as u64;
        record(segment.number, at, &head, content, &self.marker.secret, &mut batch.bytes);
        batch.spots.push(Spot { segment: segment.number, at, head });
        Ok(())
    }

    fn flush(&self, open: &mut Open, batch: &mut Batch) -> io::Result<()> {
        let (bytes, spots) = (std::mem::take(&mut batch.bytes), std::mem::take(&mut batch.spots));
        let Some((segment, size)) = open.current.as_mut().filter(|_| !bytes.is_empty()) else {
            return Ok(());
        };
        segment.append(*size, &bytes)?;
        *size += bytes.len() as u64;
        let mut index = self.index.lock();
        index.grow(segment.number, *size);
        for spot in spots {
            if !self.marker.is_forgotten(spot.head.key, spot.head.sequence) {
                index.put(spot);
            }
        }
        Ok(())
    }

    /// Makes room for one more segment, and makes it. What still counts of the segments that go is carried
    /// over while it is less than half of all that fits; else the oldest is what is given up.
    fn begin_segment(&self, open: &mut Open, batch: &mut Batch) -> io::Result<()> {
        let mut carried = Vec::new();
        loop {
            let index = self.index.lock();
            let fits = index.size() + self.segment_size <= self.budget
                && index.segments() < self.most_segments()
                && index.len() < MOST_RECORDS;
            let oldest = if fits { None } else { index.oldest() };
            let carries = index.live() <= self.budget / 2 && index.len() < MOST_RECORDS / 2;
            drop(index);
            let Some((held, spots)) = oldest else { break };
            // What is carried over takes no more than one new segment.
            if carries && carried.is_empty() {
                let mut room = self.segment_size;
                let fitting = spots.iter().filter(|spot| {
                    let fits = spot.head.size() <= room;
                    room -= if fits { spot.head.size() } else { 0 };
                    fits
                });
                carried = fitting.filter_map(|spot| self.still_good(&held, spot)).collect();
            }
            self.remove_segment(&held)?;
        }
        let number = open.next;
        open.next += 1;
        let path = self.marker.home.file(&format!("{number:010}.segment"));
        let segment = Arc::new(Segment::create(number, path)?);
        self.index.lock().has_segment(Held { segment: segment.clone(), size: 0 });
        open.current = Some((segment, 0));
        carried.into_iter().try_for_each(|(head, content)| self.add(open, batch, head, &content))
    }

    fn remove_segment(&self, held: &Held) -> io::Result<()> {
        match std::fs::remove_file(&held.segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.index.lock().drop_segment(held.segment.number);
        Ok(())
    }

    /// Segments may be small: each process begins one of its own.
    fn most_segments(&self) -> usize {
        (self.budget / self.segment_size) as usize + 64
    }

    /// A record that could still be shown.
    fn still_good(&self, held: &Held, spot: &Spot) -> Option<(RecordHead, Bytes)> {
        let marker = &self.marker;
        let now = marker.clock.now();
        if spot.head.until <= marker.era.at(now) {
            return None;
        }
        let content = held.segment.content(spot.at, &spot.head, &marker.secret).ok()?;
        let entry = Entry::thaw(content.clone(), marker.era.thaw(now))?;
        self.is_current(&entry).then_some((spot.head, content))
    }

    /// Whether nothing has overtaken it.
    fn is_current(&self, entry: &Entry) -> bool {
        let groups = self.groups.lock().upgrade();
        groups.is_some_and(|groups| groups.is_current(entry.sequence(), entry.groups()))
    }

    /// Waits until everything that was written is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        let segments = self.index.lock().all_segments();
        segments.iter().try_for_each(|segment| segment.sync())
    }
}
