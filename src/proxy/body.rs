//! The body of what a client gets.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Failure;
use crate::cache::flight::FlightBody;
use crate::dialect::Rewriter;
use crate::upstream::AnswerBody;

/// Any error that ends a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response body, by where its bytes come from.
pub enum Body {
    /// From memory: an entry, or an answer of forebay's own.
    Full(Option<Bytes>),
    /// From a flight that others read too.
    Shared(FlightBody<Failure>),
    /// From the upstream, for this client alone.
    Upstream(Box<Coming>),
    /// From memory, in pieces.
    Pieces(VecDeque<Bytes>),
    /// Any of these, with the addresses in it changed as it comes.
    Linked(Box<Linked>),
    /// One that broke off; the client learns of it last.
    Broken(Option<BodyError>),
}

/// A body that is still coming.
pub struct Coming {
    /// What was read of it already.
    read: VecDeque<Bytes>,
    rest: AnswerBody,
}

pub use linked::{Coding, Linked};

mod linked;

impl Body {
    /// No content.
    pub fn empty() -> Self {
        Body::Full(None)
    }

    /// The upstream's own body.
    pub fn upstream(body: AnswerBody) -> Self {
        Body::upstream_behind(Vec::new(), body)
    }

    /// The same when some of it was read already.
    pub fn upstream_behind(read: Vec<Bytes>, rest: AnswerBody) -> Self {
        Body::Upstream(Box::new(Coming { read: read.into(), rest }))
    }

    /// These bytes, one after the other.
    pub fn pieces(pieces: Vec<Bytes>) -> Self {
        Body::Pieces(pieces.into_iter().filter(|piece| !piece.is_empty()).collect())
    }

    /// `body`, which is coded so, with its addresses changed by `rewriter`.
    pub fn linked(body: Body, rewriter: Rewriter, coding: Coding) -> Self {
        Body::Linked(Box::new(Linked::new(body, rewriter, coding)))
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        Body::Full(Some(bytes).filter(|b| !b.is_empty()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match this {
            Body::Full(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Shared(body) => Pin::new(body).poll_frame(context).map_err(BodyError::from),
            Body::Upstream(body) => match body.read.pop_front() {
                Some(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(&mut body.rest).poll_frame(context).map_err(BodyError::from),
            },
            Body::Pieces(pieces) => {
                return Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece))));
            }
            Body::Linked(body) => body.poll_frame(context),
            Body::Broken(error) => return Poll::Ready(error.take().map(Err)),
        };
        if let Poll::Ready(Some(Err(error))) = polled {
            // The HTTP library drops what it has not yet written when a body fails, the head above all.
            // It writes whenever a body makes it wait, so it gets one turn for that before the error.
            *this = Body::Broken(Some(error));
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::Shared(body) => body.is_end_stream(),
            Body::Upstream(body) => body.read.is_empty() && body.rest.is_end_stream(),
            Body::Pieces(pieces) => pieces.is_empty(),
            Body::Linked(body) => body.is_end_stream(),
            Body::Broken(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Body::Shared(body) => body.size_hint(),
            Body::Upstream(body) => {
                let read = body.read.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
                let mut hint = body.rest.size_hint();
                if read > 0 {
                    hint = hint.exact().map_or_else(SizeHint::new, |rest| SizeHint::with_exact(read + rest));
                }
                hint
            }
            Body::Pieces(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Body::Linked(_) | Body::Broken(_) => SizeHint::new(),
        }
    }
}
