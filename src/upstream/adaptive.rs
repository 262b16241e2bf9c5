//! How many calls at once an endpoint bears, learnt from how long they take.
//!
//! Calls of one kind (a rule and a cause) are alike. How long they take while at most half of the workers have
//! anything to do is what they cost; how much longer they take with more in flight tells how many of those
//! stand in the API's own queue (Little's law, as TCP Vegas uses it). That number is kept at two or three for a
//! few workers: with one, a worker is idle whenever another ends its call before the next one has come
//! the way from here, which costs two calls in a hundred; with more, a queue would grow.
//!
//! From time to time only so many are let through for a few calls, to learn anew what calls cost: an API that
//! has become slower for good is not one with a queue. The workers that are idle meanwhile are what that
//! costs, so it is done the more seldom the longer nothing speaks of a change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Where it begins: one more than the three workers that a small API has.
const FIRST: usize = 4;
/// With fewer, one call that hangs could keep out all others.
const LEAST: usize = 2;
/// More than any API of this kind works at in earnest.
pub(super) const MOST: usize = 128;

/// How many calls are to stand in the API's queue where it works at so many: how many workers end a call
/// while the next ones are on their way varies by about the root of how many there are.
fn wanted(served: f64) -> f64 {
    1.0 + served.sqrt()
}

/// What is less than wanted by more than this is too little, and what is more by this share too much: times
/// vary by themselves.
const LESS: f64 = 0.5;
const MORE_SHARE: f64 = 0.6;

/// A judgement rests on so many calls, and on two for each place.
const LEAST_CALLS: usize = 12;
/// A share of failures that says that the API is overloaded, and what is left of the places then.
const FAILURES: f64 = 0.1;
const AFTER_FAILURES: f64 = 0.7;

/// How soon what calls cost is learnt anew, which then takes place half as often each time, and with how many
/// calls.
const CALIBRATE_EVERY: Duration = Duration::from_secs(60);
const CALIBRATE_SELDOM: Duration = Duration::from_secs(480);
const CALIBRATE_CALLS: usize = 12;
/// How much the last call counts in what its kind costs, once there were so many that it counts less than
/// in their mean.
const WEIGHT: f64 = 0.1;
/// More kinds than a rule pack has; others are not learnt from.
const MOST_KINDS: usize = 4_096;

/// What was learnt of one endpoint.
pub(super) struct Adaptive {
    /// What may be in flight now.
    limit: AtomicUsize,
    state: Mutex<State>,
    gauge: Gauge,
}

struct State {
    /// What may be in flight while nothing is calibrated.
    limit: usize,
    /// What a call of each kind costs, in seconds.
    costs: HashMap<usize, Cost>,
    window: Window,
    /// How many calls are still to be looked at with few beside them.
    calibrating: usize,
    calibrated: Instant,
    calibrate_after: Duration,
}

/// What a call of one kind takes while it is not in anybody's way.
#[derive(Default)]
struct Cost {
    seconds: f64,
    calls: f64,
}

/// What is judged at once.
#[derive(Default)]
struct Window {
    calls: usize,
    failures: usize,
    took: f64,
    cost: f64,
    in_flight: usize,
    /// Whether all places were taken once.
    was_full: bool,
}

/// One call that has been answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Calls of the same kind have the same number.
    pub(super) kind: usize,
    /// How many were in flight when it left, with itself.
    pub(super) in_flight: usize,
    pub(super) took: Duration,
}

impl Adaptive {
    pub(super) fn new(gauge: Gauge) -> Self {
        let state = State {
            limit: FIRST,
            costs: HashMap::new(),
            window: Window::default(),
            calibrating: CALIBRATE_CALLS,
            calibrated: Instant::now(),
            calibrate_after: CALIBRATE_EVERY,
        };
        let limit = AtomicUsize::new(state.in_force());
        gauge.set(FIRST as f64);
        Self { limit, state: Mutex::new(state), gauge }
    }

    /// How many may be in flight now.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }

    /// Learns from a call; says whether the limit has changed.
    pub(super) fn learn(&self, sample: Sample) -> bool {
        let mut state = self.state.lock();
        state.take(sample);
        self.put_in_force(&mut state)
    }

    /// A call failed in a way that an overloaded API fails.
    pub(super) fn failed(&self) -> bool {
        let mut state = self.state.lock();
        state.window.failures += 1;
        state.judge();
        self.put_in_force(&mut state)
    }

    fn put_in_force(&self, state: &mut State) -> bool {
        let limit = state.in_force();
        let changed = self.limit.swap(limit, Ordering::AcqRel) != limit;
        if changed {
            self.gauge.set(limit as f64);
        }
        changed
    }
}

impl State {
    fn in_force(&self) -> usize {
        match self.calibrating {
            0 => self.limit,
            _ => self.light(),
        }
    }

    /// With no more in flight than this, calls are in nobody's way: half of those that it works at.
    fn light(&self) -> usize {
        let others = self.limit.saturating_sub(1) as f64;
        ((others - others.sqrt()) / 2.0).ceil().max(1.0) as usize
    }

    fn take(&mut self, sample: Sample) {
        let took = sample.took.as_secs_f64();
        let is_light = sample.in_flight <= self.light();
        if is_light && (self.costs.contains_key(&sample.kind) || self.costs.len() < MOST_KINDS) {
            let cost = self.costs.entry(sample.kind).or_default();
            cost.calls += 1.0;
            cost.seconds += (took - cost.seconds) * WEIGHT.max(1.0 / cost.calls);
        }
        if self.calibrating > 0 {
            // Those that left before tell nothing.
            self.calibrating -= usize::from(is_light);
            return;
        }
        if self.calibrated.elapsed() >= self.calibrate_after {
            self.calibrated = Instant::now();
            self.calibrate_after = (self.calibrate_after * 2).min(CALIBRATE_SELDOM);
            self.calibrating = CALIBRATE_CALLS;
            self.window = Window::default();
            return;
        }
        // What was never seen without others beside it cannot be compared with anything.
        let Some(cost) = self.costs.get(&sample.kind) else { return };
        let window = &mut self.window;
        window.calls += 1;
        window.took += took;
        window.cost += cost.seconds;
        window.in_flight += sample.in_flight;
        window.was_full |= sample.in_flight >= self.limit;
        self.judge();
    }

    fn judge(&mut self) {
        let Window { calls, failures, took, cost, in_flight, was_full } = self.window;
        if calls + failures < LEAST_CALLS.max(2 * self.limit) {
            return;
        }
        self.window = Window::default();
        if failures as f64 > FAILURES * (calls + failures) as f64 {
            self.limit = ((self.limit as f64 * AFTER_FAILURES) as usize).max(LEAST);
            self.calibrate_after = CALIBRATE_EVERY;
            return;
        }
        let in_flight = in_flight as f64 / calls.max(1) as f64;
        let stretch = (took / cost.max(1e-9)).max(1.0);
        let served = in_flight / stretch;
        let (queued, wanted) = (in_flight - served, wanted(served));
        if queued > wanted * (1.0 + MORE_SHARE) {
            self.limit = ((served + wanted).round() as usize).min(self.limit - 1).max(LEAST);
            self.calibrate_after = CALIBRATE_EVERY;
        } else if was_full && queued < wanted - LESS {
            self.limit = (self.limit + (self.limit / 8).max(1)).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;

    /// An API of so many workers and one queue, called as often as the limit allows; simulated, in µs.
    struct Api {
        workers: Vec<u64>,
        running: BinaryHeap<Reverse<(u64, u64, usize, usize)>>,
        now: u64,
        random: fastrand::Rng,
        done: usize,
    }

    impl Api {
        fn new(workers: usize) -> Self {
            let random = fastrand::Rng::with_seed(7);
            Self { workers: vec![0; workers], running: BinaryHeap::new(), now: 0, random, done: 0 }
        }

        /// Runs until `calls` more are answered; how much of its workers' time was used.
        fn run(&mut self, adaptive: &Adaptive, calls: usize) -> f64 {
            let (began, until, mut worked) = (self.now, self.done + calls, 0);
            while self.done < until {
                while self.running.len() < adaptive.limit() {
                    let kind = self.random.usize(0..3);
                    let cost = [4_000, 50_000, 150_000][kind] * self.random.u64(60..140) / 100;
                    let free = self.workers.iter_mut().min().expect("there is one");
                    *free = (*free).max(self.now) + cost;
                    worked += cost;
                    let in_flight = self.running.len() + 1;
                    self.running.push(Reverse((*free, self.now, kind, in_flight)));
                }
                let Reverse((end, left, kind, in_flight)) = self.running.pop().expect("there is one");
                self.now = end;
                self.done += 1;
                adaptive.learn(Sample { kind, in_flight, took: Duration::from_micros(end - left) });
            }
            worked as f64 / ((self.now - began) as f64 * self.workers.len() as f64)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_finds_how_many_workers_there_are() {
        for workers in [1, 3, 8, 24] {
            let (adaptive, mut api) = (Adaptive::new(Gauge::noop()), Api::new(workers));
            api.run(&adaptive, 6_000);
            let used = api.run(&adaptive, 4_000);
            let limit = adaptive.limit();
            let borne = (workers - workers / 8).max(LEAST)..=workers + 3 + workers / 2;
            assert!(borne.contains(&limit), "{limit} for {workers} workers");
            assert!(used > 0.9, "{workers} workers were used at {used:.2}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_follows_an_api_that_changes() {
        let (adaptive, mut api) = (Adaptive::new(Gauge::noop()), Api::new(8));
        api.run(&adaptive, 6_000);
        assert!(adaptive.limit() >= 7, "{}", adaptive.limit());
        api.workers = vec![api.now; 2];
        api.run(&adaptive, 2_000);
        assert!(adaptive.limit() <= 5, "{}", adaptive.limit());
        api.workers = vec![api.now; 12];
        api.run(&adaptive, 6_000);
        assert!(adaptive.limit() >= 10, "{}", adaptive.limit());
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_down_when_calls_fail_and_learns_costs_anew() {
        let (adaptive, mut api) = (Adaptive::new(Gauge::noop()), Api::new(24));
        api.run(&adaptive, 6_000);
        let before = adaptive.limit();
        for _ in 0..4 * before {
            adaptive.failed();
        }
        assert!(adaptive.limit() < before * 7 / 10, "{} of {before}", adaptive.limit());
        api.run(&adaptive, 6_000);
        let limit = adaptive.limit();
        tokio::time::advance(CALIBRATE_EVERY).await;
        api.run(&adaptive, 1);
        assert_eq!(adaptive.limit(), adaptive.state.lock().light());
        assert!(adaptive.limit() < limit / 2, "{} of {limit}", adaptive.limit());
        api.run(&adaptive, 200);
        assert!(adaptive.limit() >= limit * 3 / 4, "{} of {limit}", adaptive.limit());
    }
}
