//! What ARM's answers tell of its buckets.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use smallvec::{SmallVec, smallvec};

use super::provider::{self, COMPUTE};
use super::{GLOBAL, JOBS, SUBSCRIPTION, TENANT, TYPE};
use crate::semantics::quota::{Meter, QuotaReading, Refusal, RefusedBy, Remaining, Told};

pub(in crate::dialect) const QUOTA_READING: QuotaReading = QuotaReading { told, refused };

/// A number of the front door, by field name.
const FRONT_DOOR: [(&str, Meter); 9] = [
    ("x-ms-ratelimit-remaining-subscription-reads", SUBSCRIPTION[0].0),
    ("x-ms-ratelimit-remaining-subscription-writes", SUBSCRIPTION[1].0),
    ("x-ms-ratelimit-remaining-subscription-deletes", SUBSCRIPTION[2].0),
    ("x-ms-ratelimit-remaining-subscription-global-reads", GLOBAL[0].0),
    ("x-ms-ratelimit-remaining-subscription-global-writes", GLOBAL[1].0),
    ("x-ms-ratelimit-remaining-subscription-global-deletes", GLOBAL[2].0),
    ("x-ms-ratelimit-remaining-tenant-reads", TENANT[0].0),
    ("x-ms-ratelimit-remaining-tenant-writes", TENANT[1].0),
    ("x-ms-ratelimit-remaining-tenant-deletes", TENANT[2].0),
];

/// A type of resource with a limit of its own has these beside or in place of the above; the only one whose
/// numbers are known is that of Microsoft.Authorization.
const OVERRIDE: [&str; 2] = [
    "x-ms-ratelimit-remaining-subscription-resource-requests",
    "x-ms-ratelimit-remaining-tenant-resource-requests",
];

/// The policies of the compute provider: `Microsoft.Compute/POLICY;CALLS,...`, on one line or several.
const POLICIES: &str = "x-ms-ratelimit-remaining-resource";
const GRAPH_REMAINING: &str = "x-ms-user-quota-remaining";
/// `hh:mm:ss`.
const GRAPH_RESETS: &str = "x-ms-user-quota-resets-after";

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Whom ARM cannot name it cannot charge: that 401 has none of the fields.
fn told(status: StatusCode, headers: &HeaderMap) -> Told {
    let mut left = SmallVec::new();
    for (field, meter) in FRONT_DOOR {
        if let Some(calls) = text(headers, field).and_then(|text| text.parse().ok()) {
            left.push(Remaining { meter, calls, resets_in: None });
        }
    }
    for field in OVERRIDE {
        if let Some(calls) = text(headers, field).and_then(|text| text.parse().ok()) {
            left.push(Remaining { meter: provider::AUTHORIZATION, calls, resets_in: None });
        }
    }
    if let Some(calls) = text(headers, GRAPH_REMAINING).and_then(|text| text.parse().ok()) {
        let resets_in = text(headers, GRAPH_RESETS).and_then(clock_time);
        // A call is charged to one of the two at most.
        for meter in [provider::GRAPH_QUERIES, provider::GRAPH_READS] {
            left.push(Remaining { meter, calls, resets_in });
        }
    }
    for (policy, calls) in policies(headers) {
        if let Some(meter) = compute_meter(policy) {
            left.push(Remaining { meter, calls, resets_in: None });
        }
    }
    match status {
        StatusCode::UNAUTHORIZED if left.is_empty() => Told::NotCharged,
        _ => Told::Left(left),
    }
}

/// The policies of an answer and what is left of them.
fn policies(headers: &HeaderMap) -> impl Iterator<Item = (&str, u64)> {
    let lines = headers.get_all(POLICIES).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|entry| {
        let (policy, calls) = entry.trim().rsplit_once(';')?;
        let policy = policy.rsplit_once('/').map_or(policy, |(_, name)| name);
        Some((policy, calls.trim().parse().ok()?))
    })
}

fn compute_meter(policy: &str) -> Option<Meter> {
    let with = |suffix| policy.strip_suffix(suffix);
    let group = |name: &str| COMPUTE.iter().find(|group| group.name == name);
    if let Some(name) = with("SubscriptionMaximum") {
        return group(name).map(|group| group.subscription.0);
    }
    group(with("Resource")?)?.resource.map(|(meter, _)| meter)
}

fn clock_time(text: &str) -> Option<Duration> {
    let mut parts = text.split(':').map(|part| part.parse::<f64>().ok().filter(|part| *part >= 0.0));
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Duration::try_from_secs_f64(hours * 3600.0 + minutes * 60.0 + seconds).ok()
}

/// The part of an error's body by which refusals differ.
#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    error: Error,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Error {
    code: String,
    message: String,
    details: Vec<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    code: String,
    target: String,
}

/// A 429, or a 503 that says when to come again or calls itself throttling (az shows such, azure-cli#28075).
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Refusal> {
    let Error { code, message, details } = serde_json::from_slice::<Body>(body).unwrap_or_default().error;
    let says_when = headers.contains_key(http::header::RETRY_AFTER);
    match status {
        StatusCode::TOO_MANY_REQUESTS => {}
        StatusCode::SERVICE_UNAVAILABLE if says_when || code.contains("Throttl") => {}
        _ => return None,
    }
    let refusal = |by, meters| Some(Refusal { by, meters });
    // Network's way of saying 409 (its troubleshooting page, terraform-provider-azurerm#25417).
    if matches!(&*code, "RetryableErrorDueToAnotherOperation" | "RetryableError") {
        return refusal(RefusedBy::Lock, smallvec![]);
    }
    if message.contains("backend storage limit") || message.contains("excessive volume of traffic") {
        return refusal(RefusedBy::BackgroundJobs, smallvec![JOBS, TYPE]);
    }
    let is_gateway = text(headers, "x-ms-failure-cause") == Some("gateway");
    match &*code {
        // Of which bucket it is, the number that is none tells: all principals together or this one.
        "SubscriptionRequestsThrottled" | "TenantRequestsThrottled" => {
            return refusal(RefusedBy::FrontDoor, front_door(headers, &message));
        }
        // The limit of a whole provider, or of an action.
        "ResourceRequestsThrottled" => {
            let whole = !message.contains("for action");
            let meters = if whole { smallvec![provider::AUTHORIZATION, TYPE] } else { smallvec![TYPE] };
            return refusal(RefusedBy::FrontDoor, meters);
        }
        _ => {}
    }
    let mut meters: SmallVec<[Meter; 4]> = SmallVec::new();
    let empty = policies(headers).filter(|(_, calls)| *calls == 0).map(|(policy, _)| policy);
    let named = details.iter().filter(|one| one.code == "TooManyRequests").map(|one| one.target.as_str());
    let (mut unknown, known): (Vec<_>, Vec<_>) =
        empty.chain(named).map(compute_meter).partition(Option::is_none);
    meters.extend(known.into_iter().flatten());
    if !meters.is_empty() || unknown.pop().is_some() {
        meters.truncate(3);
        meters.push(TYPE);
        return refusal(RefusedBy::Provider, meters);
    }
    if is_gateway {
        return refusal(RefusedBy::FrontDoor, front_door(headers, &message));
    }
    meters.extend(match (&*code, message.contains("List_")) {
        ("RetryableErrorDueToTooManyCalls", _) => [provider::NETWORK_READS, provider::NETWORK_WRITES],
        ("TooManyRequests", true) => [provider::STORAGE_LISTS, TYPE],
        ("TooManyRequests", false) => [provider::STORAGE_READS, provider::STORAGE_WRITES],
        ("RateLimiting", _) => [provider::GRAPH_QUERIES, provider::GRAPH_READS],
        // Plain text without a code, from Microsoft.Authorization for one (terraform-provider-azurerm#31893).
        _ if code.is_empty() => [provider::AUTHORIZATION, TYPE],
        _ => [TYPE, TYPE],
    });
    meters.push(TYPE);
    refusal(RefusedBy::Provider, meters)
}

fn front_door(headers: &HeaderMap, message: &str) -> SmallVec<[Meter; 4]> {
    let is_empty = |bucket: &(Meter, _)| {
        let field = FRONT_DOOR.iter().find(|(_, meter)| *meter == bucket.0);
        field.is_some_and(|(field, _)| text(headers, field) == Some("0"))
    };
    let of = |word: &str| match word {
        "delete" => 2,
        "write" => 1,
        _ => 0,
    };
    // "Number of 'read' requests for subscription"
    let named = message.split('\'').nth(1).filter(|word| matches!(*word, "read" | "write" | "delete"));
    let mut meters = SmallVec::new();
    if let Some((meter, _)) = GLOBAL.iter().find(|bucket| is_empty(bucket)) {
        meters.push(*meter);
        return meters;
    }
    match named {
        Some(word) => meters.extend([SUBSCRIPTION[of(word)].0, TENANT[of(word)].0]),
        None => meters.extend(SUBSCRIPTION.iter().chain(&TENANT).map(|(meter, _)| *meter)),
    }
    meters.push(TYPE);
    meters
}
