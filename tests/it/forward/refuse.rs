//! What a forward proxy does not do.

use forebay::config;

use super::rig::Front;

#[tokio::test]
async fn everything_that_is_not_named_is_refused_in_plain_words() {
    let tunnel =
        "intercept: {api.example: lab}, tunnel: [login.example, \"*.blob.example\", \"odd.example:8443\"]";
    let front = Front::start(tunnel, "").await;
    let connect = |target: &str| format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let cases = [
        (connect("other.example:443"), 403, "neither intercepted nor tunnelled"),
        (connect("api.example:8443"), 403, "neither intercepted nor tunnelled"),
        (connect("odd.example:443"), 403, "neither intercepted nor tunnelled"),
        (connect("login.example:22"), 403, "neither intercepted nor tunnelled"),
        (connect("xapi.example:443"), 403, "neither intercepted nor tunnelled"),
        (connect("127.0.0.1:443"), 403, "neither intercepted nor tunnelled"),
        (connect("[::1]:443"), 403, "neither intercepted nor tunnelled"),
        (connect("api.example.:443"), 400, "a host and a port"),
        (connect("127.1:443"), 400, "a host and a port"),
        (connect("api.example"), 400, "a host and a port"),
        (connect("user@api.example:443"), 400, "a host and a port"),
        ("GET http://api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n".into(), 403, "plain http"),
        ("GET https://api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n".into(), 403, "takes CONNECT only"),
        ("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n".into(), 403, "takes CONNECT only"),
        (
            "CONNECT api.example:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".into(),
            400,
            "has no content",
        ),
    ];
    for (request, status, why) in &cases {
        let (_, head) = front.send(request).await;
        let line = head.lines().next().expect("a status line");
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {head}");
        assert!(line.contains(why), "{request}: {head}");
        assert!(head.contains("cache-status: forebay; detail="), "{head}");
    }
    assert_eq!(front.metric("forebay_connects_total{outcome=\"refused\"}"), cases.len() as u64);
    assert_eq!(front.origin.calls().len(), 0);
    front.app.drain().await;
}

#[tokio::test]
async fn no_tunnel_leads_to_forebay_itself() {
    let front = Front::start("tunnel: [login.example]", "").await;
    let (own, admin) = (front.address().port(), front.app.admin_address().expect("it is served").port());
    let named: Vec<String> = [own, admin]
        .iter()
        .flat_map(|port| {
            ["*", "127.0.0.1", "127.0.0.9", "\"[::1]\"", "\"[::ffff:127.0.0.1]\"", "0.0.0.0"].map(|host| {
                match host.strip_suffix('"') {
                    Some(quoted) => format!("{quoted}:{port}\""),
                    None => format!("\"{host}:{port}\""),
                }
            })
        })
        .collect();
    front.reload(&format!("tunnel: [{}]", named.join(", ")), "").await;
    for port in [own, admin] {
        for host in ["localhost", "127.0.0.1", "127.0.0.9", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
            let (_, head) = front.connect(&format!("{host}:{port}")).await;
            assert!(
                head.starts_with("HTTP/1.1 403 forebay: that host is forebay itself"),
                "{host}:{port} {head}"
            );
        }
    }
    assert_eq!(front.metric("forebay_upstream_requests_total{upstream=\"(tunnel)\",rule=\"none\",cause=\"tunnel\",status=\"none\"}"), 0);
    front.app.drain().await;
}

#[test]
fn every_mistake_has_its_place() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let path = directory.path().join("forebay.yaml");
    let text = "listen:
  - address: 127.0.0.1:3128
    upstream: lab
    intercept: {api.example: labs, \"*\": lab, \"a b\": lab, A.example: lab, a.example:443: lab}
    tunnel: [login.example, https://x]
  - address: 127.0.0.1:3129
    tunnel: []
tunnels: {most: 0, idle: 0s}
upstreams:
  lab: {endpoints: [https://api.example], rules: [proxmox]}
";
    std::fs::write(&path, text).expect("writable");
    let mistakes: Vec<String> =
        config::check(&[path]).iter().map(|m| format!("{}:{} {}", m.line, m.column, m.message)).collect();
    let expected = [
        ("3:15", "not both"),
        ("4:30", "no upstream `labs`"),
        ("4:36", "name the hosts"),
        ("4:46", "`a b` is neither"),
        ("4:74", "named twice"),
        ("5:29", "`https://x` is"),
        ("7:13", "at least one host"),
        ("8:17", "from 1 to"),
        ("8:26", "more than zero"),
    ];
    for (place, what) in expected {
        let found = mistakes
            .iter()
            .any(|mistake| mistake.starts_with(&format!("{place} ")) && mistake.contains(what));
        assert!(found, "{place} {what}: {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
}
