//! What goes straight through: other methods, tunnels, consoles, and errors of our own.

use crate::support::{Gate, Options, Reply, Rig};

#[tokio::test]
async fn what_is_passed_is_passed_as_it_is() {
    let rig = Rig::start().await;
    let cases = [
        ("GET", "/api2/json/passed/1", "fwd=bypass; detail=pass"),
        ("GET", "/pve2/js/app.js?ver=1", "fwd=bypass; detail=unmatched"),
        ("OPTIONS", "/api2/json/item/1", "fwd=method; detail=request"),
        ("POST", "/api2/json/item/1", "fwd=method; detail=write"),
    ];
    for (method, target, cache) in cases {
        let path = target.split('?').next().expect("a path");
        let reply = Reply::status(299, "Quite Fine").with_body("as it is").field("Set-Cookie", "a=b");
        rig.origin().on(&format!("{method} {path}"), reply.field("ETag", "\"x\""));
        for _ in 0..2 {
            let ask = rig.ask(method, target).field("If-None-Match", "\"y\"").field("Range", "bytes=0-1");
            let got = ask.field("Accept-Encoding", "br").send().await;
            assert_eq!((got.status, got.reason.as_str(), got.text()), (299, "Quite Fine", "as it is"));
            assert_eq!((got.cache(), got.field("set-cookie")), (cache, Some("a=b")), "{method} {target}");
            assert_eq!(got.field("etag"), Some("\"x\""));
        }
        let call = rig.origin().last(&format!("{method} {path}"));
        assert_eq!(call.target, target);
        for (name, value) in [("if-none-match", "\"y\""), ("range", "bytes=0-1"), ("accept-encoding", "br")] {
            assert_eq!(call.field(name), Some(value));
        }
        assert_eq!(rig.origin().count(&format!("{method} {path}")), 2);
    }
    rig.finish().await;
}

#[tokio::test]
async fn callers_that_must_see_the_api_itself_do() {
    let rig = Rig::start().await;
    rig.warm("/api2/json/watch/1").await;
    let got = rig.get("/api2/json/watch/1").field("CommandName", "vm wait").send().await;
    assert_eq!(got.cache(), "fwd=bypass; detail=bypass");
    assert!(rig.get("/api2/json/watch/1").field("CommandName", "vm list").send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_download_that_breaks_off_breaks_off_for_the_client() {
    let rig = Rig::start().await;
    for reply in [Reply::body(vec![b'x'; 1 << 20]).cut(), Reply::body(vec![b'x'; 1 << 20]).cut().chunked()] {
        rig.origin().on("GET /api2/json/passed/1", reply);
        let got = rig.get("/api2/json/passed/1").send().await;
        assert_eq!(got.status, 200);
    }
    rig.origin().on("GET /api2/json/passed/1", Reply::body(vec![b'x'; 1 << 20]).cut());
    let got = rig.get("/api2/json/passed/1").send().await;
    assert!(!got.whole && got.body.len() <= 1 << 19);
    rig.origin().on("GET /api2/json/passed/1", Reply::body(vec![b'x'; 8 << 20]));
    let got = rig.get("/api2/json/passed/1").send().await;
    assert!(got.whole && got.body.len() == 8 << 20);
    rig.finish().await;
}

#[tokio::test]
async fn a_download_streams() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on("GET /api2/json/passed/1", Reply::body("0123456789").held_in_body(&gate));
    let mut reader = rig.get("/api2/json/passed/1").open().await;
    assert_eq!(reader.bytes(5).await, b"01234");
    gate.open();
    assert_eq!(reader.bytes(5).await, b"56789");
    drop(reader);
    rig.finish().await;
}

const CONSOLE: &str = "/api2/json/nodes/pve1/qemu/100/vncproxy";
const SOCKET: &str = "/api2/json/nodes/pve1/qemu/100/vncwebsocket";

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let rig = Rig::start().await;
    rig.origin().on(&format!("GET {SOCKET}"), Reply::tunnel());
    let ask = rig.get(&format!("{SOCKET}?port=5900&vncticket=x"));
    let ask = ask.field("Connection", "Upgrade").field("Upgrade", "websocket");
    let mut tunnel = ask.field("Sec-WebSocket-Key", "abc").open().await;
    assert_eq!(tunnel.status(), 101, "{}", tunnel.head);
    assert!(tunnel.head.to_ascii_lowercase().contains("upgrade: websocket"), "{}", tunnel.head);
    let call = rig.origin().last(&format!("GET {SOCKET}"));
    assert_eq!(call.target, format!("{SOCKET}?port=5900&vncticket=x"));
    assert_eq!((call.field("upgrade"), call.field("sec-websocket-key")), (Some("websocket"), Some("abc")));
    for text in [&b"there"[..], b"and back", &[0; 100_000]] {
        tunnel.write(text).await;
        assert_eq!(tunnel.bytes(text.len()).await, text);
    }
    drop(tunnel);
    rig.finish().await;
}

#[tokio::test]
async fn a_refused_tunnel_is_a_plain_answer() {
    let rig = Rig::start().await;
    rig.origin().on(&format!("GET {SOCKET}"), Reply::status(401, "No ticket"));
    let ask = rig.get(SOCKET).field("Connection", "Upgrade").field("Upgrade", "websocket");
    let opened = ask.open().await;
    assert_eq!(opened.status(), 401);
    drop(opened);
    rig.finish().await;
}

#[tokio::test]
async fn a_console_stays_with_the_endpoint_that_opened_it() {
    // Calls go to equals in turn: whichever opens the console, the other one's turn comes next.
    let mut openers = Vec::new();
    for before in 0..2 {
        let rig = Rig::with(Options { endpoints: 2, ..Options::default() }).await;
        for origin in &rig.origins {
            origin.on(&format!("GET {SOCKET}"), Reply::tunnel());
        }
        for _ in 0..before {
            rig.get("/api2/json/passed/1").send().await;
        }
        rig.ask("POST", CONSOLE).send().await;
        let count = |call: &str| rig.origins.iter().position(|origin| origin.count(call) == 1);
        let opener = count(&format!("POST {CONSOLE}"));
        upgrade(&rig).await;
        assert_eq!(count(&format!("GET {SOCKET}")), opener);
        openers.extend(opener);
        rig.finish().await;
    }
    openers.sort_unstable();
    assert_eq!(openers, [0, 1]);
}

async fn upgrade(rig: &Rig) {
    let ask = rig.get(SOCKET).field("Connection", "Upgrade").field("Upgrade", "websocket");
    assert_eq!(ask.open().await.status(), 101);
}

#[tokio::test]
async fn errors_of_our_own_are_in_the_apis_form_and_name_no_address() {
    let mut rig = Rig::start().await;
    rig.origins[0].stop().await;
    let address = rig.origins[0].address.to_string();
    for (path, json) in [
        ("/api2/json/item/1", r#"{"data":null,"message":"forebay: the API cannot be reached\n"}"#),
        (
            "/api2/extjs/item/1",
            r#"{"data":null,"success":0,"status":502,"message":"forebay: the API cannot be reached\n"}"#,
        ),
    ] {
        for method in ["GET", "POST", "HEAD", "DELETE"] {
            let got = rig.ask(method, path).send().await;
            assert_eq!((got.status, got.reason.as_str()), (502, "forebay: the API cannot be reached"));
            assert_eq!(got.cache(), "detail=unreachable");
            assert_eq!(got.field("retry-after"), None);
            let all = format!("{}{}", got.head, got.text());
            assert!(!all.contains(&address) && !all.contains("127.0.0.1"), "{all}");
            if method != "HEAD" {
                let value: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
                assert_eq!(value, serde_json::from_str::<serde_json::Value>(json).expect("JSON"));
            }
        }
    }
    rig.finish().await;
}
