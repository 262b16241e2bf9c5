//! TCP connections, used with as few turns and as little work of the kernel as they need.
//!
//! A runtime learns of a socket from the kernel's queue of events: that it is connected, and then that it
//! takes data. Where a peer is near both are so before anybody could ask, and going by the queue costs a
//! task two turns, behind all others that want one. When a thousand calls need a connection at once, each
//! of them would be made before the first request left.
//!
//! Bytes that lie together are also sent sooner than as many in several places, whose list the kernel has
//! to take over and check: most answers of an API are so short that laying them together costs less.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Up to so many bytes are laid together to be written.
const GATHERED: usize = 4096;

/// Connects; returns without waiting if the peer has answered by then.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
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
pub struct Tcp {
    stream: TcpStream,
    has_written: bool,
}

impl Tcp {
    /// For a stream that is connected.
    pub fn new(stream: TcpStream) -> Self {
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
        if let [only] = data {
            return self.poll_write(cx, only);
        }
        if data.iter().map(|piece| piece.len()).sum::<usize>() <= GATHERED {
            let mut gathered = SmallVec::<[u8; GATHERED]>::new();
            data.iter().for_each(|piece| gathered.extend_from_slice(piece));
            return self.poll_write(cx, &gathered);
        }
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use futures_util::FutureExt;
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_answers_at_once_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(listener.local_addr().unwrap()).now_or_never().unwrap().unwrap();
        let mut client = Tcp::new(stream);
        assert_eq!(client.write(b"first").now_or_never().unwrap().unwrap(), 5);
        client.write_all(b" and second").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut server, mut read) = (listener.accept().await.unwrap().0, String::new());
        server.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "first and second");
        server.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn pieces_are_sent_in_their_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let long = vec![b'l'; GATHERED];
        for pieces in [&[b"only".as_slice()][..], &[b"head", b"", b"tail"], &[b"head", &long]] {
            let mut client = Tcp::new(connect(listener.local_addr().unwrap()).await.unwrap());
            let mut server = listener.accept().await.unwrap().0;
            let whole = pieces.concat();
            let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            // The first write of a connection goes another way.
            for which in ["first", "second"] {
                assert_eq!(client.write_vectored(&slices).await.unwrap(), whole.len());
                let mut read = vec![0; whole.len()];
                server.read_exact(&mut read).await.unwrap();
                assert!(read == whole, "{} pieces, the {which} time", pieces.len());
            }
        }
    }

    #[tokio::test]
    async fn nobody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_peer_that_is_busy_is_waited_for() {
        // One more than this waits to be accepted, and whoever comes then hears nothing.
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        let first = connect(address).await.unwrap();
        let mut second = Box::pin(connect(address));
        assert!((&mut second).now_or_never().is_none());
        drop((rustix::net::accept(&listener).unwrap(), first));
        second.await.unwrap();
    }

    #[tokio::test]
    async fn a_first_write_that_has_no_room_waits_like_any_other() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(listener.local_addr().unwrap()).await.unwrap();
        while rustix::io::write(&stream, &[0; 1 << 16]).is_ok() {}
        let mut client = Tcp::new(stream);
        let mut writing = Box::pin(client.write(b"x"));
        assert!((&mut writing).now_or_never().is_none());
        let mut server = listener.accept().await.unwrap().0;
        let mut sink = vec![0; 1 << 20];
        tokio::select! {
            written = &mut writing => assert_eq!(written.unwrap(), 1),
            never = async { while server.read(&mut sink).await.is_ok_and(|read| read > 0) {} } => never,
        }
    }
}
