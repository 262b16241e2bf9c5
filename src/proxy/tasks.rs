//! What the API tells of tasks, turned into what overtakes entries.

use std::sync::Arc;

use super::operations::{News, Operation, Origin, Subject, Watch, Writer};
use super::route;
use super::site::{InvalidationCause, Site};
use super::write::DEFAULT_SETTLE;
use crate::cache::groups::{GroupId, GroupName};
use crate::dialect::{Task, TaskEvent};
use crate::rules::TaskNames;

/// What a task may have changed that no row is about.
#[derive(Clone, Copy)]
pub(super) enum Elsewhere<'p> {
    /// Anything.
    Anything,
    /// Anything below this path.
    Below(&'p str),
}

impl Site {
    /// An answer of the API told how tasks stand. To be called before anybody else hears of it: when this
    /// returns, everything that the news makes old has been overtaken. The same news again does nothing.
    pub fn told_of_tasks(&self, events: &[TaskEvent]) {
        self.count_news(self.shared.operations.told(self.id, events, |task| self.task_of_others(task)));
    }

    pub(super) fn count_news(&self, news: impl IntoIterator<Item = News>) {
        for news in news {
            match news {
                News::Old => {}
                News::Of(Origin::Write) => self.shared.count_invalidation(InvalidationCause::Operation),
                News::Of(Origin::Elsewhere) => self.shared.count_invalidation(InvalidationCause::Elsewhere),
            }
        }
    }

    /// An answer told of more tasks than can be read: any may have ended.
    pub(super) fn told_more_than_can_be_read(&self) {
        self.shared.groups.invalidate(&[self.shared.groups.id(self.id, GroupName::Subtree(""))]);
        self.shared.count_invalidation(InvalidationCause::Elsewhere);
    }

    /// What was judged by other rules reaches the entries of these, from before the first of them.
    pub(super) fn take_over(&self) {
        let groups = |task: &Task| self.task_of_others(task).groups;
        if self.shared.operations.rules_change(self.id, self.fingerprint, groups) {
            self.shared.promotions.rules_change(self.id, self.shared.clock.now());
        }
    }

    /// Whether nobody has taken over.
    pub(super) fn is_in_force(&self) -> bool {
        self.shared.operations.are_in_force(self.id, self.fingerprint)
    }

    /// What the rules say of a task that somebody else started. One that no row is about may have changed
    /// anything, but holds nothing: it may as well be a console that stays open for days.
    fn task_of_others(&self, task: &Task) -> Operation {
        self.elsewhere(task, Elsewhere::Anything)
    }

    /// The same where it is known what one without a row may have changed.
    pub(super) fn elsewhere(&self, task: &Task, unknown: Elsewhere<'_>) -> Operation {
        let groups = &self.shared.groups;
        let row = self.rules.task(&names(task));
        let ids = match &row {
            Some((_, named)) => named.iter().map(|group| route::named(self, group)).collect(),
            None => match unknown {
                Elsewhere::Anything => [groups.id(self.id, GroupName::Subtree(""))].into(),
                Elsewhere::Below(path) => [groups.id(self.id, GroupName::Subtree(path))].into(),
            },
        };
        let now = self.shared.clock.now();
        let until = now.after(self.config.operation_cap);
        Operation {
            subject: Subject::Task(task.clone()),
            names: Vec::new(),
            has_address: false,
            groups: ids,
            rules: self.fingerprint,
            shown: (!task.resource.is_empty()).then(|| self.shown(task)),
            holds: row.as_ref().is_some_and(|(rule, _)| rule.holds),
            since: now,
            known: groups.next(),
            until,
            earliest: until,
            settle: row.map_or(DEFAULT_SETTLE, |(rule, _)| rule.settle),
            endpoint: None,
            origin: Origin::Elsewhere,
            watch: None,
        }
    }

    /// The operation of a write whose answer named `task`: what the write changes, with what the task's
    /// type says of its lag. A task that only sets a wish, for a manager to act upon, lags longer than
    /// the write's rule knows.
    pub(super) fn with_task(
        &self,
        operation: Operation,
        task: Task,
        writer: Option<Arc<Writer>>,
    ) -> Operation {
        let settle = self.rules.task(&names(&task)).map_or(operation.settle, |(rule, _)| rule.settle);
        let watch = writer.zip(self.dialect().task_status(&task));
        Operation {
            shown: Some(self.shown(&task)),
            settle: operation.settle.max(settle),
            watch: watch.map(|(writer, target)| Watch::of_task(writer, target, operation.since)),
            subject: Subject::Task(task),
            ..operation
        }
    }

    fn shown(&self, task: &Task) -> GroupId {
        self.shared.groups.id(self.id, GroupName::Subtree(&task.resource))
    }
}

fn names(task: &Task) -> TaskNames<'_> {
    TaskNames { kind: &task.kind, id: &task.object, node: &task.node }
}
