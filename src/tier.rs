//! What outlives the process: stores behind the one in memory.
//!
//! A tier may fail, hang, be empty or hold what is wrong (invariant 8). What comes out of one is the last
//! known state: stale from the start, and only what nothing has overtaken since, in this process or an
//! earlier one. Nothing here decides who may see it.

pub mod disk;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::cache::entry::Entry;
use crate::cache::key::Key;

/// What a tier is still reading.
pub type Loading<'t> = Pin<Box<dyn Future<Output = Option<Arc<Entry>>> + Send + 't>>;

/// A store behind the one in memory.
pub trait Tier: Send + Sync {
    /// Keeps `entry` soon, if there is room, in place of what was there. Never waits.
    fn keep(&self, key: Key, entry: &Arc<Entry>);

    /// Whether there may be an entry of `key`. Asks memory only.
    fn has(&self, key: Key) -> bool;

    /// The entry of `key` as it comes back, unless that takes too long. Whether something has overtaken it
    /// is the caller's to ask.
    fn load(&self, key: Key) -> Loading<'_>;

    /// Whether what was fetched for `key` until now is gone for good: `entry` is of before.
    fn is_forgotten(&self, key: Key, entry: &Entry) -> bool;

    /// What was fetched for `key` until now never comes back, also from the next process.
    fn forget(&self, key: Key);

    /// The same for the entries that `gone` picks, which may be asked about some more than once. Reads the
    /// whole store, so it belongs into a thread that may block.
    fn forget_where(&self, gone: &dyn Fn(Key, &Entry) -> bool);
}
