//! Places for a number of calls, and the line of those who wait for one.
//!
//! While a place is free and nobody waits, taking one is an atomic step. Otherwise calls wait by urgency;
//! among the equally urgent whoever is charged for them has a fair share (start-time fair queueing, where
//! who has not called for a while comes first): one with a thousand calls holds up another with one by
//! a single call. Every eighth place goes to whoever has waited longest: nobody starves.
//!
//! Invariants: a free place and somebody who waits never exist together once a call has returned; a
//! waiter that leaves leaves nothing behind, and takes nothing with it; joining, leaving and being served
//! cost O(log n); what is remembered of who was served is bounded and ends with the line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::message::Urgency;

/// Each of so many places goes to whoever has waited longest, whatever it is: the least urgent get an
/// eighth at the worst, and the most urgent lose no more than that.
const FOR_THE_OLDEST: u64 = 8;

/// Of so many principals that were just served is remembered when each may be served next. More than ever
/// wait at once by default; who is forgotten is served a little early.
const MOST_IDLE: usize = 4_096;

/// The places and the line.
pub(super) struct Line {
    limit: AtomicUsize,
    taken: AtomicUsize,
    /// Those in the line that have no place yet.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

/// A place; it is free again when this is dropped.
pub(super) struct Spot(Arc<Line>);

/// What decides when a call is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) urgency: Urgency,
    /// Who is charged.
    pub(super) principal: u128,
}

/// A call in the line.
pub(super) struct Wait {
    line: Arc<Line>,
    claim: Claim,
    /// Its number, in order of arrival; `None` when it is over.
    number: Option<u64>,
}

#[derive(Default)]
struct Queue {
    next_number: u64,
    served: u64,
    /// All that wait, and those that were given a place and have not come for it.
    tickets: HashMap<u64, Ticket>,
    /// Those that wait, in order of arrival.
    by_age: BTreeMap<u64, Claim>,
    classes: [Class; Urgency::ALL.len()],
}

#[derive(Default)]
struct Ticket {
    waker: Option<Waker>,
    fate: Fate,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Waits,
    HasPlace,
    /// It is no use to wait here any more.
    Dismissed,
}

/// The equally urgent.
#[derive(Default)]
struct Class {
    /// How many wait.
    waiting: usize,
    /// The time of this class, in calls of each who waits: the start of what was served last.
    now: i64,
    /// Who waits, by the time when the next of theirs starts and the number of the first in line.
    order: BTreeSet<(i64, u64, u128)>,
    flows: HashMap<u128, Flow>,
    /// Who does not wait, but was served lately: the next of theirs starts no earlier than this.
    idle: BTreeSet<(i64, u128)>,
}

struct Flow {
    /// When the next of its calls starts.
    start: i64,
    waiting: BTreeSet<u64>,
}

impl Line {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
        })
    }

    /// A place, if one is free and nobody waits.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Spot> {
        (self.waiting.load(Ordering::SeqCst) == 0 && self.occupy()).then(|| Spot(Arc::clone(self)))
    }

    /// Stands in line for one.
    pub(super) fn stand(self: &Arc<Self>, claim: Claim) -> Wait {
        let mut queue = self.queue.lock();
        let number = queue.join(claim);
        // Before the look at the places: whoever frees one afterwards sees that somebody waits.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.serve(queue);
        Wait { line: Arc::clone(self), claim, number: Some(number) }
    }

    /// How many would be served before a call that came now, at most.
    pub(super) fn ahead(&self, claim: Claim) -> usize {
        match self.waiting.load(Ordering::SeqCst) {
            0 => 0,
            _ => self.queue.lock().ahead(claim),
        }
    }

    /// Sends all that wait away, without a place.
    pub(super) fn dismiss(&self) {
        let mut queue = self.queue.lock();
        let mut wakers = Vec::new();
        for number in std::mem::take(&mut queue.by_age).into_keys() {
            let ticket = queue.tickets.get_mut(&number).expect("whoever is in line has a ticket");
            ticket.fate = Fate::Dismissed;
            wakers.extend(ticket.waker.take());
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        queue.forget_if_empty();
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many may be in it at once from now on. Those that have places keep them.
    pub(super) fn set_limit(&self, limit: usize) {
        if self.limit.swap(limit, Ordering::SeqCst) < limit && self.waiting.load(Ordering::SeqCst) > 0 {
            self.serve(self.queue.lock());
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Places that are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    fn occupy(&self) -> bool {
        let limit = self.limit.load(Ordering::SeqCst);
        let one_more = |taken: usize| (taken < limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
    }

    fn vacate(&self) {
        self.taken.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.serve(self.queue.lock());
        }
    }

    /// Gives free places to those whose turn it is, and wakes them when nothing is locked any more.
    fn serve(&self, mut queue: parking_lot::MutexGuard<'_, Queue>) {
        let mut wakers: SmallVec<[Waker; 4]> = SmallVec::new();
        while !queue.by_age.is_empty() && self.occupy() {
            wakers.extend(queue.serve_next());
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Spot {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

impl Future for Wait {
    /// `None` for whoever was dismissed.
    type Output = Option<Spot>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Spot>> {
        let number = self.number.expect("polled again after it was ready");
        let mut queue = self.line.queue.lock();
        let ticket = queue.tickets.get_mut(&number).expect("there until it is taken out here or by the drop");
        let fate = ticket.fate;
        if fate == Fate::Waits {
            ticket.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        queue.tickets.remove(&number);
        drop(queue);
        self.number = None;
        Poll::Ready((fate == Fate::HasPlace).then(|| Spot(Arc::clone(&self.line))))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(number) = self.number.take() else { return };
        let mut queue = self.line.queue.lock();
        match queue.tickets.remove(&number).map(|ticket| ticket.fate) {
            Some(Fate::HasPlace) => {
                drop(queue);
                self.line.vacate();
            }
            Some(Fate::Waits) => {
                queue.leave(number, self.claim);
                self.line.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            Some(Fate::Dismissed) | None => {}
        }
    }
}

impl Queue {
    fn join(&mut self, claim: Claim) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.tickets.insert(number, Ticket::default());
        self.by_age.insert(number, claim);
        self.classes[claim.urgency as usize].join(claim.principal, number);
        number
    }

    fn leave(&mut self, number: u64, claim: Claim) {
        self.by_age.remove(&number);
        self.classes[claim.urgency as usize].leave(claim.principal, number);
        self.forget_if_empty();
    }

    /// Takes whose turn it is out of the line and gives it its place.
    fn serve_next(&mut self) -> Option<Waker> {
        self.served += 1;
        let (number, claim) = match self.served.is_multiple_of(FOR_THE_OLDEST) {
            true => self.by_age.first_key_value().map(|(number, claim)| (*number, *claim))?,
            false => self.most_urgent()?,
        };
        self.by_age.remove(&number);
        self.classes[claim.urgency as usize].serve(claim.principal, number);
        self.forget_if_empty();
        let ticket = self.tickets.get_mut(&number).expect("whoever is in line has a ticket");
        ticket.fate = Fate::HasPlace;
        ticket.waker.take()
    }

    fn most_urgent(&self) -> Option<(u64, Claim)> {
        Urgency::ALL.into_iter().find_map(|urgency| {
            let class = &self.classes[urgency as usize];
            let (_, number, principal) = *class.order.first()?;
            Some((number, Claim { urgency, principal }))
        })
    }

    fn ahead(&self, claim: Claim) -> usize {
        let more_urgent = &self.classes[..claim.urgency as usize];
        let before: usize = more_urgent.iter().map(|class| class.waiting).sum();
        let class = &self.classes[claim.urgency as usize];
        let own = class.flows.get(&claim.principal).map_or(0, |flow| flow.waiting.len());
        before + class.waiting.min((own + 1).saturating_mul(class.order.len()))
    }

    /// Without a line there is nothing to be fair about.
    fn forget_if_empty(&mut self) {
        if self.by_age.is_empty() {
            self.classes.iter_mut().for_each(|class| *class = Class::default());
        }
    }
}

impl Class {
    fn join(&mut self, principal: u128, number: u64) {
        self.waiting += 1;
        // Whoever is not known has not been served for a round at least, and comes before all who were.
        let newcomer = Flow { start: self.now - 1, waiting: BTreeSet::new() };
        let flow = self.flows.entry(principal).or_insert(newcomer);
        if flow.waiting.is_empty() {
            self.idle.remove(&(flow.start, principal));
            self.order.insert((flow.start, number, principal));
        }
        flow.waiting.insert(number);
    }

    fn leave(&mut self, principal: u128, number: u64) {
        let start = self.flows.get(&principal).map_or(0, |flow| flow.start);
        self.take_out(principal, number, start);
    }

    fn serve(&mut self, principal: u128, number: u64) {
        let start = self.flows.get(&principal).map_or(0, |flow| flow.start);
        // What is served out of turn, because it is the oldest, does not move the others' time on.
        if self.order.first().is_some_and(|first| first.2 == principal) {
            self.now = self.now.max(start);
        }
        self.take_out(principal, number, start + 1);
        while let Some(&(start, principal)) = self.idle.first()
            && (start < self.now || self.idle.len() > MOST_IDLE)
        {
            self.idle.remove(&(start, principal));
            self.flows.remove(&principal);
        }
    }

    /// Takes one out of its flow, whose next starts at `start` from here on.
    fn take_out(&mut self, principal: u128, number: u64, start: i64) {
        let Some(flow) = self.flows.get_mut(&principal) else { return };
        let first = flow.waiting.first().copied();
        if let Some(first) = first {
            self.order.remove(&(flow.start, first, principal));
        }
        flow.waiting.remove(&number);
        self.waiting -= 1;
        flow.start = start;
        match flow.waiting.first() {
            Some(first) => drop(self.order.insert((start, *first, principal))),
            None if start >= self.now => drop(self.idle.insert((start, principal))),
            None => drop(self.flows.remove(&principal)),
        }
    }
}

#[cfg(test)]
mod tests;
