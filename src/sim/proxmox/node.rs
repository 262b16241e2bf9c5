//! `/nodes` and below: the machines themselves.

use serde_json::{Value, json};

use super::answer::{Body, Failure, Outcome, Reply};
use super::call::{Call, Method};
use super::cluster::index;
use super::effects::Effect;
use super::model::{Kind, Power};
use super::resources::node_item;
use super::state::Cluster;
use super::{console, firewall, guests, route, sha1, storage, storage_writes, tasks};

/// The version; the one of the whole API also says which console it prefers.
pub(super) fn version(api: bool) -> Reply {
    let mut view = json!({"version": "9.1.4", "release": "9.1", "repoid": "5ac30304265fbd8e"});
    if api {
        view["console"] = "html5".into();
    }
    Reply::data(view)
}

pub(super) fn route(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Outcome {
    let [name, below @ ..] = rest else {
        if call.method != Method::Get {
            return Err(Failure::not_implemented(call.method.name(), &call.path));
        }
        return Ok(Reply::list(list(cluster, call)));
    };
    let unknown = || {
        Failure::die(format!(
            "hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not known"
        ))
    };
    let node = cluster.node_index(name, call.contacted).ok_or_else(unknown)?;
    if !cluster.nodes[node].online && route::proxied_to(call.method, &call.parts()).is_some() {
        return Err(Failure::bare(595, "No route to host", Body::None));
    }
    match below {
        ["qemu", rest @ ..] => guests::route(cluster, call, node, Kind::Qemu, rest),
        ["lxc", rest @ ..] => guests::route(cluster, call, node, Kind::Lxc, rest),
        ["storage", rest @ ..] => storage::on_node(cluster, call, node, rest),
        ["tasks"] if call.method == Method::Get => tasks::of_node(cluster, call, node),
        ["tasks", upid, rest @ ..] => tasks::one(cluster, call, node, upid, rest),
        _ if call.method == Method::Get => read(cluster, call, node, below),
        _ => write(cluster, call, node, below),
    }
}

fn list(cluster: &Cluster, call: &Call) -> Vec<Value> {
    let items = (0..cluster.nodes.len()).map(|at| {
        let mut item = node_item(cluster, call, at);
        let print = sha1::stretch(cluster.nodes[at].name.as_bytes(), 32);
        let pairs: Vec<_> = print.iter().map(|byte| format!("{byte:02X}")).collect();
        item["ssl_fingerprint"] = pairs.join(":").into();
        item
    });
    items.collect()
}

fn read(cluster: &mut Cluster, call: &Call, node: usize, below: &[&str]) -> Outcome {
    let name = cluster.nodes[node].name.clone();
    let open =
        matches!(below, [] | ["version" | "subscription" | "replication" | "apt" | "disks" | "capabilities"]);
    if !open {
        let needed = if matches!(below, ["apt", "update"]) { "Sys.Modify" } else { "Sys.Audit" };
        cluster.check(&call.who, &format!("/nodes/{name}"), &[needed])?;
    }
    let wall = cluster.wall(call.now);
    match below {
        [] => Ok(index(&[
            "apt",
            "capabilities",
            "disks",
            "dns",
            "lxc",
            "network",
            "qemu",
            "replication",
            "rrddata",
            "services",
            "status",
            "storage",
            "subscription",
            "tasks",
            "time",
            "version",
            "vzdump",
        ])),
        ["version"] => Ok(version(false)),
        ["time"] => Ok(Reply::data(json!({"timezone": "Etc/UTC", "time": wall, "localtime": wall}))),
        ["dns"] => Ok(Reply::data(cluster.nodes[node].dns.clone())),
        ["subscription"] => {
            Ok(Reply::data(json!({"status": "notfound", "message": "There is no subscription key",
            "serverid": sha1::hex(name.as_bytes())[..32].to_uppercase(),
            "url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing"})))
        }
        ["replication" | "certificates"] => Ok(Reply::list(Vec::new())),
        ["apt"] => Ok(index(&["changelog", "repositories", "update", "versions"])),
        ["apt", "update"] => Ok(Reply::list(vec![json!({"Package": "pve-manager", "Version": "9.1.5",
            "OldVersion": "9.1.4", "Title": "Proxmox Virtual Environment Management Tools", "Origin": "Proxmox",
            "Priority": "optional", "Section": "admin", "Arch": "amd64", "Description": "Management tools"})])),
        ["disks"] => Ok(index(&["directory", "initgpt", "list", "lvm", "lvmthin", "smart", "zfs"])),
        ["disks", "list"] => Ok(Reply::data(disks(&name))),
        ["network"] => {
            let address = &cluster.nodes[node].address;
            Ok(Reply::list(vec![
                json!({"iface": "eno1", "type": "eth", "exists": 1, "active": 1, "autostart": 0,
                    "method": "manual", "method6": "manual", "priority": 3, "families": ["inet"]}),
                json!({"iface": "vmbr0", "type": "bridge", "active": 1, "autostart": 1, "method": "static",
                    "method6": "manual", "address": address, "netmask": "24", "cidr": format!("{address}/24"),
                    "gateway": "10.10.0.1", "bridge_ports": "eno1", "bridge_stp": "off", "bridge_fd": "0",
                    "priority": 4, "families": ["inet"]}),
            ]))
        }
        ["services"] => {
            let names =
                ["corosync", "pve-cluster", "pve-ha-crm", "pve-ha-lrm", "pvedaemon", "pveproxy", "pvestatd"];
            let items = names.map(|service| {
                json!({"service": service, "name": service, "state": "running",
                "desc": format!("{service} daemon"), "active-state": "active", "unit-state": "enabled"})
            });
            Ok(Reply::list(items.to_vec()))
        }
        ["status"] => Ok(Reply::data(status(cluster, node, wall))),
        ["rrddata"] => {
            let points = (0..70).map(|at| json!({"time": wall / 60 * 60 - (70 - at) * 60, "cpu": 0.11, "iowait": 0.002,
                "loadavg": 1.7, "maxcpu": 32, "memtotal": 137_438_953_472_u64, "memused": 76_235_669_504_u64,
                "netin": 91_000.5, "netout": 84_000.25, "roottotal": 100_931_731_456_u64, "rootused": 22_548_578_304_u64}));
            Ok(Reply::data(points.collect::<Value>()))
        }
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn disks(name: &str) -> Value {
    json!([
        {"devpath": "/dev/nvme0n1", "type": "nvme", "size": 960_197_124_096_u64, "model": "EXAMPLE_NVME_960",
         "serial": format!("SN{name}0001"), "health": "PASSED", "wearout": 97, "gpt": 1, "used": "LVM", "rpm": 0},
        {"devpath": "/dev/sda", "type": "ssd", "size": 3_840_755_982_336_u64, "model": "EXAMPLE_SSD_3840",
         "serial": format!("SN{name}0002"), "health": "PASSED", "wearout": 99, "gpt": 0, "used": "LVM", "rpm": 0},
    ])
}

fn status(cluster: &mut Cluster, node: usize, wall: u64) -> Value {
    let load = f64::from(cluster.rng.u32(500..2500)) / 10_000.0;
    let used = 76_235_669_504 + cluster.rng.u64(0..1 << 30);
    let total = 137_438_953_472_u64;
    json!({
        "cpu": load, "wait": 0.0021, "idle": 0, "uptime": cluster.nodes[node].uptime + wall - cluster.started_wall(),
        "loadavg": ["1.92", "1.71", "1.66"], "kversion": "Linux 6.17.2-1-pve #1 SMP PREEMPT_DYNAMIC PMX 6.17.2-1",
        "current-kernel": {"sysname": "Linux", "release": "6.17.2-1-pve", "machine": "x86_64",
            "version": "#1 SMP PREEMPT_DYNAMIC PMX 6.17.2-1"},
        "pveversion": "pve-manager/9.1.4/5ac30304265fbd8e", "boot-info": {"mode": "efi", "secureboot": 0},
        "ksm": {"shared": 0},
        "cpuinfo": {"model": "AMD EPYC 7313P 16-Core Processor", "cores": 16, "cpus": 32, "sockets": 1,
            "mhz": "2994.374", "user_hz": 100, "hvm": "1", "flags": "fpu vme de pse"},
        "memory": {"total": total, "used": used, "free": total - used, "available": total - used},
        "swap": {"total": 8_589_934_592_u64, "used": 0, "free": 8_589_934_592_u64},
        "rootfs": {"total": 100_931_731_456_u64, "used": 22_548_578_304_u64, "free": 78_383_153_152_u64,
            "avail": 73_209_401_344_u64},
    })
}

fn write(cluster: &mut Cluster, call: &Call, node: usize, below: &[&str]) -> Outcome {
    let name = cluster.nodes[node].name.clone();
    let path = format!("/nodes/{name}");
    match (call.method, below) {
        (Method::Post, ["vzdump"]) => storage_writes::back_up(cluster, call, node),
        (Method::Post, ["vncshell" | "termproxy"]) => {
            cluster.check(&call.who, &path, &["Sys.Console"])?;
            console::open_shell(cluster, call)
        }
        (Method::Put, ["dns"]) => {
            cluster.check(&call.who, &path, &["Sys.Modify"])?;
            super::effects::merge(&mut cluster.nodes[node].dns, firewall::settings(call));
            Ok(Reply::null())
        }
        (Method::Post, ["apt", "update"]) => {
            cluster.check(&call.who, &path, &["Sys.Modify"])?;
            let upid = cluster.start_task(node, "aptupdate", "", &call.who, Effect::Nothing, call.now);
            Ok(Reply::data(upid))
        }
        (Method::Post, ["services", service, action @ ("start" | "stop" | "restart" | "reload")]) => {
            cluster.check(&call.who, &path, &["Sys.Modify"])?;
            let task = format!("srv{action}");
            Ok(Reply::data(cluster.start_task(node, &task, service, &call.who, Effect::Nothing, call.now)))
        }
        (Method::Post, ["startall" | "stopall"]) => {
            let to = if below[0] == "startall" { Power::Running } else { Power::Stopped };
            let here = cluster.guests.values().filter(|guest| {
                guest.node == node
                    && guest.power != to
                    && !guest.is_template()
                    && guest.lock.is_none()
                    && cluster.allowed(&call.who, &format!("/vms/{}", guest.vmid), &["VM.PowerMgmt"])
            });
            let effects = here.map(|guest| Effect::Power { vmid: guest.vmid, to }).collect();
            Ok(Reply::data(cluster.start_task(node, below[0], "", &call.who, Effect::All(effects), call.now)))
        }
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}
