//! Which endpoint a call goes to, and what is learnt of an endpoint from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::RETRY_AFTER;
use tokio::time::Instant;

use super::{Call, Received};
use crate::upstream::endpoint::EndpointState;
use crate::upstream::health::{Fault, Standing};
use crate::upstream::message::{EndpointChoice, SendError};

impl<'a> Call<'a> {
    /// Takes note of what an attempt says of the endpoint itself. It set out at `set_out` with so many in
    /// flight, itself among them.
    pub(super) fn judge(
        &self,
        endpoint: &Arc<EndpointState>,
        received: &Result<Option<Received>, SendError>,
        in_flight: usize,
        set_out: Instant,
    ) {
        let fault = match received {
            Ok(Some(Received { response, took, .. })) => {
                let (status, failures) = (response.status(), self.config.failures);
                if endpoint.learns() {
                    match failures.is_outage(status) {
                        true => endpoint.learn_failure(),
                        false => endpoint.learn(self.call.counter.kind(), in_flight, *took),
                    }
                }
                // Whoever answers is alive. Where others are equals, they may have something better to say.
                if self.config.endpoints.len() == 1
                    || !failures.blames_server(status)
                    || response.headers().contains_key(RETRY_AFTER)
                {
                    return endpoint.succeeded();
                }
                Fault::Prompt
            }
            // It is known already why.
            Ok(None) => return,
            Err(SendError::TimedOut) => {
                endpoint.learn_failure();
                // That others were answered meanwhile speaks for the server: this call waited for something
                // behind it. Of equals nobody notes who was answered, and there is another to go to.
                if self.config.endpoints.len() == 1 && self.shared.has_answered_since(set_out) {
                    return;
                }
                Fault::Silent
            }
            Err(SendError::Lost(_)) => {
                endpoint.learn_failure();
                Fault::Prompt
            }
            Err(_) => return,
        };
        // A call that fails however often it is sent counts once: it may be the call.
        if self.avoid.is_none() {
            endpoint.failed(fault);
        }
    }

    /// The endpoint to try next: the one asked for if it is up, else the one with the least to do for its
    /// places, in turn among equals. One that failed comes last, and one that is down not at all, unless it
    /// is the only one and costs nothing to try.
    pub(super) fn choose(&self, endpoints: &'a [Arc<EndpointState>]) -> Option<&'a Arc<EndpointState>> {
        if let [only] = endpoints {
            return (only.health.standing() != Standing::Down).then_some(only);
        }
        let usable = |endpoint: &&'a Arc<EndpointState>| {
            matches!(endpoint.health.standing(), Standing::Up | Standing::Probe)
        };
        if let EndpointChoice::Prefer(id) = self.call.endpoint
            && let Some(endpoint) = endpoints.iter().filter(usable).find(|endpoint| endpoint.id == id)
        {
            return Some(endpoint);
        }
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        let (before, from) = endpoints.split_at(turn % endpoints.len());
        from.iter().chain(before).filter(usable).min_by_key(|endpoint| {
            let due = endpoint.health.standing() == Standing::Probe;
            let failed = self.avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, endpoint));
            (failed, due, endpoint.busy())
        })
    }
}
