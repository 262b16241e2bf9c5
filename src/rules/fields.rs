//! Fields of a body and of a query, for templates that name them.
//!
//! Reading is lenient: what cannot be read gives no field, and a template that names it renders to
//! nothing. Whether the API understood the same is the API's to say; a write whose template rendered
//! to nothing is the caller's to treat as one without a rule.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Deeper JSON gives no fields; the bodies of the APIs that rules look into are flat.
const MAX_DEPTH: usize = 8;

/// More fields are not read.
const MAX_FIELDS: usize = 1000;

/// Decoded fields, in the order in which they came, repeated ones too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Fields of a form or JSON body; JSON scalars as strings, inner objects as `outer.inner`.
    pub body: Vec<(String, String)>,
    /// Parameters of the query.
    pub query: Vec<(String, String)>,
}

impl Fields {
    /// The fields of an `application/x-www-form-urlencoded` body.
    pub fn from_form(body: &[u8]) -> Self {
        Self { body: decode(&String::from_utf8_lossy(body)), query: Vec::new() }
    }

    /// The fields of a JSON body; none when it is not an object.
    pub fn from_json(body: &[u8]) -> Self {
        let mut fields = Self::default();
        if let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(body) {
            flatten(&mut fields.body, "", &object, 0);
        }
        fields
    }

    /// The parameters of a query, without its `?`.
    pub fn from_query(query: &str) -> Self {
        Self { body: Vec::new(), query: decode(query) }
    }

    /// Whether there may be more than these, because reading ended at its bound.
    pub fn may_be_cut(&self) -> bool {
        self.body.len() >= MAX_FIELDS || self.query.len() >= MAX_FIELDS
    }

    /// These fields and the parameters of a query.
    pub fn with_query(mut self, query: &str) -> Self {
        self.query = decode(query);
        self
    }
}

/// Pairs separated by `&` or `;`, percent-decoded, `+` as space.
fn decode(text: &str) -> Vec<(String, String)> {
    let decoded = |part: &str| {
        let spaced =
            if part.contains('+') { Cow::Owned(part.replace('+', " ")) } else { Cow::Borrowed(part) };
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    text.split(['&', ';'])
        .filter(|pair| !pair.is_empty())
        .take(MAX_FIELDS)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn flatten(
    fields: &mut Vec<(String, String)>,
    prefix: &str,
    object: &serde_json::Map<String, serde_json::Value>,
    depth: usize,
) {
    for (key, value) in object {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            serde_json::Value::Object(inner) if depth < MAX_DEPTH => flatten(fields, &name, inner, depth + 1),
            serde_json::Value::Array(items) => {
                fields.extend(items.iter().filter_map(scalar).map(|text| (name.clone(), text)));
            }
            other => fields.extend(scalar(other).map(|text| (name, text))),
        }
        fields.truncate(MAX_FIELDS);
    }
}

fn scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn queries_and_forms_are_decoded() {
        for (text, expected) in [
            ("", &[][..]),
            ("a=1&b=2", &[("a", "1"), ("b", "2")]),
            ("a=1;b=2", &[("a", "1"), ("b", "2")]),
            ("a=x+y&b=x%2By%2Fz", &[("a", "x y"), ("b", "x+y/z")]),
            ("a&&b=&=c", &[("a", ""), ("b", ""), ("", "c")]),
            ("a=1&a=2", &[("a", "1"), ("a", "2")]),
            ("a=b=c&n%61me=v", &[("a", "b=c"), ("name", "v")]),
            ("a=%zz%", &[("a", "%zz%")]),
        ] {
            assert_eq!(Fields::from_query(text).query, pairs(expected), "{text}");
            assert_eq!(Fields::from_form(text.as_bytes()).body, pairs(expected), "{text}");
        }
    }

    #[test]
    fn json_scalars_become_fields() {
        let body =
            br#"{"vmid": 100, "name": "a/b", "on": true, "none": null, "tags": ["x", 2], "p": {"q": 1.5}}"#;
        let expected =
            [("name", "a/b"), ("on", "true"), ("p.q", "1.5"), ("tags", "x"), ("tags", "2"), ("vmid", "100")];
        assert_eq!(Fields::from_json(body).body, pairs(&expected));
        for other in ["", "[]", "1", "{", "\"a\""] {
            assert_eq!(Fields::from_json(other.as_bytes()), Fields::default(), "{other}");
        }
    }

    #[test]
    fn reading_is_bounded() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        assert_eq!(Fields::from_json(deep.as_bytes()), Fields::default());
        assert_eq!(Fields::from_query(&"a&".repeat(5000)).query.len(), MAX_FIELDS);
    }
}
