//! The upstream against real sockets: a scripted server says byte for byte what an API might.

mod answers;
mod breaker;
mod connections;
mod endpoints;
mod fairness;
mod kept;
mod limits;
mod probes;
mod quotas;
mod requests;
mod retries;
mod server;
mod streams;
mod tls;
mod upgrades;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;

use super::*;
use server::Server;

/// Longer than anything here takes; a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(20);

/// An upstream with its metrics.
struct Bench {
    upstream: Upstream,
    registry: Registry,
}

impl Bench {
    fn new(servers: &[&Server]) -> Self {
        Self::with(servers, |_| {})
    }

    fn with(servers: &[&Server], change: impl FnOnce(&mut UpstreamConfig)) -> Self {
        let endpoints = servers.iter().map(|server| server.url().parse().unwrap()).collect();
        let mut config = UpstreamConfig::new("lab", endpoints);
        // What a single attempt does is tested everywhere but in `retries`.
        config.retry = RetryConfig::none();
        change(&mut config);
        let registry = Registry::new();
        Self { upstream: Upstream::new(config, &registry).unwrap(), registry }
    }

    fn call(&self, method: Method, target: &str) -> Outgoing {
        let kind = if method.is_safe() { CallKind::Read } else { CallKind::Write };
        Outgoing {
            method,
            target: target.parse().unwrap(),
            headers: HeaderMap::new(),
            host: None,
            body: OutgoingBody::Empty,
            endpoint: EndpointChoice::Any,
            kind,
            principal: 1,
            captures: Vec::new(),
            counter: CallCounter::new(&self.registry, "lab", "rule", "miss"),
            upgrade: false,
        }
    }

    fn get(&self, target: &str) -> Outgoing {
        self.call(Method::GET, target)
    }

    fn post(&self, target: &str, body: &'static str) -> Outgoing {
        Outgoing {
            body: OutgoingBody::Full(Bytes::from_static(body.as_bytes())),
            ..self.call(Method::POST, target)
        }
    }

    async fn send(&self, call: Outgoing) -> Result<Answer, SendError> {
        within(self.upstream.send(call)).await
    }

    /// Sends and reads to the end: status and text.
    async fn text(&self, call: Outgoing) -> (u16, String) {
        let answer = self.send(call).await.unwrap();
        let status = answer.parts.status.as_u16();
        let bytes = within(answer.body.collect()).await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// `forebay_upstream_requests_total` by status class, only those above zero.
    fn counted(&self) -> Vec<(String, u64)> {
        let text = self.registry.render();
        let mut found: Vec<(String, u64)> = text
            .lines()
            .filter(|line| line.starts_with("forebay_upstream_requests_total{"))
            .filter_map(|line| {
                let (labels, value) = line.rsplit_once(' ')?;
                let class = labels.split("status=\"").nth(1)?.split('"').next()?;
                Some((class.to_owned(), value.parse().ok()?))
            })
            .filter(|(_, value)| *value > 0)
            .collect();
        found.sort();
        found
    }

    fn total(&self) -> u64 {
        self.counted().iter().map(|(_, value)| value).sum()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes milliseconds unless it hangs")
}

/// Waits for something that other tasks bring about and that has no event of its own.
async fn eventually(what: impl Fn() -> bool) {
    within(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
