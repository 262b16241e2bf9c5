//! The cluster as it is when a simulation starts: nine guests that are always the same, and any number
//! of further ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::auth::{Accounts, Token, User};
use super::guest_writes::{address, disk_volume, smbios};
use super::model::{Guest, Kind, Node, Object, Pool, Power, Snapshot, Storage, Volume};
use super::rights::{Access, Entry, ROLES, Subject};
use super::state::Cluster;
use super::storage::size_text;

/// What makes one of the fixed guests.
struct Plan {
    vmid: u32,
    kind: Kind,
    node: usize,
    name: &'static str,
    running: bool,
    cores: u64,
    memory_mib: u64,
    disk_gib: u64,
    tags: &'static str,
    pool: &'static str,
}

const PLANS: [Plan; 9] = [
    plan(100, Kind::Qemu, 0, "web-1", true, 4, 8192, 32, "prod;web", "prod"),
    plan(101, Kind::Qemu, 1, "web-2", true, 4, 8192, 32, "prod;web", "prod"),
    plan(102, Kind::Qemu, 2, "db-1", true, 8, 32768, 256, "db;prod", "prod"),
    plan(103, Kind::Qemu, 0, "build-1", false, 16, 16384, 128, "ci", "dev"),
    plan(104, Kind::Qemu, 1, "win-1", true, 4, 12288, 96, "", ""),
    plan(9000, Kind::Qemu, 0, "tmpl-debian13", false, 2, 2048, 8, "template", ""),
    plan(200, Kind::Lxc, 0, "dns-1", true, 1, 512, 4, "infra", ""),
    plan(201, Kind::Lxc, 1, "proxy-1", true, 2, 1024, 8, "infra;web", ""),
    plan(202, Kind::Lxc, 2, "lab-1", false, 2, 2048, 16, "", "dev"),
];

/// Numbers of the further guests start here, so that `/cluster/nextid` has low ones to give.
const FURTHER: u32 = 300;

#[expect(clippy::too_many_arguments, reason = "a table row")]
const fn plan(
    vmid: u32,
    kind: Kind,
    node: usize,
    name: &'static str,
    running: bool,
    cores: u64,
    memory_mib: u64,
    disk_gib: u64,
    tags: &'static str,
    pool: &'static str,
) -> Plan {
    Plan { vmid, kind, node, name, running, cores, memory_mib, disk_gib, tags, pool }
}

/// Builds the cluster.
pub(super) fn cluster(config: &super::SimConfig, now: Instant) -> Cluster {
    let since_epoch = crate::clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut cluster = Cluster::empty(config, accounts(config.seed), now, since_epoch.as_secs());
    let count = config.nodes.max(1);
    for at in 0..count {
        cluster.nodes.push(Node {
            name: format!("pve{}", at + 1),
            address: format!("10.10.{}.{}", at / 200, at % 200 + 11),
            online: true,
            uptime: 1_811_232 - at as u64 * 421,
            dns: object(json!({"search": "lab.example", "dns1": "10.10.0.2", "dns2": "10.10.0.3"})),
        });
    }
    cluster.storages = storages();
    for (name, comment) in [("dev", Some("development")), ("prod", None)] {
        let pool =
            Pool { name: name.to_owned(), comment: comment.map(str::to_owned), storages: BTreeSet::new() };
        cluster.pools.insert(name.to_owned(), pool);
    }
    cluster.options =
        object(json!({"keyboard": "en-us", "migration": "type=secure", "next-id": {"lower": "100"},
        "mac_prefix": "BC:24:11"}));
    for plan in PLANS.iter().take(config.vms) {
        add_guest(&mut cluster, plan, plan.name.to_owned(), plan.node % count);
    }
    let numbers = (FURTHER..).filter(|vmid| PLANS.iter().all(|plan| plan.vmid != *vmid));
    for (at, vmid) in numbers.take(config.vms.saturating_sub(PLANS.len())).enumerate() {
        let kind = if at % 4 == 3 { Kind::Lxc } else { Kind::Qemu };
        let further = plan(vmid, kind, at, "", at % 7 != 6, 2, 2048, 16, "batch", "");
        add_guest(&mut cluster, &further, format!("app-{at}"), at % count);
    }
    for sid in ["vm:102", "ct:201"] {
        if cluster.guests.values().any(|guest| guest.sid() == sid) {
            cluster.ha.insert(sid.to_owned(), "started".to_owned());
        }
    }
    files(&mut cluster);
    cluster
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(members) => members,
        _ => Object::new(),
    }
}

fn add_guest(cluster: &mut Cluster, plan: &Plan, name: String, node: usize) {
    let vmid = plan.vmid;
    let volume = if vmid == 9000 { "base-9000-disk-0".to_owned() } else { format!("vm-{vmid}-disk-0") };
    let id = format!("ceph-vm:{volume}");
    let bytes = plan.disk_gib << 30;
    let address = address(vmid);
    let size = size_text(bytes);
    let mut config = object(match plan.kind {
        Kind::Qemu => {
            json!({"name": name, "cores": plan.cores, "sockets": 1, "memory": plan.memory_mib.to_string(),
            "cpu": "x86-64-v2-AES", "ostype": if vmid == 104 { "win11" } else { "l26" }, "machine": "q35",
            "scsihw": "virtio-scsi-single", "boot": "order=scsi0;net0", "agent": "enabled=1", "serial0": "socket",
            "scsi0": format!("{id},discard=on,iothread=1,size={size}"), "numa": 0, "onboot": 1,
            "net0": format!("virtio={address},bridge=vmbr0,firewall=1"),
            "smbios1": smbios(vmid),
            "vmgenid": format!("10000000-0000-4000-8000-{vmid:012}"),
            "meta": "creation-qemu=10.1.2,ctime=1757100000"})
        }
        Kind::Lxc => json!({"hostname": name, "arch": "amd64", "ostype": "debian", "cores": plan.cores,
            "memory": plan.memory_mib, "swap": 512, "rootfs": format!("{id},size={size}"), "unprivileged": 1,
            "net0": format!("name=eth0,bridge=vmbr0,firewall=1,hwaddr={address},ip=dhcp,type=veth"),
            "features": "nesting=1", "onboot": 1}),
    });
    if !plan.tags.is_empty() {
        config.insert("tags".to_owned(), plan.tags.into());
    }
    if vmid == 9000 {
        config.insert("template".to_owned(), 1.into());
    }
    let wall = cluster.wall(Instant::now());
    let mut guest = Guest {
        vmid,
        kind: plan.kind,
        node,
        config,
        pending: Object::new(),
        power: if plan.running { Power::Running } else { Power::Stopped },
        started: plan.running.then(|| wall - 100_000 - u64::from(vmid) * 31),
        lock: None,
        pool: (!plan.pool.is_empty()).then(|| plan.pool.to_owned()),
        snapshots: Vec::new(),
        parent: None,
        // The one whose agent is configured and dead, which every call to it pays for.
        agent_answers: vmid != 104,
        firewall_options: Object::new(),
        firewall_rules: Vec::new(),
        published: None,
    };
    if vmid == 100 {
        let config = guest.config.clone();
        let (name, description) = ("pre-upgrade".to_owned(), "before upgrade".to_owned());
        guest.parent = Some(name.clone());
        guest.snapshots.push(Snapshot { name, description, time: wall - 700_000, config });
        guest
            .firewall_rules
            .push(object(json!({"type": "in", "action": "ACCEPT", "proto": "tcp", "dport": "443",
            "enable": 1, "ipversion": 4, "comment": "https"})));
    }
    guest.published = Some(guest.report());
    let volumes = cluster.volumes.entry(("ceph-vm".to_owned(), None)).or_default();
    volumes.insert(id.clone(), disk_volume(id, plan.kind, bytes, vmid));
    cluster.guests.insert(vmid, guest);
}

fn storages() -> BTreeMap<String, Storage> {
    const GIB: u64 = 1 << 30;
    let rows = [
        ("local", "dir", "backup,iso,vztmpl", false, 94 * GIB, 23 * GIB, json!({"path": "/var/lib/vz"})),
        (
            "local-lvm",
            "lvmthin",
            "images,rootdir",
            false,
            740 * GIB,
            229 * GIB,
            json!({"vgname": "pve", "thinpool": "data"}),
        ),
        (
            "ceph-vm",
            "rbd",
            "images,rootdir",
            true,
            94_000 * GIB,
            3000 * GIB,
            json!({"pool": "vm", "krbd": 0}),
        ),
        (
            "nfs-iso",
            "nfs",
            "backup,iso,snippets,vztmpl",
            true,
            3600 * GIB,
            1980 * GIB,
            json!({"server": "10.10.0.5", "export": "/export/pve", "path": "/mnt/pve/nfs-iso"}),
        ),
        (
            "pbs-1",
            "pbs",
            "backup",
            true,
            14_000 * GIB,
            8540 * GIB,
            json!({"server": "10.10.0.6", "datastore": "main", "username": "backup@pbs!pve"}),
        ),
    ];
    let storages = rows.map(|(name, kind, content, shared, total, base_used, properties)| {
        let (kind, content, properties) = (kind.to_owned(), content.to_owned(), object(properties));
        (
            name.to_owned(),
            Storage { name: name.to_owned(), kind, content, shared, total, base_used, properties },
        )
    });
    BTreeMap::from(storages)
}

fn files(cluster: &mut Cluster) {
    let file = |id: &str, content: &str, format: &str, size, time| Volume {
        id: id.to_owned(),
        content: content.to_owned(),
        format: format.to_owned(),
        size,
        vmid: None,
        time: Some(time),
        notes: None,
    };
    for node in 0..cluster.nodes.len() {
        let volumes = cluster.volumes.entry(("local".to_owned(), Some(node))).or_default();
        for volume in [
            file("local:iso/debian-13.1.0-amd64-netinst.iso", "iso", "iso", 820_445_184, 1_757_000_000),
            file(
                "local:vztmpl/debian-13-standard_13.1-1_amd64.tar.zst",
                "vztmpl",
                "tzst",
                126_515_062,
                1_757_000_100,
            ),
        ] {
            volumes.insert(volume.id.clone(), volume);
        }
    }
    if cluster.guests.contains_key(&100) {
        let id = "nfs-iso:backup/vzdump-qemu-100-2026_09_21-01_00_01.vma.zst";
        let backup = file(id, "backup", "vma.zst", 6_442_450_945, 1_789_913_600);
        let backup = Volume { vmid: Some(100), notes: Some("web-1".to_owned()), ..backup };
        cluster.volumes.entry(("nfs-iso".to_owned(), None)).or_default().insert(id.to_owned(), backup);
    }
}

fn accounts(seed: u64) -> Accounts {
    let mut users = BTreeMap::new();
    let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut user = |name: &str, password: Option<&str>, in_groups: &[&str], comment: Option<&str>| {
        let (password, comment) = (password.map(str::to_owned), comment.map(str::to_owned));
        users.insert(name.to_owned(), User { password, groups: groups(in_groups), comment, ..User::new() });
    };
    user(super::ROOT_USER, Some(super::ROOT_PASSWORD), &[], None);
    user("admin@pve", Some("simulated-admin-password"), &["ops"], None);
    user("terraform@pve", None, &[], Some("IaC"));
    user("monitor@pve", None, &[], Some("exporter"));
    user(super::POOL_USER, Some(super::POOL_PASSWORD), &["developers"], None);
    for (name, secret, separated) in [
        (super::ADMIN_TOKEN, super::ADMIN_TOKEN_SECRET, false),
        (super::AUDITOR_TOKEN, super::AUDITOR_TOKEN_SECRET, true),
        (super::POWERLESS_TOKEN, super::POWERLESS_TOKEN_SECRET, true),
    ] {
        let (user, id) =
            name.split_once('!').expect("the names of tokens are written with an exclamation mark");
        let token = Token { secret: secret.to_owned(), separated, comment: None };
        users.entry(user.to_owned()).or_insert_with(User::new).tokens.insert(id.to_owned(), token);
    }
    let entry = |path: &str, subject, id: &str, role: &str| Entry {
        path: path.to_owned(),
        subject,
        id: id.to_owned(),
        role: role.to_owned(),
        propagate: true,
    };
    let entries = vec![
        entry("/", Subject::User, "terraform@pve", "Administrator"),
        entry("/", Subject::Group, "ops", "Administrator"),
        entry("/", Subject::User, "monitor@pve", "PVEAuditor"),
        entry("/", Subject::Token, super::AUDITOR_TOKEN, "PVEAuditor"),
        entry("/pool/dev", Subject::Group, "developers", "PVEVMUser"),
        entry("/pool/dev", Subject::Group, "developers", "PVEPoolUser"),
    ];
    let roles = ROLES.map(|(role, privileges)| {
        let all = privileges.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
        (role.to_owned(), all.collect::<BTreeSet<_>>())
    });
    Accounts {
        users,
        access: Access { roles: roles.into(), entries },
        signing_key: format!("simulated-key-{seed}"),
    }
}
