//! What a server that contradicts itself about closing may and may not get away with: the stray field goes,
//! every check of where an answer ends stays.

use super::*;

const BOTH: &str = "Connection: close\r\nConnection: Keep-Alive\r\n";

/// Answers the first request on each connection with these bytes, and every other one with its path.
async fn first(answer: String, then_close: bool) -> Server {
    Server::start(move |mut conn| {
        let answer = answer.clone();
        async move {
            if conn.head().await.is_none() {
                return;
            }
            conn.send(answer).await;
            if !then_close {
                conn.echo_paths().await;
            }
        }
    })
    .await
}

fn keeping(server: &Server) -> Bench {
    Bench::with(&[server], |config| config.contradictory_close = ContradictoryClose::KeepOpen)
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection_whatever_it_says_of_keeping_it() {
    let server = first(format!("HTTP/1.1 200 OK\r\n{BOTH}\r\nto the end"), true).await;
    let bench = keeping(&server);
    let answer = bench.send(bench.get("/a")).await.unwrap();
    assert_eq!(answer.body.delimited(), Delimited::ByClose, "such an answer is never stored");
    assert_eq!(within(answer.body.collect()).await.unwrap().to_bytes(), "to the end");
    assert_eq!(bench.text(bench.get("/b")).await.1, "to the end");
    assert_eq!(server.seen.connections(), 2);
}

#[tokio::test]
async fn an_answer_whose_length_is_told_in_two_ways_is_none() {
    for framing in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 2x\r\n",
        "Content-Length: 2, 3\r\n",
    ] {
        let server = first(format!("HTTP/1.1 200 OK\r\n{BOTH}{framing}\r\nok"), false).await;
        let bench = keeping(&server);
        let error = bench.send(bench.get("/a")).await.unwrap_err();
        assert!(matches!(error, SendError::Lost(_)), "{framing}: {error}");
        eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
        assert_eq!(server.seen.connections(), 1, "{framing}: it is not asked again");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_is_cut() {
    let server = first(format!("HTTP/1.1 200 OK\r\n{BOTH}Content-Length: 9\r\n\r\nhalf"), true).await;
    let bench = keeping(&server);
    let answer = bench.send(bench.get("/a")).await.unwrap();
    assert!(matches!(within(answer.body.collect()).await, Err(AnswerError::Cut(_))));
}

#[tokio::test]
async fn a_close_that_nothing_contradicts_is_obeyed() {
    let contradictions = [
        ("Connection: close\r\n", 2),
        ("Connection: close, Keep-Alive\r\n", 2),
        ("Connection: close\r\nKeep-Alive: timeout=5\r\n", 2),
        ("Connection: close\r\nX-Connection: Keep-Alive\r\n", 2),
        (BOTH, 1),
        ("connection:KEEP-ALIVE\r\nCONNECTION: Close\r\n", 1),
    ];
    for (fields, connections) in contradictions {
        let server = first(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"), false).await;
        let bench = keeping(&server);
        assert_eq!(bench.text(bench.get("/a")).await.1, "ok");
        eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
        bench.text(bench.get("/b")).await;
        assert_eq!(server.seen.connections(), connections, "{fields}");
    }
}

#[tokio::test]
async fn what_comes_behind_an_answer_is_nobodys() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let server = first(format!("HTTP/1.1 200 OK\r\n{BOTH}Content-Length: 2\r\n\r\nok{evil}"), false).await;
    let bench = keeping(&server);
    for _ in 0..3 {
        assert_eq!(bench.text(bench.get("/a")).await.1, "ok", "never what came unasked");
        eventually(|| bench.upstream.endpoints()[0].in_flight == 0).await;
    }
    assert_eq!(server.seen.connections(), 3, "such a connection is of no more use");
}
