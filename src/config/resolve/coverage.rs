//! Rules against the whole published API: which of its writes no rule covers.
//!
//! Such a write costs no truth, because it invalidates its own path, everything below it and every path
//! above; but what it changes elsewhere stays until its lifetime ends, so somebody should know.

use crate::dialect::{Dialect, PublishedWrite};
use crate::rules::RuleSet;

/// So many are named one by one; of more, the first few are.
const NAMED: usize = 8;

/// Which rules are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Scope {
    /// All that one upstream is served by: nothing else will cover what they do not.
    Upstream,
    /// One pack alone. One that covers at most half of the API is meant as an addition to another, and
    /// whether the two leave a gap is seen where a configuration names both.
    Pack,
}

/// A sentence about the published writes that no rule covers, if there are any.
pub(in crate::config) fn uncovered(rules: &RuleSet, scope: Scope) -> Option<String> {
    let published = Dialect::named(&rules.api)?.published_writes();
    let covered =
        |write: &PublishedWrite| write.samples.iter().all(|path| rules.write(&write.method, path).is_some());
    let missing: Vec<String> = (published.iter().filter(|write| !covered(write)))
        .map(|write| format!("{} {}", write.method, write.path))
        .collect();
    let addition = scope == Scope::Pack && missing.len() * 2 >= published.len();
    if missing.is_empty() || addition {
        return None;
    }
    let named = if missing.len() <= NAMED { missing.len() } else { NAMED / 2 };
    let more = match missing.len() - named {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "{} of the {} published writes have no rule, so each overtakes only its own path and those above and below: {}{more}",
        missing.len(),
        published.len(),
        missing[..named].join(", ")
    ))
}
