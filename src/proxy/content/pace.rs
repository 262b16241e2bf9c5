//! The content of strangers. Whoever the API has not accepted lately shares few places among the calls in
//! flight, so its content must be here before it takes one, and keep coming: otherwise a handful of
//! clients that send a byte now and then would hold all of them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::proxy::Failure;
use crate::upstream::BoxError;

/// How much of a stranger's content must be here before it is sent. A login has a few hundred bytes; more
/// would cost memory for every connection that anybody may open.
pub(super) const FIRST: usize = 64 * 1024;

/// How much of a stranger's content must come in each [`EVERY`] from then on: 1 MiB in a minute is less
/// than the slowest line that anybody uploads a disk over.
const PACE: usize = 1 << 20;

/// See [`PACE`].
const EVERY: Duration = Duration::from_secs(60);

/// Content of which the beginning is here and the rest has to keep coming.
pub(super) struct Paced {
    /// What is here, the first piece last.
    begun: Vec<Frame<Bytes>>,
    rest: Incoming,
    /// How much has come since the timer was set.
    came: usize,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the content came too slowly")]
struct TooSlow;

impl Paced {
    /// When the beginning of `rest` is here.
    pub async fn begun(mut rest: Incoming) -> Result<Self, Failure> {
        let (mut begun, mut length) = (Vec::new(), 0);
        while length < FIRST {
            let Some(frame) = rest.frame().await else { break };
            let frame = frame.map_err(|_| Failure::RequestBody)?;
            length += frame.data_ref().map_or(0, Bytes::len);
            begun.push(frame);
        }
        begun.reverse();
        Ok(Self { begun, rest, came: 0, timer: Box::pin(tokio::time::sleep(EVERY)) })
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(frame) = this.begun.pop() {
            // How long the request waited for its turn is not the client's fault.
            this.timer.as_mut().reset(Instant::now() + EVERY);
            return Poll::Ready(Some(Ok(frame)));
        }
        let polled = Pin::new(&mut this.rest).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.came += frame.data_ref().map_or(0, Bytes::len);
            if this.came >= PACE {
                this.came = 0;
                this.timer.as_mut().reset(Instant::now() + EVERY);
            }
        }
        match this.timer.as_mut().poll(context) {
            Poll::Ready(()) if !matches!(polled, Poll::Ready(None)) => Poll::Ready(Some(Err(TooSlow.into()))),
            _ => polled.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
        }
    }
}
