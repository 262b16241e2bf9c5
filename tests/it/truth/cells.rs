//! What the model of the API consists of: cells with a version each, the reads that show them and the
//! writes that change them.
//!
//! Which write changes what a read shows is said here from what Proxmox does, not from forebay's rules:
//! the built-in pack has to be right about it.

use std::fmt;

/// How many guests there are; the last two come and go.
pub const GUESTS: usize = 8;
/// The guests that are created and deleted.
pub const PASSING_GUESTS: [usize; 2] = [6, 7];
/// How many nodes there are.
pub const NODES: usize = 2;
/// How many pools there are.
pub const POOLS: usize = 2;
/// How many storages there are.
pub const STORAGES: usize = 2;
/// How many principals there are; the first may see everything.
pub const PRINCIPALS: usize = 5;

/// A thing with a version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cell(usize);

impl Cell {
    /// How many cells there are.
    pub const COUNT: usize = 3 * GUESTS + POOLS + 2 * STORAGES + NODES + 1 + PRINCIPALS;

    /// A guest's configuration and state.
    pub fn guest(guest: usize) -> Self {
        Self(guest)
    }

    /// A guest's firewall.
    pub fn firewall(guest: usize) -> Self {
        Self(GUESTS + guest)
    }

    /// A guest's cloud-init data.
    pub fn cloudinit(guest: usize) -> Self {
        Self(2 * GUESTS + guest)
    }

    /// A pool.
    pub fn pool(pool: usize) -> Self {
        Self(3 * GUESTS + pool)
    }

    /// The definition of a storage.
    pub fn storage(storage: usize) -> Self {
        Self(3 * GUESTS + POOLS + storage)
    }

    /// The volumes on a storage.
    pub fn volumes(storage: usize) -> Self {
        Self(3 * GUESTS + POOLS + STORAGES + storage)
    }

    /// A node's list of tasks.
    pub fn tasks(node: usize) -> Self {
        Self(3 * GUESTS + POOLS + 2 * STORAGES + node)
    }

    /// The users.
    pub fn users() -> Self {
        Self(3 * GUESTS + POOLS + 2 * STORAGES + NODES)
    }

    /// What a principal may see; part of whatever is answered to it.
    pub fn rights(principal: usize) -> Self {
        Self(3 * GUESTS + POOLS + 2 * STORAGES + NODES + 1 + principal)
    }

    /// Its place among all cells.
    pub fn index(self) -> usize {
        self.0
    }

    /// Every cell.
    pub fn all() -> impl Iterator<Item = Cell> {
        (0..Self::COUNT).map(Cell)
    }

    /// Whether changes of it are the API's own bookkeeping, which nobody writes.
    pub fn is_derived(self) -> bool {
        (0..NODES).any(|node| Cell::tasks(node) == self)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (GUESTS, "guest"),
            (GUESTS, "firewall"),
            (GUESTS, "cloudinit"),
            (POOLS, "pool"),
            (STORAGES, "storage"),
            (STORAGES, "volumes"),
            (NODES, "tasks"),
            (1, "users"),
            (PRINCIPALS, "rights"),
        ];
        let mut place = self.0;
        for (count, name) in kinds {
            if place < count {
                return write!(f, "{name}/{place}");
            }
            place -= count;
        }
        write!(f, "?")
    }
}

/// The name of a node.
pub fn node_name(node: usize) -> &'static str {
    ["n1", "n2"][node]
}

/// The node of a guest.
pub fn node_of(guest: usize) -> usize {
    guest % NODES
}

/// The id of a guest.
pub fn vmid(guest: usize) -> usize {
    100 + guest
}

fn task_path(upid: &str) -> String {
    format!("/nodes/{}/tasks/{upid}", upid.split(':').nth(1).unwrap_or_default())
}

/// The name of a storage.
pub fn storage_name(storage: usize) -> &'static str {
    ["nfs", "ceph"][storage]
}

/// A read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Read {
    /// Something below a guest that shows the guest's cell.
    Guest(usize, &'static str),
    /// Something below a guest that shows its firewall.
    Firewall(usize, &'static str),
    /// Something below a guest that shows its cloud-init data.
    Cloudinit(usize, &'static str),
    /// A node's guests.
    Guests(usize),
    /// The cluster's resources, or only its guests.
    Resources { guests_only: bool },
    /// The pools, or one with its members.
    Pools(Option<usize>),
    /// The definitions of storages.
    Storages(Option<usize>),
    /// A node's storages.
    NodeStorages(usize),
    /// The volumes of a storage under the name of a node.
    Content(usize, usize),
    /// The tasks of the cluster, or of one node.
    Tasks(Option<usize>),
    /// A task's status.
    Task(String),
    /// A task's log, whose last line tells how it ended.
    TaskLog(String),
    /// The cluster's log, which tells of tasks too.
    Log,
    /// The users.
    Users,
    /// What the caller may do.
    Permissions,
    /// The realms, which are told to anybody.
    Domains,
    /// A constant list that is the same for whoever may log in.
    Constant,
    /// The next free id, which is never shared.
    NextId,
}

impl Read {
    /// Every read that is always there.
    pub fn all() -> Vec<Read> {
        let mut all = Vec::new();
        for guest in 0..GUESTS {
            for what in ["config", "status/current", "pending", "snapshot"] {
                all.push(Read::Guest(guest, what));
            }
            for what in ["firewall/options", "firewall/rules"] {
                all.push(Read::Firewall(guest, what));
            }
            for what in ["cloudinit", "cloudinit/dump"] {
                all.push(Read::Cloudinit(guest, what));
            }
        }
        all.extend((0..NODES).flat_map(|node| [Read::Guests(node), Read::NodeStorages(node)]));
        all.extend((0..NODES).map(|node| Read::Tasks(Some(node))));
        all.extend([None, Some(0), Some(1)].map(Read::Pools));
        all.extend([None, Some(0), Some(1)].map(Read::Storages));
        all.extend((0..NODES).flat_map(|node| (0..STORAGES).map(move |s| Read::Content(node, s))));
        all.extend([false, true].map(|guests_only| Read::Resources { guests_only }));
        all.extend([Read::Tasks(None), Read::Log, Read::Users, Read::Permissions, Read::Domains]);
        all.extend([Read::Constant, Read::NextId]);
        all
    }

    /// The path below the format, with the query.
    pub fn path(&self) -> String {
        let guest = |guest: &usize| format!("/nodes/{}/qemu/{}", node_name(node_of(*guest)), vmid(*guest));
        match self {
            Read::Guest(g, what) | Read::Firewall(g, what) | Read::Cloudinit(g, what) => {
                format!("{}/{what}", guest(g))
            }
            Read::Guests(node) => format!("/nodes/{}/qemu", node_name(*node)),
            Read::Resources { guests_only: false } => "/cluster/resources".into(),
            Read::Resources { guests_only: true } => "/cluster/resources?type=vm".into(),
            Read::Pools(None) => "/pools".into(),
            Read::Pools(Some(pool)) => format!("/pools/p{pool}"),
            Read::Storages(None) => "/storage".into(),
            Read::Storages(Some(storage)) => format!("/storage/{}", storage_name(*storage)),
            Read::NodeStorages(node) => format!("/nodes/{}/storage", node_name(*node)),
            Read::Content(node, storage) => {
                format!("/nodes/{}/storage/{}/content", node_name(*node), storage_name(*storage))
            }
            Read::Tasks(None) => "/cluster/tasks".into(),
            Read::Tasks(Some(node)) => format!("/nodes/{}/tasks", node_name(*node)),
            Read::Task(upid) => format!("{}/status", task_path(upid)),
            Read::TaskLog(upid) => format!("{}/log", task_path(upid)),
            Read::Log => "/cluster/log".into(),
            Read::Users => "/access/users".into(),
            Read::Permissions => "/access/permissions".into(),
            Read::Domains => "/access/domains".into(),
            Read::Constant => "/cluster/firewall/macros".into(),
            Read::NextId => "/cluster/nextid".into(),
        }
    }

    /// The cells that it shows to who may see all of them, but for the rights of who asks.
    pub fn cells(&self) -> Vec<Cell> {
        let guests = || (0..GUESTS).map(Cell::guest);
        let storages = || (0..STORAGES).flat_map(|s| [Cell::storage(s), Cell::volumes(s)]);
        match self {
            Read::Guest(guest, _) => vec![Cell::guest(*guest)],
            Read::Firewall(guest, _) => vec![Cell::firewall(*guest)],
            Read::Cloudinit(guest, _) => vec![Cell::cloudinit(*guest)],
            Read::Guests(node) => {
                (0..GUESTS).filter(|guest| node_of(*guest) == *node).map(Cell::guest).collect()
            }
            Read::Resources { guests_only: true } => guests().collect(),
            Read::Resources { guests_only: false } => guests().chain(storages()).collect(),
            Read::Pools(None) => (0..POOLS).map(Cell::pool).collect(),
            Read::Pools(Some(pool)) => {
                let members = (0..GUESTS).filter(|guest| guest / 2 % POOLS == *pool).map(Cell::guest);
                members.chain([Cell::pool(*pool)]).collect()
            }
            Read::Storages(None) => (0..STORAGES).map(Cell::storage).collect(),
            Read::Storages(Some(storage)) => vec![Cell::storage(*storage)],
            Read::NodeStorages(_) => storages().collect(),
            Read::Content(_, storage) => vec![Cell::storage(*storage), Cell::volumes(*storage)],
            Read::Tasks(None) => (0..NODES).map(Cell::tasks).collect(),
            Read::Tasks(Some(node)) => vec![Cell::tasks(*node)],
            Read::Users => vec![Cell::users()],
            Read::Task(_) | Read::TaskLog(_) | Read::Log | Read::Permissions => Vec::new(),
            Read::Domains | Read::Constant | Read::NextId => Vec::new(),
        }
    }

    /// Whether it tells how tasks of anybody stand.
    pub fn tells_of_tasks(&self) -> bool {
        matches!(self, Read::Tasks(_) | Read::Log)
    }

    /// The guest whose rights decide whether it is answered at all.
    pub fn guest(&self) -> Option<usize> {
        match self {
            Read::Guest(guest, _) | Read::Firewall(guest, _) | Read::Cloudinit(guest, _) => Some(*guest),
            _ => None,
        }
    }

    /// Whether who asks has no part in the answer.
    pub fn is_for_everyone(&self) -> bool {
        matches!(self, Read::Domains | Read::Constant)
    }
}

/// A write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// A guest's configuration, at once.
    PutConfig(usize),
    /// A guest's configuration, by a task or at once.
    PostConfig(usize),
    /// A guest's state, by a task.
    Start(usize),
    /// A snapshot of a guest, on a storage too.
    Snapshot(usize, usize),
    /// A guest that was not there.
    Create(usize),
    /// A guest that goes.
    Delete(usize),
    /// A guest's firewall.
    Firewall(usize),
    /// A path that no rule names: it changes what lies below it.
    Cloudinit(usize),
    /// A pool.
    Pool(usize),
    /// The definition of a storage.
    Storage(usize),
    /// A volume that appears at once.
    Allocate(usize, usize),
    /// A volume that goes by a task.
    Remove(usize, usize),
    /// A backup of a node's guests.
    Backup(usize, usize),
    /// What a principal may see.
    Acl(usize),
    /// A user.
    User,
}

/// How a write is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// It is done when it is answered.
    AtOnce,
    /// The answer names a task.
    Task,
    /// One or the other.
    Either,
}

impl Write {
    /// Method, path below the format, and content.
    pub fn request(&self) -> (&'static str, String, String) {
        let guest = |guest: &usize| format!("/nodes/{}/qemu/{}", node_name(node_of(*guest)), vmid(*guest));
        let content = |node: &usize, storage: &usize| {
            format!("/nodes/{}/storage/{}/content", node_name(*node), storage_name(*storage))
        };
        match self {
            Write::PutConfig(g) => ("PUT", guest(g) + "/config", "memory=1024".into()),
            Write::PostConfig(g) => ("POST", guest(g) + "/config", "cores=2".into()),
            Write::Start(g) => ("POST", guest(g) + "/status/start", String::new()),
            Write::Snapshot(g, _) => ("POST", guest(g) + "/snapshot", "snapname=s".into()),
            Write::Create(g) => {
                ("POST", format!("/nodes/{}/qemu", node_name(node_of(*g))), format!("vmid={}", vmid(*g)))
            }
            Write::Delete(g) => ("DELETE", guest(g), String::new()),
            Write::Firewall(g) => ("PUT", guest(g) + "/firewall/options", "enable=1".into()),
            Write::Cloudinit(g) => ("POST", guest(g) + "/cloudinit", "x=1".into()),
            Write::Pool(pool) => ("PUT", format!("/pools/p{pool}"), "comment=x".into()),
            Write::Storage(s) => ("PUT", format!("/storage/{}", storage_name(*s)), "shared=1".into()),
            Write::Allocate(node, s) => ("POST", content(node, s), "filename=x&size=1".into()),
            Write::Remove(node, s) => ("DELETE", content(node, s) + "/volume", String::new()),
            Write::Backup(node, s) => (
                "POST",
                format!("/nodes/{}/vzdump", node_name(*node)),
                format!("all=1&storage={}", storage_name(*s)),
            ),
            Write::Acl(principal) => ("PUT", "/access/acl".into(), format!("path=/&users=u{principal}")),
            Write::User => ("PUT", "/access/users/someone@pve".into(), "comment=x".into()),
        }
    }

    /// What it changes.
    pub fn cells(&self) -> Vec<Cell> {
        match self {
            Write::PutConfig(g) | Write::PostConfig(g) | Write::Start(g) => vec![Cell::guest(*g)],
            Write::Create(g) | Write::Delete(g) => vec![Cell::guest(*g)],
            Write::Snapshot(g, s) => vec![Cell::guest(*g), Cell::volumes(*s)],
            Write::Firewall(g) => vec![Cell::firewall(*g)],
            Write::Cloudinit(g) => vec![Cell::cloudinit(*g)],
            Write::Pool(pool) => vec![Cell::pool(*pool)],
            Write::Storage(s) => vec![Cell::storage(*s)],
            Write::Allocate(_, s) | Write::Remove(_, s) => vec![Cell::volumes(*s)],
            Write::Backup(node, s) => {
                let of_node = (0..GUESTS).filter(|guest| node_of(*guest) == *node).take(2);
                of_node.map(Cell::guest).chain([Cell::volumes(*s)]).collect()
            }
            Write::Acl(principal) => vec![Cell::rights(*principal)],
            Write::User => vec![Cell::users()],
        }
    }

    /// How it is done.
    pub fn shape(&self) -> Shape {
        match self {
            Write::PostConfig(_) => Shape::Either,
            Write::Start(_) | Write::Snapshot(..) | Write::Create(_) | Write::Delete(_) => Shape::Task,
            Write::Remove(..) | Write::Backup(..) => Shape::Task,
            _ => Shape::AtOnce,
        }
    }

    /// Node, type and id of its task.
    pub fn task(&self) -> (usize, &'static str, String) {
        match self {
            Write::PostConfig(g) => (node_of(*g), "qmconfig", vmid(*g).to_string()),
            Write::Snapshot(g, _) => (node_of(*g), "qmsnapshot", vmid(*g).to_string()),
            Write::Create(g) => (node_of(*g), "qmcreate", vmid(*g).to_string()),
            Write::Delete(g) => (node_of(*g), "qmdestroy", vmid(*g).to_string()),
            Write::Remove(node, s) => (*node, "imgdel", format!("x@{}", storage_name(*s))),
            Write::Backup(node, _) => (*node, "vzdump", String::new()),
            Write::Start(g) => (node_of(*g), "qmstart", vmid(*g).to_string()),
            _ => (0, "qmconfig", String::new()),
        }
    }
}
