//! PUT, PATCH and DELETE of resources.
//!
//! Each provider has its own way of being slow: compute and network show the new properties at once and
//! become `Succeeded` later, storage hides a new account until it is there, all others are done at once.

use serde_json::{Map, Value, json};

use super::answer::{Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::model::{Effect, Family, Resource};
use super::operations::{self, Start};
use super::parts;
use super::provide::{complete, made};
use super::reads::{self, demand_group, not_found};
use super::rights::Role;
use super::target::{self, Target};
use super::view::{self, Style};

/// Members of a body that only the provider writes.
const READ_ONLY: [&str; 6] = ["id", "name", "type", "etag", "resources", "managedBy"];
/// Properties that only the provider writes: what is sent is ignored, what is there is kept.
const KEPT: [&str; 14] = [
    "vmId",
    "timeCreated",
    "resourceGuid",
    "uniqueId",
    "virtualMachine",
    "ipConfiguration",
    "networkInterfaces",
    "defaultSecurityRules",
    "diskState",
    "diskSizeBytes",
    "creationTime",
    "primaryEndpoints",
    "macAddress",
    "instanceView",
];

/// What a provider does with a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// 200 or 201 with the new properties and an operation.
    Shown(Family),
    /// 202 with an operation, and nothing to see before its end.
    Hidden(Family),
    /// Done at once.
    AtOnce,
}

pub(super) fn manner(kind: &str) -> Manner {
    match kind {
        "microsoft.compute/virtualmachines"
        | "microsoft.compute/virtualmachines/extensions"
        | "microsoft.compute/snapshots"
        | "microsoft.compute/images" => Manner::Shown(Family::Compute),
        "microsoft.compute/disks" => Manner::Shown(Family::Disk),
        "microsoft.storage/storageaccounts" => Manner::Hidden(Family::Storage),
        kind if kind.starts_with("microsoft.network/") => Manner::Shown(Family::Network),
        _ => Manner::AtOnce,
    }
}

/// Refuses a write whose conditions are not met.
pub(super) fn demand_conditions(call: &Call, resource: Option<&Resource>) -> Result<(), Reply> {
    let etag = resource.and_then(|resource| view::etag(resource, "9999"));
    let opaque = |etag: &str| etag.trim_start_matches("W/").to_owned();
    let matches = |wanted: &str, there: Option<&Resource>| match wanted {
        "*" => there.is_some(),
        wanted => etag.as_deref().is_some_and(|etag| opaque(etag) == opaque(wanted)),
    };
    let met = call.if_match.as_deref().is_none_or(|wanted| matches(wanted, resource))
        && call.if_none_match.as_deref().is_none_or(|unwanted| !matches(unwanted, resource));
    if met { Ok(()) } else { Err(Reply::precondition_failed()) }
}

/// Refuses a write of what is already being written.
fn demand_rest(target: &Target, resource: &Resource) -> Result<(), Reply> {
    match resource.in_flux() {
        false => Ok(()),
        true if target.namespace == "microsoft.network" => Err(super::refusal::locked_network()),
        true => Err(Reply::conflict()),
    }
}

/// Refuses to delete or change what is locked.
pub(super) fn demand_unlocked(estate: &Estate, key: &str, delete: bool) -> Result<(), Reply> {
    let locks = estate.resources.iter().filter(|(_, lock)| lock.is("Microsoft.Authorization/locks"));
    for (own, lock) in locks {
        let scope = own.split("/providers/microsoft.authorization/").next().unwrap_or_default();
        let level = &lock.body["properties"]["level"];
        if super::rights::covers(scope, key) && (level == "ReadOnly" || delete) {
            let message = format!(
                "The scope '/{key}' cannot perform the operation because following scope(s) are locked: '/{scope}'. \
                 Please remove the lock and try again."
            );
            return Err(Reply::gateway(409, "ScopeLocked", message));
        }
    }
    Ok(())
}

fn demand_write(estate: &Estate, call: &Call, target: &Target, word: &str) -> Result<(), Reply> {
    let action = format!("{}/{word}", target::spelling(&target.kind()));
    estate.demand(call, &call.key(), Role::Contributor, &action)?;
    demand_group(estate, call)
}

/// PUT of a resource.
pub(super) fn put(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    demand_write(estate, call, target, "write")?;
    if !call.body.is_object() {
        return Err(Reply::bad_request(
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized.",
        ));
    }
    if let Some(list) = reads::part_list(target) {
        return parts::put(estate, call, target, list);
    }
    let key = call.key();
    let existing = estate.resources.get(&key).cloned();
    demand_conditions(call, existing.as_ref())?;
    demand_unlocked(estate, &key, false)?;
    if let Some(existing) = &existing {
        demand_rest(target, existing)?;
    }
    let group =
        target.group().and_then(|group| estate.group_name(target.subscription(), group)).map(str::to_owned);
    let id = target::canonical_id(&call.path, group.as_deref());
    let fresh = existing.is_none();
    let body = merged(&call.body, existing.as_ref().map(|known| &known.body));
    let mut resource = made(estate, &id, body, existing);
    complete(estate, &mut resource, fresh, call.now);
    finish(estate, call, target, key, resource, fresh)
}

/// What is sent, with what only the provider writes taken from what is there.
fn merged(sent: &Value, existing: Option<&Value>) -> Value {
    let mut body = sent.clone();
    let Some(members) = body.as_object_mut() else { return body };
    READ_ONLY.iter().for_each(|name| drop(members.remove(*name)));
    let properties = members.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    if let Some(properties) = properties.as_object_mut() {
        for name in KEPT {
            properties.remove(name);
            if let Some(value) = existing.and_then(|existing| existing["properties"].get(name)) {
                properties.insert(name.to_owned(), value.clone());
            }
        }
    }
    body
}

/// Stores a written resource as its provider does, and answers.
fn finish(
    estate: &mut Estate,
    call: &Call,
    target: &Target,
    key: String,
    resource: Resource,
    fresh: bool,
) -> Outcome {
    let kind = target.kind();
    let (status, word) = if fresh { (201, "Creating") } else { (200, "Updating") };
    let location = resource.location().to_owned();
    let mut resource = resource;
    let (family, hidden) = match manner(&kind) {
        Manner::Shown(family) => (family, false),
        Manner::Hidden(family) if fresh => (family, true),
        Manner::Hidden(_) | Manner::AtOnce => {
            resource.set_state("Succeeded");
            estate.put(key.clone(), resource);
            return Ok(shown(estate, call, &key, status));
        }
    };
    resource.set_state(if family == Family::Network { "Updating" } else { word });
    resource.hidden = hidden;
    estate.put(key.clone(), resource);
    if kind == "microsoft.compute/virtualmachines/extensions" {
        let machine = call.folded[..call.folded.len() - 2].join("/");
        estate.edit(&machine, |machine| machine.set_state("Updating"));
    }
    let effect = if hidden { Effect::Appear(key.clone()) } else { Effect::Finish(key.clone()) };
    let start = Start { family, location, effect, shows: Some(key.clone()), output: None };
    let addresses = operations::start(estate, call, start);
    let reply = match hidden {
        true => Reply::empty(202),
        false => shown(estate, call, &key, status),
    };
    let both = family == Family::Disk;
    Ok(operations::announce(estate, reply, &addresses, !hidden, hidden || both))
}

/// The answer to a write that shows the resource.
pub(super) fn shown(estate: &Estate, call: &Call, key: &str, status: u16) -> Reply {
    let Some(resource) = estate.resources.get(key) else { return Reply::empty(204) };
    let group =
        call.path.get(3).map(String::as_str).filter(|_| resource.kind.starts_with("Microsoft.Compute/"));
    let style = Style { group, in_list: false, instance_view: false, version: call.version() };
    Reply::json(status, view::body(estate, key, resource, style))
}

/// PATCH of a resource: tags and properties are merged.
pub(super) fn patch(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    demand_write(estate, call, target, "write")?;
    let key = call.key();
    let Some(existing) = estate.resources.get(&key).filter(|known| !known.hidden).cloned() else {
        return Err(not_found(call, target));
    };
    demand_conditions(call, Some(&existing))?;
    demand_unlocked(estate, &key, false)?;
    demand_rest(target, &existing)?;
    let mut sent = call.body.clone();
    if let Some(members) = sent.as_object_mut() {
        READ_ONLY.iter().for_each(|name| drop(members.remove(*name)));
    }
    let mut resource = existing;
    merge_patch(&mut resource.body, &sent);
    resource.revision += 1;
    // Network resources take patches of tags only, and those are done at once.
    match manner(&target.kind()) {
        Manner::Shown(family) if family != Family::Network => {
            finish(estate, call, target, key, resource, false)
        }
        _ => {
            resource.set_state("Succeeded");
            estate.put(key.clone(), resource);
            Ok(shown(estate, call, &key, 200))
        }
    }
}

/// JSON merge patch (RFC 7396).
pub(super) fn merge_patch(into: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (name, value) in changes {
        match (value, into.as_object_mut()) {
            (Value::Null, Some(members)) => drop(members.remove(name)),
            _ => merge_patch(&mut into[name], value),
        }
    }
}

/// DELETE of a resource.
pub(super) fn delete(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    demand_write(estate, call, target, "delete")?;
    if let Some(list) = reads::part_list(target) {
        return parts::delete(estate, call, target, list);
    }
    let key = call.key();
    let Some(existing) = estate.resources.get(&key).filter(|known| !known.hidden).cloned() else {
        return Ok(Reply::empty(204));
    };
    demand_conditions(call, Some(&existing))?;
    demand_unlocked(estate, &key, true)?;
    demand_unused(estate, &key, &existing)?;
    let location = existing.location().to_owned();
    let family = match manner(&target.kind()) {
        Manner::Shown(family) => family,
        Manner::Hidden(_) | Manner::AtOnce => {
            estate.resources.remove(&key);
            super::backrefs::derive(estate);
            return Ok(Reply { status: 200, fields: Vec::new(), body: super::answer::Body::None });
        }
    };
    let mut keys = vec![key.clone()];
    if existing.power.is_some() {
        keys.extend(view::cascade(&existing));
    }
    estate.edit(&key, |resource| resource.set_state("Deleting"));
    let start = Start { family, location, effect: Effect::Delete(keys), shows: None, output: None };
    let addresses = operations::start(estate, call, start);
    Ok(operations::announce(estate, Reply::empty(202), &addresses, true, true))
}

/// Refuses to delete what something else needs.
fn demand_unused(estate: &Estate, key: &str, resource: &Resource) -> Result<(), Reply> {
    let properties = &resource.body["properties"];
    let refused = match resource.kind.to_ascii_lowercase().as_str() {
        "microsoft.compute/disks" => estate
            .resources
            .values()
            .find(|machine| machine.power.is_some() && view::uses_disk(machine, key))
            .map(|machine| {
                (
                    409,
                    "OperationNotAllowed",
                    format!("Disk {} is attached to VM {}.", resource.name, machine.id),
                )
            }),
        "microsoft.network/networkinterfaces" if properties.get("virtualMachine").is_some() => Some((
            400,
            "NicInUse",
            format!(
                "Network Interface {} is used by existing resource {}.",
                resource.id, properties["virtualMachine"]["id"]
            ),
        )),
        "microsoft.network/publicipaddresses" if properties.get("ipConfiguration").is_some() => Some((
            400,
            "PublicIPAddressCannotBeDeleted",
            format!("Public IP address {} can not be deleted since it is still allocated.", resource.id),
        )),
        "microsoft.network/networksecuritygroups" if properties.get("networkInterfaces").is_some() => Some((
            400,
            "InUseNetworkSecurityGroupCannotBeDeleted",
            format!("Network security group {} cannot be deleted because it is in use.", resource.id),
        )),
        _ => None,
    };
    refused.map_or(Ok(()), |(status, code, message)| {
        Err(Reply::json(status, json!({ "error": { "code": code, "message": message, "details": [] } })))
    })
}
