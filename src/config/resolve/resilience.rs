//! What a configuration says about failures.

use std::time::Duration;

use super::Resolver;
use crate::config::raw::{RawBreaker, RawGrowth, RawRetry, RawRetryPolicy};
use crate::rules::document::{Step, at};
use crate::upstream::{BreakerConfig, Growth, RetryConfig, RetryPolicy};

/// More of them in a row are no retry but a way to wear an API down.
const MOST_ATTEMPTS: u32 = 10;

/// Who lets more fail wants no breaker, and would notice it years later.
const MOST_FAILURES: u32 = 1_000;

/// How often an idle endpoint can be asked: more often is load, and who asks less often finds nothing in time.
const PROBE_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

impl Resolver<'_> {
    /// When calls to an endpoint are held back.
    pub(super) fn breaker(&mut self, raw: &RawBreaker, here: &[Step]) -> BreakerConfig {
        let default = BreakerConfig::default();
        let failures = raw.failures.unwrap_or(default.failures);
        if !(1..=MOST_FAILURES).contains(&failures) {
            self.error(&[here, &at!["failures"]].concat(), format!("from 1 to {MOST_FAILURES}"));
        }
        let open_for = raw.open_for.map_or(default.open_for, |span| span.0);
        if open_for.is_zero() {
            self.error(&[here, &at!["open_for"]].concat(), "more than zero");
        }
        BreakerConfig { failures, open_for }
    }

    /// How often an endpoint is asked that answers nobody.
    pub(super) fn probe_every(
        &mut self,
        raw: &RawBreaker,
        default: Option<Duration>,
        here: &[Step],
    ) -> Option<Duration> {
        let Some(every) = raw.probe_every.map(|span| span.0) else { return default };
        if !every.is_zero() && !PROBE_EVERY.contains(&every) {
            self.error(&[here, &at!["probe_every"]].concat(), "from 1s to 1h, or 0s for never");
        }
        (!every.is_zero()).then_some(every)
    }

    /// What is sent again.
    pub(super) fn retry(&mut self, raw: Option<&RawRetry>, here: &[Step]) -> RetryConfig {
        let default = RetryConfig::default();
        let Some(raw) = raw else { return default };
        let all = RawRetryPolicy { attempts: raw.attempts, base: raw.base, cap: raw.cap, growth: raw.growth };
        self.policy(RetryPolicy::default(), &all, here);
        let mut class = |name: &str, default: RetryPolicy, own: Option<RawRetryPolicy>| {
            let general = apply(default, &all);
            match own {
                Some(own) => self.policy(general, &own, &[here, &at![name]].concat()),
                None => general,
            }
        };
        RetryConfig {
            never_sent: class("never_sent", default.never_sent, raw.never_sent),
            transient: class("transient", default.transient, raw.transient),
            throttled: class("throttled", default.throttled, raw.throttled),
            budget: raw.budget.unwrap_or(default.budget),
        }
    }

    fn policy(&mut self, general: RetryPolicy, own: &RawRetryPolicy, here: &[Step]) -> RetryPolicy {
        let policy = apply(general, own);
        if own.attempts.is_some_and(|attempts| !(1..=MOST_ATTEMPTS).contains(&attempts)) {
            let message = format!("from 1 to {MOST_ATTEMPTS}, the first time included");
            self.error(&[here, &at!["attempts"]].concat(), message);
        }
        if (own.base.is_some() || own.cap.is_some()) && policy.base > policy.cap {
            self.error(here, "`base` is at most `cap`");
        }
        policy
    }
}

fn apply(general: RetryPolicy, own: &RawRetryPolicy) -> RetryPolicy {
    RetryPolicy {
        attempts: own.attempts.unwrap_or(general.attempts),
        base: own.base.map_or(general.base, |span| span.0),
        cap: own.cap.map_or(general.cap, |span| span.0),
        growth: own.growth.map_or(general.growth, |growth| match growth {
            RawGrowth::Exponential => Growth::Exponential,
            RawGrowth::Linear => Growth::Linear,
            RawGrowth::Constant => Growth::Constant,
        }),
    }
}
