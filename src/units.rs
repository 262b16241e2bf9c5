//! Quantities with their unit in the type, as they are written in configuration and rules.
//!
//! Parsing and showing of durations, sizes, rates and shares lives here; what they are used for does
//! not. The invariant: a bare number is never accepted, not even `0`, so that nobody has to guess
//! whether `5` meant seconds or milliseconds. Showing is canonical: `60s` and `1m` both show as `1m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// A duration: `500ms`, `5s`, `10m`, `1h`, `2d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: `512B`, `64KiB`, `256MiB`, `1GiB`, and the decimal `kB`, `MB`, `GB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// So many in a period: `20/s`, `100/m`, `500/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In which period: a second, a minute or an hour.
    pub per: Duration,
}

/// A part of a whole, from 0 to 1: `0.1%`, `10%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// Why a quantity could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Not a duration with a unit.
    #[error("`{0}` is not a duration: write a whole number and a unit (ms, s, m, h or d), as in 5s")]
    Span(String),
    /// Not a size with a unit.
    #[error(
        "`{0}` is not a size: write a whole number and a unit (B, KiB, MiB, GiB, kB, MB or GB), as in 64KiB"
    )]
    ByteSize(String),
    /// Not a rate.
    #[error("`{0}` is not a rate: write a whole number above zero per s, m or h, as in 20/s")]
    Rate(String),
    /// Not a share.
    #[error("`{0}` is not a share: write a number from 0 to 100 and a percent sign, as in 0.1%")]
    Share(String),
}

const SPAN_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// The whole number in front of the unit, times what the unit is worth.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let worth = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(worth)
}

/// The largest unit that shows `value` as a whole number.
fn show(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fits = |(_, worth): &&(&str, u64)| value != 0 && value.is_multiple_of(*worth);
    match units.iter().find(fits) {
        Some((unit, worth)) => write!(f, "{}{unit}", value / worth),
        None => f.write_str("0"),
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let millis = scaled(text, &SPAN_UNITS).ok_or_else(|| UnitError::Span(text.to_owned()))?;
        Ok(Span(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        show(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &SPAN_UNITS, f)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        scaled(text, &SIZE_UNITS).map(ByteSize).ok_or_else(|| UnitError::ByteSize(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0B");
        }
        show(self.0, &SIZE_UNITS, f)
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let parse = || {
            let (count, unit) = text.split_once('/')?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                _ => return None,
            };
            let whole = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
            let count = count.parse::<u32>().ok().filter(|count| whole && *count > 0)?;
            Some(Rate { count, per: Duration::from_secs(seconds) })
        };
        parse().ok_or_else(|| UnitError::Rate(text.to_owned()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            3600 => "h",
            60 => "m",
            _ => "s",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let percent = text
            .strip_suffix('%')
            .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
            .and_then(|number| number.parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent));
        percent.map(|percent| Share(percent / 100.0)).ok_or_else(|| UnitError::Share(text.to_owned()))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded, because 0.1 % is not exact in binary and would show as 0.10000000000000002.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

/// Reads a quantity from text only: a number is refused with the same words as a wrong unit.
struct TextVisitor<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = UnitError>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity with a unit")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

macro_rules! as_text {
    ($($type:ident, $pattern:literal, $example:literal;)*) => {$(
        impl TryFrom<String> for $type {
            type Error = UnitError;

            fn try_from(text: String) -> Result<Self, UnitError> {
                text.parse()
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextVisitor(std::marker::PhantomData))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    )*};
}

as_text! {
    Span, "^[0-9]+(ms|s|m|h|d)$", "5s";
    ByteSize, "^[0-9]+(B|KiB|MiB|GiB|kB|MB|GB)$", "64KiB";
    Rate, "^[1-9][0-9]*/(s|m|h)$", "20/s";
    Share, "^[0-9]+(\\.[0-9]+)?%$", "0.1%";
}

#[cfg(test)]
mod tests;
