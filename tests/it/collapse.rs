//! One call for everybody who wants the same, whatever becomes of it.

use crate::support::{Gate, Got, Options, Reply, Rig};

const CALL: &str = "GET /api2/json/item/1";
const PATH: &str = "/api2/json/item/1";

/// `n` clients that wait for one fetch.
async fn crowd(rig: &Rig, path: &str, n: usize) -> Vec<tokio::task::JoinHandle<Got>> {
    let clients = (0..n).map(|_| rig.get(path).spawn()).collect();
    rig.waiting(n).await;
    clients
}

async fn all(clients: Vec<tokio::task::JoinHandle<Got>>) -> Vec<Got> {
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.expect("answered"));
    }
    answers
}

#[tokio::test]
async fn a_crowd_costs_one_call() {
    for path in [PATH, "/api2/json/joined/1"] {
        let rig = Rig::start().await;
        let (gate, call) = (Gate::new(), format!("GET {path}"));
        rig.origin().on(&call, Reply::numbered().held(&gate));
        let clients = crowd(&rig, path, 50).await;
        gate.open();
        let answers = all(clients).await;
        assert!(answers.iter().all(|got| got.status == 200 && got.body == answers[0].body && got.whole));
        let joined = answers.iter().filter(|got| got.cache().ends_with("collapsed")).count();
        assert_eq!(joined, 49);
        assert_eq!(rig.counter("forebay_collapsed_total"), 49);
        assert_eq!(rig.origin().count(&call), 1);
        rig.finish().await;
    }
}

#[tokio::test]
async fn the_first_byte_reaches_everybody_before_the_last_has_come() {
    let rig = Rig::start().await;
    let (head, middle) = (Gate::new(), Gate::new());
    let reply = Reply::body("0123456789").held(&head).held_in_body(&middle);
    rig.origin().on(CALL, reply);
    let mut readers = Vec::new();
    for _ in 0..10 {
        readers.push(tokio::spawn(rig.get(PATH).open()));
    }
    rig.waiting(10).await;
    head.open();
    let mut opened = Vec::new();
    for reader in readers {
        let mut reader = reader.await.expect("a head");
        assert_eq!(reader.bytes(5).await, b"01234");
        opened.push(reader);
    }
    // Who comes now gets the beginning too.
    let mut late = rig.get(PATH).open().await;
    assert_eq!(late.bytes(5).await, b"01234");
    middle.open();
    for mut reader in opened.into_iter().chain([late]) {
        assert_eq!(reader.bytes(5).await, b"56789");
    }
    assert_eq!(rig.origin().count(CALL), 1);
    rig.finish().await;
}

#[tokio::test]
async fn a_leader_that_leaves_takes_nobody_along() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&gate));
    let leader = rig.get(PATH).sent().await;
    rig.waiting(1).await;
    let clients: Vec<_> = (0..5).map(|_| rig.get(PATH).spawn()).collect();
    rig.waiting(6).await;
    leader.abort();
    gate.open();
    assert!(all(clients).await.iter().all(|got| got.status == 200 && got.whole));
    assert!(rig.get(PATH).send().await.is_hit());
    assert_eq!(rig.origin().count(CALL), 1);
    rig.finish().await;
}

#[tokio::test]
async fn an_answer_that_everybody_left_is_stored_all_the_same() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&gate));
    let leader = rig.get(PATH).sent().await;
    rig.origin().came(CALL, 1).await;
    leader.abort();
    gate.open();
    rig.quiet().await;
    assert!(rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_failure_is_told_to_all_at_once() {
    // The reply, what everybody gets, and the reason phrase.
    let cases = [
        (Reply::reset(), 502, "forebay: the API broke off without a proper answer"),
        (Reply::garbage(), 502, "forebay: the API broke off without a proper answer"),
        (Reply::status(500, "no such thing"), 500, "no such thing"),
        (Reply::status(595, "Connection refused"), 595, "Connection refused"),
        (Reply::status(403, "Permission check failed"), 403, "Permission check failed"),
        (Reply::status(599, "Too many redirections"), 599, "Too many redirections"),
    ];
    for (reply, status, reason) in cases {
        let once = Options { upstream: "retry: {attempts: 1}".into(), ..Options::default() };
        let rig = Rig::with(once).await;
        let gate = Gate::new();
        rig.origin().on(CALL, reply.held(&gate));
        let clients = crowd(&rig, PATH, 10).await;
        gate.open();
        for got in all(clients).await {
            assert_eq!((got.status, got.reason.as_str()), (status, reason));
            assert!(got.whole);
        }
        assert_eq!(rig.origin().count(CALL), 1, "{status}");
        rig.get(PATH).send().await;
        assert_eq!(rig.origin().count(CALL), 2, "a failure is not stored");
        rig.finish().await;
    }
}

#[tokio::test]
async fn what_is_for_one_alone_releases_everybody_together_and_is_remembered() {
    let rig = Rig::start().await;
    let (first, second) = (Gate::new(), Gate::new());
    let private = |gate: &Gate| Reply::numbered().field("Cache-Control", "private").held(gate);
    rig.origin().on_each(CALL, [private(&first), private(&second)]);
    let clients = crowd(&rig, PATH, 8).await;
    first.open();
    // Nobody waits for anybody: all of the seven are under way at once.
    rig.origin().came(CALL, 4).await;
    second.open();
    let answers = all(clients).await;
    let mut bodies: Vec<_> = answers.iter().map(|got| got.text()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 8, "each its own answer");
    assert_eq!(rig.origin().count(CALL), 8);
    // The second burst does not wait for one first.
    let third = Gate::new();
    rig.origin().on(CALL, private(&third));
    let clients: Vec<_> = (0..8).map(|_| rig.get(PATH).spawn()).collect();
    rig.origin().came(CALL, 16).await;
    assert!(rig.app.shared().flights.is_empty());
    third.open();
    assert!(all(clients).await.iter().all(|got| got.cache() == "fwd=uri-miss; detail=uncacheable"));
    // Once an answer is for everybody again, it is forgotten.
    rig.origin().on(CALL, Reply::numbered());
    rig.get(PATH).send().await;
    rig.warm(PATH).await;
    rig.finish().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_breaks_off_for_everybody_and_is_not_stored() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on_each(CALL, [Reply::numbered().cut().held(&gate), Reply::numbered()]);
    let clients = crowd(&rig, PATH, 5).await;
    gate.open();
    for got in all(clients).await {
        assert!(got.status == 200 && !got.whole);
    }
    let got = rig.get(PATH).send().await;
    assert!(got.whole && !got.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_large_body_streams_to_all_who_wait_and_is_not_stored() {
    // One that tells its length, and one that does not.
    for reply in [Reply::body(vec![b'x'; 3 << 20]), Reply::body(vec![b'x'; 3 << 20]).chunked()] {
        let rig = Rig::with(Options { max_object: "256KiB", ..Options::default() }).await;
        let gate = Gate::new();
        rig.origin().on(CALL, reply.held(&gate));
        let clients = crowd(&rig, PATH, 3).await;
        gate.open();
        for got in all(clients).await {
            assert!(got.whole && got.body.len() == 3 << 20);
        }
        assert!(!rig.get(PATH).send().await.is_hit());
        rig.finish().await;
    }
}
