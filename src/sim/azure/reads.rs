//! Single resources, and the parts that live in the body of another one.

use serde_json::Value;

use super::answer::{Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::rights::Role;
use super::target::{self, Target};
use super::view::{self, Style};

/// Types that have no body of their own: parent type, and the list in its properties.
const PARTS: [(&str, &str); 5] = [
    ("microsoft.network/virtualnetworks", "subnets"),
    ("microsoft.network/virtualnetworks", "virtualNetworkPeerings"),
    ("microsoft.network/networksecuritygroups", "securityRules"),
    ("microsoft.network/loadbalancers", "backendAddressPools"),
    ("microsoft.network/routetables", "routes"),
];

/// The list that a part lives in, for a target that names one or all of them.
pub(super) fn part_list(target: &Target) -> Option<&'static str> {
    if target.rest.len() < 3 {
        return None;
    }
    let parent = format!("{}/{}", target.namespace, target.rest[0]);
    let known =
        PARTS.iter().find(|(kind, list)| *kind == parent && list.eq_ignore_ascii_case(&target.rest[2]));
    known.map(|(_, list)| *list)
}

/// Refuses what lies in a group that is not there.
pub(super) fn demand_group(estate: &Estate, call: &Call) -> Result<(), Reply> {
    match target::group_of(&call.folded) {
        Some(group) if estate.group_name(&call.folded[1], group).is_none() => {
            Err(Reply::group_not_found(&call.path[3]))
        }
        _ => Ok(()),
    }
}

/// The 404 for what a call names.
pub(super) fn not_found(call: &Call, target: &Target) -> Reply {
    let name = call.path.last().map_or("", String::as_str);
    Reply::resource_not_found(&target::spelling(&target.kind()), name, target.group().unwrap_or_default())
}

/// One resource.
pub(super) fn resource(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    let key = call.key();
    estate.demand(call, &key, Role::Reader, &format!("{}/read", target::spelling(&target.kind())))?;
    demand_group(estate, call)?;
    if let Some(list) = part_list(target) {
        return part(estate, call, target, list);
    }
    let resource = match estate.resources.get(&key) {
        Some(resource) if !resource.hidden => resource,
        _ => return Err(not_found(call, target)),
    };
    let instance_view = call.get("$expand").is_some_and(|wanted| wanted.eq_ignore_ascii_case("instanceview"));
    let compute = target.namespace == "microsoft.compute";
    let group = call.path.get(3).map(String::as_str).filter(|_| compute);
    let style = Style { group, in_list: false, instance_view, version: call.version() };
    let mut body = view::body(estate, &key, resource, style);
    let etag = view::etag(resource, call.version()).filter(|_| !instance_view);
    let graph = call.get("useresourcegraph") == Some("true");
    if graph {
        body["apiVersion"] = Value::from("2024-11-01");
    }
    let mut reply = Reply::ok(body);
    if let Some(etag) = etag {
        reply = reply.with("ETag", etag);
    }
    if target.namespace == "microsoft.network" {
        let service = estate.guid();
        reply = reply.with("x-ms-arm-service-request-id", service);
    }
    if graph {
        let at = estate.iso(call.now);
        reply = reply.with("x-ms-arg-snapshot-timestamp", at).with("x-ms-user-quota-remaining", "3999");
        reply = reply.with("x-ms-user-quota-resets-after", "00:01:00");
    }
    Ok(reply)
}

/// A machine's instance view.
pub(super) fn instance_view(estate: &Estate, call: &Call, target: &Target) -> Outcome {
    let key = call.folded[..call.folded.len() - 1].join("/");
    estate.demand(call, &key, Role::Reader, "Microsoft.Compute/virtualMachines/instanceView/read")?;
    demand_group(estate, call)?;
    match estate.resources.get(&key) {
        Some(machine) if machine.power.is_some() => Ok(Reply::ok(view::instance_view(machine))),
        _ => {
            let name = call.path.get(call.path.len().saturating_sub(2)).map_or("", String::as_str);
            let group = target.group().unwrap_or_default();
            Err(Reply::resource_not_found("Microsoft.Compute/virtualMachines", name, group))
        }
    }
}

/// A part, or the list of all of them.
pub(super) fn part(estate: &Estate, call: &Call, target: &Target, list: &str) -> Outcome {
    let depth = call.folded.len() - (target.rest.len() - 2);
    let parent = call.folded[..depth].join("/");
    estate.demand(call, &parent, Role::Reader, &format!("{}/read", target::spelling(&target.kind())))?;
    let Some(whole) = estate.resources.get(&parent) else { return Err(not_found(call, target)) };
    let style = Style { group: None, in_list: false, instance_view: false, version: call.version() };
    let body = view::body(estate, &parent, whole, style);
    let all = body["properties"][list].as_array().cloned().unwrap_or_default();
    if !target.is_resource() {
        return Ok(Reply::ok(serde_json::json!({ "value": all })));
    }
    let named =
        |part: &&Value| part["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(target.name()));
    let Some(found) = all.iter().find(named) else { return Err(not_found(call, target)) };
    let etag = found["etag"].as_str().unwrap_or_default().to_owned();
    Ok(Reply::ok(found.clone()).with("ETag", etag))
}

/// Refuses a path of a subscription that is another one's.
pub(super) fn demand_subscription(estate: &Estate, call: &Call) -> Result<(), Reply> {
    match call.parts().as_slice() {
        ["subscriptions", id, ..] if !estate.subscriptions.contains(id) => {
            let message = format!("The subscription '{id}' could not be found.");
            Err(Reply::gateway(404, "SubscriptionNotFound", message))
        }
        _ => Ok(()),
    }
}
