//! One API call, parsed: what handlers are given, whichever way it came in.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::time::Instant;

use super::answer::Failure;

/// The methods that pveproxy knows; every other one is answered with 501.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Self::Get,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Who calls: a user, by ticket or by one of its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    /// `user@realm`.
    pub(super) user: String,
    /// The token's own name, without the user.
    pub(super) token: Option<String>,
}

impl Principal {
    /// Reads `user@realm` or `user@realm!token`.
    pub(super) fn parse(name: &str) -> Self {
        match name.split_once('!') {
            Some((user, token)) => Self { user: user.to_owned(), token: Some(token.to_owned()) },
            None => Self { user: name.to_owned(), token: None },
        }
    }

    /// `user@realm` or `user@realm!token`, as UPIDs and access control lists write it.
    pub(super) fn name(&self) -> String {
        match &self.token {
            Some(token) => format!("{}!{token}", self.user),
            None => self.user.clone(),
        }
    }
}

/// An API call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The path behind `/api2/json`, percent-decoded, in segments, none of them empty.
    pub(super) path: Vec<String>,
    /// Parameters of the query and the body together.
    pub(super) params: BTreeMap<String, String>,
    pub(super) who: Principal,
    /// The node that received the call, which need not be the one in the path.
    pub(super) contacted: usize,
    pub(super) now: Instant,
}

impl Call {
    /// A call that did not come over the wire.
    pub(super) fn internal(
        method: Method,
        path: &str,
        params: &[(&str, &str)],
        who: &str,
        contacted: usize,
        now: Instant,
    ) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut all = BTreeMap::new();
        parse_form(query, &mut all);
        all.extend(params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Self { method, path: segments(path), params: all, who: Principal::parse(who), contacted, now }
    }

    /// The path's segments, for matching.
    pub(super) fn parts(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// An optional parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// A parameter that the call cannot do without.
    pub(super) fn need(&self, name: &str) -> Result<&str, Failure> {
        let missing = || Failure::parameter(name, "property is missing and it is not optional");
        self.get(name).ok_or_else(missing)
    }

    /// Whether a boolean parameter is set and true.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value, "1" | "on" | "yes" | "true"))
    }

    /// A guest's number among the parameters.
    pub(super) fn need_vmid(&self, name: &str) -> Result<u32, Failure> {
        vmid(name, self.need(name)?)
    }
}

/// Reads a guest's number; `name` is what the error calls the parameter.
pub(super) fn vmid(name: &str, text: &str) -> Result<u32, Failure> {
    let number = text.parse::<u32>();
    match number {
        Ok(number) if (100..=999_999_999).contains(&number) => Ok(number),
        Ok(_) => Err(Failure::parameter(name, "invalid format - value does not look like a valid VM ID")),
        Err(_) => Err(Failure::parameter(name, &format!("type check ('integer') failed - got '{text}'"))),
    }
}

/// Splits a raw path as PVE does: percent-decoded once as a whole, so an encoded slash separates too;
/// empty segments vanish.
pub(super) fn segments(raw_path: &str) -> Vec<String> {
    let decoded = percent_decode_str(raw_path).decode_utf8_lossy();
    decoded.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Adds the parameters of a query or form body; `&` and `;` both separate, a repeated key makes a list.
pub(super) fn parse_form(text: &str, into: &mut BTreeMap<String, String>) {
    for pair in text.split(['&', ';']).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode =
            |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        add(into, decode(key), decode(value));
    }
}

/// Adds the members of a JSON object body.
pub(super) fn parse_json(body: &[u8], into: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let malformed = |_| Failure::new(500, "malformed JSON string");
    let members: serde_json::Map<String, Value> = serde_json::from_slice(body).map_err(malformed)?;
    for (key, value) in members {
        match value {
            Value::Array(items) => {
                for item in items {
                    add(into, key.clone(), plain(&item));
                }
            }
            Value::Null => {}
            other => add(into, key, plain(&other)),
        }
    }
    Ok(())
}

fn add(into: &mut BTreeMap<String, String>, key: String, value: String) {
    // The web interface's cache buster is dropped before parameters are checked.
    if key == "_dc" {
        return;
    }
    match into.get_mut(&key) {
        Some(list) => {
            list.push(',');
            list.push_str(&value);
        }
        None => drop(into.insert(key, value)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "1".to_owned(),
        Value::Bool(false) => "0".to_owned(),
        other => other.to_string(),
    }
}
