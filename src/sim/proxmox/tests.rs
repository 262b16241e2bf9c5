//! The simulation over real sockets: what a client sees byte by byte, and what the API's state does.
//!
//! No test waits for time to pass: tasks are ended by [`Sim::settle`], and where a delay itself is the
//! subject it is made short and only its lower bound is looked at.

mod api;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ADMIN_TOKEN, ADMIN_TOKEN_SECRET, Sim, SimConfig};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Longer than anything here takes, so that a test that would hang fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster in which nothing ends by itself.
fn still() -> SimConfig {
    let long = Duration::from_secs(3600);
    SimConfig {
        task_time: long,
        resources_lag: long,
        ha_round: long,
        penalty_401: Duration::from_millis(30),
        dead_agent_delay: Duration::from_millis(30),
        ..SimConfig::default()
    }
}

async fn start(config: SimConfig) -> Sim {
    Sim::start(config, ANY_PORT).await.expect("a free port on the loopback interface")
}

fn token(name: &str, secret: &str) -> String {
    format!("Authorization: PVEAPIToken={name}={secret}\r\n")
}

fn admin() -> String {
    token(ADMIN_TOKEN, ADMIN_TOKEN_SECRET)
}

/// An answer as it came in.
#[derive(Debug)]
struct Answer {
    status: u16,
    reason: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    fn data(&self) -> Value {
        self.json()["data"].clone()
    }
}

/// A connection that reads exactly what belongs to each answer.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(sim: &Sim) -> Self {
        let stream = TcpStream::connect(sim.address()).await.expect("the simulation listens");
        Self { stream, buffer: Vec::new() }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("the connection is open");
    }

    /// Reads more; false at the end of the connection.
    async fn more(&mut self) -> bool {
        let read =
            timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("an answer in time");
        read.is_ok_and(|read| read > 0)
    }

    async fn answer(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            assert!(
                self.more().await,
                "closed before an answer: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        };
        let rest = self.buffer.split_off(end + 4);
        let head = String::from_utf8(std::mem::replace(&mut self.buffer, rest)).expect("heads are text");
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().splitn(3, ' ').skip(1);
        let status = first.next().and_then(|text| text.parse().ok()).expect("a status");
        let reason = first.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(": "));
        let fields: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut answer = Answer { status, reason, fields, body: Vec::new() };
        let length = answer.all("content-length").first().map_or(0, |text| text.parse().expect("a number"));
        while self.buffer.len() < length {
            assert!(self.more().await, "closed within a body");
        }
        let rest = self.buffer.split_off(length);
        answer.body = std::mem::replace(&mut self.buffer, rest);
        answer
    }

    /// Whether the server has closed and sent nothing more.
    async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }

    async fn get(&mut self, path: &str, fields: &str) -> Answer {
        self.send(&format!("GET /api2/json{path} HTTP/1.1\r\nHost: sim\r\n{fields}\r\n")).await;
        self.answer().await
    }
}

/// One request on a connection of its own, with a form body unless that is empty.
async fn call(sim: &Sim, method: &str, path: &str, fields: &str, form: &str) -> Answer {
    let mut client = Client::connect(sim).await;
    let length = if form.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", form.len()) };
    client
        .send(&format!("{method} /api2/json{path} HTTP/1.1\r\nHost: sim\r\n{fields}{length}\r\n{form}"))
        .await;
    client.answer().await
}

async fn get(sim: &Sim, path: &str) -> Answer {
    call(sim, "GET", path, &admin(), "").await
}

async fn post(sim: &Sim, path: &str, form: &str) -> Answer {
    call(sim, "POST", path, &admin(), form).await
}

/// The items of a list whose member has this value.
fn pick(list: &Value, member: &str, value: impl Into<Value>) -> Value {
    let value = value.into();
    let item = list.as_array().and_then(|items| items.iter().find(|item| item[member] == value));
    item.cloned().unwrap_or(Value::Null)
}
