//! What of a process serves and is reloaded: the sites, the listeners, the settings in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::forward::{self, Forwarding};
use super::{AppError, Serving, Sites, check_token, install, plan_sites, probe, store};
use crate::admin::{Process, ReloadError};
use crate::config::{self, ForwardSettings, ListenerSettings, Settings};
use crate::proxy::{Shared, Site};
use crate::server::FreshTls;
use crate::tier::disk::Disk;

/// The part of an [`App`](super::App) that its admin address steers.
pub(super) struct Core {
    pub shared: Arc<Shared>,
    pub sites: Arc<Sites>,
    pub settings: Mutex<Settings>,
    /// Where clients connect; emptied by a drain.
    pub listeners: Mutex<Vec<Serving>>,
    /// Where those connect that use a forward proxy; emptied by a drain.
    pub forwards: Mutex<Vec<Forwarding>>,
    pub draining: AtomicBool,
    /// Told after every reload.
    pub reloaded: Notify,
    /// The store behind the one in memory.
    pub disk: Option<Arc<Disk>>,
    /// Held while a configuration is put in force, so that two never mix.
    reloading: tokio::sync::Mutex<()>,
}

impl Core {
    pub(super) fn new(
        shared: Arc<Shared>,
        sites: Arc<Sites>,
        settings: Settings,
        listeners: Vec<Serving>,
        disk: Option<Arc<Disk>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            sites,
            settings: Mutex::new(settings),
            listeners: Mutex::new(listeners),
            forwards: Mutex::default(),
            disk,
            draining: AtomicBool::new(false),
            reloaded: Notify::new(),
            reloading: tokio::sync::Mutex::default(),
        })
    }

    /// The process ends: nobody is sent here any more, and what is held of writes goes.
    pub(super) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.shared.hold_no_more_writes();
    }

    /// Puts `settings` in force. After an error everything is as it was.
    pub(super) async fn reload(&self, mut settings: Settings) -> Result<(), AppError> {
        let _one_at_a_time = self.reloading.lock().await;
        check_token(&settings)?;
        probe::choose_rules(&mut settings, &self.shared.registry).await?;
        let built = plan_sites(&settings, &self.shared, &self.sites)?;
        let certificates: Result<Vec<_>, _> =
            self.listeners.lock().iter().map(|serving| serving.listener.read_tls()).collect();
        let forwards = forward::plan_all(&self.forwards.lock(), &settings)?;
        let certificates = certificates?;
        if let Some(disk) = &self.disk {
            store::with(disk, Disk::layout_changes).await;
        }
        // From here on nothing fails.
        certificates.into_iter().for_each(FreshTls::install);
        install(&self.sites, &self.shared, built);
        forwards.install(|name| self.sites.proxy(name));
        if let Some(disk) = &self.disk {
            let layout = store::layout(&self.shared, &self.sites);
            store::with(disk, move |disk| disk.layout_is(&layout)).await;
        }
        self.close_removed(&settings);
        self.shared.log_requests.store(settings.log.requests, Ordering::Relaxed);
        let mut current = self.settings.lock();
        let addresses = |s: &Settings| {
            let of = |l: &ListenerSettings| {
                (
                    l.config.address,
                    l.config.tls.clone(),
                    l.config.protocols,
                    l.upstream.clone(),
                    l.front.clone(),
                )
            };
            let forward = |f: &ForwardSettings| (f.config.address, f.config.tls.clone());
            (
                s.listeners.iter().map(of).collect::<Vec<_>>(),
                s.forwards.iter().map(forward).collect::<Vec<_>>(),
            )
        };
        if addresses(&current) != addresses(&settings)
            || current.cache != settings.cache
            || current.admin.address != settings.admin.address
        {
            tracing::warn!(
                "`listen`, `cache` and `admin.address` of the new configuration count from the next start on"
            );
        }
        *current = settings;
        self.reloaded.notify_one();
        Ok(())
    }

    /// Closes the listeners of upstreams that `settings` have no more, and forgets those that nobody serves.
    /// A listener whose address `settings` give to another upstream serves the old one until the restart
    /// that they ask for: better than nobody.
    fn close_removed(&self, settings: &Settings) {
        let has = |name: &str| settings.upstream(name).is_some();
        let mut listeners = self.listeners.lock();
        let is_gone = |serving: &mut Serving| {
            let address = serving.listener.config().address;
            let taken = || settings.listeners.iter().any(|other| other.config.address == address);
            // Port 0 is another one for every listener.
            !has(&serving.upstream) && (address.port() == 0 || !taken())
        };
        for Serving { listener, upstream } in listeners.extract_if(.., is_gone) {
            tracing::info!(%upstream, address = %listener.address(), "closed: the upstream was removed");
            tokio::spawn(listener.drain());
        }
        for Forwarding { forward, .. } in self.forwards.lock().iter() {
            forward.retain(has);
        }
        let served: Vec<&str> = listeners.iter().map(|serving| serving.upstream.as_str()).collect();
        let gone = self.sites.retain(|name| has(name) || served.contains(&name));
        if !gone.is_empty() {
            let shared = self.shared.clone();
            tokio::task::spawn_blocking(move || {
                shared.memory.remove_where(|entry| gone.contains(&entry.site()));
            });
        }
    }

    /// Reads the file that the settings in force came from, and puts it in force. Without one it puts the
    /// settings in force once more, which reads the certificates and keys that they name.
    pub(super) async fn reload_file(&self) -> Result<(), ReloadError> {
        let current = self.settings.lock().clone();
        let Some(file) = current.file.clone() else { return self.take(current).await };
        let loaded = tokio::task::spawn_blocking(move || config::load(&file)).await;
        let settings = match loaded {
            Ok(Ok(settings)) => settings,
            Ok(Err(mistakes)) => {
                mistakes.iter().for_each(|mistake| tracing::error!("{mistake}"));
                tracing::error!("the configuration was not reloaded; what was in force stays");
                return Err(ReloadError::Mistakes(mistakes));
            }
            Err(_) => return Err(ReloadError::Refused("reading the configuration panicked".to_owned())),
        };
        self.take(settings).await
    }

    async fn take(&self, settings: Settings) -> Result<(), ReloadError> {
        match self.reload(settings).await {
            Ok(()) => {
                tracing::info!("the configuration was reloaded");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the configuration was not reloaded; what was in force stays");
                Err(ReloadError::Refused(error.to_string()))
            }
        }
    }
}

impl Process for Core {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn sites(&self) -> Vec<Arc<Site>> {
        self.sites.all()
    }

    fn token_file(&self) -> Option<PathBuf> {
        self.settings.lock().admin.token_file.clone()
    }

    fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }

    async fn reload(&self) -> Result<(), ReloadError> {
        self.reload_file().await
    }
}
