//! Starting without a file: the API is recognised.

use std::time::Duration;

use forebay::app::App;
use forebay::clock::Clock;
use forebay::config::Settings;

use super::super::support::{Ask, Origin};
use super::arm;

#[tokio::test]
async fn the_api_is_recognised_by_its_public_metadata() {
    let origin = Origin::start().await;
    origin.on("GET /metadata/endpoints", arm(r#"{"resourceManager":"https://management.azure.com/"}"#));
    let listen = "127.0.0.1:0".parse().ok();
    let url = format!("http://{}", origin.address);
    let mut settings = Settings::for_upstream(&url, listen, None, None, None).expect("good settings");
    settings.admin.address = "127.0.0.1:0".parse().expect("an address");
    let app = App::start(settings, Clock::manual()).await.expect("it starts");
    assert_eq!(origin.last("GET /metadata/endpoints").target, "/metadata/endpoints?api-version=2022-09-01");
    // Its errors are in the words of its clients.
    let refused = Ask::new(app.addresses()[0], "GET", "/a/../b").send().await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().starts_with(r#"{"error":{"code":"BadRequest","message":"forebay: "#));
    app.drain().await;
}

#[tokio::test]
async fn rules_by_name_bring_the_limits_of_the_server() {
    let origin = Origin::start().await;
    let url = format!("http://{}", origin.address);
    let settings = Settings::for_upstream(&url, None, Some("azure"), None, None).expect("good settings");
    let upstream = settings.upstream("upstream").expect("it is the only one");
    assert_eq!(upstream.upstream.first_byte_timeout, Duration::from_secs(65));
    assert!(settings.listeners[0].config.protocols.http2);
}

#[test]
fn a_pack_that_minds_case_is_refused() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let file = directory.path().join("pack.yaml");
    std::fs::write(&file, "api: azure\nreads: [{path: /a, ttl: 1s}]\n").expect("writable");
    let [mistake] = &forebay::config::check(&[file])[..] else { panic!("one mistake") };
    assert!(mistake.to_string().contains("case_insensitive: true"), "{mistake}");
}

#[test]
fn what_is_of_no_use_to_an_api_is_refused() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let file = directory.path().join("pack.yaml");
    let promote = "promote: {list: /a, items: /value, match: id}";
    for (text, said) in [
        (
            format!("api: none\nreads:\n  - {{path: '/a/{{b}}', ttl: 1s, {promote}}}\n"),
            "3:5: `promote` is of no use",
        ),
        (
            "api: none\nmatch: {case_insensitive: true, fold_case: true}\nreads: []\n".to_owned(),
            "1:1: `fold_case` is of no use",
        ),
        (
            "api: proxmox\nmatch: {case_insensitive: true, fold_case: true}\nreads: []\n".to_owned(),
            "1:1: `fold_case` is of no use",
        ),
    ] {
        std::fs::write(&file, text).expect("writable");
        let [mistake] = &forebay::config::check(std::slice::from_ref(&file))[..] else {
            panic!("one mistake")
        };
        assert!(mistake.to_string().contains(said), "{mistake}");
    }
}
