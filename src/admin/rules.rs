//! What an operator sees of the rules: every key of each, and what was counted of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::views::{AUDITS, CALLS, REQUESTS, Sums, sums};
use crate::proxy::{Shared, Site};
use crate::rules::{Keys, Written};
use crate::telemetry::Count;

#[derive(Serialize)]
pub(super) struct Rules {
    /// What counts for all rules of an upstream.
    upstreams: BTreeMap<String, Whole>,
    rules: Vec<RuleView>,
}

#[derive(Serialize)]
struct Whole {
    api: String,
    #[serde(rename = "match")]
    matching: Matching,
    /// The share of the hits that are compared with the API.
    audit: String,
}

#[derive(Serialize)]
struct Matching {
    case_insensitive: bool,
    fold_case: bool,
}

#[derive(Serialize)]
struct RuleView {
    upstream: String,
    kind: &'static str,
    source: String,
    /// As the pack has them.
    #[serde(flatten)]
    keys: Keys,
    /// Whether `feed.ceiling` bounds the lifetime while changes made elsewhere are not watched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks_may_change: Option<bool>,
    /// Of a row of `tasks:` nothing is counted.
    #[serde(flatten)]
    counted: Option<Counted>,
}

/// What was counted of a rule's path: rules of one upstream with the same path share counters.
#[derive(Serialize)]
struct Counted {
    requests: Sums,
    upstream_requests: u64,
    #[serde(skip_serializing_if = "Sums::is_empty")]
    audits: Sums,
}

/// Every rule: by upstream, the reads in order, then the writes, then the tasks of others.
pub(super) fn rules(shared: &Shared, sites: &[Arc<Site>]) -> Rules {
    let counts = shared.registry.counts();
    let [requests, calls, audits] = [REQUESTS, CALLS, AUDITS].map(|name| by_rule(counts.of(name)));
    let mut rules = Vec::new();
    for site in sites {
        let upstream = &site.config.name;
        let view = |kind, source: &str, line: u32, written: &Written, counted| RuleView {
            upstream: upstream.clone(),
            kind,
            source: format!("{source}:{line}"),
            keys: written.keys(),
            tasks_may_change: None,
            counted,
        };
        let counted = |name: &str| {
            let key = (upstream.clone(), name.to_owned());
            Counted {
                requests: sums(requests.get(&key).into_iter().flatten(), "outcome"),
                upstream_requests: calls.get(&key).into_iter().flatten().map(|count| count.value).sum(),
                audits: sums(audits.get(&key).into_iter().flatten(), "result"),
            }
        };
        for (place, rule) in site.rules.reads.iter().enumerate() {
            let tasks_may_change = Some(site.tasks_may_change(place));
            let view = view("read", &rule.source, rule.line, &rule.written, Some(counted(&rule.name)));
            rules.push(RuleView { tasks_may_change, ..view });
        }
        for rule in &site.rules.writes {
            // What was audited of this path are its reads.
            let counted = Counted { audits: Sums::new(), ..counted(&rule.name) };
            rules.push(view("write", &rule.source, rule.line, &rule.written, Some(counted)));
        }
        for row in &site.rules.tasks {
            rules.push(view("task", &row.source, row.line, &row.written, None));
        }
    }
    let whole = |site: &Arc<Site>| {
        let (case_insensitive, fold_case) = (site.rules.case_insensitive, site.rules.fold_case);
        let matching = Matching { case_insensitive, fold_case };
        let whole = Whole { api: site.rules.api.clone(), matching, audit: site.config.audit.to_string() };
        (site.config.name.clone(), whole)
    };
    Rules { upstreams: sites.iter().map(whole).collect(), rules }
}

fn by_rule(counts: Vec<Count>) -> BTreeMap<(String, String), Vec<Count>> {
    let mut by_rule: BTreeMap<_, Vec<Count>> = BTreeMap::new();
    for count in counts {
        let key = (count.label("upstream").to_owned(), count.label("rule").to_owned());
        by_rule.entry(key).or_default().push(count);
    }
    by_rule
}
