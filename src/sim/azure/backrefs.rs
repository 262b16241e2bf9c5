//! What resources say of those that use them: an interface names its machine, an address its
//! configuration, a group of rules its interfaces, a subnet its configurations, a disk its machine.
//!
//! All of it follows from the machines and the interfaces, so it is derived after every change; a body that
//! changes by it gets a new etag, as in ARM, although nobody wrote to it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::estate::Estate;
use super::model::{Power, Resource};

/// What is said of one resource.
#[derive(Default)]
struct Users {
    machine: Option<(String, bool)>,
    configurations: Vec<String>,
    interfaces: Vec<String>,
    allocated: bool,
}

fn key(id: &str) -> String {
    id.trim_start_matches('/').to_ascii_lowercase()
}

fn reference(id: &str) -> Value {
    json!({ "id": id })
}

fn id_of(value: &Value) -> Option<&str> {
    value["id"].as_str()
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Ids of the disks of a machine.
pub(super) fn disks(machine: &Resource) -> Vec<&str> {
    let storage = &machine.body["properties"]["storageProfile"];
    let all = std::iter::once(&storage["osDisk"]).chain(each(&storage["dataDisks"]));
    all.filter_map(|disk| id_of(&disk["managedDisk"])).collect()
}

/// Brings every back reference up to date.
pub(super) fn derive(estate: &mut Estate) {
    let mut users: BTreeMap<String, Users> = BTreeMap::new();
    let powers: BTreeMap<String, Power> =
        estate.powers().map(|(key, power)| (key.to_owned(), power)).collect();
    let mut allocated_interfaces = std::collections::BTreeSet::new();
    for (own, machine) in &estate.resources {
        let Some(power) = powers.get(own) else { continue };
        for disk in disks(machine) {
            users.entry(key(disk)).or_default().machine = Some((machine.id.clone(), power.allocated()));
        }
        for interface in each(&machine.body["properties"]["networkProfile"]["networkInterfaces"]) {
            let Some(id) = id_of(interface) else { continue };
            users.entry(key(id)).or_default().machine = Some((machine.id.clone(), power.allocated()));
            if power.allocated() {
                allocated_interfaces.insert(key(id));
            }
        }
    }
    for (own, interface) in &estate.resources {
        if !interface.is("Microsoft.Network/networkInterfaces") {
            continue;
        }
        let properties = &interface.body["properties"];
        if let Some(rules) = id_of(&properties["networkSecurityGroup"]) {
            users.entry(key(rules)).or_default().interfaces.push(interface.id.clone());
        }
        for configuration in each(&properties["ipConfigurations"]) {
            let name = configuration["name"].as_str().unwrap_or("ipconfig1");
            let id = format!("{}/ipConfigurations/{name}", interface.id);
            for used in ["publicIPAddress", "subnet"] {
                if let Some(other) = id_of(&configuration["properties"][used]) {
                    let entry = users.entry(key(other)).or_default();
                    entry.configurations.push(id.clone());
                    entry.allocated |= allocated_interfaces.contains(own);
                }
            }
        }
    }
    let none = Users::default();
    for (own, resource) in &mut estate.resources {
        let used = users.get(own).unwrap_or(&none);
        let before = resource.body["properties"].clone();
        tell(resource, own, used, &users);
        if resource.body["properties"] != before {
            resource.revision += 1;
        }
    }
}

fn tell(resource: &mut Resource, own: &str, used: &Users, users: &BTreeMap<String, Users>) {
    let machine = used.machine.as_ref().map(|(id, _)| reference(id));
    match resource.kind.to_ascii_lowercase().as_str() {
        "microsoft.compute/disks" => {
            let state = match &used.machine {
                None => "Unattached",
                Some((_, true)) => "Attached",
                Some((_, false)) => "Reserved",
            };
            match &used.machine {
                Some((id, _)) => resource.body["managedBy"] = Value::from(id.as_str()),
                None => drop(resource.body.as_object_mut().and_then(|body| body.remove("managedBy"))),
            }
            resource.body["properties"]["diskState"] = Value::from(state);
        }
        "microsoft.network/networkinterfaces" => {
            let properties = &mut resource.body["properties"];
            set(properties, "virtualMachine", machine);
        }
        "microsoft.network/publicipaddresses" => {
            let dynamic = resource.body["properties"]["publicIPAllocationMethod"] == "Dynamic";
            let address = resource.address.clone().filter(|_| !dynamic || used.allocated);
            let properties = &mut resource.body["properties"];
            set(properties, "ipAddress", address.map(Value::from));
            set(properties, "ipConfiguration", used.configurations.first().map(|id| reference(id)));
        }
        "microsoft.network/networksecuritygroups" => {
            let interfaces = used.interfaces.iter().map(|id| reference(id)).collect::<Vec<_>>();
            let interfaces = (!interfaces.is_empty()).then(|| Value::from(interfaces));
            set(&mut resource.body["properties"], "networkInterfaces", interfaces);
        }
        "microsoft.network/virtualnetworks" => {
            let subnets = resource.body["properties"]["subnets"].as_array_mut();
            for subnet in subnets.into_iter().flatten() {
                let key = format!("{own}/subnets/{}", subnet["name"].as_str().unwrap_or_default());
                let inside = users.get(&key.to_ascii_lowercase());
                let inside =
                    inside.map(|used| used.configurations.iter().map(|id| reference(id)).collect::<Vec<_>>());
                set(&mut subnet["properties"], "ipConfigurations", inside.map(Value::from));
            }
        }
        _ => {}
    }
}

fn set(object: &mut Value, name: &str, value: Option<Value>) {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(members) = object.as_object_mut() {
        match value {
            Some(value) => drop(members.insert(name.to_owned(), value)),
            None => drop(members.remove(name)),
        }
    }
}
