//! The simulation over real sockets, held against the facts: what clients see, and what the state does.
//!
//! No test waits for time to pass: operations last an hour unless [`Sim::settle`] ends them, and where
//! tokens come back by themselves the clock is paused.

mod limits;
mod login;
mod operations;
mod resources;
mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::*;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const SUB: &str = "/subscriptions/11111111-aaaa-4bbb-8ccc-000000000001";

/// A subscription in which nothing ends by itself.
fn still() -> SimConfig {
    SimConfig { task_time: Duration::from_secs(3600), ..SimConfig::default() }
}

async fn start(config: SimConfig) -> Sim {
    Sim::start(config, ANY_PORT).await.expect("a free port on the loopback interface")
}

/// An answer, its body decoded.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("fields are text"))
    }

    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    fn names(&self) -> Vec<&str> {
        let items = self.body["value"].as_array().expect("a list");
        items.iter().map(|item| item["name"].as_str().expect("a name")).collect()
    }
}

/// Who asks, with which fields besides the token.
struct Client<'a> {
    sim: &'a Sim,
    token: String,
}

impl<'a> Client<'a> {
    fn admin(sim: &'a Sim) -> Self {
        Self { sim, token: sim.token(ADMIN_CLIENT_ID) }
    }

    fn dev(sim: &'a Sim) -> Self {
        Self { sim, token: sim.token(DEV_CLIENT_ID) }
    }

    async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, Value::Null, &[]).await
    }

    async fn send(&self, method: &str, target: &str, body: Value, fields: &[(&str, &str)]) -> Answer {
        let token = format!("Bearer {}", self.token);
        let fields: Vec<_> = fields.iter().copied().chain([("authorization", token.as_str())]).collect();
        send(self.sim, method, target, body, &fields).await.expect("an answer")
    }

    /// Follows an absolute address of this simulation.
    async fn follow(&self, address: &str) -> Answer {
        let base = format!("http://{}", self.sim.address());
        self.get(address.strip_prefix(&base).unwrap_or_else(|| panic!("{address} is not at {base}"))).await
    }
}

/// Sends one request on a connection of its own; `None` when the connection closes without a whole answer.
async fn send(sim: &Sim, method: &str, target: &str, body: Value, fields: &[(&str, &str)]) -> Option<Answer> {
    let stream = TcpStream::connect(sim.address()).await.expect("the simulation listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a fresh connection");
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(target).header("host", sim.address().to_string());
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let content = match &body {
        Value::Null => Bytes::new(),
        Value::String(text) => Bytes::from(text.clone()),
        value => Bytes::from(value.to_string()),
    };
    let request = request.body(Full::new(content)).expect("a request of valid parts");
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.ok()?.to_bytes();
        let plain = match head.headers.get("content-encoding") {
            Some(_) => {
                use std::io::Read as _;
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).expect("gzip");
                plain
            }
            None => bytes.to_vec(),
        };
        let body = serde_json::from_slice(&plain).unwrap_or(Value::Null);
        Some(Answer { status: head.status.as_u16(), headers: head.headers, body })
    };
    let answer = answer.await;
    driver.abort();
    answer
}

fn vm(group: &str, name: &str) -> String {
    format!("{SUB}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}")
}

fn network(group: &str, kind: &str, name: &str) -> String {
    format!("{SUB}/resourceGroups/{group}/providers/Microsoft.Network/{kind}/{name}")
}

const COMPUTE: &str = "api-version=2024-11-01";
const NETWORK: &str = "api-version=2024-05-01";
const RESOURCES: &str = "api-version=2024-11-01";
