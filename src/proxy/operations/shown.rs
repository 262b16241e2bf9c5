//! The open operations as people see them.

use std::time::Duration;

use super::{Operation, Operations, Origin, Subject};

/// An open operation; nothing of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The task's name; `None` while no answer has given one.
    pub task: Option<String>,
    /// The task's type, or the rule of the write.
    pub kind: String,
    /// What it is about, where the API says so.
    pub id: Option<String>,
    /// Where it runs, where the API says so.
    pub node: Option<String>,
    /// How it became known.
    pub origin: Origin,
    /// For how long it has been known.
    pub age: Duration,
    /// When it counts as ended at the latest.
    pub left: Duration,
    /// How long ago forebay asked after it itself, if it did.
    pub asked: Option<Duration>,
    /// Whether forebay asks after it itself.
    pub is_watched: bool,
}

impl Operations {
    /// The operations of `site` that have not ended, the oldest first and `most` of them.
    pub fn shown(&self, site: u32, most: usize) -> Vec<Shown> {
        let now = self.clock.now();
        let open = self.open.lock();
        let shown = |operation: &Operation| {
            let (task, kind, id, node) = match &operation.subject {
                Subject::Task(task) => {
                    let id = Some(task.object.clone()).filter(|id| !id.is_empty());
                    let node = Some(task.node.clone()).filter(|node| !node.is_empty());
                    (Some(task.id.0.clone()), task.kind.clone(), id, node)
                }
                Subject::Write(rule) => (None, rule.clone(), None, None),
            };
            Shown {
                task,
                kind,
                id,
                node,
                origin: operation.origin,
                age: now.since(operation.since),
                left: operation.until.since(now),
                asked: operation.watch.as_ref().and_then(|watch| Some(now.since(watch.asked?))),
                is_watched: operation.watch.is_some(),
            }
        };
        let named = open.named.iter().filter(|((of, _), _)| *of == site).map(|(_, operation)| operation);
        let nameless = open.nameless.values().filter(|(of, _)| *of == site).map(|(_, operation)| operation);
        let mut all: Vec<&Operation> = named.chain(nameless).collect();
        all.sort_by_key(|operation| operation.since);
        all.into_iter().take(most).map(shown).collect()
    }
}
