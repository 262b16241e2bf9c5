//! Something that is said once, to all that listen or will.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Down until it is raised, and never lowered.
#[derive(Default)]
pub(super) struct Flag {
    raised: AtomicBool,
    notify: Notify,
}

impl Flag {
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// Waits until it is raised.
    pub(super) async fn raised(&self) {
        let mut notified = pin!(self.notify.notified());
        // Registered before the flag is read: one that is raised in between is not missed.
        notified.as_mut().enable();
        if !self.raised.load(Ordering::SeqCst) {
            notified.await;
        }
    }
}
