//! One client of the demo: a kept HTTP/1.1 connection over a real socket, one credential.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::tally::{Served, Tally};

/// How long a client waits for an answer, as long as Proxmox itself may take to relay one.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of forebay.
pub(super) struct Client {
    address: SocketAddr,
    credential: HeaderValue,
    tally: Arc<Tally>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// `data` of the body.
    pub data: Value,
    /// What forebay says of its cache.
    pub cache_status: String,
}

/// Why a call has no answer that its client can use; the tally has counted it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Refused(http::StatusCode),
    #[error("the answer is not JSON: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Client {
    /// A client of the listener at `address` with an API token.
    pub(super) fn new(address: SocketAddr, token: &str, secret: &str, tally: &Arc<Tally>) -> Self {
        let credential = HeaderValue::try_from(format!("PVEAPIToken={token}={secret}"));
        let mut credential = credential.expect("the demo's tokens are plain ASCII");
        credential.set_sensitive(true);
        Self { address, credential, tally: tally.clone(), connection: None }
    }

    /// Reads `path`, which starts behind `/api2/json`.
    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, CallError> {
        self.call(Method::GET, path, "").await
    }

    /// Makes a call; `form` is the content of a write.
    pub(super) async fn call(&mut self, method: Method, path: &str, form: &str) -> Result<Answer, CallError> {
        let answer = timeout(PATIENCE, self.exchange(method, path, form)).await;
        let answer = answer.unwrap_or(Err(CallError::Timeout));
        if answer.is_err() {
            self.connection = None;
            self.tally.failed();
        }
        answer
    }

    async fn exchange(&mut self, method: Method, path: &str, form: &str) -> Result<Answer, CallError> {
        let mut connection = self.connection().await?;
        let writes = method != Method::GET;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api2/json{path}"))
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, &self.credential);
        if writes {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let request = request.body(Full::from(form.to_owned())).expect("the demo's paths are plain ASCII");
        self.tally.sent();
        let started = Instant::now();
        let response = connection.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        let took = started.elapsed();
        let field = parts.headers.get("cache-status").and_then(|value| value.to_str().ok());
        let cache_status = field.unwrap_or_default().to_owned();
        self.tally.answered(served(writes, &cache_status), took);
        self.connection = Some(connection);
        if !parts.status.is_success() {
            return Err(CallError::Refused(parts.status));
        }
        let mut body: Value = serde_json::from_slice(&body)?;
        Ok(Answer { data: body["data"].take(), cache_status })
    }

    /// The kept connection, or a new one when there is none or it has been closed in silence.
    async fn connection(&mut self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        if let Some(mut kept) = self.connection.take()
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends by itself when the sender is dropped; the sender is told of its errors too.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

fn served(writes: bool, cache_status: &str) -> Served {
    match cache_status {
        _ if writes => Served::Write,
        status if status.starts_with("forebay; hit") => Served::Hit,
        _ => Served::Miss,
    }
}
