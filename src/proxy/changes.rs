//! What the API tells of changes that no task of it shows, turned into what overtakes entries.

use std::sync::Arc;
use std::time::Duration;

use super::route;
use super::site::{InvalidationCause, Site};
use super::write::DEFAULT_SETTLE;
use crate::cache::groups::{GroupId, GroupName};
use crate::dialect::Change;
use crate::rules::TaskNames;

impl Site {
    /// The API told of a change that is none of a task, but changes the same.
    pub fn told_of_change(&self, change: &Change) {
        self.overtake(&TaskNames { kind: change.kind, id: &change.object, node: &change.node });
    }

    /// Tasks came and went on `node` (empty: nobody knows where) that the API does not show any more.
    pub fn told_of_unknown_tasks(&self, node: &str) {
        self.overtake(&TaskNames { kind: "", id: "", node });
    }

    /// Whatever was fetched so far may have been changed since, at a time that nobody knows.
    pub(super) fn told_of_nothing_before(&self) {
        let groups = &self.shared.groups;
        groups.invalidate(&[groups.id(self.id, GroupName::Subtree(""))]);
    }

    fn overtake(&self, names: &TaskNames<'_>) {
        let shared = &self.shared;
        let (groups, settle) = self.changed_by(names);
        // The lag begins before the groups open for keeping, so that no fetch falls between.
        if !settle.is_zero() {
            shared.groups.settle(&groups, shared.clock.now().after(settle), None);
        }
        shared.groups.invalidate(&groups);
        shared.count_invalidation(InvalidationCause::Elsewhere);
    }

    /// What the rules say that a task with these names changes, and for how long that lags. One that no row
    /// is about may have changed anything.
    fn changed_by(&self, names: &TaskNames<'_>) -> (Arc<[GroupId]>, Duration) {
        match self.rules.task(names) {
            Some((row, groups)) => {
                (groups.iter().map(|group| route::named(self, group)).collect(), row.settle)
            }
            None => ([self.shared.groups.id(self.id, GroupName::Subtree(""))].into(), DEFAULT_SETTLE),
        }
    }
}
