//! The process: every part put together from settings, reloaded as one, drained as one.

mod logs;
mod probe;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::Settings;
use crate::proxy::{Body, Proxy, Shared, Site};
use crate::server::{Handler, Listener, ListenerConfig, Peer, Refusal, ServerError};
use crate::telemetry::{Registry, UPKEEP_EVERY};
use crate::upstream::{Upstream, UpstreamError};

pub use logs::Logs;

/// How often what ends by time is looked after: operations past their cap.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Why the process cannot start, or cannot take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A listener.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// An upstream.
    #[error("upstream `{name}`: {source}")]
    Upstream {
        /// Which.
        name: String,
        /// Why.
        source: UpstreamError,
    },
    /// An upstream without rules gave no answer that its API could be told from.
    #[error("upstream `{name}`: cannot tell which API answers there ({reason}); name the rules with --rules")]
    Unknown {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A running process.
pub struct App {
    shared: Arc<Shared>,
    sites: Arc<Sites>,
    listeners: Vec<Listener>,
    admin: Option<Listener>,
    background: Vec<JoinHandle<()>>,
    settings: Mutex<Settings>,
}

/// The sites by the name of their upstream. A name keeps its number and its proxy for the life of the
/// process.
#[derive(Default)]
pub struct Sites(Mutex<HashMap<String, (u32, Proxy)>>);

impl Sites {
    /// What serves each upstream now, ordered by name.
    pub fn all(&self) -> Vec<Arc<Site>> {
        let mut sites: Vec<_> = self.0.lock().values().map(|(_, proxy)| proxy.site()).collect();
        sites.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        sites
    }
}

impl App {
    /// Starts to serve. `clock` is what ages are measured with.
    pub async fn start(mut settings: Settings, clock: Clock) -> Result<App, AppError> {
        let registry = Registry::new();
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        registry.gauge("forebay_build_info", &labels).set(1.0);
        let shared = Shared::new(clock, registry, settings.cache.memory, settings.cache.max_object);
        shared.log_requests.store(settings.log.requests, Ordering::Relaxed);
        probe::choose_rules(&mut settings, &shared.registry).await?;
        let sites = Arc::new(Sites::default());
        let mut listeners = Vec::new();
        let built = build_sites(&settings, &shared, &sites)?;
        install(&sites, built);
        for listener in &settings.listeners {
            let proxy = sites.0.lock().get(&listener.upstream).map(|(_, proxy)| proxy.clone());
            let proxy = proxy.expect("the configuration refuses a listener without its upstream");
            listeners.push(Listener::bind(listener.config.clone(), Service(proxy), &shared.registry).await?);
        }
        let admin = start_admin(&settings, &shared, &sites).await?;
        let background = vec![tokio::spawn(upkeep(shared.clone()))];
        Ok(App { shared, sites, listeners, admin, background, settings: Mutex::new(settings) })
    }

    /// Takes a new configuration in one swap per upstream. Addresses, TLS and the size of the cache
    /// keep their values until a restart; a warning says so where they differ.
    pub async fn reload(&self, mut settings: Settings) -> Result<(), AppError> {
        probe::choose_rules(&mut settings, &self.shared.registry).await?;
        let built = build_sites(&settings, &self.shared, &self.sites)?;
        install(&self.sites, built);
        self.shared.log_requests.store(settings.log.requests, Ordering::Relaxed);
        for listener in &self.listeners {
            listener.reload_tls()?;
        }
        let mut current = self.settings.lock();
        let addresses = |s: &Settings| {
            s.listeners.iter().map(|l| (l.config.address, l.upstream.clone())).collect::<Vec<_>>()
        };
        if addresses(&current) != addresses(&settings) || current.cache != settings.cache {
            tracing::warn!("`listen` and `cache` of the new configuration count from the next start on");
        }
        *current = settings;
        Ok(())
    }

    /// Where clients connect, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Where the admin address is served.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Listener::address)
    }

    /// What all upstreams share: the store, the clock, the metrics.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The sites.
    pub fn sites(&self) -> &Arc<Sites> {
        &self.sites
    }

    /// Lets what has begun finish, then stops.
    pub async fn drain(self) {
        let mut draining = tokio::task::JoinSet::new();
        self.listeners.into_iter().for_each(|listener| drop(draining.spawn(listener.drain())));
        draining.join_all().await;
        if let Some(admin) = self.admin {
            admin.drain().await;
        }
        self.background.iter().for_each(JoinHandle::abort);
    }
}

/// Builds every site of `settings`, with what the running ones of the same name can hand on. Nothing
/// is changed before all of them are built.
fn build_sites(settings: &Settings, shared: &Arc<Shared>, running: &Sites) -> Result<Vec<Site>, AppError> {
    let running = running.0.lock();
    let mut next = running.values().map(|(id, _)| id + 1).max().unwrap_or(0);
    settings
        .upstreams
        .iter()
        .map(|upstream| {
            let old = running.get(&upstream.name);
            let id = old.map_or(next, |(id, _)| *id);
            next = next.max(id + 1);
            let client = match old {
                Some((_, proxy)) => proxy.site().upstream.reconfigured(upstream.upstream.clone()),
                None => Upstream::new(upstream.upstream.clone(), &shared.registry),
            };
            let client =
                client.map_err(|source| AppError::Upstream { name: upstream.name.clone(), source })?;
            let rules = upstream.rules.clone().expect("rules were named or chosen by probing");
            Ok(Site::new(shared.clone(), id, upstream.site.clone(), rules, client))
        })
        .collect()
}

fn install(sites: &Sites, built: Vec<Site>) {
    let mut sites = sites.0.lock();
    for site in built {
        let (name, id, site) = (site.config.name.clone(), site.id, Arc::new(site));
        match sites.get(&name) {
            Some((_, proxy)) => proxy.reload(site),
            None => drop(sites.insert(name, (id, Proxy::new(site)))),
        }
    }
}

/// The admin address. One that nobody named may be taken by another process without harm.
async fn start_admin(
    settings: &Settings,
    shared: &Arc<Shared>,
    sites: &Arc<Sites>,
) -> Result<Option<Listener>, AppError> {
    let sites = sites.clone();
    let admin = Admin::new(shared.clone(), move || sites.all());
    let config = ListenerConfig::new(settings.admin.address);
    match Listener::bind(config, admin, &shared.registry).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if !settings.admin.named => {
            tracing::warn!(%error, "no admin address; name a free one with `admin.address`");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn upkeep(shared: Arc<Shared>) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut drain = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            _ = sweep.tick() => shared.operations.sweep(),
            _ = drain.tick() => shared.registry.upkeep(),
        }
    }
}

/// The proxy as a listener sees it.
#[derive(Clone)]
struct Service(Proxy);

impl Handler for Service {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>, peer: Arc<Peer>) -> Response<Body> {
        self.0.handle(request, peer.address).await
    }

    fn refused(&self, refusal: Refusal, _: &Peer) -> Response<Body> {
        self.0.refused(refusal.status(), refusal.message())
    }
}
