//! Writes that start a task: nothing is kept until its end is seen, and for a while after it.

use crate::support::{Gate, Options, RULES, Reply, Rig};

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
async fn while_it_runs_reads_are_collapsed_and_kept_for_a_second() {
    let rig = started().await;
    for n in 2..5 {
        let got = rig.get(PATH).send().await;
        assert_eq!(got.cache(), "fwd=bypass; stored; detail=unsettled");
        assert_eq!(rig.get(PATH).send().await.cache(), "hit; ttl=1");
        assert_eq!(rig.origin().count(CALL), n);
        rig.seconds(1).await;
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
        assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
        assert!(rig.get(PATH).send().await.is_hit());
        rig.seconds(1).await;
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
async fn whatever_may_tell_a_client_of_the_end_overtakes_first() {
    let log = STATUS.replace("/status", "/log");
    let last_line = r#"{"data":[{"n":1,"t":"starting"},{"n":2,"t":"TASK OK"}]}"#;
    let (list, messages) = (
        format!(r#"{{"data":[{{"upid":"{UPID}","endtime":1700000000,"status":"OK"}}]}}"#),
        format!(r#"{{"data":[{{"msg":"end task {UPID} OK"}}]}}"#),
    );
    let page = STATUS.replace("json", "html");
    let cases: [(&str, &[u8]); 6] = [
        (&log, last_line.as_bytes()),
        // A log that is downloaded may be compressed.
        (&format!("{log}?download=1"), b"\x1f\x8b\x08"),
        ("/api2/json/cluster/tasks", list.as_bytes()),
        ("/api2/json/nodes/pve1/tasks?limit=500", list.as_bytes()),
        ("/api2/json/cluster/log", messages.as_bytes()),
        (&page, b"<b>stopped</b>"),
    ];
    for (path, body) in cases {
        let rig = started().await;
        rig.warm(PATH).await;
        rig.origin().on(CALL, Reply::body("the present"));
        assert!(rig.get(PATH).send().await.is_hit());
        let call = format!("GET {}", path.split('?').next().expect("a path"));
        rig.origin().on(&call, Reply::body(body));
        assert_eq!(rig.get(path).send().await.body, body);
        assert_eq!(rig.get(PATH).send().await.text(), "the present", "{path}");
        // Only what says so for certain ends it.
        let certain = path.contains("cluster") || path.contains("limit");
        assert_eq!(rig.app.shared().operations.is_empty(), certain, "{path}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn an_answer_for_one_client_alone_is_read_too() {
    let rig = started().await;
    rig.warm(PATH).await;
    let ended = Reply::body(r#"{"data":{"status":"stopped","exitstatus":"OK"}}"#);
    rig.origin().on(&format!("GET {STATUS}"), ended.field("Set-Cookie", "a=b"));
    assert_eq!(rig.get(STATUS).send().await.status, 200);
    assert!(rig.app.shared().operations.is_empty());
    assert!(!rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_list_too_large_to_be_read_overtakes_everything() {
    let list = "/api2/json/nodes/pve1/tasks";
    let rules = RULES.replace("writes:\n", &format!("  - {{path: {list}, ttl: 1s}}\nwrites:\n"));
    let rig = Rig::with(Options { rules, ..Options::default() }).await;
    rig.warm(PATH).await;
    rig.warm("/plain/x").await;
    let body = vec![b' '; 17 << 20];
    rig.origin().on(&format!("GET {list}"), Reply::body(body.clone()));
    assert_eq!(rig.get(list).send().await.body.len(), body.len());
    assert!(!rig.get(PATH).send().await.is_hit());
    assert!(!rig.get("/plain/x").send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_task_that_only_sets_a_wish_settles_as_its_type_says() {
    let rules = RULES.trim_end().to_owned()
        + "\ntasks:\n  - {types: [hastart], invalidates: ['item/{task.id}'], settle: 60s}\n";
    let rig = Rig::with(Options { rules, ..Options::default() }).await;
    rig.warm(PATH).await;
    let (upid, status) = (UPID.replace("qmstart", "hastart"), STATUS.replace("qmstart", "hastart"));
    rig.origin().on("POST /api2/json/task/1", Rig::task(&upid));
    rig.ask("POST", "/api2/json/task/1").send().await;
    let ended = Reply::body(r#"{"data":{"status":"stopped","exitstatus":"OK"}}"#);
    rig.origin().on(&format!("GET {status}"), ended);
    rig.get(&status).send().await;
    for seconds in [1, 30, 28] {
        rig.warm(PATH).await;
        rig.seconds(seconds).await;
        assert!(!rig.get(PATH).send().await.is_hit(), "the write's rule says 15 s");
    }
    rig.seconds(1).await;
    rig.warm(PATH).await;
    rig.seconds(9).await;
    assert!(rig.get(PATH).send().await.is_hit());
    rig.finish().await;
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
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
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
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
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
    assert_eq!(rig.get(PATH).send().await.cache(), "fwd=bypass; stored; detail=unsettled");
    rig.finish().await;
}
