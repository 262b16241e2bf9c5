//! One run: a model, forebay in front of it, clients, a clock that moves by what happens, reloads and
//! restarts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use fastrand::Rng;
use forebay::app::App;
use forebay::cache::key::Secret;
use forebay::clock::Clock;
use forebay::config::{self, Settings};
use forebay::rules::RuleSet;
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock, watch};
use tokio::task::JoinSet;

use super::field::{Field, Tally};
use super::model::{Model, Shared};
use super::rules::{self, Rules};
use super::server::{Server, Steps};
use super::weather::{Climate, Weather};

/// How many clients ask at once.
const CLIENTS: u64 = 12;

/// After how many requests the clock moves.
const TICK_EVERY: u64 = 16;

/// After how many turns of everybody without any event the clock moves anyway: all wait for the clock.
const STILL: u32 = 64;

/// How many turns of everybody it takes at most until what was written has been read.
const TURNS: u32 = 8;

/// How far it then moves once that has happened a few times in turn.
pub const STRIDE: Duration = Duration::from_millis(400);

/// How many requests a phase of the weather has.
const PHASE: u64 = 700;

/// For how long forebay believes that the API accepts a credential.
pub const ACCEPT_FOR: Duration = Duration::from_secs(12);

/// How long forebay waits for an answer.
pub const FIRST_BYTE: Duration = Duration::from_secs(6);

/// No request takes longer, by forebay's clock: its own limits are far below.
const HANGS: Duration = Duration::from_secs(180);

/// Runs `operations` requests with `seed`. A violation comes with the number of requests before it.
pub async fn run<W: Model>(
    clock: Clock,
    world: W,
    setup: impl FnOnce(&mut W, &str) -> Setup,
    climate: Climate,
    seed: u64,
    operations: u64,
) -> Result<Tally, (u64, String)> {
    let world: Shared<W> = Arc::new(Mutex::new(world));
    let steps: Steps = Arc::new(watch::Sender::new(0));
    let server = Server::start(world.clone(), steps.clone()).await;
    let setup = setup(&mut world.lock(), &format!("http://{}", server.address));
    let app = setup.start(0, &clock, seed).await;
    let field = Arc::new(Field {
        world: world.clone(),
        rules: Mutex::new(Rules::new(setup.rule_sets(), ACCEPT_FOR)),
        address: ArcSwap::from_pointee(app.addresses()[0]),
        traffic: RwLock::new(()),
        left: AtomicU64::new(operations),
        progress: Notify::new(),
        moving: tokio::sync::Mutex::default(),
        tally: Mutex::default(),
        violation: Mutex::default(),
    });
    let done = Arc::new(AtomicBool::new(false));
    let over = Arc::new(AtomicBool::new(false));
    let ticking = tokio::spawn(tick(field.clone(), steps, over.clone()));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(W::client(field.clone(), seed.wrapping_mul(1_000).wrapping_add(client)));
    }
    let driving = tokio::spawn(drive(field.clone(), setup, app, (seed, climate), done.clone()));
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client does not panic");
    }
    done.store(true, Ordering::Relaxed);
    field.progress.notify_waiters();
    let app = driving.await.expect("the driver does not panic");
    // What still waits for the API waits for the clock.
    field.tally.lock().refreshed += refreshed(&app);
    app.drain().await;
    over.store(true, Ordering::Relaxed);
    ticking.await.expect("the clock does not panic");
    drop(server);
    let violation = field.violation.lock().take();
    let tally = *field.tally.lock();
    match violation {
        Some(violation) => Err((tally.operations, violation)),
        None => Ok(tally),
    }
}

/// Moves the clock by what has happened, not by real time, so that a slow machine sees the same course of
/// events.
async fn tick<W: Model>(field: Arc<Field<W>>, steps: Steps, over: Arc<AtomicBool>) {
    let (mut idle, mut still, mut ended, mut events) = (0, 0, 0, 0);
    while !over.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
        let now = (field.tally.lock().operations, field.world.lock().events());
        idle = if now.1 == events { idle + 1 } else { 0 };
        events = now.1;
        let enough = now.0 >= ended + TICK_EVERY;
        if !enough && idle < STILL {
            continue;
        }
        still = if now.0 > ended { 0 } else { still + 1 };
        (ended, idle) = (now.0, 0);
        let by = field.world.lock().tick();
        advance(&field, if still > 8 { STRIDE } else { by }).await;
        let mut world = field.world.lock();
        // While nobody moves there are no requests to count by.
        (0..if enough { 1 } else { 8 }).for_each(|_| world.advance_step());
        steps.send_replace(world.step());
        assert!(STRIDE * still < HANGS, "somebody hangs\n{}", world.report());
    }
}

/// Moves all clocks on by more than a tick, while no client asks: when nothing has happened for some turns,
/// or an answer to forebay itself that is on its way would seem as much younger than it is.
async fn leap<W: Model>(field: &Field<W>, by: Duration) {
    let (mut events, mut still) = (0, 0);
    while still < TURNS {
        tokio::task::yield_now().await;
        let now = field.world.lock().events();
        still = if now == events { still + 1 } else { 0 };
        events = now;
    }
    advance(field, by).await;
    field.world.lock().leapt();
}

/// Moves all clocks on, once what was written has been read.
async fn advance<W: Model>(field: &Field<W>, by: Duration) {
    let _one_at_a_time = field.moving.lock().await;
    // Each turn comes after the sockets were looked at once more.
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    let clock = {
        let mut world = field.world.lock();
        let clock = world.clock();
        world.run_due(clock.now().after(by));
        clock
    };
    clock.advance(by);
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// Changes the weather, the configuration and the process, until the clients are done.
async fn drive<W: Model>(
    field: Arc<Field<W>>,
    setup: Setup,
    mut app: App,
    (seed, climate): (u64, Climate),
    done: Arc<AtomicBool>,
) -> App {
    let mut rng = Rng::with_seed(seed ^ 0x5eed);
    let mut next = PHASE / 4;
    let mut variant = 0;
    let mut coming = Weather::CALM;
    if climate != Climate::Mixed {
        coming = Weather::any(climate, &mut rng);
        let mut world = field.world.lock();
        world.set_weather(if coming.outage { Weather::CALM } else { coming });
        world.look_elsewhere();
    }
    while !done.load(Ordering::Relaxed) {
        if field.tally.lock().operations < next {
            field.progress.notified().await;
            continue;
        }
        next += PHASE / 4;
        match rng.u8(..8) {
            0 => {
                variant = 1 - variant;
                app.reload(setup.settings(variant)).await.expect("the configuration is good");
                field.tally.lock().reloads += 1;
                let mut world = field.world.lock();
                world.reloaded();
                world.note(|| format!("reloaded with variant {variant}"));
            }
            1 | 2 => {
                field.world.lock().revoke_any(&mut rng);
            }
            3 | 4 => {
                let _nobody = field.traffic.write().await;
                if rng.u8(..4) == 0 {
                    field.tally.lock().refreshed += refreshed(&app);
                    app.drain().await;
                    let clock = field.world.lock().clock();
                    app = setup.start(variant, &clock, rng.u64(..)).await;
                    field.address.store(Arc::new(app.addresses()[0]));
                    field.tally.lock().restarts += 1;
                    field.world.lock().restarted();
                }
                if rng.bool() {
                    let most = [8, 20, 60][rng.usize(..3)];
                    leap(&field, Duration::from_secs(rng.u64(1..most))).await;
                }
            }
            _ => {
                let weather = std::mem::replace(&mut coming, Weather::any(climate, &mut rng));
                if weather.outage || coming.outage {
                    // Before an outage all settles, then lifetimes end but credentials are not forgotten.
                    let _nobody = field.traffic.write().await;
                    let span = if weather.outage { rng.u64(2..10) } else { 20 };
                    leap(&field, Duration::from_secs(span)).await;
                }
                let mut world = field.world.lock();
                world.set_weather(if coming.outage { Weather::CALM } else { weather });
                if !weather.outage {
                    world.look_elsewhere();
                }
            }
        }
    }
    app
}

/// The packs of a seed: eight of 32 seeds, 16 to 23 among them, keep warm what they keep.
pub fn warm_in(seed: u64, packs: [String; 2]) -> [String; 2] {
    if (seed / 8) % 4 == 2 { packs.map(|pack| rules::kept_warm(&pack)) } else { packs }
}

/// How many calls this forebay has made to have something anew before anybody asks for it.
fn refreshed(app: &App) -> u64 {
    let text = app.shared().registry.render();
    let counted = text.lines().filter(|line| {
        line.starts_with("forebay_upstream_requests_total{") && line.contains("cause=\"refresh\"")
    });
    counted.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a count")).sum()
}

/// The files of forebay's configuration.
pub struct Setup {
    directory: tempfile::TempDir,
    packs: [String; 2],
    adjust: fn(&mut Settings),
}

impl Setup {
    /// Two configurations for `endpoint` that differ in their `packs`, with further lines for the upstream and
    /// files that those name, with secrets.
    pub fn new(endpoint: &str, packs: [String; 2], more: &str, files: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let at = |name: &str| directory.path().join(name);
        for (name, text) in files {
            std::fs::write(at(name), text).expect("writable");
            let only_ours = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(at(name), only_ours).expect("our own file");
        }
        for (variant, rules) in packs.iter().enumerate() {
            std::fs::write(at(&format!("rules{variant}.yaml")), rules).expect("writable");
            let text = format!(
                "listen: [{{address: 127.0.0.1:0, upstream: lab}}]\nadmin: {{address: 127.0.0.1:0}}\n\
                 cache: {{memory: 64MiB, max_object: 1MiB}}\nupstreams:\n  lab:\n    \
                 endpoints: [{endpoint}]\n    rules: [rules{variant}.yaml]\n    concurrency: 256\n    \
                 accept_for: {}s\n    operation_cap: 10s\n    unknown_hold: 5s\n    \
                 timeouts: {{first_byte: {}s}}\n{more}",
                ACCEPT_FOR.as_secs(),
                FIRST_BYTE.as_secs(),
            );
            std::fs::write(at(&format!("forebay{variant}.yaml")), text).expect("writable");
        }
        Self { directory, packs, adjust: |_| {} }
    }

    /// The same with something in the settings that no file can say.
    pub fn adjusted(self, adjust: fn(&mut Settings)) -> Self {
        Self { adjust, ..self }
    }

    fn settings(&self, variant: usize) -> Settings {
        let path: &Path = &self.directory.path().join(format!("forebay{variant}.yaml"));
        let mut settings = config::load(path).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        (self.adjust)(&mut settings);
        settings
    }

    fn rule_sets(&self) -> Vec<RuleSet> {
        let parsed = self.packs.iter().map(|text| RuleSet::parse("rules.yaml", text));
        parsed.map(|set| set.expect("the pack is good")).collect()
    }

    async fn start(&self, variant: usize, clock: &Clock, seed: u64) -> App {
        let secret = Secret::from_bytes(&u128::from(seed).to_le_bytes());
        App::start_with(self.settings(variant), clock.clone(), secret).await.expect("forebay starts")
    }
}
