//! The admin address: metrics, health and the API for operators. Never on the client address.
//!
//! Everybody may ask for metrics and health; the rest is for the operator only ([`guard`]). Nothing
//! here shows a body or a credential.

mod answer;
mod entries;
mod feed;
mod guard;
mod metrics;
mod operations;
mod orders;
mod query;
mod rules;
mod sync;
mod views;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::clock::Timestamp;
use crate::proxy::{Shared, Site};
use crate::rules::Diagnostic;
use crate::server::{Handler, Peer, Refusal};

pub use guard::{Token, TokenError};

use answer::Problem;
use metrics::Scrape;
use query::Query;

/// An answer of the admin address; all are small.
type Answer = Response<Full<Bytes>>;

/// What the admin address shows and steers.
pub trait Process: Send + Sync + 'static {
    /// What all upstreams share.
    fn shared(&self) -> &Arc<Shared>;

    /// What serves each upstream now, ordered by name.
    fn sites(&self) -> Vec<Arc<Site>>;

    /// The file with the operator's token, if one is named.
    fn token_file(&self) -> Option<PathBuf>;

    /// Whether requests are served; a process that drains is not ready.
    fn is_ready(&self) -> bool;

    /// Reads the configuration again and puts it in force, or changes nothing.
    fn reload(&self) -> impl Future<Output = Result<(), ReloadError>> + Send;
}

/// Why the configuration was not reloaded; what was in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file has mistakes.
    #[error("the configuration has {} mistake(s)", .0.len())]
    Mistakes(Vec<Diagnostic>),
    /// The file is right, but it cannot be put in force.
    #[error("{0}")]
    Refused(String),
}

/// The admin service.
pub struct Admin<P>(Arc<Inner<P>>);

struct Inner<P> {
    process: Arc<P>,
    scrape: Scrape,
    started: Timestamp,
}

impl<P> Clone for Admin<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Process> Admin<P> {
    /// A service for `process`.
    pub fn new(process: Arc<P>) -> Self {
        let scrape = Scrape::new(&process.shared().registry);
        let started = process.shared().clock.now();
        Self(Arc::new(Inner { process, scrape, started }))
    }

    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Result<Answer, Problem> {
        let path = request.uri().path();
        let found = ENDPOINTS.iter().find(|(known, ..)| *known == path);
        if !found.is_some_and(|(_, _, endpoint)| endpoint.is_open()) {
            let denied = guard::admit(&request, peer, self.0.process.token_file()).await;
            denied.map_err(Problem::Denied)?;
        }
        let Some((_, method, endpoint)) = found else { return Err(Problem::Unknown(known())) };
        let allowed =
            request.method() == method || (*method == Method::GET && *request.method() == Method::HEAD);
        if !allowed {
            return Err(Problem::Method(method.clone()));
        }
        self.serve(*endpoint, request).await
    }

    async fn serve(&self, endpoint: Endpoint, request: Request<Incoming>) -> Result<Answer, Problem> {
        let process = &self.0.process;
        let (shared, sites) = (process.shared(), process.sites());
        let query = Query::of(request.uri());
        match endpoint {
            Endpoint::Page => Ok(answer::text(format!("forebay: there is {}\n", known()))),
            Endpoint::Metrics => Ok(answer::exposition(self.0.scrape.render(shared, &sites))),
            Endpoint::Healthz => Ok(answer::text("ok\n")),
            Endpoint::Readyz if process.is_ready() => Ok(answer::text("ready\n")),
            Endpoint::Readyz => Err(Problem::Draining),
            Endpoint::Stats => {
                let uptime = shared.clock.now().since(self.0.started);
                Ok(answer::json(&views::stats(shared, &sites, uptime)))
            }
            Endpoint::Upstreams => Ok(answer::json(&views::upstreams(shared, &sites))),
            Endpoint::Rules => Ok(answer::json(&rules::rules(shared, &sites))),
            Endpoint::Entries => {
                let wanted = entries::Wanted::read(&query).map_err(Problem::Request)?;
                let shared = shared.clone();
                let found = answer::blocking(move || entries::list(&shared, &sites, &wanted)).await?;
                Ok(answer::json(&found))
            }
            Endpoint::Explain => views::explain(&sites, &query),
            Endpoint::Purge => {
                let order = orders::Order::read(request.into_body()).await?;
                let shared = shared.clone();
                let purged = answer::blocking(move || order.carry_out(&shared, &sites)).await?;
                Ok(answer::json(&serde_json::json!({ "purged": purged })))
            }
            Endpoint::SyncStats => Ok(answer::json(&sync::stats(&sites))),
            Endpoint::SyncHealth => Ok(answer::json(&sync::health(&sites))),
            Endpoint::SyncTrigger => Ok(answer::json(&sync::trigger(&sites))),
            Endpoint::Reload => {
                process.reload().await.map_err(Problem::Reload)?;
                Ok(answer::json(&serde_json::json!({ "reloaded": true })))
            }
        }
    }
}

impl<P: Process> Handler for Admin<P> {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, peer: Arc<Peer>) -> Answer {
        self.answer(request, &peer).await.unwrap_or_else(Problem::into_answer)
    }

    fn refused(&self, refusal: Refusal, _: &Peer) -> Answer {
        answer::error(refusal.status(), refusal.message())
    }
}

/// What there is to ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Page,
    Metrics,
    Healthz,
    Readyz,
    Stats,
    Upstreams,
    Rules,
    Entries,
    Explain,
    Purge,
    Reload,
    SyncStats,
    SyncHealth,
    SyncTrigger,
}

const ENDPOINTS: [(&str, Method, Endpoint); 14] = [
    ("/", Method::GET, Endpoint::Page),
    ("/metrics", Method::GET, Endpoint::Metrics),
    ("/healthz", Method::GET, Endpoint::Healthz),
    ("/readyz", Method::GET, Endpoint::Readyz),
    ("/api/stats", Method::GET, Endpoint::Stats),
    ("/api/upstreams", Method::GET, Endpoint::Upstreams),
    ("/api/rules", Method::GET, Endpoint::Rules),
    ("/api/entries", Method::GET, Endpoint::Entries),
    ("/api/explain", Method::GET, Endpoint::Explain),
    ("/api/purge", Method::POST, Endpoint::Purge),
    ("/api/reload", Method::POST, Endpoint::Reload),
    ("/api/sync/stats", Method::GET, Endpoint::SyncStats),
    ("/api/sync/health", Method::GET, Endpoint::SyncHealth),
    ("/api/sync/trigger", Method::POST, Endpoint::SyncTrigger),
];

impl Endpoint {
    /// Whether everybody may ask.
    fn is_open(self) -> bool {
        matches!(self, Endpoint::Metrics | Endpoint::Healthz | Endpoint::Readyz)
    }
}

/// Every endpoint with its method, for people who look for one.
fn known() -> String {
    let named: Vec<String> = ENDPOINTS.iter().map(|(path, method, _)| format!("{method} {path}")).collect();
    named.join(", ")
}
