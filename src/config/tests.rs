use std::time::Duration;

use super::*;
use crate::dialect::Dialect;
use crate::server::{Protocols, TlsIn};
use crate::upstream::{Alpn, ContradictoryClose, LimitKey, LimitMatches, Trust};

/// A directory with these files.
fn files(list: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in list {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn lines(diagnostics: &[Diagnostic], directory: &Path) -> Vec<String> {
    let prefix = format!("{}/", directory.display());
    diagnostics.iter().map(|diagnostic| diagnostic.to_string().replace(&prefix, "")).collect()
}

/// What is wrong with a configuration, beside the other files.
fn mistakes(text: &str, others: &[(&str, &str)]) -> Vec<String> {
    let directory = files(&[&[("forebay.yaml", text)], others].concat());
    lines(&check(&[directory.path().join("forebay.yaml")]), directory.path())
}

fn settings(text: &str, others: &[(&str, &str)]) -> Settings {
    let directory = files(&[&[("forebay.yaml", text)], others].concat());
    load(&directory.path().join("forebay.yaml")).map_err(|list| lines(&list, directory.path())).unwrap()
}

const PLAIN: &str = "api: none\nreads:\n  - {path: '/items/{id}', ttl: 5s}\n";

#[test]
fn only_endpoints_are_required() {
    let settings = settings("upstreams: {lab: {endpoints: [https://pve1:8006], rules: [proxmox]}}", &[]);
    let [listener] = &settings.listeners[..] else { panic!("{:?}", settings.listeners) };
    assert_eq!(listener.config.address.to_string(), "127.0.0.1:8006");
    assert!(matches!(&listener.config.tls, Some(TlsIn::Auto { certs }) if certs.ends_with("certs")));
    assert_eq!(listener.config.protocols, Protocols { http1: true, http2: false });
    assert_eq!((settings.cache.memory, settings.cache.max_object), (256 << 20, 8 << 20));
    assert_eq!((settings.admin.address.port(), settings.admin.named), (9006, false));
    assert_eq!((settings.log, settings.threads), (LogSettings::default(), None));
    let lab = settings.upstream("lab").unwrap();
    assert_eq!((lab.site.dialect, lab.upstream.alpn), (Dialect::Proxmox, Alpn::Http1Only));
    assert_eq!(lab.upstream.contradictory_close, ContradictoryClose::KeepOpen);
    assert_eq!(lab.upstream.requests_per_connection, Some(90));
    assert_eq!(
        (lab.site.accept_for, lab.site.operation_cap),
        (Duration::from_secs(60), Duration::from_secs(1800))
    );
    assert!(lab.rules.as_ref().is_some_and(|rules| !rules.reads.is_empty()));
}

#[test]
fn idle_endpoints_are_asked_where_there_are_several_or_as_is_written() {
    let (one, two) = ("https://pve1:8006", "https://pve1:8006, https://pve2:8006");
    let cases = [
        (one, "", None),
        (two, "", Some(10)),
        (two, "failures: 3", Some(10)),
        (one, "probe_every: 5s", Some(5)),
        (two, "probe_every: 1h", Some(3_600)),
        (one, "probe_every: 0s", None),
        (two, "probe_every: 0s", None),
    ];
    for (endpoints, breaker, expected) in cases {
        let text = format!(
            "upstreams: {{lab: {{endpoints: [{endpoints}], rules: [proxmox], breaker: {{{breaker}}}}}}}"
        );
        let every = settings(&text, &[]).upstream("lab").unwrap().upstream.probe_every;
        assert_eq!(every, expected.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn everything_that_is_written_is_read() {
    let text = "\
listen:
  - {address: '[::1]:0', upstream: two, tls: {certificate: c.pem, key: k.pem, client_ca: c.pem}, protocols: [h2]}
  - {address: 127.0.0.1:0, upstream: one, tls: auto}
certs: kept
threads: 3
log: {level: debug, format: json, requests: true}
admin: {address: 127.0.0.1:1, token_file: k.pem}
cache: {memory: 64MiB, max_object: 1MiB}
upstreams:
  one:
    endpoints: [http://127.0.0.1:1, 'http://[::1]:2']
    rules: [plain.yaml]
    credentials: [X-Key]
    accept_for: 1s
    actor_window: 2s
    operation_cap: 3s
    unknown_hold: 4s
    limits:
      - {match: reads, per: [principal, endpoint, id], rate: 20/s, burst: 40}
      - {rate: 120/m}
    concurrency: 5
    queue: {length: 6, wait: 7s}
    timeouts: {connect: 8s, first_byte: 9s, idle: 10s}
    audit: 0.5%
    mode: cache
  two:
    endpoints: [https://h]
    tls: {pin: ['AA:00000000000000000000000000000000000000000000000000000000000000'], client_certificate: c.pem, client_key: k.pem}
";
    let settings = settings(text, &[("plain.yaml", PLAIN), ("c.pem", ""), ("k.pem", "")]);
    let [two, one] = &settings.listeners[..] else { panic!("{:?}", settings.listeners) };
    assert!(matches!(&two.config.tls, Some(TlsIn::Files { client_ca: Some(_), .. })));
    assert_eq!(
        (two.upstream.as_str(), two.config.protocols),
        ("two", Protocols { http1: false, http2: true })
    );
    assert!(matches!(&one.config.tls, Some(TlsIn::Auto { certs }) if certs.ends_with("kept")));
    assert_eq!(one.config.protocols, Protocols { http1: true, http2: true });
    let log = LogSettings { level: LogLevel::Debug, format: LogFormat::Json, requests: true };
    assert_eq!((settings.threads, settings.log), (Some(3), log));
    assert!(settings.admin.named && settings.admin.token_file.is_some());
    assert_eq!((settings.cache.memory, settings.cache.max_object), (64 << 20, 1 << 20));

    let one = settings.upstream("one").unwrap();
    assert_eq!((one.site.credentials.len(), &one.site.limit_captures[..]), (1, &["id".to_owned()][..]));
    let seconds = [one.site.accept_for, one.site.actor_window, one.site.operation_cap, one.site.unknown_hold];
    assert_eq!(seconds.map(|time| time.as_secs()), [1, 2, 3, 4]);
    assert_eq!((one.site.audit.0, settings.upstream("two").unwrap().site.audit.0), (0.005, 0.0));
    let config = &one.upstream;
    assert_eq!((config.endpoints.len(), config.concurrency, config.queue_length), (2, 5, 6));
    let times = [config.queue_wait, config.connect_timeout, config.first_byte_timeout, config.idle_timeout];
    assert_eq!(times.map(|time| time.as_secs()), [7, 8, 9, 10]);
    let [first, second] = &config.limits[..] else { panic!("{:?}", config.limits) };
    let capture = LimitKey::Capture("id".into());
    assert_eq!(first.per, [LimitKey::Principal, LimitKey::Endpoint, capture]);
    assert_eq!((first.matches, first.count, first.burst), (LimitMatches::Reads, 20, 40));
    let second = (second.matches, second.count, second.period.as_secs(), second.burst);
    assert_eq!(second, (LimitMatches::All, 120, 60, 2));

    let mut named: Vec<_> =
        settings.files().iter().filter_map(|path| Some(path.file_name()?.to_owned())).collect();
    named.sort();
    named.dedup();
    assert_eq!(named, ["c.pem", "k.pem", "plain.yaml"]);
    let two = settings.upstream("two").unwrap();
    assert!(
        matches!(&two.upstream.tls.trust, Trust::Pins(pins) if pins[0][0] == 0xaa && pins[0][1..] == [0; 31])
    );
    assert!(two.upstream.tls.client.is_some() && two.rules.is_none());
}

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
fn packs_are_told_from_configurations() {
    let directory = files(&[("pack.yaml", "api: none\nreads: 5\n"), ("empty.yaml", "")]);
    let path = |name: &str| directory.path().join(name);
    let found = check(&[path("pack.yaml"), path("empty.yaml"), path("absent.yaml")]);
    let found = lines(&found, directory.path());
    assert_eq!(found[0], "pack.yaml:2:8: invalid type: integer `5`, expected a sequence");
    assert_eq!(found[1], "empty.yaml:1:1: missing field `upstreams`");
    assert!(found[2].starts_with("absent.yaml: cannot be read: "), "{found:?}");
    let large = files(&[("large.yaml", &" ".repeat(MAX_FILE + 1))]);
    assert_eq!(
        lines(&check(&[large.path().join("large.yaml")]), large.path()),
        ["large.yaml: larger than 1 MiB"]
    );
}

#[test]
fn a_start_without_a_file_has_the_defaults() {
    let listen = "127.0.0.1:0".parse().ok();
    let settings = Settings::for_upstream("http://127.0.0.1:1", listen, Some("proxmox"), None, None).unwrap();
    assert_eq!(
        (settings.listeners[0].config.address, &settings.listeners[0].config.tls),
        (listen.unwrap(), &None)
    );
    assert_eq!(settings.upstreams[0].site.dialect, Dialect::Proxmox);
    let mut probed = Settings::for_upstream("https://h", None, None, None, Some(&"ab".repeat(32))).unwrap();
    assert!(probed.upstreams[0].rules.is_none() && probed.listeners[0].config.tls.is_some());
    assert_eq!(probed.upstreams[0].upstream.tls.trust, Trust::Pins(vec![[0xab; 32]]));
    probed.choose("upstream", rules("proxmox").unwrap());
    assert_eq!(probed.upstreams[0].site.dialect, Dialect::Proxmox);
    let absent = Path::new("/nonexistent");
    let wrong = Settings::for_upstream("h", None, Some("/nonexistent"), Some(absent), None).unwrap_err();
    let wrong: Vec<&str> = wrong.iter().map(|diagnostic| diagnostic.source.as_str()).collect();
    assert_eq!(wrong, ["--ca", "--upstream", "/nonexistent"]);
}

#[test]
fn a_credential_file_is_right_or_wrong_at_its_line_and_never_shown() {
    use std::os::unix::fs::PermissionsExt;

    let yaml = "upstreams:\n  lab:\n    endpoints: [https://pve1:8006]\n    rules: [proxmox]\n    \
                credential_file: token\n";
    let cases = [
        ("Authorization: PVEAPIToken=a@pve!b=hidden\n", 0o600, None),
        (
            "Authorization: PVEAPIToken=a@pve!b=hidden\n",
            0o604,
            Some("forebay.yaml:5:22: warning: everybody on this machine may read `token`: chmod 600 token"),
        ),
        (
            "# hidden\nPVEAPIToken=a@pve!b=hidden\n",
            0o600,
            Some("token:2:1: not a header line (`Name: value`)"),
        ),
        ("# hidden\n", 0o600, Some("token: there is no header line in it")),
        ("X-Other: hidden\n", 0o600, Some("token: none of its header lines is a credential of this API")),
    ];
    for (text, mode, expected) in cases {
        let directory = files(&[("forebay.yaml", yaml), ("token", text)]);
        let (file, token) = (directory.path().join("forebay.yaml"), directory.path().join("token"));
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).expect("our own file");
        let found: Vec<String> =
            check(std::slice::from_ref(&file)).iter().map(Diagnostic::to_string).collect();
        let found: Vec<&String> = found.iter().filter(|line| !line.contains("no address under")).collect();
        let prefix = format!("{}/", directory.path().display());
        assert_eq!(found.first().map(|line| line.replace(&prefix, "")).as_deref(), expected, "{found:?}");
        assert!(!format!("{found:?}").contains("hidden"));
        match load(&file) {
            Ok(settings) => {
                assert!(settings.files().contains(&token), "a change of it is a reload");
                assert!(!format!("{settings:?}").contains("hidden"));
            }
            Err(mistakes) => assert!(!format!("{mistakes:?}").contains("hidden")),
        }
    }
}
