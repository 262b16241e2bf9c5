//! Hosts that are served here.

use forebay::server::certs::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::{Front, HOST, ask, read_head, shake_hands};
use crate::support::{Reply, within};

const INTERCEPT: &str = "intercept: {api.example: lab}";
const ITEM: &str = "/api2/json/item/1";

#[tokio::test]
async fn an_intercepted_host_is_served_from_the_cache() {
    let front = Front::start(INTERCEPT, "").await;
    let link = format!("https://{HOST}/api2/json/item/2");
    let reply = Reply::body(format!("{{\"data\":\"{link}\"}}")).field("Location", &link);
    front.origin.on(&format!("GET {ITEM}"), reply);
    let mut stream = front.encrypted().await;
    let first = ask(&mut stream, HOST, ITEM, "Proxy-Authorization: Basic c2VjcmV0\r\n").await;
    assert!(first.contains("fwd=uri-miss; stored"), "{first}");
    assert!(first.contains(&format!("\"data\":\"{link}\"")), "{first}");
    assert!(first.to_lowercase().contains(&format!("location: {link}")), "nothing is rewritten: {first}");
    let second = ask(&mut stream, "API.example:443", ITEM, "").await;
    assert!(second.contains("cache-status: forebay; hit"), "{second}");
    let mut other = front.encrypted().await;
    assert!(ask(&mut other, HOST, ITEM, "").await.contains("cache-status: forebay; hit"));
    let call = front.origin.last(&format!("GET {ITEM}"));
    assert_eq!(front.origin.calls().len(), 1);
    assert_eq!(call.field("host"), Some(front.origin.address.to_string().as_str()), "that of the endpoint");
    assert!(!call.head.to_lowercase().contains("proxy-"), "{}", call.head);
    assert_eq!(front.metric("forebay_connects_total{outcome=\"intercepted\"}"), 2);
    drop((stream, other));
    front.until_metric("forebay_connections", 0).await;
    front.app.drain().await;
}

#[tokio::test]
async fn the_certificate_is_for_the_host_alone_and_kept() {
    let front =
        Front::start("intercept: {api.example: lab, \"*.api.example\": lab, 10.9.8.7: lab}", "").await;
    let shown = async |host: &str, name: &str| {
        let stream = front.inside(host, name, &[]).await?;
        let chain = stream.get_ref().1.peer_certificates().expect("it was verified").to_vec();
        assert_eq!(chain.len(), 1, "clients have the CA");
        Ok::<_, std::io::Error>(chain[0].clone().into_owned())
    };
    let first = shown("api.example:443", HOST).await.expect("its own name");
    assert_eq!(shown("API.example:443", HOST).await.expect("the same"), first);
    let below = shown("west.api.example:443", "west.api.example").await.expect("below the domain");
    assert_eq!(shown("east.api.example:443", "east.api.example").await.expect("likewise"), below);
    assert_ne!(below, first);
    shown("10.9.8.7:443", "10.9.8.7").await.expect("an address that is named");
    front.reload("intercept: {api.example: lab}", "").await;
    assert_eq!(shown("api.example:443", HOST).await.expect("still served"), first, "a reload keeps it");
    // Only the CA has files; no key that speaks for the host is on disk.
    let mut files: Vec<_> = std::fs::read_dir(front.directory.path().join("certs"))
        .expect("it was made")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
        .collect();
    files.sort();
    assert_eq!(files, [".lock", "ca-key.pem", "ca.pem"]);
    front.app.drain().await;
}

#[tokio::test]
async fn a_client_that_trusts_another_ca_is_not_fooled() {
    let front = Front::start(INTERCEPT, "").await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = Authority::make_or_load(elsewhere.path()).expect("a CA");
    let stream = front.connected("api.example:443").await;
    assert!(shake_hands(stream, HOST, other.certificate().clone(), &[]).await.is_err());
    front.until_metric("forebay_refused_total{reason=\"handshake\"}", 1).await;
    front.app.drain().await;
}

#[tokio::test]
async fn the_protocols_are_those_of_the_api() {
    let plain = "api: none\nreads: [{path: /x, ttl: 10s}]";
    let cases: [(&str, &str, &[u8]); 3] = [
        (crate::support::RULES, INTERCEPT, b"http/1.1"),
        (plain, INTERCEPT, b"h2"),
        (plain, "protocols: [http/1.1], intercept: {api.example: lab}", b"http/1.1"),
    ];
    for (rules, listener, chosen) in cases {
        let front = Front::with_rules(rules, listener, "").await;
        let stream = front.inside("api.example:443", HOST, &["h2", "http/1.1"]).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen), "{listener}");
        drop(stream);
        front.app.drain().await;
    }
}

#[tokio::test]
async fn what_is_inside_must_be_for_the_upstream_of_the_connect() {
    let hosts = "intercept: {api.example: lab, \"*.api.example\": lab, other.example: other}";
    let front = Front::start(hosts, "").await;
    for (host, name) in [("api.example", "west.api.example"), ("west.api.example", "east.api.example")] {
        let failed = front.inside(&format!("{host}:443"), name, &[]).await;
        let error = failed.expect_err("a handshake for another host").to_string();
        assert!(error.contains("UnrecognizedName") || error.contains("UnrecognisedName"), "{error}");
    }
    // A client that names nobody: an address has no place in the handshake.
    assert!(front.inside("api.example:443", "10.9.8.7", &[]).await.is_err());
    assert_eq!(front.metric("forebay_refused_total{reason=\"handshake\"}"), 3);
    for host in ["other.example", "api.example:8443", "api.example.", "elsewhere.example", "127.0.0.1"] {
        let mut stream = front.encrypted().await;
        let answer = ask(&mut stream, host, ITEM, "").await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{host}: {answer}");
        assert!(
            ask(&mut stream, HOST, ITEM, "").await.starts_with("HTTP/1.1 200 "),
            "the connection is good"
        );
    }
    let mut stream = front.encrypted().await;
    let other = ask(&mut stream, "west.api.example", ITEM, "").await;
    assert!(other.contains("cache-status: forebay; hit"), "another name of the same upstream: {other}");
    let more = format!("Host: west.{HOST}\r\n");
    assert!(ask(&mut stream, HOST, ITEM, &more).await.starts_with("HTTP/1.1 421 "));
    assert_eq!(front.origin.calls().len(), 1);
    front.app.drain().await;
}

#[tokio::test]
async fn a_reload_adds_and_takes_away_hosts() {
    let front = Front::start(INTERCEPT, "").await;
    let (_, refused) = front.connect("more.example:443").await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let mut open = front.encrypted().await;
    front.reload("intercept: {api.example: lab, more.example: lab}", "").await;
    let mut more = front.inside("more.example:443", "more.example", &[]).await.expect("it was added");
    assert!(ask(&mut more, "more.example", ITEM, "").await.starts_with("HTTP/1.1 200 "));
    assert!(ask(&mut open, HOST, ITEM, "").await.contains("forebay; hit"), "one upstream, one cache");
    front.reload("intercept: {more.example: lab}", "").await;
    assert!(ask(&mut open, HOST, ITEM, "").await.starts_with("HTTP/1.1 421 "), "on open connections as well");
    assert!(front.connect("api.example:443").await.1.starts_with("HTTP/1.1 403 "));
    front.app.drain().await;
}

#[tokio::test]
async fn a_client_that_leaves_half_way_leaves_nothing_behind() {
    let front = Front::start(INTERCEPT, "").await;
    drop(front.connected("api.example:443").await);
    front.until_metric("forebay_connections", 0).await;
    let mut stream = front.connected("api.example:443").await;
    // The beginning of a handshake.
    stream.write_all(&[22, 3, 1, 0, 200, 1]).await.expect("forebay reads");
    drop(stream);
    front.until_metric("forebay_connections", 0).await;
    let mut stream = front.connected("api.example:443").await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("forebay reads");
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.expect("an alert and the end");
    assert_eq!(rest.first(), Some(&21), "an alert of TLS");
    drop(stream);
    front.until_metric("forebay_connections", 0).await;
    front.until_metric("forebay_refused_total{reason=\"handshake\"}", 3).await;
    front.app.drain().await;
}

#[tokio::test]
async fn what_came_with_the_connect_is_the_beginning_of_the_handshake() {
    let front = Front::start(INTERCEPT, "").await;
    let mut stream = TcpStream::connect(front.address()).await.expect("forebay listens");
    let head = b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n";
    // No handshake at all: what answers it is the TLS inside.
    stream.write_all(&[head, &b"no handshake"[..]].concat()).await.expect("forebay reads");
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.expect("an alert and the end");
    assert_eq!(rest.first(), Some(&21), "an alert of TLS");
    front.app.drain().await;
}

#[tokio::test]
async fn a_drain_ends_what_is_idle_inside_and_lets_what_has_begun_finish() {
    let front = Front::start(INTERCEPT, "").await;
    let gate = crate::support::Gate::new();
    front.origin.on(&format!("GET {ITEM}"), Reply::body("{\"data\":\"late\"}").held(&gate));
    let mut idle = front.encrypted().await;
    let mut waiting = front.connected("api.example:443").await;
    let mut busy = front.encrypted().await;
    let asked = format!("GET {ITEM} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    busy.write_all(asked.as_bytes()).await.expect("forebay reads");
    let Front { app, origin, directory: _directory } = front;
    crate::support::until("the call is upstream", || origin.calls().len() == 1).await;
    let drain = tokio::spawn(app.drain());
    let mut rest = Vec::new();
    // The end of a connection, however it is told.
    let _closed = within("the end", idle.read_to_end(&mut rest)).await;
    let _closed = within("the end", waiting.read_to_end(&mut rest)).await;
    assert!(rest.is_empty() && !drain.is_finished());
    gate.open();
    let head = read_head(&mut busy).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("connection: close"), "{head}");
    let _whole = within("the body", busy.read_to_end(&mut rest)).await;
    assert_eq!(String::from_utf8_lossy(&rest), "{\"data\":\"late\"}");
    within("the drain", drain).await.expect("no panic");
}

#[tokio::test]
async fn nothing_is_rewritten_for_those_who_use_the_names_of_the_api() {
    let rules = "api: azure\nmatch: {case_insensitive: true}\nreads: [{path: /metadata/endpoints, ttl: 1h, share: everyone, anonymous: true}, \
                 {path: \"/subscriptions/{s}/vms\", ttl: 30s}]";
    let front = Front::with_rules(rules, "intercept: {management.azure.com: lab}", "").await;
    let bodies = [
        ("/metadata/endpoints", r#"{"resourceManager":"https://management.azure.com/"}"#),
        (
            "/subscriptions/s/vms",
            r#"{"nextLink":"https://management.azure.com/subscriptions/s/vms?$skiptoken=1"}"#,
        ),
    ];
    let host = "management.azure.com";
    let mut stream = front.inside(&format!("{host}:443"), host, &["http/1.1"]).await.expect("a handshake");
    for (path, body) in bodies {
        let reply = Reply::body(body).field("Azure-AsyncOperation", "https://management.azure.com/poll");
        front.origin.on(&format!("GET {path}"), reply);
        let answer = ask(&mut stream, host, path, "").await;
        assert!(answer.ends_with(body), "{answer}");
        assert!(answer.to_lowercase().contains("azure-asyncoperation: https://management.azure.com/poll"));
    }
    drop(stream);
    front.app.drain().await;
}
