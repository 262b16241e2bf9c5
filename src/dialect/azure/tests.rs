use http::header::HeaderName;
use http::{HeaderMap, Method};

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

#[test]
fn what_belongs_to_one_moment_or_one_caller_passes() {
    const S: &str = "/subscriptions/s";
    let none = HeaderMap::new();
    let kept = [
        "/resourcegroups/operations-list/providers/microsoft.compute/virtualmachines/secret-operation",
        "/resourcegroups/operations/providers/microsoft.compute/virtualmachines/v",
        "/providers/microsoft.operationalinsights/workspaces",
        "/resourcegroups/g/providers/microsoft.keyvault/vaults/v/keys/k",
        "/resourcegroups/g/providers/microsoft.network/networkinterfaces/listener",
        "/providers/microsoft.compute/locations/eastus/vmsizes",
        "/resourcegroups/g/providers/microsoft.compute/virtualmachines/v?api-version=1&$expand=instanceView&t=1",
    ];
    let passed = [
        "/providers/microsoft.compute/locations/eastus/operations/0",
        "/providers/microsoft.x/locations/operations/0",
        "/providers/microsoft.compute/locations/eastus/diskoperations/0",
        "/providers/microsoft.x/locations/eastus/asyncoperations/0",
        "/providers/microsoft.x/locations/eastus/operationsstatus/0",
        "/providers/microsoft.x/locations/eastus/somethingresults/0",
        "/providers/microsoft.x/locations/eastus/jobstatuses/0",
        "/operationresults/eyJ",
        "/resourcegroups/g/providers/microsoft.resources/deployments/d/operationstatuses/0",
        "/resourcegroups/g/providers/microsoft.web/sites/w/operationresults/0",
        "/resourcegroups/g/providers/microsoft.search/searchservices/n/listquerykeys",
        "/resourcegroups/g/providers/microsoft.x/y/z/adminkeys",
        "/resourcegroups/g/providers/microsoft.keyvault/vaults/v/secrets/k",
        "/resourcegroups/g/providers/microsoft.compute/virtualmachines/v?monitor=true",
        "/resourcegroups/g/providers/microsoft.compute/virtualmachines/v?api-version=1&t=1&c=M&s=x&h=y",
        "/resourcegroups/g/providers/microsoft.compute/virtualmachines/v?SIG=x",
    ];
    for (targets, expected) in [(&kept[..], false), (&passed[..], true)] {
        for target in targets {
            let target = format!("{S}{target}");
            let (path, query) = target.split_once('?').map_or((&*target, None), |(p, q)| (p, Some(q)));
            assert_eq!(passes(&Method::GET, path, query, &none), expected, "{target}");
        }
    }
    assert!(passes(&Method::HEAD, S, None, &none));
}

#[test]
fn fields_that_ask_for_something_else_pass() {
    let cases = [
        ("accept", "*/*", false),
        ("accept", "application/json", false),
        ("accept", "application/json; charset=utf-8; IEEE754Compatible=false", false),
        ("accept", "application/json, text/plain, */*", false),
        ("accept", "Application/JSON;q=0.9", false),
        ("accept", "text/plain", true),
        ("accept", "application/json;odata=fullmetadata", true),
        ("accept", "application/xml, application/json", true),
        ("accept", "text/html", true),
        ("accept-language", "de", false),
        ("if-match", "\"9\"", true),
        ("if-none-match", "*", true),
        ("if-modified-since", "Sat, 21 Nov 2026 00:00:00 GMT", true),
        ("range", "bytes=0-1", true),
        ("prefer", "wait=5", true),
        ("commandname", "vm list", false),
        ("odata-version", "4.0", false),
    ];
    for (name, value, expected) in cases {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        assert_eq!(passes(&Method::GET, "/subscriptions/s", None, &headers), expected, "{name}: {value}");
    }
}
