//! What the API said of the rights of each credential, and for how long that counts.
//!
//! A word counts like an acceptance: for a time from when it was asked for, until the credential ends or
//! is refused, and until something overtakes what may change rights, by the same logical clock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Acceptance, Known};
use crate::cache::groups::{GroupId, GroupName, Sequence};
use crate::cache::key::{CredentialId, Partition};
use crate::clock::Timestamp;

/// The least time between two questions for one credential, however often what it may do is overtaken.
const PAUSE: Duration = Duration::from_secs(1);

/// What the API said of one credential's rights.
#[derive(Clone, Copy, Debug)]
pub struct RightsWord {
    /// The number that the question took before it left.
    pub sequence: Sequence,
    /// When it left.
    pub left: Timestamp,
    /// Those whose rights are these; `None`: the credential shares with nobody for its rights.
    pub partition: Option<Partition>,
}

/// What words are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Validity<'g> {
    /// What is overtaken when rights may have changed.
    pub groups: &'g [GroupId],
    /// Words from before this do not count: other rules said then what changes rights.
    pub since: Sequence,
    /// For how long a word counts.
    pub accept_for: Duration,
}

/// The latest word on a credential, and the question under way.
#[derive(Debug, Default)]
pub(super) struct OfRights {
    word: Option<RightsWord>,
    is_asked: bool,
    /// Nothing is asked before this.
    rests_until: Option<Timestamp>,
}

impl Acceptance {
    /// Those whose rights are the same as `credential`'s, as far as the API's word counted at `then` and
    /// nothing but time has ended it until `now`.
    pub fn rights(
        &self,
        site: u32,
        credential: CredentialId,
        then: Timestamp,
        now: Timestamp,
        by: Validity<'_>,
    ) -> Option<Partition> {
        let known = self.known.get(&(site, credential))?;
        let word = known.said.lock().word?;
        word.partition.filter(|_| self.counts(site, &known, word, then, now, by))
    }

    /// Whether the API has to be asked for the rights of `credential`, which it accepts; if so the caller
    /// owes [`Acceptance::rights_answered`]. In time before the last word ends, so that who keeps asking
    /// never shares less.
    pub fn rights_are_due(
        &self,
        site: u32,
        credential: CredentialId,
        now: Timestamp,
        by: Validity<'_>,
    ) -> bool {
        if !self.is_accepted(site, credential, now, by.accept_for) {
            return false;
        }
        let Some(known) = self.known.get(&(site, credential)) else { return false };
        let mut said = known.said.lock();
        let is_new = |word: RightsWord| {
            now.since(word.left) < by.accept_for * 3 / 4 && self.counts(site, &known, word, now, now, by)
        };
        if said.is_asked || said.rests_until.is_some_and(|until| now < until) || said.word.is_some_and(is_new)
        {
            return false;
        }
        (said.is_asked, said.rests_until) = (true, Some(now.after(PAUSE)));
        true
    }

    /// A question has ended; without a word of the API there is no other before `again`.
    pub fn rights_answered(
        &self,
        site: u32,
        credential: CredentialId,
        word: Option<RightsWord>,
        again: Timestamp,
    ) {
        let Some(known) = self.known.get(&(site, credential)) else { return };
        let mut said = known.said.lock();
        said.is_asked = false;
        match word {
            Some(_) => said.word = word,
            None => said.rests_until = said.rests_until.max(Some(again)),
        }
    }

    /// Whether the API said after `sequence` that the rights of `credential` are those of `partition`, and
    /// nothing else since.
    pub fn had_rights(
        &self,
        site: u32,
        credential: CredentialId,
        partition: Partition,
        sequence: Sequence,
    ) -> bool {
        let known = self.known.get(&(site, credential));
        let word = known.and_then(|known| known.said.lock().word);
        word.is_some_and(|word| word.partition == Some(partition) && word.sequence > sequence)
    }

    fn counts(
        &self,
        site: u32,
        known: &Known,
        word: RightsWord,
        then: Timestamp,
        now: Timestamp,
        by: Validity<'_>,
    ) -> bool {
        // A refusal may be about the principal, so it ends what was said of all its credentials.
        let own = known.principal.get().copied().flatten();
        let own = own.map(|own| self.groups.id(site, GroupName::Partition(own)));
        own.is_some_and(|own| self.groups.is_current(word.sequence, &[own]))
            && word.sequence > by.since
            && word.sequence.as_u64() > known.refused.load(Ordering::SeqCst)
            && then.since(word.left) < by.accept_for
            && now.as_nanos() < known.ends.load(Ordering::SeqCst)
            && self.groups.is_current(word.sequence, by.groups)
    }
}
