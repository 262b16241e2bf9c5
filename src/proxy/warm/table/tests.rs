use http::HeaderMap;
use http::uri::PathAndQuery;

use super::*;
use crate::clock::Clock;

const SITE: u32 = 1;
const SECOND: Duration = Duration::from_secs(1);
const PACES: Paces = Paces { quick: Duration::from_secs(10), slow: Duration::from_secs(160) };

/// What is kept warm of one upstream, without the upstream.
struct Kitchen {
    warm: Warm,
    clock: Clock,
}

fn key(number: u128) -> Key {
    Key::from_u128(number)
}

fn asker() -> Asker {
    let target = PathAndQuery::from_static("/api2/json/warm");
    Asker { target, fields: HeaderMap::new(), endpoint: None }
}

impl Kitchen {
    fn new() -> Self {
        let warm = Warm::new(&Registry::default());
        warm.serve(SITE);
        Self { warm, clock: Clock::manual() }
    }

    /// A client has just fetched it.
    fn keep(&self, key: Key) {
        let now = self.clock.now();
        self.warm.keep(SITE, key, Kept::used(asker(), PACES, now), now, now);
    }

    fn job(&self) -> (Key, Kept) {
        let target = PathAndQuery::from_static("/api2/json/warm");
        let job = SyncJob { target, every: PACES.quick, full: PACES.slow };
        (key(0), Kept::named(asker(), job, self.clock.now()))
    }

    fn take_jobs(&self, jobs: Vec<(Key, Kept)>) {
        self.warm.take_jobs(SITE, jobs, Vec::new(), self.clock.now());
    }

    fn due(&self) -> Vec<Wanted> {
        self.warm.due(SITE, self.clock.now())
    }

    fn end(&self, wanted: &Wanted, attempt: Attempt) {
        self.warm.fetched(SITE, wanted.key, &wanted.asker, attempt, self.clock.now());
    }

    fn found(&self, wanted: &Wanted, found: Found) {
        let now = self.clock.now();
        self.end(wanted, Attempt::Made(Made { found, paces: PACES, left: now, used: now }));
    }

    /// Fetches all that is due, and says how much that was.
    fn fetch(&self, found: Found) -> usize {
        let mut fetched = 0;
        loop {
            let due = self.due();
            if due.is_empty() {
                return fetched;
            }
            fetched += due.len();
            due.iter().for_each(|wanted| self.found(wanted, found));
        }
    }

    fn kept(&self) -> usize {
        self.warm.of(SITE, |one| one.kept.len())
    }
}

#[test]
fn a_burst_comes_back_spread_and_none_of_it_late() {
    let kitchen = Kitchen::new();
    for number in 0..1_000 {
        kitchen.keep(key(number));
    }
    // Those that a client has fetched, and those that forebay has.
    for _ in 0..3 {
        kitchen.clock.advance(PACES.quick.mul_f64(0.9) - SECOND / 1_000);
        assert_eq!(kitchen.fetch(Found::Changed), 0);
        kitchen.clock.advance(PACES.quick.mul_f64(0.05));
        let half = kitchen.fetch(Found::Changed);
        assert!((400..600).contains(&half), "half of the time, half of the burst: {half}");
        kitchen.clock.advance(PACES.quick.mul_f64(0.05) + SECOND / 1_000);
        assert_eq!(half + kitchen.fetch(Found::Changed), 1_000);
        // All at once again.
        kitchen.warm.trigger(SITE, kitchen.clock.now());
        assert_eq!(kitchen.fetch(Found::Changed), 1_000);
    }
}

#[test]
fn what_fails_rests_longer_and_longer() {
    let kitchen = Kitchen::new();
    kitchen.keep(key(1));
    for rest in [10, 20, 40, 80, 160, 300, 300] {
        kitchen.clock.advance((rest * SECOND).mul_f64(0.9) - SECOND / 1_000);
        assert_eq!(kitchen.fetch(Found::Nothing), 0, "before {rest} s");
        kitchen.clock.advance((rest * SECOND).mul_f64(0.1) + SECOND / 1_000);
        assert_eq!(kitchen.fetch(Found::Nothing), 1, "after {rest} s");
    }
    assert_eq!(kitchen.warm.of(SITE, |one| one.kept[&key(1)].failed), 7);
}

#[test]
fn thousands_of_quiet_things_do_not_delay_what_changes() {
    let kitchen = Kitchen::new();
    for number in 0..5_000 {
        kitchen.keep(key(number));
    }
    for _ in 0..2 {
        kitchen.warm.trigger(SITE, kitchen.clock.now());
        assert_eq!(kitchen.fetch(Found::Same), 5_000);
    }
    let (quick, full) = kitchen.warm.of(SITE, |one| {
        let count = |pass| one.passes.count(pass);
        (count(Pass::Quick), count(Pass::Full))
    });
    assert_eq!((quick, full), (0, 5_000));
    kitchen.keep(key(5_000));
    kitchen.warm.trigger(SITE, kitchen.clock.now());
    let first = kitchen.due();
    assert_eq!(first[0].key, key(5_000));
    assert!(first[1..].iter().all(|wanted| wanted.pass == Pass::Full));
    // None of those answers, and what changes is fetched all the same, each time that it is due.
    kitchen.found(&first[0], Found::Changed);
    for _ in 0..5 {
        kitchen.clock.advance(PACES.quick);
        let due = kitchen.due();
        assert_eq!(due.iter().map(|wanted| wanted.key).collect::<Vec<_>>(), [key(5_000)]);
        kitchen.found(&due[0], Found::Changed);
    }
    // As they do, they go on.
    kitchen.found(&first[1], Found::Same);
    assert_eq!(kitchen.due().len(), 1);
}

#[test]
fn a_pass_is_behind_when_what_is_next_has_waited_too_long() {
    let kitchen = Kitchen::new();
    let behind = |pass| kitchen.warm.of(SITE, |one| one.behind(pass, kitchen.clock.now()));
    for number in 0..5 {
        kitchen.keep(key(number));
    }
    kitchen.warm.trigger(SITE, kitchen.clock.now());
    assert_eq!(kitchen.due().len(), 3, "and these hang");
    kitchen.clock.advance(BEHIND_AFTER);
    assert_eq!(behind(Pass::Quick), None);
    kitchen.clock.advance(SECOND);
    assert_eq!((behind(Pass::Quick), behind(Pass::Full)), (Some(BEHIND_AFTER + SECOND), None));
    // A quiet one may wait for as long as it rests.
    let kitchen = Kitchen::new();
    let behind = |pass| kitchen.warm.of(SITE, |one| one.behind(pass, kitchen.clock.now()));
    kitchen.keep(key(0));
    for _ in 0..5 {
        kitchen.warm.trigger(SITE, kitchen.clock.now());
        kitchen.fetch(Found::Same);
    }
    kitchen.warm.trigger(SITE, kitchen.clock.now());
    kitchen.clock.advance(PACES.slow);
    assert_eq!(behind(Pass::Full), None);
    kitchen.clock.advance(SECOND);
    assert_eq!(behind(Pass::Full), Some(PACES.slow + SECOND));
    kitchen.fetch(Found::Same);
    assert_eq!(behind(Pass::Full), None);
}

#[test]
fn what_is_named_anew_while_it_is_fetched_is_not_fetched_twice_at_once() {
    let kitchen = Kitchen::new();
    kitchen.take_jobs(vec![kitchen.job()]);
    let due = kitchen.due();
    kitchen.take_jobs(Vec::new());
    assert_eq!(kitchen.kept(), 0);
    kitchen.take_jobs(vec![kitchen.job()]);
    assert!(kitchen.due().is_empty());
    kitchen.found(&due[0], Found::Changed);
    assert!(kitchen.due().is_empty(), "that fetch counts");
    kitchen.clock.advance(PACES.quick);
    assert_eq!(kitchen.due().len(), 1);
}

#[test]
fn what_a_client_asked_for_otherwise_meanwhile_is_not_given_up() {
    let kitchen = Kitchen::new();
    kitchen.keep(key(1));
    kitchen.clock.advance(PACES.quick);
    let due = kitchen.due();
    // With a newer ticket of the same user.
    kitchen.keep(key(1));
    kitchen.end(&due[0], Attempt::Over);
    assert_eq!(kitchen.kept(), 1);
    assert!(kitchen.due().is_empty(), "that client has just fetched it");
    kitchen.clock.advance(PACES.quick);
    let due = kitchen.due();
    kitchen.end(&due[0], Attempt::Over);
    assert_eq!(kitchen.kept(), 0);
}

#[test]
fn a_job_whose_key_is_another_one_is_looked_at_anew() {
    let kitchen = Kitchen::new();
    kitchen.take_jobs(vec![kitchen.job()]);
    let due = kitchen.due();
    assert!(!kitchen.warm.has_lost_a_job(SITE));
    kitchen.end(&due[0], Attempt::Over);
    assert!(kitchen.warm.has_lost_a_job(SITE));
    kitchen.take_jobs(vec![kitchen.job()]);
    assert!(!kitchen.warm.has_lost_a_job(SITE));
    assert_eq!(kitchen.due().len(), 1);
}

#[test]
fn a_job_that_says_otherwise_is_done_so_from_now_on() {
    let kitchen = Kitchen::new();
    kitchen.take_jobs(vec![kitchen.job()]);
    assert_eq!(kitchen.fetch(Found::Changed), 1);
    kitchen.take_jobs(vec![kitchen.job()]);
    assert!(kitchen.due().is_empty(), "it says the same");
    let (key, mut job) = kitchen.job();
    let told = SyncJob { every: SECOND, ..job.job.take().expect("it is one") };
    job.job = Some(told);
    kitchen.take_jobs(vec![(key, job)]);
    assert_eq!(kitchen.due().len(), 1);
}

#[test]
fn what_is_put_off_comes_again_when_it_said_and_nothing_is_reckoned_from_it() {
    let kitchen = Kitchen::new();
    kitchen.keep(key(1));
    kitchen.clock.advance(PACES.quick);
    let due = kitchen.due();
    kitchen.end(&due[0], Attempt::Later(2 * SECOND));
    assert!(kitchen.due().is_empty());
    kitchen.clock.advance(2 * SECOND);
    assert_eq!(kitchen.due()[0].pass, Pass::Quick);
    assert_eq!(kitchen.warm.of(SITE, |one| one.kept[&key(1)].fetches), 0);
}

#[test]
fn an_upstream_that_is_served_no_more_leaves_nothing() {
    let kitchen = Kitchen::new();
    kitchen.take_jobs(vec![kitchen.job()]);
    kitchen.keep(key(1));
    let due = kitchen.due();
    kitchen.warm.leave(SITE);
    kitchen.found(&due[0], Found::Changed);
    kitchen.keep(key(2));
    kitchen.take_jobs(vec![kitchen.job()]);
    assert_eq!((kitchen.kept(), kitchen.warm.table.lock().len()), (0, 0));
    assert!(kitchen.due().is_empty() && !kitchen.warm.has_lost_a_job(SITE));
}
