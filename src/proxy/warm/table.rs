//! What is kept warm, of all upstreams that are served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::passes::Passes;
use super::{Asker, Attempt, Made, SyncJob};
use crate::cache::key::Key;
use crate::cache::pace::{Found, Pace, Paces, Pass};
use crate::clock::Timestamp;
use crate::telemetry::Registry;

/// How many answers are kept warm in all. Each has the fields of a request, and costs a call now and then
/// although nobody waits.
const MOST: usize = 10_000;

/// A fetch comes up to this part of its time early, so that not all of one burst come at once again.
const JITTER: f64 = 0.1;

/// A pass is behind when what has waited longest has done so for longer than its own interval, and than it
/// takes two calls, one after the other, to find by default that the API hangs.
const BEHIND_AFTER: Duration = Duration::from_secs(120);

/// What is kept warm for all upstreams; it outlives every reload.
pub struct Warm {
    table: Mutex<Table>,
    stirred: Notify,
    kept: Gauge,
    turned_away: Counter,
}

/// By the number of the upstream, for those that are served.
#[derive(Default)]
struct Table(HashMap<u32, OfOne>);

/// What is kept warm of one upstream.
#[derive(Default)]
pub(super) struct OfOne {
    pub(super) kept: HashMap<Key, Kept>,
    /// The same keys.
    pub(super) passes: Passes,
    /// Whether the key of a job is another one now.
    has_lost_a_job: bool,
    /// What jobs name and no rule keeps.
    pub(super) unkept: Vec<String>,
}

/// One answer.
pub(super) struct Kept {
    asker: Arc<Asker>,
    pub(super) job: Option<SyncJob>,
    used: Timestamp,
    pub(super) pace: Pace,
    pub(super) fetches: u64,
    pub(super) failed: u64,
}

/// One that is due.
pub(super) struct Wanted {
    pub(super) key: Key,
    pub(super) pass: Pass,
    pub(super) asker: Arc<Asker>,
    pub(super) job: Option<SyncJob>,
    pub(super) used: Timestamp,
}

impl Kept {
    /// What a client used.
    pub(super) fn used(asker: Asker, paces: Paces, now: Timestamp) -> Self {
        Self::new(asker, None, paces, now)
    }

    /// What a job names.
    pub(super) fn named(asker: Asker, job: SyncJob, now: Timestamp) -> Self {
        let paces = Paces { quick: job.every, slow: job.full };
        Self::new(asker, Some(job), paces, now)
    }

    fn new(asker: Asker, job: Option<SyncJob>, paces: Paces, used: Timestamp) -> Self {
        Self { asker: Arc::new(asker), job, used, pace: Pace::new(paces), fetches: 0, failed: 0 }
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

    /// An upstream is served from now on.
    pub(in crate::proxy) fn serve(&self, site: u32) {
        self.table.lock().0.entry(site).or_default();
    }

    /// It is no longer, and nothing of it is kept warm, whatever may still be under way.
    pub(super) fn leave(&self, site: u32) {
        let mut table = self.table.lock();
        table.0.remove(&site);
        self.kept.set(table.len() as f64);
    }

    /// Keeps `kept` of an upstream warm, which a call that left at `left` has just fetched for a client. What
    /// is known of it stays; how it is asked for is as that client did.
    pub(super) fn keep(&self, site: u32, key: Key, mut kept: Kept, left: Timestamp, now: Timestamp) {
        let mut table = self.table.lock();
        let is_full = table.len() >= MOST;
        let Some(one) = table.0.get_mut(&site) else { return };
        match one.kept.get(&key) {
            // The job asks with the upstream's own credential, for whoever may share that.
            Some(known) if known.job.is_some() => return,
            Some(known) => {
                kept.pace = known.pace;
                kept.fetches = known.fetches;
                kept.failed = known.failed;
            }
            None if is_full => return self.turned_away.increment(1),
            None => {}
        }
        let due = now.after(early(kept.pace.interval()));
        one.put(key, kept, due, Some(left), now);
        self.kept.set(table.len() as f64);
        drop(table);
        self.stirred.notify_waiters();
    }

    /// The jobs of an upstream, in place of those before: what is known of those that stay stays.
    pub(super) fn take_jobs(&self, site: u32, jobs: Vec<(Key, Kept)>, unkept: Vec<String>, now: Timestamp) {
        let mut table = self.table.lock();
        let Some(one) = table.0.get_mut(&site) else { return };
        let stays = |key: &Key| jobs.iter().any(|(job, _)| job == key);
        let gone = |(key, kept): (&Key, &Kept)| (kept.job.is_some() && !stays(key)).then_some(*key);
        let gone: Vec<Key> = one.kept.iter().filter_map(gone).collect();
        gone.into_iter().for_each(|key| one.forget(key, now));
        for (key, job) in jobs {
            match one.kept.get_mut(&key) {
                Some(known) => {
                    let is_as_before = known.job == job.job;
                    (known.asker, known.job) = (job.asker, job.job);
                    if !is_as_before {
                        // Its next turn was reckoned from what it said before.
                        one.passes.put(key, known.pace.pass(), now, None, now);
                    }
                }
                None => one.put(key, job, now, None, now),
            }
        }
        (one.has_lost_a_job, one.unkept) = (false, unkept);
        self.kept.set(table.len() as f64);
    }

    /// Whether a job has to be looked at anew.
    pub(super) fn has_lost_a_job(&self, site: u32) -> bool {
        self.table.lock().0.get(&site).is_some_and(|one| one.has_lost_a_job)
    }

    /// Whether anything of an upstream is kept warm.
    pub(super) fn has_any(&self, site: u32) -> bool {
        self.table.lock().0.get(&site).is_some_and(|one| !one.kept.is_empty())
    }

    /// Waits until there may be something else to do than when this was made.
    pub(super) fn stirred(&self) -> Notified<'_> {
        self.stirred.notified()
    }

    /// The rules or the jobs of an upstream are others now.
    pub(in crate::proxy) fn stir(&self) {
        self.stirred.notify_waiters();
    }

    /// Makes everything of an upstream due now that is not under way, and says how much that is.
    pub(super) fn trigger(&self, site: u32, now: Timestamp) -> usize {
        self.table.lock().0.get_mut(&site).map_or(0, |one| one.passes.hasten(now))
    }

    /// What of an upstream is due and finds a place, which it holds from now on.
    pub(super) fn due(&self, site: u32, now: Timestamp) -> Vec<Wanted> {
        let mut table = self.table.lock();
        let Some(one) = table.0.get_mut(&site) else { return Vec::new() };
        let wanted = |(key, pass): (Key, Pass)| {
            let kept = one.kept.get(&key)?;
            Some(Wanted { key, pass, asker: kept.asker.clone(), job: kept.job.clone(), used: kept.used })
        };
        one.passes.start(now).into_iter().filter_map(wanted).collect()
    }

    /// What became of one that was under way, asked for so.
    pub(super) fn fetched(&self, site: u32, key: Key, asker: &Arc<Asker>, attempt: Attempt, now: Timestamp) {
        let mut table = self.table.lock();
        let Some(one) = table.0.get_mut(&site) else { return };
        let turn = one.passes.end(key);
        let Some(kept) = one.kept.get_mut(&key) else { return };
        let due = match attempt {
            Attempt::Later(rest) => now.after(rest),
            // Somebody asked for it otherwise meanwhile, of whom this says nothing.
            Attempt::Over if !Arc::ptr_eq(&kept.asker, asker) => return,
            Attempt::Over => {
                one.has_lost_a_job |= kept.job.is_some();
                one.forget(key, now);
                self.kept.set(table.len() as f64);
                drop(table);
                return self.stirred.notify_waiters();
            }
            Attempt::Made(Made { found, paces, left, used }) => {
                kept.used = kept.used.max(used);
                kept.fetches += 1;
                kept.failed += u64::from(found == Found::Nothing);
                kept.pace.found(found, paces);
                left.after(early(kept.pace.interval()))
            }
        };
        one.passes.put(key, kept.pace.pass(), due, turn, now);
    }

    /// What `view` sees of what is kept warm of an upstream.
    pub(super) fn of<T: Default>(&self, site: u32, view: impl FnOnce(&OfOne) -> T) -> T {
        self.table.lock().0.get(&site).map(view).unwrap_or_default()
    }
}

impl Table {
    fn len(&self) -> usize {
        self.0.values().map(|one| one.kept.len()).sum()
    }
}

impl OfOne {
    fn put(&mut self, key: Key, kept: Kept, due: Timestamp, turn: Option<Timestamp>, now: Timestamp) {
        self.passes.put(key, kept.pace.pass(), due, turn, now);
        self.kept.insert(key, kept);
    }

    fn forget(&mut self, key: Key, now: Timestamp) {
        self.kept.remove(&key);
        self.passes.remove(key, now);
    }

    /// For how long what is next in `pass` has been due, if that is too long.
    pub(super) fn behind(&self, pass: Pass, now: Timestamp) -> Option<Duration> {
        let (due, key) = self.passes.next(pass)?;
        let late = now.since(due);
        let interval = self.kept.get(&key)?.pace.interval();
        (late > interval.max(BEHIND_AFTER)).then_some(late)
    }
}

/// A rest, somewhat earlier than it says.
fn early(rest: Duration) -> Duration {
    rest.mul_f64(1.0 - JITTER * fastrand::f64())
}

#[cfg(test)]
mod tests;
