//! What is wrong is told, all at once and each at its place.

use super::*;

#[test]
fn every_mistake_is_reported_at_once() {
    let text = "\
listen:
  - {address: localhost:1, upstream: lab}
  - {address: 127.0.0.1:9006, upstream: nowhere}
  - {address: 127.0.0.1:9006, protocols: [], public_url: x}
  - {address: 127.0.0.1:2, tls: yes}
  - {address: 127.0.0.1:3, tls: {certificate: none.pem, key: none.pem}}
threads: 0
cache: {memory: 1KiB, max_object: 8MiB, disk: {path: broken.yaml, size: 1KiB}, redis: x}
loging: {}
upstreams:
  lab:
    endpoints: [https://pve1:8006, https://pve1:8006, ftp://x]
    rules: [proxmox, missing.yaml, broken.yaml]
    tls: {ca: none.pem, pin: ['00'], client_key: none.pem}
    credentials: ['a b']
    limits:
      - {per: [nothing], rate: 5, burst: 1}
      - {per: [nothing], rate: 5/s, burst: 0}
    concurrency: adaptiv
    timeouts: {connect: 0s, idle: 5}
    audit: 1
    mode: observe
    feed: {every: 1ms, ceiling: 0s}
    sync: [{path: x, every: 0s}]
    retry: {attempts: 0, throttled: {base: 9s}, transient: {attempts: 11, growth: x}}
    breaker: {failures: 0, open_for: 0s, probe_every: 100ms}
    credential_file: f
  spare lab: {endpoints: []}
";
    let expected = [
        "forebay.yaml:2:15: `localhost:1` is not an address",
        "forebay.yaml:3:15: the admin service has this address",
        "forebay.yaml:3:41: there is no upstream `nowhere`; there is lab, spare lab",
        "forebay.yaml:4:5: there are several upstreams: name with `upstream`",
        "forebay.yaml:4:15: another listener has this address",
        "forebay.yaml:4:15: the admin service has this address",
        "forebay.yaml:4:42: at least one of http/1.1 and h2",
        "forebay.yaml:4:58: write it as in https://forebay.example:8443",
        "forebay.yaml:5:5: there are several upstreams",
        "forebay.yaml:5:33: invalid value: string \"yes\", expected `auto` or a map",
        "forebay.yaml:6:5: there are several upstreams",
        "forebay.yaml:6:47: `none.pem` cannot be read",
        "forebay.yaml:6:62: `none.pem` cannot be read",
        "forebay.yaml:7:10: from 1 to 1024",
        "forebay.yaml:8:17: at least 1MiB",
        "forebay.yaml:8:35: more than zero and at most `memory`",
        "forebay.yaml:8:54: `broken.yaml` is no directory",
        "forebay.yaml:8:73: at least 32MiB",
        "forebay.yaml:8:80: `redis` is part of the contract but not built yet",
        "forebay.yaml:9:1: unknown field `loging`",
        "forebay.yaml:12:36: `https://pve1:8006` is named twice",
        "forebay.yaml:12:55: endpoint `ftp://x`: the scheme must be http or https",
        "forebay.yaml:13:22: `missing.yaml` is neither a built-in pack",
        "forebay.yaml:14:10: `ca` and `pin` exclude each other",
        "forebay.yaml:14:10: `client_certificate` and `client_key` go together",
        "forebay.yaml:14:31: `00` is not the SHA-256 fingerprint",
        "forebay.yaml:15:19: `a b` is not the name of a header field",
        "forebay.yaml:17:32: `5` is not a rate",
        "forebay.yaml:18:44: a burst is at least one",
        "forebay.yaml:19:18: invalid value: string \"adaptiv\", expected a number from 1 to 10000, or `adaptive`",
        "forebay.yaml:20:25: a timeout is more than zero",
        "forebay.yaml:20:35: `5` is not a duration",
        "forebay.yaml:21:12: `1` is not a share",
        "forebay.yaml:22:11: `mode: observe` is part of the contract but not built yet",
        "forebay.yaml:23:19: from 100ms to 1h",
        "forebay.yaml:23:33: more than zero",
        "forebay.yaml:24:19: `x` is not a path: it starts with `/`",
        "forebay.yaml:24:29: write at least 1s",
        "forebay.yaml:25:23: from 1 to 10, the first time included",
        "forebay.yaml:25:37: `base` is at most `cap`",
        "forebay.yaml:25:71: from 1 to 10, the first time included",
        "forebay.yaml:25:83: unknown variant `x`, expected one of",
        "forebay.yaml:26:25: from 1 to 1000",
        "forebay.yaml:26:38: more than zero",
        "forebay.yaml:26:55: from 1s to 1h, or 0s for never",
        "forebay.yaml:27:22: `f` cannot be read",
        "forebay.yaml:28:3: the name of an upstream has",
        "forebay.yaml:28:26: at least one endpoint is needed",
        "broken.yaml:3:30: `{x}` is not a capture of the path",
    ];
    let found = mistakes(
        text,
        &[("broken.yaml", "api: none\nwrites:\n  - {path: /a, invalidates: ['{x}'], methods: [PUT]}\n")],
    );
    let found: Vec<&String> = found.iter().filter(|line| !line.contains(": warning: ")).collect();
    for (line, expected) in found.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn what_depends_on_several_files_is_checked() {
    let rules = |rules: &str| format!("upstreams: {{a: {{endpoints: [http://h], rules: [{rules}]}}}}\n");
    let others = [
        ("plain.yaml", PLAIN),
        ("other.yaml", "api: arm\nreads: []\n"),
        ("rights.yaml", "api: none\nreads:\n  - {path: /a, ttl: 1s, share: rights}\n"),
        (
            "names.yaml",
            "api: proxmox\nreads:\n  - {path: '/api2/{f}/nodes/{node}/qemu', ttl: 1s, share: rights}\n  - {path: '/api2/json/nodes/{node}/**', ttl: 1s, share: rights}\n",
        ),
        (
            "task.yaml",
            "api: none\nwrites:\n  - {path: /a, invalidates: [], reason: r, methods: [PUT], operation: x}\n",
        ),
    ];
    for (names, expected) in [
        ("plain.yaml", None),
        (
            "",
            Some(
                "forebay.yaml:1:47: at least one pack; leave `rules` out to have it chosen by asking the API",
            ),
        ),
        ("other.yaml", Some("other.yaml:1:1: there is no dialect for the API `arm` (yet)")),
        ("task.yaml", Some("task.yaml:3:5: the API `none` has no operation `x`: it has none")),
        (
            "rights.yaml",
            Some(
                "rights.yaml:3:5: the API `none` does not tell what a caller may do, so nothing can be shared by `share: rights`",
            ),
        ),
        (
            "names.yaml",
            Some(
                "names.yaml:4:5: `share: rights` is not for paths that fit `/api2/*/nodes/*/tasks/**`: what the API `proxmox` shows there depends on who asks, not only on the rights; use `share: principal`, or name other paths",
            ),
        ),
        (
            "proxmox, plain.yaml",
            Some("plain.yaml:1:1: this pack is for another API than proxmox: they cannot serve one upstream"),
        ),
    ] {
        let found = mistakes(&rules(names), &others);
        assert_eq!(found.first().map(String::as_str), expected, "{names}");
    }
    let fed = "upstreams: {a: {endpoints: [http://h], rules: [plain.yaml], feed: {every: 5s}}}\n";
    let message = "forebay.yaml:1:61: warning: the API `none` has no change feed, so this does nothing: changes made elsewhere are seen when lifetimes end";
    assert_eq!(mistakes(fed, &others), [message]);
    // Every read where names decide, and those that contain one.
    for (path, fits) in [
        ("/api2/json/cluster/tasks", true),
        ("/api2/{format}/cluster/log", true),
        ("/api2/{format}/cluster/{what}", true),
        ("/api2/{format}/nodes/{node}/tasks", true),
        ("/api2/{format}/nodes/pve1/tasks/{upid}/log", true),
        ("/api2/{format}/access", true),
        ("/api2/{format}/access/permissions", true),
        ("/api2/{format}/access/users/{user}", true),
        ("/**", true),
        ("/api2/{format}/cluster/resources", false),
        ("/api2/{format}/nodes/{node}/qemu/**", false),
        ("/api2/{format}/pools", false),
    ] {
        let pack = format!("api: proxmox\nreads:\n  - {{path: '{path}', ttl: 1s, share: rights}}\n");
        let found = mistakes(&rules("p.yaml"), &[("p.yaml", &pack)]);
        let refused = found.iter().any(|mistake| mistake.contains("p.yaml:3:5: `share: rights` is not for"));
        assert_eq!(refused, fits, "{path}: {found:?}");
    }
    let capture =
        "upstreams: {a: {endpoints: [http://h], rules: [plain.yaml], limits: [{per: [node], rate: 1/s}]}}\n";
    let message = "forebay.yaml:1:77: `node` is neither principal nor endpoint nor a capture of any rule";
    assert_eq!(mistakes(capture, &others), [message]);
    let unserved = "listen: [{address: 127.0.0.1:1, upstream: a}]\nupstreams: {a: {endpoints: [http://h]}, b: {endpoints: [http://h]}}\n";
    assert_eq!(mistakes(unserved, &[]), ["forebay.yaml:2:41: warning: no address under `listen` serves `b`"]);
    let several = "upstreams: {a: {endpoints: [http://h]}, b: {endpoints: [http://h]}}\n";
    let message =
        "forebay.yaml:1:12: there are several upstreams: name under `listen` which address serves which";
    assert_eq!(mistakes(several, &[])[..1], [message]);
}

#[test]
fn certificates_that_are_of_no_use_are_told_of_where_they_are_named() {
    let text = "\
listen:
  - {address: 127.0.0.1:1, upstream: a, tls: {certificate: c.pem, key: other.pem}}
  - {address: 127.0.0.1:2, upstream: a, tls: {certificate: none.pem, key: k.pem}}
  - {address: 127.0.0.1:3, upstream: a, tls: {certificate: c.pem, key: k.pem, client_ca: none.pem}}
upstreams:
  a: {endpoints: [https://h], tls: {ca: none.pem}}
  b: {endpoints: [https://h], tls: {client_certificate: c.pem, client_key: other.pem}}
  c: {endpoints: [http://h], tls: {pin: 'AA:00000000000000000000000000000000000000000000000000000000000000'}}
  d: {endpoints: [https://h, http://h], tls: {ca: c.pem}}
";
    let ((certificate, key), (_, other)) = (pair(), pair());
    let files = [("c.pem", &*certificate), ("k.pem", &*key), ("other.pem", &*other), ("none.pem", "no PEM")];
    let mut found = mistakes(text, &files);
    found.retain(|line| !line.contains("warning: no address"));
    let expected = [
        "forebay.yaml:2:46: TLS settings are unusable: keys may not be consistent",
        "forebay.yaml:3:46: cannot use none.pem: there is no certificate in it",
        "forebay.yaml:4:46: cannot use none.pem: there is no certificate in it",
        "forebay.yaml:6:41: none.pem: it holds no certificate",
        "forebay.yaml:7:57: TLS settings: keys may not be consistent",
        "forebay.yaml:8:35: the endpoints are `http://`: nothing is encrypted",
    ];
    for (line, expected) in found.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}
