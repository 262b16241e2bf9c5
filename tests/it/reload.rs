//! Reloading: one swap, or nothing.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::Signal;

use crate::binary::{Answer, Connection, Forebay, RULES, Then, Wire, config, get, reply, until, write};

const DONE: &str = "the configuration was reloaded";
const REFUSED: &str = "the configuration was not reloaded";

/// Rules with two kept reads.
fn two(first: &str, second: &str) -> String {
    format!(
        "api: proxmox\nreads:\n  - {{path: \"/api2/{{format}}/first/{{id}}\", ttl: {first}}}\n  \
         - {{path: \"/api2/{{format}}/second/{{id}}\", ttl: {second}}}\n"
    )
}

fn with_rules(wire: &Wire, rules: &str) -> Forebay {
    let config = config(&format!("http://{}", wire.address), "rules: [rules.yaml]");
    Forebay::start(&[("forebay.yaml", &config), ("rules.yaml", rules)])
}

/// Replaces a file as editors do: by renaming another onto it.
fn replace(path: &Path, text: &str) {
    let other = path.with_extension("new");
    fs::write(&other, text).expect("writable");
    fs::rename(&other, path).expect("the same directory");
}

#[test]
fn a_changed_rule_forgets_its_entries_and_the_others_keep_theirs() {
    let wire = Wire::numbered();
    let forebay = with_rules(&wire, &two("1h", "1h"));
    let (first, second) = ("/api2/json/first/1", "/api2/json/second/1");
    // A reader that comes as the last byte leaves may still join the flight.
    let kept = |target: &str| until("it is kept", || forebay.get(target).cache().starts_with("hit"));
    let ttl = |target: &str, ttl: &str| {
        kept(target);
        let hit = forebay.get(target);
        assert!(hit.cache().starts_with(&format!("hit; ttl={ttl}")), "{}", hit.cache());
        hit.text()
    };
    assert_eq!(
        (forebay.get(first).text().as_str(), forebay.get(second).text().as_str()),
        ("{\"data\":1}", "{\"data\":2}")
    );
    ttl(first, "3");
    // By the signal; the rule keeps its old file until then.
    forebay.logs_after(DONE, || {
        fs::write(forebay.path("rules.yaml"), two("2h", "1h")).expect("writable");
        forebay.signal(Signal::HUP);
    });
    assert_eq!(ttl(second, "3"), "{\"data\":2}", "an unchanged rule keeps its entries");
    let again = forebay.get(first);
    assert_eq!((again.cache(), again.text().as_str()), ("fwd=uri-miss; stored", "{\"data\":3}"));
    assert_eq!(ttl(first, "7"), "{\"data\":3}", "the new lifetime counts");
    // The rule comes back as it was, but what was stored under it in its earlier time does not: the writes
    // in between were judged by others.
    forebay.logs_after(DONE, || replace(&forebay.path("rules.yaml"), &two("1h", "1h")));
    assert_eq!(forebay.get(first).text(), "{\"data\":4}");
    assert_eq!(ttl(second, "3"), "{\"data\":2}");
}

#[test]
fn files_are_watched_however_they_change() {
    let wire = Wire::numbered();
    // As Kubernetes mounts a ConfigMap: links to a link to a directory, which alone is swapped.
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let at = |name: &str| directory.path().join(name);
    let version = |name: &str, rules: &str| {
        fs::create_dir(at(name)).expect("writable");
        let config = config(&format!("http://{}", wire.address), "rules: [rules.yaml]");
        fs::write(at(name).join("forebay.yaml"), config).expect("writable");
        fs::write(at(name).join("rules.yaml"), rules).expect("writable");
    };
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, at(name)).expect("writable");
    version("..one", &two("1h", "1h"));
    link("..one", "..data");
    link("..data/forebay.yaml", "forebay.yaml");
    link("..data/rules.yaml", "rules.yaml");
    version("..two", &two("2h", "1h"));
    version("..three", &two("3h", "1h"));
    let path = directory.path().to_path_buf();
    let forebay = Forebay::start_in(directory);
    let left = || forebay.get("/api2/json/first/1").cache().to_owned();
    until("it is kept", || forebay.get("/api2/json/second/1").cache().starts_with("hit"));
    let fresh_for = |start: &str| until(start, || left().starts_with(start));
    fresh_for("hit; ttl=3");
    for (number, start) in [("two", "hit; ttl=7"), ("three", "hit; ttl=10")] {
        forebay.logs_after(DONE, || {
            std::os::unix::fs::symlink(format!("..{number}"), path.join("..next")).expect("writable");
            fs::rename(path.join("..next"), path.join("..data")).expect("the same directory");
        });
        fresh_for(start);
    }
    // Written in place, in the directory that the links lead to.
    forebay
        .logs_after(DONE, || fs::write(path.join("..three/rules.yaml"), two("1m", "1h")).expect("writable"));
    until("a minute", || ["hit; ttl=5", "hit; ttl=60"].iter().any(|start| left().starts_with(start)));
    assert_eq!(
        wire.calls().iter().filter(|call| call.line().contains("second")).count(),
        1,
        "its rule never changed"
    );
}

#[test]
fn a_bad_file_is_reported_and_changes_nothing() {
    let wire = Wire::numbered();
    let forebay = with_rules(&wire, &two("1h", "1h"));
    let target = "/api2/json/first/1";
    until("it is kept", || forebay.get(target).cache().starts_with("hit"));
    let good = fs::read_to_string(forebay.path("forebay.yaml")).expect("it was written");
    let table = [
        ("rules.yaml", two("1h", "an hour"), "rules.yaml:4:47: "),
        ("rules.yaml", two("1h", "1h") + "    ttl: 2s\n  nonsense", "rules.yaml:"),
        ("forebay.yaml", good.clone() + "cash: {}\n", "forebay.yaml:8:1: unknown field `cash`"),
        (
            "forebay.yaml",
            good.replace("upstreams:", "upstreams:\n  bad: {endpoints: [gopher://x]}"),
            "forebay.yaml:4:",
        ),
    ];
    for (name, text, place) in table {
        let before = fs::read_to_string(forebay.path(name)).expect("it was written");
        let mistakes = forebay.logs_after(place, || {
            forebay.logs_after(REFUSED, || replace(&forebay.path(name), &text));
        });
        assert!(mistakes.contains("ERROR"), "{mistakes}");
        assert!(forebay.get(target).cache().starts_with("hit"), "what was in force stays");
        forebay.logs_after(DONE, || replace(&forebay.path(name), &before));
        assert!(forebay.get(target).cache().starts_with("hit"), "nothing has changed");
    }
    // A file that is gone is a bad file.
    forebay.logs_after(REFUSED, || fs::remove_file(forebay.path("rules.yaml")).expect("it was there"));
    assert!(forebay.get(target).cache().starts_with("hit"));
    forebay.logs_after(REFUSED, || forebay.signal(Signal::HUP));
    forebay.logs_after(DONE, || fs::write(forebay.path("rules.yaml"), two("1h", "1h")).expect("writable"));
    assert_eq!(wire.count(), 1);
}

#[test]
fn a_request_in_progress_ends_by_the_rules_it_began_with_and_leaves_nothing() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.clone();
    let wire = Wire::start(move |call, stream| {
        let first = call.line().contains("first");
        write(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n0123456789",
        );
        if first {
            drop(held.lock());
        }
        write(stream, "0123456789")
    });
    let forebay = with_rules(&wire, &two("1h", "1h"));
    let closed = gate.lock();
    let mut reader = Connection::open(forebay.address());
    reader.write(get("/api2/json/first/1").as_bytes());
    let head = reader.head();
    assert!(head.contains("fwd=uri-miss"), "{head}");
    until("the call is upstream", || wire.count() == 1);
    forebay.logs_after(DONE, || replace(&forebay.path("rules.yaml"), &two("2h", "1h")));
    // A reader by the new rule does not join the flight by the old one.
    let late = std::thread::scope(|scope| {
        let late = scope.spawn(|| forebay.get("/api2/json/first/1"));
        until("the second call is upstream", || wire.count() == 2);
        drop(closed);
        late.join().expect("answered")
    });
    let early = reader.body(head);
    assert!(early.whole && early.text() == "01234567890123456789", "{early:?}");
    assert!(late.whole && late.cache().starts_with("fwd=uri-miss"), "{}", late.cache());
    let new = |answer: Answer| answer.cache().starts_with("hit; ttl=7");
    until("the new flight, and only that, is kept", || new(forebay.get("/api2/json/first/1")));
    assert_eq!(wire.count(), 2);
}

#[test]
fn upstreams_and_their_settings_change_too() {
    let (one, two) = (
        Wire::start(|_, stream| reply(stream, "\"one\"")),
        Wire::start(|_, stream| reply(stream, "\"two\"")),
    );
    let forebay = Forebay::before(&one, "");
    assert_eq!(forebay.get("/api2/json/passed/1").text(), "\"one\"");
    let text = |upstream: &Wire, more: &str| {
        config(&format!("http://{}", upstream.address), &format!("rules: [rules.yaml]\n{more}"))
    };
    forebay.logs_after(DONE, || replace(&forebay.path("forebay.yaml"), &text(&two, "")));
    assert_eq!(forebay.get("/api2/json/passed/1").text(), "\"two\"");
    forebay.logs_after(DONE, || {
        replace(
            &forebay.path("forebay.yaml"),
            &text(&one, "limits: [{match: all, rate: 1/h, burst: 1}]\nqueue: {wait: 0s}"),
        );
    });
    // A new limit begins without a burst: a reload must not grant another.
    forebay.get("/api2/json/passed/1").is_own_error(429, "limited");
    // What cannot change without a restart is said.
    let moved = text(&one, "").replace("127.0.0.1:0, upstream", "127.0.0.2:0, upstream");
    forebay.logs_after("count from the next start on", || replace(&forebay.path("forebay.yaml"), &moved));
    assert_eq!(forebay.get("/api2/json/passed/1").text(), "\"one\"");
}

#[test]
fn an_upgraded_connection_outlives_a_reload() {
    let wire = Wire::start(|_, stream| {
        write(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        let mut bytes = [0; 4];
        while stream.read_exact(&mut bytes).is_ok() {
            write(stream, std::str::from_utf8(&bytes).expect("text"));
        }
        Then::Close
    });
    let forebay = Forebay::before(&wire, "");
    let mut client = Connection::open(forebay.address());
    let upgrade = get("/api2/json/passed/vncwebsocket")
        .replace("Connection: close", "Connection: upgrade\r\nUpgrade: websocket");
    client.write(upgrade.as_bytes());
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols"), "{head}");
    assert!(head.to_lowercase().contains("upgrade: websocket"), "{head}");
    let mut echo = |text: &str| {
        client.write(text.as_bytes());
        let mut back = [0; 4];
        client.stream.read_exact(&mut back).expect("it is open");
        assert_eq!(&back, text.as_bytes());
    };
    echo("ping");
    forebay.logs_after(DONE, || replace(&forebay.path("rules.yaml"), &RULES.replace("1h", "2h")));
    echo("pong");
}
