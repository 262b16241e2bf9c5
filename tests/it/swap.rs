//! A new configuration in one swap: what stays, and what is never shown again.

use forebay::config;

use crate::support::{Gate, Options, RULES, Reply, Rig};

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
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; detail=unsettled");
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
