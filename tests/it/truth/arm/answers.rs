//! What the model answers: the moment in which a request takes effect and its answer is formed.

use std::time::Duration;

use bytes::Bytes;

use super::super::history::Cause;
use super::super::model::{Reply, Request};
use super::super::people::Standing;
use super::super::weather::{Effect, Fate};
use super::cells::{Cell, Kind};
use super::people::sees;
use super::reads::{Read, Scope};
use super::world::{Answer, World};
use super::writes::{Address, Shape, Write};

/// Where clients reach forebay: what addresses in answers must begin with.
pub const FOREBAY: &str = "http://forebay.test";

/// Hosts that addresses of the API name, and what stands for each behind forebay's own base.
const HOSTS: [(&str, &str); 6] = [
    ("https://management.azure.com", ""),
    ("https://management.azure.com", ""),
    ("https://management.azure.com", ""),
    ("https://management.azure.com:443", "/~r/:443"),
    ("https://westeurope.management.azure.com", "/~r/westeurope"),
    ("https://westeurope.management.azure.com:443", "/~r/westeurope:443"),
];

/// Stands for a host until it is known who reads it.
const HOST: &str = "{host}";

/// Stands for the number of the answer in each item of a list, so that an item alone tells which list it is from.
const MARK: &str = "{mark}";

/// How far lists of what is promoted lag behind at most: less than forebay takes them to.
const LISTS_LAG: Duration = Duration::from_secs(20);

/// What an answer is made of.
#[derive(Default)]
struct Formed {
    /// The members of its object, each followed by a comma.
    members: String,
    fields: Vec<(&'static str, String)>,
    shows: Vec<(Cell, usize)>,
    tells: Option<(usize, bool)>,
    names: Option<usize>,
    moves: bool,
    /// Whether there is no content at all.
    empty: bool,
}

impl World {
    /// Forms the answer to `request`, which meets `fate`; `None` if there is none to send.
    pub fn form_answer(&mut self, request: &Request, fate: Fate) -> Option<Reply> {
        match request.write.filter(|op| *op < self.writes.len()) {
            Some(op) => self.write(request, op, fate),
            None => self.read(request, fate),
        }
    }

    /// The read that a target is.
    fn read_of(&self, target: &str) -> Option<Read> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.to_ascii_lowercase();
        match *self.reads.get(&path.to_ascii_lowercase())? {
            Read::Item(Cell { kind: Kind::Machine, at }) if query.contains("instanceview") => {
                Some(Read::Expanded(at))
            }
            Read::Poll { operation, .. } => {
                let monitors = query.contains("monitor=true");
                let is = |way: Address| (way == Address::Monitor) == monitors;
                let addresses = &self.operations[operation].addresses;
                let of_path = |one: &(Address, String)| {
                    is(one.0) && one.1.split('?').next().is_some_and(|own| own.eq_ignore_ascii_case(path))
                };
                Some(Read::Poll { operation, address: addresses.iter().position(of_path)? })
            }
            read => Some(read),
        }
    }

    fn read(&mut self, request: &Request, fate: Fate) -> Option<Reply> {
        let Some(read) = self.read_of(&request.target) else {
            return Some(self.form(request, 404, Formed::default()));
        };
        match fate {
            Fate::Reset(_) | Fate::Silence(_) => return None,
            Fate::GivenUp(status, _) => return Some(self.form(request, status, Formed::default())),
            _ => {}
        }
        let wall = self.clock.wall_seconds();
        let valid = request.credential.filter(|credential| self.people.is_valid(*credential, wall));
        let principal = match valid {
            Some(credential) => self.people.credentials[credential].principal,
            None if read.is_for_everyone() => 0,
            None => return Some(self.refuse(request)),
        };
        if let Fate::Refused(status, _) = fate {
            return Some(self.form(request, status, Formed::default()));
        }
        let (status, formed) = self.look(read, principal, &request.target);
        if let (200..=299, Some(credential)) = (status, valid)
            && !read.is_for_everyone()
        {
            let stamp = self.stamp();
            let generation = self.generation;
            self.people.credentials[credential].holder.is_accepted(stamp, request.came, generation);
        }
        Some(self.form(request, status, formed))
    }

    /// A 401: a token that was taken back is challenged for another.
    fn refuse(&mut self, request: &Request) -> Reply {
        let standing =
            request.credential.map(|credential| self.people.credentials[credential].holder.standing);
        let challenge = match standing {
            Some(Standing::Revoked(_)) => r#"Bearer error="insufficient_claims", claims="eyJ9""#,
            _ => r#"Bearer error="invalid_token""#,
        };
        let fields = vec![("WWW-Authenticate", challenge.to_owned())];
        self.form(request, 401, Formed { fields, ..Formed::default() })
    }

    /// What `read` shows to `principal` now.
    fn look(&mut self, read: Read, principal: usize, target: &str) -> (u16, Formed) {
        if let Read::Poll { operation, address } = read {
            return self.poll(operation, address);
        }
        let mut formed = Formed::default();
        let rights: Vec<Cell> = match read.is_for_everyone() {
            true => Vec::new(),
            false => read.subscriptions().into_iter().map(|s| Cell::rights(principal, s)).collect(),
        };
        formed.shows = self.versions(&rights);
        let versions = formed.shows.clone();
        let may_see = |group: usize| {
            let rights = Cell::rights(principal, super::cells::subscription_of(group));
            let version =
                versions.iter().find(|(cell, _)| *cell == rights).map_or(0, |(_, version)| *version);
            sees(principal, version, group)
        };
        if read.group().is_some_and(|group| !may_see(group)) {
            return (403, formed);
        }
        if let Some(item) = read.item()
            && !self.exists[item.index()]
        {
            formed.shows.extend(self.versions(&[item]));
            return (404, formed);
        }
        let visible: Vec<Cell> =
            read.cells().into_iter().filter(|cell| cell.group().is_none_or(&may_see)).collect();
        let mut next = None;
        let cells = match read.page() {
            Some(size) => {
                let page = page_of(target);
                let end = (page + 1) * size;
                next = (end < visible.len()).then_some(page + 1);
                visible.iter().copied().skip(page * size).take(size).collect()
            }
            None => visible,
        };
        let shown = self.versions(&cells);
        let there: Vec<(Cell, usize)> =
            shown.iter().copied().filter(|(cell, _)| self.exists[cell.index()]).collect();
        formed.shows.extend(shown);
        match read {
            Read::Metadata => {
                formed.members = format!(r#""resourceManager":"{HOST}/","name":"AzureCloud","#);
            }
            Read::InstanceView(_) => {
                let (cell, version) = there[0];
                formed.moves = self.moving.contains_key(&cell);
                let state = if formed.moves { "starting" } else { "running" };
                formed.members =
                    format!(r#""version":{version},"statuses":[{{"code":"PowerState/{state}"}}],"#);
            }
            Read::Item(_) | Read::Expanded(_) => {
                let parts: Vec<String> =
                    there.iter().map(|one| self.item(*one, target, &mut formed.moves)).collect();
                let first = parts.first().cloned().unwrap_or_else(|| "{}".into());
                let inside = first.trim_start_matches('{').trim_end_matches('}');
                // The object of the resource itself, with its parts inside.
                formed.members = format!("{}}},\"resources\":[{}],", inside, parts[1..].join(","));
            }
            _ => {
                let lag = self.lag_of(read);
                let shown =
                    |(cell, version)| (cell, lag.map_or(version, |lag| self.version_before(cell, lag)));
                let items: Vec<String> =
                    there.iter().map(|one| self.item(shown(*one), target, &mut formed.moves)).collect();
                formed.members = format!(r#""value":[{}],"#, items.join(","));
            }
        }
        if let Some(page) = next {
            let link = self.next_link(target, read, page);
            formed.members += &format!(r#""nextLink":"{HOST}{link}","#);
        }
        if self.rng.u8(..8) == 0 {
            formed.members += &format!(r#""padding":"{}","#, "x".repeat(1_500));
        }
        (200, formed)
    }

    /// How far a list lags behind, if it does: what it shows of its items is of before. Of the answer itself that
    /// is not judged, since it is the API's own.
    fn lag_of(&mut self, read: Read) -> Option<Duration> {
        let Read::List(Kind::Interface | Kind::Address, Scope::Group(_)) = read else { return None };
        (self.few_calls && self.rng.bool()).then(|| LISTS_LAG.mul_f32(self.rng.f32()))
    }

    /// One resource in a body; whether it moves is noted in `moves`. Compute writes the group as the request does.
    fn item(&self, (cell, version): (Cell, usize), target: &str, moves: &mut bool) -> String {
        let is_moving = self.moving.contains_key(&cell);
        *moves |= is_moving;
        let state = if is_moving { "Updating" } else { "Succeeded" };
        let path = match echoed(target).filter(|_| cell.kind.names()[0] == "Microsoft.Compute") {
            Some(group) => with_group(&cell.path(), group),
            None => cell.path(),
        };
        format!(
            r#"{{"id":"{path}","version":{version},"mark":"{MARK}","properties":{{"publicIPAllocationMethod":"Static","provisioningState":"{state}"}}}}"#
        )
    }

    /// The address of the next page: with the letters of the request, or with the provider's own.
    fn next_link(&mut self, target: &str, read: Read, page: usize) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if self.rng.bool() { path.to_owned() } else { read.path() };
        let version = query.split('&').find(|pair| pair.to_ascii_lowercase().starts_with("api-version"));
        let name = if self.rng.bool() { "%24skiptoken" } else { "$skipToken" };
        format!("{path}?{}&{name}=p{page}%3d", version.unwrap_or_default())
    }

    fn poll(&mut self, place: usize, address: usize) -> (u16, Formed) {
        let operation = &self.operations[place];
        let runs = operation.ended.is_none();
        let mut formed = Formed { tells: Some((place, runs)), ..Formed::default() };
        if runs && self.rng.u8(..3) > 0 {
            formed.fields.push(("Retry-After", "1".into()));
        }
        let operation = &self.operations[place];
        let (way, target) = &operation.addresses[address];
        let status = match (way, runs) {
            (Address::Async | Address::Operation, _) => {
                formed.members = format!(r#""status":"{}","#, operation.state);
                200
            }
            (_, true) => {
                formed.fields.push(("Location", format!("{HOST}{target}")));
                202
            }
            (Address::Odd, false) => 200,
            (_, false) => {
                formed.empty = place.is_multiple_of(2);
                if formed.empty { 204 } else { 200 }
            }
        };
        (status, formed)
    }

    fn write(&mut self, request: &Request, op: usize, fate: Fate) -> Option<Reply> {
        let wall = self.clock.wall_seconds();
        if !request.credential.is_some_and(|credential| self.people.is_valid(credential, wall)) {
            return Some(self.refuse(request));
        }
        self.writes[op].executed += 1;
        let write = self.writes[op].write;
        let effect = match fate {
            Fate::Answered => Effect::Before,
            Fate::Refused(_, effect) | Fate::GivenUp(_, effect) | Fate::Reset(effect) => effect,
            Fate::Cut(effect) | Fate::Silence(effect) => effect,
        };
        self.write_down(|| format!("write {op} arrives and meets {fate:?}"));
        let shapes = write.shapes();
        let shape = shapes[self.rng.usize(..shapes.len())];
        let cause = Cause::Write(op);
        let is_refused = matches!(fate, Fate::Refused(..));
        let mut formed = Formed::default();
        let mut status = 200;
        match (effect, shape) {
            (Effect::Never, _) => {}
            (_, Shape::Moving | Shape::Accepted) if !is_refused => {
                let place = self.begin_operation(write, shape, Some(op));
                status = self.announce(place, shape, &mut formed);
            }
            (Effect::Before, _) => {
                self.carry_out(write, cause);
                formed.shows = self.versions(&write.cells());
                status = self.done(write, &mut formed);
            }
            (Effect::Later, _) => self.carry_out_later(write, cause),
        }
        if effect == Effect::Later {
            formed = Formed::default();
        }
        match fate {
            Fate::Answered | Fate::Cut(_) => Some(self.form(request, status, formed)),
            Fate::Refused(status, _) => {
                let shows = std::mem::take(&mut formed.shows);
                Some(self.form(request, status, Formed { shows, ..Formed::default() }))
            }
            Fate::GivenUp(status, _) => Some(self.form(request, status, Formed::default())),
            Fate::Reset(_) | Fate::Silence(_) => None,
        }
    }

    /// The answer to a write that is done.
    fn done(&mut self, write: Write, formed: &mut Formed) -> u16 {
        match (write, self.rng.u8(..3)) {
            (Write::Delete(_), 0) => {
                formed.empty = true;
                204
            }
            (Write::Put(_) | Write::Role(_), 0) => 201,
            (Write::Put(_), 1) => {
                formed.members = r#""properties":{"provisioningState":"Succeeded"},"#.into();
                200
            }
            _ => 200,
        }
    }

    /// The answer to a write that goes on behind it.
    fn announce(&mut self, place: usize, shape: Shape, formed: &mut Formed) -> u16 {
        let operation = &self.operations[place];
        let (write, moves) = (operation.write, operation.moves);
        let addresses = operation.addresses.clone();
        formed.names = Some(place);
        let method = write.request().0;
        if moves {
            let state = ["Updating", "Creating", "Accepted"][self.rng.usize(..3)];
            let shows = match shape {
                Shape::Moving => write.cells(),
                _ => write.resource().into_iter().collect(),
            };
            formed.shows = self.versions(&shows);
            if matches!(method, "PUT" | "PATCH") {
                formed.members = format!(r#""properties":{{"provisioningState":"{state}"}},"#);
            }
        }
        for (way, target) in addresses {
            let name = match way {
                Address::Async => "Azure-AsyncOperation",
                Address::Operation => "Operation-Location",
                Address::Location | Address::Monitor | Address::Odd => "Location",
            };
            formed.fields.push((name, format!("{HOST}{target}")));
        }
        if self.rng.u8(..3) > 0 {
            formed.fields.push(("Retry-After", "1".into()));
        }
        formed.empty = formed.members.is_empty();
        match shape {
            Shape::Moving if self.rng.bool() => 201,
            Shape::Moving => 200,
            _ => 202,
        }
    }

    /// Gives an answer its number and its body.
    fn form(&mut self, request: &Request, status: u16, formed: Formed) -> Reply {
        let id = self.rng.u128(..);
        let when = self.stamp();
        let (host, prefix) = HOSTS[self.rng.usize(..HOSTS.len())];
        let text = match formed.empty {
            true => String::new(),
            false if status < 300 => format!(r#"{{"m":"{id:032x}",{}"end":1}}"#, formed.members),
            false => format!(r#"{{"error":{{"code":"Said{status}","message":"{id:032x}"}}}}"#),
        };
        let text = text.replace(MARK, &format!("{id:032x}"));
        let to_api = |text: &str| text.replace(HOST, host);
        let shown = match request.target.to_ascii_lowercase().starts_with("/metadata/") {
            // What describes the cloud names forebay itself.
            true => text.replace(HOST, FOREBAY),
            false => text.replace(HOST, &format!("{FOREBAY}{prefix}")),
        };
        let body = match request.target.to_ascii_lowercase().starts_with("/metadata/") {
            true => text.replace(HOST, HOSTS[0].0),
            false => to_api(&text),
        };
        self.write_down(|| {
            let Request { method, target, credential, .. } = request;
            format!("{method} {target} is answered {status} for {credential:?}")
        });
        let mut fields: Vec<(&'static str, String)> =
            formed.fields.iter().map(|(name, value)| (*name, to_api(value))).collect();
        fields.push(("Cache-Control", "no-cache".into()));
        self.answers.insert(
            id,
            Answer {
                target: request.target.clone(),
                credential: request.credential,
                status,
                formed: when,
                sent: None,
                shows: formed.shows,
                tells: formed.tells,
                names: formed.names,
                listed: false,
                moves: formed.moves,
                body: Bytes::from(shown),
            },
        );
        Reply { id, status, fields, body: (status != 204).then(|| Bytes::from(body)) }
    }
}

/// The group as a request below one spells it that is for the provider whose answers repeat the spelling.
pub fn echoed(target: &str) -> Option<&str> {
    let path = target.split('?').next()?;
    let segments: Vec<&str> = path.split('/').collect();
    let is =
        |at: usize, word: &str| segments.get(at).is_some_and(|segment| segment.eq_ignore_ascii_case(word));
    (is(3, "resourceGroups") && is(6, "Microsoft.Compute")).then(|| segments[4])
}

/// `path` with another spelling of its group.
pub fn with_group(path: &str, group: &str) -> String {
    let mut segments: Vec<&str> = path.split('/').collect();
    if let Some(place) = segments.get_mut(4) {
        *place = group;
    }
    segments.join("/")
}

/// The number of the page that a target asks for.
fn page_of(target: &str) -> usize {
    let query = target.split_once('?').map_or("", |(_, query)| query).to_ascii_lowercase();
    let token = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        matches!(name, "$skiptoken" | "%24skiptoken").then(|| value.to_owned())
    });
    let digits =
        |token: String| token.trim_start_matches('p').chars().take_while(char::is_ascii_digit).collect();
    token.map(digits).and_then(|digits: String| digits.parse().ok()).unwrap_or(0)
}
