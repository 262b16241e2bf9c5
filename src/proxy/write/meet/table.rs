//! Which writes go as one and which wait for which: the state alone, without time and without sockets.
//!
//! A write that comes joins one that is the same and on its way, takes the place of one that is held and that it
//! supersedes, is held itself, or goes. Invariants:
//!
//! - Writes touch each other if their paths are the same or one above the other, or if their rules name the same
//!   thing by what the requests name (`guest/100`).
//! - A write is joined only while nothing that touches it has come since, and nothing has overtaken its groups. So
//!   whoever joins is told of a call whose effect nothing has undone before it came.
//! - Whatever touches a write that is held has it sent, and goes when that has been judged: once something is held,
//!   those that touch take effect in the order in which they came. Urgent ones wait for nothing.
//! - What is held is sent, or superseded by what is sent: no way out of here loses a write.

use std::sync::Arc;

use super::slot::{Met, Open, Part, Place, Slot, Stage, Turn};
use crate::cache::groups::{GroupId, Groups};

/// How many writes are known at once that others may join or wait for. More than an upstream has places and a
/// queue for by default; one more goes alone.
pub(super) const MOST: usize = 1024;

/// Whether a write may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// It is not.
    Never,
    /// It is, for its rule's window.
    Window,
    /// It is not, and waits for nothing that is.
    Urgent,
}

/// A write that comes and may go with others.
#[derive(Debug)]
pub(super) struct Coming<P, C> {
    pub place: Place,
    /// What it changes.
    pub groups: Arc<[GroupId]>,
    pub collapse: bool,
    pub holding: Holding,
    pub write: Met<P>,
    /// Who waits for its answer.
    pub caller: C,
}

/// What becomes of a write.
#[derive(Debug)]
pub(super) enum Arrival<P, C> {
    /// Its answer comes with that of another.
    Joined,
    /// It is held: whoever began that sends what stands in the seat then, after these have ended.
    Held(Ticket, Vec<Arc<Turn>>),
    /// It goes when these have ended.
    Goes(P, Seat<C>, Vec<Arc<Turn>>),
}

/// Where the callers of a write are.
#[derive(Debug)]
pub(super) enum Seat<C> {
    /// In the table, since others may come or wait.
    Taken(Ticket),
    /// This is the only one.
    None(C),
}

/// A place in the table.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    number: u64,
    pub turn: Arc<Turn>,
}

/// The writes that others may join or wait for, in the order in which they came.
pub(super) struct Table<P, C> {
    slots: Vec<Slot<P, C>>,
    numbers: u64,
    /// Nothing is held any more.
    ends: bool,
    turned_away: u64,
}

impl<P, C> Default for Table<P, C> {
    fn default() -> Self {
        Self { slots: Vec::new(), numbers: 0, ends: false, turned_away: 0 }
    }
}

impl<P, C> Table<P, C> {
    /// A write comes that may go with others.
    pub fn arrive(&mut self, groups: &Groups, mut coming: Coming<P, C>) -> Arrival<P, C> {
        if coming.collapse
            && let Some(slot) = self.slots.iter_mut().rev().find(|slot| slot.takes(coming.write.same, groups))
        {
            slot.callers.push((coming.caller, Part::Collapsed));
            return Arrival::Joined;
        }
        let held = match coming.holding {
            Holding::Never => None,
            Holding::Window | Holding::Urgent => {
                self.slots.iter().position(|slot| slot.gives_way_to(&coming.write))
            }
        };
        let mut taken_along = Vec::new();
        match (coming.holding, held) {
            (Holding::Window, Some(held)) => {
                let number = self.slots[held].number;
                let _it_waits_for_them_already = self.make_way(&coming.place, Some(number));
                self.slots[held].replace(coming.write, coming.caller, coming.place, coming.groups);
                return Arrival::Joined;
            }
            (_, Some(held)) => {
                let mut slot = self.slots.remove(held);
                slot.seal();
                taken_along = slot.callers;
            }
            (_, None) => {}
        }
        let mut before = self.make_way(&coming.place, None);
        if coming.holding == Holding::Urgent {
            before.clear();
        }
        taken_along.iter_mut().for_each(|(_, part)| *part = Part::Replaced);
        let is_held = coming.holding == Holding::Window && !self.ends;
        let is_seen = is_held || coming.collapse || !before.is_empty() || !taken_along.is_empty();
        if !is_seen || (self.slots.len() >= MOST && taken_along.is_empty()) {
            self.turned_away += u64::from(is_seen);
            return Arrival::Goes(coming.write.payload, Seat::None(coming.caller), before);
        }
        let part = if is_held { Part::Held } else { Part::Sent };
        taken_along.push((coming.caller, part));
        coming.collapse &= !groups.is_being_written(&coming.place.named);
        let same = coming.write.same;
        let (stage, payload) = match is_held {
            true => (Stage::Held(coming.write), None),
            false => {
                let open = coming.collapse.then(|| Open { same, sequence: groups.next() });
                (Stage::Going(open), Some(coming.write.payload))
            }
        };
        let late = is_held || !before.is_empty();
        let ticket = self.sit(Slot {
            number: 0,
            place: coming.place,
            groups: coming.groups,
            collapse: coming.collapse,
            stage,
            late,
            callers: taken_along,
            turn: Turn::new(),
        });
        match payload {
            None => Arrival::Held(ticket, before),
            Some(payload) => Arrival::Goes(payload, Seat::Taken(ticket), before),
        }
    }

    /// A write comes that goes with no other: what it waits for, and its place if others have to wait for it.
    pub fn pass(&mut self, place: Place, holding: Holding) -> (Option<Ticket>, Vec<Arc<Turn>>) {
        let before = self.make_way(&place, None);
        if holding == Holding::Urgent || before.is_empty() {
            return (None, Vec::new());
        }
        if self.slots.len() >= MOST {
            self.turned_away += 1;
            return (None, before);
        }
        let ticket = self.sit(Slot {
            number: 0,
            place,
            groups: Arc::new([]),
            collapse: false,
            stage: Stage::Going(None),
            late: true,
            callers: Vec::new(),
            turn: Turn::new(),
        });
        (Some(ticket), before)
    }

    fn sit(&mut self, mut slot: Slot<P, C>) -> Ticket {
        self.numbers += 1;
        slot.number = self.numbers;
        let ticket = Ticket { number: slot.number, turn: slot.turn.clone() };
        self.slots.push(slot);
        ticket
    }

    /// Something comes that is about `place`: says what it has to wait for, which is sent as it is.
    fn make_way(&mut self, place: &Place, but: Option<u64>) -> Vec<Arc<Turn>> {
        let touched = |slot: &&mut Slot<P, C>| Some(slot.number) != but && slot.place.touches(place);
        let mut before = Vec::new();
        for slot in self.slots.iter_mut().filter(touched) {
            slot.shut();
            before.extend(slot.late.then(|| slot.turn.clone()));
        }
        before
    }

    /// What is held in a seat goes. `None`: an urgent one has taken its callers along.
    pub fn go(&mut self, groups: &Groups, ticket: &Ticket) -> Option<P> {
        let slot = self.slot(ticket)?;
        let collapse = slot.collapse && !groups.is_being_written(&slot.place.named);
        match std::mem::replace(&mut slot.stage, Stage::Going(None)) {
            Stage::Held(met) => {
                let open = collapse.then(|| Open { same: met.same, sequence: groups.next() });
                slot.stage = Stage::Going(open);
                Some(met.payload)
            }
            Stage::Sealed(met) => Some(met.payload),
            Stage::Going(open) => {
                slot.stage = Stage::Going(open);
                None
            }
        }
    }

    /// The answer of what goes begins: nobody joins it any more. Gives its callers.
    pub fn close(&mut self, ticket: &Ticket) -> Vec<(C, Part)> {
        let Some(slot) = self.slot(ticket) else { return Vec::new() };
        slot.shut();
        std::mem::take(&mut slot.callers)
    }

    /// What went has been judged, or nothing will go.
    pub fn end(&mut self, ticket: &Ticket) {
        self.slots.retain(|slot| slot.number != ticket.number);
        ticket.turn.end();
    }

    /// Sends what is held at once: of `site`, or of all.
    pub fn release(&mut self, site: Option<u32>) {
        let meant = |slot: &&mut Slot<P, C>| site.is_none_or(|site| slot.place.site == site);
        self.slots.iter_mut().filter(meant).for_each(Slot::seal);
    }

    /// Holds nothing any more.
    pub fn hold_no_more(&mut self) {
        self.ends = true;
        self.release(None);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many have not been sent.
    pub fn held(&self) -> usize {
        self.slots.iter().filter(|slot| !matches!(slot.stage, Stage::Going(_))).count()
    }

    /// How many callers wait for their answers.
    pub fn callers(&self) -> usize {
        self.slots.iter().map(|slot| slot.callers.len()).sum()
    }

    /// How often there were as many as may be.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    fn slot(&mut self, ticket: &Ticket) -> Option<&mut Slot<P, C>> {
        self.slots.iter_mut().find(|slot| slot.number == ticket.number)
    }
}
