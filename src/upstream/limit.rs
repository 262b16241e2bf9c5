//! The limits on what may reach the API: token buckets with a turnstile each, where calls stand in
//! [`Line`].
//!
//! A call stands in its bucket's turnstile until there is a token for it, and takes the token at the
//! last moment before it is sent: what is taken is sent at once, so the API sees the rate exactly.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::{EndpointId, LimitConfig, LimitKey, LimitMatches};
use super::line::{Claim, Line, Spot};
use super::message::{CallKind, Urgency};
use crate::semantics::quota::Charge;

/// More buckets than this per limit share one, so that invented keys cannot fill the memory.
const MAX_BUCKETS: usize = 10_000;
/// Buckets that are full again are dropped when there are so many, and at each doubling.
const CLEAN_FROM: usize = 256;
/// A full table is searched for room so often at the most.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// One limit with its buckets.
pub(super) struct Limit {
    pub(super) config: LimitConfig,
    clock: TokioClock,
    buckets: Mutex<Buckets>,
    /// Buckets made before this start empty: see [`Limit::replacing`].
    empty_until: Option<Instant>,
}

struct Buckets {
    by_key: HashMap<String, Arc<Bucket>>,
    clean_at: usize,
    /// When a full table may be searched for room again.
    search_at: Instant,
    overflow: Option<Arc<Bucket>>,
}

/// One level.
pub(super) struct Bucket {
    level: Arc<LevelState>,
    tokens: RateLimiter<NotKeyed, Level, TokioClock, NoOpMiddleware<Duration>>,
    /// A line for one place.
    turnstile: Arc<Line>,
    /// Whether the one in the turnstile waits for a token (and not for something else).
    dry: AtomicBool,
    interval: Duration,
    /// How much there must be for one to be taken and half of the burst to be left.
    spare: NonZeroU32,
    used: Mutex<Instant>,
}

/// Tokio's time, which tests can pause, as governor wants it.
#[derive(Clone)]
struct TokioClock(Instant);

impl governor::clock::Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A bucket's level with a way to look at it: governor's own store can only take. Looking and taking
/// happen in the turnstile only, so one never gets between another's steps.
#[derive(Clone)]
struct Level(Arc<LevelState>);

#[derive(Default)]
struct LevelState {
    level: Mutex<Option<Nanos>>,
    looking: AtomicBool,
}

impl StateStore for Level {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut level = self.0.level.lock();
        let (result, after) = f(*level)?;
        if !self.0.looking.load(Ordering::Acquire) {
            *level = Some(after);
        }
        Ok(result)
    }
}

/// What a limit may distinguish calls by.
pub(super) struct Charged<'a> {
    pub(super) kind: CallKind,
    pub(super) principal: u128,
    pub(super) captures: &'a [(String, String)],
    pub(super) urgency: Urgency,
    /// The API's own buckets.
    pub(super) charges: &'a [Charge],
}

impl Charged<'_> {
    /// Its claim to a place.
    pub(super) fn claim(&self) -> Claim {
        Claim { urgency: self.urgency, principal: self.principal }
    }
}

impl Limit {
    pub(super) fn new(config: LimitConfig) -> Self {
        Self {
            config,
            clock: TokioClock(Instant::now()),
            buckets: Mutex::new(Buckets {
                by_key: HashMap::new(),
                clean_at: CLEAN_FROM,
                search_at: Instant::now(),
                overflow: None,
            }),
            empty_until: None,
        }
    }

    /// A limit that takes the place of others at a reload: its levels start empty, because what the
    /// others let through cannot be carried over and a reload must not grant another burst.
    pub(super) fn replacing(config: LimitConfig) -> Self {
        let empty_until = Instant::now() + refill_time(&config);
        Self { empty_until: Some(empty_until), ..Self::new(config) }
    }

    /// Whether it counts such calls.
    pub(super) fn matches(&self, kind: CallKind) -> bool {
        match self.config.matches {
            LimitMatches::All => true,
            LimitMatches::Reads => kind == CallKind::Read,
            LimitMatches::Writes => kind == CallKind::Write,
        }
    }

    /// Whether its level depends on the endpoint.
    pub(super) fn is_per_endpoint(&self) -> bool {
        self.config.per.contains(&LimitKey::Endpoint)
    }

    /// The level that a call is charged to.
    pub(super) fn bucket(&self, call: &Charged<'_>, endpoint: EndpointId) -> Arc<Bucket> {
        let key = self.key(call, endpoint);
        let now = Instant::now();
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.by_key.get(&key) {
            *bucket.used.lock() = now;
            return Arc::clone(bucket);
        }
        let full = buckets.by_key.len() >= MAX_BUCKETS;
        if buckets.by_key.len() >= buckets.clean_at || (full && now >= buckets.search_at) {
            let refill = refill_time(&self.config);
            let in_use = |bucket: &Arc<Bucket>| {
                Arc::strong_count(bucket) > 1 || now.duration_since(*bucket.used.lock()) < refill
            };
            buckets.by_key.retain(|_, bucket| in_use(bucket));
            buckets.clean_at = (buckets.by_key.len() * 2).max(CLEAN_FROM);
            buckets.search_at = now + SEARCH_EVERY;
        }
        if buckets.by_key.len() >= MAX_BUCKETS {
            return Arc::clone(buckets.overflow.get_or_insert_with(|| self.make_bucket(now)));
        }
        let bucket = self.make_bucket(now);
        buckets.by_key.insert(key, Arc::clone(&bucket));
        bucket
    }

    fn key(&self, call: &Charged<'_>, endpoint: EndpointId) -> String {
        use std::fmt::Write as _;
        let mut key = String::new();
        for part in &self.config.per {
            // Writing to a String cannot fail. Lengths keep neighbouring parts apart.
            let _ = match part {
                LimitKey::Principal => write!(key, "{:x};", call.principal),
                LimitKey::Endpoint => write!(key, "{:x};", endpoint.as_u64()),
                LimitKey::Capture(name) => {
                    let value = call.captures.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v);
                    write!(key, "{}:{value};", value.len())
                }
            };
        }
        key
    }

    fn make_bucket(&self, now: Instant) -> Arc<Bucket> {
        let interval = self.config.interval();
        let burst: NonZeroU32 = self.config.burst.try_into().expect("validated as not zero");
        let spare = NonZeroU32::new(burst.get() / 2 + 1).unwrap_or(NonZeroU32::MIN).min(burst);
        let quota = Quota::with_period(interval).expect("validated as not zero").allow_burst(burst);
        let level = Arc::new(LevelState::default());
        let tokens = RateLimiter::new(quota, Level(Arc::clone(&level)), self.clock.clone());
        if self.empty_until.is_some_and(|until| now < until) {
            // A whole burst always fits a new bucket.
            let _ = tokens.check_n(burst);
        }
        Arc::new(Bucket {
            level,
            tokens,
            turnstile: Line::new(1),
            dry: AtomicBool::new(false),
            interval,
            spare,
            used: Mutex::new(now),
        })
    }
}

fn refill_time(config: &LimitConfig) -> Duration {
    config.interval().saturating_mul(config.burst)
}

/// A place in a bucket's turnstile.
pub(super) struct Turn {
    bucket: Arc<Bucket>,
    claim: Claim,
    spot: Option<Spot>,
}

impl Turn {
    /// For a place in the turnstile that is not taken yet.
    pub(super) fn new(bucket: Arc<Bucket>, claim: Claim) -> Self {
        Self { bucket, claim, spot: None }
    }

    /// Enters the turnstile if nobody is in it.
    pub(super) fn try_enter(&mut self) -> bool {
        self.spot = self.bucket.turnstile.try_take();
        self.spot.is_some()
    }

    /// Waits until it is this call's turn.
    pub(super) async fn enter(&mut self) {
        self.spot = self.bucket.turnstile.stand(self.claim).await;
        debug_assert!(self.spot.is_some(), "nobody is dismissed from a limit");
    }

    /// How long the calls ahead will take at the least.
    pub(super) fn expected_wait(&self) -> Duration {
        if !self.bucket.dry.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        // One is in the turnstile.
        let ahead = self.bucket.turnstile.ahead(self.claim) + 1;
        self.bucket.interval.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    /// The time until there is a token; `None`: now. Only in the turnstile.
    pub(super) fn token_in(&self) -> Option<Duration> {
        let wait = self.check(Step::Look).err();
        self.bucket.dry.store(wait.is_some(), Ordering::Release);
        wait
    }

    /// Whether half of the burst would be left if a token were taken. Only in the turnstile.
    pub(super) fn has_spare(&self) -> bool {
        debug_assert!(self.spot.is_some(), "tokens are handled in the turnstile only");
        self.bucket.level.looking.store(true, Ordering::Release);
        matches!(self.bucket.tokens.check_n(self.bucket.spare), Ok(Ok(())))
    }

    /// Takes a token. Only in the turnstile, where a token that was seen stays until it is taken.
    pub(super) fn take_token(&mut self) {
        let taken = self.check(Step::Take);
        debug_assert!(taken.is_ok(), "nobody else takes from this bucket meanwhile");
    }

    fn check(&self, step: Step) -> Result<(), Duration> {
        debug_assert!(self.spot.is_some(), "tokens are handled in the turnstile only");
        let tokens = &self.bucket.tokens;
        self.bucket.level.looking.store(step == Step::Look, Ordering::Release);
        tokens.check().map_err(|not_until| not_until.wait_time_from(tokens.clock().now()))
    }
}

#[derive(PartialEq, Eq)]
enum Step {
    Look,
    Take,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.spot.is_some() {
            self.bucket.dry.store(false, Ordering::Release);
        }
    }
}
