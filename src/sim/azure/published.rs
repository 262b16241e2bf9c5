//! What is the same for everybody: the cloud's endpoints, providers, locations, sizes, images.

use serde_json::{Value, json};

use super::answer::{Outcome, Reply};
use super::call::Call;
use super::{SUBSCRIPTION, TENANT};

/// A type and its api-versions.
type Type = (&'static str, &'static [&'static str]);

/// Namespace, and its types.
const PROVIDERS: [(&str, &[Type]); 6] = [
    (
        "Microsoft.Compute",
        &[
            ("virtualMachines", &["2026-04-01", "2025-04-01", "2024-11-01", "2024-07-01", "2024-03-01"]),
            ("virtualMachines/extensions", &["2024-11-01", "2024-07-01"]),
            ("disks", &["2025-01-02", "2024-03-02"]),
            ("snapshots", &["2025-01-02", "2024-03-02"]),
        ],
    ),
    (
        "Microsoft.Network",
        &[
            ("networkInterfaces", &["2025-09-01", "2024-05-01", "2023-11-01", "2022-01-01"]),
            ("publicIPAddresses", &["2025-09-01", "2024-05-01", "2023-11-01", "2022-01-01"]),
            ("networkSecurityGroups", &["2025-09-01", "2024-05-01", "2022-01-01"]),
            ("virtualNetworks", &["2025-09-01", "2024-05-01", "2022-01-01"]),
        ],
    ),
    ("Microsoft.Storage", &[("storageAccounts", &["2025-01-01", "2023-01-01"])]),
    (
        "Microsoft.Resources",
        &[("resourceGroups", &["2024-11-01", "2021-04-01"]), ("deployments", &["2024-11-01"])],
    ),
    ("Microsoft.Authorization", &[("roleAssignments", &["2022-04-01"]), ("locks", &["2020-05-01"])]),
    ("Microsoft.ResourceGraph", &[("resources", &["2022-10-01", "2021-03-01"])]),
];

const IMAGE_VERSION: &str = "22.04.202506050";

/// The cloud's endpoints; `base` is where the API and the login authority are, unless they are the public ones.
pub(super) fn endpoints(version: &str, base: Option<&str>) -> Value {
    let api = base.map_or_else(|| "https://management.azure.com/".to_owned(), |base| format!("{base}/"));
    let login = base.unwrap_or("https://login.microsoftonline.com");
    let cloud = json!({
        "portal": "https://portal.azure.com",
        "authentication": {
            "loginEndpoint": login,
            "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "media": "https://rest.media.azure.net",
        "graphAudience": "https://graph.windows.net/",
        "graph": "https://graph.windows.net/",
        "name": "AzureCloud",
        "suffixes": {
            "azureDataLakeStoreFileSystem": "azuredatalakestore.net",
            "acrLoginServer": "azurecr.io",
            "sqlServerHostname": "database.windows.net",
            "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
            "keyVaultDns": "vault.azure.net",
            "storage": "core.windows.net",
            "azureFrontDoorEndpointSuffix": "azurefd.net",
            "storageSyncEndpointSuffix": "afs.azure.net",
            "mhsmDns": "managedhsm.azure.net",
            "mysqlServerEndpoint": "mysql.database.azure.com",
            "postgresqlServerEndpoint": "postgres.database.azure.com",
            "mariadbServerEndpoint": "mariadb.database.azure.com",
            "synapseAnalytics": "dev.azuresynapse.net",
            "attestationEndpoint": "attest.azure.net",
        },
        "batch": "https://batch.core.windows.net/",
        "resourceManager": api,
        "vmImageAliasDoc": "https://raw.githubusercontent.com/Azure/azure-rest-api-specs/master/arm-compute/quickstart-templates/aliases.json",
        "activeDirectoryDataLake": "https://datalake.azure.net/",
        "sqlManagement": "https://management.core.windows.net:8443/",
        "microsoftGraphResourceId": "https://graph.microsoft.com/",
        "appInsightsResourceId": "https://api.applicationinsights.io",
        "appInsightsTelemetryChannelResourceId": "https://dc.applicationinsights.azure.com/v2/track",
        "attestationResourceId": "https://attest.azure.net",
        "synapseAnalyticsResourceId": "https://dev.azuresynapse.net",
        "logAnalyticsResourceId": "https://api.loganalytics.io",
        "ossrDbmsResourceId": "https://ossrdbms-aad.database.windows.net",
        "gallery": "https://gallery.azure.com/",
    });
    // Until 2022 the answer was a list of one.
    if version < "2022-09-01" { json!([cloud]) } else { cloud }
}

pub(super) fn subscription(id: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{id}"),
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": id,
        "tenantId": TENANT,
        "displayName": if id == SUBSCRIPTION { "Example Subscription" } else { "Other Subscription" },
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off",
        },
    })
}

pub(super) fn tenants() -> Value {
    json!({ "value": [{
        "id": format!("/tenants/{TENANT}"), "tenantId": TENANT, "countryCode": "US",
        "displayName": "Example Tenant", "domains": ["example.onmicrosoft.com"], "tenantCategory": "Home",
        "defaultDomain": "example.onmicrosoft.com", "tenantType": "AAD",
    }]})
}

pub(super) fn locations(subscription: &str) -> Value {
    let place = |name: &str, display: &str, geography: &str, physical: &str, paired: &str| {
        let id = |name: &str| format!("/subscriptions/{subscription}/locations/{name}");
        json!({
            "id": id(name), "name": name, "type": "Region", "displayName": display,
            "regionalDisplayName": format!("({geography}) {display}"),
            "metadata": {
                "regionType": "Physical", "regionCategory": "Recommended", "geography": geography,
                "geographyGroup": geography, "physicalLocation": physical,
                "pairedRegion": [{ "name": paired, "id": id(paired) }],
            },
        })
    };
    json!({ "value": [
        place("eastus", "East US", "US", "Virginia", "westus"),
        place("westeurope", "West Europe", "Europe", "Netherlands", "northeurope"),
    ]})
}

fn provider(namespace: &str, types: &[Type]) -> Value {
    let types: Vec<Value> = types
        .iter()
        .map(|(kind, versions)| {
            json!({
                "resourceType": kind, "locations": ["East US", "West Europe"], "apiVersions": versions,
                "capabilities": "SupportsTags, SupportsLocation",
            })
        })
        .collect();
    json!({
        "id": format!("/subscriptions/{SUBSCRIPTION}/providers/{namespace}"), "namespace": namespace,
        "registrationState": "Registered", "registrationPolicy": "RegistrationRequired", "resourceTypes": types,
    })
}

/// The providers, or the one of this namespace in lower case.
pub(super) fn providers(namespace: Option<&str>) -> Outcome {
    match namespace {
        None => {
            let all: Vec<Value> = PROVIDERS.iter().map(|(name, types)| provider(name, types)).collect();
            Ok(Reply::ok(json!({ "value": all })))
        }
        Some(wanted) => match PROVIDERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)) {
            Some((name, types)) => Ok(Reply::ok(provider(name, types))),
            None => Err(Reply::gateway(
                404,
                "InvalidResourceNamespace",
                format!("The resource namespace '{wanted}' is invalid."),
            )),
        },
    }
}

/// Sizes, skus and images: `None` when the path behind the provider of compute is none of these.
pub(super) fn compute(call: &Call, rest: &[String]) -> Option<Reply> {
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let image = |place: &str, version: &str| {
        format!(
            "/Subscriptions/{SUBSCRIPTION}/Providers/Microsoft.Compute/Locations/{place}/Publishers/Canonical/\
             ArtifactTypes/VMImage/Offers/0001-com-ubuntu-server-jammy/Skus/22_04-lts-gen2/Versions/{version}"
        )
    };
    Some(Reply::ok(match rest.as_slice() {
        ["locations", _, "vmsizes"] => json!({ "value": [
            { "name": "Standard_D2s_v5", "numberOfCores": 2, "osDiskSizeInMB": 1_047_552,
              "resourceDiskSizeInMB": 0, "memoryInMB": 8192, "maxDataDiskCount": 4 },
            { "name": "Standard_E4s_v5", "numberOfCores": 4, "osDiskSizeInMB": 1_047_552,
              "resourceDiskSizeInMB": 0, "memoryInMB": 32768, "maxDataDiskCount": 8 },
        ]}),
        ["skus"] => json!({ "value": (["eastus", "westeurope"].map(|place| json!({
            "resourceType": "virtualMachines", "name": "Standard_D2s_v5", "tier": "Standard", "size": "D2s_v5",
            "family": "standardDSv5Family", "locations": [place],
            "locationInfo": [{ "location": place, "zones": ["1", "2", "3"], "zoneDetails": [] }],
            "capabilities": [
                { "name": "vCPUs", "value": "2" }, { "name": "MemoryGB", "value": "8" },
                { "name": "HyperVGenerations", "value": "V1,V2" },
            ],
            "restrictions": [],
        }))) }),
        ["locations", place, "publishers", _, "artifacttypes", "vmimage", "offers", _, "skus", _, "versions"] => {
            json!([{ "location": place, "name": IMAGE_VERSION, "id": image(place, IMAGE_VERSION) }])
        }
        ["locations", place, "publishers", .., "versions", version] => json!({
            "location": place, "name": version, "id": image(place, version),
            "properties": {
                "hyperVGeneration": "V2", "architecture": "x64", "replicaType": "Unmanaged",
                "osDiskImage": { "operatingSystem": "Linux", "sizeInGb": 31 },
                "dataDiskImages": [], "automaticOSUpgradeProperties": { "automaticOSUpgradeSupported": true },
                "features": [{ "name": "SecurityType", "value": "TrustedLaunchSupported" }],
            },
        }),
        ["locations", _, "usages"] => json!({ "value": [] }),
        _ => return None,
    }))
    .filter(|_| call.reads())
}
