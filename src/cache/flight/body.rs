//! The body of a shared answer as one of its readers sees it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{End, Inner, Waiter};

/// The body ended before it was whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted {
    /// The upstream broke off.
    #[error("the upstream's answer broke off")]
    Upstream,
    /// This reader was slower than the others for too long.
    #[error("the client read too slowly")]
    TooSlow,
}

/// How a body came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// All of it is held.
    Whole,
    /// It broke off.
    Broken,
    /// It is larger than is worth waiting for.
    Large,
}

/// A reader's view of a flight's body: every piece, from the first, at the reader's own pace.
pub struct FlightBody<F> {
    waiter: Waiter<F>,
    length: Option<u64>,
}

impl<F> FlightBody<F> {
    pub(super) fn new(waiter: Waiter<F>) -> Self {
        Self { waiter, length: None }
    }

    /// How the body came in, where that is known: it is whole, or has broken off, or is larger than `most`.
    pub fn arrived(&self, most: usize) -> Option<Arrival> {
        self.waiter.flight.inner.lock().arrived(most)
    }

    /// Waits until that is known.
    pub async fn arrival(&self, most: usize) -> Arrival {
        poll_fn(|context| {
            let mut inner = self.waiter.flight.inner.lock();
            match inner.arrived(most) {
                Some(arrival) => Poll::Ready(arrival),
                None => {
                    inner.reader(self.waiter.place).waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The same body with the length that the answer's head announced.
    pub fn with_length(mut self, length: Option<u64>) -> Self {
        self.length = length;
        self
    }
}

impl<F> Inner<F> {
    fn arrived(&self, most: usize) -> Option<Arrival> {
        match self.end {
            Some(End::Whole) => Some(Arrival::Whole),
            Some(End::Broken) => Some(Arrival::Broken),
            None => (!self.keeping || self.held > most).then_some(Arrival::Large),
        }
    }
}

impl<F> Body for FlightBody<F> {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let this = self.get_mut();
        let place = this.waiter.place;
        let mut inner = this.waiter.flight.inner.lock();
        let next = inner.reader(place).next;
        if inner.reader(place).cut {
            return Poll::Ready(Some(Err(Interrupted::TooSlow)));
        }
        let at = next - inner.first;
        if let Some(chunk) = inner.chunks.get(at).cloned() {
            inner.reader(place).next = next + 1;
            inner.forget_read();
            let fill = inner.fill_waker.take();
            drop(inner);
            if let Some(waker) = fill {
                waker.wake();
            }
            if let Some(length) = &mut this.length {
                *length = length.saturating_sub(chunk.len() as u64);
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if inner.end == Some(End::Whole)
            && !std::mem::replace(&mut inner.reader(place).trailed, true)
            && let Some(trailers) = inner.trailers.clone()
        {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match inner.end {
            Some(End::Whole) => Poll::Ready(None),
            Some(End::Broken) => Poll::Ready(Some(Err(Interrupted::Upstream))),
            None => {
                inner.reader(place).waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.waiter.flight.inner.lock();
        let read_all = inner.readers[self.waiter.place].as_ref().is_some_and(|reader| {
            let trailed = reader.trailed || inner.trailers.is_none();
            reader.next == inner.first + inner.chunks.len() && trailed
        });
        inner.end == Some(End::Whole) && read_all
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
