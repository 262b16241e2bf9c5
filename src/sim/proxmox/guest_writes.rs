//! Making, changing and removing guests.

use serde_json::Value;

use super::answer::{Failure, Outcome, Reply};
use super::call::{Call, Method};
use super::effects::Effect;
use super::model::{Guest, Kind, Object, Power, Volume};
use super::state::Cluster;
use super::storage::{disk_size, size_text};

/// Parameters of writes that are not configuration keys.
const NOT_CONFIG: [&str; 20] = [
    "vmid",
    "digest",
    "delete",
    "revert",
    "skiplock",
    "force",
    "background_delay",
    "start",
    "pool",
    "storage",
    "archive",
    "unique",
    "bwlimit",
    "live-restore",
    "ostemplate",
    "restore",
    "password",
    "ssh-public-keys",
    "ignore-unpack-errors",
    "ha-managed",
];

/// Writes on one guest: `rest` follows its number.
pub(super) fn route(cluster: &mut Cluster, call: &Call, vmid: u32, rest: &[&str]) -> Outcome {
    let kind = cluster.guests[&vmid].kind;
    match (call.method, rest) {
        (Method::Put, ["config"]) => put_config(cluster, call, vmid),
        (Method::Post, ["config"]) if kind == Kind::Qemu => post_config(cluster, call, vmid),
        (Method::Post, ["clone"]) => clone(cluster, call, vmid),
        (Method::Post, ["template"]) => template(cluster, call, vmid),
        (Method::Put, ["resize"]) => resize(cluster, call, vmid),
        (Method::Put, ["unlink"]) => unlink(cluster, call, vmid),
        (Method::Delete, []) => delete(cluster, call, vmid),
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

/// Fails if another task holds the guest.
pub(super) fn check_unlocked(cluster: &Cluster, vmid: u32) -> Result<(), Failure> {
    let guest = &cluster.guests[&vmid];
    match guest.lock {
        Some(lock) => Err(Failure::die(format!("{} is locked ({lock})", guest.kind.title()))),
        None => Ok(()),
    }
}

/// The configuration keys among the parameters with their types; `delete` and `revert` become null.
fn changes(call: &Call, kind: Kind) -> Object {
    let mut changes = Object::new();
    for (key, text) in call.params.iter().filter(|(key, _)| !NOT_CONFIG.contains(&key.as_str())) {
        changes.insert(key.clone(), typed(kind, key, text));
    }
    for key in call.get("delete").unwrap_or_default().split([',', ';', ' ']).filter(|key| !key.is_empty()) {
        changes.insert(key.to_owned(), Value::Null);
    }
    changes
}

fn typed(kind: Kind, key: &str, text: &str) -> Value {
    const NUMBERS: [&str; 10] = [
        "cores",
        "sockets",
        "numa",
        "onboot",
        "protection",
        "template",
        "unprivileged",
        "vcpus",
        "swap",
        "balloon",
    ];
    let number = NUMBERS.contains(&key) || (kind == Kind::Lxc && key == "memory");
    match text.parse::<u64>() {
        Ok(value) if number => value.into(),
        _ => text.into(),
    }
}

fn check_digest(cluster: &Cluster, call: &Call, vmid: u32) -> Result<(), Failure> {
    let changed = call.get("digest").is_some_and(|digest| digest != cluster.guests[&vmid].digest());
    if changed {
        let text = "detected modified configuration - file changed by other user? Try again.";
        return Err(Failure::die(text));
    }
    Ok(())
}

/// How the log names what a change of a configuration sets.
fn options(changes: &Object) -> String {
    changes.keys().map(|key| format!("-{key}")).collect::<Vec<_>>().join(" ")
}

fn put_config(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    check_unlocked(cluster, vmid)?;
    check_digest(cluster, call, vmid)?;
    let guest = &cluster.guests[&vmid];
    let (kind, node) = (guest.kind, guest.node);
    let mut changes = changes(call, kind);
    allocate(cluster, &mut changes, vmid, kind, node, call);
    cluster.log_change(call, vmid, ["update VM", ""], &options(&changes));
    let revert: Vec<_> = call.get("revert").unwrap_or_default().split(',').map(str::to_owned).collect();
    cluster.edit_guest(vmid, call.now, |guest| {
        guest.configure(changes);
        guest.pending.retain(|key, _| !revert.contains(key));
    });
    Ok(Reply::null())
}

fn post_config(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    check_unlocked(cluster, vmid)?;
    check_digest(cluster, call, vmid)?;
    let guest = &cluster.guests[&vmid];
    let (kind, node) = (guest.kind, guest.node);
    let mut changes = changes(call, kind);
    allocate(cluster, &mut changes, vmid, kind, node, call);
    cluster.log_change(call, vmid, ["update VM", ""], &options(&changes));
    let effect = Effect::Configured { vmid, changes };
    let upid = cluster.start_task(node, "qmconfig", &vmid.to_string(), &call.who, effect, call.now);
    Ok(Reply::data(upid))
}

/// Turns `storage:size` in disk keys into volumes and gives network cards an address.
fn allocate(cluster: &mut Cluster, changes: &mut Object, vmid: u32, kind: Kind, node: usize, call: &Call) {
    let (mut volumes, mut count) = (Vec::new(), 0);
    for (key, value) in changes.iter_mut() {
        let Some(text) = value.as_str().map(str::to_owned) else { continue };
        if key.starts_with("net") && key[3..].parse::<u8>().is_ok() {
            *value = with_address(&text, vmid, kind).into();
            continue;
        }
        let (volume, options) = text.split_once(',').unwrap_or((&text, ""));
        let Some((storage, size)) = volume.split_once(':') else { continue };
        let size = match size.strip_prefix("import-from=") {
            Some(_) => Some(8),
            None => size.parse::<u64>().ok().or((size == "cloudinit").then_some(0)),
        };
        let (Some(size), true) = (size, cluster.storages.contains_key(storage)) else { continue };
        let taken = |id: &str| cluster.volumes.values().any(|known| known.contains_key(id));
        let id = loop {
            let id = format!("{storage}:vm-{vmid}-disk-{count}");
            count += 1;
            if !taken(&id) {
                break id;
            }
        };
        let bytes = (size << 30).max(4 << 20);
        let rest = if options.is_empty() { String::new() } else { format!(",{options}") };
        *value = format!("{id}{rest},size={}", size_text(bytes)).into();
        volumes.push((storage.to_owned(), disk_volume(id, kind, bytes, vmid)));
    }
    for (storage, mut volume) in volumes {
        volume.time = Some(cluster.wall(call.now));
        let place = cluster.volume_place(&storage, node);
        cluster.volumes.entry(place).or_default().insert(volume.id.clone(), volume);
    }
}

/// A guest's disk as a volume.
pub(super) fn disk_volume(id: String, kind: Kind, size: u64, vmid: u32) -> Volume {
    let content = if kind == Kind::Qemu { "images" } else { "rootdir" };
    Volume {
        id,
        content: content.to_owned(),
        format: "raw".to_owned(),
        size,
        vmid: Some(vmid),
        time: None,
        notes: None,
    }
}

/// The hardware address of a guest's network cards.
pub(super) fn address(vmid: u32) -> String {
    let [_, a, b, c] = vmid.to_be_bytes();
    format!("BC:24:11:{a:02X}:{b:02X}:{c:02X}")
}

/// The system identity of a virtual machine.
pub(super) fn smbios(vmid: u32) -> String {
    format!("uuid=00000000-0000-4000-8000-{vmid:012}")
}

fn with_address(text: &str, vmid: u32, kind: Kind) -> String {
    let address = address(vmid);
    let (model, rest) = text.split_once(',').unwrap_or((text, ""));
    match kind {
        Kind::Qemu if !model.contains('=') => format!("{model}={address},{rest}"),
        Kind::Lxc if !text.contains("hwaddr=") => format!("{text},hwaddr={address},type=veth"),
        _ => text.to_owned(),
    }
}

/// `POST /nodes/{node}/{kind}`: creates or restores a guest.
pub(super) fn create(cluster: &mut Cluster, call: &Call, node: usize, kind: Kind) -> Outcome {
    let vmid = call.need_vmid("vmid")?;
    check_new(cluster, call, vmid)?;
    let mut config = changes(call, kind);
    let restores = call.get("archive").is_some() || call.flag("restore");
    if let (Some(storage), Kind::Lxc) = (call.get("storage"), kind) {
        config.entry("rootfs").or_insert_with(|| format!("{storage}:8").into());
    }
    allocate(cluster, &mut config, vmid, kind, node, call);
    if kind == Kind::Qemu {
        config.entry("smbios1").or_insert_with(|| smbios(vmid).into());
        config.entry("meta").or_insert_with(|| "creation-qemu=10.1.2,ctime=1757100000".into());
    }
    let guest =
        Guest { pool: call.get("pool").map(str::to_owned), ..blank(vmid, kind, node, config, "create") };
    cluster.guests.insert(vmid, guest);
    let verb = if restores { "restore" } else { "create" };
    let effect = Effect::Created { vmid, start: call.flag("start") };
    let task = format!("{}{verb}", kind.task_prefix());
    Ok(Reply::data(cluster.start_task(node, &task, &vmid.to_string(), &call.who, effect, call.now)))
}

fn check_new(cluster: &Cluster, call: &Call, vmid: u32) -> Result<(), Failure> {
    let pool = call.get("pool");
    let in_pool = |name: &str| cluster.allowed(&call.who, &format!("/pool/{name}"), &["VM.Allocate"]);
    if !pool.is_some_and(in_pool) {
        cluster.check(&call.who, &format!("/vms/{vmid}"), &["VM.Allocate"])?;
    }
    if pool.is_some_and(|name| !cluster.pools.contains_key(name)) {
        return Err(Failure::die(format!("no such pool '{}'", pool.unwrap_or_default())));
    }
    match cluster.guests.get(&vmid) {
        Some(guest) => Err(Failure::die(format!(
            "unable to create VM {vmid} - VM {vmid} already exists on node '{}'",
            cluster.nodes[guest.node].name
        ))),
        None => Ok(()),
    }
}

/// A stopped guest that nobody has reported yet, held by the task that makes it.
fn blank(vmid: u32, kind: Kind, node: usize, config: Object, lock: &'static str) -> Guest {
    Guest {
        vmid,
        kind,
        node,
        config,
        pending: Object::new(),
        power: Power::Stopped,
        started: None,
        lock: Some(lock),
        pool: None,
        snapshots: Vec::new(),
        parent: None,
        agent_answers: true,
        firewall_options: Object::new(),
        firewall_rules: Vec::new(),
        published: None,
    }
}

fn clone(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    let newid = call.need_vmid("newid")?;
    check_new(cluster, call, newid)?;
    check_unlocked(cluster, vmid)?;
    let source = cluster.guests[&vmid].clone();
    let target = match call.get("target") {
        Some(name) => cluster.node_index(name, call.contacted).ok_or_else(|| no_node(name))?,
        None => source.node,
    };
    let mut config = source.config.clone();
    config.remove("template");
    config.remove("onboot");
    let name_key = source.kind.name_key();
    let name = call.get(name_key).map_or_else(|| format!("Copy-of-{}", source.name()), str::to_owned);
    config.insert(name_key.to_owned(), name.into());
    if let Some(description) = call.get("description") {
        config.insert("description".to_owned(), description.into());
    }
    for value in config.values_mut() {
        let Some((storage, size)) = value.as_str().and_then(|text| disk_parts(text, vmid)) else { continue };
        let storage = call.get("storage").unwrap_or(storage).to_owned();
        let text = value.as_str().unwrap_or_default();
        let (_, options) = text.split_once(',').unwrap_or((text, ""));
        let number = text.split(',').next().and_then(|volume| volume.rsplit('-').next()).unwrap_or("0");
        let id = format!("{storage}:vm-{newid}-disk-{number}");
        let place = cluster.volume_place(&storage, target);
        let volume = disk_volume(id.clone(), source.kind, size, newid);
        *value = format!("{id},{options}").into();
        cluster.volumes.entry(place).or_default().insert(id, volume);
    }
    for (key, value) in config.iter_mut() {
        // Copies get identities of their own.
        if let (true, Some(text)) = (key.starts_with("net"), value.as_str()) {
            *value = text.replace(&address(vmid), &address(newid)).into();
        } else if key == "smbios1" {
            *value = smbios(newid).into();
        }
    }
    let blank = blank(newid, source.kind, target, config, "clone");
    let pool = call.get("pool").map(str::to_owned);
    cluster.guests.insert(newid, Guest { pool, agent_answers: source.agent_answers, ..blank });
    let effect = Effect::Created { vmid: newid, start: false };
    let task = format!("{}clone", source.kind.task_prefix());
    Ok(Reply::data(cluster.start_task(source.node, &task, &vmid.to_string(), &call.who, effect, call.now)))
}

/// The storage and size of a configuration value that is a disk of this guest.
fn disk_parts(text: &str, vmid: u32) -> Option<(&str, u64)> {
    let (storage, rest) = text.split_once(':')?;
    let own = rest.starts_with(&format!("vm-{vmid}-")) || rest.starts_with(&format!("base-{vmid}-"));
    own.then(|| (storage, disk_size(text).unwrap_or(4 << 20)))
}

pub(super) fn no_node(name: &str) -> Failure {
    Failure::die(format!("no such cluster node '{name}'"))
}

fn template(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    check_unlocked(cluster, vmid)?;
    let guest = &cluster.guests[&vmid];
    if guest.is_template() {
        return Err(Failure::die("you can't convert a template to a template"));
    }
    if guest.power != Power::Stopped {
        let title = guest.kind.title();
        return Err(Failure::die(format!("you can't convert a {title} to template if {title} is running")));
    }
    let (node, kind) = (guest.node, guest.kind);
    let changes = Object::from_iter([("template".to_owned(), 1.into())]);
    let effect = Effect::Configured { vmid, changes };
    let task = format!("{}template", kind.task_prefix());
    let upid = cluster.start_task(node, &task, &vmid.to_string(), &call.who, effect, call.now);
    // For containers a task is started and its identifier kept back.
    Ok(if kind == Kind::Qemu { Reply::data(upid) } else { Reply::null() })
}

fn resize(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    check_unlocked(cluster, vmid)?;
    check_digest(cluster, call, vmid)?;
    let (disk, size) = (call.need("disk")?.to_owned(), call.need("size")?);
    let guest = &cluster.guests[&vmid];
    let present = guest.config.get(&disk).and_then(Value::as_str).and_then(disk_size);
    let present = present.ok_or_else(|| Failure::die(format!("disk '{disk}' does not exist")))?;
    let bytes = |text: &str| disk_size(&format!("size={text}"));
    let wanted = match size.strip_prefix('+') {
        Some(more) => bytes(more).map(|more| present + more),
        None => bytes(size),
    };
    let wanted =
        wanted.ok_or_else(|| Failure::parameter("size", "value does not match the regex pattern"))?;
    if wanted < present {
        return Err(Failure::die("shrinking disks is not supported"));
    }
    let node = guest.node;
    let what = format!("resize --disk {disk} --size {wanted}");
    cluster.log_change(call, vmid, ["update VM", "update CT"], &what);
    let effect = Effect::Resized { vmid, disk, size: wanted };
    Ok(Reply::data(cluster.start_task(node, "resize", &vmid.to_string(), &call.who, effect, call.now)))
}

fn unlink(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    check_unlocked(cluster, vmid)?;
    let keys: Vec<_> = call.need("idlist")?.split(',').map(str::to_owned).collect();
    cluster.log_change(call, vmid, ["update VM", ""], &format!("-delete {}", keys.join(",")));
    cluster.edit_guest(vmid, call.now, |guest| guest.config.retain(|key, _| !keys.contains(key)));
    Ok(Reply::null())
}

fn delete(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    check_unlocked(cluster, vmid)?;
    let guest = &cluster.guests[&vmid];
    let (title, sid, kind, node) = (guest.kind.title(), guest.sid(), guest.kind, guest.node);
    if guest.number("protection") == Some(1) {
        return Err(Failure::die(format!("can't remove {title} {vmid} - protection mode enabled")));
    }
    if guest.power != Power::Stopped && !call.flag("force") {
        return Err(Failure::die(format!("{title} {vmid} is running - destroy failed")));
    }
    if cluster.ha.contains_key(&sid) && !call.flag("purge") {
        return Err(Failure::die(format!("unable to remove {title} {vmid} - used in HA resources")));
    }
    cluster.edit_guest(vmid, call.now, |guest| guest.lock = Some("destroyed"));
    let task = format!("{}destroy", kind.task_prefix());
    let effect = Effect::Destroyed { vmid };
    Ok(Reply::data(cluster.start_task(node, &task, &vmid.to_string(), &call.who, effect, call.now)))
}
