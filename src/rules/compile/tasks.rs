//! Rows of `tasks:`.

use super::{Compiler, Here, fingerprint};
use crate::rules::TaskRule;
use crate::rules::document::at;
use crate::rules::raw::RawTask;
use crate::rules::template::Offers;
use crate::rules::written::Written;

impl Compiler<'_> {
    /// The row as it is meant; what is wrong with it is noted, types that a row of `earlier` takes too.
    pub(super) fn task(&mut self, here: &Here, raw: &RawTask, api: &str, earlier: &[TaskRule]) -> TaskRule {
        if raw.types.is_empty() {
            self.error(&here.path(&at!["types"]), "a row needs at least one type of task");
        }
        for (index, name) in raw.types.iter().enumerate() {
            let at = here.path(&at!["types", index]);
            if name.is_empty() {
                self.error(&at, "a type of task needs a name");
            } else if let Some(first) = earlier.iter().find(|first| first.takes_all(name)) {
                self.error(&at, format!("type can never match: line {} comes first", first.line));
            }
        }
        if raw.invalidates.is_empty() && raw.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
            self.error(&here.path(&at!["invalidates"]), "tasks that invalidate nothing need a `reason`");
        }
        let at = |index| here.path(&at!["invalidates", index]);
        let invalidates = self.templates(&raw.invalidates, at, &[], Offers::Task);
        TaskRule {
            types: raw.types.clone(),
            invalidates,
            reason: raw.reason.clone(),
            holds: raw.holds,
            settle: raw.settle.0,
            line: here.place.line,
            column: here.place.column,
            source: self.source.to_owned(),
            fingerprint: fingerprint(api, &self.matching, raw),
            written: Written::task(raw),
        }
    }
}
