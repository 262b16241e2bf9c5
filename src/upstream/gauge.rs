//! A number of things that exist, kept by guards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Gauge(Arc<AtomicUsize>);

/// One of the things; dropping it ends it.
pub(super) struct Entered(Gauge);

impl Gauge {
    /// One more.
    pub(super) fn enter(&self) -> Entered {
        self.0.fetch_add(1, Ordering::AcqRel);
        Entered(self.clone())
    }

    /// One more, unless there are `limit` already.
    pub(super) fn enter_below(&self, limit: usize) -> Option<Entered> {
        let one_more = |now: usize| (now < limit).then_some(now + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Entered(self.clone()))
    }

    /// How many there are.
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
