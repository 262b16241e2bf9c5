//! What shows that something goes on, and who must see it: answers in transition, callers that act or wait.

use super::super::support::Reply;
use super::{GROUP, VM, arm, rig};

fn vm(state: &str) -> Reply {
    arm(&format!(r#"{{"name":"web-01","properties":{{"provisioningState":"{state}"}}}}"#))
}

#[tokio::test]
async fn what_has_not_reached_its_end_is_kept_for_a_second() {
    let lists = format!("{GROUP}/providers/Microsoft.Compute/virtualMachines");
    let item = |state: &str| format!(r#"{{"properties":{{"provisioningState":"{state}"}}}}"#);
    let moving = [
        item("Updating"),
        format!(r#"{{"value":[{},{}]}}"#, item("Succeeded"), item("Deleting")),
        format!(r#"{{"properties":{{"provisioningState":"Succeeded"}},"resources":[{}]}}"#, item("Creating")),
    ];
    let settled = [
        item("Succeeded"),
        item("failed"),
        format!(r#"{{"value":[{},{},{{}}]}}"#, item("Succeeded"), item("Canceled")),
        r#"{"value":[]}"#.to_owned(),
    ];
    for (bodies, lasts) in [(&moving[..], false), (&settled[..], true)] {
        for body in bodies {
            let rig = rig("azure").await;
            rig.origin().on(&format!("GET {lists}"), arm(body));
            let ask = || rig.get(&lists).bearer("one").send();
            ask().await;
            assert!(ask().await.is_hit(), "{body}");
            rig.seconds(2).await;
            assert_eq!(ask().await.is_hit(), lasts, "{body}");
            rig.finish().await;
        }
    }
}

#[tokio::test]
async fn dynamic_addresses_are_not_kept_at_all() {
    let rig = rig("azure").await;
    let lists = "/subscriptions/s/providers/Microsoft.Network/publicIPAddresses";
    let item = |method: &str| format!(r#"{{"properties":{{"publicIPAllocationMethod":"{method}"}}}}"#);
    rig.origin().on_each(
        &format!("GET {lists}"),
        [
            arm(&format!(r#"{{"value":[{},{}]}}"#, item("Static"), item("Dynamic"))),
            arm(&format!(r#"{{"value":[{}]}}"#, item("Static"))),
        ],
    );
    let ask = || rig.get(lists).bearer("one").send();
    assert!(!ask().await.is_hit());
    assert!(!ask().await.is_hit());
    assert!(ask().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn callers_that_act_or_wait_see_the_api_itself_and_leave_what_is_kept_as_it_is() {
    let rig = rig("azure").await;
    rig.origin().on_each(&format!("GET {VM}"), [vm("Succeeded"), vm("Failed")]);
    let ask = |command: &str| rig.get(VM).bearer("one").field("CommandName", command);
    let first = ask("vm show").send().await;
    assert!(ask("vm list").send().await.is_hit());
    for command in ["vm wait", "vm update", "vm create", "vm delete", "network nic update", "VM WAIT"] {
        let before = rig.origin().count(&format!("GET {VM}"));
        let got = ask(command).send().await;
        assert_eq!(got.cache(), "fwd=bypass; detail=bypass", "{command}");
        assert!(got.text().contains("Failed"), "{command} sees the API itself");
        assert_eq!(rig.origin().count(&format!("GET {VM}")), before + 1, "{command}");
    }
    // What passed is not put in the place of what was kept, nor makes that any younger.
    rig.seconds(20).await;
    assert!(!ask("vm wait").send().await.is_hit());
    let kept = ask("vm show").send().await;
    assert!(kept.is_hit() && kept.body == first.body && kept.field("age") == Some("20"), "{}", kept.head);
    rig.seconds(11).await;
    assert!(ask("vm show").send().await.text().contains("Failed"));
    rig.finish().await;
}

#[tokio::test]
async fn states_of_running_live_shorter_than_models() {
    let rig = rig("azure").await;
    rig.origin().on(&format!("GET {VM}"), vm("Succeeded"));
    let ask = |query: &str| {
        let target = format!("{VM}?api-version=2026-04-01{query}");
        rig.get(&target).bearer("one").send()
    };
    for query in ["", "&$expand=instanceView"] {
        ask(query).await;
        assert!(ask(query).await.is_hit());
    }
    rig.seconds(15).await;
    assert!(ask("").await.is_hit());
    assert!(!ask("&%24expand=instanceView").await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_write_reaches_every_casing_and_version_of_what_it_changes() {
    let rig = rig("azure").await;
    let reads = [
        format!("{VM}?api-version=2024-11-01"),
        format!("{}?api-version=2026-04-01", VM.replace("rg-alpha", "RG-ALPHA")),
        "/SUBSCRIPTIONS/s/resourcegroups/rg-alpha/providers/microsoft.compute/virtualmachines/WEB-01/instanceView"
            .to_owned(),
        "/subscriptions/S/providers/Microsoft.Compute/virtualMachines?api-version=2024-11-01".to_owned(),
        "/subscriptions/s/resources?api-version=2021-04-01".to_owned(),
    ];
    let other = VM.replace("web-01", "web-02");
    let ask = |target: &str| rig.get(target).bearer("one").send();
    for target in reads.iter().chain([&other]) {
        let path = target.split('?').next().unwrap_or_default();
        rig.origin().on(&format!("GET {path}"), vm("Succeeded"));
        ask(target).await;
        assert!(ask(target).await.is_hit(), "{target}");
    }
    let start = format!("{}/START?api-version=2025-01-01", VM.replace("web-01", "Web-01"));
    rig.origin().on(start.split('?').next().map(|path| format!("POST {path}")).as_deref().unwrap(), arm(""));
    rig.ask("POST", &start).bearer("two").send().await;
    for target in &reads {
        assert!(!ask(target).await.is_hit(), "{target}");
    }
    assert!(ask(&other).await.is_hit());
    rig.finish().await;
}
