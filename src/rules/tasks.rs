//! What tasks change that forebay did not start: told by their type, their object and their node,
//! because that is all that the API says of them.

use std::time::Duration;

use super::policy::glob_matches;
use super::template::{Group, GroupTemplate};
use super::written::Written;

/// What a row of `tasks:` can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskNames<'t> {
    /// The type that the API gives it.
    pub kind: &'t str,
    /// What it is about; empty when the API does not say.
    pub id: &'t str,
    /// Where it runs.
    pub node: &'t str,
}

/// What tasks of some types change.
#[derive(Clone, Debug)]
pub struct TaskRule {
    /// The types, with `*` for any characters.
    pub types: Vec<String>,
    /// The groups that the start and the end of one overtake; empty only with a reason.
    pub invalidates: Vec<GroupTemplate>,
    /// Why they overtake nothing.
    pub reason: Option<String>,
    /// Whether the groups are unsettled while it runs.
    pub holds: bool,
    /// For so long after its end nothing of its groups is kept over a second.
    pub settle: Duration,
    /// The line in `source`, from 1.
    pub line: u32,
    /// The column in `source`, from 1.
    pub column: u32,
    /// The file as it was named, or the name of a built-in pack.
    pub source: String,
    /// A hash of what the row means.
    pub fingerprint: u64,
    /// Every key, for people.
    pub written: Written,
}

/// What a template can name of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskField {
    Kind,
    Id,
    Node,
}

impl TaskField {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "type" => Some(TaskField::Kind),
            "id" => Some(TaskField::Id),
            "node" => Some(TaskField::Node),
            _ => None,
        }
    }
}

impl<'t> TaskNames<'t> {
    pub(super) fn get(&self, field: TaskField) -> &'t str {
        match field {
            TaskField::Kind => self.kind,
            TaskField::Id => self.id,
            TaskField::Node => self.node,
        }
    }
}

impl TaskRule {
    /// The groups that `task` changes. `None` when the row is not about it, or names what is not known of
    /// it, so that a later row may say what then holds.
    pub(super) fn groups(&self, task: &TaskNames<'_>) -> Option<Vec<Group>> {
        let is_about = self.types.iter().any(|kind| glob_matches(kind.as_bytes(), task.kind.as_bytes()));
        let groups = || self.invalidates.iter().map(|template| template.render_task(task)).collect();
        is_about.then(groups).flatten()
    }

    /// Whether it takes every task of the types that `types` stands for, so that a later row finds none.
    pub(super) fn takes_all(&self, types: &str) -> bool {
        // A star in `types` stands for any characters, and only a star takes any: it is compared as one.
        self.invalidates.iter().all(GroupTemplate::suits_every_task)
            && self.types.iter().any(|ours| glob_matches(ours.as_bytes(), types.as_bytes()))
    }
}
