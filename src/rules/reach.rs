//! Which reads a task of somebody else could change: those need somebody who watches for tasks, or short
//! lifetimes.

use super::raw::Sharing;
use super::template::GroupTemplate;
use super::{ReadRule, RuleSet};

/// What stands for everything: a task that nothing is known of.
const EVERYTHING: &str = "/**";

impl RuleSet {
    /// Whether a row of `tasks:` may overtake what `read` keeps, whose path without the choice of a format is
    /// `resource`. What is the same for everybody and no row names but those that stand for everything is
    /// fixed by a release: directories, versions.
    pub fn task_may_change(&self, read: &ReadRule, resource: &str) -> bool {
        let named = |group: &GroupTemplate| {
            group.as_str() != EVERYTHING
                && match group.is_named() {
                    true => read.groups.iter().any(|own| own.is_named() && own.may_equal(group)),
                    false => paths_may_meet(group.as_str(), resource),
                }
        };
        read.share != Sharing::Everyone
            || self.tasks.iter().flat_map(|row| &row.invalidates).any(named)
            // A group by name may be that of a task which another pack knows.
            || self.tasks.is_empty() && !read.groups.is_empty()
    }
}

/// Whether some values make the two templates of paths one path, or the first one that is above the second.
fn paths_may_meet(group: &str, resource: &str) -> bool {
    let (group, is_subtree) = match group.strip_suffix("/**") {
        Some(above) => (above, true),
        None => (group, false),
    };
    let mut ours = resource.split('/');
    for wanted in group.split('/') {
        match ours.next() {
            Some("**") => return true,
            Some(own) if own == wanted || own == "*" || own.contains('{') || wanted.contains('{') => {}
            _ => return false,
        }
    }
    is_subtree || matches!(ours.next(), None | Some("**"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_meet_where_some_values_make_them_one() {
        let cases = [
            ("/cluster/resources", "/cluster/resources", true),
            ("/cluster/resources", "/cluster/{any}", true),
            ("/cluster/resources", "/cluster/**", true),
            ("/cluster/resources", "/cluster/tasks", false),
            ("/cluster/resources", "/cluster", false),
            ("/nodes/{task.node}/disks/**", "/nodes/{node}/disks/list", true),
            ("/nodes/{task.node}/disks/**", "/nodes/{node}/disks", true),
            ("/nodes/{task.node}/disks/**", "/nodes/{node}/dns", false),
            ("/nodes/{task.node}/**", "/nodes/{node}/tasks/{upid}/status", true),
            ("/access/acl", "/access/acl/more", false),
        ];
        for (group, resource, expected) in cases {
            assert_eq!(paths_may_meet(group, resource), expected, "{group} {resource}");
        }
    }

    #[test]
    fn a_task_may_change_what_a_row_names_and_what_depends_on_who_asks() {
        let pack = r#"
api: proxmox
reads:
  - {path: "/api2/{format}/guest/{vmid}", ttl: 1h, groups: ["guest/{vmid}"], share: everyone}
  - {path: "/api2/{format}/other", ttl: 1h, groups: [other], share: everyone}
  - {path: "/api2/{format}/fixed", ttl: 1h, share: everyone}
  - {path: "/api2/{format}/mine", ttl: 1h}
  - {path: "/api2/{format}/nodes/{node}/dns", ttl: 1h, share: everyone}
tasks:
  - {types: ["qm*"], invalidates: ["guest/{task.id}", "/nodes/{task.node}/**"]}
  - {types: ["*"], invalidates: ["/**"]}
"#;
        let rules = RuleSet::parse("p", pack).expect("a pack");
        let may: Vec<bool> = rules
            .reads
            .iter()
            .map(|read| rules.task_may_change(read, &read.name["/api2/{format}".len()..]))
            .collect();
        assert_eq!(may, [true, false, false, true, true]);
    }
}
