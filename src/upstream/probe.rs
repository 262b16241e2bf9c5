//! Looking after an endpoint that calls are held back from: asking it with a cheap call of our own
//! whether it answers, and giving its places back step by step when it does.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::time::Instant;

use super::config::EndpointId;
use super::connect::{Fresh, Speak};
use super::counter::{Attempt, CallCounter, Left};
use super::endpoint::EndpointState;
use super::health::Care;
use super::message::{CallKind, EndpointChoice, Outgoing, OutgoingBody};
use super::request::{Protocol, Template};

/// How often it is asked: a cheap call a second is nothing to a server that nobody else calls.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long a step lasts on its way back: four of them and a question are less than five seconds.
const STEP_EVERY: Duration = Duration::from_millis(500);

/// How long the answer to a cheap call may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks after it until it is well, or gone.
pub(super) async fn look_after(endpoint: Weak<EndpointState>) {
    let mut pause = ASK_EVERY;
    loop {
        // Endpoints that failed together are not asked together.
        tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 4.0)).await;
        let Some(endpoint) = endpoint.upgrade() else { return };
        let (care, change) = endpoint.health.care();
        endpoint.act_on(change);
        pause = match care {
            Care::Over if endpoint.is_looked_after() => STEP_EVERY,
            Care::Over => return,
            Care::Wait => STEP_EVERY,
            Care::Probe => {
                if answers(&endpoint).await {
                    endpoint.act_on(endpoint.health.answers());
                }
                ASK_EVERY
            }
        };
    }
}

/// Whether it takes a new connection and answers a cheap call, with whatever does not blame it.
async fn answers(endpoint: &Arc<EndpointState>) -> bool {
    let Ok(Fresh::Http1(mut connection)) = endpoint.connector.connect(Speak::Http1).await else {
        return false;
    };
    let mut template = Template::new(&mut call(endpoint.settings.probe, endpoint.id, &endpoint.probes));
    let (request, progress) = template.request(endpoint, Protocol::Http1, Instant::now());
    let attempt = Attempt::new(&endpoint.probes, Left::Watched(Arc::clone(&connection.wire)));
    let answer = connection.send(request, &progress, PATIENCE).await;
    let Some(Ok(answer)) = answer else { return false };
    attempt.answered(answer.status());
    connection.close();
    !endpoint.settings.failures.blames_server(answer.status())
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
