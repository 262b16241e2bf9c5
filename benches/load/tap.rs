//! A tap between a proxy and an API: bytes go through unchanged, calls are counted by target and time.

use std::net::SocketAddr;
use std::rc::Rc;

use clap::Args;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Result;
use super::tally::{Tally, target};

/// `load tap`: for requests without content only.
#[derive(Args)]
pub struct Tap {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    /// The API
    #[arg(long)]
    to: SocketAddr,
}

impl Tap {
    /// Serves until it is killed.
    pub async fn run(self) -> Result<()> {
        let listener = TcpListener::bind(self.listen).await?;
        let tally = Rc::new(Tally::new(true));
        loop {
            let (stream, _) = listener.accept().await?;
            let tally = tally.clone();
            tokio::task::spawn_local(async move {
                // Either side may close at any time.
                let _gone = relay(stream, self.to, &tally).await;
            });
        }
    }
}

async fn relay(mut client: TcpStream, api: SocketAddr, tally: &Tally) -> Result<()> {
    client.set_nodelay(true)?;
    let mut bytes = vec![0; 16 * 1024];
    let mut length = client.read(&mut bytes).await?;
    if let Some(report) = tally.answer(target(&bytes[..length])) {
        client.write_all(report.as_bytes()).await?;
        return Ok(());
    }
    let api = TcpStream::connect(api).await?;
    api.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_api, mut to_api) = api.into_split();
    tokio::task::spawn_local(async move {
        // Dropping the half at the end closes it.
        let _ended = tokio::io::copy(&mut from_api, &mut to_client).await;
    });
    let mut head = Vec::new();
    while length > 0 {
        head.extend_from_slice(&bytes[..length]);
        while let Some(end) = memmem::find(&head, b"\r\n\r\n") {
            tally.begin(target(&head));
            tally.end();
            head.drain(..end + 4);
        }
        to_api.write_all(&bytes[..length]).await?;
        length = from_client.read(&mut bytes).await?;
    }
    Ok(())
}
