//! Who shares what one credential fetched: others that the API has accepted themselves, and nobody on
//! the strength of what it claims.

use crate::support::{Ask, Gate, Got, Options, Reply, Rig, until};

const RULES: &str = r#"
api: proxmox
reads:
  - {path: "/api2/{format}/item/{id}", ttl: 10s, share: principal, groups: ["item/{id}"]}
  - {path: "/api2/{format}/long/{id}", ttl: 3h, share: principal}
  - {path: "/api2/{format}/swr/{id}", ttl: 10s, stale_while_revalidate: 20s, share: principal}
  - {path: "/api2/{format}/sie/{id}", ttl: 10s, stale_if_error: 1h, share: principal}
  - {path: "/api2/{format}/lock/{id}", ttl: 10s, share: principal, unless: {json: /data/lock, present: true}}
  - {path: "/api2/{format}/done/{id}", ttl: 10s, share: principal, only: [{statuses: [200]}, {json: /data/status, equals: stopped}]}
  - {path: "/api2/{format}/odd/{id}", ttl: 10s, share: principal, only: {statuses: [200, 403, 404]}}
  - {path: "/api2/{format}/joined/{id}", ttl: 0s, share: principal}
  - {path: "/api2/{format}/const/{id}", ttl: 1h, share: everyone}
  - {path: "/api2/{format}/public/{id}", ttl: 1h, share: everyone, anonymous: true}
  - {path: "/api2/{format}/own/{id}", ttl: 1h}
  - {path: "/api2/{format}/passed/{id}", ttl: pass}
  - {path: "/api2/{format}/nodes/{node}/tasks/{upid}/status", ttl: 0s}
writes:
  - {methods: [POST], path: "/api2/{format}/item/{id}", invalidates: ["item/{id}"]}
  - {methods: [PUT], path: "/api2/{format}/item/{id}", invalidates: ["item/{id}"], collapse: true}
  - {methods: [PUT], path: "/api2/{format}/access/{what}", invalidates: ["/**", acceptances]}
  - {methods: [POST], path: "/api2/{format}/access/sync", invalidates: ["/**", acceptances], operation: proxmox-task}
"#;

const PATH: &str = "/api2/json/item/1";
const CALL: &str = "GET /api2/json/item/1";
const PASSED: &str = "/api2/json/passed/1";

async fn rig() -> Rig {
    Rig::with(Options { rules: RULES.into(), ..Options::default() }).await
}

/// What a manual wall clock shows at the start.
const START: u64 = 1_700_000_000;

/// A ticket of `user`: `number` makes it another one, issued `age` seconds before the start.
fn ticket_of_age(ask: Ask, user: &str, number: u32, age: u64) -> Ask {
    let time = START - age;
    ask.anonymous().field("Cookie", &format!("PVEAuthCookie=PVE:{user}:{time:08X}::signature{number}"))
}

fn ticket(rig: &Rig, path: &str, number: u32) -> Ask {
    ticket_of_age(rig.get(path), "joe@pve", number, 0)
}

/// Somebody with the name of the user, whom the API refuses.
fn forged(ask: Ask) -> Ask {
    ask.anonymous().field("Cookie", "PVEAuthCookie=PVE:joe@pve:6553F100::forged")
}

fn refuses_forged(rig: &Rig) {
    rig.origin().to("::forged", "", Reply::status(401, "Authentication failed!"));
}

/// Tickets 0 to `n` of one user, accepted by a read that nothing is kept of.
async fn accepted(rig: &Rig, n: u32) {
    for number in 0..n {
        assert_eq!(ticket(rig, PASSED, number).send().await.status, 200);
    }
}

async fn got(handle: tokio::task::JoinHandle<Got>) -> Got {
    handle.await.expect("answered")
}

#[tokio::test]
async fn ten_processes_with_ten_tickets_share_one_entry() {
    let rig = rig().await;
    // The first read of each goes through, and its success accepts it.
    for number in 0..10 {
        let first = ticket(&rig, PATH, number).send().await;
        assert!(!first.is_hit() && first.status == 200);
        assert_eq!(rig.origin().count(CALL), number as usize + 1);
    }
    let newest = ticket(&rig, PATH, 9).send().await;
    for number in 0..10 {
        let again = ticket(&rig, PATH, number).send().await;
        assert!(again.is_hit() && again.body == newest.body, "{}", again.cache());
    }
    // From then on one call serves all.
    rig.seconds(10).await;
    for number in 0..10 {
        assert_eq!(ticket(&rig, PATH, number).send().await.is_hit(), number > 0);
    }
    assert_eq!(rig.origin().count(CALL), 11);
    rig.finish().await;
}

#[tokio::test]
async fn accepted_tickets_of_one_user_share_one_flight() {
    let rig = rig().await;
    accepted(&rig, 10).await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&gate));
    let readers: Vec<_> = (0..10).map(|number| ticket(&rig, PATH, number).spawn()).collect();
    rig.waiting(10).await;
    gate.open();
    let mut bodies = Vec::new();
    for reader in readers {
        bodies.push(got(reader).await.body);
    }
    bodies.dedup();
    assert_eq!((bodies.len(), rig.origin().count(CALL)), (1, 1));
    rig.finish().await;
}

#[tokio::test]
async fn a_forged_ticket_never_hits_and_never_harms() {
    let rig = rig().await;
    refuses_forged(&rig);
    accepted(&rig, 2).await;
    for path in [PATH, "/api2/json/const/1", "/api2/json/sie/1", "/api2/json/swr/1"] {
        ticket(&rig, path, 0).send().await;
        let stored = ticket(&rig, path, 1).send().await;
        assert!(stored.is_hit());
        let etag = stored.field("etag").expect("an etag").to_owned();
        let asks = [
            rig.get(path),
            rig.get(path).field("Cache-Control", "no-cache"),
            rig.get(path).field("Cache-Control", "max-age=1000"),
            rig.get(path).field("If-None-Match", &etag),
            rig.get(path).field("Range", "bytes=0-3"),
            rig.ask("HEAD", path),
        ];
        for ask in asks {
            let got = forged(ask).send().await;
            assert_eq!(got.status, 401, "{}", got.head);
        }
        let cached = forged(rig.get(path)).field("Cache-Control", "only-if-cached").send().await;
        assert_eq!(cached.status, 504);
        for number in 0..2 {
            let after = ticket(&rig, path, number).send().await;
            assert!(after.is_hit() && after.body == stored.body, "{path}: {}", after.cache());
        }
    }
    // Nor is anything stale for it, not even while the API is down.
    rig.seconds(11).await;
    assert_eq!(forged(rig.get("/api2/json/swr/1")).send().await.status, 401);
    rig.origin().to("::forged", "", Reply::status(503, "Later"));
    assert_eq!(forged(rig.get("/api2/json/sie/1")).send().await.status, 503);
    rig.finish().await;
}

#[tokio::test]
async fn a_forged_ticket_waits_for_nobodys_flight() {
    let rig = rig().await;
    refuses_forged(&rig);
    accepted(&rig, 1).await;
    for path in [PATH, "/api2/json/const/1"] {
        let (call, gate) = (format!("GET {path}"), Gate::new());
        rig.origin().on(&call, Reply::body("secret").held(&gate));
        let real = ticket(&rig, path, 0).spawn();
        rig.origin().came(&call, 1).await;
        // It is answered although the other is still held.
        assert_eq!(forged(rig.get(path)).send().await.status, 401);
        gate.open();
        assert_eq!(got(real).await.text(), "secret");
        // Nor does anybody wait for its flight.
        let gate = Gate::new();
        rig.origin().to("::forged", &call, Reply::status(401, "No").held(&gate));
        let fake = forged(rig.get(path)).spawn();
        rig.origin().came(&call, 3).await;
        assert!(ticket(&rig, path, 0).send().await.is_hit());
        gate.open();
        assert_eq!(got(fake).await.status, 401);
    }
    rig.finish().await;
}

#[tokio::test]
async fn what_is_not_the_apis_word_accepts_nobody() {
    let calls = [
        ("GET", "/api2/json/public/1", 200),
        ("GET", "/api2/json/unknown", 200),
        ("HEAD", "/api2/json/unknown", 200),
        ("GET", "/pve2/js/file.js", 200),
        ("POST", "/api2/json/item/9", 200),
        ("GET", "/api2/json/passed/9", 302),
        ("GET", "/api2/json/item/9", 302),
        ("GET", "/api2/json/item/9", 403),
        ("GET", "/api2/json/item/9", 404),
        ("GET", "/api2/extjs/item/9", 200),
    ];
    for (method, path, status) in calls {
        let rig = rig().await;
        ticket(&rig, PATH, 0).send().await;
        ticket(&rig, "/api2/json/const/1", 0).send().await;
        let reply = Reply::status(status, "Said").with_body(r#"{"success":0,"status":400}"#);
        rig.origin().to("::forged", &format!("{method} {path}"), reply);
        refuses_later(&rig);
        assert_eq!(forged(rig.ask(method, path)).send().await.status, status);
        for path in [PATH, "/api2/json/const/1"] {
            assert_eq!(forged(rig.get(path)).send().await.status, 401, "after {method} {path}");
        }
        rig.finish().await;
    }
}

/// What is scripted for a call goes before; all other calls of the forged ticket are refused.
fn refuses_later(rig: &Rig) {
    for call in [CALL, "GET /api2/json/const/1"] {
        rig.origin().to("::forged", call, Reply::status(401, "Authentication failed!"));
    }
}

#[tokio::test]
async fn a_failure_never_crosses_from_one_credential_to_another() {
    let private = Reply::body("mine").field("Cache-Control", "no-cache").field("Vary", "X-Odd");
    let failed = || Reply::body(r#"{"success":0,"status":403,"message":"no"}"#);
    let cases = [
        ("/api2/json/item/1", Reply::reset(), 502, 1),
        ("/api2/json/item/1", Reply::status(403, "Permission check failed"), 403, 1),
        ("/api2/json/item/1", Reply::status(500, "no such thing"), 500, 1),
        ("/api2/json/item/1", Reply::status(503, "Later"), 503, 1),
        ("/api2/json/item/1", Reply::status(401, "No ticket"), 401, 1),
        // Kept by the rule, but not for others.
        ("/api2/json/odd/1", Reply::status(404, "no"), 404, 1),
        ("/api2/json/odd/1", Reply::status(403, "no"), 403, 1),
        // The body says that it failed, or that it is not what is kept.
        ("/api2/extjs/item/1", failed(), 200, 1),
        ("/api2/json/done/1", Reply::body(r#"{"data":{"status":"running"}}"#), 200, 1),
        ("/api2/json/lock/1", Reply::body("no JSON"), 200, 1),
        // Its end is not known.
        ("/api2/json/item/1", Reply::body("half").closed(), 200, 1),
        // For one client alone: each of the others is one too.
        ("/api2/json/item/1", private, 200, 3),
    ];
    for (number, (path, reply, status, more)) in cases.into_iter().enumerate() {
        let rig = rig().await;
        accepted(&rig, 2).await;
        let (call, gate) = (format!("GET {path}"), Gate::new());
        rig.origin().on(&call, Reply::body(r#"{"success":1,"data":{"status":"stopped"}}"#));
        rig.origin().to("signature0", &call, reply.held(&gate));
        let own: Vec<_> = (0..2).map(|_| ticket(&rig, path, 0).spawn()).collect();
        rig.waiting(2).await;
        let others: Vec<_> = (0..3).map(|_| ticket(&rig, path, 1).spawn()).collect();
        rig.waiting(5).await;
        gate.open();
        for own in own {
            assert_eq!(got(own).await.status, status, "case {number}");
        }
        for other in others {
            let other = got(other).await;
            assert_eq!(other.status, 200, "case {number}: {}", other.head);
            assert!(other.text().contains("stopped"), "case {number}: {}", other.text());
        }
        // Those of one credential fetch together.
        let calls = rig.origin().calls();
        let of_others = calls.iter().filter(|c| c.target == path && c.head.contains("signature1"));
        assert_eq!(of_others.count(), more, "case {number}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_after_it_was_shared_is_not_stored() {
    let rig = rig().await;
    accepted(&rig, 2).await;
    let gate = Gate::new();
    rig.origin().on_each(CALL, [Reply::numbered().cut().held(&gate), Reply::numbered()]);
    let readers: Vec<_> = (0..2).map(|number| ticket(&rig, PATH, number).spawn()).collect();
    rig.waiting(2).await;
    gate.open();
    for reader in readers {
        assert!(!got(reader).await.whole);
    }
    assert!(!ticket(&rig, PATH, 0).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_storable_head_crosses_at_the_first_byte_and_a_judged_body_at_its_last() {
    for (path, body, at_once) in [
        (PATH, "0123456789", true),
        ("/api2/extjs/item/1", r#"{"success":1}"#, false),
        ("/api2/json/lock/1", r#"{"data":{"lock":"backup"}}"#, false),
        ("/api2/json/done/1", r#"{"data":{"status":"stopped"}}"#, false),
    ] {
        let rig = rig().await;
        accepted(&rig, 2).await;
        let (call, gate) = (format!("GET {path}"), Gate::new());
        rig.origin().on(&call, Reply::body(body).held_in_body(&gate));
        let mut own = ticket(&rig, path, 0).open().await;
        assert_eq!(own.bytes(5).await, &body.as_bytes()[..5]);
        let mut other = ticket(&rig, path, 1).sent().await;
        rig.waiting(2).await;
        if at_once {
            other.read_head().await;
            assert_eq!(other.bytes(5).await, &body.as_bytes()[..5]);
        } else {
            let nothing = tokio::time::timeout(std::time::Duration::from_millis(1), other.read_head());
            assert!(nothing.await.is_err(), "{path} told before it was judged");
        }
        gate.open();
        if !at_once {
            other.read_head().await;
        }
        let rest = other.rest().await;
        assert!(rest.whole || at_once, "{path}");
        assert_eq!(rig.origin().count(&call), 1, "{path}");
        drop(own);
        rig.finish().await;
    }
}

#[tokio::test]
async fn what_is_never_kept_never_crosses() {
    let rig = rig().await;
    accepted(&rig, 2).await;
    let (call, gate) = ("GET /api2/json/joined/1", Gate::new());
    rig.origin().on(call, Reply::numbered().held(&gate));
    let readers: Vec<_> =
        [0, 0, 1, 1].into_iter().map(|number| ticket(&rig, "/api2/json/joined/1", number).spawn()).collect();
    rig.waiting(4).await;
    gate.open();
    for reader in readers {
        got(reader).await;
    }
    assert_eq!(rig.origin().count(call), 2);
    rig.finish().await;
}

#[tokio::test]
async fn acceptance_is_each_credentials_own() {
    let rig = rig().await;
    let path = "/api2/json/long/1";
    accepted(&rig, 2).await;
    ticket(&rig, path, 0).send().await;
    rig.seconds(40).await;
    assert!(ticket(&rig, path, 1).send().await.is_hit());
    ticket(&rig, PASSED, 1).send().await;
    // The first one's minute is over, the second one's is not.
    rig.seconds(20).await;
    assert!(ticket(&rig, path, 1).send().await.is_hit());
    rig.origin().to("signature0", "", Reply::status(401, "Authentication failed!"));
    assert_eq!(ticket(&rig, path, 0).send().await.status, 401, "revoked meanwhile");
    rig.finish().await;
}

#[tokio::test]
async fn a_refusal_empties_what_the_principal_shares_but_ends_nobody_elses_acceptance() {
    let rig = rig().await;
    refuses_forged(&rig);
    accepted(&rig, 2).await;
    for path in [PATH, "/api2/json/const/1", "/api2/json/own/1"] {
        ticket(&rig, path, 0).send().await;
    }
    assert_eq!(forged(rig.get(PATH)).send().await.status, 401);
    assert_eq!(forged(rig.get(PATH)).send().await.status, 401);
    assert!(ticket(&rig, PATH, 1).send().await.is_hit(), "nobody empties it with a name");
    rig.origin().to("signature0", "GET /api2/json/own/2", Reply::status(401, "Authentication failed!"));
    assert_eq!(ticket(&rig, "/api2/json/own/2", 0).send().await.status, 401);
    assert!(!ticket(&rig, PATH, 1).send().await.is_hit(), "the news may be about the user");
    assert!(ticket(&rig, PATH, 1).send().await.is_hit());
    assert!(ticket(&rig, "/api2/json/const/1", 1).send().await.is_hit());
    // Its own acceptance is over, although others of its name fetched since.
    for path in [PATH, "/api2/json/const/1"] {
        let calls = rig.origin().count(&format!("GET {path}"));
        ticket(&rig, path, 0).send().await;
        assert_eq!(rig.origin().count(&format!("GET {path}")), calls + 1);
        rig.origin().to("signature0", "GET /api2/json/own/2", Reply::status(401, "Authentication failed!"));
        ticket(&rig, "/api2/json/own/2", 0).send().await;
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_refusal_while_waiting_for_anothers_flight_counts() {
    let rig = rig().await;
    accepted(&rig, 2).await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::body("secret").held(&gate));
    let owner = ticket(&rig, PATH, 0).spawn();
    let waits = ticket(&rig, PATH, 1).spawn();
    rig.waiting(2).await;
    rig.origin().to("signature1", "", Reply::status(401, "Authentication failed!"));
    ticket(&rig, PASSED, 1).send().await;
    gate.open();
    assert_eq!(got(owner).await.text(), "secret");
    assert_eq!(got(waits).await.status, 401);
    rig.finish().await;
}

#[tokio::test]
async fn a_write_to_rights_ends_every_acceptance_and_empties_everything() {
    let rig = rig().await;
    let paths = [PATH, "/api2/json/const/1", "/api2/json/own/1"];
    accepted(&rig, 2).await;
    let held = Gate::new();
    for path in paths {
        for number in 0..2 {
            ticket(&rig, path, number).send().await;
            assert!(ticket(&rig, path, number).send().await.is_hit());
        }
    }
    // Answered by the API before the write, arrived after it.
    rig.origin().to("signature1", "GET /api2/json/passed/2", Reply::numbered().held(&held));
    let late = ticket(&rig, "/api2/json/passed/2", 1).spawn();
    rig.origin().came("GET /api2/json/passed/2", 1).await;
    let write = ticket_of_age(rig.ask("PUT", "/api2/json/access/acl"), "root@pam", 7, 0);
    assert_eq!(write.send().await.status, 200);
    held.open();
    assert_eq!(got(late).await.status, 200);
    rig.origin().to("signature1", "", Reply::status(401, "Authentication failed!"));
    for path in paths {
        let first = ticket(&rig, path, 0).send().await;
        assert!(!first.is_hit() && first.status == 200, "{path}: {}", first.cache());
        assert_eq!(ticket(&rig, path, 1).send().await.status, 401, "{path}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_task_that_changes_rights_ends_acceptances_when_it_ends() {
    const UPID: &str = "UPID:pve1:0000AAAA:0000BBBB:65F0A1B2:auth-realm-sync:ldap:root@pam:";
    let rig = rig().await;
    rig.origin().on("POST /api2/json/access/sync", Rig::task(UPID));
    let root = |ask: Ask| ticket_of_age(ask, "root@pam", 7, 0);
    root(rig.ask("POST", "/api2/json/access/sync")).send().await;
    accepted(&rig, 2).await;
    let status = format!("/api2/json/nodes/pve1/tasks/{UPID}/status");
    rig.origin().on(&format!("GET {status}"), Reply::body(r#"{"data":{"status":"stopped"}}"#));
    root(rig.get(&status)).send().await;
    rig.seconds(4).await;
    // Accepted while the task ran: asked about once more after its end.
    ticket(&rig, PATH, 0).send().await;
    assert!(!ticket(&rig, PATH, 1).send().await.is_hit());
    assert_eq!(rig.origin().count(CALL), 2);
    rig.finish().await;
}

#[tokio::test]
async fn a_ticket_ends_by_itself() {
    let rig = rig().await;
    let path = "/api2/json/const/1";
    let old = ticket_of_age(rig.get(path), "joe@pve", 1, 7200 - 30);
    let fresh = ticket(&rig, path, 0);
    fresh.clone().send().await;
    old.clone().send().await;
    rig.seconds(28).await;
    assert!(old.clone().send().await.is_hit());
    rig.seconds(2).await;
    rig.origin().to("signature1", "", Reply::status(401, "Authentication failed!"));
    assert!(fresh.send().await.is_hit());
    assert_eq!(old.send().await.status, 401, "within `accept_for`, but past its own end");
    rig.finish().await;
}

#[tokio::test]
async fn a_ticket_that_has_ended_joins_neither_its_own_reads_nor_its_own_writes() {
    for (method, path) in [("GET", PATH), ("GET", "/api2/json/own/1"), ("PUT", PATH)] {
        let rig = rig().await;
        let call = format!("{method} {path}");
        let ending = || ticket_of_age(rig.ask(method, path), "joe@pve", 1, 7200 - 30);
        let gate = Gate::new();
        let refusal = Reply::status(401, "Authentication failed!");
        rig.origin().on_each(&call, [Reply::body("mine").held(&gate), refusal]);
        let in_time = [ending().spawn(), ending().spawn()];
        rig.origin().came(&call, 1).await;
        match method {
            "GET" => rig.waiting(2).await,
            _ => until("two writers", || rig.app.shared().writers_waiting() == 2).await,
        }
        rig.seconds(31).await;
        // It is answered while what it asked for before is still held.
        assert_eq!(ending().send().await.status, 401, "{call}");
        gate.open();
        for asked in in_time {
            assert_eq!(got(asked).await.text(), "mine", "{call}");
        }
        assert_eq!(rig.origin().count(&call), 2, "{call}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn who_waits_in_an_outage_past_the_end_of_its_ticket_gets_the_error() {
    for (lives, cache) in [(60, "fwd=stale; fwd-status=503; detail=stale-if-error"), (25, "fwd=stale")] {
        let rig = rig().await;
        let (path, gate) = ("/api2/json/sie/1", Gate::new());
        let ask = ticket_of_age(rig.get(path), "joe@pve", 1, 7200 - lives);
        ask.clone().send().await;
        rig.origin().on(&format!("GET {path}"), Reply::status(503, "Later").held(&gate));
        rig.seconds(15).await;
        let waits = ask.spawn();
        rig.waiting(1).await;
        rig.seconds(15).await;
        gate.open();
        assert_eq!(got(waits).await.cache(), cache);
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_ticket_ends_by_the_apis_clock_where_it_tells_one() {
    // What the API's clock shows more than ours, the age of the ticket by ours, and for how long it is good.
    for (ahead, age, good_for) in [(7000i64, 0, 199), (-3600, 3600, 7199), (0, 7200 - 30, 29)] {
        let upstream = "accept_for: 4h".into();
        let rig = Rig::with(Options { rules: RULES.into(), upstream, ..Options::default() }).await;
        assert_eq!(rig.clock.wall_seconds(), START);
        let there = START as i64 + ahead;
        let there = time::OffsetDateTime::from_unix_timestamp(there).expect("a time");
        let (date, (hour, minute, second)) = (there.date(), there.to_hms());
        let (day, month) = (date.weekday().to_string(), date.month().to_string());
        let (number, year) = (date.day(), date.year());
        let date = format!(
            "{}, {number:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT",
            &day[..3],
            &month[..3]
        );
        rig.origin().on("GET /api2/json/long/1", Reply::numbered().field("Date", &date));
        let ask = ticket_of_age(rig.get("/api2/json/long/1"), "joe@pve", 1, age);
        ask.clone().send().await;
        // An operator sets our own clock: no ticket lives longer for it.
        rig.clock.step_wall(1_000);
        rig.seconds(good_for - 1).await;
        assert!(ask.clone().send().await.is_hit(), "{date}: ended early");
        rig.seconds(1).await;
        assert!(!ask.send().await.is_hit(), "{date}: ended late");
        rig.finish().await;
    }
}

#[tokio::test]
async fn everyone_is_whoever_the_api_has_accepted() {
    let rig = rig().await;
    refuses_forged(&rig);
    let path = "/api2/json/const/1";
    let token = |name: &str| format!("PVEAPIToken={name}=secret");
    let asks = || {
        [
            ticket(&rig, path, 0),
            ticket_of_age(rig.get(path), "root@pam", 1, 0),
            rig.get(path).anonymous().field("Authorization", &token("a@pve!ci")),
        ]
    };
    for ask in asks() {
        assert!(!ask.send().await.is_hit(), "each by a call of its own first");
    }
    for ask in asks() {
        assert!(ask.send().await.is_hit());
    }
    assert_eq!(forged(rig.get(path)).send().await.status, 401);
    assert!(!rig.get(path).anonymous().send().await.is_hit(), "no credential is none that was accepted");
    rig.origin().to("GET", "GET /api2/json/const/1", Reply::status(401, "No ticket"));
    for ask in asks() {
        assert!(ask.send().await.is_hit());
    }
    // What the API tells everybody needs no acceptance.
    rig.warm("/api2/json/public/1").await;
    assert!(rig.get("/api2/json/public/1").anonymous().send().await.is_hit());
    assert!(forged(rig.get("/api2/json/public/1")).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_token_is_a_principal_of_its_own() {
    let rig = rig().await;
    let token = |text: &str| rig.get(PATH).anonymous().field("Authorization", &format!("PVEAPIToken{text}"));
    let principals: [&[Ask]; 4] = [
        &[ticket(&rig, PATH, 0), ticket(&rig, PATH, 1)],
        &[token("=joe@pve!one=secret"), token("=joe@pve!one=rotated"), token(" joe%40pve%21one=secret")],
        &[token("=joe@pve!two=secret")],
        &[ticket_of_age(rig.get(PATH), "joe@pam", 0, 0)],
    ];
    let mut last = Vec::new();
    for principal in principals {
        for ask in principal {
            assert!(!ask.clone().send().await.is_hit());
        }
        let body = principal[0].clone().send().await.body;
        for ask in principal {
            let got = ask.clone().send().await;
            assert!(got.is_hit() && got.body == body);
        }
        assert!(!last.contains(&body), "one principal's answer went to another");
        last.push(body);
    }
    // What cannot be read for certain shares with nobody, however often it is accepted.
    for odd in ["=joe@pve!one=a=b", "=joe@pve!one=s;x", "=joe@pve!o/ne=secret"] {
        assert!(!token(odd).send().await.is_hit());
        assert!(!last.contains(&token(odd).send().await.body), "{odd}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_refresh_carries_the_accepted_credential_that_caused_it() {
    let rig = rig().await;
    let (path, call) = ("/api2/json/swr/1", "GET /api2/json/swr/1");
    accepted(&rig, 2).await;
    ticket(&rig, path, 0).send().await;
    rig.seconds(11).await;
    // A third ticket, which the API has not accepted, gets nothing stale and refreshes nothing.
    let stranger = ticket(&rig, path, 2).send().await;
    assert!(!stranger.is_hit());
    rig.quiet().await;
    rig.seconds(11).await;
    let stale = ticket(&rig, path, 1).send().await;
    assert!(stale.cache().contains("stale-while-revalidate"), "{}", stale.cache());
    rig.quiet().await;
    assert!(rig.origin().last(call).field("cookie").expect("a ticket").ends_with("signature1"));
    let fresh = ticket(&rig, path, 0).send().await;
    assert!(fresh.is_hit() && fresh.body != stale.body);
    rig.finish().await;
}

#[tokio::test]
async fn what_the_api_refuses_an_accepted_credential_is_gone_for_its_principal() {
    let rig = rig().await;
    refuses_forged(&rig);
    accepted(&rig, 2).await;
    for status in [403, 404, 500] {
        ticket(&rig, PATH, 0).send().await;
        let refused = Reply::status(status, "gone");
        // To one that was never accepted it says nothing.
        rig.origin().to("signature5", CALL, refused.clone());
        assert_eq!(ticket(&rig, PATH, 5).send().await.status, status);
        assert!(ticket(&rig, PATH, 0).send().await.is_hit());
        rig.origin().to("signature1", CALL, refused);
        let forced = ticket(&rig, PATH, 1).field("Cache-Control", "no-cache").send().await;
        assert_eq!(forced.status, status);
        assert!(!ticket(&rig, PATH, 0).send().await.is_hit(), "{status}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_stranger_whom_the_api_answers_refreshes_the_entry_for_all() {
    let rig = rig().await;
    accepted(&rig, 1).await;
    let old = ticket(&rig, PATH, 0).send().await;
    let new = ticket(&rig, PATH, 1).field("Cache-Control", "no-cache").send().await;
    assert_ne!(old.body, new.body);
    let hit = ticket(&rig, PATH, 0).send().await;
    assert!(hit.is_hit() && hit.body == new.body);
    rig.finish().await;
}

#[tokio::test]
async fn an_older_fetch_for_itself_replaces_nothing_newer() {
    let rig = rig().await;
    accepted(&rig, 1).await;
    let gate = Gate::new();
    rig.origin().to("signature1", CALL, Reply::body("old").held(&gate));
    rig.origin().on(CALL, Reply::body("new"));
    let stranger = ticket(&rig, PATH, 1).spawn();
    rig.origin().came(CALL, 1).await;
    ticket(&rig, PATH, 0).send().await;
    gate.open();
    assert_eq!(got(stranger).await.text(), "old");
    rig.quiet().await;
    let hit = ticket(&rig, PATH, 0).send().await;
    assert_eq!((hit.is_hit(), hit.text()), (true, "new"));
    rig.finish().await;
}

#[tokio::test]
async fn errors_are_kept_for_nobody_else() {
    let rig = rig().await;
    accepted(&rig, 2).await;
    rig.origin().on("GET /api2/json/odd/1", Reply::status(404, "no"));
    for _ in 0..2 {
        for number in 0..2 {
            let got = ticket(&rig, "/api2/json/odd/1", number).send().await;
            assert_eq!((got.status, got.is_hit()), (404, false));
        }
    }
    rig.finish().await;
}

#[tokio::test]
async fn tickets_of_one_user_are_charged_together_once_they_are_accepted() {
    let upstream =
        "limits: [{match: reads, per: [principal], rate: 1/m, burst: 3}]\nqueue: {wait: 5s}".into();
    let rig = Rig::with(Options { rules: RULES.into(), upstream, ..Options::default() }).await;
    // These are charged to the address.
    accepted(&rig, 3).await;
    for (number, status) in [(0, 200), (1, 200), (2, 200), (0, 429), (1, 429)] {
        assert_eq!(ticket(&rig, PASSED, number).send().await.status, status);
    }
    rig.finish().await;
}

#[tokio::test]
async fn whoever_wrote_is_an_actor_with_every_ticket_and_a_name_alone_makes_none() {
    let rig = rig().await;
    let (path, call) = ("/api2/json/sie/1", "GET /api2/json/sie/1");
    accepted(&rig, 2).await;
    ticket(&rig, path, 0).send().await;
    // Not even while nobody is there to refuse it.
    rig.origin().to("::forged", "", Reply::status(503, "Later"));
    forged(rig.ask("POST", "/api2/json/item/1")).send().await;
    rig.seconds(11).await;
    rig.origin().on(call, Reply::status(503, "Later"));
    assert_eq!(ticket(&rig, path, 1).send().await.status, 200);
    ticket_of_age(rig.ask("POST", "/api2/json/item/1"), "joe@pve", 0, 0).send().await;
    assert_eq!(ticket(&rig, path, 1).send().await.status, 503);
    rig.finish().await;
}

#[tokio::test]
async fn a_ticket_whose_first_call_is_a_write_makes_its_user_an_actor() {
    let rig = rig().await;
    let (path, call) = ("/api2/json/sie/1", "GET /api2/json/sie/1");
    accepted(&rig, 2).await;
    ticket(&rig, path, 0).send().await;
    // What the API did not carry out says nothing of whose it was.
    rig.origin().to("signature8", "", Reply::status(500, "no"));
    assert_eq!(ticket_of_age(rig.ask("POST", "/api2/json/item/9"), "joe@pve", 8, 0).send().await.status, 500);
    rig.seconds(11).await;
    rig.origin().on(call, Reply::status(503, "Later"));
    assert_eq!(ticket(&rig, path, 1).send().await.status, 200, "a watcher");
    assert_eq!(ticket_of_age(rig.ask("POST", "/api2/json/item/9"), "joe@pve", 7, 0).send().await.status, 200);
    for number in 0..2 {
        assert_eq!(ticket(&rig, path, number).send().await.status, 503, "ticket {number} of who wrote");
    }
    rig.finish().await;
}

/// The answer that accepts a credential is remembered for those with whom it shares from then on, too.
#[tokio::test]
async fn what_cannot_be_kept_is_known_right_after_the_credential_is_accepted() {
    let rig = rig().await;
    let gate = Gate::new();
    let private = || Reply::numbered().field("Cache-Control", "private");
    rig.origin().on_each(CALL, [private(), private().held(&gate)]);
    ticket(&rig, PATH, 1).send().await;
    // Nobody waits for one first: all are under way at once.
    let clients: Vec<_> = (0..4).map(|_| ticket(&rig, PATH, 1).spawn()).collect();
    rig.origin().came(CALL, 5).await;
    gate.open();
    for client in clients {
        assert_eq!(got(client).await.cache(), "fwd=uri-miss; detail=uncacheable");
    }
    rig.finish().await;
}
