//! What Proxmox's change feed cannot show: the reads that a change made elsewhere makes old without a task
//! and without a line in the log. `rules/proxmox.unseen.md` says them; `FOREBAY_UPDATE=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use forebay::units::Span;

use super::*;

/// Calls without a task that the cluster's log tells of (`log_msg` in `PVE::API2::Qemu`).
const LOGGED: [&str; 2] = ["PUT /nodes/{node}/qemu/{vmid}/config", "PUT /nodes/{node}/qemu/{vmid}/unlink"];

/// Calls that start a task without naming it in their answer.
const NAMELESS: [&str; 1] = ["POST /nodes/{node}/lxc/{vmid}/template"];

/// Every write changes these, and they are kept for seconds.
const LISTS: [&str; 3] = ["/nodes/{node}/tasks", "/cluster/tasks", "/cluster/log"];

/// What everybody gets alike and is kept for longer is a directory that a release fixes, whatever is written
/// below it.
const CONSTANT: Duration = Duration::from_secs(3600);

const HEAD: &str = "\
# Changes made elsewhere that no feed shows

Made from the built-in rules and the published API by a test (`FOREBAY_UPDATE=1 cargo test --test it pack`).

A change that is made past forebay and starts a task shows within seconds where a `credential_file` lets forebay \
read the tasks, and the changes of a virtual machine's configuration where it lets it read the log.
The calls below start no task and write no line, so when somebody makes them elsewhere, the reads beside them are \
right again when their lifetime ends, and not before.
Made through forebay they are seen at once, like every other write.
";

/// What tells of the write, if anything does.
fn is_shown(write: &Endpoint) -> bool {
    let call = format!("{} {}", write.method, write.path);
    let marked = ["task=", "console="].iter().any(|mark| write.mark.starts_with(mark));
    marked || LOGGED.contains(&call.as_str()) || NAMELESS.contains(&call.as_str())
}

fn table() -> String {
    let (pack, changes) = (pack(), changes());
    let mut everything = BTreeSet::new();
    let mut unseen: BTreeMap<&str, BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
    let kept: Vec<Endpoint> = reads().into_iter().filter(|read| !LISTS.contains(&read.path)).collect();
    for write in writes().iter().filter(|write| !is_shown(write)) {
        let (change, names) = change_of(&changes, &write.method, &instance(write.path));
        let patterns: Vec<String> =
            change.reads.iter().filter_map(|pattern| fill(pattern, &names, true)).collect();
        if patterns.iter().any(|pattern| pattern == "/**") {
            everything.insert(format!("`{} {}`", write.method, write.path));
            continue;
        }
        for read in &kept {
            let resources = instances(read.path);
            let is_changed = patterns.iter().any(|pattern| {
                let pattern = segments(pattern);
                resources.iter().any(|resource| fits(&pattern, &segments(resource), &mut Names::new()))
            });
            if is_changed {
                let methods = unseen.entry(read.path).or_default().entry(write.path).or_default();
                methods.insert(write.method.to_string());
            }
        }
    }
    // Reads that the same calls change, for the same time, share a row.
    let mut rows: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for (read, writes) in unseen {
        let rule = pack.read(&api(&instance(read)), None).expect("every read has a policy").rule;
        let Reuse::For(lifetime) = rule.reuse else { continue };
        let whole = lifetime + rule.stale_while_revalidate;
        if rule.share == Sharing::Everyone && whole > CONSTANT {
            continue;
        }
        let calls = writes.iter().map(|(path, methods)| {
            let methods: Vec<&str> = methods.iter().map(String::as_str).collect();
            format!("`{} {path}`", methods.join(" "))
        });
        let calls = calls.collect::<Vec<_>>().join("<br>");
        rows.entry((calls, Span(whole).to_string())).or_default().push(read);
    }
    let mut rows: Vec<_> = rows.into_iter().map(|((calls, time), reads)| (reads, time, calls)).collect();
    rows.sort();
    let mut text =
        format!("{HEAD}\nThese may change any read at all, because they change who may see what: ");
    text += &everything.into_iter().collect::<Vec<_>>().join(", ");
    text += ".\n\n| What is read | kept for at most | changed unseen by |\n|---|---|---|\n";
    for (reads, time, calls) in rows {
        let reads = reads.iter().map(|read| format!("`{read}`")).collect::<Vec<_>>().join("<br>");
        writeln!(text, "| {reads} | {time} | {calls} |").expect("writing to a string does not fail");
    }
    text
}

#[test]
fn the_reads_that_no_feed_keeps_true_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/proxmox.unseen.md");
    let table = table();
    if std::env::var_os("FOREBAY_UPDATE").is_some() {
        std::fs::write(&path, &table).expect("the table can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == table,
        "rules/proxmox.unseen.md is not what the rules say: run the tests with FOREBAY_UPDATE=1"
    );
    for certain in
        ["`/nodes/{node}/lxc/{vmid}/config`", "`POST /cluster/firewall/rules`", "`PUT /access/acl`"]
    {
        assert!(table.contains(certain), "{certain}");
    }
    assert!(!table.contains("`PUT /nodes/{node}/qemu/{vmid}/config`"), "the log shows it");
}
