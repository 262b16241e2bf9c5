//! The model of Proxmox as the shared parts see it, and forebay's configurations for it.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use forebay::clock::{Clock, Timestamp};
use forebay::dialect::Dialect;
use forebay::rules::{RuleSet, Sharing};

use super::answering::Answering;
use super::check::CEILING;
use super::field::Tally;
use super::model::{Model, Reply, Request, Treatment};
use super::plan::{Client, Field};
use super::run::{self, Setup};
use super::weather::{Climate, Fate, Statuses, Weather};
use super::world::World;

/// Whether forebay has a feed, and a ceiling without one.
pub const FEED: bool = true;

/// What Proxmox and its relays say.
const STATUSES: Statuses = Statuses { down: 595, refused: [500, 501], gave_up: 596, unread: 500 };

/// Runs `operations` requests with `seed`. A violation comes with the number of requests before it.
pub async fn run(seed: u64, operations: u64) -> Result<Tally, (u64, String)> {
    let clock = Clock::manual();
    let world = World::new(clock.clone(), seed);
    run::run(
        clock,
        world,
        |world, endpoint| setup(world, endpoint, seed),
        Climate::of(seed),
        seed,
        operations,
    )
    .await
}

impl Model for World {
    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn events(&self) -> u64 {
        self.events()
    }

    fn step(&self) -> u64 {
        self.step
    }

    fn tick(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(1..=self.weather.tick))
    }

    fn run_due(&mut self, until: Timestamp) {
        self.run_due(until);
    }

    fn advance_step(&mut self) {
        self.advance_step();
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.note(text);
    }

    fn report(&self) -> String {
        self.report(&[])
    }

    fn set_weather(&mut self, weather: Weather) {
        self.set_weather(weather);
    }

    fn look_elsewhere(&mut self) {
        self.look_elsewhere();
    }

    fn leapt(&mut self) {
        self.leapt();
    }

    fn reloaded(&mut self) {
        let when = self.stamp();
        self.reloaded = Some(when);
    }

    fn restarted(&mut self) {
        self.generation += 1;
        self.note(|| "restarted".into());
        self.leapt();
    }

    fn revoke_any(&mut self, rng: &mut Rng) {
        let credential = self.people.any_valid(rng);
        let when = self.stamp();
        self.people.revoke(credential, when, rng);
        self.note(|| format!("credential {credential} is revoked"));
    }

    fn credential(&self, line: &str) -> Option<usize> {
        self.people.of_field(line)
    }

    fn answering(&mut self) -> &mut Answering {
        &mut self.answering
    }

    fn treat(&mut self, request: &Request) -> Treatment {
        let weather = self.weather;
        let fate = Fate::draw(&weather, &STATUSES, request.write.is_some(), &mut self.rng);
        let mut hold = || if self.rng.f32() < weather.hold { self.rng.u64(1..40) } else { 0 };
        // Its watch is not held, so that it can be said how soon it has the news.
        match request.credential == Some(self.people.own) {
            true => Treatment { fate, before: 0, after: 0 },
            false => Treatment { fate, before: hold(), after: hold() },
        }
    }

    fn answer(&mut self, request: &Request, fate: Fate) -> Option<Reply> {
        self.form_answer(request, fate)
    }

    fn sent(&mut self, reply: &Reply, cut: bool) -> bool {
        let stamp = self.stamp();
        if let Some(answer) = self.answers.get_mut(&reply.id) {
            answer.sent = Some(stamp);
        }
        if !cut {
            self.fed(reply.id, stamp);
        }
        // As Proxmox does after errors, and now and then without a word.
        reply.status >= 400 || self.rng.u8(..100) == 0
    }

    fn client(field: Arc<Field>, seed: u64) -> impl Future<Output = ()> + Send + 'static {
        Client::new(field, seed).run()
    }
}

/// Two configurations that differ in the names of groups and in lifetimes.
fn setup(world: &mut World, endpoint: &str, seed: u64) -> Setup {
    world.has_feed = FEED && seed % 2 == 1;
    let ceiling = CEILING.as_secs();
    let mut files = Vec::new();
    let feed = match (FEED, world.has_feed) {
        (false, _) => String::new(),
        (_, false) => format!("    feed: {{ceiling: {ceiling}s}}\n"),
        (_, true) => {
            let own = &world.people.credentials[world.people.own].field;
            files.push(("own.token", format!("{own}\n")));
            format!("    credential_file: own.token\n    feed: {{every: 2s, ceiling: {ceiling}s}}\n")
        }
    };
    let mut packs = [pack(), other_pack()];
    if (seed / 2) % 2 == 1 {
        packs = packs.map(|pack| by_rights(&pack));
    }
    Setup::new(endpoint, run::warm_in(seed, packs), &feed, &files)
}

fn pack() -> String {
    forebay::rules::builtin("proxmox").expect("it is built in").to_owned()
}

/// The same where all who have the same rights share what principals share, as far as names do not decide.
pub fn by_rights(pack: &str) -> String {
    let set = RuleSet::parse("rules.yaml", pack).expect("the pack is good");
    let mut lines: Vec<String> = pack.lines().map(|line| format!("{line}\n")).collect();
    let beyond = Dialect::Proxmox.beyond_rights();
    for rule in set.reads.iter().filter(|rule| rule.share == Sharing::Principal) {
        if set.meets(rule, beyond).is_none() {
            let of_rule = &mut lines[rule.line as usize - 1..];
            let share = of_rule.iter_mut().find(|line| line.contains("share: principal"));
            let share = share.expect("the rule says who shares");
            *share = share.replace("share: principal", "share: rights");
        }
    }
    lines.concat()
}

/// The same with other names for the groups of guests, as an operator might edit them, and another
/// lifetime for one of the reads.
fn other_pack() -> String {
    let text = pack().replace("\"guest/{", "\"vm/{").replace("[guests", "[vms").replace(" guests,", " vms,");
    text.replace(" guests-all", " vms-all").replace("ttl: 10s\n", "ttl: 9s\n")
}
