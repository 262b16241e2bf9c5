//! Bytes both ways between two streams, for as long as any move.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::{Instant, sleep_until};

/// How much is under way in each direction. A console sends less at once; a download through a tunnel is
/// bound by the network.
const BUFFER: usize = 16 * 1024;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both sides have said all that they had to say.
    Closed,
    /// One of them broke off.
    Broken,
    /// Nothing moved for too long.
    Idle,
}

/// Hands on what either side sends until both have closed their sending side, one breaks off, or neither
/// sends or takes a byte for `idle`. A side that has closed only its sending side still gets what the other
/// one sends.
pub async fn splice<A, B>(a: A, b: B, idle: Duration) -> Ended
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Arc::new(Moved { began: Instant::now(), last: AtomicU64::new(0) });
    let mut a = Watched { io: a, moved: Arc::clone(&moved) };
    let mut b = Watched { io: b, moved: Arc::clone(&moved) };
    tokio::select! {
        result = copy_bidirectional_with_sizes(&mut a, &mut b, BUFFER, BUFFER) => match result {
            Ok(_) => Ended::Closed,
            Err(_) => Ended::Broken,
        },
        () = moved.stopped(idle) => Ended::Idle,
    }
}

/// When a byte last moved, in milliseconds since the beginning.
struct Moved {
    began: Instant,
    last: AtomicU64,
}

impl Moved {
    fn note(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for `idle`.
    async fn stopped(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let deadline = self.began + last + idle;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

/// A stream whose movement is noted.
struct Watched<S> {
    io: S,
    moved: Arc<Moved>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.moved.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.moved.note();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const IDLE: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_while_anything_moves_and_ends_when_nothing_does() {
        let (mut client, near) = duplex(64);
        let (mut server, far) = duplex(64);
        let began = Instant::now();
        let spliced = tokio::spawn(splice(near, far, IDLE));
        let mut byte = [0];
        for _ in 0..3 {
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut byte).await.unwrap();
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            server.write_all(b"y").await.unwrap();
            client.read_exact(&mut byte).await.unwrap();
        }
        assert!(!spliced.is_finished());
        let last = began.elapsed();
        assert_eq!(spliced.await.unwrap(), Ended::Idle);
        assert_eq!(began.elapsed().as_secs(), (last + IDLE).as_secs());
        assert_eq!(client.read(&mut byte).await.unwrap(), 0, "both sides are closed");
        assert_eq!(server.read(&mut byte).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_closes_its_sending_side_still_hears_the_other() {
        let (mut client, near) = duplex(64);
        let (mut server, far) = duplex(64);
        let spliced = tokio::spawn(splice(near, far, IDLE));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "question");
        tokio::time::sleep(IDLE / 2).await;
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "answer");
        assert_eq!(spliced.await.unwrap(), Ended::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn two_sides_that_only_send_are_as_idle_as_two_that_are_silent() {
        let (mut client, near) = duplex(8);
        let (mut server, far) = duplex(8);
        let spliced = tokio::spawn(splice(near, far, IDLE));
        let flood = async { tokio::join!(client.write_all(&[0; 1 << 20]), server.write_all(&[0; 1 << 20])) };
        let (ended, _) = tokio::join!(spliced, flood);
        assert_eq!(ended.unwrap(), Ended::Idle);
    }
}
