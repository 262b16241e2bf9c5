//! How often something that is kept warm is fetched again: between two paces, by how often it changes.

use std::time::Duration;

/// The part of its lifetime after which something is fetched again, so that it never expires: the rest is
/// for a slow API.
const PART: f64 = 0.8;

/// The longest rest after failures. An API that is down is asked by its readers as well.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// A thing is quiet after so many fetches in a row without a change: one alone says little of what changes
/// every now and then.
const QUIET_AFTER: u32 = 2;

/// The two paces of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paces {
    /// While it changes.
    pub quick: Duration,
    /// While it does not.
    pub slow: Duration,
}

/// What a fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It says what was kept.
    Same,
    /// It says something else.
    Changed,
    /// There was no answer to keep.
    Nothing,
}

/// What is fetched again belongs to one of two passes, by how it was seen to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// What is new or changed in one of its last two fetches.
    Quick,
    /// The rest: what is quiet, and what cannot be fetched.
    Full,
}

impl Pass {
    /// Both, the first to be served first.
    pub const ALL: [Self; 2] = [Self::Quick, Self::Full];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// Where between its paces one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    interval: Duration,
    /// How many fetches in a row brought no change.
    unchanged: u32,
    /// How many fetches in a row came to nothing.
    failures: u32,
}

impl Paces {
    /// The paces of what is fresh for `fresh` and named to be fetched `every` so often.
    pub fn of(every: Duration, fresh: Duration) -> Self {
        let in_time = fresh.mul_f64(PART);
        Self { quick: every.min(in_time), slow: every.max(in_time) }
    }
}

impl Pace {
    /// That of something new: it may change often.
    pub fn new(paces: Paces) -> Self {
        Self { interval: paces.quick, unchanged: 0, failures: 0 }
    }

    /// How long after its last fetch it is due.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The pass that it belongs to. What fails is seen to change as little as what is quiet, and must not
    /// hold the places of the quick pass until it times out.
    pub fn pass(&self) -> Pass {
        if self.unchanged < QUIET_AFTER { Pass::Quick } else { Pass::Full }
    }

    /// How many fetches in a row came to nothing.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Goes on by what a fetch came to: quick again after a change, twice as slow after none, and slower
    /// than ever while nothing comes.
    pub fn found(&mut self, found: Found, paces: Paces) {
        let twice = self.interval.saturating_mul(2);
        self.interval = match found {
            Found::Changed => paces.quick,
            // Out of a rest after failures too.
            Found::Same => twice.clamp(paces.quick, paces.slow),
            Found::Nothing => twice.clamp(paces.quick, paces.slow.max(LONGEST_REST)),
        };
        self.unchanged = if found == Found::Changed { 0 } else { self.unchanged.saturating_add(1) };
        self.failures = if found == Found::Nothing { self.failures.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_thing_is_fetched_in_time_and_as_often_as_is_named() {
        let long_lived = Paces::of(30 * SECOND, 100 * SECOND);
        assert_eq!(long_lived, Paces { quick: 30 * SECOND, slow: 80 * SECOND });
        let short_lived = Paces::of(30 * SECOND, 5 * SECOND);
        assert_eq!(short_lived, Paces { quick: 4 * SECOND, slow: 30 * SECOND });
    }

    #[test]
    fn the_pace_follows_what_changes() {
        let paces = Paces { quick: 4 * SECOND, slow: 30 * SECOND };
        let mut pace = Pace::new(paces);
        let mut after = |found| {
            pace.found(found, paces);
            pace.interval().as_secs()
        };
        assert_eq!([Found::Same; 4].map(&mut after), [8, 16, 30, 30]);
        assert_eq!(after(Found::Changed), 4);
        assert_eq!([Found::Nothing; 8].map(&mut after), [8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(after(Found::Same), 30);
        assert_eq!(pace.failures(), 0);
    }

    #[test]
    fn what_changed_lately_is_in_the_quick_pass() {
        use Found::{Changed, Nothing, Same};
        // Also where both paces are one, so that the interval tells nothing.
        for slow in [4 * SECOND, 30 * SECOND] {
            let paces = Paces { quick: 4 * SECOND, slow };
            let mut pace = Pace::new(paces);
            assert_eq!(pace.pass(), Pass::Quick, "it is new");
            let mut after = |found| {
                pace.found(found, paces);
                pace.pass()
            };
            assert_eq!([Same, Same, Same].map(&mut after), [Pass::Quick, Pass::Full, Pass::Full]);
            assert_eq!([Changed, Same, Changed].map(&mut after), [Pass::Quick; 3]);
            assert_eq!([Nothing, Nothing].map(&mut after), [Pass::Quick, Pass::Full], "it times out");
            assert_eq!([Same, Changed].map(&mut after), [Pass::Full, Pass::Quick]);
        }
    }
}
