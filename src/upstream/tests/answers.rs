use std::time::Duration;

use super::*;

/// What a call came to, in a word.
async fn outcome(bench: &Bench, call: Outgoing) -> String {
    let answer = match bench.send(call).await {
        Ok(answer) => answer,
        Err(error) => return error.as_str().to_owned(),
    };
    let delimited = answer.body.delimited();
    match within(answer.body.collect()).await {
        Ok(body) => {
            let trailers = body.trailers().map_or(0, HeaderMap::len);
            let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
            format!("{} {text} {delimited:?} {trailers}", answer.parts.status.as_u16())
        }
        Err(AnswerError::Cut(_)) => "cut".into(),
        Err(AnswerError::Silent) => "silent".into(),
    }
}

#[tokio::test]
async fn bytes_become_answers_or_errors() {
    let long = "x".repeat(70_000);
    let long_head = format!("HTTP/1.1 200 OK\r\nA: {long}\r\nContent-Length: 0\r\n\r\n");
    let cases = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 hi ByItself 0"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 hi ByItself 0"),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "200 until the end ByClose 0"),
        ("HTTP/1.1 401 No ticket\r\nConnection: close\r\n\r\n", "401  ByClose 0"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "204  ByItself 0"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 hi ByItself 0"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n2\r\nhi\r\n0\r\na: b\r\n\r\n",
            "200 hi ByItself 1",
        ),
        // Cut or wrong.
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "cut"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "cut"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "cut"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "lost"),
        ("", "lost"),
        ("SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "lost"),
        ("HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 0\r\n\r\n", "lost"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "lost"),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "lost"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "lost"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "lost"),
        (&long_head, "lost"),
    ];
    for (bytes, expected) in cases {
        let script = bytes.to_owned();
        let server = Server::start(move |mut conn| {
            let script = script.clone();
            async move {
                conn.head().await;
                conn.send(script).await;
            }
        })
        .await;
        for close in [ContradictoryClose::Obey, ContradictoryClose::KeepOpen] {
            let bench = Bench::with(&[&server], |config| config.contradictory_close = close);
            let start = &bytes[..bytes.len().min(120)];
            assert_eq!(outcome(&bench, bench.get("/")).await, expected, "{close:?} {start}");
            assert_eq!(bench.total(), 1, "{start}");
            eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
            eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
        }
    }
}

#[tokio::test]
async fn the_head_of_a_head_request_ends_the_answer() {
    let server = Server::start(|mut conn| async move {
        while conn.head().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").await;
        }
    })
    .await;
    let bench = Bench::new(&[&server]);
    for _ in 0..2 {
        let answer = bench.send(bench.call(Method::HEAD, "/")).await.unwrap();
        assert_eq!(answer.parts.headers["content-length"], "12345");
        assert!(http_body::Body::is_end_stream(&answer.body));
        eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
    }
    assert_eq!(server.seen.connections(), 1);
}

#[tokio::test]
async fn what_follows_an_answer_is_never_another_calls() {
    let server = Server::start(|mut conn| async move {
        while conn.head().await.is_some() {
            let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{smuggled}")).await;
        }
    })
    .await;
    let bench = Bench::new(&[&server]);
    for _ in 0..3 {
        assert_eq!(bench.text(bench.get("/")).await.1, "ok");
        eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
    }
    assert_eq!(server.seen.connections(), 3);
}

#[tokio::test]
async fn statuses_and_reasons_pass_as_they_are() {
    let cases = [
        ("595 No route to host", 595, Some("No route to host")),
        ("500 Configuration file 'x' does not exist", 500, Some("Configuration file 'x' does not exist")),
        ("200 OK", 200, None),
    ];
    for (line, status, reason) in cases {
        let server = Server::start(move |mut conn| async move {
            conn.head().await;
            conn.send(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n")).await;
        })
        .await;
        let bench = Bench::new(&[&server]);
        let answer = bench.send(bench.get("/")).await.unwrap();
        assert_eq!(answer.parts.status.as_u16(), status);
        let found = answer.parts.extensions.get::<hyper::ext::ReasonPhrase>();
        assert_eq!(found.map(|reason| reason.as_bytes()), reason.map(str::as_bytes));
    }
}

#[tokio::test]
async fn silence_ends_a_call() {
    let server = Server::start(|mut conn| async move {
        let head = conn.head().await.unwrap_or_default();
        if head.contains("/body") {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        }
        conn.closed().await;
    })
    .await;
    let bench = Bench::with(&[&server], |config| {
        config.first_byte_timeout = Duration::from_millis(40);
        config.idle_timeout = Duration::from_millis(40);
    });
    assert_eq!(outcome(&bench, bench.get("/head")).await, "timed-out");
    assert_eq!(bench.counted(), [("none".to_owned(), 1)]);
    assert!(bench.upstream.failing_since().is_some());
    assert_eq!(outcome(&bench, bench.get("/body")).await, "silent");
    eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
    assert_eq!(bench.upstream.endpoints()[0].in_flight, 0);
}

#[tokio::test]
async fn a_slow_reader_is_not_a_silent_api() {
    let server = Server::start(|mut conn| async move {
        conn.head().await;
        conn.ok("whole").await;
        conn.closed().await;
    })
    .await;
    let bench = Bench::with(&[&server], |config| config.idle_timeout = Duration::from_millis(20));
    let answer = bench.send(bench.get("/")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(within(answer.body.collect()).await.unwrap().to_bytes(), "whole");
}
