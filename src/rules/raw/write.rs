//! A write as it is written.

use schemars::JsonSchema;
use serde::Serialize;

use super::OneOrMany;
use crate::units::Span;

/// One write: which groups it overtakes.
#[derive(Clone, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWrite {
    /// The methods that the rule is about, in capitals.
    pub methods: Vec<String>,
    /// The path template: `{name}` is one segment, `*` one unnamed, `**` any number, `list*` one that begins
    /// so.
    pub path: String,
    /// The groups that the write overtakes, with fields of the body as `{body.x}` and of the query as
    /// `{query.x}`; none needs a reason.
    pub invalidates: Vec<String>,
    /// Why the write overtakes nothing.
    #[serde(default)]
    pub reason: Option<String>,
    /// What the answer names: the groups stay unsettled until that ends.
    #[serde(default)]
    pub operation: Option<String>,
    /// For so long after the write nothing of its groups is kept over a second.
    #[serde(default = "default_settle")]
    pub settle: Span,
    /// Whether identical writes of one credential that are under way at the same time become one call, whose
    /// answer all of them get.
    #[serde(default)]
    pub collapse: bool,
    /// Holds rapid writes of one credential to one target, and sends the last of them alone, whose answer all
    /// get. It changes nothing of what is overtaken, so it is no part of a rule's fingerprint.
    #[serde(default, skip_serializing)]
    pub batch: Option<RawBatch>,
    /// Says that a POST or PATCH of this rule does the same however often it is sent, as PUT and DELETE do by
    /// their definition (RFC 9110 section 9.2.2); `collapse` and `batch` ask for it.
    #[serde(default, skip_serializing)]
    pub idempotent: bool,
}

/// How rapid writes to one target are held.
#[derive(Clone, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBatch {
    /// For how long from the first of them, at most 30s. All of them wait for their answer so long.
    pub window: Span,
    /// Requests that are never held; any suffices.
    #[serde(default)]
    pub critical: OneOrMany<RawCritical>,
}

/// Requests that are never held: by a request field, or by a field of the content or the query.
#[derive(Clone, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCritical {
    /// The request field that is looked at.
    #[serde(default)]
    pub header: Option<String>,
    /// The field of a form, of a JSON object (`outer.inner`) or of the query that is looked at.
    #[serde(default)]
    pub field: Option<String>,
    /// What its value is compared with; `*` stands for any characters. Any value when absent.
    #[serde(default = "any_value")]
    pub matches: Vec<String>,
}

fn any_value() -> Vec<String> {
    vec!["*".to_owned()]
}

/// How long an API may lag behind its own writes when the rule does not say.
pub(super) fn default_settle() -> Span {
    Span(std::time::Duration::from_secs(3))
}
