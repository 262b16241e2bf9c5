//! The model as the shared parts see it, and forebay's configurations for it.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use forebay::clock::{Clock, Timestamp};
use forebay::config::Settings;

use super::super::Found;
use super::super::answering::Answering;
use super::super::field::Field;
use super::super::model::{Model, Reply, Request, Treatment};
use super::super::run::{self, Setup};
use super::super::weather::{Climate, Fate, Statuses, Weather};
use super::people::Lives;
use super::plan::Client;
use super::world::World;

/// What the front door and the providers say.
const STATUSES: Statuses = Statuses { down: 503, refused: [409, 412], gave_up: 504, unread: 500 };

/// Runs `operations` requests with `seed`. A violation comes with the number of requests before it.
pub async fn run(seed: u64, operations: u64) -> Found {
    let clock = Clock::manual();
    let (climate, lives) = match seed % 8 {
        3 => (Climate::Ends, Lives::Short),
        7 => (Climate::Few, Lives::Usual),
        _ => (Climate::of(seed), Lives::Usual),
    };
    let mut world = World::new(clock.clone(), lives, seed);
    world.few_calls = climate == Climate::Few;
    run::run(
        clock,
        world,
        |world, endpoint| setup(endpoint, world.few_calls, seed),
        climate,
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
        self.happened()
    }

    fn step(&self) -> u64 {
        self.step
    }

    fn tick(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(1..=self.weather.tick))
    }

    fn run_due(&mut self, until: Timestamp) {
        self.happen_until(until);
    }

    fn advance_step(&mut self) {
        self.one_more();
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.write_down(text);
    }

    fn report(&self) -> String {
        self.tell_of(&[])
    }

    fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    fn look_elsewhere(&mut self) {
        self.turn_elsewhere();
    }

    fn leapt(&mut self) {}

    fn reloaded(&mut self) {}

    fn restarted(&mut self) {
        self.generation += 1;
        self.floors_before = self.cells.iter().map(|cell| cell.floor).collect();
        self.write_down(|| "restarted".into());
    }

    fn revoke_any(&mut self, rng: &mut Rng) {
        let credential = self.people.any_valid(rng);
        let (when, wall) = (self.stamp(), self.clock.wall_seconds());
        self.people.revoke(credential, when, wall, rng);
        self.write_down(|| format!("token {credential} is revoked"));
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
        Treatment { fate, before: hold(), after: hold() }
    }

    fn answer(&mut self, request: &Request, fate: Fate) -> Option<Reply> {
        self.form_answer(request, fate)
    }

    fn sent(&mut self, reply: &Reply, _cut: bool) -> bool {
        let stamp = self.stamp();
        if let Some(answer) = self.answers.get_mut(&reply.id) {
            answer.sent = Some(stamp);
        }
        reply.status >= 400 || self.rng.u8(..100) == 0
    }

    fn client(field: Arc<Field<World>>, seed: u64) -> impl Future<Output = ()> + Send + 'static {
        Client::new(field, seed).run()
    }
}

/// Two configurations that differ in the names of groups and in lifetimes. In every second pair of seeds the
/// tokens of a principal share, and the last known state is shown in outages. Where `few_calls` says so lists are
/// read in place of their items, and one entry is for all spellings.
fn setup(endpoint: &str, few_calls: bool, seed: u64) -> Setup {
    let packs = if few_calls { [few(&pack()), few(&other_pack())] } else { [pack(), other_pack()] };
    let shares = if few_calls { (seed / 8) % 2 == 1 } else { (seed / 2) % 2 == 1 };
    let packs = if shares { packs.map(|pack| shared_and_stale(&pack)) } else { packs };
    Setup::new(endpoint, run::warm_in(seed, packs), "", &[]).adjusted(without_buckets)
}

/// The model has no buckets, and would have to be given as many subscriptions as there are requests a second.
fn without_buckets(settings: &mut Settings) {
    for upstream in &mut settings.upstreams {
        upstream.upstream.quota.reading = None;
    }
}

fn pack() -> String {
    forebay::rules::builtin("azure").expect("it is built in").to_owned()
}

/// `pack` behind the rules that save calls, as an operator has them.
fn few(pack: &str) -> String {
    let text = include_str!("../../../../deploy/azure-fewer-calls.yaml");
    let (_, reads) = text.split_once("\nreads:\n").expect("it has reads");
    // What each calls an anchor is its own.
    let reads = ["&", "*"].iter().fold(reads.to_owned(), |reads, sign| {
        let named =
            |reads: String, name: &str| reads.replace(&format!("{sign}{name}"), &format!("{sign}few_{name}"));
        ["moving", "actors"].into_iter().fold(reads, named)
    });
    let reads = match pack.contains("\"net/{") {
        true => reads.replace("\"network/{", "\"net/{"),
        false => reads,
    };
    let folds = pack.replacen(
        "match: {case_insensitive: true}",
        "match: {case_insensitive: true, fold_case: true}",
        1,
    );
    assert!(folds.contains("fold_case"), "the pack says how paths are matched");
    folds.replacen("\nreads:\n", &format!("\nreads:\n{reads}"), 1)
}

/// The same with other names for the groups of machines and networks, as an operator might edit them, and
/// another lifetime for some of the reads.
fn other_pack() -> String {
    let text = pack().replace("\"machines/{", "\"vms/{").replace("\"network/{", "\"net/{");
    text.replace("ttl: 60s\n", "ttl: 50s\n")
}

/// The same where principals share what tokens had for themselves, and what has expired is shown for a minute
/// in place of an error.
fn shared_and_stale(pack: &str) -> String {
    let (reads, writes) = pack.split_once("\nwrites:\n").expect("a pack has both");
    let changed = |line: &str| {
        let kept = ["ttl: pass", "ttl: 0s", "share:"].iter().all(|other| !line.contains(other));
        match line.find("ttl: ").filter(|_| kept && !line.trim_start().starts_with('#')) {
            Some(at) if line.trim_start().starts_with("- {") => {
                let (before, after) = line.split_at(at);
                format!("{before}share: principal, stale_if_error: 1m, {after}")
            }
            Some(at) => {
                let indent = " ".repeat(at);
                format!("{line}\n{indent}share: principal\n{indent}stale_if_error: 1m")
            }
            None => line.to_owned(),
        }
    };
    let reads: Vec<String> = reads.lines().map(changed).collect();
    format!("{}\nwrites:\n{writes}", reads.join("\n"))
}
