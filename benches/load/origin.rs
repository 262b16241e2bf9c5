//! An origin that answers as the query of the request says.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::Result;
use super::delay::Delays;
use super::tally::{Tally, target};

/// The largest body that may be asked for.
const LARGEST: usize = 4 << 20;

/// `load origin`
#[derive(Args)]
pub struct Origin {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
}

impl Origin {
    /// Serves until it is killed.
    pub async fn run(self) -> Result<()> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.listen)?;
        let listener: TcpListener = socket.listen(4096)?;
        let tally = Rc::new(Tally::new(false));
        let delays = Delays::start();
        let body: Rc<[u8]> = std::iter::repeat_n(b'x', LARGEST).collect();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (tally, delays, body) = (tally.clone(), delays.clone(), body.clone());
            tokio::task::spawn_local(async move {
                // A client that has gone is no news.
                let _gone = serve(stream, &tally, &delays, &body).await;
            });
        }
    }
}

async fn serve(mut stream: TcpStream, tally: &Tally, delays: &Delays, body: &[u8]) -> Result<()> {
    // No more than a request needs: a thousand connections at once should cost what they cost the proxy.
    let mut buffer = Vec::with_capacity(2 * 1024);
    loop {
        let end = loop {
            if let Some(at) = memmem::find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let arrived = Instant::now();
        let target = target(&buffer[..end]);
        if let Some(report) = tally.answer(target) {
            stream.write_all(report.as_bytes()).await?;
            return Ok(());
        }
        let asked = |name: &str| {
            let (_, query) = target.split_once('?')?;
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let size = asked("size").and_then(|size| size.parse().ok()).unwrap_or(1024).clamp(11, LARGEST);
        let delay = asked("delay").and_then(|delay| delay.parse().ok()).unwrap_or(0);
        let no_store = asked("store") == Some("no");
        // The content of a write is left unread only where it is empty, which is what the benchmarks send.
        tally.begin(target);
        if delay > 0 {
            delays.until(arrived + Duration::from_millis(delay)).await?;
        }
        let mut out = Vec::with_capacity(size + 512);
        let control = if no_store { "Cache-Control: no-store\r\n" } else { "" };
        out.extend_from_slice(
            format!(
                "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: pve-api-daemon/3.0\r\n\
                 Content-Type: application/json;charset=UTF-8\r\n{control}Content-Length: {size}\r\n\r\n"
            )
            .as_bytes(),
        );
        // JSON, because rules look into it.
        out.extend_from_slice(br#"{"data":""#);
        out.extend_from_slice(&body[..size.saturating_sub(11)]);
        out.extend_from_slice(br#""}"#);
        buffer.drain(..end);
        stream.write_all(&out).await?;
        tally.end();
    }
}
