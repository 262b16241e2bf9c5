//! Whether two answers say the same: what is kept, and what the API says now.
//!
//! JSON is compared by what it means: members of objects have no order, lists have one only where the
//! API gives them one, and what the rule says moves by itself is left out. Everything else is compared
//! byte by byte. A difference is told by names, never by values.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::dialect::ListOrder;
use crate::rules::Moving;

/// How many names are told at most; a log line is for people.
const MAX_NAMES: usize = 8;

/// How long, in bytes, one name may be.
const LONGEST_NAME: usize = 120;

/// Up to so many differing items of one list are looked at one by one, since each is compared with
/// each; of more only the list is named.
const MAX_PAIRED: usize = 32;

/// What two answers are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They say the same.
    Same,
    /// They differ: JSON pointers to what does, as a rule's `moving` would name it, or `body`.
    Differs(Vec<String>),
}

/// Compares the bodies `kept` and `now`.
pub fn compare(kept: &[u8], now: &[u8], moving: &[Moving], order: ListOrder) -> Comparison {
    if kept == now {
        return Comparison::Same;
    }
    let read = |body: &[u8]| {
        let mut value = serde_json::from_slice::<Value>(body).ok()?;
        moving.iter().for_each(|moving| moving.leave_out(&mut value));
        if order == ListOrder::Random {
            sort(&mut value);
        }
        Some(value)
    };
    match (read(kept), read(now)) {
        (Some(kept), Some(now)) if kept == now => Comparison::Same,
        (Some(kept), Some(now)) => {
            let mut names = Names { order, found: BTreeSet::new() };
            names.of(&kept, &now, "");
            Comparison::Differs(names.found.into_iter().collect())
        }
        _ => Comparison::Differs(vec!["body".to_owned()]),
    }
}

/// Puts every list into one order, from the inside out, so that lists with the same items are equal.
fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(sort);
            items.sort_by_cached_key(Value::to_string);
        }
        Value::Object(members) => members.values_mut().for_each(sort),
        _ => {}
    }
}

/// The names of what differs.
struct Names {
    order: ListOrder,
    found: BTreeSet<String>,
}

impl Names {
    fn of(&mut self, kept: &Value, now: &Value, at: &str) {
        if self.found.len() >= MAX_NAMES || kept == now {
            return;
        }
        match (kept, now) {
            (Value::Object(kept), Value::Object(now)) => self.of_members(kept, now, at),
            (Value::Array(kept), Value::Array(now)) => self.of_items(kept, now, &format!("{at}/*")),
            _ => self.add(at),
        }
    }

    fn of_members(&mut self, kept: &Map<String, Value>, now: &Map<String, Value>, at: &str) {
        let names: BTreeSet<&String> = kept.keys().chain(now.keys()).collect();
        for name in names {
            let here = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            match (kept.get(name), now.get(name)) {
                (Some(kept), Some(now)) => self.of(kept, now, &here),
                _ if self.found.len() < MAX_NAMES => self.add(&here),
                _ => {}
            }
        }
    }

    fn of_items(&mut self, kept: &[Value], now: &[Value], at: &str) {
        if self.order == ListOrder::Kept {
            if kept.len() != now.len() {
                self.add(at);
            }
            kept.iter().zip(now).for_each(|(kept, now)| self.of(kept, now, at));
            return;
        }
        let (kept, mut now) = without_common(kept, now);
        if kept.len() != now.len() || kept.len() > MAX_PAIRED {
            self.add(at);
        }
        for kept in kept.into_iter().take(MAX_PAIRED) {
            let likest = now.iter().take(MAX_PAIRED).enumerate().max_by_key(|(_, now)| likeness(kept, now));
            let Some((place, _)) = likest else { return };
            self.of(kept, now.swap_remove(place), at);
        }
    }

    /// Control characters stay out of logs.
    fn add(&mut self, name: &str) {
        let mut name = name.escape_debug().to_string();
        if name.len() > LONGEST_NAME {
            let end = (0..=LONGEST_NAME).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
            name.truncate(end);
            name.push('…');
        }
        // The whole answer is of another kind: an object before, a list now.
        self.found.insert(if name.is_empty() { "body".to_owned() } else { name });
    }
}

/// What is left of two sorted lists when the items that both have are taken out.
fn without_common<'v>(kept: &'v [Value], now: &'v [Value]) -> (Vec<&'v Value>, Vec<&'v Value>) {
    let texts = |items: &'v [Value]| items.iter().map(|item| (item.to_string(), item)).collect::<Vec<_>>();
    let (kept, now) = (texts(kept), texts(now));
    let (mut only_kept, mut only_now) = (Vec::new(), Vec::new());
    let (mut kept, mut now) = (kept.into_iter().peekable(), now.into_iter().peekable());
    loop {
        let order = match (kept.peek(), now.peek()) {
            (Some((kept, _)), Some((now, _))) => kept.cmp(now),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return (only_kept, only_now),
        };
        if order.is_le() {
            let item = kept.next();
            only_kept.extend(item.filter(|_| order.is_lt()).map(|(_, item)| item));
        }
        if order.is_ge() {
            let item = now.next();
            only_now.extend(item.filter(|_| order.is_gt()).map(|(_, item)| item));
        }
    }
}

/// How many members two items have in common: the item that changed is most like itself.
fn likeness(one: &Value, other: &Value) -> usize {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.iter().filter(|(name, value)| other.get(*name) == Some(value)).count()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
