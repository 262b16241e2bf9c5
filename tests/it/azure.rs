//! What clients of Azure Resource Manager see, with an upstream that plays its part.

mod answers;
mod casing;
mod keys;
mod links;
mod metadata;
mod operations;
mod pack;
mod pages;
mod passing;
mod promote;
mod start;
mod states;
mod tokens;

use super::support::{Options, Reply, Rig};

/// A group.
const GROUP: &str = "/subscriptions/s/resourceGroups/rg-alpha";

/// A machine in it.
const VM: &str =
    "/subscriptions/s/resourceGroups/rg-alpha/providers/Microsoft.Compute/virtualMachines/web-01";

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
