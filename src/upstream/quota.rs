//! The API's own buckets, as far as they can be known here: what they hold, whether the API has shut them,
//! and which calls it may not have counted yet.
//!
//! A call is charged to several of them. It reserves a token of each, one after the other, and leaves with
//! all (`admit/quota.rs`); when its answer begins the levels are corrected by what that tells
//! ([`Paid::settle`]).
//!
//! Invariants: a level is never above what the API last said less what may not be in that number yet, and
//! rises by refilling alone; whoever waits for one bucket holds no place in the line of another; nothing is sent while a bucket of the call's is shut; the number of buckets
//! is bounded.

mod bucket;
mod cell;
mod paid;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::semantics::quota::{Charge, Meter, QuotaReading, RefusedBy};
use crate::telemetry::Registry;
use crate::units::Share;

pub(super) use cell::{Blocked, Cell};
pub(super) use paid::Paid;

/// More buckets than this are not kept; then those of a kind that are not there yet share one. A bucket
/// weighs less than a KiB.
const MAX_BUCKETS: usize = 20_000;
/// Buckets that are full again are dropped when there are so many, and at each doubling.
const CLEAN_FROM: usize = 256;
/// A full table is searched for room so often at the most.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// How calls are charged to the API's own buckets.
#[derive(Clone, Copy, Debug)]
pub struct QuotaConfig {
    /// How much of each is for calls from here.
    pub share: Share,
    /// How answers are read; `None`: the API has no buckets that are known.
    pub reading: Option<QuotaReading>,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        // The same principal is used by others too: portals, pipelines, the cloud's own agents.
        Self { share: Share(0.8), reading: None }
    }
}

/// The buckets of one kind, as the admin address shows them.
#[derive(Clone, Debug)]
pub struct QuotaStatus {
    /// The kind.
    pub bucket: &'static str,
    /// How many of it are not full.
    pub in_use: usize,
    /// What is left in the emptiest, as a share of what it holds at most; `None` where the API alone knows.
    pub remaining: Option<f64>,
    /// For how long the API has shut one of them at the most.
    pub shut_for: Option<Duration>,
}

/// The buckets of one upstream; they outlive a reload.
pub(super) struct Quotas {
    upstream: String,
    registry: Registry,
    table: Mutex<Table>,
    refused: [Counter; RefusedBy::ALL.len()],
    full: Counter,
}

struct Table {
    by_key: HashMap<u128, Arc<Cell>>,
    clean_at: usize,
    /// When a full table may be searched for room again.
    search_at: Instant,
    overflow: BTreeMap<Meter, Arc<Cell>>,
    /// Every kind that there ever was.
    gauges: BTreeMap<Meter, Gauge>,
}

impl Quotas {
    pub(super) fn new(upstream: &str, registry: &Registry) -> Self {
        let refused = |by: RefusedBy| {
            let labels = [("upstream", upstream), ("by", by.as_str())];
            registry.counter("forebay_quota_refused_total", &labels)
        };
        Self {
            upstream: upstream.to_owned(),
            registry: registry.clone(),
            table: Mutex::new(Table {
                by_key: HashMap::new(),
                clean_at: CLEAN_FROM,
                search_at: Instant::now(),
                overflow: BTreeMap::new(),
                gauges: BTreeMap::new(),
            }),
            refused: RefusedBy::ALL.map(refused),
            full: registry.counter("forebay_bounds_reached_total", &[("bound", "quota-buckets")]),
        }
    }

    /// The buckets of these charges, in their order.
    pub(super) fn cells(&self, charges: &[Charge], share: Share) -> SmallVec<[Arc<Cell>; 7]> {
        let now = Instant::now();
        let mut table = self.table.lock();
        charges.iter().map(|charge| self.cell(&mut table, charge, share, now)).collect()
    }

    fn cell(&self, table: &mut Table, charge: &Charge, share: Share, now: Instant) -> Arc<Cell> {
        if let Some(cell) = table.by_key.get(&charge.key) {
            cell.allow(charge.quota, share, now);
            return Arc::clone(cell);
        }
        if !table.gauges.contains_key(&charge.meter) && charge.quota.is_some() {
            let labels = [("upstream", &*self.upstream), ("bucket", charge.meter.0)];
            let gauge = self.registry.gauge("forebay_quota_remaining", &labels);
            table.gauges.insert(charge.meter, gauge);
        }
        let is_full = table.by_key.len() >= MAX_BUCKETS;
        if table.by_key.len() >= table.clean_at || (is_full && now >= table.search_at) {
            table.by_key.retain(|_, cell| Arc::strong_count(cell) > 1 || !cell.is_as_new(now));
            table.clean_at = (table.by_key.len() * 2).max(CLEAN_FROM);
            table.search_at = now + SEARCH_EVERY;
        }
        let make = || Arc::new(Cell::new(charge.meter, charge.quota, share, now));
        if table.by_key.len() >= MAX_BUCKETS {
            self.full.increment(1);
            return Arc::clone(table.overflow.entry(charge.meter).or_insert_with(make));
        }
        Arc::clone(table.by_key.entry(charge.key).or_insert_with(make))
    }

    pub(super) fn count_refusal(&self, by: RefusedBy) {
        self.refused[by as usize].increment(1);
    }

    /// How the kinds of buckets stand, by name; the metric is set by the same look.
    pub(super) fn status(&self) -> Vec<QuotaStatus> {
        let now = Instant::now();
        let table = self.table.lock();
        let mut kinds: BTreeMap<Meter, QuotaStatus> = BTreeMap::new();
        for meter in table.gauges.keys() {
            kinds.insert(*meter, QuotaStatus::of(*meter, Some(1.0)));
        }
        for cell in table.by_key.values().chain(table.overflow.values()) {
            cell.add_to(kinds.entry(cell.meter).or_insert_with(|| QuotaStatus::of(cell.meter, None)), now);
        }
        for (meter, gauge) in &table.gauges {
            gauge.set(kinds.get(meter).and_then(|kind| kind.remaining).unwrap_or(1.0));
        }
        kinds.into_values().filter(|kind| kind.remaining.is_some() || kind.shut_for.is_some()).collect()
    }
}

impl QuotaStatus {
    fn of(meter: Meter, remaining: Option<f64>) -> Self {
        Self { bucket: meter.0, in_use: 0, remaining, shut_for: None }
    }
}
