//! The proxy: the life of a request, from its admission to its answer.

mod actors;
mod admit;
mod audit;
mod body;
mod carried;
mod casing;
mod changes;
mod charge;
mod connect;
mod content;
mod counters;
mod epochs;
mod error;
mod explain;
mod feed;
mod fill;
mod forward;
mod hearing;
mod links;
mod lookup;
mod operations;
mod outage;
mod own;
mod pages;
mod poll;
mod precondition;
mod promote;
mod purge;
mod read;
mod remembered;
mod respond;
mod rights;
mod route;
mod share;
mod site;
mod tasks;
mod tunnel;
mod tunnels;
mod warm;
mod watch;
mod write;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::sync::Notify;

pub use body::Body;
pub use connect::{
    ConnectCounters, ConnectOutcome, connect_target, connected, inner_host, not_connected, refused,
};
pub use error::Failure;
pub use explain::{Explanation, explain};
pub use feed::{FeedConfig, FeedStanding, FeedState};
pub use links::{Front, PublicUrl, PublicUrlError, Via};
pub use operations::{Origin as OperationOrigin, Shown as OperationShown};
pub use own::{CredentialError, MAX_CREDENTIAL, OwnCredential};
pub use purge::{Manner, Purge, group_of, is_usable, matches_path, purge};
pub use site::{InvalidationCause, Shared, Site, SiteConfig};
pub use tunnels::{AllTunnels, TunnelLimits, TunnelPlace, Tunnels};
pub use warm::{PassShown, SyncJob, WarmIssue, WarmShown, keep_warm};
pub use watch::watch;

use lookup::Lookup;
use read::Reading;
use route::Route;

use crate::semantics::fields;

/// One upstream as clients reach it through a listener.
#[derive(Clone)]
pub struct Proxy {
    site: Arc<ArcSwap<Site>>,
    reloaded: Arc<Notify>,
}

impl Proxy {
    /// A proxy for `site`, which [`Proxy::reload`] replaces.
    pub fn new(site: Arc<Site>) -> Self {
        Self { site: Arc::new(ArcSwap::new(site)), reloaded: Arc::default() }
    }

    /// Serves requests by `site` from now on; those in progress keep the one they began with.
    pub fn reload(&self, site: Arc<Site>) {
        let old = self.site.swap(site);
        // By the rules that took them; those that come now would wait for them.
        old.shared.release_writes(old.id);
        old.shared.warm.stir();
        self.reloaded.notify_one();
    }

    /// Waits for the next reload, or for the one that nobody waited for yet. For one that waits.
    async fn reloaded(&self) {
        self.reloaded.notified().await;
    }

    /// The site that requests are served by now.
    pub fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// The answer to what was refused before it was a request.
    pub fn refused(&self, status: StatusCode, message: &'static str) -> Response<Body> {
        error::refused(self.site.load().dialect(), status, message)
    }

    /// The answer to a request inside of a connection to another host than it is for.
    pub fn misdirected(&self) -> Response<Body> {
        error::misdirected(self.site.load().dialect())
    }

    /// The life of a request. Only what a hit needs happens here, without a wait and without an
    /// allocation of our own; everything that may go upstream has its own file.
    pub async fn handle(&self, mut request: Request<Incoming>, via: Via<'_>) -> Response<Body> {
        if request.version() == Version::HTTP_2 {
            fields::join_cookies(request.headers_mut());
        }
        let site = self.site.load();
        let (now, client) = (site.shared.clock.now(), via.client);
        if let Some(links) = &site.links
            && let Err(refusal) = links::arrive(&site, links, via, &mut request)
        {
            return respond::refused(&site, &request, client, now, refusal);
        }
        let admitted = match admit::admit(&site, &request) {
            Ok(admitted) => admitted,
            Err(refusal) => return respond::refused(&site, &request, client, now, refusal),
        };
        match route::route(&site, &request, admitted, now) {
            Route::Read(read) => match lookup::lookup(&site, &request, &read, now) {
                Lookup::Fresh(key, entry) => {
                    rights::ask_if_due(&site, &read, request.headers(), now);
                    audit::sample(&site, &request, &read, client, key, &entry);
                    respond::hit(&site, &request, &read, client, now, key, &entry)
                }
                Lookup::Absent(absent) => {
                    rights::ask_if_due(&site, &read, request.headers(), now);
                    let (site, read) = (Arc::clone(&site), read.detach());
                    Box::pin(Reading { site, request, client, started: now, read, absent }.answer()).await
                }
                Lookup::Pass(forward, detail) => {
                    let pass = read.detach().straight(forward, detail);
                    let site = Arc::clone(&site);
                    Box::pin(forward::pass(site, request, client, now, pass, None)).await
                }
            },
            Route::Write(write) => {
                let write = write.detach();
                let site = Arc::clone(&site);
                Box::pin(write::write(site, request, client, now, write)).await
            }
            Route::Pass(pass) => {
                let pass = pass.detach();
                let site = Arc::clone(&site);
                Box::pin(forward::pass(site, request, client, now, pass, None)).await
            }
            Route::Tunnel(pass) => {
                let pass = pass.detach();
                let site = Arc::clone(&site);
                Box::pin(tunnel::tunnel(site, request, client, now, pass)).await
            }
        }
    }
}
