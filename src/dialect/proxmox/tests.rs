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
fn tasks() {
    let started = |body: &str| operation_started(body.as_bytes()).map(|id| id.0);
    assert_eq!(started(&format!(r#"{{"data":"{UPID}"}}"#)).as_deref(), Some(UPID));
    assert_eq!(started(&format!(r#"{{"data":{{"upid":"{UPID}","port":1}}}}"#)).as_deref(), Some(UPID));
    assert_eq!(started(r#"{"data":null}"#), None);
    assert_eq!(started(r#"{"data":"local:iso/a.iso"}"#), None);
    let path = format!("/api2/json/nodes/pve1/tasks/{UPID}/status");
    let ended = |path: &str, body: &str| {
        operations_ended(path, body.as_bytes()).into_iter().map(|id| id.0).collect::<Vec<_>>()
    };
    assert_eq!(ended(&path, r#"{"data":{"status":"stopped","exitstatus":"OK"}}"#), [UPID]);
    assert!(ended(&path, r#"{"data":{"status":"running"}}"#).is_empty());
    let list = format!(r#"{{"data":[{{"upid":"{UPID}","endtime":5}},{{"upid":"UPID:x","pid":1}}]}}"#);
    for path in ["/api2/json/cluster/tasks", "/api2/extjs/nodes/pve1/tasks"] {
        assert_eq!(ended(path, &list), [UPID]);
        assert!(tells_of_tasks(path));
    }
    assert!(ended("/api2/json/nodes/pve1/qemu", &list).is_empty());
    assert_eq!(task_of_status_path("/api2/json/nodes/pve1/status"), None);
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
