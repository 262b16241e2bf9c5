//! The store on disk as a process uses it: taken before anything is served, told what it must know, and
//! closed last. Nothing here keeps the process from serving.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::cache::key::Secret;
use crate::clock::{Clock, Timestamp};
use crate::config::{Settings, UpstreamSettings};
use crate::proxy::{Shared, Site};
use crate::telemetry::Registry;
use crate::tier::disk::{Beginning, Disk, DiskConfig, KnownSite, Layout, Opened, Standing, Trouble};

use super::Sites;

/// How long a start waits for its store: what is known of the records is read in this time.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// How long a reload or an end waits for the disk.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// How often is tried to empty a store that this process serves without.
const DISCARD_EVERY: Duration = Duration::from_secs(10);

/// How often is noted who is accepted, and which upstreams are down.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// What all parts of a process share, with what the store brings. `first` is the secret of a process that is
/// known to follow no other.
pub(super) async fn begin(
    settings: &Settings,
    clock: Clock,
    first: Option<Secret>,
    registry: Registry,
) -> (Arc<Shared>, Arc<Sites>, Option<Arc<Disk>>) {
    let beginning = if first.is_some() { Beginning::First } else { Beginning::Unknown };
    let opened = match &settings.cache.disk {
        Some(config) => open(config, &clock, &registry).await,
        None => None,
    };
    let own = opened.as_ref().map(|opened| opened.secret.clone());
    let secret = own.or(first).unwrap_or_else(Secret::random);
    let cache = &settings.cache;
    let shared = Shared::new(clock, secret, registry, cache.memory, cache.max_object);
    let sites = opened.as_ref().map_or_else(Sites::default, |opened| Sites::resumed(&opened.layout));
    let disk = opened.map(|opened| resume(opened, &shared, beginning));
    if disk.is_none() && beginning == Beginning::Unknown {
        shared.actors.know_nothing_before(shared.clock.now());
    }
    (shared, Arc::new(sites), disk)
}

/// The first sites are installed: begins what the store needs while they are served.
pub(super) async fn serve(
    settings: &Settings,
    shared: &Arc<Shared>,
    sites: &Arc<Sites>,
    disk: Option<&Arc<Disk>>,
) -> Vec<JoinHandle<()>> {
    match (disk, &settings.cache.disk) {
        (Some(disk), _) => {
            installed(disk, shared, sites).await;
            vec![tokio::spawn(observe(disk.clone(), shared.clone(), sites.clone()))]
        }
        (None, Some(config)) => vec![tokio::spawn(discard(config.path.clone()))],
        (None, None) => Vec::new(),
    }
}

/// Takes the store. `None`: this process serves without it.
async fn open(config: &DiskConfig, clock: &Clock, registry: &Registry) -> Option<Opened> {
    let opening = {
        let (config, clock, registry) = (config.clone(), clock.clone(), registry.clone());
        tokio::task::spawn_blocking(move || Disk::open(&config, &clock, &registry))
    };
    match tokio::time::timeout(OPEN_WITHIN, opening).await {
        Ok(Ok(Ok(opened))) => Some(opened),
        // What is wrong has been counted and logged.
        Ok(_) => None,
        Err(_) => {
            Disk::gave_no_answer(config, OPEN_WITHIN, clock, registry);
            None
        }
    }
}

/// Puts what the store brings to where it belongs. Before anything is served.
fn resume(opened: Opened, shared: &Arc<Shared>, beginning: Beginning) -> Arc<Disk> {
    let Opened { disk, layout, .. } = opened;
    shared.epochs.resume(layout.next_epoch, &layout.epochs);
    disk.attach(&shared.groups, &shared.acceptance, &shared.actors, beginning);
    let disk = Arc::new(disk);
    let _the_only_one = shared.tier.set(disk.clone());
    disk
}

/// The first sites are there: the store learns their numbers, and they how their API stood.
async fn installed(disk: &Arc<Disk>, shared: &Arc<Shared>, sites: &Sites) {
    for site in sites.all() {
        disk.outage(site.id).into_iter().for_each(|since| site.resume_outage(since));
    }
    let layout = layout(shared, sites);
    with(disk, move |disk| disk.layout_is(&layout)).await;
}

/// Empties a store that this process serves without: what is overtaken from now on is noted nowhere, so
/// nothing of it may come back later.
async fn discard(path: PathBuf) {
    let mut tries = tokio::time::interval(DISCARD_EVERY);
    let mut is_said = false;
    loop {
        tries.tick().await;
        let path = path.clone();
        match tokio::task::spawn_blocking(move || Disk::discard(&path)).await {
            Ok(Ok(())) => return,
            // Two processes before one API know nothing of each other's writes anyway.
            Ok(Err(error)) if !is_said && error.trouble() != Trouble::Locked => {
                is_said = true;
                Disk::was_not_discarded(&error);
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Notes what is known at the end, and ends in order.
pub(super) async fn close(disk: &Arc<Disk>, shared: &Arc<Shared>, sites: &Sites) {
    let now = shared.clock.now();
    let standings: Vec<Standing> = sites.all().iter().map(|site| standing(site, now)).collect();
    let shared = shared.clone();
    with(disk, move |disk| {
        disk.observe(&shared.acceptance, &standings);
        disk.close();
    })
    .await;
}

/// Tells the store what changes by itself.
async fn observe(disk: Arc<Disk>, shared: Arc<Shared>, sites: Arc<Sites>) {
    let mut ticks = tokio::time::interval(OBSERVE_EVERY);
    loop {
        ticks.tick().await;
        let now = shared.clock.now();
        let standings: Vec<Standing> = sites.all().iter().map(|site| standing(site, now)).collect();
        let (disk, shared) = (disk.clone(), shared.clone());
        let _next_time = tokio::task::spawn_blocking(move || {
            disk.observe(&shared.acceptance, &standings);
        })
        .await;
    }
}

fn standing(site: &Site, now: Timestamp) -> Standing {
    let silent = site.upstream.failing_since().map(|since| now.before(since.elapsed()));
    Standing { site: site.id, silent, down: site.down_since() }
}

/// Does `what` with the store, for as long as one waits for a disk.
pub(super) async fn with(disk: &Arc<Disk>, what: impl FnOnce(&Disk) + Send + 'static) {
    let done = disk.clone();
    let doing = tokio::task::spawn_blocking(move || what(&done));
    if tokio::time::timeout(WRITE_WITHIN, doing).await.is_err() {
        disk.note(Trouble::Slow, "the directory does not answer", "the store may be empty after a restart");
    }
}

/// What a process knows of the upstreams of the one before.
#[derive(Default)]
pub(super) struct Before(HashMap<String, KnownSite>);

impl Before {
    pub(super) fn new(layout: &Layout) -> Self {
        Self(layout.sites.iter().map(|site| (site.name.clone(), site.clone())).collect())
    }

    /// The number of the same upstream then; the same as in a reload.
    pub(super) fn id(&self, upstream: &UpstreamSettings) -> Option<u32> {
        let known = self.0.get(&upstream.name)?;
        let here = &upstream.upstream.endpoints;
        let stayed = here.iter().any(|endpoint| known.endpoints.contains(&endpoint.id().as_u64()));
        (stayed && known.meaning == meaning(upstream.site.dialect, &upstream.site.credentials))
            .then_some(known.id)
    }
}

fn meaning(dialect: crate::dialect::Dialect, credentials: &[http::HeaderName]) -> String {
    format!("{dialect:?} {credentials:?}")
}

/// What the next process needs to know of the numbers in keys.
pub(super) fn layout(shared: &Shared, sites: &Sites) -> Layout {
    let known = |site: &Arc<Site>| KnownSite {
        name: site.config.name.clone(),
        id: site.id,
        endpoints: site.upstream.config().endpoints.iter().map(|endpoint| endpoint.id().as_u64()).collect(),
        meaning: meaning(site.config.dialect, &site.config.credentials),
    };
    let (next_epoch, epochs) = shared.epochs.all();
    Layout { next_site: sites.next(), sites: sites.all().iter().map(known).collect(), next_epoch, epochs }
}
