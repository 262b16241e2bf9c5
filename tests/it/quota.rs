//! The API's own buckets: what is charged, what refusals shut, and what clients see of it.

mod load;
mod model;
mod refusals;
mod simulated;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Options, Rig};

/// Reads that are never kept, so that each costs a call; one that may be shown when it has expired.
const RULES: &str = "
api: azure
match: {case_insensitive: true}
reads:
  - {path: \"/subscriptions/{sub}/resourcegroups\", ttl: 10s, stale_if_error: 1h}
  - {path: \"/**\", ttl: pass}
writes:
  - {methods: [PUT, POST, PATCH, DELETE], path: \"/**\", invalidates: [], reason: \"nothing is kept\"}
";

/// A token of somebody's; the API of these tests accepts every one.
fn token(who: &str) -> String {
    let claims = format!(r#"{{"tid":"t","oid":"{who}"}}"#);
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

/// Forebay with these lines of YAML for the upstream.
async fn rig(upstream: &str, apis: Vec<String>) -> Rig {
    Rig::with(Options { rules: RULES.into(), upstream: upstream.into(), apis, ..Options::default() }).await
}

/// What the admin address says.
pub async fn admin(rig: &Rig, path: &str) -> String {
    let address = rig.app.admin_address().expect("an admin address");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}
