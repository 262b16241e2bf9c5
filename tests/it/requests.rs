//! Requests that cannot be understood in one way only, that the API does not bear, or that are merely
//! unusual, through the whole program.

use std::io::Write as _;

use crate::binary::{Answer, Connection, Forebay, TOKEN, Wire, get};

/// A request with [`TOKEN`], with or without content, that asks to keep the connection.
fn request(line: &str, fields: &[&str], content: &str) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{line} HTTP/1.1\r\nHost: lab\r\nAuthorization: {TOKEN}\r\n{fields}\r\n{content}")
}

/// Sends bytes that are refused, and checks that the connection ends with the refusal.
fn refused(forebay: &Forebay, bytes: &str, status: u16) -> Answer {
    let mut connection = Connection::open(forebay.address());
    connection.write(bytes.as_bytes());
    let answer = connection.read();
    eprintln!("{:?}: {:?}", &bytes[..bytes.len().min(60)], answer.head.lines().next());
    answer.is_own_error(status, "bad-request");
    assert_eq!(answer.field("connection"), Some("close"), "{}", answer.head);
    assert!(connection.is_over(), "nothing else of this connection is answered");
    answer
}

#[test]
fn what_has_two_readings_is_refused_and_the_connection_closed() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    let smuggled = "GET /api2/json/passed/smuggled HTTP/1.1\r\nHost: lab\r\n\r\n";
    let target = "POST /api2/json/kept/1";
    let both = ["Content-Length: 4", "Transfer-Encoding: chunked"];
    let table = [
        request(target, &both, &format!("0\r\n\r\n{smuggled}")),
        request(target, &["Content-Length: 4", "Content-Length: 5"], &format!("abcd{smuggled}")),
        request(target, &["Content-Length: 4, 4"], &format!("abcd{smuggled}")),
        request(target, &["Content-Length: +4"], &format!("abcd{smuggled}")),
        request(target, &["Transfer-Encoding: gzip, chunked"], &format!("0\r\n\r\n{smuggled}")),
        request(target, &["Transfer-Encoding : chunked"], &format!("0\r\n\r\n{smuggled}")),
        request(target, &["Content-Length: 4"], "abcd").replace("\r\n", "\n"),
        request(target, &["Transfer-Encoding: chunked"], &format!("x\r\n\r\n{smuggled}")),
        request("GET /api2/json/kept/1 x", &[], smuggled),
        format!("GET /api2/json/kept/1 HTTP/1.1\r\n\r\n{smuggled}"),
        format!("GET /api2/json/kept/1 HTTP/1.1\r\nHost: lab\r\nHost: bal\r\n\r\n{smuggled}"),
    ];
    for bytes in table {
        refused(&forebay, &bytes, 400);
    }
    assert_eq!(
        wire.calls().iter().filter(|call| call.line().contains("GET")).count(),
        0,
        "nothing got through"
    );
}

#[test]
fn a_path_with_dot_segments_is_refused_and_one_with_encoded_slashes_is_read_as_the_api_reads_it() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    for path in [
        "/api2/json/../json/kept/1",
        "/api2/json/kept/%2e%2e/1",
        "/api2/json/kept/.",
        "/api2/json/kept%2f..%2f1",
    ] {
        refused(&forebay, &request(&format!("GET {path}"), &[], ""), 400);
    }
    assert_eq!(wire.count(), 0);
    // The rule is found by the decoded path; the upstream gets the client's own bytes.
    let first = forebay.get("/api2/json/kept%2F1");
    assert_eq!((first.status(), first.cache()), (200, "fwd=uri-miss; stored"));
    assert_eq!(wire.calls()[0].line(), "GET /api2/json/kept%2F1");
    assert_eq!(forebay.get("/api2//json/kept/1/").status(), 200);
    assert_eq!(wire.calls()[1].line(), "GET /api2//json/kept/1/");
}

#[test]
fn heads_that_are_too_large() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    let long = format!("X-Long: {}", "a".repeat(70_000));
    refused(&forebay, &request("GET /api2/json/kept/1", &[&long], ""), 431);
    let many: Vec<String> = (0..101).map(|n| format!("X-{n}: a")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&forebay, &request("GET /api2/json/kept/1", &many, ""), 431);
    // More than the API bears, though not more than forebay does: the connection stays.
    for target in ["/api2/json/kept/1", "/api2/json/passed/1"] {
        let mut connection = Connection::open(forebay.address());
        connection.write(request(&format!("GET {target}"), &many[..60], "").as_bytes());
        let answer = connection.read();
        answer.is_own_error(431, "bad-request");
        connection
            .write(request("GET /api2/json/passed/2", &[&format!("X: {}", "a".repeat(8000))], "").as_bytes());
        connection.read().is_own_error(431, "bad-request");
    }
    assert_eq!(wire.count(), 0);
    assert_eq!(forebay.send(request("GET /api2/json/kept/1", &many[..50], "")).status(), 200);
}

#[test]
fn methods_and_targets_that_are_no_calls() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    refused(&forebay, &request("CONNECT lab:8006", &[], ""), 405);
    // The server as a whole is asked, which only the API can answer; Proxmox says 501.
    let options = forebay.send(request("OPTIONS *", &["Connection: close"], ""));
    if options.field("cache-status").is_some_and(|status| status.contains("detail=bad-request")) {
        assert!((400..500).contains(&options.status()), "{}", options.head);
        assert_eq!(wire.count(), 0);
    } else {
        assert_eq!(wire.calls()[0].line(), "OPTIONS *");
    }
    for (line, said) in [
        ("OPTIONS /api2/json/kept/1", "OPTIONS /api2/json/kept/1"),
        ("BREW /api2/json/kept/1", "BREW /api2/json/kept/1"),
        // RFC 9112 §3.2.2: a server must accept the absolute form.
        ("GET http://lab/api2/json/kept/7?a=b", "GET /api2/json/kept/7?a=b"),
    ] {
        let answer = forebay.send(request(line, &["Connection: close"], ""));
        assert_eq!(answer.status(), 200, "{line}: {}", answer.head);
        let call = wire.calls().pop().expect("it was forwarded");
        assert_eq!(call.line(), said);
        assert_eq!(call.field("host"), Some(wire.address.to_string().as_str()), "the upstream's own name");
    }
    assert!(forebay.get("/api2/json/kept/7?a=b").cache().starts_with("hit"), "both forms are one target");
}

#[test]
fn a_read_with_content_is_the_apis_to_judge() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    for _ in 0..2 {
        let answer = forebay.send(request(
            "GET /api2/json/kept/1",
            &["Content-Length: 3", "Connection: close"],
            "a=1",
        ));
        assert_eq!((answer.status(), answer.cache()), (200, "fwd=bypass; detail=request"));
    }
    assert_eq!(wire.count(), 2);
    assert_eq!(wire.calls()[1].body, b"a=1");
}

#[test]
fn a_client_of_http_1_0() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    for status in ["fwd=uri-miss; stored", "hit; ttl=3600"] {
        let mut connection = Connection::open(forebay.address());
        let request = format!("GET /api2/json/kept/1 HTTP/1.0\r\nAuthorization: {TOKEN}\r\n\r\n");
        connection.write(request.as_bytes());
        let answer = connection.read();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "{\"data\":1}"));
        assert!(answer.cache().starts_with(&status[..5]), "{}", answer.head);
        assert_eq!(answer.field("transfer-encoding"), None, "HTTP/1.0 has no chunks");
        assert!(answer.whole && connection.is_over());
    }
    assert!(wire.calls()[0].head.starts_with("GET /api2/json/kept/1 HTTP/1.1"), "{}", wire.calls()[0].head);
}

#[test]
fn an_upload_that_waits_to_be_told_to_continue() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    let mut connection = Connection::open(forebay.address());
    let content = "x".repeat(100_000);
    let length = format!("Content-Length: {}", content.len());
    connection.write(request("POST /api2/json/upload", &[&length, "Expect: 100-continue"], "").as_bytes());
    let interim = connection.head();
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    connection.write(content.as_bytes());
    let answer = connection.read();
    assert_eq!((answer.status(), answer.cache()), (200, "fwd=method; detail=write"), "{}", answer.head);
    let call = &wire.calls()[0];
    assert_eq!((call.body.len(), call.field("expect")), (content.len(), None));
}

#[test]
fn an_upload_of_unknown_length_is_measured_for_an_upstream_that_needs_it() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    let chunks = "3\r\na=1\r\n4;extension=1\r\n&b=2\r\n0\r\nTrailer: 1\r\n\r\n";
    let line = "POST /api2/json/kept/1";
    let answer = forebay.send(request(line, &["Transfer-Encoding: chunked", "Connection: close"], chunks));
    assert_eq!(answer.status(), 200, "{}", answer.head);
    let call = &wire.calls()[0];
    assert_eq!((call.field("content-length"), call.body.as_slice()), (Some("7"), &b"a=1&b=2"[..]));
    // What cannot be held is refused, with what to do instead.
    let mut connection = Connection::open(forebay.address());
    connection.write(request(line, &["Transfer-Encoding: chunked"], "").as_bytes());
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..20 {
        if connection.stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let answer = connection.read();
    answer.is_own_error(413, "bad-request");
    assert!(answer.reason().contains("Content-Length"), "{}", answer.reason());
    assert_eq!(wire.count(), 1);
}

#[test]
fn an_upload_that_breaks_off_is_not_sent_as_if_it_were_whole() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    for fields in [["Content-Length: 100000"], ["Transfer-Encoding: chunked"]] {
        let mut connection = Connection::open(forebay.address());
        connection.write(request("POST /api2/json/kept/1", &fields, "8\r\nabcdefgh\r\n").as_bytes());
        connection.stream.shutdown(std::net::Shutdown::Write).expect("connected");
        let head = connection.head();
        assert!(head.is_empty() || head.starts_with("HTTP/1.1 400 "), "{head}");
    }
    assert_eq!(forebay.get("/api2/json/kept/1").status(), 200, "forebay goes on");
    assert!(wire.calls().iter().all(|call| call.line().starts_with("GET")), "the write was never whole");
}

#[test]
fn many_requests_on_one_connection() {
    let wire = Wire::numbered();
    let forebay = Forebay::before(&wire, "");
    let mut connection = Connection::open(forebay.address());
    // Pipelined: all are sent before the first answer is read.
    let all: String = (0..20)
        .map(|n| get(&format!("/api2/json/kept/{}", n % 4)).replace("Connection: close\r\n", ""))
        .collect();
    connection.write(all.as_bytes());
    let bodies: Vec<String> = (0..20).map(|_| connection.read().text()).collect();
    for n in 4..20 {
        assert_eq!(bodies[n], bodies[n - 4], "answers come in the order of their requests");
    }
    assert_eq!(wire.count(), 4);
}
