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
//! bounds that forebay keeps. When forebay sees something is not known exactly: the clock may move on between the
//! moment in which a call sets out and the one in which it comes, by up to [`SLACK`], and so it may between what
//! is done to it here and the moment in which that is noticed. So of two calls between whose ends it moved no more
//! than once either may have ended first for forebay, unless it leapt, for which it waits until all is quiet; and
//! what is reckoned is the most that a trouble may have lasted.

use std::time::Duration;

use forebay::clock::Timestamp;

use super::run::FIRST_BYTE;
use super::showing::SLACK;

/// Before anything happened.
const ALWAYS: Timestamp = Timestamp::from_nanos(0);

/// How often the clock may move between the end of a call here and the moment in which forebay notices.
const DOUBT: u64 = 1;

/// What became of every call.
#[derive(Default)]
pub struct Answering {
    calls: Vec<Call>,
    /// The last time that was heard of, and how often it was another.
    last: Option<(Timestamp, u64)>,
}

/// A call to the API.
struct Call {
    came: Timestamp,
    ended: Option<(Timestamp, u64, How)>,
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
        self.moves(now);
        self.calls.push(Call { came: now, ended: None });
        Coming(self.calls.len() - 1)
    }

    /// A call ends at `now`. If it had already, because nobody waited for it any more, nothing changes.
    pub fn ends(&mut self, Coming(number): Coming, now: Timestamp, how: How) {
        let moves = self.moves(now);
        self.calls[number].ended.get_or_insert((now, moves, how));
    }

    /// How often the clock has moved until `now`; a leap counts for several times.
    fn moves(&mut self, now: Timestamp) -> u64 {
        let (last, moves) = self.last.unwrap_or((now, 0));
        let moves = match now.since(last) {
            Duration::ZERO => moves,
            by if by > SLACK => moves + DOUBT + 1,
            _ => moves + 1,
        };
        self.last = Some((now, moves));
        moves
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
        let lasting = self.lasting((from, until), |how| how != How::Silent, How::Silent);
        lasting
            .into_iter()
            .map(|(call, before)| before.map_or(ALWAYS, |answer| answer.ended).max(call.came.before(SLACK)))
            .min()
    }

    /// Whether a trouble may last at a moment from `from` to `until` in which it said that it is down.
    pub fn is_down(&self, from: Timestamp, until: Timestamp) -> bool {
        !self.lasting((from, until), |how| how == How::Answered, How::Down).is_empty()
    }

    /// The calls that ended so `ill` that it may last at a moment from `from` to `until`, each with the last
    /// before that ended well.
    fn lasting(
        &self,
        (from, until): (Timestamp, Timestamp),
        is_well: impl Fn(How) -> bool,
        ill: How,
    ) -> Vec<(Ended, Option<Ended>)> {
        let (answers, failed) = self.split(until, is_well);
        let lasting = failed.into_iter().filter(|call| call.how == ill).filter_map(|call| {
            let before = answers[..call.known_before(&answers)].last().copied();
            let after = answers[call.known_after(&answers)..].first();
            let is_over = after.is_some_and(|answer| answer.ended.after(SLACK) < from);
            (call.ended <= until.after(SLACK) && !is_over).then_some((call, before))
        });
        lasting.collect()
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
            let first = next.first().map_or(0, |first| first.moves + DOUBT);
            let until =
                next.iter().take_while(|answer| answer.moves <= first).map(|answer| answer.came).max();
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
        let latest = self.last.map_or(0, |(_, moves)| moves);
        let ended = self.calls.iter().filter_map(|call| {
            let given_up = call.came.after(FIRST_BYTE);
            let overdue = (given_up <= now.after(SLACK)).then_some((given_up, latest, How::Silent));
            let (ended, moves, how) = call.ended.or(overdue).filter(|(.., how)| *how != How::Unheard)?;
            Some((Ended { came: call.came, ended, moves, how }, is_well(how)))
        });
        let (mut well, mut ill) = (Vec::new(), Vec::new());
        ended.for_each(|(call, is_well)| if is_well { well.push(call) } else { ill.push(call) });
        well.sort_by_key(|call| call.moves);
        ill.sort_by_key(|call| call.moves);
        (well, ill)
    }
}

/// A call that has ended, and how often the clock had moved by then.
#[derive(Clone, Copy, Debug)]
struct Ended {
    came: Timestamp,
    ended: Timestamp,
    moves: u64,
    how: How,
}

impl Ended {
    /// How many of `answers` were certainly known when this call had failed.
    fn known_before(&self, answers: &[Ended]) -> usize {
        answers.partition_point(|answer| answer.moves + DOUBT < self.moves)
    }

    /// How many of `answers` may have been.
    fn known_after(&self, answers: &[Ended]) -> usize {
        answers.partition_point(|answer| answer.moves <= self.moves + DOUBT)
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
        let mut moments: Vec<u64> = calls.iter().flat_map(|(came, ended, _)| [*came, *ended]).collect();
        moments.sort_unstable();
        moments.dedup();
        let mut under_way = Vec::new();
        for moment in moments {
            for call in calls.iter().filter(|(came, ..)| *came == moment) {
                under_way.push((answering.comes(at(moment)), call));
            }
            for (number, (.., how)) in under_way.extract_if(.., |(_, (_, ended, _))| *ended == moment) {
                answering.ends(number, at(moment), *how);
            }
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
        assert!(answering.is_down(at(160), at(160)) && !answering.is_down(at(130), at(130)));
        assert_eq!(answering.horizon(at(160), SPAN), at(109 - 60));
    }

    #[test]
    fn who_waits_for_longer_than_forebay_does_is_given_up() {
        let mut answering = answering(&[(90, 90, Answered)]);
        answering.comes(at(100));
        let over = at(100).after(FIRST_BYTE);
        answering.moves(over);
        assert_eq!(answering.silent_since(over.before(SLACK * 3), over.before(SLACK * 3)), None);
        assert_eq!(answering.silent_since(over, over), Some(at(99)));
    }
}
