//! A small model of ARM's front door and of its compute provider: buckets by the published numbers, or a
//! share of them, that refuse what is too much and remember that they had to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// What happened at one bucket.
#[derive(Clone, Debug)]
pub struct Level {
    tokens: f64,
    at: Instant,
    most: f64,
    per_second: f64,
    /// Calls that it let through.
    pub passed: u32,
    /// Calls that came when it was empty.
    pub refused: u32,
}

/// The model, on a free port.
pub struct Model {
    /// Where.
    pub url: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// The share of the published numbers.
    share: f64,
    levels: Mutex<BTreeMap<String, Level>>,
    calls: Mutex<u64>,
}

impl Model {
    /// Buckets of this share of what is published.
    pub async fn start(share: f64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("bound");
        let state = Arc::new(State { share, ..State::default() });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request| {
                    let state = state.clone();
                    async move { Ok::<_, std::convert::Infallible>(state.answer(&request)) }
                });
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    let _closed = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url: format!("http://{address}"), state, task }
    }

    /// Every bucket, by name.
    pub fn levels(&self) -> BTreeMap<String, Level> {
        self.state.levels.lock().clone()
    }

    /// How many calls came.
    pub fn calls(&self) -> u64 {
        *self.state.calls.lock()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        *self.calls.lock() += 1;
        let bearer = request.headers().get("authorization").and_then(|field| field.to_str().ok());
        let claims = bearer.and_then(|field| field.split('.').nth(1));
        let claims = claims.and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok()).unwrap_or_default();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap_or_default();
        let Some(who) = claims["oid"].as_str() else {
            return Response::builder().status(401).body(Full::default()).expect("valid");
        };
        let path = request.uri().path().to_ascii_lowercase();
        let (word, most, rate) = match request.method().as_str() {
            "GET" | "HEAD" => ("reads", 250.0, 25.0),
            "DELETE" => ("deletes", 200.0, 10.0),
            _ => ("writes", 200.0, 10.0),
        };
        let subscription = path.strip_prefix("/subscriptions/").and_then(|rest| rest.split('/').next());
        let field = |scope: &str| format!("x-ms-ratelimit-remaining-{scope}-{word}");
        // Field, name and size of each bucket.
        let mut needs = match subscription {
            Some(sub) => vec![
                (field("subscription"), format!("{sub}/{who}/{word}"), most, rate),
                (field("subscription-global"), format!("{sub}/{word}"), most * 15.0, rate * 15.0),
            ],
            None => vec![(field("tenant"), format!("tenant/{who}/{word}"), most, rate)],
        };
        let machine = path.split_once("/virtualmachines/").map(|(_, rest)| rest.split('/').next());
        if let (Some(Some(machine)), "reads") = (machine, word) {
            let sub = subscription.unwrap_or_default();
            needs.push(("LowCostGetResource".into(), format!("{sub}/vm/{machine}"), 36.0, 0.2));
        }
        let mut answer = Response::builder();
        for (field, name, most, rate) in needs {
            match self.take(name, most, rate) {
                Ok(left) if field.starts_with("x-") => answer = answer.header(field, left),
                Ok(left) => {
                    let policy = format!("Microsoft.Compute/{field};{left}");
                    answer = answer.header("x-ms-ratelimit-remaining-resource", policy);
                }
                Err(after) => {
                    let body = r#"{"error":{"code":"SubscriptionRequestsThrottled","message":"exceeded"}}"#;
                    let answer = answer.status(429).header("x-ms-failure-cause", "gateway");
                    let answer = answer.header("retry-after", after);
                    return answer.body(Full::from(body)).expect("valid");
                }
            }
        }
        answer.header("content-type", "application/json").body(Full::from("{}")).expect("valid")
    }

    /// One token: how many are left, or the seconds until there is one.
    fn take(&self, name: String, most: f64, per_second: f64) -> Result<u64, u64> {
        let now = Instant::now();
        let (most, per_second) = ((most * self.share).max(1.0), per_second * self.share);
        let mut levels = self.levels.lock();
        let full = Level { tokens: most, at: now, most, per_second, passed: 0, refused: 0 };
        let level = levels.entry(name).or_insert(full);
        let passed = now.duration_since(level.at).as_secs_f64();
        level.tokens = (level.tokens + passed * level.per_second).min(level.most);
        level.at = now;
        if level.tokens < 1.0 {
            level.refused += 1;
            return Err(((1.0 - level.tokens) / level.per_second).ceil() as u64);
        }
        level.tokens -= 1.0;
        level.passed += 1;
        Ok(level.tokens as u64)
    }
}
