//! What was in effect at an API at every moment, what its clients were told of it, and the order of it all.
//!
//! Every event takes the next number of one counter under one lock, so what came before what is a fact and not a
//! measurement. Times are those of forebay's own clock, which the test moves.

use std::fmt::Display;
use std::time::Duration;

use forebay::clock::Timestamp;

use super::showing::SLACK;

/// When something happened: in which order, and at which time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp {
    /// The number among all events.
    pub tick: u64,
    /// The time on forebay's clock.
    pub at: Timestamp,
}

/// Who changed a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It was so in the beginning.
    Beginning,
    /// Somebody who does not use forebay, at once.
    Behind,
    /// The same, and this line of the cluster's log tells of it.
    Logged(usize),
    /// A task that somebody started who does not use forebay.
    BehindTask(usize),
    /// A write through forebay, itself or its task.
    Write(usize),
}

/// One version of a cell.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Since when.
    pub when: Stamp,
    /// By whom.
    pub cause: Cause,
}

/// A cell: its versions so far, and the oldest that may still be shown.
#[derive(Default)]
pub struct CellState {
    /// The versions; the last is in effect.
    pub history: Vec<Change>,
    /// The version that clients were promised.
    pub floor: usize,
    /// What promised it, for the report.
    pub promised_by: String,
}

impl CellState {
    /// The version in effect.
    pub fn version(&self) -> usize {
        self.history.len() - 1
    }

    /// Promises that from now on it is shown at `version` or later.
    pub fn promise(&mut self, version: usize, by: &str) {
        if version > self.floor {
            self.floor = version;
            self.promised_by = by.to_owned();
        }
    }

    /// All that is known of it, as `cell`, and what happened to it lately.
    pub fn report(&self, cell: impl Display) -> String {
        let (version, floor, by) = (self.version(), self.floor, &self.promised_by);
        let mut text = format!("{cell}: {version} in effect, {floor} promised by {by}\n");
        for (version, change) in self.history.iter().enumerate().rev().take(5) {
            let at = milliseconds(change.when.at);
            text += &format!("  {version}: {} {at} ms {:?}\n", change.when.tick, change.cause);
        }
        text
    }
}

/// A time as reports show it.
pub fn milliseconds(at: Timestamp) -> u64 {
    at.as_nanos() / 1_000_000 % 1_000_000_000
}

/// What a client learnt of its write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// How it went.
    Outcome,
    /// That nobody knows.
    Unknown,
}

/// What is known of a write that a client sent.
pub struct WriteRecord<W> {
    /// The write.
    pub write: W,
    /// The forebay that it was sent to.
    pub generation: u32,
    /// How often the API carried it out.
    pub executed: u32,
    /// When its client learnt how it went, if it did, and what.
    pub delivered: Option<(Stamp, Told)>,
    /// From when to when what it changed is kept shortly.
    pub settles: Option<(Stamp, Timestamp)>,
}

impl<W> WriteRecord<W> {
    /// One that is sent to the forebay `generation`.
    pub fn new(write: W, generation: u32) -> Self {
        Self { write, generation, executed: 0, delivered: None, settles: None }
    }

    /// It was carried out once at most.
    pub fn judge(&self, number: usize) -> Result<(), String> {
        match self.executed {
            0 | 1 => Ok(()),
            times => Err(format!("write {number} was carried out {times} times")),
        }
    }

    /// Its client is told `what`, and for so long the API's own answers may lag.
    pub fn is_told(&mut self, when: Stamp, what: Told, settles: Option<Duration>) {
        self.delivered = Some((when, what));
        if let Some(settle) = settles {
            self.settles = Some((when, when.at.after(settle)));
        }
    }

    /// When its client learnt how it went or that nobody knows, and from which forebay.
    pub fn told(&self) -> Option<(Stamp, u32)> {
        self.delivered.map(|(when, _)| (when, self.generation))
    }

    /// Whether the API's own answers may have lagged behind it when one was `formed`, as far as the forebay
    /// `generation` knows.
    pub fn is_settling(&self, formed: Stamp, generation: u32) -> bool {
        let still = |(since, until): (Stamp, _)| formed > since && formed.at.after(SLACK) < until;
        self.generation == generation && self.settles.is_some_and(still)
    }
}
