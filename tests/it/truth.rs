//! Never the past, never anybody else's: random requests through forebay, and a model of the API behind it
//! that knows what each of them may be shown.
//!
//! The model ([`world`], [`answers`], [`server`]) is small and fast: cells with a version each, of which
//! reads show some and writes change some, at once or by a task, as Proxmox does it ([`cells`]). Everything
//! that happens takes the next number of one counter. Every answer carries a random number that stands for
//! what the model knows of it: for which request and credential it was formed, when, and with which versions.
//! So an answer cannot be confused with another, and what a client got is judged by facts ([`check`]; what holds
//! for every API is in [`showing`], by what is known of the cells ([`history`]), of who asks ([`acceptance`]) and
//! of when the API answered at all ([`answering`])):
//!
//! - A read that began after a client was told of a write's outcome, or of a task's end, shows it.
//! - Between the two, and after an outcome that nobody knows, nothing is shown but what was on its way.
//! - What somebody changes behind forebay's back shows within the lifetimes of the rule.
//! - What is shown is of the same target, whole, and made for this credential or for one that may share it;
//!   the API accepted the credential lately, in this forebay's life; a failure is shown to nobody else and never
//!   again.
//! - A write is carried out once at most.
//! - Nobody hangs.
//!
//! Clients ([`plan`]) read and write at once through the real process and real sockets. The weather changes
//! ([`weather`]): answers are held while writes land, connections are reset, answers break off or never come,
//! the API is down. The configuration is reloaded, forebay restarted, credentials are revoked, neighbours
//! change things and start tasks behind its back. Time is forebay's own clock and moves by what has happened
//! ([`run`]), so no limit depends on how fast the machine is. A seed runs on one thread, so that it nearly
//! repeats itself: what was found in one run is found in most.
//!
//! Three of eight seeds have a climate of their own, because some mistakes show only where little else happens
//! for long: others do much and only the feed tells of it (1, 9, ...); rights change, through forebay and
//! behind its back, while users with equal rights share (2, 10, ...); answers of writes are lost whose effect
//! lands seconds later (4, 12, ...). Every second seed has a feed, and in half of all, rights are shared by.
//! Eight of 32 seeds (16 to 23, 48 to 55, ...) keep warm whatever they keep, so that forebay asks at times that
//! no client chose; in all of them it would hide what is shown for too long.
//!
//! The same for Azure's Resource Manager is [`arm`]: the clock, the weather, the course of a run, the sockets, the
//! clients' connections and the rules of age, acceptance and promises are shared ([`model`] says what a model has
//! to be for that).
//!
//! `tests/mutations/run` breaks one mechanism after the other and expects a violation. What it printed, in
//! operations until the first one on 2026-11-21 (the seeds count from 1, of 2,000 operations each; what shows only in
//! a climate shows when its seed comes, and every change of the model draws other numbers):
//!
//! | broken | found after | as |
//! |---|---|---|
//! | the end of a task overtakes nothing | 883 | the past, after the end of a task was told |
//! | a write overtakes after its answer was handed over | 329 | the past, after a write was told |
//! | a waiter joins an overtaken flight | 360 | the past, after a write was told |
//! | kept although a write came in between | 6,931, in seed 4 | the past, after a write was told |
//! | a hit does not ask what overtook it | 220 | the past, after a write was told |
//! | the key leaves out whose answer it is | 44 | made for one, shown to another |
//! | a claimed principal is trusted | 48 | data for a credential that the API never accepted |
//! | a failure crosses credentials | 72 | made for one with 403, shown to another |
//! | changed rights end no acceptance | 18,338, in seed 10 | data for a credential accepted before |
//! | a 401 ends no acceptance | 1,262 | data after its holder was told of the 401 |
//! | kept for long while a task runs | 2,379, in seed 2 | an answer that is too old |
//! | kept for long right after a write | 2,379, in seed 2 | an answer that is too old |
//! | lifetimes three times as long | 5,195, in seed 3 | an answer that is too old |
//! | a running task of others holds nothing | 4,377, in seed 3 | the past, after its end was told |
//! | a write that was refused with 400 or 500 overtakes nothing | 18,307, in seed 10 | the past, after it was told |
//! | entries of changed rules are found after a reload | 11,352, in seed 6 | the past, after a write was told |
//! | a body that broke off is kept | 26,848, in seed 14 | other bytes than the API's |
//! | a HEAD leads a flight | 604 | other bytes than the API's |
//! | what the feed tells is forgotten | 16,207, in seed 9 | an answer without a change that was fed |
//! | a write without an answer holds nothing | 22,567, in seed 12 | an answer from before its effect, kept |
//! | all whose rights are told share | 2,051, in seed 2 | made for one, shown to another |
//! | a silence never ends | 1,542 of seed 2 alone | data for a credential accepted too long ago |
//! | rights count however long ago they were told | 51,090, in seed 26 | made for one, shown to another |
//! | what is kept warm belongs to no group | 31,112, in seed 16 | the past, after a write was told |
//!
//! What random requests do not reach is broken there too, and found by the tests that are named for it:
//!
//! | broken | found by |
//! |---|---|
//! | a breaker never opens | `upstream::tests::breaker` (4 tests), `upstream::health` (5) |
//! | an answer to forebay's own question closes no breaker | `upstream::tests::breaker` (1), `upstream::tests::probes` (2), `upstream::health` (3) |
//! | an endpoint comes back with all of its places at once | `upstream::tests::breaker` (1), `upstream::tests::probes` (1), `upstream::health` (2) |
//! | nobody asks after an idle endpoint | `upstream::tests::probes` (7), `idle` (2) |
//! | an endpoint is asked while it answers calls | `upstream::tests::probes` (1) |
//! | an answer to a question takes back what calls said | `upstream::health` (1) |
//! | `collapse` ignores the content | `meeting` (2) |
//! | `collapse` ignores the credential | `meeting` (2) |
//! | `batch` sends the first write in place of the last | `meeting` (2) |
//! | `batch` holds what is critical | `meeting` (1) |
//! | `batch` drops a write for one that sets other fields | `meeting` (2) |
//! | acceptances run out while the API asks to be left alone | `outage` (2), `proxy::outage` (2) |
//! | they never do | `outage` (1), `proxy::outage` (1) |
//! | acceptances run out while the API says that it is down | `outage` (1) |
//! | whoever was in before an outage is in for good | `outage` (1), `proxy::outage` (5) |
//! | a quota is never waited for | `quota` (3, the load among them), `upstream::quota` (3) |
//! | what answers say is left of a quota is not believed | `quota` (2), `upstream::quota` (2) |
//! | the change feed waits behind clients | `feed` (1) |
//! | rights count although a write changed them | `rights` (1) |

mod acceptance;
mod answering;
mod answers;
mod arm;
mod cells;
mod check;
mod client;
mod field;
mod history;
mod model;
mod people;
mod plan;
mod proxmox;
mod rules;
mod run;
mod server;
mod showing;
mod tasks;
mod weather;
mod world;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use field::Tally;
pub use proxmox::by_rights;

/// How many requests one seed has, if nobody says otherwise.
const OF_A_SEED: u64 = 2_000;

/// The seeds of every `cargo test`, and how many requests each has: some seconds in all.
const SHORT: [u64; 4] = [6, 10, 11, 20];
const OF_SHORT: u64 = 1_200;

/// What a run came to: a violation comes with the number of requests before it.
type Found = Result<Tally, (u64, String)>;

/// Runs one seed in a runtime of its own, on this thread; what was found comes with how to find it again.
fn one<F: Future<Output = Found>>(
    test: &str,
    run: fn(u64, u64) -> F,
    seed: u64,
    operations: u64,
) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has what a runtime needs");
    runtime.block_on(run(seed, operations)).map_err(|(done, violation)| {
        format!(
            "seed {seed}, operation {done}: {violation}\n\
             again: FOREBAY_SEED={seed} FOREBAY_OPERATIONS={operations} FOREBAY_OF_A_SEED={operations} \
             cargo test --test it {test} -- --ignored --nocapture"
        )
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A few seeds, always the same.
#[test]
fn short() {
    let mut sum = Tally::default();
    for seed in SHORT {
        sum.add(&one(LONG, proxmox::run, seed, OF_SHORT).unwrap_or_else(|found| panic!("{found}")));
    }
    assert!(sum.hits > sum.operations / 10, "next to nothing was kept, so nothing was tried: {sum:?}");
    assert!(sum.refreshed > 40 + sum.stale, "next to nothing was kept warm: {sum:?}");
    assert!(sum.of_equals > 10, "next to nothing was shared for equal rights: {sum:?}");
    assert!(sum.written > 50 && sum.ended > 10 && sum.restarts > 0 && sum.reloads > 0, "{sum:?}");
}

/// The name of the test with as many as are asked for.
const LONG: &str = "truth::long";

/// As many as are asked for, on every core.
#[test]
#[ignore = "a million operations take minutes; see CONTRIBUTING.md"]
fn long() {
    many(LONG, proxmox::run);
}

/// Seed after seed, until there are as many requests as are asked for or a violation is found.
fn many<F: Future<Output = Found>>(test: &'static str, run: fn(u64, u64) -> F) {
    let operations = number("FOREBAY_OPERATIONS").unwrap_or(1_000_000);
    let of_a_seed = number("FOREBAY_OF_A_SEED").unwrap_or(OF_A_SEED);
    let first = number("FOREBAY_SEED").unwrap_or(1);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let threads = number("FOREBAY_THREADS").unwrap_or(cores);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let seeds = operations.div_ceil(of_a_seed);
    let clock = forebay::clock::Clock::system();
    let began = clock.now();
    let work = || {
        let mut sum = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds || stop.load(Ordering::Relaxed) {
                return Ok(sum);
            }
            match one(test, run, first + number, of_a_seed) {
                Ok(tally) => sum.add(&tally),
                Err(found) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(format!("after {} operations\n{found}", number * of_a_seed));
                }
            }
        }
    };
    let sums: Vec<Result<Tally, String>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    let mut sum = Tally::default();
    for found in &sums {
        match found {
            Ok(tally) => sum.add(tally),
            Err(found) => panic!("{found}"),
        }
    }
    println!("seeds {first} to {} in {:?}: {sum:#?}", first + seeds - 1, clock.now().since(began));
}
