//! Forward proxies: which hosts they serve themselves, and which they pass through.

use std::path::Path;
use std::time::Duration;

use super::Resolver;
use crate::config::raw::{RawConfig, RawListener};
use crate::config::settings::{ForwardSettings, Intercept};
use crate::proxy::TunnelLimits;
use crate::rules::document::{Step, at};
use crate::semantics::authority::{Hosts, Target};
use crate::server::Protocols;

/// No machine has descriptors for more.
const MOST_TUNNELS: u32 = 100_000;

/// Whether a listener is a forward proxy.
pub(super) fn is_meant(raw: &RawListener) -> bool {
    raw.intercept.is_some() || raw.tunnel.is_some()
}

impl Resolver<'_> {
    pub(super) fn tunnels(&mut self, raw: &RawConfig) -> TunnelLimits {
        let mut limits = TunnelLimits::default();
        match raw.tunnels.most {
            Some(most @ 1..=MOST_TUNNELS) => limits.most = most as usize,
            Some(_) => self.error(&at!["tunnels", "most"], format!("from 1 to {MOST_TUNNELS}")),
            None => {}
        }
        match raw.tunnels.idle.map(|span| span.0) {
            Some(Duration::ZERO) => self.error(&at!["tunnels", "idle"], "a timeout is more than zero"),
            Some(idle) => limits.idle = idle,
            None => {}
        }
        limits
    }

    pub(super) fn forwards(&mut self, raw: &RawConfig, certs: &Path) -> Vec<ForwardSettings> {
        let listeners = raw.listen.as_deref().unwrap_or_default();
        let meant = listeners.iter().enumerate().filter(|(_, listener)| is_meant(listener));
        meant.map(|(index, listener)| self.forward(listener, &at!["listen", index], raw, certs)).collect()
    }

    fn forward(
        &mut self,
        raw: &RawListener,
        here: &[Step],
        config: &RawConfig,
        certs: &Path,
    ) -> ForwardSettings {
        if raw.upstream.is_some() {
            let message = "an address serves an upstream or is a forward proxy, not both: leave `upstream` out, \
                           and name under `intercept` which host it answers for";
            self.error(&[here, &at!["upstream"]].concat(), message);
        }
        if raw.public_url.is_some() {
            let message = "a forward proxy rewrites no links: clients see the API under its own name";
            self.error(&[here, &at!["public_url"]].concat(), message);
        }
        let mut listener = self.listener_config(raw, here, certs);
        let protocols = raw.protocols.is_some().then_some(listener.protocols);
        // CONNECT is a request of HTTP/1.1 here; what is named is spoken inside.
        listener.protocols = Protocols { http1: true, http2: false };
        let mut intercept: Vec<Intercept> = Vec::new();
        for (text, upstream) in raw.intercept.iter().flatten() {
            let here = [here, &at!["intercept", text.as_str()]].concat();
            if !config.upstreams.contains_key(upstream) {
                let known: Vec<&str> = config.upstreams.keys().map(String::as_str).collect();
                let message = format!("there is no upstream `{upstream}`; there is {}", known.join(", "));
                self.error(&here, message);
            }
            match target(text) {
                Ok(Target { hosts: Hosts::AnyName, .. }) => {
                    let message = "name the hosts to intercept: a certificate for every host in the world is \
                                   more than any client should trust";
                    self.diagnostics.push(self.document.key_error(&here, message));
                }
                Ok(target) if intercept.iter().any(|other| other.target == target) => {
                    self.diagnostics.push(self.document.key_error(&here, format!("`{text}` is named twice")));
                }
                Ok(target) => intercept.push(Intercept { target, upstream: upstream.clone() }),
                Err(message) => self.diagnostics.push(self.document.key_error(&here, message)),
            }
        }
        // The narrowest counts: a host before the domains that it is below, the longest of these first.
        intercept.sort_by_key(|one| match &one.target.hosts {
            Hosts::One(_) => 0,
            Hosts::Below(domain) => usize::MAX - domain.len(),
            Hosts::AnyName => usize::MAX,
        });
        let mut tunnel = Vec::new();
        for (index, text) in raw.tunnel.iter().flatten().enumerate() {
            match target(text) {
                Ok(target) => tunnel.push(target),
                Err(message) => self.error(&[here, &at!["tunnel", index]].concat(), message),
            }
        }
        if intercept.is_empty() && tunnel.is_empty() {
            let key = if raw.intercept.is_some() { "intercept" } else { "tunnel" };
            self.error(&[here, &at![key]].concat(), "a forward proxy needs at least one host");
        }
        ForwardSettings { config: listener, intercept, tunnel, protocols }
    }
}

fn target(text: &str) -> Result<Target, String> {
    Target::parse(text).map_err(|error| {
        format!("`{text}` is {error}; write a host, `*.example.com` or `*`, with or without a port")
    })
}
