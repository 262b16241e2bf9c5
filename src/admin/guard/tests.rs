use std::net::SocketAddr;

use bytes::Bytes;
use http::Method;
use http_body_util::{Empty, Full};

use super::*;

/// Names and values.
type Fields<'f> = &'f [(&'f str, &'f str)];
type Verdict = Result<(), Denied>;

fn peer(address: &str, local: &str) -> Peer {
    let (address, local): (SocketAddr, SocketAddr) = (address.parse().unwrap(), local.parse().unwrap());
    Peer { address, local, tls: false, client_certificate: None }
}

fn request<B>(method: Method, body: B, fields: &[(&str, &str)]) -> Request<B> {
    let mut request = Request::builder().method(method).uri("/api/stats");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

#[test]
fn without_a_token_only_this_machine_and_its_own_pages_get_in() {
    let host = ("host", "127.0.0.1:9006");
    let cases: [(&str, Fields<'_>, Verdict); 18] = [
        ("127.0.0.1:5", &[host], Ok(())),
        ("[::ffff:127.0.0.1]:5", &[host], Ok(())),
        ("[::1]:5", &[("host", "[::1]:9006")], Ok(())),
        ("127.0.0.1:5", &[("host", "localhost")], Ok(())),
        ("127.0.0.1:5", &[("host", "LOCALHOST.:9006")], Ok(())),
        ("127.0.0.1:5", &[("host", "10.0.0.7:9006")], Ok(())),
        ("10.0.0.7:5", &[host], Err(Denied::Remote)),
        ("192.168.0.2:5", &[host], Err(Denied::Remote)),
        ("127.0.0.1:5", &[], Err(Denied::Host)),
        ("127.0.0.1:5", &[("host", "rebound.example")], Err(Denied::Host)),
        ("127.0.0.1:5", &[("host", "127.0.0.1.example")], Err(Denied::Host)),
        ("127.0.0.1:5", &[("host", "10.0.0.8")], Err(Denied::Host)),
        ("127.0.0.1:5", &[host, ("host", "rebound.example")], Err(Denied::Host)),
        ("127.0.0.1:5", &[host, ("origin", "http://127.0.0.1:9006")], Ok(())),
        ("127.0.0.1:5", &[host, ("origin", "http://127.0.0.1:3000")], Err(Denied::Origin)),
        ("127.0.0.1:5", &[host, ("origin", "null")], Err(Denied::Origin)),
        ("127.0.0.1:5", &[host, ("sec-fetch-site", "cross-site")], Err(Denied::Origin)),
        ("127.0.0.1:5", &[host, ("sec-fetch-site", "none")], Ok(())),
    ];
    for (from, fields, expected) in cases {
        let request = request(Method::GET, Empty::<Bytes>::new(), fields);
        assert_eq!(local(&request, &peer(from, "10.0.0.7:9006")), expected, "{from} {fields:?}");
    }
}

#[test]
fn without_a_token_content_must_be_json() {
    let cases = [
        (Some("application/json"), "{}", true),
        (Some("Application/JSON; charset=utf-8"), "{}", true),
        (Some("text/plain"), "{}", false),
        (Some("application/x-www-form-urlencoded"), "{}", false),
        (Some("text/plain"), "", false),
        (None, "{}", false),
        (None, "", true),
    ];
    for (kind, body, allowed) in cases {
        let mut fields = vec![("host", "localhost")];
        fields.extend(kind.map(|kind| ("content-type", kind)));
        let request = request(Method::POST, Full::<Bytes>::from(body), &fields);
        let found = local(&request, &peer("127.0.0.1:5", "127.0.0.1:9006"));
        assert_eq!(found, if allowed { Ok(()) } else { Err(Denied::ContentType) }, "{kind:?} {body:?}");
    }
}

#[tokio::test]
async fn with_a_token_it_alone_decides() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let cases: [(&[u8], &[&str], Verdict); 9] = [
        (b"secret\n", &["Bearer secret"], Ok(())),
        (b"secret\r\n", &["bearer  secret"], Ok(())),
        (b"secret", &["Bearer secre"], Err(Denied::Token)),
        (b"secret", &["Bearer secret2"], Err(Denied::Token)),
        (b"secret", &["Basic secret"], Err(Denied::Token)),
        (b"secret", &[], Err(Denied::Token)),
        (b"secret", &["Bearer secret", "Bearer secret"], Err(Denied::Token)),
        (b"\n", &["Bearer "], Err(Denied::TokenUnreadable)),
        (&[b'a'; 5000], &["Bearer a"], Err(Denied::TokenUnreadable)),
    ];
    for (content, shown, expected) in cases {
        std::fs::write(&path, content).unwrap();
        let fields: Vec<_> = shown.iter().map(|shown| ("authorization", *shown)).collect();
        let request = request(Method::GET, Empty::<Bytes>::new(), &fields);
        let remote = peer("192.168.0.2:5", "10.0.0.7:9006");
        assert_eq!(admit(&request, &remote, Some(path.clone())).await, expected, "{shown:?}");
    }
    let request = request(Method::GET, Empty::<Bytes>::new(), &[("authorization", "Bearer ")]);
    let nowhere = Some(directory.path().join("absent"));
    let local = peer("127.0.0.1:5", "127.0.0.1:9006");
    assert_eq!(admit(&request, &local, nowhere).await, Err(Denied::TokenUnreadable));
}
