//! The built-in rules for Proxmox against the whole published API: every read has a policy, every write
//! overtakes what it changes or says why it changes nothing, and nothing is shared that asks for a right.
//!
//! `rules/proxmox.endpoints.txt` is the list of calls, `tests/data/proxmox-changes.txt` says which
//! reads each write changes. Both are facts of Proxmox; neither knows of rules or groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay::rules::{self, Fields, Group, Reuse, RuleSet, Sharing};
use http::Method;

mod callers;
mod tasks;
mod unseen;

const ENDPOINTS: &str = include_str!("../../rules/proxmox.endpoints.txt");
const CHANGES: &str = include_str!("../data/proxmox-changes.txt");

/// What stands for the parameters of a path: the first is what a write is made of, all are read.
const SAMPLES: [(&str, &[&str]); 3] = [
    ("node", &["pve1", "pve2"]),
    ("vmid", &["100", "101", "901", "902", "903"]),
    ("storage", &["local", "nfs"]),
];
const OTHER: &[&str] = &["one", "two"];

/// Every field of a body that any rule may name.
const BODY: [(&str, &str); 5] =
    [("vmid", "901"), ("newid", "902"), ("target-vmid", "903"), ("target", "pve2"), ("storage", "nfs")];

/// One call of the published API.
struct Endpoint {
    method: Method,
    path: &'static str,
    mark: &'static str,
}

fn endpoints() -> Vec<Endpoint> {
    let lines = ENDPOINTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let endpoint = |line: &'static str| {
        let mut words = line.split(' ');
        let method = words.next().and_then(|word| word.parse().ok()).expect(line);
        Endpoint { method, path: words.next().expect(line), mark: words.next().unwrap_or_default() }
    };
    lines.map(endpoint).collect()
}

fn reads() -> Vec<Endpoint> {
    endpoints().into_iter().filter(|endpoint| endpoint.method == Method::GET).collect()
}

fn writes() -> Vec<Endpoint> {
    endpoints().into_iter().filter(|endpoint| endpoint.method != Method::GET).collect()
}

fn pack() -> RuleSet {
    let text = rules::builtin("proxmox").expect("the pack is built in");
    RuleSet::parse("proxmox", text).unwrap_or_else(|mistakes| {
        panic!("{}", mistakes.iter().map(|mistake| format!("{mistake}\n")).collect::<String>())
    })
}

fn api(resource: &str) -> String {
    format!("/api2/json{resource}")
}

/// Every path that `template` stands for, with the samples for its parameters.
fn instances(template: &str) -> Vec<String> {
    let mut paths = vec![String::new()];
    for segment in template.split('/').skip(1) {
        let values = match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => {
                SAMPLES.iter().find(|(sample, _)| *sample == name).map_or(OTHER, |(_, values)| *values)
            }
            None => std::slice::from_ref(&segment),
        };
        paths =
            paths.iter().flat_map(|path| values.iter().map(move |value| format!("{path}/{value}"))).collect();
    }
    paths
}

/// The one path of a write: the first sample for each parameter.
fn instance(template: &str) -> String {
    instances(template).swap_remove(0)
}

type Names = BTreeMap<String, String>;

/// Matches `path` and gives a value to each `{name}` of `pattern` that has none yet.
fn fits(pattern: &[&str], path: &[&str], names: &mut Names) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), None) => fits(rest, path, names),
        (Some((&"**", rest)), Some((_, tail))) => {
            let before = names.clone();
            if fits(rest, path, names) {
                return true;
            }
            *names = before;
            fits(pattern, tail, names)
        }
        (Some((segment, rest)), Some((value, tail))) => {
            let named = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            let equal = match named {
                Some("kind") if !["qemu", "lxc"].contains(value) => false,
                Some(name) => names.entry(name.to_owned()).or_insert_with(|| (*value).to_owned()) == value,
                None => segment == value || *segment == "*",
            };
            equal && fits(rest, tail, names)
        }
        _ => false,
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').skip(1).collect()
}

/// A line of the table of changes.
struct Change {
    line: &'static str,
    methods: Vec<Method>,
    path: &'static str,
    settle: Duration,
    reads: Vec<String>,
}

fn changes() -> Vec<Change> {
    let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut changes = Vec::new();
    for line in CHANGES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let expand = |words: &str| -> Vec<String> {
            let words = words.split_whitespace();
            words
                .flat_map(|word| match word.strip_prefix('@') {
                    Some(_) => lists.get(word).expect(word).clone(),
                    None => vec![word.to_owned()],
                })
                .collect()
        };
        if let Some((name, words)) = line.split_once('=').filter(|_| line.starts_with('@')) {
            let words = expand(words);
            lists.insert(name.trim(), words);
            continue;
        }
        let (write, reads) = line.split_once(" : ").expect(line);
        let path = write.split(' ').find(|word| word.starts_with('/')).expect(line);
        let methods = write.split(' ').take_while(|word| !word.starts_with('/'));
        let settle =
            write.split_once("settle=").map_or(0, |(_, seconds)| seconds.trim().parse().expect(line));
        let mut reads = if reads == "-" { Vec::new() } else { expand(reads) };
        if !reads.is_empty() {
            reads.extend(expand("@tasks"));
        }
        changes.push(Change {
            line,
            methods: methods.map(|method| method.parse().expect(line)).collect(),
            path,
            settle: Duration::from_secs(settle),
            reads,
        });
    }
    changes
}

/// What a stored or collapsed read belongs to: its rule's groups, its path and the paths above.
fn groups_of_read(pack: &RuleSet, resource: &str) -> Option<BTreeSet<Group>> {
    let path = api(resource);
    let found = pack.read(&path, None)?;
    if found.rule.reuse == Reuse::Pass {
        return None;
    }
    let fields = Fields::default();
    let mut groups: BTreeSet<Group> =
        found.rule.groups.iter().filter_map(|group| group.render(&path, &found.captures, &fields)).collect();
    groups.insert(Group::Path(resource.to_owned()));
    groups.insert(Group::Subtree("/".to_owned()));
    for (end, _) in resource.match_indices('/').filter(|(end, _)| *end > 0) {
        groups.insert(Group::Subtree(resource[..end].to_owned()));
    }
    groups.insert(Group::Subtree(resource.to_owned()));
    Some(groups)
}

/// What a write overtakes, with the fields of [`BODY`] or without any.
fn groups_of_write(pack: &RuleSet, method: &Method, resource: &str, fields: &Fields) -> Vec<Group> {
    let path = api(resource);
    let found = pack.write(method, &path).unwrap_or_else(|| panic!("no rule for {method} {resource}"));
    found.rule.invalidates.iter().filter_map(|group| group.render(&path, &found.captures, fields)).collect()
}

fn body() -> Fields {
    let body = BODY.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Fields { body, ..Fields::default() }
}

#[test]
fn the_pack_has_no_mistakes_and_raises_no_doubts() {
    let pack = pack();
    assert_eq!(pack.api, "proxmox");
    let doubts: Vec<String> = pack.warnings().iter().map(ToString::to_string).collect();
    assert!(doubts.is_empty(), "{doubts:#?}");
}

#[test]
fn the_list_of_calls_is_whole() {
    let count = |method: Method| endpoints().iter().filter(|endpoint| endpoint.method == method).count();
    let counts = [Method::GET, Method::POST, Method::PUT, Method::DELETE].map(count);
    assert_eq!(counts, [340, 173, 83, 79]);
}

#[test]
fn every_read_has_a_policy_in_every_format() {
    let pack = pack();
    let mut used = BTreeSet::new();
    for read in reads() {
        for format in ["json", "extjs"] {
            let path = format!("/api2/{format}{}", instance(read.path));
            let found = pack.read(&path, None).unwrap_or_else(|| panic!("no rule for GET {}", read.path));
            assert!(found.rule.groups.len() <= 8, "{} has too many groups", found.rule.name);
            used.insert(found.index);
        }
    }
    // A rule that no published read reaches is about something that does not exist, except the three
    // about other formats and other names of a node.
    let elsewhere = ["/api2/html/**", "/api2/htmljs/**", "/api2/{format}/nodes/localhost/**"];
    let idle: Vec<&str> = (0..pack.reads.len())
        .filter(|index| !used.contains(index))
        .map(|index| pack.reads[index].name.as_str())
        .filter(|name| !elsewhere.contains(name))
        .collect();
    assert!(idle.is_empty(), "rules without a published read: {idle:#?}");
}

#[test]
fn only_what_asks_for_no_right_is_shared_with_everyone() {
    let pack = pack();
    for read in reads() {
        let path = api(&instance(read.path));
        let rule = pack.read(&path, None).expect("every read has a policy").rule;
        if rule.share == Sharing::Everyone {
            assert!(["login", "world"].contains(&read.mark), "GET {} asks for a right", read.path);
        }
        assert_eq!(rule.anonymous, read.mark == "world", "GET {}: anonymous", read.path);
    }
    // These filter by the caller's rights although anyone may ask.
    for path in
        ["/cluster/resources", "/nodes", "/cluster/tasks", "/nodes/pve1/network", "/nodes/pve1/subscription"]
    {
        let rule = pack.read(&api(path), None).expect("every read has a policy").rule;
        assert_eq!(rule.share, Sharing::Principal, "{path}");
    }
}

#[test]
fn what_must_not_be_repeated_or_mixed_up_is_passed() {
    let pack = pack();
    let passed = [
        "/api2/json/cluster/nextid",
        "/api2/json/nodes/pve1/qemu/100/agent/exec-status",
        "/api2/json/nodes/pve1/vncwebsocket",
        "/api2/json/nodes/pve1/lxc/200/vncwebsocket",
        "/api2/json/nodes/pve1/qemu/100/mtunnelwebsocket",
        "/api2/json/nodes/pve1/storage/pbs/file-restore/list",
        "/api2/json/nodes/localhost/status",
        "/api2/json/nodes/localhost/qemu/100/config",
        "/api2/html/cluster/resources",
    ];
    for path in passed {
        let rule = pack.read(path, None).unwrap_or_else(|| panic!("no rule for {path}")).rule;
        assert_eq!(rule.reuse, Reuse::Pass, "{path}");
    }
    for path in ["/", "/pve2/js/pvemanagerlib.js", "/novnc/app.js"] {
        assert!(pack.read(path, None).is_none(), "{path} is not the API's");
    }
}

#[test]
fn every_write_has_a_rule_that_overtakes_something_or_says_why_not() {
    let pack = pack();
    let mut used = BTreeSet::new();
    for write in writes() {
        let path = api(&instance(write.path));
        let found = pack.write(&write.method, &path);
        let found = found.unwrap_or_else(|| panic!("no rule for {} {}", write.method, write.path));
        used.insert(found.index);
        let rule = found.rule;
        let call = format!("{} {}", write.method, write.path);
        if rule.invalidates.is_empty() {
            assert!(rule.reason.as_deref().is_some_and(|reason| reason.len() > 10), "{call}: no reason");
            assert!(rule.operation.is_none(), "{call}: an operation of nothing");
        }
        // A write whose answer names a task is not done before the task is; a console is not awaited.
        match write.mark.split_once('=') {
            Some(("task", _)) => assert_eq!(rule.operation.as_deref(), Some("proxmox-task"), "{call}"),
            Some(("console", _)) => assert!(rule.invalidates.is_empty(), "{call}: a console holds groups"),
            _ => {}
        }
    }
    let idle: Vec<&str> = (0..pack.writes.len())
        .filter(|index| !used.contains(index))
        .map(|index| pack.writes[index].name.as_str())
        .filter(|name| *name != "/api2/{format}/nodes/localhost/**")
        .collect();
    assert!(idle.is_empty(), "rules without a published write: {idle:#?}");
}

#[test]
fn every_write_reaches_the_reads_that_it_changes() {
    let pack = pack();
    let changes = changes();
    let resources: BTreeSet<String> = reads().iter().flat_map(|read| instances(read.path)).collect();
    let mut kept = Vec::new();
    let mut members: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
    for resource in &resources {
        for group in groups_of_read(&pack, resource).into_iter().flatten() {
            members.entry(group).or_default().push(kept.len());
        }
        kept.push(segments(resource));
    }
    let passed: BTreeSet<usize> = {
        let somewhere: BTreeSet<usize> = members.values().flatten().copied().collect();
        (0..kept.len()).filter(|read| !somewhere.contains(read)).collect()
    };
    let mut lines = BTreeSet::new();
    let mut missed = BTreeSet::new();
    for write in writes() {
        let path = instance(write.path);
        let call = format!("{} {path}", write.method);
        let (change, names) = change_of(&changes, &write.method, &path);
        lines.insert(change.line);
        let rule = pack.write(&write.method, &api(&path)).expect("every write has a rule").rule;
        assert!(rule.settle >= change.settle, "{call} settles too early");
        assert_eq!(
            rule.invalidates.is_empty(),
            change.reads.is_empty(),
            "{call}: only one says that nothing changes"
        );
        for (fields, has_body) in [(body(), true), (Fields::default(), false)] {
            let overtaken = groups_of_write(&pack, &write.method, &path, &fields);
            let mut reached = passed.clone();
            reached.extend(overtaken.iter().filter_map(|group| members.get(group)).flatten());
            let rest: Vec<usize> = (0..kept.len()).filter(|read| !reached.contains(read)).collect();
            for pattern in change.reads.iter().filter_map(|pattern| fill(pattern, &names, has_body)) {
                let pattern = segments(&pattern);
                let changed = rest.iter().filter(|read| fits(&pattern, &kept[**read], &mut Names::new()));
                missed
                    .extend(changed.map(|read| format!("{call} does not reach /{}", kept[*read].join("/"))));
            }
        }
    }
    let shown: Vec<&String> = missed.iter().take(40).collect();
    assert!(missed.is_empty(), "{} reads are missed: {shown:#?}", missed.len());
    let idle: Vec<&str> =
        changes.iter().map(|change| change.line).filter(|line| !lines.contains(line)).collect();
    assert!(idle.is_empty(), "lines about no published write: {idle:#?}");
}

/// The first line about a write, and what its names stand for.
fn change_of<'c>(changes: &'c [Change], method: &Method, path: &str) -> (&'c Change, Names) {
    for change in changes.iter().filter(|change| change.methods.contains(method)) {
        let mut names = Names::new();
        if fits(&segments(change.path), &segments(path), &mut names) {
            return (change, names);
        }
    }
    panic!("no line about {method} {path}")
}

/// The pattern of reads with the write's own values; `None` when it needs a body that is not there.
fn fill(pattern: &str, names: &Names, has_body: bool) -> Option<String> {
    if pattern.contains("{body.") && !has_body {
        return None;
    }
    let mut filled = pattern.to_owned();
    for (name, value) in names {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    for (name, value) in BODY {
        filled = filled.replace(&format!("{{body.{name}}}"), value);
    }
    assert!(!filled.contains('{'), "{pattern} names what its write does not");
    Some(filled)
}

#[test]
fn every_write_to_access_ends_all_acceptances_and_empties_everything() {
    let pack = pack();
    // A login and what leads to one, a password or a second factor: no ticket and no right that exists
    // changes with them.
    let harmless = [
        "/access/ticket",
        "/access/vncticket",
        "/access/openid/auth-url",
        "/access/password",
        "/access/tfa/",
    ];
    let both = [Group::Subtree("/".to_owned()), Group::Named("acceptances".to_owned())];
    let mut ends = 0;
    for write in writes() {
        let path = instance(write.path);
        let call = format!("{} {path}", write.method);
        let overtaken = groups_of_write(&pack, &write.method, &path, &Fields::default());
        let is_access = path.starts_with("/access/") && !harmless.iter().any(|part| path.starts_with(part));
        if is_access {
            assert_eq!(overtaken, both, "{call}");
            ends += 1;
        } else if path.starts_with("/access/") {
            assert!(!overtaken.contains(&both[1]), "{call} asks for every credential once more");
        }
    }
    assert_eq!(ends, 19);
    // One that is not known yet is taken for the worst.
    assert_eq!(groups_of_write(&pack, &Method::POST, "/access/new", &Fields::default()), both);
}

#[test]
fn a_write_leaves_alone_what_has_nothing_to_do_with_it() {
    let pack = pack();
    let table = [
        ("POST", "/nodes/pve1/qemu/100/status/start", "/nodes/pve1/qemu/101/status/current"),
        ("POST", "/nodes/pve1/qemu/100/status/start", "/nodes/pve1/storage/local/content"),
        ("POST", "/nodes/pve1/qemu/100/status/start", "/nodes/pve1/status"),
        ("POST", "/nodes/pve1/qemu/100/status/start", "/cluster/firewall/rules"),
        ("PUT", "/nodes/pve1/qemu/100/config", "/nodes/pve1/qemu/101/config"),
        ("PUT", "/nodes/pve1/qemu/100/config", "/access/permissions"),
        ("POST", "/nodes/pve1/qemu/100/clone", "/nodes/pve1/qemu/101/config"),
        ("POST", "/nodes/pve1/qemu/100/firewall/rules", "/nodes/pve1/qemu/100/config"),
        ("POST", "/nodes/pve1/qemu/100/firewall/rules", "/nodes/pve1/qemu/101/firewall/rules"),
        ("POST", "/nodes/pve1/qemu/100/agent/exec", "/nodes/pve1/qemu/100/config"),
        ("POST", "/nodes/pve1/storage/local/upload", "/nodes/pve2/storage/nfs/content"),
        ("POST", "/nodes/pve1/storage/local/upload", "/nodes/pve1/qemu"),
        ("PUT", "/nodes/pve1/dns", "/nodes/pve2/dns"),
        ("PUT", "/nodes/pve1/dns", "/nodes/pve1/hosts"),
        ("POST", "/cluster/firewall/rules", "/cluster/resources"),
        ("POST", "/cluster/sdn/zones", "/nodes/pve1/network"),
        ("POST", "/access/tfa/root@pam", "/cluster/resources"),
        ("POST", "/nodes/pve1/qemu/100/vncproxy", "/nodes/pve1/qemu/100/status/current"),
    ];
    for (method, write, read) in table {
        let method = method.parse().expect("a method");
        let overtaken = groups_of_write(&pack, &method, write, &body());
        let groups = groups_of_read(&pack, read).unwrap_or_else(|| panic!("{read} is not kept"));
        let both: Vec<&Group> = overtaken.iter().filter(|group| groups.contains(group)).collect();
        assert!(both.is_empty(), "{method} {write} overtakes {read} through {both:?}");
    }
}

#[test]
fn a_node_that_is_not_known_overtakes_everything() {
    let pack = pack();
    for (method, path) in [
        (Method::POST, "/nodes/localhost/qemu/100/status/stop"),
        (Method::PUT, "/nodes/localhost/dns"),
        (Method::DELETE, "/nodes/localhost/lxc/200"),
    ] {
        let overtaken = groups_of_write(&pack, &method, path, &Fields::default());
        assert_eq!(overtaken, [Group::Subtree("/".to_owned())], "{method} {path}");
    }
    let console = groups_of_write(&pack, &Method::POST, "/nodes/localhost/vncshell", &Fields::default());
    assert!(console.is_empty(), "a console holds {console:?}");
}

#[test]
fn a_name_that_looks_like_a_call_is_still_a_name() {
    let pack = pack();
    let table = [
        (
            "POST",
            "/nodes/pve1/qemu/100/firewall/ipset/vncproxy",
            "/nodes/pve1/qemu/100/firewall/ipset/vncproxy",
        ),
        ("POST", "/nodes/pve1/storage/local/content/mtunnel", "/nodes/pve1/storage/local/content"),
        ("POST", "/nodes/pve1/ceph/mds/termproxy", "/nodes/pve2/ceph/mds"),
        ("DELETE", "/nodes/pve1/qemu/100/snapshot/config", "/nodes/pve1/qemu/100/snapshot"),
        ("PUT", "/pools/localhost", "/pools/localhost"),
    ];
    for (method, write, read) in table {
        let method = method.parse().expect("a method");
        let overtaken = groups_of_write(&pack, &method, write, &Fields::default());
        let groups = groups_of_read(&pack, read).unwrap_or_else(|| panic!("{read} is not kept"));
        assert!(
            overtaken.iter().any(|group| groups.contains(group)),
            "{method} {write} does not reach {read}"
        );
    }
}

#[test]
fn a_volume_with_decoded_slashes_belongs_to_its_storage() {
    let pack = pack();
    let groups =
        groups_of_read(&pack, "/nodes/pve1/storage/local/content/local:iso/a.iso").expect("it is kept");
    assert!(groups.contains(&Group::Named("storage/local".to_owned())));
    let path = "/nodes/pve2/storage/local/content/local:iso/a.iso";
    let overtaken = groups_of_write(&pack, &Method::DELETE, path, &Fields::default());
    assert!(overtaken.iter().any(|group| groups.contains(group)), "{overtaken:?}");
}
