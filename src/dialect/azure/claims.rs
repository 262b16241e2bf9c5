//! Whom a token names, and until when it is good.
//!
//! ARM's tokens are JWTs (RFC 7519), but whoever is not ARM must not rely on that: Microsoft gives no promise
//! about tokens for its own APIs, and a signature proves nothing to us that ARM's answer to this very token
//! does not. So nothing here is checked but the form: what is read is only a claim until ARM has accepted the
//! token, and then it is true, because it is what ARM has read there.
//!
//! ARM may answer two tokens alike only if they name the same user and application with the same roles, groups
//! and scopes. Every claim therefore counts, known or not, but for those that differ from one token of the same
//! caller to the next. What could be read in two ways, or says that the groups stand elsewhere, names nobody.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::dialect::{Claims, Principal};

/// No token of ARM is longer: with 200 groups, the most that stand in one, it has 10 KiB.
const LONGEST: usize = 16 * 1024;

/// More claims than any token has, and more items than a list of groups has.
const MOST: usize = 1000;

/// Claims that are of one token alone: when it was issued and for how long, its number, and what the issuer
/// keeps there for itself.
const OF_ONE_TOKEN: [&str; 7] = ["iat", "nbf", "exp", "uti", "aio", "rh", "xms_ftd"];

/// Claims whose items have no order.
const SETS: [&str; 5] = ["roles", "wids", "groups", "amr", "acrs"];

/// Claims without which two callers could not be told apart.
const NEEDED: [&str; 3] = ["tid", "oid", "idtyp"];

pub(in crate::dialect) fn claims(parts: &[&[u8]]) -> Claims {
    let [super::credential::BEARER, token] = parts else { return Claims::default() };
    let Some(payload) = payload(token) else { return Claims::default() };
    let mut json = serde_json::Deserializer::from_slice(&payload);
    let read = (&mut json).deserialize_map(Token).and_then(|token| json.end().map(|()| token));
    read.map(Read::claims).unwrap_or_default()
}

/// The middle of three parts.
fn payload(token: &[u8]) -> Option<Vec<u8>> {
    if token.len() > LONGEST {
        return None;
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && !header.is_empty() && !signature.is_empty();
    // The engine refuses padding and stray bits, so no two spellings mean the same.
    whole.then(|| URL_SAFE_NO_PAD.decode(payload).ok()).flatten()
}

/// What a token says.
#[derive(Default)]
struct Read {
    /// Name and canonical value of every claim that counts.
    counted: Vec<(String, String)>,
    ends: Option<u64>,
    /// Whether something stands elsewhere, or is not of the form that it has in tokens.
    unclear: bool,
}

impl Read {
    fn claims(mut self) -> Claims {
        self.counted.sort();
        let value =
            |name: &str| self.counted.iter().find(|(claim, _)| claim == name).map(|(_, value)| &**value);
        // A user acts through an application with scopes; an application by itself has none.
        let acts = match value("idtyp") {
            Some(r#""user""#) => value("scp").is_some(),
            Some(r#""app""#) => true,
            _ => false,
        };
        let by = value("appid").is_some() != value("azp").is_some();
        let named = !self.unclear && acts && by && NEEDED.iter().all(|name| value(name).is_some());
        let principal = named.then(|| {
            let text: String =
                self.counted.iter().map(|(name, value)| format!("{name:?}:{value},")).collect();
            Principal { kind: "token", name: text.as_bytes().into() }
        });
        Claims { principal, ends: self.ends }
    }

    /// Takes in a claim that counts.
    fn count(&mut self, name: String, value: Value) {
        let text = match (name.as_str(), value) {
            // The groups are elsewhere: they were too many.
            ("_claim_names" | "_claim_sources" | "hasgroups", _) => return self.unclear = true,
            ("scp", Value::Text(scopes)) => {
                let mut scopes: Vec<&str> = scopes.split(' ').filter(|scope| !scope.is_empty()).collect();
                scopes.sort_unstable();
                scopes.dedup();
                Value::Text(scopes.join(" ")).canonical()
            }
            ("scp", _) => return self.unclear = true,
            (set, Value::List(items)) if SETS.contains(&set) => {
                let texts = items.iter().all(|item| matches!(item, Value::Text(_)));
                let mut items: Vec<String> = items.iter().map(Value::canonical).collect();
                items.sort_unstable();
                items.dedup();
                self.unclear |= !texts;
                format!("[{}]", items.join(","))
            }
            // Written as one text by some versions, but as a list where there is more than one.
            ("acrs", value @ Value::Text(_)) => value.canonical(),
            (set, _) if SETS.contains(&set) => return self.unclear = true,
            (name, value) => {
                let plain = matches!(&value, Value::Text(text) if !text.is_empty());
                self.unclear |= !plain && (NEEDED.contains(&name) || ["appid", "azp"].contains(&name));
                value.canonical()
            }
        };
        self.counted.push((name, text));
    }
}

/// Reads the claims of a token.
struct Token;

impl<'de> Visitor<'de> for Token {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let (mut read, mut names) = (Read::default(), Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Any)?;
            if names.contains(&name) || names.len() == MOST {
                return Err(A::Error::custom("a claim stands twice, or too many do"));
            }
            match (name.as_str(), &value) {
                ("exp", Value::Number(number)) => read.ends = number.parse().ok(),
                (one, _) if OF_ONE_TOKEN.contains(&one) => {}
                _ => read.count(name.clone(), value),
            }
            names.push(name);
        }
        // Without an end it would be good for ever.
        read.unclear |= read.ends.is_none();
        Ok(read)
    }
}

/// A value of JSON in which no name stands twice.
enum Value {
    Text(String),
    Number(String),
    Word(&'static str),
    List(Vec<Value>),
    Members(Vec<(String, Value)>),
}

impl Value {
    /// One text for one value: members by their names.
    fn canonical(&self) -> String {
        match self {
            // The escapes of Debug are one for each character.
            Value::Text(text) => format!("{text:?}"),
            Value::Number(number) => number.clone(),
            Value::Word(word) => (*word).to_owned(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(Value::canonical).collect::<Vec<_>>().join(","))
            }
            Value::Members(members) => {
                let mut members: Vec<String> =
                    members.iter().map(|(name, value)| format!("{name:?}:{}", value.canonical())).collect();
                members.sort_unstable();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

/// Reads any value.
struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("a number that more than one text may mean"))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Word(if flag { "true" } else { "false" }))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Word("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Any)? {
            if items.len() == MOST {
                return Err(A::Error::custom("too many items"));
            }
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members: Vec<(String, Value)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Any)?;
            if members.len() == MOST || members.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom("a member stands twice, or too many do"));
            }
            members.push((name, value));
        }
        Ok(Value::Members(members))
    }
}

#[cfg(test)]
mod tests;
