//! What is known of one credential, and what may be shown to its holder by that: the same for every API.
//!
//! The API accepts a credential by a success that it gives to that very credential, and for `accept_for` its
//! holder may be shown what is kept. The time is counted from when that call came, as forebay counts it from
//! when it left: while the API is silent it stands still, and for the last known state in place of an error
//! only the time counts in which the API answered ([`super::answering`]).

use forebay::clock::Timestamp;

use super::history::Stamp;
use super::people::Standing;
use super::showing::Showing;

/// A credential's past.
pub struct Holder {
    /// What the API makes of it.
    pub standing: Standing,
    accepted: Option<Accepted>,
    told_refused: Option<Stamp>,
    told_accepted: Option<Stamp>,
    wrote: Option<(Stamp, u32)>,
}

/// An answer that accepted it.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    /// When it was formed.
    formed: Stamp,
    /// When the call came.
    came: Timestamp,
    /// To which forebay it was sent.
    generation: u32,
}

impl Holder {
    /// One that nobody has used yet.
    pub fn new(standing: Standing) -> Self {
        Self { standing, accepted: None, told_refused: None, told_accepted: None, wrote: None }
    }

    /// The API forms an answer that accepts it, to a call of the forebay `generation` that came at `came`.
    pub fn is_accepted(&mut self, formed: Stamp, came: Timestamp, generation: u32) {
        let latest = self.accepted.filter(|before| before.generation == generation);
        let came = latest.map_or(came, |before| before.came.max(came));
        self.accepted = Some(Accepted { formed, came, generation });
    }

    /// When the API last formed an answer that accepted it.
    pub fn accepted(&self) -> Option<Stamp> {
        self.accepted.map(|accepted| accepted.formed)
    }

    /// Its holder is told a success.
    pub fn told_of_success(&mut self, when: Stamp) {
        self.told_accepted.get_or_insert(when);
    }

    /// Its holder is told that it is refused: for good, if it does not hold.
    pub fn told_of_refusal(&mut self, when: Stamp) {
        if self.standing != Standing::Valid {
            self.told_refused.get_or_insert(when);
        }
    }

    /// Its holder is told by the forebay `generation` that a write of his succeeded.
    pub fn told_of_write(&mut self, when: Stamp, generation: u32) {
        self.wrote = Some((when, generation));
    }

    /// Whether a client was ever told a success with it.
    pub fn was_let_in(&self) -> bool {
        self.told_accepted.is_some()
    }

    /// Whether the forebay `generation` told its holder before `began` that he wrote.
    pub fn had_written(&self, began: Stamp, generation: u32) -> bool {
        self.wrote.is_some_and(|(when, to)| when < began && to == generation)
    }

    /// Whether its holder may be shown data that not everybody may see.
    pub fn judge(&self, showing: &Showing) -> Result<(), String> {
        let Showing { began, generation, .. } = *showing;
        let Some(accepted) = self.accepted else {
            return Err(format!("data for a credential that the API never accepted: {:?}", self.standing));
        };
        if accepted.generation != generation {
            return Err("data for a credential that this forebay has not seen accepted".into());
        }
        if !showing.is_accepted(accepted.came) {
            let age = began.at.since(accepted.came);
            return Err(format!("data for a credential whose acceptance is {age:?} old"));
        }
        if self.told_refused.is_some_and(|told| told < began) {
            return Err("data for a credential whose holder was told that it is refused".into());
        }
        Ok(())
    }
}
