//! The side of a flight that fetches.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Crossing, End, Flight, Flights, Keeping, Stage, WINDOW};
use crate::cache::entry::Head;
use crate::cache::groups::{GroupId, Sequence};
use crate::cache::key::Key;

/// The task's side of a flight.
pub struct Fill<F: From<LeaderLost>> {
    flight: Arc<Flight<F>>,
    table: Arc<Flights<F>>,
    /// Its key in the table, and the one that its answer is stored under.
    key: Key,
    stored_as: Key,
    ended: bool,
}

/// The task of a fetch ended without a word: it panicked or was cancelled.
#[derive(Clone, Copy, Debug)]
pub struct LeaderLost;

/// Nobody waits for the rest of a body that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NobodyWaits;

impl<F: From<LeaderLost>> Fill<F> {
    pub(super) fn new(flight: Arc<Flight<F>>, table: Arc<Flights<F>>, key: Key, stored_as: Key) -> Self {
        Self { flight, table, key, stored_as, ended: false }
    }

    /// The key of the flight, which is not that of its entry where a credential flies beside others.
    pub fn key(&self) -> Key {
        self.key
    }

    /// The number this fetch took.
    pub fn sequence(&self) -> Sequence {
        self.flight.sequence
    }

    /// The groups of what is being fetched.
    pub fn groups(&self) -> &Arc<[GroupId]> {
        &self.flight.groups
    }

    /// The API failed, with this status if it answered at all, and is asked once more: those who wait
    /// learn it, because some of them can do with something else.
    pub fn trouble(&self, status: Option<StatusCode>) {
        self.flight.update(|inner| inner.trouble = Some(status));
    }

    /// Hands the head to those whom `crossing` names; the body follows by [`Fill::push`].
    pub fn share(&self, head: Arc<Head>, keeping: Keeping, crossing: Crossing) {
        self.flight.update(|inner| inner.stage = Stage::Shared(head, keeping, crossing));
    }

    /// The whole body is here and was judged: who gets the answer, where that was open.
    pub fn judged(&self, crossing: Crossing) {
        self.flight.update(|inner| inner.decide(crossing));
    }

    /// The answer is not for sharing: releases everybody together.
    pub fn release(self) {
        self.end(|| {}, Stage::Alone, End::Broken);
    }

    /// There is no answer: everybody learns it at once.
    pub fn fail(self, failure: F) {
        self.end(|| {}, Stage::Failed(failure), End::Broken);
    }

    /// Hands on a piece of the body.
    pub fn push(&self, chunk: Bytes) -> Result<(), NobodyWaits> {
        let mut nobody = false;
        self.flight.update(|inner| {
            nobody = !inner.keeping && inner.readers.iter().flatten().all(|r| r.cut);
            inner.held += chunk.len();
            inner.chunks.push_back(chunk);
        });
        if nobody { Err(NobodyWaits) } else { Ok(()) }
    }

    /// Hands on the trailer section, which ends the body.
    pub fn push_trailers(&self, trailers: HeaderMap) {
        self.flight.update(|inner| inner.trailers = Some(trailers));
    }

    /// From here on the answer only streams: it is too large to keep, so nobody may join any more and
    /// what everybody has read is dropped.
    pub fn stream_only(&self) {
        self.table.leave(self.key, &self.flight, || {});
        self.flight.update(|inner| {
            inner.decide(Crossing::Owner);
            inner.keeping = false;
            inner.forget_read();
        });
    }

    /// Waits, while the answer only streams, until the slowest reader is near enough.
    pub async fn room(&self) {
        poll_fn(|context| {
            let mut inner = self.flight.inner.lock();
            if inner.keeping || inner.held <= WINDOW {
                return Poll::Ready(());
            }
            inner.fill_waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Gives up on the readers that hold up everybody else: their bodies end with an error. Nobody
    /// is cut who made room in the meantime.
    pub fn cut_slowest(&self) {
        self.flight.update(|inner| {
            if inner.held <= WINDOW {
                return;
            }
            let first = inner.first;
            inner.readers.iter_mut().flatten().filter(|r| r.next == first).for_each(|r| r.cut = true);
            inner.forget_read();
        });
    }

    /// The pieces of the body so far, while they are kept.
    pub fn body(&self) -> Vec<Bytes> {
        self.flight.inner.lock().chunks.iter().cloned().collect()
    }

    /// The body is whole. `store` runs if this flight is still the one of its key, before anybody can
    /// begin another. A write may have overtaken it all the same: then what it stores is not usable. A
    /// flight beside others stores under the lock of the key that they share, so `store` must not
    /// replace what was fetched later.
    pub fn finish(self, store: impl FnOnce()) {
        let failed = Stage::Failed(LeaderLost.into());
        if self.key == self.stored_as {
            return self.end(store, failed, End::Whole);
        }
        self.table.beside(self.key, &self.flight, self.stored_as, store);
        self.end(|| {}, failed, End::Whole);
    }

    /// The body broke off: whoever reads it learns that it is not whole.
    pub fn break_off(self) {
        self.end(|| {}, Stage::Failed(LeaderLost.into()), End::Broken);
    }

    /// Ends the flight for everybody, whether they wait for the head (`stage` tells them) or read the
    /// body (`end` does). It has ended only at the end of this: if `store` panics, the drop ends it.
    fn end(mut self, store: impl FnOnce(), stage: Stage<F>, end: End) {
        self.table.leave(self.key, &self.flight, store);
        self.flight.end(stage, end);
        self.ended = true;
    }
}

impl<F: From<LeaderLost>> Drop for Fill<F> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.table.leave(self.key, &self.flight, || {});
        self.flight.end(Stage::Failed(LeaderLost.into()), End::Broken);
    }
}
