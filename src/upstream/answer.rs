//! The content of an answer, and what is tied to its end.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::connection::Connection;
use super::gauge::Entered;
use super::line::Spot;
use super::pool::Pool;
use super::streams::{LONG, StreamPlace, Streams};

/// A call's place among those in flight.
pub(super) struct Place {
    pub(super) _spot: Spot,
    pub(super) _load: Entered,
    pub(super) _stranger: Option<Spot>,
    /// Where it goes when it has taken long.
    pub(super) streams: Arc<Streams>,
}

/// The HTTP/1.1 connection an answer comes on. Dropping it before the answer has ended closes the
/// connection, since whatever follows on it would belong to nobody.
pub(super) struct Exchange {
    connection: Option<Box<Connection>>,
    pool: Arc<Pool>,
}

impl Exchange {
    pub(super) fn new(connection: Box<Connection>, pool: Arc<Pool>) -> Self {
        Self { connection: Some(connection), pool }
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("taken out only by the methods that consume self")
    }

    /// The answer has ended: the connection can carry another request.
    fn finish(mut self, place: Option<Place>) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection, place);
        }
    }

    /// The connection has become a tunnel, which the upgraded stream now owns.
    pub(super) fn hand_over(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.hand_over();
        }
    }
}

/// How the end of a content is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimited {
    /// By a length, by chunks or by the stream's end: a cut is an error.
    ByItself,
    /// By the end of the connection: a cut cannot be told from the end, so do not store it.
    ByClose,
}

/// The content of an answer as it arrives. It holds the call's place among those in flight until its
/// end, until it is dropped, or until it has taken so long that it is no call any more but a stream.
pub struct AnswerBody {
    incoming: Incoming,
    exchange: Option<Exchange>,
    place: Option<Place>,
    /// Its place once it has taken long.
    stream: Option<StreamPlace>,
    /// When the first piece came that was not the last.
    began: Option<Instant>,
    delimited: Delimited,
    idle: Duration,
    /// When the wait that is going on becomes too long.
    silent_at: Option<Instant>,
    /// For an answer that comes on a shared connection.
    alarm: Alarm,
    ended: bool,
    /// What was read ahead.
    ahead: Option<Box<Ahead>>,
}

/// What was read of a content before whoever it is for asked.
type Ahead = VecDeque<Result<Frame<Bytes>, AnswerError>>;

/// Why a content is not whole. The messages are safe for clients.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Nothing came for the idle timeout.
    #[error("the API fell silent within its answer")]
    Silent,
    /// The connection broke or the framing was wrong.
    #[error("the API broke off within its answer")]
    Cut(#[source] hyper::Error),
}

impl AnswerBody {
    pub(super) fn new(
        incoming: Incoming,
        exchange: Option<Exchange>,
        place: Option<Place>,
        delimited: Delimited,
        idle: Duration,
    ) -> Self {
        let (silent_at, alarm, ended, ahead) = (None, Alarm::default(), false, None);
        let (stream, began) = (None, None);
        let mut body = Self {
            incoming,
            exchange,
            place,
            stream,
            began,
            delimited,
            idle,
            silent_at,
            alarm,
            ended,
            ahead,
        };
        if body.incoming.is_end_stream() {
            body.end();
        }
        body
    }

    /// How its end is known.
    pub fn delimited(&self) -> Delimited {
        self.delimited
    }

    /// Reads the content ahead until its end, `most` bytes or the end of `within`. It is there for whoever
    /// reads the body afterwards; nothing of it is given here unless all of it came.
    pub(super) async fn peek(&mut self, most: usize, within: Duration) -> Vec<u8> {
        let deadline = Instant::now() + within;
        let (mut ahead, mut content, mut whole) = (Ahead::new(), Vec::new(), false);
        while content.len() < most {
            let next = tokio::time::timeout_at(deadline, self.frame()).await;
            let Ok(Some(frame)) = next else {
                whole = next.is_ok();
                break;
            };
            let is_error = frame.is_err();
            if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                content.extend_from_slice(data);
            }
            ahead.push_back(frame);
            if is_error {
                break;
            }
        }
        self.ahead = (!ahead.is_empty()).then(|| Box::new(ahead));
        if !whole {
            content.clear();
        }
        content
    }

    fn next_ahead(&mut self) -> Option<Result<Frame<Bytes>, AnswerError>> {
        let ahead = self.ahead.as_mut()?;
        let next = ahead.pop_front();
        if ahead.is_empty() {
            self.ahead = None;
        }
        next
    }

    /// There is more to come: what has taken long gives up its place in flight for one among streams. A
    /// reader that takes nothing at all is not seen here; whoever serves it ends that.
    fn goes_on(&mut self) {
        let Some(place) = &self.place else { return };
        let now = Instant::now();
        if now.duration_since(*self.began.get_or_insert(now)) >= LONG {
            self.stream = place.streams.enter();
            if self.stream.is_some() {
                self.place = None;
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.stream = None;
        let place = self.place.take();
        match self.exchange.take() {
            Some(exchange) if self.delimited == Delimited::ByItself => exchange.finish(place),
            _ => drop(place),
        }
    }

    fn fail(&mut self) {
        self.ended = true;
        self.exchange = None;
        self.place = None;
        self.stream = None;
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = &mut *self;
        if let Some(frame) = this.next_ahead() {
            return Poll::Ready(Some(frame));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let polled = match &mut this.exchange {
            Some(exchange) => exchange.connection().poll_content(cx, &mut this.incoming),
            None => Pin::new(&mut this.incoming).poll_frame(cx),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.silent_at = None;
                match this.incoming.is_end_stream() {
                    true => this.end(),
                    false => this.goes_on(),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.fail();
                Poll::Ready(Some(Err(AnswerError::Cut(error))))
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                // Counted only while somebody waits for the content: a slow reader is not a silent API.
                let deadline = *this.silent_at.get_or_insert_with(|| Instant::now() + this.idle);
                let alarm = match &mut this.exchange {
                    Some(exchange) => &mut exchange.connection().alarm,
                    None => &mut this.alarm,
                };
                if alarm.poll(cx, deadline).is_pending() {
                    return Poll::Pending;
                }
                this.fail();
                Poll::Ready(Some(Err(AnswerError::Silent)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && (self.ended || self.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.size_hint();
        let Some(ahead) = &self.ahead else { return rest };
        let read = |frame: &Result<Frame<Bytes>, _>| frame.as_ref().ok()?.data_ref().map(Bytes::len);
        let read = ahead.iter().filter_map(read).sum::<usize>() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read);
        }
        hint
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody").field("ended", &self.ended).finish_non_exhaustive()
    }
}
