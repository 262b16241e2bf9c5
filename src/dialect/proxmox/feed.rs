//! The change feed of Proxmox VE: the tasks of the cluster (`PVE::API2::Cluster` of pve-manager,
//! `active_workers` of pve-common) and its log (`log_msg` of pve-cluster, as qemu-server and pve-container
//! call it). Both are answered from memory by the node that is asked.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::feed::{Change, FeedReads, FeedRights, LogLine, LogNews, TaskList};
use super::tasks::{of_item, of_message};

pub(in crate::dialect) const READS: FeedReads = FeedReads {
    // Of an empty list nobody could tell whether nothing happens or the right is missing, so this is asked.
    rights: "/api2/json/access/permissions?path=/",
    tasks: "/api2/json/cluster/tasks",
    // Some 25 KB. More lines than that in two seconds are read once more, as far as the log goes back.
    log: "/api2/json/cluster/log?max=100",
    whole_log: "/api2/json/cluster/log?max=5000",
};

/// A node shows all tasks that run, and of those that have ended as many as make up this number.
const SHOWN_PER_NODE: usize = 25;

/// A node's list is cut at 32 KiB. It is measured without its spaces here, so a little less is full.
const FULL_BYTES: usize = 30 * 1024;

/// `{"data": {"/": {"Sys.Audit": 1, ...}}}`: the path is left out when there are no rights at all.
pub(in crate::dialect) fn rights(body: &[u8]) -> Option<FeedRights> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let rights = body.get("data")?.as_object()?.get("/");
    let may = |right| rights.is_some_and(|rights| rights.get(right).is_some());
    Some(FeedRights { tasks: may("Sys.Audit"), log: may("Sys.Syslog") })
}

/// An item that cannot be read makes the list unreadable: it could be anything's.
pub(in crate::dialect) fn tasks(body: &[u8]) -> Option<TaskList> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let items = body.get("data")?.as_array()?;
    let mut sizes: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut tasks = Vec::with_capacity(items.len());
    for item in items {
        let event = of_item(item)?;
        let (count, bytes) = sizes.entry(event.task.node.clone()).or_default();
        *count += 1;
        *bytes += item.to_string().len();
        tasks.push(event);
    }
    let is_full = |(count, bytes): &(usize, usize)| *count >= SHOWN_PER_NODE || *bytes >= FULL_BYTES;
    let shows_all_that_run = sizes.values().all(|(_, bytes)| *bytes < FULL_BYTES);
    let full = sizes.into_iter().filter(|(_, size)| is_full(size)).map(|(node, _)| node).collect();
    Some(TaskList { tasks, full, shows_all_that_run })
}

/// The newest line comes first. A line's number is its node's own, and begins anew when the node does.
pub(in crate::dialect) fn log(body: &[u8]) -> Option<Vec<LogLine>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let lines = body.get("data")?.as_array()?.iter().rev().map(|line| {
        let node = line.get("node")?.as_str()?;
        let id = format!("{node} {} {}", line.get("uid")?, line.get("time")?);
        let message = line.get("msg").and_then(Value::as_str).unwrap_or_default();
        let news = match of_message(message) {
            Some(event) => LogNews::Task(event),
            None => change(message, node).map_or(LogNews::Nothing, LogNews::Change),
        };
        Some(LogLine { id, news })
    });
    lines.collect()
}

/// What a message says was changed, in the words of the task that would change the same. It is written when
/// the change begins. That a task started is told by the list of tasks, and logins change nothing.
fn change(message: &str, node: &str) -> Option<Change> {
    const BEGINNINGS: [(&str, &str); 13] = [
        ("update VM ", "qmconfig"),
        ("update CT ", "resize"),
        ("resize VM ", "qmconfig"),
        ("resize CT ", "resize"),
        ("move disk VM ", "qmmove"),
        ("move volume CT ", "move_volume"),
        ("snapshot VM ", "qmsnapshot"),
        ("snapshot container ", "vzsnapshot"),
        ("delete snapshot VM ", "qmdelsnapshot"),
        ("delete snapshot CT ", "vzdelsnapshot"),
        ("rollback snapshot VM ", "qmrollback"),
        ("rollback snapshot CT ", "vzrollback"),
        ("rollback snapshot LXC ", "vzrollback"),
    ];
    let (rest, kind) =
        BEGINNINGS.iter().find_map(|(beginning, kind)| Some((message.strip_prefix(beginning)?, *kind)))?;
    let object = rest.split([':', ' ']).next().unwrap_or_default();
    // Without a number it is not known which guest: then the task has no object either.
    let object = if object.bytes().all(|b| b.is_ascii_digit()) { object.to_owned() } else { String::new() };
    Some(Change { kind, object, node: node.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::TaskState;

    const UPID: &str = "UPID:pve1:00001234:00005678:690B0000:qmstart:100:root@pam:";

    #[test]
    fn rights_are_those_on_everything() {
        let of = |body: &str| rights(body.as_bytes()).map(|rights| (rights.tasks, rights.log));
        assert_eq!(of(r#"{"data":{"/":{"Sys.Audit":1}}}"#), Some((true, false)));
        assert_eq!(of(r#"{"data":{"/":{"Sys.Audit":0,"Sys.Syslog":1}}}"#), Some((true, true)));
        assert_eq!(of(r#"{"data":{"/vms":{"Sys.Audit":1}}}"#), Some((false, false)));
        assert_eq!(of(r#"{"data":{}}"#), Some((false, false)));
        assert_eq!(of(r#"{"data":null}"#), None);
        assert_eq!(of("<html>"), None);
    }

    #[test]
    fn a_list_says_how_tasks_stand_and_where_it_is_full() {
        let item = |number: usize, end: &str| {
            let upid = UPID.replace("00001234", &format!("{number:08X}"));
            format!(r#"{{"upid":"{upid}","node":"pve1"{end}}}"#)
        };
        let list = |count: usize| {
            let items: Vec<_> = (0..count).map(|number| item(number, r#","endtime":"5""#)).collect();
            tasks(format!(r#"{{"data":[{}]}}"#, items.join(",")).as_bytes()).expect("a list")
        };
        assert!(list(3).tasks.iter().all(|event| matches!(event.state, TaskState::Ended { .. })));
        assert_eq!((list(24).full.len(), list(25).full), (0, vec!["pve1".to_owned()]));
        let runs = tasks(format!(r#"{{"data":[{}]}}"#, item(1, "")).as_bytes()).expect("a list");
        assert_eq!(runs.tasks[0].state, TaskState::Running);
        let long = item(1, &format!(r#","status":"{}""#, "x".repeat(FULL_BYTES)));
        assert_eq!(tasks(format!(r#"{{"data":[{long}]}}"#).as_bytes()).expect("a list").full, ["pve1"]);
        for body in ["", "{}", r#"{"data":null}"#, r#"{"data":[{"upid":"nothing"}]}"#] {
            assert_eq!(tasks(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_line_says_what_was_changed() {
        let cases = [
            ("update VM 100: -memory 2048", Some(("qmconfig", "100"))),
            ("update VM 100: resize --disk scsi0 --size +1G", Some(("qmconfig", "100"))),
            ("update CT 200: resize --disk rootfs --size 9G", Some(("resize", "200"))),
            ("move disk VM 100: move --disk scsi0 --storage b", Some(("qmmove", "100"))),
            ("snapshot VM 100: before", Some(("qmsnapshot", "100"))),
            ("snapshot container 200: before", Some(("vzsnapshot", "200"))),
            ("delete snapshot VM 100: before", Some(("qmdelsnapshot", "100"))),
            ("rollback snapshot LXC 200: before", Some(("vzrollback", "200"))),
            ("update VM x: -memory 1", Some(("qmconfig", ""))),
            ("successful auth for user 'root@pam'", None),
            ("authentication failure; rhost=::1 user=a@pve msg=no", None),
        ];
        for (message, expected) in cases {
            let found = change(message, "pve1");
            let found = found.as_ref().map(|change| (change.kind, change.object.as_str()));
            assert_eq!(found, expected, "{message}");
        }
        let body = format!(
            r#"{{"data":[{{"uid":2,"time":9,"node":"a","msg":"end task {UPID} OK"}},
               {{"uid":1,"time":8,"node":"a","msg":"starting task {UPID}"}}]}}"#
        );
        let lines = log(body.as_bytes()).expect("a log");
        assert_eq!((lines[0].id.as_str(), &lines[0].news), ("a 1 8", &LogNews::Nothing));
        assert!(
            matches!(&lines[1].news, LogNews::Task(event) if matches!(event.state, TaskState::Ended { .. }))
        );
        assert_eq!(log(br#"{"data":[{"msg":"x"}]}"#), None);
    }
}
