//! The tasks of the API: begun by a request, they change something at some time before they end.

use super::cells::{Cell, Write, node_name};
use super::history::{Cause, Stamp};
use super::world::{Due, Event, LogLine, World};

/// A task of the API.
pub struct Task {
    /// Its id.
    pub upid: String,
    /// The node that it runs on.
    pub node: usize,
    /// When it ended.
    pub ended: Option<Stamp>,
    /// The versions in effect when it ended of all that it changed.
    pub left: Vec<(Cell, usize)>,
    /// What it changes.
    pub cells: Vec<Cell>,
    /// Who began it.
    pub cause: Cause,
    /// When forebay's watch first read of it, and which forebay.
    pub fed: Option<(Stamp, u32)>,
    /// Whether some client was told that it has ended.
    pub told_ended: bool,
    /// When a client was first told through which forebay that it runs.
    pub told_running: Option<(Stamp, u32)>,
}

impl World {
    /// Starts the task of `write`: it changes what it changes at some time before it ends.
    pub fn begin_task(&mut self, write: &Write, user: &str, cause: impl FnOnce(usize) -> Cause) -> usize {
        let (node, kind, id) = write.task();
        let place = self.tasks.len();
        let cause = cause(place);
        let wall = forebay::clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let name = node_name(node);
        let upid = format!("UPID:{name}:{place:08X}:{place:08X}:{wall:08X}:{kind}:{id}:{user}:");
        self.by_upid.insert(upid.clone(), place);
        let cells = write.cells();
        self.tasks.push(Task {
            upid: upid.clone(),
            node,
            ended: None,
            left: Vec::new(),
            cells: cells.clone(),
            cause,
            fed: None,
            told_ended: false,
            told_running: None,
        });
        let said = format!("starting task {upid}");
        self.log.push(LogLine { node, said, ended: None, fed: None });
        self.note(|| format!("task {place} begins: {write:?}"));
        self.change(&[Cell::tasks(node)], cause);
        self.flip(write);
        let (first, second) = (self.later(), self.later());
        let changes = (first.0.min(second.0), first.1.min(second.1));
        let ends = (first.0.max(second.0), first.1.max(second.1));
        self.due.push(Due { step: changes.0, at: changes.1, what: Event::Change(cells, cause) });
        self.due.push(Due { step: ends.0, at: ends.1, what: Event::End(place) });
        place
    }

    /// The task ends now.
    pub fn end(&mut self, place: usize) {
        let (node, cells, cause) = {
            let task = &self.tasks[place];
            (task.node, task.cells.clone(), task.cause)
        };
        self.change(&[Cell::tasks(node)], cause);
        let mut touched = cells;
        touched.push(Cell::tasks(node));
        let left = self.versions(&touched);
        let when = self.stamp();
        let task = &mut self.tasks[place];
        (task.ended, task.left) = (Some(when), left);
        let said = format!("end task {} OK", task.upid);
        self.log.push(LogLine { node, said, ended: Some(place), fed: None });
        self.note(|| format!("task {place} ends"));
    }

    /// The latest tasks of a node, the newest first, as Proxmox lists them.
    pub fn latest_tasks(&self, node: usize) -> Vec<usize> {
        let of_node = (0..self.tasks.len()).rev().filter(|place| self.tasks[*place].node == node);
        of_node.take(25).collect()
    }
}
