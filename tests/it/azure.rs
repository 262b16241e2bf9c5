//! What clients of Azure Resource Manager see, with an upstream that plays its part.

mod keys;
mod links;
mod start;

use super::support::{Options, Reply, Rig};

/// Forebay with rules for Azure in front of one scripted upstream.
async fn rig(rules: &str) -> Rig {
    Rig::with(Options { rules: rules.into(), ..Options::default() }).await
}

/// An answer as ARM's front door gives it.
fn arm(body: &str) -> Reply {
    Reply::body(body)
        .field("Content-Type", "application/json; charset=utf-8")
        .field("Cache-Control", "no-cache")
        .field("Pragma", "no-cache")
        .field("Expires", "-1")
        .field("x-ms-request-id", "0b1e4b5e-0000-4000-8000-000000000001")
        .field("x-ms-correlation-request-id", "0b1e4b5e-0000-4000-8000-000000000001")
}
