//! Which rule a request meets and what follows from it, for people.

use std::fmt::{self, Write as _};

use http::{HeaderMap, Method};
use serde::Serialize;

use super::share;
use crate::dialect::Dialect;
use crate::rules::{
    Fields, Group, GroupTemplate, Match, Promote, ReadRule, Reuse, RuleSet, Sharing, StaleTo, WriteRule,
};
use crate::semantics::query;
use crate::units::Span;

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
    /// What of the answer moves by itself, so that audits do not compare it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moving: Vec<String>,
    /// Why, in sentences.
    pub reason: String,
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
        moving: Vec::new(),
        reason: String::new(),
    };
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
                    (explanation.groups, explanation.invalidates) = (Vec::new(), Vec::new());
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
    explanation.moving = rule.moving.iter().map(|moving| moving.as_str().to_owned()).collect();
    explanation.reason = read_reason(rule, share);
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
    explanation.groups = Vec::new();
    explanation.invalidates = Vec::new();
    explanation.reason.push_str(
        " But this request is always answered by the API itself: what it shows belongs to one caller or one moment.",
    );
}

fn read_reason(rule: &ReadRule, share: Sharing) -> String {
    let mut reason = format!("{}:{} is the first rule whose path matches.", rule.source, rule.line);
    let mut add = |text: fmt::Arguments<'_>| {
        reason.push(' ');
        reason.write_fmt(text).expect("writing to a string does not fail");
    };
    match rule.reuse {
        Reuse::For(time) => add(format_args!("An answer is fresh for {}.", Span(time))),
        Reuse::CollapseOnly => {
            add(format_args!("Nothing is kept, but requests at the same time share one call."))
        }
        Reuse::Pass => add(format_args!("Every request is a call of its own and is never retried.")),
        Reuse::Origin => add(format_args!("The answer says itself for how long it is fresh (RFC 9111).")),
    }
    let whom = match rule.stale_to {
        StaleTo::Watchers => "whoever has not written lately",
        StaleTo::Everyone => "everyone",
    };
    if !rule.stale_while_revalidate.is_zero() {
        let time = Span(rule.stale_while_revalidate);
        add(format_args!("For {time} longer it serves {whom} while it is refreshed behind."));
    }
    if !rule.stale_if_error.is_zero() {
        add(format_args!("When the API is down it serves {whom} for {} longer.", Span(rule.stale_if_error)));
    }
    if rule.anonymous {
        add(format_args!("The API answers it without a credential."));
    }
    if let Some(sentence) = sharing(rule, share) {
        add(format_args!("{sentence}"));
    }
    if rule.per_endpoint {
        add(format_args!("Each endpoint has an answer of its own."));
    }
    if let Some(promote) = &rule.promote {
        add(format_args!("{}", promoted(promote)));
    }
    if !rule.bypass.is_empty() {
        add(format_args!("Callers that the rule's `bypass` tells always see the API itself."));
    }
    reason
}

fn promoted(promote: &Promote) -> String {
    format!(
        "Where several of {list} are asked for, that list is read once in place of them, with the credential of whoever \
         asks; a complete list answers those that come after it.",
        list = promote.list(),
    )
}

/// Who shares an answer, and why it is not whom the rule names.
fn sharing(rule: &ReadRule, share: Sharing) -> Option<&'static str> {
    Some(match (share, rule.share) {
        _ if rule.reuse == Reuse::Pass => return None,
        (Sharing::Everyone, _) if rule.anonymous => "Whoever asks shares it.",
        (Sharing::Everyone, _) => "Every credential that the API has accepted lately shares it.",
        (Sharing::Principal, _) => {
            "Every credential of the same principal shares it that the API has accepted lately; an API token is a principal of its own."
        }
        (Sharing::Credential, Sharing::Credential) => "Each credential has an answer of its own.",
        (Sharing::Credential, _) if rule.reuse == Reuse::CollapseOnly => {
            "What is not kept crosses to no other credential, whatever the rule's `share`."
        }
        (Sharing::Credential, _) if rule.anonymous => {
            "Its answers accept nobody, so each credential has one of its own, whatever the rule's `share`."
        }
        (Sharing::Credential, _) => {
            "The credentials of this API name no principal, so each has an answer of its own, whatever the rule's `share`."
        }
        (Sharing::Rights, _) => {
            "Every credential shares it that the API has accepted lately and that has the same rights, by what the API itself says of each; until that is known, and for who is more than its rights, those of the same principal do."
        }
    })
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
    explanation.reason =
        format!("{}:{} is the first rule whose method and path match.", rule.source, rule.line);
    let mut add = |text: String| {
        explanation.reason.push(' ');
        explanation.reason.push_str(&text);
    };
    match &rule.reason {
        Some(reason) if rule.invalidates.is_empty() => add(format!("It overtakes nothing: {reason}.")),
        Some(reason) => add(format!("{reason}.")),
        None => {}
    }
    if let Some(operation) = &rule.operation {
        add(format!(
            "The answer may name an operation ({operation}): the groups stay unsettled until it ends."
        ));
    }
    if !rule.invalidates.is_empty() && !rule.settle.is_zero() {
        add(format!("For {} afterwards nothing of its groups is kept over a second.", Span(rule.settle)));
    }
    if rule.meeting.collapse {
        add("Those of one credential that are the same and under way at the same time are one call."
            .to_owned());
    }
    if let Some(batch) = &rule.meeting.batch {
        let but = if batch.critical.is_empty() { "" } else { ", but for what is `critical`" };
        add(format!(
            "It is held for {}{but}: of those to one target that set the same the last alone is sent, and all get \
             its answer.",
            Span(batch.window)
        ));
    }
}

fn methods(rule: &WriteRule) -> String {
    let names: Vec<&str> = rule.methods.iter().map(Method::as_str).collect();
    names.join(",")
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

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<12} {value}");
        line("rule", self.rule.as_deref().unwrap_or("none"))?;
        line("api", &self.api)?;
        let optional = [("key", &self.key), ("ttl", &self.ttl), ("share", &self.share)];
        for (name, value) in optional {
            if let Some(value) = value {
                line(name, value)?;
            }
        }
        // Of a read these are writes, of a write groups.
        let heading = if self.ttl.is_some() { "overtaken by" } else { "overtakes" };
        let lists = [("groups", &self.groups), (heading, &self.invalidates), ("moving", &self.moving)];
        for (name, list) in lists {
            for (index, item) in list.iter().enumerate() {
                line(if index == 0 { name } else { "" }, item)?;
            }
        }
        line("why", &self.reason)
    }
}

#[cfg(test)]
mod tests;
