//! HTTP/1.1 as pveproxy speaks it: connections, request heads, limits.
//!
//! What is answered is [`super::exchange`]'s matter; what is here is what a connection does whoever asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::exchange::{self, After};

/// Header lines from which on a request is dropped without an answer.
const HEADER_LINES: usize = 64;
/// Bytes of header lines from which on a request is dropped without an answer.
const HEADER_BYTES: usize = 8 * 1024;
/// How long the rest of a refused request is read away, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one connection.
pub(super) async fn connect(stream: TcpStream, shared: Arc<Shared>) {
    shared.watch.connected();
    match shared.config.tls.clone() {
        None => serve(stream, &shared).await,
        Some(config) => {
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                serve(stream, &shared).await;
            }
        }
    }
}

/// A connection with what has been read from it and not been used.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) buffer: BytesMut,
    idle: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Reads more. `None` after a silence that is too long, at the end, and on errors.
    pub(super) async fn fill(&mut self) -> Option<()> {
        match timeout(self.idle, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(read)) if read > 0 => Some(()),
            _ => None,
        }
    }

    /// Reads a body of known length.
    pub(super) async fn body(&mut self, length: usize) -> Option<BytesMut> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Some(self.buffer.split_to(length))
    }

    async fn head(&mut self) -> Option<Read> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let bytes = self.buffer.split_to(end + 4);
                return Some(parse(&bytes));
            }
            if self.buffer.len() > 2 * HEADER_BYTES {
                return Some(Read::TooLarge);
            }
            self.fill().await?;
        }
    }
}

/// What reading a request's head comes to.
enum Read {
    Head(Head),
    Malformed,
    TooLarge,
}

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    /// The minor version, which answers repeat.
    pub(super) minor: u8,
    fields: Vec<(String, String)>,
}

impl Head {
    /// A header field's value; several lines of one name are joined, as Perl's library does.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let values = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Whether the client leaves the connection open.
    pub(super) fn keeps_alive(&self) -> bool {
        match self.field("connection") {
            Some(connection) => !connection.to_ascii_lowercase().contains("close"),
            None => self.minor > 0,
        }
    }
}

fn parse(bytes: &[u8]) -> Read {
    let line_end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let lines = bytes[line_end..].iter().filter(|byte| **byte == b'\n').count().saturating_sub(2);
    if lines >= HEADER_LINES || bytes.len() - line_end >= HEADER_BYTES {
        return Read::TooLarge;
    }
    let mut fields = [httparse::EMPTY_HEADER; HEADER_LINES];
    let mut request = httparse::Request::new(&mut fields);
    let complete = request.parse(bytes).is_ok_and(|status| status.is_complete());
    match (complete, request.method, request.path, request.version) {
        (true, Some(method), Some(path), Some(minor)) => {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let fields =
                request.headers.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
            Read::Head(Head { method: method.to_owned(), target: path.to_owned(), minor, fields })
        }
        _ => Read::Malformed,
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, shared: &Shared) {
    let mut connection = Connection { stream, buffer: BytesMut::new(), idle: shared.config.idle_close };
    let limit = shared.config.requests_per_connection.max(1);
    for count in 1..=limit {
        let Some(read) = connection.head().await else { break };
        let head = match read {
            Read::Head(head) => head,
            Read::Malformed => {
                let answer = b"HTTP/1.1 400 bad request\r\nConnection: close\r\n\r\n";
                // Whether it arrives or not, the connection ends here.
                let _ = connection.stream.write_all(answer).await;
                break;
            }
            Read::TooLarge => {
                // The reader has died and nobody answers: the client learns it when the silence is over.
                sleep(shared.config.idle_close).await;
                return;
            }
        };
        match exchange::answer(&mut connection, shared, &head, count == limit).await {
            After::KeepOpen => {}
            After::Close => break,
            After::Drop => return,
        }
    }
    linger(connection).await;
}

/// Closes so that what was sent arrives although the client may still be sending.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut connection: Connection<S>) {
    if connection.stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut scratch = [0; 8192];
        while matches!(connection.stream.read(&mut scratch).await, Ok(read) if read > 0) {}
    };
    // Running out of time is as good as reaching the end.
    let _ = timeout(LINGER, drain).await;
}
