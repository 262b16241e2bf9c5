//! What only pveproxy does with HTTP.

use std::io::Read as _;

use tokio::time::Instant;

use super::super::{Fault, HoldAt};
use super::*;

#[tokio::test]
async fn a_protected_answer_says_both_close_and_keep_alive_and_the_connection_lives_on() {
    let sim = start(still()).await;
    let mut client = Client::connect(&sim).await;
    for _ in 0..3 {
        let answer = client.get("/cluster/status", &admin()).await;
        assert_eq!((answer.status, answer.reason.as_str()), (200, "OK"));
        assert_eq!(answer.all("connection"), ["close", "Keep-Alive"]);
    }
    let answer = client.get("/version", &admin()).await;
    assert_eq!(answer.all("connection"), ["Keep-Alive"]);
    assert_eq!(answer.all("cache-control"), ["max-age=0"]);
    assert_eq!(answer.all("expires"), answer.all("date"));
    assert!(answer.all("etag").is_empty() && answer.all("vary").is_empty());
    assert_eq!((sim.connections(), sim.calls(), sim.calls_to("GET /api2/json/cluster")), (1, 4, 3));
    sim.stop().await;
}

#[tokio::test]
async fn a_401_is_late_bodyless_without_length_and_ends_the_connection() {
    let sim = start(still()).await;
    let cookie = "Cookie: PVEAuthCookie=PVE%3Aroot%40pam%3A00000000%3A%3Aforged\r\n";
    for (fields, reason) in [
        (String::new(), "No ticket"),
        (token(ADMIN_TOKEN, "wrong"), "Authentication failed!"),
        (cookie.to_owned(), "Authentication failed!"),
        // A cookie goes before a token that would do.
        (format!("{cookie}{}", admin()), "Authentication failed!"),
    ] {
        let mut client = Client::connect(&sim).await;
        let started = Instant::now();
        let answer = client.get("/version", &fields).await;
        assert!(started.elapsed() >= still().penalty_401);
        assert_eq!((answer.status, answer.reason.as_str()), (401, reason));
        assert!(answer.all("content-length").is_empty() && answer.body.is_empty());
        assert_eq!(answer.all("connection"), ["close"]);
        assert!(client.is_closed().await);
    }
    sim.stop().await;
}

#[tokio::test]
async fn keys_and_items_come_in_random_order_and_mean_the_same() {
    let sim = start(still()).await;
    let mut client = Client::connect(&sim).await;
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(client.get("/cluster/resources?type=storage", &admin()).await);
    }
    assert!(bodies.iter().any(|answer| answer.body != bodies[0].body));
    let sorted = |answer: &Answer| {
        let mut items: Vec<_> =
            answer.data().as_array().expect("a list").iter().map(Value::to_string).collect();
        items.sort();
        items
    };
    assert!(bodies.iter().all(|answer| sorted(answer) == sorted(&bodies[0])));
    sim.stop().await;
}

#[tokio::test]
async fn what_pveproxy_does_not_speak_is_refused_as_it_does() {
    let sim = start(still()).await;
    let auth = admin();
    let big = "Content-Length: 600000\r\n";
    let cases = [
        ("HEAD /api2/json/version", "", "", 501, "method 'HEAD' not available", false),
        ("PATCH /api2/json/version", "", "", 501, "method 'PATCH' not available", false),
        (
            "POST /api2/json/pools",
            "Transfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            501,
            "chunked transfer encoding not supported",
            true,
        ),
        (
            "GET /api2/json/version",
            "Content-Length: 2\r\n",
            "{}",
            501,
            "Unexpected content for method 'GET'",
            true,
        ),
        (
            "DELETE /api2/json/pools",
            "Content-Length: 2\r\n",
            "{}",
            501,
            "Unexpected content for method 'DELETE'",
            true,
        ),
        ("POST /api2/json/pools", big, "", 501, "for data too large", true),
        (
            "POST /api2/json/pools",
            "Content-Type: text/plain\r\nContent-Length: 1\r\n",
            "x",
            506,
            "upload 'Content-Type 'text/plain' not implemented",
            true,
        ),
        ("GET /api2/json/nosuch", "", "", 501, "Method 'GET /nosuch' not implemented", true),
        ("GET /somewhere/else", "", "", 501, "no such file '/somewhere/else'", true),
    ];
    for (line, fields, body, status, reason, has_body) in cases {
        let mut client = Client::connect(&sim).await;
        client.send(&format!("{line} HTTP/1.1\r\nHost: sim\r\n{auth}{fields}\r\n{body}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.reason.as_str()), (status, reason));
        assert_eq!(!answer.body.is_empty(), has_body, "{answer:?}");
        assert_eq!(answer.all("connection"), ["close"]);
    }
    sim.stop().await;
}

#[tokio::test]
async fn connections_end_after_their_requests_after_silence_and_after_too_large_a_head() {
    let idle_close = Duration::from_millis(40);
    let sim = start(SimConfig { requests_per_connection: 3, idle_close, ..still() }).await;
    let mut client = Client::connect(&sim).await;
    for expected in ["Keep-Alive", "Keep-Alive", "close"] {
        assert_eq!(client.get("/version", &admin()).await.all("connection"), [expected]);
    }
    assert!(client.is_closed().await);

    let mut silent = Client::connect(&sim).await;
    let started = Instant::now();
    assert!(silent.is_closed().await && started.elapsed() >= idle_close);

    for fields in ["X: y\r\n".repeat(64), format!("X: {}\r\n", "y".repeat(8200))] {
        let mut client = Client::connect(&sim).await;
        client.send(&format!("GET /api2/json/version HTTP/1.1\r\n{fields}\r\n")).await;
        assert!(client.is_closed().await);
    }
    let mut fits = Client::connect(&sim).await;
    assert_eq!(fits.get("/version", &(admin() + &"X: y\r\n".repeat(61))).await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn long_bodies_are_compressed_for_whoever_names_gzip() {
    let sim = start(still()).await;
    let mut client = Client::connect(&sim).await;
    let answer = client.get("/cluster/resources", &format!("{}Accept-Encoding: gzip;q=0\r\n", admin())).await;
    assert_eq!(answer.all("content-encoding"), ["gzip"]);
    let mut plain = String::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut plain).expect("gzip of text");
    assert!(plain.contains("\"web-1\""));
    let short = client.get("/version", &format!("{}Accept-Encoding: gzip\r\n", admin())).await;
    assert!(short.all("content-encoding").is_empty());
    sim.stop().await;
}

#[tokio::test]
async fn the_extjs_format_answers_errors_with_200() {
    let sim = start(still()).await;
    let mut client = Client::connect(&sim).await;
    client.send(&format!("GET /api2/extjs/pools/none HTTP/1.1\r\n{}\r\n", admin())).await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.reason.as_str(), answer.all("connection")),
        (200, "OK", vec!["Keep-Alive"])
    );
    let body = answer.json();
    assert_eq!((&body["success"], &body["status"]), (&Value::from(0), &Value::from(500)));
    assert_eq!(body["message"], "pool 'none' does not exist\n");
    client.send(&format!("GET /api2/extjs/version HTTP/1.1\r\n{}\r\n", admin())).await;
    assert_eq!(client.answer().await.json()["success"], 1);
    sim.stop().await;
}

#[tokio::test]
async fn paths_are_decoded_once_and_collapsed() {
    let sim = start(still()).await;
    let mut client = Client::connect(&sim).await;
    for path in ["//nodes//pve1/version/", "/nodes%2Fpve1/version", "/nodes/localhost/version?_dc=17"] {
        assert_eq!(client.get(path, &admin()).await.status, 200, "{path}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn consoles_live_on_the_node_that_was_asked_and_echo() {
    let sims = Sim::start_cluster(still(), &[ANY_PORT, ANY_PORT]).await.expect("two free ports");
    let (ticket, csrf) = sims[0].ticket("root@pam");
    let cookie = format!("Cookie: PVEAuthCookie={}\r\n", ticket.replace('+', "%2B"));
    let csrf = format!("CSRFPreventionToken: {csrf}\r\n");
    let opened = call(&sims[1], "POST", "/nodes/pve1/qemu/100/vncproxy", &(cookie.clone() + &csrf), "").await;
    let (port, secret) = (opened.data()["port"].clone(), opened.data()["ticket"].clone());
    assert!(opened.data()["upid"].as_str().is_some_and(|upid| upid.starts_with("UPID:pve2:")));
    let secret = secret.as_str().expect("a ticket").replace('+', "%2B");
    let path = format!(
        "/nodes/pve1/qemu/100/vncwebsocket?port={}&vncticket={secret}",
        port.as_str().expect("a port")
    );
    let upgrade = format!(
        "{cookie}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );

    let elsewhere = call(&sims[0], "GET", &path, &upgrade, "").await;
    assert_eq!(elsewhere.status, 500);
    let mut client = Client::connect(&sims[1]).await;
    let answer = client.get(&path, &upgrade).await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.all("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
    client.send("ping").await;
    assert!(client.more().await);
    assert_eq!(client.buffer, b"ping");

    let locals = [get(&sims[0], "/cluster/status").await, get(&sims[1], "/cluster/status").await];
    let names = locals.map(|answer| pick(&answer.data(), "local", 1)["name"].clone());
    assert_eq!(names, ["pve1", "pve2"]);
    for sim in sims {
        sim.stop().await;
    }
}

#[tokio::test]
async fn faults_and_gates_meet_the_requests_they_name() {
    let sim = start(still()).await;
    sim.inject("GET /api2/json/version", Fault::Status(596, "Connection timed out".to_owned()), 1);
    assert_eq!(get(&sim, "/version").await.status, 596);
    assert_eq!(get(&sim, "/version").await.status, 200);

    let gate = sim.hold("GET /api2/json/nodes/pve1/qemu/100/config", HoldAt::BeforeAnswering);
    let held = async { get(&sim, "/nodes/pve1/qemu/100/config").await.data()["cores"].clone() };
    let change = async {
        gate.arrived(1).await;
        assert!(sim.set_guest_config(100, "cores", 64.into()));
        gate.open();
    };
    let (seen, ()) = tokio::join!(held, change);
    assert_eq!(seen, 4);
    assert_eq!(get(&sim, "/nodes/pve1/qemu/100/config").await.data()["cores"], 64);
    sim.stop().await;
}

#[tokio::test]
async fn stopping_ends_connections_that_are_being_answered() {
    let sim = start(still()).await;
    let gate = sim.hold("GET ", HoldAt::BeforeReading);
    let mut client = Client::connect(&sim).await;
    client.send(&format!("GET /api2/json/version HTTP/1.1\r\n{}\r\n", admin())).await;
    gate.arrived(1).await;
    timeout(PATIENCE, sim.stop()).await.expect("nothing keeps the simulation from ending");
    assert!(client.is_closed().await);
}
