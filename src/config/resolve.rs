//! What the names in a configuration mean: upstreams, files, rules, and what follows from what.

pub(super) mod coverage;
mod credential;
mod forward;
pub(super) mod packs;
mod resilience;
mod sync;
mod upstream;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::raw::{Address, Protocol, RawConfig, RawDisk, RawListener, RawTlsIn};
use super::settings::{
    AdminSettings, CacheSettings, ListenerSettings, LogSettings, Settings, UpstreamSettings,
};
use crate::proxy::{Front, PublicUrl, PublicUrlError, TunnelLimits};
use crate::rules::document::{Document, Step, at};
use crate::rules::{Diagnostic, Severity};
use crate::server::{ListenerConfig, Protocols, TlsIn, tls_config};
use crate::tier::disk::{DiskConfig, LEAST_SIZE};
use crate::upstream::{Endpoint, EndpointScheme, TlsConfig, Trust, check_tls};

/// Where a listener is when the configuration names none.
const DEFAULT_LISTENER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8006);
/// Where the admin service is when the configuration does not say.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9006);
/// Where certificates are kept when neither the configuration nor the environment says.
const DEFAULT_CERTS: &str = "certs";
const DEFAULT_MEMORY: u64 = 256 << 20;
const DEFAULT_MAX_OBJECT: u64 = 8 << 20;
const DEFAULT_DISK: u64 = 1 << 30;
/// A cache with less is a mistake of units.
const LEAST_MEMORY: u64 = 1 << 20;
const MOST_THREADS: usize = 1024;

/// The settings in `text`, unless there is an error among the diagnostics.
pub(super) fn config(source: &str, text: &str, directory: &Path) -> (Option<Settings>, Vec<Diagnostic>) {
    let (document, raw, diagnostics) = Document::parse::<RawConfig>(source, text);
    let mut resolver = Resolver { document: &document, directory, diagnostics };
    let settings = raw.map(|raw| resolver.config(&raw));
    let mut diagnostics = resolver.diagnostics;
    // Stable, so that what is wrong with a rule file stays in its order.
    diagnostics.sort_by_key(|diagnostic| (diagnostic.source != source, diagnostic.line, diagnostic.column));
    (settings.filter(|_| !diagnostics.iter().any(Diagnostic::is_error)), diagnostics)
}

pub(super) struct Resolver<'d> {
    document: &'d Document,
    directory: &'d Path,
    diagnostics: Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn config(&mut self, raw: &RawConfig) -> Settings {
        self.not_built(&[], &[("redis", raw.cache.redis.is_some())], "cache");
        if raw.threads.is_some_and(|threads| !(1..=MOST_THREADS).contains(&threads)) {
            self.error(&at!["threads"], format!("from 1 to {MOST_THREADS}; leave it out for one per core"));
        }
        if raw.upstreams.is_empty() {
            self.error(&at!["upstreams"], "at least one upstream is needed");
        }
        let mut chosen = Vec::new();
        let mut upstreams = Vec::new();
        for (name, upstream) in &raw.upstreams {
            let (settings, rules) = self.upstream(name, upstream);
            chosen.extend(rules.map(|rules| (name.as_str(), rules)));
            upstreams.push(settings);
        }
        let certs = certs(self.directory, raw.certs.as_deref());
        let tunnels = self.tunnels(raw);
        upstreams.iter_mut().for_each(|upstream| upstream.site.tunnels = tunnels);
        let mut settings = Settings {
            file: None,
            listeners: self.listeners(raw, &upstreams, &certs),
            forwards: self.forwards(raw, &certs),
            tunnels,
            admin: self.admin(raw),
            cache: self.cache(raw),
            log: LogSettings { level: raw.log.level, format: raw.log.format, requests: raw.log.requests },
            threads: raw.threads,
            certs,
            upstreams,
        };
        for (name, rules) in chosen {
            settings.choose(name, rules);
        }
        self.addresses(raw, &settings);
        if !settings.listeners.is_empty() || !settings.forwards.is_empty() {
            self.unserved(&settings);
        }
        settings
    }

    fn listeners(
        &mut self,
        raw: &RawConfig,
        upstreams: &[UpstreamSettings],
        certs: &Path,
    ) -> Vec<ListenerSettings> {
        let only = match upstreams {
            [only] => Some(only.name.as_str()),
            _ => None,
        };
        let Some(listeners) = &raw.listen else {
            return match upstreams {
                [only] => vec![default_listener(only, DEFAULT_LISTENER, certs)],
                [] => Vec::new(),
                _ => {
                    self.error(
                        &at!["upstreams"],
                        "there are several upstreams: name under `listen` which address serves which",
                    );
                    Vec::new()
                }
            };
        };
        if listeners.is_empty() {
            self.error(&at!["listen"], "at least one address is needed; leave `listen` out for the default");
        }
        let mut settings = Vec::with_capacity(listeners.len());
        for (index, listener) in listeners.iter().enumerate().filter(|(_, one)| !forward::is_meant(one)) {
            settings.extend(self.listener(listener, &at!["listen", index], only, raw, certs));
        }
        settings
    }

    fn listener(
        &mut self,
        raw: &RawListener,
        here: &[Step],
        only: Option<&str>,
        config: &RawConfig,
        certs: &Path,
    ) -> Option<ListenerSettings> {
        let front = Front::Named { public_url: self.public_url(here, raw.public_url.as_deref()) };
        let listener = self.listener_config(raw, here, certs);
        let upstream = match (&raw.upstream, only) {
            (Some(name), _) if !config.upstreams.contains_key(name) => {
                let known: Vec<&str> = config.upstreams.keys().map(String::as_str).collect();
                let message = format!("there is no upstream `{name}`; there is {}", known.join(", "));
                self.error(&[here, &at!["upstream"]].concat(), message);
                return None;
            }
            (Some(name), _) => name.clone(),
            (None, Some(only)) => only.to_owned(),
            (None, None) => {
                self.error(
                    here,
                    "there are several upstreams: name with `upstream` which this address serves",
                );
                return None;
            }
        };
        let protocols_named = raw.protocols.is_some();
        Some(ListenerSettings { config: listener, upstream, front, protocols_named })
    }

    /// What any listener has, whatever it serves.
    fn listener_config(&mut self, raw: &RawListener, here: &[Step], certs: &Path) -> ListenerConfig {
        let mut listener = ListenerConfig::new(raw.address.0);
        listener.tls = match &raw.tls {
            None => None,
            Some(RawTlsIn::Auto) => Some(TlsIn::Auto { certs: certs.to_path_buf() }),
            Some(RawTlsIn::Files(files)) => {
                let tls = [here, &at!["tls"]].concat();
                let before = self.diagnostics.len();
                let named = TlsIn::Files {
                    certificate: self.file(&tls, "certificate", &files.certificate),
                    key: self.file(&tls, "key", &files.key),
                    client_ca: files.client_ca.as_ref().map(|file| self.file(&tls, "client_ca", file)),
                };
                if before == self.diagnostics.len()
                    && let Err(error) = tls_config(&named, listener.protocols, raw.address.0.ip())
                {
                    self.error(&tls, error.to_string());
                }
                Some(named)
            }
        };
        if let Some(protocols) = &raw.protocols {
            let has = |protocol| protocols.contains(&protocol);
            listener.protocols = Protocols { http1: has(Protocol::Http1), http2: has(Protocol::H2) };
            if protocols.is_empty() {
                self.error(&[here, &at!["protocols"]].concat(), "at least one of http/1.1 and h2");
            }
        }
        listener
    }

    fn public_url(&mut self, here: &[Step], text: Option<&str>) -> Option<PublicUrl> {
        let parsed = text?.parse();
        parsed
            .map_err(|error: PublicUrlError| {
                self.error(&[here, &at!["public_url"]].concat(), format!("{error}"))
            })
            .ok()
    }

    fn admin(&mut self, raw: &RawConfig) -> AdminSettings {
        let token_file =
            raw.admin.token_file.as_ref().map(|file| self.file(&at!["admin"], "token_file", file));
        let Address(address) = raw.admin.address.unwrap_or(Address(DEFAULT_ADMIN));
        AdminSettings { address, named: raw.admin.address.is_some(), token_file }
    }

    fn cache(&mut self, raw: &RawConfig) -> CacheSettings {
        let memory = raw.cache.memory.map_or(DEFAULT_MEMORY, |size| size.0);
        if memory < LEAST_MEMORY {
            self.error(&at!["cache", "memory"], "at least 1MiB");
        }
        let max_object = match raw.cache.max_object {
            Some(size) if size.0 == 0 || size.0 > memory => {
                self.error(&at!["cache", "max_object"], "more than zero and at most `memory`");
                DEFAULT_MAX_OBJECT
            }
            Some(size) => size.0,
            None => DEFAULT_MAX_OBJECT.min(memory),
        };
        let disk = raw.cache.disk.as_ref().map(|disk| self.disk(disk));
        CacheSettings { memory, max_object, disk }
    }

    fn disk(&mut self, raw: &RawDisk) -> DiskConfig {
        let (path, size) = (self.directory.join(&raw.path), raw.size.map_or(DEFAULT_DISK, |size| size.0));
        if raw.path.is_empty() || path.exists() && !path.is_dir() {
            let message = format!("`{}` is no directory: name one for this process alone", raw.path);
            self.error(&at!["cache", "disk", "path"], message);
        }
        if size < LEAST_SIZE {
            self.error(&at!["cache", "disk", "size"], format!("at least {}MiB", LEAST_SIZE >> 20));
        }
        DiskConfig { path, size }
    }

    /// Two listeners cannot have one address, and the admin service none of the clients'.
    fn addresses(&mut self, raw: &RawConfig, settings: &Settings) {
        let listeners = raw.listen.as_deref().unwrap_or_default();
        for (index, listener) in
            listeners.iter().enumerate().filter(|(_, listener)| listener.address.0.port() != 0)
        {
            let here = at!["listen", index, "address"];
            if listeners[..index].iter().any(|other| other.address == listener.address) {
                self.error(&here, "another listener has this address");
            }
            if settings.admin.address == listener.address.0 {
                self.error(&here, "the admin service has this address, which clients must never reach");
            }
        }
    }

    /// An upstream that no listener serves is probably a slip.
    fn unserved(&mut self, settings: &Settings) {
        for upstream in &settings.upstreams {
            let intercepts = settings.forwards.iter().flat_map(|forward| &forward.intercept);
            let served = (settings.listeners.iter().map(|listener| &listener.upstream))
                .chain(intercepts.map(|intercept| &intercept.upstream));
            if !served.into_iter().any(|served| *served == upstream.name) {
                let message = format!("no address under `listen` serves `{}`", upstream.name);
                let diagnostic = self.document.key_error(&at!["upstreams", upstream.name.as_str()], message);
                self.diagnostics.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
            }
        }
    }

    /// The path of a file that a key names, relative to the configuration; it has to be there.
    fn file(&mut self, here: &[Step], key: &str, file: &str) -> PathBuf {
        let path = self.directory.join(file);
        if let Err(error) = std::fs::File::open(&path) {
            self.error(&[here, &at![key]].concat(), format!("`{file}` cannot be read: {error}"));
        }
        path
    }

    /// Refuses those of the keys that are there; they stand under `parent`, if that is named, in `here`.
    fn not_built(&mut self, here: &[Step], keys: &[(&str, bool)], parent: &str) {
        for (key, _) in keys.iter().filter(|(_, named)| *named) {
            let mut path = here.to_vec();
            path.extend((!parent.is_empty()).then(|| Step::from(parent)));
            path.push(Step::from(*key));
            let message = format!("`{key}` is part of the contract but not built yet");
            self.diagnostics.push(self.document.key_error(&path, message));
        }
    }

    fn error(&mut self, path: &[Step], message: impl Into<String>) {
        self.diagnostics.push(self.document.error(path, message));
    }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The listener of a configuration that names none: TLS when the upstream has it.
fn default_listener(upstream: &UpstreamSettings, address: SocketAddr, certs: &Path) -> ListenerSettings {
    let mut config = ListenerConfig::new(address);
    let https = |endpoint: &crate::upstream::Endpoint| endpoint.scheme() == EndpointScheme::Https;
    if upstream.upstream.endpoints.iter().any(https) {
        config.tls = Some(TlsIn::Auto { certs: certs.to_path_buf() });
    }
    let front = Front::Named { public_url: None };
    ListenerSettings { config, upstream: upstream.name.clone(), front, protocols_named: false }
}

/// The directory of certificates: as configured, else from the environment, else the default.
fn certs(directory: &Path, configured: Option<&str>) -> PathBuf {
    match (configured, std::env::var_os("FOREBAY_CERTS").filter(|value| !value.is_empty())) {
        (Some(configured), _) => directory.join(configured),
        (None, Some(environment)) => PathBuf::from(environment),
        (None, None) => directory.join(DEFAULT_CERTS),
    }
}

impl Settings {
    /// The settings of a start without a file: one upstream at `url`, its listener at `listen`. The rules
    /// are absent when none are named: then the API is to be asked ([`Settings::choose`]).
    pub fn for_upstream(
        url: &str,
        listen: Option<SocketAddr>,
        rules: Option<&str>,
        ca: Option<&Path>,
        pin: Option<&str>,
    ) -> Result<Settings, Vec<Diagnostic>> {
        let mut diagnostics = Vec::new();
        let mut wrong =
            |option: &str, message: String| diagnostics.push(Diagnostic::whole_file(option, message));
        let trust = match (ca, pin.map(super::raw::parse_pin)) {
            (Some(_), Some(_)) => {
                wrong("--pin", "goes without --ca".to_owned());
                Trust::SystemRoots
            }
            (_, Some(Err(message))) => {
                wrong("--pin", message);
                Trust::SystemRoots
            }
            (None, Some(Ok(pin))) => Trust::Pins(vec![pin]),
            (Some(ca), None) => Trust::CaFile(ca.to_path_buf()),
            (None, None) => Trust::SystemRoots,
        };
        let unusable = |ca: &Path| {
            let tls = TlsConfig { trust: Trust::CaFile(ca.to_path_buf()), client: None };
            check_tls(&tls).err()
        };
        if let Some(error) = ca.and_then(unusable) {
            wrong("--ca", chain(&error));
        }
        let endpoint: Option<Endpoint> =
            url.parse().map_err(|error| wrong("--upstream", format!("{error}"))).ok();
        let is_clear = endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == EndpointScheme::Http);
        if let (true, Some(option)) = (is_clear, ca.map(|_| "--ca").or(pin.map(|_| "--pin"))) {
            wrong(option, "goes with https://: nothing is encrypted to an http:// address".to_owned());
        }
        let rules = rules
            .map(super::rules)
            .transpose()
            .map_err(|mistakes| diagnostics.extend(mistakes))
            .ok()
            .flatten();
        let Some(endpoint) = endpoint.filter(|_| diagnostics.is_empty()) else { return Err(diagnostics) };
        let mut config = crate::upstream::UpstreamConfig::new("upstream", vec![endpoint]);
        config.tls.trust = trust;
        let upstream = UpstreamSettings::new("upstream", config);
        let certs = certs(Path::new(""), None);
        let mut settings = Settings {
            file: None,
            listeners: vec![default_listener(&upstream, listen.unwrap_or(DEFAULT_LISTENER), &certs)],
            forwards: Vec::new(),
            tunnels: TunnelLimits::default(),
            certs,
            threads: None,
            log: LogSettings::default(),
            admin: AdminSettings { address: DEFAULT_ADMIN, named: false, token_file: None },
            cache: CacheSettings { memory: DEFAULT_MEMORY, max_object: DEFAULT_MAX_OBJECT, disk: None },
            upstreams: vec![upstream],
        };
        if let Some(rules) = rules {
            settings.choose("upstream", rules);
        }
        Ok(settings)
    }
}
