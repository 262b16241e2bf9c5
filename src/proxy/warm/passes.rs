//! The two passes over what is kept warm of one upstream: who belongs to which, when each is due, who holds
//! one of the places for fetches, and how far the rounds are. Nothing is known here of what is fetched.
//!
//! Invariants: a member waits in the queue of its pass or holds a place, never both, and none holds two;
//! each pass finds places that the other cannot take; a round ends, whatever becomes of those in it.

use std::collections::{BTreeSet, HashMap};

use crate::cache::key::Key;
use crate::cache::pace::Pass;
use crate::clock::Timestamp;

/// How many fetches of one upstream are under way at once, whatever the limits would allow.
const AT_ONCE: usize = 4;

/// How many of them are of the quick pass at the most: one place is left for the full pass, which goes on
/// however much changes.
const QUICK_AT_ONCE: usize = 3;

/// How many are of the full pass at the most: of the three workers that a node of Proxmox VE has, the last
/// is not held by what can wait, and the quick pass has half of the places whatever comes.
const FULL_AT_ONCE: usize = 2;

/// The members of both passes.
#[derive(Default)]
pub(super) struct Passes {
    members: HashMap<Key, Member>,
    /// Those under way, with those that are no members any more.
    places: HashMap<Key, Place>,
    quick: Lane,
    full: Lane,
}

struct Member {
    pass: Pass,
    due: Timestamp,
    /// The last round of its pass in which it had its turn; before all of them if in none.
    round: u64,
}

#[derive(Clone, Copy)]
struct Place {
    pass: Pass,
    since: Timestamp,
}

/// One pass.
#[derive(Default)]
struct Lane {
    members: usize,
    queue: BTreeSet<(Timestamp, Key)>,
    /// While there are members.
    round: Option<Round>,
    complete: Option<Timestamp>,
}

/// One time over all members of a pass. It ends when each has had its turn since it began, or has left:
/// fetched by a client or by forebay, failed, or put off. The next one begins at once.
struct Round {
    number: u64,
    began: Timestamp,
    /// How many have not had their turn.
    open: usize,
}

impl Passes {
    /// `key` is of `pass` from now on, and has its next turn at `due`; its last one, if it had any, began at
    /// `turn`.
    pub(super) fn put(
        &mut self,
        key: Key,
        pass: Pass,
        due: Timestamp,
        turn: Option<Timestamp>,
        now: Timestamp,
    ) {
        if self.members.get(&key).is_some_and(|member| member.pass != pass) {
            self.remove(key, now);
        }
        let waits = !self.places.contains_key(&key);
        let lane = match pass {
            Pass::Quick => &mut self.quick,
            Pass::Full => &mut self.full,
        };
        let member = self.members.entry(key).or_insert_with(|| Member { pass, due, round: lane.join(now) });
        lane.queue.remove(&(member.due, key));
        member.due = due;
        if waits {
            lane.queue.insert((due, key));
        }
        if let Some(turn) = turn {
            lane.had_turn(member, turn);
        }
        lane.end_round(now);
    }

    /// `key` is no member any more. The place that it holds stays taken until [`Passes::end`].
    pub(super) fn remove(&mut self, key: Key, now: Timestamp) {
        if let Some(member) = self.members.remove(&key) {
            let lane = self.lane_mut(member.pass);
            lane.queue.remove(&(member.due, key));
            lane.leave(&member);
            lane.end_round(now);
        }
    }

    /// Gives the places that are free to those who are due, the quick ones first.
    pub(super) fn start(&mut self, now: Timestamp) -> Vec<(Key, Pass)> {
        let mut started = Vec::new();
        for pass in Pass::ALL {
            while self.has_place(pass)
                && let Some(&first @ (due, key)) = self.lane(pass).queue.first()
                && due <= now
            {
                self.lane_mut(pass).queue.remove(&first);
                self.places.insert(key, Place { pass, since: now });
                started.push((key, pass));
            }
        }
        started
    }

    /// `key` gives its place back and waits again, if it is a member still. Says since when it held it.
    pub(super) fn end(&mut self, key: Key) -> Option<Timestamp> {
        let place = self.places.remove(&key)?;
        if let Some(Member { pass, due, .. }) = self.members.get(&key) {
            let (pass, due) = (*pass, *due);
            self.lane_mut(pass).queue.insert((due, key));
        }
        Some(place.since)
    }

    /// Makes all that wait due now, and says how many those are.
    pub(super) fn hasten(&mut self, now: Timestamp) -> usize {
        for (key, member) in self.members.iter_mut().filter(|(key, _)| !self.places.contains_key(key)) {
            let lane = match member.pass {
                Pass::Quick => &mut self.quick,
                Pass::Full => &mut self.full,
            };
            lane.queue.remove(&(member.due, *key));
            member.due = now;
            lane.queue.insert((now, *key));
        }
        self.quick.queue.len() + self.full.queue.len()
    }

    /// How many belong to `pass`.
    pub(super) fn count(&self, pass: Pass) -> usize {
        self.lane(pass).members
    }

    /// When a round of `pass` was last complete; `None` before that, and while it has no members.
    pub(super) fn complete(&self, pass: Pass) -> Option<Timestamp> {
        self.lane(pass).complete
    }

    /// Who of `pass` has its turn next, and when it is or was due.
    pub(super) fn next(&self, pass: Pass) -> Option<(Timestamp, Key)> {
        self.lane(pass).queue.first().copied()
    }

    /// Whether `key` is under way.
    pub(super) fn is_running(&self, key: Key) -> bool {
        self.places.contains_key(&key)
    }

    fn has_place(&self, pass: Pass) -> bool {
        let most = match pass {
            Pass::Quick => QUICK_AT_ONCE,
            Pass::Full => FULL_AT_ONCE,
        };
        let taken = self.places.values().filter(|place| place.pass == pass).count();
        taken < most && self.places.len() < AT_ONCE
    }

    fn lane(&self, pass: Pass) -> &Lane {
        match pass {
            Pass::Quick => &self.quick,
            Pass::Full => &self.full,
        }
    }

    fn lane_mut(&mut self, pass: Pass) -> &mut Lane {
        match pass {
            Pass::Quick => &mut self.quick,
            Pass::Full => &mut self.full,
        }
    }
}

impl Lane {
    /// One more, that has had no turn. Returns the round that it comes after.
    fn join(&mut self, now: Timestamp) -> u64 {
        let round = self.round.get_or_insert(Round { number: 1, began: now, open: 0 });
        self.members += 1;
        round.open += 1;
        round.number - 1
    }

    fn leave(&mut self, member: &Member) {
        self.members -= 1;
        if let Some(round) = &mut self.round {
            round.open -= usize::from(member.round < round.number);
        }
        if self.members == 0 {
            (self.round, self.complete) = (None, None);
        }
    }

    /// A turn that began before the round is not one of it.
    fn had_turn(&mut self, member: &mut Member, began: Timestamp) {
        if let Some(round) = &mut self.round
            && began >= round.began
            && member.round < round.number
        {
            member.round = round.number;
            round.open -= 1;
        }
    }

    fn end_round(&mut self, now: Timestamp) {
        if let Some(round) = &mut self.round
            && round.open == 0
        {
            self.complete = Some(now);
            *round = Round { number: round.number + 1, began: now, open: self.members };
        }
    }
}

#[cfg(test)]
mod tests;
