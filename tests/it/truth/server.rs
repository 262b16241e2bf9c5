//! The model's address: requests on real sockets, held and broken as the weather wants it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::answering::{Answering, Coming, How};
use super::model::{Model, Reply, Request, Shared, Treatment};
use super::weather::{Effect, Fate};

/// The API.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    _connections: JoinSet<()>,
}

/// Told after every step, so that whoever is held can look whether it is time.
pub type Steps = Arc<watch::Sender<u64>>;

impl Server {
    /// Starts it; it ends when it is dropped.
    pub async fn start<W: Model>(world: Shared<W>, steps: Steps) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("an option of sockets");
                connections.spawn(serve(stream, world.clone(), steps.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, _connections: accepting }
    }
}

async fn serve<W: Model>(mut stream: TcpStream, world: Shared<W>, steps: Steps) {
    let mut unread = Vec::with_capacity(2048);
    while let Some(request) = next(&mut stream, &mut unread, &world).await {
        let Treatment { fate, before, after } = {
            let mut world = world.lock();
            world.advance_step();
            steps.send_replace(world.step());
            world.treat(&request)
        };
        let call = Underway { stream: &stream, world: &world, steps: &steps, number: request.number };
        call.held(before).await;
        // What breaks before the request took effect, with nothing done.
        if matches!(fate, Fate::Reset(Effect::Never)) {
            call.ends(How::Silent);
            return reset(stream);
        }
        let reply = world.lock().answer(&request, fate);
        call.held(after).await;
        let Some(reply) = reply else {
            if matches!(fate, Fate::Silence(_)) {
                // Forebay gives up and closes.
                call.given_up().await;
                return;
            }
            call.ends(How::Silent);
            return reset(stream);
        };
        call.ends(Answering::by_status(reply.status, request.credential.is_none()));
        let bytes = on_wire(&reply, request.method == "HEAD");
        let cut = matches!(fate, Fate::Cut(_));
        let end = if cut { bytes.len() - 8 } else { bytes.len() };
        if stream.write_all(&bytes[..end]).await.is_err() {
            return;
        }
        let close = world.lock().sent(&reply, cut);
        if cut {
            return reset(stream);
        }
        if close {
            return;
        }
    }
}

/// A call that has come and is not answered yet.
struct Underway<'a, W> {
    stream: &'a TcpStream,
    world: &'a Shared<W>,
    steps: &'a Steps,
    number: Coming,
}

impl<W: Model> Underway<'_, W> {
    /// Waits for `count` more steps, and takes note if forebay does not.
    async fn held(&self, count: u64) {
        if count == 0 {
            return;
        }
        let until = self.world.lock().step() + count;
        let mut steps = self.steps.subscribe();
        let over = async { steps.wait_for(|step| *step >= until).await.is_ok() };
        let mut over = std::pin::pin!(over);
        let passed = tokio::select! {
            biased;
            passed = &mut over => passed,
            () = self.given_up() => over.await,
        };
        assert!(passed, "the sender lives as long as the server");
    }

    /// Waits until forebay has closed the connection, and takes note.
    async fn given_up(&self) {
        // Nothing more is sent before the answer.
        while self.stream.peek(&mut [0]).await.is_ok_and(|count| count > 0) {
            tokio::task::yield_now().await;
        }
        self.ends(How::Silent);
    }

    fn ends(&self, how: How) {
        let mut world = self.world.lock();
        let now = world.clock().now();
        world.answering().ends(self.number, now, how);
    }
}

fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("an option of sockets");
}

fn on_wire(reply: &Reply, bodiless: bool) -> Vec<u8> {
    let Reply { id, status, fields, body } = reply;
    let mut head = format!("HTTP/1.1 {status} Said\r\nX-Model: {id:032x}\r\n");
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(body) = body {
        head +=
            &format!("Content-Type: application/json;charset=UTF-8\r\nContent-Length: {}\r\n", body.len());
    }
    if *status >= 400 {
        head += "Connection: close\r\n";
    }
    let mut bytes = (head + "\r\n").into_bytes();
    if let Some(body) = body
        && !bodiless
    {
        bytes.extend_from_slice(body);
    }
    bytes
}

/// Reads the next request; `None` at the end of the connection.
async fn next<W: Model>(stream: &mut TcpStream, unread: &mut Vec<u8>, world: &Shared<W>) -> Option<Request> {
    let end = loop {
        if let Some(at) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(unread[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let (mut length, mut write, mut credential) = (0, None, None);
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        } else if name.eq_ignore_ascii_case("x-write") {
            write = value.parse().ok();
        } else if name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("cookie") {
            credential = world.lock().credential(line);
        }
    }
    while unread.len() < end + length {
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    }
    unread.drain(..end + length);
    let mut world = world.lock();
    let came = world.clock().now();
    let number = world.answering().comes(came);
    Some(Request { method, target, credential, write, came, number })
}
