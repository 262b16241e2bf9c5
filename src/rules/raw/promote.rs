//! `promote:` of a read as it is written.

use schemars::JsonSchema;
use serde::Serialize;

/// A list whose items are what this read shows of each. Where several of them are asked for, the list is read
/// once instead, and a complete list answers those that come after it.
#[derive(Clone, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPromote {
    /// The path template of the list: the beginning of the rule's own path.
    pub list: String,
    /// Where the items stand in the list's body: a JSON pointer (RFC 6901).
    pub items: String,
    /// The member of an item that says where it is read alone.
    #[serde(rename = "match")]
    pub member: String,
}
