//! Ordinary HTTP/1 connections: timeouts, half-closed clients, upgrades, limits.

use super::*;

#[tokio::test]
async fn a_client_that_has_closed_its_side_gets_the_answer() {
    let server = Server::start(config()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    within(server.scene.arrived.acquire()).await.unwrap().forget();
    server.scene.release.add_permits(1);
    let answer = read_to_end(&mut stream).await;
    assert!(answer.ends_with("held"), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(config()).await;
    let answers = server
        .exchange(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\noneGET / HTTP/1.1\r\nhost: a\r\n\r\n\
              POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\ntwo",
        )
        .await;
    assert_eq!(statuses(&answers), ["200", "200", "200"]);
    assert!(answers.contains("\r\n\r\none") && answers.contains("hello") && answers.ends_with("two"));
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body() {
    let server = Server::start(config()).await;
    let mut stream = server.connect().await;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    assert!(read_until(&mut stream, "body").await.starts_with("HTTP/1.1 200"));
}

/// The body that the client was not asked for must not be taken for its next request.
#[tokio::test]
async fn an_unread_body_ends_the_connection() {
    let server = Server::start(config()).await;
    for expect in ["", "expect: 100-continue\r\n"] {
        let head = format!("POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n{expect}\r\n");
        let answer = server.exchange(format!("{head}GET / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
        assert_eq!(statuses(&answer), ["401"], "{answer}");
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_not_looked_at() {
    let server = Server::start(config()).await;
    for head in [
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        // What comes right behind the head is already the other protocol's.
        let mut stream = server.connect().await;
        stream.write_all(format!("{head}\n\n\0first").as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        read_until(&mut stream, "\n\n\0first").await;
        stream.write_all(b"second\n\n").await.unwrap();
        assert_eq!(read_until(&mut stream, "second\n\n").await, "second\n\n");
        assert_eq!(server.metric("forebay_connections").as_deref(), Some("1"));
        drop(stream);
        server.until_metric("forebay_connections", "0").await;
    }
}

#[tokio::test]
async fn a_refused_upgrade_stays_http() {
    let server = Server::start(config()).await;
    let refused = "GET / HTTP/1.1\r\nhost: a\r\nupgrade: echo\r\nx-refuse-upgrade: 1\r\n\r\n";
    let answers = server
        .exchange(
            format!("{refused}{refused}GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await;
    assert_eq!(statuses(&answers), ["403", "403", "200"]);
    // What follows is guarded again.
    let answers = server.exchange(format!("{refused}GET / HTTP/1.1\n\n").as_bytes()).await;
    assert_eq!(statuses(&answers), ["403", "400"]);
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let half = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12";
    let whole = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let cases = [
        ("nothing sent", "", "", Some("head_timeout")),
        ("half a head", "GET / HT", "", Some("head_timeout")),
        ("an idle connection", whole, "hello", None),
        ("half of a second head", "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /", "hello", Some("head_timeout")),
        ("half a body", half, "the body broke", Some("body_timeout")),
    ];
    for (name, request, end, reason) in cases {
        let server = Server::start(ListenerConfig {
            header_timeout: Duration::from_millis(60),
            idle_timeout: Duration::from_millis(90),
            ..config()
        })
        .await;
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.ends_with(end), "{name}: {answer}");
        if let Some(reason) = reason {
            let metric = format!("forebay_refused_total{{reason=\"{reason}\"}}");
            assert_eq!(server.metric(&metric).as_deref(), Some("1"), "{name}");
        }
    }
}

/// The time of a head runs from its first byte, however slowly the others follow.
#[tokio::test]
async fn a_dripping_head_ends_the_connection() {
    let server =
        Server::start(ListenerConfig { header_timeout: Duration::from_millis(100), ..config() }).await;
    let mut stream = server.connect().await;
    let (mut read, mut write) = stream.split();
    let drip = async {
        write.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        while write.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let mut answer = Vec::new();
    let closed = async {
        let _ = read.read_to_end(&mut answer).await;
    };
    within(async {
        tokio::select! { () = drip => {}, () = closed => {} }
    })
    .await;
    assert_eq!(server.requests(), 0);
    assert_eq!(server.metric("forebay_refused_total{reason=\"head_timeout\"}").as_deref(), Some("1"));
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let server = Server::start(ListenerConfig { max_connections: 1, ..config() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_until(&mut first, "hello").await;
    let mut second = server.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    // The listener has seen that it is full.
    server.until_metric("forebay_connection_limit_total", "1").await;
    assert_eq!(server.requests(), 1);
    drop(first);
    read_until(&mut second, "hello").await;
    assert_eq!(server.metric("forebay_connections").as_deref(), Some("1"));
}

#[tokio::test]
async fn cleartext_http2_with_prior_knowledge() {
    let protocols = super::super::Protocols { http1: true, http2: true };
    let server = Server::start(ListenerConfig { protocols, ..config() }).await;
    let io = TokioIo::new(server.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(executor, io).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::builder().uri("http://a/peer").body(Full::default()).unwrap();
    let answer = within(client.send_request(request)).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"tls=false certificate=false 127.0.0.1");
    drop(client);
    within(driver).await.unwrap().unwrap();
    // HTTP/1 on the same port, also when it starts like the preface.
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "P / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ] {
        assert_eq!(statuses(&server.exchange(request.as_bytes()).await), ["200"]);
    }
    assert_eq!(statuses(&server.exchange(b"PRI * HTTP/2.0\r\nhost: a\r\n\r\n").await), ["505"]);
}
