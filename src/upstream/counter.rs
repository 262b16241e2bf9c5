//! Counting what leaves: each attempt whose request was handed to a socket counts exactly once,
//! whatever becomes of the call that made it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::StatusCode;
use metrics::Counter;

use crate::telemetry::Registry;

/// `forebay_upstream_requests_total` for one upstream, rule and cause, one counter per status class.
#[derive(Clone)]
pub struct CallCounter(Arc<[Counter; 6]>);

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl CallCounter {
    /// Resolves the handles; the labels must come from closed sets.
    pub fn new(registry: &Registry, upstream: &str, rule: &str, cause: &str) -> Self {
        Self(Arc::new(CLASSES.map(|status| {
            registry.counter(
                "forebay_upstream_requests_total",
                &[("upstream", upstream), ("rule", rule), ("cause", cause), ("status", status)],
            )
        })))
    }

    fn count(&self, class: usize) {
        self.0[class].increment(1);
    }
}

/// The counter's view of one attempt. It is shared by the call, which may be dropped at any time, and
/// by the connection, which alone knows whether a byte left.
pub(super) struct Attempt {
    counter: CallCounter,
    state: AtomicU8,
}

const WAITING: u8 = 0;
const LEFT: u8 = 1;
/// The call is gone but the connection may still send it.
const ABANDONED: u8 = 2;
const SETTLED: u8 = 3;

impl Attempt {
    pub(super) fn new(counter: CallCounter) -> Arc<Self> {
        Arc::new(Self { counter, state: AtomicU8::new(WAITING) })
    }

    /// The connection is about to write the first byte.
    pub(super) fn leaves(&self) {
        if self.state.compare_exchange(WAITING, LEFT, Ordering::AcqRel, Ordering::Acquire) == Err(ABANDONED)
            && self.state.swap(SETTLED, Ordering::AcqRel) == ABANDONED
        {
            self.counter.count(0);
        }
    }

    /// The head of the answer came.
    pub(super) fn answered(&self, status: StatusCode) {
        if self.state.swap(SETTLED, Ordering::AcqRel) != SETTLED {
            // RFC 9110 §15: a status outside the five classes is treated as a 5xx.
            self.counter.count(usize::from(status.as_u16() / 100).clamp(1, 5));
        }
    }

    /// The connection gave the request back.
    fn withdrawn(&self) {
        self.state.store(SETTLED, Ordering::Release);
    }

    /// There will be no answer that anyone reads.
    fn abandon(&self) {
        if self.state.compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire) == Err(LEFT)
            && self.state.swap(SETTLED, Ordering::AcqRel) == LEFT
        {
            self.counter.count(0);
        }
    }
}

/// The call's end of an [`Attempt`]; dropping it abandons the attempt.
pub(super) struct AttemptGuard(pub(super) Arc<Attempt>);

impl AttemptGuard {
    /// The connection gave the request back: this attempt does not count.
    pub(super) fn withdraw(self) {
        self.0.withdrawn();
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `steps` on one attempt and returns the lines counted.
    fn counted(steps: impl FnOnce(&Attempt)) -> Vec<String> {
        let registry = Registry::new();
        let attempt = Attempt::new(CallCounter::new(&registry, "u", "r", "miss"));
        steps(&attempt);
        let text = registry.render();
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.ends_with(" 1"));
        lines.map(|line| line.split("status=\"").nth(1).unwrap_or("").chars().take(4).collect()).collect()
    }

    #[test]
    fn each_attempt_that_left_counts_once() {
        let ok = StatusCode::OK;
        assert_eq!(counted(|a| (a.leaves(), a.answered(ok), a.abandon()).0), ["2xx\""]);
        assert_eq!(counted(|a| (a.leaves(), a.abandon(), a.answered(ok)).0), ["none"]);
        assert_eq!(counted(|a| (a.abandon(), a.leaves(), a.leaves()).0), ["none"]);
        assert!(counted(|a| a.abandon()).is_empty());
        assert!(counted(|a| (a.withdrawn(), a.abandon()).0).is_empty());
        let odd = StatusCode::from_u16(999).unwrap();
        assert_eq!(counted(|a| (a.leaves(), a.answered(odd)).0), ["5xx\""]);
    }
}
