//! One API call, parsed: what handlers are given, whichever way it came in.

use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::time::Instant;

use super::answer::Reply;
use super::token::Actor;

/// The oldest and the newest api-version that the simulated providers know.
const API_VERSIONS: std::ops::RangeInclusive<&str> = "2014-04-01"..="2027-12-31";

/// An API call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The path in segments, percent-decoded once, as the caller wrote them.
    pub(super) path: Vec<String>,
    /// The same in lower case, which is how ARM compares.
    pub(super) folded: Vec<String>,
    /// The path as it came, for addresses of further pages.
    pub(super) raw_path: String,
    /// The query as it came, pair by pair.
    pub(super) raw_query: Vec<String>,
    /// The query decoded; names in lower case.
    query: Vec<(String, String)>,
    pub(super) body: Value,
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) who: Actor,
    /// Scheme and authority that the request named.
    pub(super) base: String,
    pub(super) now: Instant,
}

impl Call {
    pub(super) fn new(method: Method, target: &str, who: Actor, base: &str, now: Instant) -> Self {
        let (raw_path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = segments(raw_path);
        let folded = path.iter().map(|part| part.to_ascii_lowercase()).collect();
        let raw_query: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
        let query = raw_query.iter().map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode =
                |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
            (decode(name).to_ascii_lowercase(), decode(value))
        });
        Self {
            query: query.collect(),
            method,
            path,
            folded,
            raw_path: raw_path.to_owned(),
            raw_query,
            body: Value::Null,
            if_match: None,
            if_none_match: None,
            who,
            base: base.to_owned(),
            now,
        }
    }

    /// The folded path's segments, for matching.
    pub(super) fn parts(&self) -> Vec<&str> {
        self.folded.iter().map(String::as_str).collect()
    }

    /// A parameter of the query, by its name in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The api-version; [`Call::check_version`] has made sure that there is one.
    pub(super) fn version(&self) -> &str {
        self.get("api-version").unwrap_or_default()
    }

    /// Refuses a call without an api-version, or with one that no provider has.
    pub(super) fn check_version(&self, kind: &str) -> Result<(), Reply> {
        let missing = "The api-version query parameter (?api-version=) is required for all requests.";
        let Some(version) = self.get("api-version") else {
            return Err(Reply::gateway(400, "MissingApiVersionParameter", missing));
        };
        let date = version.get(..10).unwrap_or_default();
        let shape = version.len() >= 10
            && date.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        match shape && API_VERSIONS.contains(&date) {
            true => Ok(()),
            false => Err(Reply::gateway(
                400,
                "NoRegisteredProviderFound",
                format!(
                    "No registered resource provider found for location 'eastus' and API version '{version}' for \
                     type '{kind}'. The supported api-versions are '2024-11-01, 2024-07-01'."
                ),
            )),
        }
    }

    /// Whether the call only reads, by its method.
    pub(super) fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// The folded path as one text.
    pub(super) fn key(&self) -> String {
        self.folded.join("/")
    }
}

/// Splits a raw path into segments, each percent-decoded once; empty ones vanish.
pub(super) fn segments(raw_path: &str) -> Vec<String> {
    let parts = raw_path.split('/').filter(|part| !part.is_empty());
    parts.map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect()
}
