//! Templates of cache groups (RFC 9875): `guest/{vmid}`, `guest/{body.newid}`, or a path of the API.
//!
//! A template is parsed once against the capture names of its rule, so rendering cannot meet an
//! unknown name. The invariant: a read and a write that render the same characters name the same
//! group, whatever rule they come from; in a pack where case does not matter the rendered group is in
//! lower case, for the same reason.

use thiserror::Error;

use super::fields::Fields;
use super::pattern::Captures;
use super::tasks::{TaskField, TaskNames};

/// The group that stands for the API's acceptance of every credential: a write that names it ends all of
/// them, because it may have taken rights away.
pub const ACCEPTANCES: &str = "acceptances";

/// A group, or part of the API's tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// A group by name.
    Named(String),
    /// The answers of one path of the API, below its format prefix.
    Path(String),
    /// The answers of this path and of everything below; `/` is everything.
    Subtree(String),
}

/// What the rule that a template belongs to can offer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offers {
    /// The path and the query, of a read.
    Query,
    /// The body too, of a write.
    QueryAndBody,
    /// What the API says of a task.
    Task,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Capture(usize),
    Body(String),
    Query(String),
    Task(TaskField),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Named,
    Path,
    Subtree,
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTemplate {
    text: String,
    kind: Kind,
    parts: Vec<Part>,
    fold: bool,
}

/// Why a template could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Nothing is there.
    #[error("a group needs a name")]
    Empty,
    /// A name that the path does not capture.
    #[error("`{{{name}}}` is not a capture of the path{}", known(.captures))]
    UnknownCapture {
        /// The name.
        name: String,
        /// What the path captures.
        captures: Vec<String>,
    },
    /// Something that is not known of a task.
    #[error("`{{{0}}}` is not known of a task: there are {{task.id}}, {{task.node}} and {{task.type}}")]
    UnknownOfTask(String),
    /// A field of the body where there is none.
    #[error("`{{{0}}}`: a read has no body")]
    NoBody(String),
    /// A brace without its partner, or a wrong name.
    #[error("`{0}` has a brace that is no placeholder: write {{name}}, {{body.name}} or {{query.name}}")]
    BadPlaceholder(String),
    /// A star where none is understood.
    #[error("`*` stands only at the end of a path, as in `/nodes/{{node}}/**`")]
    Star,
    /// A path of the API with empty segments.
    #[error("a path has no empty segments and no slash at its end")]
    EmptySegment,
}

fn known(captures: &[String]) -> String {
    match captures {
        [] => ", which captures nothing".to_owned(),
        names => format!("; it captures {}", names.join(", ")),
    }
}

impl Group {
    /// The group that `text` names as a rendered template would: a path where it begins with `/`,
    /// everything below it too where it ends in `/**`, and a name otherwise.
    pub fn from_text(text: &str) -> Group {
        match text.strip_suffix("/**") {
            _ if !text.starts_with('/') => Group::Named(text.to_owned()),
            None => Group::Path(text.to_owned()),
            Some("") => Group::Subtree("/".to_owned()),
            Some(prefix) => Group::Subtree(prefix.to_owned()),
        }
    }
}

impl GroupTemplate {
    /// Reads a template for a rule that captures `captures`; `fold` makes what it renders lower case.
    pub(super) fn parse(
        text: &str,
        captures: &[String],
        offers: Offers,
        fold: bool,
    ) -> Result<Self, TemplateError> {
        let (kind, body) = match text.strip_suffix("/**") {
            Some(prefix) if text.starts_with('/') => (Kind::Subtree, prefix),
            _ if text.starts_with('/') => (Kind::Path, text),
            _ => (Kind::Named, text),
        };
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        if body.contains('*') {
            return Err(TemplateError::Star);
        }
        let dangling = body.ends_with('/') && (kind == Kind::Subtree || body.len() > 1);
        if kind != Kind::Named && (dangling || body.contains("//")) {
            return Err(TemplateError::EmptySegment);
        }
        let mut parts = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let (literal, placeholder, after) = match rest.split_once('{') {
                None => (rest, None, ""),
                Some((literal, tail)) => {
                    let (name, after) =
                        tail.split_once('}').ok_or_else(|| TemplateError::BadPlaceholder(text.to_owned()))?;
                    (literal, Some(name), after)
                }
            };
            if literal.contains('}') {
                return Err(TemplateError::BadPlaceholder(text.to_owned()));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            if let Some(name) = placeholder {
                parts.push(part(name, text, captures, offers)?);
            }
            rest = after;
        }
        Ok(Self { text: text.to_owned(), kind, parts, fold })
    }

    /// The group for a matched path. `None` when a field of the body or query that the template names
    /// is absent or empty. Values are used as they are; a `/` inside a value is kept. The first wins
    /// where a field is repeated.
    pub fn render(&self, path: &str, captures: &Captures, fields: &Fields) -> Option<Group> {
        self.render_with(|part| match part {
            Part::Literal(literal) => Some(literal),
            Part::Capture(position) => Some(captures.get(path, *position)),
            Part::Body(name) => first(&fields.body, name),
            Part::Query(name) => first(&fields.query, name),
            Part::Task(_) => None,
        })
    }

    /// The group for a task. `None` when something that the template names is not known of it.
    pub(super) fn render_task(&self, task: &TaskNames<'_>) -> Option<Group> {
        self.render_with(|part| match part {
            Part::Literal(literal) => Some(literal),
            Part::Task(field) => Some(task.get(*field)).filter(|value| !value.is_empty()),
            Part::Capture(_) | Part::Body(_) | Part::Query(_) => None,
        })
    }

    fn render_with<'v>(&'v self, value: impl Fn(&'v Part) -> Option<&'v str>) -> Option<Group> {
        let mut group = String::with_capacity(self.text.len() + 16);
        for part in &self.parts {
            group.push_str(value(part)?);
        }
        if self.fold {
            group.make_ascii_lowercase();
        }
        Some(match self.kind {
            Kind::Named => Group::Named(group),
            Kind::Path => Group::Path(group),
            Kind::Subtree if group.is_empty() => Group::Subtree("/".to_owned()),
            Kind::Subtree => Group::Subtree(group),
        })
    }

    /// The template as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names a field of the body.
    pub fn needs_body(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Body(_)))
    }

    /// Whether every task has what it names: a type and a node, but not always an id.
    pub(super) fn suits_every_task(&self) -> bool {
        !self.parts.contains(&Part::Task(TaskField::Id))
    }

    /// Whether it names something that the request names, as `guest/{vmid}` does and `guests` does not.
    pub fn is_specific(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Literal(_)))
    }

    /// Whether it names a parameter of the query.
    pub fn needs_query(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Query(_)))
    }

    /// Whether it names a group by name, not a path of the API.
    pub fn is_named(&self) -> bool {
        self.kind == Kind::Named
    }

    /// Whether some values of the placeholders render this template to the group `name`, or to a path
    /// that takes in the resource `path`. For telling people what belongs together.
    pub fn may_reach(&self, name: Option<&str>, path: &str) -> bool {
        let (template, target) = match (self.kind, name) {
            (Kind::Named, None) => return false,
            (Kind::Named, Some(name)) => (self.text.as_str(), name),
            (Kind::Path, _) => (self.text.as_str(), path),
            (Kind::Subtree, _) => (self.text.strip_suffix("/**").unwrap_or(&self.text), path),
        };
        let mut target = target.split('/');
        let same = |wanted: &str, found: &str| match self.fold {
            true => wanted.eq_ignore_ascii_case(found),
            false => wanted == found,
        };
        let begins = template
            .split('/')
            .all(|wanted| target.next().is_some_and(|found| wanted.contains('{') || same(wanted, found)));
        // A value may contain slashes, so one at the end takes whatever follows; a capture is one segment.
        let open = matches!(self.parts.last(), Some(Part::Body(_) | Part::Query(_) | Part::Task(_)));
        begins && (target.next().is_none() || self.kind == Kind::Subtree || open)
    }

    /// Whether some value renders both templates to the same group. Compared segment by segment, a
    /// segment with a placeholder equals any: enough to tell `guest/{vmid}` from `guests`.
    pub(super) fn may_equal(&self, other: &Self) -> bool {
        let mut ours = self.text.split('/');
        let mut theirs = other.text.split('/');
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(our), Some(their)) if our.contains('{') || their.contains('{') || our == their => {}
                _ => return false,
            }
        }
    }
}

fn part(name: &str, text: &str, captures: &[String], offers: Offers) -> Result<Part, TemplateError> {
    if name.is_empty() || name.contains('{') {
        return Err(TemplateError::BadPlaceholder(text.to_owned()));
    }
    if offers == Offers::Task {
        let field = name.strip_prefix("task.").and_then(TaskField::named);
        return field.map(Part::Task).ok_or_else(|| TemplateError::UnknownOfTask(name.to_owned()));
    }
    match name.split_once('.') {
        Some(("body", _)) if offers == Offers::Query => Err(TemplateError::NoBody(name.to_owned())),
        Some(("body", field)) if !field.is_empty() => Ok(Part::Body(field.to_owned())),
        Some(("query", field)) if !field.is_empty() => Ok(Part::Query(field.to_owned())),
        Some(_) => Err(TemplateError::BadPlaceholder(text.to_owned())),
        None => match captures.iter().position(|capture| capture == name) {
            Some(position) => Ok(Part::Capture(position)),
            None => Err(TemplateError::UnknownCapture { name: name.to_owned(), captures: captures.to_vec() }),
        },
    }
}

fn first<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields.iter().find(|(field, value)| field == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests;
