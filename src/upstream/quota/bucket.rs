//! A token bucket whose level can be corrected downwards.

use std::time::Duration;

use tokio::time::Instant;

use crate::semantics::quota::Quota;

/// What rounding may take from a token.
const ROUNDING: f64 = 1e-6;

/// The level, as it was at a time.
///
/// A call first reserves a token, so that nobody else takes it while the call waits for the rest that it
/// needs, and uses it when it leaves. Until its answer begins the API may or may not have counted it, so no
/// more is ever thought to be there than the most less the calls on their way.
#[derive(Debug)]
pub(super) struct Bucket {
    most: f64,
    per_second: f64,
    /// Tokens of calls that have not left, reserved ones included.
    tokens: f64,
    /// Those that are reserved; after a correction there may be more of them than tokens.
    reserved: u32,
    /// Calls that have left and have no answer.
    on_their_way: u32,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(quota: Quota, share: f64, now: Instant) -> Self {
        let (most, per_second) = sizes(quota, share);
        Self { most, per_second, tokens: most, reserved: 0, on_their_way: 0, at: now }
    }

    /// Another size from now on. It gets nothing by that.
    pub(super) fn resize(&mut self, quota: Quota, share: f64, now: Instant) {
        if (self.most, self.per_second) != sizes(quota, share) {
            self.refill(now);
            (self.most, self.per_second) = sizes(quota, share);
            self.cap();
        }
    }

    /// The time until so many can be reserved; `None`: now.
    pub(super) fn has_in(&mut self, calls: usize, now: Instant) -> Option<Duration> {
        self.refill(now);
        self.time_for(calls as f64 + f64::from(self.reserved))
    }

    /// The time until a call that has reserved one can leave; `None`: now.
    pub(super) fn leaves_in(&mut self, now: Instant) -> Option<Duration> {
        self.refill(now);
        self.time_for(1.0)
    }

    fn time_for(&self, tokens: f64) -> Option<Duration> {
        let missing = tokens - self.tokens;
        (missing > ROUNDING)
            .then(|| Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(Duration::MAX))
    }

    /// Whether half of all would be left if one were taken.
    pub(super) fn has_spare(&mut self, now: Instant) -> bool {
        self.refill(now);
        let free = self.tokens - f64::from(self.reserved);
        free >= (self.most / 2.0 + 1.0).min(self.most) - ROUNDING
    }

    /// Keeps one for a call.
    pub(super) fn reserve(&mut self) {
        self.reserved += 1;
    }

    /// The call will not leave.
    pub(super) fn release(&mut self) {
        self.reserved -= 1;
    }

    /// The call leaves.
    pub(super) fn leave(&mut self, now: Instant) {
        self.refill(now);
        self.reserved -= 1;
        self.on_their_way += 1;
        self.tokens -= 1.0;
    }

    /// Its answer has begun, or none will come.
    pub(super) fn end(&mut self, now: Instant) {
        self.refill(now);
        self.on_their_way -= 1;
    }

    /// The same for one that the API never counted.
    pub(super) fn end_uncounted(&mut self, now: Instant) {
        self.end(now);
        self.tokens += 1.0;
        self.cap();
    }

    /// The API told one call that so many are left. When it reckoned that is not known: the other calls on
    /// their way may come on top of it.
    pub(super) fn is_left(&mut self, calls: u64, now: Instant) {
        self.refill(now);
        let others = f64::from(self.on_their_way.saturating_sub(1));
        self.tokens = self.tokens.min((calls as f64 - others).max(0.0));
    }

    /// What is left, as a share of all that can be.
    pub(super) fn remaining(&mut self, now: Instant) -> f64 {
        self.refill(now);
        ((self.tokens - f64::from(self.reserved)) / self.most).clamp(0.0, 1.0)
    }

    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.reserved == 0 && self.on_their_way == 0 && self.tokens >= self.most - ROUNDING
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens += passed * self.per_second;
        self.at = self.at.max(now);
        self.cap();
    }

    fn cap(&mut self) {
        self.tokens = self.tokens.min((self.most - f64::from(self.on_their_way)).max(0.0));
    }
}

/// With less than a whole token at most, nothing would ever pass.
fn sizes(quota: Quota, share: f64) -> (f64, f64) {
    ((quota.burst * share).max(1.0), (quota.per_second * share).max(f64::MIN_POSITIVE))
}
