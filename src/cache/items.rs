//! The items of a list as they stand in its text: each is the very bytes that the API wrote.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// One item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'b> {
    /// What its naming member says.
    pub name: Cow<'b, str>,
    /// Its JSON text.
    pub text: &'b str,
}

/// The items at `pointer` (RFC 6901) in `body`, each named by a text that is its member `member`. `None` if
/// that is no list of such objects, or holds more than `most`, or any name on the way to it or in an item
/// stands twice: readers would take different ones of the two.
pub fn items<'b>(body: &'b [u8], pointer: &str, member: &str, most: usize) -> Option<Vec<Item<'b>>> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let list = At(pointer).deserialize(&mut json).ok()??;
    json.end().ok()?;
    let items: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    if items.len() > most {
        return None;
    }
    items.into_iter().map(|item| named(item, member)).collect()
}

fn named<'b>(item: &'b RawValue, member: &str) -> Option<Item<'b>> {
    let mut json = serde_json::Deserializer::from_str(item.get());
    let name = At(&format!("/{}", escaped(member))).deserialize(&mut json).ok()??;
    let Text(name) = serde_json::from_str(name.get()).ok()?;
    Some(Item { name, text: item.get() })
}

/// A name as a token of a pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[derive(serde::Deserialize)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

/// What is left of a pointer: nothing, or `/` and tokens.
#[derive(Clone, Copy)]
struct At<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0.is_empty() {
            true => serde::Deserialize::deserialize(deserializer).map(Some),
            false => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let rest = self.0.strip_prefix('/').unwrap_or_default();
        let (token, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let token = token.replace("~1", "/").replace("~0", "~");
        let (mut found, mut times) = (None, 0);
        while let Some(Text(name)) = map.next_key()? {
            if name == token {
                times += 1;
                found = map.next_value_seed(At(below))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found.filter(|_| times == 1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Option<Vec<(String, String)>> {
        let items = items(body.as_bytes(), "/value", "id", 3)?;
        Some(items.into_iter().map(|item| (item.name.into_owned(), item.text.to_owned())).collect())
    }

    #[test]
    fn items_are_the_bytes_that_stand_in_the_list() {
        let body = "{\r\n \"nextLink\": null, \"value\" : [ { \"b\": 1.50,\r\n  \"id\":\"/a\\u0062\" } , {\"id\":\"/c\"}]}";
        let expected = [("/ab", "{ \"b\": 1.50,\r\n  \"id\":\"/a\\u0062\" }"), ("/c", "{\"id\":\"/c\"}")];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(found(body), Some(expected.to_vec()));
        assert_eq!(found(r#"{"value":[]}"#), Some(Vec::new()));
        let deep = items(br#"{"a/b":{"x":[{"n":"1"}]}}"#, "/a~1b/x", "n", 1).expect("a list");
        assert_eq!((&*deep[0].name, deep[0].text), ("1", r#"{"n":"1"}"#));
    }

    #[test]
    fn what_is_no_list_of_named_objects_has_no_items() {
        for body in [
            "",
            "[]",
            "7",
            r#"{"values":[]}"#,
            r#"{"value":{}}"#,
            r#"{"value":null}"#,
            r#"{"value":["x"]}"#,
            r#"{"value":[{"id":7}]}"#,
            r#"{"value":[{"id":"/a"},{"x":1}]}"#,
            r#"{"value":[{"id":"/a","id":"/b"}]}"#,
            r#"{"value":[{"id":"/a"}],"value":[]}"#,
            r#"{"value":[{"id":"/a"}]} x"#,
            r#"{"value":[{"id":"/a"}"#,
            r#"{"value":[{"id":"1"},{"id":"2"},{"id":"3"},{"id":"4"}]}"#,
        ] {
            assert_eq!(found(body), None, "{body}");
        }
    }
}
