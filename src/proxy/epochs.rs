//! When each meaning of a rule came into force. A rule that goes and comes back finds nothing of its
//! earlier time, because the writes in between were judged by other rules. A restart is a reload here: what
//! was in force before it is told to the next process by its store, if it has one.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::rules::RuleSet;

/// The meanings in force.
#[derive(Default)]
pub struct Epochs(Mutex<Known>);

#[derive(Default)]
struct Known {
    next: u64,
    active: HashMap<(u32, u64), u64>,
}

impl Epochs {
    /// Goes on after another process: `next` was never given by it, and `active` was in force at its end.
    pub fn resume(&self, next: u64, active: &[(u32, u64, u64)]) {
        let mut known = self.0.lock();
        known.next = next;
        known.active = active.iter().map(|(site, rule, epoch)| ((*site, *rule), *epoch)).collect();
    }

    /// What [`Epochs::resume`] needs to know.
    pub fn all(&self) -> (u64, Vec<(u32, u64, u64)>) {
        let known = self.0.lock();
        let mut active: Vec<_> =
            known.active.iter().map(|((site, rule), epoch)| (*site, *rule, *epoch)).collect();
        active.sort();
        (known.next, active)
    }

    /// The rules that are in force at the upstream `site` from now on, and a number for the meaning of each
    /// read.
    pub(super) fn enter(&self, site: u32, rules: &RuleSet) -> Vec<u64> {
        let known = &mut *self.0.lock();
        let mut active: HashMap<(u32, u64), u64> = HashMap::new();
        let meanings = rules
            .reads
            .iter()
            .map(|rule| {
                let epoch = *known.active.get(&(site, rule.fingerprint)).unwrap_or(&known.next);
                active.insert((site, rule.fingerprint), epoch);
                rule.fingerprint ^ epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            })
            .collect();
        known.active.retain(|(other, _), _| *other != site);
        known.active.extend(active);
        known.next += 1;
        meanings
    }
}
