//! What is logged, and what never is.

use std::net::TcpListener;

use crate::binary::{Connection, Forebay, RULES, Then, Wire, config, get, reply, write};

const SECRETS: [&str; 7] = [
    "0f0f0f0f-secret",
    "PVE:root@pam:65000000::c2lnbmF0dXJl",
    "PVE%3Aroot@pam%3A65000000%3A%3Ac2lnbmF0dXJl",
    "65000000:Y3NyZi10b2tlbg",
    "PVEVNC:65000000::dm5jLXRpY2tldA",
    "correct-horse-battery",
    "answered-ticket-of-a-login",
];

/// Every way in which a credential comes, in requests that go well and in ones that do not.
fn requests() -> Vec<String> {
    let with = |field: String| {
        let line = get("/api2/json/kept/1")
            .lines()
            .find(|line| line.starts_with("Authorization"))
            .map(str::to_owned);
        get("/api2/json/kept/1").replace(&line.expect("it has one"), &field)
    };
    let [_, ticket, cookie, csrf, vnc, password, _] = SECRETS;
    let post = |target: &str, body: &str| {
        let head = get(target).replace("GET", "POST");
        head.replace(
            "\r\n\r\n",
            &format!("\r\nCSRFPreventionToken: {csrf}\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        )
    };
    let websocket = format!("/api2/json/passed/vncwebsocket?port=5900&vncticket={vnc}");
    vec![
        get("/api2/json/kept/1"),
        get("/api2/json/kept/1"),
        get("/api2/json/passed/1"),
        with(format!("Cookie: PVEAuthCookie={cookie}")),
        with(format!("Authorization: PVEAuthCookie={ticket}")),
        with(format!("Authorization: PVEAuthCookie={ticket}\r\nCookie: PVEAuthCookie={cookie}")),
        with(format!("Proxy-Authorization: Basic {password}\r\nX-Api-Key: {password}")),
        post("/api2/json/kept/1", &format!("password={password}")),
        post("/api2/json/access/ticket", &format!("username=root@pam&password={password}")),
        get(&websocket).replace("Connection: close", "Connection: upgrade\r\nUpgrade: websocket"),
        get(&websocket),
        get("/api2/json/kept/refused"),
        get("/api2/json/kept/broken"),
        get("/api2/json/kept/cut"),
        // Not understood at all.
        get(&format!("/api2/json/../kept/1?vncticket={vnc}")),
        get("/api2/json/kept/1").replace("Host: lab\r\n", ""),
        get("/api2/json/kept/1").replace("Host: lab", &format!("Bad Field {password}: {ticket}")),
        get("/api2/json/kept/1").replace("\r\n", "\n"),
        get("/api2/json/kept/1").replace("GET ", &format!("GET\t{password}")),
        get("/api2/json/kept/1").replace("\r\n\r\n", &format!("\r\nContent-Length: {password}\r\n\r\n")),
    ]
}

fn upstream() -> Wire {
    Wire::start(|call, stream| match call.line() {
        line if line.contains("refused") => {
            write(stream, "HTTP/1.1 401 No ticket\r\nConnection: close\r\n\r\n");
            Then::Close
        }
        line if line.contains("broken") => {
            write(stream, &format!("{}\r\n\r\n", SECRETS[6]));
            Then::Close
        }
        line if line.contains("cut") => {
            write(stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}", SECRETS[6]));
            Then::Close
        }
        line if line.contains("websocket") && call.field("upgrade").is_some() => {
            write(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            );
            Then::Close
        }
        line => {
            let body = format!("{{\"data\":{{\"ticket\":\"{}\"}}}}", SECRETS[6]);
            // What sets a cookie is never kept.
            let cookie = format!("Set-Cookie: PVEAuthCookie={}\r\n", SECRETS[6]);
            let cookie = if line.contains("ticket") { cookie } else { String::new() };
            write(stream, &format!("HTTP/1.1 200 OK\r\n{cookie}"));
            write(stream, &format!("Content-Length: {}\r\n\r\n{body}", body.len()))
        }
    })
}

#[test]
fn every_request_has_its_line_and_no_line_has_a_secret() {
    for level in ["error", "warn", "info", "debug", "trace"] {
        for format in ["json", "text"] {
            let wire = upstream();
            let free =
                TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
            let text = config(&format!("http://{}", wire.address), "rules: [rules.yaml]")
                .replace("{address: 127.0.0.1:0, upstream", &format!("{{address: '{free}', upstream"));
            let directory = tempfile::tempdir().expect("a directory for temporary files");
            let log = format!("log: {{level: {level}, format: {format}, requests: true}}\n");
            std::fs::write(directory.path().join("forebay.yaml"), log + &text).expect("writable");
            std::fs::write(directory.path().join("rules.yaml"), RULES).expect("writable");
            let mut forebay = Forebay::start_at(directory, free);
            for request in requests() {
                let mut connection = Connection::open(free);
                connection.write(request.as_bytes());
                let head = connection.head();
                if !head.is_empty() && !head.starts_with("HTTP/1.1 101") {
                    connection.body(head);
                }
            }
            forebay.signal(rustix::process::Signal::TERM);
            assert!(forebay.ended().success());
            let lines = forebay.log();
            for line in &lines {
                let secret = SECRETS.iter().find(|secret| line.contains(*secret));
                assert_eq!(secret, None, "{level} {format}: {line}");
            }
            if format == "json" {
                check_json(&lines[..lines.len() - 1]);
            }
        }
    }
}

/// Every line is JSON; those of requests say who asked for what and what became of it.
fn check_json(lines: &[String]) {
    let mut seen = Vec::new();
    for line in lines {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            line["timestamp"].is_string() && line["level"].is_string() && line["target"].is_string(),
            "{line}"
        );
        if line["target"] != "forebay::request" {
            continue;
        }
        let fields = &line["fields"];
        assert!(fields["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{line}");
        assert_eq!(fields["upstream"], "lab");
        assert!(fields["milliseconds"].as_f64().is_some_and(|time| time >= 0.0), "{line}");
        let waited = fields.get("upstream_milliseconds").is_some_and(|time| time.is_f64());
        match fields["outcome"].as_str() {
            Some("miss" | "collapsed" | "write" | "pass" | "unmatched") => assert!(waited, "{line}"),
            Some("hit") => assert!(!waited, "{line}"),
            _ => {}
        }
        let message = fields["message"].as_str().expect("method and path");
        assert!(!message.contains('?'), "queries are left out: {message}");
        let text =
            |name: &str| fields[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
        seen.push((
            message.to_owned(),
            text("rule"),
            text("outcome"),
            fields["status"].as_u64().expect("a number"),
        ));
    }
    let expected = [
        ("GET /api2/json/kept/1", "/api2/{format}/kept/{id}", "miss", 200),
        ("GET /api2/json/kept/1", "/api2/{format}/kept/{id}", "hit", 200),
        ("GET /api2/json/passed/1", "/api2/{format}/passed/**", "pass", 200),
        ("POST /api2/json/kept/1", "/api2/{format}/kept/{id}", "write", 200),
        ("POST /api2/json/access/ticket", "none", "write", 200),
        ("GET /api2/json/passed/vncwebsocket", "/api2/{format}/passed/**", "tunnel", 101),
        ("GET /api2/json/kept/refused", "/api2/{format}/kept/{id}", "miss", 401),
        ("GET /api2/json/kept/broken", "/api2/{format}/kept/{id}", "lost", 502),
        ("GET /api2/json/../kept/1", "none", "bad-request", 400),
    ];
    for (message, rule, outcome, status) in expected {
        let wanted = (message.to_owned(), rule.to_owned(), outcome.to_owned(), status);
        assert!(seen.contains(&wanted), "{wanted:?} is not among {seen:#?}");
    }
}

/// Addresses at which operations are asked after: by their form, and as the answer to a write named them. What
/// is secret names them, and some of it is a signature.
const POLLED: [&str; 5] = [
    "/subscriptions/s/providers/Microsoft.X/locations/l/operations/Secr3t1?api-version=1&t=Secr3t&c=Secr3t&s=Secr3t",
    "/subscriptions/s/providers/Microsoft.X/locations/l/Operations/Secr3t2/cancel?api-version=1",
    "/subscriptions/s/operationresults/Secr3t3",
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.X/things/t/restarts/Secr3t4?api-version=1",
    "/subscriptions/s/providers/Microsoft.X/operations%2fSecr3t5",
];

#[test]
fn what_names_an_operation_is_in_no_line() {
    let odd = POLLED[3];
    for level in ["info", "trace"] {
        let wire = Wire::start(move |call, stream| match call.line() {
            line if line.starts_with("POST /subscriptions/s/resourceGroups") => {
                let location = format!("https://management.azure.com{odd}");
                let head =
                    format!("HTTP/1.1 202 Accepted\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
                write(stream, &head)
            }
            // Nobody knows whether it is over.
            _ => write(stream, "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"),
        });
        let text = config(&format!("http://{}", wire.address), "rules: [azure]")
            .replace("\n    feed: {ceiling: 30d}", "");
        let text = format!("log: {{level: {level}, requests: true}}\n{text}");
        let forebay = Forebay::start(&[("forebay.yaml", &text)]);
        let send = |method: &str, target: &str| {
            let head = get(target).replace("GET ", &format!("{method} "));
            forebay.send(head.replace("Connection", "Content-Length: 0\r\nConnection")).status()
        };
        let thing = "/subscriptions/s/resourceGroups/g/providers/Microsoft.X/things/t";
        assert_eq!(send("POST", &format!("{thing}/restart?api-version=1")), 202);
        for target in POLLED {
            for method in ["GET", "DELETE", "POST"] {
                send(method, target);
            }
        }
        forebay.logs("DELETE /subscriptions/s/operationresults/*");
        forebay.logs("GET /subscriptions/s/providers/microsoft.x/locations/l/operations/*");
        forebay.logs("GET /subscriptions/s/resourcegroups/g/providers/microsoft.x/things/t/restarts/*");
        // All else is told as it came.
        forebay.logs(&format!("POST {thing}/restart"));
        for line in forebay.log() {
            assert!(!line.to_ascii_lowercase().contains("secr3t"), "{level}: {line}");
        }
    }
}

#[test]
fn requests_have_no_lines_unless_asked_for() {
    let wire = Wire::start(|_, stream| reply(stream, "{}"));
    let forebay = Forebay::before(&wire, "");
    assert_eq!(forebay.get("/api2/json/kept/1").status(), 200);
    let quiet = |line: &String| !line.contains("/api2/json/kept/1");
    assert!(forebay.log().iter().all(quiet), "{:#?}", forebay.log());
    // A reload turns them on.
    let text = std::fs::read_to_string(forebay.path("forebay.yaml")).expect("it was written");
    forebay.logs_after("the configuration was reloaded", || {
        std::fs::write(forebay.path("forebay.yaml"), format!("log: {{requests: true}}\n{text}"))
            .expect("writable");
    });
    assert_eq!(forebay.get("/api2/json/kept/1").status(), 200);
    assert!(forebay.logs("GET /api2/json/kept/1").contains("outcome=\"hit\""));
}
