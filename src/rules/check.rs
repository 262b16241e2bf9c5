//! What can only be seen when rules are looked at together.

use http::Method;

use super::diagnostic::{Diagnostic, Severity};
use super::template::{ACCEPTANCES, GroupTemplate};
use super::{Pattern, ReadRule, RuleSet, WriteRule, builtin};

/// The methods with which HTTP APIs are changed (RFC 9110 §9.3, RFC 5789).
const USUAL_WRITES: [Method; 4] = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Rules that can never match because an earlier one of the same pack takes all their paths.
///
/// Only within a pack: a pack in front of another covers its rules on purpose.
pub(super) fn covered(set: &RuleSet) -> Vec<Diagnostic> {
    let covers = |ours: &Pattern, theirs: &Pattern| ours.covers(theirs, set.case_insensitive);
    let mut diagnostics = Vec::new();
    for (index, rule) in set.reads.iter().enumerate() {
        // One that looks into the query leaves the others of its path.
        let always = |first: &&ReadRule| first.posted == rule.posted && first.query.is_empty();
        let mut earlier = set.reads[..index].iter().filter(always);
        if let Some(first) = earlier.find(|first| covers(&first.pattern, &rule.pattern)) {
            diagnostics.push(never(&rule.source, rule.line, rule.column, first.line));
        }
    }
    for (index, rule) in set.writes.iter().enumerate() {
        let covering = |method| {
            let mut earlier = set.writes[..index].iter();
            earlier.find(|first| first.methods.contains(method) && covers(&first.pattern, &rule.pattern))
        };
        let firsts: Option<Vec<_>> = rule.methods.iter().map(covering).collect();
        if let Some(first) = firsts.and_then(|firsts| firsts.into_iter().map(|first| first.line).min()) {
            diagnostics.push(never(&rule.source, rule.line, rule.column, first));
        }
    }
    diagnostics
}

fn never(source: &str, line: u32, column: u32, first: u32) -> Diagnostic {
    let message = format!("rule can never match: line {first} comes first");
    Diagnostic { source: source.to_owned(), line, column, severity: Severity::Error, message }
}

/// Rules of files that can never match because a pack that is named before takes all their paths. That a
/// built-in pack is covered by a file before it is what such a file is for.
pub(super) fn hidden(set: &RuleSet) -> Vec<Diagnostic> {
    let covers = |ours: &Pattern, theirs: &Pattern| ours.covers(theirs, set.case_insensitive);
    let warning = |source: &str, line, column, first: &str| {
        let message =
            format!("rule can never match: name this pack before `{first}`, which has one for its paths");
        Diagnostic { source: source.to_owned(), line, column, severity: Severity::Warning, message }
    };
    let mut diagnostics = Vec::new();
    for (index, rule) in set.reads.iter().enumerate().filter(|(_, rule)| builtin(&rule.source).is_none()) {
        let other = |first: &&ReadRule| {
            first.source != rule.source && first.posted == rule.posted && first.query.is_empty()
        };
        let mut earlier = set.reads[..index].iter().filter(other);
        if let Some(first) = earlier.find(|first| covers(&first.pattern, &rule.pattern)) {
            diagnostics.push(warning(&rule.source, rule.line, rule.column, &first.source));
        }
    }
    for (index, rule) in set.writes.iter().enumerate().filter(|(_, rule)| builtin(&rule.source).is_none()) {
        let covering = |method| {
            let mut earlier = set.writes[..index].iter().filter(|first| first.source != rule.source);
            earlier.find(|first| first.methods.contains(method) && covers(&first.pattern, &rule.pattern))
        };
        let firsts: Option<Vec<_>> = rule.methods.iter().map(covering).collect();
        if let Some(first) = firsts.as_ref().and_then(|firsts| firsts.first()) {
            diagnostics.push(warning(&rule.source, rule.line, rule.column, &first.source));
        }
    }
    diagnostics
}

/// Methods of writes that hardly an API knows: a slip of the pen makes a rule that matches nothing.
pub(super) fn unusual(set: &RuleSet) -> Vec<Diagnostic> {
    let methods = |rule: &WriteRule| -> Vec<Diagnostic> {
        let WriteRule { methods, source, line, column, .. } = rule;
        let unusual = methods.iter().filter(|method| !USUAL_WRITES.contains(method));
        let warning = |method| Diagnostic {
            source: source.clone(),
            line: *line,
            column: *column,
            severity: Severity::Warning,
            message: format!("`{method}` is an unusual method: others are POST, PUT, PATCH and DELETE"),
        };
        unusual.map(warning).collect()
    };
    set.writes.iter().flat_map(methods).collect()
}

/// Groups that only writes or only reads name.
pub(super) fn warnings(set: &RuleSet) -> Vec<Diagnostic> {
    let of_reads: Vec<&GroupTemplate> = set.reads.iter().flat_map(|rule| &rule.groups).collect();
    let of_tasks = set.tasks.iter().flat_map(|rule| &rule.invalidates);
    let of_writes: Vec<&GroupTemplate> =
        set.writes.iter().flat_map(|rule| &rule.invalidates).chain(of_tasks).collect();
    let lonely = |group: &&GroupTemplate, others: &[&GroupTemplate]| {
        group.is_named() && !others.iter().any(|other| other.is_named() && group.may_equal(other))
    };
    let mut seen: Vec<&str> = Vec::new();
    let mut diagnostics = Vec::new();
    let mut warn = |group, source: &str, line, column, message: String| {
        if !seen.contains(&group) {
            seen.push(group);
            let severity = Severity::Warning;
            diagnostics.push(Diagnostic { source: source.to_owned(), line, column, severity, message });
        }
    };
    for rule in &set.reads {
        for group in rule.groups.iter().filter(|group| lonely(group, &of_writes)) {
            let message = format!("no write invalidates the group `{}`", group.as_str());
            warn(group.as_str(), &rule.source, rule.line, rule.column, message);
        }
    }
    let writes = set.writes.iter().map(|rule| (&rule.invalidates, &rule.source, rule.line, rule.column));
    let tasks = set.tasks.iter().map(|rule| (&rule.invalidates, &rule.source, rule.line, rule.column));
    for (invalidates, source, line, column) in writes.chain(tasks) {
        let unread = |group: &&GroupTemplate| group.as_str() != ACCEPTANCES && lonely(group, &of_reads);
        for group in invalidates.iter().filter(unread) {
            let message = format!("no read has the group `{}`", group.as_str());
            warn(group.as_str(), source, line, column, message);
        }
    }
    diagnostics
}
