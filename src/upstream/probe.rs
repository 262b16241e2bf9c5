//! Asking an endpoint with a cheap call of our own whether it answers: one that calls are held back from, to
//! give its places back step by step, and one that has answered nobody for a while, to know of its death before
//! a client does.
//!
//! A question goes over a new connection, made as those of calls are: where they speak TLS the server has to
//! show the same certificate. It carries no credential, and its answer says nothing but whether the endpoint
//! answers: nobody is accepted by it, and no outage of the API begins or ends with it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::time::Instant;

use super::Shared;
use super::config::EndpointId;
use super::connect::{Fresh, Speak};
use super::counter::{Attempt, CallCounter, Left};
use super::endpoint::EndpointState;
use super::health::{Care, Fault};
use super::message::{CallKind, EndpointChoice, Outgoing, OutgoingBody};
use super::request::{Protocol, Template};

/// How often it is asked while it gives no answer: a cheap call a second is nothing to a server that nobody else
/// calls.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long a step lasts on its way back: four of them and a question are less than five seconds.
const STEP_EVERY: Duration = Duration::from_millis(500);

/// How long the answer to a cheap call may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks after an endpoint that calls are held back from until it is well, or gone.
pub(super) async fn look_after(endpoint: Weak<EndpointState>) {
    let mut pause = ASK_EVERY;
    loop {
        sleep(pause).await;
        let Some(endpoint) = endpoint.upgrade() else { return };
        let (care, change) = endpoint.health.care();
        endpoint.act_on(change);
        pause = match care {
            Care::Over if endpoint.is_looked_after() => STEP_EVERY,
            Care::Over => return,
            Care::Wait => STEP_EVERY,
            Care::Probe => {
                if ask(&endpoint).await.is_ok() {
                    endpoint.act_on(endpoint.health.answers());
                }
                ASK_EVERY
            }
        };
    }
}

/// Asks after an endpoint `every` so often, unless a call was answered meanwhile, the API wants to be left alone
/// or somebody looks after it. Ends with the endpoint.
pub(super) fn watch(
    endpoint: &Arc<EndpointState>,
    shared: &Arc<Shared>,
    every: Duration,
) -> impl Future<Output = ()> + use<> {
    let (endpoint, shared) = (Arc::downgrade(endpoint), Arc::downgrade(shared));
    async move {
        let mut pause = every;
        let mut was_well = false;
        loop {
            sleep(pause).await;
            let Some(endpoint) = endpoint.upgrade() else { return };
            pause = every;
            let is_paused = shared.upgrade().is_none_or(|shared| shared.gate.pause.until().is_some());
            if endpoint.take_answered() || endpoint.is_cared_for() || is_paused {
                continue;
            }
            match ask(&endpoint).await {
                Ok(()) => {
                    was_well = true;
                    endpoint.act_on(endpoint.health.answers());
                }
                // This may be all that it ever says to the cheap call, however well it answers others.
                Err(Fault::Prompt) if !was_well => {}
                Err(fault) => {
                    endpoint.act_on(endpoint.health.misses(fault));
                    pause = ASK_EVERY.min(every);
                }
            }
        }
    }
}

/// Endpoints that failed together are not asked together.
async fn sleep(pause: Duration) {
    tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 4.0)).await;
}

/// Whether it takes a new connection and answers a cheap call, with whatever does not blame it.
async fn ask(endpoint: &EndpointState) -> Result<(), Fault> {
    let connected = endpoint.connector.connect(Speak::Any).await;
    let fresh = connected.map_err(|error| Fault::connecting(&error))?;
    let mut template = Template::new(&mut call(endpoint.settings.probe, endpoint.id, &endpoint.probes));
    let now = Instant::now();
    let (attempt, answer);
    match fresh {
        Fresh::Http1(mut connection) => {
            let (request, progress) = template.request(endpoint, Protocol::Http1, now);
            attempt = Attempt::new(&endpoint.probes, Left::Watched(Arc::clone(&connection.wire)));
            answer = connection.send(request, &progress, PATIENCE).await;
            connection.close();
        }
        Fresh::Http2(mut sender) => {
            let (request, _) = template.request(endpoint, Protocol::Http2, now);
            attempt = Attempt::new(&endpoint.probes, Left::Certainly);
            answer = tokio::time::timeout(PATIENCE, sender.try_send_request(request)).await.ok();
        }
    }
    let status = match answer {
        None => return Err(Fault::Silent),
        Some(Err(_)) => return Err(Fault::Prompt),
        Some(Ok(answer)) => answer.status(),
    };
    attempt.answered(status);
    if endpoint.settings.failures.blames_server(status) { Err(Fault::Prompt) } else { Ok(()) }
}

fn call(target: &'static str, endpoint: EndpointId, counter: &CallCounter) -> Outgoing {
    Outgoing {
        method: Method::GET,
        target: http::uri::PathAndQuery::from_static(target),
        headers: HeaderMap::new(),
        host: None,
        body: OutgoingBody::Empty,
        endpoint: EndpointChoice::Prefer(endpoint),
        kind: CallKind::Read,
        principal: 0,
        captures: Vec::new(),
        counter: counter.clone(),
        upgrade: false,
    }
}
