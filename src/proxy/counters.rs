//! The counters of each rule, and the closed sets of words that label them.

use std::sync::{Arc, OnceLock};

use metrics::Counter;

use super::links::Content;
use crate::semantics::cache_status::Detail;
use crate::telemetry::Registry;
use crate::upstream::CallCounter;

/// What became of a request: the label `outcome` of `forebay_requests_total` and of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Hit,
    Miss,
    Collapsed,
    Other(Detail),
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::Miss => "miss",
            Outcome::Collapsed => "collapsed",
            Outcome::Other(detail) => detail.as_str(),
        }
    }

    /// Whether a body that was handed out so is as its client needs it: one from the store is.
    pub(super) fn content(self) -> Content {
        match self {
            Outcome::Hit
            | Outcome::Other(Detail::StaleWhileRevalidate | Detail::StaleIfError | Detail::Promoted) => {
                Content::Settled
            }
            _ => Content::Unread,
        }
    }

    fn place(self) -> usize {
        match self {
            Outcome::Hit => 0,
            Outcome::Miss => 1,
            Outcome::Collapsed => 2,
            Outcome::Other(detail) => 3 + detail as usize,
        }
    }
}

const OUTCOMES: usize = 3 + Detail::ALL.len();

/// Why a call goes upstream: the label `cause` of `forebay_upstream_requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Miss,
    Revalidate,
    Refresh,
    Pass,
    Write,
    Operation,
    Tunnel,
    Audit,
    Watch,
    Rights,
    Promote,
}

const CAUSES: [&str; 11] = [
    "miss",
    "revalidate",
    "refresh",
    "pass",
    "write",
    "operation",
    "tunnel",
    "audit",
    "watch",
    "rights",
    "promote",
];

/// What comparing a hit with the API came to: the label `result` of `forebay_audits_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuditResult {
    /// The API says what the hit said.
    Same,
    /// It says something else, and no write through forebay explains it.
    Changed,
    /// A write through forebay, or anything else that is noticed, overtook what was kept meanwhile.
    Overtaken,
    /// A write or a task was under way, so what the API says may be of before or of after it.
    Unsettled,
    /// The API gave no answer to compare with.
    Error,
    /// There was no room: as many audits were under way as may be, one for the same target among them, or
    /// clients needed what the limits allow.
    Skipped,
}

const AUDITS: [&str; 6] = ["same", "changed", "overtaken", "unsettled", "error", "skipped"];

/// The counters of one rule, resolved when first needed: most of a large pack is never asked for.
pub(super) struct RuleMetrics {
    upstream: Arc<str>,
    rule: Arc<str>,
    requests: [OnceLock<Counter>; OUTCOMES],
    calls: [OnceLock<CallCounter>; CAUSES.len()],
    audits: [OnceLock<Counter>; AUDITS.len()],
}

impl RuleMetrics {
    pub(super) fn new(upstream: &str, rule: &str) -> Self {
        Self {
            upstream: upstream.into(),
            rule: rule.into(),
            requests: [const { OnceLock::new() }; OUTCOMES],
            calls: [const { OnceLock::new() }; CAUSES.len()],
            audits: [const { OnceLock::new() }; AUDITS.len()],
        }
    }

    pub(super) fn rule(&self) -> &str {
        &self.rule
    }

    pub(super) fn count(&self, registry: &Registry, outcome: Outcome) {
        let counter = self.requests[outcome.place()].get_or_init(|| {
            let labels =
                [("upstream", &*self.upstream), ("rule", &*self.rule), ("outcome", outcome.as_str())];
            registry.counter("forebay_requests_total", &labels)
        });
        counter.increment(1);
    }

    pub(super) fn count_audit(&self, registry: &Registry, result: AuditResult) {
        let counter = self.audits[result as usize].get_or_init(|| {
            let result = AUDITS[result as usize];
            let labels = [("upstream", &*self.upstream), ("rule", &*self.rule), ("result", result)];
            registry.counter("forebay_audits_total", &labels)
        });
        counter.increment(1);
    }

    pub(super) fn call(&self, registry: &Registry, cause: Cause) -> CallCounter {
        let place = cause as usize;
        self.calls[place]
            .get_or_init(|| CallCounter::new(registry, &self.upstream, &self.rule, CAUSES[place]))
            .clone()
    }
}

/// How a write was answered by the call of another: the label `how` of `forebay_writes_met_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It was the same, and on its way.
    Collapsed,
    /// It came later and was sent in its place.
    Batched,
}

/// The writes of an upstream that others answered.
pub(super) struct MetCounters([Counter; 2]);

impl MetCounters {
    pub(super) fn new(registry: &Registry, upstream: &str) -> Self {
        Self(
            ["collapsed", "batched"].map(|how| {
                registry.counter("forebay_writes_met_total", &[("upstream", upstream), ("how", how)])
            }),
        )
    }

    pub(super) fn count(&self, how: Met) {
        self.0[how as usize].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_numbered_as_they_are_listed() {
        for (place, detail) in Detail::ALL.into_iter().enumerate() {
            assert_eq!(detail as usize, place);
        }
    }
}
