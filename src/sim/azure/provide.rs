//! What providers add to what callers send: ids, addresses, disks that come with a machine.

use serde_json::Value;
use tokio::time::Instant;

use super::bodies;
use super::estate::Estate;
use super::model::{Power, Resource};
use super::writes::merge_patch;

/// A resource with a new body and what else it had before.
pub(super) fn made(estate: &mut Estate, id: &str, body: Value, existing: Option<Resource>) -> Resource {
    let kind: Vec<_> = id.split("/providers/").last().unwrap_or_default().split('/').collect();
    let kind: Vec<_> =
        kind.iter().enumerate().filter(|(at, _)| *at == 0 || at % 2 == 1).map(|(_, part)| *part).collect();
    match existing {
        Some(existing) => Resource { body, revision: existing.revision + 1, ..existing },
        None => Resource {
            id: id.to_owned(),
            kind: kind.join("/"),
            name: id.rsplit('/').next().unwrap_or_default().to_owned(),
            body,
            revision: 1,
            power: None,
            hidden: false,
            address: Some(format!("203.0.{}.{}", 114 + estate.rng.u8(..100), estate.rng.u8(..))),
        },
    }
}

/// Adds what a provider adds to a new resource.
pub(super) fn complete(estate: &mut Estate, resource: &mut Resource, fresh: bool, now: Instant) {
    let kind = resource.kind.to_ascii_lowercase();
    let parent_location = estate.group_location(resource.subscription(), resource.group());
    let body = &mut resource.body;
    if body.get("location").is_none() && !kind.starts_with("microsoft.authorization/") {
        body["location"] = Value::from(parent_location);
    }
    if let Some(location) = body["location"].as_str() {
        body["location"] = Value::from(location.replace(' ', "").to_ascii_lowercase());
    }
    if fresh && kind.starts_with("microsoft.network/") {
        body["properties"]["resourceGuid"] = Value::from(estate.guid());
    }
    match kind.as_str() {
        "microsoft.compute/virtualmachines" => machine(estate, resource, fresh, now),
        "microsoft.compute/disks" if fresh => {
            let size = body["properties"]["diskSizeGB"].as_u64().and_then(|size| u32::try_from(size).ok());
            let mut whole = bodies::disk("eastus", size.unwrap_or(30), false);
            merge_patch(&mut whole, body);
            *body = whole;
            body["properties"]["uniqueId"] = Value::from(estate.guid());
        }
        "microsoft.network/networkinterfaces" if fresh => {
            let number = estate.resources.len();
            let configurations = body["properties"]["ipConfigurations"].as_array_mut();
            for (at, one) in configurations.into_iter().flatten().enumerate() {
                if one["properties"].get("privateIPAddress").is_none() {
                    let address = format!("10.0.{}.{}", 1 + number / 250, 4 + (number + at) % 250);
                    one["properties"]["privateIPAddress"] = Value::from(address);
                }
                one["properties"]["provisioningState"] = Value::from("Succeeded");
            }
            body["properties"]["macAddress"] =
                Value::from(format!("00-0D-3A-1C-{:02X}-{:02X}", number / 256, number % 256));
        }
        "microsoft.storage/storageaccounts" if fresh => {
            let mut whole = bodies::storage_account(&resource.name, "eastus");
            merge_patch(&mut whole, body);
            *body = whole;
        }
        _ => {}
    }
}

/// A new machine gets an id, and disks that come with it.
fn machine(estate: &mut Estate, resource: &mut Resource, fresh: bool, now: Instant) {
    let location = resource.location().to_owned();
    if fresh {
        resource.power = Some(Power::Running);
        resource.body["properties"]["vmId"] = Value::from(estate.guid());
        resource.body["properties"]["timeCreated"] = Value::from(estate.iso(now));
    }
    let group = resource.id.split("/providers/").next().unwrap_or_default().to_owned();
    let name = resource.name.clone();
    let mut disks = Vec::new();
    let storage = &mut resource.body["properties"]["storageProfile"];
    if let Some(os) = storage.get_mut("osDisk").filter(|os| os.is_object()) {
        disks.push((os, format!("{name}_OsDisk_1")));
    }
    for (disk, known) in &mut disks {
        implicit(estate, disk, known, &group, &location, true);
    }
    let data = resource.body["properties"]["storageProfile"]["dataDisks"].as_array_mut();
    for (at, disk) in data.into_iter().flatten().enumerate() {
        implicit(estate, disk, &format!("{name}_DataDisk_{at}"), &group, &location, false);
    }
}

/// Makes the disk that a storage profile asks for, if it names none that is there.
fn implicit(estate: &mut Estate, disk: &mut Value, fallback: &str, group: &str, location: &str, os: bool) {
    if disk["managedDisk"]["id"].is_string() {
        return;
    }
    let name = disk["name"].as_str().unwrap_or(fallback).to_owned();
    let size = disk["diskSizeGB"].as_u64().and_then(|size| u32::try_from(size).ok()).unwrap_or(30);
    let id = format!("{group}/providers/Microsoft.Compute/disks/{name}");
    let key = id.trim_start_matches('/').to_ascii_lowercase();
    if !estate.resources.contains_key(&key) {
        let mut new = made(estate, &id, bodies::disk(location, size, os), None);
        new.body["properties"]["uniqueId"] = Value::from(estate.guid());
        estate.resources.insert(key, new);
    }
    disk["name"] = Value::from(name);
    disk["managedDisk"]["id"] = Value::from(id);
    disk["managedDisk"]["storageAccountType"] =
        disk["managedDisk"].get("storageAccountType").cloned().unwrap_or_else(|| Value::from("Premium_LRS"));
    disk["diskSizeGB"] = Value::from(size);
    if disk.get("deleteOption").is_none() {
        disk["deleteOption"] = Value::from("Detach");
    }
}
