//! Rule packs with what only the dialects know: which APIs there are, and which operations they have.

use super::super::read;
use super::Resolver;
use crate::dialect::Dialect;
use crate::rules::document::{Step, at};
use crate::rules::{Diagnostic, ReadRule, RuleSet, Severity, Sharing, builtin, builtin_names};

/// The rules of a pack, if they can be used, and what is wrong with them.
pub(in super::super) fn parse(source: &str, text: &str) -> (Option<RuleSet>, Vec<Diagnostic>) {
    let rules = match RuleSet::parse(source, text) {
        Ok(rules) => rules,
        Err(diagnostics) => return (None, diagnostics),
    };
    let diagnostics = check_dialect(source, &rules);
    (Some(rules).filter(|_| diagnostics.is_empty()), diagnostics)
}

fn check_dialect(source: &str, rules: &RuleSet) -> Vec<Diagnostic> {
    let wrong = |line, column, message| Diagnostic {
        source: source.to_owned(),
        line,
        column,
        severity: Severity::Error,
        message,
    };
    let Some(dialect) = Dialect::named(&rules.api) else {
        return vec![wrong(1, 1, format!("there is no dialect for the API `{}` (yet)", rules.api))];
    };
    if dialect.folds_case() && !rules.case_insensitive {
        let message = format!(
            "the API `{}` takes no notice of case: write `match: {{case_insensitive: true}}`",
            rules.api
        );
        return vec![wrong(1, 1, message)];
    }
    if rules.fold_case && !dialect.folds_case() {
        let message = format!("`fold_case` is of no use here: paths of the API `{}` have case", rules.api);
        return vec![wrong(1, 1, message)];
    }
    let promoting = rules.reads.iter().filter(|rule| rule.promote.is_some() && !dialect.promotes());
    let no_lists = promoting.map(|rule| {
        let message = format!(
            "`promote` is of no use here: the items of a list of the API `{}` do not say where they are read alone",
            rules.api
        );
        wrong(rule.line, rule.column, message)
    });
    let kinds = dialect.operation_kinds();
    let unknown = rules.writes.iter().filter_map(|rule| {
        let operation = rule.operation.as_deref().filter(|operation| !kinds.contains(operation))?;
        let known = if kinds.is_empty() { "it has none".to_owned() } else { kinds.join(", ") };
        let message = format!("the API `{}` has no operation `{operation}`: {known}", rules.api);
        Some(wrong(rule.line, rule.column, message))
    });
    let by_rights = rules.reads.iter().filter(|rule| rule.share == Sharing::Rights);
    let unfit = by_rights.filter_map(|rule| {
        let message = why_not_by_rights(dialect, rules, rule)?;
        Some(wrong(rule.line, rule.column, message))
    });
    no_lists.chain(unknown).chain(unfit).collect()
}

/// Why callers with equal rights cannot share what `rule` keeps.
fn why_not_by_rights(dialect: Dialect, rules: &RuleSet, rule: &ReadRule) -> Option<String> {
    let api = &rules.api;
    if dialect.rights_read().is_none() {
        return Some(format!(
            "the API `{api}` does not tell what a caller may do, so nothing can be shared by `share: rights`"
        ));
    }
    let template = rules.meets(rule, dialect.beyond_rights())?;
    Some(format!(
        "`share: rights` is not for paths that fit `{template}`: what the API `{api}` shows there depends on who asks, not only on the rights; use `share: principal`, or name other paths"
    ))
}

impl Resolver<'_> {
    /// The rules that an upstream names, joined. `None` when there is a mistake.
    pub(super) fn packs(&mut self, names: &[String], here: &[Step]) -> Option<RuleSet> {
        let mut packs = Vec::with_capacity(names.len());
        if names.is_empty() {
            self.error(here, "at least one pack; leave `rules` out to have it chosen by asking the API");
        }
        for (index, name) in names.iter().enumerate() {
            let (rules, diagnostics) = match builtin(name) {
                Some(text) => parse(name, text),
                None => {
                    let path = self.directory.join(name);
                    match read(&path) {
                        Ok(text) => parse(&path.display().to_string(), &text),
                        Err(unreadable) => {
                            let known: Vec<&str> = builtin_names().collect();
                            let message = format!(
                                "`{name}` is neither a built-in pack ({}) nor a usable file: {}",
                                known.join(", "),
                                unreadable.message
                            );
                            self.error(&[here, &at![index]].concat(), message);
                            continue;
                        }
                    }
                }
            };
            // One file that two upstreams name is told of once.
            for diagnostic in diagnostics {
                if !self.diagnostics.contains(&diagnostic) {
                    self.diagnostics.push(diagnostic);
                }
            }
            packs.extend(rules);
        }
        if packs.len() < names.len() || names.is_empty() {
            return None;
        }
        match RuleSet::join(packs) {
            Ok(rules) => {
                let known = |warning: &Diagnostic| !self.diagnostics.contains(warning);
                let warnings: Vec<_> = rules.warnings().into_iter().filter(known).collect();
                self.diagnostics.extend(warnings);
                Some(rules)
            }
            Err(diagnostic) => {
                self.diagnostics.push(diagnostic);
                None
            }
        }
    }
}
