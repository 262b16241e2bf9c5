//! What a change of rules means for what is open: entries of the new rules have groups of other names.

use std::sync::Arc;

use super::{Open, Operation, Operations, Subject};
use crate::cache::groups::{GroupId, GroupName};
use crate::dialect::Task;

impl Open {
    fn is_in_force(&self, site: u32, rules: u64) -> bool {
        self.rules.get(&site).is_none_or(|in_force| *in_force == rules)
    }
}

impl Operations {
    /// From now on `rules` (their fingerprint) judge what happens at `site`; `groups` says what they make of
    /// a task. To be called before anybody reads by them: what is open reaches their groups too, by its
    /// task, or all of them where the task is not known; and while anything that the old rules judged
    /// settles, everything does. Whether they replace others.
    pub fn rules_change(&self, site: u32, rules: u64, groups: impl Fn(&Task) -> Arc<[GroupId]>) -> bool {
        let mut open = self.open.lock();
        let Some(before) = open.rules.insert(site, rules) else { return false };
        if before == rules {
            return false;
        }
        let everything = self.everything(site);
        self.groups.settle(&everything, self.groups.settled_at(), None);
        let more = |operation: &Operation| match &operation.subject {
            Subject::Task(task) => groups(task),
            Subject::Write(_) => everything.clone(),
        };
        let Open { named, lapsed, nameless, .. } = &mut *open;
        let named = named.iter_mut().filter(|((of, _), _)| *of == site).map(|(_, operation)| operation);
        let nameless = nameless.values_mut().filter(|(of, _)| *of == site).map(|(_, operation)| operation);
        for operation in named.chain(nameless) {
            let more = more(operation);
            if operation.holds {
                self.groups.open(&more);
            }
            operation.reach(&more);
        }
        for (_, operation) in lapsed.iter_mut().filter(|((of, _), _)| *of == site) {
            operation.reach(&more(operation));
        }
        true
    }

    /// Whether `rules` still judge what happens at `site`. Whoever finds that they do not reaches everything.
    pub fn are_in_force(&self, site: u32, rules: u64) -> bool {
        self.open.lock().is_in_force(site, rules)
    }

    /// An operation that was judged by rules which have been replaced since reaches everything.
    pub(super) fn widen(&self, open: &Open, site: u32, operation: &mut Operation) {
        if !open.is_in_force(site, operation.rules) {
            operation.reach(&self.everything(site));
        }
    }

    fn everything(&self, site: u32) -> Arc<[GroupId]> {
        [self.groups.id(site, GroupName::Subtree(""))].into()
    }
}

impl Operation {
    fn reach(&mut self, more: &[GroupId]) {
        self.groups = self.groups.iter().chain(more).copied().collect();
    }
}
