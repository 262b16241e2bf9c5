//! Ambiguous and broken requests.

use super::*;

/// A body that a reader with another idea of the framing would take for a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

fn cases() -> Vec<(&'static str, String, &'static str, &'static str)> {
    let post = |fields: &str, body: &str| format!("POST /e HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}");
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{SMUGGLED}");
    let chunks = |body: &str| post("transfer-encoding: chunked\r\n", body);
    vec![
        (
            "length, then coding",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            "400",
            "both_lengths",
        ),
        (
            "coding, then length",
            post("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
            "400",
            "both_lengths",
        ),
        (
            "length zero with coding",
            post("content-length: 0\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
            "400",
            "both_lengths",
        ),
        (
            "equal lengths",
            post("content-length: 5\r\ncontent-length: 5\r\n", "hello"),
            "400",
            "content_length",
        ),
        (
            "different lengths",
            post("content-length: 5\r\ncontent-length: 6\r\n", "hello!"),
            "400",
            "content_length",
        ),
        ("a list of lengths", post("content-length: 5, 5\r\n", "hello"), "400", "content_length"),
        ("a signed length", post("content-length: +5\r\n", "hello"), "400", "content_length"),
        ("a hexadecimal length", post("content-length: 0x5\r\n", "hello"), "400", "content_length"),
        ("an empty length", post("content-length:\r\n", "hello"), "400", "content_length"),
        ("a huge length", post("content-length: 18446744073709551621\r\n", "hello"), "400", "content_length"),
        ("another coding", post("transfer-encoding: gzip\r\n", "x"), "400", "transfer_encoding"),
        (
            "two codings",
            post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            "400",
            "transfer_encoding",
        ),
        ("identity", post("transfer-encoding: identity\r\n", "x"), "400", "transfer_encoding"),
        ("quoted coding", post("transfer-encoding: \"chunked\"\r\n", "x"), "400", "transfer_encoding"),
        (
            "chunked twice",
            post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
            "400",
            "transfer_encoding",
        ),
        (
            "chunked then identity",
            post("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"),
            "400",
            "transfer_encoding",
        ),
        (
            "coding in HTTP/1.0",
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "400",
            "transfer_encoding",
        ),
        (
            "vertical tab before chunked",
            post("transfer-encoding: \x0bchunked\r\n", "0\r\n\r\n"),
            "400",
            "malformed",
        ),
        ("space before the colon", post("content-length : 5\r\n", "hello"), "400", "malformed"),
        ("tab before the colon", post("transfer-encoding\t: chunked\r\n", "0\r\n\r\n"), "400", "malformed"),
        ("folding", get("x: a\r\n b\r\n"), "400", "malformed"),
        ("folded coding", post("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"), "400", "malformed"),
        ("folding of the first field", "GET / HTTP/1.1\r\n host: a\r\n\r\n".into(), "400", "malformed"),
        ("a field without a name", get(": x\r\n"), "400", "malformed"),
        ("a field without a colon", get("transfer-encoding chunked\r\n"), "400", "malformed"),
        ("a zero byte in a value", get("x: a\0b\r\n"), "400", "malformed"),
        ("a zero byte in a name", get("content\0-length: 5\r\n"), "400", "malformed"),
        ("bare LF after a field", get("x: a\n"), "400", "line_ending"),
        ("bare LF after the request line", "GET / HTTP/1.1\nhost: a\r\n\r\n".into(), "400", "line_ending"),
        ("bare LF at the end", "GET / HTTP/1.1\r\nhost: a\r\n\n".into(), "400", "line_ending"),
        ("bare LF only", "GET / HTTP/1.1\nhost: a\n\n".into(), "400", "line_ending"),
        ("bare LF first", "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400", "line_ending"),
        ("bare CR in a value", get("x: a\rcontent-length: 5\r\n"), "400", "malformed"),
        ("CR CR LF", get("x: a\r\r\n"), "400", "malformed"),
        ("two spaces", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400", "malformed"),
        ("a space in the target", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400", "malformed"),
        ("no target", "GET HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400", "malformed"),
        ("an unreadable target", "GET http://[ HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400", "malformed"),
        ("HTTP/0.9", "GET /\r\n\r\n".into(), "400", "malformed"),
        ("HTTP/1.2", "GET / HTTP/1.2\r\nhost: a\r\n\r\n".into(), "505", "version"),
        ("HTTP/2 without leave", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "505", "version"),
        ("TLS to a cleartext port", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".into(), "400", "malformed"),
        ("a head too large", get(&format!("x: {}\r\n", "a".repeat(70_000))), "431", "head_too_large"),
        ("too many fields", get(&"x: a\r\n".repeat(101)), "431", "head_too_large"),
        ("no chunk size", chunks("\r\nhello\r\n0\r\n\r\n"), "400", "chunk"),
        ("a bad chunk size", chunks("5g\r\nhello\r\n0\r\n\r\n"), "400", "chunk"),
        ("a prefixed chunk size", chunks("0x5\r\nhello\r\n0\r\n\r\n"), "400", "chunk"),
        ("a signed chunk size", chunks("-5\r\nhello\r\n0\r\n\r\n"), "400", "chunk"),
        ("a space after the chunk size", chunks("5 \r\nhello\r\n0\r\n\r\n"), "400", "chunk"),
        ("an overflowing chunk size", chunks("10000000000000005\r\nhello\r\n0\r\n\r\n"), "400", "chunk"),
        ("bare LF after the chunk size", chunks("5\nhello\r\n0\r\n\r\n"), "400", "chunk"),
        ("bare LF in an extension", chunks("5;a\nhello\r\n0\r\n\r\n"), "400", "chunk"),
        ("bare CR in an extension", chunks("5;a\rb\r\nhello\r\n0\r\n\r\n"), "400", "chunk"),
        ("a chunk longer than its size", chunks("5\r\nhello!\r\n0\r\n\r\n"), "400", "chunk"),
        ("bare LF after a chunk", chunks("5\r\nhello\n0\r\n\r\n"), "400", "chunk"),
        ("bare LF in a trailer", chunks("5\r\nhello\r\n0\r\nx: a\n\r\n"), "400", "chunk"),
        ("bare LF at the end of the chunks", chunks("5\r\nhello\r\n0\r\n\n"), "400", "chunk"),
        ("a folded trailer", chunks("0\r\n x: a\r\n\r\n"), "400", "chunk"),
    ]
}

#[tokio::test]
async fn refuses_what_two_readers_could_read_differently() {
    for (name, request, status, reason) in cases() {
        let server = Server::start(config()).await;
        let answer = server.exchange(request.as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{name}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{name}: {answer}");
        assert!(answer.ends_with(reason), "{name}: {answer}");
        let metric = format!("forebay_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(server.metric(&metric).as_deref(), Some("1"), "{name}");
        if reason != "chunk" {
            assert_eq!(server.requests(), 0, "{name}");
        }
    }
}

#[tokio::test]
async fn refuses_the_same_when_it_arrives_in_pieces() {
    let server = Server::start(config()).await;
    for (name, request, status, _) in cases() {
        for size in [1, 7, 100] {
            if request.len() > 2_000 && size < 100 {
                continue;
            }
            let mut stream = server.connect().await;
            let (mut read, mut write) = stream.split();
            let send = async {
                for piece in request.as_bytes().chunks(size) {
                    // The answer may come before the request has been sent.
                    if write.write_all(piece).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let mut answer = Vec::new();
            let _ = within(async { tokio::join!(send, read.read_to_end(&mut answer)) }).await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert_eq!(statuses(&answer), [status], "{name} in pieces of {size}: {answer}");
        }
    }
}

/// The answers to earlier requests come first, and nothing after the refused one is looked at.
#[tokio::test]
async fn a_refusal_keeps_its_turn() {
    let good = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let upload = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12345";
    let chunked =
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nt: v\r\n\r\n";
    for (name, request, status, _) in cases() {
        let server = Server::start(config()).await;
        let answers = server.exchange(format!("{good}{upload}{chunked}{request}{good}").as_bytes()).await;
        assert_eq!(statuses(&answers), ["200", "200", "200", status], "{name}: {answers}");
    }
}

#[tokio::test]
async fn serves_what_is_unusual_and_clear() {
    let close = "connection: close\r\n";
    let cases = [
        ("an empty line first", format!("\r\nGET / HTTP/1.1\r\nhost: a\r\n{close}\r\n"), "hello"),
        ("an absolute target", format!("GET http://a/ HTTP/1.1\r\nhost: a\r\n{close}\r\n"), "hello"),
        ("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".to_owned(), "hello"),
        (
            "capitals",
            format!(
                "POST / HTTP/1.1\r\nhost: a\r\nTRANSFER-ENCODING: Chunked \r\n{close}\r\n1\r\nx\r\n0\r\n\r\n"
            ),
            "x",
        ),
        (
            "leading zeros",
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 007\r\n{close}\r\n1234567"),
            "1234567",
        ),
        (
            "extensions and trailers",
            format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n{close}\r\n00A;a=\"b;c\"\r\n0123456789\r\n0;z\r\nx: y\r\n\r\n"
            ),
            "0123456789",
        ),
        ("bytes beyond ASCII", format!("GET / HTTP/1.1\r\nhost: a\r\nx: \u{fc}\r\n{close}\r\n"), "hello"),
        (
            "a large head",
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n{close}\r\n", "a".repeat(60_000)),
            "hello",
        ),
        (
            "a hundred fields",
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}{close}\r\n", "x: a\r\n".repeat(98)),
            "hello",
        ),
    ];
    let server = Server::start(config()).await;
    for (name, request, end) in cases {
        let answer = server.exchange(request.as_bytes()).await;
        assert_eq!(statuses(&answer), ["200"], "{name}: {answer}");
        assert!(answer.ends_with(end), "{name}: {answer}");
    }
}

/// A client that sends more than fits the socket's buffers still reads why it was refused.
#[tokio::test]
async fn a_refusal_is_not_lost_to_a_reset() {
    let server = Server::start(config()).await;
    let mut request =
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n".to_vec();
    request.resize(200_000, b'x');
    assert_eq!(statuses(&server.exchange(&request).await), ["400"]);
}
