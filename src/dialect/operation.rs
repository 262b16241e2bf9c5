//! What goes on behind the API when the answer to a write is there: tasks, how they are named, and where
//! it shows how they stand.

use super::{Dialect, proxmox};

/// The name that the API gives a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OperationId(pub String);

/// What the API says of a task by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub id: OperationId,
    /// Its type.
    pub kind: String,
    /// What it is about; empty when the API does not say.
    pub object: String,
    /// Where it runs.
    pub node: String,
    /// Who started it, with the token that was used.
    pub who: String,
    /// The second when it started, by the API's own clock (seconds since 1970).
    pub started: u64,
    /// The resource below which the API shows it.
    pub resource: String,
}

/// What an answer of the API tells of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEvent {
    /// Which.
    pub task: Task,
    /// How it stands.
    pub state: TaskState,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It runs.
    Running,
    /// Something hints that its work is done, which whoever reads it may take for the end; that it has
    /// ended is not certain. `sign` tells one hint from another, if they can be told apart.
    Ending {
        /// The number of the hint.
        sign: Option<u64>,
    },
    /// It has ended.
    Ended {
        /// The second when it did, by the API's own clock, where the answer says so.
        at: Option<u64>,
    },
}

impl Dialect {
    /// The kinds of operation that a rule's `operation:` may name.
    pub fn operation_kinds(self) -> &'static [&'static str] {
        match self {
            Dialect::Proxmox => &["proxmox-task"],
            Dialect::Azure | Dialect::Plain => &[],
        }
    }

    /// The task that the answer to a write names.
    pub fn operation_started(self, body: &[u8]) -> Option<Task> {
        match self {
            Dialect::Proxmox => proxmox::tasks::started(body),
            Dialect::Azure | Dialect::Plain => None,
        }
    }

    /// Whether an answer for `path` (as the API reads it) may tell how tasks stand.
    pub fn tells_of_operations(self, path: &str) -> bool {
        match self {
            Dialect::Proxmox => proxmox::tasks::tells(path),
            Dialect::Azure | Dialect::Plain => false,
        }
    }

    /// What the answer for `path` tells of tasks.
    pub fn tasks_told(self, path: &str, body: &[u8]) -> Vec<TaskEvent> {
        match self {
            Dialect::Proxmox => proxmox::tasks::told(path, body),
            Dialect::Azure | Dialect::Plain => Vec::new(),
        }
    }

    /// The path and query of the read that shows how a task stands.
    pub fn task_status(self, task: &Task) -> Option<String> {
        match self {
            Dialect::Proxmox => Some(proxmox::tasks::status(task)),
            Dialect::Azure | Dialect::Plain => None,
        }
    }

    /// The path and query of a list that shows to whoever wrote to `path` every task which that may have
    /// started and which runs; `None` where no one list does.
    pub fn tasks_running(self, path: &str) -> Option<String> {
        match self {
            Dialect::Proxmox => proxmox::tasks::running(path),
            Dialect::Azure | Dialect::Plain => None,
        }
    }

    /// Whether the body of such a list could be read and leaves nothing out.
    pub fn lists_all_tasks(self, body: &[u8]) -> bool {
        match self {
            Dialect::Proxmox => proxmox::tasks::lists_all(body),
            Dialect::Azure | Dialect::Plain => false,
        }
    }
}
