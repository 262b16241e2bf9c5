//! The limits on what may reach the API: token buckets with a turnstile each, so that calls pass in
//! the order they came.
//!
//! A call that waits for a token stands in its bucket's turnstile and holds nothing else. The token
//! is taken at the last moment before sending, so that no burst gathers behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::config::{EndpointId, LimitConfig, LimitKey, LimitMatches};
use super::message::CallKind;

/// More buckets than this per limit share one, so that invented keys cannot fill the memory.
const MAX_BUCKETS: usize = 10_000;
/// Buckets that are full again are dropped when there are so many, and at each doubling.
const CLEAN_FROM: usize = 256;

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
    overflow: Option<Arc<Bucket>>,
}

/// One level.
pub(super) struct Bucket {
    tokens: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>,
    turnstile: Arc<Semaphore>,
    /// How many stand in the turnstile or want to.
    queue: AtomicUsize,
    /// Whether the one in the turnstile waits for a token (and not for something else).
    dry: AtomicBool,
    interval: Duration,
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

/// What a limit may distinguish calls by.
pub(super) struct Charged<'a> {
    pub(super) kind: CallKind,
    pub(super) principal: u128,
    pub(super) captures: &'a [(String, String)],
}

impl Limit {
    pub(super) fn new(config: LimitConfig) -> Self {
        Self {
            config,
            clock: TokioClock(Instant::now()),
            buckets: Mutex::new(Buckets { by_key: HashMap::new(), clean_at: CLEAN_FROM, overflow: None }),
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
        if buckets.by_key.len() >= buckets.clean_at {
            let refill = refill_time(&self.config);
            let in_use = |bucket: &Arc<Bucket>| {
                Arc::strong_count(bucket) > 1 || now.duration_since(*bucket.used.lock()) < refill
            };
            buckets.by_key.retain(|_, bucket| in_use(bucket));
            buckets.clean_at = (buckets.by_key.len() * 2).max(CLEAN_FROM);
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
        let burst = self.config.burst.try_into().expect("validated as not zero");
        let quota = Quota::with_period(interval).expect("validated as not zero").allow_burst(burst);
        let tokens = RateLimiter::direct_with_clock(quota, self.clock.clone());
        if self.empty_until.is_some_and(|until| now < until) {
            // A whole burst always fits a new bucket.
            let _ = tokens.check_n(burst);
        }
        Arc::new(Bucket {
            tokens,
            turnstile: Arc::new(Semaphore::new(1)),
            queue: AtomicUsize::new(0),
            dry: AtomicBool::new(false),
            interval,
            used: Mutex::new(now),
        })
    }
}

fn refill_time(config: &LimitConfig) -> Duration {
    config.interval().saturating_mul(config.burst)
}

/// A place in a bucket's turnstile; first come, first served.
pub(super) struct Turn {
    bucket: Arc<Bucket>,
    permit: Option<OwnedSemaphorePermit>,
    granted: bool,
}

impl Turn {
    /// A place at the end of the queue, not yet in the turnstile.
    pub(super) fn queue(bucket: Arc<Bucket>) -> Self {
        bucket.queue.fetch_add(1, Ordering::AcqRel);
        Self { bucket, permit: None, granted: false }
    }

    /// Enters the turnstile if nobody is in it.
    pub(super) fn try_enter(&mut self) -> bool {
        self.permit = Arc::clone(&self.bucket.turnstile).try_acquire_owned().ok();
        self.permit.is_some()
    }

    /// Waits until it is this call's turn.
    pub(super) async fn enter(&mut self) {
        let turnstile = Arc::clone(&self.bucket.turnstile);
        self.permit = Some(turnstile.acquire_owned().await.expect("turnstiles are never closed"));
    }

    /// How long the calls ahead will take at the least.
    pub(super) fn expected_wait(&self) -> Duration {
        if !self.bucket.dry.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        let ahead = self.bucket.queue.load(Ordering::Acquire).saturating_sub(1);
        self.bucket.interval.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    /// Takes a token, once; else the time until there is one. Only in the turnstile.
    pub(super) fn take_token(&mut self) -> Result<(), Duration> {
        debug_assert!(self.permit.is_some(), "nobody takes a token outside the turnstile");
        if self.granted {
            return Ok(());
        }
        let tokens = &self.bucket.tokens;
        let result = tokens.check().map_err(|not_until| not_until.wait_time_from(tokens.clock().now()));
        self.granted = result.is_ok();
        self.bucket.dry.store(!self.granted, Ordering::Release);
        result
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.bucket.queue.fetch_sub(1, Ordering::AcqRel);
        if self.permit.is_some() && !self.granted {
            self.bucket.dry.store(false, Ordering::Release);
        }
    }
}
