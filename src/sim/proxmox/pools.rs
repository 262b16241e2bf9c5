//! `/pools`: groups of guests and storages, which rights can be given on.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::answer::{Failure, Outcome, Reply};
use super::call::{Call, Method, vmid};
use super::model::Pool;
use super::resources::guest_item;
use super::state::Cluster;

pub(super) fn route(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Outcome {
    // Since PVE 8 pools are addressed by parameter; the old paths still work.
    let named = rest.first().copied().or_else(|| call.get("poolid")).map(str::to_owned);
    match (call.method, rest, named) {
        (Method::Get, [], None) => Ok(Reply::list(list(cluster, call))),
        (Method::Get, _, Some(name)) if rest.len() <= 1 => {
            cluster.check(&call.who, &format!("/pool/{name}"), &["Pool.Audit"])?;
            let mut pool = members(cluster, call, &name)?;
            if rest.is_empty() {
                pool["poolid"] = name.into();
                return Ok(Reply::list(vec![pool]));
            }
            Ok(Reply::data(pool))
        }
        (Method::Post, [], Some(name)) => {
            cluster.check(&call.who, &format!("/pool/{name}"), &["Pool.Allocate"])?;
            if cluster.pools.contains_key(&name) {
                return Err(Failure::die(format!("create pool failed: pool '{name}' already exists")));
            }
            let comment = call.get("comment").map(str::to_owned);
            cluster.pools.insert(name.clone(), Pool { name, comment, storages: BTreeSet::new() });
            Ok(Reply::null())
        }
        (Method::Put, _, Some(name)) => {
            cluster.check(&call.who, &format!("/pool/{name}"), &["Pool.Allocate"])?;
            change(cluster, call, &name)
        }
        (Method::Delete, _, Some(name)) => {
            cluster.check(&call.who, &format!("/pool/{name}"), &["Pool.Allocate"])?;
            if cluster.guests.values().any(|guest| guest.pool.as_deref() == Some(&name)) {
                return Err(Failure::die(format!("delete pool failed: pool '{name}' is not empty")));
            }
            cluster.pools.remove(&name).ok_or_else(|| no_pool(&name))?;
            Ok(Reply::null())
        }
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn no_pool(name: &str) -> Failure {
    Failure::die(format!("pool '{name}' does not exist"))
}

fn list(cluster: &Cluster, call: &Call) -> Vec<Value> {
    let pools = cluster.pools.values();
    let seen =
        pools.filter(|pool| cluster.allowed(&call.who, &format!("/pool/{}", pool.name), &["Pool.Audit"]));
    let items = seen.map(|pool| match &pool.comment {
        Some(comment) => json!({"poolid": pool.name, "comment": comment}),
        None => json!({"poolid": pool.name}),
    });
    items.collect()
}

fn members(cluster: &mut Cluster, call: &Call, name: &str) -> Result<Value, Failure> {
    let pool = cluster.pools.get(name).ok_or_else(|| no_pool(name))?;
    let guests = cluster.guests.values().filter(|guest| guest.pool.as_deref() == Some(name));
    let mut members: Vec<_> = guests.map(|guest| guest_item(cluster, guest, call)).collect();
    for storage in &pool.storages {
        members.extend(cluster.nodes.iter().map(|node| {
            json!({"id": format!("storage/{}/{storage}", node.name), "storage": storage, "node": node.name,
                "type": "storage", "status": "available"})
        }));
    }
    let mut view = json!({"members": members});
    if let Some(comment) = &pool.comment {
        view["comment"] = comment.as_str().into();
    }
    // The order of members is random too, but they are not the list that the reply shuffles.
    if let Some(members) = view["members"].as_array_mut() {
        cluster.rng.shuffle(members);
    }
    Ok(view)
}

fn change(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    let remove = call.flag("delete");
    let numbers = call.get("vms").unwrap_or_default().split(',').filter(|text| !text.is_empty());
    let vmids = numbers.map(|text| vmid("vms", text)).collect::<Result<Vec<_>, _>>()?;
    let pool = cluster.pools.get_mut(name).ok_or_else(|| no_pool(name))?;
    if let Some(comment) = call.get("comment") {
        pool.comment = Some(comment.to_owned());
    }
    for storage in call.get("storage").unwrap_or_default().split(',').filter(|text| !text.is_empty()) {
        if remove {
            pool.storages.remove(storage);
        } else {
            pool.storages.insert(storage.to_owned());
        }
    }
    for id in vmids {
        let missing = || Failure::die(format!("VM {id} does not exist"));
        let guest = cluster.guests.get_mut(&id).ok_or_else(missing)?;
        match (&guest.pool, remove) {
            (Some(other), false) if other != name && !call.flag("allow-move") => {
                return Err(Failure::die(format!(
                    "VM {id} belongs already to pool '{other}' and 'allow-move' is not set"
                )));
            }
            (_, false) => guest.pool = Some(name.to_owned()),
            (_, true) => guest.pool = None,
        }
    }
    Ok(Reply::null())
}
