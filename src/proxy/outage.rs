//! When nobody could be accepted: the API gave no answer, or answered only that it is down, or had asked to be
//! left alone.
//!
//! For who was in before, the time in which an acceptance counts stands still meanwhile. It goes on while the
//! API answers, and an API that comes back often fails once more before everybody has had the chance to be
//! accepted again; so what counts is the time in which it answered, over all of the last troubles. Invariants:
//! that time is never reckoned shorter than it was, and pauses add to it no more than [`PAUSED_PARTS`] say.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::site::Site;
use crate::clock::Timestamp;
use crate::upstream::{Answer, SendError};

/// Moments of answers do not end a trouble as long as they are shorter than this part of an acceptance, all in
/// all: they are counted within it. So as many troubles as this, and one, are all that can matter, and no more
/// than that part is not known to have been before or after somebody was accepted.
const PARTS: u32 = 8;

/// For how many acceptances' length pauses may stand still, all in all. An API that is down shows nothing new,
/// so the age of what is left bounds what is seen then; one that throttles gives new answers between two pauses,
/// and whoever has lost his rights must not see those for as long as it goes on. Ten minutes by default, with
/// the acceptance itself: longer than a burst, and a caller who comes back to an API that still refuses
/// everything after that gets the refusal.
const PAUSED_PARTS: u32 = 9;

/// How many pauses are remembered: as many as matter by default if each were half a second long. One that is
/// forgotten is taken for time in which the API answered.
const PAUSES: usize = 1_024;

/// The troubles of one API that may still matter.
#[derive(Default)]
pub(super) struct Outages(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// When the last call left that was answered.
    answered: Option<Timestamp>,
    /// The latest last.
    troubles: VecDeque<Trouble>,
    /// The latest last; they neither meet nor touch.
    pauses: VecDeque<Paused>,
}

/// A time in which no call left, because the API had asked for that.
#[derive(Clone, Copy, Debug)]
struct Paused {
    since: Timestamp,
    until: Timestamp,
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

    /// No call leaves from `now` until `until`.
    fn pauses(&mut self, now: Timestamp, until: Timestamp) {
        match self.pauses.back_mut() {
            Some(last) if now <= last.until => last.until = last.until.max(until),
            _ => {
                if self.pauses.len() == PAUSES {
                    self.pauses.pop_front();
                }
                self.pauses.push_back(Paused { since: now, until });
            }
        }
    }

    /// Since when it had answered for `accept_for` in all at `now`.
    fn horizon(&self, now: Timestamp, accept_for: Duration) -> Timestamp {
        let (mut at, mut left) = (now, accept_for);
        let mut may_be_paused = accept_for * PAUSED_PARTS;
        let mut troubles = self.troubles.iter().rev().peekable();
        let mut pauses = self.pauses.iter().rev().peekable();
        loop {
            // Where both meet it was a trouble.
            let trouble = troubles.peek().map(|trouble| trouble.until.unwrap_or(at).min(at));
            let pause = pauses.peek().map(|pause| pause.until.min(at));
            let Some(until) = trouble.max(pause) else { break };
            let answered = at.since(until);
            if answered >= left {
                break;
            }
            left -= answered;
            at = if trouble == Some(until) {
                let trouble = troubles.next().expect("it was looked at");
                if trouble.answered >= left {
                    // Somewhere within it, and where is not known.
                    return until;
                }
                left -= trouble.answered;
                trouble.since.min(until)
            } else {
                let since = pauses.next().expect("it was looked at").since.min(until);
                let paused = until.since(since);
                if paused > may_be_paused {
                    return until.before(may_be_paused + left);
                }
                may_be_paused -= paused;
                since
            };
        }
        at.before(left)
    }

    /// Since when it says that it is down. The moments in which it answered meanwhile count: by so much later
    /// it began for whoever reckons by that what still counts.
    fn down_since(&self) -> Option<Timestamp> {
        let last = self.troubles.back().filter(|last| last.until.is_none() && last.is_told);
        last.map(|last| last.since.after(last.answered))
    }
}

impl Site {
    /// Notes what the answer to a call that left at `left` says of the API.
    pub(super) fn note_answer(&self, status: StatusCode, left: Timestamp) {
        self.note_pause(Some(status));
        let is_outage = self.dialect().is_outage(status) && status != StatusCode::TOO_MANY_REQUESTS;
        let mut inner = self.outages.0.lock();
        match is_outage {
            true => inner.fails(left, true, self.config.accept_for),
            false => inner.answers(left),
        }
    }

    /// Notes the pause that an answer of this status may have asked for.
    pub(super) fn note_pause(&self, status: Option<StatusCode>) {
        let may_ask = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].map(Some);
        if may_ask.contains(&status)
            && let Some(end) = self.upstream.paused_until()
        {
            let now = self.shared.clock.now();
            let length = end.saturating_duration_since(Instant::now());
            self.outages.0.lock().pauses(now, now.after(length));
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

    /// Since when the API answers only that it is down, but for moments.
    pub fn down_since(&self) -> Option<Timestamp> {
        self.outages.0.lock().down_since()
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

    /// Pauses that were asked for at the first second, until the second one.
    type Spans<'a> = &'a [(u64, u64)];

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
    fn pauses_stand_still_for_nine_acceptances_and_no_longer() {
        let pauses = |spans: Spans<'_>| {
            let mut inner = Inner::default();
            spans.iter().for_each(|(now, until)| inner.pauses(at(*now), at(*until)));
            inner
        };
        let cases: [(Spans<'_>, u64, u64); 9] = [
            (&[(900, 910)], 1_000, 940),
            // While it lasts, and afterwards for as long as was left.
            (&[(990, 1_050)], 1_000, 930),
            (&[(970, 990)], 1_000, 920),
            // One that is made longer, and one that names less than the one that is on.
            (&[(970, 980), (975, 990), (980, 985)], 1_000, 920),
            // Several, one after the other.
            (&[(900, 920), (930, 950), (970, 990)], 1_000, 880),
            // Nine minutes of pauses, and a minute of answers.
            (&[(0, 1_540)], 2_000, 1_940),
            (&[(1_430, 1_970)], 2_000, 1_400),
            (&[(1_000, 1_990)], 2_000, 1_400),
            (&[(1_000, 1_500), (1_510, 1_990)], 2_000, 1_400),
        ];
        for (spans, now, expected) in cases {
            assert_eq!(pauses(spans).horizon(at(now), ACCEPT_FOR), at(expected), "{spans:?} at {now}");
        }
        let mut inner = pauses(&[]);
        for round in 0..10_000 {
            inner.pauses(at(round * 3), at(round * 3 + 2));
        }
        assert_eq!(inner.pauses.len(), PAUSES);
        // Two seconds in three; whoever was in half an hour ago and had no luck since is out.
        assert_eq!(inner.horizon(at(30_000), ACCEPT_FOR), at(30_000 - 178));
    }

    #[test]
    fn a_pause_within_an_outage_is_the_outage() {
        let mut inner = Inner::default();
        inner.answers(at(900));
        inner.fails(at(950), true, ACCEPT_FOR);
        inner.pauses(at(951), at(953));
        assert_eq!(inner.horizon(at(5_000), ACCEPT_FOR), at(890));
        // It comes back, throttles, and is gone again, while a call of before is still on its way.
        inner.answers(at(5_000));
        inner.pauses(at(5_000), at(5_020));
        inner.fails(at(5_010), false, ACCEPT_FOR);
        assert_eq!(inner.horizon(at(9_000), ACCEPT_FOR), at(890));
        inner.answers(at(9_000));
        assert_eq!(inner.horizon(at(9_005), ACCEPT_FOR), at(900 - 5));
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

    #[test]
    fn a_word_from_before_it_flickered_counts_no_longer_than_an_acceptance() {
        let mut inner = Inner::default();
        for moment in 0..7 {
            inner.fails(at(1_000 + moment * 10), true, ACCEPT_FOR);
            inner.answers(at(1_009 + moment * 10));
        }
        assert_eq!(inner.down_since(), None);
        inner.fails(at(1_070), true, ACCEPT_FOR);
        assert_eq!(inner.troubles.len(), 1, "moments do not end a trouble");
        // Seven seconds of answers have passed.
        assert_eq!(inner.horizon(at(1_100), ACCEPT_FOR), at(1_007 - 60));
        assert_eq!(inner.down_since(), Some(at(1_007)));
    }
}
