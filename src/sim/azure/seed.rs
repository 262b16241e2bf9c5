//! The subscription as it is at the start: two groups, and so many machines with all that they need.
//!
//! The first seven machines are always the same; further ones lie in the two groups in turn.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::estate::Estate;
use super::model::{Power, Resource};
use super::rights::{Assignment, Role};
use super::{
    ADMIN_CLIENT_ID, ADMIN_CLIENT_SECRET, ADMIN_OBJECT_ID, DEV_CLIENT_ID, DEV_CLIENT_SECRET, DEV_OBJECT_ID,
    Principal, SECOND_SUBSCRIPTION, SUBSCRIPTION, SimConfig, TENANT, backrefs, bodies,
};

/// The groups and their locations.
const GROUPS: [(&str, &str); 2] = [("rg-alpha", "eastus"), ("rg-beta", "westeurope")];

/// Name, index of the group, size, power.
const MACHINES: [(&str, usize, &str, Power); 7] = [
    ("web-01", 0, "Standard_D2s_v5", Power::Running),
    ("web-02", 0, "Standard_D2s_v5", Power::Running),
    ("web-03", 0, "Standard_D2s_v5", Power::Running),
    ("db-01", 0, "Standard_E4s_v5", Power::Running),
    ("build-01", 0, "Standard_D2s_v5", Power::Deallocated),
    ("api-01", 1, "Standard_D2s_v5", Power::Running),
    ("api-02", 1, "Standard_D2s_v5", Power::Stopped),
];

pub(super) fn estate(config: &SimConfig, now: Instant) -> Estate {
    let wall = crate::clock::wall().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut estate = Estate::empty(config, now, wall);
    people(&mut estate);
    for (name, location) in GROUPS {
        let body =
            json!({ "location": location, "tags": {}, "properties": { "provisioningState": "Succeeded" } });
        add(&mut estate, &group_id(name), "Microsoft.Resources/resourceGroups", body);
        let network = format!("{}/providers/Microsoft.Network/virtualNetworks/vnet1", group_id(name));
        add(&mut estate, &network, "Microsoft.Network/virtualNetworks", bodies::network(location));
    }
    let account =
        format!("{}/providers/Microsoft.Storage/storageAccounts/examplestate", group_id("rg-alpha"));
    let body = bodies::storage_account("examplestate", "eastus");
    add(&mut estate, &account, "Microsoft.Storage/storageAccounts", body);
    for number in 0..config.vms {
        match MACHINES.get(number) {
            Some((name, group, size, power)) => machine(&mut estate, number, name, *group, size, *power),
            None => {
                let name = format!("vm-{:02}", number + 1);
                machine(&mut estate, number, &name, number % 2, "Standard_D2s_v5", Power::Running);
            }
        }
    }
    if config.second_subscription {
        second(&mut estate);
    }
    backrefs::derive(&mut estate);
    estate
}

/// Another subscription of the same owner.
fn second(estate: &mut Estate) {
    let subscription = format!("subscriptions/{SECOND_SUBSCRIPTION}");
    let group = format!("/{subscription}/resourceGroups/rg-gamma");
    let body =
        json!({ "location": "eastus", "tags": {}, "properties": { "provisioningState": "Succeeded" } });
    add(estate, &group, "Microsoft.Resources/resourceGroups", body);
    let network = format!("{group}/providers/Microsoft.Network/virtualNetworks/vnet1");
    add(estate, &network, "Microsoft.Network/virtualNetworks", bodies::network("eastus"));
    let (name, object) = (estate.guid(), ADMIN_OBJECT_ID.to_owned());
    estate.assignments.push(Assignment { name, scope: subscription, object, role: Role::Owner });
}

fn people(estate: &mut Estate) {
    let all = [
        ("admin", ADMIN_CLIENT_ID, ADMIN_CLIENT_SECRET, ADMIN_OBJECT_ID),
        ("dev", DEV_CLIENT_ID, DEV_CLIENT_SECRET, DEV_OBJECT_ID),
    ];
    for (name, client_id, secret, object_id) in all {
        estate.principals.push(Principal {
            name: name.to_owned(),
            client_id: client_id.to_owned(),
            secret: secret.to_owned(),
            object_id: object_id.to_owned(),
        });
    }
    let subscription = format!("subscriptions/{SUBSCRIPTION}");
    let grants = [
        (subscription.clone(), ADMIN_OBJECT_ID, Role::Owner),
        (format!("{subscription}/resourcegroups/rg-beta"), DEV_OBJECT_ID, Role::Reader),
    ];
    for (scope, object, role) in grants {
        let name = estate.guid();
        estate.assignments.push(Assignment { name, scope, object: object.to_owned(), role });
    }
}

fn group_id(name: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}")
}

fn add(estate: &mut Estate, id: &str, kind: &str, body: Value) -> String {
    let key = id.trim_start_matches('/').to_ascii_lowercase();
    let mut resource = Resource {
        id: id.to_owned(),
        kind: kind.to_owned(),
        name: id.rsplit('/').next().unwrap_or_default().to_owned(),
        body,
        revision: 7,
        power: None,
        hidden: false,
        address: None,
    };
    if kind.starts_with("Microsoft.Network/") {
        resource.body["properties"]["resourceGuid"] = Value::from(estate.guid());
    }
    estate.resources.insert(key.clone(), resource);
    key
}

fn machine(estate: &mut Estate, number: usize, name: &str, group: usize, size: &str, power: Power) {
    let (group, location) = GROUPS[group];
    let id = |kind: &str, name: &str| format!("{}/providers/{kind}/{name}", group_id(group));
    let network = "Microsoft.Network";
    let rules = id("Microsoft.Network/networkSecurityGroups", &format!("{name}NSG"));
    add(estate, &rules, &format!("{network}/networkSecurityGroups"), bodies::rules(location));
    let address = id("Microsoft.Network/publicIPAddresses", &format!("{name}PublicIP"));
    let key = add(estate, &address, &format!("{network}/publicIPAddresses"), bodies::address(location));
    if let Some(resource) = estate.resources.get_mut(&key) {
        resource.address = Some(format!("203.0.{}.{}", 113 + number / 240, 10 + number % 240));
    }
    let subnet = format!("{}/subnets/default", id("Microsoft.Network/virtualNetworks", "vnet1"));
    let interface = id("Microsoft.Network/networkInterfaces", &format!("{name}VMNic"));
    let body = bodies::interface(name, location, number, [&address, &subnet, &rules]);
    add(estate, &interface, &format!("{network}/networkInterfaces"), body);
    let os_disk = format!("{name}_OsDisk_1");
    let os_disk_id = id("Microsoft.Compute/disks", &os_disk);
    let key = add(estate, &os_disk_id, "Microsoft.Compute/disks", bodies::disk(location, 30, true));
    let unique = estate.guid();
    if let Some(disk) = estate.resources.get_mut(&key) {
        disk.body["properties"]["uniqueId"] = Value::from(unique);
    }
    let os = bodies::machine_disk(&os_disk, &os_disk_id, 30, None);
    let mut body = bodies::machine(name, location, size, os, &interface);
    body["properties"]["vmId"] = Value::from(estate.guid());
    let machine = id("Microsoft.Compute/virtualMachines", name);
    if name == "db-01" {
        let data = format!("{name}_data0");
        let data_id = id("Microsoft.Compute/disks", &data);
        add(estate, &data_id, "Microsoft.Compute/disks", bodies::disk(location, 512, false));
        body["properties"]["storageProfile"]["dataDisks"] =
            json!([bodies::machine_disk(&data, &data_id, 512, Some(0))]);
        let principal = estate.guid();
        body["identity"] = json!({ "type": "SystemAssigned", "principalId": principal, "tenantId": TENANT });
        let extension = format!("{machine}/extensions/AADSSHLoginForLinux");
        let of = bodies::extension(location, "Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux");
        add(estate, &extension, "Microsoft.Compute/virtualMachines/extensions", of);
    }
    let key = add(estate, &machine, "Microsoft.Compute/virtualMachines", body);
    if let Some(machine) = estate.resources.get_mut(&key) {
        machine.power = Some(power);
    }
}
