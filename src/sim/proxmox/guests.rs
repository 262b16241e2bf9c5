//! Reading guests: `/nodes/{node}/qemu` and `/nodes/{node}/lxc` and everything below them that is a GET.

use serde_json::{Value, json};

use super::answer::{Delay, Failure, Outcome, Reply};
use super::call::{Call, Method};
use super::cluster::index;
use super::model::{Guest, Kind, Power};
use super::state::Cluster;
use super::{console, firewall, guest_tasks, guest_writes};

/// `/nodes/{node}/{kind}` and below; `rest` is what follows.
pub(super) fn route(cluster: &mut Cluster, call: &Call, node: usize, kind: Kind, rest: &[&str]) -> Outcome {
    let (vmid, rest) = match rest {
        [] if call.method == Method::Get => return list(cluster, call, node, kind),
        [] if call.method == Method::Post => return guest_writes::create(cluster, call, node, kind),
        [vmid, rest @ ..] => (super::call::vmid("vmid", vmid)?, rest),
        [] => return Err(Failure::not_implemented(call.method.name(), &call.path)),
    };
    if let Some(any_of) = privileges(call.method, rest) {
        cluster.check(&call.who, &format!("/vms/{vmid}"), any_of)?;
    }
    let here = cluster.guests.get(&vmid).filter(|guest| guest.node == node && guest.kind == kind);
    if here.is_none() {
        let directory = if kind == Kind::Qemu { "qemu-server" } else { "lxc" };
        let name = &cluster.nodes[node].name;
        return Err(Failure::die(format!(
            "Configuration file 'nodes/{name}/{directory}/{vmid}.conf' does not exist"
        )));
    }
    match (call.method, rest) {
        (Method::Get, _) => read(cluster, call, vmid, rest),
        (_, ["firewall", rest @ ..]) => firewall::write_guest(cluster, call, vmid, rest),
        (Method::Post, ["vncproxy" | "termproxy" | "spiceproxy"]) => console::open(cluster, call, vmid),
        (_, [] | ["config" | "clone" | "template" | "resize" | "unlink"]) => {
            guest_writes::route(cluster, call, vmid, rest)
        }
        _ => guest_tasks::route(cluster, call, vmid, rest),
    }
}

/// The privileges on `/vms/{vmid}` of which a caller needs one. `None` is open to everyone.
fn privileges(method: Method, rest: &[&str]) -> Option<&'static [&'static str]> {
    Some(match (method, rest) {
        (Method::Get, [] | ["status" | "agent" | "firewall"]) | (Method::Get, ["snapshot", _]) => {
            return None;
        }
        (Method::Get, ["agent", ..]) => &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"],
        (Method::Get, ["vncwebsocket"]) => &["VM.Console"],
        (Method::Get, ["migrate"]) => &["VM.Migrate"],
        (Method::Get, _) => &["VM.Audit"],
        (_, ["status", _]) => &["VM.PowerMgmt"],
        (_, ["config"]) => &[
            "VM.Config.Disk",
            "VM.Config.CDROM",
            "VM.Config.CPU",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.HWType",
            "VM.Config.Options",
            "VM.Config.Cloudinit",
        ],
        (_, ["resize" | "move_disk" | "move_volume" | "unlink"]) => &["VM.Config.Disk"],
        (_, ["snapshot", ..]) => &["VM.Snapshot", "VM.Snapshot.Rollback"],
        (_, ["clone"]) => &["VM.Clone"],
        (_, ["migrate"]) => &["VM.Migrate"],
        (_, ["firewall", ..]) => &["VM.Config.Network"],
        (_, ["vncproxy" | "termproxy" | "spiceproxy" | "sendkey"]) => &["VM.Console"],
        (_, ["agent", ..]) => &["VM.GuestAgent.Unrestricted"],
        _ => &["VM.Allocate"],
    })
}

fn list(cluster: &mut Cluster, call: &Call, node: usize, kind: Kind) -> Outcome {
    let mut rng = cluster.rng.fork();
    let wall = cluster.wall(call.now);
    let guests = cluster.guests.values().filter(|guest| guest.node == node && guest.kind == kind);
    let seen =
        guests.filter(|guest| cluster.allowed(&call.who, &format!("/vms/{}", guest.vmid), &["VM.Audit"]));
    Ok(Reply::list(seen.map(|guest| live(guest, wall, &mut rng)).collect()))
}

/// What a node says of a guest from its own processes, at this moment.
fn live(guest: &Guest, wall: u64, rng: &mut fastrand::Rng) -> Value {
    let running = guest.power != Power::Stopped;
    let uptime = guest.started.map_or(0, |started| wall.saturating_sub(started));
    let memory = guest.memory();
    let used = if running { memory / 100 * rng.u64(40..80) } else { 0 };
    let cpu = if running { f64::from(rng.u32(0..3000)) / 10_000.0 } else { 0.0 };
    let mut view = json!({
        "vmid": guest.vmid, "name": guest.name(), "status": guest.power.status(), "cpus": guest.cores(),
        "cpu": if running { json!(cpu) } else { json!(0) }, "maxmem": memory, "mem": used,
        "maxdisk": guest.disk(), "disk": 0, "uptime": uptime, "netin": uptime * 4100, "netout": uptime * 2900,
        "diskread": uptime * 900, "diskwrite": uptime * 2600,
    });
    match guest.kind {
        Kind::Qemu => view["memhost"] = (used / 100 * 103).into(),
        Kind::Lxc => {
            view["type"] = "lxc".into();
            view["maxswap"] = (guest.number("swap").unwrap_or(512) << 20).into();
            view["swap"] = 0.into();
            view["disk"] = if running { guest.disk() / 3 } else { 0 }.into();
        }
    }
    if guest.kind == Kind::Qemu && guest.config.contains_key("serial0") {
        view["serial"] = 1.into();
    }
    if running {
        view["pid"] = (20_000 + guest.vmid).into();
    }
    if let Some(tags) = guest.config.get("tags") {
        view["tags"] = tags.clone();
    }
    if let Some(lock) = guest.lock {
        view["lock"] = lock.into();
    }
    if guest.is_template() {
        view["template"] = 1.into();
    }
    view
}

fn read(cluster: &mut Cluster, call: &Call, vmid: u32, rest: &[&str]) -> Outcome {
    let wall = cluster.wall(call.now);
    let mut rng = cluster.rng.fork();
    let guest = &cluster.guests[&vmid];
    match rest {
        [] => {
            Ok(index(&["config", "pending", "status", "snapshot", "firewall", "rrddata", "agent", "migrate"]))
        }
        ["status"] => Ok(index(&["current", "start", "stop", "shutdown", "reboot", "suspend", "resume"])),
        ["status", "current"] => Ok(Reply::data(current(cluster, guest, wall, &mut rng))),
        ["config"] => Ok(Reply::data(config(guest, call.flag("current"), call.get("snapshot"))?)),
        ["pending"] => Ok(Reply::list(pending(guest))),
        ["snapshot"] => Ok(Reply::list(snapshots(guest))),
        ["snapshot", _] => Ok(index(&["config", "rollback"])),
        ["snapshot", name, "config"] => Ok(Reply::data(config(guest, true, Some(name))?)),
        ["rrddata"] => Ok(Reply::data(rrd(guest, wall, &mut rng))),
        ["feature"] => Ok(Reply::data(json!({"hasFeature": 1, "nodes": names(cluster)}))),
        ["migrate"] => Ok(Reply::data(json!({
            "running": u8::from(guest.power != Power::Stopped), "local_disks": [], "local_resources": [],
            "allowed_nodes": names(cluster), "mapped-resources": [],
        }))),
        ["firewall", rest @ ..] => firewall::read_guest(guest, call, rest),
        ["interfaces"] if guest.kind == Kind::Lxc => Ok(Reply::data(container_interfaces(guest))),
        ["agent"] => Ok(index(&["get-osinfo", "get-host-name", "network-get-interfaces", "ping"])),
        ["agent", command] if guest.kind == Kind::Qemu => agent(guest, call, command),
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn names(cluster: &Cluster) -> Vec<String> {
    cluster.nodes.iter().map(|node| node.name.clone()).collect()
}

fn current(cluster: &Cluster, guest: &Guest, wall: u64, rng: &mut fastrand::Rng) -> Value {
    let mut view = live(guest, wall, rng);
    view["ha"] = match cluster.ha.get(&guest.sid()) {
        Some(state) => json!({"managed": 1, "state": state, "failback": 1}),
        None => json!({"managed": 0}),
    };
    if guest.kind == Kind::Lxc {
        return view;
    }
    view["qmpstatus"] = match guest.power {
        Power::Stopped => "stopped",
        Power::Running => "running",
        Power::Paused => "paused",
    }
    .into();
    if agent_configured(guest) {
        view["agent"] = 1.into();
    }
    if guest.power != Power::Stopped {
        let uptime = view["uptime"].as_u64().unwrap_or(0);
        view["running-machine"] = "pc-q35-10.1+pve0".into();
        view["running-qemu"] = "10.1.2".into();
        view["balloon"] = guest.memory().into();
        view["nics"] =
            json!({format!("tap{}i0", guest.vmid): {"netin": uptime * 4100, "netout": uptime * 2900}});
        view["proxmox-support"] = json!({"pbs-dirty-bitmap": true, "backup-fleecing": true});
        view["blockstat"] = json!({"scsi0": {"rd_bytes": uptime * 900, "wr_bytes": uptime * 2600,
            "rd_operations": uptime, "wr_operations": uptime * 3, "failed_rd_operations": 0}});
    }
    view
}

/// The configuration as `GET config` shows it: with what is pending, unless the current one is asked for.
fn config(guest: &Guest, current: bool, snapshot: Option<&str>) -> Result<Value, Failure> {
    let mut config = match snapshot {
        Some(name) => {
            let known = guest.snapshots.iter().find(|snapshot| snapshot.name == name);
            known.ok_or_else(|| Failure::die(format!("snapshot '{name}' does not exist")))?.config.clone()
        }
        None => guest.config.clone(),
    };
    if !current && snapshot.is_none() {
        super::effects::merge(&mut config, guest.pending.clone());
    }
    config.insert("digest".to_owned(), guest.digest().into());
    if let Some(lock) = guest.lock {
        config.insert("lock".to_owned(), lock.into());
    }
    if let Some(parent) = &guest.parent {
        config.insert("parent".to_owned(), parent.as_str().into());
    }
    Ok(config.into())
}

fn pending(guest: &Guest) -> Vec<Value> {
    let mut items = Vec::new();
    for (key, value) in &guest.config {
        items.push(match guest.pending.get(key) {
            Some(Value::Null) => json!({"key": key, "value": value, "delete": 1}),
            Some(new) => json!({"key": key, "value": value, "pending": new}),
            None => json!({"key": key, "value": value}),
        });
    }
    let added =
        guest.pending.iter().filter(|(key, value)| !value.is_null() && !guest.config.contains_key(*key));
    items.extend(added.map(|(key, value)| json!({"key": key, "pending": value})));
    items.push(json!({"key": "digest", "value": guest.digest()}));
    items
}

fn snapshots(guest: &Guest) -> Vec<Value> {
    let mut parent: Option<&str> = None;
    let mut items = Vec::new();
    for snapshot in &guest.snapshots {
        let mut item = json!({"name": snapshot.name, "description": snapshot.description,
            "snaptime": snapshot.time, "vmstate": 0});
        if let Some(parent) = parent {
            item["parent"] = parent.into();
        }
        parent = Some(&snapshot.name);
        items.push(item);
    }
    let mut current = json!({"name": "current", "description": "You are here!", "digest": guest.digest(),
        "running": u8::from(guest.power != Power::Stopped)});
    if let Some(parent) = &guest.parent {
        current["parent"] = parent.as_str().into();
    }
    items.push(current);
    items
}

fn rrd(guest: &Guest, wall: u64, rng: &mut fastrand::Rng) -> Value {
    let running = guest.power != Power::Stopped;
    let points = (0..70).map(|index| {
        let time = wall / 60 * 60 - (70 - index) * 60;
        json!({"time": time, "maxcpu": guest.cores(), "maxmem": guest.memory(), "maxdisk": guest.disk(),
            "cpu": if running { f64::from(rng.u32(0..3000)) / 10_000.0 } else { 0.0 }, "disk": 0,
            "mem": if running { guest.memory() / 2 } else { 0 }, "netin": 4100.2, "netout": 2900.1,
            "diskread": 900.5, "diskwrite": 2600.7})
    });
    points.collect()
}

fn agent_configured(guest: &Guest) -> bool {
    let agent =
        guest.config.get("agent").map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    agent.is_some_and(|agent| agent.starts_with('1') || agent.contains("enabled=1"))
}

fn address(guest: &Guest) -> String {
    format!("10.10.{}.{}", 1 + guest.vmid / 250 % 200, guest.vmid % 250)
}

fn mac(guest: &Guest) -> String {
    let [_, a, b, c] = guest.vmid.to_be_bytes();
    format!("bc:24:11:{a:02x}:{b:02x}:{c:02x}")
}

/// Whether the agent would answer, or how the call fails.
pub(super) fn agent_ready(guest: &Guest) -> Result<(), Failure> {
    if guest.power == Power::Stopped {
        return Err(Failure::die(format!("VM {} is not running", guest.vmid)));
    }
    if !agent_configured(guest) {
        return Err(Failure::die("No QEMU guest agent configured"));
    }
    if !guest.agent_answers {
        return Err(Failure::die("QEMU guest agent is not running").delayed(Delay::DeadAgent));
    }
    Ok(())
}

fn agent(guest: &Guest, call: &Call, command: &str) -> Outcome {
    let result = match command {
        "get-osinfo" => json!({"id": "debian", "name": "Debian GNU/Linux", "version": "13 (trixie)",
            "pretty-name": "Debian GNU/Linux 13 (trixie)", "version-id": "13", "machine": "x86_64",
            "kernel-release": "6.12.41+deb13-amd64", "kernel-version": "#1 SMP PREEMPT_DYNAMIC"}),
        "get-host-name" => json!({"host-name": guest.name()}),
        "network-get-interfaces" => json!([
            {"name": "lo", "hardware-address": "00:00:00:00:00:00",
             "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}]},
            {"name": "eth0", "hardware-address": mac(guest),
             "ip-addresses": [{"ip-address": address(guest), "ip-address-type": "ipv4", "prefix": 24}]},
        ]),
        "info" => json!({"version": "10.0.2", "supported_commands": []}),
        "get-time" => json!(0),
        "get-users" | "get-fsinfo" | "get-vcpus" => json!([]),
        "get-timezone" => json!({"offset": 0, "zone": "UTC"}),
        _ => return Err(Failure::not_implemented(call.method.name(), &call.path)),
    };
    agent_ready(guest)?;
    Ok(Reply::data(json!({"result": result})))
}

fn container_interfaces(guest: &Guest) -> Value {
    if guest.power == Power::Stopped {
        return Value::Null;
    }
    let (hardware, ip) = (mac(guest), address(guest));
    json!([
        {"name": "lo", "hwaddr": "00:00:00:00:00:00", "inet": "127.0.0.1/8", "inet6": "::1/128"},
        {"name": "eth0", "hwaddr": hardware, "hardware-address": hardware, "inet": format!("{ip}/24"),
         "ip-addresses": [{"ip-address": ip, "ip-address-type": "inet", "prefix": "24"}]},
    ])
}
