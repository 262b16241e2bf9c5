use std::cell::RefCell;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::super::super::quota::Charged;
use super::*;
use crate::semantics::quota::{RefusedBy, Told};

const SUB: &str = "/subscriptions/s1";
const VM: &str = "/subscriptions/s1/resourcegroups/g/providers/microsoft.compute/virtualmachines/vm1";

/// The charges of a call, as `meter` and what its key is made of besides.
fn charged(method: &str, target: &str) -> Vec<(&'static str, String)> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let method: Method = method.parse().unwrap();
    let names = RefCell::new(Vec::new());
    let key = |parts: &[&[u8]]| {
        let text = |part: &&[u8]| match *part == 77_u128.to_le_bytes() {
            true => "payer".to_owned(),
            false => String::from_utf8_lossy(part).into_owned(),
        };
        names.borrow_mut().push(parts.iter().skip(2).map(text).collect::<Vec<_>>().join(" "));
        names.borrow().len() as u128
    };
    let charges = charges(Charged { method: &method, path, query, payer: 77 }, &key);
    let meters = charges.iter().map(|charge| charge.meter.0);
    meters.zip(names.borrow().iter().cloned()).filter(|(meter, _)| *meter != TYPE.0).collect()
}

#[test]
fn calls_are_charged_to_the_buckets_of_azure() {
    let of = |method: &str, target: &str| -> String {
        let shown = |(meter, whose): (&str, String)| match whose.replace(SUB, "") {
            whose if meter == "background-jobs" => format!("jobs[{}]", whose.trim_end()),
            whose => format!("{meter}[{}]", whose.trim()),
        };
        charged(method, target).into_iter().map(shown).collect::<Vec<_>>().join(" ")
    };
    let between = |word: &str, policies: &str| {
        let gap = if policies.is_empty() { "" } else { " " };
        format!("subscription-{word}[s1 payer] {policies}{gap}subscription-global-{word}[s1]")
    };
    let reads = |policies: &str| between("reads", policies);
    let writes = |policies: &str| between("writes", policies);
    let deletes = |policies: &str| between("deletes", policies);
    let vm = "s1 /resourcegroups/g/providers/microsoft.compute/virtualmachines/vm1";
    let cases = [
        ("GET", "/subscriptions".to_owned(), "tenant-reads[payer]".to_owned()),
        ("GET", "/tenants".to_owned(), "tenant-reads[payer]".to_owned()),
        ("GET", format!("{SUB}/resourcegroups"), reads("")),
        ("HEAD", format!("{SUB}/resourcegroups/g"), reads("")),
        ("DELETE", format!("{SUB}/resourcegroups/g"), format!("jobs[s1 DELETE] {}", deletes(""))),
        (
            "GET",
            VM.to_owned(),
            reads(&format!("compute-low-cost-get-resource[{vm}] compute-low-cost-get[s1]")),
        ),
        (
            "GET",
            format!("{VM}/instanceview"),
            reads(&format!("compute-low-cost-get-resource[{vm}] compute-low-cost-get[s1]")),
        ),
        ("GET", format!("{VM}?$expand=x&UseResourceGraph=True"), reads("resource-graph-reads[s1 payer]")),
        (
            "GET",
            format!("{SUB}/providers/microsoft.compute/virtualmachines"),
            reads("compute-high-cost-get[s1]"),
        ),
        (
            "GET",
            format!("{SUB}/providers/microsoft.compute/locations/eastus/virtualmachines"),
            reads("compute-high-cost-get[s1]"),
        ),
        (
            "GET",
            format!("{SUB}/providers/microsoft.compute/locations/eastus/operations/o1"),
            reads("compute-get-operation-resource[s1 /providers/microsoft.compute/locations/eastus/operations/o1] \
                 compute-get-operation[s1]"),
        ),
        ("GET", format!("{SUB}/providers/microsoft.compute/disks"), reads("")),
        (
            "PUT",
            VM.to_owned(),
            format!("jobs[s1 PUT microsoft.compute virtualmachines] {}", writes(&format!("compute-put-vm-resource[{vm}] \
                 compute-update-vm-resource[{vm}] compute-put-vm[s1] compute-update-vm[s1]"))),
        ),
        (
            "POST",
            format!("{VM}/start"),
            format!("jobs[s1 POST microsoft.compute virtualmachines/start] {}", writes(&format!("compute-update-vm-resource[{vm}] \
                 compute-update-vm[s1]"))),
        ),
        (
            "POST",
            format!("{VM}/deallocate"),
            format!("jobs[s1 POST microsoft.compute virtualmachines/deallocate] {}", writes(&format!("compute-delete-vm-resource[{vm}] \
                 compute-delete-vm[s1]"))),
        ),
        (
            "DELETE",
            VM.to_owned(),
            format!("jobs[s1 DELETE microsoft.compute virtualmachines] {}", deletes(&format!("compute-delete-vm-resource[{vm}] \
                 compute-delete-vm[s1]"))),
        ),
        (
            "GET",
            format!("{SUB}/resourcegroups/g/providers/microsoft.network/networkinterfaces/n"),
            reads("network-reads[s1]"),
        ),
        (
            "GET",
            format!("{SUB}/providers/microsoft.storage/storageaccounts"),
            reads("storage-lists[s1]"),
        ),
        (
            "GET",
            format!("{SUB}/resourcegroups/g/providers/microsoft.storage/storageaccounts/a"),
            reads("storage-reads[s1]"),
        ),
        (
            "GET",
            format!("{VM}/providers/microsoft.authorization/roleassignments"),
            reads("authorization[s1]"),
        ),
        (
            "POST",
            "/providers/microsoft.resourcegraph/resources".to_owned(),
            "jobs[ POST microsoft.resourcegraph resources] tenant-writes[payer] resource-graph-queries[payer]"
                .to_owned(),
        ),
    ];
    for (method, target, expected) in cases {
        assert_eq!(of(method, &target), expected, "{method} {target}");
    }
}

/// Every call has something that a refusal can shut, and no two of a kind.
#[test]
fn every_call_has_a_gate_and_one_bucket_of_a_kind() {
    let key = |_: &[&[u8]]| 1;
    for path in ["/", "/subscriptions", VM, "/providers", "/subscriptions/s1/providers/a", "x", ""] {
        for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE] {
            let charges = charges(Charged { method: &method, path, query: None, payer: 0 }, &key);
            let mut meters: Vec<Meter> = charges.iter().map(|charge| charge.meter).collect();
            assert!(meters.contains(&TYPE), "{method} {path}");
            let all = meters.len();
            meters.sort();
            meters.dedup();
            assert_eq!(meters.len(), all, "{method} {path}");
        }
    }
}

#[test]
fn polls_are_known_by_their_form() {
    let of = |path: &str| is_poll(&format!("{SUB}{path}"));
    assert!(of("/providers/microsoft.compute/locations/eastus/operations/o1"));
    assert!(of("/resourcegroups/g/providers/microsoft.resources/deployments/d/operationstatuses/o1"));
    assert!(!of("/resourcegroups/g") && !of("/resourcegroups/operations-team"));
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn what_is_left_is_read_from_the_fields() {
    let of = |status: u16, list: &[(&'static str, &'static str)]| match (QUOTA_READING.told)(
        StatusCode::from_u16(status).unwrap(),
        &fields(list),
    ) {
        Told::NotCharged => vec![("nobody", 0, None)],
        Told::Left(left) => left.iter().map(|one| (one.meter.0, one.calls, one.resets_in)).collect(),
    };
    let policies =
        "Microsoft.Compute/LowCostGetSubscriptionMaximum;23997,Microsoft.Compute/LowCostGetResource;33";
    assert_eq!(
        of(
            200,
            &[
                ("x-ms-ratelimit-remaining-subscription-reads", "249"),
                ("x-ms-ratelimit-remaining-subscription-global-reads", "3749"),
                ("x-ms-ratelimit-remaining-resource", policies),
                (
                    "x-ms-ratelimit-remaining-resource",
                    "Microsoft.Compute/HighCostGetDiskSubscriptionMaximum;899"
                ),
                ("x-ms-ratelimit-remaining-resource", "Microsoft.Compute/HighCostGet3Min;46, nonsense"),
            ]
        ),
        [
            ("subscription-reads", 249, None),
            ("subscription-global-reads", 3749, None),
            ("compute-low-cost-get", 23997, None),
            ("compute-low-cost-get-resource", 33, None),
        ]
    );
    assert_eq!(of(200, &[("x-ms-ratelimit-remaining-tenant-reads", "12")]), [("tenant-reads", 12, None)]);
    let five = Some(Duration::from_secs(5));
    assert_eq!(
        of(200, &[("x-ms-user-quota-remaining", "14"), ("x-ms-user-quota-resets-after", "00:00:05")]),
        [("resource-graph-queries", 14, five), ("resource-graph-reads", 14, five)]
    );
    assert_eq!(of(401, &[]), [("nobody", 0, None)]);
    assert_eq!(of(404, &[]), []);
    assert_eq!(
        of(401, &[("x-ms-ratelimit-remaining-subscription-reads", "9")]),
        [("subscription-reads", 9, None)]
    );
    assert_eq!(of(200, &[("x-ms-ratelimit-remaining-subscription-reads", "many")]), []);
}

/// The recorded refusals: what call got each, and what of it is shut for how long.
#[test]
fn each_recorded_refusal_has_its_class() {
    use RefusedBy::{BackgroundJobs, FrontDoor, Lock, Provider};
    let gateway = ("x-ms-failure-cause", "gateway");
    let start = format!("{VM}/start");
    let vms = format!("{SUB}/providers/microsoft.compute/virtualmachines");
    let nic = format!("{SUB}/resourcegroups/g/providers/microsoft.network/networkinterfaces/n");
    let account = format!("{SUB}/resourcegroups/g/providers/microsoft.storage/storageaccounts/a");
    let roles = format!("{SUB}/providers/microsoft.authorization/roleassignments");
    let cdn = format!("{SUB}/resourcegroups/g/providers/microsoft.cdn/profiles/p");
    let low = ("x-ms-ratelimit-remaining-resource", "Microsoft.Compute/HighCostGetSubscriptionMaximum;0");
    let left = ("x-ms-ratelimit-remaining-subscription-reads", "231");
    type Case<'a> =
        (&'a str, &'a str, &'a [(&'static str, &'static str)], &'a str, RefusedBy, Option<&'a str>);
    let cases: [Case<'_>; 9] = [
        (
            "GET",
            VM,
            &[gateway],
            include_str!("samples/arm-subscription-reads.json"),
            FrontDoor,
            Some("subscription-reads"),
        ),
        (
            "GET",
            &roles,
            &[gateway],
            include_str!("samples/arm-resource-type.json"),
            FrontDoor,
            Some("authorization"),
        ),
        ("GET", &cdn, &[gateway], include_str!("samples/arm-action.json"), FrontDoor, Some("resource-type")),
        (
            "POST",
            &start,
            &[],
            include_str!("samples/arm-background-jobs.json"),
            BackgroundJobs,
            Some("background-jobs"),
        ),
        (
            "GET",
            &vms,
            &[low, left],
            include_str!("samples/compute.json"),
            Provider,
            Some("compute-high-cost-get"),
        ),
        ("PUT", &nic, &[], include_str!("samples/network.json"), Provider, Some("network-writes")),
        ("PUT", &nic, &[], include_str!("samples/network-lock.json"), Lock, None),
        ("GET", &account, &[], include_str!("samples/storage.json"), Provider, Some("storage-reads")),
        ("GET", &roles, &[], include_str!("samples/plain.txt"), Provider, Some("authorization")),
    ];
    for (method, path, list, body, by, meter) in cases {
        let found = (QUOTA_READING.refused)(StatusCode::TOO_MANY_REQUESTS, &fields(list), body.as_bytes());
        let refusal = found.expect("a 429 is one");
        let call: Method = method.parse().unwrap();
        let charges = charges(Charged { method: &call, path, query: None, payer: 0 }, &|_| 1);
        let has = |meter: &&Meter| charges.iter().any(|charge| charge.meter == **meter);
        let shut = refusal.meters.iter().find(has).map(|meter| meter.0);
        assert_eq!((refusal.by, shut), (by, meter), "{body}");
    }
}

#[test]
fn other_refusals() {
    use RefusedBy::{FrontDoor, Provider};
    let of = |status: u16, list: &[(&'static str, &'static str)], body: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        (QUOTA_READING.refused)(status, &fields(list), body.as_bytes())
            .map(|refusal| (refusal.by, refusal.meters[0].0))
    };
    let (gateway, after) = (("x-ms-failure-cause", "gateway"), ("retry-after", "5"));
    let busy =
        r#"{"error":{"code":"ServiceUnavailable","message":"The service is temporarily unavailable."}}"#;
    assert_eq!(of(503, &[after], busy), Some((Provider, "resource-type")));
    assert_eq!(of(503, &[], busy), None, "down, not throttling");
    assert_eq!(of(409, &[after], busy), None);
    let throttled =
        r#"{"error":{"code":"SubscriptionRequestsThrottled","message":"Number of 'write' requests"}}"#;
    assert_eq!(of(503, &[], throttled), Some((FrontDoor, "subscription-writes")), "az shows such");
    let global = ("x-ms-ratelimit-remaining-subscription-global-writes", "0");
    assert_eq!(of(429, &[gateway, global], throttled), Some((FrontDoor, "subscription-global-writes")));
    assert_eq!(of(429, &[gateway], ""), Some((FrontDoor, "subscription-reads")), "whichever the call has");
    let disks =
        ("x-ms-ratelimit-remaining-resource", "Microsoft.Compute/HighCostGetDiskSubscriptionMaximum;0");
    assert_eq!(of(429, &[disks], "{}"), Some((Provider, "resource-type")), "a policy without numbers here");
    assert_eq!(
        of(429, &[], r#"{"error":{"code":"RateLimiting","message":"Please provide below info"}}"#),
        Some((Provider, "resource-graph-queries"))
    );
    assert_eq!(of(429, &[], "[1, 2]").map(|(by, _)| by), Some(Provider), "a body of another shape");
}

#[test]
fn whoever_has_the_same_object_pays_together() {
    let token = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
    let of = |claims: &str| payer(token(claims).as_bytes());
    let one = of(r#"{"tid":"T","oid":"O","groups":["a"],"exp":1}"#);
    assert!(one.is_some());
    assert_eq!(one, of(r#"{"exp":2,"oid":"o","tid":"t","scp":"x"}"#));
    assert_ne!(one, of(r#"{"tid":"T","oid":"P"}"#));
    assert_ne!(of(r#"{"tid":"TO","oid":"X"}"#), of(r#"{"tid":"T","oid":"OX"}"#));
    for nobody in [r#"{"tid":"T"}"#, r#"{"oid":"O","tid":1}"#, r#"{"oid":"O","tid":"T","tid":"U"}"#, "", "no"]
    {
        assert_eq!(of(nobody), None, "{nobody}");
    }
    assert_eq!(payer(b"opaque"), None);
    assert_eq!(payer(b"a.!!.c"), None);
}
