//! A scripted upstream on a raw socket: what it answers, when, and how it breaks.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::gate::{Gate, until};

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The target, byte for byte.
    pub target: String,
    /// The whole head.
    pub head: String,
    /// How much of the content has come so far.
    pub body: Vec<u8>,
}

impl Call {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// With its length.
    Whole,
    /// In chunks.
    Chunked,
    /// With the connection, no length being told.
    Closed,
    /// Cut off after half of the body.
    Cut,
    /// With a reset before anything was sent.
    Reset,
    /// Something that is no HTTP.
    Garbage,
    /// A tunnel that gives every byte back.
    Tunnel,
}

/// What is answered to one call.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    reason: String,
    fields: Vec<(String, String)>,
    /// `None`: a body that names the call, so that no two answers are the same.
    body: Option<Vec<u8>>,
    ending: Ending,
    trailers: Vec<(String, String)>,
    before_head: Option<Gate>,
    before_body: Option<Gate>,
    in_body: Option<Gate>,
}

impl Reply {
    /// 200 with a body of its own for every call.
    pub fn numbered() -> Self {
        Self {
            status: 200,
            reason: "OK".into(),
            fields: Vec::new(),
            body: None,
            ending: Ending::Whole,
            trailers: Vec::new(),
            before_head: None,
            before_body: None,
            in_body: None,
        }
    }

    /// 200 with this body.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..Self::numbered() }
    }

    /// This status and reason phrase.
    pub fn status(status: u16, reason: &str) -> Self {
        Self { status, reason: reason.into(), ..Self::numbered() }
    }

    /// No answer but a reset connection.
    pub fn reset() -> Self {
        Self { ending: Ending::Reset, ..Self::numbered() }
    }

    /// Something that is no HTTP.
    pub fn garbage() -> Self {
        Self { ending: Ending::Garbage, ..Self::numbered() }
    }

    /// 101, and every byte comes back.
    pub fn tunnel() -> Self {
        let reply = Self { ending: Ending::Tunnel, ..Self::status(101, "Switching Protocols") };
        reply.field("Connection", "upgrade").field("Upgrade", "websocket")
    }

    /// The body of this answer.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// One more field.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Only the first half of the body comes.
    pub fn cut(mut self) -> Self {
        self.ending = Ending::Cut;
        self
    }

    /// Without a length, in chunks.
    pub fn chunked(mut self) -> Self {
        self.ending = Ending::Chunked;
        self
    }

    /// In chunks, with this field behind them.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.into(), value.into()));
        self.chunked()
    }

    /// Without a length, up to the end of the connection.
    pub fn closed(mut self) -> Self {
        self.ending = Ending::Closed;
        self
    }

    /// Nothing comes before the gate opens.
    pub fn held(mut self, gate: &Gate) -> Self {
        self.before_head = Some(gate.clone());
        self
    }

    /// The body does not begin before the gate opens.
    pub fn held_before_body(mut self, gate: &Gate) -> Self {
        self.before_body = Some(gate.clone());
        self
    }

    /// The second half of the body does not come before the gate opens.
    pub fn held_in_body(mut self, gate: &Gate) -> Self {
        self.in_body = Some(gate.clone());
        self
    }
}

/// The upstream. What it was not told to answer, it answers with [`Reply::numbered`].
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    script: Arc<Script>,
    task: JoinHandle<()>,
}

/// What the connections of an upstream share.
#[derive(Default)]
pub struct Script {
    replies: Mutex<HashMap<String, VecDeque<Reply>>>,
    /// What goes before: a part of the head, `METHOD path` or nothing for all, and the reply.
    special: Mutex<Vec<(String, String, Reply)>>,
    calls: Mutex<Vec<Call>>,
}

impl Script {
    /// How many calls have come.
    pub fn calls(&self) -> usize {
        self.calls.lock().len()
    }
}

impl Origin {
    /// What its connections share.
    pub fn script(&self) -> Arc<Script> {
        self.script.clone()
    }

    /// An upstream on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let script = Arc::new(Script::default());
        let shared = script.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, shared.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, script, task }
    }

    /// From now on calls of `METHOD path` (without a query) get `reply`.
    pub fn on(&self, call: &str, reply: Reply) {
        self.script.replies.lock().insert(call.into(), [reply].into());
    }

    /// The next calls of `METHOD path` get these replies, the last one for good.
    pub fn on_each(&self, call: &str, replies: impl IntoIterator<Item = Reply>) {
        self.script.replies.lock().insert(call.into(), replies.into_iter().collect());
    }

    /// From now on calls of `METHOD path`, or all if that is empty, get `reply` if their head contains
    /// `part`, whatever else is said of them; the latest such word counts.
    pub fn to(&self, part: &str, call: &str, reply: Reply) {
        self.script.special.lock().insert(0, (part.into(), call.into(), reply));
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.script.calls.lock().clone()
    }

    /// How many calls of `METHOD path` there were.
    pub fn count(&self, call: &str) -> usize {
        self.script.calls.lock().iter().filter(|c| name(&c.method, &c.target) == call).count()
    }

    /// The latest call of `METHOD path`.
    pub fn last(&self, call: &str) -> Call {
        let calls = self.script.calls.lock();
        let found = calls.iter().rev().find(|c| name(&c.method, &c.target) == call);
        found.unwrap_or_else(|| panic!("no {call} came")).clone()
    }

    /// Waits until `n` calls of `METHOD path` have come.
    pub async fn came(&self, call: &str, n: usize) {
        until(&format!("{n} calls of {call}"), || self.count(call) >= n).await;
    }

    /// Stops listening and closes every connection.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }

    /// Listens again at the same address.
    pub async fn restart(&mut self) {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option of sockets");
        socket.bind(self.address).expect("still free");
        let listener = socket.listen(64).expect("listens");
        let script = self.script.clone();
        self.task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, script.clone()));
            }
        });
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn name(method: &str, target: &str) -> String {
    format!("{method} {}", target.split('?').next().unwrap_or_default())
}

pub(super) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Serves one connection until either side closes it.
async fn serve(mut stream: TcpStream, script: Arc<Script>) {
    let mut unread = Vec::new();
    while let Some((number, reply)) = receive(&mut stream, &mut unread, &script).await {
        if answer(&mut stream, number, reply, &script).await.is_none() {
            return;
        }
    }
}

/// The next request: its number among all calls, and what is answered to it.
async fn receive(stream: &mut TcpStream, unread: &mut Vec<u8>, script: &Script) -> Option<(usize, Reply)> {
    let end = loop {
        if let Some(at) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    };
    let rest = unread.split_off(end);
    let head = String::from_utf8(std::mem::replace(unread, rest)).expect("heads are text");
    let mut words = head.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let length: usize = field(&head, "content-length").map_or(0, |n| n.parse().expect("a number"));
    let chunked = field(&head, "transfer-encoding").is_some();
    assert!(!chunked || !target.starts_with("/api2"), "calls of Proxmox have a length: {head}");
    let called = name(&method, &target);
    let number = {
        let mut calls = script.calls.lock();
        calls.push(Call { method, target, head, body: Vec::new() });
        calls.len()
    };
    let special = {
        let (calls, special) = (script.calls.lock(), script.special.lock());
        let head = &calls[number - 1].head;
        let meant = |part: &str, call: &str| head.contains(part) && (call.is_empty() || call == called);
        special.iter().find(|(part, call, _)| meant(part, call)).map(|(.., reply)| reply.clone())
    };
    if chunked {
        receive_chunks(stream, unread, script, number).await?;
    }
    let mut left = length;
    while left > 0 {
        if unread.is_empty() && stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
        let rest = unread.split_off(left.min(unread.len()));
        left -= unread.len();
        script.calls.lock()[number - 1].body.append(unread);
        *unread = rest;
    }
    if let Some(reply) = special {
        return Some((number, reply));
    }
    let mut replies = script.replies.lock();
    let reply = match replies.get_mut(&called) {
        Some(queue) if queue.len() > 1 => queue.pop_front(),
        Some(queue) => queue.front().cloned(),
        None => None,
    };
    Some((number, reply.unwrap_or_else(Reply::numbered)))
}

/// Reads content in chunks, and the trailer section behind it into the head of the call.
async fn receive_chunks(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
    script: &Script,
    number: usize,
) -> Option<()> {
    let mut last = false;
    loop {
        let Some(end) = unread.windows(2).position(|two| two == b"\r\n") else {
            if stream.read_buf(unread).await.ok()? == 0 {
                return None;
            }
            continue;
        };
        let line = String::from_utf8(unread.drain(..end + 2).collect()).expect("lines are text");
        match (last, line.trim_end()) {
            (true, "") => return Some(()),
            (true, trailer) => {
                script.calls.lock()[number - 1].head += &format!("{trailer}\r\n");
                continue;
            }
            (false, size) => {
                let size = usize::from_str_radix(size, 16).expect("a size");
                last = size == 0;
                if last {
                    continue;
                }
                while unread.len() < size + 2 {
                    if stream.read_buf(unread).await.ok()? == 0 {
                        return None;
                    }
                }
                let piece: Vec<u8> = unread.drain(..size + 2).take(size).collect();
                script.calls.lock()[number - 1].body.extend(piece);
            }
        }
    }
}

/// Answers; `None` when the connection is over.
async fn answer(stream: &mut TcpStream, number: usize, reply: Reply, script: &Script) -> Option<()> {
    if let Some(gate) = &reply.before_head {
        gate.passed().await;
    }
    let body = reply.body.unwrap_or_else(|| format!(r#"{{"data":{{"call":{number}}}}}"#).into_bytes());
    let bodiless = script.calls.lock()[number - 1].method == "HEAD"
        || reply.ending == Ending::Tunnel
        || [204, 304].contains(&reply.status);
    match reply.ending {
        Ending::Reset => {
            stream.set_zero_linger().ok()?;
            return None;
        }
        Ending::Garbage => {
            stream.write_all(b"this is no HTTP\r\n\r\n").await.ok()?;
            return None;
        }
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reply.reason);
    if !reply.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        head += "Content-Type: application/json;charset=UTF-8\r\n";
    }
    for (name, value) in &reply.fields {
        head += &format!("{name}: {value}\r\n");
    }
    match reply.ending {
        Ending::Whole | Ending::Cut => head += &format!("Content-Length: {}\r\n", body.len()),
        Ending::Chunked => head += "Transfer-Encoding: chunked\r\n",
        Ending::Closed => head += "Connection: close\r\n",
        _ => {}
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
    if let Some(gate) = &reply.before_body {
        gate.passed().await;
    }
    if reply.ending == Ending::Tunnel {
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.ok()?;
        return None;
    }
    if bodiless {
        return Some(());
    }
    let (first, second) = body.split_at(body.len() / 2);
    write_piece(stream, first, reply.ending).await?;
    if let Some(gate) = &reply.in_body {
        gate.passed().await;
    }
    if reply.ending == Ending::Cut {
        return None;
    }
    write_piece(stream, second, reply.ending).await?;
    match reply.ending {
        Ending::Chunked => {
            let trailers: String =
                reply.trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            stream.write_all(format!("0\r\n{trailers}\r\n").as_bytes()).await.ok()
        }
        Ending::Closed => None,
        _ => Some(()),
    }
}

async fn write_piece(stream: &mut TcpStream, piece: &[u8], ending: Ending) -> Option<()> {
    if piece.is_empty() {
        return Some(());
    }
    if ending == Ending::Chunked {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.ok()?;
    }
    stream.write_all(piece).await.ok()?;
    if ending == Ending::Chunked {
        stream.write_all(b"\r\n").await.ok()?;
    }
    Some(())
}
