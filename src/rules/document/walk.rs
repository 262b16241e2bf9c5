//! Finding a node in the text: the parser is led to it and made to fail there, which names the place.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Step;

/// The failure at the end of `path`, which has the place; `None` when the path leads nowhere.
pub(super) fn find(text: &str, path: &[Step], aim: Aim) -> Option<serde_yaml::Error> {
    Walk { path, aim }.deserialize(serde_yaml::Deserializer::from_str(text)).err()
}

/// Whether the place of a key or of its value is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// The key's.
    Key,
    /// The value's.
    Value,
}

/// Goes down a path and fails at its end.
#[derive(Clone, Copy)]
struct Walk<'p> {
    path: &'p [Step],
    aim: Aim,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What the walk fails with; only its place is used.
fn found<E: de::Error>() -> E {
    E::custom("found")
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the node looked for")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else { return Err(found()) };
        if let Step::Item(wanted) = step {
            for _ in 0..*wanted {
                if items.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(());
                }
            }
            items.next_element_seed(Walk { path: rest, aim: self.aim })?;
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else { return Err(found()) };
        let Step::Key(wanted) = step else { return ignore(entries) };
        let stop = rest.is_empty() && self.aim == Aim::Key;
        while let Some(matched) = entries.next_key_seed(KeyIs { wanted, stop })? {
            if matched {
                entries.next_value_seed(Walk { path: rest, aim: self.aim })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.scalar()
    }
}

impl Walk<'_> {
    fn scalar<E: de::Error>(self) -> Result<(), E> {
        if self.path.is_empty() { Err(found()) } else { Ok(()) }
    }
}

fn ignore<'de, A: MapAccess<'de>>(mut entries: A) -> Result<(), A::Error> {
    while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Compares a key with the one looked for, and fails on it when the key's own place is wanted.
#[derive(Clone, Copy)]
struct KeyIs<'p> {
    wanted: &'p str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.stop => Err(found()),
            matched => Ok(matched),
        }
    }
}
