//! When the API failed everybody: it gave no answer, or answered only that it is down.
//!
//! Nobody can be accepted meanwhile, so for who was in before, the time in which an acceptance counts stands
//! still. It goes on while the API answers, and an API that comes back often fails once more before everybody
//! has had the chance to be accepted again; so what counts is the time in which it answered, over all of the
//! last troubles. Invariant: that time is never reckoned shorter than it was.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

use super::site::Site;
use crate::clock::Timestamp;
use crate::upstream::{Answer, SendError};

/// Moments of answers do not end a trouble as long as they are shorter than this part of an acceptance, all in
/// all: they are counted within it. So as many troubles as this, and one, are all that can matter, and no more
/// than that part is not known to have been before or after somebody was accepted.
const PARTS: u32 = 8;

/// The troubles of one API that may still matter.
#[derive(Default)]
pub(super) struct Outages(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// When the last call left that was answered.
    answered: Option<Timestamp>,
    /// The latest last.
    troubles: VecDeque<Trouble>,
}

/// A time in which it failed, but for short moments.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    since: Timestamp,
    /// `None` while it lasts.
    until: Option<Timestamp>,
    /// Whether it said itself that it is down.
    is_told: bool,
    /// For how long in all it answered in between.
    answered: Duration,
}

impl Inner {
    fn answers(&mut self, left: Timestamp) {
        self.answered = self.answered.max(Some(left));
        if let Some(trouble) = self.troubles.back_mut() {
            trouble.until.get_or_insert(left.max(trouble.since));
        }
    }

    fn fails(&mut self, left: Timestamp, is_told: bool, accept_for: Duration) {
        // Of a call that took long others may have been answered meanwhile.
        let since = self.answered.map_or(left, |answered| left.max(answered));
        let between = self.troubles.back().map(|last| last.until.map(|until| since.since(until)));
        match (self.troubles.back_mut(), between.flatten()) {
            (Some(last), None) => last.is_told |= is_told,
            (Some(last), Some(between)) if last.answered + between < accept_for / PARTS => {
                (last.until, last.is_told) = (None, last.is_told | is_told);
                last.answered += between;
            }
            (_, between) => {
                if between.is_some_and(|between| between >= accept_for) {
                    self.troubles.clear();
                }
                if self.troubles.len() > PARTS as usize {
                    self.troubles.pop_front();
                }
                self.troubles.push_back(Trouble { since, until: None, is_told, answered: Duration::ZERO });
            }
        }
    }

    /// Since when it had answered for `accept_for` in all at `now`.
    fn horizon(&self, now: Timestamp, accept_for: Duration) -> Timestamp {
        let (mut at, mut left) = (now, accept_for);
        for trouble in self.troubles.iter().rev() {
            let until = trouble.until.unwrap_or(at).min(at);
            let answered = at.since(until);
            if answered >= left {
                break;
            }
            left -= answered;
            if trouble.answered >= left {
                // Somewhere within it, and where is not known.
                return until;
            }
            left -= trouble.answered;
            at = trouble.since.min(at);
        }
        at.before(left)
    }
}

impl Site {
    /// Notes what the answer to a call that left at `left` says of the API.
    pub(super) fn note_answer(&self, status: StatusCode, left: Timestamp) {
        let is_outage = self.dialect().is_outage(status) && status != StatusCode::TOO_MANY_REQUESTS;
        let mut inner = self.outages.0.lock();
        match is_outage {
            true => inner.fails(left, true, self.config.accept_for),
            false => inner.answers(left),
        }
    }

    /// Notes what came of a call that left at `left`.
    pub(super) fn note(&self, result: &Result<Answer, SendError>, left: Timestamp) {
        match result {
            Ok(answer) => self.note_answer(answer.parts.status, left),
            Err(error) if error.is_silence() => {
                self.outages.0.lock().fails(left, false, self.config.accept_for);
            }
            Err(_) => {}
        }
    }

    /// The moment at which an acceptance that still counts at `now` would have counted in any case, if it
    /// counts only for as long as the API answered since.
    pub(super) fn time_of_acceptances(&self, now: Timestamp) -> Timestamp {
        let accept_for = self.config.accept_for;
        self.outages.0.lock().horizon(now, accept_for).after(accept_for)
    }

    /// Since when the API answers only that it is down.
    pub fn down_since(&self) -> Option<Timestamp> {
        let inner = self.outages.0.lock();
        inner.troubles.back().filter(|last| last.until.is_none() && last.is_told).map(|last| last.since)
    }

    /// The process before saw the API down since then; the first answer says whether it still is.
    pub fn resume_outage(&self, since: Timestamp) {
        let trouble = Trouble { since, until: None, is_told: true, answered: Duration::ZERO };
        self.outages.0.lock().troubles.push_back(trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT_FOR: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    /// Of these `(n, true)` is an answer and `(n, false)` a failure of a call that left then.
    type Events<'a> = &'a [(u64, bool)];

    fn horizon(events: Events<'_>, now: u64) -> Timestamp {
        let mut inner = Inner::default();
        for (left, answers) in events {
            match answers {
                true => inner.answers(at(*left)),
                false => inner.fails(at(*left), false, ACCEPT_FOR),
            }
        }
        inner.horizon(at(now), ACCEPT_FOR)
    }

    #[test]
    fn only_the_time_in_which_it_answered_counts() {
        let (up, down) = (true, false);
        let cases: [(Events<'_>, u64, u64); 9] = [
            (&[], 1_000, 940),
            (&[(500, down), (700, up)], 1_000, 940),
            // While it lasts.
            (&[(900, up), (950, down)], 1_000, 890),
            (&[(900, up), (950, down), (990, down)], 5_000, 890),
            // It goes on afterwards, for as long as was left.
            (&[(950, down), (990, up)], 1_000, 900),
            (&[(950, down), (990, up)], 1_049, 949),
            (&[(950, down), (990, up)], 1_051, 991),
            // Several, one after the other.
            (&[(900, down), (910, up), (930, down), (980, up)], 1_000, 880),
            // A call from before that gets no answer later says nothing of the time in between.
            (&[(900, up), (950, up), (910, down)], 1_000, 890),
        ];
        for (events, now, expected) in cases {
            assert_eq!(horizon(events, now), at(expected), "{events:?} at {now}");
        }
    }

    #[test]
    fn moments_of_answers_are_counted_and_do_not_grow_into_a_history() {
        let mut inner = Inner::default();
        let mut now = 1_000;
        for _ in 0..1_000 {
            inner.fails(at(now), true, ACCEPT_FOR);
            inner.answers(at(now + 9));
            now += 10;
        }
        assert!(inner.troubles.len() <= PARTS as usize + 1);
        // A second in ten, so an acceptance counts for ten minutes, but for what is not known exactly.
        let horizon = inner.horizon(at(now), ACCEPT_FOR);
        assert!((at(now - 600)..at(now - 500)).contains(&horizon), "{:?}", at(now).since(horizon));
        let mut inner = Inner::default();
        for round in 0..1_000 {
            inner.fails(at(round * 100), true, ACCEPT_FOR);
            inner.answers(at(round * 100 + 80));
        }
        assert!(inner.troubles.len() <= PARTS as usize + 1);
    }

    #[test]
    fn who_was_in_before_it_flickered_is_in_as_long_as_it_answered() {
        let mut inner = Inner::default();
        for moment in 0..30 {
            inner.fails(at(1_000 + moment * 10), true, ACCEPT_FOR);
            inner.answers(at(1_009 + moment * 10));
        }
        // Half a minute of answers in five: half a minute before all of it is left.
        assert_eq!(inner.horizon(at(1_300), ACCEPT_FOR), at(1_000 - 30));
    }
}
