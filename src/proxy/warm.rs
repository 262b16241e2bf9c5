//! Keeping warm: what a rule or a `sync` job names is fetched again before it expires, in the background
//! share of the limits.
//!
//! What clients use is fetched as they would fetch it, with the credential that fetched it last, so it fills
//! only the partition that it is from; what a job names goes with the upstream's own credential. Each fetch
//! takes the way of a request: by the rules in force, on the flights that readers are on, and kept only if
//! theirs would be. Nothing here decides what is fresh.
//!
//! What changes often is fetched in a quick pass and the rest in a full one, each with places of its own.

mod jobs;
mod passes;
mod shown;
mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};
use tokio::task::JoinSet;

pub use jobs::SyncJob;
pub use shown::{PassShown, WarmIssue, WarmShown};
pub(super) use table::Warm;

use table::{Kept, Wanted};

use super::audit::COMPARE_AT_ONCE;
use super::counters::Cause;
use super::fill::{self, Behalf, Errand};
use super::pages::Page;
use super::route::{self, Read, Route};
use super::site::Site;
use super::{Proxy, admit, lookup};
use crate::cache::compare::{Comparison, compare};
use crate::cache::entry::Entry;
use crate::cache::flight::{Begin, Company, Join, Passenger};
use crate::cache::groups::{GroupId, GroupName, Settling};
use crate::cache::key::{Key, Partition};
use crate::cache::pace::{Found, Paces, Pass};
use crate::clock::Timestamp;
use crate::rules::Reuse;

/// How often it is looked for what is due, while anything is kept warm.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a fetch waits for writes and tasks to settle: what came before would be kept for a second.
const UNTIL_SETTLED: Duration = Duration::from_secs(2);

/// How something is asked for.
pub(super) struct Asker {
    target: PathAndQuery,
    /// With the credential among them, in memory only.
    fields: HeaderMap,
    /// The endpoint that the key names.
    endpoint: Option<u64>,
}

/// What became of an attempt.
enum Attempt {
    /// It was made.
    Made(Made),
    /// Its time has not come.
    Later(Duration),
    /// It is of no use any more: the rules or the API say otherwise, or nobody uses it.
    Over,
}

/// A fetch that was made.
struct Made {
    found: Found,
    paces: Paces,
    /// When it left.
    left: Timestamp,
    /// When what was kept before was used last.
    used: Timestamp,
}

/// Keeps warm for as long as the upstream is served, whatever site the proxy is reloaded with.
pub async fn keep_warm(proxy: Proxy) {
    let mut running = JoinSet::new();
    let mut served = Served(proxy.site());
    let shared = served.0.shared.clone();
    let warm = &shared.warm;
    jobs::take(&served.0);
    loop {
        // Made before the looks, so that nothing that happens in between is missed.
        let stirred = warm.stirred();
        let site = proxy.site();
        if !Arc::ptr_eq(&served.0, &site) || warm.has_lost_a_job(site.id) {
            served = served.followed_by(site.clone());
            jobs::take(&site);
        }
        if !warm.has_any(site.id) {
            stirred.await;
            continue;
        }
        let mut next_look = pin!(tokio::time::sleep(LOOK_EVERY));
        loop {
            for wanted in warm.due(site.id, shared.clock.now()) {
                running.spawn(Fetching::new(site.clone(), wanted).run());
            }
            // A place that is free again is given away at once; what is new can wait for the next look.
            tokio::select! {
                () = &mut next_look => break,
                Some(_) = running.join_next() => {}
            }
        }
    }
}

/// A site that is served: when it no longer is, nothing of it is kept warm.
struct Served(Arc<Site>);

impl Served {
    /// What is known stays if it is the same API.
    fn followed_by(mut self, next: Arc<Site>) -> Self {
        if self.0.id == next.id {
            self.0 = next;
            return self;
        }
        Self(next)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.shared.warm.leave(self.0.id);
    }
}

/// A fetch under way: whatever becomes of it, another one follows.
struct Fetching {
    site: Arc<Site>,
    key: Key,
    pass: Pass,
    asker: Arc<Asker>,
    job: Option<SyncJob>,
    used: Timestamp,
    attempt: Attempt,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        let attempt = std::mem::replace(&mut self.attempt, Attempt::Over);
        let shared = &self.site.shared;
        shared.warm.fetched(self.site.id, self.key, &self.asker, attempt, shared.clock.now());
    }
}

impl Fetching {
    fn new(site: Arc<Site>, Wanted { key, pass, asker, job, used }: Wanted) -> Self {
        Self { site, key, pass, asker, job, used, attempt: Attempt::Later(LOOK_EVERY) }
    }

    async fn run(mut self) {
        self.attempt = self.fetch().await.unwrap_or(Attempt::Over);
    }

    /// `None` where there is nothing to be fetched any more.
    async fn fetch(&self) -> Option<Attempt> {
        let Self { site, asker, job, used, .. } = self;
        let shared = &site.shared;
        let now = shared.clock.now();
        let request = asker.request();
        let read = read_of(site, &request)?;
        let rule = read.rule(site);
        let is_refused = job.is_none() && shared.acceptance.is_refused(site.id, read.credential);
        if read.key(site, &request, asker.endpoint) != self.key || is_refused {
            return None;
        }
        let before = shared.memory.get(self.key);
        let used = before.as_ref().map_or(*used, |before| before.used().max(*used));
        let every = match (job, rule.keep_warm, &before) {
            (Some(job), ..) => job.every,
            // What the store had to give up, or the API says is gone, is not brought back.
            (None, Some(warm), Some(_)) if now.since(used) < warm.while_used_within => warm.every,
            _ => return None,
        };
        let fresh = match rule.reuse {
            Reuse::For(fresh) => fresh,
            _ => before.as_ref().map_or(every, |before| before.lifetimes().fresh),
        };
        let paces = match job {
            Some(job) => Paces { quick: job.every, slow: job.full },
            None => Paces::of(every, fresh.min(site.ceiling(read.rule, now))),
        };
        let page = Page::of(site, &read, request.uri().query());
        if page.is_stray() {
            return None;
        }
        let mut groups = read.groups(site, request.uri().query());
        groups.extend(page.groups(site));
        if shared.groups.settling(&groups, now) != Settling::Settled {
            return Some(Attempt::Later(UNTIL_SETTLED));
        }
        let read = read.detach();
        if !self.fly(read.clone(), page, groups).await {
            return Some(Attempt::Later(UNTIL_SETTLED));
        }
        let found = match (before, shared.memory.get(self.key)) {
            (Some(before), Some(after)) if after.sequence() > before.sequence() => {
                self.compare(&read, before, after).await
            }
            (None, Some(_)) => Found::Changed,
            _ => Found::Nothing,
        };
        Some(Attempt::Made(Made { found, paces, left: now, used }))
    }

    /// Fetches, unless somebody does already.
    async fn fly(&self, read: Read<'static>, page: Page, mut groups: Vec<GroupId>) -> bool {
        let Self { site, asker, .. } = self;
        let shared = &site.shared;
        let who = read.credential;
        let own = Partition::of(who);
        let company = match read.partition == own
            || lookup::is_accepted(site, read.rule(site), who, shared.clock.now())
        {
            true => Company::Shared,
            false => {
                groups.push(shared.groups.id(site.id, GroupName::Partition(own)));
                Company::Own
            }
        };
        let form = read.form(site, asker.target.path());
        let passenger = Passenger { who, company, join: Join::Allowed, form };
        // Whatever is kept will not do.
        let begun = shared.flights.begin(self.key, &shared.groups, passenger, || groups.into(), || None);
        let Begin::Leads(fill, waiter) = begun else { return false };
        // Nobody here waits for the answer, and nobody shall be held up for one who does not read.
        drop(waiter);
        let errand = Errand {
            site: site.clone(),
            account: read.caller().account(site, NOBODY),
            read,
            key: self.key,
            endpoint: asker.endpoint,
            target: asker.target.clone(),
            headers: asker.fields.clone(),
            cause: Cause::Refresh,
            page,
            behalf: Behalf::Itself(self.pass),
        };
        fill::run(errand, fill, None).await;
        true
    }

    async fn compare(&self, read: &Read<'_>, before: Arc<Entry>, after: Arc<Entry>) -> Found {
        let (moving, order) = (read.rule(&self.site).moving.clone(), self.site.dialect().list_order());
        let is_small = after.body_length() < COMPARE_AT_ONCE;
        let work = move || compare(&before.body(), &after.body(), &moving, order);
        let compared = if is_small { Ok(work()) } else { tokio::task::spawn_blocking(work).await };
        match compared {
            Ok(Comparison::Same) => Found::Same,
            _ => Found::Changed,
        }
    }
}

/// Calls of forebay's own come from no client; an accepted credential is what they are charged to.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Asker {
    /// The request that asks so. The version is one that needs no `Host`.
    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.fields.clone();
        request
    }
}

/// The read that a request is by the rules in force, if its answer is kept.
pub(super) fn read_of<'r>(site: &Site, request: &'r Request<()>) -> Option<Read<'r>> {
    let admitted = admit::admit(site, request).ok()?;
    match route::route(site, request, admitted, site.shared.clock.now()) {
        Route::Read(read) if read.rule(site).reuse != Reuse::CollapseOnly => Some(read),
        _ => None,
    }
}

impl Errand {
    /// What this errand fetched for a client, with a call that left at `left`, was stored: it is kept warm
    /// from now on, where its rule says so.
    pub(super) fn keep_warm(&self, left: Timestamp) {
        let rule = self.read.rule(&self.site);
        let (Some(named), Behalf::Client) = (rule.keep_warm, self.behalf) else { return };
        let fresh = if let Reuse::For(fresh) = rule.reuse { fresh } else { named.every };
        let asker =
            Asker { target: self.target.clone(), fields: copied(&self.headers), endpoint: self.endpoint };
        let now = self.site.shared.clock.now();
        let kept = Kept::used(asker, Paces::of(named.every, fresh), now);
        self.site.shared.warm.keep(self.site.id, self.key, kept, left, now);
    }
}

/// A copy that does not keep all that was read with the fields.
fn copied(fields: &HeaderMap) -> HeaderMap {
    let copy = |(name, value): (&HeaderName, &HeaderValue)| {
        let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        value.set_sensitive(true);
        Some((name.clone(), value))
    };
    fields.iter().filter_map(copy).collect()
}
