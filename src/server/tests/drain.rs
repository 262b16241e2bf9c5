//! Draining.

use super::*;

#[tokio::test]
async fn a_drain_finishes_what_has_begun_and_takes_nothing_new() {
    let server = Server::start(config()).await;
    let address = server.listener.address();
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_until(&mut idle, "hello").await;
    let mut held = server.connect().await;
    held.write_all(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    within(server.scene.arrived.acquire()).await.unwrap().forget();

    let Server { listener, scene, registry: _registry } = server;
    let drain = tokio::spawn(listener.drain());
    assert_eq!(read_to_end(&mut idle).await, "", "an idle connection is closed");
    within(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    assert!(!drain.is_finished());
    scene.release.add_permits(1);
    let answer = read_to_end(&mut held).await;
    assert!(answer.ends_with("held"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    within(drain).await.unwrap();
}

#[tokio::test]
async fn a_drain_ends_at_its_timeout() {
    let server = Server::start(ListenerConfig { drain_timeout: Duration::from_millis(50), ..config() }).await;
    let mut held = server.connect().await;
    held.write_all(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    within(server.scene.arrived.acquire()).await.unwrap().forget();
    within(server.listener.drain()).await;
    assert_eq!(read_to_end(&mut held).await, "");
}

#[tokio::test]
async fn a_drain_waits_for_upgraded_connections() {
    let server = Server::start(config()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: e\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    let drain = tokio::spawn(server.listener.drain());
    stream.write_all(b"still here").await.unwrap();
    read_until(&mut stream, "still here").await;
    assert!(!drain.is_finished());
    drop(stream);
    within(drain).await.unwrap();
}

#[tokio::test]
async fn dropping_a_listener_stops_it() {
    let server = Server::start(config()).await;
    let mut held = server.connect().await;
    held.write_all(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    within(server.scene.arrived.acquire()).await.unwrap().forget();
    drop(server.listener);
    assert_eq!(read_to_end(&mut held).await, "");
}

#[tokio::test]
async fn what_has_left_http_is_cut_off_at_the_end_of_a_drain_and_with_its_listener() {
    for drained in [true, false] {
        let server =
            Server::start(ListenerConfig { drain_timeout: Duration::from_millis(50), ..config() }).await;
        let mut streams = Vec::new();
        for head in [
            &b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: e\r\n\r\n"[..],
            b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            let mut stream = server.connect().await;
            stream.write_all(head).await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"here").await.unwrap();
            read_until(&mut stream, "here").await;
            streams.push(stream);
        }
        match drained {
            true => within(server.listener.drain()).await,
            false => drop(server.listener),
        }
        for mut stream in streams {
            let _either_an_end_or_a_reset = within(stream.read(&mut [0])).await;
        }
    }
}
