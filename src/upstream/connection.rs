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
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
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
    /// It was ready when it was looked at last, and no request was sent since.
    settled: bool,
}

/// Who polls the codec.
enum Driver {
    /// Whoever uses the connection.
    User(Codec, Turn),
    Task {
        _abort: Detached,
    },
    /// It has ended.
    Nobody,
}

/// What the codec waits for beside the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    /// Nothing.
    Socket,
    /// The content of the request, which has a source of its own.
    ContentToo,
}

/// A waker for a codec that is polled by whoever uses it: it notes that another turn is wanted.
struct Turn {
    wanted: Arc<Wanted>,
    waker: Waker,
}

#[derive(Default)]
struct Wanted(AtomicBool);

impl Wake for Wanted {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A codec in a task, which ends with this.
struct Detached(AbortHandle);

impl Connection {
    pub(super) fn new(
        sender: SendRequest<SendBody>,
        codec: impl Future<Output = ()> + Send + 'static,
        wire: Arc<WireState>,
    ) -> Box<Self> {
        let wanted = Arc::<Wanted>::default();
        let turn = Turn { waker: Waker::from(Arc::clone(&wanted)), wanted };
        let driver = Driver::User(Box::pin(codec), turn);
        Box::new(Self { sender, driver, wire, served: 0, alarm: Alarm::default(), settled: false })
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
        self.settled = false;
        self.wire.begin();
        let Self { sender, driver, wire, alarm, .. } = self;
        let mut sending = pin!(sender.try_send_request(request));
        let sent = poll_fn(|cx| {
            let waits_for = match progress.is_complete() {
                true => WaitsFor::Socket,
                false => WaitsFor::ContentToo,
            };
            let found = driver.poll_for(cx, wire, waits_for, |cx| sending.as_mut().poll(cx));
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
            self.detach();
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
            Poll::Pending => self.driver.poll_for(cx, &self.wire, WaitsFor::Socket, next),
            found => found,
        }
    }

    /// Whether another request can be sent, as far as is known without waiting.
    pub(super) fn is_ready(&mut self) -> bool {
        let Driver::User(codec, turn) = &mut self.driver else { return false };
        // Whatever comes for a connection that nobody uses, its end above all, wakes it.
        let woken = turn.wanted.0.swap(false, Ordering::Relaxed);
        if woken || !self.settled {
            self.wire.wake(Some(&turn.waker));
            if codec.as_mut().poll(&mut Context::from_waker(&turn.waker)).is_ready() {
                self.driver = Driver::Nobody;
                return false;
            }
            self.settled = self.sender.is_ready();
        }
        self.settled
    }

    /// Whether the request, or some of it, has still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        !self.sender.is_closed() && !self.sender.is_ready()
    }

    /// Goes on with the request in a task, for `time` at most, and closes the connection.
    pub(super) async fn linger(mut self: Box<Self>, time: Duration) {
        self.detach();
        let _either_way_it_is_closed = tokio::time::timeout(time, self.sender.ready()).await;
    }

    /// Lets the codec end what an upgrade needs of it; the upgraded stream owns the socket then.
    pub(super) fn hand_over(mut self) {
        self.wire.wake(None);
        self.driver.poll(&mut quiet());
        if let Driver::User(codec, _) = std::mem::replace(&mut self.driver, Driver::Nobody) {
            tokio::spawn(codec);
        }
    }

    /// Closes it and says so to the server, where TLS has a word for that and it can be sent at once.
    pub(super) fn close(self) {
        let Self { sender, mut driver, wire, .. } = self;
        drop(sender);
        wire.wake(None);
        driver.poll(&mut quiet());
    }

    /// Lets a task go on with the codec.
    fn detach(&mut self) {
        self.wire.wake(None);
        self.driver.detach();
    }
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Driver::User(codec, _) = self
            && codec.as_mut().poll(cx).is_ready()
        {
            *self = Driver::Nobody;
        }
    }

    /// Polls the codec and what it works for, until there is something or both wait.
    ///
    /// Whatever the codec hands over comes from this very task, which needs no waking for it. So in the
    /// first round the task's waker is for the socket alone. If that brings nothing there is a second one,
    /// with the task's waker for all, where the codec waits for more than the socket: for the request's
    /// content, or for a turn that it asked for itself.
    fn poll_for<T>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &WireState,
        waits_for: WaitsFor,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Driver::User(codec, turn) = self else { return wanted(cx) };
        wire.wake(Some(cx.waker()));
        turn.wanted.0.store(false, Ordering::Relaxed);
        let ended = codec.as_mut().poll(&mut Context::from_waker(&turn.waker)).is_ready();
        let again = waits_for == WaitsFor::ContentToo || turn.wanted.0.load(Ordering::Relaxed);
        if ended {
            *self = Driver::Nobody;
        }
        match wanted(&mut quiet()) {
            Poll::Pending if again => {
                self.poll(cx);
                wanted(cx)
            }
            found => found,
        }
    }

    fn detach(&mut self) {
        *self = match std::mem::replace(self, Driver::Nobody) {
            Driver::User(codec, _) => Driver::Task { _abort: Detached(tokio::spawn(codec).abort_handle()) },
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
