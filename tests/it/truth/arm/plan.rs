//! What the clients do: each a stream of requests, drawn from its own numbers.

use std::sync::Arc;

use fastrand::Rng;

use super::super::client::{Connection, Got};
use super::super::field::Field;
use super::super::history::Stamp;
use super::super::showing::Seen;
use super::cells::{Casing, Cell, GROUPS, Kind, LISTED, MACHINES, PRINCIPALS, SUBSCRIPTIONS};
use super::check::Asked;
use super::reads::{Read, VERSIONS};
use super::world::World;
use super::writes::Write;

/// Principals that never write, so that they may have the last known state in an outage.
const WATCHERS: [usize; 3] = [1, 2, 4];

/// A client.
pub struct Client {
    field: Arc<Field<World>>,
    rng: Rng,
    connection: Connection,
    credential: usize,
    /// Operations that it waits for.
    waits_for: Vec<usize>,
    /// What it wants to see next.
    next: Vec<Read>,
    /// A page that it will follow: the list, where it is, when the one before was formed, and for whom.
    page: Option<(Read, String, Stamp, Option<usize>)>,
    /// What it asked for last: whoever polls asks again.
    last: Option<(Read, String)>,
}

impl Client {
    /// A client with numbers of its own.
    pub fn new(field: Arc<Field<World>>, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let credential = field.world.lock().people.any_valid(&mut rng);
        let connection = Connection::to(**field.address.load());
        let (waits_for, next, page, last) = Default::default();
        Self { field, rng, connection, credential, waits_for, next, page, last }
    }

    /// Sends requests until there are enough of all clients together, or one was answered wrongly.
    pub async fn run(mut self) {
        let field = self.field.clone();
        while field.begin_turn() {
            let _under_way = field.traffic.read().await;
            if self.connection.address() != **field.address.load() {
                self.connection = Connection::to(**field.address.load());
            }
            let write = {
                let world = field.world.lock();
                if self.rng.u8(..if world.weather.rights { 6 } else { 40 }) == 0 {
                    let place = self.rng.usize(..world.active.len());
                    self.credential = world.active[place];
                }
                let principal = world.people.credentials[self.credential].principal;
                if WATCHERS.contains(&principal) { 0.0 } else { world.weather.write }
            };
            let judged = if self.rng.f32() < write { self.write().await } else { self.read().await };
            field.end_turn(judged);
        }
    }

    fn pick_read(&mut self) -> Read {
        if let Some(read) = self.next.pop() {
            return read;
        }
        let world = self.field.world.lock();
        if !self.waits_for.is_empty() && self.rng.u8(..3) > 0 {
            let place = self.waits_for[self.rng.usize(..self.waits_for.len())];
            let operation = &world.operations[place];
            let by_address = !operation.addresses.is_empty() && self.rng.u8(..4) > 0;
            return match operation.write.resource() {
                Some(resource) if !by_address => Read::Item(resource),
                _ => match operation.addresses.len() {
                    0 => Read::Groups(operation.write.subscription()),
                    count => Read::Poll { operation: place, address: self.rng.usize(..count) },
                },
            };
        }
        // Now and then somebody asks after an operation that is none of its own.
        if self.rng.u8(..60) == 0
            && let Some(place) = world.operations.len().checked_sub(1 + self.rng.usize(..4))
            && let count @ 1.. = world.operations[place].addresses.len()
        {
            return Read::Poll { operation: place, address: self.rng.usize(..count) };
        }
        let hot = self.rng.u8(..25) > 0;
        let all = Read::all();
        let among = if hot { &world.hot } else { &all };
        among[self.rng.usize(..among.len())]
    }

    /// A way to write the address of `read`.
    fn target(&mut self, read: Read) -> String {
        if let Read::Poll { operation, address } = read {
            return self.field.world.lock().operations[operation].addresses[address].1.clone();
        }
        let casing = match self.rng.u8(..10) {
            0 => Casing::Lower,
            1 | 2 => Casing::UpperGroup,
            _ => Casing::Canonical,
        };
        let path = casing.write(&read.path());
        let version = format!("api-version={}", VERSIONS[usize::from(self.rng.u8(..5) == 0)]);
        if !matches!(read, Read::Expanded(_)) {
            return format!("{path}?{version}");
        }
        let expand = if self.rng.bool() { "$expand=instanceView" } else { "%24expand=instanceView" };
        match self.rng.bool() {
            true => format!("{path}?{version}&{expand}"),
            false => format!("{path}?{expand}&{version}"),
        }
    }

    async fn read(&mut self) -> Result<(), String> {
        let page = self.page.take().filter(|(.., who)| *who == Some(self.credential));
        let (read, target, after) = match page {
            Some((read, target, after, _)) => (read, target, Some(after)),
            None => {
                let again = if self.rng.u8(..3) == 0 { self.last.clone() } else { None };
                let (read, target) = again.unwrap_or_else(|| {
                    let read = self.pick_read();
                    (read, self.target(read))
                });
                (read, target, None)
            }
        };
        self.last = Some((read, target.clone()));
        let (asked, bytes, notes_pages) = self.ask(read, target, after);
        let Some(got) = self.exchange(bytes.as_bytes(), asked.bodiless).await else {
            self.field.tally.lock().lost += 1;
            return Ok(());
        };
        let mut world = self.field.world.lock();
        world.write_down(|| {
            let (tick, who, status, cache) = (asked.began.tick, asked.credential, got.status, got.cache());
            let model = got.field("x-model").unwrap_or("-");
            format!("{tick} {who:?} got {status} {cache} {}", &model[..model.len().min(6)])
        });
        let learnt = world.judge_read(&asked, &got, &mut self.field.rules.lock()).map_err(|what| {
            let (target, who, status, cache) = (&asked.target, asked.credential, got.status, got.cache());
            let mut cells = asked.read.cells();
            cells.truncate(12);
            format!("{what}\n{target} {who:?} got {status} ({cache})\n{}", world.tell_of(&cells))
        })?;
        if got.status == 401 && world.people.live_shortly() {
            self.credential = world.active[self.rng.usize(..world.active.len())];
        } else if got.status == 401 && self.rng.u8(..3) > 0 {
            self.credential = world.people.any_valid(&mut self.rng);
        }
        self.page = learnt
            .next
            .filter(|_| notes_pages && self.rng.u8(..4) > 0)
            .map(|(target, formed)| (asked.read, target, formed, asked.credential));
        let mut tally = self.field.tally.lock();
        let is_hit = got.cache().starts_with("hit");
        tally.promoted += u64::from(got.cache().contains("promoted"));
        tally.of_equals += u64::from(is_hit && world.is_of_another(&asked, &got));
        match learnt.seen {
            Seen::Lost => tally.lost += 1,
            Seen::Refused => tally.refused += 1,
            Seen::Answer if got.cache().contains("stale-") => tally.stale += 1,
            Seen::Answer if is_hit => tally.hits += 1,
            Seen::Answer if got.cache().contains("collapsed") => tally.collapsed += 1,
            Seen::Answer => tally.fetched += 1,
        }
        // Whoever learns that an operation has ended looks at what it did.
        for place in self.waits_for.extract_if(.., |place| world.operations[*place].told_ended) {
            tally.ended += 1;
            for cell in world.operations[place].write.cells().into_iter().take(4) {
                self.next.push(showing(cell, &mut self.rng));
            }
        }
        // An operation that only its resource tells of may have been told of to others.
        let over = |place: &usize| {
            let operation = &world.operations[*place];
            operation.addresses.is_empty() && operation.ended.is_some()
        };
        let _given_up = self.waits_for.extract_if(.., |place| over(place) && self.rng.u8(..8) == 0).count();
        Ok(())
    }

    /// The request for a read, and whether its answer tells forebay what the next page is.
    fn ask(&mut self, read: Read, target: String, after: Option<Stamp>) -> (Asked, String, bool) {
        let mut world = self.field.world.lock();
        let credential = match self.rng.u8(..40) {
            _ if after.is_some() => Some(self.credential),
            0 => None,
            1 => world.people.any_refused(&mut self.rng),
            _ => Some(self.credential),
        };
        let mut asked = world.begin_read(read, target, credential);
        asked.after = after;
        let kind = self.rng.u8(..100);
        let is_poll = matches!(read, Read::Poll { .. });
        let is_odd = is_poll && asked.target.contains("/restarts/");
        let is_item = matches!(read, Read::Item(_));
        asked.bodiless = kind == 0 && is_item;
        asked.doubled = kind == 6;
        let regional = asked.target.starts_with("/~r/w");
        asked.fresh =
            asked.bodiless || matches!(kind, 1..9) || read.is_posted() || is_poll && !is_odd || regional;
        let method = match (asked.bodiless, read.is_posted()) {
            (true, _) => "HEAD",
            (false, true) => "POST",
            (false, false) => "GET",
        };
        let mut head = format!("{method} {} HTTP/1.1\r\nHost: forebay.test\r\n", asked.target);
        if let Some(credential) = credential {
            head += &format!("{}\r\n", world.people.credentials[credential].field);
        }
        head += match kind {
            1 | 2 => "Cache-Control: no-cache\r\n",
            3 => "Cache-Control: max-age=0\r\n",
            4 => "Cache-Control: no-store\r\n",
            5 => "If-None-Match: \"x\"\r\n",
            6 => "x-ms-authorization-auxiliary: Bearer e30.e30.x\r\n",
            7 => "Accept: text/html\r\n",
            8 if is_item => "CommandName: vm update\r\n",
            9 => "x-ms-authorization-auxiliary:\r\nAccept: application/json; charset=utf-8\r\n",
            10 => "CommandName: vm list\r\nAccept: */*\r\n",
            11..19 => "Accept-Encoding: gzip\r\n",
            _ => "",
        };
        // Without a rule that says so nobody is passed by.
        asked.fresh &= kind != 8 || is_item && is_kept(read);
        if read.is_posted() {
            head += "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        } else {
            head += "\r\n";
        }
        let (tick, target) = (asked.began.tick, asked.target.clone());
        world.write_down(|| format!("{tick} {credential:?} asks {method} {target} {kind}"));
        // What passes by is not noted, nor what one region alone was asked.
        (asked, head, !matches!(kind, 4..9) && !regional)
    }

    fn pick_write(&mut self) -> Write {
        let world = self.field.world.lock();
        if world.weather.rights && self.rng.u8(..8) == 0 {
            return Write::Role(Cell::rights(self.rng.usize(1..PRINCIPALS), self.rng.usize(..SUBSCRIPTIONS)));
        }
        any_write(&mut self.rng, &world.focus)
    }

    async fn write(&mut self) -> Result<(), String> {
        let write = self.pick_write();
        let (method, path) = write.request();
        let casing = [Casing::Canonical, Casing::Canonical, Casing::UpperGroup, Casing::Lower];
        let path = casing[self.rng.usize(..casing.len())].write(&path);
        let target = format!("{path}?api-version={}", VERSIONS[self.rng.usize(..2)]);
        let (op, credential, bytes) = {
            let mut world = self.field.world.lock();
            let credential = match self.rng.u8(..30) {
                0 => world.people.any_refused(&mut self.rng).unwrap_or(self.credential),
                _ => self.credential,
            };
            let op = world.begin_write(write);
            let field = &world.people.credentials[credential].field;
            let mut head =
                format!("{method} {target} HTTP/1.1\r\nHost: forebay.test\r\n{field}\r\nX-Write: {op}\r\n");
            if method == "DELETE" {
                head += "\r\n";
            } else {
                head += "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
            }
            world
                .write_down(|| format!("write {op} of {credential} is sent: {write:?} to {method} {target}"));
            (op, credential, head)
        };
        let got = self.exchange(bytes.as_bytes(), false).await;
        let settle = self.field.rules.lock().settle(method, &path.to_ascii_lowercase());
        let mut world = self.field.world.lock();
        let (seen, operation) = world
            .judge_write(op, credential, &target, got.as_ref(), settle)
            .map_err(|what| format!("{what}\n{}", world.tell_of(&write.cells())))?;
        let mut tally = self.field.tally.lock();
        match seen {
            Seen::Lost => tally.lost += 1,
            Seen::Refused => tally.refused += 1,
            Seen::Answer => tally.written += 1,
        }
        self.waits_for.extend(operation);
        for cell in write.cells().into_iter().take(4) {
            self.next.push(showing(cell, &mut self.rng));
        }
        Ok(())
    }

    /// Sends a request and waits for its answer, unless the client leaves.
    async fn exchange(&mut self, bytes: &[u8], bodiless: bool) -> Option<Got> {
        let leave = self.field.world.lock().weather.leave;
        if !self.connection.send(bytes).await {
            return None;
        }
        if self.rng.f32() < leave {
            for _ in 0..self.rng.u8(..12) {
                tokio::task::yield_now().await;
            }
            self.connection.close();
            return None;
        }
        self.connection.receive(bodiless).await
    }
}

/// Whether the pack's rule for an item lets those pass that read in order to write.
fn is_kept(read: Read) -> bool {
    !matches!(read, Read::Item(Cell { kind: Kind::Subscription, .. }))
}

/// Some read that shows `cell`.
fn showing(cell: Cell, rng: &mut Rng) -> Read {
    let all: Vec<Read> = Read::all().into_iter().filter(|read| read.cells().contains(&cell)).collect();
    if all.is_empty() { Read::Subscriptions } else { all[rng.usize(..all.len())] }
}

/// Some write, most likely to one of the cells in `focus`.
pub fn any_write(rng: &mut Rng, focus: &[Cell]) -> Write {
    let parts = [Kind::Extension, Kind::Subnet, Kind::Config, Kind::Group];
    for _ in 0..12 {
        let (machine, group) = (rng.usize(..MACHINES), rng.usize(..GROUPS));
        let of_group = |kind: Kind| Cell { kind, at: group };
        let write = match rng.u8(..60) {
            0..24 => {
                let kinds = [LISTED.as_slice(), parts.as_slice()].concat();
                let kind = kinds[rng.usize(..kinds.len())];
                let all: Vec<Cell> = kind.cells().collect();
                Write::Put(all[rng.usize(..all.len())])
            }
            24..29 => Write::Patch(machine),
            29..34 => Write::Start(machine),
            34..38 => Write::Deallocate(machine),
            38..40 => Write::Delete(Cell { kind: Kind::Machine, at: 2 * group + 1 }),
            40 => Write::Delete(of_group(Kind::Account)),
            41 => Write::Delete(of_group(Kind::App)),
            42..46 => Write::Restart(group),
            46..49 => Write::Deploy(group),
            49 => Write::DeployAll(rng.usize(..SUBSCRIPTIONS)),
            50 => Write::DeleteGroup(2 * rng.usize(..SUBSCRIPTIONS) + 1),
            51..53 => Write::Move(group, rng.usize(..GROUPS)),
            53..56 => Write::Tags(Cell { kind: LISTED[rng.usize(..LISTED.len())], at: group }),
            56 => Write::Tags(of_group(Kind::Group)),
            57 => Write::Tags(Cell { kind: Kind::Subscription, at: rng.usize(..SUBSCRIPTIONS) }),
            58 => Write::Batch(group),
            _ => Write::Put(of_group(Kind::Account)),
        };
        if write.cells().iter().any(|cell| focus.contains(cell)) {
            return write;
        }
    }
    Write::Patch(rng.usize(..MACHINES))
}
