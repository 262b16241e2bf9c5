use http::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn a_101_becomes_a_tunnel_that_holds_no_place() {
    for close in [ContradictoryClose::Obey, ContradictoryClose::KeepOpen] {
        let server = Server::start(|mut conn| async move {
            conn.head().await;
            let fields = "Connection: Upgrade\r\nUpgrade: websocket";
            conn.send(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\nfirst")).await;
            let said = conn.bytes(4).await;
            conn.send(said).await;
            conn.closed().await;
        })
        .await;
        let bench = Bench::with(&[&server], |config| {
            config.concurrency = 1;
            config.contradictory_close = close;
        });
        let mut call = Outgoing { upgrade: true, ..bench.get("/websocket") };
        call.headers.insert("upgrade", HeaderValue::from_static("websocket"));
        let answer = bench.send(call).await.unwrap();
        assert!(server.seen.heads()[0].contains("connection: Upgrade\r\n"), "{:?}", server.seen.heads());
        assert_eq!(answer.parts.status, 101);
        assert_eq!(answer.parts.headers["upgrade"], "websocket");
        let tunnel = within(answer.upgraded.unwrap()).await.unwrap();
        assert_eq!(bench.upstream.endpoints()[0].in_flight, 0);
        drop(answer.body);
        let mut tunnel = TokioIo::new(tunnel);
        tunnel.write_all(b"ping").await.unwrap();
        let mut heard = [0; 9];
        within(tunnel.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"firstping");
        assert_eq!(bench.counted(), [("1xx".to_owned(), 1)]);
        drop(tunnel);
        eventually(|| bench.upstream.endpoints()[0].open_connections == 0).await;
    }
}

#[tokio::test]
async fn an_upgrade_refused_is_an_answer_like_others() {
    let server = Server::echo().await;
    let bench = Bench::new(&[&server]);
    let mut call = Outgoing { upgrade: true, ..bench.get("/no") };
    call.headers.insert("upgrade", HeaderValue::from_static("websocket"));
    let answer = bench.send(call).await.unwrap();
    assert!(answer.upgraded.is_none());
    assert_eq!(within(answer.body.collect()).await.unwrap().to_bytes(), "/no");
}
