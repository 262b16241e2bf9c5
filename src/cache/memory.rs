//! The store in memory: bounded by weight, never by count.

use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use super::entry::Entry;
use super::key::Key;

/// What an entry costs beside its block, groups and texts: its own struct, the counters of the
/// shared pointer, the allocator's rounding and its place in the store.
const OVERHEAD: u64 = 320;

/// How many entries of the largest size a shard must hold, so that one large body does not push out
/// everything around it; the store refuses what is heavier than a shard.
const LARGEST_PER_SHARD: u64 = 4;

#[derive(Clone)]
struct ByWeight;

impl Weighter<Key, Arc<Entry>> for ByWeight {
    fn weight(&self, _: &Key, entry: &Arc<Entry>) -> u64 {
        entry.weight() + OVERHEAD
    }
}

/// The entries.
pub struct Memory(Cache<Key, Arc<Entry>, ByWeight>);

impl Memory {
    /// A store that holds `bytes` in all, of which one body may have `largest`.
    pub fn new(bytes: u64, largest: u64) -> Self {
        let shards = (bytes / (LARGEST_PER_SHARD * largest.max(1))).clamp(1, 64);
        let shards = 1usize << shards.ilog2();
        let expected = (bytes / 4096).clamp(64, 1 << 16) as usize;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(expected)
            .weight_capacity(bytes)
            .shards(shards)
            .build()
            .expect("every option that has no default is set");
        Self(Cache::with_options(options, ByWeight, Default::default(), Default::default()))
    }

    /// The entry of `key`, whatever its age.
    pub fn get(&self, key: Key) -> Option<Arc<Entry>> {
        self.0.get(&key)
    }

    /// Keeps `entry`, in place of what was there.
    pub fn insert(&self, key: Key, entry: Arc<Entry>) {
        self.0.insert(key, entry);
    }

    /// Keeps `entry`, unless what is there was fetched later: a credential that fetched for itself may
    /// have overtaken the fetch that others shared. The caller holds the lock under which everybody
    /// stores ([`super::flight::Fill::finish`]).
    pub fn insert_newer(&self, key: Key, entry: Arc<Entry>) {
        if self.get(key).is_none_or(|there| there.sequence() < entry.sequence()) {
            self.insert(key, entry);
        }
    }

    /// Drops the entry of `key`.
    pub fn remove(&self, key: Key) {
        self.0.remove(&key);
    }

    /// Drops the entries that `gone` picks and says how many they were.
    pub fn remove_where(&self, gone: impl Fn(&Entry) -> bool) -> usize {
        let picked: Vec<Key> = self.0.iter().filter(|(_, entry)| gone(entry)).map(|(key, _)| key).collect();
        picked.into_iter().filter(|key| self.0.remove(key).is_some()).count()
    }

    /// Calls `each` with every entry.
    pub fn for_each(&self, mut each: impl FnMut(&Arc<Entry>)) {
        self.0.iter().for_each(|(_, entry)| each(&entry));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What all entries weigh, in bytes.
    pub fn weight(&self) -> u64 {
        self.0.weight()
    }
}
