//! Rules as they are written, with what they leave out filled in: for people, who want to see every key.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::raw::{RawRead, RawTask, RawWrite};

/// The keys of a rule with their values.
pub type Keys = Map<String, Value>;

/// A rule as it is written. Kept as text, because there are hundreds and few are ever looked at.
#[derive(Clone, Debug)]
pub struct Written {
    kind: Kind,
    text: Box<str>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Write,
    Task,
}

impl Written {
    pub(super) fn read(rule: &RawRead) -> Self {
        Self::new(Kind::Read, &keys_of_read(rule))
    }

    pub(super) fn write(rule: &RawWrite) -> Self {
        Self::new(Kind::Write, &keys_of_write(rule))
    }

    pub(super) fn task(rule: &RawTask) -> Self {
        Self::new(Kind::Task, &keys(rule, []))
    }

    fn new(kind: Kind, keys: &Keys) -> Self {
        let text = serde_json::to_string(keys).expect("a map of texts, numbers and lists is JSON");
        Self { kind, text: text.into() }
    }

    /// Every key that such a rule may have; null is what it does without.
    pub fn keys(&self) -> Keys {
        serde_json::from_str(&self.text).expect("made from a map")
    }

    /// The keys that are not as they are where a rule says nothing.
    pub fn chosen(&self) -> Keys {
        let unsaid = match self.kind {
            Kind::Read => keys_of_read(&least(json!({"path": "", "ttl": "0s"}))),
            Kind::Write => keys_of_write(&least(json!({"methods": [], "path": "", "invalidates": []}))),
            Kind::Task => keys(&least::<RawTask>(json!({"types": [], "invalidates": []})), []),
        };
        self.keys().into_iter().filter(|(key, value)| unsaid.get(key) != Some(value)).collect()
    }
}

/// The rule that has only what every rule of its kind has to have.
fn least<T: DeserializeOwned>(required: Value) -> T {
    serde_json::from_value(required).expect("the keys that are required")
}

fn keys_of_read(rule: &RawRead) -> Keys {
    let RawRead { moving, keep_warm, promote, .. } = rule;
    keys(rule, [("moving", value(moving)), ("keep_warm", value(keep_warm)), ("promote", value(promote))])
}

fn keys_of_write(rule: &RawWrite) -> Keys {
    keys(rule, [("batch", value(&rule.batch)), ("idempotent", value(&rule.idempotent))])
}

/// The serialised form, and besides what that leaves out because the fingerprint is taken of it.
fn keys<const N: usize>(rule: &impl Serialize, others: [(&str, Value); N]) -> Keys {
    let Value::Object(mut keys) = value(rule) else { unreachable!("a rule is a struct") };
    keys.extend(others.map(|(key, value)| (key.to_owned(), value)));
    keys.values_mut().for_each(leave_out_nulls);
    keys
}

fn value(part: &impl Serialize) -> Value {
    serde_json::to_value(part).expect("rules are structs of strings, numbers and lists, which JSON can hold")
}

/// Within a key only what is said counts: a condition has many members and uses two.
fn leave_out_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(leave_out_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_nulls),
        _ => {}
    }
}
