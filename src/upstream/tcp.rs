//! TCP connections that are not waited for where there is nothing to wait for.
//!
//! A runtime learns of a socket from the kernel's queue of events: that it is connected, and then that it
//! takes data. Where a peer is near both are so before anybody could ask, and going by the queue costs a
//! task two turns, behind all others that want one. When a thousand calls need a connection at once, each
//! of them would be made before the first request left.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Connects; returns without waiting if the peer has answered by then.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    let is_connected = match rustix::net::connect(&socket, &address) {
        Ok(()) => true,
        // Its being interrupted stops nothing.
        Err(Errno::INPROGRESS | Errno::INTR) => rustix::net::getpeername(&socket).is_ok(),
        Err(error) => return Err(error.into()),
    };
    let stream = TcpStream::from_std(socket.into())?;
    if !is_connected {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    Ok(stream)
}

/// A connection whose first write is tried at once: there is room for it, although no event has said so yet.
pub(super) struct Tcp {
    stream: TcpStream,
    has_written: bool,
}

impl Tcp {
    /// For a stream that is connected.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, has_written: false }
    }

    /// What became of the first write, unless it was made before or has to wait.
    fn first(&mut self, write: impl FnOnce(&TcpStream) -> Result<usize, Errno>) -> Option<io::Result<usize>> {
        if std::mem::replace(&mut self.has_written, true) {
            return None;
        }
        match write(&self.stream) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            result => Some(result.map_err(io::Error::from)),
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(result) = self.first(|stream| rustix::io::write(stream, data)) {
            return Poll::Ready(result);
        }
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(result) = self.first(|stream| rustix::io::writev(stream, data)) {
            return Poll::Ready(result);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
