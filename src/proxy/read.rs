//! A read that the store does not answer at once: stale with a refresh behind it, or a flight.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::Failure;
use super::actors;
use super::admit::Caller;
use super::audit;
use super::body::Body;
use super::counters::{Cause, Outcome};
use super::fill::{self, Direct, Errand};
use super::forward;
use super::lookup::{self, Absent, Lookup};
use super::respond::{self, Asked};
use super::route::{Pass, Read};
use super::site::Site;
use crate::cache::entry::Entry;
use crate::cache::flight::{Begin, Join, Landing, Waiter};
use crate::cache::groups::{GroupId, Settling};
use crate::cache::key::Key;
use crate::clock::Timestamp;
use crate::rules::Reuse;
use crate::semantics::cache_status::{CacheStatus, Detail, Forward};

/// Answers a read for which `found` is what the store had.
pub(super) async fn read(
    site: Arc<Site>,
    request: Request<Incoming>,
    client: SocketAddr,
    started: Timestamp,
    read: Read<'static>,
    found: Lookup,
) -> Response<Body> {
    let absent = match found {
        Lookup::Absent(absent) => absent,
        Lookup::Fresh(key, entry) => {
            audit::sample(&site, &request, &read, client, key, &entry);
            return respond::hit(&site, &request, &read, client, started, key, &entry);
        }
        Lookup::Pass(forward, detail) => {
            let pass = straight(read, forward, detail);
            return Box::pin(forward::pass(site, request, client, started, pass)).await;
        }
    };
    let reading = Reading { site, request, client, started, read, absent };
    if let Some(response) = reading.while_revalidating() {
        return response;
    }
    if reading.absent.asks.only_if_cached {
        return reading.failed(Failure::OnlyIfCached);
    }
    if *reading.request.method() == Method::HEAD {
        return reading.alone(Detail::Request, None).await;
    }
    let key = reading.absent.key;
    // What only collapses is never stored, so that its answers are not storable is no news.
    let collapses_only = reading.read.rule(&reading.site).reuse == Reuse::CollapseOnly;
    if !collapses_only && reading.site.shared.is_uncacheable(key, started) {
        return reading.alone(Detail::Uncacheable, Some(key)).await;
    }
    reading.fly().await
}

/// One read on its way to the upstream.
struct Reading {
    site: Arc<Site>,
    request: Request<Incoming>,
    client: SocketAddr,
    started: Timestamp,
    read: Read<'static>,
    absent: Absent,
}

/// What this reader is to the flight it waits for.
enum Part {
    Leader(oneshot::Receiver<Direct>),
    Follower,
}

impl Reading {
    fn asked(&self) -> Asked<'_> {
        Asked::new(&self.site, self.read.metrics(&self.site), &self.request, self.client, self.started)
    }

    fn failed(&self, failure: Failure) -> Response<Body> {
        self.asked().fail(&self.read.path, failure)
    }

    /// Forwards the request for itself. Boxed, so that the many reads which need no call of their own
    /// do not carry the room for one.
    async fn alone(self, detail: Detail, key: Option<Key>) -> Response<Body> {
        let pass = straight(self.read, self.absent.forward, detail);
        Box::pin(forward::pass_keyed(self.site, self.request, self.client, self.started, pass, key)).await
    }

    /// The stale answer, with a refresh behind it, where the rule and the client allow it
    /// (RFC 5861 §3).
    fn while_revalidating(&self) -> Option<Response<Body>> {
        let entry = self.absent.stale.as_ref()?;
        let asks = &self.absent.asks;
        let past = lookup::staleness(entry, self.started);
        let unwilling = past >= entry.lifetimes().stale_while_revalidate
            || self.absent.for_outages_only
            || asks.no_cache
            || asks.max_age.is_some()
            || asks.min_fresh.is_some();
        if unwilling || !self.may_have_stale(self.started) {
            return None;
        }
        let groups: Arc<[GroupId]> = entry.groups().into();
        let shared = &self.site.shared;
        let key = self.absent.key;
        let wanted = || shared.memory.get(key).is_some_and(|now| now.sequence() == entry.sequence());
        if let Some(fill) = shared.flights.begin_refresh(key, &shared.groups, &groups, wanted) {
            tokio::spawn(fill::run(self.errand(Cause::Refresh), fill, None));
        }
        Some(self.stale(entry, |ttl| CacheStatus::Hit { ttl, detail: Some(Detail::StaleWhileRevalidate) }))
    }

    /// The stale answer in place of an outage (RFC 5861 §4), for those who may have it: whoever wrote
    /// lately gets the error instead, because the last known state may be the one before the write.
    fn in_place_of(&self, status: Option<StatusCode>) -> Option<Response<Body>> {
        let entry = self.absent.stale.as_ref()?;
        let shared = &self.site.shared;
        let now = shared.clock.now();
        let allowed = !self.absent.asks.no_cache
            && lookup::staleness(entry, now) < entry.lifetimes().stale_if_error
            && shared.groups.is_current(entry.sequence(), entry.groups())
            && self.may_have_stale(now);
        allowed.then(|| {
            self.stale(entry, |_| CacheStatus::Forwarded {
                forward: Forward::Stale,
                status: status.map(|status| status.as_u16()),
                stored: false,
                collapsed: false,
                detail: Some(Detail::StaleIfError),
            })
        })
    }

    /// Whether this caller is one for the last known state, at `now`.
    fn may_have_stale(&self, now: Timestamp) -> bool {
        let caller = Caller::One(self.read.partition);
        actors::may_have_stale(&self.site, self.read.rule(&self.site), caller, self.client, now)
    }

    fn stale(&self, entry: &Arc<Entry>, status: impl FnOnce(i64) -> CacheStatus) -> Response<Body> {
        let mut said = None;
        let now = self.site.shared.clock.now();
        let headers = self.request.headers();
        let response = respond::stored(&self.site, headers, now, self.absent.key, entry, |ttl| {
            let status = status(ttl);
            said = Some(status);
            status
        });
        let detail = match said {
            Some(
                CacheStatus::Hit { detail: Some(detail), .. }
                | CacheStatus::Forwarded { detail: Some(detail), .. },
            ) => detail,
            _ => Detail::StaleIfError,
        };
        self.asked().conclude(Outcome::Other(detail), response)
    }

    fn errand(&self, cause: Cause) -> Errand {
        Errand {
            site: self.site.clone(),
            read: self.read.clone(),
            key: self.absent.key,
            endpoint: self.absent.endpoint,
            target: self.request.uri().path_and_query().expect("admitted with a path").clone(),
            headers: forward::fill_fields(&self.site, self.request.headers()),
            principal: Caller::One(self.read.partition).principal(&self.site, self.client),
            cause,
        }
    }

    /// Joins the flight of the key or begins it, and waits for what comes of it.
    async fn fly(self) -> Response<Body> {
        let shared = self.site.shared.clone();
        let groups: Arc<[GroupId]> = self.read.groups(&self.site, self.request.uri().query()).into();
        let unsettled = shared.groups.settling(&groups, self.started) == Settling::Open;
        let begun = shared.flights.begin(
            self.absent.key,
            &shared.groups,
            if self.absent.asks.no_cache { Join::Refused } else { Join::Allowed },
            || groups.clone(),
            || lookup::usable(&self.site, &self.read, self.absent.key, &self.absent.asks, self.started),
        );
        let (waiter, part) = match begun {
            Begin::Stored(entry) => {
                let Self { site, request, client, started, read, absent } = self;
                audit::sample(&site, &request, &read, client, absent.key, &entry);
                return respond::hit(&site, &request, &read, client, started, absent.key, &entry);
            }
            Begin::Full => return self.alone(Detail::Limited, None).await,
            Begin::Joined(waiter) => (waiter, Part::Follower),
            Begin::Leads(fill, waiter) => {
                let cause = if self.absent.stale.is_some() { Cause::Revalidate } else { Cause::Miss };
                let (sender, receiver) = oneshot::channel();
                tokio::spawn(fill::run(self.errand(cause), fill, Some(sender)));
                (waiter, Part::Leader(receiver))
            }
        };
        self.land(waiter, part, unsettled).await
    }

    async fn land(self, waiter: Waiter<Failure>, part: Part, unsettled: bool) -> Response<Body> {
        let collapsed = matches!(part, Part::Follower);
        let (forward, detail) = match unsettled {
            true => (Forward::Bypass, Some(Detail::Unsettled)),
            false => (self.absent.forward, self.absent.detail),
        };
        let landing = waiter.landing().await;
        let waited = self.site.shared.clock.now().since(self.started);
        match landing {
            Landing::Shared(head, keeping, body) => {
                if self.site.dialect().is_outage(head.status)
                    && let Some(response) = self.in_place_of(Some(head.status))
                {
                    return response;
                }
                let outcome = if collapsed { Outcome::Collapsed } else { Outcome::Miss };
                let response = respond::shared(&head, keeping, body, forward, collapsed, detail);
                Asked { upstream: Some(waited), ..self.asked() }.conclude(outcome, response)
            }
            Landing::Alone => match part {
                Part::Leader(mut direct) => match direct.try_recv() {
                    Ok(direct) => {
                        let status = CacheStatus::Forwarded {
                            forward,
                            status: None,
                            stored: false,
                            collapsed,
                            detail: Some(Detail::Uncacheable),
                        };
                        let (head, body) = direct.into_parts();
                        let asked = Asked { upstream: Some(waited), ..self.asked() };
                        asked.conclude(Outcome::Miss, respond::forwarded(head, body, status))
                    }
                    Err(_) => self.failed(Failure::LeaderLost),
                },
                Part::Follower => {
                    let key = self.absent.key;
                    self.alone(Detail::Uncacheable, Some(key)).await
                }
            },
            Landing::Failed(failure) => match failure.is_outage().then(|| self.in_place_of(None)).flatten() {
                Some(response) => response,
                None => self.failed(failure),
            },
        }
    }
}

fn straight(read: Read<'static>, forward: Forward, detail: Detail) -> Pass<'static> {
    Pass { rule: Some(read.rule), path: read.path, caller: Caller::One(read.partition), forward, detail }
}
