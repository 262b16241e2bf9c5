use http::{HeaderMap, HeaderValue};

use super::*;

const PACK: &str = r#"
api: proxmox
reads:
  - path: /api2/{format}/nodes/{node}/qemu/{vmid}/status/current
    ttl: 5s
    stale_while_revalidate: 10s
    stale_if_error: 1h
    share: principal
    override: [no-cache, max-age, no-store]
    groups: ["guest/{vmid}", "node/{node}"]
    ignore_query: [_dc]
    only: [{statuses: [200]}, {json: /success, equals: 1}]
    unless: {json: /data/lock, present: true}
    bypass: {header: CommandName, matches: ["vm wait", "* update"]}
  - path: /api2/{format}/cluster/nextid
    ttl: pass
  - path: /api2/{format}/cluster/*
    ttl: 0s
    stale_to: everyone
    anonymous: true
    per_endpoint: true
    disk: false
  - path: /api2/{format}/**
    ttl: origin
writes:
  - methods: [POST]
    path: /api2/{format}/nodes/{node}/qemu/{vmid}/status/{verb}
    invalidates: ["guest/{vmid}", "node/{node}"]
    operation: proxmox-task
    settle: 15s
  - methods: [POST, PUT]
    path: /api2/{format}/nodes/{node}/qemu/{vmid}/clone
    invalidates: ["guest/{body.newid}", "/nodes/{node}/**"]
  - methods: [PUT, DELETE]
    path: /api2/{format}/nodes/**
    invalidates: []
    reason: nothing is shown of it
    collapse: false
"#;

fn pack(text: &str) -> RuleSet {
    let lines = |list: Vec<Diagnostic>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    RuleSet::parse("pack.yaml", text).map_err(lines).unwrap()
}

fn mistakes(text: &str) -> Vec<String> {
    let list = RuleSet::parse("p", text).err().unwrap_or_default();
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn a_rule_has_what_is_written() {
    let set = pack(PACK);
    let path = "/api2/json/nodes/pve1/qemu/100/status/current";
    let found = set.read(path, None).unwrap();
    let rule = found.rule;
    assert_eq!((found.index, rule.line, rule.column, rule.source.as_str()), (0, 4, 5, "pack.yaml"));
    assert_eq!(rule.captures, ["format", "node", "vmid"]);
    assert_eq!(found.captures.get(path, rule.capture("vmid").unwrap()), "100");
    assert_eq!(rule.reuse, Reuse::For(Duration::from_secs(5)));
    assert_eq!(rule.stale_while_revalidate, Duration::from_secs(10));
    assert_eq!(rule.stale_if_error, Duration::from_secs(3600));
    assert_eq!((rule.share, rule.stale_to, rule.disk), (Sharing::Principal, StaleTo::Watchers, true));
    let overrides = Overrides { no_cache: true, max_age: true, no_store: true, ..Overrides::default() };
    assert_eq!(rule.overrides, overrides);
    assert_eq!(rule.only.len(), 2);
    assert_eq!(rule.unless, [Condition::JsonPresent { pointer: "/data/lock".into(), present: true }]);
    assert_eq!(rule.bypass.len(), 1);

    let rest = set.read("/api2/json/cluster/tasks", None).unwrap().rule;
    assert_eq!(rest.reuse, Reuse::CollapseOnly);
    assert_eq!(
        (rest.stale_to, rest.anonymous, rest.per_endpoint, rest.disk),
        (StaleTo::Everyone, true, true, false)
    );
    assert_eq!(rest.only, [Condition::Statuses(vec![200])]);
    assert_eq!(rest.overrides, Overrides { no_cache: true, max_age: true, ..Overrides::default() });
    assert_eq!(set.read("/api2/json/cluster/nextid", None).unwrap().rule.reuse, Reuse::Pass);
    assert_eq!(set.read("/api2", None).map(|found| found.index), None);
    assert_eq!(set.read("/api2/json", None).unwrap().rule.reuse, Reuse::Origin);
}

#[test]
fn the_method_chooses_among_writes() {
    let set = pack(PACK);
    let index = |method: Method, path| set.write(&method, path).map(|found| found.index);
    let clone = "/api2/json/nodes/pve1/qemu/100/clone";
    assert_eq!(index(Method::POST, "/api2/json/nodes/pve1/qemu/100/status/stop"), Some(0));
    assert_eq!(index(Method::PUT, "/api2/json/nodes/pve1/qemu/100/status/stop"), Some(2));
    assert_eq!(index(Method::PUT, clone), Some(1));
    assert_eq!(index(Method::DELETE, clone), Some(2));
    assert_eq!(index(Method::PATCH, clone), None);

    let found = set.write(&Method::POST, clone).unwrap();
    assert!(found.rule.needs_body && !set.writes[0].needs_body);
    assert_eq!((found.rule.settle, set.writes[0].settle), (Duration::from_secs(3), Duration::from_secs(15)));
    assert_eq!(set.writes[0].operation.as_deref(), Some("proxmox-task"));
    let render = |fields: &Fields| {
        let templates = found.rule.invalidates.iter();
        templates.map(|template| template.render(clone, &found.captures, fields)).collect::<Vec<_>>()
    };
    let subtree = Some(Group::Subtree("/nodes/pve1".into()));
    assert_eq!(
        render(&Fields::from_json(br#"{"newid": 200}"#)),
        [Some(Group::Named("guest/200".into())), subtree.clone()]
    );
    assert_eq!(render(&Fields::default()), [None, subtree]);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = "\
api: proxmox
match: {fold_case: true}
reads:
  - path: /a/{x}
    ttl: 5
    groups: [g]
  - path: /b/{x}
    ttl: 5s
    groups: [g, 'g/{y}']
    keep_warm: {every: 0s}
    promote: {list: /c, items: x, match: ''}
    moving: [/data/cpu, cpu]
  - path: /b/{other}
    ttl: 1s
  - path: c
    ttl: 1s
    only: [{statuses: [20]}, {json: x, equals: 1}, {json: /x}]
    unless: {present: true}
    bypass: {header: 'a b', matches: []}
  - path: /d
    tll: 1s
    ttl: 1s
writes:
  - methods: [get, POST, GET]
    path: /w
    invalidates: []
    collapse: true
    batch: {window: 31s, critical: [{field: x}, {header: 'a b'}, {field: x, header: x}, {field: x, matches: []}]}
  - methods: [POST]
    path: /w
    invalidates: [g]
  - methods: []
    path: /v
    invalidates: [g]
";
    let expected = [
        "p:2:20: keys can fold only where paths do: `case_insensitive: true`",
        "p:5:10: `5` is not a duration: write a whole number and a unit (ms, s, m, h or d), as in 5s; or `pass` or `origin`",
        "p:9:17: `{y}` is not a capture of the path; it captures x",
        "p:10:24: write at least 1s",
        "p:11:21: the list has to be the beginning of the rule's own path",
        "p:11:32: `x` is not a JSON pointer: it starts with `/`",
        "p:11:42: name a member of the items",
        "p:12:25: `cpu` is not a JSON pointer into the answer",
        "p:13:5: rule can never match: line 7 comes first",
        "p:15:11: a path pattern starts with `/`",
        "p:17:12: a status has three digits",
        "p:17:30: `x` is not a JSON pointer: it starts with `/`",
        "p:17:52: `json` goes with one of `equals` (not null), `present`, `any_of`, `none_of` and `other_than`",
        "p:18:13: a condition needs `statuses` or `json`",
        "p:18:13: `json` goes with one of `equals` (not null), `present`, `any_of`, `none_of` and `other_than`",
        "p:19:13: `a b` is not the name of a header field",
        "p:21:5: unknown field `tll`, expected one of",
        "p:24:15: `get` is not a method: they are written in capitals, as in POST",
        "p:24:26: `GET` is not a method that writes",
        "p:26:18: a write that invalidates nothing needs a `reason`",
        "p:27:5: `collapse` is for what does the same however often it is sent, as PUT and DELETE do: give `get`",
        "p:28:5: `batch` is for what does the same however often it is sent",
        "p:28:21: write a time over zero, and 30s at most",
        "p:28:49: `a b` is not the name of a header field",
        "p:28:66: what is critical is told by a `header` or by a `field`, one of both",
        "p:28:89: `matches` needs at least one text",
        "p:29:5: rule can never match: line 24 comes first",
        "p:32:14: a write rule needs at least one method",
    ];
    let found = mistakes(text);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_covered_write_is_told_by_its_methods() {
    let write = |methods: &str, path: &str| {
        format!("  - {{methods: [{methods}], path: {path}, invalidates: [], reason: x}}\n")
    };
    let lines = |writes: &[String]| mistakes(&format!("api: none\nwrites:\n{}", writes.concat()));
    let (posts, puts) = (write("POST", "/a/**"), write("PUT", "/a/b"));
    assert_eq!(lines(&[posts.clone(), write("POST, PUT", "/a/b")]), [""; 0]);
    assert_eq!(
        lines(&[posts, puts, write("POST, PUT", "'/a/b'")]),
        ["p:5:5: rule can never match: line 3 comes first"]
    );
}

#[test]
fn groups_that_only_one_side_names_are_warned_of() {
    let text = "\
api: none
reads:
  - {path: '/a/{x}', ttl: 1s, groups: ['a/{x}', lonely, both]}
writes:
  - {methods: [PUT], path: '/a/{y}', invalidates: ['a/{y}', nobody, both, '/z/**']}
";
    let warnings: Vec<String> = pack(text).warnings().iter().map(ToString::to_string).collect();
    let expected = [
        "pack.yaml:3:5: warning: no write invalidates the group `lonely`",
        "pack.yaml:5:5: warning: no read has the group `nobody`",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn what_a_pack_before_takes_is_warned_of() {
    let named = |name: &str, rule: &str| RuleSet::parse(name, &format!("api: none\n{rule}\n")).unwrap();
    let wide = || named("wide.yaml", "reads:\n  - {path: '/{x}', ttl: 2s}");
    let narrow = || named("narrow.yaml", "reads:\n  - {path: /a, ttl: 1s}");
    let warnings = |packs| -> Vec<String> {
        let warnings = RuleSet::join(packs).unwrap().warnings();
        warnings.iter().map(ToString::to_string).collect()
    };
    let never = "narrow.yaml:3:5: warning: rule can never match: name this pack before `wide.yaml`, which has one \
                 for its paths";
    assert_eq!(warnings(vec![wide(), narrow()]), [never]);
    assert_eq!(warnings(vec![narrow(), wide()]), [""; 0]);
    // What is built in is covered on purpose.
    assert_eq!(warnings(vec![wide(), named("azure", "reads:\n  - {path: /a, ttl: 1s}")]), [""; 0]);
    let write = |name: &str, methods: &str| {
        named(
            name,
            &format!("writes:\n  - {{methods: [{methods}], path: /a, invalidates: [], reason: none}}"),
        )
    };
    assert_eq!(warnings(vec![write("one.yaml", "PUT"), write("two.yaml", "PUT, POST")]), [""; 0]);
    assert_eq!(warnings(vec![write("one.yaml", "PUT, POST"), write("two.yaml", "PUT")]).len(), 1);
    let slip = "one.yaml:3:5: warning: `PSOT` is an unusual method: others are POST, PUT, PATCH and DELETE";
    assert_eq!(warnings(vec![write("one.yaml", "PUT, PSOT")]), [slip]);
}

#[test]
fn the_fingerprint_is_of_the_meaning() {
    let fingerprint = |text: &str| pack(text).reads.last().unwrap().fingerprint;
    let base = fingerprint("api: none\nreads:\n  - {path: /a, ttl: 60s}\n");
    for same in [
        "api: none\nreads:\n  - {path: /b, ttl: 1s}\n  - ttl: 1m\n    path: /a\n",
        "api: none\nreads:\n  - {path: /a, ttl: 1m, share: credential, only: {statuses: [200]}}\n",
    ] {
        assert_eq!(fingerprint(same), base, "{same}");
    }
    for other in [
        "api: other\nreads:\n  - {path: /a, ttl: 60s}\n",
        "api: none\nmatch: {case_insensitive: true}\nreads:\n  - {path: /a, ttl: 60s}\n",
        "api: none\nreads:\n  - {path: /a, ttl: 61s}\n",
        "api: none\nreads:\n  - {path: '/{a}', ttl: 60s}\n",
        "api: none\nreads:\n  - {path: /a, ttl: 60s, groups: [g]}\n",
    ] {
        assert_ne!(fingerprint(other), base, "{other}");
    }
}

#[test]
fn packs_join_in_order() {
    let one = "api: none\nreads:\n  - {path: /a, ttl: 1s}\n";
    let two = "api: none\nreads:\n  - {path: '/{x}', ttl: 2s}\nwrites:\n  - {methods: [PUT], path: /a, invalidates: [g]}\n";
    let joined = RuleSet::join(vec![pack(one), pack(two)]).unwrap();
    let index = |path| joined.read(path, None).map(|found| found.index);
    assert_eq!((index("/a"), index("/b"), index("/")), (Some(0), Some(1), None));
    assert!(joined.write(&Method::PUT, "/a").is_some());
    // In front of another pack a rule covers on purpose.
    assert!(RuleSet::join(vec![pack(two), pack(one)]).is_ok());
    for other in ["api: other", "api: none\nmatch: {case_insensitive: true}"] {
        assert!(RuleSet::join(vec![pack(one), pack(other)]).is_err(), "{other}");
    }
    assert!(RuleSet::join(Vec::new()).unwrap().read("/a", None).is_none());
}

#[test]
fn case_is_ignored_where_the_api_ignores_it() {
    let text = "api: none\nmatch: {case_insensitive: true}\nreads:\n  - {path: '/Sub/{id}', ttl: 1s, groups: ['Sub/{id}']}\n";
    let set = pack(text);
    let path = "/sUB/AbC";
    let found = set.read(path, None).unwrap();
    let group = found.rule.groups[0].render(path, &found.captures, &Fields::default());
    assert_eq!(group, Some(Group::Named("sub/abc".into())));
}

#[test]
fn conditions_hold() {
    let body = serde_json::json!({"success": 1, "data": {"lock": null, "name": "x"}});
    let json = |pointer: &str, equals: serde_json::Value| Condition::Json { pointer: pointer.into(), equals };
    let present = |pointer: &str, present| Condition::JsonPresent { pointer: pointer.into(), present };
    for (condition, with_body, without) in [
        (Condition::Statuses(vec![200, 206]), true, true),
        (Condition::Statuses(vec![404]), false, false),
        (json("/success", 1.into()), true, false),
        (json("/success", "1".into()), false, false),
        (json("/data/name", "x".into()), true, false),
        (present("/data/name", true), true, false),
        (present("/data/lock", true), false, false),
        (present("/data/lock", false), true, true),
    ] {
        assert_eq!(condition.holds(200, Some(&body)), with_body, "{condition:?}");
        assert_eq!(condition.holds(200, None), without, "{condition:?}");
    }
}

#[test]
fn callers_bypass_by_a_field() {
    let bypass = Bypass {
        header: http::HeaderName::from_static("commandname"),
        matches: vec!["vm wait".into(), "* update".into(), "a*b*c".into()],
    };
    for (value, expected) in [
        ("vm wait", true),
        ("VM Wait", true),
        ("vm wait ", false),
        ("vm update", true),
        ("update", false),
        ("vm updates", false),
        ("aXbYbZc", true),
        ("abc", true),
        ("acb", false),
    ] {
        let headers = HeaderMap::from_iter([(bypass.header.clone(), HeaderValue::from_static(value))]);
        assert_eq!(bypass.applies(&headers), expected, "{value}");
    }
    assert!(!bypass.applies(&HeaderMap::new()));
}

#[test]
fn the_built_in_packs_are_sound() {
    for name in builtin_names() {
        let set = RuleSet::parse(name, builtin(name).unwrap());
        let lines: Vec<String> = set.err().unwrap_or_default().iter().map(ToString::to_string).collect();
        assert_eq!(lines, [""; 0]);
    }
    assert!(builtin("nothing").is_none());
}

#[test]
fn tasks_are_told_by_their_names() {
    let set = pack(
        "\
api: none
reads:
  - {path: '/a/{x}', ttl: 1s, groups: ['guest/{x}', guests, backups]}
tasks:
  - {types: [dump], invalidates: ['guest/{task.id}', backups], settle: 15s}
  - types: [dump, 'bulk-*']
    invalidates: [guests, '/nodes/{task.node}/{task.type}/**']
  - {types: [look], invalidates: [], reason: nothing is shown of it, holds: false}
",
    );
    let names = |kind, id| TaskNames { kind, id, node: "n1" };
    let rendered = |kind, id| set.task(&names(kind, id)).map(|(row, groups)| (row.line, groups));
    let named = |name: &str| Group::Named(name.to_owned());
    let of_node = |kind: &str| Group::Subtree(format!("/nodes/n1/{kind}"));
    assert_eq!(rendered("dump", "7"), Some((5, vec![named("guest/7"), named("backups")])));
    assert_eq!(rendered("dump", ""), Some((6, vec![named("guests"), of_node("dump")])), "it names no guest");
    assert_eq!(rendered("bulk-start", "7"), Some((6, vec![named("guests"), of_node("bulk-start")])));
    assert_eq!(rendered("look", ""), Some((8, vec![])));
    assert_eq!(rendered("dumps", "7"), None);
    let rows: Vec<_> = set.tasks.iter().map(|row| (row.holds, row.settle.as_secs())).collect();
    assert_eq!(rows, [(true, 15), (true, 3), (false, 3)]);
    assert!(set.warnings().is_empty());
    let joined = RuleSet::join(vec![pack("api: none"), set]).unwrap();
    assert_eq!(joined.tasks.len(), 3);
}

#[test]
fn mistakes_in_tasks_are_told_with_their_place() {
    let text = "\
api: none
tasks:
  - {types: [], invalidates: [a]}
  - types: [qm*, '']
    invalidates: ['g/{task.id}', 'g/{vmid}', 'g/{task.user}', 'g/{body.x}']
  - {types: [qmstart], invalidates: []}
  - {types: [qm*, vz*], invalidates: [a], settle: 5}
  - {types: [other, qmstop, 'v*', vzstop], invalidates: [a], hold: false}
";
    let expected = [
        "p:3:13: a row needs at least one type of task",
        "p:4:18: a type of task needs a name",
        "p:5:34: `{vmid}` is not known of a task: there are {task.id}, {task.node} and {task.type}",
        "p:5:46: `{task.user}` is not known of a task: there are {task.id}, {task.node} and {task.type}",
        "p:5:63: `{body.x}` is not known of a task: there are {task.id}, {task.node} and {task.type}",
        "p:6:37: tasks that invalidate nothing need a `reason`",
        "p:7:51: `5` is not a duration",
        "p:8:21: type can never match: line 7 comes first",
        "p:8:35: type can never match: line 7 comes first",
        "p:8:62: unknown field `hold`, expected one of",
    ];
    let found = mistakes(text);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn groups_of_tasks_that_no_read_has_are_warned_of() {
    let text = "\
api: none
reads:
  - {path: '/a/{x}', ttl: 1s, groups: ['a/{x}']}
tasks:
  - {types: [x], invalidates: ['a/{task.id}', nobody, '/z/**']}
";
    let warnings: Vec<String> = pack(text).warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["pack.yaml:5:5: warning: no read has the group `nobody`"]);
}
