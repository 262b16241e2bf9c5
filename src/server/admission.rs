//! A connection's place under `max_connections`, its counters, and when its time is over.
//!
//! The place is given back when the stream is dropped, not when its HTTP ends: an upgraded connection is
//! still a connection.

use std::sync::Arc;

use metrics::{Counter, Gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::flag::Flag;
use super::refusal::{Refusal, RefusalCounters};
use crate::telemetry::Registry;

/// What a listener counts and tells its connections.
pub(super) struct Books {
    connections: Gauge,
    /// Times that an accept had to wait because `max_connections` were open.
    at_limit: Counter,
    refusals: RefusalCounters,
    /// Raised when what is still open has to end: nobody waits for it any more.
    pub(super) over: Flag,
}

impl Books {
    pub(super) fn new(registry: &Registry) -> Self {
        registry.describe_counter(
            "forebay_connection_limit_total",
            "Times that accepting waited because max_connections were open",
        );
        Self {
            connections: registry.gauge("forebay_connections", &[]),
            at_limit: registry.counter("forebay_connection_limit_total", &[]),
            refusals: RefusalCounters::new(registry),
            over: Flag::default(),
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
    books: Arc<Books>,
    total: u32,
}

impl Places {
    pub(super) fn new(total: usize, books: Arc<Books>) -> Self {
        let total = u32::try_from(total.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { semaphore: Arc::new(Semaphore::new(total as usize)), books, total }
    }

    /// Waits for a free place.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = self.semaphore.clone().try_acquire_owned() {
            return place;
        }
        self.books.at_limit.increment(1);
        self.semaphore.clone().acquire_owned().await.expect("nobody closes the semaphore")
    }

    /// Waits until every place is free again.
    pub(super) async fn all_free(&self) {
        let _all = self.semaphore.acquire_many(self.total).await;
    }

    /// Counts a connection that was accepted into `place`.
    pub(super) fn admit(&self, place: OwnedSemaphorePermit) -> Admission {
        self.books.connections.increment(1.0);
        Admission { place: Some(place), books: self.books.clone() }
    }
}

/// An open connection.
pub(super) struct Admission {
    /// Absent for what is inside of a connection that has one.
    place: Option<OwnedSemaphorePermit>,
    books: Arc<Books>,
}

impl Admission {
    /// For HTTP inside of a connection that was admitted, which keeps its place by itself.
    pub(super) fn inside(books: &Arc<Books>) -> Self {
        Self { place: None, books: books.clone() }
    }

    pub(super) fn count(&self, refusal: Refusal) {
        self.books.count(refusal);
    }

    /// What the listener tells.
    pub(super) fn books(&self) -> &Arc<Books> {
        &self.books
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.books.connections.decrement(1.0);
        }
    }
}
