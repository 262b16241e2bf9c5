//! The parameters of a request to the admin address.

use http::Uri;
use percent_encoding::percent_decode_str;

/// The parameters, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Those of `uri`. Only `&` separates, so that a URL may stand in a value with its `;` as it is.
    pub(super) fn of(uri: &Uri) -> Self {
        let decoded =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    /// The first value of `name`, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }
}
