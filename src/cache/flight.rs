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
//!
//! Where several credentials share a key (invariant 4), only those that the API has accepted fly in
//! [`Company::Shared`]; any other flies beside it with its own kind. And what lands is handed from the
//! credential that fetched to another only if it is for the store ([`Crossing`]); failures and all else
//! stay with the credential that they were given to.

mod body;
mod fill;
mod table;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

use super::entry::Head;
use super::groups::{GroupId, Sequence};
use super::key::CredentialId;

pub use body::{Arrival, FlightBody, Interrupted};
pub use fill::{Fill, LeaderLost, NobodyWaits};
pub use table::{Begin, Company, Flights, Join, Passenger};

/// How many waiters one flight has at most; more fetch for themselves, through the upstream's queue.
pub const MAX_WAITERS: usize = 10_000;

/// How far, in bytes, the fastest reader of an answer that is not kept may be ahead of the slowest.
const WINDOW: usize = 1 << 20;

/// One fetch in flight; `F` says why one failed.
pub struct Flight<F> {
    sequence: Sequence,
    groups: Arc<[GroupId]>,
    /// Whose credential the fetch carries.
    owner: CredentialId,
    inner: Mutex<Inner<F>>,
}

struct Inner<F> {
    stage: Stage<F>,
    /// What the API failed with last, if it is asked once more.
    trouble: Option<Option<StatusCode>>,
    chunks: VecDeque<Bytes>,
    /// The number of the first chunk that is still held.
    first: usize,
    held: usize,
    /// Whether every chunk is held until the end, for the store and for those who join late.
    keeping: bool,
    /// The trailer section, once the body is whole.
    trailers: Option<HeaderMap>,
    end: Option<End>,
    readers: Vec<Option<Reader>>,
    /// Places among the readers that were left.
    free: Vec<usize>,
    fill_waker: Option<Waker>,
}

enum Stage<F> {
    Waiting,
    Shared(Arc<Head>, Keeping, Crossing),
    Alone,
    Failed(F),
}

/// Who of those that wait gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// Whoever waits: it is what may be stored for all of them.
    Everybody,
    /// Those with the credential that fetched it.
    Owner,
    /// Those with another credential once the whole body has been judged ([`Fill::judged`]).
    Undecided,
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
    /// Whether it got the trailer section.
    trailed: bool,
    cut: bool,
    waker: Option<Waker>,
}

/// What a flight came to, for each of its waiters.
pub enum Landing<F> {
    /// The answer is for all who wait; its body follows.
    Shared(Arc<Head>, Keeping, FlightBody<F>),
    /// The answer is for the one that caused the fetch alone; everybody else fetches for themselves.
    Alone,
    /// What came is for another credential: the waiter flies once more, with its own kind.
    Apart,
    /// There is no answer.
    Failed(F),
}

/// The API failed, with this status if it answered, and is asked once more. The waiter may go on
/// waiting.
pub struct Troubled<F> {
    /// The status.
    pub status: Option<StatusCode>,
    /// The place in the flight.
    pub waiter: Waiter<F>,
}

/// Whether a waiter wants to know of trouble before the flight has landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It has nothing else.
    UntilTheEnd,
    /// It may have something else in place of the answer.
    UntilTrouble,
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

    fn new(sequence: Sequence, groups: Arc<[GroupId]>, owner: CredentialId) -> Self {
        let inner = Inner {
            stage: Stage::Waiting,
            trouble: None,
            chunks: VecDeque::new(),
            first: 0,
            held: 0,
            keeping: true,
            trailers: None,
            end: None,
            readers: Vec::new(),
            free: Vec::new(),
            fill_waker: None,
        };
        Self { sequence, groups, owner, inner: Mutex::new(inner) }
    }

    /// Takes a place among the readers, if one is free.
    fn subscribe(self: &Arc<Self>, who: CredentialId) -> Option<Waiter<F>> {
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
        Some(Waiter { flight: self.clone(), place, is_owner: who == self.owner })
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
            inner.decide(Crossing::Owner);
            inner.end = Some(end);
        });
    }
}

/// A client's place in a flight.
pub struct Waiter<F> {
    flight: Arc<Flight<F>>,
    place: usize,
    is_owner: bool,
}

impl<F: Clone> Waiter<F> {
    /// Whether the fetch carries this waiter's own credential.
    pub fn is_owner(&self) -> bool {
        self.is_owner
    }

    /// The number the fetch took before it left.
    pub fn sequence(&self) -> Sequence {
        self.flight.sequence
    }

    /// Waits until the flight has an answer's head, or has failed.
    pub async fn landing(self) -> Landing<F> {
        let found = self.found(Patience::UntilTheEnd).await;
        self.landed(found).unwrap_or_else(|_| unreachable!("trouble is found only by who asks for it"))
    }

    /// The same, or until trouble.
    pub async fn landing_with(self, patience: Patience) -> Result<Landing<F>, Troubled<F>> {
        let found = self.found(patience).await;
        self.landed(found)
    }

    async fn found(&self, patience: Patience) -> Found<F> {
        poll_fn(|context: &mut Context<'_>| {
            let mut inner = self.flight.inner.lock();
            match &inner.stage {
                Stage::Waiting => {
                    if let (Some(status), Patience::UntilTrouble) = (inner.trouble, patience) {
                        return Poll::Ready(Found::Troubled(status));
                    }
                }
                Stage::Shared(_, _, Crossing::Undecided) if !self.is_owner => {}
                Stage::Shared(_, _, Crossing::Owner) | Stage::Failed(_) if !self.is_owner => {
                    return Poll::Ready(Found::Apart);
                }
                Stage::Shared(head, keeping, _) => {
                    return Poll::Ready(Found::Shared(head.clone(), *keeping));
                }
                Stage::Alone => return Poll::Ready(Found::Alone),
                Stage::Failed(failure) => return Poll::Ready(Found::Failed(failure.clone())),
            }
            inner.reader(self.place).waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn landed(self, found: Found<F>) -> Result<Landing<F>, Troubled<F>> {
        Ok(match found {
            Found::Shared(head, keeping) => Landing::Shared(head, keeping, FlightBody::new(self)),
            Found::Alone => Landing::Alone,
            Found::Apart => Landing::Apart,
            Found::Failed(failure) => Landing::Failed(failure),
            Found::Troubled(status) => return Err(Troubled { status, waiter: self }),
        })
    }
}

/// What a waiter finds.
enum Found<F> {
    Shared(Arc<Head>, Keeping),
    Alone,
    Apart,
    Failed(F),
    Troubled(Option<StatusCode>),
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

    /// Ends the time in which it is open who gets the answer.
    fn decide(&mut self, decided: Crossing) {
        if let Stage::Shared(_, _, crossing @ Crossing::Undecided) = &mut self.stage {
            *crossing = decided;
        }
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

#[cfg(test)]
mod tests;
