//! The way to a place among the calls in flight: the API's own pauses, the limits, the concurrency.
//! All waiting of a call happens here, in one bounded queue and up to one deadline.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram};
use parking_lot::RwLock;
use tokio::time::Instant;

use super::config::{EndpointId, LimitConfig};
use super::gauge::{Entered, Gauge};
use super::limit::{Charged, Limit, Turn};
use super::line::{Line, Spot};
use super::message::{SendError, retry_after_seconds};
use super::pause::Pause;
use super::quota::{Paid, Quotas};
use crate::telemetry::Registry;
use crate::units::Share;

mod quota;

/// What stands between calls and the endpoints of one upstream.
pub(super) struct Gate {
    /// Limits with more keys first: a call waits for its own level before it stands in a line that
    /// all share.
    limits: RwLock<Vec<Arc<Limit>>>,
    pub(super) pause: Pause,
    pub(super) quotas: Quotas,
    waiting: Gauge,
    strangers_waiting: Gauge,
    metrics: GateMetrics,
}

struct GateMetrics {
    wait: Histogram,
    queue_full: Counter,
    queue_timeout: Counter,
    paused: Counter,
}

/// How much may wait, and for how long.
#[derive(Clone, Copy)]
pub(super) struct QueueBounds {
    pub(super) length: usize,
    pub(super) wait: Duration,
    /// How much of the API's own buckets is for calls from here.
    pub(super) share: Share,
}

/// Whether a call may take what others need.
#[derive(Clone, Copy)]
pub(super) enum Priority<'a> {
    /// It waits its turn in the queue.
    Client,
    /// Before that it waits for one of these places, in a quarter of the queue: strangers must not fill
    /// all of it either.
    Stranger {
        /// The places that all strangers share.
        places: &'a Arc<Line>,
    },
    /// It goes although the queue is full and all places in flight are taken; limits and pauses count for it.
    Aside {
        /// The place beyond the others, for one such call at a time.
        place: &'a Arc<Line>,
    },
    /// It goes only where nobody waits and half of each limit's burst and of the places in flight is left
    /// to those who would; otherwise not at all.
    Background,
}

/// Which limits a call is charged to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Charge {
    /// Every one that matches.
    All,
    /// Those that count by endpoint; the others were paid when another endpoint was tried.
    ThisEndpoint,
}

/// One call's time in the queue, over all endpoints it tries.
pub(super) struct Visit<'a> {
    bounds: QueueBounds,
    priority: Priority<'a>,
    deadline: Instant,
    arrived: Instant,
    place: Option<Entered>,
    /// The place among strangers, if it needs one and has it.
    stranger: Option<Spot>,
    /// Whether it waited for that one.
    queued: bool,
    waited: Duration,
    /// What it took from the API's own buckets.
    paid: Option<Box<Paid>>,
}

impl Gate {
    pub(super) fn new(upstream: &str, limits: &[LimitConfig], registry: &Registry) -> Self {
        let rejected = |reason| {
            let labels = [("upstream", upstream), ("reason", reason)];
            registry.counter("forebay_limit_rejected_total", &labels)
        };
        Self {
            limits: RwLock::new(sorted(limits.iter().cloned().map(Limit::new).map(Arc::new).collect())),
            pause: Pause::default(),
            quotas: Quotas::new(upstream, registry),
            waiting: Gauge::default(),
            strangers_waiting: Gauge::default(),
            metrics: GateMetrics {
                wait: registry.histogram("forebay_limit_wait_seconds", &[("upstream", upstream)]),
                queue_full: rejected("queue-full"),
                queue_timeout: rejected("queue-timeout"),
                paused: rejected("paused"),
            },
        }
    }

    /// Puts new limits in force; those that are the same as before keep their levels.
    pub(super) fn set_limits(&self, limits: &[LimitConfig]) {
        let mut current = self.limits.write();
        let mut old = current.clone();
        let new = limits.iter().map(|config| match old.iter().position(|limit| limit.config == *config) {
            Some(index) => old.swap_remove(index),
            None => Arc::new(Limit::replacing(config.clone())),
        });
        *current = sorted(new.collect());
    }

    /// Calls that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.get() + self.strangers_waiting.get()
    }

    /// A visit that begins now.
    pub(super) fn visit<'a>(&self, bounds: QueueBounds, priority: Priority<'a>) -> Visit<'a> {
        let now = Instant::now();
        Visit {
            bounds,
            priority,
            deadline: now + bounds.wait,
            arrived: now,
            place: None,
            stranger: None,
            queued: false,
            waited: Duration::ZERO,
            paid: None,
        }
    }

    /// Waits until the call may be sent, and charges it. What comes is its place in flight;
    /// `None` if the endpoint has become one to which no call goes.
    pub(super) async fn admit(
        &self,
        visit: &mut Visit<'_>,
        call: &Charged<'_>,
        charge: Charge,
        endpoint: EndpointId,
        places: &Arc<Line>,
    ) -> Result<Option<Spot>, SendError> {
        if let Priority::Background = visit.priority {
            return self.pass_by(visit, call, charge, endpoint, places).map(Some);
        }
        let result = self.pass(visit, call, charge, endpoint, places).await;
        if visit.place.take().is_some() || visit.queued {
            visit.queued = false;
            visit.waited = visit.arrived.elapsed();
            self.metrics.wait.record(visit.waited.as_secs_f64());
        }
        match &result {
            Err(SendError::QueueFull { .. }) => self.metrics.queue_full.increment(1),
            Err(SendError::QueueTimeout { .. }) => self.metrics.queue_timeout.increment(1),
            Err(SendError::Paused { .. }) => self.metrics.paused.increment(1),
            _ => {}
        }
        result
    }

    async fn pass(
        &self,
        visit: &mut Visit<'_>,
        call: &Charged<'_>,
        charge: Charge,
        endpoint: EndpointId,
        places: &Arc<Line>,
    ) -> Result<Option<Spot>, SendError> {
        self.stand_among_strangers(visit, call).await?;
        self.wait_for_pause(visit).await?;
        let limits: Vec<Arc<Limit>> = self.limits.read().clone();
        let mut turns = Vec::new();
        for limit in limits {
            if !limit.matches(call.kind) || (charge == Charge::ThisEndpoint && !limit.is_per_endpoint()) {
                continue;
            }
            let mut turn = Turn::new(limit.bucket(call, endpoint), call.claim());
            if !turn.try_enter() {
                self.must_fit(visit, turn.expected_wait(), timed_out)?;
                self.take_place(visit)?;
                visit.by_deadline(turn.enter()).await?;
            }
            while let Some(wait) = turn.token_in() {
                self.must_fit(visit, wait, timed_out)?;
                self.take_place(visit)?;
                // A timer's tick at the least, so that this loop never spins.
                tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
            }
            turns.push(turn);
        }
        let mut reserved = None;
        if !call.charges.is_empty() && charge == Charge::All {
            // In a box: most calls have no charges and do not carry the room.
            reserved = Some(Box::pin(self.reserve(visit, call)).await?);
        }
        loop {
            let spot = match places.try_take() {
                Some(spot) => spot,
                None => {
                    self.take_place(visit)?;
                    let line = match visit.priority {
                        Priority::Aside { place } => place,
                        _ => places,
                    };
                    match visit.by_deadline(line.stand(call.claim())).await? {
                        Some(spot) => spot,
                        None => return Ok(None),
                    }
                }
            };
            if self.pause.until().is_some() {
                drop(spot);
                self.wait_for_pause(visit).await?;
                continue;
            }
            if let Some(reserved) = reserved.as_ref().filter(|reserved| reserved.blocked().is_some()) {
                drop(spot);
                Box::pin(self.hold(visit, reserved)).await?;
                continue;
            }
            // With the place in hand, so that a token is taken only when the call leaves at once.
            turns.iter_mut().for_each(Turn::take_token);
            if let Some(reserved) = reserved {
                visit.paid = Some(Box::new(reserved.take()));
            }
            return Ok(Some(spot));
        }
    }

    /// Waits for a place among strangers, if the call needs one and has none.
    async fn stand_among_strangers(
        &self,
        visit: &mut Visit<'_>,
        call: &Charged<'_>,
    ) -> Result<(), SendError> {
        let Priority::Stranger { places } = visit.priority else { return Ok(()) };
        if visit.stranger.is_some() {
            return Ok(());
        }
        visit.stranger = match places.try_take() {
            Some(place) => Some(place),
            None => {
                let retry_after = retry_after_seconds(visit.bounds.wait);
                let waiting = self.strangers_waiting.enter_below(visit.bounds.length.div_ceil(4));
                let _waiting = waiting.ok_or(SendError::QueueFull { retry_after })?;
                visit.queued = true;
                visit.by_deadline(places.stand(call.claim())).await?
            }
        };
        Ok(())
    }

    /// The same for a call that is sent only if nobody misses what it takes. It is not counted as
    /// rejected: no client is told of it.
    fn pass_by(
        &self,
        visit: &mut Visit<'_>,
        call: &Charged<'_>,
        charge: Charge,
        endpoint: EndpointId,
        places: &Arc<Line>,
    ) -> Result<Spot, SendError> {
        let wait = visit.bounds.wait;
        let refused = || SendError::QueueFull { retry_after: retry_after_seconds(wait) };
        let limits: Vec<Arc<Limit>> = self.limits.read().clone();
        if self.waiting() > 0 || self.pause.until().is_some() || places.taken() * 2 > places.limit() {
            return Err(refused());
        }
        let mut turns = Vec::new();
        for limit in limits {
            if !limit.matches(call.kind) || (charge == Charge::ThisEndpoint && !limit.is_per_endpoint()) {
                continue;
            }
            let mut turn = Turn::new(limit.bucket(call, endpoint), call.claim());
            if !turn.try_enter() || !turn.has_spare() {
                return Err(refused());
            }
            turns.push(turn);
        }
        let mut reserved = None;
        if !call.charges.is_empty() && charge == Charge::All {
            reserved = Some(self.reserve_spare(visit, call).ok_or_else(refused)?);
        }
        let spot = places.try_take().ok_or_else(refused)?;
        turns.iter_mut().for_each(Turn::take_token);
        if let Some(reserved) = reserved {
            visit.paid = Some(Box::new(reserved.take()));
        }
        Ok(spot)
    }

    async fn wait_for_pause(&self, visit: &mut Visit<'_>) -> Result<(), SendError> {
        while let Some(until) = self.pause.until() {
            let wait = until.saturating_duration_since(Instant::now());
            self.must_fit(visit, wait, |retry_after| SendError::Paused { retry_after })?;
            self.take_place(visit)?;
            tokio::time::sleep_until(until).await;
        }
        Ok(())
    }

    fn must_fit(
        &self,
        visit: &Visit<'_>,
        wait: Duration,
        error: impl FnOnce(u32) -> SendError,
    ) -> Result<(), SendError> {
        let left = visit.deadline.saturating_duration_since(Instant::now());
        if wait <= left { Ok(()) } else { Err(error(retry_after_seconds(wait))) }
    }

    fn take_place(&self, visit: &mut Visit<'_>) -> Result<(), SendError> {
        // Whoever goes aside is bounded by the one place that there is.
        if visit.place.is_none() && !matches!(visit.priority, Priority::Aside { .. }) {
            let place = self.waiting.enter_below(visit.bounds.length);
            let retry_after = retry_after_seconds(visit.bounds.wait);
            visit.place = Some(place.ok_or(SendError::QueueFull { retry_after })?);
        }
        Ok(())
    }
}

impl Visit<'_> {
    /// When its time in the queue was over.
    pub(super) fn set_out(&self) -> Instant {
        self.arrived + self.waited
    }

    /// The time spent waiting so far.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// What it took from the API's own buckets, if it was charged to any.
    pub(super) fn take_paid(&mut self) -> Option<Box<Paid>> {
        self.paid.take()
    }

    /// The place among strangers, to be held until the answer has ended.
    pub(super) fn take_stranger(&mut self) -> Option<Spot> {
        self.stranger.take()
    }

    async fn by_deadline<T>(&self, wait: impl Future<Output = T>) -> Result<T, SendError> {
        let late = |_| timed_out(retry_after_seconds(self.bounds.wait));
        tokio::time::timeout_at(self.deadline, wait).await.map_err(late)
    }
}

fn timed_out(retry_after: u32) -> SendError {
    SendError::QueueTimeout { retry_after }
}

fn sorted(mut limits: Vec<Arc<Limit>>) -> Vec<Arc<Limit>> {
    // Stable, and the same for every call, so that two calls never wait for each other.
    limits.sort_by_key(|limit| std::cmp::Reverse(limit.config.per.len()));
    limits
}
