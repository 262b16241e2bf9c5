//! What a list of tasks says that the one before did not.

use std::collections::HashMap;

use crate::dialect::{OperationId, Task, TaskEvent, TaskList, TaskState};

/// How many tasks that are not shown any more are asked after; of more than that the last are only overtaken.
const MAX_MISSING: usize = 256;

/// What the last list said.
#[derive(Default)]
pub(super) struct Tasks {
    known: Option<HashMap<OperationId, Known>>,
    /// Ran when they were last shown.
    missing: Vec<Task>,
}

struct Known {
    task: Task,
    has_ended: bool,
}

/// What is new.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TaskNews {
    /// What runs, what has ended since, and what is not shown any more and so may have.
    pub told: Vec<TaskEvent>,
    /// The nodes whose list has moved past what was known: tasks may have come and gone unseen.
    pub lost: Vec<String>,
}

impl Tasks {
    /// Whether the last list had any task.
    pub(super) fn is_any_known(&self) -> bool {
        self.known.as_ref().is_some_and(|known| !known.is_empty())
    }

    /// What `list` says that is new, and what still runs. Without a list before it everything is new.
    pub(super) fn since(&mut self, list: &TaskList) -> TaskNews {
        let is_first = self.known.is_none();
        let mut known = self.known.take().unwrap_or_default();
        let had_ended = |task: &Task| known.get(&task.id).is_some_and(|known| known.has_ended);
        let has_ended = |event: &TaskEvent| matches!(event.state, TaskState::Ended { .. });
        // Whatever ended since ended later than what had ended before; if some of that is still shown,
        // nothing was pushed out unseen but what ran for long, which is asked after.
        let shows_known = |node: &String| {
            list.tasks
                .iter()
                .any(|event| event.task.node == *node && has_ended(event) && had_ended(&event.task))
        };
        let lost = list.full.iter().filter(|node| !is_first && !shows_known(node)).cloned().collect();
        let is_news = |event: &&TaskEvent| !(has_ended(event) && had_ended(&event.task));
        let mut told: Vec<TaskEvent> = list.tasks.iter().filter(is_news).cloned().collect();
        self.missing.retain(|missing| !list.tasks.iter().any(|event| event.task.id == missing.id));
        let mut next = HashMap::with_capacity(list.tasks.len());
        for event in &list.tasks {
            known.remove(&event.task.id);
            let known = Known { task: event.task.clone(), has_ended: has_ended(event) };
            next.insert(event.task.id.clone(), known);
        }
        for gone in known.into_values().filter(|gone| !gone.has_ended) {
            told.push(TaskEvent { task: gone.task.clone(), state: TaskState::Ending { sign: None } });
            if self.missing.len() < MAX_MISSING {
                self.missing.push(gone.task);
            }
        }
        self.known = Some(next);
        TaskNews { told, lost }
    }

    /// Some of the tasks that ran and are not shown any more.
    pub(super) fn missing(&mut self, most: usize) -> Vec<Task> {
        let some: Vec<Task> = self.missing.iter().take(most).cloned().collect();
        // The others come first the next time.
        let taken = some.len();
        self.missing.rotate_left(taken);
        some
    }

    /// It has ended, or nobody knows.
    pub(super) fn forget(&mut self, id: &OperationId) {
        self.missing.retain(|missing| missing.id != *id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(node: &str, number: u32) -> Task {
        Task {
            id: OperationId(format!("{node}:{number}")),
            kind: "qmstart".into(),
            object: "100".into(),
            node: node.into(),
            who: "root@pam".into(),
            started: number.into(),
            resource: String::new(),
        }
    }

    fn ended(node: &str, number: u32) -> TaskEvent {
        TaskEvent { task: task(node, number), state: TaskState::Ended { at: Some(number.into()) } }
    }

    fn runs(node: &str, number: u32) -> TaskEvent {
        TaskEvent { task: task(node, number), state: TaskState::Running }
    }

    fn list(tasks: Vec<TaskEvent>, full: &[&str]) -> TaskList {
        TaskList {
            tasks,
            shows_all_that_run: true,
            full: full.iter().map(|node| (*node).to_owned()).collect(),
        }
    }

    #[test]
    fn ends_are_told_once_and_what_runs_every_time() {
        let mut tasks = Tasks::default();
        let first = tasks.since(&list(vec![ended("a", 1), runs("a", 2)], &[]));
        assert_eq!(first.told, [ended("a", 1), runs("a", 2)]);
        let same = tasks.since(&list(vec![ended("a", 1), runs("a", 2)], &[]));
        assert_eq!(same.told, [runs("a", 2)]);
        let end = tasks.since(&list(vec![ended("a", 1), ended("a", 2), ended("a", 3)], &[]));
        assert_eq!((end.told, end.lost.len()), (vec![ended("a", 2), ended("a", 3)], 0));
    }

    #[test]
    fn a_full_list_without_anything_known_to_have_ended_has_lost_some() {
        let all = |from: u32, to: u32| (from..to).map(|number| ended("a", number)).collect::<Vec<_>>();
        let cases = [
            (all(0, 25), all(10, 35), &["a"][..], false),
            (all(0, 25), all(24, 49), &["a"], false),
            (all(0, 25), all(25, 50), &["a"], true),
            (vec![runs("a", 0)], all(0, 25), &["a"], true),
            (vec![], all(0, 25), &["a"], true),
            (vec![], all(0, 24), &[], false),
        ];
        for (before, after, full, lost) in cases {
            let mut tasks = Tasks::default();
            assert!(tasks.since(&list(before, full)).lost.is_empty(), "nothing was known before the first");
            assert_eq!(!tasks.since(&list(after, full)).lost.is_empty(), lost);
        }
    }

    #[test]
    fn what_ran_and_is_not_shown_any_more_is_asked_after() {
        let mut tasks = Tasks::default();
        tasks.since(&list(vec![runs("a", 1), runs("a", 2)], &[]));
        let news = tasks.since(&list(vec![runs("a", 2)], &[]));
        let ending = TaskEvent { task: task("a", 1), state: TaskState::Ending { sign: None } };
        assert_eq!(news.told, [runs("a", 2), ending]);
        assert_eq!(tasks.missing(4), [task("a", 1)]);
        assert_eq!(tasks.since(&list(vec![runs("a", 2)], &[])).told, [runs("a", 2)], "told once");
        tasks.since(&list(vec![runs("a", 1), runs("a", 2)], &[]));
        assert_eq!(tasks.missing(4), [], "it is shown again");
        tasks.since(&list(vec![], &[]));
        tasks.forget(&task("a", 1).id);
        assert_eq!(tasks.missing(4), [task("a", 2)]);
    }
}
