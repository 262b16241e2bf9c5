//! The shape of one upstream in `forebay.yaml`.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::resilience::{RawBreaker, RawRetry};
use crate::units::{Rate, Share, Span};

/// One API.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawUpstream {
    /// Base URLs that are equals: any of them may answer.
    pub endpoints: Vec<String>,
    /// Built-in packs by name, or files; the first match wins, in order. Absent: chosen by asking the API.
    pub rules: Option<Vec<String>>,
    /// TLS towards the API; absent: the system's roots are trusted.
    #[serde(default)]
    pub tls: RawTlsOut,
    /// More request fields that are a credential.
    #[serde(default)]
    pub credentials: Vec<String>,
    /// How long the API's acceptance of a credential counts. Default: 60s.
    pub accept_for: Option<Span>,
    /// How long a principal that wrote counts as an actor. Default: 1h.
    pub actor_window: Option<Span>,
    /// An operation whose end is never learnt settles then. Default: 30m.
    pub operation_cap: Option<Span>,
    /// A write whose outcome is unknown holds its groups so long. Default: 60s.
    pub unknown_hold: Option<Span>,
    /// What may reach the API; hits cost nothing.
    #[serde(default)]
    pub limits: Vec<RawLimit>,
    /// How much of the API's own quotas, where it has some that are known, is for calls from here; the rest
    /// is for others that use the same principals. Default: 80%.
    pub quota: Option<Share>,
    /// Calls in flight per endpoint: a number, or `adaptive` for as many as it bears. Default: 16.
    pub concurrency: Option<Concurrency>,
    /// Calls on one connection, after which another is made. Default: what the API's server allows (90 for
    /// Proxmox, which closes after 100), else without end.
    pub requests_per_connection: Option<NonZeroU32>,
    /// Calls that wait for their turn.
    #[serde(default)]
    pub queue: RawQueue,
    /// How long the API may take.
    #[serde(default)]
    pub timeouts: RawTimeouts,
    /// The share of hits that are compared with the API in the background, each by a call of its own.
    /// Default: 0%.
    pub audit: Option<Share>,
    /// Whether answers are kept, or only counted; only `cache` is built.
    #[serde(default)]
    pub mode: Mode,
    /// A file with header lines, such as `Authorization: PVEAPIToken=...`, which go with forebay's own
    /// background reads and nothing else.
    pub credential_file: Option<String>,
    /// The API's change feed, which is read with the credential of `credential_file`.
    #[serde(default)]
    pub feed: RawFeed,
    /// What is always kept, with the credential of `credential_file`.
    #[serde(default)]
    pub sync: Vec<RawSync>,
    /// What is sent again when the API fails.
    pub retry: Option<RawRetry>,
    /// When calls to an endpoint are held back.
    #[serde(default)]
    pub breaker: RawBreaker,
}

/// TLS towards the API.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawTlsOut {
    /// The only roots that are trusted, a PEM file.
    pub ca: Option<String>,
    /// The SHA-256 fingerprints of the only certificates that are accepted, whatever they say.
    pub pin: Option<Pins>,
    /// Our own certificate, a PEM file.
    pub client_certificate: Option<String>,
    /// Its private key, a PEM file.
    pub client_key: Option<String>,
}

impl RawTlsOut {
    /// Whether anything is said of TLS.
    pub fn names_any(&self) -> bool {
        let Self { ca, pin, client_certificate, client_key } = self;
        ca.is_some() || pin.is_some() || client_certificate.is_some() || client_key.is_some()
    }
}

/// Fingerprints of certificates, one or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins(pub Vec<[u8; 32]>);

/// A limit on the calls that reach the API.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLimit {
    /// Which calls it counts.
    #[serde(default, rename = "match")]
    pub matches: RawLimitMatch,
    /// What each has a level of its own: principal, endpoint or any capture of the path.
    #[serde(default)]
    pub per: Vec<String>,
    /// So many calls in a time.
    pub rate: Rate,
    /// So many at once after a quiet time. Default: what the rate gives in a second, at least one.
    pub burst: Option<u32>,
}

/// Which calls a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawLimitMatch {
    /// Reads.
    Reads,
    /// Writes.
    Writes,
    /// Both.
    #[default]
    All,
}

/// Calls in flight: a number, or `adaptive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Fixed(u32),
    /// As many as the API bears.
    Adaptive,
}

/// Calls that wait for their turn.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawQueue {
    /// How many may wait. Default: 1000.
    pub length: Option<u32>,
    /// How long one may wait. Default: 10s.
    pub wait: Option<Span>,
}

/// A read that is always kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSync {
    /// Path and query, as a client would ask for it.
    pub path: String,
    /// How often it is fetched while it changes.
    pub every: Span,
    /// How often at the least. Default: ten times as seldom as `every`.
    pub full: Option<Span>,
}

/// How changes made elsewhere are watched for, where the API tells of them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawFeed {
    /// How often the feed is read while something is kept that it could overtake. Default: 2s.
    pub every: Option<Span>,
    /// For how long what a task could change is kept at most while the feed is not read. Default: 10s.
    pub ceiling: Option<Span>,
}

/// How long the API may take.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawTimeouts {
    /// Resolving, connecting and the TLS handshake, together. Default: 3s.
    pub connect: Option<Span>,
    /// Until the head of the answer. Default: 60s.
    pub first_byte: Option<Span>,
    /// Silence inside the answer's body. Default: 30s.
    pub idle: Option<Span>,
}

/// Whether answers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are.
    #[default]
    Cache,
    /// They are only counted.
    Observe,
}

/// Reads the SHA-256 fingerprint of a certificate: 64 hexadecimal digits, with or without colons.
pub fn parse_pin(text: &str) -> Result<[u8; 32], String> {
    let digits: String = text.chars().filter(|character| *character != ':').collect();
    let wrong =
        || format!("`{text}` is not the SHA-256 fingerprint of a certificate: it has 64 hexadecimal digits");
    let hex = digits.as_bytes();
    if hex.len() != 64 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    let mut pin = [0; 32];
    for (byte, pair) in pin.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let value = |digit: u8| (digit as char).to_digit(16).unwrap_or_default() as u8;
        *byte = value(pair[0]) << 4 | value(pair[1]);
    }
    Ok(pin)
}

impl<'de> Deserialize<'de> for Pins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Pins;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fingerprint or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Pins, E> {
                parse_pin(text).map(|pin| Pins(vec![pin])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Pins, A::Error> {
                let mut pins = Vec::new();
                while let Some(Pins(one)) = items.next_element()? {
                    pins.extend(one);
                }
                Ok(Pins(pins))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for Pins {
    fn schema_name() -> Cow<'static, str> {
        "Pins".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pin = json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$" });
        json_schema!({ "anyOf": [pin, { "type": "array", "items": pin }] })
    }
}

impl<'de> Deserialize<'de> for Concurrency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Concurrency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 1 to 10000, or `adaptive`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Concurrency, E> {
                match u32::try_from(number) {
                    Ok(number @ 1..=10_000) => Ok(Concurrency::Fixed(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Concurrency, E> {
                match word {
                    "adaptive" => Ok(Concurrency::Adaptive),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Concurrency {
    fn schema_name() -> Cow<'static, str> {
        "Concurrency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 10000 }, { "const": "adaptive" }] })
    }
}
