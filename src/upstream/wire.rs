//! The byte stream between the HTTP/1.1 codec and the socket.
//!
//! It watches what the codec cannot tell: whether a request's first byte left, whether any byte of
//! the answer came, and whether the stream ended without TLS saying so. With
//! [`ContradictoryClose::KeepOpen`] it also takes the stray `Connection: close` out of answer heads
//! that say `Keep-Alive` as well. It never delays or changes anything else.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::config::ContradictoryClose;
use head::HeadFilter;

mod head;

/// A socket, with TLS or without.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The largest answer head that is taken, status line included.
pub(super) const MAX_ANSWER_HEAD: usize = 64 * 1024;

/// What the sender of requests and the stream know of each other.
#[derive(Default)]
pub(super) struct WireState {
    sent: AtomicBool,
    received: AtomicBool,
    head_next: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl WireState {
    /// Call before each request: the next byte written belongs to it, the next byte read to its
    /// answer's head.
    pub(super) fn begin(&self) {
        self.sent.store(false, Ordering::Release);
        self.received.store(false, Ordering::Release);
        self.head_next.store(true, Ordering::Release);
    }

    /// Whether any byte was written since [`WireState::begin`], or was tried to be: a write that fails
    /// may still have sent a part.
    pub(super) fn has_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    /// Whether any byte came since [`WireState::begin`].
    pub(super) fn has_received(&self) -> bool {
        self.received.load(Ordering::Acquire)
    }

    /// Whom the socket wakes from now on; nobody in particular means whoever polls the stream. So a
    /// codec can be polled without a waker and its task hear of the socket all the same.
    pub(super) fn wake(&self, reader: Option<&Waker>) {
        let mut current = self.reader.lock();
        match (&mut *current, reader) {
            (Some(current), Some(reader)) => current.clone_from(reader),
            (current, reader) => *current = reader.cloned(),
        }
    }

    /// Polls the socket with the waker that it shall wake.
    fn woken<T>(&self, cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        match &*self.reader.lock() {
            Some(reader) => poll(&mut Context::from_waker(reader)),
            None => poll(cx),
        }
    }

    /// The first byte is about to be written.
    pub(super) fn writing(&self) {
        self.sent.store(true, Ordering::Release);
    }
}

/// The stream itself.
pub(super) struct Wire {
    io: Box<dyn Io>,
    state: Arc<WireState>,
    filter: Option<HeadFilter>,
}

impl Wire {
    pub(super) fn new(io: Box<dyn Io>, state: Arc<WireState>, close: ContradictoryClose) -> Self {
        let filter = match close {
            ContradictoryClose::Obey => None,
            ContradictoryClose::KeepOpen => Some(HeadFilter::default()),
        };
        Self { io, state, filter }
    }

    /// Reads from the socket; a TLS stream that was cut counts as ended. A body of known length that
    /// ends early is an error all the same, and one that only the end delimits has no better end
    /// where servers close without a close_notify, as many do.
    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let io = &mut self.io;
        let result = ready!(self.state.woken(cx, |cx| Pin::new(io).poll_read(cx, buf)));
        if buf.filled().len() > before {
            self.state.received.store(true, Ordering::Release);
        }
        Poll::Ready(match result {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            other => other,
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(mut filter) = this.filter.take() else {
            return this.poll_socket(cx, buf);
        };
        let result = loop {
            if filter.give(buf) {
                break Poll::Ready(Ok(()));
            }
            if this.state.head_next.swap(false, Ordering::AcqRel) {
                filter.expect_head();
            }
            if !filter.wants_head() {
                break this.poll_socket(cx, buf);
            }
            // Read where it is wanted, and taken from there only when it is not whole.
            let before = buf.filled().len();
            match this.poll_socket(cx, buf) {
                Poll::Ready(Ok(())) => {}
                other => break other,
            }
            if let Some(length) = filter.pass(&mut buf.filled_mut()[before..]) {
                buf.set_filled(before + length);
                break Poll::Ready(Ok(()));
            }
            let ended = buf.filled().len() == before;
            filter.take(&buf.filled()[before..]);
            buf.set_filled(before);
            if ended {
                filter.give(buf);
                break Poll::Ready(Ok(()));
            }
        };
        this.filter = Some(filter);
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.state.writing();
        let this = &mut *self;
        this.state.woken(cx, |cx| Pin::new(&mut this.io).poll_write(cx, data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state.writing();
        let this = &mut *self;
        this.state.woken(cx, |cx| Pin::new(&mut this.io).poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.state.woken(cx, |cx| Pin::new(&mut this.io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
