//! Which rule a request meets and what follows from it, for people.

use http::{HeaderMap, Method};
use serde::Serialize;

use super::admit::has_dot_segment;
use super::share;
use crate::dialect::Dialect;
use crate::rules::{
    Fields, Group, GroupTemplate, Keys, Match, ReadRule, Reuse, RuleSet, TaskRule, WriteRule,
};
use crate::semantics::query;
use crate::units::{Share, Span};

mod text;
mod words;

/// What the rules make of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The path template of the rule; `None` when no rule matches.
    pub rule: Option<String>,
    /// The dialect.
    pub api: String,
    /// What tells the answer apart from others, besides who asks; `None` when nothing is kept.
    pub key: Option<String>,
    /// The groups that the answer belongs to, its own path last.
    pub groups: Vec<String>,
    /// The freshness lifetime as the rule has it; `None` for a write.
    pub ttl: Option<String>,
    /// Who shares the answer; `None` when nothing is kept.
    pub share: Option<String>,
    /// Of a read: the writes that overtake it. Of a write: the groups that it overtakes.
    pub invalidates: Vec<String>,
    /// Of a read: the types of the tasks that overtake it when somebody else starts them, a text for each row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// What of the answer moves by itself, so that audits do not compare it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moving: Vec<String>,
    /// Every key of the rule with its value, what the pack leaves out filled in.
    pub written: Keys,
    /// Those of them that the pack says otherwise than is so without a word.
    #[serde(skip)]
    chosen: Keys,
    /// Why, in sentences.
    pub reason: String,
}

impl Explanation {
    /// Says so where hits are compared with the API.
    #[must_use]
    pub fn audited(mut self, share: Share) -> Self {
        let is_kept = self.key.is_some() && self.ttl.as_deref() != Some("0s");
        if share.0 > 0.0 && is_kept {
            self.reason.push_str(&format!(" Of its hits {share} are compared with the API behind."));
        }
        self
    }

    fn belongs_to_nothing(&mut self) {
        (self.groups, self.invalidates, self.tasks) = (Vec::new(), Vec::new(), Vec::new());
    }
}

/// What `rules` make of `method` to `url`, a whole URL or only its path and query.
pub fn explain(rules: &RuleSet, method: &Method, url: &str) -> Explanation {
    let (raw_path, raw_query) = split(url);
    let dialect = Dialect::named(&rules.api).unwrap_or(Dialect::Plain);
    let mut explanation = Explanation {
        rule: None,
        api: rules.api.clone(),
        key: None,
        groups: Vec::new(),
        ttl: None,
        share: None,
        invalidates: Vec::new(),
        tasks: Vec::new(),
        moving: Vec::new(),
        written: Keys::new(),
        chosen: Keys::new(),
        reason: String::new(),
    };
    let refused = match dialect.read_path(raw_path) {
        _ if !raw_path.starts_with('/') => Some("the target is not a path"),
        path if has_dot_segment(raw_path) || path.as_deref().is_some_and(has_dot_segment) => {
            Some("the path has dot segments, which clients have to resolve")
        }
        _ => None,
    };
    if let Some(why) = refused {
        explanation.reason = format!("It is refused with 400: {why}.");
        return explanation;
    }
    let Some(path) = dialect.read_path(raw_path) else {
        explanation.reason =
            "How the API reads this path is not certain, so it is passed through.".to_owned();
        return explanation;
    };
    let resource = path.get(dialect.resource_offset(&path)..).unwrap_or("/");
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let posted = (*method == Method::POST).then(|| rules.posted(&path, raw_query)).flatten();
    if is_read || posted.is_some() {
        match posted.or_else(|| rules.read(&path, raw_query)) {
            None => {
                explanation.reason = "No rule matches: the read is passed through and counted.".to_owned()
            }
            Some(found) => {
                let query = Query { dialect, raw: raw_query, ignored: &found.rule.ignore_query };
                let fields = Fields::from_query(raw_query.unwrap_or_default());
                read(&mut explanation, rules, &found, &path, resource, &fields);
                if found.rule.posted {
                    explanation.belongs_to_nothing();
                    explanation.reason.push_str(" It changes nothing, and is no write.");
                }
                if is_read && dialect.passes(method, &path, raw_query, &HeaderMap::new()) {
                    pass(&mut explanation);
                } else if !matches!(found.rule.reuse, Reuse::Pass) {
                    let folds = rules.fold_case && raw_path.eq_ignore_ascii_case(&path);
                    explanation.key = Some(query.key(if folds { &path } else { raw_path }));
                    if folds {
                        explanation
                            .reason
                            .push_str(" All spellings of the path in which only case differs share it.");
                    }
                }
            }
        }
    } else {
        match rules.write(method, &path) {
            None => {
                explanation.reason =
                    "No rule matches: the write overtakes its own path, everything below it and every path above it."
                        .to_owned();
                explanation.invalidates = vec![format!("{}/**", resource.trim_end_matches('/'))];
            }
            Some(found) => write(&mut explanation, &found, &path, raw_query),
        }
    }
    explanation
}

fn read(
    explanation: &mut Explanation,
    rules: &RuleSet,
    found: &Match<'_, ReadRule>,
    path: &str,
    resource: &str,
    fields: &Fields,
) {
    let rule = found.rule;
    let groups = rule.groups.iter().filter_map(|group| group.render(path, &found.captures, fields));
    explanation.groups = groups.map(shown).chain([resource.to_owned()]).collect();
    explanation.rule = Some(rule.name.clone());
    explanation.ttl = Some(match rule.reuse {
        Reuse::For(time) => Span(time).to_string(),
        Reuse::CollapseOnly => "0s".to_owned(),
        Reuse::Pass => "pass".to_owned(),
        Reuse::Origin => "origin".to_owned(),
    });
    let dialect = Dialect::named(&rules.api).unwrap_or(Dialect::Plain);
    let share = share::effective(rule, dialect);
    explanation.share = (rule.reuse != Reuse::Pass).then(|| share.as_str().to_owned());
    let overtakes = |group: &GroupTemplate| {
        let names = explanation.groups.iter().map(|name| Some(name.as_str()));
        names.chain([None]).any(|name| group.may_reach(name, resource))
    };
    let writes = rules.writes.iter().filter(|write| write.invalidates.iter().any(overtakes));
    explanation.invalidates = writes.map(|write| format!("{} {}", methods(write), write.name)).collect();
    let tasks = rules.tasks.iter().filter(|row| row.invalidates.iter().any(overtakes));
    explanation.tasks = tasks.map(types).collect();
    explanation.moving = rule.moving.iter().map(|moving| moving.as_str().to_owned()).collect();
    (explanation.written, explanation.chosen) = (rule.written.keys(), rule.written.chosen());
    explanation.reason = words::of_read(rule, share);
    let kept = !matches!(rule.reuse, Reuse::Pass | Reuse::CollapseOnly);
    if kept && dialect.feed().is_some() && rules.task_may_change(rule, dialect.resource_of(&rule.name)) {
        explanation.reason.push_str(
            " Tasks of others may change it: while the API's change feed is not read, it is kept for `feed.ceiling` \
             at most.",
        );
    }
}

/// What the dialect passes, no rule keeps.
fn pass(explanation: &mut Explanation) {
    explanation.ttl = Some("pass".to_owned());
    explanation.share = None;
    explanation.belongs_to_nothing();
    explanation.reason.push_str(
        " But this request is always answered by the API itself: what it shows belongs to one caller or one moment.",
    );
}

fn write(explanation: &mut Explanation, found: &Match<'_, WriteRule>, path: &str, raw_query: Option<&str>) {
    let rule = found.rule;
    let fields = Fields::from_query(raw_query.unwrap_or_default());
    let group = |template: &GroupTemplate| {
        // The body is not known here: a template that names one of its fields stays as it is.
        template.render(path, &found.captures, &fields).map_or_else(|| template.as_str().to_owned(), shown)
    };
    explanation.rule = Some(rule.name.clone());
    explanation.invalidates = rule.invalidates.iter().map(group).collect();
    (explanation.written, explanation.chosen) = (rule.written.keys(), rule.written.chosen());
    explanation.reason = words::of_write(rule);
}

fn methods(rule: &WriteRule) -> String {
    let names: Vec<&str> = rule.methods.iter().map(Method::as_str).collect();
    names.join(",")
}

fn types(row: &TaskRule) -> String {
    row.types.join(",")
}

fn shown(group: Group) -> String {
    match group {
        Group::Named(name) => name,
        Group::Path(path) => path,
        Group::Subtree(path) => format!("{}/**", path.trim_end_matches('/')),
    }
}

/// The query of a request, for its key.
struct Query<'q> {
    dialect: Dialect,
    raw: Option<&'q str>,
    ignored: &'q [String],
}

impl Query<'_> {
    fn key(&self, raw_path: &str) -> String {
        let mut ignored = self.ignored.to_vec();
        ignored.extend(self.dialect.ignored_query().iter().map(|name| (*name).to_owned()));
        let mut key = raw_path.to_owned();
        query::canonical(self.raw.unwrap_or_default(), self.dialect.query_syntax(), &ignored, |pair| {
            key.push(if key.contains('?') { '&' } else { '?' });
            key.push_str(pair);
        });
        key
    }
}

/// The path and the query of a URL.
fn split(url: &str) -> (&str, Option<&str>) {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let (location, query) =
        url.split_once('?').map_or((url, None), |(location, query)| (location, Some(query)));
    let path = match location.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => location,
    };
    (path, query)
}

#[cfg(test)]
mod tests;
