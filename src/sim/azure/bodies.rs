//! Bodies of new resources, with what their providers add to what a caller gives.

use serde_json::{Value, json};

const KEY_DATA: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPL example";
const CREATED: &str = "2025-06-01T10:01:44.3212345+00:00";

/// A disk in a machine's storage profile; a data disk when it has a unit number.
pub(super) fn machine_disk(name: &str, id: &str, size: u32, unit: Option<u32>) -> Value {
    let mut disk = json!({
        "name": name,
        "createOption": if unit.is_some() { "Attach" } else { "FromImage" },
        "caching": if unit.is_some() { "None" } else { "ReadWrite" },
        "managedDisk": { "storageAccountType": "Premium_LRS", "id": id },
        "deleteOption": "Detach",
        "diskSizeGB": size,
    });
    match unit {
        Some(unit) => {
            disk["lun"] = Value::from(unit);
            disk["toBeDetached"] = Value::from(false);
        }
        None => disk["osType"] = Value::from("Linux"),
    }
    disk
}

/// A virtual machine with a Linux image.
pub(super) fn machine(name: &str, location: &str, size: &str, os_disk: Value, interface: &str) -> Value {
    json!({
        "location": location,
        "tags": { "azlin-session": name, "owner": "alice" },
        "properties": {
            "hardwareProfile": { "vmSize": size },
            "storageProfile": {
                "imageReference": {
                    "publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2",
                    "version": "latest", "exactVersion": "22.04.202506050",
                },
                "osDisk": os_disk, "dataDisks": [], "diskControllerType": "SCSI",
            },
            "osProfile": {
                "computerName": name,
                "adminUsername": "azureuser",
                "linuxConfiguration": {
                    "disablePasswordAuthentication": true,
                    "ssh": { "publicKeys": [
                        { "path": "/home/azureuser/.ssh/authorized_keys", "keyData": KEY_DATA },
                    ]},
                    "provisionVMAgent": true,
                    "patchSettings": { "patchMode": "ImageDefault", "assessmentMode": "ImageDefault" },
                },
                "secrets": [],
                "allowExtensionOperations": true,
                "requireGuestProvisionSignal": true,
            },
            "networkProfile": { "networkInterfaces": [
                { "id": interface, "properties": { "deleteOption": "Detach", "primary": true } },
            ]},
            "securityProfile": {
                "uefiSettings": { "secureBootEnabled": true, "vTpmEnabled": true }, "securityType": "TrustedLaunch",
            },
            "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } },
            "provisioningState": "Succeeded",
            "timeCreated": CREATED,
        },
    })
}

/// A managed disk.
pub(super) fn disk(location: &str, size: u32, image: bool) -> Value {
    let mut disk = json!({
        "location": location,
        "sku": { "name": "Premium_LRS", "tier": "Premium" },
        "properties": {
            "creationData": { "createOption": if image { "FromImage" } else { "Empty" } },
            "diskSizeGB": size, "diskIOPSReadWrite": 120, "diskMBpsReadWrite": 25,
            "encryption": { "type": "EncryptionAtRestWithPlatformKey" },
            "networkAccessPolicy": "AllowAll", "publicNetworkAccess": "Enabled",
            "timeCreated": "2025-06-01T10:01:45.1023456+00:00",
            "provisioningState": "Succeeded", "diskState": "Unattached",
            "diskSizeBytes": u64::from(size) << 30, "tier": "P4",
        },
    });
    if image {
        disk["properties"]["osType"] = Value::from("Linux");
        disk["properties"]["hyperVGeneration"] = Value::from("V2");
        disk["properties"]["supportedCapabilities"] =
            json!({ "diskControllerTypes": "SCSI, NVMe", "acceleratedNetwork": true, "architecture": "x64" });
    }
    disk
}

/// A network interface with one configuration.
pub(super) fn interface(vm: &str, location: &str, number: usize, ids: [&str; 3]) -> Value {
    let [address, subnet, rules] = ids;
    json!({
        "location": location, "tags": {}, "kind": "Regular",
        "properties": {
            "provisioningState": "Succeeded",
            "ipConfigurations": [{
                "name": format!("ipconfig{vm}"),
                "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
                "properties": {
                    "provisioningState": "Succeeded",
                    "privateIPAddress": format!("10.0.{}.{}", number / 250, 4 + number % 250),
                    "privateIPAllocationMethod": "Dynamic",
                    "publicIPAddress": { "id": address },
                    "subnet": { "id": subnet },
                    "primary": true, "privateIPAddressVersion": "IPv4",
                },
            }],
            "dnsSettings": {
                "dnsServers": [], "appliedDnsServers": [],
                "internalDomainNameSuffix": "exampleexampleexample00000.bx.internal.cloudapp.net",
            },
            "macAddress": format!("00-0D-3A-1B-{:02X}-{:02X}", number / 256, number % 256),
            "vnetEncryptionSupported": false, "enableIPForwarding": false, "enableAcceleratedNetworking": false,
            "disableTcpStateTracking": false,
            "networkSecurityGroup": { "id": rules },
            "primary": true, "hostedWorkloads": [], "tapConfigurations": [], "nicType": "Standard",
            "allowPort25Out": false, "auxiliaryMode": "None", "auxiliarySku": "None",
        },
    })
}

/// A public address.
pub(super) fn address(location: &str) -> Value {
    json!({
        "location": location, "tags": {},
        "sku": { "name": "Standard", "tier": "Regional" },
        "properties": {
            "provisioningState": "Succeeded", "publicIPAddressVersion": "IPv4",
            "publicIPAllocationMethod": "Static",
            "idleTimeoutInMinutes": 4, "ipTags": [],
            "ddosSettings": { "protectionMode": "VirtualNetworkInherited" },
        },
    })
}

/// A network security group that lets ssh in.
pub(super) fn rules(location: &str) -> Value {
    json!({
        "location": location, "tags": {},
        "properties": {
            "provisioningState": "Succeeded",
            "securityRules": [{
                "name": "default-allow-ssh",
                "properties": {
                    "provisioningState": "Succeeded", "protocol": "TCP", "sourcePortRange": "*",
                    "destinationPortRange": "22", "sourceAddressPrefix": "*", "destinationAddressPrefix": "*",
                    "access": "Allow", "priority": 1000, "direction": "Inbound", "sourcePortRanges": [],
                    "destinationPortRanges": [], "sourceAddressPrefixes": [], "destinationAddressPrefixes": [],
                },
            }],
            "defaultSecurityRules": [],
        },
    })
}

/// A virtual network with one subnet.
pub(super) fn network(location: &str) -> Value {
    json!({
        "location": location, "tags": {},
        "properties": {
            "provisioningState": "Succeeded",
            "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
            "subnets": [{
                "name": "default",
                "properties": {
                    "provisioningState": "Succeeded", "addressPrefix": "10.0.0.0/24", "delegations": [],
                    "privateEndpointNetworkPolicies": "Disabled", "privateLinkServiceNetworkPolicies": "Enabled",
                },
            }],
            "virtualNetworkPeerings": [], "enableDdosProtection": false,
        },
    })
}

/// A storage account.
pub(super) fn storage_account(name: &str, location: &str) -> Value {
    json!({
        "location": location, "tags": {}, "kind": "StorageV2",
        "sku": { "name": "Standard_LRS", "tier": "Standard" },
        "properties": {
            "provisioningState": "Succeeded", "creationTime": "2025-06-01T10:00:00.0000000Z",
            "accessTier": "Hot", "allowBlobPublicAccess": false, "minimumTlsVersion": "TLS1_2",
            "supportsHttpsTrafficOnly": true, "primaryLocation": location, "statusOfPrimary": "available",
            "primaryEndpoints": { "blob": format!("https://{name}.blob.core.windows.net/") },
        },
    })
}

/// A machine's extension.
pub(super) fn extension(location: &str, publisher: &str, kind: &str) -> Value {
    json!({
        "location": location,
        "properties": {
            "autoUpgradeMinorVersion": true, "provisioningState": "Succeeded", "publisher": publisher,
            "type": kind, "typeHandlerVersion": "1.0", "settings": {},
        },
    })
}
