//! What the configuration means: one struct per part of the process, nothing left to interpret.

use std::net::SocketAddr;
use std::path::PathBuf;

pub use super::raw::{LogFormat, LogLevel};
use crate::dialect::Dialect;
use crate::proxy::{Front, SiteConfig, TunnelLimits};
use crate::rules::{RuleSet, builtin};
use crate::semantics::authority::Target;
use crate::server::{ListenerConfig, Protocols, TlsIn};
use crate::tier::disk::DiskConfig;
use crate::upstream::{Alpn, ContradictoryClose, Trust, UpstreamConfig};

/// Everything that the configuration says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file that they were read from; `None` when they were put together otherwise.
    pub file: Option<PathBuf>,
    /// Where clients connect that call forebay itself.
    pub listeners: Vec<ListenerSettings>,
    /// Where clients connect that use forebay as their forward proxy.
    pub forwards: Vec<ForwardSettings>,
    /// What tunnels may take.
    pub tunnels: TunnelLimits,
    /// Where `tls: auto` and interception keep their CA, and `auto` its certificate.
    pub certs: PathBuf,
    /// Worker threads; `None` for one per core.
    pub threads: Option<usize>,
    /// What is logged.
    pub log: LogSettings,
    /// Metrics, health, API and page.
    pub admin: AdminSettings,
    /// How much is kept.
    pub cache: CacheSettings,
    /// The APIs; at least one.
    pub upstreams: Vec<UpstreamSettings>,
}

/// One address that clients connect to.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// The listener itself.
    pub config: ListenerConfig,
    /// The name of the upstream that it serves.
    pub upstream: String,
    /// How clients come to it.
    pub front: Front,
    /// Whether the protocols were named; otherwise the dialect of the API decides them.
    pub protocols_named: bool,
}

/// One address that is a forward proxy.
#[derive(Clone, Debug)]
pub struct ForwardSettings {
    /// The listener itself.
    pub config: ListenerConfig,
    /// Which hosts are served here, and by which upstream; exact ones first.
    pub intercept: Vec<Intercept>,
    /// Which hosts are passed through.
    pub tunnel: Vec<Target>,
    /// The protocols inside of an intercepted connection; `None`: as the dialect of the API has them.
    pub protocols: Option<Protocols>,
}

/// A host that a forward proxy serves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intercept {
    /// The host, or those below a domain.
    pub target: Target,
    /// The name of the upstream that answers.
    pub upstream: String,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// The least level.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
    /// Whether each request has its line.
    pub requests: bool,
}

/// Metrics, health, API and page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Its own address.
    pub address: SocketAddr,
    /// Whether the address was named. One that nobody named may be taken without harm.
    pub named: bool,
    /// The file with the token; `None`: the page and the API are served to loopback only.
    pub token_file: Option<PathBuf>,
}

/// How much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// All entries together, in bytes.
    pub memory: u64,
    /// The most that one body may have, in bytes.
    pub max_object: u64,
    /// The store on disk; `None`: memory only.
    pub disk: Option<DiskConfig>,
}

/// One API.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The name, a metric label.
    pub name: String,
    /// How calls reach it.
    pub upstream: UpstreamConfig,
    /// The rules, all packs joined; `None`: the API is asked which (then call [`Settings::choose`]).
    pub rules: Option<RuleSet>,
    /// Whether the file says how long to wait for an answer; otherwise the dialect does.
    pub first_byte_named: bool,
    /// What the proxy itself reads.
    pub site: SiteConfig,
}

impl UpstreamSettings {
    /// An API with the defaults and without rules.
    pub(super) fn new(name: &str, upstream: UpstreamConfig) -> Self {
        Self {
            name: name.to_owned(),
            upstream,
            rules: None,
            first_byte_named: false,
            site: SiteConfig { name: name.to_owned(), ..SiteConfig::default() },
        }
    }
}

impl Settings {
    /// Serves the upstream `name` by `rules`: everything that depends on the dialect follows. A dialect
    /// that is not built counts as plain; loading a file refuses it earlier.
    pub fn choose(&mut self, name: &str, rules: RuleSet) {
        let dialect = Dialect::named(&rules.api).unwrap_or(Dialect::Plain);
        let bears = dialect.server_limits();
        for upstream in self.upstreams.iter_mut().filter(|upstream| upstream.name == name) {
            let config = &mut upstream.upstream;
            config.alpn = if bears.http2 { Alpn::Http2Preferred } else { Alpn::Http1Only };
            config.pool_idle = bears.pool_idle;
            if !upstream.first_byte_named {
                config.first_byte_timeout = bears.first_byte;
            }
            let named = config.requests_per_connection;
            config.requests_per_connection = named.or(bears.requests_per_connection);
            config.max_header_lines = bears.header_lines;
            config.max_header_bytes = bears.header_bytes;
            config.contradictory_close =
                if bears.stray_close { ContradictoryClose::KeepOpen } else { ContradictoryClose::Obey };
            config.failures = dialect.failures();
            config.quota.reading = dialect.quota_reading();
            config.probe = dialect.probe();
            upstream.site.dialect = dialect;
            upstream.rules = Some(rules.clone());
        }
        let unnamed =
            |listener: &&mut ListenerSettings| listener.upstream == name && !listener.protocols_named;
        for listener in self.listeners.iter_mut().filter(unnamed) {
            listener.config.protocols = Protocols { http1: true, http2: bears.http2 };
        }
    }

    /// Every file that these settings were made from or name, besides the configuration itself: rule
    /// packs, certificates, keys, credentials, the token.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.admin.token_file.iter().cloned().collect();
        let configs = self.listeners.iter().map(|listener| &listener.config);
        for config in configs.chain(self.forwards.iter().map(|forward| &forward.config)) {
            files.extend(config.tls.iter().flat_map(TlsIn::files));
        }
        for upstream in &self.upstreams {
            let tls = &upstream.upstream.tls;
            if let Trust::CaFile(path) = &tls.trust {
                files.push(path.clone());
            }
            files.extend(upstream.site.credential.iter().map(|credential| credential.file.clone()));
            files.extend(tls.client.iter().flat_map(|(certificate, key)| [certificate.clone(), key.clone()]));
            if let Some(rules) = &upstream.rules {
                let sources =
                    rules.reads.iter().map(|r| &r.source).chain(rules.writes.iter().map(|w| &w.source));
                files.extend(sources.filter(|source| builtin(source).is_none()).map(PathBuf::from));
            }
        }
        files.sort();
        files.dedup();
        files
    }

    /// The upstream `name`.
    pub fn upstream(&self, name: &str) -> Option<&UpstreamSettings> {
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }
}
