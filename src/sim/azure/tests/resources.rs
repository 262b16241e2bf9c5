//! Reads, lists, casing, rights and plain writes.

use serde_json::json;

use super::*;

#[tokio::test]
async fn pages_of_the_subscription_have_capitals_and_an_absolute_next_link() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let first = client.get(&format!("{SUB}/providers/Microsoft.Compute/virtualMachines?{COMPUTE}")).await;
    assert_eq!(first.names().len(), 6);
    assert!(first.body["value"][0]["id"].as_str().expect("an id").contains("/resourceGroups/RG-ALPHA/"));
    let disk = &first.body["value"][0]["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"];
    assert!(disk.as_str().expect("an id").contains("/resourceGroups/RG-ALPHA/"));
    let interface = &first.body["value"][0]["properties"]["networkProfile"]["networkInterfaces"][0]["id"];
    assert!(interface.as_str().expect("an id").contains("/resourceGroups/rg-alpha/"));
    let next = first.body["nextLink"].as_str().expect("a second page");
    assert!(next.contains(&format!("{COMPUTE}&%24skiptoken=")), "{next}");
    let second = client.follow(next).await;
    assert_eq!(second.names().len(), 4);
    assert!(second.body.get("nextLink").is_none());
    let all: std::collections::BTreeSet<_> = first.names().into_iter().chain(second.names()).collect();
    assert_eq!(all.len(), 10, "nothing twice and nothing left out");
    sim.stop().await;
}

#[tokio::test]
async fn addresses_point_where_they_are_told_to() {
    let table = [
        (Links::Public, vec!["https://management.azure.com/", "https://management.azure.com/"]),
        (
            Links::Mixed,
            vec![
                "https://eastus.management.azure.com/",
                "https://management.azure.com:443/",
                "https://management.azure.com/",
            ],
        ),
        (Links::At("https://192.0.2.1:8443/".to_owned()), vec!["https://192.0.2.1:8443/subscriptions"]),
    ];
    for (links, expected) in table {
        let sim = start(SimConfig { links: links.clone(), ..still() }).await;
        let client = Client::admin(&sim);
        for base in expected {
            let page =
                client.get(&format!("{SUB}/providers/Microsoft.Compute/virtualMachines?{COMPUTE}")).await;
            let next = page.body["nextLink"].as_str().expect("a second page");
            assert!(next.starts_with(base), "{links:?}: {next}");
        }
        sim.stop().await;
    }
}

#[tokio::test]
async fn a_page_of_a_group_spells_its_token_otherwise() {
    let sim = start(SimConfig { vms: 16, ..still() }).await;
    let client = Client::admin(&sim);
    let list = format!("{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Compute/virtualMachines");
    let page = client.get(&format!("{list}?{COMPUTE}")).await;
    let next = page.body["nextLink"].as_str().expect("a second page");
    assert!(next.contains("&$skipToken="), "{next}");
    assert!(!client.follow(next).await.names().is_empty());
    sim.stop().await;
}

#[tokio::test]
async fn compute_echoes_the_casing_of_the_group_and_network_does_not() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    for group in ["rg-alpha", "RG-ALPHA", "Rg-Alpha"] {
        let machine = client.get(&format!("{}?{COMPUTE}", vm(group, "web-01"))).await;
        assert_eq!(machine.body["id"], vm(group, "web-01"));
        let disk = &machine.body["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"];
        assert!(disk.as_str().expect("an id").contains(&format!("/{group}/")));
        let path = network(group, "networkInterfaces", "web-01VMNic");
        let interface = client.get(&format!("{path}?{NETWORK}")).await;
        assert_eq!(interface.body["id"], network("rg-alpha", "networkInterfaces", "web-01VMNic"));
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_list_item_is_not_the_single_read() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let list = format!("{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Compute/virtualMachines?{COMPUTE}");
    let list = client.get(&list).await;
    let items = list.body["value"].as_array().expect("a list");
    let item = items.iter().find(|item| item["name"] == "db-01").expect("it is there");
    let extension = item["resources"][0].as_object().expect("an extension");
    assert_eq!(extension.keys().collect::<Vec<_>>(), ["id"]);
    let single = client.get(&format!("{}?{COMPUTE}", vm("rg-alpha", "db-01"))).await;
    assert_eq!(single.body["resources"][0]["properties"]["provisioningState"], "Succeeded");
    let interfaces =
        format!("{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Network/networkInterfaces?{NETWORK}");
    let interfaces = client.get(&interfaces).await;
    for item in interfaces.body["value"].as_array().expect("a list") {
        let path = network("rg-alpha", "networkInterfaces", item["name"].as_str().expect("a name"));
        assert_eq!(&client.get(&format!("{path}?{NETWORK}")).await.body, item, "these are equal");
    }
    sim.stop().await;
}

#[tokio::test]
async fn an_instance_view_comes_with_expand_or_alone() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = vm("rg-alpha", "build-01");
    let plain = client.get(&format!("{path}?{COMPUTE}")).await;
    assert!(plain.body["properties"].get("instanceView").is_none());
    assert!(!plain.field("etag").is_empty());
    for query in ["$expand=instanceView", "%24expand=instanceView"] {
        let expanded = client.get(&format!("{path}?{query}&{COMPUTE}")).await;
        let view = &expanded.body["properties"]["instanceView"];
        assert_eq!(view["statuses"][1]["code"], "PowerState/deallocated");
        assert_eq!(view, &client.get(&format!("{path}/instanceView?{COMPUTE}")).await.body);
    }
    let status = format!("{SUB}/providers/Microsoft.Compute/virtualMachines?{COMPUTE}&statusOnly=true");
    let status = client.get(&status).await;
    assert!(status.body["value"][0]["properties"].get("hardwareProfile").is_none());
    sim.stop().await;
}

#[tokio::test]
async fn bodies_differ_by_api_version() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = vm("rg-alpha", "web-01");
    assert!(client.get(&format!("{path}?api-version=2024-11-01")).await.body.get("etag").is_some());
    assert!(client.get(&format!("{path}?api-version=2024-03-01")).await.body.get("etag").is_none());
    let missing = client.get(&path).await;
    assert_eq!((missing.status, missing.code()), (400, "MissingApiVersionParameter"));
    let unknown = client.get(&format!("{path}?api-version=2099-01-01")).await;
    assert_eq!((unknown.status, unknown.code()), (400, "NoRegisteredProviderFound"));
    sim.stop().await;
}

#[tokio::test]
async fn what_refers_to_each_other_agrees() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let interface = network("rg-alpha", "networkInterfaces", "web-01VMNic");
    let read = client.get(&format!("{interface}?{NETWORK}")).await;
    assert_eq!(read.body["properties"]["virtualMachine"]["id"], vm("rg-alpha", "web-01"));
    let address = client
        .get(&format!("{}?{NETWORK}", network("rg-alpha", "publicIPAddresses", "web-01PublicIP")))
        .await;
    assert_eq!(
        address.body["properties"]["ipConfiguration"]["id"],
        format!("{interface}/ipConfigurations/ipconfigweb-01")
    );
    let subnet = client
        .get(&format!("{}/subnets/default?{NETWORK}", network("rg-alpha", "virtualNetworks", "vnet1")))
        .await;
    assert!(subnet.body["properties"]["ipConfigurations"].as_array().expect("a list").len() > 4);
    let disk = format!("{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Compute/disks");
    let attached = client.get(&format!("{disk}/web-01_OsDisk_1?api-version=2024-03-02")).await;
    assert_eq!(attached.body["properties"]["diskState"], "Attached");
    let reserved = client.get(&format!("{disk}/build-01_OsDisk_1?api-version=2024-03-02")).await;
    assert_eq!(reserved.body["properties"]["diskState"], "Reserved");
    sim.stop().await;
}

#[tokio::test]
async fn two_principals_see_different_lists() {
    let sim = start(still()).await;
    let (admin, dev) = (Client::admin(&sim), Client::dev(&sim));
    let groups = format!("{SUB}/resourcegroups?{RESOURCES}");
    assert_eq!(admin.get(&groups).await.names(), ["rg-alpha", "rg-beta"]);
    assert_eq!(dev.get(&groups).await.names(), ["rg-beta"]);
    let machines = format!("{SUB}/providers/Microsoft.Compute/virtualMachines?{COMPUTE}");
    assert!(
        dev.get(&machines).await.names().iter().all(|name| name.starts_with("api") || name.starts_with("vm"))
    );
    let refused = dev.get(&format!("{}?{COMPUTE}", vm("rg-alpha", "web-01"))).await;
    assert_eq!((refused.status, refused.code()), (403, "AuthorizationFailed"));
    assert_eq!(refused.field("x-ms-failure-cause"), "gateway");
    let write = dev.send("DELETE", &format!("{}?{COMPUTE}", vm("rg-beta", "api-01")), Value::Null, &[]).await;
    assert_eq!(write.status, 403, "a reader writes nothing");
    let assignment = format!(
        "{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01"
    );
    let body = json!({ "properties": { "principalId": DEV_OBJECT_ID, "roleDefinitionId":
        format!("{SUB}/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7") } });
    assert_eq!(admin.send("PUT", &assignment, body, &[]).await.status, 201);
    assert_eq!(dev.get(&groups).await.names(), ["rg-alpha", "rg-beta"]);
    assert_eq!(admin.send("DELETE", &assignment, Value::Null, &[]).await.status, 200);
    assert_eq!(dev.get(&groups).await.names(), ["rg-beta"]);
    sim.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let absent = client.get(&format!("{}?{COMPUTE}", vm("rg-alpha", "absent"))).await;
    assert_eq!((absent.status, absent.code()), (404, "ResourceNotFound"));
    let group = client.get(&format!("{}?{COMPUTE}", vm("rg-none", "absent"))).await;
    assert_eq!((group.status, group.code()), (404, "ResourceGroupNotFound"));
    let head = |name: &str| format!("{SUB}/resourcegroups/{name}?{RESOURCES}");
    assert_eq!(client.send("HEAD", &head("rg-alpha"), Value::Null, &[]).await.status, 204);
    assert_eq!(client.send("HEAD", &head("rg-none"), Value::Null, &[]).await.status, 404);
    sim.stop().await;
}

#[tokio::test]
async fn tags_and_locks_hang_on_any_scope() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = vm("rg-alpha", "web-01");
    let tags = format!("{path}/providers/Microsoft.Resources/tags/default?{RESOURCES}");
    let body = json!({ "operation": "Merge", "properties": { "tags": { "owner": "bob" } } });
    assert_eq!(client.send("PATCH", &tags, body, &[]).await.status, 200);
    let machine = client.get(&format!("{path}?{COMPUTE}")).await;
    assert_eq!(
        (&machine.body["tags"]["owner"], &machine.body["tags"]["azlin-session"]),
        (&json!("bob"), &json!("web-01"))
    );
    let lock = format!("{path}/providers/Microsoft.Authorization/locks/keep?api-version=2020-05-01");
    let body = json!({ "properties": { "level": "CanNotDelete" } });
    assert_eq!(client.send("PUT", &lock, body, &[]).await.status, 201);
    let refused = client.send("DELETE", &format!("{path}?{COMPUTE}"), Value::Null, &[]).await;
    assert_eq!((refused.status, refused.code()), (409, "ScopeLocked"));
    assert_eq!(client.send("DELETE", &lock, Value::Null, &[]).await.status, 200);
    assert_eq!(client.send("DELETE", &format!("{path}?{COMPUTE}"), Value::Null, &[]).await.status, 202);
    sim.stop().await;
}

#[tokio::test]
async fn writes_keep_their_conditions() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let path = format!("{}?{NETWORK}", network("rg-alpha", "networkSecurityGroups", "web-01NSG"));
    let body = client.get(&path).await;
    let etag = body.field("etag").to_owned();
    assert_eq!(etag, body.body["etag"].as_str().expect("in the body too"));
    let stale = client.send("PUT", &path, body.body.clone(), &[("if-match", "W/\"other\"")]).await;
    assert_eq!((stale.status, stale.code()), (412, "PreconditionFailed"));
    let exists = client.send("PUT", &path, body.body.clone(), &[("if-none-match", "*")]).await;
    assert_eq!(exists.status, 412);
    assert_eq!(client.send("PUT", &path, body.body.clone(), &[("if-match", &etag)]).await.status, 200);
    sim.settle();
    assert_ne!(client.get(&path).await.field("etag"), etag);
    sim.stop().await;
}

#[tokio::test]
async fn queries_keys_envelopes_and_batches() {
    let sim = start(still()).await;
    let client = Client::admin(&sim);
    let query = json!({ "subscriptions": [SUBSCRIPTION], "query":
        "Resources | where type =~ 'microsoft.compute/virtualmachines' | project id, name, properties.extended.instanceView.powerState.code" });
    let found = client
        .send(
            "POST",
            "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01",
            query.clone(),
            &[],
        )
        .await;
    assert_eq!(found.body["count"], 10);
    assert_eq!(
        found.body["data"][0]["properties_extended_instanceView_powerState_code"],
        "PowerState/deallocated"
    );
    let dev = Client::dev(&sim)
        .send("POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", query, &[])
        .await;
    assert_eq!(dev.body["count"], 4, "what the group has");
    let account =
        format!("{SUB}/resourceGroups/rg-alpha/providers/Microsoft.Storage/storageAccounts/examplestate");
    let keys =
        client.send("POST", &format!("{account}/listKeys?api-version=2023-01-01"), Value::Null, &[]).await;
    assert_eq!(keys.body["keys"][0]["keyName"], "key1");
    let filter = "$filter=resourceType%20eq%20%27Microsoft.Compute%2FvirtualMachines%27";
    let all = client.get(&format!("{SUB}/resources?{RESOURCES}&{filter}")).await;
    assert_eq!(all.names().len(), 10);
    assert!(all.body["value"][0].get("properties").is_none());
    let inner = format!("{}?{COMPUTE}", vm("rg-alpha", "web-01"));
    let batch = json!({ "requests": [{ "name": "a", "httpMethod": "GET", "url": inner }, { "name": "b", "httpMethod": "DELETE", "url": inner }] });
    let answered = client.send("POST", "/batch?api-version=2020-06-01", batch, &[]).await;
    assert_eq!(answered.body["responses"][0]["content"]["name"], "web-01");
    assert_eq!(answered.body["responses"][1]["httpStatusCode"], 202);
    sim.stop().await;
}
