//! What one process knows of credentials, actors and upstreams, and the next one goes on with.

use std::sync::Arc;

use super::table::{ACCEPTED, Place, ROW, SITES, Table};
use super::{Beginning, Disk, LONG_AGO, SAME_SILENCE, Standing, one};
use crate::cache::acceptance::{Acceptance, Evidence, Said};
use crate::cache::actors::Actors;
use crate::cache::groups::{Groups, SLOTS, Sequence};
use crate::cache::key::{CredentialId, Partition};
use crate::clock::Timestamp;

impl Disk {
    /// Goes on with what the process before knew, and begins to write.
    pub fn attach(
        &self,
        groups: &Arc<Groups>,
        acceptance: &Acceptance,
        actors: &Actors,
        beginning: Beginning,
    ) {
        let (marker, now) = (&self.marker, self.marker.clock.now());
        marker.attach(groups);
        self.writer.attach(groups);
        let before = self.before.lock().take();
        let marks: Vec<u64> =
            before.iter().flat_map(|table| (0..SLOTS).map(|group| table.get(Place::Group(group)))).collect();
        groups.resume(self.start, marks.into_iter(), marker.clone());
        let since = match before {
            Some(table) => {
                self.resume_acceptances(&table, acceptance);
                self.resume_silences(&table);
                marker.era.here(table.get(Place::ActorsSince), now).unwrap_or(LONG_AGO)
            }
            None => {
                let since = if beginning == Beginning::First { LONG_AGO } else { now };
                marker.set(Place::ActorsSince, one(marker.era.at(since)));
                since
            }
        };
        actors.resume(marker.clone(), since);
        let (marker, writer) = (marker.clone(), self.writer.clone());
        let marking = std::thread::Builder::new().name("disk-marks".into()).spawn(move || marker.run());
        let writing = std::thread::Builder::new().name("disk-writes".into()).spawn(move || writer.run());
        self.threads.lock().extend(writing.into_iter().chain(marking));
    }

    /// Time stood still for acceptances while the API gave no answer at all (invariant 4), and counts again
    /// from when the process was known to live last.
    fn resume_acceptances(&self, table: &Table, acceptance: &Acceptance) {
        let (era, now) = (self.marker.era, self.marker.clock.now());
        for place in (0..ACCEPTED).map(Place::Accepted) {
            let numbers = table.numbers(place);
            let [low, high, site, accepted, left, ends, of_low, of_high, ..] = numbers;
            if accepted == 0 {
                continue;
            }
            let alive = table.get(Place::Alive);
            let silent = match table.get(Place::Silent(site as u32 as usize % SITES)) {
                0 => 0,
                since => alive.saturating_sub(since.max(left)),
            };
            let Some(left) = era.here(left + silent, now) else { continue };
            let principal = Partition::from_u128(u128::from(of_high) << 64 | u128::from(of_low));
            let evidence = Evidence { sequence: Sequence::from_u64(accepted), left };
            let said = Said {
                principal: (site >> 32 != 0).then_some(principal),
                ends: (ends != 0).then(|| era.here(ends, now).unwrap_or(LONG_AGO)),
            };
            let credential = CredentialId::from_u128(u128::from(high) << 64 | u128::from(low));
            acceptance.resume(site as u32, credential, evidence, said);
            self.marker.set(place, numbers);
        }
    }

    fn resume_silences(&self, table: &Table) {
        for site in 0..SITES {
            for place in [Place::Silent(site), Place::Outage(site)] {
                self.marker.set(place, table.numbers(place));
            }
            let since = table.get(Place::Outage(site));
            self.outages.lock().extend((since != 0).then_some((site as u32, since)));
        }
    }

    /// Notes who is accepted now, and which upstreams are silent or down, since when.
    pub fn observe(&self, acceptance: &Acceptance, upstreams: &[Standing]) {
        let marker = &self.marker;
        acceptance.for_each(|site, credential, evidence, said| {
            let (credential, of) = (credential.as_u128(), said.principal.map_or(0, |p| p.as_u128()));
            let mut numbers = [0; ROW];
            numbers[..8].copy_from_slice(&[
                credential as u64,
                (credential >> 64) as u64,
                u64::from(site) | u64::from(said.principal.is_some()) << 32,
                evidence.sequence.as_u64(),
                marker.era.at(evidence.left),
                said.ends.map_or(0, |ends| marker.era.at(ends)),
                of as u64,
                (of >> 64) as u64,
            ]);
            let place = credential ^ u128::from(site) << 64;
            marker.set(Place::Accepted((place ^ place >> 64) as usize % ACCEPTED), numbers);
        });
        for standing in upstreams.iter().filter(|standing| (standing.site as usize) < SITES) {
            let at = |since: Option<Timestamp>| since.map_or(0, |since| marker.era.at(since));
            let (site, since) = (standing.site as usize, at(standing.silent));
            let known = marker.get(Place::Silent(site));
            if (known == 0) != (since == 0) || known.abs_diff(since) > SAME_SILENCE.as_nanos() as u64 {
                marker.set(Place::Silent(site), one(since));
            }
            marker.set(Place::Outage(site), one(at(standing.down)));
        }
    }
}
