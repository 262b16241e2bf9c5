//! One value of a JSON text, by its pointer (RFC 6901).
//!
//! The text is read to its end, so what is found is found in JSON; but only the value that is asked
//! for is built, because nearly every body is judged by one field of many.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Value};

/// The value at `pointer` in `text`; `None` if it leads nowhere. The last of members with the same name
/// counts.
pub(super) fn find(text: &[u8], pointer: &str) -> Result<Option<Value>, Error> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let found = At(pointer).deserialize(&mut json)?;
    json.end()?;
    Ok(found)
}

/// What is left of a pointer: nothing, or `/` and tokens.
#[derive(Clone, Copy)]
struct At<'p>(&'p str);

impl<'p> At<'p> {
    /// The first token, and the pointer below it.
    fn split(self) -> Option<(Cow<'p, str>, At<'p>)> {
        let rest = self.0.strip_prefix('/')?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (token, below) = rest.split_at(end);
        let token = match token.contains('~') {
            true => Cow::Owned(token.replace("~1", "/").replace("~0", "~")),
            false => Cow::Borrowed(token),
        };
        Some((token, At(below)))
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        match self.0.is_empty() {
            true => serde::Deserialize::deserialize(deserializer).map(Some),
            false => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Value>, A::Error> {
        let wanted = self.split();
        let mut found = None;
        while let Some(Name(name)) = map.next_key()? {
            match &wanted {
                Some((token, below)) if *token == name => found = map.next_value_seed(*below)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<Value>, A::Error> {
        let wanted = self.split().and_then(|(token, below)| Some((index(&token)?, below)));
        let mut found = None;
        for place in 0.. {
            let more = match wanted {
                Some((index, below)) if index == place => {
                    let value = seq.next_element_seed(below)?;
                    let more = value.is_some();
                    found = value.flatten();
                    more
                }
                _ => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }
}

/// A member's name, borrowed from the text where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// An index is digits without a leading zero (RFC 6901 §4).
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with(['0', '+']);
    plain.then(|| token.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_a_tree_of_values_would() {
        let texts = [
            r#"{"data":{"lock":"backup","a/b":1,"m~n":2,"":3,"list":[0,{"x":true},[null]]},"x":1.5}"#,
            r#"{"data":null}"#,
            r#"{"data":1,"data":{"lock":null}}"#,
            r#"{"data":{"lock":1},"data":2}"#,
            r#"{"d\u0061ta":{"lo\u0063k":[]}}"#,
            r#"[{"lock":-1},"s"]"#,
            "0",
            "\"data\"",
        ];
        let pointers = [
            "",
            "/",
            "/data",
            "/data/lock",
            "/data/a~1b",
            "/data/m~0n",
            "/data/",
            "/data/list/0",
            "/data/list/1/x",
            "/data/list/2/0",
            "/data/list/01",
            "/data/list/+1",
            "/data/list/9",
            "/0/lock",
            "/1",
            "/x",
            "data",
        ];
        for text in texts {
            let whole: Value = serde_json::from_str(text).unwrap();
            for pointer in pointers {
                let found = find(text.as_bytes(), pointer).unwrap();
                assert_eq!(found.as_ref(), whole.pointer(pointer), "{pointer} in {text}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in ["", "{", r#"{"data":1"#, r#"{"data":1}}"#, r#"{"data":1} x"#, "<html>", r#"{"a":tru}"#] {
            assert!(find(text.as_bytes(), "/data").is_err(), "{text}");
        }
    }
}
