//! Who wrote lately. Whoever did gets the truth or an error, never the last known state: that may be
//! the one before the write.
//!
//! The table may forget nobody in silence: if it has to, everybody counts as an actor until what was
//! forgotten is out of date. Only of strangers, of whom anybody can invent any number, is the least
//! lately seen one simply dropped.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::clock::Timestamp;

/// How many actors are remembered. One costs some 60 bytes.
const REMEMBERED: usize = 100_000;

/// How many strangers are remembered that may have written something.
const STRANGERS: usize = 10_000;

/// By what an actor is known: a keyed hash of its credential, its principal's name or its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name(pub u128);

/// What the API made of an actor before it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has accepted it.
    Known,
    /// It has taken what was sent, which nobody can make up.
    Admitted,
    /// It need not know it.
    Stranger,
}

/// Where actors outlive the process.
pub trait Register: Send + Sync {
    /// Whoever goes by `name` at the upstream `site` wrote at `now`, or may have.
    fn wrote(&self, site: u32, name: Name, now: Timestamp);

    /// When whoever goes by `name` wrote last before this process began; another one's time may stand for
    /// it, if that is later.
    fn wrote_before(&self, site: u32, name: Name) -> Option<Timestamp>;
}

/// The actors of all upstreams.
pub struct Actors {
    known: Mutex<Known>,
    strangers: Cache<(u32, Name), Timestamp>,
    register: OnceLock<Arc<dyn Register>>,
}

#[derive(Default)]
struct Known {
    wrote: HashMap<(u32, Name), Timestamp>,
    /// The latest write of those that had to be forgotten.
    forgotten: Option<Timestamp>,
    overflows: u64,
}

impl Default for Actors {
    fn default() -> Self {
        Self { known: Mutex::default(), strangers: Cache::new(STRANGERS), register: OnceLock::new() }
    }
}

impl Actors {
    /// Who wrote before this process began is known to `register` from `since` on; before that anybody may
    /// have.
    pub fn resume(&self, register: Arc<dyn Register>, since: Timestamp) {
        self.know_nothing_before(since);
        let _one_for_all_time = self.register.set(register);
    }

    /// Nobody knows who wrote before `since`: everybody may have.
    pub fn know_nothing_before(&self, since: Timestamp) {
        let mut known = self.known.lock();
        known.forgotten = known.forgotten.max(Some(since));
    }

    /// Whoever goes by `name` at the upstream `site` wrote at `now`, or may have.
    pub fn wrote(&self, site: u32, name: Name, standing: Standing, now: Timestamp) {
        match standing {
            Standing::Known => self.known.lock().wrote((site, name), now, REMEMBERED),
            Standing::Admitted | Standing::Stranger => self.strangers.insert((site, name), now),
        }
        if let Some(register) = self.register.get().filter(|_| standing != Standing::Stranger) {
            register.wrote(site, name, now);
        }
    }

    /// Whether whoever goes by one of `names` wrote within `window` before `now`.
    pub fn is_any(&self, site: u32, names: &[Name], now: Timestamp, window: Duration) -> bool {
        let known = self.known.lock();
        known.forgotten.is_some_and(|at| now.since(at) < window)
            || self.has_written(&known, site, names, now, window)
    }

    /// The same as far as it is known: who may have written before the process began, or was forgotten, does
    /// not count.
    pub fn is_known(&self, site: u32, names: &[Name], now: Timestamp, window: Duration) -> bool {
        self.has_written(&self.known.lock(), site, names, now, window)
    }

    fn has_written(
        &self,
        known: &Known,
        site: u32,
        names: &[Name],
        now: Timestamp,
        window: Duration,
    ) -> bool {
        let lately = |at: &Timestamp| now.since(*at) < window;
        names.iter().any(|name| {
            known.wrote.get(&(site, *name)).is_some_and(lately)
                || self.strangers.get(&(site, *name)).is_some_and(|at| lately(&at))
                || self
                    .register
                    .get()
                    .is_some_and(|register| register.wrote_before(site, *name).as_ref().is_some_and(lately))
        })
    }

    /// How often so many wrote that some had to be forgotten.
    pub fn overflows(&self) -> u64 {
        self.known.lock().overflows
    }
}

impl Known {
    fn wrote(&mut self, who: (u32, Name), now: Timestamp, most: usize) {
        if self.wrote.len() >= most && !self.wrote.contains_key(&who) {
            self.forget_half();
        }
        let at = self.wrote.entry(who).or_insert(now);
        *at = (*at).max(now);
    }

    /// Half at once, so that a full table is not searched for every write.
    fn forget_half(&mut self) {
        let mut times: Vec<Timestamp> = self.wrote.values().copied().collect();
        let middle = times.len() / 2;
        let (.., until, _) = times.select_nth_unstable(middle);
        let until = *until;
        self.wrote.retain(|_, at| *at > until);
        self.forgotten = self.forgotten.max(Some(until));
        self.overflows += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_write_makes_an_actor_of_every_name_for_the_window() {
        for standing in [Standing::Known, Standing::Stranger] {
            let (clock, actors) = (Clock::manual(), Actors::default());
            let is_actor = |site, names: &[u128]| {
                let names: Vec<Name> = names.iter().map(|name| Name(*name)).collect();
                actors.is_any(site, &names, clock.now(), HOUR)
            };
            actors.wrote(0, Name(1), standing, clock.now());
            assert!(is_actor(0, &[1]) && is_actor(0, &[2, 1]));
            assert!(!is_actor(0, &[2]) && !is_actor(1, &[1]) && !is_actor(0, &[]));
            clock.advance(HOUR / 2);
            actors.wrote(0, Name(1), standing, clock.now());
            clock.advance(HOUR / 2);
            assert!(is_actor(0, &[1]), "the latest write counts");
            clock.advance(HOUR / 2);
            assert!(!is_actor(0, &[1]));
        }
    }

    #[test]
    fn while_somebody_is_forgotten_everybody_counts() {
        let (clock, actors) = (Clock::manual(), Actors::default());
        let write = |name| {
            actors.known.lock().wrote((0, Name(name)), clock.now(), 10);
            clock.advance(HOUR / 100);
        };
        (0..10).for_each(write);
        write(3);
        assert_eq!(actors.overflows(), 0, "ten names");
        assert!(!actors.is_any(0, &[Name(99)], clock.now(), HOUR));
        write(10);
        assert_eq!(actors.overflows(), 1);
        assert!(actors.known.lock().wrote.len() <= 6);
        assert!(actors.is_any(0, &[Name(0)], clock.now(), HOUR));
        assert!(actors.is_any(0, &[Name(99)], clock.now(), HOUR), "it might be the forgotten one");
        clock.advance(HOUR);
        assert!(!actors.is_any(0, &[Name(99)], clock.now(), HOUR));
        // Strangers push out only each other.
        (0..2 * STRANGERS as u128).for_each(|n| actors.wrote(0, Name(n), Standing::Stranger, clock.now()));
        assert!(!actors.is_any(0, &[Name(u128::MAX)], clock.now(), HOUR));
    }
}
