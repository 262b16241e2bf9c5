//! The stream between a client's socket and the HTTP library.
//!
//! Only whole, unambiguous request heads reach the library; it would silently drop a second
//! `Content-Length`, or one beside a `Transfer-Encoding`, so nobody behind it could tell. In place of a
//! refused head the library is given a request of the guard's own, and [`Link`] tells the service to answer
//! it with the refusal and to close: so the answer comes in its turn after earlier ones, in the dialect's
//! words. The timeouts of reading and writing live here too, and so does the connection's place under
//! `max_connections`, because the stream is what lives as long as the connection, upgrades included.
//!
//! Invariant: bytes are handed on in order and unchanged, or the connection ends.

mod chunked;
mod deadline;
mod follow;
mod head;
mod link;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::deadline::Deadline;
use self::follow::{Follower, State};
use self::head::Switch;
pub(super) use self::link::Link;
use self::link::Switching;
use super::admission::Admission;
use super::refusal::Refusal;

/// What the library parses where a head was refused.
const PLACEHOLDER: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\n\r\n";
/// How much a client that is still sending is read after the last answer, so that the answer is not
/// lost to a reset, and for how long.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// The limits that the guard keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_head_bytes: usize,
    pub(super) header_timeout: Duration,
    pub(super) idle_timeout: Duration,
}

/// A guarded stream.
pub(super) struct Guard<T> {
    io: T,
    link: Arc<Link>,
    limits: Limits,
    follower: Follower,
    /// Bytes read and not yet handed on: first those that may be, up to `ready`, then the others.
    held: Vec<u8>,
    ready: usize,
    sent: usize,
    reading: Deadline,
    wait: Wait,
    writing: Deadline,
    lingering: Deadline,
    lingered: usize,
    /// Rings when the listener waits no longer; only for what has left HTTP, since nobody else ends that.
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    admission: Admission,
}

/// What a read without bytes is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The first head of the connection.
    First,
    /// The first byte of a further head.
    Idle,
    /// The rest of a head.
    Head,
    /// More of a body.
    Body,
    /// Something that is not the guard's business.
    Unlimited,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Guard<T> {
    /// Guards an HTTP/1 connection on which `first` has been read already.
    pub(super) fn new(io: T, first: &[u8], limits: Limits, admission: Admission) -> Self {
        let mut guard = Self {
            io,
            link: Arc::default(),
            limits,
            follower: Follower::new(limits.max_head_bytes),
            held: first.to_vec(),
            ready: 0,
            sent: 0,
            reading: Deadline::default(),
            wait: Wait::Unlimited,
            writing: Deadline::default(),
            lingering: Deadline::default(),
            lingered: 0,
            over: None,
            admission,
        };
        if !first.is_empty() {
            guard.release_held();
        }
        guard
    }

    /// Hands everything on unseen, for a protocol with its own framing.
    pub(super) fn open(io: T, first: &[u8], limits: Limits, admission: Admission) -> Self {
        let mut guard = Self::new(io, &[], limits, admission);
        guard.follower.state = State::Open;
        guard.held = first.to_vec();
        guard.ready = first.len();
        guard
    }

    /// The side that the service sees.
    pub(super) fn link(&self) -> Arc<Link> {
        self.link.clone()
    }

    /// Decides what of the held bytes may be handed on.
    fn release_held(&mut self) {
        self.ready = self.follower.advance(&self.held);
        self.sent = 0;
        if self.note_progress() {
            self.held.truncate(self.ready);
            self.held.extend_from_slice(PLACEHOLDER);
            self.ready = self.held.len();
        }
    }

    /// Tells the service what the follower has seen; true if a head was refused just now.
    fn note_progress(&mut self) -> bool {
        match self.follower.state {
            State::Head | State::Length(_) | State::Chunked(_) | State::Open => false,
            State::Undecided => {
                self.link.await_switch(self.follower.heads, self.follower.switch);
                false
            }
            State::Refused(refusal) => {
                self.link.refuse(self.follower.heads + 1, refusal);
                self.admission.count(refusal);
                true
            }
            State::Broken(refusal) => {
                self.link.break_body(self.follower.heads, refusal);
                self.admission.count(refusal);
                false
            }
        }
    }

    /// Hands on what may be handed on; false if there is nothing.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.sent == self.ready {
            return false;
        }
        let length = buf.remaining().min(self.ready - self.sent);
        buf.put_slice(&self.held[self.sent..self.sent + length]);
        self.sent += length;
        if self.sent == self.ready {
            self.held.drain(..self.ready);
            (self.ready, self.sent) = (0, 0);
            if self.held.is_empty() {
                self.held = Vec::new();
            }
        }
        true
    }

    /// Reads once and hands on what may be handed on. Ready means that the read is over.
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            match Pin::new(&mut self.io).poll_read(cx, buf) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.stalled(cx),
            }
            let fresh = &buf.filled()[before..];
            if fresh.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let length = fresh.len();
            let passed = if self.held.is_empty() {
                let passed = self.follower.advance(fresh);
                if passed < length {
                    self.held.extend_from_slice(&fresh[passed..]);
                }
                passed
            } else {
                self.held.extend_from_slice(fresh);
                0
            };
            buf.set_filled(before + passed);
            if passed == length {
                self.reading.clear();
                self.note_progress();
                return Poll::Ready(Ok(()));
            }
            self.release_held();
            if passed > 0 {
                self.reading.clear();
                return Poll::Ready(Ok(()));
            }
            if self.ready > 0 {
                self.reading.clear();
                self.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            match self.follower.state {
                State::Head => {}
                _ => return self.poll_read_guarded(cx, buf),
            }
        }
    }

    fn poll_read_guarded(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.deliver(buf) {
                return Poll::Ready(Ok(()));
            }
            match self.follower.state {
                State::Refused(_) => return Poll::Ready(Ok(())),
                State::Broken(refusal) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal.message())));
                }
                State::Undecided => {
                    self.follower.state = match ready!(self.link.poll_switch(cx)) {
                        Switching::Stay => State::Head,
                        Switching::Leave => State::Open,
                    };
                    if !self.held.is_empty() {
                        self.release_held();
                    }
                }
                _ => return self.read(cx, buf),
            }
        }
    }

    /// Ready when the listener waits no longer for what has left HTTP.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.follower.state != State::Open || self.follower.switch == Switch::Never {
            return Poll::Pending;
        }
        let books = self.admission.books();
        let over = self.over.get_or_insert_with(|| {
            let books = Arc::clone(books);
            Box::pin(async move { books.over.raised().await })
        });
        over.as_mut().poll(cx).map(|()| io::ErrorKind::ConnectionAborted.into())
    }

    /// A read found nothing: waits, or gives up when it has waited long enough.
    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wait = match self.follower.state {
            State::Head if self.follower.heads == 0 => Wait::First,
            State::Head if self.held.is_empty() => Wait::Idle,
            State::Head => Wait::Head,
            State::Length(_) | State::Chunked(_) => Wait::Body,
            _ => Wait::Unlimited,
        };
        if wait != self.wait {
            self.reading.clear();
            self.wait = wait;
        }
        let limit = match wait {
            Wait::Unlimited => return self.poll_over(cx).map(Err),
            Wait::First | Wait::Head => self.limits.header_timeout,
            Wait::Idle | Wait::Body => self.limits.idle_timeout,
        };
        ready!(self.reading.poll(cx, limit));
        match wait {
            Wait::Body => {
                self.admission.count(Refusal::BodyTimeout);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Wait::First | Wait::Head => {
                self.admission.count(Refusal::HeadTimeout);
                Poll::Ready(Ok(()))
            }
            Wait::Idle | Wait::Unlimited => Poll::Ready(Ok(())),
        }
    }

    /// Bounds how long a client may leave its answer unread.
    fn written<R>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match result {
            Poll::Pending if self.follower.state != State::Open => {
                ready!(self.writing.poll(cx, self.limits.idle_timeout));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => self.poll_over(cx).map(Err),
            result => {
                self.writing.clear();
                result
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_read_guarded(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.written(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bytes);
        this.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_flush(cx);
        this.written(cx, result)
    }

    /// Ends the sending side. A client that is still sending is read for a moment first, because closing
    /// a socket with unread bytes resets it, and the reset can overtake the answer (RFC 9112 §9.6).
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        if matches!(this.follower.state, State::Head | State::Undecided | State::Open) {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 4096];
        while this.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => this.lingered += buf.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(this.lingering.poll(cx, LINGER));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
