//! When the API answered, as far as whoever calls it can tell.
//!
//! What the API said of a credential counts for a time, and that time is counted in two ways (ARCHITECTURE.md,
//! "Those who were in before an outage see the last known state during it"):
//!
//! - While the API is *silent* it stands still. A silence begins when a call set out that got no answer, or
//!   with the last answer before its failure was known, if that is later; any answer ends it.
//! - For the last known state in place of an error only the time counts in which the API *answered*. A trouble
//!   begins when a call set out that failed (it got no answer, or one that says that the API is down), or when
//!   the last one did that had been answered before; it ends when the next set out that was answered.
//!
//! The model notes what became of every call, and forgets none; all is reckoned from that, without any of the
//! bounds that forebay keeps. When forebay sees something is not known exactly: up to [`SLACK`] lies between the
//! moment in which a call sets out and the one in which it comes, and as much between what is done to it here
//! and the moment in which that is noticed. So of two things that lie no further apart either may have been
//! first, and what is reckoned is the most that a trouble may have lasted.

use std::time::Duration;

use forebay::clock::Timestamp;

use super::run::FIRST_BYTE;
use super::showing::SLACK;

/// Before anything happened.
const ALWAYS: Timestamp = Timestamp::from_nanos(0);

/// What became of every call.
#[derive(Default)]
pub struct Answering {
    calls: Vec<Call>,
}

/// A call to the API.
struct Call {
    came: Timestamp,
    ended: Option<(Timestamp, How)>,
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// It was answered.
    Answered,
    /// It was answered that the API is down.
    Down,
    /// It got no answer.
    Silent,
    /// It was answered, and may have been forebay's own question whether an endpoint is up, by whose answer it
    /// learns nothing else.
    Unheard,
}

/// A call that has come; its number.
#[derive(Clone, Copy, Debug)]
pub struct Coming(usize);

/// A time of trouble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    since: Timestamp,
    until: Timestamp,
}

impl Answering {
    /// A call comes at `now`.
    pub fn comes(&mut self, now: Timestamp) -> Coming {
        self.calls.push(Call { came: now, ended: None });
        Coming(self.calls.len() - 1)
    }

    /// A call ends at `now`. If it had already, because nobody waited for it any more, nothing changes.
    pub fn ends(&mut self, Coming(number): Coming, now: Timestamp, how: How) {
        self.calls[number].ended.get_or_insert((now, how));
    }

    /// How an answer with this status ends a call, with a credential or without.
    pub fn by_status(status: u16, is_anonymous: bool) -> How {
        match status {
            502..=504 | 595 | 596 | 599 => How::Down,
            _ if is_anonymous => How::Unheard,
            _ => How::Answered,
        }
    }

    /// The start of the earliest silence that may last at a moment from `from` to `until`.
    pub fn silent_since(&self, from: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let (answers, silent) = self.split(until, |how| how != How::Silent);
        let starts = silent.into_iter().filter_map(|call| {
            let before = answers[..call.known_before(&answers)].last().map(|answer| answer.ended);
            let after = answers[call.known_after(&answers)..].first();
            let is_over = after.is_some_and(|answer| answer.ended.after(SLACK) < from);
            let lasts = call.ended <= until.after(SLACK) && !is_over;
            lasts.then(|| before.unwrap_or(ALWAYS).max(call.came.before(SLACK)))
        });
        starts.min()
    }

    /// Whether a trouble may last at a moment from `from` to `until`.
    pub fn is_troubled(&self, from: Timestamp, until: Timestamp) -> bool {
        self.troubles(until.after(SLACK)).last().is_some_and(|trouble| trouble.until.after(SLACK) >= from)
    }

    /// Since when it had answered for `span` in all at `now`, at the latest: an acceptance that counts for so
    /// much of that time is as old at most.
    pub fn horizon(&self, now: Timestamp, span: Duration) -> Timestamp {
        let (mut at, mut left) = (now, span);
        for trouble in self.troubles(now).iter().rev() {
            let answered = at.since(trouble.until);
            if answered >= left {
                break;
            }
            left -= answered;
            at = trouble.since;
        }
        at.before(left)
    }

    /// The troubles until `now`, each after the one before.
    fn troubles(&self, now: Timestamp) -> Vec<Span> {
        let (answers, failed) = self.split(now, |how| how == How::Answered);
        // The latest that came of those that were answered up to each.
        let latest = answers.iter().scan(ALWAYS, |latest, answer| {
            *latest = answer.came.max(*latest);
            Some(*latest)
        });
        let latest: Vec<Timestamp> = latest.collect();
        let spans = failed.into_iter().filter(|call| call.came <= now).map(|call| {
            let before = latest[..call.known_before(&answers)].last().copied();
            let since = before.unwrap_or(ALWAYS).max(call.came.before(SLACK));
            let next = &answers[call.known_after(&answers)..];
            let first = next.first().map(|first| first.ended.after(SLACK)).unwrap_or(ALWAYS);
            let until =
                next.iter().take_while(|answer| answer.ended <= first).map(|answer| answer.came).max();
            Span { since, until: until.unwrap_or(now).clamp(since, now.max(since)) }
        });
        let mut spans: Vec<Span> = spans.collect();
        spans.sort_by_key(|span| span.since);
        spans.dedup_by(|later, earlier| {
            let meets = later.since <= earlier.until;
            if meets {
                earlier.until = earlier.until.max(later.until);
            }
            meets
        });
        spans
    }

    /// Those that ended well and those that did not, in the order of their ends. Who still waits at `now` and
    /// has for longer than forebay does is given up.
    fn split(&self, now: Timestamp, is_well: impl Fn(How) -> bool) -> (Vec<Ended>, Vec<Ended>) {
        let ended = self.calls.iter().filter_map(|call| {
            let given_up = call.came.after(FIRST_BYTE);
            let overdue = (given_up <= now.after(SLACK)).then_some((given_up, How::Silent));
            let (ended, how) = call.ended.or(overdue).filter(|(_, how)| *how != How::Unheard)?;
            Some((Ended { came: call.came, ended }, is_well(how)))
        });
        let (mut well, mut ill) = (Vec::new(), Vec::new());
        ended.for_each(|(call, is_well)| if is_well { well.push(call) } else { ill.push(call) });
        well.sort_by_key(|call| call.ended);
        ill.sort_by_key(|call| call.ended);
        (well, ill)
    }
}

/// When a call came and when it ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    came: Timestamp,
    ended: Timestamp,
}

impl Ended {
    /// How many of `answers` were certainly known when this call had failed.
    fn known_before(&self, answers: &[Ended]) -> usize {
        answers.partition_point(|answer| answer.ended.after(SLACK) < self.ended)
    }

    /// How many of `answers` may have been.
    fn known_after(&self, answers: &[Ended]) -> usize {
        answers.partition_point(|answer| answer.ended <= self.ended.after(SLACK))
    }
}

mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    /// Of these `(came, ended, how)` is a call.
    type Calls<'a> = &'a [(u64, u64, How)];

    fn answering(calls: Calls<'_>) -> Answering {
        let mut answering = Answering::default();
        for (came, ended, how) in calls {
            let number = answering.comes(at(*came));
            answering.ends(number, at(*ended), *how);
        }
        answering
    }

    use How::{Answered, Down, Silent};

    #[test]
    fn only_the_time_in_which_it_answered_counts() {
        // A trouble begins up to a second before the call came that failed.
        let cases: [(Calls<'_>, u64, u64); 10] = [
            (&[], 1_000, 940),
            (&[(500, 500, Answered), (990, 990, Answered)], 1_000, 940),
            // While it lasts.
            (&[(900, 900, Answered), (950, 950, Down)], 1_000, 889),
            (&[(900, 900, Answered), (950, 956, Silent), (990, 996, Silent)], 5_000, 889),
            // It goes on afterwards, for as long as was left.
            (&[(950, 956, Silent), (990, 990, Answered)], 1_000, 899),
            (&[(950, 956, Silent), (990, 990, Answered)], 1_048, 947),
            (&[(950, 956, Silent), (990, 990, Answered)], 1_051, 991),
            // Several, one after the other.
            (
                &[(900, 900, Down), (910, 910, Answered), (930, 936, Silent), (980, 980, Answered)],
                1_000,
                899 - (60 - 20 - 19),
            ),
            // A call that fails late says nothing of the time before the last that was answered; whoever called
            // then knows no more until the next one.
            (&[(900, 900, Answered), (950, 950, Answered), (910, 970, Silent)], 1_000, 890),
            // One that set out before the trouble and is answered late ends it as if it had not been.
            (&[(900, 930, Answered), (910, 911, Down), (980, 980, Answered)], 1_000, 940),
        ];
        for (calls, now, expected) in cases {
            let found = answering(calls).horizon(at(now), SPAN);
            assert_eq!(found, at(expected), "{calls:?} at {now}: {found:?}");
        }
    }

    #[test]
    fn a_silence_begins_with_the_call_and_ends_with_any_answer() {
        let calls: Calls<'_> = &[
            (100, 100, Answered),
            (110, 116, Silent),
            (120, 126, Silent),
            (130, 140, Down),
            (150, 150, Down),
        ];
        let answering = answering(calls);
        let cases = [
            (105, None),
            // Nobody knows of it before it is given up.
            (114, None),
            (116, Some(109)),
            (130, Some(109)),
            (140, Some(109)),
            (142, None),
            (160, None),
        ];
        for (now, expected) in cases {
            assert_eq!(answering.silent_since(at(now), at(now)), expected.map(at), "at {now}");
        }
        // Down is not silent, and trouble all the same.
        assert!(answering.is_troubled(at(160), at(160)));
        assert_eq!(answering.horizon(at(160), SPAN), at(109 - 60));
    }

    #[test]
    fn who_waits_for_longer_than_forebay_does_is_given_up() {
        let mut answering = answering(&[(90, 90, Answered)]);
        answering.comes(at(100));
        let over = at(100).after(FIRST_BYTE);
        assert_eq!(answering.silent_since(over.before(SLACK * 3), over.before(SLACK * 3)), None);
        assert_eq!(answering.silent_since(over, over), Some(at(99)));
    }
}
