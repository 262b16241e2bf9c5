//! The configuration as it is written: the shape of `forebay.yaml`, its defaults and its JSON Schema.
//!
//! Doc comments here are the schema's descriptions. Names and files are only looked up in `resolve`.

mod resilience;
mod upstream;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::rules::raw::NotBuilt;
use crate::units::{ByteSize, Span};

pub use resilience::*;
pub use upstream::*;

/// forebay.yaml: which addresses serve which upstream, and what may be kept of its answers. Only the
/// endpoints of an upstream are required; relative paths are relative to this file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where clients connect. Default: 127.0.0.1:8006 for the only upstream, with TLS when that has it.
    pub listen: Option<Vec<RawListener>>,
    /// Where `tls: auto` keeps its CA and certificate (FOREBAY_CERTS); must be writable then.
    pub certs: Option<String>,
    /// Worker threads; one per core when absent.
    pub threads: Option<usize>,
    /// What is logged.
    #[serde(default)]
    pub log: RawLog,
    /// The address of metrics, health, API and page.
    #[serde(default)]
    pub admin: RawAdmin,
    /// How much is kept.
    #[serde(default)]
    pub cache: RawCache,
    /// Connections that leave HTTP: upgrades such as those of consoles, and what forward proxies tunnel.
    #[serde(default)]
    pub tunnels: RawTunnels,
    /// The APIs, by a name of your choice.
    pub upstreams: BTreeMap<String, RawUpstream>,
}

/// One address that clients connect to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawListener {
    /// An IP address and a port; port 0 takes a free one.
    pub address: Address,
    /// Which upstream this address serves; may be left out when there is only one.
    pub upstream: Option<String>,
    /// TLS towards clients; absent: plaintext HTTP.
    pub tls: Option<RawTlsIn>,
    /// The versions of HTTP that are spoken. Default: what suits the clients of the API.
    pub protocols: Option<Vec<Protocol>>,
    /// How clients reach this address (https://lab.example), for addresses in answers that lead back to
    /// the API and must lead here. Default: the scheme and the Host of each request.
    pub public_url: Option<String>,
    /// Makes this address a forward proxy for clients whose base URL cannot be changed. CONNECT to these hosts
    /// is served here, each by the upstream that is named, with a certificate from the CA in `certs`. A host,
    /// or `*.` and a domain; the port is 443 unless one is named.
    pub intercept: Option<BTreeMap<String, String>>,
    /// The hosts that a forward proxy passes through untouched: a host, `*.` and a domain, or `*` for every
    /// name; the port is 443 unless one is named. Everything else is refused.
    pub tunnel: Option<Vec<String>>,
}

/// Connections that leave HTTP. They hold no place among the calls to an API.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawTunnels {
    /// How many there may be at once through one upstream, or through all forward proxies. Default: 1000.
    pub most: Option<u32>,
    /// For how long nothing may come either way. Default: 1h.
    pub idle: Option<Span>,
}

/// TLS towards clients: `auto`, or files.
#[derive(Clone, Debug)]
pub enum RawTlsIn {
    /// A private CA and a certificate, made once and kept.
    Auto,
    /// The operator's own.
    Files(RawTlsFiles),
}

/// Certificate files in PEM.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTlsFiles {
    /// The certificate, followed by its intermediates.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// Clients must show a certificate that one of these CAs has issued.
    pub client_ca: Option<String>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.1 (and 1.0).
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "h2")]
    H2,
}

/// What is logged.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLog {
    /// The least level.
    pub level: LogLevel,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// Whether each request has its line.
    pub requests: bool,
}

/// The least level of what is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may fail soon.
    Warn,
    /// What changes.
    #[default]
    Info,
    /// What is decided.
    Debug,
    /// Everything.
    Trace,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The admin address: metrics, health, API and page.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAdmin {
    /// Its own address, never one that clients use. Default: 127.0.0.1:9006.
    pub address: Option<Address>,
    /// A file with the token that the page and the API ask for; without one those are served to
    /// loopback only.
    pub token_file: Option<String>,
}

/// How much is kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawCache {
    /// All entries together: bodies, fields and overhead. Default: 256MiB.
    pub memory: Option<ByteSize>,
    /// The most that one body may have. Default: 8MiB.
    pub max_object: Option<ByteSize>,
    /// The last known state survives a restart; absent: memory only.
    pub disk: Option<RawDisk>,
    /// Not built yet.
    pub redis: Option<NotBuilt>,
}

/// The store on disk.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDisk {
    /// A directory for this process alone, made when it is not there.
    pub path: String,
    /// The most that all files in it have together. Default: 1GiB.
    pub size: Option<ByteSize>,
}

/// An IP address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(pub SocketAddr);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Address).map_err(|_| {
            format!("`{text}` is not an address: write an IP address and a port, as in 127.0.0.1:8006 or [::]:8006")
        })
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^.+:[0-9]+$", "examples": ["127.0.0.1:8006"] })
    }
}

impl<'de> Deserialize<'de> for RawTlsIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = RawTlsIn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a map with `certificate` and `key`")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<RawTlsIn, E> {
                match word {
                    "auto" => Ok(RawTlsIn::Auto),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawTlsIn, A::Error> {
                RawTlsFiles::deserialize(MapAccessDeserializer::new(map)).map(RawTlsIn::Files)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for RawTlsIn {
    fn schema_name() -> Cow<'static, str> {
        "TlsIn".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, generator.subschema_for::<RawTlsFiles>()] })
    }
}
