//! What an API shows of changes that somebody else made: what forebay's own watch reads, and what it makes
//! of the answers.

use super::{Dialect, TaskEvent, proxmox};

/// What there is to read of an API's change feed; paths with their query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedReads {
    /// What the credential may do.
    pub rights: &'static str,
    /// The tasks of all nodes.
    pub tasks: &'static str,
    /// The latest lines of the log.
    pub log: &'static str,
    /// All lines that the log still has.
    pub whole_log: &'static str,
}

/// What of the feed a credential may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedRights {
    /// The tasks of everybody.
    pub tasks: bool,
    /// The log lines of everybody.
    pub log: bool,
}

/// A list of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskList {
    /// How each stands.
    pub tasks: Vec<TaskEvent>,
    /// The nodes of which as many are shown as ever are: others that have ended may have been left out.
    pub full: Vec<String>,
    /// Whether every task that runs is shown.
    pub shows_all_that_run: bool,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// What tells it from all others.
    pub id: String,
    /// What it says.
    pub news: LogNews,
}

/// What a line of the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogNews {
    /// How a task stands.
    Task(TaskEvent),
    /// Something was changed, as a task of this kind would.
    Change(Change),
    /// Nothing that a read shows.
    Nothing,
}

/// A change that is told as if a task had made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The type of the task that changes the same.
    pub kind: &'static str,
    /// What it is about.
    pub object: String,
    /// Where it was made.
    pub node: String,
}

impl Dialect {
    /// What there is to read of changes that somebody else made; `None` where the API shows none.
    pub fn feed(self) -> Option<FeedReads> {
        match self {
            Dialect::Proxmox => Some(proxmox::feed::READS),
            Dialect::Azure | Dialect::Plain => None,
        }
    }

    /// What an answer for [`FeedReads::rights`] says; `None` when it cannot be read.
    pub fn feed_rights(self, body: &[u8]) -> Option<FeedRights> {
        match self {
            Dialect::Proxmox => proxmox::feed::rights(body),
            Dialect::Azure | Dialect::Plain => None,
        }
    }

    /// What an answer for [`FeedReads::tasks`] says; `None` when it cannot be read.
    pub fn feed_tasks(self, body: &[u8]) -> Option<TaskList> {
        match self {
            Dialect::Proxmox => proxmox::feed::tasks(body),
            Dialect::Azure | Dialect::Plain => None,
        }
    }

    /// What an answer for [`FeedReads::log`] or [`FeedReads::whole_log`] says, the oldest line first; `None`
    /// when it cannot be read.
    pub fn feed_log(self, body: &[u8]) -> Option<Vec<LogLine>> {
        match self {
            Dialect::Proxmox => proxmox::feed::log(body),
            Dialect::Azure | Dialect::Plain => None,
        }
    }
}
