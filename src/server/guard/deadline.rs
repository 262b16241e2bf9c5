//! A deadline that costs almost nothing to move.
//!
//! A connection sets and clears one for every request. The timer behind it is left where it is and only
//! moved when it fires too early, or when the deadline comes before it: about once per timeout, not once
//! per request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline; clear until polled.
#[derive(Default)]
pub(super) struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Forgets the deadline.
    pub(super) fn clear(&mut self) {
        self.at = None;
    }

    /// Ready once `limit` has passed since the first poll after the last [`Deadline::clear`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let at = *self.at.get_or_insert_with(|| Instant::now() + limit);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}
