//! Which records there are and where: all that is known without reading one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::segment::{RecordHead, Segment};
use crate::cache::key::Key;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub segment: u32,
    pub at: u64,
    pub head: RecordHead,
}

/// The records that count, and the segments that hold them and others.
#[derive(Default)]
pub(super) struct Index {
    records: HashMap<Key, Spot>,
    segments: BTreeMap<u32, Held>,
    /// What the records that count have, in bytes.
    live: u64,
}

/// A segment and its size.
#[derive(Clone)]
pub(super) struct Held {
    pub segment: Arc<Segment>,
    pub size: u64,
}

impl Index {
    /// A record stands there. It counts unless one of a later fetch does.
    pub fn put(&mut self, spot: Spot) {
        let key = spot.head.key;
        match self.records.get(&key) {
            Some(known) if known.head.sequence > spot.head.sequence => {}
            _ => {
                self.remove(key);
                self.live += spot.head.size();
                self.records.insert(key, spot);
            }
        }
    }

    /// Until when the record of `key` can be shown, by the store's clock.
    pub fn until(&self, key: Key) -> Option<u64> {
        self.records.get(&key).map(|spot| spot.head.until)
    }

    pub fn get(&self, key: Key) -> Option<(Spot, Arc<Segment>)> {
        let spot = self.records.get(&key)?;
        Some((*spot, self.segments.get(&spot.segment)?.segment.clone()))
    }

    /// The record of `key` counts no more.
    pub fn remove(&mut self, key: Key) {
        self.live -= self.records.remove(&key).map_or(0, |spot| spot.head.size());
    }

    /// The same, if it is still this one.
    pub fn remove_this(&mut self, spot: &Spot) {
        if self.records.get(&spot.head.key) == Some(spot) {
            self.remove(spot.head.key);
        }
    }

    pub fn has_segment(&mut self, held: Held) {
        self.segments.insert(held.segment.number, held);
    }

    pub fn grow(&mut self, segment: u32, size: u64) {
        if let Some(held) = self.segments.get_mut(&segment) {
            held.size = size;
        }
    }

    /// The oldest segment and the records of it that count.
    pub fn oldest(&self) -> Option<(Held, Vec<Spot>)> {
        let (number, held) = self.segments.first_key_value()?;
        let of = self.records.values().filter(|spot| spot.segment == *number).copied().collect();
        Some((held.clone(), of))
    }

    /// A segment is gone, with all its records.
    pub fn drop_segment(&mut self, number: u32) {
        self.segments.remove(&number);
        let gone: Vec<Key> =
            self.records.iter().filter(|(_, spot)| spot.segment == number).map(|(key, _)| *key).collect();
        gone.into_iter().for_each(|key| self.remove(key));
    }

    pub fn keys(&self) -> Vec<Key> {
        self.records.keys().copied().collect()
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn live(&self) -> u64 {
        self.live
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// What all segments have, in bytes.
    pub fn size(&self) -> u64 {
        self.segments.values().map(|held| held.size).sum()
    }

    pub fn all_segments(&self) -> Vec<Arc<Segment>> {
        self.segments.values().map(|held| held.segment.clone()).collect()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
