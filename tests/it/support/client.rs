//! A client on a raw socket. One connection per request, unless a test writes its own bytes.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::gate::within;
use super::origin::field;

/// A request to be sent.
#[derive(Clone)]
pub struct Ask {
    address: SocketAddr,
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    from: Option<IpAddr>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Got {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The whole head.
    pub head: String,
    /// The content.
    pub body: Vec<u8>,
    /// Whether the content ended as its framing says.
    pub whole: bool,
}

impl Ask {
    /// A request with the credential `one`.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        let (method, target) = (method.into(), target.into());
        Self { address, method, target, fields: Vec::new(), body: None, from: None }.token("one")
    }

    /// With another API token.
    pub fn token(self, name: &str) -> Self {
        self.anonymous().field("Authorization", &format!("PVEAPIToken=user@pve!{name}=secret"))
    }

    /// With this bearer token.
    pub fn bearer(self, token: &str) -> Self {
        self.anonymous().field("Authorization", &format!("Bearer {token}"))
    }

    /// Without a credential.
    pub fn anonymous(mut self) -> Self {
        self.fields.retain(|(name, _)| name != "Authorization");
        self
    }

    /// From another address of this machine.
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// With one more field.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// With content of a known length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The answer, read to its end.
    pub async fn send(self) -> Got {
        self.open().await.rest().await
    }

    /// The same from a task of its own.
    pub fn spawn(self) -> JoinHandle<Got> {
        tokio::spawn(self.send())
    }

    /// The answer's head; the body is still to be read.
    pub async fn open(self) -> Opened {
        let mut opened = self.sent().await;
        opened.read_head().await;
        opened
    }

    /// The connection once the request has been written.
    pub async fn sent(self) -> Opened {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += "Host: forebay.test\r\n";
        }
        let upgrades = self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
        if !upgrades {
            head += "Connection: close\r\n";
        }
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body
            && !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"))
        {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend(self.body.unwrap_or_default());
        let mut opened = match self.from {
            None => Opened::connect(self.address).await,
            Some(from) => Opened::connect_from(from, self.address).await,
        };
        opened.bodiless = self.method == "HEAD";
        // Forebay may answer and close before it has read everything.
        let _refused_early = opened.stream.write_all(&bytes).await;
        opened
    }
}

/// An answer whose head has been read, or a connection that nothing was read from.
pub struct Opened {
    stream: TcpStream,
    unread: Vec<u8>,
    bodiless: bool,
    /// The head, once it was read.
    pub head: String,
}

impl Opened {
    /// A connection on which nothing was sent.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).await.expect("forebay listens"))
    }

    /// The same from another address of this machine.
    pub async fn connect_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
        Self::on(socket.connect(address).await.expect("forebay listens"))
    }

    fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option of sockets");
        Self { stream, unread: Vec::new(), bodiless: false, head: String::new() }
    }

    /// Leaves with a reset, so that nobody can believe that the answer is still wanted.
    pub fn abort(self) {
        self.stream.set_zero_linger().expect("an option of sockets");
    }

    /// Writes these bytes.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("forebay reads");
    }

    /// Whether the connection ended, with nothing unread before its end.
    pub async fn ended(&mut self) -> bool {
        let read = within("the end of a connection", self.stream.read_buf(&mut self.unread)).await;
        read.unwrap_or(0) == 0 && self.unread.is_empty()
    }

    /// Reads a head.
    pub async fn read_head(&mut self) {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let read = within("the head of an answer", self.stream.read_buf(&mut self.unread)).await;
            let read = read.unwrap_or_else(|error| panic!("no head: {error}"));
            assert!(read > 0, "closed without an answer");
        };
        let rest = self.unread.split_off(end);
        self.head = String::from_utf8(std::mem::replace(&mut self.unread, rest)).expect("heads are text");
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
    }

    /// The next `length` bytes of what follows the head, as they stand on the wire.
    pub async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            let read = within("bytes of a body", self.stream.read_buf(&mut self.unread)).await;
            assert!(read.expect("readable") > 0, "closed within the body");
        }
        let rest = self.unread.split_off(length);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Reads the answer to its end.
    pub async fn rest(mut self) -> Got {
        let line = self.head.lines().next().unwrap_or_default();
        let reason = line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
        let (status, length) = (self.status(), field(&self.head, "content-length"));
        let length: Option<usize> = length.map(|length| length.parse().expect("a number"));
        let chunked = field(&self.head, "transfer-encoding").is_some();
        let bodiless = self.bodiless || status == 304 || status == 204;
        // Every request asks for the connection's end.
        let reading =
            async { while self.stream.read_buf(&mut self.unread).await.is_ok_and(|read| read > 0) {} };
        within("the end of an answer", reading).await;
        let (body, whole) = match (bodiless, chunked, length) {
            (true, ..) => (Vec::new(), self.unread.is_empty()),
            (_, true, _) => unchunk(&self.unread),
            (.., Some(length)) => {
                let whole = self.unread.len() == length;
                (self.unread, whole)
            }
            (.., None) => (self.unread, true),
        };
        Got { status, reason, head: self.head, body, whole }
    }
}

fn unchunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return (body, false) };
        let size =
            std::str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("the size of a chunk");
        bytes = &bytes[end + 2..];
        if size == 0 {
            return (body, bytes == b"\r\n");
        }
        if bytes.len() < size + 2 {
            return (body, false);
        }
        body.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

impl Got {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// `Cache-Status`, without the name of the cache.
    pub fn cache(&self) -> &str {
        let status = self.field("cache-status").unwrap_or_else(|| panic!("no Cache-Status: {}", self.head));
        status.strip_prefix("forebay; ").unwrap_or_else(|| panic!("not ours: {status}"))
    }

    /// The content as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// Whether it came from the store without a call for it.
    pub fn is_hit(&self) -> bool {
        self.cache().starts_with("hit")
    }
}
