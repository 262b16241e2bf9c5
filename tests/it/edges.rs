//! The corners of HTTP: answers without a body, connections that go on, versions, and the end.

use crate::support::{Gate, Options, Reply, Rig};

#[tokio::test]
async fn answers_without_a_body_announce_no_length_that_is_not_theirs() {
    let rig = Rig::start().await;
    let body = rig.warm("/api2/json/item/1").await;
    let etag = rig.get("/api2/json/item/1").send().await.field("etag").expect("an etag").to_owned();
    let length = body.len().to_string();
    let theirs = |length: Option<&str>| length.is_none_or(|told| told == body.len().to_string());
    let same = rig.get("/api2/json/item/1").field("If-None-Match", &etag).send().await;
    assert_eq!(same.status, 304);
    assert!(theirs(same.field("content-length")), "{}", same.head);
    // Passed on as the upstream says it.
    let reply = Reply::status(304, "Not Modified").with_body(body.clone());
    rig.origin().on("GET /api2/json/passed/1", reply);
    let passed = rig.get("/api2/json/passed/1").field("If-None-Match", "\"x\"").send().await;
    assert_eq!((passed.status, passed.whole), (304, true));
    assert!(theirs(passed.field("content-length")), "{}", passed.head);
    // A HEAD whose length the upstream does not tell.
    rig.origin().on("HEAD /api2/json/item/2", Reply::numbered().chunked());
    let head = rig.ask("HEAD", "/api2/json/item/2").send().await;
    assert_eq!((head.field("content-length"), head.whole), (None, true), "{}", head.head);
    let head = rig.ask("HEAD", "/api2/json/item/1").send().await;
    assert_eq!(head.field("content-length"), Some(length.as_str()));
    for status in [204, 205] {
        rig.origin().on("POST /api2/json/item/1", Reply::status(status, "Nothing").with_body(""));
        let got = rig.ask("POST", "/api2/json/item/1").send().await;
        assert_eq!((got.status, got.reason.as_str(), got.whole), (status, "Nothing", true));
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_connection_goes_on_after_every_kind_of_answer() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let fields = "Host: f\r\nAuthorization: PVEAPIToken=user@pve!one=secret\r\n";
    rig.origin().on("GET /api2/json/item/2", Reply::body("0123456789").chunked());
    rig.origin().on("GET /api2/json/item/3", Reply::status(500, "no").with_body("0123456789"));
    rig.origin().on("GET /api2/json/item/4", Reply::body("0123456789").field("Set-Cookie", "a=b"));
    rig.origin().on("GET /api2/json/item/1", Reply::body("0123456789"));
    for (method, path) in [
        ("GET", "item/1"),
        ("GET", "item/1"),
        ("HEAD", "item/1"),
        ("GET", "item/3"),
        ("GET", "item/4"),
        ("HEAD", "item/2"),
        ("GET", "item/1"),
    ] {
        client.write(format!("{method} /api2/json/{path} HTTP/1.1\r\n{fields}\r\n").as_bytes()).await;
        client.read_head().await;
        assert!(!client.head.to_ascii_lowercase().contains("connection: close"), "{}", client.head);
        if method == "GET" {
            assert_eq!(client.bytes(10).await, b"0123456789", "{path}");
        }
    }
    // Requests that came at once are answered in order.
    let two = format!("GET /api2/json/item/1 HTTP/1.1\r\n{fields}\r\n").repeat(2);
    client.write(two.as_bytes()).await;
    for _ in 0..2 {
        client.read_head().await;
        assert_eq!(client.bytes(10).await, b"0123456789");
    }
    drop(client);
    rig.finish().await;
}

#[tokio::test]
async fn http_1_0_is_answered_without_chunks() {
    let rig = Rig::start().await;
    rig.origin().on("GET /api2/json/item/1", Reply::body("0123456789").chunked());
    for _ in 0..2 {
        let mut client = rig.connect().await;
        client.write(b"GET /api2/json/item/1 HTTP/1.0\r\n\r\n").await;
        client.read_head().await;
        assert!(!client.head.to_ascii_lowercase().contains("transfer-encoding"), "{}", client.head);
        assert_eq!(client.rest().await.text(), "0123456789");
    }
    rig.finish().await;
}

#[tokio::test]
async fn what_begun_is_finished_before_the_end() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on("GET /api2/json/item/1", Reply::body("0123456789").held_in_body(&gate));
    rig.origin().on("POST /api2/json/item/1", Reply::body("written").held(&gate));
    let mut reader = rig.get("/api2/json/item/1").open().await;
    let writer = rig.ask("POST", "/api2/json/item/1").spawn();
    rig.origin().came("POST /api2/json/item/1", 1).await;
    assert_eq!(reader.bytes(5).await, b"01234");
    let Rig { app, origins, .. } = rig;
    let address = app.addresses()[0];
    let draining = tokio::spawn(app.drain());
    // New connections are refused from some moment on.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!draining.is_finished());
    gate.open();
    assert_eq!(reader.bytes(5).await, b"56789");
    drop(reader);
    assert_eq!(writer.await.expect("answered").text(), "written");
    draining.await.expect("ends");
    assert_eq!(origins[0].calls().len(), 2);
}

#[tokio::test]
async fn a_write_whose_client_has_gone_is_finished_before_the_end() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let call = "POST /api2/json/item/1";
    rig.origin().on(call, Reply::body("written").held(&gate));
    let writer = rig.ask("POST", "/api2/json/item/1").body("a=b").sent().await;
    rig.origin().came(call, 1).await;
    drop(writer);
    let Rig { app, origins, .. } = rig;
    let shared = app.shared().clone();
    let draining = tokio::spawn(app.drain());
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!draining.is_finished(), "the write is still under way");
    gate.open();
    draining.await.expect("ends");
    assert!(shared.registry.render().contains(r#"forebay_invalidations_total{cause="write"} 1"#));
    drop(origins);
}

#[tokio::test]
async fn a_plain_api_keeps_by_what_its_credentials_are() {
    let rules = "api: none\nreads:\n  - {path: \"/**\", ttl: 10s}\n";
    let options =
        Options { rules: rules.into(), upstream: "credentials: [X-Token]".into(), ..Options::default() };
    let rig = Rig::with(options).await;
    let callers: [&[(&str, &str)]; 7] = [
        &[],
        &[("Authorization", "Bearer a")],
        &[("Authorization", "Bearer b")],
        &[("Cookie", "Bearer a")],
        &[("X-Api-Key", "Bearer a")],
        &[("X-Token", "Bearer a")],
        &[("Authorization", "Bearer a"), ("X-Token", "Bearer a")],
    ];
    for (n, fields) in callers.into_iter().enumerate() {
        let ask =
            || fields.iter().fold(rig.get("/x").anonymous(), |ask, (name, value)| ask.field(name, value));
        assert!(!ask().send().await.is_hit(), "caller {n}");
        assert!(ask().send().await.is_hit(), "caller {n}");
        assert_eq!(rig.origin().count("GET /x"), n + 1);
    }
    // An encoded slash is no slash here, and a semicolon separates nothing.
    for (n, target) in ["/a/b", "/a%2Fb", "/a%2fb", "/a/b?x=1;y=2", "/a/b?y=2;x=1"].into_iter().enumerate() {
        assert!(!rig.get(target).send().await.is_hit(), "{n}");
    }
    rig.finish().await;
}
