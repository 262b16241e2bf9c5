//! Never the past: what a write overtakes, and what it does not.

use crate::support::{Gate, Opened, Options, RULES, Reply, Rig, until};

const PATH: &str = "/api2/json/item/1";
const CALL: &str = "GET /api2/json/item/1";
const WRITE: &str = "POST /api2/json/item/1";

#[tokio::test]
async fn an_answer_under_way_when_a_write_lands_is_for_those_who_came_before_alone() {
    let rig = Rig::start().await;
    let (before, body) = (Gate::new(), Gate::new());
    // One read is held before its head, one within its body.
    for (path, reply) in [
        (PATH, Reply::body("the past").held(&before)),
        ("/api2/json/item/1/sub", Reply::body("the past").held_in_body(&body)),
    ] {
        rig.origin().on_each(&format!("GET {path}"), [reply, Reply::body("the present")]);
    }
    let early = rig.get(PATH).spawn();
    let early_body = tokio::spawn(rig.get("/api2/json/item/1/sub").open());
    rig.origin().came(CALL, 1).await;
    let early_body: Opened = early_body.await.expect("a head");
    assert_eq!(rig.ask("POST", PATH).send().await.status, 200);
    for path in [PATH, "/api2/json/item/1/sub"] {
        let late = rig.get(path).send().await;
        assert_eq!(late.text(), "the present", "{path}");
        before.open();
        body.open();
    }
    assert_eq!(early.await.expect("answered").text(), "the past");
    assert_eq!(early_body.rest().await.text(), "the past");
    rig.quiet().await;
    for path in [PATH, "/api2/json/item/1/sub"] {
        let later = rig.get(path).send().await;
        assert_eq!(later.text(), "the present", "the old answer is not stored");
    }
    rig.finish().await;
}

#[tokio::test]
async fn invalidation_comes_before_the_first_byte_of_the_writes_answer() {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    let gate = Gate::new();
    rig.origin().on(WRITE, Reply::numbered().held_before_body(&gate));
    let writing = rig.ask("POST", PATH).open().await;
    assert!(!rig.get(PATH).send().await.is_hit());
    gate.open();
    assert!(writing.rest().await.whole);
    rig.finish().await;
}

#[tokio::test]
async fn a_read_that_arrives_while_a_write_is_under_way_is_not_kept_past_it() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on(WRITE, Reply::numbered().held(&gate));
    let writing = rig.ask("POST", PATH).spawn();
    rig.origin().came(WRITE, 1).await;
    rig.warm(PATH).await;
    gate.open();
    assert_eq!(writing.await.expect("answered").status, 200);
    assert!(!rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}

/// What the outcome of a write does to an entry of its groups.
async fn overtakes(reply: Reply, accepted: bool) -> bool {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    rig.origin().on(WRITE, reply);
    let token = if accepted { "one" } else { "stranger" };
    rig.ask("POST", PATH).token(token).body("a=b").send().await;
    assert_eq!(rig.origin().count(WRITE), 1, "sent once");
    let gone = !rig.get(PATH).send().await.is_hit();
    rig.finish().await;
    gone
}

#[tokio::test]
async fn outcomes() {
    // The outcome, and whether it overtakes for an accepted credential and for one that is not.
    let cases = [
        (Reply::status(200, "OK"), true, true),
        (Reply::status(201, "Created"), true, true),
        (Reply::status(302, "Found"), true, true),
        (Reply::status(400, "Parameter verification failed"), true, false),
        (Reply::status(422, "No"), true, false),
        (Reply::status(403, "Permission check failed"), false, false),
        (Reply::status(405, "No"), false, false),
        (Reply::status(413, "Too large"), false, false),
        (Reply::status(415, "No"), false, false),
        (Reply::status(429, "Later").field("Retry-After", "0"), false, false),
        (Reply::status(501, "No"), false, false),
        (Reply::status(404, "Not found"), true, true),
        (Reply::status(409, "Conflict"), true, true),
        (Reply::status(412, "No"), true, true),
        (Reply::status(500, "VM is locked"), true, true),
        (Reply::status(595, "No route to host"), true, true),
        (Reply::status(596, "Broken pipe"), true, true),
        (Reply::status(504, "Gateway Timeout"), true, true),
        (Reply::reset(), true, true),
        (Reply::garbage(), true, true),
    ];
    for (place, (reply, accepted, stranger)) in cases.into_iter().enumerate() {
        assert_eq!(overtakes(reply.clone(), true).await, accepted, "case {place}, accepted");
        assert_eq!(overtakes(reply, false).await, stranger, "case {place}, stranger");
    }
}

#[tokio::test]
async fn a_401_to_a_write_empties_only_the_partition_of_its_credential() {
    let rig = Rig::start().await;
    for token in ["one", "two"] {
        rig.get(PATH).token(token).send().await;
    }
    rig.origin().on(WRITE, Reply::status(401, "permission denied - invalid PVE ticket"));
    rig.ask("POST", PATH).token("one").send().await;
    assert!(rig.get(PATH).token("two").send().await.is_hit());
    assert!(!rig.get(PATH).token("one").send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn in_extjs_the_status_in_the_body_counts() {
    let cases = [
        (r#"{"success":1,"data":null}"#, true),
        (r#"{"success":0,"status":500,"message":"locked"}"#, true),
        (r#"{"success":0,"status":400,"errors":{}}"#, true),
        (r#"{"success":0,"status":403,"message":"no"}"#, false),
        (r#"{"success":0,"status":501,"message":"no"}"#, false),
        ("no JSON", true),
    ];
    for (body, gone) in cases {
        let rig = Rig::start().await;
        rig.warm(PATH).await;
        rig.origin().on("POST /api2/extjs/item/1", Reply::body(body));
        let got = rig.ask("POST", "/api2/extjs/item/1").send().await;
        assert_eq!((got.text(), got.whole), (body, true));
        assert_eq!(!rig.get(PATH).send().await.is_hit(), gone, "{body}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn an_unknown_outcome_holds_the_groups() {
    for reply in [Reply::reset(), Reply::status(596, "Broken pipe"), Reply::status(504, "Gateway Timeout")] {
        let rig = Rig::start().await;
        rig.warm(PATH).await;
        rig.origin().on(WRITE, reply);
        rig.ask("POST", PATH).send().await;
        for _ in 0..2 {
            let got = rig.get(PATH).send().await;
            assert_eq!(got.cache(), "fwd=bypass; stored; detail=unsettled");
            rig.seconds(1).await;
        }
        rig.seconds(57).await;
        assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
        // The hold ends, the settle time of three seconds follows.
        rig.seconds(2).await;
        rig.app.shared().operations.sweep();
        rig.warm(PATH).await;
        rig.seconds(1).await;
        assert!(!rig.get(PATH).send().await.is_hit(), "kept for a second at most");
        rig.seconds(3).await;
        rig.warm(PATH).await;
        rig.seconds(9).await;
        assert!(rig.get(PATH).send().await.is_hit());
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_write_that_never_left_changes_nothing() {
    let mut rig = Rig::start().await;
    rig.warm(PATH).await;
    rig.origins[0].stop().await;
    let got = rig.ask("POST", PATH).send().await;
    assert_eq!((got.status, got.cache()), (502, "detail=unreachable"));
    assert!(rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn silence_after_a_write_is_an_unknown_outcome() {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    let never = Gate::new();
    rig.origin().on(WRITE, Reply::numbered().held(&never));
    let writing = rig.ask("POST", PATH).spawn();
    rig.origin().came(WRITE, 1).await;
    rig.seconds(60).await;
    let got = writing.await.expect("answered");
    assert_eq!((got.status, got.cache()), (504, "detail=timeout"));
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
    assert_eq!(rig.origin().count(WRITE), 1);
    rig.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_within_a_write_changes_nothing_of_its_outcome() {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    let gate = Gate::new();
    rig.origin().on(WRITE, Reply::numbered().held(&gate));
    let writing = rig.ask("POST", PATH).body("a=b").sent().await;
    rig.origin().came(WRITE, 1).await;
    writing.abort();
    rig.warm(PATH).await;
    gate.open();
    let count = || rig.counter("forebay_invalidations_total");
    until("the invalidation", || count() == 1).await;
    assert!(!rig.get(PATH).send().await.is_hit());
    assert_eq!(rig.origin().count(WRITE), 1);
    rig.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_within_its_content_leaves_an_unknown_outcome_if_it_is_known() {
    let known = "Authorization: PVEAPIToken=user@pve!one=secret\r\n";
    for (credential, cache) in [(known, "fwd=bypass; stored; detail=unsettled"), ("", "fwd=stale; stored")] {
        let rig = Rig::start().await;
        rig.warm(PATH).await;
        let mut client = rig.connect().await;
        // More than what has to be here of a stranger's before it is sent.
        let head = format!("POST {PATH} HTTP/1.1\r\nHost: f\r\n{credential}Content-Length: 200000\r\n\r\n");
        client.write(head.as_bytes()).await;
        client.write(&vec![b'x'; 100_000]).await;
        rig.origin().came(WRITE, 1).await;
        client.abort();
        let count = || rig.counter("forebay_invalidations_total");
        until("the invalidation", || count() == 1).await;
        // Nobody can hold what others read by hanging up, and everybody overtakes it.
        assert_eq!(rig.get(PATH).send().await.cache(), cache);
        assert_eq!(rig.origin().count(WRITE), 1);
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_stranger_that_leaves_before_its_content_is_here_has_changed_nothing() {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    let mut client = rig.connect().await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: f\r\nContent-Length: 100\r\n\r\nhalf");
    client.write(head.as_bytes()).await;
    client.abort();
    until("its end", || rig.counter_of("forebay_requests_total", "bad-request") == 1).await;
    assert!(rig.get(PATH).send().await.is_hit());
    assert_eq!(rig.origin().count(WRITE), 0);
    rig.finish().await;
}

#[tokio::test]
async fn a_refused_configuration_overtakes_although_the_writer_was_silent_for_long() {
    let rules = RULES.replace("item/{id}\", ttl: 10s", "item/{id}\", ttl: 1h");
    let rig = Rig::with(Options { rules, ..Options::default() }).await;
    rig.get(PATH).send().await;
    rig.seconds(120).await;
    rig.get(PATH).token("two").send().await;
    rig.origin().on(WRITE, Reply::status(400, "Parameter verification failed"));
    rig.ask("POST", PATH).token("three").send().await;
    assert!(rig.get(PATH).token("two").send().await.is_hit(), "a stranger's");
    rig.ask("POST", PATH).token("one").send().await;
    assert!(!rig.get(PATH).token("two").send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_write_on_a_connection_that_just_closed_is_not_repeated() {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    // The warm-up left an idle connection; the write on it is reset after it was read.
    rig.origin().on(WRITE, Reply::reset());
    assert_eq!(rig.ask("POST", PATH).send().await.status, 502);
    assert_eq!(rig.origin().count(WRITE), 1);
    // A read is sent again.
    rig.warm("/api2/json/item/2").await;
    rig.origin().on_each(CALL, [Reply::reset(), Reply::body("again")]);
    assert_eq!(rig.get(PATH).send().await.text(), "again");
    rig.finish().await;
}

#[tokio::test]
async fn a_write_that_no_rule_knows_reaches_itself_below_and_the_collections_above() {
    let cases = [
        ("/plain/a/b", true),
        ("/plain/a/b/c", true),
        ("/plain/a/b?x=1", true),
        ("/plain/a", true),
        ("/plain", true),
        ("/plain/a/bb", false),
        ("/plain/x", false),
    ];
    for (read, gone) in cases {
        for method in ["POST", "PUT", "PATCH", "DELETE", "ODD"] {
            let rig = Rig::start().await;
            rig.warm(read).await;
            assert_eq!(rig.ask(method, "/plain/a/b").send().await.status, 200);
            assert_eq!(!rig.get(read).send().await.is_hit(), gone, "{method} {read}");
            rig.finish().await;
        }
    }
}

#[tokio::test]
async fn fields_of_the_content_name_groups() {
    let form = "vmid=1&newid=1";
    let json = r#"{"newid": 1}"#;
    let cases = [
        (form.to_owned(), "application/x-www-form-urlencoded", true),
        (json.to_owned(), "application/json; charset=utf-8", true),
        ("newid=2".to_owned(), "application/x-www-form-urlencoded", false),
        // Too large to be read: everything may have changed.
        (format!("newid=2&x={}", "y".repeat(2 << 20)), "application/x-www-form-urlencoded", true),
    ];
    for (body, kind, gone) in cases {
        let rig = Rig::start().await;
        rig.warm(PATH).await;
        let length = body.len();
        let got = rig.ask("POST", "/api2/json/clone").field("Content-Type", kind).body(body).send().await;
        assert_eq!(got.status, 200);
        assert_eq!(rig.origin().last("POST /api2/json/clone").body.len(), length);
        assert_eq!(!rig.get(PATH).send().await.is_hit(), gone, "{kind} {length}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn after_a_write_reads_go_where_it_went_and_are_kept_for_a_second() {
    let rig = Rig::with(Options { endpoints: 2, ..Options::default() }).await;
    rig.ask("POST", PATH).send().await;
    let wrote = rig.origins.iter().position(|origin| origin.count(WRITE) == 1).expect("one took it");
    // The other one has less to do, and is still not asked.
    let gate = Gate::new();
    rig.origins[wrote].on("GET /api2/json/passed/1", Reply::numbered().held(&gate));
    let busy: Vec<_> = (0..2).map(|_| rig.get("/api2/json/passed/1").spawn()).collect();
    until("both", || {
        rig.origins.iter().map(|origin| origin.count("GET /api2/json/passed/1")).sum::<usize>() == 2
    })
    .await;
    rig.warm(PATH).await;
    assert_eq!(rig.origins[wrote].count(CALL), 1);
    rig.seconds(1).await;
    assert!(!rig.get(PATH).send().await.is_hit());
    assert_eq!(rig.origins[wrote].count(CALL), 2);
    gate.open();
    for reader in busy {
        reader.await.expect("answered");
    }
    rig.seconds(2).await;
    rig.get(PATH).send().await;
    rig.seconds(9).await;
    assert!(rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}
