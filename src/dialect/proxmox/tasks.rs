//! Tasks of Proxmox VE: how they are named (`PVE::UPID` of pve-common), and which answers tell how they
//! stand.

use serde_json::Value;

use super::super::{OperationId, Task, TaskEvent, TaskState};
use super::resource_offset;

/// What the last line of a task's log begins with when its work is done; `PVE::RESTEnvironment` writes
/// it before the process ends.
const LAST_LINES: [&str; 3] = ["TASK OK", "TASK ERROR: ", "TASK WARNINGS: "];

/// How many tasks of a list are asked for.
const LISTED: usize = 1_000;

/// `UPID:node:pid:pstart:start:type:id:user:`, the numbers in hexadecimal digits; the id may be empty.
pub(super) fn parse(upid: &str) -> Option<Task> {
    let mut parts = upid.split(':');
    let hex = |part: Option<&str>, lengths: std::ops::RangeInclusive<usize>| {
        let part = part.filter(|p| lengths.contains(&p.len()) && p.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u64::from_str_radix(part, 16).ok()
    };
    let name = |part: Option<&str>| part.filter(|part| !part.is_empty()).map(str::to_owned);
    (parts.next() == Some("UPID")).then_some(())?;
    let node = name(parts.next())?;
    let _pid = hex(parts.next(), 8..=8)?;
    // Nine digits after 497 days without a restart.
    let _pstart = hex(parts.next(), 8..=9)?;
    let started = hex(parts.next(), 8..=8)?;
    let (kind, object, who) = (name(parts.next())?, parts.next()?.to_owned(), name(parts.next())?);
    let resource = format!("/nodes/{node}/tasks/{upid}");
    Some(Task { id: OperationId(upid.to_owned()), kind, object, node, who, started, resource })
}

/// A UPID in `data`, or in `data.upid` for a few calls. Other calls also answer with strings (a volume id,
/// a lock token), so the form is checked.
pub(in crate::dialect) fn started(body: &[u8]) -> Option<Task> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let data = body.get("data")?;
    parse(data.as_str().or_else(|| data.get("upid")?.as_str())?)
}

/// A task is shown by the node that it runs on.
pub(in crate::dialect) fn status(task: &Task) -> String {
    format!("/api2/json{}/status", task.resource)
}

/// A call to a node is executed there, and its own tasks are shown to everybody there. Uploads run on the
/// node that was contacted, as do the calls of the cluster, and that node is not known.
pub(in crate::dialect) fn running(path: &str) -> Option<String> {
    let (node, call) = path.get(resource_offset(path)..)?.strip_prefix("/nodes/")?.split_once('/')?;
    let is_known = node != "localhost" && !call.ends_with("/upload");
    is_known.then(|| format!("/api2/json/nodes/{node}/tasks?source=active&limit={LISTED}"))
}

/// A list with as many items as were asked for may leave out others.
pub(in crate::dialect) fn lists_all(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return false };
    let items = body.get("data").and_then(Value::as_array);
    items.is_some_and(|items| items.len() < LISTED && items.iter().all(|item| of_item(item).is_some()))
}

/// Whether an answer for `path` tells how tasks stand.
pub(in crate::dialect) fn tells(path: &str) -> bool {
    Shows::by(path).is_some()
}

/// What a read tells of tasks.
enum Shows<'p> {
    /// `/nodes/{node}/tasks/{upid}/status`: one.
    Status(&'p str),
    /// `/nodes/{node}/tasks/{upid}/log`: one, by the last line.
    Log(&'p str),
    /// `/cluster/tasks` and `/nodes/{node}/tasks`: many.
    List,
    /// `/cluster/log`: those whose end is among its messages.
    ClusterLog,
}

impl<'p> Shows<'p> {
    fn by(path: &'p str) -> Option<Self> {
        let resource = path.get(resource_offset(path)..)?;
        match resource {
            "/cluster/tasks" => return Some(Shows::List),
            "/cluster/log" => return Some(Shows::ClusterLog),
            _ => {}
        }
        let mut segments = resource.strip_prefix("/nodes/")?.split('/');
        let (_node, tasks) = (segments.next()?, segments.next()?);
        let rest = (segments.next(), segments.next(), segments.next());
        match rest {
            _ if tasks != "tasks" => None,
            (None, None, None) => Some(Shows::List),
            (Some(upid), Some("status"), None) => Some(Shows::Status(upid)),
            (Some(upid), Some("log"), None) => Some(Shows::Log(upid)),
            _ => None,
        }
    }
}

/// What the answer for `path` tells of tasks.
pub(in crate::dialect) fn told(path: &str, body: &[u8]) -> Vec<TaskEvent> {
    let read = serde_json::from_slice::<Value>(body).ok();
    let data = read.as_ref().and_then(|body| body.get("data"));
    let items = || data.and_then(Value::as_array).into_iter().flatten();
    let one = |upid: &str, state| parse(upid).map(|task| TaskEvent { task, state }).into_iter().collect();
    match Shows::by(path) {
        None => Vec::new(),
        // A page for people is no JSON, and a log that is downloaded may be compressed besides.
        Some(Shows::Status(upid) | Shows::Log(upid)) if read.is_none() => {
            one(upid, TaskState::Ending { sign: None })
        }
        Some(_) if read.is_none() => mentioned(body),
        Some(Shows::Status(upid)) => match data.and_then(|data| data.get("status")?.as_str()) {
            Some("stopped") => one(upid, TaskState::Ended { at: None }),
            Some("running") => one(upid, TaskState::Running),
            _ => Vec::new(),
        },
        Some(Shows::Log(upid)) => match last_line(data) {
            Some((number, line)) if LAST_LINES.iter().any(|last| line.starts_with(last)) => {
                one(upid, TaskState::Ending { sign: Some(number) })
            }
            _ => Vec::new(),
        },
        Some(Shows::List) => items().filter_map(of_item).collect(),
        Some(Shows::ClusterLog) => {
            items().filter_map(|item| of_message(item.get("msg")?.as_str()?)).collect()
        }
    }
}

/// The tasks that a text names which cannot be read: how they stand, whoever reads it may know.
fn mentioned(text: &[u8]) -> Vec<TaskEvent> {
    let text = String::from_utf8_lossy(text);
    let names = text.match_indices("UPID:").filter_map(|(at, _)| {
        let end = |c: char| c.is_whitespace() || "\"'<>&/".contains(c);
        let task = parse(text[at..].split(end).next()?)?;
        Some(TaskEvent { task, state: TaskState::Ending { sign: None } })
    });
    names.collect()
}

/// The number and the text of the last line that the answer has.
fn last_line(data: Option<&Value>) -> Option<(u64, &str)> {
    let last = data?.as_array()?.last()?;
    Some((last.get("n").and_then(Value::as_u64).unwrap_or(0), last.get("t")?.as_str()?))
}

/// An item of a list has an `endtime` when it has ended. The feed's numbers may come as strings.
pub(super) fn of_item(item: &Value) -> Option<TaskEvent> {
    let task = parse(item.get("upid")?.as_str()?)?;
    let end = item.get("endtime").filter(|end| !end.is_null());
    let state = match end {
        Some(end) => {
            let at = end.as_u64().or_else(|| end.as_str()?.parse().ok());
            TaskState::Ended { at }
        }
        None => TaskState::Running,
    };
    Some(TaskEvent { task, state })
}

/// `end task UPID:... OK`. That one started is no news: it may have ended since.
pub(super) fn of_message(message: &str) -> Option<TaskEvent> {
    let upid = message.strip_prefix("end task ")?.split_whitespace().next()?;
    Some(TaskEvent { task: parse(upid)?, state: TaskState::Ended { at: None } })
}
