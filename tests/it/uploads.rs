//! Content on its way to the upstream: streamed where its length is known, measured where it is not.

use crate::support::{Gate, Options, Reply, Rig, until};

const UPLOAD: &str = "/api2/json/nodes/pve1/storage/local/upload";
const CALL: &str = "POST /api2/json/nodes/pve1/storage/local/upload";

#[tokio::test]
async fn a_large_upload_streams() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let half = vec![b'x'; 4 << 20];
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: f\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        8 << 20
    );
    client.write(head.as_bytes()).await;
    client.write(&half).await;
    // It is on its way long before it is whole.
    until("the first half", || {
        rig.origin().count(CALL) == 1 && rig.origin().last(CALL).body.len() == 4 << 20
    })
    .await;
    client.write(&half).await;
    client.read_head().await;
    assert_eq!(client.status(), 200);
    let call = rig.origin().last(CALL);
    assert_eq!((call.body.len(), call.field("content-length")), (8 << 20, Some("8388608")));
    drop(client);
    rig.finish().await;
}

/// Content in chunks as it stands on the wire.
fn chunks(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in content.chunks(10_000) {
        wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
        wire.extend(chunk);
        wire.extend(b"\r\n");
    }
    wire.extend(b"0\r\n\r\n");
    wire
}

#[tokio::test]
async fn chunks_are_measured_and_sent_with_a_length() {
    let rig = Rig::start().await;
    for (length, status) in [(0, 200), (5, 200), (1 << 20, 200), ((1 << 20) + 1, 413), (5 << 20, 413)] {
        let before = rig.origin().count(CALL);
        let content = vec![b'x'; length];
        let ask = rig.ask("POST", UPLOAD).field("Transfer-Encoding", "chunked").body(chunks(&content));
        let got = ask.send().await;
        assert_eq!(got.status, status, "{length}");
        if status == 200 {
            assert_eq!(rig.origin().count(CALL), before + 1);
            let call = rig.origin().last(CALL);
            assert_eq!(call.body, content);
            assert_eq!(call.field("content-length"), Some(length.to_string().as_str()));
        } else {
            assert_eq!(rig.origin().count(CALL), before);
            assert_eq!(got.cache(), "detail=bad-request");
        }
    }
    rig.finish().await;
}

/// Rules of an API that takes chunks, with a write that is read.
const PLAIN: &str = "api: none
reads:
  - {path: /item/*, ttl: 1h, groups: [all]}
writes:
  - {methods: [POST], path: /make, invalidates: [\"item/{body.id}\"]}
";

#[tokio::test]
async fn chunks_stream_where_the_api_takes_them() {
    let rig = Rig::with(Options { rules: PLAIN.into(), ..Options::default() }).await;
    let mut client = rig.connect().await;
    client
        .write(b"POST /up HTTP/1.1\r\nHost: f\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let half = vec![b'x'; 4 << 20];
    let piece = [format!("{:x}\r\n", half.len()).into_bytes(), half, b"\r\n".to_vec()].concat();
    client.write(&piece).await;
    // It is on its way long before anybody knows how long it is.
    until("the first half", || {
        rig.origin().count("POST /up") == 1 && rig.origin().last("POST /up").body.len() == 4 << 20
    })
    .await;
    client.write(&piece).await;
    client.write(b"0\r\n\r\n").await;
    client.read_head().await;
    assert_eq!(client.status(), 200);
    let call = rig.origin().last("POST /up");
    let framing = (call.field("content-length"), call.field("transfer-encoding"));
    assert_eq!((call.body.len(), framing), (8 << 20, (None, Some("chunked"))));
    drop(client);
    rig.finish().await;
}

#[tokio::test]
async fn what_is_too_large_to_be_read_streams_where_the_api_takes_chunks() {
    let rig = Rig::with(Options { rules: PLAIN.into(), ..Options::default() }).await;
    for (length, framing) in [(1_000, (Some("1000"), None)), (3 << 20, (None, Some("chunked")))] {
        let content = [b"id=1&rest=".to_vec(), vec![b'x'; length - 10]].concat();
        let ask = rig.ask("POST", "/make").field("Transfer-Encoding", "chunked");
        assert_eq!(ask.body(chunks(&content)).send().await.status, 200);
        let call = rig.origin().last("POST /make");
        assert!(call.body == content, "{length}");
        assert_eq!((call.field("content-length"), call.field("transfer-encoding")), framing);
    }
    rig.finish().await;
}

#[tokio::test]
async fn what_is_held_of_all_requests_is_bounded() {
    let rig = Rig::start().await;
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: f\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let piece = [b"100000\r\n".to_vec(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
    let mut holders = Vec::new();
    for _ in 0..64 {
        let mut client = rig.connect().await;
        client.write(head.as_bytes()).await;
        client.write(&piece).await;
        holders.push(client);
    }
    let small = || rig.ask("POST", UPLOAD).field("Transfer-Encoding", "chunked").body(chunks(b"x"));
    // What was written need not have been read yet.
    let mut refused = small().send().await;
    for _ in 0..1_000 {
        if refused.status != 200 {
            break;
        }
        refused = small().send().await;
    }
    assert_eq!((refused.status, refused.cache()), (503, "detail=limited"));
    assert_eq!(refused.field("retry-after"), None, "clients repeat even writes when they see it");
    let sized = rig.ask("POST", UPLOAD).body(vec![b'x'; 4 << 20]).send().await;
    assert_eq!(sized.status, 200, "what streams takes no room");
    let before = rig.origin().count(CALL);
    let mut last = holders.pop().expect("there are 64");
    last.write(b"0\r\n\r\n").await;
    last.read_head().await;
    assert_eq!((last.status(), rig.origin().count(CALL)), (200, before + 1));
    assert_eq!(small().send().await.status, 200, "its room is free again");
    drop(holders);
    rig.finish().await;
}

#[tokio::test]
async fn what_was_refused_for_its_size_changes_nothing() {
    let rig = Rig::start().await;
    rig.warm("/api2/json/item/1").await;
    let ask = rig.ask("POST", "/api2/json/item/1").field("Transfer-Encoding", "chunked");
    assert_eq!(ask.body(chunks(&vec![b'x'; 2 << 20])).send().await.status, 413);
    assert!(rig.get("/api2/json/item/1").send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn whoever_waits_for_100_is_told_to_go_on() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: f\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    );
    client.write(head.as_bytes()).await;
    client.read_head().await;
    assert_eq!(client.status(), 100);
    client.write(b"data").await;
    client.read_head().await;
    assert_eq!(client.status(), 200);
    assert_eq!(rig.origin().last(CALL).body, b"data");
    assert_eq!(rig.origin().last(CALL).field("expect"), None);
    drop(client);
    rig.finish().await;
}

#[tokio::test]
async fn an_early_refusal_reaches_the_client_within_its_upload() {
    let rig = Rig::start().await;
    // The upstream of this test reads everything first, so the refusal is forebay's own.
    let ask = rig.ask("POST", UPLOAD).field("X-Large", &"x".repeat(8000)).body(vec![b'x'; 64 * 1024]);
    let got = ask.send().await;
    assert_eq!((got.status, got.cache()), (431, "detail=bad-request"));
    assert!(rig.origin().calls().is_empty());
    rig.finish().await;
}

#[tokio::test]
async fn a_get_with_content_is_passed_with_it() {
    let rig = Rig::start().await;
    for _ in 0..2 {
        let got = rig.get("/api2/json/item/1").body("a=b").send().await;
        assert_eq!(got.cache(), "fwd=bypass; detail=request");
    }
    let calls = rig.origin().calls();
    assert_eq!((calls.len(), calls[1].body.as_slice()), (2, &b"a=b"[..]));
    let empty = rig.get("/api2/json/item/1").body("").send().await;
    assert_eq!(empty.cache(), "fwd=uri-miss; stored");
    rig.finish().await;
}

#[tokio::test]
async fn an_upload_whose_answer_breaks_off_is_not_sent_again() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::reset().held(&gate));
    let upload = rig.ask("POST", UPLOAD).body(vec![b'x'; 1 << 20]).spawn();
    rig.origin().came(CALL, 1).await;
    gate.open();
    assert_eq!(upload.await.expect("answered").status, 502);
    assert_eq!(rig.origin().count(CALL), 1);
    rig.finish().await;
}
