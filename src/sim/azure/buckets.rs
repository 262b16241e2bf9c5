//! Throttling: the token buckets of the front door and of the providers behind it.
//!
//! Numbers are Microsoft's: request-limits-and-throttling (2025-05-28), compute-throttling-limits
//! (2024-05-27), the storage provider's and Resource Graph's pages. A call first pays at the front door and
//! then at its provider; what a provider refuses has been paid for at the front door.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use super::answer::Reply;
use super::call::Call;
use super::estate::Estate;
use super::target::{self, Target};
use super::{operations, refusal};

/// What the buckets are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// There are none.
    Off,
    /// They are counted and refuse nothing.
    Count,
    /// They refuse what is too much.
    Refuse,
}

/// What happened to one bucket so far.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketState {
    /// What it is for: `arm-sub/SUBSCRIPTION/PRINCIPAL/reads`, `compute/LowCostGetResource/RESOURCE`, ...
    pub name: String,
    /// Tokens when it is full.
    pub capacity: f64,
    /// The fewest tokens that it ever had.
    pub lowest: f64,
    /// Requests that it let through.
    pub taken: u64,
    /// Requests that came when there was no token: each is an overdraft.
    pub overdrawn: u64,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
    state: BucketState,
}

/// Which refusal an empty bucket gives.
#[derive(Clone, Debug)]
enum Kind {
    Subscription(&'static str),
    Tenant(&'static str),
    Type(&'static str, u32),
    Compute(&'static str, u32),
    Network,
    Storage(&'static str),
    Graph,
}

/// One bucket that a call needs a token of.
#[derive(Debug)]
struct Need {
    name: String,
    capacity: u32,
    per_second: f64,
    kind: Kind,
    /// The field that tells what is left, and the policy's name in it if several share the field.
    field: Option<(&'static str, Option<&'static str>)>,
}

/// All buckets, of every subscription.
#[derive(Default)]
pub(super) struct Buckets {
    all: BTreeMap<String, Bucket>,
}

const RESOURCE_FIELD: &str = "x-ms-ratelimit-remaining-resource";

impl Buckets {
    pub(super) fn states(&self) -> Vec<BucketState> {
        self.all.values().map(|bucket| bucket.state.clone()).collect()
    }

    /// Takes what a call needs. Gives the fields that tell what is left, and the refusal if one was empty.
    pub(super) fn take(
        &mut self,
        estate: &Estate,
        call: &Call,
        throttle: Throttle,
        share: f64,
    ) -> (Vec<(&'static str, String)>, Option<Reply>) {
        let (mut fields, mut policies) = (Vec::new(), Vec::new());
        for need in needs(estate, call) {
            let (left, wait) = self.one(&need, call.now, share);
            let left = left.max(0.0).floor();
            match need.field {
                Some((RESOURCE_FIELD, Some(policy))) => {
                    policies.push(format!("Microsoft.Compute/{policy};{left}"))
                }
                Some((name, _)) => fields.push((name, left.to_string())),
                None => {}
            }
            if let Some(wait) = wait.filter(|_| throttle == Throttle::Refuse) {
                return (fields, Some(refuse(&need.kind, call, wait)));
            }
        }
        if !policies.is_empty() {
            fields.push((RESOURCE_FIELD, policies.join(",")));
        }
        (fields, None)
    }

    /// Takes one token: what is left, and how long until there is one if there was none.
    fn one(&mut self, need: &Need, now: Instant, share: f64) -> (f64, Option<Duration>) {
        let (capacity, rate) = ((f64::from(need.capacity) * share).max(1.0), need.per_second * share);
        let bucket = self.all.entry(need.name.clone()).or_insert_with(|| Bucket {
            tokens: capacity,
            at: now,
            state: BucketState {
                name: need.name.clone(),
                capacity,
                lowest: capacity,
                taken: 0,
                overdrawn: 0,
            },
        });
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * rate).min(capacity);
        bucket.at = bucket.at.max(now);
        if bucket.tokens < 1.0 {
            bucket.state.overdrawn += 1;
            return (0.0, Some(Duration::from_secs_f64((1.0 - bucket.tokens) / rate)));
        }
        bucket.tokens -= 1.0;
        bucket.state.taken += 1;
        bucket.state.lowest = bucket.state.lowest.min(bucket.tokens);
        (bucket.tokens, None)
    }
}

fn refuse(kind: &Kind, call: &Call, wait: Duration) -> Reply {
    let after = (wait.as_secs_f64().ceil() as u64).max(1);
    let (actor, subscription) = (&call.who.object, target::subscription_of(&call.folded));
    match kind {
        Kind::Subscription(operation) => refusal::subscription(subscription, operation, actor, after),
        Kind::Tenant(operation) => refusal::tenant(operation, actor, after),
        Kind::Type(what, limit) => refusal::resource_type(what, *limit, "00:01:00", after),
        Kind::Compute(policy, allowed) => refusal::compute(policy, *allowed, after),
        Kind::Network => refusal::network(subscription, after),
        Kind::Storage(kind) => refusal::storage(kind, after),
        Kind::Graph => refusal::graph(after),
    }
}

/// The word for a call's kind: reads, writes or deletes, and its singular.
fn operation(call: &Call) -> (&'static str, &'static str) {
    match call.method {
        Method::GET | Method::HEAD => ("reads", "read"),
        Method::DELETE => ("deletes", "delete"),
        _ => ("writes", "write"),
    }
}

fn needs(estate: &Estate, call: &Call) -> Vec<Need> {
    let mut needs = Vec::with_capacity(5);
    let (plural, singular) = operation(call);
    let (bucket, refill) = if plural == "reads" { (250, 25.0) } else { (200, 10.0) };
    let (actor, subscription) = (&call.who.object, target::subscription_of(&call.folded));
    let field = |scope: &str| match (scope, plural) {
        ("subscription", "reads") => "x-ms-ratelimit-remaining-subscription-reads",
        ("subscription", "writes") => "x-ms-ratelimit-remaining-subscription-writes",
        ("subscription", _) => "x-ms-ratelimit-remaining-subscription-deletes",
        ("global", "reads") => "x-ms-ratelimit-remaining-subscription-global-reads",
        ("global", "writes") => "x-ms-ratelimit-remaining-subscription-global-writes",
        ("global", _) => "x-ms-ratelimit-remaining-subscription-global-deletes",
        (_, "reads") => "x-ms-ratelimit-remaining-tenant-reads",
        (_, "writes") => "x-ms-ratelimit-remaining-tenant-writes",
        _ => "x-ms-ratelimit-remaining-tenant-deletes",
    };
    if !subscription.is_empty() {
        needs.push(Need {
            name: format!("arm-sub/{subscription}/{actor}/{plural}"),
            capacity: bucket,
            per_second: refill,
            kind: Kind::Subscription(singular),
            field: Some((field("subscription"), None)),
        });
        // All principals together have fifteen times as much.
        needs.push(Need {
            name: format!("arm-global/{subscription}/{plural}"),
            capacity: bucket * 15,
            per_second: refill * 15.0,
            kind: Kind::Subscription(singular),
            field: Some((field("global"), None)),
        });
    } else {
        needs.push(Need {
            name: format!("arm-tenant/{actor}/{plural}"),
            capacity: bucket,
            per_second: refill,
            kind: Kind::Tenant(singular),
            field: Some((field("tenant"), None)),
        });
    }
    if let Some(target) = Target::parse(&call.folded) {
        provider(estate, call, &target, subscription, &mut needs);
    }
    needs
}

/// Where what a call names is: providers count for each location.
fn location(estate: &Estate, call: &Call, target: &Target) -> String {
    if let Some(at) = target.rest.iter().position(|part| part == "locations") {
        return target.rest.get(at + 1).cloned().unwrap_or_default();
    }
    let resource = (target.rest.len() >= 2)
        .then(|| {
            format!(
                "{}/providers/{}/{}/{}",
                target.scope.join("/"),
                target.namespace,
                target.rest[0],
                target.rest[1]
            )
        })
        .and_then(|key| estate.resources.get(&key));
    match (resource, target.group()) {
        (Some(resource), _) => resource.location().to_owned(),
        (None, Some(group)) => match call.body["location"].as_str() {
            Some(location) => location.to_owned(),
            None => estate.group_location(target.subscription(), group),
        },
        (None, None) => "*".to_owned(),
    }
}

fn provider(estate: &Estate, call: &Call, target: &Target, subscription: &str, needs: &mut Vec<Need>) {
    // Each subscription has its own, in each location.
    let place = format!("{subscription}/{}", location(estate, call, target));
    let first = target.rest.first().map_or("", String::as_str);
    match (target.namespace.as_str(), first) {
        ("microsoft.authorization", _) => needs.push(Need {
            name: format!("type/Microsoft.Authorization/{subscription}"),
            capacity: 120,
            per_second: 2.0,
            kind: Kind::Type("Microsoft.Authorization", 120),
            field: Some(("x-ms-ratelimit-remaining-subscription-resource-requests", None)),
        }),
        ("microsoft.compute", _) => compute(estate, call, target, &place, needs),
        ("microsoft.network", _) => {
            let (word, capacity) = if call.reads() { ("reads", 10_000) } else { ("writes", 1_000) };
            needs.push(Need {
                name: format!("network/{word}/{place}"),
                capacity,
                per_second: f64::from(capacity) / 300.0,
                kind: Kind::Network,
                field: None,
            });
        }
        ("microsoft.storage", _) => {
            let (word, capacity, window) = match (call.reads(), target.is_resource()) {
                (true, true) => ("Read", 800, 300.0),
                (true, false) => ("List", 100, 300.0),
                (false, _) => ("Write", 1_200, 3_600.0),
            };
            needs.push(Need {
                name: format!("storage/{word}/{place}"),
                capacity,
                per_second: f64::from(capacity) / window,
                kind: Kind::Storage(word),
                field: None,
            });
        }
        ("microsoft.resourcegraph", _) => needs.push(Need {
            name: format!("graph/{}", call.who.object),
            capacity: 15,
            per_second: 3.0,
            kind: Kind::Graph,
            field: Some(("x-ms-user-quota-remaining", None)),
        }),
        _ => {}
    }
}

/// The policies of compute: tokens a minute and at most, for the subscription and for one resource.
fn compute(estate: &Estate, call: &Call, target: &Target, place: &str, needs: &mut Vec<Need>) {
    let rest: Vec<&str> = target.rest.iter().map(String::as_str).collect();
    let key = call.folded[..call.folded.len().min(8)].join("/");
    type Policy = (&'static str, u32, Option<&'static str>, u32);
    let policy: Policy = if operations::named(&call.folded).is_some() {
        ("GetOperationSubscriptionMaximum", 15_000, Some("GetOperationResource"), 45)
    } else {
        match (call.method.as_str(), rest.as_slice()) {
            ("GET" | "HEAD", ["virtualmachines"] | ["locations", _, "virtualmachines"]) => {
                ("HighCostGetSubscriptionMaximum", 900, None, 0)
            }
            ("GET" | "HEAD", ["virtualmachines", ..]) => {
                ("LowCostGetSubscriptionMaximum", 24_000, Some("LowCostGetResource"), 36)
            }
            ("GET" | "HEAD", ["disks"]) => ("HighCostGetDiskSubscriptionMaximum", 900, None, 0),
            ("PUT", ["virtualmachines", _]) if !estate.resources.contains_key(&call.key()) => {
                ("PutVMSubscriptionMaximum", 1_500, Some("PutVMResource"), 12)
            }
            ("DELETE", ["virtualmachines", _])
            | ("POST", ["virtualmachines", _, "deallocate" | "simulateeviction"]) => {
                ("DeleteVMSubscriptionMaximum", 1_500, Some("DeleteVMResource"), 12)
            }
            ("POST", ["virtualmachines", _, "assesspatches" | "installpatches"]) => {
                ("GuestPatchSubscriptionMaximum", 600, Some("GuestPatchResource"), 6)
            }
            (_, ["virtualmachines", ..]) => {
                ("UpdateVMSubscriptionMaximum", 1_500, Some("UpdateVMResource"), 12)
            }
            _ => return,
        }
    };
    let (subscription, most, resource, most_of_resource) = policy;
    // Each refills a third of its size every minute.
    let per_second = |most: u32| f64::from(most) / 3.0 / 60.0;
    needs.push(Need {
        name: format!("compute/{subscription}/{place}"),
        capacity: most,
        per_second: per_second(most),
        kind: Kind::Compute(subscription, most),
        field: Some((RESOURCE_FIELD, Some(subscription))),
    });
    if let Some(resource) = resource {
        needs.push(Need {
            name: format!("compute/{resource}/{key}"),
            capacity: most_of_resource,
            per_second: per_second(most_of_resource),
            kind: Kind::Compute(resource, most_of_resource),
            field: Some((RESOURCE_FIELD, Some(resource))),
        });
    }
}
