use super::*;

const PACK: &str = "\
api: proxmox
reads:
  - path: /api2/{format}/nodes/{node}/qemu/{vmid}/config
    ttl: 5s
    stale_if_error: 1h
    share: principal
    groups: ['guest/{vmid}', 'type/{query.type}']
    ignore_query: [x]
    moving: [/data/uptime, '/data/*/cpu']
  - {path: '/api2/{format}/cluster/nextid', ttl: pass}
  - {path: '/api2/{format}/cluster/resources', ttl: 5s, share: rights}
writes:
  - {methods: [PUT, POST], path: '/api2/{format}/nodes/{node}/qemu/{vmid}/config', invalidates: ['guest/{vmid}']}
  - {methods: [POST], path: '/api2/{format}/nodes/{node}/qemu', invalidates: ['guest/{body.vmid}', '/cluster/**'], operation: proxmox-task}
  - {methods: [POST], path: '/api2/{format}/nodes/{node}/boot', invalidates: ['/nodes/{node}/**']}
  - {methods: [POST], path: '/api2/{format}/nodes/{node}/ping', invalidates: [], reason: nothing shows it}
tasks:
  - {types: [qmstart, qmstop], invalidates: ['guest/{task.id}']}
  - {types: [vncproxy], invalidates: [tasks]}
";

fn explained(method: Method, url: &str) -> Explanation {
    explain(&RuleSet::parse("pack", PACK).unwrap(), &method, url)
}

#[test]
fn a_read_is_explained() {
    let found = explained(
        Method::GET,
        "https://h:8006/api2/json//nodes/pve1/qemu/100/config?b=1&a=2&x=3&_dc=4&type=t",
    );
    let expected = "\
rule         /api2/{format}/nodes/{node}/qemu/{vmid}/config
api          proxmox
key          /api2/json//nodes/pve1/qemu/100/config?a=2&b=1&type=t
ttl          5s
share        principal
groups       guest/100
             type/t
             /nodes/pve1/qemu/100/config
overtaken by PUT,POST /api2/{format}/nodes/{node}/qemu/{vmid}/config
             POST /api2/{format}/nodes/{node}/qemu
             POST /api2/{format}/nodes/{node}/boot
or by tasks  qmstart,qmstop
moving       /data/uptime
             /data/*/cpu
written      ignore_query: [\"x\"]
             stale_if_error: 1h
why          pack:3 is the first rule whose path matches. An answer is fresh for 5s. When the API is down it serves whoever has not written lately for 1h longer. Every credential of the same principal shares it that the API has accepted lately; an API token is a principal of its own. Parameters that `ignore_query` names tell no answer from another. Tasks of others may change it: while the API's change feed is not read, it is kept for `feed.ceiling` at most.
";
    assert_eq!(found.to_string(), expected);
    let json = serde_json::to_value(&found).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "api",
            "groups",
            "invalidates",
            "key",
            "moving",
            "reason",
            "rule",
            "share",
            "tasks",
            "ttl",
            "written"
        ]
    );
}

#[test]
fn a_write_is_explained() {
    for (method, path, rule, invalidates, reason) in [
        (Method::PUT, "/api2/json/nodes/pve1/qemu/100/config", true, &["guest/100"][..], "For 3s afterwards"),
        (
            Method::POST,
            "/api2/json/nodes/pve1/qemu",
            true,
            &["guest/{body.vmid}", "/cluster/**"],
            "(proxmox-task)",
        ),
        (Method::POST, "/api2/json/nodes/pve1/ping", true, &[], "It overtakes nothing: nothing shows it."),
        (Method::DELETE, "/api2/json/nodes/pve1", false, &["/nodes/pve1/**"], "No rule matches"),
    ] {
        let found = explained(method, path);
        assert_eq!(
            (found.rule.is_some(), &found.invalidates[..]),
            (rule, &invalidates.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>()[..]),
            "{path}"
        );
        assert!(found.reason.contains(reason), "{}", found.reason);
        assert_eq!((found.ttl, found.key), (None, None));
    }
}

#[test]
fn what_is_not_kept_has_no_key() {
    let pass = explained(Method::GET, "/api2/json/cluster/nextid");
    assert_eq!((pass.ttl.as_deref(), pass.key, pass.share), (Some("pass"), None, None));
    let none = explained(Method::GET, "/api2/json/version");
    assert_eq!(
        (none.rule, none.reason.as_str()),
        (None, "No rule matches: the read is passed through and counted.")
    );
    assert_eq!(explained(Method::GET, "/api2/json/%zz").rule, None);
}

#[test]
fn sharing_by_rights_is_explained() {
    let found = explained(Method::GET, "/api2/json/cluster/resources");
    assert_eq!(found.share.as_deref(), Some("rights"));
    assert!(found.reason.contains("has the same rights, by what the API itself says"), "{}", found.reason);
}

#[test]
fn what_the_api_alone_answers_is_told() {
    let pack = "\
api: azure
match: {case_insensitive: true}
reads:
  - {path: '/**/list*', methods: [POST], ttl: pass}
  - {path: '/subscriptions/{s}/**', ttl: 30s, groups: ['all/{s}']}
writes:
  - {methods: [POST], path: '/subscriptions/{s}/**', invalidates: ['all/{s}', '/subscriptions/{s}']}
";
    let rules = RuleSet::parse("p", pack).expect("a pack");
    let told = |method: Method, url: &str| explain(&rules, &method, url);
    let kept = told(Method::GET, "https://management.azure.com/Subscriptions/S/x?b=1&%24A=2");
    assert_eq!(kept.key.as_deref(), Some("/Subscriptions/S/x?$a=2&b=1"));
    assert_eq!(kept.groups, ["all/s", "/subscriptions/s/x"]);
    assert_eq!(kept.invalidates, ["POST /subscriptions/{s}/**"]);
    for (method, url) in [
        (Method::GET, "/subscriptions/s/operationresults/x"),
        (Method::GET, "/subscriptions/s/x?monitor=true"),
        (Method::HEAD, "/subscriptions/s/x"),
        (Method::POST, "/subscriptions/s/x/y/listKeys"),
    ] {
        let passed = told(method, url);
        assert_eq!(
            (passed.ttl.as_deref(), passed.key, passed.groups.len()),
            (Some("pass"), None, 0),
            "{url}"
        );
        assert!(passed.invalidates.is_empty(), "{url}");
    }
    let write = told(Method::POST, "/subscriptions/S/x/start");
    assert_eq!(write.invalidates, ["all/s", "/subscriptions/s"]);
}

#[test]
fn lists_and_folded_keys_are_explained() {
    let pack = "\
api: azure
match: {case_insensitive: true, fold_case: true}
reads:
  - path: '/subscriptions/{s}/nics/{nic}'
    ttl: 30s
    promote: {list: '/subscriptions/{s}/nics', items: /value, match: id}
";
    let rules = RuleSet::parse("p", pack).expect("a pack");
    let told = explain(&rules, &Method::GET, "/Subscriptions/S/nics/N?api-version=1");
    assert_eq!(told.key.as_deref(), Some("/subscriptions/s/nics/n?api-version=1"));
    assert!(
        told.reason.contains("Where several of /subscriptions/{s}/nics are asked for"),
        "{}",
        told.reason
    );
    assert!(told.reason.contains("All spellings of the path"), "{}", told.reason);
    let escaped = explain(&rules, &Method::GET, "/subscriptions/s/nics/%6E?api-version=1");
    assert_eq!(escaped.key.as_deref(), Some("/subscriptions/s/nics/%6E?api-version=1"));
}

#[test]
fn audits_are_explained_where_there_are_hits() {
    let told = |path: &str| explained(Method::GET, path).audited(crate::units::Share(0.001)).reason;
    let sentence = "Of its hits 0.1% are compared with the API";
    assert!(told("/api2/json/cluster/resources").contains(sentence));
    assert!(!told("/api2/json/cluster/nextid").contains(sentence), "nothing is kept");
    let unaudited =
        explained(Method::GET, "/api2/json/cluster/resources").audited(crate::units::Share(0.0)).reason;
    assert!(!unaudited.contains("compared"), "{unaudited}");
}

#[test]
fn what_is_refused_is_said_to_be() {
    for (url, why) in [
        ("/api2/json/nodes/../access", "dot segments"),
        ("https://h/api2/json/nodes/%2e%2e/access", "dot segments"),
        ("not a url", "not a path"),
    ] {
        let found = explained(Method::GET, url);
        assert!(found.rule.is_none() && found.reason.contains(why), "{url}: {}", found.reason);
        assert!(found.reason.starts_with("It is refused with 400"), "{url}: {}", found.reason);
    }
}
