//! `/metadata/endpoints`: what `az cloud register` and Terraform's `metadata_host` learn of the cloud.

use super::super::support::{Reply, Rig};
use super::arm;

const PATH: &str = "/metadata/endpoints";
const CALL: &str = "GET /metadata/endpoints";

/// The description of a cloud, with everything that must stay beside what must change.
fn cloud(api: &str) -> String {
    format!(
        r#"{{"portal":"https://portal.azure.com","authentication":{{"loginEndpoint":"https://login.microsoftonline.com","audiences":["https://management.core.windows.net/","https://management.azure.com/"],"resourceManager":"https://management.azure.com/"}},"name":"AzureCloud","nextLink":"https://management.azure.com/x","resourceManager":"{api}/"}}"#
    )
}

const PUBLIC: &str = "https://management.azure.com";
/// What clients of these tests use.
const OURS: &str = "http://forebay.test";

async fn learnt(rig: &Rig, version: &str) -> (String, String) {
    let got = rig.get(&format!("{PATH}?api-version={version}")).anonymous().send().await;
    assert!(got.status == 200 && got.whole, "{}", got.head);
    (got.cache().to_owned(), got.text().to_owned())
}

#[tokio::test]
async fn the_api_is_where_the_client_came_from_and_all_else_as_it_was() {
    let rig = super::rig("azure").await;
    let list = |api: &str| format!("[ {},\n{} ]", cloud(api), cloud("https://elsewhere.example"));
    let cases = [
        ("2022-09-01", cloud(PUBLIC), cloud(OURS)),
        ("2020-06-01", list(PUBLIC), list(OURS)),
        (
            "2019-05-01",
            format!("[{}, {{}}]", cloud(&format!("{PUBLIC}:443"))),
            format!("[{}, {{}}]", cloud(&format!("{OURS}/~r/:443"))),
        ),
        ("2015-01-01", cloud("https://elsewhere.example"), cloud("https://elsewhere.example")),
    ];
    for (version, theirs, ours) in cases {
        rig.origin().on(CALL, arm(&theirs).chunked());
        let (cache, text) = learnt(&rig, version).await;
        assert_eq!((cache.as_str(), text), ("fwd=uri-miss; stored", ours.clone()), "{version}");
        let (cache, text) = learnt(&rig, version).await;
        assert_eq!((cache.as_str(), text), ("hit; ttl=3600", ours), "{version}: kept, for everybody");
    }
    assert_eq!(rig.origin().count(CALL), 4);
    rig.finish().await;
}

#[tokio::test]
async fn a_member_of_that_name_elsewhere_is_none_of_ours() {
    let rig = super::rig("azure").await;
    for path in ["/subscriptions/s/providers", "/metadata/endpoints/x", "/metadata"] {
        rig.origin()
            .on(&format!("GET {path}"), arm(r#"{"resourceManager":"https://management.azure.com/"}"#));
        let got = rig.get(path).bearer("token").send().await;
        assert_eq!(got.text(), r#"{"resourceManager":"https://management.azure.com/"}"#, "{path}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_description_that_is_none_passes_as_it_is() {
    let rig = super::rig("azure").await;
    for body in [
        "[]",
        "[[{\"resourceManager\":\"https://management.azure.com/\"}]]",
        "[1,{\"resourceManager\":\"https://management.azure.com/\"}]",
        "\"x\"",
        "",
    ] {
        rig.origin().on(CALL, Reply::body(body).field("Content-Type", "application/json"));
        let got = rig.get(PATH).anonymous().field("Cache-Control", "no-cache").send().await;
        assert_eq!(got.text(), body);
    }
    rig.finish().await;
}
