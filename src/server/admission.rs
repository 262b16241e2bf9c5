//! A connection's place under `max_connections`, and its counters.
//!
//! The place is given back when the stream is dropped, not when its HTTP ends: an upgraded connection is
//! still a connection.

use std::sync::Arc;

use metrics::{Counter, Gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::{Refusal, RefusalCounters};
use crate::telemetry::Registry;

/// What a listener counts.
pub(super) struct Metrics {
    connections: Gauge,
    /// Times that an accept had to wait because `max_connections` were open.
    at_limit: Counter,
    refusals: RefusalCounters,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        registry.describe_counter(
            "forebay_connection_limit_total",
            "Times that accepting waited because max_connections were open",
        );
        Self {
            connections: registry.gauge("forebay_connections", &[]),
            at_limit: registry.counter("forebay_connection_limit_total", &[]),
            refusals: RefusalCounters::new(registry),
        }
    }

    pub(super) fn count(&self, refusal: Refusal) {
        self.refusals.count(refusal);
    }
}

/// Free places. A place is taken before a connection is accepted, so that connections over the limit wait
/// in the kernel's queue.
pub(super) struct Places {
    semaphore: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    total: u32,
}

impl Places {
    pub(super) fn new(total: usize, metrics: Arc<Metrics>) -> Self {
        let total = u32::try_from(total.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { semaphore: Arc::new(Semaphore::new(total as usize)), metrics, total }
    }

    /// Waits for a free place.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = self.semaphore.clone().try_acquire_owned() {
            return place;
        }
        self.metrics.at_limit.increment(1);
        self.semaphore.clone().acquire_owned().await.expect("nobody closes the semaphore")
    }

    /// Waits until every place is free again.
    pub(super) async fn all_free(&self) {
        let _all = self.semaphore.acquire_many(self.total).await;
    }

    /// Counts a connection that was accepted into `place`.
    pub(super) fn admit(&self, place: OwnedSemaphorePermit) -> Admission {
        self.metrics.connections.increment(1.0);
        Admission { _place: place, metrics: self.metrics.clone() }
    }
}

/// An open connection.
pub(super) struct Admission {
    _place: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Admission {
    pub(super) fn count(&self, refusal: Refusal) {
        self.metrics.count(refusal);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.metrics.connections.decrement(1.0);
    }
}
