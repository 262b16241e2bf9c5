//! `keep_warm:` of a read as it is written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::units::Span;

/// What is used is fetched again before it expires.
#[derive(Clone, Copy, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawKeepWarm {
    /// How often. What has changed lately is fetched at the shorter of this and its lifetime, less a fifth;
    /// what has not, more and more seldom up to the longer of the two.
    pub every: Span,
    /// For how long after it was used last. Default: 10m.
    #[serde(default = "ten_minutes")]
    pub while_used_within: Span,
}

fn ten_minutes() -> Span {
    Span(Duration::from_secs(600))
}
