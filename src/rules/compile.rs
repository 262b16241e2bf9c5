//! From the pack as it is written to rules without strings left to interpret.
//!
//! Goes on after a mistake, so that all are reported; a set is only made when there is none.

use std::hash::Hasher;

use http::Method;
use serde::Serialize;
use siphasher::sip::SipHasher13;

use super::check;
use super::diagnostic::Diagnostic;
use super::document::{Document, Place, Step, at};
use super::index::Index;
use super::pattern::Pattern;
use super::policy::{Overrides, Reuse};
use super::raw::{RawMatch, RawPack, RawRead, RawTtl, RawWrite};
use super::template::{GroupTemplate, Offers};
use super::written::Written;
use super::{ReadRule, RuleSet, WriteRule};

mod conditions;
mod meeting;
mod promote;
mod tasks;
mod warm;

/// Methods that have no effect on the API (RFC 9110 section 9.2.1), and `CONNECT`, which never reaches it.
const NOT_WRITES: [Method; 5] = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::CONNECT];

pub(super) fn parse(source: &str, text: &str) -> Result<RuleSet, Vec<Diagnostic>> {
    let (document, raw, diagnostics) = Document::parse::<RawPack>(source, text);
    let mut compiler = Compiler { source, document: &document, matching: RawMatch::default(), diagnostics };
    let rules = raw.map(|raw| compiler.pack(&raw));
    let mut diagnostics = compiler.diagnostics;
    match rules {
        Some(rules) if diagnostics.is_empty() => Ok(rules),
        _ => {
            diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
            Err(diagnostics)
        }
    }
}

struct Compiler<'d> {
    source: &'d str,
    document: &'d Document,
    matching: RawMatch,
    diagnostics: Vec<Diagnostic>,
}

/// Where the rule that is being compiled stands.
struct Here {
    list: &'static str,
    index: usize,
    place: Place,
}

impl Here {
    fn path(&self, rest: &[Step]) -> Vec<Step> {
        [&at![self.list, self.index], rest].concat()
    }
}

impl Compiler<'_> {
    fn pack(&mut self, raw: &RawPack) -> RuleSet {
        self.matching = raw.matching.clone();
        if raw.matching.fold_case && !raw.matching.case_insensitive {
            self.error(
                &at!["match", "fold_case"],
                "keys can fold only where paths do: `case_insensitive: true`",
            );
        }
        let heres = |document: &Document, list: &'static str, count: usize| {
            let places = document.items(list, count).into_iter().enumerate();
            places.map(|(index, place)| Here { list, index, place }).collect::<Vec<_>>()
        };
        let mut reads = Vec::with_capacity(raw.reads.len());
        for (here, rule) in heres(self.document, "reads", raw.reads.len()).iter().zip(&raw.reads) {
            reads.extend(self.read(here, rule, &raw.api));
        }
        let mut writes = Vec::with_capacity(raw.writes.len());
        for (here, rule) in heres(self.document, "writes", raw.writes.len()).iter().zip(&raw.writes) {
            writes.extend(self.write(here, rule, &raw.api));
        }
        let mut tasks = Vec::with_capacity(raw.tasks.len());
        for (here, rule) in heres(self.document, "tasks", raw.tasks.len()).iter().zip(&raw.tasks) {
            let row = self.task(here, rule, &raw.api, &tasks);
            tasks.push(row);
        }
        let set = RuleSet {
            api: raw.api.clone(),
            case_insensitive: raw.matching.case_insensitive,
            fold_case: raw.matching.fold_case,
            reads,
            writes,
            tasks,
            source: self.source.to_owned(),
            read_index: Index::default(),
            posted_index: Index::default(),
            write_index: Index::default(),
            promoting: Vec::new(),
        };
        self.diagnostics.extend(check::covered(&set));
        set.indexed()
    }

    fn read(&mut self, here: &Here, raw: &RawRead, api: &str) -> Option<ReadRule> {
        let groups_at = |index| here.path(&at!["groups", index]);
        let only = self.conditions(here, "only", &raw.only);
        let unless = self.conditions(here, "unless", &raw.unless);
        let bypass = self.bypass(here, &raw.bypass);
        let moving = self.moving(here, &raw.moving);
        let posted = self.posted(here, raw);
        let query = self.query(here, &raw.query);
        let keep_warm = self.keep_warm(here, raw);
        let pattern = self.pattern(here, &raw.path)?;
        let promote = self.promote(here, raw, &pattern);
        let captures = pattern.captures();
        let groups = self.templates(&raw.groups, groups_at, &captures, Offers::Query);
        Some(ReadRule {
            name: raw.path.clone(),
            line: here.place.line,
            column: here.place.column,
            source: self.source.to_owned(),
            fingerprint: fingerprint(api, &self.matching, raw),
            captures,
            reuse: match raw.ttl {
                RawTtl::For(span) if span.0.is_zero() => Reuse::CollapseOnly,
                RawTtl::For(span) => Reuse::For(span.0),
                RawTtl::Pass => Reuse::Pass,
                RawTtl::Origin => Reuse::Origin,
            },
            stale_while_revalidate: raw.stale_while_revalidate.0,
            stale_if_error: raw.stale_if_error.0,
            stale_to: raw.stale_to,
            share: raw.share,
            anonymous: raw.anonymous,
            per_endpoint: raw.per_endpoint,
            disk: raw.disk,
            overrides: Overrides::new(&raw.overrides),
            groups,
            ignore_query: raw.ignore_query.clone(),
            only,
            unless,
            bypass,
            moving,
            posted,
            query,
            keep_warm,
            promote,
            written: Written::read(raw),
            pattern,
        })
    }

    fn write(&mut self, here: &Here, raw: &RawWrite, api: &str) -> Option<WriteRule> {
        let meeting = self.meeting(here, raw);
        let mut methods = Vec::with_capacity(raw.methods.len());
        for (index, name) in raw.methods.iter().enumerate() {
            match Method::from_bytes(name.as_bytes()) {
                Ok(method) if NOT_WRITES.contains(&method) => {
                    let at = here.path(&at!["methods", index]);
                    self.error(&at, format!("`{name}` is not a method that writes"));
                }
                Ok(method) if !name.bytes().any(|byte| byte.is_ascii_lowercase()) => methods.push(method),
                _ => {
                    let at = here.path(&at!["methods", index]);
                    self.error(
                        &at,
                        format!("`{name}` is not a method: they are written in capitals, as in POST"),
                    );
                }
            }
        }
        if raw.methods.is_empty() {
            self.error(&here.path(&at!["methods"]), "a write rule needs at least one method");
        }
        if raw.invalidates.is_empty() && raw.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
            let at = here.path(&at!["invalidates"]);
            self.error(&at, "a write that invalidates nothing needs a `reason`");
        }
        let pattern = self.pattern(here, &raw.path)?;
        let captures = pattern.captures();
        let at = |index| here.path(&at!["invalidates", index]);
        let invalidates = self.templates(&raw.invalidates, at, &captures, Offers::QueryAndBody);
        Some(WriteRule {
            name: raw.path.clone(),
            line: here.place.line,
            column: here.place.column,
            source: self.source.to_owned(),
            fingerprint: fingerprint(api, &self.matching, raw),
            captures,
            methods,
            needs_body: invalidates.iter().any(GroupTemplate::needs_body),
            invalidates,
            reason: raw.reason.clone(),
            operation: raw.operation.clone(),
            settle: raw.settle.0,
            meeting,
            written: Written::write(raw),
            pattern,
        })
    }

    fn pattern(&mut self, here: &Here, text: &str) -> Option<Pattern> {
        let parsed = Pattern::parse(text);
        parsed.map_err(|error| self.error(&here.path(&at!["path"]), error.to_string())).ok()
    }

    fn templates(
        &mut self,
        texts: &[String],
        at: impl Fn(usize) -> Vec<Step>,
        captures: &[String],
        offers: Offers,
    ) -> Vec<GroupTemplate> {
        let mut templates = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match GroupTemplate::parse(text, captures, offers, self.matching.case_insensitive) {
                Ok(template) => templates.push(template),
                Err(error) => self.error(&at(index), error.to_string()),
            }
        }
        templates
    }

    fn key_error(&mut self, path: &[Step], message: impl Into<String>) {
        self.diagnostics.push(self.document.key_error(path, message));
    }

    fn error(&mut self, path: &[Step], message: impl Into<String>) {
        self.diagnostics.push(self.document.error(path, message));
    }
}

fn item_path(here: &Here, key: &'static str, listed: bool, index: usize) -> Vec<Step> {
    if listed { here.path(&at![key, index]) } else { here.path(&at![key]) }
}

/// A hash of what a rule means.
fn fingerprint(api: &str, matching: &RawMatch, rule: &impl Serialize) -> u64 {
    hash(&(api, matching, rule))
}

/// The keys are fixed, so that the hash is the same in every run.
pub(super) fn hash(what: &impl Serialize) -> u64 {
    let canonical = serde_json::to_vec(what)
        .expect("rules are structs of strings, numbers and lists, which JSON can hold");
    let mut hasher = SipHasher13::new_with_keys(0x666f_7265_6261_7931, 0x7275_6c65_7061_636b);
    hasher.write(&canonical);
    hasher.finish()
}

#[cfg(test)]
mod tests;
