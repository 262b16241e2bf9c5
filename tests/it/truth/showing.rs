//! What may be shown to somebody, by its age and by what was promised: the same for every API.
//!
//! A read is judged by what was promised before it began: each of its cells has a floor, the version that some
//! client was told of before. Between the floor and the truth there may be a gap, whose width depends on who
//! made the change: somebody behind forebay's back (the rule's lifetimes), or a write through forebay whose
//! operation runs on or whose outcome nobody knows (nothing but an answer that was on its way).

use std::fmt::Display;
use std::time::Duration;

use forebay::clock::Timestamp;

use super::acceptance::Holder;
use super::answering::Answering;
use super::history::{CellState, Change, Stamp};
use super::rules::Allowed;

/// How far forebay's clock may have moved on between the last byte of an answer and the moment in which forebay
/// took notice, or between the moment in which forebay sends something and that in which it comes.
///
/// What forebay keeps for `kept` after it took notice is shown until `kept` and so much after it was sent. The
/// clock moves by less than this at a time, and only when what was written has had many turns to be read; it
/// leaps by more only when nothing is on its way. A test of the weather holds the former: two seconds for a
/// tick, as there once were, had answers judged too old that forebay kept for exactly as long as it may.
pub const SLACK: Duration = Duration::from_secs(1);

/// The longest that an answer is kept which shows something in transition, or whose groups were written to
/// lately.
pub const SHORTLY: Duration = Duration::from_secs(1);

/// What came of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// An answer of the API.
    Answer,
    /// An error of forebay's own.
    Refused,
    /// Nothing whole.
    Lost,
}

/// An answer of the API, and the request that it was shown for.
pub struct Showing<'a> {
    /// When the request began.
    pub began: Stamp,
    /// Through which forebay.
    pub generation: u32,
    /// Whether it asked for an answer of its own.
    pub fresh: bool,
    /// Who asked.
    pub holder: Option<&'a Holder>,
    /// When the answer was formed.
    pub formed: Stamp,
    /// When the last of its bytes was written; not yet if `None`.
    pub sent: Option<Stamp>,
    /// Its status.
    pub status: u16,
    /// Whether it may be kept for a second at most.
    pub is_brief: bool,
    /// What forebay said of where it came from.
    pub cache: &'a str,
    /// What the rules allow.
    pub allowed: &'a Allowed,
    /// What became of every call.
    pub answering: &'a Answering,
}

impl Showing<'_> {
    /// Whether it is the last known state in place of an error.
    pub fn is_in_place_of_an_error(&self) -> bool {
        self.cache.contains("stale-if-error")
    }

    /// How old it was when the request began.
    pub fn age(&self) -> Duration {
        self.sent.map_or(Duration::ZERO, |sent| self.began.at.since(sent.at))
    }

    /// Nothing is shown for longer than its rule allows.
    pub fn judge_age(&self) -> Result<(), String> {
        if self.fresh && self.formed < self.began {
            return Err("an answer from before the request, which asked for its own".into());
        }
        if self.sent.is_none() {
            return Ok(());
        }
        let wrote = self.holder.is_some_and(|holder| holder.had_written(self.began, self.generation));
        if self.cache.contains("stale-") && wrote {
            return Err("what has expired for somebody who wrote lately".into());
        }
        let most = match self.status {
            200 if self.is_in_place_of_an_error() => self.allowed.in_outage,
            200 if self.is_brief => self.allowed.kept.min(SHORTLY),
            200 => self.allowed.kept,
            _ => Duration::ZERO,
        };
        let age = self.age();
        if is_over(age, most) {
            return Err(format!("an answer {age:?} old, where {most:?} is allowed"));
        }
        Ok(())
    }

    /// Nothing is shown that was the past when the request began: it `shows` cells at versions, of which
    /// `floors` were promised. `gap` judges each change that is missing.
    pub fn judge_versions<'s, C: Copy + PartialEq + Display>(
        &self,
        shows: &[(C, usize)],
        floors: &[(C, usize)],
        state: impl Fn(C) -> &'s CellState,
        gap: impl Fn(Change) -> Result<(), String>,
    ) -> Result<(), String> {
        for (cell, version) in shows {
            let state = state(*cell);
            let floor = floors.iter().find(|(c, _)| c == cell).map_or(0, |(_, floor)| *floor);
            if *version < floor {
                let by = &state.promised_by;
                return Err(format!("the past: {cell} at {version}, after {floor} was promised by {by}"));
            }
            for (missed, change) in state.history.iter().enumerate().skip(version + 1) {
                if change.when > self.began {
                    break;
                }
                gap(*change).map_err(|what| {
                    format!("{what}: {cell} at {version} without {missed} by {:?}", change.cause)
                })?;
            }
        }
        Ok(())
    }

    /// Whether a change may be missing that is to show after `most`.
    pub fn judge_gap(&self, most: Duration) -> Result<(), String> {
        let age = self.age();
        if self.is_in_place_of_an_error() && most > Duration::ZERO {
            return match is_over(age, self.allowed.in_outage) {
                true => Err(format!("{age:?} behind")),
                false => Ok(()),
            };
        }
        if is_over(age, most) {
            return Err(format!("{age:?} behind, where {most:?} is allowed"));
        }
        Ok(())
    }

    /// Whether something that was `told` then, and to which forebay, was known to this one.
    pub fn was_told(&self, told: Option<(Stamp, u32)>) -> bool {
        // What a forebay knew that was stopped since, the next one does not.
        told.is_some_and(|(when, to)| when < self.began && to == self.generation)
    }

    /// Whether an acceptance by a call that came at `came` still counts.
    pub fn is_accepted(&self, came: Timestamp) -> bool {
        let (began, most) = (self.began.at, self.allowed.accept_for + SLACK);
        let silent_since = || self.answering.silent_since(began, began.after(SLACK));
        began.since(came) <= most
            || silent_since().is_some_and(|since| since.since(came) <= most)
            || self.is_in_place_of_an_error() && came >= self.answering.horizon(began, most)
    }

    /// Since when what the API said of rights may count: as acceptances do, and while it says that it is down
    /// for as much of the time in which it answered.
    pub fn words_since(&self, now: Timestamp) -> Timestamp {
        let (began, most) = (self.began.at, self.allowed.accept_for + SLACK);
        let silent_since = self.answering.silent_since(began, now).unwrap_or(began);
        let horizon = self.answering.is_down(began, now).then(|| self.answering.horizon(began, most));
        silent_since.min(began).before(most).min(horizon.unwrap_or(began))
    }
}

/// Whether something is older than it may be.
fn is_over(age: Duration, most: Duration) -> bool {
    age > most + SLACK
}

#[test]
fn no_tick_of_the_clock_is_longer_than_the_slack() {
    let kept = Duration::from_secs(10);
    for tick in super::weather::ticks().chain([super::run::STRIDE]) {
        // Sent, noticed a tick later, and shown at the very end of its life.
        assert!(!is_over(tick + kept, kept), "{tick:?}");
    }
    // The ticks of the oldest weather were of up to two seconds.
    assert!(is_over(Duration::from_millis(2_000) + kept, kept));
}
