//! The way to and from the store behind the one in memory. Hits know nothing of it; a read that memory has
//! nothing for asks it once, and then looks again.

use std::sync::Arc;

use super::site::Shared;
use crate::cache::entry::Entry;
use crate::cache::key::Key;
use crate::rules::{ReadRule, Sharing};

impl Shared {
    /// Whether the tier may have an entry of `key`.
    pub(super) fn is_remembered(&self, key: Key) -> bool {
        self.tier.get().is_some_and(|tier| tier.has(key))
    }

    /// Puts what the tier has of `key` into memory, as the last known state that it is, and says whether
    /// there is anything now that may still be shown.
    pub(super) async fn recall(&self, key: Key) -> bool {
        let Some(tier) = self.tier.get() else { return false };
        let Some(entry) = tier.load(key).await else { return false };
        if !self.groups.is_current(entry.sequence(), entry.groups()) || tier.is_forgotten(key, &entry) {
            return false;
        }
        self.flights.store(key, || self.memory.insert_newer(key, entry.clone()));
        // What is forgotten is marked first and then taken out of memory: one of the two sees the other.
        if tier.is_forgotten(key, &entry) {
            self.memory.remove(key);
            return false;
        }
        true
    }

    /// A fetch brought `entry`, which `rule` keeps.
    pub(super) fn remember(&self, rule: &ReadRule, key: Key, entry: &Arc<Entry>) {
        if let Some(tier) = self.tier.get()
            && rule.disk
            && entry.may_be_stale()
            // Others may see it while the API's word on its maker counts, which ends with the process.
            && entry.share() != Sharing::Rights
        {
            tier.keep(key, entry);
        }
    }

    /// The API says that what `key` names is gone, or not for whoever may see it.
    pub(super) fn forget(&self, key: Key) {
        if let Some(tier) = self.tier.get() {
            tier.forget(key);
        }
        self.memory.remove(key);
    }
}
