//! The buckets of ARM's front door and of the providers behind it.
//!
//! Numbers: "Understand how Azure Resource Manager throttles requests" (2025-05-28, the public cloud),
//! "Throttling limits for virtual machines" (2024-05-27), the storage provider's scalability targets, and
//! "Guidance for throttled requests in Azure Resource Graph". Providers count by the location of a
//! resource, which a path does not tell: here all locations share one bucket.

mod provider;
mod reading;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde::Deserialize;

use super::super::quota::{Charged, Payer};
use super::passing::OPERATIONS;
use crate::semantics::quota::{Charge, Charges, Meter, Quota};

pub(in crate::dialect) use reading::QUOTA_READING;

/// What a call counts as at the front door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
    Delete,
}

impl Operation {
    fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => Self::Read,
            Method::DELETE => Self::Delete,
            _ => Self::Write,
        }
    }
}

/// The buckets of the front door for one scope, by [`Operation`].
type FrontDoor = [(Meter, Quota); 3];

const SUBSCRIPTION: FrontDoor = [
    (Meter("subscription-reads"), Quota::smooth(250, 25)),
    (Meter("subscription-writes"), Quota::smooth(200, 10)),
    (Meter("subscription-deletes"), Quota::smooth(200, 10)),
];
/// All principals together have fifteen times as much.
const GLOBAL: FrontDoor = [
    (Meter("subscription-global-reads"), Quota::smooth(3_750, 375)),
    (Meter("subscription-global-writes"), Quota::smooth(3_000, 150)),
    (Meter("subscription-global-deletes"), Quota::smooth(3_000, 150)),
];
const TENANT: FrontDoor = [
    (Meter("tenant-reads"), Quota::smooth(250, 25)),
    (Meter("tenant-writes"), Quota::smooth(200, 10)),
    (Meter("tenant-deletes"), Quota::smooth(200, 10)),
];

/// Everything of one type of resource in one subscription, in one direction: for refusals by what has no
/// numbers that are known.
const TYPE: Meter = Meter("resource-type");
/// The jobs behind one kind of operation in one subscription.
const JOBS: Meter = Meter("background-jobs");

/// The claims that tell whose bucket it is: "for each service principal (user)".
#[derive(Deserialize)]
struct WhoPays {
    tid: String,
    oid: String,
}

/// Tenant and object of an access token, whatever else it says: two tokens with other groups or scopes
/// drink from the same bucket.
pub(in crate::dialect) fn payer(token: &[u8]) -> Option<Payer> {
    let claims = token.split(|byte| *byte == b'.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_ascii_end()).ok()?;
    let WhoPays { tid, oid } = serde_json::from_slice(&claims).ok()?;
    let mut payer = Payer::from_slice(tid.to_ascii_lowercase().as_bytes());
    payer.push(0);
    payer.extend_from_slice(oid.to_ascii_lowercase().as_bytes());
    Some(payer)
}

/// By the form of the address: every provider gives those of its own.
pub(in crate::dialect) fn is_poll(path: &str) -> bool {
    path.split('/').any(|segment| OPERATIONS.contains(&segment))
}

/// A path, taken apart.
struct Target<'a> {
    subscription: Option<&'a str>,
    /// The last provider that it names and what follows.
    provider: Option<(&'a str, Vec<&'a str>)>,
    /// What stands before that.
    scope: &'a str,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Self {
        let subscription = path.strip_prefix("/subscriptions/").and_then(|rest| rest.split('/').next());
        let (scope, provider) = match path.rsplit_once("/providers/") {
            Some((scope, named)) => {
                let mut parts = named.split('/');
                (scope, parts.next().map(|namespace| (namespace, parts.collect())))
            }
            None => (path, None),
        };
        Self { subscription, provider, scope }
    }

    /// The type of the resource without the names: types and names take turns, and what is left over is an
    /// action or a list.
    fn types(&self) -> Vec<&'a str> {
        let parts = self.provider.as_ref().map_or(&[][..], |(_, parts)| parts);
        parts.iter().step_by(2).copied().collect()
    }
}

/// The buckets of a call: gates, the caller's own, and then each that more share than the last.
pub(in crate::dialect) fn charges(call: Charged<'_>, key: &dyn Fn(&[&[u8]]) -> u128) -> Charges {
    let operation = Operation::of(call.method);
    let target = Target::of(call.path);
    let payer = call.payer.to_le_bytes();
    let owner = target.subscription.unwrap_or("").as_bytes();
    let mut charges = Charges::new();
    let mut charge = |meter: Meter, whose: &[&[u8]], quota| {
        let mut parts: Vec<&[u8]> = vec![b"quota", meter.0.as_bytes()];
        parts.extend(whose);
        charges.push(Charge { meter, key: key(&parts), quota });
    };

    let types = target.types().join("/");
    let namespace = target.provider.as_ref().map_or("", |(namespace, _)| namespace);
    let direction = [u8::from(operation == Operation::Read)];
    if operation != Operation::Read {
        let whose: [&[u8]; 4] =
            [owner, call.method.as_str().as_bytes(), namespace.as_bytes(), types.as_bytes()];
        charge(JOBS, &whose, None);
    }
    let of_type = types.split('/').next().unwrap_or("").as_bytes();
    charge(TYPE, &[owner, namespace.as_bytes(), of_type, &direction], None);

    let front_door = |bucket: &FrontDoor| bucket[operation as usize];
    let (meter, quota) = front_door(target.subscription.map_or(&TENANT, |_| &SUBSCRIPTION));
    charge(meter, &[owner, &payer], Some(quota));

    for policy in provider::policies(call, operation, &target) {
        let whose: [&[u8]; 2] = match policy.per {
            provider::Per::Resource(resource) => [owner, resource.as_bytes()],
            provider::Per::Subscription => [owner, b""],
            provider::Per::Payer => [owner, &payer],
        };
        charge(policy.meter, &whose, Some(policy.quota));
    }

    if target.subscription.is_some() {
        let (meter, quota) = front_door(&GLOBAL);
        charge(meter, &[owner], Some(quota));
    }
    charges
}

#[cfg(test)]
mod tests;
