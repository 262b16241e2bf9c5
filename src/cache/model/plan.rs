//! Who takes part in a schedule, and which wrong uses of the core there are.

use crate::cache::flight::Join;

/// How a fetch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// With a whole answer.
    Whole,
    /// Its task is dropped before there is an answer.
    Lost,
    /// Its task is dropped within the body.
    LostInBody,
    /// The upstream fails.
    Fails,
    /// The body breaks off.
    BreaksOff,
    /// The answer is not for sharing.
    Alone,
    /// The answer is too large to keep.
    Streams,
}

/// Who reads or refreshes `object`; `fate` is that of the fetch it begins, if it begins one.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    pub object: usize,
    pub join: Join,
    pub fate: Fate,
}

/// A write that changes objects and invalidates groups, all of its own objects' among them.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub changes: &'static [usize],
    pub groups: &'static [usize],
    /// Whether the answer comes; else the API may apply the write at any time, even after forebay
    /// gave up on it.
    pub outcome_known: bool,
}

/// When a reader first asks its flight whether it has landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPoll {
    /// In the step in which it began or joined it.
    AtOnce,
    /// In a step of its own, so that the flight may go on before anybody listens.
    Later,
}

/// Who takes part in a schedule.
#[derive(Clone, Copy)]
pub struct Plan<'p> {
    /// The groups of each object.
    pub objects: &'p [&'p [usize]],
    pub readers: &'p [Reader],
    pub refreshes: &'p [Reader],
    pub writes: &'p [Write],
    pub first_poll: FirstPoll,
    /// How many fetches there must be in the end.
    pub fetches: Option<usize>,
}

/// One wrong use of the core, to show that the checks can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Writes invalidate nothing.
    NoInvalidation,
    /// Writes invalidate when they are sent instead of when they are answered.
    InvalidationBeforeTheWrite,
    /// The client has the answer before the groups are marked.
    InvalidationAfterDelivery,
    /// Of several groups only the first is marked.
    OneGroupInvalidated,
    /// A hit does not ask whether the entry is current.
    HitUnchecked,
    /// The second look, under the lock, does not ask it.
    SecondLookUnchecked,
    /// There is no second look.
    SecondLookLeftOut,
    /// A reader takes a place in a flight that was overtaken.
    JoinUnchecked,
    /// An entry carries a number taken when it was stored instead of when its fetch left.
    NumberedAtTheStore,
    /// A fill stores without asking whether its flight is still the one of its key.
    StoredWithoutTheTable,
    /// A reader whose fetch failed falls back to an entry that was overtaken.
    StaleOnErrorUnchecked,
    /// A fill is lost without being dropped.
    FillForgotten,
    /// Those who wait are not woken.
    WokenByNobody,
}
