//! The rows of `tasks:` as they are written.

use schemars::JsonSchema;
use serde::Serialize;

use super::write::default_settle;
use super::yes;
use crate::units::Span;

/// Tasks of one kind, whoever started them: which groups their start and their end overtake.
#[derive(Clone, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTask {
    /// The types that the API gives them; `*` stands for any characters.
    pub types: Vec<String>,
    /// The groups that their start and their end overtake, with `{task.id}` (what the task is about),
    /// `{task.node}` (where it runs) and `{task.type}`; none needs a reason. A task that has no id skips a
    /// row that names it.
    pub invalidates: Vec<String>,
    /// Why they overtake nothing.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether the groups are unsettled while the task runs. Not for what lasts as long as somebody looks.
    #[serde(default = "yes")]
    pub holds: bool,
    /// For so long after its end nothing of its groups is kept over a second.
    #[serde(default = "default_settle")]
    pub settle: Span,
}
