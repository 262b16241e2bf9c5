//! When a call that failed is sent again: how often, after which pause, and within which share of the
//! traffic.
//!
//! Invariants: retries stay within the budget however many calls fail, so an API that is down gets no
//! more than its share on top; a pause is drawn anew from nothing to its bound (full jitter), so calls
//! that failed together do not come back together; no retry begins that could not take as long as the
//! attempt before it within the time that one call has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::{RetryConfig, RetryPolicy};
use crate::semantics::failure::FailureClass;
use crate::telemetry::Registry;
use crate::units::Share;

/// So many retries are saved up at most, and there at the start: a lone failure of an upstream with
/// little traffic is worth a second try.
const SAVED: f64 = 10.0;

/// What the retries of one upstream have in common; it outlives a reload.
pub(super) struct Retries {
    budget: Budget,
    failures: [Counter; FailureClass::ALL.len()],
    verdicts: [[Counter; Verdict::ALL.len()]; FailureClass::ALL.len()],
}

/// What was decided about a failed call: the label `result` of `forebay_retries_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is sent again.
    Sent,
    /// It has been sent as often as may be.
    Exhausted,
    /// Retries have used up their share of the traffic.
    Budget,
    /// The time that the call has would not do.
    Deadline,
}

impl Verdict {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Sent, "sent"),
        (Self::Exhausted, "exhausted"),
        (Self::Budget, "budget"),
        (Self::Deadline, "deadline"),
    ];
}

/// A failure as far as a retry depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) class: FailureClass,
    /// How long the API asked to be left alone.
    pub(super) pause: Option<Duration>,
    /// How long the attempt took.
    pub(super) took: Duration,
    /// Whether the call may be sent again at all.
    pub(super) repeatable: bool,
}

impl Retries {
    pub(super) fn new(upstream: &str, registry: &Registry) -> Self {
        let counter = |name, labels: &[(&'static str, &str)]| registry.counter(name, labels);
        Self {
            budget: Budget::default(),
            failures: FailureClass::ALL.map(|class| {
                let labels = [("upstream", upstream), ("class", class.as_str())];
                counter("forebay_upstream_failures_total", &labels)
            }),
            verdicts: FailureClass::ALL.map(|class| {
                Verdict::ALL.map(|(_, result)| {
                    let labels = [("upstream", upstream), ("class", class.as_str()), ("result", result)];
                    counter("forebay_retries_total", &labels)
                })
            }),
        }
    }

    /// A call sets out, which earns its share of a retry.
    pub(super) fn call(&self) {
        self.budget.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// After which pause a call that failed is sent again; `None`: not. `attempt` counts from 1,
    /// `deadline` is the end of the time that the call has.
    pub(super) fn after(
        &self,
        config: &RetryConfig,
        failed: Failed,
        attempt: u32,
        deadline: Instant,
    ) -> Option<Duration> {
        self.failures[failed.class as usize].increment(1);
        let policy = config.policy(failed.class).filter(|policy| failed.repeatable && policy.attempts > 1)?;
        let (verdict, pause) = self.judge(config.budget, policy, failed, attempt, deadline);
        self.verdicts[failed.class as usize][verdict as usize].increment(1);
        (verdict == Verdict::Sent).then_some(pause)
    }

    fn judge(
        &self,
        share: Share,
        policy: &RetryPolicy,
        failed: Failed,
        attempt: u32,
        deadline: Instant,
    ) -> (Verdict, Duration) {
        if attempt >= policy.attempts {
            return (Verdict::Exhausted, Duration::ZERO);
        }
        let ceiling = policy.ceiling(attempt);
        let jitter = ceiling.mul_f64(fastrand::f64());
        // What the API asked for is waited for in full, and what was drawn comes on top: all who were
        // told the same would come back in the same moment.
        let pause = failed.pause.map_or(jitter, |asked| asked + jitter);
        if failed.pause.is_some_and(|asked| asked > policy.cap)
            || Instant::now() + pause + failed.took > deadline
        {
            return (Verdict::Deadline, Duration::ZERO);
        }
        match self.budget.take(share) {
            true => (Verdict::Sent, pause),
            false => (Verdict::Budget, Duration::ZERO),
        }
    }
}

impl RetryPolicy {
    /// The bound of the pause before the retry number `retry`, counted from 1.
    fn ceiling(&self, retry: u32) -> Duration {
        use super::config::Growth;
        let factor = match self.growth {
            Growth::Exponential => 1u32.checked_shl(retry - 1).unwrap_or(u32::MAX),
            Growth::Linear => retry,
            Growth::Constant => 1,
        };
        self.base.saturating_mul(factor).min(self.cap)
    }
}

/// A share of the calls, saved up to a bound.
struct Budget {
    /// Calls so far. Only counted on the way; what they earned is reckoned when a retry asks.
    calls: AtomicU64,
    saved: Mutex<Saved>,
}

struct Saved {
    retries: f64,
    /// How many calls have been reckoned.
    reckoned: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { calls: AtomicU64::new(0), saved: Mutex::new(Saved { retries: SAVED, reckoned: 0 }) }
    }
}

impl Budget {
    fn take(&self, share: Share) -> bool {
        let mut saved = self.saved.lock();
        let calls = self.calls.load(Ordering::Relaxed);
        let earned = calls.saturating_sub(saved.reckoned) as f64 * share.0;
        saved.reckoned = calls;
        saved.retries = (saved.retries + earned).min(SAVED);
        let enough = share.0 > 0.0 && saved.retries >= 1.0;
        if enough {
            saved.retries -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Growth;
    use super::*;

    fn policy(growth: Growth) -> RetryPolicy {
        RetryPolicy { attempts: 4, base: Duration::from_millis(100), cap: Duration::from_millis(350), growth }
    }

    #[test]
    fn pauses_grow_as_told_up_to_the_cap() {
        let cases = [
            (Growth::Exponential, [100, 200, 350, 350]),
            (Growth::Linear, [100, 200, 300, 350]),
            (Growth::Constant, [100, 100, 100, 100]),
        ];
        for (growth, expected) in cases {
            let found = [1, 2, 3, 40].map(|retry| policy(growth).ceiling(retry).as_millis());
            assert_eq!(found, expected, "{growth:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_needs_attempts_time_and_budget() {
        let registry = Registry::new();
        let retries = Retries::new("lab", &registry);
        let config = RetryConfig { transient: policy(Growth::Constant), ..RetryConfig::default() };
        let failed = Failed {
            class: FailureClass::Transient,
            pause: None,
            took: Duration::from_secs(1),
            repeatable: true,
        };
        let after = |failed, attempt, seconds| {
            retries.after(&config, failed, attempt, Instant::now() + Duration::from_millis(seconds))
        };
        assert!(after(failed, 1, 5_000).is_some_and(|pause| pause <= Duration::from_millis(100)));
        assert_eq!(after(failed, 4, 5_000), None, "as often as may be");
        assert_eq!(after(failed, 1, 999), None, "another second would not fit");
        assert_eq!(after(Failed { repeatable: false, ..failed }, 1, 5_000), None);
        assert_eq!(after(Failed { class: FailureClass::Unknown, ..failed }, 1, 5_000), None);
        assert_eq!(after(Failed { class: FailureClass::Permanent, ..failed }, 1, 5_000), None);
        let asked = Failed { pause: Some(Duration::from_millis(300)), ..failed };
        assert!(after(asked, 1, 5_000).is_some_and(|pause| pause >= Duration::from_millis(300)));
        let long = Failed { pause: Some(Duration::from_millis(400)), ..failed };
        assert_eq!(after(long, 1, 5_000), None, "longer than the cap");
        let text = registry.render();
        for line in [
            r#"forebay_retries_total{upstream="lab",class="transient",result="sent"} 2"#,
            r#"forebay_retries_total{upstream="lab",class="transient",result="exhausted"} 1"#,
            r#"forebay_retries_total{upstream="lab",class="transient",result="deadline"} 2"#,
            r#"forebay_upstream_failures_total{upstream="lab",class="unknown"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_budget_is_a_share_of_the_calls() {
        let budget = Budget::default();
        let taken = |share| (0..1_000).take_while(|_| budget.take(Share(share))).count();
        assert_eq!(taken(0.1), 10, "what is there at the start");
        budget.calls.fetch_add(55, Ordering::Relaxed);
        assert_eq!(taken(0.1), 5);
        budget.calls.fetch_add(1_000_000, Ordering::Relaxed);
        assert_eq!(taken(0.1), 10, "no more than so many are saved up");
        assert_eq!(taken(0.0), 0);
    }
}
