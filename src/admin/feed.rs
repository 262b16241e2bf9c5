//! The watch over changes made elsewhere, as operators see it.

use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock;
use crate::proxy::Site;
use crate::units::Span;

#[derive(Serialize)]
pub(super) struct FeedView {
    /// `no-credential`, `starting`, `no-right`, `lost`, `live` or `idle`.
    state: &'static str,
    /// Since when (RFC 3339).
    since: Option<String>,
    /// When the feed was last read (RFC 3339), and how long ago.
    last_read: Option<String>,
    last_read_seconds: Option<u64>,
    /// Whether the API's log is read besides its tasks.
    reads_log: bool,
    every: String,
    ceiling: String,
    /// Whether what tasks could change is kept for `ceiling` at most now.
    ceiling_in_force: bool,
}

/// The watch over the upstream of `site`.
pub(super) fn of(site: &Site) -> Option<FeedView> {
    let standing = site.feed_standing()?;
    let shown = |at: SystemTime| {
        OffsetDateTime::from(at).replace_nanosecond(0).ok().and_then(|at| at.format(&Rfc3339).ok())
    };
    let ago = |at: SystemTime| clock::wall().duration_since(at).unwrap_or_default().as_secs();
    Some(FeedView {
        state: standing.state.as_str(),
        since: shown(standing.since),
        last_read: standing.read.and_then(shown),
        last_read_seconds: standing.read.map(ago),
        reads_log: standing.reads_log,
        every: Span(site.config.feed.every).to_string(),
        ceiling: Span(site.config.feed.ceiling).to_string(),
        ceiling_in_force: site.is_under_ceiling(),
    })
}
