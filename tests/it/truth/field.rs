//! What all who take part in one run share, whatever API it is about.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock};

use super::rules::Rules;

/// What the clients of one run share.
pub struct Field<W> {
    /// The model.
    pub world: Arc<Mutex<W>>,
    /// What forebay may do.
    pub rules: Mutex<Rules>,
    /// Where forebay is.
    pub address: ArcSwap<SocketAddr>,
    /// Held by whoever has a request under way; taken as a whole to restart forebay.
    pub traffic: RwLock<()>,
    /// How many requests may still begin.
    pub left: AtomicU64,
    /// Told when a request has ended.
    pub progress: Notify,
    /// Held by whoever moves the clock.
    pub moving: tokio::sync::Mutex<()>,
    /// What came of the requests.
    pub tally: Mutex<Tally>,
    /// The first violation.
    pub violation: Mutex<Option<String>>,
}

impl<W> Field<W> {
    /// Whether one more request may begin; it is counted as begun.
    pub fn begin_turn(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// A request has ended so: after a violation none begins any more.
    pub fn end_turn(&self, judged: Result<(), String>) {
        self.tally.lock().operations += 1;
        self.progress.notify_waiters();
        if let Err(violation) = judged {
            self.violation.lock().get_or_insert(violation);
            self.left.store(0, Ordering::Relaxed);
        }
    }
}

/// What came of the requests of a run.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Requests that clients sent.
    pub operations: u64,
    /// Reads that the store answered.
    pub hits: u64,
    /// Those of them that somebody else with the same rights had fetched.
    pub of_equals: u64,
    /// Reads that were answered from a list that was read in their place.
    pub promoted: u64,
    /// Reads that shared a call.
    pub collapsed: u64,
    /// Reads that were answered with what had expired.
    pub stale: u64,
    /// Other reads that showed an answer of the API.
    pub fetched: u64,
    /// Calls to have something anew before anybody asks for it.
    pub refreshed: u64,
    /// Writes whose outcome was told.
    pub written: u64,
    /// Ends of tasks that were told.
    pub ended: u64,
    /// Requests that forebay answered with an error of its own.
    pub refused: u64,
    /// Requests whose answer was not whole or not awaited.
    pub lost: u64,
    /// Reloads of the configuration.
    pub reloads: u64,
    /// Restarts of forebay.
    pub restarts: u64,
}

impl Tally {
    /// Adds another run.
    pub fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.hits += other.hits;
        self.of_equals += other.of_equals;
        self.promoted += other.promoted;
        self.collapsed += other.collapsed;
        self.stale += other.stale;
        self.fetched += other.fetched;
        self.refreshed += other.refreshed;
        self.written += other.written;
        self.ended += other.ended;
        self.refused += other.refused;
        self.lost += other.lost;
        self.reloads += other.reloads;
        self.restarts += other.restarts;
    }
}
