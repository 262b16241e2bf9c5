//! Collapsed forwarding: one fetch in flight for a key, and everybody who waits for it.
//!
//! A flight belongs to the task that fetches (its [`Fill`]), never to the client that caused it: a
//! client that leaves only drops its [`Waiter`]. A fill that is dropped without an end (a panic, a
//! cancelled task) fails its flight, so no waiter hangs.
//!
//! A reader joins a flight only while nothing has overtaken it (invariant 1), which is decided under
//! the lock of the flight's place in the table; a flight that was overtaken goes on for those who
//! came before, out of the table, and stores nothing. The entry is stored before the flight leaves
//! the table, under the same lock, so that no reader falls between the two and fetches again.

mod body;
mod table;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::entry::Head;
use super::groups::{GroupId, Sequence};
use super::key::Key;

pub use body::{FlightBody, Interrupted};
pub use table::{Begin, Flights, Join};

/// How many waiters one flight has at most; more fetch for themselves, through the upstream's queue.
pub const MAX_WAITERS: usize = 10_000;

/// How far, in bytes, the fastest reader of an answer that is not kept may be ahead of the slowest.
const WINDOW: usize = 1 << 20;

/// One fetch in flight; `F` says why one failed.
pub struct Flight<F> {
    sequence: Sequence,
    groups: Arc<[GroupId]>,
    inner: Mutex<Inner<F>>,
}

struct Inner<F> {
    stage: Stage<F>,
    chunks: VecDeque<Bytes>,
    /// The number of the first chunk that is still held.
    first: usize,
    held: usize,
    /// Whether every chunk is held until the end, for the store and for those who join late.
    keeping: bool,
    end: Option<End>,
    readers: Vec<Option<Reader>>,
    /// Places among the readers that were left.
    free: Vec<usize>,
    fill_waker: Option<Waker>,
}

enum Stage<F> {
    Waiting,
    Shared(Arc<Head>, Keeping),
    Alone,
    Failed(F),
}

/// Whether a shared answer is meant for the store, once it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It is.
    Kept,
    /// Only those who wait get it.
    Shared,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

#[derive(Default)]
struct Reader {
    next: usize,
    cut: bool,
    waker: Option<Waker>,
}

/// What a flight came to, for each of its waiters.
pub enum Landing<F> {
    /// The answer is for all who wait; its body follows.
    Shared(Arc<Head>, Keeping, FlightBody<F>),
    /// The answer is for the one that caused the fetch alone; everybody else fetches for themselves.
    Alone,
    /// There is no answer.
    Failed(F),
}

impl<F> Flight<F> {
    /// The number the fetch took before it left.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The groups of what is being fetched.
    pub fn groups(&self) -> &Arc<[GroupId]> {
        &self.groups
    }

    fn new(sequence: Sequence, groups: Arc<[GroupId]>) -> Self {
        let inner = Inner {
            stage: Stage::Waiting,
            chunks: VecDeque::new(),
            first: 0,
            held: 0,
            keeping: true,
            end: None,
            readers: Vec::new(),
            free: Vec::new(),
            fill_waker: None,
        };
        Self { sequence, groups, inner: Mutex::new(inner) }
    }

    /// Takes a place among the readers, if one is free.
    fn subscribe(self: &Arc<Self>) -> Option<Waiter<F>> {
        let mut inner = self.inner.lock();
        let place = match inner.free.pop() {
            Some(place) => place,
            None if inner.readers.len() < MAX_WAITERS => {
                inner.readers.push(None);
                inner.readers.len() - 1
            }
            None => return None,
        };
        inner.readers[place] = Some(Reader::default());
        Some(Waiter { flight: self.clone(), place })
    }

    fn readers(&self) -> usize {
        self.inner.lock().readers.iter().flatten().count()
    }

    fn update(&self, change: impl FnOnce(&mut Inner<F>)) {
        let wakers: Vec<Waker> = {
            let mut inner = self.inner.lock();
            change(&mut inner);
            inner.readers.iter_mut().flatten().filter_map(|reader| reader.waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn end(&self, stage: Stage<F>, end: End) {
        self.update(|inner| {
            if matches!(inner.stage, Stage::Waiting) {
                inner.stage = stage;
            }
            inner.end = Some(end);
        });
    }
}

/// A client's place in a flight.
pub struct Waiter<F> {
    flight: Arc<Flight<F>>,
    place: usize,
}

impl<F: Clone> Waiter<F> {
    /// The number the fetch took before it left.
    pub fn sequence(&self) -> Sequence {
        self.flight.sequence
    }

    /// Waits until the flight has an answer's head, or has failed.
    pub async fn landing(self) -> Landing<F> {
        enum Found<F> {
            Shared(Arc<Head>, Keeping),
            Alone,
            Failed(F),
        }
        let found = poll_fn(|context: &mut Context<'_>| {
            let mut inner = self.flight.inner.lock();
            match &inner.stage {
                Stage::Waiting => {
                    inner.reader(self.place).waker = Some(context.waker().clone());
                    Poll::Pending
                }
                Stage::Shared(head, keeping) => Poll::Ready(Found::Shared(head.clone(), *keeping)),
                Stage::Alone => Poll::Ready(Found::Alone),
                Stage::Failed(failure) => Poll::Ready(Found::Failed(failure.clone())),
            }
        })
        .await;
        match found {
            Found::Shared(head, keeping) => Landing::Shared(head, keeping, FlightBody::new(self)),
            Found::Alone => Landing::Alone,
            Found::Failed(failure) => Landing::Failed(failure),
        }
    }
}

impl<F> Drop for Waiter<F> {
    fn drop(&mut self) {
        let waker = {
            let mut inner = self.flight.inner.lock();
            inner.readers[self.place] = None;
            inner.free.push(self.place);
            inner.forget_read();
            inner.fill_waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<F> Inner<F> {
    fn reader(&mut self, place: usize) -> &mut Reader {
        self.readers[place].as_mut().expect("a waiter's place is its own until it is dropped")
    }

    /// Drops the chunks that everybody has read, unless they are kept for the store.
    fn forget_read(&mut self) {
        if self.keeping {
            return;
        }
        let slowest = self.readers.iter().flatten().filter(|r| !r.cut).map(|r| r.next).min();
        let until = slowest.unwrap_or(self.first + self.chunks.len());
        while self.first < until {
            let Some(chunk) = self.chunks.pop_front() else { break };
            self.held -= chunk.len();
            self.first += 1;
        }
    }
}

/// The task's side of a flight.
pub struct Fill<F: From<LeaderLost>> {
    flight: Arc<Flight<F>>,
    table: Arc<Flights<F>>,
    key: Key,
    ended: bool,
}

/// The task of a fetch ended without a word: it panicked or was cancelled.
#[derive(Clone, Copy, Debug)]
pub struct LeaderLost;

/// Nobody waits for the rest of a body that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NobodyWaits;

impl<F: From<LeaderLost>> Fill<F> {
    fn new(flight: Arc<Flight<F>>, table: Arc<Flights<F>>, key: Key) -> Self {
        Self { flight, table, key, ended: false }
    }

    /// The number this fetch took.
    pub fn sequence(&self) -> Sequence {
        self.flight.sequence
    }

    /// The groups of what is being fetched.
    pub fn groups(&self) -> &Arc<[GroupId]> {
        &self.flight.groups
    }

    /// Hands the head to everybody; the body follows by [`Fill::push`].
    pub fn share(&self, head: Arc<Head>, keeping: Keeping) {
        self.flight.update(|inner| inner.stage = Stage::Shared(head, keeping));
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

    /// From here on the answer only streams: it is too large to keep, so nobody may join any more and
    /// what everybody has read is dropped.
    pub fn stream_only(&self) {
        self.table.leave(self.key, &self.flight, || {});
        self.flight.update(|inner| {
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
    /// begin another. A write may have overtaken it all the same: then what it stores is not usable.
    pub fn finish(self, store: impl FnOnce()) {
        self.end(store, Stage::Failed(LeaderLost.into()), End::Whole);
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

#[cfg(test)]
mod tests;
