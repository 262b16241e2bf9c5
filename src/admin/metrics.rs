//! The metrics page: what is only known when it is asked for, and what every metric means.

use std::sync::Arc;

use metrics::{Counter, Gauge};

use crate::proxy::{Shared, Site};
use crate::telemetry::Registry;

/// What every metric means.
const HELP: &[(&str, &str)] = &[
    ("forebay_requests_total", "Requests of clients by upstream, rule and what became of them"),
    (
        "forebay_upstream_requests_total",
        "Requests sent to the API by upstream, rule, cause and status class; each attempt counts once",
    ),
    ("forebay_upstream_failures_total", "Calls that the API failed, by class, each attempt for itself"),
    ("forebay_retries_total", "Failed calls by class, and whether they were sent again or why not"),
    ("forebay_request_seconds", "Time from a request of a client to the head of its answer"),
    ("forebay_upstream_seconds", "Time from a request to the API to the head of its answer"),
    ("forebay_entries", "Stored answers, each content coding on its own"),
    ("forebay_entry_bytes", "What the stored answers weigh, bodies, fields and overhead"),
    ("forebay_flights", "Fetches under way that readers may join"),
    ("forebay_collapsed_total", "Requests that joined another request's call to the API"),
    ("forebay_invalidations_total", "Invalidations of groups by cause"),
    ("forebay_limit_wait_seconds", "Time that calls waited for a limit, a pause or a place in flight"),
    ("forebay_limit_rejected_total", "Calls turned away before they were sent, by reason"),
    (
        "forebay_breaker_state",
        "Whether calls to an endpoint are held back after failures: 0 closed, 1 half open, 2 open",
    ),
    (
        "forebay_concurrency_limit",
        "How many calls at once an endpoint is found to bear, where that is learnt",
    ),
    (
        "forebay_quota_remaining",
        "The share that is left in the emptiest of the API's own buckets of each kind: 1 is all that may be used",
    ),
    ("forebay_quota_refused_total", "Calls that the API refused for now, by the part of it that did"),
    (
        "forebay_writes_met_total",
        "Writes that another's call answered: the same one on its way (collapsed) or a later one (batched)",
    ),
    (
        "forebay_writes_held",
        "Writes that are held for later ones to the same target, or wait for one that was",
    ),
    ("forebay_unsettled_groups", "Groups in which a write or its task has not settled"),
    ("forebay_operations_open", "Tasks and writes whose end has not been seen"),
    (
        "forebay_operations_limited_total",
        "Operations that a bound kept from being followed to their end (open) or asked after (watched)",
    ),
    (
        "forebay_feed_live",
        "Whether changes made elsewhere are seen: 1 while the API's change feed is read or nothing is kept, else 0",
    ),
    ("forebay_warm_entries", "Answers that are kept warm"),
    ("forebay_warm_rejected_total", "Answers that there was no room for to be kept warm"),
    ("forebay_audits_total", "Hits compared with the API, by rule and result"),
    ("forebay_tunnels", "Connections that have left HTTP and are open: upgrades and CONNECTs"),
    ("forebay_tunnels_refused_total", "Upgrades and CONNECTs refused because as many as may be were open"),
    (
        "forebay_streams",
        "Answers that have been coming for over a minute and are no calls in flight any more",
    ),
    (
        "forebay_streams_refused_total",
        "Such answers that kept their place in flight, because there are too many",
    ),
    ("forebay_connects_total", "What became of requests to forward proxies"),
    ("forebay_connections", "Connections of clients that are open"),
    (
        "forebay_connection_limit_total",
        "Times that a connection had to wait because as many as allowed were open",
    ),
    (
        "forebay_bounds_reached_total",
        "Times that as many existed as may: waiters of one fetch, remembered writers, writes that others may join",
    ),
    ("forebay_disk_entries", "Entries on disk that may be shown after a restart"),
    ("forebay_disk_bytes", "What the records on disk take"),
    ("forebay_disk_errors_total", "Trouble with the store on disk by kind; it costs hits, never an answer"),
    ("forebay_disk_loads_total", "Reads of an entry from disk, by result"),
    ("forebay_disk_dropped_total", "Entries that were not written to disk, by reason"),
    ("forebay_build_info", "The version that runs; always 1"),
];

type Reached = fn(&Shared) -> u64;

/// What is bounded and not counted elsewhere: what it is called, and how often there were as many as may be.
const BOUNDS: [(&str, Reached); 3] = [
    ("waiters", |shared| shared.flights.turned_away()),
    ("writers", |shared| shared.actors.overflows()),
    ("meetings", Shared::writes_turned_away),
];

/// The gauges that are set when the metrics are asked for.
pub(super) struct Scrape {
    entries: Gauge,
    entry_bytes: Gauge,
    flights: Gauge,
    unsettled_groups: Gauge,
    operations_open: Gauge,
    writes_held: Gauge,
    /// In the order of [`BOUNDS`].
    bounds: [Counter; BOUNDS.len()],
}

impl Scrape {
    /// Resolves the gauges and explains all metrics.
    pub(super) fn new(registry: &Registry) -> Self {
        HELP.iter().for_each(|(name, help)| registry.describe(name, help));
        let gauge = |name| registry.gauge(name, &[]);
        Self {
            entries: gauge("forebay_entries"),
            entry_bytes: gauge("forebay_entry_bytes"),
            flights: gauge("forebay_flights"),
            unsettled_groups: gauge("forebay_unsettled_groups"),
            operations_open: gauge("forebay_operations_open"),
            writes_held: gauge("forebay_writes_held"),
            bounds: BOUNDS
                .map(|(bound, _)| registry.counter("forebay_bounds_reached_total", &[("bound", bound)])),
        }
    }

    /// The text exposition of all metrics as they are now.
    pub(super) fn render(&self, shared: &Shared, sites: &[Arc<Site>]) -> String {
        self.entries.set(shared.memory.len() as f64);
        self.entry_bytes.set(shared.memory.weight() as f64);
        self.flights.set(shared.flights.len() as f64);
        self.unsettled_groups.set(shared.groups.unsettled(shared.clock.now()) as f64);
        self.operations_open.set(shared.operations.len() as f64);
        self.writes_held.set(shared.writes_held() as f64);
        for ((_, reached), counter) in BOUNDS.iter().zip(&self.bounds) {
            counter.absolute(reached(shared));
        }
        // A look at them sets their metric: levels rise by themselves.
        sites.iter().for_each(|site| drop(site.upstream.quotas()));
        shared.registry.render()
    }
}
