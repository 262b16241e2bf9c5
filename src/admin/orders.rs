//! What an operator orders: purges.

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;

use super::answer::Problem;
use crate::proxy::{Manner, Purge, Shared, Site, purge};

/// The largest body of an order, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

const USAGE: &str = "write {\"groups\": [\"guest/100\"]}, {\"path\": \"/api2/json/nodes/*\"} or {\"all\": true}, \
                     and \"soft\": true to keep what may be served stale";

/// A purge.
pub(super) struct Order {
    what: Purge,
    manner: Manner,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    groups: Option<Vec<String>>,
    path: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    soft: bool,
}

impl Order {
    /// Reads the body of a request.
    pub(super) async fn read(body: Incoming) -> Result<Self, Problem> {
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
            let too_large = error.is::<http_body_util::LengthLimitError>();
            if too_large { Problem::TooLarge } else { Problem::Request("the body broke off".to_owned()) }
        })?;
        Self::parse(&body.to_bytes()).map_err(Problem::Request)
    }

    fn parse(body: &[u8]) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(body).map_err(|error| format!("{error}; {USAGE}"))?;
        let what = match (raw.groups, raw.path, raw.all) {
            (Some(groups), None, false) if !groups.is_empty() => Purge::Groups(groups),
            (None, Some(path), false) if !path.is_empty() => Purge::Path(path),
            (None, None, true) => Purge::All,
            _ => return Err(format!("it must be exactly one of groups, path and all; {USAGE}")),
        };
        Ok(Self { what, manner: if raw.soft { Manner::Soft } else { Manner::Hard } })
    }

    /// Carries it out and says how many entries it met.
    pub(super) fn carry_out(&self, shared: &Shared, sites: &[Arc<Site>]) -> usize {
        let purged = purge(shared, sites, &self.what, self.manner);
        tracing::info!(purged, manner = ?self.manner, "an operator purged");
        purged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_exactly_one_thing() {
        let cases = [
            (
                r#"{"groups": ["a", "/b/**"]}"#,
                Ok((Purge::Groups(vec!["a".into(), "/b/**".into()]), Manner::Hard)),
            ),
            (r#"{"path": "/a*", "soft": true}"#, Ok((Purge::Path("/a*".into()), Manner::Soft))),
            (r#"{"all": true, "soft": false}"#, Ok((Purge::All, Manner::Hard))),
            (r#"{"all": false}"#, Err(())),
            (r#"{"groups": []}"#, Err(())),
            (r#"{"groups": "a"}"#, Err(())),
            (r#"{"path": ""}"#, Err(())),
            (r#"{"path": "/a", "all": true}"#, Err(())),
            (r#"{"everything": true}"#, Err(())),
            ("{}", Err(())),
            ("", Err(())),
        ];
        for (body, expected) in cases {
            let found = Order::parse(body.as_bytes()).map(|order| (order.what, order.manner));
            assert_eq!(found.map_err(drop), expected, "{body}");
        }
    }
}
