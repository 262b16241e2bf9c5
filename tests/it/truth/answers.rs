//! What the model answers: the moment in which a request takes effect and its answer is formed.

use bytes::Bytes;

use super::cells::{Cell, Read, Shape, node_name};
use super::history::Cause;
use super::model::{Reply, Request};
use super::people::{FOREBAY, rights as rights_at, sees};
use super::weather::{Effect, Fate};
use super::world::{Answer, World};

impl World {
    /// Forms the answer to `request`, which meets `fate`; `None` if there is none to send.
    pub fn form_answer(&mut self, request: &Request, fate: Fate) -> Option<Reply> {
        let rest = request.target.strip_prefix("/api2/").unwrap_or_default();
        let (format, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let extjs = format == "extjs";
        if matches!(request.method.as_str(), "GET" | "HEAD") {
            return self.read(request, &without_cache_buster(path), extjs, fate);
        }
        let Some(op) = request.write.filter(|op| *op < self.writes.len()) else {
            return Some(self.form(request, extjs, 501, Formed::default()));
        };
        self.write(request, op, extjs, fate)
    }

    fn read(&mut self, request: &Request, path: &str, extjs: bool, fate: Fate) -> Option<Reply> {
        let read = match self.reads.get(path) {
            Some(read) => read.clone(),
            None => match self.task_of(path) {
                Some((task, "status")) => Read::Task(self.tasks[task].upid.clone()),
                Some((task, "log")) => Read::TaskLog(self.tasks[task].upid.clone()),
                _ => return Some(self.form(request, extjs, 501, Formed::default())),
            },
        };
        let principal = match request.credential {
            Some(credential) if self.people.is_valid(credential) => {
                Some(self.people.credentials[credential].principal)
            }
            _ => None,
        };
        match fate {
            Fate::Reset(_) | Fate::Silence(_) => return None,
            Fate::GivenUp(status, _) => {
                return Some(self.form(request, extjs, status, Formed::default()));
            }
            _ => {}
        }
        let Some(principal) = principal.or((read == Read::Domains).then_some(0)) else {
            return Some(self.form(request, extjs, 401, Formed::default()));
        };
        if let Fate::Refused(status, _) = fate {
            return Some(self.form(request, extjs, status, Formed::default()));
        }
        let (status, formed) = self.look(&read, principal);
        if status == 200 && read != Read::Domains {
            let stamp = self.stamp();
            let credential = request.credential.expect("who has none was refused");
            let generation = self.generation;
            self.people.credentials[credential].holder.is_accepted(stamp, request.came, generation);
        }
        Some(self.form(request, extjs, status, formed))
    }

    /// What `read` shows to `principal` now.
    fn look(&mut self, read: &Read, principal: usize) -> (u16, Formed) {
        let is_own = principal == FOREBAY;
        let rights = Cell::rights(if is_own { 0 } else { principal });
        let version = self.cells[rights.index()].version();
        let may = rights_at(principal, version);
        let mut shows = Vec::new();
        if !is_own
            && !read.is_for_everyone()
            && !matches!(read, Read::Task(_) | Read::TaskLog(_) | Read::NextId)
        {
            shows.push((rights, version));
        }
        if let Some(guest) = read.guest() {
            if !sees(may, guest) {
                return (403, Formed { shows, ..Formed::default() });
            }
            if !*self.exists.get(&guest).unwrap_or(&true) {
                shows.push((Cell::guest(guest), self.cells[guest].version()));
                return (500, Formed { shows, ..Formed::default() });
            }
        }
        let is_hidden = |cell: &Cell| cell.index() < super::cells::GUESTS && !sees(may, cell.index());
        let visible: Vec<Cell> = read.cells().into_iter().filter(|cell| !is_hidden(cell)).collect();
        shows.extend(self.versions(&visible));
        let mut formed = Formed { shows, ..Formed::default() };
        formed.data = match read {
            Read::Task(upid) => {
                let task = self.by_upid[upid];
                match self.tasks[task].ended {
                    Some(_) => {
                        formed.ended.push(task);
                        format!(r#"{{"status":"stopped","exitstatus":"OK","upid":"{upid}"}}"#)
                    }
                    None => {
                        formed.running.push(task);
                        format!(r#"{{"status":"running","upid":"{upid}"}}"#)
                    }
                }
            }
            Read::TaskLog(upid) => {
                let task = self.by_upid[upid];
                match self.tasks[task].ended {
                    Some(_) => {
                        formed.ended.push(task);
                        r#"[{"n":1,"t":"working"},{"n":2,"t":"TASK OK"}]"#.into()
                    }
                    None => r#"[{"n":1,"t":"working"}]"#.into(),
                }
            }
            Read::Log => self.list_log(&mut formed),
            Read::Permissions if is_own => r#"{"/":{"Sys.Audit":1,"Sys.Syslog":1}}"#.into(),
            Read::Permissions => self.list_rights(may),
            Read::Tasks(node) => self.list_tasks(*node, &mut formed),
            _ => {
                let lock = match read {
                    Read::Guest(guest, "config" | "status/current") => self.is_locked(*guest),
                    _ => false,
                };
                formed.in_transition = lock;
                let lock = if lock { r#","lock":"backup""# } else { "" };
                let padding = if self.rng.u8(..8) == 0 { "x".repeat(1_500) } else { String::new() };
                let versions: Vec<String> =
                    formed.shows.iter().map(|(c, v)| format!("\"{c}\":{v}")).collect();
                format!(r#"{{"versions":{{{}}},"padding":"{padding}"{lock}}}"#, versions.join(","))
            }
        };
        (200, formed)
    }

    fn is_locked(&mut self, guest: usize) -> bool {
        let running = self.tasks.iter().rev().take(20);
        let locked =
            running.filter(|task| task.ended.is_none()).any(|t| t.cells.contains(&Cell::guest(guest)));
        locked && self.rng.bool()
    }

    /// All that somebody may do, in no order.
    fn list_rights(&mut self, may: usize) -> String {
        let seen = (0..super::cells::GUESTS).filter(|guest| sees(may, *guest));
        let mut paths: Vec<String> =
            seen.map(|guest| format!(r#""/vms/{}":{{"VM.Audit":1}}"#, super::cells::vmid(guest))).collect();
        paths.push(format!(r#""/":{{"Sys.Audit":{}}}"#, u8::from(may == 0)));
        self.rng.shuffle(&mut paths);
        format!("{{{}}}", paths.join(","))
    }

    fn list_tasks(&self, node: Option<usize>, formed: &mut Formed) -> String {
        let nodes = node.map_or(0..super::cells::NODES, |node| node..node + 1);
        let items: Vec<String> = nodes
            .flat_map(|node| self.latest_tasks(node))
            .map(|place| {
                let task = &self.tasks[place];
                let mut upid = task.upid.split(':');
                let (node, start) = (upid.nth(1).unwrap_or_default(), upid.nth(2).unwrap_or_default());
                let (kind, id) = (upid.next().unwrap_or_default(), upid.next().unwrap_or_default());
                let user = upid.next().unwrap_or_default();
                let start = u64::from_str_radix(start, 16).unwrap_or_default();
                let end = match task.ended {
                    Some(_) => {
                        formed.ended.push(place);
                        format!(r#","endtime":{start},"status":"OK""#)
                    }
                    None => {
                        formed.running.push(place);
                        String::new()
                    }
                };
                let upid = &task.upid;
                format!(
                    r#"{{"upid":"{upid}","node":"{node}","type":"{kind}","id":"{id}","user":"{user}","starttime":{start}{end}}}"#
                )
            })
            .collect();
        format!("[{}]", items.join(","))
    }

    fn list_log(&self, formed: &mut Formed) -> String {
        let lines: Vec<String> = (self.log.iter().enumerate().rev().take(100))
            .map(|(uid, line)| {
                formed.ended.extend(line.ended);
                formed.lines = formed.lines.max(uid + 1);
                let (node, said) = (node_name(line.node), &line.said);
                format!(r#"{{"uid":{uid},"time":1700000000,"node":"{node}","pri":6,"msg":"{said}"}}"#)
            })
            .collect();
        format!("[{}]", lines.join(","))
    }

    fn write(&mut self, request: &Request, op: usize, extjs: bool, fate: Fate) -> Option<Reply> {
        let user = match request.credential {
            Some(credential) if self.people.is_valid(credential) => {
                self.people.name(self.people.credentials[credential].principal)
            }
            _ => return Some(self.form(request, extjs, 401, Formed::default())),
        };
        self.writes[op].executed += 1;
        let write = self.writes[op].write.clone();
        let effect = match fate {
            Fate::Answered => Effect::Before,
            Fate::Refused(_, effect) | Fate::GivenUp(_, effect) | Fate::Reset(effect) => effect,
            Fate::Cut(effect) | Fate::Silence(effect) => effect,
        };
        self.note(|| format!("write {op} arrives and meets {fate:?}"));
        let by_task = match write.shape() {
            Shape::AtOnce => false,
            Shape::Task => true,
            Shape::Either => self.rng.bool(),
        };
        let mut formed = Formed { data: "null".into(), ..Formed::default() };
        match (effect, by_task && !matches!(fate, Fate::Refused(..))) {
            (Effect::Never, _) => {}
            (_, true) => {
                let task = self.begin_task(&write, user, |_| Cause::Write(op));
                formed.data = format!("\"{}\"", self.tasks[task].upid);
                formed.names = Some(task);
            }
            (Effect::Before, false) => self.change(&write.cells(), Cause::Write(op)),
            (Effect::Later, false) => self.change_later(&write, Cause::Write(op)),
        }
        formed.shows = match (effect, by_task) {
            (Effect::Before, false) => self.versions(&write.cells()),
            (Effect::Before, true) => self.versions(&[Cell::tasks(write.task().0)]),
            _ => Vec::new(),
        };
        match fate {
            Fate::Answered | Fate::Cut(_) => Some(self.form(request, extjs, 200, formed)),
            Fate::Refused(status, _) => {
                formed.names = None;
                formed.data = "null".into();
                formed.shows =
                    if effect == Effect::Before { self.versions(&write.cells()) } else { Vec::new() };
                Some(self.form(request, extjs, status, formed))
            }
            Fate::GivenUp(status, _) => Some(self.form(request, extjs, status, Formed::default())),
            Fate::Reset(_) | Fate::Silence(_) => None,
        }
    }

    /// The task that a path is about, and what is asked of it.
    fn task_of<'p>(&self, path: &'p str) -> Option<(usize, &'p str)> {
        let rest = path.strip_prefix("/nodes/")?.split_once("/tasks/")?.1;
        let (upid, what) = rest.split_once('/')?;
        Some((*self.by_upid.get(upid)?, what))
    }

    /// Gives an answer its number and its body.
    fn form(&mut self, request: &Request, extjs: bool, status: u16, formed: Formed) -> Reply {
        let id = self.rng.u128(..);
        let when = self.stamp();
        let relayed = matches!(status, 401 | 502..=504 | 595..=599);
        let (on_wire, body) = match (status, extjs && !relayed) {
            (200, true) => (200, format!(r#"{{"m":"{id:032x}","success":1,"data":{}}}"#, formed.data)),
            (200, false) => (200, format!(r#"{{"m":"{id:032x}","data":{}}}"#, formed.data)),
            (_, true) => (
                200,
                format!(r#"{{"m":"{id:032x}","success":0,"status":{status},"message":"no","data":null}}"#),
            ),
            (_, false) => (status, format!(r#"{{"m":"{id:032x}","data":null,"message":"no"}}"#)),
        };
        let body = if status == 401 { Bytes::new() } else { Bytes::from(body) };
        self.note(|| {
            format!("{} {} is answered {status} for {:?}", request.method, request.target, request.credential)
        });
        self.answers.insert(
            id,
            Answer {
                target: request.target.clone(),
                credential: request.credential,
                status,
                formed: when,
                sent: None,
                shows: formed.shows,
                ended: formed.ended,
                running: formed.running,
                lines: formed.lines,
                names: formed.names,
                in_transition: formed.in_transition,
                body: body.clone(),
            },
        );
        Reply { id, status: on_wire, fields: Vec::new(), body: (status != 401).then_some(body) }
    }
}

/// What an answer is made of.
struct Formed {
    data: String,
    shows: Vec<(Cell, usize)>,
    ended: Vec<usize>,
    running: Vec<usize>,
    lines: usize,
    names: Option<usize>,
    in_transition: bool,
}

impl Default for Formed {
    fn default() -> Self {
        Self {
            data: "null".into(),
            shows: Vec::new(),
            ended: Vec::new(),
            running: Vec::new(),
            lines: 0,
            names: None,
            in_transition: false,
        }
    }
}

/// A path without what the API itself leaves out of a query.
pub fn without_cache_buster(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("_dc=")).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}
