//! Operations: the three patterns, what is seen meanwhile, and how they end.

use serde_json::json;

use super::*;

async fn power(client: &Client<'_>, group: &str, name: &str) -> String {
    let view = client.get(&format!("{}/instanceView?{COMPUTE}", vm(group, name))).await;
    view.body["statuses"][1]["code"].as_str().expect("a power state").to_owned()
}

#[tokio::test]
async fn deallocating_shows_at_the_end_and_takes_disks_and_addresses_along() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = vm("rg-alpha", "web-03");
    // An address that comes and goes with its machine.
    let address = format!("{}?{NETWORK}", network("rg-alpha", "publicIPAddresses", "web-03PublicIP"));
    let dynamic = json!({ "properties": { "publicIPAllocationMethod": "Dynamic" } });
    sim.change_behind("PATCH", &address, dynamic).expect("it is there");
    let accepted = client.send("POST", &format!("{path}/deallocate?{COMPUTE}"), Value::Null, &[]).await;
    assert_eq!((accepted.status, accepted.field("retry-after")), (202, "1"));
    assert!(accepted.field("content-type").is_empty());
    let status = accepted.field("azure-asyncoperation").to_owned();
    let location = accepted.field("location").to_owned();
    for part in ["&t=", "&c=MIIH", "&s=", "&h="] {
        assert!(status.contains(part) && location.contains(part), "{part}");
    }
    assert!(location.ends_with("&monitor=true"));
    let running = client.follow(&status).await;
    assert_eq!((running.status, &running.body["status"]), (200, &json!("InProgress")));
    assert_eq!(client.follow(&location).await.status, 202);
    assert_eq!(power(&client, "rg-alpha", "web-03").await, "PowerState/deallocating");
    let machine = client.get(&format!("{path}?{COMPUTE}")).await;
    assert_eq!(machine.body["properties"]["provisioningState"], "Succeeded", "it does not tell of power");
    let before = client.get(&address).await;
    assert!(before.body["properties"].get("ipAddress").is_some());
    sim.settle();
    let ended = client.follow(&status).await;
    assert_eq!((ended.status, &ended.body["status"]), (200, &json!("Succeeded")));
    assert!(ended.body.get("endTime").is_some());
    assert_eq!(client.follow(&location).await.status, 200);
    assert_eq!(power(&client, "rg-alpha", "web-03").await, "PowerState/deallocated");
    let after = client.get(&address).await;
    assert!(after.body["properties"].get("ipAddress").is_none(), "a dynamic address goes");
    assert_ne!(before.field("etag"), after.field("etag"));
    let disk = format!("{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Compute/disks/web-03_OsDisk_1");
    let disk = client.get(&format!("{disk}?api-version=2024-03-02")).await;
    assert_eq!(disk.body["properties"]["diskState"], "Reserved");
    sim.stop().await;
}

#[tokio::test]
async fn a_failed_operation_answers_200_and_leaves_what_was() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = vm("rg-alpha", "build-01");
    let failed = Ending::Failed("AllocationFailed".to_owned(), "Allocation failed.".to_owned());
    sim.end_operations(&format!("POST {path}/start"), failed, 1);
    let accepted = client.send("POST", &format!("{path}/start?{COMPUTE}"), Value::Null, &[]).await;
    assert_eq!(power(&client, "rg-alpha", "build-01").await, "PowerState/starting");
    sim.settle();
    let ended = client.follow(accepted.field("azure-asyncoperation")).await;
    assert_eq!((ended.status, &ended.body["status"]), (200, &json!("Failed")));
    assert_eq!(ended.body["error"]["code"], "AllocationFailed");
    assert_eq!(power(&client, "rg-alpha", "build-01").await, "PowerState/deallocated");
    sim.end_operations("PATCH ", Ending::Canceled, 1);
    let body = json!({ "tags": { "owner": "carol" } });
    assert_eq!(client.send("PATCH", &format!("{path}?{COMPUTE}"), body, &[]).await.status, 200);
    sim.settle();
    let machine = client.get(&format!("{path}?{COMPUTE}")).await;
    assert_eq!(machine.body["properties"]["provisioningState"], "Canceled");
    sim.stop().await;
}

#[tokio::test]
async fn a_new_machine_is_creating_until_it_is_there() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = format!("{}?{COMPUTE}", vm("rg-alpha", "New-01"));
    let mut body = client.get(&format!("{}?{COMPUTE}", vm("rg-alpha", "web-01"))).await.body;
    body["properties"]["networkProfile"]["networkInterfaces"] = json!([]);
    body["properties"]["storageProfile"]["osDisk"] = json!({ "createOption": "FromImage" });
    let created = client.send("PUT", &path, body.clone(), &[]).await;
    assert_eq!((created.status, &created.body["properties"]["provisioningState"]), (201, &json!("Creating")));
    assert!(!created.field("azure-asyncoperation").is_empty());
    assert!(created.field("location").is_empty());
    let busy = client.send("PUT", &path, body, &[]).await;
    assert_eq!((busy.status, busy.code()), (409, "Conflict"));
    let names = client
        .get(&format!(
            "{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Compute/disks?api-version=2024-03-02"
        ))
        .await;
    assert!(names.body.to_string().contains("New-01_OsDisk_1"), "a disk came with it");
    sim.settle();
    let read = client.get(&path.to_lowercase()).await;
    assert_eq!(
        (&read.body["name"], &read.body["properties"]["provisioningState"]),
        (&json!("New-01"), &json!("Succeeded"))
    );
    assert_ne!(read.body["properties"]["vmId"], Value::Null);
    sim.stop().await;
}

#[tokio::test]
async fn an_update_shows_its_target_at_once() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = format!("{}?{COMPUTE}", vm("rg-alpha", "web-01"));
    let mut body = client.get(&path).await.body;
    let id = body["properties"]["vmId"].clone();
    body["tags"]["owner"] = json!("dave");
    body["properties"]["vmId"] = json!("mine");
    let updated = client.send("PUT", &path, body, &[]).await;
    assert_eq!((updated.status, &updated.body["properties"]["provisioningState"]), (200, &json!("Updating")));
    let read = client.get(&path).await;
    assert_eq!((&read.body["tags"]["owner"], &read.body["properties"]["vmId"]), (&json!("dave"), &id));
    sim.settle();
    assert_eq!(client.get(&path).await.body["properties"]["provisioningState"], "Succeeded");
    sim.stop().await;
}

#[tokio::test]
async fn deleting_cascades_where_it_was_asked_for() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = format!("{}?{COMPUTE}", vm("rg-alpha", "web-02"));
    let mut body = client.get(&path).await.body;
    body["properties"]["storageProfile"]["osDisk"]["deleteOption"] = json!("Delete");
    client.send("PUT", &path, body, &[]).await;
    sim.settle();
    let interface = format!("{}?{NETWORK}", network("rg-alpha", "networkInterfaces", "web-02VMNic"));
    let used = client.send("DELETE", &interface, Value::Null, &[]).await;
    assert_eq!((used.status, used.code()), (400, "NicInUse"));
    assert_eq!(client.send("DELETE", &path, Value::Null, &[]).await.status, 202);
    assert_eq!(client.get(&path).await.body["properties"]["provisioningState"], "Deleting");
    sim.settle();
    assert_eq!(client.get(&path).await.status, 404);
    assert_eq!(client.send("DELETE", &path, Value::Null, &[]).await.status, 204);
    let disk = format!(
        "{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Compute/disks/web-02_OsDisk_1?api-version=2024-03-02"
    );
    assert_eq!(client.get(&disk).await.status, 404, "it went along");
    assert_eq!(client.get(&interface).await.status, 200, "it was to be kept");
    let deleted = client.send("DELETE", &interface, Value::Null, &[]).await;
    assert!(deleted.field("location").contains("/operationResults/"));
    sim.settle();
    assert_eq!(client.follow(deleted.field("location")).await.status, 204);
    sim.stop().await;
}

#[tokio::test]
async fn a_storage_account_is_not_there_before_its_end() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let list = format!("{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Storage/storageAccounts");
    let path = format!("{list}/fresh?api-version=2023-01-01");
    let accepted = client
        .send("PUT", &path, json!({ "location": "eastus", "sku": { "name": "Standard_LRS" } }), &[])
        .await;
    assert_eq!((accepted.status, accepted.field("azure-asyncoperation")), (202, ""));
    let location = accepted.field("location").to_owned();
    assert!(location.contains('*'), "{location}");
    assert_eq!(client.get(&path).await.status, 404);
    assert_eq!(client.get(&format!("{list}?api-version=2023-01-01")).await.names(), ["examplestate"]);
    assert_eq!(client.follow(&location).await.status, 202);
    sim.settle();
    assert_eq!(client.follow(&location).await.body["name"], "fresh");
    assert_eq!(client.get(&path).await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn a_deployment_makes_its_resources_unseen() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = format!("{SUB}/resourcegroups/rg-alpha/providers/Microsoft.Resources/deployments/one");
    let template = json!({ "properties": { "mode": "Incremental", "parameters": { "size": { "value": "Standard_B1s" } }, "template": { "resources": [
        { "type": "Microsoft.Network/publicIPAddresses", "name": "deployedIP", "apiVersion": "2022-01-01", "location": "eastus",
          "properties": { "publicIPAllocationMethod": "Static" } },
        { "type": "Microsoft.Compute/virtualMachines", "name": "deployed", "apiVersion": "2024-11-01", "location": "eastus",
          "dependsOn": ["[resourceId('Microsoft.Network/publicIPAddresses', 'deployedIP')]"],
          "properties": { "hardwareProfile": { "vmSize": "[parameters('size')]" }, "storageProfile": { "osDisk": { "createOption": "FromImage" } } } },
    ]}}});
    let accepted = client.send("PUT", &format!("{path}?{RESOURCES}"), template, &[]).await;
    assert_eq!(
        (accepted.status, &accepted.body["properties"]["provisioningState"]),
        (201, &json!("Accepted"))
    );
    let status = accepted.field("azure-asyncoperation").to_owned();
    assert!(status.contains("/deployments/one/operationStatuses/0858"), "{status}");
    assert_eq!(client.follow(&status).await.body["status"], "Running");
    let machine = format!("{}?{COMPUTE}", vm("rg-alpha", "deployed"));
    assert_eq!(client.get(&machine).await.status, 404);
    assert_eq!(
        client.get(&format!("{path}?{RESOURCES}")).await.body["properties"]["provisioningState"],
        "Running"
    );
    sim.settle();
    assert_eq!(client.follow(&status).await.body["status"], "Succeeded");
    let made = client.get(&machine).await;
    assert_eq!(made.body["properties"]["hardwareProfile"]["vmSize"], "Standard_B1s");
    assert_eq!(
        client.get(&format!("{path}?{RESOURCES}")).await.body["properties"]["provisioningState"],
        "Succeeded"
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_group_goes_with_all_in_it_and_moves_change_ids() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let moving = json!({ "targetResourceGroup": format!("{SUB}/resourceGroups/rg-alpha"), "resources": [vm("rg-beta", "api-01")] });
    let accepted = client
        .send("POST", &format!("{SUB}/resourceGroups/rg-beta/moveResources?{RESOURCES}"), moving, &[])
        .await;
    assert_eq!(accepted.status, 202);
    assert_eq!(client.get(&format!("{}?{COMPUTE}", vm("rg-beta", "api-01"))).await.status, 200);
    sim.settle();
    assert_eq!(client.get(&format!("{}?{COMPUTE}", vm("rg-beta", "api-01"))).await.status, 404);
    assert_eq!(client.get(&format!("{}?{COMPUTE}", vm("rg-alpha", "api-01"))).await.status, 200);
    let group = format!("{SUB}/resourcegroups/rg-beta?{RESOURCES}");
    let deleting = client.send("DELETE", &group, Value::Null, &[]).await;
    assert_eq!((deleting.status, deleting.field("azure-asyncoperation")), (202, ""));
    let location = deleting.field("location").to_owned();
    assert!(location.contains("/operationresults/"));
    assert_eq!(client.follow(&location).await.status, 202);
    sim.settle();
    assert_eq!(client.follow(&location).await.status, 200);
    assert_eq!(client.get(&group).await.status, 404);
    assert_eq!(client.get(&format!("{SUB}/resourcegroups?{RESOURCES}")).await.names(), ["rg-alpha"]);
    sim.stop().await;
}

#[tokio::test]
async fn parts_are_written_in_their_whole() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let rules = network("rg-alpha", "networkSecurityGroups", "web-01NSG");
    let rule = format!("{rules}/securityRules/http?{NETWORK}");
    let body = json!({ "properties": { "protocol": "TCP", "priority": 1010 } });
    assert_eq!(client.send("PUT", &rule, body.clone(), &[]).await.status, 201);
    let locked = client.send("PUT", &rule, body, &[]).await;
    assert_eq!((locked.status, locked.code()), (429, "RetryableErrorDueToAnotherOperation"));
    sim.settle();
    let whole = client.get(&format!("{rules}?{NETWORK}")).await;
    assert_eq!(whole.body["properties"]["securityRules"][1]["name"], "http");
    assert_eq!(whole.body["properties"]["provisioningState"], "Succeeded");
    assert_eq!(client.send("DELETE", &rule, Value::Null, &[]).await.status, 202);
    sim.settle();
    assert_eq!(client.get(&rule).await.status, 404);
    sim.stop().await;
}

#[tokio::test]
async fn a_changed_polling_address_is_refused() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let accepted =
        client.send("POST", &format!("{}/start?{COMPUTE}", vm("rg-alpha", "web-01")), Value::Null, &[]).await;
    let status = accepted.field("azure-asyncoperation").to_owned();
    let changed = status.replace("&h=", "&h=x");
    assert_eq!(client.follow(&changed).await.code(), "InvalidPollingSignature");
    assert_eq!(client.follow(&status.replace("operations/", "operations/0")).await.status, 404);
    assert_eq!(client.follow(&status).await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn state_changes_behind_the_back() {
    let sim = start(still()).await;
    let body = json!({ "tags": { "owner": "eve" } });
    sim.change_behind("PATCH", &format!("{}?{COMPUTE}", vm("rg-alpha", "web-01")), body)
        .expect("it is there");
    assert_eq!((sim.calls(), sim.under_way()), (0, 1));
    let machine = Client::admin(&sim).get(&format!("{}?{COMPUTE}", vm("rg-alpha", "web-01"))).await;
    assert_eq!(machine.body["tags"]["owner"], "eve");
    let refused = sim.change_behind("GET", &format!("{}?{COMPUTE}", vm("rg-alpha", "absent")), Value::Null);
    assert_eq!(refused.expect_err("it is not there").0, 404);
    sim.stop().await;
}

#[tokio::test(start_paused = true)]
async fn operations_end_when_their_time_has_come() {
    let sim = start(SimConfig { task_time: Duration::from_secs(30), ..SimConfig::default() }).await;
    let path = format!("{}/start?{COMPUTE}", vm("rg-alpha", "build-01"));
    sim.change_behind("POST", &path, Value::Null).expect("accepted");
    assert_eq!(sim.under_way(), 1);
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(sim.under_way(), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(sim.under_way(), 0);
    sim.stop().await;
}
