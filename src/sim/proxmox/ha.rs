//! `/cluster/ha` and below: which guests the high-availability manager looks after.

use serde_json::{Value, json};

use super::answer::{Failure, Outcome, Reply};
use super::call::{Call, Method};
use super::cluster::index;
use super::sha1;
use super::state::Cluster;

pub(super) fn route(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Outcome {
    let needed = if call.method == Method::Get { "Sys.Audit" } else { "Sys.Console" };
    cluster.check(&call.who, "/", &[needed])?;
    match (call.method, rest) {
        (Method::Get, []) => Ok(index(&["groups", "resources", "rules", "status"])),
        (Method::Get, ["status"]) => Ok(index(&["current", "manager_status"])),
        (Method::Get, ["resources"]) => {
            let wanted = |sid: &str| call.get("type").is_none_or(|kind| sid.starts_with(kind));
            let known = cluster.ha.iter().filter(|(sid, _)| wanted(sid));
            Ok(Reply::list(known.map(|(sid, state)| item(cluster, sid, state)).collect()))
        }
        (Method::Post, ["resources"]) => {
            let sid = call.need("sid")?;
            let sid = if sid.contains(':') { sid.to_owned() } else { sid_of(cluster, sid)? };
            if cluster.ha.contains_key(&sid) {
                return Err(Failure::die(format!("resource ID '{sid}' already defined")));
            }
            cluster.ha.insert(sid, call.get("state").unwrap_or("started").to_owned());
            Ok(Reply::null())
        }
        (Method::Get, ["resources", sid]) => {
            let state = cluster.ha.get(*sid).ok_or_else(|| no_resource(sid))?;
            Ok(Reply::data(item(cluster, sid, state)))
        }
        (Method::Put, ["resources", sid]) => {
            let state = cluster.ha.get_mut(*sid).ok_or_else(|| no_resource(sid))?;
            if let Some(wanted) = call.get("state") {
                wanted.clone_into(state);
            }
            Ok(Reply::null())
        }
        (Method::Delete, ["resources", sid]) => {
            cluster.ha.remove(*sid).ok_or_else(|| no_resource(sid))?;
            Ok(Reply::null())
        }
        (Method::Get, ["status", "current"]) => Ok(Reply::list(current(cluster, call))),
        (Method::Get, ["groups"]) => {
            Err(Failure::die("cannot index groups: ha groups have been migrated to rules"))
        }
        (Method::Get, ["rules"]) => Ok(Reply::list(Vec::new())),
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn no_resource(sid: &str) -> Failure {
    Failure::die(format!("no such resource '{sid}'"))
}

fn sid_of(cluster: &Cluster, vmid: &str) -> Result<String, Failure> {
    let guest = vmid.parse().ok().and_then(|vmid: u32| cluster.guests.get(&vmid));
    guest.map(super::model::Guest::sid).ok_or_else(|| no_resource(vmid))
}

fn item(cluster: &Cluster, sid: &str, state: &str) -> Value {
    let digest = sha1::hex(format!("{:?}", cluster.ha).as_bytes());
    json!({"sid": sid, "type": sid.split(':').next(), "state": state, "max_restart": 1, "max_relocate": 1,
        "failback": 1, "digest": digest})
}

fn current(cluster: &Cluster, call: &Call) -> Vec<Value> {
    let time = cluster.wall(call.now) / 10 * 10;
    let first = &cluster.nodes[0].name;
    let mut items = vec![
        json!({"id": "quorum", "type": "quorum", "node": first, "status": "OK", "quorate": 1}),
        json!({"id": "master", "type": "master", "node": first, "status": format!("{first} (active)"), "timestamp": time}),
    ];
    items.extend(cluster.nodes.iter().map(|node| {
        let name = &node.name;
        json!({"id": format!("lrm:{name}"), "type": "lrm", "node": name, "status": format!("{name} (active)"),
            "timestamp": time})
    }));
    for (sid, state) in &cluster.ha {
        let guest = cluster.guests.values().find(|guest| guest.sid() == *sid);
        let Some(guest) = guest else { continue };
        let node = &cluster.nodes[guest.node].name;
        items.push(json!({"id": format!("service:{sid}"), "type": "service", "sid": sid, "node": node,
            "state": state, "request_state": state, "crm_state": state, "max_restart": 1, "max_relocate": 1,
            "failback": 1, "status": format!("{sid} ({node}, {state})")}));
    }
    items
}
