//! What a read rule decides, in types that need no further reading: reuse, overrides, conditions, bypass.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::json_path::JsonPath;
use super::raw::Directive;

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It is fresh for this long; more than zero.
    For(Duration),
    /// It is never stored, but simultaneous requests share one.
    CollapseOnly,
    /// It is neither stored nor shared nor retried.
    Pass,
    /// RFC 9111 decides, from the response.
    Origin,
}

/// When what a rule keeps is fetched again before it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepWarm {
    /// How often.
    pub every: Duration,
    /// For how long after it was used last.
    pub while_used_within: Duration,
}

/// Which response directives the rule overrides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `no-cache`, and `Pragma: no-cache`.
    pub no_cache: bool,
    /// `max-age`, `s-maxage` and `Expires`.
    pub max_age: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `private`.
    pub private: bool,
    /// `must-revalidate` and `proxy-revalidate`.
    pub must_revalidate: bool,
}

impl Overrides {
    pub(super) fn new(directives: &[Directive]) -> Self {
        let has = |directive| directives.contains(&directive);
        Self {
            no_cache: has(Directive::NoCache),
            max_age: has(Directive::MaxAge),
            no_store: has(Directive::NoStore),
            private: has(Directive::Private),
            must_revalidate: has(Directive::MustRevalidate),
        }
    }
}

/// A condition on an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The status is one of these.
    Statuses(Vec<u16>),
    /// The JSON pointer (RFC 6901) leads to this value.
    Json {
        /// The pointer.
        pointer: String,
        /// The value; 1 and 1.0 differ, as they do in the body's text.
        equals: serde_json::Value,
    },
    /// The JSON pointer leads to a value other than null, or to none.
    JsonPresent {
        /// The pointer.
        pointer: String,
        /// Whether there has to be a value.
        present: bool,
    },
    /// The texts at a path are as a word list wants them.
    Texts(Texts),
}

/// Texts in a body, compared with words.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    /// Where they stand.
    pub path: JsonPath,
    /// How they have to be.
    pub wanted: Wanted,
    /// The words.
    pub words: Vec<String>,
    /// Whether ASCII case does not matter.
    pub fold: bool,
}

/// How texts have to be to words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Some text is one of them.
    AnyOf,
    /// No text is one of them.
    NoneOf,
    /// Some text is none of them.
    OtherThan,
}

impl Texts {
    /// Whether it holds for a body; an error if that is no JSON.
    pub fn hold(&self, body: &[u8]) -> Result<bool, serde_json::Error> {
        let found = self.path.some(body, &|text| self.counts(text))?;
        Ok(found != (self.wanted == Wanted::NoneOf))
    }

    fn counts(&self, text: &str) -> bool {
        let same = |word: &String| match self.fold {
            true => word.eq_ignore_ascii_case(text),
            false => word == text,
        };
        self.words.iter().any(same) != (self.wanted == Wanted::OtherThan)
    }
}

impl Condition {
    /// Whether the body has to be read as JSON to decide.
    pub fn needs_body(&self) -> bool {
        !matches!(self, Condition::Statuses(_))
    }

    /// Whether it holds for an answer; a body that is no JSON (`None`) has no values.
    pub fn holds(&self, status: u16, body: Option<&serde_json::Value>) -> bool {
        let at = |pointer: &str| body.and_then(|body| body.pointer(pointer)).filter(|value| !value.is_null());
        match self {
            Condition::Statuses(statuses) => statuses.contains(&status),
            Condition::Json { pointer, equals } => at(pointer) == Some(equals),
            Condition::JsonPresent { pointer, present } => at(pointer).is_some() == *present,
            Condition::Texts(texts) => {
                let found = body.is_some_and(|body| texts.path.some_of(body, &|text| texts.counts(text)));
                found != (texts.wanted == Wanted::NoneOf)
            }
        }
    }
}

/// A parameter that the query of a request has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryParameter {
    /// Its name; ASCII case does not matter.
    pub name: String,
    /// What its value is compared with, as in [`Bypass::matches`].
    pub matches: Vec<String>,
}

impl QueryParameter {
    /// Whether a query has it.
    pub fn is_in(&self, query: &str) -> bool {
        let is_it = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text| Cow::<[u8]>::from(percent_encoding::percent_decode_str(text));
            decoded(name).eq_ignore_ascii_case(self.name.as_bytes())
                && self.matches.iter().any(|glob| glob_matches(glob.as_bytes(), &decoded(value)))
        };
        query.split('&').any(is_it)
    }
}

/// Callers that are always answered by the API itself, told by a request field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// The field.
    pub header: HeaderName,
    /// What its value is compared with: `*` stands for any characters, ASCII case does not matter.
    pub matches: Vec<String>,
}

impl Bypass {
    /// Whether the request has a field value that matches.
    pub fn applies(&self, headers: &HeaderMap) -> bool {
        let matches = |value: &[u8]| self.matches.iter().any(|glob| glob_matches(glob.as_bytes(), value));
        headers.get_all(&self.header).iter().any(|value| matches(value.as_bytes()))
    }
}

/// Whether `glob` matches the whole of `text`; linear in both times the number of stars at the worst.
pub fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut retry = None;
    loop {
        match (glob.get(position), text.get(at)) {
            (Some(b'*'), _) => {
                position += 1;
                retry = Some((position, at));
            }
            (Some(wanted), Some(found)) if wanted.eq_ignore_ascii_case(found) => {
                position += 1;
                at += 1;
            }
            (None, None) => return true,
            (_, None) => return false,
            _ => match &mut retry {
                Some((resume, resumed)) => {
                    *resumed += 1;
                    (position, at) = (*resume, *resumed);
                }
                None => return false,
            },
        }
    }
}
