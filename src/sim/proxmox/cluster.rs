//! `/cluster` and below, but for high availability and the firewall.

use serde_json::{Value, json};

use super::answer::{Failure, Outcome, Reply};
use super::call::{Call, Method, vmid};
use super::state::Cluster;
use super::{firewall, ha, resources, tasks};

/// A directory index.
pub(super) fn index(names: &[&str]) -> Reply {
    Reply::list(names.iter().map(|name| json!({"name": name})).collect())
}

pub(super) fn route(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Outcome {
    if let ["ha", rest @ ..] = rest {
        return ha::route(cluster, call, rest);
    }
    if let ["firewall", rest @ ..] = rest {
        return firewall::of_cluster(cluster, call, rest);
    }
    let needs_audit =
        matches!(rest, ["status" | "backup" | "config"] | ["backup-info" | "config" | "backup", _]);
    if needs_audit {
        cluster.check(&call.who, "/", &["Sys.Audit"])?;
    }
    match (call.method, rest) {
        (Method::Get, []) => Ok(index(&[
            "acme",
            "backup",
            "backup-info",
            "ceph",
            "config",
            "firewall",
            "ha",
            "jobs",
            "log",
            "mapping",
            "metrics",
            "nextid",
            "notifications",
            "options",
            "replication",
            "resources",
            "sdn",
            "status",
            "tasks",
        ])),
        (Method::Get, ["status"]) => Ok(Reply::list_after_first(status(cluster, call))),
        (Method::Get, ["resources"]) => resources::list(cluster, call),
        (Method::Get, ["tasks"]) => tasks::of_cluster(cluster, call),
        (Method::Get, ["nextid"]) => next_id(cluster, call),
        (Method::Get, ["log"]) => Ok(Reply::data(log(cluster, call))),
        (Method::Get, ["options"]) => Ok(Reply::data(options(cluster, call))),
        (Method::Put, ["options"]) => {
            cluster.check(&call.who, "/", &["Sys.Modify"])?;
            super::effects::merge(&mut cluster.options, firewall::settings(call));
            Ok(Reply::null())
        }
        (Method::Get, ["backup-info", "not-backed-up"] | ["replication"]) => Ok(Reply::list(Vec::new())),
        (Method::Get, ["backup-info"]) => Ok(index(&["not-backed-up"])),
        (Method::Get, ["sdn" | "mapping" | "jobs" | "metrics" | "ceph"]) => Ok(index(&[])),
        (Method::Get, ["sdn", "zones" | "vnets"] | ["mapping", "pci" | "usb"] | ["jobs", "realm-sync"]) => {
            Ok(Reply::list(Vec::new()))
        }
        (Method::Get, ["backup"]) => {
            Ok(Reply::list(vec![json!({"id": "backup-1a2b3c4d-5e6f", "type": "vzdump",
            "schedule": "01:00", "storage": "nfs-iso", "mode": "snapshot", "enabled": 1, "all": 1,
            "compress": "zstd", "prune-backups": {"keep-last": "2"}})]))
        }
        (Method::Get, ["config"]) => Ok(index(&["apiversion", "join", "nodes", "qdevice", "totem"])),
        (Method::Get, ["config", "qdevice"]) => Ok(Reply::data(json!({}))),
        (Method::Get, ["config", "nodes"]) => {
            let nodes = cluster.nodes.iter().enumerate();
            let items = nodes.map(|(at, node)| {
                json!({"name": node.name, "node": node.name,
                "nodeid": (at + 1).to_string(), "ring0_addr": node.address, "quorum_votes": "1"})
            });
            Ok(Reply::list(items.collect()))
        }
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

/// Who is in the cluster, which itself comes first; `local` is the node that was asked.
fn status(cluster: &Cluster, call: &Call) -> Vec<Value> {
    let count = cluster.nodes.len();
    let quorate = u8::from(cluster.nodes.iter().filter(|node| node.online).count() * 2 > count);
    let mut items = vec![json!({"type": "cluster", "id": "cluster", "name": "lab", "nodes": count,
        "version": 3, "quorate": quorate})];
    items.extend(cluster.nodes.iter().enumerate().map(|(at, node)| {
        json!({"type": "node", "id": format!("node/{}", node.name), "name": node.name, "nodeid": at + 1,
            "ip": node.address, "local": u8::from(at == call.contacted), "online": u8::from(node.online), "level": ""})
    }));
    items
}

fn next_id(cluster: &Cluster, call: &Call) -> Outcome {
    if let Some(text) = call.get("vmid") {
        let wanted = vmid("vmid", text)?;
        if cluster.guests.contains_key(&wanted) {
            return Err(Failure::parameter("vmid", &format!("VM {wanted} already exists")));
        }
        return Ok(Reply::data(wanted.to_string()));
    }
    let free = (100..).find(|id| !cluster.guests.contains_key(id));
    // A string, as everything that Perl has read from text.
    Ok(Reply::data(free.expect("guests do not use up all numbers").to_string()))
}

fn log(cluster: &Cluster, call: &Call) -> Value {
    let all = cluster.allowed(&call.who, "/", &["Sys.Syslog"]);
    let name = call.who.name();
    let limit = call.get("max").and_then(|text| text.parse().ok()).unwrap_or(50);
    cluster.log.iter().filter(|entry| all || entry["user"] == name.as_str()).take(limit).cloned().collect()
}

fn options(cluster: &Cluster, call: &Call) -> Value {
    let mut tags: Vec<String> = Vec::new();
    for guest in cluster.guests.values() {
        let Some(text) = guest.config.get("tags").and_then(Value::as_str) else { continue };
        if cluster.allowed(&call.who, &format!("/vms/{}", guest.vmid), &["VM.Audit"]) {
            tags.extend(text.split(';').map(str::to_owned));
        }
    }
    tags.sort();
    tags.dedup();
    let mut options = super::model::Object::new();
    if cluster.allowed(&call.who, "/", &["Sys.Audit"]) {
        options = cluster.options.clone();
    }
    options.insert("allowed-tags".to_owned(), tags.into());
    options.into()
}
