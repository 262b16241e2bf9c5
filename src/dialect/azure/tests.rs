use http::HeaderMap;
use http::header::HeaderName;

use super::super::Credential;
use super::*;

#[test]
fn paths_as_the_server_reads_them() {
    let cases = [
        ("/subscriptions/s/resourceGroups/RG-Alpha", Some("/subscriptions/s/resourcegroups/rg-alpha")),
        ("//Subscriptions//s/", Some("/subscriptions/s")),
        ("/%53ubscriptions/a%20b", Some("/subscriptions/a b")),
        ("/a/(b)_c.d-e", Some("/a/(b)_c.d-e")),
        // Letters of other alphabets fold too, whatever stands beside them.
        ("/%C3%84/\u{3a3}\u{391}\u{3a3}", Some("/\u{e4}/\u{3c3}\u{3b1}\u{3c3}")),
        ("/\u{3c2}", Some("/\u{3c3}")),
        ("/", Some("/")),
        ("//", Some("/")),
        // What might be decoded once more, or be taken for a slash.
        ("/a%2Fb", None),
        ("/a%5cb", None),
        ("/a\\b", None),
        ("/a%252Fb", None),
        ("/a%00", None),
        ("/%zz", None),
        ("/%ff", None),
    ];
    for (raw, expected) in cases {
        assert_eq!(read_path(raw).as_deref(), expected, "{raw}");
    }
}

#[test]
fn credentials() {
    const AMBIGUOUS: &str = "ambiguous";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], ""),
        (&[("authorization", "Bearer a.b-c_d~+/=")], "bearer a.b-c_d~+/="),
        (&[("authorization", "bearer x")], "bearer x"),
        (&[("authorization", "Bearer x"), ("x-ms-authorization-auxiliary", "")], "bearer x"),
        (&[("authorization", "Bearer x"), ("x-ms-authorization-auxiliary", " ")], "bearer x"),
        (&[("authorization", "Bearer x"), ("x-ms-authorization-auxiliary", "Bearer y")], AMBIGUOUS),
        (&[("x-ms-authorization-auxiliary", "Bearer y")], AMBIGUOUS),
        (&[("authorization", "Bearer x"), ("cookie", "a=b")], "bearer x"),
        (&[("authorization", "Bearer x"), ("authorization", "Bearer y")], AMBIGUOUS),
        (&[("authorization", "Bearer x, Bearer y")], AMBIGUOUS),
        (&[("authorization", "Bearer  x")], AMBIGUOUS),
        (&[("authorization", "Bearer ")], AMBIGUOUS),
        (&[("authorization", "Bearer")], AMBIGUOUS),
        (&[("authorization", "Basic x")], AMBIGUOUS),
        (&[("authorization", "Bearer x"), ("x-key", "1")], AMBIGUOUS),
    ];
    for (fields, expected) in cases {
        let mut headers = HeaderMap::new();
        for (name, value) in *fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let found = match credential(&headers, &[HeaderName::from_static("x-key")]) {
            Credential::Absent => String::new(),
            Credential::Ambiguous => AMBIGUOUS.to_owned(),
            Credential::Present(parts) => String::from_utf8(parts.join(&b' ')).unwrap(),
        };
        assert_eq!(&found, expected, "{fields:?}");
    }
}

#[test]
fn errors_have_the_form_that_clients_read() {
    let form = error(StatusCode::TOO_MANY_REQUESTS, "forebay: later");
    let body: serde_json::Value = serde_json::from_slice(&form.body).unwrap();
    assert_eq!(body, serde_json::json!({"error": {"code": "TooManyRequests", "message": "forebay: later"}}));
    assert_eq!(form.content_type, "application/json; charset=utf-8");
    assert_eq!(form.reason, None);
}
