//! Validators of forebay's own, compressed forms, and HEAD.

use std::io::Read as _;

use crate::support::{Options, Reply, Rig};

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).expect("gzip");
    text
}

#[tokio::test]
async fn a_validator_of_our_own_gets_304_and_never_goes_upstream() {
    let rig = Rig::start().await;
    rig.warm("/api2/json/item/1").await;
    let etag = rig.get("/api2/json/item/1").send().await.field("etag").expect("an etag").to_owned();
    let cases = [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"x\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
    ];
    for (wanted, status) in cases {
        for method in ["GET", "HEAD"] {
            let got = rig.ask(method, "/api2/json/item/1").field("If-None-Match", &wanted).send().await;
            assert_eq!(got.status, status, "{method} {wanted}");
            assert!(got.is_hit() && got.whole);
            assert_eq!(got.field("etag"), Some(etag.as_str()));
            assert_eq!(got.body.is_empty(), status == 304 || method == "HEAD");
        }
    }
    rig.seconds(10).await;
    let again = rig.get("/api2/json/item/1").field("If-None-Match", &etag).send().await;
    assert_eq!(again.status, 200);
    assert_eq!(rig.origin().last("GET /api2/json/item/1").field("if-none-match"), None);
    rig.finish().await;
}

const PLAIN: &str = "api: none
reads:
  - {path: /kept/*, ttl: 1h}
  - {path: /passed/*, ttl: pass}
writes:
  - {methods: [PUT], path: /kept/*, invalidates: [], reason: so that hits show what was read}
";

#[tokio::test]
async fn validators_of_our_own_do_not_pass() {
    let rig = Rig::with(Options { rules: PLAIN.into(), ..Options::default() }).await;
    rig.warm("/kept/1").await;
    let own = rig.get("/kept/1").send().await.field("etag").expect("an etag").to_owned();
    let cases = [
        ("If-None-Match", own.clone(), None),
        ("If-None-Match", format!("{own}, \"theirs\""), Some("\"theirs\"")),
        ("If-Match", own.clone(), None),
        ("If-Range", own.clone(), None),
        ("If-None-Match", "\"theirs\"".to_owned(), Some("\"theirs\"")),
    ];
    for (name, line, left) in cases {
        let ask = rig.get("/passed/1").field(name, &line).field("Range", "bytes=0-1");
        assert_eq!(ask.send().await.status, 200);
        let call = rig.origin().last("GET /passed/1");
        assert_eq!(call.field(name), left, "{name}: {line}");
        assert_eq!(call.field("range").is_none(), name == "If-Range");
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_write_guarded_by_a_validator_of_our_own_is_judged_by_what_is_there_now() {
    let rig = Rig::with(Options { rules: PLAIN.into(), ..Options::default() }).await;
    let text = "forebay ".repeat(500);
    let (read, write) = ("GET /kept/1", "PUT /kept/1");
    rig.origin().on(read, Reply::body(text.clone()));
    rig.warm("/kept/1").await;
    let plain = rig.get("/kept/1").send().await.field("etag").expect("an etag").to_owned();
    let coded = rig.get("/kept/1").field("Accept-Encoding", "gzip").send().await;
    let coded = coded.field("etag").expect("an etag").to_owned();
    assert_ne!(plain, coded);
    let put = |name: &'static str, line: String| {
        rig.ask("PUT", "/kept/1").field(name, &line).field("Content-Type", "text/plain").body("new")
    };
    let never = format!("\"fb-{:032x}\"", 1);
    let both = format!("{never}, \"theirs\"");
    // The field, its value, the status, what of the field reaches the API.
    let cases = [
        ("If-Match", plain.clone(), 200, None),
        ("If-Match", coded, 200, None),
        ("If-Match", format!("{never}, {plain}"), 200, None),
        ("If-Match", never.clone(), 412, None),
        ("If-Match", format!("W/{plain}"), 412, None),
        ("If-Match", both, 200, Some("\"theirs\"")),
        ("If-None-Match", never, 200, None),
        ("If-None-Match", format!("W/{plain}"), 412, None),
    ];
    for (name, line, status, left) in cases {
        let (reads, writes) = (rig.origin().count(read), rig.origin().count(write));
        let got = put(name, line.clone()).send().await;
        assert_eq!(got.status, status, "{name}: {line}");
        assert_eq!(rig.origin().count(read), reads + 1);
        assert_eq!(
            (rig.origin().last(read).field("content-type"), rig.origin().last(read).body.len()),
            (None, 0)
        );
        if status == 200 {
            assert_eq!(rig.origin().count(write), writes + 1);
            assert_eq!(rig.origin().last(write).field(name), left, "{name}: {line}");
        } else {
            assert_eq!((got.cache(), rig.origin().count(write)), ("detail=precondition", writes));
        }
    }
    // Behind forebay's back it changed, then it went, then the API fell ill.
    for (now, status) in [
        (Reply::body("changed"), 412),
        (Reply::status(404, "Not Found"), 412),
        (Reply::body(text.clone()).field("ETag", "\"theirs\""), 412),
        (Reply::status(503, "Service Unavailable"), 502),
    ] {
        rig.origin().on(read, now);
        let writes = rig.origin().count(write);
        assert_eq!(put("If-Match", plain.clone()).send().await.status, status);
        assert_eq!(rig.origin().count(write), writes);
    }
    // What is the API's own is the API's to judge.
    let reads = rig.origin().count(read);
    assert_eq!(put("If-Match", "\"theirs\"".to_owned()).send().await.status, 200);
    assert_eq!(rig.origin().last(write).field("if-match"), Some("\"theirs\""));
    assert_eq!(rig.origin().count(read), reads);
    rig.finish().await;
}

#[tokio::test]
async fn where_bytes_differ_from_call_to_call_a_validator_of_our_own_guards_nothing() {
    let rig = Rig::start().await;
    rig.warm("/api2/json/item/1").await;
    let own = rig.get("/api2/json/item/1").send().await.field("etag").expect("an etag").to_owned();
    let got = rig.ask("PUT", "/api2/json/item/1").field("If-Match", &own).body("a=1").send().await;
    assert_eq!(got.status, 200);
    assert_eq!(rig.origin().last("PUT /api2/json/item/1").field("if-match"), None);
    assert_eq!(rig.origin().count("GET /api2/json/item/1"), 1);
    rig.finish().await;
}

#[tokio::test]
async fn the_upstreams_validator_stays() {
    let rig = Rig::start().await;
    rig.origin().on("GET /api2/json/item/1", Reply::numbered().field("ETag", "\"theirs\""));
    rig.warm("/api2/json/item/1").await;
    let got = rig.get("/api2/json/item/1").field("If-None-Match", "\"theirs\"").send().await;
    assert_eq!((got.status, got.field("etag")), (304, Some("\"theirs\"")));
    rig.finish().await;
}

#[tokio::test]
async fn gzip_is_another_form_with_its_own_validator() {
    let rig = Rig::start().await;
    let text = format!(r#"{{"data":"{}"}}"#, "forebay ".repeat(500));
    rig.origin().on("GET /api2/json/item/1", Reply::body(text.clone()));
    let get = || rig.get("/api2/json/item/1");
    let first = get().field("Accept-Encoding", "gzip").send().await;
    assert_eq!(rig.origin().last("GET /api2/json/item/1").field("accept-encoding"), None);
    assert_eq!((first.field("content-encoding"), first.text()), (None, text.as_str()));
    let plain = get().send().await;
    let coded = get().field("Accept-Encoding", "deflate, gzip;q=0.5").send().await;
    assert!(plain.is_hit() && coded.is_hit());
    assert_eq!(coded.field("content-encoding"), Some("gzip"));
    assert_eq!(gunzip(&coded.body), text);
    assert_eq!(plain.text(), text);
    for got in [&plain, &coded] {
        assert_eq!(got.field("vary"), Some("Accept-Encoding"));
    }
    assert_ne!(plain.field("etag"), coded.field("etag"));
    let etag = coded.field("etag").expect("an etag");
    let same = get().field("Accept-Encoding", "gzip").field("If-None-Match", etag).send().await;
    assert_eq!((same.status, same.field("etag")), (304, Some(etag)));
    let other = get().field("If-None-Match", etag).send().await;
    assert_eq!(other.status, 200, "another form");
    let refused = get().field("Accept-Encoding", "gzip;q=0").send().await;
    assert_eq!(refused.field("content-encoding"), None);
    let head = rig.ask("HEAD", "/api2/json/item/1").field("Accept-Encoding", "gzip").send().await;
    assert_eq!(head.field("content-length"), Some(coded.body.len().to_string().as_str()));
    // A new answer has a new compressed form.
    rig.seconds(10).await;
    rig.origin().on("GET /api2/json/item/1", Reply::body(text.replace("bay", "lake")));
    get().send().await;
    let coded = get().field("Accept-Encoding", "gzip").send().await;
    assert_eq!(gunzip(&coded.body), text.replace("bay", "lake"));
    assert_eq!(rig.origin().count("GET /api2/json/item/1"), 2);
    rig.finish().await;
}

#[tokio::test]
async fn head_is_answered_from_the_store_or_forwarded_as_it_is() {
    let rig = Rig::start().await;
    let miss = rig.ask("HEAD", "/api2/json/item/1").send().await;
    assert_eq!((miss.status, miss.cache()), (200, "fwd=uri-miss; detail=request"));
    assert!(miss.whole && miss.field("content-length").is_some());
    assert_eq!(rig.origin().count("HEAD /api2/json/item/1"), 1);
    let body = rig.warm("/api2/json/item/1").await;
    let hit = rig.ask("HEAD", "/api2/json/item/1").send().await;
    assert!(hit.is_hit() && hit.whole);
    assert_eq!(hit.field("content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(rig.origin().calls().len(), 2);
    rig.finish().await;
}
