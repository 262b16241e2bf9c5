//! How far the news of changes made elsewhere has come at one upstream: what lookups ask of it, and what
//! wakes the watch over it ([`super::watch`]).
//!
//! Invariant: while [`Feed::is_current`] holds, everything that the API's change feed showed a moment ago has
//! overtaken what it makes old. It ends by itself when nobody renews it, whatever became of the watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::site::Site;
use crate::cache::entry::{Entry, Freshness, Lifetimes};
use crate::clock::{self, Timestamp};
use crate::telemetry::Registry;

/// After so long without a fetch the watch rests although something may still be kept, if the ceiling is not
/// longer: whatever is kept is then older than the ceiling, which takes the watch's place.
const REST_AFTER: Duration = Duration::from_secs(60);

/// How changes made elsewhere are watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedConfig {
    /// How often the API's change feed is read while something is kept.
    pub every: Duration,
    /// For how long what a task could change is kept at most while the feed is not read.
    pub ceiling: Duration,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self { every: Duration::from_secs(2), ceiling: Duration::from_secs(10) }
    }
}

/// How the watch over changes made elsewhere stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// There is no credential for it.
    NoCredential,
    /// It has not been read yet.
    Starting,
    /// The credential may not read it.
    NoRight,
    /// It cannot be read.
    Lost,
    /// It is read.
    Live,
    /// It could be read, but nothing is kept that it could overtake.
    Idle,
}

impl FeedState {
    /// The word for it in logs and for operators.
    pub fn as_str(self) -> &'static str {
        match self {
            FeedState::NoCredential => "no-credential",
            FeedState::Starting => "starting",
            FeedState::NoRight => "no-right",
            FeedState::Lost => "lost",
            FeedState::Live => "live",
            FeedState::Idle => "idle",
        }
    }
}

/// What operators are told of the feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedStanding {
    /// How it stands.
    pub state: FeedState,
    /// Since when.
    pub since: SystemTime,
    /// When it was last read.
    pub read: Option<SystemTime>,
    /// Whether the log is read besides the tasks.
    pub reads_log: bool,
}

/// The feed of one upstream; it outlives reloads.
pub(super) struct Feed {
    /// Until when what was read last counts, in nanoseconds of the ageing clock.
    current_until: AtomicU64,
    /// Until when something may be kept that the feed could overtake.
    kept_until: AtomicU64,
    /// How many fetches are under way whose answers it could overtake.
    fetching: AtomicUsize,
    is_asleep: AtomicBool,
    stirred: Notify,
    standing: Mutex<FeedStanding>,
    live: Gauge,
}

/// A fetch that is under way.
pub(super) struct Fetching(Arc<Feed>);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.fetching.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Feed {
    pub(super) fn new(registry: &Registry, upstream: &str) -> Self {
        let standing =
            FeedStanding { state: FeedState::Starting, since: clock::wall(), read: None, reads_log: false };
        Self {
            current_until: AtomicU64::new(0),
            kept_until: AtomicU64::new(0),
            fetching: AtomicUsize::new(0),
            is_asleep: AtomicBool::new(false),
            stirred: Notify::new(),
            standing: Mutex::new(standing),
            live: registry.gauge("forebay_feed_live", &[("upstream", upstream)]),
        }
    }

    /// Whether everything that the feed shows has been acted upon, until a moment ago.
    fn is_current(&self, now: Timestamp) -> bool {
        now.as_nanos() < self.current_until.load(Ordering::Acquire)
    }

    /// What was read has been acted upon, which counts until `until`.
    pub(super) fn has_read(&self, until: Timestamp, reads_log: bool) {
        self.current_until.store(until.as_nanos(), Ordering::Release);
        let mut standing = self.standing.lock();
        standing.read = Some(clock::wall());
        standing.reads_log = reads_log;
    }

    /// What was read counts no more.
    pub(super) fn cannot_read(&self) {
        self.current_until.store(0, Ordering::Release);
    }

    pub(super) fn standing(&self) -> FeedStanding {
        *self.standing.lock()
    }

    /// Notes how the watch stands; whether that is new.
    pub(super) fn stand(&self, state: FeedState) -> bool {
        self.live.set(if matches!(state, FeedState::Live | FeedState::Idle) { 1.0 } else { 0.0 });
        let mut standing = self.standing.lock();
        let is_new = standing.state != state;
        if is_new {
            *standing = FeedStanding { state, since: clock::wall(), ..*standing };
        }
        is_new
    }

    /// A fetch begins whose answer the feed could overtake.
    pub(super) fn begin_fetch(self: &Arc<Self>) -> Fetching {
        self.fetching.fetch_add(1, Ordering::SeqCst);
        self.stir();
        Fetching(self.clone())
    }

    /// Something is kept until `until` that the feed could overtake.
    fn keep(&self, until: Timestamp) {
        self.kept_until.fetch_max(until.as_nanos(), Ordering::SeqCst);
        self.stir();
    }

    fn stir(&self) {
        if self.is_asleep.load(Ordering::SeqCst) {
            self.stirred.notify_one();
        }
    }

    fn is_wanted(&self, now: Timestamp) -> bool {
        self.fetching.load(Ordering::SeqCst) > 0 || self.kept_until.load(Ordering::SeqCst) > now.as_nanos()
    }
}

impl Site {
    /// Whether there is a feed, whether or not it is read.
    pub(super) fn has_feed(&self) -> bool {
        self.dialect().feed().is_some()
    }

    /// How the watch over changes made elsewhere stands; `None` where the API shows none.
    pub fn feed_standing(&self) -> Option<FeedStanding> {
        let standing = self.feed.standing();
        self.has_feed().then(|| match (self.config.credential.is_some(), standing.state) {
            // Until the watch has taken notice.
            (false, _) => FeedStanding { state: FeedState::NoCredential, ..standing },
            (true, FeedState::NoCredential) => FeedStanding { state: FeedState::Starting, ..standing },
            _ => standing,
        })
    }

    /// For how long at most what the read rule at `rule` keeps is fresh now: without news of what others do,
    /// `feed.ceiling` bounds all that they could change.
    #[inline]
    pub(super) fn ceiling(&self, rule: usize, now: Timestamp) -> Duration {
        match self.reads[rule].tasks_may_change && !self.feed.is_current(now) {
            true => self.config.feed.ceiling,
            false => Duration::MAX,
        }
    }

    /// How an entry stands to its lifetime and to the ceiling, for operators.
    pub fn freshness(&self, entry: &Entry, now: Timestamp) -> Freshness {
        let rule = self.reads.iter().position(|read| *read.name == *entry.rule());
        entry.freshness_within(rule.map_or(Duration::MAX, |rule| self.ceiling(rule, now)), now)
    }

    /// Whether the ceiling bounds now what tasks could change.
    pub fn is_under_ceiling(&self) -> bool {
        self.has_feed() && !self.feed.is_current(self.shared.clock.now())
    }

    /// Whether a task could change what the read rule at `rule` keeps, so that the ceiling may bound it.
    pub fn tasks_may_change(&self, rule: usize) -> bool {
        self.reads[rule].tasks_may_change
    }

    /// A fetch for the read rule at `rule` begins.
    pub(super) fn begin_fetch(&self, rule: usize) -> Option<Fetching> {
        self.reads[rule].tasks_may_change.then(|| self.feed.begin_fetch())
    }

    /// Something is kept for the read rule at `rule`, with these lifetimes.
    pub(super) fn note_kept(&self, rule: usize, lifetimes: Lifetimes, now: Timestamp) {
        if self.reads[rule].tasks_may_change {
            let life = lifetimes.fresh + lifetimes.stale_while_revalidate;
            self.feed.keep(now.after(life.min(REST_AFTER.max(self.config.feed.ceiling))));
        }
    }

    /// Whether there is anything that the feed could overtake or end.
    pub(super) fn wants_feed(&self) -> bool {
        self.feed.is_wanted(self.shared.clock.now()) || self.shared.operations.open_of(self.id) > 0
    }

    /// Waits until there may be something that the feed could overtake. An operation begins with a write or
    /// with news, and what a write through forebay changes needs no watch before it is read again.
    pub(super) async fn stirred(&self) {
        self.feed.is_asleep.store(true, Ordering::SeqCst);
        while !self.wants_feed() {
            self.feed.stirred.notified().await;
        }
        self.feed.is_asleep.store(false, Ordering::SeqCst);
    }
}
