//! A new configuration in one swap: what stays, and what is never shown again.

use forebay::app::App;
use forebay::clock::Clock;
use forebay::config;

use crate::support::{Ask, Gate, Options, Origin, RULES, Reply, Rig, until};

const PATH: &str = "/api2/json/item/1";
const CALL: &str = "GET /api2/json/item/1";

/// The same rig under other rules.
async fn reload(rig: &Rig, rules: &str) {
    std::fs::write(rig.directory.path().join("rules.yaml"), rules).expect("writable");
    let settings = config::load(&rig.directory.path().join("forebay.yaml")).expect("a right file");
    rig.app.reload(settings).await.expect("reloads");
}

#[tokio::test]
async fn entries_of_a_rule_that_stays_stay_and_others_never_come_back() {
    let rig = Rig::start().await;
    let changed = RULES.replace("item/{id}\", ttl: 10s", "item/{id}\", ttl: 20s");
    rig.warm(PATH).await;
    rig.warm("/api2/json/swr/1").await;
    reload(&rig, RULES).await;
    assert!(rig.get(PATH).send().await.is_hit(), "nothing changed");
    reload(&rig, &changed).await;
    assert!(rig.get("/api2/json/swr/1").send().await.is_hit());
    let got = rig.get(PATH).send().await;
    assert_eq!(got.cache(), "fwd=uri-miss; stored");
    assert_eq!(rig.get(PATH).send().await.cache(), "hit; ttl=20");
    reload(&rig, RULES).await;
    assert!(!rig.get(PATH).send().await.is_hit(), "not what was stored before the change");
    assert_eq!(rig.origin().count(CALL), 3);
    rig.finish().await;
}

#[tokio::test]
async fn a_flight_begun_under_an_old_rule_is_neither_joined_nor_stored() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on_each(CALL, [Reply::body("old").held(&gate), Reply::body("new")]);
    let early = rig.get(PATH).spawn();
    rig.origin().came(CALL, 1).await;
    reload(&rig, &RULES.replace("item/{id}\", ttl: 10s", "item/{id}\", ttl: 20s")).await;
    assert_eq!(rig.get(PATH).send().await.text(), "new");
    gate.open();
    assert_eq!(early.await.expect("answered").text(), "old");
    rig.quiet().await;
    assert_eq!(rig.get(PATH).send().await.text(), "new");
    rig.finish().await;
}

#[tokio::test]
async fn operations_acceptances_connections_and_limits_go_on() {
    let upstream = "limits: [{match: writes, rate: 1/m, burst: 2}]\nqueue: {wait: 5s}".to_owned();
    let rig = Rig::with(Options { upstream, ..Options::default() }).await;
    let upid = "UPID:pve1:0000A1B2:00C3D4E5:65F0A1B2:qmstart:100:root@pam:";
    rig.warm("/api2/json/swr/2").await;
    rig.origin().on("POST /api2/json/task/1", Rig::task(upid));
    rig.ask("POST", "/api2/json/task/1").send().await;
    reload(&rig, RULES).await;
    assert!(rig.get("/api2/json/swr/2").send().await.is_hit());
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
    assert_eq!(rig.ask("POST", PATH).send().await.status, 200);
    assert_eq!(rig.ask("POST", PATH).send().await.status, 429);
    rig.finish().await;
}

#[tokio::test]
async fn a_write_under_way_is_judged_by_the_rules_it_began_with_and_reaches_the_new_entries() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on("POST /api2/json/item/1", Reply::numbered().held(&gate));
    let writer = rig.ask("POST", PATH).spawn();
    rig.origin().came("POST /api2/json/item/1", 1).await;
    reload(&rig, &RULES.replace("item/{id}\", ttl: 10s", "item/{id}\", ttl: 20s")).await;
    rig.warm(PATH).await;
    gate.open();
    assert_eq!(writer.await.expect("answered").status, 200);
    assert!(!rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing() {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    let rules = rig.directory.path().join("rules.yaml");
    std::fs::write(&rules, "api: proxmox\nreads: [{path: nonsense}]\n").expect("writable");
    config::load(&rig.directory.path().join("forebay.yaml")).expect_err("a mistake");
    assert!(rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn another_api_under_the_same_name_finds_nothing_of_the_old_one() {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    let file = rig.directory.path().join("forebay.yaml");
    let text = std::fs::read_to_string(&file).expect("it was written");
    let moved = text.replace(&rig.origin().address.to_string(), "127.0.0.1:1");
    assert_ne!(moved, text);
    std::fs::write(&file, moved).expect("writable");
    reload(&rig, RULES).await;
    let got = rig.get(PATH).send().await;
    assert_eq!((got.status, got.cache()), (502, "detail=unreachable"));
    rig.finish().await;
}

#[tokio::test]
async fn an_upstream_that_was_removed_is_gone_and_leaves_nothing_to_the_next() {
    let (one, two, three) = (Origin::start().await, Origin::start().await, Origin::start().await);
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    std::fs::write(directory.path().join("rules.yaml"), RULES).expect("writable");
    let file = directory.path().join("forebay.yaml");
    let write = |upstreams: &[(&str, &Origin)]| {
        let listener =
            |(name, _): &(&str, &Origin)| format!("  - {{address: 127.0.0.1:0, upstream: {name}}}\n");
        let upstream = |(name, origin): &(&str, &Origin)| {
            format!("  {name}: {{endpoints: ['http://{}'], rules: [rules.yaml]}}\n", origin.address)
        };
        let listeners: String = upstreams.iter().map(listener).collect();
        let upstreams: String = upstreams.iter().map(upstream).collect();
        let admin = "admin: {address: 127.0.0.1:0}\n";
        std::fs::write(&file, format!("listen:\n{listeners}{admin}upstreams:\n{upstreams}"))
            .expect("writable");
    };
    write(&[("one", &one), ("two", &two)]);
    let settings = config::load(&file).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let app = App::start(settings, Clock::manual()).await.expect("forebay starts");
    let path = "/api2/json/item/1";
    let [first, second] = app.addresses()[..] else { panic!("two listeners") };
    for address in [first, second, first, second] {
        assert_eq!(Ask::new(address, "GET", path).send().await.status, 200);
    }
    let names = || app.sites().all().iter().map(|site| site.config.name.clone()).collect::<Vec<_>>();
    let ids = || app.sites().all().iter().map(|site| site.id).collect::<Vec<_>>();
    let before = ids();
    assert_eq!(names(), ["one", "two"]);
    write(&[("one", &one)]);
    app.reload_file().await.expect("a good file");
    assert_eq!(names(), ["one"]);
    until("its address is closed", || std::net::TcpStream::connect(second).is_err()).await;
    until("what it kept is gone", || app.shared().memory.len() == 1).await;
    assert!(Ask::new(first, "GET", path).send().await.is_hit(), "the other one's stays");
    // One of another name, and then the same name for another API.
    for (name, origin) in [("three", &three), ("two", &three)] {
        write(&[("one", &one), (name, origin)]);
        app.reload_file().await.expect("a good file");
        let added = app.sites().all().into_iter().find(|site| site.config.name == name).expect("it is there");
        assert!(!before.contains(&added.id), "a number is not given twice");
    }
    assert_eq!(names(), ["one", "two"]);
    app.drain().await;
}

#[tokio::test]
async fn an_upstream_whose_address_another_one_is_to_get_serves_until_the_restart() {
    let rig = Rig::start().await;
    let path = rig.directory.path().join("forebay.yaml");
    let text = std::fs::read_to_string(&path).expect("readable");
    // A port that is named, since any other is one of its own.
    let address =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let text = text.replacen("127.0.0.1:0", &address.to_string(), 1);
    std::fs::write(&path, &text).expect("writable");
    let settings = config::load(&path).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let app = App::start(settings, Clock::manual()).await.expect("forebay starts");
    std::fs::write(&path, text.replace("lab", "renamed")).expect("writable");
    app.reload_file().await.expect("a good file");
    let names: Vec<_> = app.sites().all().iter().map(|site| site.config.name.clone()).collect();
    assert_eq!(names, ["lab", "renamed"], "what serves is shown, and reached by purges");
    assert_eq!(Ask::new(address, "GET", "/api2/json/item/1").send().await.status, 200);
    app.drain().await;
    rig.finish_with(|| 0).await;
}

/// The rules with other names for their groups.
fn renamed() -> String {
    RULES.replace("item/{id}\"]", "thing/{id}\"]")
}

#[tokio::test]
async fn a_task_reaches_what_new_rules_call_otherwise() {
    const UPID: &str = "UPID:pve1:0000A1B2:00C3D4E5:65F0A1B2:qmstart:1:root@pam:";
    let status = format!("/api2/json/nodes/pve1/tasks/{UPID}/status");
    // With rows for tasks, and without them.
    for rows in ["", "tasks:\n  - {types: [qmstart], invalidates: ['thing/{task.id}'], settle: 15s}\n"] {
        let rig = Rig::start().await;
        rig.origin().on("POST /api2/json/task/1", Rig::task(UPID));
        rig.ask("POST", "/api2/json/task/1").send().await;
        reload(&rig, &(renamed() + rows)).await;
        assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled", "{rows}");
        let ended = Reply::body(r#"{"data":{"status":"stopped","exitstatus":"OK"}}"#);
        rig.origin().on(&format!("GET {status}"), ended);
        rig.get(&status).send().await;
        assert!(!rig.get(PATH).send().await.is_hit(), "{rows}");
        rig.seconds(1).await;
        assert!(!rig.get(PATH).send().await.is_hit(), "it settles");
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_write_under_way_reaches_what_new_rules_call_otherwise() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on("POST /api2/json/item/1", Reply::numbered().held(&gate));
    let writer = rig.ask("POST", PATH).spawn();
    rig.origin().came("POST /api2/json/item/1", 1).await;
    reload(&rig, &renamed()).await;
    // Another path of the same group, which only the group's name connects with what is written.
    rig.warm("/api2/json/swr/1").await;
    gate.open();
    assert_eq!(writer.await.expect("answered").status, 200);
    assert!(!rig.get("/api2/json/swr/1").send().await.is_hit());
    rig.seconds(1).await;
    assert!(!rig.get("/api2/json/swr/1").send().await.is_hit(), "it settles");
    rig.finish().await;
}

#[tokio::test]
async fn what_settles_goes_on_settling_under_new_names() {
    let rig = Rig::start().await;
    rig.ask("POST", "/api2/json/task/1").send().await;
    reload(&rig, &renamed()).await;
    for seconds in [1, 1, 12] {
        rig.warm(PATH).await;
        rig.seconds(seconds).await;
        assert!(!rig.get(PATH).send().await.is_hit(), "kept for a second at most");
    }
    rig.seconds(1).await;
    rig.warm(PATH).await;
    rig.seconds(9).await;
    assert!(rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}
