//! What is done with a guest as a whole: power, snapshots, migration, moving disks, agent commands.

use std::time::Duration;

use super::answer::{Failure, Outcome, Reply};
use super::call::{Call, Method};
use super::effects::{Effect, HA_REQUEST_TIME};
use super::guest_writes::{check_unlocked, no_node};
use super::model::Power;
use super::state::Cluster;

/// Writes on one guest: `rest` follows its number.
pub(super) fn route(cluster: &mut Cluster, call: &Call, vmid: u32, rest: &[&str]) -> Outcome {
    match (call.method, rest) {
        (Method::Post, ["status", action]) => power(cluster, call, vmid, action),
        (Method::Post, ["snapshot"]) => snapshot(cluster, call, vmid),
        (Method::Delete, ["snapshot", name]) => delete_snapshot(cluster, call, vmid, name),
        (Method::Put, ["snapshot", name, "config"]) => describe_snapshot(cluster, call, vmid, name),
        (Method::Post, ["snapshot", name, "rollback"]) => roll_back(cluster, call, vmid, name),
        (Method::Post, ["migrate"]) => migrate(cluster, call, vmid),
        (Method::Post, ["move_disk" | "move_volume"]) => move_disk(cluster, call, vmid),
        (Method::Post, ["agent", command]) => agent(cluster, vmid, command),
        (Method::Put, ["sendkey"]) => Ok(Reply::null()),
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn start(cluster: &mut Cluster, call: &Call, vmid: u32, verb: &str, effect: Effect) -> Outcome {
    let guest = &cluster.guests[&vmid];
    let (node, task) = (guest.node, format!("{}{verb}", guest.kind.task_prefix()));
    Ok(Reply::data(cluster.start_task(node, &task, &vmid.to_string(), &call.who, effect, call.now)))
}

fn power(cluster: &mut Cluster, call: &Call, vmid: u32, action: &str) -> Outcome {
    let guest = &cluster.guests[&vmid];
    let (node, kind, sid, power) = (guest.node, guest.kind, guest.sid(), guest.power);
    let (verb, to) = match action {
        "start" => ("start", Some(Power::Running)),
        "stop" => ("stop", Some(Power::Stopped)),
        "shutdown" => ("shutdown", Some(Power::Stopped)),
        "suspend" if kind == super::model::Kind::Qemu => ("pause", Some(Power::Paused)),
        "suspend" => ("suspend", Some(Power::Paused)),
        "resume" => ("resume", Some(Power::Running)),
        "reboot" => ("reboot", None),
        "reset" => ("reset", None),
        _ => return Err(Failure::not_implemented(call.method.name(), &call.path)),
    };
    if !matches!(action, "stop" | "shutdown") {
        check_unlocked(cluster, vmid)?;
    }
    if action == "start" && cluster.guests[&vmid].is_template() {
        return Err(Failure::die("you can't start a vm if it's a template"));
    }
    if action != "start" && power == Power::Stopped {
        return Err(Failure::die(format!("{} {vmid} not running", kind.title())));
    }
    let then = match (action, to) {
        ("reboot", _) => Effect::Restart { vmid },
        (_, Some(to)) => Effect::Power { vmid, to },
        _ => Effect::Nothing,
    };
    let managed = cluster.ha.contains_key(&sid) && matches!(action, "start" | "stop" | "shutdown");
    if !managed {
        return start(cluster, call, vmid, verb, then);
    }
    // The high-availability manager is only told; what it does is another task, by another user, later.
    let (request, task, state) = match (action, kind) {
        ("start", super::model::Kind::Qemu) => ("hastart", "qmstart", "started"),
        ("start", super::model::Kind::Lxc) => ("hastart", "vzstart", "started"),
        (_, super::model::Kind::Qemu) => ("hastop", "qmshutdown", "stopped"),
        (_, super::model::Kind::Lxc) => ("hastop", "vzshutdown", "stopped"),
    };
    cluster.ha.insert(sid, state.to_owned());
    let effect = Effect::HaRequest { vmid, kind: task, then: Box::new(then) };
    Ok(Reply::data(ha_request(cluster, call, node, request, vmid, effect)))
}

fn ha_request(
    cluster: &mut Cluster,
    call: &Call,
    node: usize,
    kind: &str,
    vmid: u32,
    effect: Effect,
) -> String {
    let time: Duration = HA_REQUEST_TIME.min(cluster.task_time);
    cluster.start_task_for(time, node, kind, &vmid.to_string(), &call.who, effect, call.now)
}

fn lock(cluster: &mut Cluster, call: &Call, vmid: u32, lock: &'static str) -> Result<(), Failure> {
    check_unlocked(cluster, vmid)?;
    cluster.edit_guest(vmid, call.now, |guest| guest.lock = Some(lock));
    Ok(())
}

fn snapshot(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    let name = call.need("snapname")?.to_owned();
    if name == "current" {
        return Err(Failure::die("unable to use snapshot name 'current' (reserved name)"));
    }
    if cluster.guests[&vmid].snapshots.iter().any(|known| known.name == name) {
        return Err(Failure::die(format!("snapshot name '{name}' already used")));
    }
    lock(cluster, call, vmid, "snapshot")?;
    cluster.log_change(call, vmid, ["snapshot VM", "snapshot container"], &name);
    let description = call.get("description").unwrap_or_default().to_owned();
    start(cluster, call, vmid, "snapshot", Effect::Snapshot { vmid, name, description })
}

fn known_snapshot(cluster: &Cluster, vmid: u32, name: &str) -> Result<(), Failure> {
    let known = cluster.guests[&vmid].snapshots.iter().any(|snapshot| snapshot.name == name);
    if known { Ok(()) } else { Err(Failure::die(format!("snapshot '{name}' does not exist"))) }
}

fn delete_snapshot(cluster: &mut Cluster, call: &Call, vmid: u32, name: &str) -> Outcome {
    known_snapshot(cluster, vmid, name)?;
    lock(cluster, call, vmid, "snapshot-delete")?;
    cluster.log_change(call, vmid, ["delete snapshot VM"; 2], name);
    start(cluster, call, vmid, "delsnapshot", Effect::SnapshotDeleted { vmid, name: name.to_owned() })
}

fn describe_snapshot(cluster: &mut Cluster, call: &Call, vmid: u32, name: &str) -> Outcome {
    known_snapshot(cluster, vmid, name)?;
    let description = call.get("description").unwrap_or_default().to_owned();
    cluster.edit_guest(vmid, call.now, |guest| {
        for snapshot in guest.snapshots.iter_mut().filter(|snapshot| snapshot.name == name) {
            snapshot.description = description.clone();
        }
    });
    Ok(Reply::null())
}

fn roll_back(cluster: &mut Cluster, call: &Call, vmid: u32, name: &str) -> Outcome {
    known_snapshot(cluster, vmid, name)?;
    lock(cluster, call, vmid, "rollback")?;
    cluster.log_change(call, vmid, ["rollback snapshot VM", "rollback snapshot LXC"], name);
    start(cluster, call, vmid, "rollback", Effect::RolledBack { vmid, name: name.to_owned() })
}

fn migrate(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    let target = call.need("target")?;
    let to = cluster.node_index(target, call.contacted).ok_or_else(|| no_node(target))?;
    check_unlocked(cluster, vmid)?;
    let guest = &cluster.guests[&vmid];
    let (node, sid, running) = (guest.node, guest.sid(), guest.power != Power::Stopped);
    if to == node {
        return Err(Failure::parameter("target", "target is local node."));
    }
    let container = guest.kind == super::model::Kind::Lxc;
    if running && !(call.flag("online") || (container && call.flag("restart"))) {
        let hint = if container { "restart" } else { "online" };
        return Err(Failure::die(format!("can't migrate running {} without --{hint}", guest.kind.title())));
    }
    let then = Effect::Migrated { vmid, to };
    if cluster.ha.contains_key(&sid) {
        let task = if container { "vzmigrate" } else { "qmigrate" };
        let effect = Effect::HaRequest { vmid, kind: task, then: Box::new(then) };
        return Ok(Reply::data(ha_request(cluster, call, node, "hamigrate", vmid, effect)));
    }
    lock(cluster, call, vmid, "migrate")?;
    let task = if container { "vzmigrate" } else { "qmigrate" };
    Ok(Reply::data(cluster.start_task(node, task, &vmid.to_string(), &call.who, then, call.now)))
}

fn move_disk(cluster: &mut Cluster, call: &Call, vmid: u32) -> Outcome {
    let disk = call.get("disk").or_else(|| call.get("volume"));
    let missing = || Failure::parameter("disk", "property is missing and it is not optional");
    let disk = disk.ok_or_else(missing)?.to_owned();
    let storage = call.need("storage")?.to_owned();
    if !cluster.guests[&vmid].config.contains_key(&disk) {
        return Err(Failure::die(format!("disk '{disk}' does not exist")));
    }
    if !cluster.storages.contains_key(&storage) {
        return Err(Failure::die(format!("storage '{storage}' does not exist")));
    }
    lock(cluster, call, vmid, "disk")?;
    let verb = if cluster.guests[&vmid].kind == super::model::Kind::Qemu { "move" } else { "move_volume" };
    start(cluster, call, vmid, verb, Effect::DiskMoved { vmid, disk, storage })
}

fn agent(cluster: &mut Cluster, vmid: u32, command: &str) -> Outcome {
    super::guests::agent_ready(&cluster.guests[&vmid])?;
    Ok(match command {
        "exec" => Reply::data(serde_json::json!({"pid": 1000 + cluster.next()})),
        _ => Reply::data(serde_json::json!({"result": {}})),
    })
}
