//! One upstream of the configuration.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;

use super::coverage::{Scope, uncovered};
use super::{Resolver, chain};
use crate::config::raw::{Concurrency, Mode, Pins, RawLimit, RawLimitMatch, RawTlsOut, RawUpstream};
use crate::config::settings::UpstreamSettings;
use crate::dialect::Dialect;
use crate::rules::document::{Step, at};
use crate::rules::{Diagnostic, RuleSet, Severity};
use crate::units::{Share, Span};
use crate::upstream::{
    Endpoint, EndpointScheme, LimitConfig, LimitKey, LimitMatches, TlsConfig, Trust, UpstreamConfig,
    check_tls,
};

/// No endpoint bears more, and a longer queue is memory without an end.
const MOST_QUEUED: u32 = 1_000_000;

/// How often a feed can be read: no API bears more, and with less it is none.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

impl Resolver<'_> {
    /// The settings and, if they are named and right, the rules.
    pub(super) fn upstream(&mut self, name: &str, raw: &RawUpstream) -> (UpstreamSettings, Option<RuleSet>) {
        let here = at!["upstreams", name];
        let under = |key: &str| [&here[..], &at![key]].concat();
        let label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(label) {
            let message = "the name of an upstream has up to 64 letters, digits, `-`, `_` and `.`";
            self.diagnostics.push(self.document.key_error(&here, message));
        }
        if raw.mode == Mode::Observe {
            self.error(&under("mode"), "`mode: observe` is part of the contract but not built yet");
        }
        let rules = raw.rules.as_ref().and_then(|names| self.packs(names, &under("rules")));
        if let Some(message) = rules.as_ref().and_then(|rules| uncovered(rules, Scope::Upstream)) {
            let diagnostic = self.document.error(&under("rules"), message);
            self.diagnostics.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
        }

        let mut config = UpstreamConfig::new(name, self.endpoints(&raw.endpoints, &under("endpoints")));
        config.tls = self.tls(&raw.tls, &under("tls"));
        let is_clear = |endpoint: &Endpoint| endpoint.scheme() == EndpointScheme::Http;
        if raw.tls.names_any() && !config.endpoints.is_empty() && config.endpoints.iter().all(is_clear) {
            self.error(
                &under("tls"),
                "the endpoints are `http://`: nothing is encrypted, and none of this is looked at",
            );
        }
        match raw.concurrency {
            Some(Concurrency::Fixed(calls)) => config.concurrency = calls as usize,
            Some(Concurrency::Adaptive) => config.adapt(),
            None => {}
        }
        config.requests_per_connection = raw.requests_per_connection.map(NonZeroU32::get);
        match raw.queue.length {
            Some(length @ 0..=MOST_QUEUED) => config.queue_length = length as usize,
            Some(_) => self.error(&under("queue"), format!("`length` is at most {MOST_QUEUED}")),
            None => {}
        }
        config.queue_wait = raw.queue.wait.map_or(config.queue_wait, |span| span.0);
        let times = [
            ("connect", raw.timeouts.connect, &mut config.connect_timeout),
            ("first_byte", raw.timeouts.first_byte, &mut config.first_byte_timeout),
            ("idle", raw.timeouts.idle, &mut config.idle_timeout),
        ];
        for (key, span, time) in times {
            match span {
                Some(Span(Duration::ZERO)) => {
                    self.error(&[&under("timeouts")[..], &at![key]].concat(), "a timeout is more than zero");
                }
                Some(Span(duration)) => *time = duration,
                None => {}
            }
        }
        config.breaker = self.breaker(&raw.breaker, &under("breaker"));
        config.probe_every = self.probe_every(&raw.breaker, config.probe_every, &under("breaker"));
        config.retry = self.retry(raw.retry.as_ref(), &under("retry"));
        match raw.quota {
            Some(Share(share)) if share <= 0.0 => {
                self.error(
                    &under("quota"),
                    "a quota of nothing would let no call pass; from above 0% to 100%",
                );
            }
            Some(share) => config.quota.share = share,
            None => {}
        }
        config.limits = self.limits(&raw.limits, &under("limits"), rules.as_ref());

        let mut settings = UpstreamSettings::new(name, config);
        settings.first_byte_named = raw.timeouts.first_byte.is_some();
        for limit in &settings.upstream.limits {
            for key in &limit.per {
                match key {
                    LimitKey::Capture(capture) if !settings.site.limit_captures.contains(capture) => {
                        settings.site.limit_captures.push(capture.clone());
                    }
                    _ => {}
                }
            }
        }
        for (index, field) in raw.credentials.iter().enumerate() {
            match HeaderName::from_bytes(field.as_bytes()) {
                Ok(field) => settings.site.credentials.push(field),
                Err(_) => {
                    let message = format!("`{field}` is not the name of a header field");
                    self.error(&[&under("credentials")[..], &at![index]].concat(), message);
                }
            }
        }
        if let Some(file) = &raw.credential_file {
            let dialect = rules.as_ref().and_then(|rules| Dialect::named(&rules.api));
            let extra = settings.site.credentials.clone();
            settings.site.credential = self.credential(&under("credential_file"), file, dialect, &extra);
        }
        let (jobs, has_credential) = (&raw.sync, raw.credential_file.is_some());
        settings.site.sync = self.sync(jobs, &under("sync"), rules.as_ref(), has_credential);
        let feed = &mut settings.site.feed;
        feed.every = raw.feed.every.map_or(feed.every, |span| span.0);
        feed.ceiling = raw.feed.ceiling.map_or(feed.ceiling, |span| span.0);
        if !EVERY.contains(&feed.every) {
            self.error(&[&under("feed")[..], &at!["every"]].concat(), "from 100ms to 1h");
        }
        if feed.ceiling.is_zero() {
            self.error(&[&under("feed")[..], &at!["ceiling"]].concat(), "more than zero");
        }
        let is_asked_for = raw.feed.every.is_some() || raw.feed.ceiling.is_some();
        let dialect = rules.as_ref().and_then(|rules| Dialect::named(&rules.api));
        if let Some(dialect) = dialect.filter(|dialect| is_asked_for && dialect.feed().is_none()) {
            let message = format!(
                "the API `{}` has no change feed, so this does nothing: changes made elsewhere are seen when lifetimes end",
                dialect.name()
            );
            let diagnostic = self.document.key_error(&under("feed"), message);
            self.diagnostics.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
        }
        let or = |span: Option<Span>, default| span.map_or(default, |span| span.0);
        settings.site.audit = raw.audit.unwrap_or(settings.site.audit);
        settings.site.accept_for = or(raw.accept_for, settings.site.accept_for);
        settings.site.actor_window = or(raw.actor_window, settings.site.actor_window);
        settings.site.operation_cap = or(raw.operation_cap, settings.site.operation_cap);
        settings.site.unknown_hold = or(raw.unknown_hold, settings.site.unknown_hold);
        (settings, rules)
    }

    fn endpoints(&mut self, raw: &[String], here: &[Step]) -> Vec<Endpoint> {
        if raw.is_empty() {
            self.error(here, "at least one endpoint is needed");
        }
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(raw.len());
        for (index, text) in raw.iter().enumerate() {
            let message = match text.parse() {
                Ok(endpoint) if endpoints.contains(&endpoint) => format!("`{text}` is named twice"),
                Ok(endpoint) => {
                    endpoints.push(endpoint);
                    continue;
                }
                Err(error) => error.to_string(),
            };
            self.error(&[here, &at![index]].concat(), message);
        }
        endpoints
    }

    fn tls(&mut self, raw: &RawTlsOut, here: &[Step]) -> TlsConfig {
        let before = self.diagnostics.len();
        let trust = match (&raw.ca, &raw.pin) {
            (Some(_), Some(_)) => {
                self.error(here, "`ca` and `pin` exclude each other");
                Trust::SystemRoots
            }
            (Some(ca), None) => Trust::CaFile(self.file(here, "ca", ca)),
            (None, Some(Pins(pins))) if pins.is_empty() => {
                self.error(
                    &[here, &at!["pin"]].concat(),
                    "at least one fingerprint; leave `pin` out to trust the system's roots",
                );
                Trust::SystemRoots
            }
            (None, Some(Pins(pins))) => Trust::Pins(pins.clone()),
            (None, None) => Trust::SystemRoots,
        };
        let client = match (&raw.client_certificate, &raw.client_key) {
            (Some(certificate), Some(key)) => {
                Some((self.file(here, "client_certificate", certificate), self.file(here, "client_key", key)))
            }
            (None, None) => None,
            _ => {
                self.error(here, "`client_certificate` and `client_key` go together");
                None
            }
        };
        if before == self.diagnostics.len() {
            if let Trust::CaFile(_) = trust {
                self.usable(here, "ca", TlsConfig { trust: trust.clone(), client: None });
            }
            if client.is_some() {
                // Whom it is shown to has no part in whether it can be used.
                let trust = Trust::Pins(vec![[0; 32]]);
                self.usable(here, "client_certificate", TlsConfig { trust, client: client.clone() });
            }
        }
        TlsConfig { trust, client }
    }

    /// Reads what `tls` names, for which `key` stands.
    fn usable(&mut self, here: &[Step], key: &str, tls: TlsConfig) {
        if let Err(error) = check_tls(&tls) {
            self.error(&[here, &at![key]].concat(), chain(&error));
        }
    }

    fn limits(&mut self, raw: &[RawLimit], here: &[Step], rules: Option<&RuleSet>) -> Vec<LimitConfig> {
        let captured = |name: &str| {
            let Some(rules) = rules else { return true };
            let mut names = (rules.reads.iter().map(|rule| &rule.captures))
                .chain(rules.writes.iter().map(|rule| &rule.captures))
                .flatten();
            names.any(|capture| capture == name)
        };
        let mut limits = Vec::with_capacity(raw.len());
        for (index, limit) in raw.iter().enumerate() {
            let mut per = Vec::with_capacity(limit.per.len());
            for (position, key) in limit.per.iter().enumerate() {
                per.push(match key.as_str() {
                    "principal" => LimitKey::Principal,
                    "endpoint" => LimitKey::Endpoint,
                    name => {
                        if !captured(name) {
                            let message = format!(
                                "`{name}` is neither principal nor endpoint nor a capture of any rule"
                            );
                            self.error(&[here, &at![index, "per", position]].concat(), message);
                        }
                        LimitKey::Capture(name.to_owned())
                    }
                });
            }
            let a_second =
                limit.rate.count / u32::try_from(limit.rate.per.as_secs()).unwrap_or(u32::MAX).max(1);
            let burst = limit.burst.unwrap_or(a_second.max(1));
            if burst == 0 {
                self.error(&[here, &at![index, "burst"]].concat(), "a burst is at least one");
            }
            limits.push(LimitConfig {
                matches: match limit.matches {
                    RawLimitMatch::Reads => LimitMatches::Reads,
                    RawLimitMatch::Writes => LimitMatches::Writes,
                    RawLimitMatch::All => LimitMatches::All,
                },
                count: limit.rate.count,
                period: limit.rate.per,
                burst,
                per,
            });
        }
        limits
    }
}
