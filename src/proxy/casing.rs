//! Requests that spell one path differently and share what is kept of it, where the rules say so
//! (`fold_case`).
//!
//! What is kept is as it came, with the path that was asked for. Whoever spells the path otherwise gets the
//! answer that the API would have given to that spelling, which the dialect knows. What is still coming is for
//! one spelling alone: each has a flight of its own.

use bytes::Bytes;

use super::Site;
use super::route::Read;
use crate::cache::entry::Entry;

impl Read<'_> {
    /// The path that the key has for a request that spells it `raw`.
    pub fn key_path<'p>(&'p self, site: &Site, raw: &'p str) -> &'p str {
        // Only letters may differ: what is escaped otherwise is another text.
        match site.rules.fold_case && raw.eq_ignore_ascii_case(&self.path) {
            true => &self.path,
            false => raw,
        }
    }

    /// What tells a request that spells the path `raw` from others with the same key, for flights.
    pub fn form(&self, site: &Site, raw: &str) -> u128 {
        match self.is_spelled_otherwise(site, raw) {
            true => site.shared.secret.spelling(raw),
            false => 0,
        }
    }

    /// Whether the key of a request that spells the path `raw` is that of another spelling.
    pub fn is_spelled_otherwise(&self, site: &Site, raw: &str) -> bool {
        self.key_path(site, raw) != raw
    }
}

/// The body of `entry` for a request that spells the path `raw`; `None` where it is as it came.
pub(super) fn respelled(site: &Site, raw: &str, entry: &Entry) -> Option<Bytes> {
    if !site.rules.fold_case {
        return None;
    }
    let target = entry.target();
    let kept = target.split('?').next().unwrap_or(target);
    if kept == raw { None } else { site.dialect().respelled(kept, raw, &entry.body()) }
}
