//! What is kept warm, as operators see it.

use std::time::Duration;

use super::table::OfOne;
use crate::cache::entry::Freshness;
use crate::cache::pace::Pass;
use crate::clock::Timestamp;
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
    /// What changes often.
    pub quick: PassShown,
    /// The rest.
    pub full: PassShown,
    /// What is wrong.
    pub issues: Vec<WarmIssue>,
}

/// One of the two passes.
///
/// A round of it is complete when everything that belongs to it has had its turn since the round began, or
/// belongs to it no more. A turn is a fetch, by forebay or by a client, whether it succeeded or failed, or one
/// that was put off until a write has settled. The next round begins at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassShown {
    /// How much belongs to it.
    pub members: usize,
    /// How long ago a round of it was last complete; `None` before the first, and while nothing belongs to it.
    pub complete: Option<Duration>,
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
    /// What is due waits too long for its turn.
    Behind {
        /// In this pass.
        pass: Pass,
        /// How long what has waited longest has been due.
        late: Duration,
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
        let (mut shown, keys) = self
            .shared
            .warm
            .of(self.id, |one| (shown(one, now), one.kept.keys().copied().collect::<Vec<_>>()));
        // Without the lock of the table.
        shown.fresh = keys.into_iter().filter(|key| is_fresh(*key)).count();
        shown
    }

    /// Has everything that is kept warm fetched now, and says how much that is.
    pub fn warm_now(&self) -> usize {
        self.shared.warm.trigger(self.id, self.shared.clock.now())
    }
}

/// All that the table knows.
fn shown(one: &OfOne, now: Timestamp) -> WarmShown {
    let pass = |pass| PassShown {
        members: one.passes.count(pass),
        complete: one.passes.complete(pass).map(|at| now.since(at)),
    };
    let mut shown = WarmShown { quick: pass(Pass::Quick), full: pass(Pass::Full), ..WarmShown::default() };
    for (key, kept) in &one.kept {
        let failures = kept.pace.failures();
        shown.kept += 1;
        shown.jobs += usize::from(kept.job.is_some());
        shown.running += usize::from(one.passes.is_running(*key));
        shown.fetches += kept.fetches;
        shown.errors += kept.failed;
        shown.consecutive_errors = shown.consecutive_errors.max(failures);
        if let Some(job) = kept.job.as_ref().filter(|_| failures >= FAILURES) {
            shown.issues.push(WarmIssue::Failing { target: job.target.to_string(), failures });
        }
    }
    let unkept = one.unkept.iter().cloned().map(|target| WarmIssue::Unkept { target });
    let behind = |pass| one.behind(pass, now).map(|late| WarmIssue::Behind { pass, late });
    shown.issues.extend(unkept.chain(Pass::ALL.into_iter().filter_map(behind)));
    shown
}
