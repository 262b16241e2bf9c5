//! One bucket with its turnstile, its gate, and the calls that the API may not have counted yet.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::QuotaStatus;
use super::bucket::Bucket;
use crate::semantics::quota::{Meter, Quota};
use crate::units::Share;
use crate::upstream::line::Line;

/// The longest time that a refusal is believed: the API's longest windows are an hour.
const LONGEST: Duration = Duration::from_secs(3_600);
/// A gate without a named time is shut so long at first, and twice as long each time after.
const UNNAMED: Duration = Duration::from_secs(2);
/// That is not doubled beyond this.
const LONGEST_UNNAMED: Duration = Duration::from_secs(60);
/// Up to this share comes on top, so that those who were refused together do not come back together.
const JITTER: f64 = 0.1;

/// One bucket of the API's.
pub(in crate::upstream) struct Cell {
    pub(super) meter: Meter,
    /// A line for one place, where there are tokens to wait for.
    pub(in crate::upstream) turnstile: Option<Arc<Line>>,
    state: Mutex<State>,
}

struct State {
    bucket: Option<Bucket>,
    /// Until when the API wants no calls.
    shut_until: Option<Instant>,
    /// How often in a row it refused without naming a time.
    strikes: u32,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Blocked {
    /// The API asked for it.
    Shut(Duration),
    /// There is no token.
    Empty(Duration),
}

impl Cell {
    pub(super) fn new(meter: Meter, quota: Option<Quota>, share: Share, now: Instant) -> Self {
        Self {
            meter,
            turnstile: quota.map(|_| Line::new(1)),
            state: Mutex::new(State {
                bucket: quota.map(|quota| Bucket::new(quota, share.0, now)),
                shut_until: None,
                strikes: 0,
            }),
        }
    }

    /// The share may be another after a reload.
    pub(super) fn allow(&self, quota: Option<Quota>, share: Share, now: Instant) {
        if let (Some(bucket), Some(quota)) = (&mut self.state.lock().bucket, quota) {
            bucket.resize(quota, share.0, now);
        }
    }

    /// For how long the API wants no calls.
    pub(in crate::upstream) fn shut_for(&self, now: Instant) -> Option<Duration> {
        self.state.lock().shut_for(now)
    }

    /// Why so many calls cannot have tokens now.
    pub(in crate::upstream) fn blocked(&self, calls: usize, now: Instant) -> Option<Blocked> {
        let mut state = self.state.lock();
        if let Some(wait) = state.shut_for(now) {
            return Some(Blocked::Shut(wait));
        }
        state.bucket.as_mut()?.has_in(calls, now).map(Blocked::Empty)
    }

    /// Reserves a token for a call, or says why it cannot.
    pub(in crate::upstream) fn reserve(&self, now: Instant) -> Option<Blocked> {
        let mut state = self.state.lock();
        if let Some(wait) = state.shut_for(now) {
            return Some(Blocked::Shut(wait));
        }
        let bucket = state.bucket.as_mut()?;
        let wait = bucket.has_in(1, now);
        if wait.is_none() {
            bucket.reserve();
        }
        wait.map(Blocked::Empty)
    }

    /// The same for a call that nobody waits for: whether it got one.
    pub(in crate::upstream) fn reserve_spare(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let is_open = state.shut_for(now).is_none();
        let Some(bucket) = &mut state.bucket else { return is_open };
        let is_there = is_open && bucket.has_spare(now);
        if is_there {
            bucket.reserve();
        }
        is_there
    }

    /// Why a call that has reserved a token cannot leave now.
    pub(in crate::upstream) fn holds(&self, now: Instant) -> Option<Blocked> {
        let mut state = self.state.lock();
        if let Some(wait) = state.shut_for(now) {
            return Some(Blocked::Shut(wait));
        }
        state.bucket.as_mut()?.leaves_in(now).map(Blocked::Empty)
    }

    /// The call will not leave.
    pub(in crate::upstream) fn release(&self) {
        if let Some(bucket) = &mut self.state.lock().bucket {
            bucket.release();
        }
    }

    /// The call leaves.
    pub(super) fn leave(&self, now: Instant) {
        if let Some(bucket) = &mut self.state.lock().bucket {
            bucket.leave(now);
        }
    }

    /// A call is over: its answer has begun, or none will come.
    pub(super) fn end(&self, now: Instant) {
        if let Some(bucket) = &mut self.state.lock().bucket {
            bucket.end(now);
        }
    }

    /// The same for one that the API never counted.
    pub(super) fn end_uncounted(&self, now: Instant) {
        if let Some(bucket) = &mut self.state.lock().bucket {
            bucket.end_uncounted(now);
        }
    }

    /// The API told a call that has not ended here that so many are left.
    pub(in crate::upstream) fn is_left(&self, calls: u64, now: Instant) {
        if let Some(bucket) = &mut self.state.lock().bucket {
            bucket.is_left(calls, now);
        }
    }

    /// The API let a call pass.
    pub(super) fn passed(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.strikes > 0 && state.shut_for(now).is_none() {
            state.strikes = 0;
        }
    }

    /// The API wants no more of these calls for a time.
    pub(in crate::upstream) fn shut(&self, asked: Option<Duration>, now: Instant) {
        let mut state = self.state.lock();
        let length = match asked.filter(|asked| !asked.is_zero()) {
            Some(asked) => asked.min(LONGEST),
            // One of several that were on their way together.
            None if state.shut_for(now).is_some() => return,
            None => {
                let length = UNNAMED.saturating_mul(1 << state.strikes.min(8)).min(LONGEST_UNNAMED);
                state.strikes = state.strikes.saturating_add(1);
                length
            }
        };
        let until = now + length.mul_f64(1.0 + JITTER * fastrand::f64());
        state.shut_until = Some(state.shut_until.map_or(until, |old| old.max(until)));
        if let Some(bucket) = &mut state.bucket {
            bucket.is_left(0, now);
        }
    }

    /// There is nothing left until the window ends.
    pub(super) fn is_used_up(&self, resets_in: Duration, now: Instant) {
        let mut state = self.state.lock();
        let until = now + resets_in.min(LONGEST);
        state.shut_until = Some(state.shut_until.map_or(until, |old| old.max(until)));
    }

    /// Whether a new one would be the same.
    pub(super) fn is_as_new(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let forgets = |until: Instant| now >= until + LONGEST_UNNAMED;
        state.shut_until.is_none_or(forgets) && state.bucket.as_mut().is_none_or(|bucket| bucket.is_full(now))
    }

    pub(super) fn add_to(&self, status: &mut QuotaStatus, now: Instant) {
        let mut state = self.state.lock();
        let shut_for = state.shut_for(now);
        if let Some(bucket) = &mut state.bucket {
            let left = bucket.remaining(now);
            status.in_use += usize::from(left < 1.0);
            status.remaining = Some(status.remaining.map_or(left, |least| least.min(left)));
        }
        status.shut_for = status.shut_for.max(shut_for);
    }
}

impl State {
    fn shut_for(&self, now: Instant) -> Option<Duration> {
        let left = self.shut_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}
