//! What the demo counts: calls, their latency, and what the checks of own writes found.
//!
//! Calls are counted when they leave, so that one cut off at the end cannot make the saving look better
//! than it was: the simulator counts a call when it arrives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// How many stale reads are kept word for word.
const FINDINGS: usize = 5;

/// Everything that the clients count together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    calls: AtomicU64,
    failed: AtomicU64,
    writes: AtomicU64,
    checks: AtomicU64,
    stale: AtomicU64,
    hits: Mutex<Latencies>,
    misses: Mutex<Latencies>,
    findings: Mutex<Vec<String>>,
}

/// How forebay answered a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// From the store.
    Hit,
    /// By asking the API, or by waiting for another call that did.
    Miss,
    /// A call that is never kept: a write.
    Write,
}

/// What comparing a read after an own write with the truth came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As the API itself.
    True,
    /// The past, told word for word.
    Stale(String),
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub calls: u64,
    pub failed: u64,
    pub writes: u64,
    pub checks: u64,
    pub stale: u64,
    pub hits: Percentiles,
    pub misses: Percentiles,
}

/// How many calls there were and how long they took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Percentiles {
    pub count: u64,
    pub p50: Duration,
    pub p99: Duration,
}

impl Tally {
    pub(super) fn sent(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, served: Served, took: Duration) {
        match served {
            Served::Hit => self.hits.lock().add(took),
            Served::Miss => self.misses.lock().add(took),
            Served::Write => {}
        }
    }

    /// A call without an answer, or with one that its client cannot use.
    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A write whose outcome the writer has learnt and is now going to check.
    pub(super) fn written(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn checked(&self, verdict: Verdict) {
        self.checks.fetch_add(1, Ordering::Relaxed);
        if let Verdict::Stale(finding) = verdict {
            self.stale.fetch_add(1, Ordering::Relaxed);
            let mut findings = self.findings.lock();
            if findings.len() < FINDINGS {
                findings.push(finding);
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            calls: load(&self.calls),
            failed: load(&self.failed),
            writes: load(&self.writes),
            checks: load(&self.checks),
            stale: load(&self.stale),
            hits: self.hits.lock().percentiles(),
            misses: self.misses.lock().percentiles(),
        }
    }

    /// The first stale reads, word for word.
    pub(super) fn findings(&self) -> Vec<String> {
        self.findings.lock().clone()
    }
}

/// The share of calls that the API was spared, in percent.
pub(super) fn saved(calls: u64, upstream: u64) -> f64 {
    if calls == 0 { 0.0 } else { (1.0 - upstream as f64 / calls as f64) * 100.0 }
}

/// A histogram whose steps grow by a tenth, from a microsecond to more than a minute.
#[derive(Debug)]
struct Latencies {
    steps: [u64; 192],
    count: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { steps: [0; 192], count: 0 }
    }
}

const GROWTH: f64 = 1.1;

impl Latencies {
    fn add(&mut self, took: Duration) {
        let micros = (took.as_secs_f64() * 1e6).max(1.0);
        let step = (micros.ln() / GROWTH.ln()) as usize;
        self.steps[step.min(self.steps.len() - 1)] += 1;
        self.count += 1;
    }

    fn percentiles(&self) -> Percentiles {
        Percentiles { count: self.count, p50: self.quantile(0.50), p99: self.quantile(0.99) }
    }

    /// The middle of the step that holds the quantile.
    fn quantile(&self, share: f64) -> Duration {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut below = 0;
        for (step, count) in self.steps.iter().enumerate() {
            below += count;
            if *count > 0 && below >= rank {
                return Duration::from_secs_f64(GROWTH.powf(step as f64 + 0.5) / 1e6);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_tenth() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|millis| latencies.add(Duration::from_millis(millis)));
        let found = latencies.percentiles();
        let near = |found: Duration, millis: f64| (found.as_secs_f64() * 1e3 / millis - 1.0).abs() < 0.1;
        assert_eq!(found.count, 1000);
        assert!(near(found.p50, 500.0) && near(found.p99, 990.0), "{found:?}");
        assert_eq!(Latencies::default().percentiles().p99, Duration::ZERO);
    }

    #[test]
    fn the_share_saved_counts_what_reached_the_api() {
        assert_eq!(saved(200, 10), 95.0);
        assert_eq!(saved(0, 0), 0.0);
        assert!(saved(1, 2) < 0.0, "a cache that costs calls must show");
    }

    #[test]
    fn a_stale_read_is_counted_and_told() {
        let tally = Tally::default();
        tally.checked(Verdict::True);
        tally.checked(Verdict::Stale("old".to_owned()));
        let counts = tally.counts();
        assert_eq!((counts.checks, counts.stale, tally.findings()), (2, 1, vec!["old".to_owned()]));
    }
}
