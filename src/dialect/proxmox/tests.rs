use super::super::TaskState;
use super::*;

const UPID: &str = "UPID:pve1:0004A1B2:01A2B3C4:6AB13B58:vzdump:103:root@pam!x:";

#[test]
fn paths_as_the_server_reads_them() {
    let cases = [
        ("/api2/json/nodes", Some("/api2/json/nodes")),
        ("/api2//json/nodes/", Some("/api2/json/nodes")),
        (
            "/api2/json/nodes/pve1/storage/local/content/local%3Aiso%2Fa.iso",
            Some("/api2/json/nodes/pve1/storage/local/content/local:iso/a.iso"),
        ),
        ("/api2/json/%6eodes", Some("/api2/json/nodes")),
        ("/api2/json/%252F", Some("/api2/json/%2F")),
        ("//", Some("/")),
        ("/", Some("/")),
        ("/%zz", None),
        ("/%ff", None),
        ("/%2", None),
    ];
    for (raw, expected) in cases {
        assert_eq!(read_path(raw).as_deref(), expected, "{raw}");
    }
}

#[test]
fn resources_are_below_the_format() {
    for (path, expected) in [
        ("/api2/json/nodes/a", "/nodes/a"),
        ("/api2/extjs", ""),
        ("/api2/json", ""),
        ("/pve2/x", "/pve2/x"),
        ("/", "/"),
    ] {
        assert_eq!(&path[resource_offset(path)..], expected);
    }
}

#[test]
fn credentials() {
    const AMBIGUOUS: &str = "ambiguous";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], ""),
        (&[("authorization", "PVEAPIToken=u@pve!t=s")], "token u@pve!t=s"),
        (&[("authorization", "PVEAPIToken u@pve!t=s")], "token u@pve!t=s"),
        (&[("authorization", "PVEAuthCookie=PVE:x")], "ticket-field PVE:x"),
        (&[("cookie", "PVEAuthCookie=PVE:x")], "ticket PVE:x"),
        (&[("cookie", "lang=de; PVEAuthCookie=PVE%3Ax; a=b")], "ticket PVE%3Ax"),
        (&[("cookie", "lang=de")], ""),
        (&[("cookie", "lang=de;PVEAuthCookie=PVE:x")], AMBIGUOUS),
        (&[("cookie", "PVEAuthCookie=a; PVEAuthCookie=b")], AMBIGUOUS),
        (&[("cookie", "PVEAuthCookie=")], AMBIGUOUS),
        (&[("cookie", "a=b"), ("cookie", "PVEAuthCookie=a")], AMBIGUOUS),
        (&[("cookie", "PVEAuthCookie=a"), ("authorization", "PVEAPIToken=x")], AMBIGUOUS),
        (&[("authorization", "PVEAPIToken=x"), ("authorization", "PVEAPIToken=y")], AMBIGUOUS),
        (&[("authorization", "Basic abc")], AMBIGUOUS),
        (&[("authorization", "PVEAPIToken=")], AMBIGUOUS),
    ];
    for (fields, expected) in cases {
        let mut headers = HeaderMap::new();
        for (name, value) in *fields {
            headers.append(*name, value.parse().expect("a test's field value is valid"));
        }
        let read = match credential(&headers, &[]) {
            Credential::Absent => String::new(),
            Credential::Ambiguous => AMBIGUOUS.into(),
            Credential::Present(parts) => {
                parts.iter().map(|p| String::from_utf8_lossy(p)).collect::<Vec<_>>().join(" ")
            }
        };
        assert_eq!(&read, expected, "{fields:?}");
    }
}

#[test]
fn extjs_tells_its_status_in_the_body() {
    let cases = [
        (r#"{"success":1,"data":[]}"#, Some(200)),
        (r#"{"success":0,"status":403,"message":"no"}"#, Some(403)),
        (r#"{"success":"0"}"#, Some(500)),
        (r#"{"data":1}"#, None),
        ("", None),
    ];
    for (body, expected) in cases {
        assert_eq!(status_in_body(body.as_bytes()).map(|s| s.as_u16()), expected, "{body}");
    }
}

#[test]
fn the_answer_to_a_write_names_a_task() {
    let started = |body: &str| tasks::started(body.as_bytes()).map(|task| task.id.0);
    for body in [format!(r#"{{"data":"{UPID}"}}"#), format!(r#"{{"data":{{"upid":"{UPID}","port":1}}}}"#)] {
        assert_eq!(started(&body).as_deref(), Some(UPID));
    }
    // Null, a volume id, a lock token, a line of the monitor, an address, a time: strings that are no UPIDs.
    for data in
        ["null", r#""local:iso/a.iso""#, r#""a9a9-b""#, r#""UPID:pve1""#, r#""https://x/:a:""#, "1", "{}"]
    {
        assert_eq!(started(&format!(r#"{{"data":{data}}}"#)), None, "{data}");
    }
}

#[test]
fn a_upid_says_what_a_task_is_about() {
    let task = tasks::parse("UPID:pve-2:0000A1B2:1C3D4E5F6:65F0A1B2:vzdump::backup@pve!night:").unwrap();
    let said =
        (task.kind.as_str(), task.object.as_str(), task.node.as_str(), task.who.as_str(), task.started);
    assert_eq!(said, ("vzdump", "", "pve-2", "backup@pve!night", 0x65F0_A1B2));
    assert_eq!(task.resource, format!("/nodes/pve-2/tasks/{}", task.id.0));
    assert_eq!(tasks::parse(UPID).unwrap().object, "103");
}

#[test]
fn answers_tell_how_tasks_stand() {
    let other = UPID.replace("vzdump", "qmstop");
    let status = format!("/api2/json/nodes/pve1/tasks/{UPID}/status");
    let log = format!("/api2/json/nodes/pve1/tasks/{UPID}/log");
    let list = format!(
        r#"{{"data":[{{"upid":"{UPID}","endtime":5}},{{"upid":"UPID:x","pid":1}},{{"upid":"{other}","status":"RUNNING"}}]}}"#
    );
    let messages = format!(
        r#"{{"data":[{{"msg":"starting task {other}"}},{{"msg":"end task {UPID} OK"}},{{"msg":"end task"}}]}}"#
    );
    let lines = |last: &str| format!(r#"{{"data":[{{"n":1,"t":"TASK OK"}},{{"n":2,"t":"{last}"}}]}}"#);
    let (stopped, running) = (r#"{"data":{"status":"stopped"}}"#, r#"{"data":{"status":"running"}}"#);
    let (ended, ended_at) = (TaskState::Ended { at: None }, TaskState::Ended { at: Some(5) });
    let ending = TaskState::Ending { sign: Some(2) };
    type Told<'t> = &'t [(&'t str, TaskState)];
    let unclear = TaskState::Ending { sign: None };
    let (page, page_of_one) =
        ("/api2/html/cluster/tasks", format!("/api2/html/nodes/pve1/tasks/{UPID}/status"));
    let links = format!("<a href='/api2/html/nodes/pve1/tasks/{UPID}'>{other}</a> UPID:x");
    let cases: [(&str, &str, Told<'_>); 15] = [
        (page, &links, &[(UPID, unclear), (&other, unclear)]),
        (&page_of_one, "<b>stopped</b>", &[(UPID, unclear)]),
        (&status, stopped, &[(UPID, ended)]),
        (&status, running, &[(UPID, TaskState::Running)]),
        (&status, "{}", &[]),
        (&log, &lines("TASK OK"), &[(UPID, ending)]),
        (&log, &lines("TASK ERROR: no space"), &[(UPID, ending)]),
        (&log, &lines("TASK WARNINGS: 2"), &[(UPID, ending)]),
        (&log, &lines("copied 1 GiB"), &[]),
        (&log, r#"{"data":[]}"#, &[]),
        (&log, "TASK OK\n", &[(UPID, TaskState::Ending { sign: None })]),
        ("/api2/json/cluster/tasks", &list, &[(UPID, ended_at), (&other, TaskState::Running)]),
        ("/api2/extjs/nodes/pve1/tasks", &list, &[(UPID, ended_at), (&other, TaskState::Running)]),
        ("/api2/json/cluster/log", &messages, &[(UPID, ended)]),
        ("/api2/json/nodes/pve1/qemu", &list, &[]),
    ];
    for (path, body, expected) in cases {
        let told = tasks::told(path, body.as_bytes());
        let told: Vec<_> = told.iter().map(|event| (event.task.id.0.as_str(), event.state)).collect();
        assert_eq!(told, expected, "{path} {body}");
        assert_eq!(tasks::tells(path), path != "/api2/json/nodes/pve1/qemu");
    }
    assert!(!tasks::tells("/api2/json/nodes/pve1/status"));
}

#[test]
fn consoles_share_their_owner() {
    for path in ["/api2/json/nodes/a/qemu/100/vncproxy", "/api2/json/nodes/a/qemu/100/vncwebsocket"] {
        assert_eq!(console(path), Some("/nodes/a/qemu/100"));
    }
    assert_eq!(console("/api2/json/nodes/a/termproxy"), Some("/nodes/a"));
    assert_eq!(console("/api2/json/nodes/a/qemu"), None);
}

#[test]
fn errors_carry_the_message_where_clients_look() {
    let form = error("/api2/json/x", StatusCode::TOO_MANY_REQUESTS, "too many");
    assert_eq!(form.reason.as_deref(), Some("too many"));
    assert_eq!(form.body, r#"{"data":null,"message":"too many\n"}"#);
    let form = error("/api2/extjs/x", StatusCode::BAD_GATEWAY, "down");
    assert_eq!(form.body, r#"{"data":null,"message":"down\n","status":502,"success":0}"#);
}
