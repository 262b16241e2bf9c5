//! A TCP server that follows a script per connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::upstream::wire::Io;

/// The server; dropping it closes everything.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    scheme: &'static str,
    task: JoinHandle<()>,
}

/// What came in.
#[derive(Default)]
pub struct Seen {
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Seen {
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.heads.lock().len()
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

/// One accepted connection.
pub struct Conn {
    io: Box<dyn Io>,
    /// From zero, in order of arrival.
    pub number: usize,
    seen: Arc<Seen>,
    unread: Vec<u8>,
}

impl Conn {
    /// The next request's head; `None` when the client has closed.
    pub async fn head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.io.read_buf(&mut self.unread).await.ok()? == 0 {
                return None;
            }
        };
        let rest = self.unread.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.unread, rest)).unwrap();
        self.seen.heads.lock().push(head.clone());
        Some(head)
    }

    /// The next `length` bytes, or fewer if the client closes.
    pub async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length && self.io.read_buf(&mut self.unread).await.unwrap_or(0) > 0 {}
        let rest = self.unread.split_off(length.min(self.unread.len()));
        std::mem::replace(&mut self.unread, rest)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A client that has gone is no fault of the script.
        let _ = self.io.write_all(bytes.as_ref()).await;
        let _ = self.io.flush().await;
    }

    /// 200 with `text`.
    pub async fn ok(&mut self, text: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await;
    }

    /// Answers every request with its path.
    pub async fn echo_paths(&mut self) {
        while let Some(head) = self.head().await {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            self.ok(&path).await;
        }
    }

    /// Returns when the client closes; anything it sends is dropped.
    pub async fn closed(&mut self) {
        let mut sink = [0; 1024];
        while self.io.read(&mut sink).await.unwrap_or(0) > 0 {}
    }
}

impl Server {
    /// Runs `script` for each connection; a connection closes when its script ends.
    pub async fn start<F>(script: impl Fn(Conn) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_with(None, script).await
    }

    /// The same over TLS.
    pub async fn start_with<F>(
        tls: Option<rustls::ServerConfig>,
        script: impl Fn(Conn) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), tls, script)
    }

    fn serve<F>(
        listener: TcpListener,
        tls: Option<rustls::ServerConfig>,
        script: impl Fn(Conn) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let counters = Arc::clone(&seen);
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            let mut scripts = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let number = counters.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, acceptor, script) = (Arc::clone(&counters), acceptor.clone(), Arc::clone(&script));
                scripts.spawn(async move {
                    let io: Box<dyn Io> = match acceptor {
                        None => Box::new(tcp),
                        Some(acceptor) => match acceptor.accept(tcp).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    script(Conn { io, number, seen, unread: Vec::new() }).await;
                });
            }
        });
        Self { address, seen, scheme, task }
    }

    /// A server that answers every request with its path.
    pub async fn echo() -> Self {
        Self::start(|mut conn| async move { conn.echo_paths().await }).await
    }

    /// The same where one has been before.
    pub async fn echo_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self::serve(listener, None, |mut conn| async move { conn.echo_paths().await })
    }

    /// Stops listening and closes everything.
    pub async fn stop(mut self) {
        self.task.abort();
        let _cancelled = (&mut self.task).await;
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A URL where nothing listens: the port was bound just now and is free again.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
