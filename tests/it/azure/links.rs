//! Addresses in answers lead back to where the client came from, and nowhere else.

use std::io::Write as _;

use super::super::support::{Ask, Gate, Got, Options, Reply, Rig};
use super::arm;

const RULES: &str = r#"
api: azure
match: {case_insensitive: true}
reads:
  - {path: "/subscriptions/{s}/vms", ttl: 30s}
  - {path: "/subscriptions/{s}/passed", ttl: pass}
writes:
  - {methods: [POST], path: "/subscriptions/{s}/start", invalidates: ["/subscriptions/{s}/vms"]}
"#;

const LIST: &str = "/subscriptions/s/vms";
const CALL: &str = "GET /subscriptions/s/vms";
const NEXT: &str = "/subscriptions/s/vms?api-version=1&%24skiptoken=aB%3d%3D";

/// The base of what clients of these tests get: the `Host` that they send.
const BASE: &str = "http://forebay.test";

fn list(origin: &str) -> String {
    format!(r#"{{"value":[{{"id":"https://management.azure.com/x"}}],"nextLink":"{origin}{NEXT}"}}"#)
}

fn get(rig: &Rig, target: &str) -> Ask {
    rig.get(target).bearer("token")
}

async fn rig() -> Rig {
    super::rig(RULES).await
}

#[track_caller]
fn is_whole(got: &Got, body: &str) {
    assert_eq!((got.status, got.text(), got.whole), (200, body, true), "{}", got.head);
}

#[tokio::test]
async fn page_two_stays_here_on_every_way_through() {
    let rig = rig().await;
    for path in [LIST, "/subscriptions/s/passed", "/subscriptions/s/unmatched"] {
        for reply in
            [arm(&list("https://management.azure.com")), arm(&list("https://management.azure.com")).chunked()]
        {
            rig.origin().on(&format!("GET {path}"), reply);
            let got = get(&rig, path)
                .field("Accept-Encoding", "gzip")
                .field("Cache-Control", "no-cache")
                .send()
                .await;
            is_whole(&got, &list(BASE));
            assert_eq!(got.field("content-length"), None);
        }
    }
    // From the store, with its length.
    let got = get(&rig, LIST).send().await;
    assert!(got.is_hit(), "{}", got.cache());
    is_whole(&got, &list(BASE));
    assert_eq!(got.field("content-length"), Some(&*list(BASE).len().to_string()));
    // And back, byte for byte.
    assert_eq!(get(&rig, NEXT).send().await.status, 200);
    assert_eq!(rig.origin().calls().last().expect("called").target, NEXT);
    // A write may answer with a list too.
    rig.origin().on("POST /subscriptions/s/start", arm(&list("https://management.azure.com")));
    is_whole(&rig.ask("POST", "/subscriptions/s/start").body("{}").send().await, &list(BASE));
    rig.finish().await;
}

#[tokio::test]
async fn what_a_body_begins_with_is_not_held_back() {
    let rig = rig().await;
    let body = list("https://management.azure.com");
    let gate = Gate::new();
    rig.origin().on(CALL, arm(&body).held_in_body(&gate));
    let mut opened = get(&rig, LIST).open().await;
    let first = opened.bytes(20).await;
    assert!(first.windows(9).any(|part| part == b"{\"value\":"), "{first:?}");
    gate.open();
    rig.quiet().await;
    is_whole(&get(&rig, LIST).send().await, &list(BASE));
    rig.finish().await;
}

#[tokio::test]
async fn each_listener_has_its_own_name_in_them() {
    let listeners = vec![
        "{address: 127.0.0.1:0, upstream: lab, public_url: 'https://lab.example:8443/arm/'}",
        "{address: 127.0.0.1:0, upstream: lab, public_url: https://other.example}",
    ];
    let rig = Rig::with(Options { rules: RULES.into(), listeners, ..Options::default() }).await;
    let addresses = rig.app.addresses();
    let many = "x".repeat(2_000);
    let body = |origin: &str| list(origin).replace("\"value\"", &format!("\"many\":\"{many}\",\"value\""));
    rig.origin().on(CALL, arm(&body("https://management.azure.com")));
    for _ in 0..2 {
        for (address, base) in
            addresses.iter().zip([BASE, "https://lab.example:8443/arm", "https://other.example"])
        {
            is_whole(&Ask::new(*address, "GET", LIST).bearer("token").send().await, &body(base));
            // The compressed form is made for each of them.
            let got =
                Ask::new(*address, "GET", LIST).bearer("token").field("Accept-Encoding", "gzip").send().await;
            assert!(got.is_hit());
            assert_eq!(got.field("content-encoding"), Some("gzip"));
            assert_eq!(gunzip(&got.body), body(base));
        }
    }
    assert_eq!(rig.origin().count(CALL), 1, "stored once, in the API's own form");
    // Nor does the Host of one client reach the answer of another.
    let evil = Ask::new(addresses[0], "GET", LIST)
        .bearer("token")
        .field("X-Forwarded-Host", "evil.example")
        .send()
        .await;
    is_whole(&evil, &body(BASE));
    rig.finish().await;
}

fn gunzip(bytes: &[u8]) -> String {
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(bytes).expect("gzip");
    String::from_utf8(decoder.finish().expect("gzip")).expect("text")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("gzip");
    encoder.finish().expect("gzip")
}

#[tokio::test]
async fn a_body_that_comes_compressed_is_read_all_the_same() {
    let rig = rig().await;
    for path in [LIST, "/subscriptions/s/passed"] {
        let coded = gzip(&list("https://management.azure.com"));
        let reply = arm("").with_body(coded.clone()).field("Content-Encoding", "gzip");
        rig.origin().on(&format!("GET {path}"), reply);
        let got = get(&rig, path).field("Accept-Encoding", "gzip").send().await;
        is_whole(&got, &list(BASE));
        assert_eq!(got.field("content-encoding"), None);
        assert_eq!(rig.origin().calls().last().expect("called").field("accept-encoding"), None);
        // One that breaks off does so for the client.
        let reply = arm("").with_body(coded[..coded.len() - 9].to_vec()).field("Content-Encoding", "gzip");
        rig.origin().on(&format!("GET {path}"), reply);
        assert!(!get(&rig, path).send().await.whole);
        // What nobody here can read is left alone.
        let reply = arm("").with_body(coded.clone()).field("Content-Encoding", "br");
        rig.origin().on(&format!("GET {path}"), reply);
        assert_eq!(get(&rig, path).send().await.body, coded);
    }
    rig.finish().await;
}

#[tokio::test]
async fn only_json_is_read() {
    let rig = rig().await;
    let body = list("https://management.azure.com");
    let text = Reply::body(body.clone()).field("Content-Type", "text/plain");
    rig.origin().on("GET /subscriptions/s/passed", text);
    let got = get(&rig, "/subscriptions/s/passed").send().await;
    is_whole(&got, &body);
    assert_eq!(got.field("content-length"), Some(&*body.len().to_string()));
    let big = format!(r#"{{"a":"{}","nextLink":"https://management.azure.com/b"}}"#, "x".repeat(3 << 20));
    rig.origin().on("GET /subscriptions/s/passed", arm(&big));
    let got = get(&rig, "/subscriptions/s/passed").send().await;
    assert!(got.text().ends_with(&format!(r#""nextLink":"{BASE}/b"}}"#)), "of any size");
    rig.finish().await;
}

#[tokio::test]
async fn poll_addresses_lead_here_and_back_to_the_api_alone() {
    let rig = rig().await;
    let secret = "/subscriptions/s/operations/1?t=1&c=MIIH%2a*&s=a_-~&h=b";
    let own = format!("http://{}", rig.origin().address);
    let cases = [
        ("https://management.azure.com".to_owned(), ""),
        ("https://management.azure.com:443".to_owned(), "/~r/:443"),
        ("https://westeurope.management.azure.com".to_owned(), "/~r/westeurope"),
        (own.clone(), ""),
    ];
    for (origin, prefix) in cases {
        for name in ["Location", "Azure-AsyncOperation", "Operation-Location"] {
            let reply =
                Reply::status(202, "Accepted").with_body("").field(name, &format!("{origin}{secret}"));
            rig.origin().on("POST /subscriptions/s/start", reply);
            let got = rig.ask("POST", "/subscriptions/s/start").body("{}").send().await;
            let address = got.field(name).expect("it is there").to_owned();
            assert_eq!((got.status, &*address), (202, &*format!("{BASE}{prefix}{secret}")));
            let followed = get(&rig, address.strip_prefix(BASE).expect("it leads here")).send().await;
            assert_eq!(followed.status, 200);
            let call = rig.origin().calls().pop().expect("called");
            assert_eq!(call.target, secret);
            assert_eq!(call.field("host"), Some(&*rig.origin().address.to_string()));
        }
    }
    for other in [
        "https://evil.example/a",
        "https://management.azure.com.evil.example/a",
        "/relative",
        "//evil.example/",
    ] {
        let reply = Reply::status(202, "Accepted").with_body("").field("Location", other);
        rig.origin().on("POST /subscriptions/s/start", reply);
        let got = rig.ask("POST", "/subscriptions/s/start").body("{}").send().await;
        assert_eq!(got.field("location"), Some(other));
    }
    // Redirects lead here as well, and errors may be long.
    let redirect =
        Reply::status(307, "Temporary Redirect").field("Location", "https://management.azure.com/b");
    rig.origin().on(CALL, redirect);
    assert_eq!(get(&rig, LIST).send().await.field("location"), Some(&*format!("{BASE}/b")));
    rig.finish().await;
}

#[tokio::test]
async fn no_token_goes_to_a_host_that_a_client_names() {
    let rig = rig().await;
    for path in [
        "/~r/evil.example/a",
        "/~r/evil.example:443/a",
        "/~r/evil%2eexample/a",
        "/~r/EVIL/a",
        "/~r/user@evil/a",
        "/~r/../a",
        "/~r/eastus/../a",
        "/~r/eastus/%2e%2e/a",
        "/~r//a",
        "/~r/",
        "/~r/eastus",
        "/~r/eastus/~r/westus/a",
    ] {
        let got = get(&rig, path).send().await;
        assert_eq!(got.status, 400, "{path}");
        assert!(got.text().starts_with(r#"{"error":{"code":"BadRequest""#), "{}", got.text());
    }
    assert_eq!(rig.origin().calls().len(), 0);
    // Whatever else looks like a host is a path of the API, at the API.
    for path in
        ["/~r/eastus//evil.example/a", "//evil.example/a", "/%7Er/evil.example/a", "/https://evil.example/a"]
    {
        get(&rig, path).send().await;
        let call = rig.origin().calls().pop().expect("called");
        assert_eq!(call.field("host"), Some(&*rig.origin().address.to_string()));
        assert_eq!(call.target, path.trim_start_matches("/~r/eastus"));
    }
    rig.finish().await;
}

#[tokio::test]
async fn what_a_region_is_asked_is_never_kept() {
    let rig = rig().await;
    rig.origin().on(CALL, arm(&list("https://eastus.management.azure.com")));
    let next = format!("/~r/eastus{NEXT}");
    is_whole(&get(&rig, LIST).send().await, &list(&format!("{BASE}/~r/eastus")));
    is_whole(&get(&rig, LIST).send().await, &list(&format!("{BASE}/~r/eastus")));
    for n in 1..3 {
        assert_eq!(get(&rig, &next).send().await.cache(), "fwd=bypass; detail=pass");
        assert_eq!(rig.origin().calls().iter().filter(|call| call.target == NEXT).count(), n);
    }
    // A port alone is another spelling of the same.
    get(&rig, &format!("/~r/:443{LIST}")).send().await;
    assert!(get(&rig, &format!("/~r/:443{LIST}")).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn other_apis_know_nothing_of_it() {
    let rig = Rig::start().await;
    let body = list("https://management.azure.com");
    rig.origin()
        .on("GET /plain/a", Reply::body(body.clone()).field("Location", "https://management.azure.com/a"));
    let got = get(&rig, "/plain/a").send().await;
    is_whole(&got, &body);
    assert_eq!(got.field("location"), Some("https://management.azure.com/a"));
    get(&rig, "/~r/eastus/a").send().await;
    assert_eq!(rig.origin().calls().last().expect("called").target, "/~r/eastus/a");
    rig.finish().await;
}
