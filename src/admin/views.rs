//! What an operator sees of the process: counts, upstreams, and what a rule makes of a request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Answer;
use super::answer::{self, Problem};
use super::feed::{self, FeedView};
use super::operations::{self, OperationView};
use super::query::Query;
use crate::clock;
use crate::proxy::{self, Shared, Site};
use crate::telemetry::Count;

pub(super) const REQUESTS: &str = "forebay_requests_total";
pub(super) const CALLS: &str = "forebay_upstream_requests_total";
pub(super) const AUDITS: &str = "forebay_audits_total";

pub(super) type Sums = BTreeMap<String, u64>;

#[derive(Serialize)]
pub(super) struct Stats {
    version: &'static str,
    uptime_seconds: u64,
    requests: Total,
    upstream_requests: Total,
    /// The share of requests that cost no call; `null` before the first request.
    saved: Option<f64>,
    /// Hits that were compared with the API, by result.
    audits: Sums,
    entries: usize,
    entry_bytes: u64,
    flights: usize,
    operations_open: usize,
    unsettled_groups: usize,
    upstreams: BTreeMap<String, UpstreamStats>,
}

#[derive(Serialize)]
struct Total {
    total: u64,
    #[serde(flatten)]
    by: By,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum By {
    ByOutcome(Sums),
    ByCause(Sums),
}

#[derive(Serialize)]
struct UpstreamStats {
    requests: u64,
    upstream_requests: u64,
    saved: Option<f64>,
}

/// Counts since the start.
pub(super) fn stats(shared: &Shared, sites: &[Arc<Site>], uptime: Duration) -> Stats {
    let counts = shared.registry.counts();
    let (requests, calls) = (counts.of(REQUESTS), counts.of(CALLS));
    let of = |counts: &[Count], name: &str| -> u64 {
        counts.iter().filter(|count| count.label("upstream") == name).map(|count| count.value).sum()
    };
    let upstreams = sites.iter().map(|site| {
        let name = &site.config.name;
        let (requests, upstream_requests) = (of(&requests, name), of(&calls, name));
        let saved = saved(requests, upstream_requests);
        (name.clone(), UpstreamStats { requests, upstream_requests, saved })
    });
    let upstreams = upstreams.collect();
    let total = |counts: &[Count]| counts.iter().map(|count| count.value).sum();
    let requests = Total { total: total(&requests), by: By::ByOutcome(sums(&requests, "outcome")) };
    let calls = Total { total: total(&calls), by: By::ByCause(sums(&calls, "cause")) };
    Stats {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: uptime.as_secs(),
        saved: saved(requests.total, calls.total),
        requests,
        upstream_requests: calls,
        audits: sums(&counts.of(AUDITS), "result"),
        entries: shared.memory.len(),
        entry_bytes: shared.memory.weight(),
        flights: shared.flights.len(),
        operations_open: shared.operations.len(),
        unsettled_groups: shared.groups.unsettled(shared.clock.now()),
        upstreams,
    }
}

/// The share that cost no call, to four digits; below zero when background calls outweigh the hits.
fn saved(requests: u64, calls: u64) -> Option<f64> {
    (requests > 0).then(|| ((1.0 - calls as f64 / requests as f64) * 10_000.0).round() / 10_000.0)
}

pub(super) fn sums<'c>(counts: impl IntoIterator<Item = &'c Count>, label: &str) -> Sums {
    let mut sums = Sums::new();
    for count in counts.into_iter().filter(|count| count.value > 0) {
        *sums.entry(count.label(label).to_owned()).or_default() += count.value;
    }
    sums
}

#[derive(Serialize)]
pub(super) struct Upstreams {
    upstreams: Vec<UpstreamView>,
    /// Of all upstreams together.
    unsettled_groups: usize,
}

#[derive(Serialize)]
struct UpstreamView {
    name: String,
    api: String,
    endpoints: Vec<EndpointView>,
    /// Calls that wait for a limit, a pause or a place in flight.
    waiting: usize,
    /// Since when calls have got no answer at all (RFC 3339).
    failing_since: Option<String>,
    failing_seconds: Option<u64>,
    /// For how long the API has asked not to be called.
    paused_seconds: Option<u64>,
    /// The API's own buckets, by kind; empty where it has none that are known.
    quotas: Vec<QuotaView>,
    operations_open: usize,
    operations: Vec<OperationView>,
    /// The watch over changes made elsewhere; `null` where the API tells of none.
    feed: Option<FeedView>,
}

#[derive(Serialize)]
struct QuotaView {
    bucket: &'static str,
    /// How many of the kind are not full.
    in_use: usize,
    /// The share that is left in the emptiest; `null` where only the API knows.
    remaining: Option<f64>,
    /// For how long the API has shut one of them at the most.
    shut_seconds: Option<u64>,
}

#[derive(Serialize)]
struct EndpointView {
    address: String,
    up: bool,
    in_flight: usize,
    open_connections: usize,
}

/// The upstreams and their endpoints.
pub(super) fn upstreams(shared: &Shared, sites: &[Arc<Site>]) -> Upstreams {
    let upstream = |site: &Arc<Site>| {
        let endpoint = |e: crate::upstream::EndpointStatus| EndpointView {
            address: e.address,
            up: e.up,
            in_flight: e.in_flight,
            open_connections: e.open_connections,
        };
        let quota = |quota: crate::upstream::QuotaStatus| QuotaView {
            bucket: quota.bucket,
            in_use: quota.in_use,
            remaining: quota.remaining.map(|left| (left * 10_000.0).round() / 10_000.0),
            shut_seconds: quota.shut_for.map(|left| left.as_secs_f64().ceil() as u64),
        };
        let failing = site.upstream.failing_since().map(|since| since.elapsed());
        let paused = site.upstream.paused_until();
        UpstreamView {
            name: site.config.name.clone(),
            api: site.rules.api.clone(),
            endpoints: site.upstream.endpoints().into_iter().map(endpoint).collect(),
            waiting: site.upstream.waiting(),
            failing_since: failing.and_then(|ago| {
                OffsetDateTime::from(clock::wall() - ago).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
            }),
            failing_seconds: failing.map(|ago| ago.as_secs()),
            paused_seconds: paused
                .map(|until| until.saturating_duration_since(tokio::time::Instant::now()))
                .filter(|left| !left.is_zero())
                .map(|left| left.as_secs_f64().ceil() as u64),
            quotas: site.upstream.quotas().into_iter().map(quota).collect(),
            operations_open: shared.operations.open_of(site.id),
            operations: operations::of(shared, site),
            feed: feed::of(site),
        }
    };
    Upstreams {
        upstreams: sites.iter().map(upstream).collect(),
        unsettled_groups: shared.groups.unsettled(shared.clock.now()),
    }
}

/// What the rules of `upstream` (the first one when none is named) make of `method` (GET when none is
/// named) to `url`.
pub(super) fn explain(sites: &[Arc<Site>], query: &Query) -> Result<Answer, Problem> {
    let wrong = |message: &str| Problem::Request(message.to_owned());
    let site = match query.get("upstream") {
        None => sites.first(),
        Some(name) => sites.iter().find(|site| site.config.name == name),
    };
    let names = || sites.iter().map(|site| &*site.config.name).collect::<Vec<_>>().join(", ");
    let site = site.ok_or_else(|| Problem::Upstream(names()))?;
    let method = query.get("method").unwrap_or("GET").to_ascii_uppercase();
    let method = method.parse::<Method>().map_err(|_| wrong("method is no method"))?;
    let url =
        query.get("url").ok_or_else(|| wrong("url is missing: a whole URL, or a path with its query"))?;
    Ok(answer::json(&proxy::explain(&site.rules, &method, url).audited(site.config.audit)))
}
