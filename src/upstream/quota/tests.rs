//! Levels against references that are too simple to be wrong.

use super::bucket::Bucket;
use super::*;
use crate::semantics::quota::Quota;

const SEEDS: u64 = 300;

/// A bucket that goes through time in steps of a millisecond, with each token a thing of its own.
struct Reference {
    most: f64,
    per_millisecond: f64,
    tokens: f64,
    reserved: u32,
    on_their_way: u32,
}

impl Reference {
    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.tokens += self.per_millisecond;
            self.cap();
        }
    }

    fn cap(&mut self) {
        self.tokens = self.tokens.min((self.most - f64::from(self.on_their_way)).max(0.0));
    }

    fn free(&self) -> f64 {
        self.tokens - f64::from(self.reserved)
    }
}

/// Any order of events leaves a bucket where stepping through time leaves it.
#[test]
fn a_bucket_is_what_stepping_through_time_makes_of_it() {
    let start = Instant::now();
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let quota = Quota { burst: f64::from(random.u32(1..50)), per_second: f64::from(random.u32(1..30)) };
        let share = [1.0, 0.8, 0.1][random.usize(0..3)];
        let mut now = start;
        let mut bucket = Bucket::new(quota, share, now);
        let most = (quota.burst * share).max(1.0);
        let per_millisecond = quota.per_second * share / 1_000.0;
        let mut reference = Reference { most, per_millisecond, tokens: most, reserved: 0, on_their_way: 0 };
        for step in 0..300 {
            match random.u32(0..7) {
                0..=1 => {
                    let passed = random.u64(0..400);
                    now += Duration::from_millis(passed);
                    reference.pass(passed);
                }
                2 if reference.free() >= 1.0 + 1e-3 => {
                    assert_eq!(bucket.has_in(1, now), None, "seed {seed} step {step}");
                    bucket.reserve();
                    reference.reserved += 1;
                }
                3 if reference.reserved > 0 && random.bool() => {
                    bucket.release();
                    reference.reserved -= 1;
                }
                3..=4 if reference.reserved > 0 && reference.tokens >= 1.0 + 1e-3 => {
                    assert_eq!(bucket.leaves_in(now), None, "seed {seed} step {step}");
                    bucket.leave(now);
                    reference.reserved -= 1;
                    reference.on_their_way += 1;
                    reference.tokens -= 1.0;
                }
                5 if reference.on_their_way > 0 => {
                    let told = random.u32(0..60);
                    bucket.is_left(u64::from(told), now);
                    let others = f64::from(reference.on_their_way - 1);
                    reference.tokens = reference.tokens.min((f64::from(told) - others).max(0.0));
                    bucket.end(now);
                    reference.on_their_way -= 1;
                }
                6 if reference.on_their_way > 0 => {
                    bucket.end_uncounted(now);
                    reference.on_their_way -= 1;
                    reference.tokens += 1.0;
                    reference.cap();
                }
                _ => {}
            }
            let expected = (reference.free() / reference.most).clamp(0.0, 1.0);
            let found = bucket.remaining(now);
            assert!((expected - found).abs() < 1e-6, "seed {seed} step {step}: {expected} {found}");
            if let Some(wait) = bucket.has_in(1, now) {
                let missing = (1.0 - reference.free()) / reference.per_millisecond;
                assert!((wait.as_secs_f64() * 1_000.0 - missing).abs() < 1e-3, "seed {seed} step {step}");
            }
        }
    }
}

#[test]
fn a_share_too_small_for_a_token_gives_one_now_and_then() {
    let now = Instant::now();
    let mut bucket = Bucket::new(Quota { burst: 4.0, per_second: 0.1 }, 0.1, now);
    assert_eq!(bucket.has_in(1, now), None);
    bucket.reserve();
    bucket.leave(now);
    bucket.end(now);
    let wait = bucket.has_in(1, now).unwrap();
    assert!((wait.as_secs_f64() - 100.0).abs() < 1e-3, "{wait:?}");
}

/// A call on its way: when the API counts it, what it says then, and when that is heard.
struct Flying {
    counted_at: u64,
    heard_at: u64,
    told: Option<u64>,
}

/// Calls that overlap in any order, with answers that come late and calls that wait with a token in their
/// hand: as long as nobody else takes from the API's bucket it is never overdrawn, whatever of it was gone
/// before; and late numbers cost no more than what was on its way.
#[test]
fn late_numbers_neither_overdraw_nor_starve() {
    let start = Instant::now();
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let (most, per_millisecond) = (20.0, 0.005);
        let quota = Quota { burst: most, per_second: 5.0 };
        // What was used up elsewhere before is only known by the numbers.
        let mut truth = f64::from(random.u32(5..21));
        let cell = Cell::new(Meter("x"), Some(quota), Share(1.0), start);
        let (mut flying, mut held, mut sent): (Vec<Flying>, Vec<u64>, u32) = (Vec::new(), Vec::new(), 0);
        for at in 0..4_000_u64 {
            let now = start + Duration::from_millis(at);
            truth = (truth + per_millisecond).min(most);
            for call in flying.iter_mut().filter(|call| call.counted_at == at) {
                assert!(truth >= 1.0 - 1e-6, "overdrawn: seed {seed} at {at} ms");
                truth -= 1.0;
                call.told = Some(truth.max(0.0) as u64);
            }
            flying.retain(|call| {
                let is_heard = call.heard_at == at;
                if is_heard {
                    cell.is_left(call.told.expect("counted before it is heard of"), now);
                    cell.end(now);
                }
                !is_heard
            });
            // Three at a time, so that the first numbers are here before the rest is sent.
            if flying.len() + held.len() < 3 && cell.reserve(now).is_none() {
                held.push(at + random.u64(0..50));
            }
            while let Some(place) = held.iter().position(|leaves| *leaves <= at)
                && cell.holds(now).is_none()
            {
                held.swap_remove(place);
                cell.leave(now);
                sent += 1;
                let counted_at = at + random.u64(1..100);
                flying.push(Flying { counted_at, heard_at: counted_at + random.u64(1..200), told: None });
            }
        }
        // Four seconds allow 20 and what was there before; less what late numbers cost.
        assert!(sent >= 20, "seed {seed}: {sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_without_a_time_opens_later_each_time_until_a_call_passes() {
    let cell = Cell::new(Meter("x"), None, Share(1.0), Instant::now());
    let shut_for = || match cell.blocked(1, Instant::now()) {
        Some(Blocked::Shut(wait)) => wait.as_secs_f64(),
        _ => 0.0,
    };
    for (asked, seconds) in [
        (None, 2.0),
        (Some(0), 4.0),
        (None, 8.0),
        (None, 16.0),
        (None, 32.0),
        (None, 60.0),
        (None, 60.0),
        (Some(7), 7.0),
        (Some(372), 372.0),
        (Some(100_000), 3_600.0),
        (None, 60.0),
    ] {
        cell.shut(asked.map(Duration::from_secs), Instant::now());
        let found = shut_for();
        assert!((seconds..=seconds * 1.1 + 1e-3).contains(&found), "{asked:?}: {found}");
        // More of those that were on their way together.
        cell.shut(None, Instant::now());
        assert_eq!(shut_for(), found);
        cell.passed(Instant::now());
        tokio::time::advance(Duration::from_secs_f64(found + 0.001)).await;
        assert_eq!(shut_for(), 0.0);
    }
    cell.passed(Instant::now());
    cell.shut(None, Instant::now());
    assert!(shut_for() <= 2.2, "as at first");
}

#[tokio::test(start_paused = true)]
async fn the_number_of_buckets_is_bounded_and_full_ones_go() {
    let registry = Registry::new();
    let quotas = Quotas::new("lab", &registry);
    let quota = Some(Quota { burst: 10.0, per_second: 1.0 });
    let charge = |key| Charge { meter: Meter("x"), key, quota };
    let used = |key| {
        let cells = quotas.cells(&[charge(key)], Share(1.0));
        let cell = cells.into_iter().next().unwrap();
        assert_eq!(cell.reserve(Instant::now()), None);
        cell.leave(Instant::now());
        cell.end(Instant::now());
        cell
    };
    for key in 0..MAX_BUCKETS as u128 {
        used(key);
    }
    let full = r#"forebay_bounds_reached_total{bound="quota-buckets"}"#;
    assert!(registry.render().contains(&format!("{full} 0")));
    assert!(Arc::ptr_eq(&used(1 << 100), &used(1 << 101)), "no room: they share one");
    assert!(registry.render().contains(&format!("{full} 2")));
    assert_eq!(quotas.table.lock().by_key.len(), MAX_BUCKETS);
    assert!(quotas.status()[0].remaining.unwrap() < 0.9);
    tokio::time::advance(Duration::from_secs(60)).await;
    used(1 << 102);
    assert_eq!(quotas.table.lock().by_key.len(), 1, "all others were full again");
    assert!(registry.render().contains(r#"forebay_quota_remaining{upstream="lab",bucket="x"}"#));
}

#[tokio::test(start_paused = true)]
async fn another_share_resizes_what_is_there() {
    let quotas = Quotas::new("lab", &Registry::new());
    let quota = Some(Quota { burst: 10.0, per_second: 1.0 });
    let charge = Charge { meter: Meter("x"), key: 1, quota };
    let left = |share| {
        let cell = &quotas.cells(&[charge], Share(share))[0];
        (1..100).take_while(|calls| cell.blocked(*calls, Instant::now()).is_none()).count()
    };
    assert_eq!((left(1.0), left(0.5), left(1.0)), (10, 5, 5), "a larger one is not filled by that");
}
