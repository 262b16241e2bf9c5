//! The process: every part put together from settings, reloaded as one, drained as one.

mod core;
mod forward;
mod logs;
mod probe;
mod store;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use crate::admin::{Admin, ReloadError, Token, TokenError};
use crate::cache::key::Secret;
use crate::clock::Clock;
use crate::config::{Settings, UpstreamSettings};
use crate::proxy::{self, Body, Front, Proxy, Shared, Site, Via};
use crate::server::{Handler, Listener, ListenerConfig, Peer, Refusal, ServerError};
use crate::telemetry::{Registry, UPKEEP_EVERY};
use crate::tier::disk::Layout;
use crate::upstream::{Upstream, UpstreamError};

use self::core::Core;
pub use logs::Logs;

/// How often what ends by time is looked after: operations past their cap.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked whether open operations are to be asked after, while there are any.
const ASK_EVERY: Duration = Duration::from_millis(500);

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
    /// The token of the admin address.
    #[error(transparent)]
    Token(#[from] TokenError),
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
    core: Arc<Core>,
    addresses: Vec<SocketAddr>,
    forwards: Vec<SocketAddr>,
    admin: Option<Listener>,
    background: Vec<JoinHandle<()>>,
}

/// The sites by the name of their upstream. A name keeps its number and its proxy for as long as it is
/// configured or served.
#[derive(Default)]
pub struct Sites(Mutex<ByName>);

#[derive(Default)]
struct ByName {
    sites: HashMap<String, (u32, Proxy)>,
    /// What watches for changes made elsewhere: it ends with the upstream, and all with the process.
    watches: HashMap<String, AbortHandle>,
    watching: JoinSet<()>,
    /// What had numbers in the process before.
    before: store::Before,
    /// The number for the next upstream. None is given twice: what is kept under one that is gone must
    /// not be found by another.
    next: u32,
}

impl Sites {
    /// What serves each upstream now, ordered by name.
    pub fn all(&self) -> Vec<Arc<Site>> {
        let mut sites: Vec<_> = self.0.lock().sites.values().map(|(_, proxy)| proxy.site()).collect();
        sites.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        sites
    }

    /// What answers for the upstream `name`.
    fn proxy(&self, name: &str) -> Option<Proxy> {
        self.0.lock().sites.get(name).map(|(_, proxy)| proxy.clone())
    }

    /// Goes on with the numbers of the process before.
    fn resumed(layout: &Layout) -> Self {
        let (before, next) = (store::Before::new(layout), layout.next_site);
        Self(Mutex::new(ByName { before, next, ..ByName::default() }))
    }

    fn next(&self) -> u32 {
        self.0.lock().next
    }

    /// Forgets the upstreams that `stays` does not pick, and gives their numbers.
    fn retain(&self, stays: impl Fn(&str) -> bool) -> Vec<u32> {
        let mut by_name = self.0.lock();
        by_name.watches.extract_if(|name, _| !stays(name)).for_each(|(_, watch)| watch.abort());
        by_name.sites.extract_if(|name, _| !stays(name)).map(|(_, (id, _))| id).collect()
    }
}

impl App {
    /// Starts to serve. `clock` is what ages are measured with.
    pub async fn start(settings: Settings, clock: Clock) -> Result<App, AppError> {
        Self::start_as(settings, clock, None).await
    }

    /// The same where no process ever was before this one, so that nobody has written yet. The secret is
    /// known, so that which groups collide is the same in every run; a store brings its own.
    pub async fn start_with(settings: Settings, clock: Clock, secret: Secret) -> Result<App, AppError> {
        Self::start_as(settings, clock, Some(secret)).await
    }

    async fn start_as(mut settings: Settings, clock: Clock, first: Option<Secret>) -> Result<App, AppError> {
        check_token(&settings)?;
        let registry = Registry::new();
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        registry.gauge("forebay_build_info", &labels).set(1.0);
        probe::choose_rules(&mut settings, &registry).await?;
        let (shared, sites, disk) = store::begin(&settings, clock, first, registry).await;
        shared.log_requests.store(settings.log.requests, Ordering::Relaxed);
        let mut listeners = Vec::new();
        let built = plan_sites(&settings, &shared, &sites)?;
        install(&sites, &shared, built);
        let mut background = store::serve(&settings, &shared, &sites, disk.as_ref()).await;
        for listener in &settings.listeners {
            let proxy = sites
                .proxy(&listener.upstream)
                .expect("the configuration refuses a listener without its upstream");
            let service = Service { proxy, front: listener.front.clone() };
            let bound = Listener::bind(listener.config.clone(), service, &shared.registry).await?;
            listeners.push(Serving { listener: bound, upstream: listener.upstream.clone() });
        }
        let addresses: Vec<_> = listeners.iter().map(|serving| serving.listener.address()).collect();
        background.push(tokio::spawn(upkeep(shared.clone())));
        background.push(tokio::spawn(follow(shared.clone(), sites.clone())));
        let core = Core::new(shared, sites, settings, listeners, disk);
        let admin = start_admin(&core).await;
        let admin_address = admin.iter().flatten().map(Listener::address).collect::<Vec<_>>();
        let forwards = match &admin {
            Ok(_) => forward::start(&core, [&addresses[..], &admin_address].concat()).await,
            Err(_) => Ok(Vec::new()),
        };
        if admin.is_err() || forwards.is_err() {
            background.iter().for_each(JoinHandle::abort);
        }
        Ok(App { core, addresses, admin: admin?, forwards: forwards?, background })
    }

    /// Takes a new configuration in one swap per upstream. Addresses, TLS and the size of the cache
    /// keep their values until a restart; a warning says so where they differ.
    pub async fn reload(&self, settings: Settings) -> Result<(), AppError> {
        self.core.reload(settings).await
    }

    /// Reads the file that the settings in force came from once more and takes it; without one, the
    /// certificates and keys that they name. What comes of it is logged too; a bad file changes nothing.
    pub async fn reload_file(&self) -> Result<(), ReloadError> {
        self.core.reload_file().await
    }

    /// Waits for the next reload, whoever ordered it.
    pub async fn reloaded(&self) {
        self.core.reloaded.notified().await;
    }

    /// Every file whose change is a reload: the configuration, its rule packs, its certificates, the
    /// token.
    pub fn files(&self) -> Vec<PathBuf> {
        let settings = self.core.settings.lock();
        settings.file.iter().cloned().chain(settings.files()).collect()
    }

    /// Where clients connect, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Where clients connect that use forebay as their forward proxy, in the order of the configuration.
    pub fn forward_addresses(&self) -> Vec<SocketAddr> {
        self.forwards.clone()
    }

    /// The CA that the clients of a forward proxy must trust, if one serves hosts itself: its file, and its
    /// SHA-256.
    pub fn forward_ca(&self) -> Option<(PathBuf, String)> {
        let forwards = self.core.forwards.lock();
        let mint = forwards.iter().find_map(|forwarding| forwarding.forward.mint())?;
        Some((mint.ca_path(), mint.ca_fingerprint_sha256()))
    }

    /// Where the admin address is served.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Listener::address)
    }

    /// What all upstreams share: the store, the clock, the metrics.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.core.shared
    }

    /// The sites.
    pub fn sites(&self) -> &Arc<Sites> {
        &self.core.sites
    }

    /// Lets what has begun finish, then stops.
    pub async fn drain(self) {
        self.core.begin_drain();
        let mut draining = JoinSet::new();
        let listeners = std::mem::take(&mut *self.core.listeners.lock());
        listeners.into_iter().for_each(|serving| drop(draining.spawn(serving.listener.drain())));
        let forwards = std::mem::take(&mut *self.core.forwards.lock());
        forwards.into_iter().for_each(|forward| drop(draining.spawn(forward.listener.drain())));
        draining.join_all().await;
        self.core.shared.writes_finished().await;
        if let Some(admin) = self.admin {
            admin.drain().await;
        }
        self.background.iter().for_each(JoinHandle::abort);
        self.core.sites.0.lock().watching.abort_all();
        if let Some(disk) = &self.core.disk {
            store::close(disk, &self.core.shared, &self.core.sites).await;
        }
    }
}

/// A listener, and the upstream that it serves.
struct Serving {
    listener: Listener,
    upstream: String,
}

/// A site that is about to be: all of it that can fail has been made.
struct Planned {
    id: u32,
    settings: UpstreamSettings,
    client: Upstream,
}

/// Plans every site of `settings`, with what the running ones of the same name can hand on. Nothing is
/// changed here.
fn plan_sites(settings: &Settings, shared: &Arc<Shared>, running: &Sites) -> Result<Vec<Planned>, AppError> {
    let running = running.0.lock();
    let mut next = running.next;
    settings
        .upstreams
        .iter()
        .map(|upstream| {
            let old = running.sites.get(&upstream.name);
            let old_id = old.filter(|(_, proxy)| is_same_api(&proxy.site(), upstream)).map(|(id, _)| *id);
            let before = || if old.is_none() { running.before.id(upstream) } else { None };
            let id = old_id.or_else(before).unwrap_or(next);
            next = next.max(id + 1);
            let client = match old {
                Some((_, proxy)) => proxy.site().upstream.reconfigured(upstream.upstream.clone()),
                None => Upstream::new(upstream.upstream.clone(), &shared.registry),
            };
            let client =
                client.map_err(|source| AppError::Upstream { name: upstream.name.clone(), source })?;
            Ok(Planned { id, settings: upstream.clone(), client })
        })
        .collect()
}

/// Whether what is kept of `site` is still what `upstream` would answer, and to whom: at least one endpoint
/// stayed, and the same fields are a credential. Otherwise it is another API under the same name, which
/// gets a number of its own and so finds nothing of the old one.
fn is_same_api(site: &Site, upstream: &UpstreamSettings) -> bool {
    let old = &site.upstream.config().endpoints;
    upstream.upstream.endpoints.iter().any(|endpoint| old.iter().any(|o| o.id() == endpoint.id()))
        && site.config.credentials == upstream.site.credentials
}

/// Puts what was planned into force; nothing of this can fail.
fn install(sites: &Sites, shared: &Arc<Shared>, planned: Vec<Planned>) {
    let ByName { sites, watches, watching, next, before } = &mut *sites.0.lock();
    // Whoever comes later is none of them.
    *before = store::Before::default();
    for Planned { id, settings, client } in planned {
        *next = (*next).max(id + 1);
        let name = settings.name;
        let rules = settings.rules.expect("rules were named or chosen by probing");
        if let Some(exposed) = settings.site.credential.as_ref().filter(|credential| credential.is_exposed) {
            let file = exposed.file.display();
            tracing::warn!(upstream = %name, "everybody on this machine may read the credential in {file}");
        }
        client.take_effect();
        let site = Arc::new(Site::new(shared.clone(), id, settings.site, rules, client));
        match sites.get_mut(&name) {
            Some((old, proxy)) => {
                *old = id;
                proxy.reload(site);
            }
            None => {
                let proxy = Proxy::new(site);
                let background = background_work(proxy.clone());
                watches.insert(name.clone(), watching.spawn(background));
                sites.insert(name, (id, proxy));
            }
        }
    }
}

/// What forebay does at an upstream by itself.
async fn background_work(proxy: Proxy) {
    tokio::join!(proxy::watch(proxy.clone()), proxy::keep_warm(proxy));
}

/// A token that cannot be used must not be found out by whoever needs it.
fn check_token(settings: &Settings) -> Result<(), TokenError> {
    settings.admin.token_file.as_deref().map_or(Ok(()), |path| Token::read(path).map(drop))
}

/// The admin address. One that nobody named may be taken by another process without harm.
async fn start_admin(core: &Arc<Core>) -> Result<Option<Listener>, AppError> {
    let settings = core.settings.lock().admin.clone();
    let config = ListenerConfig::new(settings.address);
    match Listener::bind(config, Admin::new(core.clone()), &core.shared.registry).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if !settings.named => {
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

/// Asks after open operations, as whatever serves their upstream now. The questions end with the process.
async fn follow(shared: Arc<Shared>, sites: Arc<Sites>) {
    let mut asking = JoinSet::new();
    loop {
        shared.operations.any_watched().await;
        tokio::time::sleep(ASK_EVERY).await;
        while asking.try_join_next().is_some() {}
        let sites = sites.all();
        let ids: Vec<u32> = sites.iter().map(|site| site.id).collect();
        shared.operations.keep_credentials_of(&ids);
        for site in sites {
            for question in site.questions() {
                asking.spawn(site.clone().ask_after(question));
            }
        }
    }
}

/// The proxy as a listener sees it, and as its clients see the listener.
#[derive(Clone)]
struct Service {
    proxy: Proxy,
    front: Front,
}

impl Handler for Service {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>, peer: Arc<Peer>) -> Response<Body> {
        let via = Via { client: peer.address, local: peer.local, tls: peer.tls, front: &self.front };
        self.proxy.handle(request, via).await
    }

    fn refused(&self, refusal: Refusal, _: &Peer) -> Response<Body> {
        self.proxy.refused(refusal.status(), refusal.message())
    }
}
