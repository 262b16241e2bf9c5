//! The things in a cluster: nodes, guests, storages, pools, and what follows from one of them alone.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::sha1;

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
        disk.and_then(super::storage::disk_size).unwrap_or(0)
    }

    /// The digest of its configuration file: of all that stands in it, and of nothing else.
    pub(super) fn digest(&self) -> String {
        let file = (self.vmid, &self.config, &self.pending, self.lock, &self.parent, &self.snapshots);
        sha1::hex(format!("{file:?}").as_bytes())
    }

    /// The digest of its firewall file, which is another one.
    pub(super) fn firewall_digest(&self) -> String {
        let file = (self.vmid, &self.firewall_options, &self.firewall_rules);
        sha1::hex(format!("{file:?}").as_bytes())
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
