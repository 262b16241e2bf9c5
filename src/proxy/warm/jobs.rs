//! `sync` jobs: what an upstream's own credential keeps always.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::table::Kept;
use super::{Asker, read_of};
use crate::proxy::site::Site;

/// A read that is always kept, with the upstream's own credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncJob {
    /// Path and query.
    pub target: PathAndQuery,
    /// How often it is fetched while it changes.
    pub every: Duration,
    /// How often at the least.
    pub full: Duration,
}

/// Takes over the jobs of `site`.
pub(super) fn take(site: &Arc<Site>) {
    let (mut jobs, mut unkept) = (Vec::new(), Vec::new());
    let now = site.shared.clock.now();
    if let Some(own) = &site.config.credential {
        for job in &site.config.sync {
            let fields = own.fields().clone();
            let mut asker = Asker { target: job.target.clone(), fields, endpoint: None };
            let request = asker.request();
            match read_of(site, &request) {
                Some(read) => {
                    asker.endpoint = read.rule(site).per_endpoint.then(|| site.upstream.first_up().as_u64());
                    let key = read.key(site, &request, asker.endpoint);
                    jobs.push((key, Kept::named(asker, job.clone(), now)));
                }
                None => unkept.push(job.target.to_string()),
            }
        }
    }
    for target in &unkept {
        tracing::warn!(upstream = %site.config.name, "`sync` of {target}: no rule keeps it");
    }
    site.shared.warm.take_jobs(site.id, jobs, unkept, now);
}
