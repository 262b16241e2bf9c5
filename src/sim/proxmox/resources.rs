//! `/cluster/resources` and what shares its data: the lists that lag behind the guests.
//!
//! What exists, where, and its lock, tags and pool are current; name, state and numbers are as old as
//! the nodes' last report.

use serde_json::{Value, json};

use super::answer::{Failure, Outcome, Reply};
use super::call::Call;
use super::model::{Guest, Power, Storage};
use super::state::Cluster;

/// `GET /cluster/resources`.
pub(super) fn list(cluster: &Cluster, call: &Call) -> Outcome {
    let wanted = call.get("type");
    if let Some(kind) = wanted.filter(|kind| !matches!(*kind, "vm" | "node" | "storage" | "sdn")) {
        let text =
            format!("value '{kind}' does not have a value in the enumeration 'vm, storage, node, sdn'");
        return Err(Failure::parameter("type", &text));
    }
    let show = |kind: &str| wanted.is_none_or(|wanted| wanted == kind);
    let mut items = Vec::new();
    if wanted.is_none() {
        let pools = cluster.pools.values();
        let seen =
            pools.filter(|pool| cluster.allowed(&call.who, &format!("/pool/{}", pool.name), &["Pool.Audit"]));
        items.extend(
            seen.map(|pool| json!({"id": format!("/pool/{}", pool.name), "pool": pool.name, "type": "pool"})),
        );
    }
    if show("vm") {
        let guests = cluster.guests.values();
        let seen =
            guests.filter(|guest| cluster.allowed(&call.who, &format!("/vms/{}", guest.vmid), &["VM.Audit"]));
        items.extend(seen.map(|guest| {
            let mut item = guest_item(cluster, guest, call);
            if let Some(pool) = &guest.pool {
                item["pool"] = pool.as_str().into();
            }
            if let Some(tags) = guest.config.get("tags") {
                item["tags"] = tags.clone();
            }
            if let Some(lock) = guest.lock {
                item["lock"] = lock.into();
            }
            if let Some(state) = cluster.ha.get(&guest.sid()) {
                item["hastate"] = state.as_str().into();
            }
            item
        }));
    }
    if show("node") {
        items.extend((0..cluster.nodes.len()).map(|node| {
            let mut item = node_item(cluster, call, node);
            item["cgroup-mode"] = 2.into();
            item["hastate"] = "online".into();
            item
        }));
    }
    if show("storage") {
        items.extend(storage_items(cluster, call));
    }
    if show("sdn") {
        let zones = cluster
            .nodes
            .iter()
            .filter(|_| cluster.allowed(&call.who, "/sdn/zones/localnetwork", &["SDN.Audit"]));
        items.extend(zones.map(|node| {
            json!({"id": format!("sdn/{}/localnetwork", node.name), "node": node.name, "type": "sdn",
                "sdn": "localnetwork", "status": "ok"})
        }));
    }
    Ok(Reply::list(items))
}

/// A number in 0..1000 that stays the same for one thing through one round of reports.
fn noise(cluster: &Cluster, call: &Call, salt: u64) -> u64 {
    let round = cluster.wall(call.now) / cluster.resources_lag.as_secs().max(1);
    fastrand::Rng::with_seed(round.wrapping_mul(1_000_003).wrapping_add(salt)).u64(0..1000)
}

/// A guest as the lagging lists show it, without what they take from elsewhere.
pub(super) fn guest_item(cluster: &Cluster, guest: &Guest, call: &Call) -> Value {
    let node = &cluster.nodes[guest.node].name;
    let mut item = json!({"id": format!("{}/{}", guest.kind.name(), guest.vmid), "vmid": guest.vmid,
        "node": node, "type": guest.kind.name(), "template": u8::from(guest.is_template())});
    let Some(known) = &guest.published else {
        item["status"] = "unknown".into();
        return item;
    };
    let running = known.power != Power::Stopped;
    let step = cluster.resources_lag.as_secs().max(1);
    let heard = cluster.wall(call.now) / step * step;
    let uptime = known.started.map_or(0, |started| heard.saturating_sub(started));
    let used = known.memory / 1000 * (400 + noise(cluster, call, guest.vmid.into()) / 4);
    let cpu = noise(cluster, call, u64::from(guest.vmid) << 32) as f64 / 4000.0;
    let memory = if running { used } else { 0 };
    let fields = [
        ("name", json!(known.name)),
        ("status", json!(known.power.status())),
        ("maxcpu", json!(known.cores)),
        ("maxmem", json!(known.memory)),
        ("maxdisk", json!(known.disk)),
        ("cpu", if running { json!(cpu) } else { json!(0) }),
        ("mem", json!(memory)),
        ("memhost", json!(memory / 100 * 103)),
        ("disk", json!(0)),
        ("uptime", json!(uptime)),
        ("netin", json!(uptime * 4100)),
        ("netout", json!(uptime * 2900)),
        ("diskread", json!(uptime * 900)),
        ("diskwrite", json!(uptime * 2600)),
    ];
    for (key, value) in fields {
        item[key] = value;
    }
    item
}

/// A node; its numbers only for those with the privilege.
pub(super) fn node_item(cluster: &Cluster, call: &Call, at: usize) -> Value {
    let node = &cluster.nodes[at];
    let name = &node.name;
    let status = if node.online { "online" } else { "offline" };
    let mut item =
        json!({"id": format!("node/{name}"), "node": name, "type": "node", "status": status, "level": ""});
    if node.online && cluster.allowed(&call.who, &format!("/nodes/{name}"), &["Sys.Audit"]) {
        let up = node.uptime + cluster.wall(call.now) - cluster.started_wall();
        let load = noise(cluster, call, 7 + at as u64);
        item["uptime"] = up.into();
        item["cpu"] = (load as f64 / 4000.0).into();
        item["mem"] = (55_834_574_848 + load * 1_000_000).into();
        item["disk"] = 22_548_578_304_u64.into();
        item["maxcpu"] = 32.into();
        item["maxmem"] = 137_438_953_472_u64.into();
        item["maxdisk"] = 100_931_731_456_u64.into();
    }
    item
}

fn storage_items(cluster: &Cluster, call: &Call) -> Vec<Value> {
    let seen = cluster.storages.values().filter(|storage| sees_storage(cluster, call, &storage.name));
    let mut items = Vec::new();
    for storage in seen {
        for (at, node) in cluster.nodes.iter().enumerate() {
            items.push(
                json!({"id": format!("storage/{}/{}", node.name, storage.name), "storage": storage.name,
                "node": node.name, "type": "storage", "plugintype": storage.kind, "status": "available",
                "shared": u8::from(storage.shared), "content": storage.content, "maxdisk": storage.total,
                "disk": used(cluster, storage, at)}),
            );
        }
    }
    items
}

/// Whether the caller may see a storage in lists.
pub(super) fn sees_storage(cluster: &Cluster, call: &Call, storage: &str) -> bool {
    let any_of = ["Datastore.Audit", "Datastore.AllocateSpace"];
    cluster.allowed(&call.who, &format!("/storage/{storage}"), &any_of)
}

/// Bytes in use on a storage as seen from a node.
pub(super) fn used(cluster: &Cluster, storage: &Storage, node: usize) -> u64 {
    let place = cluster.volume_place(&storage.name, node);
    let volumes = cluster.volumes.get(&place).into_iter().flatten();
    (storage.base_used + volumes.map(|(_, volume)| volume.size).sum::<u64>()).min(storage.total)
}
