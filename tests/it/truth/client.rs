//! A client on a connection that it keeps, as those do that poll.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer as it came through forebay.
pub struct Got {
    /// The status code.
    pub status: u16,
    /// The fields, names in small letters.
    fields: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
    /// Whether the content ended as its framing says.
    pub whole: bool,
}

impl Got {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// What forebay says of how it came by the answer.
    pub fn cache(&self) -> &str {
        self.field("cache-status").unwrap_or_default().trim_start_matches("forebay; ")
    }
}

/// A connection.
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    unread: Vec<u8>,
}

impl Connection {
    /// A connection to `address` that is made when it is needed.
    pub fn to(address: SocketAddr) -> Self {
        Self { address, stream: None, unread: Vec::new() }
    }

    /// Where it leads.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request; whether it could be written.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        if self.stream.as_ref().is_some_and(is_closed) {
            self.close();
        }
        if self.stream.is_none() {
            self.unread.clear();
            let Ok(stream) = TcpStream::connect(self.address).await else { return false };
            stream.set_nodelay(true).expect("an option of sockets");
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().expect("it was just made");
        if stream.write_all(bytes).await.is_err() {
            self.close();
            return false;
        }
        true
    }

    /// Leaves without waiting for what comes.
    pub fn close(&mut self) {
        self.stream = None;
        self.unread.clear();
    }

    /// The next answer; `None` if the connection ended before its head.
    pub async fn receive(&mut self, bodiless: bool) -> Option<Got> {
        let got = self.read(bodiless).await;
        let ends = |got: &Got| got.field("connection") == Some("close") || !got.whole;
        if got.as_ref().is_none_or(ends) {
            self.close();
        }
        got
    }

    async fn read(&mut self, bodiless: bool) -> Option<Got> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).ok()?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines.filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let mut got = Got { status, fields, body: Vec::new(), whole: true };
        if bodiless || matches!(status, 204 | 304) {
            return Some(got);
        }
        let length = got.field("content-length").and_then(|length| length.parse::<usize>().ok());
        let chunked = got.field("transfer-encoding").is_some();
        match length {
            Some(length) => {
                while self.unread.len() < length && got.whole {
                    got.whole = self.more().await.is_some();
                }
                let have = length.min(self.unread.len());
                got.body = self.unread.drain(..have).collect();
            }
            None if chunked => got.whole = self.chunks(&mut got.body).await.is_some(),
            None => {
                while self.more().await.is_some() {}
                got.body = std::mem::take(&mut self.unread);
                self.stream = None;
            }
        }
        Some(got)
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let end = loop {
                if let Some(at) = self.unread.windows(2).position(|two| two == b"\r\n") {
                    break at;
                }
                self.more().await?;
            };
            let size = std::str::from_utf8(&self.unread[..end]).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            while self.unread.len() < end + size + 4 {
                self.more().await?;
            }
            body.extend_from_slice(&self.unread[end + 2..end + 2 + size]);
            self.unread.drain(..end + size + 4);
            if size == 0 {
                return Some(());
            }
        }
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.stream.as_mut()?.read_buf(&mut self.unread).await.ok()?;
        (read > 0).then_some(())
    }
}

/// Whether the other side has closed a connection on which nothing is awaited.
fn is_closed(stream: &TcpStream) -> bool {
    let mut byte = [0];
    !matches!(stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
