//! Whether a write makes an earlier one to the same target pointless.
//!
//! A PUT replaces the state of its target by its definition (RFC 9110 §9.3.4), but many APIs take one as a
//! change of just the fields that it names, as a merge patch is one (RFC 7396). So a write counts as superseded
//! only if the later one sets everything that it sets, which is right by either reading. What cannot be read
//! is superseded by nothing but the same again.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};

/// Larger content is not taken apart, in bytes: what it sets is held for as long as the write is.
const LARGEST: usize = 64 << 10;

/// What a write sets.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Nothing: it has no content.
    Empty,
    /// These fields of a form, in order, each once.
    Form(Vec<String>),
    /// These members of a JSON object.
    Json(Map<String, Value>),
    /// A whole representation of its target, in a media type that cannot be read as fields.
    Whole,
    /// What cannot be told.
    Unread(Bytes),
}

impl Content {
    /// What `content` of the media type `kind` sets; `fields` are the names of those that it has if it is a form.
    pub fn of<'f>(
        method: &Method,
        kind: &str,
        content: &Bytes,
        fields: impl Iterator<Item = &'f str>,
    ) -> Content {
        if content.is_empty() {
            return Content::Empty;
        }
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let unread = || Content::Unread(content.clone());
        if content.len() > LARGEST {
            return unread();
        }
        match kind.as_str() {
            "application/x-www-form-urlencoded" => {
                let mut names: Vec<String> = fields.map(str::to_owned).collect();
                names.sort_unstable();
                names.dedup();
                Content::Form(names)
            }
            // A list of steps, each of which counts (RFC 6902).
            "application/json-patch+json" => unread(),
            kind if kind == "application/json" || kind.ends_with("+json") => {
                serde_json::from_slice(content).map_or_else(|_| unread(), Content::Json)
            }
            "" => unread(),
            _ if *method == Method::PUT => Content::Whole,
            _ => unread(),
        }
    }

    /// Whether everything that `earlier` sets is set by this too.
    pub fn supersedes(&self, earlier: &Content) -> bool {
        match (self, earlier) {
            (Content::Empty, Content::Empty) | (Content::Whole, Content::Whole) => true,
            (Content::Form(names), Content::Form(earlier)) => {
                earlier.iter().all(|name| names.binary_search(name).is_ok())
            }
            (Content::Json(object), Content::Json(earlier)) => object_supersedes(object, earlier),
            (Content::Unread(content), Content::Unread(earlier)) => content == earlier,
            _ => false,
        }
    }
}

/// Objects are merged member by member, everything else is replaced (RFC 7396 §2).
fn object_supersedes(later: &Map<String, Value>, earlier: &Map<String, Value>) -> bool {
    earlier.iter().all(|(name, earlier)| match (later.get(name), earlier) {
        (Some(Value::Object(later)), Value::Object(earlier)) => object_supersedes(later, earlier),
        // Merged into what the earlier one would have taken away.
        (Some(Value::Object(_)), _) => false,
        (Some(_), _) => true,
        (None, _) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Content {
        let names = text.split('&').filter_map(|pair| pair.split('=').next());
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        Content::of(&Method::PUT, kind, &Bytes::from(text.to_owned()), names)
    }

    fn json(text: &str) -> Content {
        Content::of(&Method::PUT, "Application/JSON", &Bytes::from(text.to_owned()), std::iter::empty())
    }

    #[test]
    fn a_form_is_superseded_by_one_that_names_the_same_fields() {
        for (later, earlier, expected) in [
            ("cores=2", "cores=4", true),
            ("cores=2&memory=1", "cores=4", true),
            ("memory=1&cores=2", "cores=4&cores=8&memory=2", true),
            ("cores=2", "cores=4&memory=1", false),
            ("memory=2", "cores=4", false),
        ] {
            assert_eq!(form(later).supersedes(&form(earlier)), expected, "{later} after {earlier}");
        }
    }

    #[test]
    fn an_object_is_superseded_by_one_that_sets_all_of_it() {
        for (later, earlier, expected) in [
            (r#"{"a":1}"#, r#"{"a":2}"#, true),
            (r#"{"a":1,"b":1}"#, r#"{"a":{"x":1}}"#, true),
            (r#"{"a":null}"#, r#"{"a":{"x":1}}"#, true),
            (r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"x":3}}"#, true),
            (r#"{"a":[1]}"#, r#"{"a":[2,3]}"#, true),
            (r#"{"a":{"x":1}}"#, r#"{"a":{"y":1}}"#, false),
            (r#"{"a":{"x":1}}"#, r#"{"a":null}"#, false),
            (r#"{"a":{"x":1}}"#, r#"{"a":[]}"#, false),
            (r#"{"b":1}"#, r#"{"a":1}"#, false),
            (r#"{}"#, r#"{}"#, true),
        ] {
            assert_eq!(json(later).supersedes(&json(earlier)), expected, "{later} after {earlier}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_superseded_by_the_same_alone() {
        let of = |method: Method, kind: &str, text: &str| {
            Content::of(&method, kind, &Bytes::from(text.to_owned()), std::iter::empty())
        };
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(LARGEST));
        for (a, b, same, other) in [
            (of(Method::PUT, "text/plain", "a"), of(Method::PUT, "text/plain", "b"), true, true),
            (of(Method::POST, "text/plain", "a"), of(Method::POST, "text/plain", "b"), true, false),
            (of(Method::PUT, "", "a"), of(Method::PUT, "", "b"), true, false),
            (json("[1]"), json("[2]"), true, false),
            (json("{"), json("{}"), true, false),
            (json(&large), json(&format!("{large} ")), true, false),
            (json("{}"), form("a=1"), true, false),
            (json(""), json("{}"), true, false),
            (
                of(Method::PATCH, "application/json-patch+json", "[]"),
                of(Method::PATCH, "application/json-patch+json", "[1]"),
                true,
                false,
            ),
        ] {
            assert_eq!((a.supersedes(&a), a.supersedes(&b)), (same, other), "{a:?} {b:?}");
        }
    }
}
