//! `forebay demo` as a user runs it.

use std::process::Command;

/// The number behind `name=` in the last line.
fn number(line: &str, name: &str) -> f64 {
    let value = line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let value = value.unwrap_or_else(|| panic!("no {name} in `{line}`"));
    value.trim_end_matches('%').parse().unwrap_or_else(|_| panic!("{name} is no number in `{line}`"))
}

#[test]
fn the_demo_saves_calls_and_shows_nothing_stale() {
    let output = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["demo", "--listen", "127.0.0.1:0", "--seconds", "4"])
        .output()
        .expect("the binary runs");
    let shown = String::from_utf8(output.stdout).expect("plain text");
    let told = String::from_utf8_lossy(&output.stderr);
    let last = shown.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(0), "{shown}\n{told}");
    assert_eq!(number(last, "stale_after_write"), 0.0, "{shown}");
    let (calls, upstream) = (number(last, "client_calls"), number(last, "upstream_calls"));
    assert!(upstream > 0.0 && calls > upstream, "{shown}");
    let line = format!(
        "saved={:.1}% client_calls={calls} upstream_calls={upstream} stale_after_write=0",
        (1.0 - upstream / calls) * 100.0
    );
    assert_eq!(last, line);
    assert!(!shown.contains('\x1b'), "no terminal, no escape sequences");
    assert!(shown.contains("/metrics") && shown.contains("curl -i"), "{shown}");
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["demo", "--listen", &address, "--seconds", "1"])
        .output()
        .expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains(&format!("cannot listen on {address}")), "{told}");
}
