//! What is kept warm, and when each is due.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::{Asker, Attempt, Made, SyncJob};
use crate::cache::key::Key;
use crate::cache::pace::{Found, Pace, Paces};
use crate::clock::Timestamp;
use crate::telemetry::Registry;

/// How many answers are kept warm in all. Each has the fields of a request, and costs a call now and then
/// although nobody waits.
const MOST: usize = 10_000;

/// A fetch comes up to this part of its time early, so that not all of one burst come at once again.
const JITTER: f64 = 0.1;

/// What is kept warm for all upstreams; it outlives every reload.
pub struct Warm {
    table: Mutex<Table>,
    stirred: Notify,
    kept: Gauge,
    turned_away: Counter,
}

#[derive(Default)]
struct Table {
    kept: HashMap<Key, Kept>,
    due: BTreeSet<(u32, Timestamp, Key)>,
    /// Upstreams with a job whose key is another one now.
    lost_jobs: BTreeSet<u32>,
    /// What jobs name and no rule keeps, by upstream.
    unkept: HashMap<u32, Vec<String>>,
}

/// One answer.
pub(super) struct Kept {
    pub(super) site: u32,
    pub(super) asker: Arc<Asker>,
    pub(super) job: Option<SyncJob>,
    used: Timestamp,
    pub(super) pace: Pace,
    due: Timestamp,
    /// When a fetch last succeeded.
    pub(super) refreshed: Option<Timestamp>,
    pub(super) fetches: u64,
    pub(super) failed: u64,
    pub(super) is_running: bool,
}

/// One that is due.
pub(super) struct Wanted {
    pub(super) asker: Arc<Asker>,
    pub(super) job: Option<SyncJob>,
    pub(super) used: Timestamp,
}

impl Kept {
    /// What a client used, which its entry has just been fetched for.
    pub(super) fn used(site: u32, asker: Asker, paces: Paces, now: Timestamp) -> Self {
        Self { refreshed: Some(now), ..Self::new(site, asker, None, paces, now) }
    }

    /// What a job names.
    pub(super) fn named(site: u32, asker: Asker, job: SyncJob, now: Timestamp) -> Self {
        let paces = Paces { quick: job.every, slow: job.full };
        Self::new(site, asker, Some(job), paces, now)
    }

    fn new(site: u32, asker: Asker, job: Option<SyncJob>, paces: Paces, now: Timestamp) -> Self {
        Self {
            site,
            asker: Arc::new(asker),
            job,
            used: now,
            pace: Pace::new(paces),
            due: now,
            refreshed: None,
            fetches: 0,
            failed: 0,
            is_running: false,
        }
    }
}

impl Warm {
    pub(in crate::proxy) fn new(registry: &Registry) -> Self {
        Self {
            table: Mutex::default(),
            stirred: Notify::new(),
            kept: registry.gauge("forebay_warm_entries", &[]),
            turned_away: registry.counter("forebay_warm_rejected_total", &[]),
        }
    }

    /// Keeps `kept` warm, which was fetched for a client just now. What is known of it stays; how it is asked
    /// for is as that client did.
    pub(super) fn keep(&self, key: Key, mut kept: Kept, now: Timestamp) {
        let mut table = self.table.lock();
        match table.kept.get(&key) {
            Some(known) => {
                kept.pace = known.pace;
                kept.fetches = known.fetches;
                kept.failed = known.failed;
                kept.is_running = known.is_running;
                if known.job.is_some() {
                    // The job asks with the upstream's own credential, for whoever may share that.
                    return;
                }
            }
            None if table.kept.len() >= MOST => return self.turned_away.increment(1),
            None => {}
        }
        let due = now.after(early(kept.pace.interval()));
        table.put(key, kept, due);
        self.kept.set(table.kept.len() as f64);
        drop(table);
        self.stirred.notify_waiters();
    }

    /// The jobs of an upstream, in place of those before: what is known of those that stay stays.
    pub(super) fn take_jobs(&self, site: u32, jobs: Vec<(Key, Kept)>, unkept: Vec<String>) {
        let mut table = self.table.lock();
        let stays = |key: &Key| jobs.iter().any(|(job, _)| job == key);
        let gone = |(key, kept): (&Key, &Kept)| {
            (kept.site == site && kept.job.is_some() && !stays(key)).then_some(*key)
        };
        let gone: Vec<Key> = table.kept.iter().filter_map(gone).collect();
        gone.into_iter().for_each(|key| table.forget(key));
        for (key, job) in jobs {
            let due = job.due;
            match table.kept.get_mut(&key) {
                Some(known) => (known.asker, known.job) = (job.asker, job.job),
                None => table.put(key, job, due),
            }
        }
        table.lost_jobs.remove(&site);
        table.unkept.insert(site, unkept);
        self.kept.set(table.kept.len() as f64);
        drop(table);
        self.stirred.notify_waiters();
    }

    /// Whether a job has to be looked at anew.
    pub(super) fn has_lost_a_job(&self, site: u32) -> bool {
        self.table.lock().lost_jobs.contains(&site)
    }

    /// Whether anything of an upstream is kept warm.
    pub(super) fn has_any(&self, site: u32) -> bool {
        let table = self.table.lock();
        table.kept.values().any(|kept| kept.site == site)
    }

    /// Waits until there may be something else to do than when this was made.
    pub(super) fn stirred(&self) -> Notified<'_> {
        self.stirred.notified()
    }

    /// The rules or the jobs of an upstream are others now.
    pub(in crate::proxy) fn stir(&self) {
        self.stirred.notify_waiters();
    }

    /// Makes everything of an upstream due now, and says how much that is.
    pub(super) fn trigger(&self, site: u32, now: Timestamp) -> usize {
        let mut table = self.table.lock();
        let idle: Vec<Key> = table
            .kept
            .iter()
            .filter(|(_, kept)| kept.site == site && !kept.is_running)
            .map(|(key, _)| *key)
            .collect();
        idle.iter().for_each(|key| table.set_due(*key, now));
        drop(table);
        self.stirred.notify_waiters();
        idle.len()
    }

    /// Up to `most` of an upstream that are due, which are under way from now on.
    pub(super) fn due(&self, site: u32, now: Timestamp, most: usize) -> Vec<(Key, Wanted)> {
        let mut table = self.table.lock();
        let due: Vec<Key> = (table.due.iter())
            .skip_while(|(other, ..)| *other < site)
            .take_while(|(other, due, _)| *other == site && *due <= now)
            .take(most)
            .map(|(.., key)| *key)
            .collect();
        due.into_iter().filter_map(|key| Some((key, table.start(key)?))).collect()
    }

    /// What became of one that was under way.
    pub(super) fn fetched(&self, key: Key, attempt: Attempt, now: Timestamp) {
        let mut table = self.table.lock();
        let Some(kept) = table.kept.get_mut(&key) else { return };
        kept.is_running = false;
        match attempt {
            Attempt::Later(rest) => table.set_due(key, now.after(rest)),
            Attempt::Over => {
                let (site, is_job) = (kept.site, kept.job.is_some());
                table.forget(key);
                if is_job {
                    table.lost_jobs.insert(site);
                }
            }
            Attempt::Made(Made { found, paces, left, used }) => {
                kept.used = kept.used.max(used);
                kept.fetches += 1;
                kept.pace.found(found, paces);
                match found {
                    Found::Nothing => kept.failed += 1,
                    Found::Same | Found::Changed => kept.refreshed = Some(left),
                }
                let due = left.after(early(kept.pace.interval()));
                table.set_due(key, due);
            }
        }
        self.kept.set(table.kept.len() as f64);
    }

    /// Everything of an upstream, and what its jobs name without a rule that keeps it.
    pub(super) fn of<T>(&self, site: u32, view: impl Fn(Key, &Kept) -> T) -> (Vec<T>, Vec<String>) {
        let table = self.table.lock();
        let kept = table.kept.iter().filter(|(_, kept)| kept.site == site);
        (
            kept.map(|(key, kept)| view(*key, kept)).collect(),
            table.unkept.get(&site).cloned().unwrap_or_default(),
        )
    }
}

impl Table {
    fn put(&mut self, key: Key, kept: Kept, due: Timestamp) {
        let is_running = kept.is_running;
        self.forget(key);
        self.kept.insert(key, kept);
        if !is_running {
            self.set_due(key, due);
        }
    }

    fn set_due(&mut self, key: Key, due: Timestamp) {
        if let Some(kept) = self.kept.get_mut(&key) {
            self.due.remove(&(kept.site, kept.due, key));
            kept.due = due;
            self.due.insert((kept.site, due, key));
        }
    }

    fn start(&mut self, key: Key) -> Option<Wanted> {
        let kept = self.kept.get_mut(&key)?;
        kept.is_running = true;
        self.due.remove(&(kept.site, kept.due, key));
        Some(Wanted { asker: kept.asker.clone(), job: kept.job.clone(), used: kept.used })
    }

    fn forget(&mut self, key: Key) {
        if let Some(kept) = self.kept.remove(&key) {
            self.due.remove(&(kept.site, kept.due, key));
        }
    }
}

/// A rest, somewhat earlier than it says.
fn early(rest: Duration) -> Duration {
    rest.mul_f64(1.0 - JITTER * fastrand::f64())
}
