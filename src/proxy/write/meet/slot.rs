//! One write that others may join or wait for, and who waits for its answer.

use std::sync::Arc;

use tokio::sync::watch;

use crate::cache::groups::{GroupId, Groups, Sequence};
use crate::semantics::supersede::Content;

/// How many callers one call answers at most.
pub(super) const MOST_CALLERS: usize = 1000;

/// What a write is about.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub site: u32,
    /// Its resource path as the API reads it. `None`: that is not certain, so it may be about anything.
    pub path: Option<String>,
    /// The groups that its rule names by what the request names.
    pub named: Arc<[GroupId]>,
}

/// A write that may go with others.
#[derive(Debug)]
pub(super) struct Met<P> {
    /// A number that is the same for writes that say the same.
    pub same: u128,
    /// The same without the content.
    pub target: u128,
    pub content: Content,
    /// What is needed to send it.
    pub payload: P,
}

/// What part a caller's write had in the call that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::write) enum Part {
    /// It was sent.
    Sent,
    /// It was the last of those that were held, and was sent.
    Held,
    /// It joined one that was on its way.
    Collapsed,
    /// A later one was sent in its place.
    Replaced,
}

/// When a write's time has come, and when it is over.
#[derive(Debug)]
pub(super) struct Turn {
    released: watch::Sender<bool>,
    ended: watch::Sender<bool>,
}

impl Turn {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { released: watch::Sender::new(false), ended: watch::Sender::new(false) })
    }

    /// It must be held no longer.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// It has been judged, or will never be sent.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits until it must be held no longer.
    pub async fn released(&self) {
        let _the_sender_lives_in_self =
            self.released.subscribe().wait_for(|released| *released).await.is_ok();
    }

    /// Waits until it has been judged, or will never be sent.
    pub async fn ended(&self) {
        let _the_sender_lives_in_self = self.ended.subscribe().wait_for(|ended| *ended).await.is_ok();
    }
}

/// One write that others may join or wait for.
pub(super) struct Slot<P, C> {
    pub number: u64,
    pub place: Place,
    pub groups: Arc<[GroupId]>,
    pub collapse: bool,
    pub stage: Stage<P>,
    /// Whether it was held or waited, so that what comes after it has to wait for it.
    pub late: bool,
    pub callers: Vec<(C, Part)>,
    pub turn: Arc<Turn>,
}

/// How far it is.
pub(super) enum Stage<P> {
    /// A later one may take its place.
    Held(Met<P>),
    /// It will be sent as it is.
    Sealed(Met<P>),
    /// It goes. What says the same may join it, if `Some`.
    Going(Option<Open>),
}

/// What may be joined.
pub(super) struct Open {
    pub same: u128,
    /// When it went.
    pub sequence: Sequence,
}

impl Place {
    /// Whether a change of one may be a change of the other.
    pub fn touches(&self, other: &Place) -> bool {
        let within = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let by_path = match (&self.path, &other.path) {
            (Some(a), Some(b)) => within(a, b) || within(b, a),
            _ => true,
        };
        self.site == other.site && (by_path || self.named.iter().any(|id| other.named.contains(id)))
    }
}

impl<P, C> Slot<P, C> {
    /// Whether a write that says `same` is answered by this one.
    pub fn takes(&self, same: u128, groups: &Groups) -> bool {
        match &self.stage {
            Stage::Going(Some(open)) => {
                open.same == same
                    && self.callers.len() < MOST_CALLERS
                    && groups.is_current(open.sequence, &self.groups)
            }
            _ => false,
        }
    }

    /// Whether it is held and need not be sent if `write` is.
    pub fn gives_way_to(&self, write: &Met<P>) -> bool {
        match &self.stage {
            Stage::Held(held) => {
                held.target == write.target
                    && self.callers.len() < MOST_CALLERS
                    && write.content.supersedes(&held.content)
            }
            _ => false,
        }
    }

    /// It will be sent as it is, and soon.
    pub fn seal(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Going(None)) {
            Stage::Held(met) => {
                self.turn.release();
                Stage::Sealed(met)
            }
            other => other,
        };
    }

    /// Something else comes that may change what it sets: nobody is answered by it from here on.
    pub fn shut(&mut self) {
        self.seal();
        if let Stage::Going(open) = &mut self.stage {
            *open = None;
        }
    }

    /// `write` will be sent in place of what is held, and is about these.
    pub fn replace(&mut self, write: Met<P>, caller: C, place: Place, groups: Arc<[GroupId]>) {
        (self.place, self.groups) = (place, groups);
        self.stage = Stage::Held(write);
        self.callers.iter_mut().for_each(|(_, part)| *part = Part::Replaced);
        self.callers.push((caller, Part::Held));
    }
}
