//! Resources as answers show them: ids in the right casing, etags, extensions, instance views.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};

use super::backrefs;
use super::estate::Estate;
use super::model::{Power, Resource};

/// From this api-version on compute bodies have an etag.
const COMPUTE_ETAG_FROM: &str = "2024-11-01";
/// Before this api-version interfaces had not all of their fields.
const INTERFACE_FIELDS_FROM: &str = "2022-05-01";

/// How a body is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style<'a> {
    /// How the group is spelled in the ids of compute resources, if not as its own name.
    pub(super) group: Option<&'a str>,
    /// Whether it is one of a list, where extensions are ids only.
    pub(super) in_list: bool,
    /// Whether the instance view is asked for.
    pub(super) instance_view: bool,
    pub(super) version: &'a str,
}

/// The body of a resource.
pub(super) fn body(estate: &Estate, key: &str, resource: &Resource, style: Style<'_>) -> Value {
    let mut body = resource.body.clone();
    body["id"] = Value::from(resource.id.as_str());
    body["name"] = Value::from(resource.name.as_str());
    body["type"] = Value::from(resource.kind.as_str());
    match resource.kind.to_ascii_lowercase().as_str() {
        "microsoft.compute/virtualmachines" => {
            let extensions = estate.below(&format!("{key}/extensions"));
            let extensions: Vec<Value> = extensions
                .iter()
                .filter_map(|child| Some((child, estate.resources.get(child)?)))
                .map(|(child, extension)| match style.in_list {
                    true => json!({ "id": extension.id }),
                    false => self::body(estate, child, extension, Style { group: None, ..style }),
                })
                .collect();
            if !extensions.is_empty() {
                body["resources"] = Value::from(extensions);
            }
            if style.instance_view {
                body["properties"]["instanceView"] = instance_view(resource);
            }
            respell_machine(&mut body, resource, style);
        }
        "microsoft.compute/disks" => respell(&mut body["id"], resource, style),
        kind if kind.starts_with("microsoft.network/") => network(&mut body, resource, style),
        _ => {}
    }
    if let Some(etag) = etag(resource, style.version) {
        body["etag"] = Value::from(etag);
    }
    body
}

/// The etag of a resource, where its provider has one in this api-version.
pub(super) fn etag(resource: &Resource, version: &str) -> Option<String> {
    match resource.kind.to_ascii_lowercase().as_str() {
        "microsoft.compute/virtualmachines" => {
            (version >= COMPUTE_ETAG_FROM).then(|| format!("\"{}\"", resource.revision))
        }
        kind if kind.starts_with("microsoft.network/") => {
            let mut hasher = DefaultHasher::new();
            (&resource.id, resource.revision).hash(&mut hasher);
            let hash = hasher.finish();
            let (high, low) = (hash >> 32, hash & 0xffff_ffff);
            Some(format!("W/\"{high:08x}-{:04x}-4000-8000-{:04x}{low:08x}\"", low >> 16, low & 0xffff))
        }
        _ => None,
    }
}

/// Compute answers spell the group as the caller did, and subscription-level lists in capitals.
fn respell(id: &mut Value, resource: &Resource, style: Style<'_>) {
    let (Some(group), Some(text)) = (style.group, id.as_str()) else { return };
    let own = format!("/resourceGroups/{}/", resource.group());
    *id = Value::from(text.replacen(&own, &format!("/resourceGroups/{group}/"), 1));
}

fn respell_machine(body: &mut Value, resource: &Resource, style: Style<'_>) {
    respell(&mut body["id"], resource, style);
    let storage = &mut body["properties"]["storageProfile"];
    if storage["osDisk"]["managedDisk"].is_object() {
        respell(&mut storage["osDisk"]["managedDisk"]["id"], resource, style);
    }
    let disks = storage["dataDisks"].as_array_mut();
    for disk in disks.into_iter().flatten().filter(|disk| disk["managedDisk"].is_object()) {
        respell(&mut disk["managedDisk"]["id"], resource, style);
    }
    let extensions = body["resources"].as_array_mut();
    extensions.into_iter().flatten().for_each(|extension| respell(&mut extension["id"], resource, style));
}

/// Parts of a network resource have ids, types and the etag of the whole.
fn network(body: &mut Value, resource: &Resource, style: Style<'_>) {
    let etag = etag(resource, style.version).unwrap_or_default();
    for (list, kind) in [
        ("ipConfigurations", "ipConfigurations"),
        ("securityRules", "securityRules"),
        ("subnets", "subnets"),
        ("virtualNetworkPeerings", "virtualNetworkPeerings"),
        ("backendAddressPools", "backendAddressPools"),
        ("routes", "routes"),
    ] {
        let parts = body["properties"].get_mut(list).and_then(Value::as_array_mut);
        for part in parts.into_iter().flatten() {
            let name = part["name"].as_str().unwrap_or_default().to_owned();
            part["id"] = Value::from(format!("{}/{kind}/{name}", resource.id));
            part["type"] = Value::from(format!("{}/{kind}", resource.kind));
            part["etag"] = Value::from(etag.as_str());
        }
    }
    let old = style.version < INTERFACE_FIELDS_FROM;
    if old && resource.is("Microsoft.Network/networkInterfaces") {
        let properties = body["properties"].as_object_mut();
        let newer = ["auxiliaryMode", "auxiliarySku", "disableTcpStateTracking"];
        if let Some(properties) = properties {
            newer.iter().for_each(|name| drop(properties.remove(*name)));
        }
    }
}

/// The run-time state of a machine.
pub(super) fn instance_view(machine: &Resource) -> Value {
    let power = machine.power.unwrap_or(Power::Running);
    let (code, text) = power.words();
    let properties = &machine.body["properties"];
    let done = |text: &str, time: &str| json!({ "code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": text, "time": time });
    let storage = &properties["storageProfile"];
    let disks =
        std::iter::once(&storage["osDisk"]).chain(storage["dataDisks"].as_array().into_iter().flatten());
    let disks: Vec<Value> = disks
        .map(|disk| {
            let status = done("Provisioning succeeded", "2025-06-01T10:02:11.1437552+00:00");
            json!({ "name": disk["name"], "statuses": [status] })
        })
        .collect();
    let provisioning = match machine.state() {
        "Succeeded" => done("Provisioning succeeded", "2025-06-01T10:02:35.0190112+00:00"),
        state => json!({
            "code": format!("ProvisioningState/{}", state.to_ascii_lowercase()), "level": "Info",
            "displayStatus": state,
        }),
    };
    let mut view = json!({
        "disks": disks,
        "hyperVGeneration": "V2",
        "statuses": [provisioning, { "code": code, "level": "Info", "displayStatus": text }],
    });
    if power.allocated() {
        view["computerName"] = properties["osProfile"]["computerName"].clone();
        view["osName"] = Value::from("ubuntu");
        view["osVersion"] = Value::from("22.04");
        let mut status = done("Ready", "2025-06-12T08:15:21+00:00");
        status["message"] = Value::from("Guest Agent is running");
        view["vmAgent"] =
            json!({ "vmAgentVersion": "2.12.0.2", "statuses": [status], "extensionHandlers": [] });
    }
    view
}

/// A machine in a list that asks for the status only.
pub(super) fn status_only(machine: &Resource, style: Style<'_>) -> Value {
    let statuses = instance_view(machine)["statuses"].clone();
    let mut body = json!({
        "name": machine.name, "id": machine.id, "type": machine.kind, "location": machine.location(),
        "properties": {
            "vmId": machine.body["properties"]["vmId"],
            "provisioningState": machine.state(),
            "instanceView": { "statuses": statuses },
        },
    });
    respell(&mut body["id"], machine, style);
    body
}

/// A resource in `/resources`, which has the envelope only.
pub(super) fn envelope(resource: &Resource) -> Value {
    let mut body = json!({
        "id": resource.id, "name": resource.name, "type": resource.kind, "location": resource.location(),
    });
    for name in ["tags", "kind", "sku", "managedBy", "identity"] {
        if let Some(value) = resource.body.get(name) {
            body[name] = value.clone();
        }
    }
    body
}

/// Ids of a machine's disks and interfaces that go with it when it is deleted.
pub(super) fn cascade(machine: &Resource) -> Vec<String> {
    let properties = &machine.body["properties"];
    let storage = &properties["storageProfile"];
    let data = storage["dataDisks"].as_array().into_iter().flatten();
    let disks = std::iter::once(&storage["osDisk"]).chain(data);
    let disks = disks.filter(|disk| disk["deleteOption"] == "Delete").map(|disk| &disk["managedDisk"]["id"]);
    let interfaces = properties["networkProfile"]["networkInterfaces"].as_array().into_iter().flatten();
    let interfaces =
        interfaces.filter(|one| one["properties"]["deleteOption"] == "Delete").map(|one| &one["id"]);
    let ids = disks.chain(interfaces).filter_map(Value::as_str);
    ids.map(|id| id.trim_start_matches('/').to_ascii_lowercase()).collect()
}

/// Whether a machine uses the disk of this key.
pub(super) fn uses_disk(machine: &Resource, key: &str) -> bool {
    backrefs::disks(machine).iter().any(|id| id.trim_start_matches('/').eq_ignore_ascii_case(key))
}
