//! The call that a fetch makes.

use http::StatusCode;

use super::Errand;
use crate::cache::flight::Fill;
use crate::cache::pace::Pass;
use crate::proxy::counters::Cause;
use crate::proxy::{Failure, forward, lookup};
use crate::upstream::{EndpointChoice, EndpointId, Outgoing, Urgency};

/// For whom something is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Behalf {
    /// A client, who waits for it or has been served something expired.
    Client,
    /// Forebay itself, in this pass over what it keeps warm.
    Itself(Pass),
}

impl Errand {
    /// Before whom it is served.
    pub(super) fn urgency(&self) -> Urgency {
        match (self.behalf, self.cause) {
            _ if self.ear().listens() => Urgency::Change,
            (Behalf::Itself(Pass::Quick), _) => Urgency::Background,
            (Behalf::Itself(Pass::Full), _) => Urgency::Leisure,
            (Behalf::Client, Cause::Refresh) => Urgency::Refresh,
            (Behalf::Client, _) => Urgency::Read,
        }
    }

    /// The call failed with this status, or without any, and is sent again.
    pub(super) fn troubled(&self, fill: &Fill<Failure>, status: Option<StatusCode>) {
        self.site.note_pause(status);
        fill.trouble(status);
    }

    /// The answer cannot be kept: for a while whoever asks for it goes straight to the API. A credential flies
    /// by itself until the API has accepted it, which this very answer may have said: then it comes under the
    /// key of all who may share.
    pub(super) fn pass_for_a_while(&self, fill: &Fill<Failure>) {
        let (site, read) = (&self.site, &self.read);
        let now = site.shared.clock.now();
        site.shared.remember_uncacheable(fill.key(), now);
        if lookup::is_accepted(site, read.rule(site), read.credential, now) {
            site.shared.remember_uncacheable(self.key, now);
        }
    }

    /// The request.
    pub(super) fn outgoing(&self, fill: &Fill<Failure>) -> Outgoing {
        let site = &self.site;
        let now = site.shared.clock.now();
        let endpoint = self
            .endpoint
            .or_else(|| site.shared.groups.settled_by(fill.groups(), now))
            .map_or(EndpointChoice::Any, |id| EndpointChoice::Prefer(EndpointId::from_u64(id)));
        let rule = self.read.rule(site);
        let counter = self.read.metrics(site).call(&site.shared.registry, self.cause);
        Outgoing {
            endpoint,
            captures: forward::limit_captures(site, &rule.captures, &self.read.captures, &self.read.path),
            ..Outgoing::get(self.target.clone(), self.headers.clone(), self.account.principal, counter)
        }
    }
}
