//! The open operations as operators see them: never whose credential asks after them.

use std::sync::Arc;

use serde::Serialize;

use crate::proxy::{OperationOrigin, OperationShown, Shared, Site};

/// How many of an upstream's operations are listed, the oldest first; their number is beside the list.
const LISTED: usize = 100;

#[derive(Serialize)]
pub(super) struct OperationView {
    /// The task's name; `null` for a write whose outcome is not known.
    task: Option<String>,
    /// The task's type, or the rule of the write.
    kind: String,
    /// What it is about.
    id: Option<String>,
    /// Where it runs.
    node: Option<String>,
    /// `write`: it passed through forebay; `elsewhere`: the API told of it.
    origin: &'static str,
    age_seconds: u64,
    /// When it counts as ended at the latest.
    settles_in_seconds: u64,
    /// Whether forebay asks after it itself, with the credential that wrote.
    asks: bool,
    /// How long ago it did.
    asked_seconds: Option<u64>,
}

/// The oldest operations of `site` that have not ended.
pub(super) fn of(shared: &Shared, site: &Arc<Site>) -> Vec<OperationView> {
    let view = |shown: OperationShown| OperationView {
        task: shown.task,
        kind: shown.kind,
        id: shown.id,
        node: shown.node,
        origin: match shown.origin {
            OperationOrigin::Write => "write",
            OperationOrigin::Elsewhere => "elsewhere",
        },
        age_seconds: shown.age.as_secs(),
        settles_in_seconds: shown.left.as_secs(),
        asks: shown.is_watched,
        asked_seconds: shown.asked.map(|ago| ago.as_secs()),
    };
    shared.operations.shown(site.id, LISTED).into_iter().map(view).collect()
}
