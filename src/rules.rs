//! Rule packs: which reads are kept and for how long, and which writes overtake them.
//!
//! A pack is YAML ([`raw`]), read with all its mistakes at once ([`document`]) and turned into a
//! [`RuleSet`] (`compile`), which is immutable and answers in one walk which rule a path belongs to
//! (`index`). No I/O here, no API by name, and nothing about what is stored: a rule only says what may be.

pub mod diagnostic;
pub mod document;
pub mod fields;
pub mod json_path;
pub mod meeting;
pub mod moving;
pub mod pattern;
pub mod policy;
pub mod raw;
pub mod template;

mod check;
mod compile;
mod index;
mod promote;
mod reach;
mod tasks;
mod written;

use std::time::Duration;

use http::Method;

pub use diagnostic::{Diagnostic, Severity};
pub use fields::Fields;
pub use meeting::{Batch, Meeting};
pub use moving::Moving;
use pattern::Segments;
pub use pattern::{Captures, Pattern};
pub use policy::{Bypass, Condition, KeepWarm, Overrides, QueryParameter, Reuse};
pub use promote::Promote;
pub use raw::{Sharing, StaleTo};
pub use tasks::{TaskNames, TaskRule};
pub use template::{Group, GroupTemplate};
pub use written::{Keys, Written};

use index::Index;

/// The rules of one upstream, in order.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// The dialect that the rules are written for.
    pub api: String,
    /// Whether ASCII case does not matter when paths are compared.
    pub case_insensitive: bool,
    /// Whether the key folds case too.
    pub fold_case: bool,
    /// Reads; the first match wins.
    pub reads: Vec<ReadRule>,
    /// Writes; the first match wins.
    pub writes: Vec<WriteRule>,
    /// Tasks of others; the first match wins.
    pub tasks: Vec<TaskRule>,
    source: String,
    read_index: Index,
    posted_index: Index,
    write_index: Index,
    /// The reads that a list answers too.
    promoting: Vec<usize>,
}

/// A rule that matches, and where its captures stand.
#[derive(Clone, Debug)]
pub struct Match<'r, R> {
    /// The place of the rule in the set.
    pub index: usize,
    /// The rule.
    pub rule: &'r R,
    /// The captures, parallel to the rule's names.
    pub captures: Captures,
}

/// What may be kept of one read.
#[derive(Clone, Debug)]
pub struct ReadRule {
    /// The path template, also the metric label and log field.
    pub name: String,
    /// The line in `source`, from 1.
    pub line: u32,
    /// The column in `source`, from 1.
    pub column: u32,
    /// The file as it was named, or the name of a built-in pack.
    pub source: String,
    /// A hash of what the rule means: equal for equal rules wherever they stand, in every run.
    pub fingerprint: u64,
    /// The capture names, in order of position.
    pub captures: Vec<String>,
    /// Whether and for how long an answer is fresh.
    pub reuse: Reuse,
    /// For so long after its lifetime an entry is served while it is refreshed behind.
    pub stale_while_revalidate: Duration,
    /// For so long after its lifetime an entry is served when the API gives no answer.
    pub stale_if_error: Duration,
    /// Who is served what has expired, while it is refreshed and when the API gives no answer.
    pub stale_to: StaleTo,
    /// Who shares an entry.
    pub share: Sharing,
    /// Whether the API answers it without a credential.
    pub anonymous: bool,
    /// Whether the endpoint is part of the key.
    pub per_endpoint: bool,
    /// Whether entries may be written to the disk tier.
    pub disk: bool,
    /// The upstream directives that do not count.
    pub overrides: Overrides,
    /// The groups of the entries.
    pub groups: Vec<GroupTemplate>,
    /// Query parameters that are not part of the key.
    pub ignore_query: Vec<String>,
    /// What may be stored: all hold.
    pub only: Vec<Condition>,
    /// A body in transition: when any holds the answer is kept for a second at most.
    pub unless: Vec<Condition>,
    /// Callers that must see the API itself.
    pub bypass: Vec<Bypass>,
    /// What moves by itself, so that audits do not compare it.
    pub moving: Vec<Moving>,
    /// Whether it is asked by POST.
    pub posted: bool,
    /// What the query of a request has to have.
    pub query: Vec<QueryParameter>,
    /// When entries are fetched again before they expire.
    pub keep_warm: Option<KeepWarm>,
    /// The list that answers it too.
    pub promote: Option<Promote>,
    /// Every key, for people.
    pub written: Written,
    pattern: Pattern,
}

/// What one write overtakes.
#[derive(Clone, Debug)]
pub struct WriteRule {
    /// The path template, also the metric label and log field.
    pub name: String,
    /// The line in `source`, from 1.
    pub line: u32,
    /// The column in `source`, from 1.
    pub column: u32,
    /// The file as it was named, or the name of a built-in pack.
    pub source: String,
    /// A hash of what the rule means: equal for equal rules wherever they stand, in every run.
    pub fingerprint: u64,
    /// The capture names, in order of position.
    pub captures: Vec<String>,
    /// The methods that the rule is about.
    pub methods: Vec<Method>,
    /// The groups that the write overtakes; empty only with a reason.
    pub invalidates: Vec<GroupTemplate>,
    /// Why the write overtakes nothing.
    pub reason: Option<String>,
    /// The kind of operation that the answer may name; the dialect knows which there are.
    pub operation: Option<String>,
    /// For so long after the write nothing of its groups is kept over a second.
    pub settle: Duration,
    /// Whether a template names a field of the body.
    pub needs_body: bool,
    /// Which of them may go as one call.
    pub meeting: Meeting,
    /// Every key, for people.
    pub written: Written,
    pattern: Pattern,
}

impl RuleSet {
    /// Reads a pack. `source` is how diagnostics name the file. Warnings are not errors: ask
    /// [`RuleSet::warnings`] for them.
    pub fn parse(source: &str, text: &str) -> Result<RuleSet, Vec<Diagnostic>> {
        compile::parse(source, text)
    }

    /// The rules of several packs in order. They have to be for the same API and compare paths alike,
    /// otherwise the diagnostic names the pack that differs from the first. Keys fold for all if one says so.
    pub fn join(mut packs: Vec<RuleSet>) -> Result<RuleSet, Diagnostic> {
        if packs.iter().any(|pack| pack.fold_case) {
            packs.iter_mut().for_each(RuleSet::fold);
        }
        let mut packs = packs.into_iter();
        let Some(mut joined) = packs.next() else { return Ok(RuleSet::empty("none")) };
        for pack in packs {
            if pack.api != joined.api || pack.case_insensitive != joined.case_insensitive {
                let what = if pack.api == joined.api { "with another `match`" } else { "for another API" };
                let message =
                    format!("this pack is {what} than {}: they cannot serve one upstream", joined.source);
                return Err(Diagnostic {
                    line: 1,
                    column: 1,
                    ..Diagnostic::whole_file(&pack.source, message)
                });
            }
            joined.reads.extend(pack.reads);
            joined.writes.extend(pack.writes);
            joined.tasks.extend(pack.tasks);
        }
        Ok(joined.indexed())
    }

    /// Keys fold here because another pack says so: what is kept under them is something else then.
    fn fold(&mut self) {
        if std::mem::replace(&mut self.fold_case, true) {
            return;
        }
        for rule in &mut self.reads {
            rule.fingerprint = compile::hash(&("fold_case", rule.fingerprint));
        }
    }

    /// No rules at all for `api`: every read is passed through.
    pub fn empty(api: &str) -> RuleSet {
        RuleSet {
            api: api.to_owned(),
            case_insensitive: false,
            fold_case: false,
            reads: Vec::new(),
            writes: Vec::new(),
            tasks: Vec::new(),
            source: String::new(),
            read_index: Index::default(),
            posted_index: Index::default(),
            write_index: Index::default(),
            promoting: Vec::new(),
        }
    }

    /// The first read rule in order that matches a GET or HEAD. `path` is the path as the API reads it:
    /// decoded, without empty segments, starting with `/`; `query` is as the client wrote it.
    pub fn read(&self, path: &str, query: Option<&str>) -> Option<Match<'_, ReadRule>> {
        self.read_in(&self.read_index, path, query)
    }

    /// The first read rule in order that matches a POST, which then is no write.
    pub fn posted(&self, path: &str, query: Option<&str>) -> Option<Match<'_, ReadRule>> {
        self.read_in(&self.posted_index, path, query)
    }

    fn read_in(&self, rules: &Index, path: &str, query: Option<&str>) -> Option<Match<'_, ReadRule>> {
        let has = |parameter: &QueryParameter| query.is_some_and(|query| parameter.is_in(query));
        let segments = Segments::of(path);
        let index = rules.first(path, &segments, |rule| self.reads[rule].query.iter().all(has))?;
        let rule = &self.reads[index];
        let captures = rule.pattern.captures_of(path, &segments, self.case_insensitive);
        Some(Match { index, rule, captures })
    }

    /// The first write rule in order that matches the method and the path (as in [`RuleSet::read`]).
    pub fn write(&self, method: &Method, path: &str) -> Option<Match<'_, WriteRule>> {
        let segments = Segments::of(path);
        let has = |rule: usize| self.writes[rule].methods.contains(method);
        let index = self.write_index.first(path, &segments, has)?;
        let rule = &self.writes[index];
        let captures = rule.pattern.captures_of(path, &segments, self.case_insensitive);
        Some(Match { index, rule, captures })
    }

    /// The first row in order that is about a task, and the groups that it makes of it.
    pub fn task(&self, task: &TaskNames<'_>) -> Option<(&TaskRule, Vec<Group>)> {
        self.tasks.iter().find_map(|rule| Some((rule, rule.groups(task)?)))
    }

    /// A hash of what all of them mean, in their order.
    pub fn fingerprint(&self) -> u64 {
        let reads = self.reads.iter().map(|rule| rule.fingerprint);
        let writes = self.writes.iter().map(|rule| rule.fingerprint);
        let tasks = self.tasks.iter().map(|rule| rule.fingerprint);
        compile::hash(&(reads.collect::<Vec<_>>(), writes.collect::<Vec<_>>(), tasks.collect::<Vec<_>>()))
    }

    /// What the rules probably do not mean: those that can never match because of a pack before theirs, methods
    /// that hardly an API knows, groups that only reads or only writes name.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        [check::hidden(self), check::unusual(self), check::warnings(self)].concat()
    }

    fn indexed(mut self) -> Self {
        let reads = |posted| {
            let numbered = self.reads.iter().enumerate();
            numbered.filter(move |(_, rule)| rule.posted == posted).map(|(rule, read)| (rule, &read.pattern))
        };
        let writes = self.writes.iter().map(|rule| &rule.pattern).enumerate();
        self.read_index = Index::new(reads(false), self.case_insensitive);
        self.posted_index = Index::new(reads(true), self.case_insensitive);
        self.write_index = Index::new(writes, self.case_insensitive);
        let promoting = self.reads.iter().enumerate().filter(|(_, rule)| rule.promote.is_some());
        self.promoting = promoting.map(|(index, _)| index).collect();
        self
    }
}

impl ReadRule {
    /// The position of the capture `name`.
    pub fn capture(&self, name: &str) -> Option<usize> {
        self.captures.iter().position(|capture| capture == name)
    }
}

impl RuleSet {
    /// The first of `templates` that some path fits which fits `rule` too.
    pub fn meets<'t>(&self, rule: &ReadRule, templates: &[&'t str]) -> Option<&'t str> {
        let meets = |template: &&&str| {
            let parsed = Pattern::parse(template);
            parsed.map_or(true, |parsed| rule.pattern.overlaps(&parsed, self.case_insensitive))
        };
        templates.iter().find(meets).copied()
    }
}

impl WriteRule {
    /// The position of the capture `name`.
    pub fn capture(&self, name: &str) -> Option<usize> {
        self.captures.iter().position(|capture| capture == name)
    }
}

/// The text of a built-in pack.
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(builtin, _)| *builtin == name).map(|(_, text)| *text)
}

/// The names of the built-in packs.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

const BUILTIN: [(&str, &str); 2] =
    [("proxmox", include_str!("../rules/proxmox.yaml")), ("azure", include_str!("../rules/azure.yaml"))];

#[cfg(test)]
mod tests;
