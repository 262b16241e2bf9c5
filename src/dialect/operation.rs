//! What goes on behind the API when the answer to a write is there: tasks, how they are named, and where
//! it shows how they stand.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::{Dialect, azure, proxmox};

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

/// An address of the API at which an operation shows how it stands. It may hold a signature that lets
/// whoever has it ask, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// What tells it from others.
    pub name: AddressName,
    /// The path and query.
    pub target: String,
    /// The part of the API that its host names.
    pub region: Option<String>,
}

/// What tells an address from others: its path without what may be secret. Only a keyed hash of it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressName(pub String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address")
    }
}

impl fmt::Debug for AddressName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressName")
    }
}

/// The head of an answer, and what it answers.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// The path as the API reads it.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub fields: &'a HeaderMap,
}

/// What the answer to a write says goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Where it can be asked after, the one that tells most first.
    pub addresses: Vec<Address>,
    /// Whether the resource itself shows that it is changing.
    pub moves: bool,
    /// How long to wait before it is asked after.
    pub pace: Duration,
    /// When it counts as ended if nobody can ask after it.
    pub unknown_cap: Duration,
}

/// What an answer says of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    Unsaid,
    /// It runs, and is to be asked after no sooner than this.
    Runs(Duration),
    /// The same in words that could also be about something else.
    RunsPerhaps(Duration),
    /// Something that whoever reads it may take for its end.
    Perhaps,
    /// The API knows it no more, or does not show it to this caller.
    Forgotten,
    /// It has ended.
    Ended,
}

impl Dialect {
    /// The kinds of operation that a rule's `operation:` may name.
    pub fn operation_kinds(self) -> &'static [&'static str] {
        match self {
            Dialect::Proxmox => &["proxmox-task"],
            Dialect::Azure => &["arm"],
            Dialect::Plain => &[],
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

    /// Whether the API names operations by addresses, in the heads of its answers to any write.
    pub fn has_addresses(self) -> bool {
        self == Dialect::Azure
    }

    /// How long reads may lag behind whatever changed something, at least.
    pub fn least_settle(self) -> Duration {
        match self {
            Dialect::Azure => azure::operations::SETTLE,
            Dialect::Proxmox | Dialect::Plain => Duration::ZERO,
        }
    }

    /// What goes on behind the answer to a write; `body` where it was read.
    pub fn pending(self, answer: &Heard<'_>, body: Option<&[u8]>) -> Option<Pending> {
        match self {
            Dialect::Azure => azure::operations::pending(answer, body),
            Dialect::Proxmox | Dialect::Plain => None,
        }
    }

    /// The addresses that an answer names.
    pub fn addresses(self, answer: &Heard<'_>) -> Vec<Address> {
        match self {
            Dialect::Azure => azure::operations::addresses(answer).into_iter().map(|(_, a)| a).collect(),
            Dialect::Proxmox | Dialect::Plain => Vec::new(),
        }
    }

    /// What a read of this path would ask after, if it is an operation's address.
    pub fn address_name(self, path: &str, query: Option<&str>) -> AddressName {
        azure::operations::poll_name(path, query)
    }

    /// The same for a resource that shows its own state.
    pub fn resource_name(self, path: &str) -> AddressName {
        azure::operations::resource_name(path)
    }

    /// Whether a path has the form of an operation's address.
    pub fn has_address_form(self, path: &str) -> bool {
        self == Dialect::Azure && azure::operations::has_form(path)
    }

    /// Whether fields of an answer have an address that only an operation has.
    pub fn names_operation(self, fields: &HeaderMap) -> bool {
        self == Dialect::Azure && azure::operations::name_one(fields)
    }

    /// Where in a path that which names an operation begins, by its form.
    pub fn name_of_operation(self, path: &str) -> Option<usize> {
        if self == Dialect::Azure { azure::operations::name_in(path) } else { None }
    }

    /// Below which path an operation of which only the address is known may have changed something.
    pub fn address_reach(self, path: &str) -> &str {
        azure::operations::reach(path)
    }

    /// Whether an answer with this status may say how the operation at its address stands.
    pub fn may_say_progress(self, status: StatusCode) -> bool {
        azure::operations::may_say(status)
    }

    /// What the answer at an operation's address says of it.
    pub fn progress(self, answer: &Heard<'_>, body: &[u8]) -> Progress {
        azure::operations::progress(answer, body)
    }

    /// What the answer for a resource says of an operation on it.
    pub fn resource_progress(self, answer: &Heard<'_>, body: &[u8]) -> Progress {
        azure::operations::resource_progress(answer, body)
    }
}
