//! A read that the store does not answer at once: stale with a refresh behind it, or a flight.

mod stale;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::Failure;
use super::audit;
use super::body::Body;
use super::carried::Carried;
use super::counters::{Cause, Outcome};
use super::fill::{self, Direct, Errand};
use super::forward;
use super::lookup::{self, Absent, Lookup};
use super::pages::Page;
use super::promote;
use super::respond::{self, Asked};
use super::rights;
use super::route::Read;
use super::share;
use super::site::Site;
use crate::cache::flight::{Begin, Company, Join, Landing, Passenger, Patience, Troubled, Waiter};
use crate::cache::groups::{GroupId, GroupName, Settling};
use crate::cache::key::{Key, Partition};
use crate::clock::Timestamp;
use crate::rules::Reuse;
use crate::semantics::cache_status::{CacheStatus, Detail, Forward};

/// One read that the store does not answer.
pub(super) struct Reading {
    pub site: Arc<Site>,
    pub request: Request<Incoming>,
    pub client: SocketAddr,
    pub started: Timestamp,
    pub read: Read<'static>,
    pub absent: Absent,
}

/// What came of a flight for one reader.
enum Flown {
    Answered(Response<Body>),
    /// The reader has to fetch for itself, with the key that is to be judged anew.
    Alone(Detail, Option<Key>),
    /// It brought something that is not for this reader's credential.
    Apart,
}

/// What comes of waiting for a flight.
type Landed = Result<Landing<Failure>, Troubled<Failure>>;

/// What this reader is to the flight it waits for.
enum Part {
    /// With the fetch, and the answer if it turns out to be for this reader alone.
    Leader(Carried, oneshot::Receiver<Direct>),
    Follower,
}

impl Part {
    async fn landing(&mut self, waiter: Waiter<Failure>, patience: Patience) -> Landed {
        self.beside(waiter.landing_with(patience)).await
    }

    /// Waits for something that the fetch brings about, which a leader carries meanwhile.
    async fn beside<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        match self {
            Part::Follower => waiting.await,
            Part::Leader(fetch, _) => {
                poll_fn(|context| {
                    fetch.poll(context);
                    // Whatever it tells comes from the fetch, so from this very task, which needs no
                    // waking for it.
                    waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
                })
                .await
            }
        }
    }
}

impl Reading {
    /// Answers it.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` would keep `self` twice")]
    pub fn answer(mut self) -> impl Future<Output = Response<Body>> {
        async move {
            if self.absent.forward == Forward::UriMiss && self.site.shared.is_remembered(self.absent.key) {
                // Boxed: rare, and other reads need no room for it.
                Box::pin(self.recall()).await;
            }
            if let Some(response) = self.while_revalidating() {
                return response;
            }
            if self.absent.asks.only_if_cached {
                return self.failed(Failure::OnlyIfCached);
            }
            if let Some(response) = self.promoted().await {
                return response;
            }
            let company = self.company();
            let key = self.passenger(company).key(self.absent.key);
            // What only collapses is never stored, so that its answers are not storable is no news.
            let collapses_only = self.read.rule(&self.site).reuse == Reuse::CollapseOnly;
            let flown = if *self.request.method() == Method::HEAD {
                Flown::Alone(Detail::Request, None)
            } else if !collapses_only && self.site.shared.is_uncacheable(key, self.started) {
                Flown::Alone(Detail::Uncacheable, Some(key))
            } else {
                match self.fly(company).await {
                    // Once more, with its own kind.
                    Flown::Apart => self.fly(Company::Own).await,
                    flown => flown,
                }
            };
            match flown {
                Flown::Answered(response) => response,
                Flown::Apart => self.failed(Failure::LeaderLost),
                Flown::Alone(detail, key) => {
                    let Self { site, request, client, started, read, absent } = self;
                    let pass = read.straight(absent.forward, detail);
                    // Boxed, so that the many reads which need no call of their own do not carry the room
                    // for one.
                    Box::pin(forward::pass(site, request, client, started, pass, key)).await
                }
            }
        }
    }

    /// Looks once more, when memory has what the tier has.
    async fn recall(&mut self) {
        if self.site.shared.recall(self.absent.key).await
            && let Lookup::Absent(absent) =
                lookup::lookup(&self.site, &self.request, &self.read, self.started)
        {
            self.absent = absent;
        }
    }

    /// The answer from a list that is read in place of this and others of its items, where the rule says so.
    async fn promoted(&self) -> Option<Response<Body>> {
        self.read.rule(&self.site).promote.as_ref()?;
        let (entry, collapsed) = Box::pin(promote::promoted(self)).await?;
        let (forward, detail) = (self.absent.forward, Some(Detail::Promoted));
        Some(self.stale(&entry, |_| CacheStatus::Forwarded {
            forward,
            status: None,
            stored: true,
            collapsed,
            detail,
        }))
    }

    fn asked(&self) -> Asked<'_> {
        Asked::new(&self.site, self.read.metrics(&self.site), &self.request, self.client, self.started)
    }

    fn failed(&self, failure: Failure) -> Response<Body> {
        self.asked().fail(&self.read.path, failure)
    }

    fn page(&self) -> Page {
        Page::of(&self.site, &self.read, self.request.uri().query())
    }

    fn errand(&self, cause: Cause, page: Page) -> Errand {
        Errand {
            site: self.site.clone(),
            read: self.read.clone(),
            key: self.absent.key,
            endpoint: self.absent.endpoint,
            target: self.request.uri().path_and_query().expect("admitted with a path").clone(),
            headers: forward::fill_fields(&self.site, self.request.headers()),
            account: self.read.caller().account(&self.site, self.client),
            cause,
            page,
            behalf: fill::Behalf::Client,
        }
    }

    /// With whom this reader may fly: with others only if the API accepted it lately, or if nobody else
    /// can have this key.
    fn company(&self) -> Company {
        let (site, read) = (&self.site, &self.read);
        let now = site.shared.clock.now();
        match read.partition == Partition::of(read.credential)
            || lookup::is_accepted(site, read.rule(site), read.credential, now)
                && rights::still_holds(site, read, now)
        {
            true => Company::Shared,
            false => Company::Own,
        }
    }

    /// Whether this reader flies in `company` without having been asked about: as itself, whoever it is.
    fn flies_unasked(&self, company: Company) -> bool {
        company == Company::Own || self.read.partition == Partition::of(self.read.credential)
    }

    /// Whether the credential had come to its own end when the request came. What it asked for before that it
    /// still gets; what it asks for now is for the API alone to answer.
    fn had_ended(&self) -> bool {
        let (site, read) = (&self.site, &self.read);
        !read.rule(site).anonymous
            && share::had_ended(site, read.credential, self.request.headers(), self.started)
    }

    fn passenger(&self, company: Company) -> Passenger {
        let join = if self.absent.asks.no_cache { Join::Refused } else { Join::Allowed };
        let form = self.read.form(&self.site, self.request.uri().path());
        Passenger { who: self.read.credential, company, join, form }
    }

    /// Joins the flight for this reader or begins it, and waits for what comes of it.
    async fn fly(&self, company: Company) -> Flown {
        let shared = &self.site.shared;
        let mut groups = self.read.groups(&self.site, self.request.uri().query());
        let page = self.page();
        groups.extend(page.groups(&self.site));
        if company == Company::Own {
            // A refusal of this credential overtakes what it fetches for itself.
            let own = GroupName::Partition(Partition::of(self.read.credential));
            groups.push(shared.groups.id(self.site.id, own));
        }
        let groups: Arc<[GroupId]> = groups.into();
        let unsettled = shared.groups.settling(&groups, self.started) == Settling::Open;
        let passenger = self.passenger(company);
        let begun = shared.flights.begin(
            self.absent.key,
            &shared.groups,
            Passenger { join: page.join(passenger.join), ..passenger },
            || groups.clone(),
            || lookup::usable(&self.site, &self.read, self.absent.key, &self.absent.asks, self.started),
        );
        let (waiter, part) = match begun {
            Begin::Stored(entry) => {
                let Self { site, request, client, started, read, absent } = self;
                audit::sample(site, request, read, *client, absent.key, &entry);
                let hit = respond::hit(site, request, read, *client, *started, absent.key, &entry);
                return Flown::Answered(hit);
            }
            Begin::Full => return Flown::Alone(Detail::Limited, None),
            Begin::Joined(_) if self.flies_unasked(company) && self.had_ended() => {
                return Flown::Alone(Detail::Unaccepted, None);
            }
            Begin::Joined(waiter) => (waiter, Part::Follower),
            Begin::Leads(fill, waiter) => {
                let cause = if self.absent.stale.is_some() { Cause::Revalidate } else { Cause::Miss };
                let (sender, receiver) = oneshot::channel();
                let fetch = Carried::new(fill::run(self.errand(cause, page), fill, Some(sender)));
                (waiter, Part::Leader(fetch, receiver))
            }
        };
        let key = self.passenger(company).key(self.absent.key);
        self.land(waiter, key, part, unsettled).await
    }

    /// Waits for the flight `key` and answers with what it came to.
    async fn land(&self, waiter: Waiter<Failure>, key: Key, mut part: Part, unsettled: bool) -> Flown {
        let collapsed = matches!(part, Part::Follower);
        let (forward, detail) = match unsettled {
            true => (Forward::Bypass, Some(Detail::Unsettled)),
            false => (self.absent.forward, self.absent.detail),
        };
        let is_owner = waiter.is_owner();
        let mut patience = match self.absent.stale {
            Some(_) => Patience::UntilTrouble,
            None => Patience::UntilTheEnd,
        };
        let mut waiter = waiter;
        let landing = loop {
            match part.landing(waiter, patience).await {
                Ok(landing) => break landing,
                // The fetch goes on behind it, for the next who asks.
                Err(trouble) => match self.in_place_of(trouble.status) {
                    Some(response) => return Flown::Answered(response),
                    None => (waiter, patience) = (trouble.waiter, Patience::UntilTheEnd),
                },
            }
        };
        let waited = self.site.shared.clock.now().since(self.started);
        let response = match landing {
            Landing::Apart => return Flown::Apart,
            // It may have been refused, or have come to its own end, while it waited for another's.
            Landing::Shared(..) if !is_owner && self.company() == Company::Own => return Flown::Apart,
            // An answer of the API tells when a credential ends by its clock, which nobody here may have known.
            Landing::Shared(..)
                if collapsed && is_owner && lookup::has_ended(&self.site, &self.read, self.started) =>
            {
                return Flown::Alone(Detail::Unaccepted, None);
            }
            Landing::Shared(head, keeping, body) => {
                if self.site.dialect().is_outage(head.status)
                    && let Some(response) = self.in_place_of(Some(head.status))
                {
                    return Flown::Answered(response);
                }
                if head.status.is_success()
                    && self.absent.stale.is_some()
                    // In a box, because most reads have nothing that could stand in.
                    && let Some(response) = Box::pin(self.in_place_of_a_part(&mut part, &body)).await
                {
                    return Flown::Answered(response);
                }
                let outcome = if collapsed { Outcome::Collapsed } else { Outcome::Miss };
                let fields = match collapsed {
                    true => respond::of_another(self.site.dialect(), self.request.headers(), &head),
                    false => head.fields.clone(),
                };
                let response = respond::shared(&head, fields, keeping, body, forward, collapsed, detail);
                Asked { upstream: Some(waited), ..self.asked() }.conclude(outcome, response)
            }
            Landing::Alone => match part {
                Part::Leader(_, mut direct) => match direct.try_recv() {
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
                Part::Follower => return Flown::Alone(Detail::Uncacheable, Some(key)),
            },
            Landing::Failed(failure) => match failure.is_outage().then(|| self.in_place_of(None)).flatten() {
                Some(response) => response,
                None => self.failed(failure),
            },
        };
        Flown::Answered(response)
    }
}
