//! One listening address of a simulation: it serves until it is stopped or dropped.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The address, and the task that accepts there.
pub(super) struct Front {
    address: SocketAddr,
    cancel: CancellationToken,
    acceptor: Option<JoinHandle<()>>,
}

impl Front {
    /// Listens on `address` (port 0 takes a free one) and has `connect` serve each connection.
    pub(super) async fn open<C, F>(address: SocketAddr, connect: C) -> io::Result<Self>
    where
        C: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let (address, cancel) = (listener.local_addr()?, CancellationToken::new());
        let acceptor = tokio::spawn(accept(listener, connect, cancel.clone()));
        Ok(Self { address, cancel, acceptor: Some(acceptor) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, closes all connections and waits until every background task has ended.
    pub(super) async fn stop(&mut self) {
        self.cancel.cancel();
        if let Some(acceptor) = self.acceptor.take() {
            // The task ends by itself once cancelled; a panic in it has already been printed.
            let _ = acceptor.await;
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn accept<C, F>(listener: TcpListener, connect: C, cancel: CancellationToken)
where
    C: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        // Too many open files, at worst: the client sees a refused connection and tries again.
        let Ok((stream, _)) = accepted else { continue };
        // Without it small answers wait for the client's delayed acknowledgement; failing to set it only costs time.
        let _ = stream.set_nodelay(true);
        connections.spawn(connect(stream));
        while connections.try_join_next().is_some() {}
    }
    connections.shutdown().await;
}
