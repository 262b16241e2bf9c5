//! Which keys are in flight.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Fill, Flight, LeaderLost, Waiter};
use crate::cache::entry::Entry;
use crate::cache::groups::{GroupId, Groups};
use crate::cache::key::{CredentialId, Key};

const SHARDS: usize = 64;

/// Whether a reader may share a fetch that is already under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Any that nothing has overtaken.
    Allowed,
    /// None: the fetch must leave after the request came (RFC 9111 §5.2.1.4).
    Refused,
}

/// With whom a reader may share a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// With all for whom the key is: the API has accepted this credential, or the key is its alone.
    Shared,
    /// With readers of the same credential only: what comes may be stored for all, if the API accepts it.
    Own,
}

/// Who wants to fly, and with whom.
#[derive(Clone, Copy, Debug)]
pub struct Passenger {
    /// The credential that the fetch would carry.
    pub who: CredentialId,
    /// With whom.
    pub company: Company,
    /// Whether a fetch under way will do.
    pub join: Join,
    /// What tells the request from others whose answer is kept under the same key, but not the same as long
    /// as it is on its way; zero where there are none.
    pub form: u128,
}

impl Passenger {
    /// The key of the flight for it to an entry's `key`.
    pub fn key(&self, key: Key) -> Key {
        let key = key.form(self.form);
        match self.company {
            Company::Shared => key,
            Company::Own => key.of_one(self.who),
        }
    }
}

/// How a reader goes on.
pub enum Begin<F: From<LeaderLost>> {
    /// Somebody stored an answer since the reader looked.
    Stored(Arc<Entry>),
    /// The reader waits with others.
    Joined(Waiter<F>),
    /// Nobody fetches this: the reader must start the task that owns the fill.
    Leads(Fill<F>, Waiter<F>),
    /// Too many wait already.
    Full,
}

type Shard<F> = Mutex<HashMap<Key, Arc<Flight<F>>>>;

/// The flights of all keys.
pub struct Flights<F> {
    shards: Box<[Shard<F>]>,
    turned_away: AtomicU64,
}

impl<F> Default for Flights<F> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), turned_away: AtomicU64::new(0) }
    }
}

impl<F: From<LeaderLost>> Flights<F> {
    /// Joins the flight to `key` that is for `passenger`, or begins one. `stored` looks once more into the store, under the
    /// lock that an ending flight stores under.
    pub fn begin(
        self: &Arc<Self>,
        stored_as: Key,
        clock: &Groups,
        passenger: Passenger,
        groups: impl FnOnce() -> Arc<[GroupId]>,
        stored: impl FnOnce() -> Option<Arc<Entry>>,
    ) -> Begin<F> {
        let (key, who) = (passenger.key(stored_as), passenger.who);
        let mut shard = self.shard(key).lock();
        if passenger.join == Join::Allowed {
            if let Some(flight) = shard.get(&key)
                && clock.is_current(flight.sequence, &flight.groups)
            {
                return flight.subscribe(who).map_or_else(|| self.turn_away(), Begin::Joined);
            }
            if let Some(entry) = stored() {
                return Begin::Stored(entry);
            }
        }
        let groups = groups();
        let flight = Arc::new(Flight::new(clock.next(), groups, who));
        let waiter = flight.subscribe(who).expect("a new flight has room");
        shard.insert(key, flight.clone());
        Begin::Leads(Fill::new(flight, self.clone(), key, stored_as), waiter)
    }

    /// Begins a flight that nobody waits for yet, unless a usable one is under way: a refresh with the
    /// credential `who`, which must be one that the API has accepted. `wanted`
    /// looks once more, under the lock that an ending flight stores under, whether what is to be
    /// refreshed is still there.
    pub fn begin_refresh(
        self: &Arc<Self>,
        key: Key,
        clock: &Groups,
        who: CredentialId,
        groups: &Arc<[GroupId]>,
        wanted: impl FnOnce() -> bool,
    ) -> Option<Fill<F>> {
        let mut shard = self.shard(key).lock();
        if shard.get(&key).is_some_and(|flight| clock.is_current(flight.sequence, &flight.groups))
            || !wanted()
        {
            return None;
        }
        let flight = Arc::new(Flight::new(clock.next(), groups.clone(), who));
        shard.insert(key, flight.clone());
        Some(Fill::new(flight, self.clone(), key, key))
    }

    /// Takes `flight` out of the table, if it is still the one of `key`, after running `store`.
    pub(super) fn leave(&self, key: Key, flight: &Arc<Flight<F>>, store: impl FnOnce()) {
        if let Place::Occupied(place) = self.shard(key).lock().entry(key)
            && Arc::ptr_eq(place.get(), flight)
        {
            store();
            place.remove();
        }
    }

    /// Runs `store` under the lock of `shared`, which nobody stores that key without, if `flight` is still
    /// the one of its own `key`. Both locks are held, always the one of the lower place first, so that a
    /// purge finds either the flight or what it stored.
    pub(super) fn beside(&self, key: Key, flight: &Arc<Flight<F>>, shared: Key, store: impl FnOnce()) {
        let (own, other) = (Self::place(key), Self::place(shared));
        let first = self.shards[own.min(other)].lock();
        let second = (own != other).then(|| self.shards[own.max(other)].lock());
        let table = second.as_ref().filter(|_| own > other).unwrap_or(&first);
        if table.get(&key).is_some_and(|there| Arc::ptr_eq(there, flight)) {
            store();
        }
    }

    /// Runs `store` under the lock that an ending flight of `key` stores under.
    pub fn store(&self, key: Key, store: impl FnOnce()) {
        let _nobody_else_stores = self.shard(key).lock();
        store();
    }

    /// Takes every flight out of the table: those who wait get their answers, but nobody else joins
    /// and nothing is stored. Returns how many there were.
    pub fn detach_all(&self) -> usize {
        self.shards.iter().map(|shard| std::mem::take(&mut *shard.lock()).len()).sum()
    }

    /// How many fetches are under way.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// How many clients wait for them or read their bodies.
    pub fn readers(&self) -> usize {
        let readers = |shard: &Shard<F>| shard.lock().values().map(|flight| flight.readers()).sum::<usize>();
        self.shards.iter().map(readers).sum()
    }

    /// How many readers found a flight with as many waiters as one may have.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    fn turn_away(&self) -> Begin<F> {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        Begin::Full
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: Key) -> &Shard<F> {
        &self.shards[Self::place(key)]
    }

    fn place(key: Key) -> usize {
        key.spread() % SHARDS
    }
}
