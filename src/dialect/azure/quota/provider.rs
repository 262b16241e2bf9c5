//! The policies of resource providers.

use std::time::Duration;

use smallvec::SmallVec;

use super::super::super::quota::Charged;
use super::{Operation, Target};
use crate::semantics::quota::{Meter, Quota};

/// One policy that a call falls under.
pub(super) struct Policy<'a> {
    pub(super) meter: Meter,
    pub(super) per: Per<'a>,
    pub(super) quota: Quota,
}

/// Whose bucket it is, within the subscription.
#[derive(Clone, Copy)]
pub(super) enum Per<'a> {
    /// That of one resource, by its path.
    Resource(&'a str),
    /// All that the subscription has.
    Subscription,
    /// That of whoever calls.
    Payer,
}

type Policies<'a> = SmallVec<[Policy<'a>; 4]>;

const MINUTE: Duration = Duration::from_secs(60);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);

/// A group of calls of the compute provider, with what is sure to be allowed of them.
pub(super) struct Compute {
    /// What `x-ms-ratelimit-remaining-resource` calls it, before `SubscriptionMaximum` or `Resource`.
    pub(super) name: &'static str,
    pub(super) subscription: (Meter, Quota),
    pub(super) resource: Option<(Meter, Quota)>,
}

/// What one resource and the subscription get a minute, and the most that they can have of it.
const fn compute(
    name: &'static str,
    meters: [&'static str; 2],
    (refill, max): (u32, u32),
    resource: Option<(u32, u32)>,
) -> Compute {
    let [subscription, of_resource] = meters;
    Compute {
        name,
        subscription: (Meter(subscription), Quota::stepwise(max, refill, MINUTE)),
        resource: match resource {
            Some((refill, max)) => Some((Meter(of_resource), Quota::stepwise(max, refill, MINUTE))),
            None => None,
        },
    }
}

const PUT: usize = 0;
const UPDATE: usize = 1;
const DELETE: usize = 2;
const LOW_COST_GET: usize = 3;
const HIGH_COST_GET: usize = 4;
const GET_OPERATION: usize = 5;
const GUEST_PATCH: usize = 6;
const SET_PUT: usize = 7;
const SET_UPDATE: usize = 8;
const SET_DELETE: usize = 9;
const SET_LOW_COST_GET: usize = 10;
const SET_HIGH_COST_GET: usize = 11;
const IN_SET_UPDATE: usize = 12;
const IN_SET_DELETE: usize = 13;

/// In the order in which a call that falls under two stands in line.
pub(super) const COMPUTE: [Compute; 14] = [
    compute("PutVM", ["compute-put-vm", "compute-put-vm-resource"], (500, 1_500), Some((4, 12))),
    compute("UpdateVM", ["compute-update-vm", "compute-update-vm-resource"], (500, 1_500), Some((4, 12))),
    compute("DeleteVM", ["compute-delete-vm", "compute-delete-vm-resource"], (500, 1_500), Some((4, 12))),
    compute(
        "LowCostGet",
        ["compute-low-cost-get", "compute-low-cost-get-resource"],
        (8_000, 24_000),
        Some((12, 36)),
    ),
    compute("HighCostGet", ["compute-high-cost-get", ""], (300, 900), None),
    compute(
        "GetOperation",
        ["compute-get-operation", "compute-get-operation-resource"],
        (5_000, 15_000),
        Some((15, 45)),
    ),
    compute("GuestPatch", ["compute-guest-patch", "compute-guest-patch-resource"], (200, 600), Some((2, 6))),
    compute("PutVMScaleSet", ["compute-put-set", "compute-put-set-resource"], (125, 375), Some((4, 12))),
    compute(
        "UpdateVMScaleSet",
        ["compute-update-set", "compute-update-set-resource"],
        (500, 1_500),
        Some((4, 12)),
    ),
    compute(
        "DeleteVMScaleSet",
        ["compute-delete-set", "compute-delete-set-resource"],
        (175, 525),
        Some((4, 12)),
    ),
    compute(
        "LowCostGetVMScaleSet",
        ["compute-low-cost-get-set", "compute-low-cost-get-set-resource"],
        (800, 2_400),
        Some((12, 36)),
    ),
    compute(
        "HighCostGetVMScaleSet",
        ["compute-high-cost-get-set", "compute-high-cost-get-set-resource"],
        (360, 1_080),
        Some((10, 30)),
    ),
    compute(
        "UpdateVMInVMScaleSet",
        ["compute-update-in-set", "compute-update-in-set-resource"],
        (500, 1_500),
        Some((4, 12)),
    ),
    compute(
        "DeleteVMInVMScaleSet",
        ["compute-delete-in-set", "compute-delete-in-set-resource"],
        (500, 1_500),
        Some((4, 12)),
    ),
];

pub(super) const NETWORK_READS: Meter = Meter("network-reads");
pub(super) const NETWORK_WRITES: Meter = Meter("network-writes");
pub(super) const STORAGE_READS: Meter = Meter("storage-reads");
pub(super) const STORAGE_LISTS: Meter = Meter("storage-lists");
pub(super) const STORAGE_WRITES: Meter = Meter("storage-writes");
pub(super) const GRAPH_QUERIES: Meter = Meter("resource-graph-queries");
pub(super) const GRAPH_READS: Meter = Meter("resource-graph-reads");
pub(super) const AUTHORIZATION: Meter = Meter("authorization");

/// The policies that a call falls under.
pub(super) fn policies<'a>(call: Charged<'a>, operation: Operation, target: &Target<'a>) -> Policies<'a> {
    let mut policies = Policies::new();
    let Some((namespace, parts)) = &target.provider else { return policies };
    let is_read = operation == Operation::Read;
    let of_subscription = |meter, quota| Policy { meter, per: Per::Subscription, quota };
    let for_payer = |meter, quota| Policy { meter, per: Per::Payer, quota };
    match *namespace {
        // The same read, answered by Resource Graph in the provider's place.
        _ if is_read && wants_graph(call.query) => {
            policies.push(for_payer(GRAPH_READS, Quota::window(4_000, MINUTE)));
        }
        "microsoft.compute" => of_compute(call, target, parts, &mut policies),
        "microsoft.network" if is_read => {
            policies.push(of_subscription(NETWORK_READS, Quota::window(10_000, FIVE_MINUTES)));
        }
        "microsoft.network" => {
            policies.push(of_subscription(NETWORK_WRITES, Quota::window(1_000, FIVE_MINUTES)));
        }
        "microsoft.storage" => policies.push(match (is_read, parts.len() % 2) {
            (true, 0) => of_subscription(STORAGE_READS, Quota::window(800, FIVE_MINUTES)),
            (true, _) => of_subscription(STORAGE_LISTS, Quota::window(100, FIVE_MINUTES)),
            (false, _) => of_subscription(STORAGE_WRITES, Quota::window(1_200, HOUR)),
        }),
        "microsoft.resourcegraph" => {
            policies.push(for_payer(GRAPH_QUERIES, Quota::window(15, Duration::from_secs(5))));
        }
        "microsoft.authorization" => {
            policies.push(of_subscription(AUTHORIZATION, Quota::window(120, MINUTE)));
        }
        _ => {}
    }
    policies
}

fn wants_graph(query: Option<&str>) -> bool {
    let is_wish = |pair: &str| pair.eq_ignore_ascii_case("useResourceGraph=true");
    query.is_some_and(|query| query.split('&').any(is_wish))
}

fn of_compute<'a>(call: Charged<'a>, target: &Target<'a>, parts: &[&'a str], policies: &mut Policies<'a>) {
    let groups: SmallVec<[usize; 2]> = match (call.method.as_str(), parts) {
        ("GET" | "HEAD", ["locations", _, "operations", ..]) => [GET_OPERATION].into_iter().collect(),
        ("GET" | "HEAD", ["virtualmachines"] | ["locations", _, "virtualmachines"]) => {
            [HIGH_COST_GET].into_iter().collect()
        }
        ("GET" | "HEAD", ["virtualmachines", ..]) => [LOW_COST_GET].into_iter().collect(),
        // Whether there is such a machine is not known here: the one policy or the other counts it.
        ("PUT", ["virtualmachines", _]) => [PUT, UPDATE].into_iter().collect(),
        ("DELETE", ["virtualmachines", _])
        | ("POST", ["virtualmachines", _, "deallocate" | "simulateeviction"]) => {
            [DELETE].into_iter().collect()
        }
        ("POST", ["virtualmachines", _, "assesspatches" | "installpatches"]) => {
            [GUEST_PATCH].into_iter().collect()
        }
        (_, ["virtualmachines", ..]) => [UPDATE].into_iter().collect(),
        (
            "GET" | "HEAD",
            ["virtualmachinescalesets"] | ["virtualmachinescalesets", _, "virtualmachines" | "instanceview"],
        ) => [SET_HIGH_COST_GET].into_iter().collect(),
        ("GET" | "HEAD", ["virtualmachinescalesets", ..]) => [SET_LOW_COST_GET].into_iter().collect(),
        ("PUT", ["virtualmachinescalesets", _]) => [SET_PUT, SET_UPDATE].into_iter().collect(),
        ("DELETE", ["virtualmachinescalesets", _]) => [SET_DELETE].into_iter().collect(),
        ("DELETE", ["virtualmachinescalesets", _, "virtualmachines", ..]) => {
            [IN_SET_DELETE].into_iter().collect()
        }
        (_, ["virtualmachinescalesets", _, "virtualmachines", ..]) => [IN_SET_UPDATE].into_iter().collect(),
        (_, ["virtualmachinescalesets", _, ..]) => [SET_UPDATE].into_iter().collect(),
        _ => return,
    };
    let resource = resource_path(call.path, target, parts);
    for group in &groups {
        if let (Some((meter, quota)), Some(resource)) = (COMPUTE[*group].resource, resource) {
            policies.push(Policy { meter, per: Per::Resource(resource), quota });
        }
    }
    for group in &groups {
        let (meter, quota) = COMPUTE[*group].subscription;
        policies.push(Policy { meter, per: Per::Subscription, quota });
    }
}

/// The path up to and with the name of the resource; the whole path for an operation. Lists have none.
fn resource_path<'a>(path: &'a str, target: &Target<'_>, parts: &[&str]) -> Option<&'a str> {
    let (namespace, _) = target.provider.as_ref()?;
    let [first, second, ..] = parts else { return None };
    if *first == "locations" {
        return Some(path);
    }
    let length = target.scope.len() + "/providers/".len() + namespace.len() + 2 + first.len() + second.len();
    path.get(..length)
}
