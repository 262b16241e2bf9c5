//! Upstreams that are not there, do not answer, break off or speak no HTTP.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::binary::{Answer, Call, Connection, Forebay, RULES, Then, Wire, config, get, reply, until, write};

/// Forebay's own sentences never tell where the upstream is.
fn tells_nothing(answer: &Answer, upstream: std::net::SocketAddr) {
    let text = format!("{}{}", answer.head, answer.text());
    assert!(!text.contains(&upstream.port().to_string()), "{text}");
    assert!(!text.contains("127.0.0.1"), "{text}");
}

/// A kept read, a passed read and a write all end in this error, and nothing is kept of them.
fn all_fail(forebay: &Forebay, upstream: std::net::SocketAddr, status: u16, detail: &str) {
    let before = forebay.count("forebay_requests_total", &format!("outcome=\"{detail}\""));
    let requests = [get("/api2/json/kept/1"), get("/api2/json/passed/1"), post("/api2/json/kept/1", "a=1")];
    for request in &requests {
        let answer = forebay.send(request);
        answer.is_own_error(status, detail);
        tells_nothing(&answer, upstream);
    }
    let after = forebay.count("forebay_requests_total", &format!("outcome=\"{detail}\""));
    assert_eq!(after - before, requests.len() as u64, "each is counted by what became of it");
}

fn post(target: &str, body: &str) -> String {
    get(target)
        .replace("GET", "POST")
        .replace("\r\n\r\n", &format!("\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn one_that_refuses_connections() {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a free port");
    let config = config(&format!("http://{address}"), "rules: [rules.yaml]");
    let forebay = Forebay::start(&[("forebay.yaml", &config), ("rules.yaml", RULES)]);
    all_fail(&forebay, address, 502, "unreachable");
    assert_eq!(forebay.count("forebay_upstream_requests_total", ""), 0, "nothing was sent");
}

#[test]
fn one_whose_name_does_not_resolve() {
    let config = config("http://nowhere.invalid:8006", "rules: [rules.yaml]");
    let forebay = Forebay::start(&[("forebay.yaml", &config), ("rules.yaml", RULES)]);
    let answer = forebay.get("/api2/json/kept/1");
    answer.is_own_error(502, "unreachable");
    assert!(!answer.text().contains("nowhere"), "{}", answer.text());
}

#[test]
fn one_that_accepts_and_says_nothing() {
    let silent = Arc::new(AtomicBool::new(true));
    let shared = silent.clone();
    let wire = Wire::start(move |_, stream| {
        if !shared.load(Ordering::SeqCst) {
            return reply(stream, "{\"data\":1}");
        }
        // Until forebay gives up.
        let mut end = [0];
        let _closed = std::io::Read::read(stream, &mut end);
        Then::Close
    });
    let forebay = Forebay::before(&wire, "timeouts: {first_byte: 300ms}");
    all_fail(&forebay, wire.address, 504, "timeout");
    assert_eq!(wire.count(), 3, "what may have arrived is not sent again");
    assert_eq!(forebay.count("forebay_upstream_requests_total", ""), 3);
    silent.store(false, Ordering::SeqCst);
    // What the write without an answer may have changed is not kept, everything else is.
    assert_eq!(forebay.get("/api2/json/kept/1").cache(), "fwd=bypass; stored; detail=unsettled");
    assert_eq!(forebay.get("/api2/json/kept/2").cache(), "fwd=uri-miss; stored");
}

#[test]
fn one_that_breaks_off_before_its_answer() {
    let scripts: [(&str, &str); 6] = [
        ("nothing at all", ""),
        ("no HTTP", "SSH-2.0-OpenSSH_9.6\r\n"),
        ("half a status line", "HTTP/1.1 20"),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Type: application/js"),
        ("an invalid field", "HTTP/1.1 200 OK\r\nContent Type: x\r\nContent-Length: 0\r\n\r\n"),
        ("an unreadable length", "HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n"),
    ];
    for (what, bytes) in scripts {
        eprintln!("{what}");
        let wire = Wire::start(move |_, stream| {
            write(stream, bytes);
            Then::Close
        });
        let forebay = Forebay::before(&wire, "");
        all_fail(&forebay, wire.address, 502, "lost");
        assert_eq!(forebay.count("forebay_upstream_requests_total", ""), wire.count() as u64);
    }
}

#[test]
fn one_whose_answer_has_two_lengths_or_too_long_a_head() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 2\r\n\r\n{{}}", "a".repeat(1 << 20));
    let many: String = (0..500).map(|n| format!("X-{n}: a\r\n")).collect();
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let scripts = [
        ("both lengths", format!("HTTP/1.1 200 OK\r\n{both}")),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}".into()),
        ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}".into()),
        ("a megabyte of head", long),
        ("five hundred fields", format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\n{{}}")),
        (
            "an unasked 101",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".into(),
        ),
    ];
    for (what, bytes) in scripts {
        eprintln!("{what}");
        let wire = Wire::start(move |_, stream| write(stream, &bytes));
        let forebay = Forebay::before(&wire, "");
        all_fail(&forebay, wire.address, 502, "lost");
    }
}

#[test]
fn one_that_resets() {
    let wire = Wire::start_raw(|stream, calls| {
        let mut some = [0; 10];
        std::io::Read::read_exact(stream, &mut some).expect("a request comes");
        calls.lock().push(Call { head: String::new(), body: Vec::new() });
    });
    let forebay = Forebay::before(&wire, "retry: {attempts: 1}");
    all_fail(&forebay, wire.address, 502, "lost");
    assert_eq!(wire.count(), 3, "nothing is sent twice");
}

#[test]
fn one_whose_body_ends_too_early() {
    let table = [
        ("by its length", "Content-Length: 100\r\n\r\n{\"data\":", "{\"data\":"),
        ("by its chunks", "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"data\":\r\n", "{\"data\":"),
        ("within a chunk", "Transfer-Encoding: chunked\r\n\r\n80\r\n{\"data\":", "{\"data\":"),
        ("a broken chunk", "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"data\":\r\nxyz\r\n", "{\"data\":"),
        ("before it begins", "Content-Length: 100\r\n\r\n", ""),
    ];
    for (what, rest, came) in table {
        eprintln!("{what}");
        let wire = Wire::start(move |_, stream| {
            write(stream, &format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{rest}"));
            Then::Close
        });
        let forebay = Forebay::before(&wire, "");
        for target in ["/api2/json/kept/1", "/api2/json/kept/1", "/api2/json/passed/1"] {
            let mut connection = Connection::open(forebay.address());
            connection.write(get(target).as_bytes());
            let answer = connection.read();
            assert_eq!(answer.status(), 200);
            assert!(!answer.whole, "{what}, {target}: the client must see that something is missing");
            assert_eq!(answer.text(), came, "{what}, {target}: what came is handed on");
            assert!(connection.is_over());
        }
        assert_eq!(wire.count(), 3, "{what}: nothing was kept");
    }
}

#[test]
fn one_that_stalls_within_a_body() {
    let wire = Wire::start(|_, stream| {
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"data\":");
        let mut end = [0];
        let _closed = std::io::Read::read(stream, &mut end);
        Then::Close
    });
    let forebay = Forebay::before(&wire, "timeouts: {idle: 300ms}");
    for _ in 0..2 {
        let answer = forebay.get("/api2/json/kept/1");
        assert!(!answer.whole);
    }
    assert_eq!(wire.count(), 2, "nothing was kept");
}

#[test]
fn one_whose_body_is_longer_than_its_length() {
    let wire = Wire::start(|call, stream| {
        let body = if call.line().ends_with("/1") {
            "{\"data\":1}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
        } else {
            "{\"data\":2}"
        };
        write(stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{body}"))
    });
    let forebay = Forebay::before(&wire, "");
    let mut one = Connection::open(forebay.address());
    for (target, body) in [
        ("/api2/json/kept/1", "{\"data\":1}"),
        ("/api2/json/kept/2", "{\"data\":2}"),
        ("/api2/json/passed/1", "{\"data\":1}"),
        ("/api2/json/passed/2", "{\"data\":2}"),
    ] {
        one.write(get(target).replace("Connection: close\r\n", "").as_bytes());
        let answer = one.read();
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, body),
            "{target}: what nobody asked for is nobody's answer"
        );
    }
    assert_eq!(forebay.count("forebay_upstream_requests_total", ""), wire.count() as u64);
}

#[test]
fn others_in_flight_are_unharmed() {
    let open = Arc::new(AtomicBool::new(false));
    let shared = open.clone();
    let wire = Wire::start(move |call, stream| {
        if call.line().contains("/good/") {
            until("the gate opens", || shared.load(Ordering::SeqCst));
            return reply(stream, "{\"data\":\"good\"}");
        }
        write(stream, "rubbish\r\n\r\n");
        Then::Close
    });
    // Those whom the API has not accepted yet share a quarter of these places.
    let forebay = Forebay::before(&wire, "concurrency: 64");
    let address = forebay.address();
    std::thread::scope(|scope| {
        let held = |n| {
            let mut connection = Connection::open(address);
            connection.write(get(&format!("/api2/json/passed/good/{n}")).as_bytes());
            connection.read()
        };
        let good: Vec<_> = (0..8).map(|n| scope.spawn(move || held(n))).collect();
        until("all are held upstream", || wire.count() == 8);
        for n in 0..5 {
            forebay.get(&format!("/api2/json/kept/{n}")).is_own_error(502, "lost");
        }
        open.store(true, Ordering::SeqCst);
        for good in good {
            let answer = good.join().expect("answered");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "{\"data\":\"good\"}"));
        }
    });
}

#[test]
fn an_error_of_the_upstream_keeps_its_own_words() {
    let wire = Wire::start(|_, stream| {
        write(stream, "HTTP/1.1 595 Connection refused\r\nContent-Length: 0\r\n\r\n")
    });
    let forebay = Forebay::before(&wire, "retry: {attempts: 1}");
    for target in ["/api2/json/kept/1", "/api2/json/kept/1", "/api2/json/passed/1"] {
        let answer = forebay.get(target);
        assert_eq!((answer.status(), answer.reason()), (595, "Connection refused"));
    }
    assert_eq!(wire.count(), 3);
}

#[test]
fn the_second_of_two_endpoints_answers_for_the_first() {
    let wire = Wire::numbered();
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a free port");
    let endpoints = format!("http://{gone}, http://{}", wire.address);
    let forebay = Forebay::start(&[
        ("forebay.yaml", &config(&endpoints, "rules: [rules.yaml]")),
        ("rules.yaml", RULES),
    ]);
    for n in 1..4 {
        assert_eq!(forebay.send(post(&format!("/api2/json/kept/{n}"), "a=1")).status(), 200);
    }
    assert_eq!(wire.count(), 3);
}

#[test]
fn a_client_that_leaves_takes_nothing_along() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.clone();
    let wire = Wire::start(move |_, stream: &mut TcpStream| {
        drop(held.lock());
        reply(stream, "{\"data\":1}")
    });
    let forebay = Forebay::before(&wire, "");
    let closed = gate.lock();
    let mut first = Connection::open(forebay.address());
    first.write(get("/api2/json/kept/1").as_bytes());
    until("the call is upstream", || wire.count() == 1);
    drop(first);
    drop(closed);
    until("the fill is kept", || forebay.get("/api2/json/kept/1").cache().starts_with("hit"));
    assert_eq!(wire.count(), 1);
}

#[test]
fn one_whose_connections_serve_as_many_calls_as_the_file_says() {
    let ports = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let seen = ports.clone();
    let wire = Wire::start(move |_, stream| {
        seen.lock().insert(stream.peer_addr().expect("it is connected").port());
        reply(stream, "{\"data\":1}")
    });
    let forebay = Forebay::before(&wire, "requests_per_connection: 2");
    (0..6).for_each(|n| assert_eq!(forebay.get(&format!("/api2/json/kept/{n}")).status(), 200));
    assert_eq!(ports.lock().len(), 3);
}
