//! What is kept warm in the background, and orders to fetch it now.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::proxy::{Site, WarmIssue, WarmShown};

#[derive(Serialize)]
pub(super) struct Stats {
    upstreams: Vec<StatsView>,
}

#[derive(Serialize)]
struct StatsView {
    name: String,
    /// Answers that are kept warm, and how many of them `sync` names.
    total: usize,
    jobs: usize,
    fresh: usize,
    /// Fetches so far, and those that came to nothing.
    fetches: u64,
    errors: u64,
    /// The most that came to nothing in a row for one of them.
    consecutive_errors: u32,
    /// How many of the total change often, and how many are the rest.
    quick: usize,
    full: usize,
    /// How long ago it was that a round over those that change often was complete.
    last_quick_pass_seconds: Option<f64>,
    /// The same of the rest.
    last_full_pass_seconds: Option<f64>,
    /// Whether anything is being fetched now.
    running: bool,
}

#[derive(Serialize)]
pub(super) struct Health {
    healthy: bool,
    issues: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Triggered {
    triggered: usize,
}

/// How it stands.
pub(super) fn stats(sites: &[Arc<Site>]) -> Stats {
    let view = |site: &Arc<Site>| {
        let WarmShown {
            kept, jobs, fresh, running, fetches, errors, consecutive_errors, quick, full, ..
        } = site.kept_warm();
        let seconds = |ago: Option<Duration>| ago.map(|ago| ago.as_secs_f64());
        StatsView {
            name: site.config.name.clone(),
            total: kept,
            jobs,
            fresh,
            fetches,
            errors,
            consecutive_errors,
            quick: quick.members,
            full: full.members,
            last_quick_pass_seconds: seconds(quick.complete),
            last_full_pass_seconds: seconds(full.complete),
            running: running > 0,
        }
    };
    Stats { upstreams: sites.iter().map(view).collect() }
}

/// Whether all jobs are done, and in time.
pub(super) fn health(sites: &[Arc<Site>]) -> Health {
    let of = |site: &Arc<Site>| {
        let name = site.config.name.clone();
        site.kept_warm().issues.into_iter().map(move |issue| match issue {
            WarmIssue::Unkept { target } => format!("{name}: no rule keeps {target}"),
            WarmIssue::Failing { target, failures } => {
                format!("{name}: {target} could not be fetched {failures} times in a row")
            }
            WarmIssue::Behind { pass, late } => {
                let (pass, late) = (pass.as_str(), late.as_secs());
                format!("{name}: the {pass} pass is behind: what is next has been due for {late} s")
            }
        })
    };
    let issues: Vec<String> = sites.iter().flat_map(of).collect();
    Health { healthy: issues.is_empty(), issues }
}

/// Has everything fetched now.
pub(super) fn trigger(sites: &[Arc<Site>]) -> Triggered {
    let triggered = sites.iter().map(|site| site.warm_now()).sum();
    tracing::info!(triggered, "an operator had everything fetched that is kept warm");
    Triggered { triggered }
}
