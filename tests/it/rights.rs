//! `share: rights`: what one credential fetched is shown to others of whom the API says that they have the
//! same rights, for as long as that counts, and to nobody else.

use std::time::Duration;

use crate::support::{Ask, Gate, Got, Options, Reply, Rig, until};

const RULES: &str = r#"
api: proxmox
reads:
  - {path: "/api2/{format}/item/{id}", ttl: 10s, share: rights, groups: ["item/{id}"]}
  - {path: "/api2/{format}/long/{id}", ttl: 3h, share: rights}
  - {path: "/api2/{format}/sie/{id}", ttl: 10s, stale_if_error: 1h, share: rights}
  - {path: "/api2/{format}/swr/{id}", ttl: 10s, stale_while_revalidate: 20s, share: rights}
  - {path: "/api2/{format}/passed/{id}", ttl: pass}
  - {path: "/api2/{format}/cluster/tasks", ttl: 0s}
  - {path: "/api2/{format}/access/permissions", ttl: 10s, share: principal, groups: [told]}
writes:
  - {methods: [POST], path: "/api2/{format}/item/{id}", invalidates: ["item/{id}"]}
  - {methods: [PUT], path: "/api2/{format}/access/{what}", invalidates: ["/access/**", acceptances]}
  - {methods: [PUT], path: "/api2/{format}/pools/{pool}", invalidates: ["/access/permissions"]}
  - {methods: [PUT], path: "/api2/{format}/group/{x}", invalidates: [told]}
tasks:
  - {types: [auth-realm-sync], invalidates: ["/access/**", acceptances]}
  - {types: ["*"], invalidates: [], reason: "the others change nothing here"}
"#;

const LONG: &str = "/api2/json/long/1";
const PASSED: &str = "/api2/json/passed/1";
const ASKS: &str = "GET /api2/json/access/permissions";

/// A list of rights, and the same in another order.
const SOME: &str = r#"{"data":{"/vms/100":{"VM.Audit":1,"VM.Console":1},"/pool/dev":{"Pool.Audit":0}}}"#;
const SAME: &str = r#"{"data":{"/pool/dev":{"Pool.Audit":0},"/vms/100":{"VM.Console":1,"VM.Audit":1}}}"#;
const OTHER: &str = r#"{"data":{"/vms/100":{"VM.Audit":1},"/pool/dev":{"Pool.Audit":0}}}"#;

/// How long after it was asked for a word is asked for anew, and how long it counts, in seconds.
const DUE: u64 = 45;
const COUNTS: u64 = 60;

async fn rig() -> Rig {
    rig_with("").await
}

async fn rig_with(upstream: &str) -> Rig {
    Rig::with(Options { rules: RULES.into(), upstream: upstream.into(), ..Options::default() }).await
}

/// With a ticket of `user` (`name@realm`).
fn by(user: &str, ask: Ask) -> Ask {
    ask.anonymous().field("Cookie", &format!("PVEAuthCookie=PVE:{user}:{:08X}::signature", 1_700_000_000))
}

fn token(name: &str, ask: Ask) -> Ask {
    ask.anonymous().field("Authorization", &format!("PVEAPIToken={name}=secret"))
}

/// The API says of whoever has `part` in the request that these are the rights.
fn says(rig: &Rig, part: &str, rights: &str) {
    rig.origin().to(part, ASKS, Reply::body(rights));
}

async fn answered(rig: &Rig) {
    until("nobody is asked about", || !rig.app.sites().all()[0].asks_for_rights()).await;
}

/// `ask` by somebody whose rights forebay knows, as far as the API tells them: it is accepted by a read
/// that nothing is kept of, comes back, and is asked about.
async fn known(rig: &Rig, by: impl Fn(Ask) -> Ask) {
    assert_eq!(by(rig.get(PASSED)).send().await.status, 200);
    by(rig.get("/api2/json/item/other")).send().await;
    answered(rig).await;
}

async fn is_hit(ask: Ask) -> bool {
    ask.send().await.is_hit()
}

fn ann(ask: Ask) -> Ask {
    by("ann@pve", ask)
}

fn bob(ask: Ask) -> Ask {
    by("bob@pve", ask)
}

fn eve(ask: Ask) -> Ask {
    by("eve@pve", ask)
}

/// Ann and Bob have the same rights, Eve has others, and forebay knows.
async fn three(rig: &Rig) {
    says(rig, "ann@pve", SOME);
    says(rig, "bob@pve", SAME);
    says(rig, "eve@pve", OTHER);
    known(rig, ann).await;
    known(rig, bob).await;
    known(rig, eve).await;
    assert_eq!(rig.origin().count(ASKS), 3);
}

#[tokio::test]
async fn equal_rights_share_one_entry_and_others_never() {
    let rig = rig().await;
    three(&rig).await;
    let first = ann(rig.get(LONG)).send().await;
    assert!(!first.is_hit());
    let second = bob(rig.get(LONG)).send().await;
    assert!(second.is_hit() && second.body == first.body, "{}", second.cache());
    let other = eve(rig.get(LONG)).send().await;
    assert!(!other.is_hit() && other.body != first.body);
    assert!(is_hit(eve(rig.get(LONG))).await);
    // A token is judged by its own rights, and has equals among users.
    says(&rig, "joe@pve!ci", SAME);
    let ci = |ask| token("joe@pve!ci", ask);
    known(&rig, ci).await;
    let third = ci(rig.get(LONG)).send().await;
    assert!(third.is_hit() && third.body == first.body);
    // Each was asked about once, by forebay itself, and that is counted.
    for _ in 0..5 {
        for by in [&ann as &dyn Fn(Ask) -> Ask, &bob, &eve, &ci] {
            assert!(is_hit(by(rig.get(LONG))).await);
        }
    }
    answered(&rig).await;
    assert_eq!(rig.origin().count(ASKS), 4);
    assert_eq!(rig.counter_of("forebay_upstream_requests_total", "cause=\"rights\""), 4);
    let call = rig.origin().last(ASKS);
    assert!(call.field("authorization").is_some_and(|value| value.contains("joe@pve!ci")));
    assert_eq!(rig.origin().count("GET /api2/json/long/1"), 2);
    rig.finish().await;
}

#[tokio::test]
async fn those_with_equal_rights_share_one_flight() {
    let rig = rig().await;
    three(&rig).await;
    let gate = Gate::new();
    rig.origin().on("GET /api2/json/long/1", Reply::numbered().held(&gate));
    let readers = [ann(rig.get(LONG)), bob(rig.get(LONG)), eve(rig.get(LONG))].map(Ask::spawn);
    rig.waiting(3).await;
    gate.open();
    let mut bodies = Vec::new();
    for reader in readers {
        bodies.push(reader.await.expect("answered").body);
    }
    assert!(bodies[0] == bodies[1] && bodies[0] != bodies[2]);
    assert_eq!(rig.origin().count("GET /api2/json/long/1"), 2);
    rig.finish().await;
}

#[tokio::test]
async fn until_the_rights_are_known_a_credential_shares_as_its_principal_and_nobody_waits() {
    let rig = rig().await;
    three(&rig).await;
    ann(rig.get(LONG)).send().await;
    let gate = Gate::new();
    let dan = |ask| by("dan@pve", ask);
    rig.origin().to("dan@pve", ASKS, Reply::body(SOME).held(&gate));
    // The first read is not from anybody whom the API accepted: about such nothing is asked.
    assert!(!is_hit(dan(rig.get(LONG))).await);
    assert_eq!(rig.origin().count(ASKS), 3);
    for _ in 0..3 {
        let own = dan(rig.get(LONG)).send().await;
        assert!(own.is_hit() && own.text() != ann(rig.get(LONG)).send().await.text());
    }
    rig.origin().came(ASKS, 4).await;
    gate.open();
    answered(&rig).await;
    let shared = dan(rig.get(LONG)).send().await;
    assert!(shared.is_hit() && shared.body == ann(rig.get(LONG)).send().await.body);
    assert_eq!(rig.origin().count(ASKS), 4);
    rig.finish().await;
}

#[tokio::test]
async fn an_answer_that_tells_no_rights_gives_no_sharing_and_is_not_asked_for_again_and_again() {
    // And for how long, in seconds, none is asked for after it.
    let replies = [
        (Reply::status(403, "Permission check failed"), DUE),
        (Reply::status(500, "no"), DUE),
        (Reply::body(""), DUE),
        (Reply::body(r#"{"data":{}}"#), DUE),
        (Reply::body(r#"{"data":null}"#), DUE),
        (Reply::body(r#"{"data":{"/":{"Sys.Audit":"x"}}}"#), DUE),
        // These are no word of the API.
        (Reply::status(595, "no route"), COUNTS / 4),
        (Reply::reset(), COUNTS / 4),
        (Reply::body(SOME).cut(), COUNTS / 4),
    ];
    for (number, (reply, rests)) in replies.into_iter().enumerate() {
        let rig = rig().await;
        for user in ["ann@pve", "bob@pve"] {
            rig.origin().to(user, ASKS, reply.clone());
        }
        known(&rig, ann).await;
        known(&rig, bob).await;
        let asked = rig.origin().count(ASKS);
        let first = ann(rig.get(LONG)).send().await;
        let second = bob(rig.get(LONG)).send().await;
        assert!(!second.is_hit() && first.body != second.body, "case {number}");
        for _ in 0..rests / 5 {
            assert!(is_hit(ann(rig.get(LONG))).await && is_hit(bob(rig.get(LONG))).await, "case {number}");
            rig.seconds(5).await;
        }
        answered(&rig).await;
        assert_eq!(rig.origin().count(ASKS), asked, "case {number}");
        is_hit(ann(rig.get(LONG))).await;
        answered(&rig).await;
        assert!(rig.origin().count(ASKS) > asked, "case {number}: never again");
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_forged_credential_never_shares_and_is_never_asked_about() {
    let rig = rig().await;
    three(&rig).await;
    ann(rig.get(LONG)).send().await;
    let forged = |ask: Ask| ask.anonymous().field("Cookie", "PVEAuthCookie=PVE:ann@pve:6553F100::forged");
    rig.origin().to("::forged", "", Reply::status(401, "Authentication failed!"));
    for _ in 0..3 {
        assert_eq!(forged(rig.get(LONG)).send().await.status, 401);
    }
    let cached = forged(rig.get(LONG)).field("Cache-Control", "only-if-cached").send().await;
    assert_eq!(cached.status, 504);
    answered(&rig).await;
    assert_eq!(rig.origin().count(ASKS), 3);
    assert!(is_hit(bob(rig.get(LONG))).await, "nobody is harmed");
    rig.finish().await;
}

#[tokio::test]
async fn root_shares_with_nobody() {
    let rig = rig().await;
    three(&rig).await;
    ann(rig.get(LONG)).send().await;
    for root in ["root@pam", "root@pam!ci"] {
        says(&rig, root, SOME);
        let root = |ask| if root.contains('!') { token(root, ask) } else { by(root, ask) };
        known(&rig, root).await;
        assert!(!is_hit(root(rig.get(LONG))).await);
        assert!(is_hit(root(rig.get(LONG))).await);
    }
    answered(&rig).await;
    assert_eq!(rig.origin().count(ASKS), 3, "its rights would not say who it is");
    rig.finish().await;
}

#[tokio::test]
async fn a_write_that_may_change_rights_splits_at_once() {
    for write in ["access/acl", "access/roles", "pools/dev", "group/x"] {
        let rig = rig().await;
        three(&rig).await;
        ann(rig.get(LONG)).send().await;
        assert!(is_hit(bob(rig.get(LONG))).await);
        // Asked before the write, answered after it.
        let gate = Gate::new();
        let dan = |ask| by("dan@pve", ask);
        rig.origin().to("dan@pve", ASKS, Reply::body(SOME).held(&gate));
        dan(rig.get(PASSED)).send().await;
        dan(rig.get("/api2/json/item/9")).send().await;
        rig.origin().came(ASKS, 4).await;
        says(&rig, "bob@pve", OTHER);
        let put = rig.ask("PUT", &format!("/api2/json/{write}")).token("admin").send().await;
        assert_eq!(put.status, 200);
        let after = bob(rig.get(LONG)).send().await;
        assert!(!after.is_hit(), "{write}: {}", after.cache());
        gate.open();
        answered(&rig).await;
        dan(rig.get(PASSED)).send().await;
        assert!(!is_hit(dan(rig.get(LONG))).await, "{write}: what was asked before the write says nothing");
        // Once it has settled all are asked about anew, and share for what they may do now.
        rig.seconds(4).await;
        says(&rig, "dan@pve", SOME);
        for user in ["ann@pve", "bob@pve", "eve@pve", "dan@pve"] {
            let user = |ask| by(user, ask);
            known(&rig, user).await;
        }
        let now = ann(rig.get(LONG)).send().await.body;
        for (user, equal) in [("dan@pve", true), ("bob@pve", false), ("eve@pve", false)] {
            let got = by(user, rig.get(LONG)).send().await;
            assert_eq!(got.body == now, equal, "{write}: {user}");
        }
        let (bobs, eves) = (bob(rig.get(LONG)).send().await, eve(rig.get(LONG)).send().await);
        assert!(bobs.body == eves.body, "{write}: these two are equals now");
        rig.finish().await;
    }
}

#[tokio::test]
async fn while_a_write_may_change_rights_nobody_shares_for_them() {
    let rig = rig().await;
    three(&rig).await;
    let gate = Gate::new();
    rig.origin().on("PUT /api2/json/access/acl", Reply::body("{}").held(&gate));
    ann(rig.get(LONG)).send().await;
    let put = rig.ask("PUT", "/api2/json/access/acl").token("admin").spawn();
    rig.origin().came("PUT /api2/json/access/acl", 1).await;
    // The API may have carried it out, and nobody has said so.
    let during = ann(rig.get("/api2/json/long/2")).send().await;
    assert!(!is_hit(bob(rig.get(LONG))).await);
    let other = bob(rig.get("/api2/json/long/2")).send().await;
    assert!(!other.is_hit() && other.body != during.body);
    gate.open();
    put.await.expect("answered");
    rig.finish().await;
}

#[tokio::test]
async fn a_fetch_that_left_before_a_change_of_rights_is_shared_with_nobody_after_it() {
    let rig = rig().await;
    three(&rig).await;
    let gate = Gate::new();
    rig.origin().to("ann@pve", "GET /api2/json/long/1", Reply::body("ann's").held(&gate));
    let anns = ann(rig.get(LONG)).spawn();
    rig.origin().came("GET /api2/json/long/1", 1).await;
    let bobs = bob(rig.get(LONG)).spawn();
    rig.waiting(2).await;
    rig.ask("PUT", "/api2/json/pools/dev").token("admin").send().await;
    gate.open();
    assert_eq!(anns.await.expect("answered").text(), "ann's");
    assert_ne!(bobs.await.expect("answered").text(), "ann's");
    rig.seconds(4).await;
    known(&rig, ann).await;
    known(&rig, bob).await;
    assert_ne!(bob(rig.get(LONG)).send().await.text(), "ann's");
    rig.finish().await;
}

#[tokio::test]
async fn a_change_behind_forebays_back_is_seen_in_time() {
    // Bob loses rights: he sees what Ann fetched for as long as his own word counts.
    let rig = rig().await;
    three(&rig).await;
    says(&rig, "bob@pve", OTHER);
    rig.seconds(DUE - 1).await;
    let anns = ann(rig.get(LONG)).send().await;
    assert!(is_hit(bob(rig.get(LONG))).await);
    answered(&rig).await;
    assert_eq!(rig.origin().count(ASKS), 3, "it was asked in time");
    rig.seconds(1).await;
    // From here on he is asked about anew, beside his read.
    bob(rig.get(LONG)).send().await;
    answered(&rig).await;
    assert_eq!(rig.origin().count(ASKS), 4);
    assert_ne!(bob(rig.get(LONG)).send().await.body, anns.body);
    rig.finish().await;
    // The same where he only comes back later.
    let rig = rig_with("").await;
    three(&rig).await;
    says(&rig, "bob@pve", OTHER);
    rig.seconds(COUNTS - 1).await;
    let anns = ann(rig.get(LONG)).send().await;
    answered(&rig).await;
    rig.seconds(1).await;
    assert_ne!(bob(rig.get(LONG)).send().await.body, anns.body);
    rig.finish().await;
}

#[tokio::test]
async fn what_somebody_fetched_with_more_rights_than_known_is_for_others_no_longer_than_that_counts() {
    let rig = rig().await;
    three(&rig).await;
    says(&rig, "ann@pve", OTHER);
    rig.origin().to("ann@pve", "GET /api2/json/long/1", Reply::body("ann's"));
    ann(rig.get(LONG)).send().await;
    // She leaves, and nobody asks about her any more.
    assert_eq!(bob(rig.get(LONG)).send().await.text(), "ann's");
    rig.seconds(DUE).await;
    bob(rig.get(PASSED)).send().await;
    assert_eq!(bob(rig.get(LONG)).send().await.text(), "ann's");
    answered(&rig).await;
    rig.seconds(COUNTS - DUE).await;
    assert_ne!(bob(rig.get(LONG)).send().await.text(), "ann's");
    rig.finish().await;
    // She comes back, and has other rights now.
    let rig = rig_with("").await;
    three(&rig).await;
    says(&rig, "ann@pve", OTHER);
    rig.origin().to("ann@pve", "GET /api2/json/long/1", Reply::body("ann's"));
    ann(rig.get(LONG)).send().await;
    rig.seconds(DUE).await;
    known(&rig, ann).await;
    assert_ne!(bob(rig.get(LONG)).send().await.text(), "ann's");
    rig.finish().await;
    // She comes back with the same rights: what she fetched is for all whose they are, although she has left.
    let rig = rig_with("").await;
    three(&rig).await;
    let anns = ann(rig.get(LONG)).send().await.body;
    rig.seconds(DUE).await;
    known(&rig, ann).await;
    rig.seconds(DUE).await;
    known(&rig, bob).await;
    rig.seconds(COUNTS - DUE).await;
    assert!(bob(rig.get(LONG)).send().await.body == anns);
    rig.finish().await;
}

#[tokio::test]
async fn news_of_a_task_that_changes_rights_splits() {
    const UPID: &str = "UPID:pve1:0000AAAA:0000BBBB:65F0A1B2:auth-realm-sync:ldap:root@pam:";
    let rig = rig().await;
    three(&rig).await;
    let anns = ann(rig.get(LONG)).send().await.body;
    assert!(is_hit(bob(rig.get(LONG))).await);
    let list = format!(
        r#"{{"data":[{{"upid":"{UPID}","node":"pve1","type":"auth-realm-sync","id":"ldap","user":"root@pam","starttime":1710268850,"endtime":1710268851,"status":"OK"}}]}}"#
    );
    rig.origin().on("GET /api2/json/cluster/tasks", Reply::body(list));
    says(&rig, "bob@pve", OTHER);
    rig.get("/api2/json/cluster/tasks").token("admin").send().await;
    let after = bob(rig.get(LONG)).send().await;
    assert!(!after.is_hit() && after.body != anns, "{}", after.cache());
    rig.finish().await;
}

#[tokio::test]
async fn a_refusal_ends_what_is_known_of_all_credentials_of_its_principal() {
    let rig = rig().await;
    three(&rig).await;
    let anns = ann(rig.get(LONG)).send().await.body;
    assert!(is_hit(bob(rig.get(LONG))).await);
    rig.origin().to("bob@pve", "GET /api2/json/passed/2", Reply::status(401, "Authentication failed!"));
    bob(rig.get("/api2/json/passed/2")).send().await;
    let after = bob(rig.get(LONG)).send().await;
    assert!(!after.is_hit() && after.body != anns);
    assert!(is_hit(ann(rig.get(LONG))).await, "that is not about her");
    rig.finish().await;
}

#[tokio::test]
async fn an_outage_leaves_those_who_share_with_the_last_known_state() {
    for reply in [Reply::reset(), Reply::status(503, "Later")] {
        let rig = rig_with("timeouts: {first_byte: 3s}").await;
        three(&rig).await;
        let path = "/api2/json/sie/1";
        let anns = ann(rig.get(path)).send().await.body;
        assert!(is_hit(bob(rig.get(path))).await);
        rig.seconds(11).await;
        rig.origin().to("", "", reply);
        for _ in 0..3 {
            let stale = bob(rig.get(path)).send().await;
            assert!(stale.cache().contains("stale-if-error") && stale.body == anns, "{}", stale.cache());
            let other = eve(rig.get(path)).send().await;
            assert!(other.status >= 500, "she had nothing: {}", other.head);
            // Words would have ended meanwhile.
            rig.seconds(40).await;
        }
        rig.finish().await;
    }
}

#[tokio::test]
async fn words_stand_still_from_when_a_call_set_out_that_is_given_up_until_the_next_answer() {
    for hangs in [true, false] {
        let rig = rig_with("timeouts: {first_byte: 3s}").await;
        three(&rig).await;
        let anns = ann(rig.get(LONG)).send().await.body;
        let (gate, slow) = (Gate::new(), "/api2/json/item/slow");
        rig.origin().on(&format!("GET {slow}"), Reply::numbered().held(&gate));
        let waiting = eve(rig.get(slow)).spawn();
        rig.origin().came(&format!("GET {slow}"), 1).await;
        rig.seconds(2).await;
        if !hangs {
            gate.open();
        }
        rig.seconds(2).await;
        assert_eq!(waiting.await.expect("answered").status >= 500, hangs);
        // What the API said would have ended now.
        rig.seconds(COUNTS).await;
        let bobs = bob(rig.get(LONG)).send().await;
        assert_eq!(bobs.is_hit() && bobs.body == anns, hangs, "{}", bobs.cache());
        // Whatever it answers, and to whom, ends that.
        rig.origin().to("eve@pve", "", Reply::status(503, "Later"));
        assert_eq!(eve(rig.get(PASSED)).send().await.status, 503);
        assert_eq!(bob(rig.get(LONG)).send().await.is_hit(), !hangs);
        gate.open();
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_refresh_is_shared_too() {
    let rig = rig().await;
    three(&rig).await;
    let path = "/api2/json/swr/1";
    ann(rig.get(path)).send().await;
    rig.seconds(11).await;
    let stale = bob(rig.get(path)).send().await;
    assert!(stale.cache().contains("stale-while-revalidate"), "{}", stale.cache());
    rig.quiet().await;
    let fresh = ann(rig.get(path)).send().await;
    assert!(fresh.is_hit() && fresh.body != stale.body);
    rig.finish().await;
}

#[tokio::test]
async fn a_reload_has_all_asked_about_anew() {
    let rig = rig().await;
    three(&rig).await;
    let anns = ann(rig.get(LONG)).send().await.body;
    assert!(is_hit(bob(rig.get(LONG))).await);
    rig.app
        .reload(forebay::config::load(&rig.directory.path().join("forebay.yaml")).expect("good"))
        .await
        .expect("reloads");
    rig.seconds(1).await;
    let after = bob(rig.get(LONG)).send().await;
    assert!(!after.is_hit() && after.body != anns);
    answered(&rig).await;
    ann(rig.get(LONG)).send().await;
    answered(&rig).await;
    assert_eq!(rig.origin().count(ASKS), 5);
    assert!(ann(rig.get(LONG)).send().await.body == bob(rig.get(LONG)).send().await.body);
    rig.finish().await;
}

#[tokio::test]
async fn few_are_asked_about_at_once() {
    let rig = rig().await;
    let gate = Gate::new();
    rig.origin().on(ASKS, Reply::body(SOME).held(&gate));
    let users: Vec<String> = (0..10).map(|number| format!("user{number}@pve")).collect();
    for user in &users {
        by(user, rig.get(PASSED)).send().await;
        by(user, rig.get(LONG)).send().await;
        by(user, rig.get(LONG)).send().await;
    }
    rig.origin().came(ASKS, 4).await;
    assert_eq!(rig.origin().count(ASKS), 4);
    gate.open();
    answered(&rig).await;
    rig.advance(Duration::from_secs(1)).await;
    for user in &users {
        by(user, rig.get(LONG)).send().await;
        answered(&rig).await;
    }
    assert_eq!(rig.origin().count(ASKS), 10);
    let mut bodies: Vec<Got> = Vec::new();
    for user in &users {
        bodies.push(by(user, rig.get(LONG)).send().await);
    }
    assert!(bodies.iter().all(|got| got.body == bodies[0].body));
    rig.finish().await;
}

#[tokio::test]
async fn two_upstreams_never_mix() {
    let rig = rig().await;
    three(&rig).await;
    let second = Rig::with(Options { rules: RULES.into(), ..Options::default() }).await;
    let (one, two) = (rig.origin().address, second.origin().address);
    let upstream = |name: &str, address| {
        format!(
            "  {name}:\n    endpoints: [http://{address}]\n    rules: [rules.yaml]\n    feed: {{ceiling: 30d}}\n"
        )
    };
    let listen = |name: &str| format!("{{address: 127.0.0.1:0, upstream: {name}}}");
    let config = format!(
        "listen: [{}, {}]\nadmin: {{address: 127.0.0.1:0}}\nupstreams:\n{}{}",
        listen("lab"),
        listen("other"),
        upstream("lab", one),
        upstream("other", two)
    );
    let path = rig.directory.path().join("both.yaml");
    std::fs::write(&path, config).expect("writable");
    let settings = forebay::config::load(&path).expect("good");
    let secret = forebay::cache::key::Secret::from_bytes(&[7; 16]);
    let app = forebay::app::App::start_with(settings, rig.clock.clone(), secret).await.expect("starts");
    says(&second, "ann@pve", SOME);
    let asked = |site: usize, target: &str| Ask::new(app.addresses()[site], "GET", target);
    const NINTH: &str = "/api2/json/long/9";
    // Both know her, with the same rights in both.
    for site in 0..2 {
        for target in [PASSED, LONG, LONG] {
            ann(asked(site, target)).send().await;
        }
        until("asked", || !app.sites().all()[site].asks_for_rights()).await;
    }
    for user in ["bob@pve", "eve@pve"] {
        by(user, asked(0, PASSED)).send().await;
        by(user, asked(0, "/api2/json/long/2")).send().await;
        until("asked", || !app.sites().all()[0].asks_for_rights()).await;
    }
    rig.origin().on("GET /api2/json/long/9", Reply::body("one"));
    second.origin().on("GET /api2/json/long/9", Reply::body("two"));
    assert_eq!(ann(asked(0, NINTH)).send().await.text(), "one");
    assert_eq!(ann(asked(1, NINTH)).send().await.text(), "two");
    let bobs = bob(asked(0, NINTH)).send().await;
    assert_eq!((bobs.is_hit(), bobs.text()), (true, "one"));
    // Known in the one is not known in the other.
    bob(asked(1, PASSED)).send().await;
    assert!(!is_hit(bob(asked(1, NINTH))).await);
    app.drain().await;
    rig.app.drain().await;
    second.app.drain().await;
}
