//! The rule pack as it is written: the shape of the YAML, its defaults and its JSON Schema.
//!
//! Doc comments here are the schema's descriptions. Nothing is interpreted beyond one field at a
//! time; what fields mean together is decided in `compile`. The serialised form of a rule is
//! canonical (defaults filled in, units shown in one way) and is what its fingerprint is taken of.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::units::Span;

pub use conditions::{RawBypass, RawCondition, RawQuery};
pub use promote::RawPromote;
pub use tasks::RawTask;
pub use warm::RawKeepWarm;
pub use write::{RawBatch, RawCritical, RawWrite};

mod conditions;
mod promote;
mod tasks;
mod warm;
mod write;

/// A rule pack: which reads are kept and for how long, and which writes overtake them.
#[derive(Clone, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPack {
    /// The dialect of credentials, errors and operations: proxmox, azure or none.
    pub api: String,
    /// How paths are compared.
    #[serde(default, rename = "match")]
    pub matching: RawMatch,
    /// Reads, the first match wins.
    #[serde(default)]
    pub reads: Vec<RawRead>,
    /// Writes, the first match wins.
    #[serde(default)]
    pub writes: Vec<RawWrite>,
    /// Tasks that forebay did not start, but hears of from the API; the first match wins. One that no row
    /// matches overtakes everything.
    #[serde(default)]
    pub tasks: Vec<RawTask>,
}

/// How paths are compared.
#[derive(Clone, Debug, Default, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawMatch {
    /// Whether `A` in a path equals `a`.
    pub case_insensitive: bool,
    /// Whether the key folds too, and ids in bodies are rewritten to the caller's casing where the API would
    /// have written them so. Said by one pack of an upstream it counts for all of them.
    pub fold_case: bool,
}

/// One read: what of it may be kept, for how long and for whom.
#[derive(Clone, Debug, serde::Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRead {
    /// The path template: `{name}` is one segment, `*` one unnamed, `**` any number, `list*` one that begins
    /// so.
    pub path: String,
    /// `[POST]` for what is asked by POST and changes nothing; it is passed. GET and HEAD when absent.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Only requests whose query has all of these.
    #[serde(default)]
    pub query: OneOrMany<RawQuery>,
    /// The freshness lifetime: a duration; `0s`: never stored but still collapsed; `pass`: neither, and
    /// never retried; `origin`: as RFC 9111 reads the response.
    pub ttl: RawTtl,
    /// For so long after its lifetime an entry is served while it is refreshed behind (RFC 5861).
    #[serde(default)]
    pub stale_while_revalidate: Span,
    /// For so long after its lifetime an entry is served when the API gives no answer (RFC 5861).
    #[serde(default)]
    pub stale_if_error: Span,
    /// Who is served what has expired, while it is refreshed and when the API gives no answer.
    #[serde(default)]
    pub stale_to: StaleTo,
    /// Who shares an entry.
    #[serde(default)]
    pub share: Sharing,
    /// Whether the API answers this without a credential; its success accepts nobody then.
    #[serde(default)]
    pub anonymous: bool,
    /// Whether the endpoint is part of the key, for answers that differ by node.
    #[serde(default)]
    pub per_endpoint: bool,
    /// Whether entries may be written to the disk tier.
    #[serde(default = "yes")]
    pub disk: bool,
    /// The upstream directives that the rule overrides.
    #[serde(default = "default_overrides", rename = "override")]
    pub overrides: Vec<Directive>,
    /// Groups that the entries belong to: `guest/{vmid}`, or a path of the API from `/`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Query parameters that are not part of the key.
    #[serde(default)]
    pub ignore_query: Vec<String>,
    /// What may be stored; all must hold. Status 200 when absent.
    #[serde(default = "default_only")]
    pub only: OneOrMany<RawCondition>,
    /// A body in transition is stored for a second at most; any suffices.
    #[serde(default)]
    pub unless: OneOrMany<RawCondition>,
    /// Callers that must see the API itself.
    #[serde(default)]
    pub bypass: OneOrMany<RawBypass>,
    /// What moves by itself and is not compared by audits: JSON pointers, `*` for every item of a list
    /// or member of an object, as in `/data/*/cpu`. It changes nothing of what is kept, so it is no part
    /// of a rule's fingerprint.
    #[serde(default, skip_serializing)]
    pub moving: Vec<String>,
    /// A list that answers this read too; off unless it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote: Option<RawPromote>,
    /// Fetches what is used again before it expires. It changes nothing of what is kept, so it is no part
    /// of a rule's fingerprint.
    #[serde(default, skip_serializing)]
    pub keep_warm: Option<RawKeepWarm>,
}

/// How long an answer is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawTtl {
    /// For this long; zero: never stored but still collapsed.
    For(Span),
    /// Neither stored nor collapsed.
    Pass,
    /// As RFC 9111 reads the response.
    Origin,
}

/// Who shares an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Only the credential that fetched it.
    #[default]
    Credential,
    /// Every accepted credential of the same principal.
    Principal,
    /// Every accepted credential whose rights are the same.
    Rights,
    /// Every accepted credential.
    Everyone,
}

impl Sharing {
    /// The word in the rule.
    pub fn as_str(self) -> &'static str {
        match self {
            Sharing::Credential => "credential",
            Sharing::Principal => "principal",
            Sharing::Rights => "rights",
            Sharing::Everyone => "everyone",
        }
    }
}

/// Who is served what has expired, while it is refreshed and when the API gives no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StaleTo {
    /// Principals that have not written lately.
    #[default]
    Watchers,
    /// Those that have, too.
    Everyone,
}

/// A response directive that a rule can override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Directive {
    /// `no-cache`, and `Pragma: no-cache`.
    NoCache,
    /// `max-age`, `s-maxage` and `Expires`.
    MaxAge,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// `must-revalidate` and `proxy-revalidate`.
    MustRevalidate,
}

/// A value that may be written alone or as a list.
#[derive(Clone, Debug)]
pub struct OneOrMany<T> {
    /// The values.
    pub items: Vec<T>,
    /// Whether it was written as a list, for the paths of diagnostics.
    pub listed: bool,
}

/// A key of the contract that is not built yet: it is read, whatever its value, and then refused.
#[derive(Clone, Copy, Debug)]
pub struct NotBuilt;

fn yes() -> bool {
    true
}

fn default_overrides() -> Vec<Directive> {
    vec![Directive::NoCache, Directive::MaxAge]
}

fn default_only() -> OneOrMany<RawCondition> {
    let ok = RawCondition { statuses: Some(vec![200]), ..RawCondition::default() };
    OneOrMany { items: vec![ok], listed: false }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self { items: Vec::new(), listed: true }
    }
}

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.items.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map or a list of maps")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                let items = Vec::deserialize(de::value::SeqAccessDeserializer::new(items))?;
                Ok(OneOrMany { items, listed: true })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let item = T::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(OneOrMany { items: vec![item], listed: false })
            }
        }

        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        let many = generator.subschema_for::<Vec<T>>();
        json_schema!({ "anyOf": [one, many] })
    }
}

impl<'de> Deserialize<'de> for RawTtl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl Visitor<'_> for Words {
            type Value = RawTtl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration, pass or origin")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawTtl, E> {
                match text {
                    "pass" => Ok(RawTtl::Pass),
                    "origin" => Ok(RawTtl::Origin),
                    other => other
                        .parse()
                        .map(RawTtl::For)
                        .map_err(|error| E::custom(format_args!("{error}; or `pass` or `origin`"))),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawTtl, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawTtl, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<RawTtl, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(Words)
    }
}

impl fmt::Display for RawTtl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RawTtl::For(span) => span.fmt(f),
            RawTtl::Pass => f.write_str("pass"),
            RawTtl::Origin => f.write_str("origin"),
        }
    }
}

impl Serialize for RawTtl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for RawTtl {
    fn schema_name() -> Cow<'static, str> {
        "Ttl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d)|pass|origin)$", "examples": ["5s"] })
    }
}

impl<'de> Deserialize<'de> for NotBuilt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| NotBuilt)
    }
}

impl JsonSchema for NotBuilt {
    fn schema_name() -> Cow<'static, str> {
        "NotBuilt".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "Part of the contract but not built yet: refused, whatever its value." })
    }
}
