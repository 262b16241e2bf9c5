//! Writes that start a task: nothing is kept until its end is seen, and for a while after it.

use crate::support::{Gate, Reply, Rig};

const UPID: &str = "UPID:pve1:0000A1B2:00C3D4E5:65F0A1B2:qmstart:100:root@pam:";
const STATUS: &str =
    "/api2/json/nodes/pve1/tasks/UPID:pve1:0000A1B2:00C3D4E5:65F0A1B2:qmstart:100:root@pam:/status";
const PATH: &str = "/api2/json/item/1";
const CALL: &str = "GET /api2/json/item/1";

/// A rig in which a write has started a task on what was stored.
async fn started() -> Rig {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    rig.origin().on("POST /api2/json/task/1", Rig::task(UPID));
    let status = format!("GET {STATUS}");
    rig.origin().on(&status, Reply::body(r#"{"data":{"status":"running"}}"#));
    let got = rig.ask("POST", "/api2/json/task/1").send().await;
    assert_eq!((got.status, got.text()), (200, format!(r#"{{"data":"{UPID}"}}"#).as_str()));
    rig
}

#[tokio::test]
async fn while_it_runs_reads_are_collapsed_and_not_kept() {
    let rig = started().await;
    for n in 2..5 {
        let got = rig.get(PATH).send().await;
        assert_eq!(got.cache(), "fwd=bypass; detail=unsettled");
        assert_eq!(rig.origin().count(CALL), n);
    }
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&gate));
    let readers: Vec<_> = (0..10).map(|_| rig.get(PATH).spawn()).collect();
    rig.waiting(10).await;
    gate.open();
    for reader in readers {
        assert_eq!(reader.await.expect("answered").status, 200);
    }
    assert_eq!(rig.origin().count(CALL), 5);
    rig.finish().await;
}

#[tokio::test]
async fn its_end_overtakes_once_more_before_anybody_hears_of_it_and_settles() {
    for path in [STATUS.to_owned(), STATUS.replace("json", "extjs"), STATUS.replace(':', "%3A")] {
        let rig = started().await;
        assert_eq!(rig.get(STATUS).send().await.text(), r#"{"data":{"status":"running"}}"#);
        assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; detail=unsettled");
        // A read of the last moment before the end, still under way.
        let gate = Gate::new();
        rig.origin().on_each(CALL, [Reply::body("the past").held(&gate), Reply::body("the present")]);
        let early = rig.get(PATH).spawn();
        rig.origin().came(CALL, 3).await;
        let ended = r#"{"success":1,"data":{"status":"stopped","exitstatus":"OK"}}"#;
        let body = Gate::new();
        rig.origin().on(&format!("GET {path}"), Reply::body(ended).held_in_body(&body));
        let poll = rig.get(&path).spawn();
        rig.waiting(2).await;
        body.open();
        assert_eq!(poll.await.expect("answered").text(), ended);
        assert_eq!(rig.get(PATH).send().await.text(), "the present", "{path}");
        gate.open();
        assert_eq!(early.await.expect("answered").text(), "the past");
        // For the settle time an entry lives for a second.
        rig.quiet().await;
        assert_eq!(rig.get(PATH).send().await.text(), "the present");
        for _ in 0..3 {
            rig.seconds(1).await;
            assert!(!rig.get(PATH).send().await.is_hit());
            assert!(rig.get(PATH).send().await.is_hit());
        }
        rig.seconds(12).await;
        rig.warm(PATH).await;
        rig.seconds(9).await;
        assert!(rig.get(PATH).send().await.is_hit());
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_poll_without_a_length_is_heard_too() {
    let rig = started().await;
    let ended = Reply::body(r#"{"data":{"status":"stopped","exitstatus":"OK"}}"#);
    rig.origin().on(&format!("GET {STATUS}"), ended.chunked());
    assert!(rig.get(STATUS).send().await.whole);
    assert!(rig.app.shared().operations.is_empty());
    rig.finish().await;
}

#[tokio::test]
async fn an_end_that_is_never_seen_comes_with_the_cap() {
    let rig = started().await;
    rig.seconds(29 * 60).await;
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; detail=unsettled");
    rig.seconds(60).await;
    rig.app.shared().operations.sweep();
    rig.warm(PATH).await;
    rig.finish().await;
}

#[tokio::test]
async fn two_tasks_end_one_after_the_other() {
    let rig = started().await;
    let other = UPID.replace("0000A1B2:00C3D4E5", "0000A1B3:00C3D4E6");
    rig.origin().on("POST /api2/json/task/1", Rig::task(&other));
    rig.ask("POST", "/api2/json/task/1").send().await;
    let ended = Reply::body(r#"{"data":{"status":"stopped","exitstatus":"OK"}}"#);
    rig.origin().on(&format!("GET {STATUS}"), ended.clone());
    rig.get(STATUS).send().await;
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; detail=unsettled");
    let status = STATUS.replace(UPID, &other);
    rig.origin().on(&format!("GET {status}"), ended);
    rig.get(&status).send().await;
    rig.warm(PATH).await;
    rig.finish().await;
}

#[tokio::test]
async fn an_answer_that_names_no_task_is_a_plain_write() {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    rig.origin().on("POST /api2/json/task/1", Reply::body(r#"{"data":null}"#));
    rig.ask("POST", "/api2/json/task/1").send().await;
    rig.warm(PATH).await;
    rig.seconds(1).await;
    assert!(!rig.get(PATH).send().await.is_hit(), "the settle time");
    rig.finish().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_may_have_named_a_task() {
    let rig = Rig::start().await;
    rig.warm(PATH).await;
    rig.origin().on("POST /api2/json/task/1", Rig::task(UPID).cut());
    let got = rig.ask("POST", "/api2/json/task/1").send().await;
    assert_eq!((got.status, got.cache()), (502, "detail=lost"));
    rig.seconds(20 * 60).await;
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; detail=unsettled");
    rig.finish().await;
}
