//! An HTTP/1.1 connection for one call at a time, driven by whoever uses it.
//!
//! The HTTP library wants its connections polled. A task of its own for each would cost every call
//! two switches between tasks; here the call polls it while it waits for the answer's head, and the
//! answer's body while it is read. In between nobody does: what happened meanwhile is seen when it is
//! taken from the pool. Only a request that is still on its way when its answer begins gets a task,
//! because then one side could wait for the other.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::request::{Progress, SendBody};
use super::wire::WireState;

/// The library's part of a connection: it reads and writes when it is polled, and ends with it.
type Codec = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What comes back for a request: an answer's head, or why there is none and the request if it
/// provably never left.
pub(super) type Sent = Result<Response<Incoming>, TrySendError<Request<SendBody>>>;

/// The connection. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<SendBody>,
    driver: Driver,
    pub(super) wire: Arc<WireState>,
    /// Requests sent so far.
    pub(super) served: u32,
    /// For the waits of its calls.
    pub(super) alarm: Alarm,
}

/// Who polls the codec.
enum Driver {
    /// Whoever uses the connection.
    User(Codec),
    Task {
        _abort: Detached,
    },
    /// It has ended.
    Nobody,
}

/// A codec in a task, which ends with this.
struct Detached(AbortHandle);

impl Connection {
    pub(super) fn new(
        sender: SendRequest<SendBody>,
        codec: impl Future<Output = ()> + Send + 'static,
        wire: Arc<WireState>,
    ) -> Box<Self> {
        let driver = Driver::User(Box::pin(codec));
        Box::new(Self { sender, driver, wire, served: 0, alarm: Alarm::default() })
    }

    /// Sends a request and waits for the head of its answer: as long as the request's content moves
    /// on, and for the timeout after it last did. `None` if the time is up.
    pub(super) async fn send(
        &mut self,
        request: Request<SendBody>,
        progress: &Progress,
        timeout: Duration,
    ) -> Option<Sent> {
        self.served += 1;
        self.wire.begin();
        let Self { sender, driver, alarm, .. } = self;
        let mut sending = pin!(sender.try_send_request(request));
        let sent = poll_fn(|cx| {
            let found = driver.poll_for(cx, |cx| sending.as_mut().poll(cx));
            if let Poll::Ready(sent) = found {
                return Poll::Ready(Some(sent));
            }
            while alarm.poll(cx, progress.last() + timeout).is_ready() {
                if progress.last() + timeout <= Instant::now() {
                    return Poll::Ready(None);
                }
            }
            Poll::Pending
        })
        .await;
        if !progress.is_complete() {
            self.driver.detach();
        }
        sent
    }

    /// The next of an answer's content.
    pub(super) fn poll_content(
        &mut self,
        cx: &mut Context<'_>,
        incoming: &mut Incoming,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut next = |cx: &mut Context<'_>| Pin::new(&mut *incoming).poll_frame(cx);
        match next(&mut quiet()) {
            Poll::Pending => self.driver.poll_for(cx, next),
            found => found,
        }
    }

    /// Whether another request can be sent, as far as is known without waiting.
    pub(super) fn is_ready(&mut self) -> bool {
        self.driver.poll(&mut quiet());
        matches!(self.driver, Driver::User(_)) && self.sender.is_ready()
    }

    /// Whether the request, or some of it, has still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        !self.sender.is_closed() && !self.sender.is_ready()
    }

    /// Goes on with the request in a task, for `time` at most, and closes the connection.
    pub(super) async fn linger(mut self: Box<Self>, time: Duration) {
        self.driver.detach();
        let _either_way_it_is_closed = tokio::time::timeout(time, self.sender.ready()).await;
    }

    /// Lets the codec end what an upgrade needs of it; the upgraded stream owns the socket then.
    pub(super) fn hand_over(mut self) {
        self.driver.poll(&mut quiet());
        if let Driver::User(codec) = std::mem::replace(&mut self.driver, Driver::Nobody) {
            tokio::spawn(codec);
        }
    }

    /// Closes it and says so to the server, where TLS has a word for that and it can be sent at once.
    pub(super) fn close(self) {
        let Self { sender, mut driver, .. } = self;
        drop(sender);
        driver.poll(&mut quiet());
    }
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Driver::User(codec) = self
            && codec.as_mut().poll(cx).is_ready()
        {
            *self = Driver::Nobody;
        }
    }

    /// Polls the codec and what it works for, until there is something or both wait.
    ///
    /// Whatever the codec hands over comes from this very task, which needs no waking for it: the
    /// first round is without a waker, and only if it brings nothing the socket gets one.
    fn poll_for<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !matches!(self, Driver::User(_)) {
            return wanted(cx);
        }
        self.poll(&mut quiet());
        if let found @ Poll::Ready(_) = wanted(&mut quiet()) {
            return found;
        }
        self.poll(cx);
        wanted(cx)
    }

    fn detach(&mut self) {
        *self = match std::mem::replace(self, Driver::Nobody) {
            Driver::User(codec) => Driver::Task { _abort: Detached(tokio::spawn(codec).abort_handle()) },
            other => other,
        };
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn quiet() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
