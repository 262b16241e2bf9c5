//! Texts in a JSON body, wherever they stand: `/value/*/properties/provisioningState` is that of every item,
//! `/**/provisioningState` each at any depth.
//!
//! The body is read once, to its end, and nothing of it is built: whole lists are judged by one word of each
//! item.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

/// A JSON pointer (RFC 6901) in which `*` stands for every item of a list or member of an object, and `**`
/// for any number of levels. Members that are really called so cannot be named alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Each,
    Deep,
}

/// More steps are a mistake; each has a bit in [`Places`].
const MAX_STEPS: usize = 31;

/// Which steps may come next, a bit for each; the one behind the last is the end.
type Places = u32;

/// Why a path could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JsonPathError {
    /// It is no pointer, or leads to the whole body.
    #[error("`{0}` is not a path into the body: write /properties/state, /value/*/state or /**/state")]
    NoPointer(String),
    /// It ends with what names nothing.
    #[error("`{0}` ends with `**`: name the member whose text counts")]
    OpenEnd(String),
    /// Too long.
    #[error("a path into the body has at most {MAX_STEPS} steps")]
    TooLong,
}

impl JsonPath {
    pub(super) fn parse(text: &str) -> Result<Self, JsonPathError> {
        let wrong = || JsonPathError::NoPointer(text.to_owned());
        let rest = text.strip_prefix('/').filter(|rest| !rest.is_empty()).ok_or_else(wrong)?;
        let step = |token: &str| match token {
            "*" => Step::Each,
            "**" => Step::Deep,
            name => Step::Member(name.replace("~1", "/").replace("~0", "~")),
        };
        let steps: Vec<Step> = rest.split('/').map(step).collect();
        match steps.last() {
            Some(Step::Deep) => Err(JsonPathError::OpenEnd(text.to_owned())),
            _ if steps.len() > MAX_STEPS => Err(JsonPathError::TooLong),
            _ => Ok(Self { steps }),
        }
    }

    /// Whether `test` holds for some text there; an error if the body is no JSON.
    pub fn some(&self, body: &[u8], test: &dyn Fn(&str) -> bool) -> Result<bool, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let found = self.some_in(&mut json, test)?;
        json.end()?;
        Ok(found)
    }

    /// The same of a body that has been read.
    pub fn some_of(&self, body: &serde_json::Value, test: &dyn Fn(&str) -> bool) -> bool {
        self.some_in(body, test).unwrap_or(false)
    }

    fn some_in<'de, D: Deserializer<'de>>(
        &self,
        body: D,
        test: &dyn Fn(&str) -> bool,
    ) -> Result<bool, D::Error> {
        let mut found = false;
        At { path: self, places: self.with_deep(1), test, found: &mut found }.deserialize(body)?;
        Ok(found)
    }

    /// `places`, and those behind each `**` among them, which may stand for no level at all.
    fn with_deep(&self, mut places: Places) -> Places {
        for (place, step) in self.steps.iter().enumerate() {
            if places & 1 << place != 0 && *step == Step::Deep {
                places |= 1 << (place + 1);
            }
        }
        places
    }

    /// The places below a member called `name`, or below an item of a list.
    fn below(&self, places: Places, name: Option<&str>) -> Places {
        let mut below = 0;
        for (place, step) in self.steps.iter().enumerate().filter(|(place, _)| places & 1 << place != 0) {
            below |= match step {
                Step::Deep => 1 << place,
                Step::Each => 1 << (place + 1),
                Step::Member(wanted) if name == Some(wanted.as_str()) => 1 << (place + 1),
                Step::Member(_) => 0,
            };
        }
        self.with_deep(below)
    }
}

/// One value of the body, where `places` of the path may begin.
struct At<'p> {
    path: &'p JsonPath,
    places: Places,
    test: &'p dyn Fn(&str) -> bool,
    found: &'p mut bool,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.places {
            0 => IgnoredAny::deserialize(deserializer).map(drop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            let places = self.path.below(self.places, Some(&name));
            map.next_value_seed(At { path: self.path, places, test: self.test, found: &mut *self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let places = self.path.below(self.places, None);
        let mut more = Some(());
        while more.is_some() {
            let item = At { path: self.path, places, test: self.test, found: &mut *self.found };
            more = seq.next_element_seed(item)?;
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.places & 1 << self.path.steps.len() != 0 && (self.test)(text) {
            *self.found = true;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A member's name, borrowed from the text where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"state":"top","value":[{"properties":{"state":"a","list":[{"state":"deep"}]}},
        {"properties":{"st\u0061te":"b"}},{"state":7},"state",null,1.5,-1,true],"x/y":{"state":"slash"}}"#;

    #[test]
    fn texts_are_found_where_the_path_leads() {
        let cases = [
            ("/state", "top"),
            ("/value/*/properties/state", "a b"),
            ("/**/state", "top a deep b slash"),
            ("/value/**/state", "a deep b"),
            ("/*/state", "slash"),
            ("/x~1y/state", "slash"),
            ("/**/list/*/state", "deep"),
            ("/**/properties/**/state", "a deep b"),
            ("/value/*", "state"),
            ("/value/0/properties/state", ""),
            ("/none/**/state", ""),
        ];
        for (path, expected) in cases {
            let path = JsonPath::parse(path).unwrap();
            let seen = std::cell::RefCell::new(Vec::new());
            let note = |text: &str| {
                seen.borrow_mut().push(text.to_owned());
                false
            };
            assert!(!path.some(BODY.as_bytes(), &note).unwrap());
            assert_eq!(seen.take().join(" "), expected, "{path:?}");
            let value = serde_json::from_str(BODY).unwrap();
            for word in expected.split(' ').filter(|word| !word.is_empty()) {
                assert!(path.some(BODY.as_bytes(), &|text| text == word).unwrap(), "{path:?} {word}");
                assert!(path.some_of(&value, &|text| text == word), "{path:?} {word}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_and_what_is_no_path_is_refused() {
        let path = JsonPath::parse("/**/state").unwrap();
        for body in ["", "{", r#"{"state":"x"} y"#, "<html>"] {
            assert!(path.some(body.as_bytes(), &|_| true).is_err(), "{body}");
        }
        let long = "/a".repeat(MAX_STEPS + 1);
        for text in ["", "/", "state", "/a/**", &long] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
        assert!(JsonPath::parse(&"/a".repeat(MAX_STEPS)).is_ok());
    }
}
