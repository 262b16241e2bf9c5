//! What the clients do: each a stream of requests, drawn from its own numbers.

use std::sync::Arc;

use fastrand::Rng;

use super::cells::{Cell, GUESTS, NODES, PASSING_GUESTS, POOLS, PRINCIPALS, Read, STORAGES, Shape, Write};
use super::client::Connection;
use super::showing::Seen;
use super::world::World;

/// Principals that never write, so that they may have the last known state in an outage.
const WATCHERS: [usize; 3] = [1, 2, 4];

/// What the clients of one run share.
pub type Field = super::field::Field<World>;

/// A client.
pub struct Client {
    field: Arc<Field>,
    rng: Rng,
    connection: Connection,
    credential: usize,
    /// Tasks that it waits for.
    waits_for: Vec<usize>,
    /// What it wants to see next.
    next: Vec<Read>,
    /// A validator for what it saw last of a target.
    seen: Option<(String, String)>,
}

impl Client {
    /// A client with numbers of its own.
    pub fn new(field: Arc<Field>, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let credential = field.world.lock().people.any_valid(&mut rng);
        let connection = Connection::to(**field.address.load());
        Self { field, rng, connection, credential, waits_for: Vec::new(), next: Vec::new(), seen: None }
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
                if world.weather.rights && self.rng.u8(..25) == 0 {
                    // Somebody looks in who has not been here for a while.
                    self.credential = world.people.any_valid(&mut self.rng);
                } else if self.rng.u8(..if world.weather.rights { 6 } else { 50 }) == 0 {
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
            let task = self.waits_for[self.rng.usize(..self.waits_for.len())];
            let node = world.tasks[task].node;
            return match self.rng.u8(if world.weather.unseen { 4 } else { 0 }..8) {
                0 => Read::Tasks(Some(node)),
                1 => Read::Tasks(None),
                2 => Read::TaskLog(world.tasks[task].upid.clone()),
                3 => Read::Log,
                _ => Read::Task(world.tasks[task].upid.clone()),
            };
        }
        let unseen = world.weather.unseen;
        let (hot, all) = (self.rng.u8(..25) > 0, Read::all());
        let among = if hot { &world.hot } else { &all };
        loop {
            let read = &among[self.rng.usize(..among.len())];
            if !(unseen && read.tells_of_tasks()) {
                return read.clone();
            }
        }
    }

    async fn read(&mut self) -> Result<(), String> {
        let read = self.pick_read();
        let format = if self.rng.u8(..20) == 0 { "extjs" } else { "json" };
        let mut target = format!("/api2/{format}{}", read.path());
        if self.rng.u8(..12) == 0 {
            let sign = if target.contains('?') { '&' } else { '?' };
            target += &format!("{sign}_dc={}", self.rng.u32(..));
        }
        let (asked, bytes) = {
            let mut world = self.field.world.lock();
            let credential = match self.rng.u8(..40) {
                0 => None,
                1 => world.people.any_refused(&mut self.rng),
                _ => Some(self.credential),
            };
            let mut asked = world.begin_read(read, target, credential);
            let kind = self.rng.u8(..100);
            asked.bodiless = kind == 0;
            asked.fresh = matches!(kind, 1..5);
            let method = if asked.bodiless { "HEAD" } else { "GET" };
            let mut head = format!("{method} {} HTTP/1.1\r\nHost: forebay.test\r\n", asked.target);
            if let Some(credential) = credential {
                head += &format!("{}\r\n", world.people.credentials[credential].field);
            }
            head += match kind {
                1 | 2 => "Cache-Control: no-cache\r\n",
                3 => "Cache-Control: max-age=0\r\n",
                4 => "Cache-Control: no-store\r\n",
                5 => "Cache-Control: max-age=1\r\n",
                6 => "Range: bytes=0-9\r\n",
                7..15 => "Accept-Encoding: gzip\r\n",
                _ => "",
            };
            if let Some((target, etag)) = &self.seen
                && *target == asked.target
            {
                head += &format!("If-None-Match: {etag}\r\n");
            }
            world.note(|| {
                format!("{} {:?} asks {method} {} {kind}", asked.began.tick, credential, asked.target)
            });
            (asked, head + "\r\n")
        };
        let Some(got) = self.exchange(bytes.as_bytes(), asked.bodiless).await else {
            self.field.tally.lock().lost += 1;
            return Ok(());
        };
        let mut world = self.field.world.lock();
        world.note(|| {
            let model = got.field("x-model").unwrap_or("-");
            format!(
                "{} {:?} got {} {} {}",
                asked.began.tick,
                asked.credential,
                got.status,
                got.cache(),
                &model[..model.len().min(6)]
            )
        });
        let seen = world.judge_read(&asked, &got, &mut self.field.rules.lock()).map_err(|what| {
            let head =
                format!("{} {:?} got {} ({})", asked.target, asked.credential, got.status, got.cache());
            let mut cells = asked.read.cells();
            cells.truncate(12);
            format!("{what}\n{head}\n{}", world.report(&cells))
        })?;
        if got.status == 401 && self.rng.u8(..3) > 0 {
            self.credential = world.people.any_valid(&mut self.rng);
        }
        self.seen = got.field("etag").map(|etag| (asked.target.clone(), etag.to_owned()));
        let mut tally = self.field.tally.lock();
        tally.of_equals += u64::from(got.cache().starts_with("hit") && world.is_of_an_equal(&asked, &got));
        match seen {
            Seen::Lost => tally.lost += 1,
            Seen::Refused => tally.refused += 1,
            Seen::Answer if got.cache().contains("stale-") => tally.stale += 1,
            Seen::Answer if got.cache().starts_with("hit") => tally.hits += 1,
            Seen::Answer if got.cache().contains("collapsed") => tally.collapsed += 1,
            Seen::Answer => tally.fetched += 1,
        }
        // Whoever learns that a task has ended looks at what it did.
        let over = |task: &usize| world.tasks[*task].told_ended;
        for task in self.waits_for.extract_if(.., |task| over(task)) {
            tally.ended += 1;
            for cell in world.tasks[task].cells.clone() {
                self.next.push(showing(cell, &mut self.rng));
            }
        }
        Ok(())
    }

    fn pick_write(&mut self) -> Write {
        let mut world = self.field.world.lock();
        let (lost, rights) = (world.weather.lost, world.weather.rights);
        if rights {
            return match self.rng.bool() {
                true => Write::Acl(self.rng.usize(1..PRINCIPALS)),
                false => Write::Firewall(self.rng.usize(..GUESTS)),
            };
        }
        let write = any_write(&mut self.rng, &world.focus);
        if !lost {
            return write;
        }
        // What a call does by itself, and not by a task that could be asked after.
        let write = match write.shape() {
            Shape::AtOnce if !matches!(write, Write::Acl(_) | Write::User) => write,
            _ => Write::PutConfig(self.rng.usize(..GUESTS - 2)),
        };
        // All look at it from now on.
        let place = self.rng.usize(..world.hot.len());
        let alone = |read: &Read| read.cells() == write.cells();
        let alone: Vec<Read> = Read::all().into_iter().filter(alone).collect();
        if !alone.is_empty() {
            world.hot[place] = alone[self.rng.usize(..alone.len())].clone();
        }
        write
    }

    async fn write(&mut self) -> Result<(), String> {
        let write = self.pick_write();
        let (method, path, content) = write.request();
        let format = if self.rng.u8(..4) == 0 { "extjs" } else { "json" };
        let target = format!("/api2/{format}{path}");
        let (op, credential, bytes) = {
            let mut world = self.field.world.lock();
            let credential = match self.rng.u8(..30) {
                0 => world.people.any_refused(&mut self.rng).unwrap_or(self.credential),
                _ => self.credential,
            };
            let op = world.begin_write(write.clone());
            let field = &world.people.credentials[credential].field;
            let mut head =
                format!("{method} {target} HTTP/1.1\r\nHost: forebay.test\r\n{field}\r\nX-Write: {op}\r\n");
            if method != "DELETE" {
                head += "Content-Type: application/x-www-form-urlencoded\r\n";
                head += &format!("Content-Length: {}\r\n\r\n{content}", content.len());
            } else {
                head += "\r\n";
            }
            world.note(|| format!("write {op} of {credential} is sent: {write:?} to {target}"));
            (op, credential, head)
        };
        let got = self.exchange(bytes.as_bytes(), false).await;
        let settle = self.field.rules.lock().settle(method, &target);
        let mut world = self.field.world.lock();
        let (seen, task) = world
            .judge_write(op, credential, &target, got.as_ref(), settle)
            .map_err(|what| format!("{what}\n{}", world.report(&write.cells())))?;
        let mut tally = self.field.tally.lock();
        match seen {
            Seen::Lost => tally.lost += 1,
            Seen::Refused => tally.refused += 1,
            Seen::Answer => tally.written += 1,
        }
        self.waits_for.extend(task);
        for cell in write.cells() {
            self.next.push(showing(cell, &mut self.rng));
        }
        Ok(())
    }

    /// Sends a request and waits for its answer, unless the client leaves.
    async fn exchange(&mut self, bytes: &[u8], bodiless: bool) -> Option<super::client::Got> {
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

/// Some read that shows `cell`.
fn showing(cell: Cell, rng: &mut Rng) -> Read {
    let all: Vec<Read> = Read::all().into_iter().filter(|read| read.cells().contains(&cell)).collect();
    if all.is_empty() { Read::Permissions } else { all[rng.usize(..all.len())].clone() }
}

/// Some write, most likely to one of the cells in `focus`.
pub fn any_write(rng: &mut Rng, focus: &[Cell]) -> Write {
    for _ in 0..8 {
        let (guest, node, storage) = (rng.usize(..GUESTS - 2), rng.usize(..NODES), rng.usize(..STORAGES));
        let write = match rng.u8(..40) {
            0..8 => Write::PutConfig(guest),
            8..12 => Write::PostConfig(guest),
            12..18 => Write::Start(guest),
            18..21 => Write::Snapshot(guest, storage),
            21 => Write::Create(PASSING_GUESTS[node]),
            22 => Write::Delete(PASSING_GUESTS[node]),
            23..26 => Write::Firewall(guest),
            26..29 => Write::Cloudinit(guest),
            29..31 => Write::Pool(rng.usize(..POOLS)),
            31 => Write::Storage(storage),
            32..34 => Write::Allocate(node, storage),
            34..36 => Write::Remove(node, storage),
            36 => Write::Backup(node, storage),
            37 => Write::Acl(rng.usize(..PRINCIPALS)),
            _ => Write::User,
        };
        if write.cells().iter().any(|cell| focus.contains(cell)) {
            return write;
        }
    }
    Write::PutConfig(rng.usize(..GUESTS))
}
