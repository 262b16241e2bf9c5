//! What is kept warm, as operators see it.

use std::time::Duration;

use crate::cache::entry::Freshness;
use crate::proxy::site::Site;

/// From so many failures in a row on there is an issue.
const FAILURES: u32 = 3;

/// What is kept warm of one upstream.
#[derive(Clone, Debug, Default)]
pub struct WarmShown {
    /// How many answers.
    pub kept: usize,
    /// How many of them because a job names them.
    pub jobs: usize,
    /// How many are fresh.
    pub fresh: usize,
    /// How many are being fetched.
    pub running: usize,
    /// How often what is kept was fetched.
    pub fetches: u64,
    /// How often that came to nothing.
    pub errors: u64,
    /// The most that came to nothing in a row.
    pub consecutive_errors: u32,
    /// How long ago anything was fetched.
    pub quick: Option<Duration>,
    /// How long ago it was that everything had been fetched since.
    pub full: Option<Duration>,
    /// What is wrong.
    pub issues: Vec<WarmIssue>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarmIssue {
    /// No rule keeps what a job names.
    Unkept {
        /// The target of the job.
        target: String,
    },
    /// What a job names could not be fetched again and again.
    Failing {
        /// The target of the job.
        target: String,
        /// How often in a row.
        failures: u32,
    },
}

impl Site {
    /// What is kept warm.
    pub fn kept_warm(&self) -> WarmShown {
        let now = self.shared.clock.now();
        let is_fresh = |key| {
            let entry = self.shared.memory.get(key);
            entry.is_some_and(|entry| {
                self.shared.groups.is_current(entry.sequence(), entry.groups())
                    && matches!(self.freshness(&entry, now), Freshness::Fresh(_))
            })
        };
        let mut shown = WarmShown::default();
        let (all, unkept) = self.shared.warm.of(self.id, |key, kept| {
            let target = kept.job.as_ref().map(|job| job.target.to_string());
            let ago = kept.refreshed.map(|at| now.since(at));
            (key, target, ago, kept.is_running, kept.fetches, kept.failed, kept.pace.failures())
        });
        let mut agos = Vec::with_capacity(all.len());
        for (key, target, ago, is_running, fetches, failed, failures) in all {
            shown.kept += 1;
            shown.jobs += usize::from(target.is_some());
            shown.fresh += usize::from(is_fresh(key));
            shown.running += usize::from(is_running);
            shown.fetches += fetches;
            shown.errors += failed;
            shown.consecutive_errors = shown.consecutive_errors.max(failures);
            agos.push(ago);
            if let Some(target) = target.filter(|_| failures >= FAILURES) {
                shown.issues.push(WarmIssue::Failing { target, failures });
            }
        }
        shown.quick = agos.iter().flatten().min().copied();
        shown.full = agos.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        shown.issues.extend(unkept.into_iter().map(|target| WarmIssue::Unkept { target }));
        shown
    }

    /// Has everything that is kept warm fetched now, and says how much that is.
    pub fn warm_now(&self) -> usize {
        self.shared.warm.trigger(self.id, self.shared.clock.now())
    }
}
