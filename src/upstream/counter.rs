//! Counting what leaves: each attempt whose request was handed to a socket counts exactly once,
//! whatever becomes of the call that made it.

use std::sync::Arc;

use http::StatusCode;
use metrics::Counter;

use super::wire::WireState;
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

    /// Counts a connection that carries bytes nobody here reads, so that there is no status to count it by.
    pub fn count_connection(&self) {
        self.count(0);
    }

    /// The same number for calls of the same rule and cause.
    pub(super) fn kind(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn count(&self, class: usize) {
        self.0[class].increment(1);
    }
}

/// One attempt, which counts once if it left, however the call that makes it ends: also when it is
/// dropped half-way.
pub(super) struct Attempt<'a> {
    counter: &'a CallCounter,
    /// `None` once it is settled.
    left: Option<Left>,
}

/// How it is known whether a request left.
pub(super) enum Left {
    /// By the connection that carries it.
    Watched(Arc<WireState>),
    /// It has: the streams of a shared connection cannot be watched one by one.
    Certainly,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(counter: &'a CallCounter, left: Left) -> Self {
        Self { counter, left: Some(left) }
    }

    /// The head of the answer came.
    pub(super) fn answered(mut self, status: StatusCode) {
        self.left = None;
        // RFC 9110 §15: a status outside the five classes is treated as a 5xx.
        self.counter.count(usize::from(status.as_u16() / 100).clamp(1, 5));
    }

    /// The connection gave the request back.
    pub(super) fn withdrawn(mut self) {
        self.left = None;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let left = match &self.left {
            Some(Left::Watched(wire)) => wire.has_sent(),
            Some(Left::Certainly) => true,
            None => false,
        };
        if left {
            self.counter.count(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `steps` on one attempt and returns the lines counted.
    fn counted(steps: impl FnOnce(&WireState, Attempt<'_>)) -> Vec<String> {
        let registry = Registry::new();
        let counter = CallCounter::new(&registry, "u", "r", "miss");
        let wire = Arc::new(WireState::default());
        wire.begin();
        steps(&wire, Attempt::new(&counter, Left::Watched(Arc::clone(&wire))));
        let text = registry.render();
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.ends_with(" 1"));
        lines.map(|line| line.split("status=\"").nth(1).unwrap_or("").chars().take(4).collect()).collect()
    }

    #[test]
    fn each_attempt_that_left_counts_once() {
        assert_eq!(counted(|wire, a| (wire.writing(), a.answered(StatusCode::OK)).1), ["2xx\""]);
        assert_eq!(counted(|wire, a| (wire.writing(), drop(a)).1), ["none"]);
        assert!(counted(|_, a| drop(a)).is_empty());
        assert!(counted(|_, a| a.withdrawn()).is_empty());
        let odd = StatusCode::from_u16(999).unwrap();
        assert_eq!(counted(|wire, a| (wire.writing(), a.answered(odd)).1), ["5xx\""]);
    }
}
