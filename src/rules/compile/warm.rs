//! What `keep_warm:` of a read means.

use std::time::Duration;

use super::{Compiler, Here};
use crate::rules::document::at;
use crate::rules::policy::KeepWarm;
use crate::rules::raw::{RawRead, RawTtl};

/// Nothing is kept warm at a shorter pace than this: that would be a load, not a cache.
const LEAST: Duration = Duration::from_secs(1);

impl Compiler<'_> {
    pub(super) fn keep_warm(&mut self, here: &Here, raw: &RawRead) -> Option<KeepWarm> {
        let warm = raw.keep_warm?;
        if matches!(raw.ttl, RawTtl::Pass) || matches!(raw.ttl, RawTtl::For(span) if span.0.is_zero()) {
            self.error(
                &here.path(&at!["keep_warm"]),
                "nothing is kept of this read, so nothing can be kept warm",
            );
        }
        for (key, span) in [("every", warm.every), ("while_used_within", warm.while_used_within)] {
            if span.0 < LEAST {
                self.error(&here.path(&at!["keep_warm", key]), "write at least 1s");
            }
        }
        Some(KeepWarm { every: warm.every.0, while_used_within: warm.while_used_within.0 })
    }
}
