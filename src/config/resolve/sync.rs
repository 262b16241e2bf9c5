//! The `sync` jobs of an upstream.

use std::time::Duration;

use http::uri::PathAndQuery;

use super::Resolver;
use crate::config::raw::RawSync;
use crate::dialect::Dialect;
use crate::proxy::SyncJob;
use crate::rules::document::{Step, at};
use crate::rules::{Reuse, RuleSet};

/// A job at a shorter pace would be a load, not a cache.
const LEAST: Duration = Duration::from_secs(1);

/// How much more seldom than `every` a job is fetched that does not change.
const FULL: u32 = 10;

impl Resolver<'_> {
    /// The jobs of the list at `here`, for `rules` where those are known. `has_credential` tells whether there
    /// is one that they can go with.
    pub(super) fn sync(
        &mut self,
        raw: &[RawSync],
        here: &[Step],
        rules: Option<&RuleSet>,
        has_credential: bool,
    ) -> Vec<SyncJob> {
        if !raw.is_empty() && !has_credential {
            self.error(here, "this is read with the upstream's own credential: name its `credential_file`");
        }
        let mut jobs: Vec<SyncJob> = Vec::with_capacity(raw.len());
        for (index, job) in raw.iter().enumerate() {
            let at = |key| [here, &at![index, key]].concat();
            let (every, full) =
                (job.every.0, job.full.map_or(job.every.0.saturating_mul(FULL), |full| full.0));
            if every < LEAST {
                self.error(&at("every"), "write at least 1s");
            }
            if full < every {
                self.error(&at("full"), "this is how often at the least: as long as `every` or longer");
            }
            let target = job.path.parse::<PathAndQuery>().ok().filter(|_| job.path.starts_with('/'));
            let Some(target) = target else {
                self.error(&at("path"), format!("`{}` is not a path: it starts with `/`", job.path));
                continue;
            };
            if jobs.iter().any(|other| other.target == target) {
                self.error(&at("path"), format!("`{}` is named twice", job.path));
            }
            if rules.is_some_and(|rules| !keeps(rules, &target)) {
                self.error(&at("path"), format!("no rule keeps `{}`", job.path));
            }
            jobs.push(SyncJob { target, every, full });
        }
        jobs
    }
}

fn keeps(rules: &RuleSet, target: &PathAndQuery) -> bool {
    let dialect = Dialect::named(&rules.api).unwrap_or(Dialect::Plain);
    let path = dialect.read_path(target.path());
    let found = path.as_deref().and_then(|path| rules.read(path, target.query()));
    found.is_some_and(|found| !matches!(found.rule.reuse, Reuse::Pass | Reuse::CollapseOnly))
}
