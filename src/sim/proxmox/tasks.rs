//! Tasks: their identifiers, their life, and the calls that show and stop them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Failure, Outcome, Reply};
use super::call::{Call, Principal};
use super::effects::Effect;
use super::state::{Cluster, Event};

/// Finished tasks of one node that `/cluster/tasks` still shows.
const SHOWN_PER_NODE: usize = 25;
/// Tasks that the simulation remembers.
const REMEMBERED: usize = 5_000;

/// A task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) upid: String,
    pub(super) node: usize,
    pid: u64,
    pstart: u64,
    start: u64,
    kind: String,
    id: String,
    pub(super) who: Principal,
    /// The second it ended and how: `OK` or an error text.
    pub(super) end: Option<(u64, String)>,
    log: Vec<String>,
    /// What it does when it ends.
    pub(super) effect: Option<Effect>,
}

impl Task {
    /// The properties that all views of a task share.
    fn base(&self, cluster: &Cluster) -> Value {
        let mut view = json!({
            "upid": self.upid, "node": cluster.nodes[self.node].name, "starttime": self.start,
            "type": self.kind, "id": self.id, "user": self.who.user,
        });
        if let Some(token) = &self.who.token {
            view["tokenid"] = token.as_str().into();
        }
        view
    }
}

impl Cluster {
    /// Starts a task that ends after the configured time and then does `effect`. Gives its UPID.
    pub(super) fn start_task(
        &mut self,
        node: usize,
        kind: &str,
        id: &str,
        who: &Principal,
        effect: Effect,
        now: Instant,
    ) -> String {
        self.start_task_for(self.task_time, node, kind, id, who, effect, now)
    }

    /// Starts a task that takes `time`.
    #[expect(clippy::too_many_arguments, reason = "a task is made of exactly these")]
    pub(super) fn start_task_for(
        &mut self,
        time: Duration,
        node: usize,
        kind: &str,
        id: &str,
        who: &Principal,
        effect: Effect,
        now: Instant,
    ) -> String {
        let wall = self.wall(now);
        let pid = 0x49F00 + self.next();
        let pstart = 27_435_008 + (wall - self.started_wall()) * 100 + pid;
        let name = &self.nodes[node].name;
        // The colon in volume names would break the identifier into more parts than it has.
        let safe_id = id.replace(':', "\\x3a");
        let upid = format!("UPID:{name}:{pid:08X}:{pstart:08X}:{wall:08X}:{kind}:{safe_id}:{}:", who.name());
        let task = Task {
            upid: upid.clone(),
            node,
            pid,
            pstart,
            start: wall,
            kind: kind.to_owned(),
            id: id.to_owned(),
            who: who.clone(),
            end: None,
            log: vec![format!("starting {kind} {id}")],
            effect: Some(effect),
        };
        self.tasks.insert(upid.clone(), task);
        self.task_order.push_back(upid.clone());
        self.forget_old_tasks();
        self.write_log(node, &who.name(), format!("starting task {upid}"), now);
        self.schedule(now + time, Event::TaskEnd(upid.clone()));
        upid
    }

    fn forget_old_tasks(&mut self) {
        while self.task_order.len() > REMEMBERED {
            let oldest = self.task_order.pop_front().expect("the length was just looked at");
            self.tasks.remove(&oldest);
        }
    }

    /// Ends a running task: what it does becomes visible, or it fails.
    pub(super) fn end_task(&mut self, upid: &str, at: Instant) {
        let Some(effect) = self.tasks.get_mut(upid).and_then(|task| task.effect.take()) else { return };
        let result = self.apply(effect, at);
        self.finish(upid, result.err().unwrap_or_else(|| "OK".to_owned()), at);
    }

    fn finish(&mut self, upid: &str, status: String, at: Instant) {
        let wall = self.wall(at);
        let Some(task) = self.tasks.get_mut(upid) else { return };
        let last = if status == "OK" { "TASK OK".to_owned() } else { format!("TASK ERROR: {status}") };
        task.log.push(last);
        task.end = Some((wall, status.clone()));
        let (node, who) = (task.node, task.who.name());
        self.write_log(node, &who, format!("end task {upid} {status}"), at);
    }

    /// Whether a principal may see a task without owning it.
    fn sees_task(&self, who: &Principal, task: &Task) -> bool {
        let node = &self.nodes[task.node].name;
        let own = match &who.token {
            Some(_) => task.who == *who,
            // A user owns what its tokens started.
            None => task.who.user == who.user,
        };
        own || self.allowed(who, &format!("/nodes/{node}"), &["Sys.Audit"])
    }
}

/// `GET /cluster/tasks`: the change feed, all nodes at once.
pub(super) fn of_cluster(cluster: &Cluster, call: &Call) -> Outcome {
    let auditor = cluster.allowed(&call.who, "/", &["Sys.Audit"]);
    // Without the privilege a token compares its full name with the user part and finds nothing.
    let own = |task: &Task| call.who.token.is_none() && task.who.user == call.who.user;
    let mut shown = vec![0; cluster.nodes.len()];
    let mut items = Vec::new();
    for task in cluster.task_order.iter().rev().filter_map(|upid| cluster.tasks.get(upid)) {
        if task.end.is_some() && shown[task.node] >= SHOWN_PER_NODE {
            continue;
        }
        shown[task.node] += 1;
        if !auditor && !own(task) {
            continue;
        }
        let mut view = task.base(cluster);
        match &task.end {
            Some((end, status)) => {
                view["endtime"] = (*end).into();
                view["status"] = status.as_str().into();
                view["saved"] = "1".into();
            }
            None => view["pid"] = task.pid.into(),
        }
        items.push(view);
    }
    Ok(Reply::list(items))
}

/// `GET /nodes/{node}/tasks`: finished ones, newest first, unless asked for others.
pub(super) fn of_node(cluster: &Cluster, call: &Call, node: usize) -> Outcome {
    let source = call.get("source").unwrap_or("archive");
    let number = |name: &str, default| call.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (start, limit): (usize, usize) = (number("start", 0), number("limit", 50));
    let matches = |task: &&Task| {
        let wanted = match source {
            "active" => task.end.is_none(),
            "all" => true,
            _ => task.end.is_some(),
        };
        let errors = !call.flag("errors") || task.end.as_ref().is_some_and(|(_, status)| status != "OK");
        wanted
            && errors
            && task.node == node
            && call.get("typefilter").is_none_or(|kind| task.kind == kind)
            && call.get("vmid").is_none_or(|vmid| task.id == vmid)
            && call.get("userfilter").is_none_or(|user| task.who.user.contains(user))
            && cluster.sees_task(&call.who, task)
    };
    let tasks = cluster.task_order.iter().rev().filter_map(|upid| cluster.tasks.get(upid));
    let all: Vec<_> = tasks.filter(matches).collect();
    let items = all.iter().skip(start).take(limit).map(|task| {
        let mut view = task.base(cluster);
        view["pid"] = task.pid.into();
        view["pstart"] = task.pstart.into();
        match &task.end {
            Some((end, status)) => {
                view["endtime"] = (*end).into();
                view["status"] = status.as_str().into();
            }
            None => view["status"] = "RUNNING".into(),
        }
        view
    });
    Ok(Reply::counted(items.collect(), all.len()))
}

/// `/nodes/{node}/tasks/{upid}` and below; `rest` is what follows the UPID.
pub(super) fn one(cluster: &mut Cluster, call: &Call, node: usize, upid: &str, rest: &[&str]) -> Outcome {
    if !upid.starts_with("UPID:") || !upid.ends_with(':') {
        return Err(Failure::parameter("upid", &format!("unable to parse worker upid '{upid}'")));
    }
    let task = cluster.tasks.get(upid).filter(|task| task.node == node);
    let task = task.ok_or_else(|| Failure::die("no such task"))?;
    if !cluster.sees_task(&call.who, task) {
        return Err(Failure::forbidden(&format!("/nodes/{}", cluster.nodes[node].name), &["Sys.Audit"]));
    }
    match (call.method.name(), rest) {
        ("GET", []) => Ok(Reply::list(vec![json!({"name": "log"}), json!({"name": "status"})])),
        ("GET", ["status"]) => {
            let mut view = task.base(cluster);
            view["pid"] = task.pid.into();
            view["pstart"] = task.pstart.into();
            match &task.end {
                Some((_, status)) => {
                    view["status"] = "stopped".into();
                    view["exitstatus"] = status.as_str().into();
                }
                None => view["status"] = "running".into(),
            }
            Ok(Reply::data(view))
        }
        ("GET", ["log"]) => {
            let number =
                |name: &str, default| call.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
            let lines = task.log.iter().enumerate().skip(number("start", 0)).take(number("limit", 50));
            let items = lines.map(|(index, text)| json!({"n": index + 1, "t": text})).collect();
            Ok(Reply::counted(items, task.log.len()))
        }
        ("DELETE", []) => {
            if task.end.is_none() {
                let upid = upid.to_owned();
                let effect = cluster.tasks.get_mut(&upid).and_then(|task| task.effect.take());
                if let Some(effect) = effect {
                    cluster.abandon(effect, call.now);
                }
                cluster.finish(&upid, "interrupted by signal".to_owned(), call.now);
            }
            Ok(Reply::null())
        }
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}
