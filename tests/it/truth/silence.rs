//! When the API gave no answer in time, as far as forebay can tell.

use forebay::clock::Timestamp;

use super::run::FIRST_BYTE;

/// The calls that got none, and those whose answers are held: once they are held for longer than forebay waits,
/// it takes the API for silent since they came.
#[derive(Default)]
pub struct Silence {
    last: Option<Timestamp>,
    held: Vec<Timestamp>,
}

impl Silence {
    /// A call that comes at `now` gets no answer.
    pub fn note(&mut self, now: Timestamp) {
        self.last = Some(now);
    }

    /// A call that comes at `now` is held.
    pub fn hold(&mut self, now: Timestamp) {
        self.held.push(now);
    }

    /// One that came at `since` goes on at `now`.
    pub fn let_go(&mut self, since: Timestamp, now: Timestamp) {
        if let Some(place) = self.held.iter().position(|held| *held == since) {
            self.held.swap_remove(place);
        }
        if since.after(FIRST_BYTE) <= now {
            self.last = self.last.max(Some(since));
        }
    }

    /// When the last call came that has got no answer in time by `now`.
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        let overdue = self.held.iter().filter(|since| since.after(FIRST_BYTE) <= now).max();
        self.last.max(overdue.copied())
    }
}
