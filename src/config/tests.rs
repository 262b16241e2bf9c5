mod mistakes;

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

/// A certificate and its private key, as files have them.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
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
    let (certificate, key) = pair();
    let settings = settings(text, &[("plain.yaml", PLAIN), ("c.pem", &certificate), ("k.pem", &key)]);
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
    let pin = "ab".repeat(32);
    let wrong = Settings::for_upstream("http://h", None, None, None, Some(&pin)).unwrap_err();
    assert!(wrong[0].to_string().contains("nothing is encrypted"), "{wrong:?}");
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
