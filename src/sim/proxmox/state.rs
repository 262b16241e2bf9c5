//! The cluster's state and its course of time.
//!
//! Invariant: state only changes through events that are due ([`Cluster::settle`]) and through calls,
//! which settle first; so nothing a call sees depends on when background work happened to run.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::auth::Accounts;
use super::call::{Call, Principal};
use super::console::Console;
use super::effects::Effect;
use super::model::{Guest, Kind, Node, Object, Pool, Published, Storage, Volume};
use super::tasks::Task;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A task ends and what it did becomes visible.
    TaskEnd(String),
    /// The lagging lists hear of a guest.
    Publish(u32, Published),
    /// The high-availability manager starts a task of its own.
    Spawn { node: usize, kind: &'static str, vmid: u32, effect: Effect },
}

/// A simulated cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    pub(super) guests: BTreeMap<u32, Guest>,
    pub(super) storages: BTreeMap<String, Storage>,
    /// Volumes by storage and, for a storage that is not shared, node.
    pub(super) volumes: BTreeMap<(String, Option<usize>), BTreeMap<String, Volume>>,
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) accounts: Accounts,
    /// HA resources: `vm:100` to the requested state.
    pub(super) ha: BTreeMap<String, String>,
    pub(super) options: Object,
    pub(super) firewall_options: Object,
    pub(super) tasks: BTreeMap<String, Task>,
    /// UPIDs in order of their start.
    pub(super) task_order: VecDeque<String>,
    pub(super) log: VecDeque<Value>,
    pub(super) consoles: Vec<Console>,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    pub(super) task_time: Duration,
    pub(super) resources_lag: Duration,
    pub(super) ha_round: Duration,
    started: Instant,
    started_wall: u64,
    pub(super) rng: fastrand::Rng,
}

impl Cluster {
    pub(super) fn empty(config: &super::SimConfig, accounts: Accounts, now: Instant, wall: u64) -> Self {
        Self {
            nodes: Vec::new(),
            guests: BTreeMap::new(),
            storages: BTreeMap::new(),
            volumes: BTreeMap::new(),
            pools: BTreeMap::new(),
            accounts,
            ha: BTreeMap::new(),
            options: Object::new(),
            firewall_options: Object::new(),
            tasks: BTreeMap::new(),
            task_order: VecDeque::new(),
            log: VecDeque::new(),
            consoles: Vec::new(),
            events: BTreeMap::new(),
            sequence: 0,
            task_time: config.task_time,
            resources_lag: config.resources_lag,
            ha_round: config.ha_round,
            started: now,
            started_wall: wall,
            rng: fastrand::Rng::with_seed(config.seed),
        }
    }

    /// The wall clock at `now`, in seconds: it moves with tokio's time, paused or not.
    pub(super) fn wall(&self, now: Instant) -> u64 {
        self.started_wall + now.saturating_duration_since(self.started).as_secs()
    }

    /// The wall clock when the simulation started.
    pub(super) fn started_wall(&self) -> u64 {
        self.started_wall
    }

    /// A number that grows with everything that happens, for process identifiers and the like.
    pub(super) fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Lets `event` happen at `at`.
    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
        let sequence = self.next();
        self.events.insert((at, sequence), event);
    }

    /// Lets everything happen that is due by `now`, in order.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.happen(event, at);
        }
    }

    /// Lets everything happen that is scheduled, and what follows from it, as if it were due now.
    pub(super) fn settle_all(&mut self, now: Instant) {
        // A restart loop cannot arise: every event schedules at most a task, whose end schedules a report.
        while let Some((_, event)) = self.events.pop_first() {
            self.happen(event, now);
        }
    }

    fn happen(&mut self, event: Event, at: Instant) {
        match event {
            Event::TaskEnd(upid) => self.end_task(&upid, at),
            Event::Publish(vmid, published) => {
                if let Some(guest) = self.guests.get_mut(&vmid) {
                    guest.published = Some(published);
                }
            }
            Event::Spawn { node, kind, vmid, effect } => {
                let who = Principal::parse(super::ROOT_USER);
                self.start_task(node, kind, &vmid.to_string(), &who, effect, at);
            }
        }
    }

    /// Changes a guest and lets the lagging lists hear of it later. `None` if there is no such guest.
    pub(super) fn edit_guest<R>(
        &mut self,
        vmid: u32,
        now: Instant,
        change: impl FnOnce(&mut Guest) -> R,
    ) -> Option<R> {
        let guest = self.guests.get_mut(&vmid)?;
        let done = change(guest);
        self.publish_later(vmid, now);
        Some(done)
    }

    /// Lets the lagging lists hear of a guest's present state when their lag has passed.
    pub(super) fn publish_later(&mut self, vmid: u32, now: Instant) {
        let Some(published) = self.guests.get(&vmid).map(Guest::report) else { return };
        self.schedule(now + self.resources_lag, Event::Publish(vmid, published));
    }

    /// The index of a node by its name; `localhost` is the contacted one.
    pub(super) fn node_index(&self, name: &str, contacted: usize) -> Option<usize> {
        if name == "localhost" {
            return Some(contacted);
        }
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The place of a storage's volumes as seen from a node.
    pub(super) fn volume_place(&self, storage: &str, node: usize) -> (String, Option<usize>) {
        let shared = self.storages.get(storage).is_some_and(|known| known.shared);
        (storage.to_owned(), (!shared).then_some(node))
    }

    /// Adds a line about a change of a guest to the cluster log; what stands before its number differs by the
    /// kind of guest, and some changes of one kind are not logged.
    pub(super) fn log_change(&mut self, call: &Call, vmid: u32, [qemu, lxc]: [&str; 2], what: &str) {
        let guest = &self.guests[&vmid];
        let (node, beginning) = (guest.node, if guest.kind == Kind::Qemu { qemu } else { lxc });
        if !beginning.is_empty() {
            let message = format!("{beginning} {vmid}: {what}");
            self.write_log(node, &call.who.name(), message, call.now);
        }
    }

    /// Adds a line to the cluster log.
    pub(super) fn write_log(&mut self, node: usize, user: &str, message: String, now: Instant) {
        let uid = self.next();
        let node = self.nodes[node].name.clone();
        let entry = serde_json::json!({
            "uid": uid, "id": format!("{uid}:{node}"), "time": self.wall(now), "node": node,
            "user": user, "pid": 300_000 + uid, "pri": 6, "tag": "pvedaemon", "msg": message,
        });
        self.log.push_front(entry);
        self.log.truncate(200);
    }
}
