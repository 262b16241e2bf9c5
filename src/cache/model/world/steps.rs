//! What each step does, and what it must not come to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::{Fetch, Landed, Machine, Waiting, World, WriteStep};
use crate::cache::entry::Entry;
use crate::cache::flight::{Begin, Company, Crossing, Join, Keeping, Passenger};
use crate::cache::key::CredentialId;
use crate::cache::model::core::{NoAnswer, entry, halves, head, version};
use crate::cache::model::plan::{Fate, FirstPoll, Mutation, Reader};

/// The steps of those who read.
impl World<'_> {
    fn mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn store_has(&self, object: usize, unchecked: Mutation) -> Option<Arc<Entry>> {
        if self.mutated(unchecked) {
            return self.core.memory.get(self.core.keys[object]);
        }
        self.core.usable(object)
    }

    pub(super) fn look(&mut self, number: usize, reader: Reader) -> Result<Machine, String> {
        let floor = self.delivered[reader.object];
        let hit = self.store_has(reader.object, Mutation::HitUnchecked);
        match hit.filter(|_| reader.join == Join::Allowed) {
            Some(entry) => self.got_body(number, reader, floor, &entry.body()),
            None => Ok(Machine::Begins(reader, floor)),
        }
    }

    pub(super) fn begin(&mut self, number: usize, reader: Reader, floor: u64) -> Result<Machine, String> {
        let Reader { object, join, fate } = reader;
        if let Some(waiter) = self.spare[object].pop() {
            return Ok(Machine::Waits(reader, floor, Waiting::new(waiter)));
        }
        let begin = |join| {
            self.core.flights.begin(
                self.core.keys[object],
                &self.core.groups,
                Passenger { who: CredentialId::ANONYMOUS, company: Company::Shared, join, form: 0 },
                || self.core.groups_of(self.plan.objects[object]),
                || match self.mutated(Mutation::SecondLookLeftOut) {
                    true => None,
                    false => self.store_has(object, Mutation::SecondLookUnchecked),
                },
            )
        };
        match begin(join) {
            Begin::Stored(entry) => self.got_body(number, reader, floor, &entry.body()),
            Begin::Joined(waiter) => {
                if Some(waiter.sequence()) != self.newest[object] {
                    return Err(format!("object {object}: a reader joined a flight that is not the newest"));
                }
                self.first_poll(number, reader, floor, Waiting::new(waiter))
            }
            Begin::Leads(fill, waiter) => {
                if self.mutated(Mutation::JoinUnchecked)
                    && let Begin::Joined(spare) = begin(Join::Allowed)
                {
                    self.spare[object].push(spare);
                }
                self.leave(number, Fetch { object, fate, fill });
                self.first_poll(number, reader, floor, Waiting::new(waiter))
            }
            Begin::Full => Err("a flight of a few readers is full".into()),
        }
    }

    fn first_poll(
        &mut self,
        number: usize,
        reader: Reader,
        floor: u64,
        waiting: Waiting,
    ) -> Result<Machine, String> {
        match self.plan.first_poll {
            FirstPoll::AtOnce => self.wait(number, reader, floor, waiting),
            FirstPoll::Later => Ok(Machine::Waits(reader, floor, waiting)),
        }
    }

    pub(super) fn wait(
        &mut self,
        number: usize,
        reader: Reader,
        floor: u64,
        mut waiting: Waiting,
    ) -> Result<Machine, String> {
        waiting.woken.0.store(false, Ordering::SeqCst);
        let waker = match self.mutated(Mutation::WokenByNobody) {
            true => Waker::noop().clone(),
            false => waiting.woken.clone().into(),
        };
        match waiting.landing.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Ok(Machine::Waits(reader, floor, waiting)),
            Poll::Ready(Landed::Body(Some(body))) => self.got_body(number, reader, floor, &body),
            Poll::Ready(Landed::Body(None)) => Ok(Machine::Done),
            Poll::Ready(Landed::Alone) => Ok(Machine::ReadsForItself(reader, floor)),
            Poll::Ready(Landed::Failed) => Ok(Machine::FallsBack(reader, floor)),
        }
    }

    /// Stale on error: an entry that may be used in place of an answer that did not come.
    pub(super) fn fall_back(&mut self, number: usize, reader: Reader, floor: u64) -> Result<Machine, String> {
        match self.store_has(reader.object, Mutation::StaleOnErrorUnchecked) {
            Some(entry) => self.got_body(number, reader, floor, &entry.body()),
            None => Ok(Machine::Done),
        }
    }

    fn got_body(
        &mut self,
        number: usize,
        reader: Reader,
        floor: u64,
        body: &[u8],
    ) -> Result<Machine, String> {
        let version = version(body).ok_or_else(|| format!("a body of {} bytes", body.len()))?;
        self.got(number, reader, floor, version)
    }

    pub(super) fn got(
        &mut self,
        number: usize,
        reader: Reader,
        floor: u64,
        version: u64,
    ) -> Result<Machine, String> {
        if version < floor {
            let object = reader.object;
            return Err(format!("object {object}: reader {number} got {version}, older than {floor}"));
        }
        self.outcome[number] = Some(version);
        Ok(Machine::Done)
    }
}

/// The steps of those who fetch and write.
impl World<'_> {
    fn leave(&mut self, number: usize, fetch: Fetch) {
        self.fetches += 1;
        self.newest[fetch.object] = Some(fetch.fill.sequence());
        self.machines[number + self.plan.readers.len() + self.plan.refreshes.len()] =
            Machine::FetchReads(fetch);
    }

    pub(super) fn refresh(&mut self, number: usize, Reader { object, fate, .. }: Reader) -> Machine {
        let groups = self.core.groups_of(self.plan.objects[object]);
        let begun = self.core.flights.begin_refresh(
            self.core.keys[object],
            &self.core.groups,
            CredentialId::ANONYMOUS,
            &groups,
            || true,
        );
        if let Some(fill) = begun {
            self.leave(number, Fetch { object, fate, fill });
        }
        Machine::Done
    }

    pub(super) fn share(&mut self, fetch: Fetch, version: u64) -> Machine {
        match fetch.fate {
            Fate::Lost if self.mutated(Mutation::FillForgotten) => std::mem::forget(fetch.fill),
            Fate::Lost => drop(fetch.fill),
            Fate::Fails => fetch.fill.fail(NoAnswer),
            Fate::Alone => fetch.fill.release(),
            Fate::Whole | Fate::LostInBody | Fate::BreaksOff | Fate::Streams => {
                fetch.fill.share(head(), Keeping::Kept, Crossing::Everybody);
                let [first, _] = halves(version);
                // Nobody waits for a refresh; it goes on for the store.
                let _ = fetch.fill.push(first);
                if fetch.fate == Fate::Streams {
                    fetch.fill.stream_only();
                }
                return Machine::FetchEnds(fetch, version);
            }
        }
        Machine::Done
    }

    pub(super) fn end(&mut self, Fetch { object, fate, fill }: Fetch, version: u64) -> Result<(), String> {
        match fate {
            Fate::BreaksOff => fill.break_off(),
            Fate::LostInBody => drop(fill),
            _ => {
                let [_, second] = halves(version);
                let _ = fill.push(second);
                let taken = fill.sequence();
                let sequence = match self.mutated(Mutation::NumberedAtTheStore) {
                    true => self.core.groups.next(),
                    false => taken,
                };
                let entry = entry(version, sequence, fill.groups().clone());
                let keep = || self.core.memory.insert(self.core.keys[object], entry);
                if self.mutated(Mutation::StoredWithoutTheTable) {
                    fill.finish(|| ());
                    keep();
                    return Ok(());
                }
                let mut kept = false;
                fill.finish(|| {
                    kept = true;
                    keep();
                });
                if kept && self.newest[object] != Some(taken) {
                    return Err(format!("object {object}: a flight stored that is not the newest"));
                }
                if kept && fate == Fate::Streams {
                    return Err(format!("object {object}: what only streams was stored"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, number: usize, step: WriteStep) -> &'static str {
        let write = &self.plan.writes[number];
        let written = &mut self.written[number];
        match step {
            WriteStep::Apply => {
                for object in write.changes {
                    self.upstream[*object] += 1;
                    written.applied.push((*object, self.upstream[*object]));
                }
                "is applied"
            }
            WriteStep::Invalidate => {
                let ids = self.core.groups_of(write.groups);
                let only_first = self.mutation == Some(Mutation::OneGroupInvalidated);
                self.core.groups.invalidate(if only_first { &ids[..1] } else { &ids });
                written.promised = written.applied.clone();
                "invalidates"
            }
            WriteStep::Deliver => {
                // A known outcome promises the write; an unknown one what was applied when it was given up.
                let promised = if write.outcome_known { &written.applied } else { &written.promised };
                for (object, version) in promised {
                    self.delivered[*object] = self.delivered[*object].max(*version);
                }
                "is delivered"
            }
        }
    }
}
