//! The cluster's state and its course of time.
//!
//! Invariant: state only changes through events that are due ([`Cluster::settle`]) and through calls,
//! which settle first; so nothing a call sees depends on when background work happened to run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::auth::Accounts;
use super::call::Principal;
use super::console::Console;
use super::effects::Effect;
use super::sha1;
use super::tasks::Task;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) online: bool,
    /// Seconds it had been up when the simulation started.
    pub(super) uptime: u64,
    /// DNS settings, as PUT changes them.
    pub(super) dns: Object,
}

/// The two kinds of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Qemu,
    Lxc,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
        }
    }

    /// What error texts call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Qemu => "VM",
            Self::Lxc => "CT",
        }
    }

    /// The front of its task types.
    pub(super) fn task_prefix(self) -> &'static str {
        match self {
            Self::Qemu => "qm",
            Self::Lxc => "vz",
        }
    }

    /// Its type in identifiers of the high-availability manager.
    pub(super) fn ha_prefix(self) -> &'static str {
        match self {
            Self::Qemu => "vm",
            Self::Lxc => "ct",
        }
    }

    /// The configuration key of its name.
    pub(super) fn name_key(self) -> &'static str {
        match self {
            Self::Qemu => "name",
            Self::Lxc => "hostname",
        }
    }
}

/// Whether a guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    Stopped,
    Running,
    Paused,
}

impl Power {
    /// What `status` says, which calls a paused guest running.
    pub(super) fn status(self) -> &'static str {
        if self == Self::Stopped { "stopped" } else { "running" }
    }
}

/// A snapshot of a guest.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) time: u64,
    pub(super) config: Object,
}

/// What the lagging lists last heard about a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) name: String,
    pub(super) power: Power,
    pub(super) cores: u64,
    pub(super) memory: u64,
    pub(super) disk: u64,
    pub(super) started: Option<u64>,
}

/// A guest.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) vmid: u32,
    pub(super) kind: Kind,
    pub(super) node: usize,
    pub(super) config: Object,
    /// Changes that wait for a restart; null deletes the key.
    pub(super) pending: Object,
    pub(super) power: Power,
    /// Wall-clock second since which it runs.
    pub(super) started: Option<u64>,
    pub(super) lock: Option<&'static str>,
    pub(super) pool: Option<String>,
    pub(super) snapshots: Vec<Snapshot>,
    /// The snapshot that its present state grew from.
    pub(super) parent: Option<String>,
    /// Whether an agent inside would answer, were it configured and the guest running.
    pub(super) agent_answers: bool,
    pub(super) firewall_options: Object,
    pub(super) firewall_rules: Vec<Object>,
    /// Grows with each change of its configuration.
    pub(super) revision: u64,
    /// `None` until its node has reported it once.
    pub(super) published: Option<Published>,
}

/// A volume on a storage.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) id: String,
    pub(super) content: String,
    pub(super) format: String,
    pub(super) size: u64,
    pub(super) vmid: Option<u32>,
    pub(super) time: Option<u64>,
    pub(super) notes: Option<String>,
}

/// A storage definition.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) content: String,
    pub(super) shared: bool,
    pub(super) total: u64,
    /// Bytes taken by things other than the volumes that the simulation knows.
    pub(super) base_used: u64,
    /// Everything else that `/storage/{storage}` shows.
    pub(super) properties: Object,
}

/// A pool of guests and storages.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) comment: Option<String>,
    pub(super) storages: BTreeSet<String>,
}

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
        guest.revision += 1;
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

impl Guest {
    /// Its name, as configured.
    pub(super) fn name(&self) -> String {
        let name = self.config.get(self.kind.name_key()).and_then(Value::as_str);
        name.map_or_else(|| format!("{}{}", self.kind.title(), self.vmid), str::to_owned)
    }

    pub(super) fn is_template(&self) -> bool {
        self.number("template").is_some_and(|template| template != 0)
    }

    /// A configuration value as a number, whether it is written as one or as a string.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.config.get(key)? {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        }
    }

    pub(super) fn cores(&self) -> u64 {
        self.number("cores").unwrap_or(1) * self.number("sockets").unwrap_or(1)
    }

    /// Memory in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.number("memory").unwrap_or(512) << 20
    }

    /// The configured size of its first disk in bytes.
    pub(super) fn disk(&self) -> u64 {
        let first = ["scsi0", "virtio0", "sata0", "ide0", "rootfs"];
        let disk = first.iter().find_map(|key| self.config.get(*key)).and_then(Value::as_str);
        disk.and_then(|disk| super::storage::disk_size(disk)).unwrap_or(0)
    }

    /// The digest of its configuration.
    pub(super) fn digest(&self) -> String {
        sha1::hex(format!("{}:{}", self.vmid, self.revision).as_bytes())
    }

    /// Its identifier for the high-availability manager.
    pub(super) fn sid(&self) -> String {
        format!("{}:{}", self.kind.ha_prefix(), self.vmid)
    }

    pub(super) fn report(&self) -> Published {
        Published {
            name: self.name(),
            power: self.power,
            cores: self.cores(),
            memory: self.memory(),
            disk: self.disk(),
            started: self.started,
        }
    }
}
