//! Whether calls go to an endpoint: its breaker, and how it comes back.
//!
//! Closed: all calls. Open: none, until a call of our own finds that it answers ([`super::probe`]) or the
//! time is up. Half open: one call at a time, of which the first decides. Then it comes back step by step,
//! because an API that has just started is slower than it will be.
//!
//! Only what speaks of this very server counts: that nobody could connect, that no answer came, and the
//! statuses of the dialect that blame it. Invariant: one success ends a row of failures.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::BreakerConfig;

/// How long an endpoint that refused a connection is left alone, if it is not asked before.
pub(super) const DOWN_FOR: Duration = Duration::from_secs(2);

/// In so many steps its places come back.
pub(super) const STEPS: u8 = 4;

/// What a call may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Up,
    /// It was down; whoever asks first may try it.
    Probe,
    /// Not now, but a call that has nowhere else to go costs nothing: it fails at once.
    Refusing,
    Down,
}

/// How an endpoint failed a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody listens.
    Refused,
    /// Nobody could connect, which took its time.
    Unconnectable,
    /// No answer came in time.
    Silent,
    /// It broke the connection, or its answer blames it. That costs nobody any time, so an endpoint without
    /// equals is still called: what it says is truer than that it was not asked, and the first call after
    /// its recovery is answered.
    Prompt,
}

impl Fault {
    /// Why nobody could connect.
    pub(super) fn connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Fault::Refused,
            _ => Fault::Unconnectable,
        }
    }
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// What it was.
    None,
    /// Calls are held back from here on.
    Opened,
    /// Its places change.
    Places,
}

/// How often to look after it, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Ask whether it answers.
    Probe,
    /// Nothing to do for now.
    Wait,
    /// It is well: nobody need look after it.
    Over,
}

/// The breaker of one endpoint.
pub(super) struct Health {
    config: BreakerConfig,
    /// Closed, and nothing has failed since: then nobody looks any further.
    well: AtomicBool,
    /// How many steps of its places it has, of [`STEPS`].
    steps: AtomicU8,
    state: Mutex<State>,
    gauge: Gauge,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Failures in a row.
    failures: u32,
    /// How many of those are of calls of our own.
    own: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open {
        /// When the next call may try it.
        until: Instant,
        why: Why,
    },
    HalfOpen {
        since: Instant,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Nobody could connect, which costs no time to find out.
    Refused,
    /// Nobody could connect in time.
    Unconnectable,
    /// It failed as often in a row as it may, the last time at once.
    Breaking,
    /// It failed as often in a row as it may, the last time by its silence.
    Failing,
}

impl Health {
    pub(super) fn new(config: BreakerConfig, gauge: Gauge) -> Self {
        gauge.set(0.0);
        Self {
            config,
            well: AtomicBool::new(true),
            steps: AtomicU8::new(STEPS),
            state: Mutex::new(State { phase: Phase::Closed, failures: 0, own: 0 }),
            gauge,
        }
    }

    /// Whether there is nothing to know about it. That is all that a call asks while it is so, and late
    /// news of the opposite is no worse than a call that set out a moment before.
    pub(super) fn is_well(&self) -> bool {
        self.well.load(Ordering::Relaxed)
    }

    /// Whether a call may go here now.
    pub(super) fn standing(&self) -> Standing {
        if self.is_well() {
            return Standing::Up;
        }
        match self.state.lock().phase {
            Phase::Closed | Phase::HalfOpen { .. } => Standing::Up,
            Phase::Open { until, .. } if Instant::now() >= until => Standing::Probe,
            Phase::Open { why: Why::Refused | Why::Breaking, .. } => Standing::Refusing,
            Phase::Open { .. } => Standing::Down,
        }
    }

    /// Claims the trial of an endpoint whose time is up; false if another call has, or if it is not. While
    /// the trial runs, for `trial` at most, nobody else tries.
    pub(super) fn claim(&self, trial: Duration) -> bool {
        let mut state = self.state.lock();
        let now = Instant::now();
        match &mut state.phase {
            Phase::Closed | Phase::HalfOpen { .. } => true,
            Phase::Open { until, .. } if now >= *until => {
                *until = now + DOWN_FOR.max(trial);
                true
            }
            Phase::Open { .. } => false,
        }
    }

    /// It answered, whatever it said.
    pub(super) fn succeeded(&self) -> Change {
        let mut state = self.state.lock();
        (state.failures, state.own) = (0, 0);
        match state.phase {
            // Of the calls that set out before it failed some may be answered late.
            Phase::Open { why: Why::Failing, until } if Instant::now() < until => Change::None,
            Phase::Open { why: Why::Failing, .. } | Phase::HalfOpen { .. } => {
                self.enter(&mut state, Phase::Closed);
                self.steps.store(1, Ordering::Release);
                Change::Places
            }
            Phase::Open { .. } => {
                self.enter(&mut state, Phase::Closed);
                self.steps.store(STEPS, Ordering::Release);
                self.well.store(true, Ordering::Release);
                Change::Places
            }
            Phase::Closed => {
                self.be_well_if_all_is_over(&state);
                Change::None
            }
        }
    }

    /// It failed a call.
    pub(super) fn failed(&self, fault: Fault) -> Change {
        self.fail(&mut self.state.lock(), fault)
    }

    /// It failed a call of our own, made because nobody called it. That counts as any other does while calls
    /// go to it; afterwards it is known already.
    pub(super) fn misses(&self, fault: Fault) -> Change {
        let mut state = self.state.lock();
        if state.phase != Phase::Closed {
            return Change::None;
        }
        state.own = state.own.saturating_add(1);
        self.fail(&mut state, fault)
    }

    fn fail(&self, state: &mut State, fault: Fault) -> Change {
        self.well.store(false, Ordering::Release);
        state.failures = state.failures.saturating_add(1);
        let row = state.failures >= self.config.failures || matches!(state.phase, Phase::HalfOpen { .. });
        let (why, length) = match fault {
            // It costs nothing to find out that nobody listens, so there is nothing to hold back.
            Fault::Refused => (Why::Refused, DOWN_FOR),
            Fault::Prompt if row => (Why::Breaking, self.config.open_for),
            _ if row => (Why::Failing, self.config.open_for),
            Fault::Unconnectable => (Why::Unconnectable, DOWN_FOR),
            Fault::Prompt | Fault::Silent => return Change::None,
        };
        let was_open = matches!(state.phase, Phase::Open { .. });
        self.enter(state, Phase::Open { until: Instant::now() + length, why });
        if was_open { Change::None } else { Change::Opened }
    }

    /// A call of our own was answered. That takes back what such calls said before, and nothing else: a
    /// server may answer the cheap one and be silent to all others.
    pub(super) fn answers(&self) -> Change {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_sub(std::mem::take(&mut state.own));
        match state.phase {
            Phase::Open { .. } => {
                self.enter(&mut state, Phase::HalfOpen { since: Instant::now() });
                self.steps.store(0, Ordering::Release);
                Change::Places
            }
            Phase::HalfOpen { .. } => Change::None,
            Phase::Closed => {
                self.be_well_if_all_is_over(&state);
                Change::None
            }
        }
    }

    /// What to do for it now; while it comes back, each time one step.
    pub(super) fn care(&self) -> (Care, Change) {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Open { .. } => (Care::Probe, Change::None),
            Phase::HalfOpen { since } if since.elapsed() < self.config.open_for => (Care::Wait, Change::None),
            Phase::HalfOpen { .. } => {
                // It answers, and nobody has called it: nothing speaks against it.
                self.enter(&mut state, Phase::Closed);
                self.steps.store(1, Ordering::Release);
                (Care::Wait, Change::Places)
            }
            Phase::Closed => {
                let steps = (self.steps.load(Ordering::Acquire) + 1).min(STEPS);
                self.steps.store(steps, Ordering::Release);
                let care = if steps == STEPS { Care::Over } else { Care::Wait };
                self.be_well_if_all_is_over(&state);
                (care, Change::Places)
            }
        }
    }

    /// How many of `all` places it has now.
    pub(super) fn places(&self, all: usize) -> usize {
        match self.steps.load(Ordering::Acquire) {
            STEPS => all,
            steps => (all * usize::from(steps) / usize::from(STEPS)).max(1),
        }
    }

    /// Failures in a row, so far.
    #[cfg(test)]
    pub(super) fn failures(&self) -> u32 {
        self.state.lock().failures
    }

    fn be_well_if_all_is_over(&self, state: &State) {
        if state.failures == 0 && self.steps.load(Ordering::Acquire) == STEPS {
            self.well.store(true, Ordering::Release);
        }
    }

    fn enter(&self, state: &mut State, phase: Phase) {
        state.phase = phase;
        self.gauge.set(match phase {
            Phase::Closed => 0.0,
            Phase::HalfOpen { .. } => 1.0,
            Phase::Open { .. } => 2.0,
        });
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        // Of an endpoint that is gone nothing is held back.
        self.gauge.set(0.0);
    }
}

#[cfg(test)]
mod tests;
