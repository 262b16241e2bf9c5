//! One request and its answer: pveproxy's checks in its order, and its header fields.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answer::{Body, Delay, Failure, Format, Rendered, render};
use super::auth::Credentials;
use super::call::{self, Call, Method, Principal};
use super::wire::{Connection, Head};
use super::{Fault, HoldAt, Shared, access, console, route, upload};

/// The longest body that is not an upload.
const BODY_LIMIT: u64 = 512 * 1024;
/// Bodies longer than this are compressed for clients that ask for it.
const COMPRESS_FROM: usize = 1024;
/// How long pveproxy waits for the privileged daemon or another node.
const INNER_TIMEOUT: Duration = Duration::from_secs(30);
/// One answer in so many is a straggler.
const STRAGGLERS: u32 = 8;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    KeepOpen,
    Close,
    /// Closed at once, without waiting for what the client still sends.
    Drop,
}

/// What a request comes to before it is written.
enum Answer {
    Rendered {
        rendered: Rendered,
        protected: bool,
        upload: bool,
    },
    /// A page or file of the web interface.
    Page(&'static str, &'static [u8]),
    /// The handshake is done and bytes flow.
    WebSocket(String),
    /// The client went away.
    Gone,
}

/// Answers one request; `last` is whether the connection has served enough.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    shared: &Shared,
    head: &Head,
    last: bool,
) -> After {
    let started = Instant::now();
    let line = format!("{} {}", head.method, head.target);
    let _active = shared.watch.received(&line);
    let fault = shared.watch.fault(&line);
    match &fault {
        Some(Fault::Close) => return After::Drop,
        Some(Fault::Stall) => {
            let mut scratch = [0; 1024];
            while matches!(connection.stream.read(&mut scratch).await, Ok(read) if read > 0) {}
            return After::Drop;
        }
        Some(Fault::Status(status, reason)) => {
            let text = format!("HTTP/1.{} {status} {reason}\r\nConnection: close\r\n\r\n", head.minor);
            // The connection ends whether it arrived or not.
            let _ = connection.stream.write_all(text.as_bytes()).await;
            return After::Close;
        }
        Some(Fault::Truncate) | None => {}
    }
    shared.watch.pass(&line, HoldAt::BeforeReading).await;
    let (rendered, protected, upload) = match exchange(connection, shared, head, &line).await {
        Answer::Rendered { rendered, protected, upload } => (rendered, protected, upload),
        Answer::Page(content_type, body) => return page(connection, head, content_type, body).await,
        Answer::WebSocket(response) => return echo(connection, &response).await,
        Answer::Gone => return After::Drop,
    };
    match rendered.delay {
        Delay::Penalty => sleep_until(started + shared.config.penalty_401).await,
        Delay::None | Delay::DeadAgent => {}
    }
    let keep = rendered.status < 400 && !last && !upload && head.keeps_alive();
    let mut bytes = serialise(rendered, head, protected, keep);
    if fault == Some(Fault::Truncate) {
        bytes.truncate(bytes.len().saturating_sub(8));
        // The connection ends whether it arrived or not.
        let _ = connection.stream.write_all(&bytes).await;
        return After::Drop;
    }
    let written = connection.stream.write_all(&bytes).await;
    let flushed = connection.stream.flush().await;
    match (written.and(flushed), keep) {
        (Ok(()), true) => After::KeepOpen,
        (Ok(()), false) => After::Close,
        (Err(_), _) => After::Drop,
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    shared: &Shared,
    head: &Head,
    line: &str,
) -> Answer {
    let fail = |failure: Failure, format: Format| {
        let rendered = render(Err(failure), format, shared.config.message_in_body, &mut fastrand::Rng::new());
        Answer::Rendered { rendered, protected: false, upload: false }
    };
    let Some(method) = Method::parse(&head.method) else {
        return fail(
            Failure::bare(501, format!("method '{}' not available", head.method), Body::None),
            Format::Json,
        );
    };
    if let Some(coding) = head.field("transfer-encoding") {
        let text = match coding.eq_ignore_ascii_case("chunked") {
            true => "chunked transfer encoding not supported".to_owned(),
            false => format!("Unknown transfer encoding '{coding}'"),
        };
        return fail(Failure::bare(501, text, Body::Text), Format::Json);
    }
    let (raw_path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let mut path = call::segments(raw_path);
    let format = match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["api2", "json", ..] => Format::Json,
        ["api2", "extjs", ..] => Format::ExtJs,
        [] => {
            return Answer::Page(
                "text/html; charset=UTF-8",
                b"<!DOCTYPE html><title>Proxmox VE (simulated)</title>",
            );
        }
        ["pve2" | "novnc" | "xtermjs" | "pwt", .., _] => {
            return Answer::Page("application/javascript", b"// simulated\n");
        }
        _ => return fail(Failure::bare(501, format!("no such file '{raw_path}'"), Body::Text), Format::Json),
    };
    path.drain(..2);
    let parts: Vec<_> = path.iter().map(String::as_str).collect();
    let upload = method == Method::Post && matches!(parts.as_slice(), ["nodes", _, "storage", _, "upload"]);
    let protected = route::protected(method, &parts);
    let who = match authenticate(shared, head, method, &parts, upload) {
        Ok(who) => who,
        Err(failure) => return fail(failure, format),
    };
    let mut params = BTreeMap::new();
    call::parse_form(query, &mut params);
    match receive(connection, head, method, upload, &mut params).await {
        Some(Ok(())) => {}
        Some(Err(failure)) => return fail(failure, format),
        None => return Answer::Gone,
    }
    let call = Call { method, path, params, who, contacted: shared.node, now: Instant::now() };
    if call.path.last().is_some_and(|last| last == "vncwebsocket") && head.field("upgrade").is_some() {
        let taken = console::take(&mut shared.cluster.lock(), &call);
        return match taken {
            Ok(()) => Answer::WebSocket(handshake(head)),
            Err(failure) => fail(failure, format),
        };
    }
    carry_out(shared, call, format, protected, upload, line).await
}

fn authenticate(
    shared: &Shared,
    head: &Head,
    method: Method,
    parts: &[&str],
    upload: bool,
) -> Result<Principal, Failure> {
    if access::anonymous(method, parts) {
        return Ok(Principal::parse(""));
    }
    let fields = ["cookie", "authorization", "csrfpreventiontoken"].map(|name| head.field(name));
    let [cookie, authorization, csrf] = fields.each_ref().map(Option::as_deref);
    let cluster = shared.cluster.lock();
    let wall = cluster.wall(Instant::now());
    cluster.accounts.authenticate(&Credentials { cookie, authorization, csrf }, method, upload, wall)
}

/// Reads the body into parameters. `None` is a connection that broke off.
async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    head: &Head,
    method: Method,
    upload: bool,
    params: &mut BTreeMap<String, String>,
) -> Option<Result<(), Failure>> {
    let length = head.field("content-length").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    if length == 0 {
        return Some(Ok(()));
    }
    let refuse = |status, text: String| Some(Err(Failure::bare(status, text, Body::Text)));
    if !matches!(method, Method::Post | Method::Put) {
        return refuse(501, format!("Unexpected content for method '{}'", method.name()));
    }
    let content_type = head.field("content-type").unwrap_or_default();
    if upload {
        let fields = upload::receive(connection, length, &content_type).await?;
        return Some(fields.map(|fields| params.extend(fields)));
    }
    if length > BODY_LIMIT {
        return refuse(501, "for data too large".to_owned());
    }
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !matches!(kind.as_str(), "" | "application/x-www-form-urlencoded" | "application/json") {
        return refuse(506, format!("upload 'Content-Type '{content_type}' not implemented"));
    }
    let body = connection.body(usize::try_from(length).expect("the limit was just checked")).await?;
    if kind == "application/json" {
        return Some(call::parse_json(&body, params));
    }
    call::parse_form(&String::from_utf8_lossy(&body), params);
    Some(Ok(()))
}

async fn carry_out(
    shared: &Shared,
    mut call: Call,
    format: Format,
    protected: bool,
    upload: bool,
    line: &str,
) -> Answer {
    let parts = call.parts();
    let target = route::proxied_to(call.method, &parts);
    let node =
        target.and_then(|name| shared.cluster.lock().node_index(name, shared.node)).unwrap_or(shared.node);
    let worker = match protected {
        true => match timeout(INNER_TIMEOUT, shared.workers[node].acquire()).await {
            Ok(worker) => worker.ok(),
            Err(_) => {
                let failure = Failure::bare(596, "Connection timed out", Body::None);
                let rendered = render(Err(failure), format, true, &mut fastrand::Rng::new());
                return Answer::Rendered { rendered, protected: false, upload };
            }
        },
        false => None,
    };
    let half = shared.config.latency / 2;
    pause(half).await;
    call.now = Instant::now();
    let (outcome, mut rng) = {
        let mut cluster = shared.cluster.lock();
        cluster.settle(call.now);
        (route::dispatch(&mut cluster, &call), cluster.rng.fork())
    };
    let rendered = render(outcome, format, shared.config.message_in_body, &mut rng);
    shared.watch.pass(line, HoldAt::BeforeAnswering).await;
    if rendered.delay == Delay::DeadAgent {
        pause(shared.config.dead_agent_delay).await;
    }
    pause(half).await;
    drop(worker);
    if rng.u32(0..STRAGGLERS) == 0 {
        pause(shared.config.straggling).await;
    }
    Answer::Rendered { rendered, protected, upload }
}

/// Waits, without going through the timer when there is nothing to wait for.
async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn serialise(rendered: Rendered, head: &Head, protected: bool, keep: bool) -> Vec<u8> {
    let (encoding, body) = compress(rendered.body, head);
    let date = http_date();
    let mut text = format!(
        "HTTP/1.{} {} {}\r\nCache-Control: max-age=0\r\n",
        head.minor, rendered.status, rendered.reason
    );
    if !keep {
        text.push_str("Connection: close\r\n");
    } else {
        if protected {
            // Left over from the inner hop, and contradicted by the next line.
            text.push_str("Connection: close\r\n");
        }
        text.push_str("Connection: Keep-Alive\r\n");
    }
    text.push_str(&format!("Date: {date}\r\nPragma: no-cache\r\nServer: pve-api-daemon/3.0\r\n"));
    if let Some(encoding) = encoding {
        text.push_str(&format!("Content-Encoding: {encoding}\r\n"));
    }
    if let Some(body) = &body {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    if let Some(content_type) = rendered.content_type {
        text.push_str(&format!("Content-Type: {content_type}\r\n"));
    }
    text.push_str(&format!("Expires: {date}\r\n\r\n"));
    let mut bytes = text.into_bytes();
    bytes.extend(body.unwrap_or_default());
    bytes
}

/// Compresses a long body when the client names a coding, even one it refuses with `q=0`.
fn compress(body: Option<Vec<u8>>, head: &Head) -> (Option<&'static str>, Option<Vec<u8>>) {
    let accepted = head.field("accept-encoding").unwrap_or_default();
    let Some(plain) = body.as_ref().filter(|body| body.len() > COMPRESS_FROM) else { return (None, body) };
    let packed: io::Result<_> = if accepted.contains("gzip") {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).and_then(|()| encoder.finish()).map(|packed| ("gzip", packed))
    } else if accepted.contains("deflate") {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).and_then(|()| encoder.finish()).map(|packed| ("deflate", packed))
    } else {
        return (None, body);
    };
    let (encoding, packed) = packed.expect("writing to memory does not fail");
    (Some(encoding), Some(packed))
}

/// Now as header fields write it (RFC 9110 §5.6.7).
fn http_date() -> String {
    let seconds = crate::clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    let now = now.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (weekday, month) = (now.weekday().to_string(), now.month().to_string());
    let (hour, minute, second) = now.to_hms();
    let (weekday, month) = (&weekday[..3], &month[..3]);
    format!("{weekday}, {:02} {month} {:04} {hour:02}:{minute:02}:{second:02} GMT", now.day(), now.year())
}

fn handshake(head: &Head) -> String {
    let accept = console::accept_key(&head.field("sec-websocket-key").unwrap_or_default());
    let protocol = head.field("sec-websocket-protocol");
    let protocol = protocol.map_or_else(String::new, |name| {
        format!("Sec-WebSocket-Protocol: {}\r\n", name.split(',').next().unwrap_or_default().trim())
    });
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    )
}

/// Sends every byte back until the client ends; what is behind a console is not simulated.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Connection<S>, response: &str) -> After {
    if connection.stream.write_all(response.as_bytes()).await.is_err() {
        return After::Drop;
    }
    loop {
        let bytes = connection.buffer.split();
        if connection.stream.write_all(&bytes).await.is_err() || connection.stream.flush().await.is_err() {
            return After::Drop;
        }
        // A console may be silent for as long as it likes.
        if !matches!(connection.stream.read_buf(&mut connection.buffer).await, Ok(read) if read > 0) {
            return After::Close;
        }
    }
}

/// A file of the web interface: no credential asked, and the only answers with a validator.
async fn page<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    head: &Head,
    content_type: &str,
    body: &[u8],
) -> After {
    let text = format!(
        "HTTP/1.{} 200 OK\r\nConnection: close\r\nDate: {}\r\nServer: pve-api-daemon/3.0\r\nContent-Length: {}\r\n\
         Content-Type: {content_type}\r\nLast-Modified: Mon, 01 Sep 2025 00:00:00 GMT\r\n\r\n",
        head.minor,
        http_date(),
        body.len()
    );
    // The connection ends whether it arrived or not.
    let _ = connection.stream.write_all(&[text.as_bytes(), body].concat()).await;
    After::Close
}
