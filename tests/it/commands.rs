//! The command line: what it prints, and with which code it ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::binary::{Connection, Forebay, RULES, Wire, config, forebay};

fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("writable");
    }
    directory
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[test]
fn every_mistake_has_its_place_and_check_says_no() {
    let text = "\
listen:
  - {address: 127.0.0.1:0, upstream: lab, public_url: lab.example}
  - {address: 127.0.0.1:0, upstream: lab, tls: {certificate: c.pem, key: k.pem}}
cache: {memory: 256, disk: {path: /x, size: 1KiB}}
upstreams:
  lab:
    endpoint: https://pve1:8006
    endpoints: ['https://pve1:8006']
    rules: [rules.yaml, absent.yaml]
    timeouts: {connect: 5}
    sync: [{path: /x, every: 1m}]
";
    let rules = "\
api: proxmox
reads:
  - {path: '/api2/json/**', ttl: 5s}
  - {path: '/api2/json/version', ttl: 5 minutes}
  - {path: '/api2/json/nodes', ttl: 5s}
  - {path: '/x/{y}', ttl: 1s, promote: {list: /x}}
";
    let directory = files(&[("forebay.yaml", text), ("rules.yaml", rules)]);
    let expected = [
        "forebay.yaml:2:55: write it as in https://forebay.example:8443",
        "forebay.yaml:3:62: `c.pem` cannot be read",
        "forebay.yaml:3:74: `k.pem` cannot be read",
        "forebay.yaml:4:17: ",
        "forebay.yaml:4:45: at least 32MiB",
        "forebay.yaml:7:5: unknown field `endpoint`",
        "forebay.yaml:9:25: `absent.yaml` is neither a built-in pack (proxmox, azure) nor a usable file",
        "forebay.yaml:10:25: ",
        "forebay.yaml:11:11: this is read with the upstream's own credential: name its `credential_file`",
        "rules.yaml:4:39: ",
        "rules.yaml:5:5: rule can never match: line 3 comes first",
        "rules.yaml:6:",
    ];
    for arguments in [&["check"][..], &["check", "forebay.yaml"]] {
        let checked = forebay(arguments, directory.path());
        assert_eq!(code(&checked), 1);
        let said = out(&checked);
        for start in expected {
            assert!(said.lines().any(|line| line.starts_with(start)), "`{start}` is missing:\n{said}");
        }
    }
    // The same mistakes keep it from serving.
    for arguments in [&["run"][..], &[], &["run", "--config", "forebay.yaml"]] {
        let run = forebay(arguments, directory.path());
        assert_eq!((code(&run), out(&run).as_str()), (2, ""));
        for start in expected {
            assert!(err(&run).lines().any(|line| line.starts_with(start)), "`{start}`:\n{}", err(&run));
        }
    }
}

#[test]
fn check_looks_at_every_file_that_is_named() {
    let good = config("http://127.0.0.1:1", "rules: [proxmox]");
    let directory = files(&[
        ("good.yaml", &good),
        ("pack.yaml", RULES),
        ("broken.yaml", "listen: [}\n"),
        ("empty.yaml", ""),
        ("list.yaml", "- 1\n"),
    ]);
    let checked = forebay(&["check", "good.yaml", "pack.yaml"], directory.path());
    assert_eq!((code(&checked), out(&checked).as_str()), (0, "all files checked, no mistakes\n"));
    let names = ["check", "good.yaml", "broken.yaml", "empty.yaml", "list.yaml", "absent.yaml"];
    let checked = forebay(&names, directory.path());
    assert_eq!(code(&checked), 1);
    for name in &names[2..] {
        assert!(out(&checked).lines().any(|line| line.starts_with(name)), "{name}:\n{}", out(&checked));
    }
    assert!(!out(&checked).contains("good.yaml"), "{}", out(&checked));
    let nothing = forebay(&["check"], directory.path());
    assert_eq!(code(&nothing), 2, "{}", err(&nothing));
}

#[test]
fn check_warns_of_writes_that_no_rule_covers() {
    let whole = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/proxmox.yaml"));
    let whole = whole.expect("the pack is in the tree");
    let few = "api: proxmox\nwrites:\n  - {methods: [POST, PUT, DELETE], path: '/api2/{format}/nodes/**', invalidates: ['node']}\nreads:\n  - {path: '/api2/{format}/nodes', ttl: 1s, groups: ['node']}\n";
    let json = few.replace("{format}", "json").replace("nodes/**", "**");
    let upstream = |rules: &str| config("http://127.0.0.1:1", &format!("rules: [{rules}]"));
    let directory = files(&[
        ("whole.yaml", &whole),
        ("most.yaml", few),
        ("addition.yaml", RULES),
        ("json.yaml", &json),
        ("builtin-config.yaml", &upstream("proxmox")),
        ("both-config.yaml", &upstream("addition.yaml, proxmox")),
        ("most-config.yaml", &upstream("most.yaml")),
        ("addition-config.yaml", &upstream("addition.yaml")),
        ("json-config.yaml", &upstream("json.yaml")),
    ]);
    let warned = |file: &str| {
        let checked = forebay(&["check", file], directory.path());
        assert_eq!(code(&checked), 0, "a warning is not a mistake: {}", out(&checked));
        let lines: Vec<String> = out(&checked).lines().map(str::to_owned).collect();
        let about: Vec<String> = lines.into_iter().filter(|line| line.contains("published writes")).collect();
        assert!(about.len() <= 1, "{about:#?}");
        about.into_iter().next()
    };
    for complete in ["whole.yaml", "builtin-config.yaml", "both-config.yaml", "addition.yaml"] {
        assert_eq!(warned(complete), None, "{complete}");
    }
    let most = warned("most-config.yaml").expect("there is a gap");
    assert!(most.starts_with("most-config.yaml:6:12: warning: "), "{most}");
    assert!(
        most.contains(" of the 335 published writes have no rule") && most.contains("/access/acl"),
        "{most}"
    );
    assert!(warned("most.yaml").is_some_and(|line| line.starts_with("most.yaml: warning: ")));
    assert!(warned("addition-config.yaml").is_some_and(|line| line.contains("335 of the 335")));
    assert!(
        warned("json-config.yaml").is_some_and(|line| line.contains("335 of the 335")),
        "extjs is written too"
    );
}

#[test]
fn explain_says_which_rule_and_why() {
    let directory = files(&[
        ("forebay.yaml", &config("http://127.0.0.1:1", "rules: [rules.yaml]")),
        ("rules.yaml", RULES),
    ]);
    let here = directory.path();
    let read = forebay(
        &["explain", "--rules", "rules.yaml", "GET", "https://lab:8006/api2/json/kept/7?b=2&_dc=9"],
        here,
    );
    assert_eq!(code(&read), 0, "{}", err(&read));
    for part in ["/api2/{format}/kept/{id}", "1h", "kept/7", "POST"] {
        assert!(out(&read).contains(part), "{part}:\n{}", out(&read));
    }
    let json = |arguments: &[&str], expected: i32| {
        let explained = forebay(&[&["explain", "--json"][..], arguments].concat(), here);
        assert_eq!(code(&explained), expected, "{}{}", out(&explained), err(&explained));
        let value: serde_json::Value = serde_json::from_slice(&explained.stdout).expect("JSON");
        let mut keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
        keys.sort();
        assert_eq!(
            keys,
            ["api", "groups", "invalidates", "key", "reason", "rule", "share", "ttl", "written"]
        );
        value
    };
    // Without an option the configuration here counts.
    let read = json(&["get", "/api2/json/kept/7?b=2&_dc=9"], 0);
    assert_eq!((read["api"].as_str(), read["ttl"].as_str()), (Some("proxmox"), Some("1h")));
    assert_eq!(read["rule"], "/api2/{format}/kept/{id}");
    assert_eq!(read["share"], "credential");
    assert!(read["key"].as_str().is_some_and(|key| key.contains("b=2") && !key.contains("_dc")), "{read}");
    assert!(read["groups"].as_array().is_some_and(|groups| groups.contains(&"kept/7".into())), "{read}");
    let write = json(&["--config", "forebay.yaml", "DELETE", "/api2/json/kept/7"], 0);
    assert!(
        write["invalidates"].as_array().is_some_and(|groups| groups.contains(&"kept/7".into())),
        "{write}"
    );
    let nothing = json(&["--rules", "rules.yaml", "GET", "/nothing"], 1);
    assert!(nothing["rule"].is_null() && nothing["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(json(&["--rules", "proxmox", "POST", "/nothing"], 1)["rule"].is_null());
    let absent = forebay(&["explain", "--rules", "absent.yaml", "GET", "/"], here);
    assert_eq!(code(&absent), 2);
    let no_url = forebay(&["explain", "GET", "not a url"], here);
    assert_eq!(code(&no_url), 2, "{}", err(&no_url));
    assert!(err(&no_url).contains("neither a URL nor a path"), "{}", err(&no_url));
    let method = forebay(&["explain", "G T", "/"], here);
    assert_eq!(code(&method), 2);
}

#[test]
fn bad_usage_is_told_from_a_no() {
    let empty = tempfile::tempdir().expect("a directory for temporary files");
    let here = empty.path();
    let table: [&[&str]; 12] = [
        &["bogus"],
        &["--bogus"],
        &["run"],
        &[],
        &["run", "--config", "absent.yaml"],
        &["run", "--listen", "127.0.0.1:0"],
        &["--upstream", "https://127.0.0.1:1", "--ca", "absent", "--pin", "00"],
        &["--upstream", "gopher://x", "--rules", "proxmox"],
        &["sim", "vsphere"],
        &["sim", "azure", "--nodes", "3"],
        &["sim", "azure", "--links", "elsewhere"],
        &["sim", "proxmox", "--plain"],
    ];
    for arguments in table {
        let output = forebay(arguments, here);
        assert_eq!((code(&output), out(&output).as_str()), (2, ""), "{arguments:?}: {}", err(&output));
        assert!(!err(&output).is_empty(), "{arguments:?} says why");
    }
    let not_built = forebay(&["advise", "log.txt"], here);
    assert_eq!(code(&not_built), 2);
    assert!(err(&not_built).contains("not built yet"), "{}", err(&not_built));
    let version = forebay(&["--version"], here);
    assert_eq!(code(&version), 0);
    assert_eq!(out(&version), format!("forebay {}\n", env!("CARGO_PKG_VERSION")));
    let help = forebay(&["--help"], here);
    assert_eq!(code(&help), 0);
    for command in ["run", "check", "explain", "demo", "sim", "advise", "health"] {
        assert!(out(&help).contains(command), "{command}");
    }
}

#[test]
fn health_asks_a_running_process() {
    let wire = Wire::numbered();
    let mut forebay_process = Forebay::before(&wire, "");
    let here = tempfile::tempdir().expect("a directory for temporary files");
    let text = config("http://127.0.0.1:1", "rules: [proxmox]").replace(
        "admin: {address: 127.0.0.1:0}",
        &format!("admin: {{address: '{}'}}", forebay_process.admin),
    );
    std::fs::write(here.path().join("forebay.yaml"), &text).expect("writable");
    let healthy = forebay(&["health"], here.path());
    assert_eq!((code(&healthy), out(&healthy).as_str()), (0, "ready\n"));
    // A bad edit changes nothing for the process that runs.
    std::fs::write(here.path().join("forebay.yaml"), format!("nonsense: 1\n{text}")).expect("writable");
    assert_eq!(code(&forebay(&["health"], here.path())), 0);
    forebay_process.signal(Signal::TERM);
    assert!(forebay_process.ended().success());
    let gone = forebay(&["health", "--config", "forebay.yaml"], here.path());
    assert_eq!(code(&gone), 1, "{}", out(&gone));
    std::fs::remove_file(here.path().join("forebay.yaml")).expect("it is there");
    assert_eq!(code(&forebay(&["health", "--config", "forebay.yaml"], here.path())), 2);
}

#[test]
fn the_simulated_cluster_serves_until_it_is_told_to_stop() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["sim", "proxmox", "--listen", "127.0.0.1:0", "--vms", "9", "--nodes", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    let first = lines.next().expect("a line").expect("text");
    let address = first.rsplit("://").next().and_then(|address| address.parse().ok()).expect("an address");
    let mut connection = Connection::open(address);
    connection.write(b"GET /api2/json/version HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.read().status(), 401);
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
    kill_process(pid, Signal::TERM).expect("it is our child");
    assert!(child.wait().expect("it is our child").success());
}

#[test]
fn a_start_without_a_file_chooses_its_rules_by_asking() {
    // Only an API that asks for a credential like Proxmox does is taken for it.
    let other = Wire::numbered();
    let here = tempfile::tempdir().expect("a directory for temporary files");
    let url = format!("http://{}", other.address);
    let unknown = forebay(&["--upstream", &url, "--listen", "127.0.0.1:0"], here.path());
    assert_eq!(code(&unknown), 2);
    assert!(err(&unknown).contains("cannot tell which API"), "{}", err(&unknown));
}
