//! What rules look at in requests and answers, as it is written.

use schemars::JsonSchema;
use serde::Serialize;

/// A condition on an answer: its status, or a value in its JSON body.
#[derive(Clone, Debug, Default, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawCondition {
    /// The status is one of these.
    pub statuses: Option<Vec<u16>>,
    /// A JSON pointer (RFC 6901) into the body. For `any_of`, `none_of` and `other_than` it may have `*` for
    /// every item or member and `**` for any number of levels: `/**/provisioningState`.
    pub json: Option<String>,
    /// The value that the pointer leads to.
    pub equals: Option<serde_json::Value>,
    /// Whether the pointer leads to a value other than null.
    pub present: Option<bool>,
    /// Some text there is one of these.
    pub any_of: Option<Vec<String>>,
    /// No text there is one of these.
    pub none_of: Option<Vec<String>>,
    /// Some text there is none of these.
    pub other_than: Option<Vec<String>>,
}

/// Callers that are always answered by the API itself.
#[derive(Clone, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBypass {
    /// The request field that is looked at.
    pub header: String,
    /// What its value is compared with; `*` stands for any characters.
    pub matches: Vec<String>,
}

/// A parameter of the query.
#[derive(Clone, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawQuery {
    /// Its name; ASCII case does not matter.
    pub name: String,
    /// What its value is compared with; `*` stands for any characters.
    pub matches: Vec<String>,
}
