//! One call: which endpoints it tries, what of it is sent again, and how it ends.
//!
//! Invariant: a request is sent a second time only if the first provably never left, or if it is a
//! safe one (RFC 9110 §9.2.2) that whoever sends it has not declared to be none.

mod choice;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Shared;
use super::admit::{Charge, Priority, QueueBounds};
use super::answer::{AnswerBody, Delimited, Exchange, Place};
use super::config::UpstreamConfig;
use super::connect::Speak;
use super::counter::{Attempt, Left};
use super::endpoint::{EndpointState, Lease, Reuse, Source};
use super::health::Fault;
use super::limit::Charged;
use super::message::{Answer, CallKind, Outgoing, Repeat, SendError, Terms, Troubled, Urgency};
use super::pause;
use super::request::{Progress, Protocol, Template};
use super::retry::Failed;
use crate::semantics::failure::{Effect, FailureClass};
use crate::semantics::quota::Charge as QuotaCharge;

/// The head of an answer, on the connection it came on (none of its own for HTTP/2).
struct Received {
    response: Response<Incoming>,
    exchange: Option<Exchange>,
    took: Duration,
}

/// Why an attempt got none.
enum Failure {
    /// It provably never left.
    NotSent,
    /// A reused connection closed before anything came; whether the request arrived is unknown.
    ClosedUnanswered(SendError),
    Final(SendError),
}

/// Sends `call` to one of the endpoints, and once more where `terms`, the retries and the time allow it.
///
/// No `async fn`: that would hold the call a second time beside what it became.
pub(super) fn send<'a>(
    config: &'a UpstreamConfig,
    endpoints: &'a [Arc<EndpointState>],
    shared: &'a Shared,
    mut call: Outgoing,
    priority: Priority<'a>,
    terms: Terms<'a>,
) -> impl Future<Output = Result<Answer, SendError>> + use<'a> {
    let template = Template::new(&mut call);
    let urgency = match (terms.urgency, call.kind) {
        (Some(urgency), _) => urgency,
        (None, CallKind::Write) => Urgency::Change,
        (None, CallKind::Read) => Urgency::Read,
    };
    // Nobody comes before those whom the API has accepted by claiming that it is urgent.
    let urgency = match (priority, urgency) {
        (Priority::Stranger { .. }, Urgency::Change) => Urgency::Read,
        (Priority::Background, _) => Urgency::Background,
        (_, urgency) => urgency,
    };
    let mut call = Call {
        config,
        shared,
        call,
        template,
        urgency,
        repeat: terms.repeat,
        charges: terms.charges,
        patience: config.first_byte_timeout,
        avoid: None,
        tried: None,
    };
    let troubled = terms.troubled;
    async move { call.send(endpoints, priority, troubled).await }
}

struct Call<'a> {
    config: &'a UpstreamConfig,
    shared: &'a Shared,
    call: Outgoing,
    template: Template,
    urgency: Urgency,
    repeat: Repeat,
    /// The API's own buckets that it is charged to.
    charges: &'a [QuotaCharge],
    /// How long the head of an answer may take.
    patience: Duration,
    /// The endpoint where it failed before, if it is sent again: that one is tried only if there is no other.
    avoid: Option<&'a Arc<EndpointState>>,
    /// The endpoint that it tried last, this time.
    tried: Option<&'a Arc<EndpointState>>,
}

impl<'a> Call<'a> {
    async fn send(
        &mut self,
        endpoints: &'a [Arc<EndpointState>],
        priority: Priority<'a>,
        troubled: Option<&Troubled<'_>>,
    ) -> Result<Answer, SendError> {
        let (config, shared) = (self.config, self.shared);
        let (lines, bytes) = self.template.head_size();
        if config.max_header_lines.is_some_and(|max| lines > max)
            || config.max_header_bytes.is_some_and(|max| bytes > max)
        {
            return Err(SendError::TooManyHeaders);
        }
        shared.retries.call();
        let began = Instant::now();
        let deadline = began + config.first_byte_timeout;
        let mut attempt = (1, began);
        // In a box, because hardly any call has one.
        let mut before: Option<Box<SendError>> = None;
        loop {
            self.tried = None;
            let result = self.over(endpoints, priority).await;
            // That the next one was held back is no news; what the call failed with is.
            if let Some(before) = before
                && self.tried.is_none()
                && let Err(SendError::Unreachable) = result
            {
                return Err(*before);
            }
            match &result {
                Ok(_) => shared.mark_answered(),
                Err(error) if error.is_silence() => shared.mark_silent(attempt.1),
                Err(_) => {}
            }
            let Some(mut failed) = self.failed(&result, attempt.1) else { return result };
            // Where all calls are held back, the next one is too.
            failed.repeatable &= self.tried.is_some() && !matches!(priority, Priority::Background);
            let pause = shared.retries.after(&config.retry, failed, attempt.0, deadline);
            let Some(pause) = pause else { return result };
            self.avoid = self.tried;
            if let Some(troubled) = troubled {
                troubled(result.as_ref().ok().map(|answer| answer.parts.status));
            }
            // Its place is somebody else's meanwhile.
            before = result.err().map(Box::new);
            // Boxed, so that the many calls which are answered at once do not carry the room for a timer.
            Box::pin(tokio::time::sleep(pause)).await;
            attempt = (attempt.0 + 1, Instant::now());
            if self.call.kind == CallKind::Read {
                self.patience = deadline.saturating_duration_since(attempt.1);
            }
        }
    }

    /// What a retry depends on; `None` where the API did not fail.
    fn failed(&self, result: &Result<Answer, SendError>, began: Instant) -> Option<Failed> {
        let effect = match self.call.kind {
            CallKind::Read => Effect::None,
            CallKind::Write => Effect::Possible,
        };
        let (class, pause) = match result {
            Ok(answer) => {
                let (status, headers) = (answer.parts.status, &answer.parts.headers);
                let says_when = headers.contains_key(http::header::RETRY_AFTER);
                let class = self.config.failures.class(status, says_when, effect)?;
                (class, pause::asked_for(status, headers, crate::clock::wall().into()))
            }
            Err(error) => (error.class(effect)?, None),
        };
        let safe = self.call.kind == CallKind::Read
            && self.repeat == Repeat::AsItMay
            && matches!(self.template.method, Method::GET | Method::HEAD)
            && !self.call.upgrade
            && self.template.is_repeatable();
        // A refusal goes to the client as it came; whoever comes next waits at the bucket's gate.
        let safe = safe && (self.charges.is_empty() || class != FailureClass::Throttled);
        let repeatable = safe || class == FailureClass::NeverSent;
        Some(Failed { class, pause, took: began.elapsed(), repeatable })
    }

    async fn over(
        &mut self,
        endpoints: &'a [Arc<EndpointState>],
        priority: Priority<'a>,
    ) -> Result<Answer, SendError> {
        let bounds = QueueBounds {
            length: self.config.queue_length,
            wait: self.config.queue_wait,
            share: self.config.quota.share,
        };
        let mut visit = self.shared.gate.visit(bounds, priority);
        let mut charge = Charge::All;
        // Each endpoint may be tried once. Whoever waits at one to which no call goes any more is sent away, and
        // chooses again: that costs half of a try, so that it ends.
        let mut left = 2 * endpoints.len();
        while left > 0 {
            left -= 1;
            let Some(endpoint) = self.choose(endpoints) else { break };
            let load = endpoint.load.enter();
            let charged = Charged {
                kind: self.call.kind,
                principal: self.call.principal,
                captures: &self.call.captures,
                urgency: self.urgency,
                charges: self.charges,
            };
            let gate = &self.shared.gate;
            let spot = gate.admit(&mut visit, &charged, charge, endpoint.id, &endpoint.places).await?;
            let Some(spot) = spot else { continue };
            charge = Charge::ThisEndpoint;
            // It may have gone down while this call waited, or another call may have claimed the trial.
            if !endpoint.may_be_tried(endpoints.len()) {
                continue;
            }
            left = left.saturating_sub(1);
            self.tried = Some(endpoint);
            let in_flight = endpoint.places.taken();
            let received = self.at(endpoint).await;
            self.judge(endpoint, &received, in_flight, visit.set_out());
            if let Some(received) = received? {
                let streams = Arc::clone(&self.shared.streams);
                let place = Place { _spot: spot, _load: load, _stranger: visit.take_stranger(), streams };
                let answer = self.answer(endpoint, place, visit.waited(), received)?;
                return match (visit.take_paid(), self.config.quota.reading) {
                    (Some(paid), Some(reading)) => {
                        Ok(Box::pin(paid.settle(&self.shared.gate.quotas, reading, answer)).await)
                    }
                    _ => Ok(answer),
                };
            }
        }
        if let Some(paid) = visit.take_paid() {
            paid.refund();
        }
        Err(SendError::Unreachable)
    }

    /// Tries one endpoint; `None` if nothing could be sent there.
    async fn at(&mut self, endpoint: &Arc<EndpointState>) -> Result<Option<Received>, SendError> {
        let speak = if self.call.upgrade { Speak::Http1 } else { Speak::Any };
        let mut source = Source::IdleOrNew;
        loop {
            let Ok(lease) = endpoint.lease(speak, source).await else { return Ok(None) };
            let reuse = match &lease {
                Lease::Http1(connection) if connection.served > 0 => Reuse::Reused,
                Lease::Http1(_) => Reuse::Fresh,
                Lease::Http2(_, reuse) => *reuse,
            };
            match self.attempt(endpoint, lease, reuse).await {
                Ok(received) => return Ok(Some(received)),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::NotSent) if source == Source::IdleOrNew && reuse == Reuse::Reused => {}
                // A new connection that takes no request is as good as none.
                Err(Failure::NotSent) => {
                    endpoint.failed(Fault::Prompt);
                    return Ok(None);
                }
                Err(Failure::ClosedUnanswered(error)) => {
                    let again = source == Source::IdleOrNew
                        && self.template.method.is_safe()
                        && self.repeat == Repeat::AsItMay
                        && self.template.is_repeatable();
                    if !again {
                        return Err(error);
                    }
                }
            }
            // Other idle connections are likely to be closed as well: no second try on one of them.
            source = Source::New;
        }
    }

    async fn attempt(
        &mut self,
        endpoint: &Arc<EndpointState>,
        lease: Lease,
        reuse: Reuse,
    ) -> Result<Received, Failure> {
        let started = Instant::now();
        let first_byte = self.patience;
        let (attempt, result, exchange, progress, received);
        match lease {
            Lease::Http1(connection) => {
                let request;
                (request, progress) = self.template.request(endpoint, Protocol::Http1, started);
                let wire = Arc::clone(&connection.wire);
                attempt = Attempt::new(&self.call.counter, Left::Watched(Arc::clone(&wire)));
                let mut own = Exchange::new(connection, Arc::clone(&endpoint.pool));
                result = own.connection().send(request, &progress, first_byte).await;
                (exchange, received) = (Some(own), wire.has_received());
            }
            Lease::Http2(mut sender, _) => {
                let request;
                (request, progress) = self.template.request(endpoint, Protocol::Http2, started);
                attempt = Attempt::new(&self.call.counter, Left::Certainly);
                result = in_time(sender.try_send_request(request), &progress, first_byte).await;
                (exchange, received) = (None, false);
            }
        }
        match result {
            None if progress.is_starved() => Err(Failure::Final(SendError::RequestBody)),
            None => Err(Failure::Final(SendError::TimedOut)),
            Some(Ok(response)) => {
                let took = started.elapsed();
                attempt.answered(response.status());
                self.shared.seconds.record(took.as_secs_f64());
                Ok(Received { response, exchange, took })
            }
            Some(Err(mut error)) => {
                if let Some(request) = error.take_message() {
                    self.template.take_back(request);
                    attempt.withdrawn();
                    return Err(Failure::NotSent);
                }
                if progress.has_failed() {
                    return Err(Failure::Final(SendError::RequestBody));
                }
                let error = error.into_error();
                let nonsense = received || error.is_parse();
                let lost = SendError::Lost(Some(Arc::new(error)));
                if reuse == Reuse::Reused && !nonsense {
                    Err(Failure::ClosedUnanswered(lost))
                } else {
                    Err(Failure::Final(lost))
                }
            }
        }
    }

    fn answer(
        &self,
        endpoint: &EndpointState,
        place: Place,
        waited: Duration,
        received: Received,
    ) -> Result<Answer, SendError> {
        let Received { mut response, exchange, took } = received;
        let headers = response.headers();
        let (coded, sized) = (headers.contains_key(TRANSFER_ENCODING), headers.contains_key(CONTENT_LENGTH));
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        // RFC 9112 §6.3: both is an attempt at smuggling or a broken server. Dropping the exchange
        // closes the connection.
        if (coded && sized) || (switching && !self.call.upgrade) {
            return Err(SendError::Lost(None));
        }
        // What a refusal means for whom, the buckets know where the API has some.
        if self.charges.is_empty() {
            self.shared.gate.pause.observe(response.status(), headers);
        }
        let upgraded = switching.then(|| hyper::upgrade::on(&mut response));
        let (parts, incoming) = response.into_parts();
        let sized = http_body::Body::size_hint(&incoming).exact().is_some();
        let chunked = coded && is_chunked(&parts.headers);
        let delimited = match &exchange {
            Some(_) if !sized && !chunked => Delimited::ByClose,
            _ => Delimited::ByItself,
        };
        let (exchange, place) = match (switching, exchange) {
            (true, Some(exchange)) => {
                exchange.hand_over();
                // A tunnel may stay open for hours and asks nothing of the API's workers.
                drop(place);
                (None, None)
            }
            (_, exchange) => (exchange, Some(place)),
        };
        let body = AnswerBody::new(incoming, exchange, place, delimited, self.config.idle_timeout);
        Ok(Answer { parts, body, endpoint: endpoint.id, waited, took, upgraded })
    }
}

/// Whether chunks delimit the content: `chunked` is the last coding (RFC 9112 §6.3).
fn is_chunked(headers: &http::HeaderMap) -> bool {
    let last = headers.get_all(TRANSFER_ENCODING).iter().next_back();
    let last = last.and_then(|value| value.to_str().ok()).and_then(|value| value.rsplit(',').next());
    last.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
}

/// Waits for the head of the answer as long as the request's content moves on, and for the timeout
/// after it last did; `None` if the time is up.
async fn in_time<T>(sending: impl Future<Output = T>, progress: &Progress, timeout: Duration) -> Option<T> {
    let mut sending = std::pin::pin!(sending);
    loop {
        let deadline = progress.last() + timeout;
        if let Ok(result) = tokio::time::timeout_at(deadline, &mut sending).await {
            return Some(result);
        }
        if progress.last() + timeout <= Instant::now() {
            return None;
        }
    }
}
