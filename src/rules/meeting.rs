//! Writes that meet: which of a rule's may go as one call.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::fields::Fields;
use super::policy::glob_matches;

/// Which writes of a rule may go as one call. None of them unless the rule says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meeting {
    /// Whether identical ones that are under way at the same time do.
    pub collapse: bool,
    /// How rapid ones to one target are held, so that only the last of them is sent.
    pub batch: Option<Batch>,
}

/// How writes are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// For how long, counted from the first of them.
    pub window: Duration,
    /// What is never held.
    pub critical: Vec<Critical>,
}

/// Requests that are never held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Critical {
    /// What is looked at.
    pub part: Part,
    /// What its value is compared with, as in [`super::Bypass::matches`].
    pub matches: Vec<String>,
}

/// A part of a request that tells how urgent it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A request field.
    Header(HeaderName),
    /// A field of the content or the query.
    Field(String),
}

impl Meeting {
    /// Whether no write of the rule goes with another.
    pub fn is_off(&self) -> bool {
        !self.collapse && self.batch.is_none()
    }
}

impl Batch {
    /// Whether a request is never held.
    pub fn is_critical(&self, headers: &HeaderMap, fields: &Fields) -> bool {
        self.critical.iter().any(|critical| critical.applies(headers, fields))
    }
}

impl Critical {
    fn applies(&self, headers: &HeaderMap, fields: &Fields) -> bool {
        let matches = |value: &[u8]| self.matches.iter().any(|glob| glob_matches(glob.as_bytes(), value));
        match &self.part {
            Part::Header(name) => headers.get_all(name).iter().any(|value| matches(value.as_bytes())),
            Part::Field(name) => {
                let mut all = fields.body.iter().chain(&fields.query);
                all.any(|(found, value)| is_or_is_within(name, found) && matches(value.as_bytes()))
            }
        }
    }
}

/// Whether a field is the one of this name, or one inside of it: what is critical is so as a whole. ASCII case
/// does not matter, so that nothing is held by a spelling.
fn is_or_is_within(name: &str, found: &str) -> bool {
    let (Some(start), rest) = (found.get(..name.len()), found.get(name.len()..).unwrap_or_default()) else {
        return false;
    };
    start.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_critical() {
        let header = Part::Header(HeaderName::from_static("priority"));
        let batch = Batch {
            window: Duration::from_secs(2),
            critical: vec![
                Critical { part: header, matches: vec!["u=0*".into()] },
                Critical { part: Part::Field("delete".into()), matches: vec!["*".into()] },
                Critical { part: Part::Field("power".into()), matches: vec!["off".into(), "cut*".into()] },
            ],
        };
        let json = |text: &str| Fields::from_json(text.as_bytes());
        for (headers, fields, critical) in [
            (None, Fields::default(), false),
            (Some("u=0, i"), Fields::default(), true),
            (Some("u=3"), Fields::default(), false),
            (None, Fields::from_form(b"cores=2"), false),
            (None, Fields::from_form(b"cores=2&delete="), true),
            (None, Fields::from_form(b"Delete=net0"), true),
            (None, Fields::from_form(b"deleted=net0"), false),
            (None, Fields::from_query("delete=net0"), true),
            (None, Fields::from_form(b"power=on"), false),
            (None, Fields::from_form(b"power=on&power=cut-now"), true),
            (None, json(r#"{"delete": ["a"]}"#), true),
            (None, json(r#"{"delete": {"all": true}}"#), true),
            (None, json(r#"{"a": {"delete": 1}}"#), false),
            (None, Fields::from_form("ä=1&délete=1".as_bytes()), false),
        ] {
            let mut map = HeaderMap::new();
            headers.map(|value| map.insert("priority", value.parse().expect("valid")));
            assert_eq!(batch.is_critical(&map, &fields), critical, "{headers:?} {fields:?}");
        }
    }
}
