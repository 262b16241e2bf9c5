//! The rows of `tasks:` against every type of task that Proxmox has: one that somebody else started
//! overtakes whatever the same call through forebay would have changed.

use std::collections::BTreeSet;

use forebay::rules::TaskNames;

use super::*;

const TASKS: &str = include_str!("../../data/proxmox-tasks.txt");

/// A line of the list: a type, what its id is, and a call that changes the same.
struct Kind {
    line: &'static str,
    name: &'static str,
    id: &'static str,
    like: Option<&'static str>,
}

fn kinds() -> Vec<Kind> {
    let lines = TASKS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let kind = |line: &'static str| {
        let (task, like) = line.split_once(" : ").map_or((line, None), |(task, like)| (task, Some(like)));
        let (name, id) = task.split_once(' ').expect(line);
        Kind { line, name, id, like }
    };
    lines.map(kind).collect()
}

impl Kind {
    fn id(&self) -> &str {
        match self.id {
            "none" => "",
            "vmid" => "100",
            "{body.vmid}" => "901",
            text => text,
        }
    }

    /// The calls that start it, or that change the same.
    fn calls(&self) -> Vec<(Method, &'static str)> {
        if let Some(like) = self.like {
            let call = like.split_once(' ').map(|(method, path)| (method.parse().expect(like), path));
            return call.into_iter().collect();
        }
        let starts = |mark: &str| {
            mark.split_once('=').is_some_and(|(_, kinds)| kinds.split('|').any(|kind| kind == self.name))
        };
        let calls = writes().into_iter().filter(|write| starts(write.mark));
        calls.map(|write| (write.method, write.path)).collect()
    }
}

fn groups_of(pack: &RuleSet, kind: &str, id: &str) -> (u32, Duration, Vec<Group>) {
    let (row, groups) = pack.task(&TaskNames { kind, id, node: "pve1" }).expect("the last row is about all");
    (row.line, row.settle, groups)
}

#[test]
fn a_task_of_others_reaches_the_reads_that_its_call_changes() {
    let pack = pack();
    let changes = changes();
    let resources: BTreeSet<String> = reads().iter().flat_map(|read| instances(read.path)).collect();
    let kept: Vec<(&String, BTreeSet<Group>)> =
        resources.iter().filter_map(|resource| Some((resource, groups_of_read(&pack, resource)?))).collect();
    let mut missed = BTreeSet::new();
    for kind in kinds() {
        let calls = kind.calls();
        assert!(!calls.is_empty() || kind.like == Some("-"), "no call starts {}", kind.line);
        let (_, settle, groups) = groups_of(&pack, kind.name, kind.id());
        let everything = Group::Subtree("/".into());
        assert!(groups.contains(&Group::Named("tasks".into())) || groups.contains(&everything));
        for (method, path) in calls {
            let (change, names) = change_of(&changes, &method, &instance(path));
            assert!(settle >= change.settle, "{} settles too early", kind.line);
            let patterns = change.reads.iter().filter_map(|pattern| fill(pattern, &names, true));
            for pattern in patterns {
                let pattern = segments(&pattern);
                let changed = kept.iter().filter(|(resource, of_read)| {
                    groups.iter().all(|group| !of_read.contains(group))
                        && fits(&pattern, &segments(resource), &mut Names::new())
                });
                missed
                    .extend(changed.map(|(resource, _)| format!("{} does not reach {resource}", kind.line)));
            }
        }
    }
    let shown: Vec<&String> = missed.iter().take(40).collect();
    assert!(missed.is_empty(), "{} reads are missed: {shown:#?}", missed.len());
}

#[test]
fn every_type_has_a_row_and_every_row_a_type() {
    let pack = pack();
    let last = pack.tasks.last().expect("there are rows").line;
    let mut used = BTreeSet::from([last]);
    for kind in kinds() {
        let (line, ..) = groups_of(&pack, kind.name, kind.id());
        assert_ne!(line, last, "{} is an unknown type", kind.name);
        used.insert(line);
    }
    let idle: Vec<u32> = pack.tasks.iter().map(|row| row.line).filter(|line| !used.contains(line)).collect();
    assert!(idle.is_empty(), "rows about no type: lines {idle:?}");
    let known: BTreeSet<&str> = kinds().iter().map(|kind| kind.name).collect();
    for (_, types) in writes().iter().filter_map(|write| write.mark.split_once('=')) {
        for kind in types.split('|') {
            assert!(known.contains(kind), "{kind} is not in the list of types");
        }
    }
}

#[test]
fn consoles_hold_nothing_and_unknown_types_overtake_everything() {
    let pack = pack();
    for kind in ["vncproxy", "vncshell", "termproxy", "spiceproxy", "spiceshell"] {
        let (row, groups) =
            pack.task(&TaskNames { kind, id: "100", node: "pve1" }).expect("consoles are known");
        assert_eq!((row.holds, &groups[..]), (false, &[Group::Named("tasks".into())][..]), "{kind}");
    }
    let (row, groups) =
        pack.task(&TaskNames { kind: "k8sscale", id: "", node: "pve1" }).expect("a row for the rest");
    let everything = [Group::Subtree("/".into()), Group::Named("acceptances".into())];
    assert_eq!((row.holds, &groups[..]), (false, &everything[..]));
    // Whom the API accepts may follow from it, too.
    for kind in ["auth-realm-sync", "clusterjoin"] {
        assert_eq!(groups_of(&pack, kind, "corp").2, everything, "{kind}");
    }
}

#[test]
fn a_task_of_one_guest_leaves_the_others_alone() {
    let pack = pack();
    let other = groups_of_read(&pack, "/nodes/pve1/qemu/101/config").expect("it is kept");
    for kind in kinds().iter().filter(|kind| kind.id == "vmid" && kind.like != Some("-")) {
        let (_, _, groups) = groups_of(&pack, kind.name, kind.id());
        let both: Vec<&Group> = groups.iter().filter(|group| other.contains(group)).collect();
        let names_another = ["qmclone", "vzclone", "qmmove", "move_volume"].contains(&kind.name);
        assert_eq!(both.is_empty(), !names_another, "{} overtakes another guest through {both:?}", kind.line);
    }
}
