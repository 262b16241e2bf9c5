//! What serving one upstream needs: its rules, its client, and its share of what all have in common.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http::HeaderName;
use metrics::{Counter, Histogram};
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use super::audit::Audits;
use super::content::Room;
use super::counters::{MetCounters, RuleMetrics};
use super::epochs::Epochs;
use super::feed::{Feed, FeedConfig};
use super::operations::Operations;
use super::outage::Outages;
use super::own::OwnCredential;
use super::pages::Pages;
use super::promote::Promotions;
use super::rights::Rights;
use super::tunnels::{AllTunnels, TunnelLimits, Tunnels};
use super::warm::{SyncJob, Warm};
use super::write::Meetings;
use super::{Failure, links, share};
use crate::cache::acceptance::Acceptance;
use crate::cache::actors::Actors;
use crate::cache::flight::Flights;
use crate::cache::groups::Groups;
use crate::cache::key::{CredentialId, Key, Secret};
use crate::cache::memory::Memory;
use crate::clock::{Clock, Timestamp};
use crate::dialect::{Dialect, Links};
use crate::rules::{RuleSet, Sharing};
use crate::telemetry::Registry;
use crate::tier::Tier;
use crate::units::Share;
use crate::upstream::{EndpointId, Upstream};

/// For how long a key whose answer was not storable skips the flight, so that the next burst for it
/// does not wait for one answer first.
const UNCACHEABLE_FOR: Duration = Duration::from_secs(60);

/// For how long a console's websocket may follow its POST to the same endpoint: its ticket is valid
/// for 40 s.
const CONSOLE_FOR: Duration = Duration::from_secs(60);

/// What all upstreams of the process share; it outlives every reload.
pub struct Shared {
    /// The clock of ages.
    pub clock: Clock,
    /// The metrics.
    pub registry: Registry,
    /// The secret of keys and partitions.
    pub secret: Secret,
    /// The entries.
    pub memory: Memory,
    /// The most that one stored body may have, in bytes.
    pub max_object: u64,
    /// The logical clock.
    pub groups: Arc<Groups>,
    /// The fetches under way.
    pub flights: Arc<Flights<Failure>>,
    /// The credentials that the API accepted.
    pub acceptance: Acceptance,
    /// Who wrote lately.
    pub actors: Actors,
    /// The store behind the one in memory, where there is one.
    pub tier: OnceLock<Arc<dyn Tier>>,
    /// The tasks that writes started.
    pub operations: Operations,
    /// How pages of lists belong together.
    pub(super) pages: Pages,
    /// Lists that are read in place of their items.
    pub(super) promotions: Arc<Promotions>,
    /// The room for the content of requests that must be held.
    pub room: Room,
    /// Whether each request is logged.
    pub log_requests: std::sync::atomic::AtomicBool,
    /// What is kept warm.
    pub(super) warm: Warm,
    pub(super) invalidations: [Counter; 7],
    uncacheable: Cache<Key, Timestamp>,
    consoles: Cache<(u32, CredentialId, String), (EndpointId, Timestamp)>,
    /// When each meaning of a rule came into force.
    pub epochs: Epochs,
    /// What is known of changes made elsewhere, by upstream, for those that are served.
    feeds: Mutex<HashMap<u32, Weak<Feed>>>,
    /// The tunnels.
    pub tunnels: AllTunnels,
    /// The writes that others may join or wait for.
    pub(super) meetings: Meetings,
}

/// Why groups were invalidated: the labels of `forebay_invalidations_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidationCause {
    /// A write that a rule names.
    Write,
    /// A write that no rule names.
    UnknownWrite,
    /// The end of a task that a write started.
    Operation,
    /// The start or the end of a task that somebody else started.
    Elsewhere,
    /// A refused credential.
    Credential,
    /// An operator.
    Purge,
    /// An audit found that the API says something else.
    Audit,
}

impl InvalidationCause {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Write, "write"),
        (Self::UnknownWrite, "unknown-write"),
        (Self::Operation, "operation"),
        (Self::Elsewhere, "elsewhere"),
        (Self::Credential, "credential"),
        (Self::Purge, "purge"),
        (Self::Audit, "audit"),
    ];
}

impl Shared {
    /// An empty cache of `memory` bytes.
    pub fn new(clock: Clock, secret: Secret, registry: Registry, memory: u64, max_object: u64) -> Arc<Self> {
        let groups = Arc::new(Groups::new(secret.clone()));
        let warm = Warm::new(&registry);
        let invalidations = InvalidationCause::ALL
            .map(|(_, cause)| registry.counter("forebay_invalidations_total", &[("cause", cause)]));
        Arc::new(Self {
            operations: Operations::new(clock.clone(), groups.clone(), &registry),
            clock,
            registry,
            memory: Memory::new(memory, max_object),
            max_object,
            flights: Arc::default(),
            acceptance: Acceptance::new(groups.clone()),
            actors: Actors::default(),
            tier: OnceLock::new(),
            groups,
            pages: Pages::default(),
            promotions: Arc::default(),
            room: Room::default(),
            log_requests: false.into(),
            warm,
            invalidations,
            uncacheable: Cache::new(10_000),
            consoles: Cache::new(10_000),
            epochs: Epochs::default(),
            feeds: Mutex::default(),
            tunnels: AllTunnels::default(),
            meetings: Meetings::default(),
            secret,
        })
    }

    /// The feed of the upstream `site`, which the site before this one has if there was one.
    fn feed(&self, site: u32, upstream: &str) -> Arc<Feed> {
        let mut feeds = self.feeds.lock();
        feeds.retain(|_, feed| feed.strong_count() > 0);
        feeds.get(&site).and_then(Weak::upgrade).unwrap_or_else(|| {
            let feed = Arc::new(Feed::new(&self.registry, upstream));
            feeds.insert(site, Arc::downgrade(&feed));
            feed
        })
    }

    /// Counts an invalidation.
    pub fn count_invalidation(&self, cause: InvalidationCause) {
        let place = InvalidationCause::ALL.iter().position(|(c, _)| *c == cause);
        self.invalidations[place.expect("every cause is listed")].increment(1);
    }

    pub(super) fn is_uncacheable(&self, key: Key, now: Timestamp) -> bool {
        self.uncacheable.get(&key).is_some_and(|at| now.since(at) < UNCACHEABLE_FOR)
    }

    pub(super) fn remember_uncacheable(&self, key: Key, now: Timestamp) {
        self.uncacheable.insert(key, now);
    }

    pub(super) fn forget_uncacheable(&self, key: Key) {
        self.uncacheable.remove(&key);
    }

    /// The console `owner` was opened by `caller` at `endpoint`.
    pub(super) fn console_opened(&self, site: u32, caller: CredentialId, owner: &str, endpoint: EndpointId) {
        let at = self.clock.now();
        // A browser may open the websocket with another credential than the script that asked for it.
        for caller in [caller, CredentialId::ANONYMOUS] {
            self.consoles.insert((site, caller, owner.to_owned()), (endpoint, at));
        }
    }

    /// Where the console `owner` of `caller` was opened.
    pub(super) fn console(&self, site: u32, caller: CredentialId, owner: &str) -> Option<EndpointId> {
        let now = self.clock.now();
        [caller, CredentialId::ANONYMOUS].into_iter().find_map(|caller| {
            let (endpoint, at) = self.consoles.get(&(site, caller, owner.to_owned()))?;
            (now.since(at) < CONSOLE_FOR).then_some(endpoint)
        })
    }
}

/// The settings of an upstream that the proxy itself reads.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// The upstream's name: a metric label and a log field.
    pub name: String,
    /// What is special to its API.
    pub dialect: Dialect,
    /// More fields that are a credential.
    pub credentials: Vec<HeaderName>,
    /// What forebay's own background reads go with.
    pub credential: Option<OwnCredential>,
    /// How long the API's acceptance of a credential counts.
    pub accept_for: Duration,
    /// How long a principal that wrote counts as an actor.
    pub actor_window: Duration,
    /// When an operation whose end is never learnt settles.
    pub operation_cap: Duration,
    /// How long a write whose outcome is unknown holds its groups.
    pub unknown_hold: Duration,
    /// How changes made elsewhere are watched for.
    pub feed: FeedConfig,
    /// The share of hits that are compared with the API.
    pub audit: Share,
    /// What is always kept, with the upstream's own credential.
    pub sync: Vec<SyncJob>,
    /// The captures that a limit counts by; calls carry these along.
    pub limit_captures: Vec<String>,
    /// How many upgraded connections there may be, and how silent.
    pub tunnels: TunnelLimits,
}

impl Default for SiteConfig {
    fn default() -> Self {
        Self {
            name: "upstream".into(),
            dialect: Dialect::Plain,
            credentials: Vec::new(),
            credential: None,
            accept_for: Duration::from_secs(60),
            actor_window: Duration::from_secs(3600),
            operation_cap: Duration::from_secs(30 * 60),
            unknown_hold: Duration::from_secs(60),
            feed: FeedConfig::default(),
            audit: Share(0.0),
            sync: Vec::new(),
            limit_captures: Vec::new(),
            tunnels: TunnelLimits::default(),
        }
    }
}

/// Everything that serving one upstream needs; immutable once built, replaced as a whole on reload.
pub struct Site {
    /// What all upstreams share.
    pub shared: Arc<Shared>,
    /// A small number that keeps this upstream's keys and groups apart from others'.
    pub id: u32,
    /// The settings.
    pub config: SiteConfig,
    /// The rules.
    pub rules: RuleSet,
    /// What all of them mean.
    pub(super) fingerprint: u64,
    /// The client.
    pub upstream: Upstream,
    /// Addresses in answers, where the API has any that clients follow.
    pub(super) links: Option<Links>,
    pub(super) reads: Vec<ReadSite>,
    pub(super) writes: Vec<RuleMetrics>,
    pub(super) unmatched: RuleMetrics,
    pub(super) seconds: Histogram,
    pub(super) collapsed: Counter,
    /// The callers of writes that another write answered.
    pub(super) met: MetCounters,
    /// How far the news of changes made elsewhere has come.
    pub(super) feed: Arc<Feed>,
    /// What asking for the rights of credentials needs, where a rule shares by them.
    pub(super) rights: Option<Rights>,
    /// Which hits are compared with the API, and how many are now.
    pub(super) audits: Audits,
    /// The upgraded connections.
    pub(super) tunnels: Arc<Tunnels>,
    /// Since when the API answers that it, or what is behind it, is down.
    pub(super) outages: Outages,
}

/// What serving one read rule needs beside the rule.
pub(super) struct ReadSite {
    pub(super) name: Arc<str>,
    /// The rule's meaning and when it came into force, for keys.
    pub(super) meaning: u64,
    /// Who shares its answers.
    pub(super) share: Sharing,
    /// The rule's ignored query names and the API's.
    pub(super) ignored_query: Vec<String>,
    /// Whether a task of somebody else could change it, and the API tells of tasks.
    pub(super) tasks_may_change: bool,
    pub(super) metrics: RuleMetrics,
}

impl Site {
    /// A site that serves `rules` with `upstream`. `id` must be the same for the same upstream before
    /// and after a reload.
    pub fn new(shared: Arc<Shared>, id: u32, config: SiteConfig, rules: RuleSet, upstream: Upstream) -> Self {
        let meanings = shared.epochs.enter(id, &rules);
        let metrics = |rule: &str| RuleMetrics::new(&config.name, rule);
        let reads: Vec<ReadSite> = rules
            .reads
            .iter()
            .zip(meanings)
            .map(|(rule, meaning)| ReadSite {
                name: rule.name.as_str().into(),
                meaning,
                share: share::effective(rule, config.dialect),
                ignored_query: (config.dialect.ignored_query().iter().map(|n| n.to_string()))
                    .chain(rule.ignore_query.iter().cloned())
                    .collect(),
                tasks_may_change: config.dialect.feed().is_some()
                    && rules.task_may_change(rule, config.dialect.resource_of(&rule.name)),
                metrics: metrics(&rule.name),
            })
            .collect();
        let writes = rules.writes.iter().map(|rule| metrics(&rule.name)).collect();
        let seconds = shared.registry.histogram("forebay_request_seconds", &[("upstream", &config.name)]);
        let collapsed = shared.registry.counter("forebay_collapsed_total", &[("upstream", &config.name)]);
        let met = MetCounters::new(&shared.registry, &config.name);
        let tunnels = shared.tunnels.of(&shared.registry, &config.name);
        let unmatched = metrics("none");
        let feed = shared.feed(id, &config.name);
        let rights = Rights::new(&shared, id, &config, &rules, &reads);
        let links = links::of(config.dialect, &upstream);
        if rules.promotes() {
            shared.promotions.note(&shared.groups, shared.clock.now());
        }
        let site = Self {
            shared,
            id,
            audits: Audits::new(config.audit),
            feed,
            rights,
            config,
            fingerprint: rules.fingerprint(),
            rules,
            upstream,
            links,
            reads,
            writes,
            unmatched,
            seconds,
            collapsed,
            met,
            tunnels,
            outages: Outages::default(),
        };
        site.take_over();
        site.shared.warm.serve(site.id);
        site
    }

    /// How many hits are being compared with the API.
    pub fn audits_running(&self) -> usize {
        self.audits.running()
    }

    /// Whether the API is being asked for somebody's rights.
    pub fn asks_for_rights(&self) -> bool {
        self.rights.as_ref().is_some_and(Rights::are_asked_for)
    }

    /// The dialect of the API.
    pub fn dialect(&self) -> Dialect {
        self.config.dialect
    }
}
