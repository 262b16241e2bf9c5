use http::HeaderValue;
use http::header::HeaderName;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::*;

fn stream(pieces: Vec<Result<&'static str, BoxError>>, length: u64) -> OutgoingBody {
    let frames =
        pieces.into_iter().map(|piece| piece.map(|text| Frame::data(Bytes::from_static(text.as_bytes()))));
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    OutgoingBody::Stream { body, length: Some(length) }
}

#[tokio::test]
async fn a_request_leaves_as_it_was_meant() {
    let server = Server::echo().await;
    let bench = Bench::new(&[&server]);
    let mut call = bench.get("/api2/json//a%2Fb?x=%7E&y");
    let given = [
        ("accept", "a"),
        ("x-b", "1"),
        ("cookie", "c"),
        ("x-b", "2"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-continue"),
        ("upgrade", "h2c"),
        ("content-length", "7"),
        ("host", "elsewhere"),
    ];
    for (name, value) in given {
        call.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    bench.text(call).await;
    let expected = format!(
        "GET /api2/json//a%2Fb?x=%7E&y HTTP/1.1\r\nhost: {}\r\naccept: a\r\nx-b: 1\r\nx-b: 2\r\ncookie: c\r\n\r\n",
        server.address
    );
    assert_eq!(server.seen.heads(), [expected]);

    let call = Outgoing { host: Some(HeaderValue::from_static("lab.example")), ..bench.get("/") };
    bench.text(call).await;
    assert_eq!(server.seen.heads()[1], "GET / HTTP/1.1\r\nhost: lab.example\r\n\r\n");
}

#[tokio::test]
async fn every_content_has_a_length() {
    let cases = [
        (Method::POST, OutgoingBody::Empty, Some(0)),
        (Method::PUT, OutgoingBody::Full(Bytes::new()), Some(0)),
        (Method::DELETE, OutgoingBody::Empty, None),
        (Method::GET, OutgoingBody::Empty, None),
        (Method::POST, OutgoingBody::Full(Bytes::from_static(b"x=1")), Some(3)),
        (Method::POST, stream(vec![Ok("ab"), Ok("cde")], 5), Some(5)),
        (Method::POST, stream(vec![], 0), Some(0)),
    ];
    for (method, body, length) in cases {
        let server = Server::start(|mut conn| async move {
            let head = conn.head().await.unwrap();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
            let text = conn.bytes(length.map_or(0, |length| length.parse().unwrap())).await;
            conn.ok(&String::from_utf8(text).unwrap()).await;
        })
        .await;
        let bench = Bench::new(&[&server]);
        let call = Outgoing { body, ..bench.call(method.clone(), "/") };
        let (status, text) = bench.text(call).await;
        assert_eq!((status, text.len()), (200, length.unwrap_or(0)), "{method}");
        let head = &server.seen.heads()[0];
        assert_eq!(head.contains("content-length"), length.is_some(), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
    }
}

#[tokio::test]
async fn a_content_that_fails_fails_the_call() {
    let server = Server::start(|mut conn| async move {
        conn.head().await;
        conn.closed().await;
    })
    .await;
    let bench = Bench::new(&[&server]);
    let bodies = [
        stream(vec![Ok("ab"), Err("the client has gone".into())], 5),
        stream(vec![Ok("ab")], 5),
        stream(vec![Ok("ab"), Ok("cdef")], 5),
    ];
    for body in bodies {
        let error = bench.send(Outgoing { body, ..bench.call(Method::POST, "/") }).await.unwrap_err();
        assert!(matches!(error, SendError::RequestBody), "{error:?}");
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
    assert!(bench.upstream.failing_since().is_none());
    eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
}

#[tokio::test]
async fn a_client_that_stops_sending_is_not_a_silent_api() {
    let server = Server::start(|mut conn| async move {
        conn.head().await;
        conn.closed().await;
    })
    .await;
    let bench = Bench::with(&[&server], |config| config.first_byte_timeout = Duration::from_millis(40));
    let body = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>());
    let body = OutgoingBody::Stream { body: body.boxed_unsync(), length: Some(5) };
    let error = bench.send(Outgoing { body, ..bench.call(Method::POST, "/") }).await.unwrap_err();
    assert!(matches!(error, SendError::RequestBody), "{error:?}");
    assert!(bench.upstream.failing_since().is_none());
}

#[tokio::test]
async fn an_early_answer_comes_before_the_content_has_ended() {
    let server = Server::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n").await;
        conn.closed().await;
    })
    .await;
    let bench = Bench::new(&[&server]);
    let body = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>());
    let body = OutgoingBody::Stream { body: body.boxed_unsync(), length: Some(5) };
    assert_eq!(bench.text(Outgoing { body, ..bench.call(Method::POST, "/") }).await.0, 413);
}

#[tokio::test]
async fn a_streamed_content_is_kept_when_the_connection_turns_out_closed() {
    let server = Server::echo().await;
    let nobody = server::nobody().await;
    let bench = Bench::with(&[&server], |config| config.endpoints.insert(0, nobody.parse().unwrap()));
    let call = Outgoing { body: stream(vec![Ok("abc")], 3), ..bench.call(Method::POST, "/up") };
    assert_eq!(bench.text(call).await.0, 200);
    assert_eq!(bench.total(), 1);
}

#[tokio::test]
async fn an_oversized_head_is_not_sent() {
    let server = Server::echo().await;
    let bench = Bench::with(&[&server], |config| {
        config.max_header_lines = Some(60);
        config.max_header_bytes = Some(7 * 1024);
    });
    let with_lines = |count: usize| {
        let mut call = bench.get("/");
        for _ in 1..count {
            call.headers.append("a", HeaderValue::from_static("b"));
        }
        call
    };
    assert_eq!(bench.text(with_lines(60)).await.0, 200);
    assert!(matches!(bench.send(with_lines(61)).await, Err(SendError::TooManyHeaders)));
    let mut call = bench.get("/");
    call.headers.insert("cookie", HeaderValue::from_str(&"x".repeat(7 * 1024)).unwrap());
    assert!(matches!(bench.send(call).await, Err(SendError::TooManyHeaders)));
    assert_eq!(server.seen.requests(), 1);
}
