//! One request and its answer: authentication and throttling in ARM's order, and the fields that every
//! answer carries.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::answer::{Body, Outcome, Reply};
use super::call::{self, Call};
use super::estate::Estate;
use super::token::Actor;
use super::{Fault, HoldAt, SUBSCRIPTION, Shared, TENANT, blobs, login, reads, refusal, route};

/// The longest body that ARM takes.
const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// Audiences that ARM accepts.
const AUDIENCES: [&str; 2] = ["https://management.azure.com", "https://management.core.windows.net"];

/// The seconds that a refusal says which was asked for: the shortest time that its field can say.
const REFUSED_FOR: u64 = 1;

pub(super) type AnswerBody = BoxBody<Bytes, io::Error>;

/// Answers one request; an error closes the connection without an answer.
pub(super) async fn answer(
    shared: Arc<Shared>,
    scheme: &'static str,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, io::Error> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let raw_path = target.split('?').next().unwrap_or_default();
    let path = call::segments(raw_path);
    let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let host = head.uri.authority().map(ToString::to_string).or(host).unwrap_or_default();
    let base = format!("{scheme}://{host}");
    let collected = Limited::new(body, BODY_LIMIT).collect().await.map_err(io::Error::other)?.to_bytes();
    if blobs::owns(&host) {
        let call = Call::new(head.method.clone(), &target, nobody(), &base, Instant::now());
        return Ok(shared.blobs.lock().answer(&host, &call, &head, collected));
    }
    if login::owns(&path) {
        shared.count_login();
        let reply = {
            let mut estate = shared.estate.lock();
            let wall = estate.wall(Instant::now());
            let principals = estate.principals.clone();
            login::answer(&mut estate.issuer, &principals, &path, &collected, &base, wall)
        };
        return Ok(write(&shared, &head, reply, Vec::new(), None));
    }
    let line = format!("{} {target}", head.method);
    let _active = shared.watch.received(&line);
    let fault = shared.watch.fault(&line);
    match &fault {
        Some(Fault::Close) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Stall) => std::future::pending::<()>().await,
        Some(Fault::Answer(refused)) => return Ok(write(&shared, &head, refused.reply(), Vec::new(), None)),
        Some(Fault::Truncate | Fault::LoseAnswer) | None => {}
    };
    shared.watch.pass(&line, HoldAt::BeforeReading).await;
    let half = shared.config.latency / 2;
    pause(half).await;
    let (reply, fields) = carry_out(&shared, &head, &target, &base, &collected);
    shared.watch.pass(&line, HoldAt::BeforeAnswering).await;
    pause(half).await;
    if fault == Some(Fault::LoseAnswer) {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(write(&shared, &head, reply, fields, fault))
}

/// Waits, without going through the timer when there is nothing to wait for.
async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn text<'a>(head: &'a http::request::Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name).and_then(|value| value.to_str().ok())
}

/// The answer, and the fields that tell what is left of the quota.
fn carry_out(
    shared: &Shared,
    head: &http::request::Parts,
    target: &str,
    base: &str,
    body: &[u8],
) -> (Reply, Vec<(&'static str, String)>) {
    let mut estate = shared.estate.lock();
    let now = Instant::now();
    estate.settle(now);
    let mut call = Call::new(head.method.clone(), target, nobody(), base, now);
    call.body = serde_json::from_slice(body).unwrap_or(Value::Null);
    call.if_match = text(head, "if-match").map(str::to_owned);
    call.if_none_match = text(head, "if-none-match").map(str::to_owned);
    if let Some(outcome) = route::anonymous(&estate, &call) {
        return (outcome.unwrap_or_else(|refused| refused), Vec::new());
    }
    match authenticate(&estate, text(head, "authorization"), base, now) {
        Ok(actor) => call.who = actor,
        Err(refused) => return (refused, Vec::new()),
    }
    // The gateway's own 404 reaches no bucket, and says nothing of any.
    if let Err(refused) = reads::demand_subscription(&estate, &call) {
        return (refused, Vec::new());
    }
    if call.reads() && is_refused(shared) {
        return (refusal::subscription(SUBSCRIPTION, "read", &call.who.object, REFUSED_FOR), Vec::new());
    }
    let (fields, refused) = match shared.config.throttle {
        super::Throttle::Off => (full_quota(&call), None),
        throttle => shared.buckets.lock().take(&estate, &call, throttle, shared.config.quota),
    };
    if let Some(refused) = refused {
        return (refused, fields);
    }
    (route::dispatch(&mut estate, &call).unwrap_or_else(|refused| refused), fields)
}

impl super::Sim {
    /// Reads that were refused here because [`super::SimConfig::refuse_every`] asks for it.
    pub fn refused(&self) -> u64 {
        let every = self.shared.config.refuse_every;
        every.map_or(0, |every| self.shared.reads.load(Ordering::SeqCst) / every.get())
    }
}

/// Counts a read, and says whether it is one of those that are refused.
fn is_refused(shared: &Shared) -> bool {
    let count = shared.reads.fetch_add(1, Ordering::SeqCst) + 1;
    shared.config.refuse_every.is_some_and(|every| count.is_multiple_of(every.get()))
}

/// Whoever has not said yet who he is.
fn nobody() -> Actor {
    Actor {
        object: String::new(),
        application: String::new(),
        number: 0,
        expires: 0,
        audience: String::new(),
        tenant: String::new(),
    }
}

/// What the fields say when there are no buckets: a fresh subscription's numbers.
fn full_quota(call: &Call) -> Vec<(&'static str, String)> {
    let fields = match call.method {
        Method::GET | Method::HEAD => [
            ("x-ms-ratelimit-remaining-subscription-reads", "249"),
            ("x-ms-ratelimit-remaining-subscription-global-reads", "3749"),
        ],
        Method::DELETE => [
            ("x-ms-ratelimit-remaining-subscription-deletes", "199"),
            ("x-ms-ratelimit-remaining-subscription-global-deletes", "2999"),
        ],
        _ => [
            ("x-ms-ratelimit-remaining-subscription-writes", "199"),
            ("x-ms-ratelimit-remaining-subscription-global-writes", "2999"),
        ],
    };
    fields.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// Who calls: the token must be ours, for ARM, of this tenant, not expired and not revoked.
fn authenticate(estate: &Estate, field: Option<&str>, base: &str, now: Instant) -> Result<Actor, Reply> {
    let Some(field) = field else {
        return Err(refusal::unauthorized(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
            "error=\"invalid_token\", error_description=\"The authentication failed because of missing \
             'Authorization' header.\"",
        ));
    };
    let invalid = |message: &str| {
        refusal::unauthorized(
            "InvalidAuthenticationToken",
            message,
            "error=\"invalid_token\", error_description=\"Could not validate the access token.\"",
        )
    };
    let (scheme, token) = field.split_once(' ').unwrap_or((field, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(invalid("The authentication scheme is not supported."));
    }
    let Some(actor) = estate.issuer.verify(token.trim()) else {
        return Err(invalid("The access token is invalid."));
    };
    let audience = actor.audience.trim_end_matches('/');
    // Clients that ask for the address they were pointed at get a token for it from this authority alone.
    let local = ["https://localhost", "https://127.0.0.1", base].iter().any(|own| audience.starts_with(own));
    if !AUDIENCES.contains(&audience) && !local {
        return Err(invalid("The access token has been obtained for wrong audience or resource."));
    }
    if actor.tenant != TENANT {
        return Err(refusal::unauthorized(
            "InvalidAuthenticationTokenTenant",
            "The access token is from the wrong issuer.",
            "error=\"invalid_token\", error_description=\"The access token is from the wrong issuer.\"",
        ));
    }
    if actor.expires <= estate.wall(now) {
        return Err(super::Refusal::Expired.reply());
    }
    match estate.revoked.get(&actor.object) {
        Some((number, since)) if actor.number < *number => Err(refusal::claims_challenge(*since)),
        _ => Ok(actor),
    }
}

/// Puts an answer into bytes with all that ARM adds to it.
fn write(
    shared: &Shared,
    head: &http::request::Parts,
    reply: Reply,
    quota: Vec<(&'static str, String)>,
    fault: Option<Fault>,
) -> Response<AnswerBody> {
    let Reply { status, fields, body } = reply;
    let (own, edge) = {
        let mut estate = shared.estate.lock();
        (estate.guid(), estate.guid())
    };
    let correlation = text(head, "x-ms-correlation-request-id").unwrap_or(&own).to_owned();
    let (bytes, content_type) = match body {
        Body::None => (Bytes::new(), None),
        Body::Json(value) => (Bytes::from(value.to_string()), Some("application/json; charset=utf-8")),
        Body::Text(text) => (Bytes::from_static(text.as_bytes()), None),
    };
    let gzip = text(head, "accept-encoding").is_some_and(|accepted| accepted.contains("gzip"));
    let packed = (gzip && !bytes.is_empty()).then(|| compress(&bytes));
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    };
    add("cache-control", "no-cache");
    add("pragma", "no-cache");
    add("expires", "-1");
    if let Some(content_type) = content_type {
        add("content-type", content_type);
    }
    if packed.is_some() {
        add("content-encoding", "gzip");
        add("vary", "Accept-Encoding");
    }
    add("strict-transport-security", "max-age=31536000; includeSubDomains");
    add("x-content-type-options", "nosniff");
    add("x-cache", "CONFIG_NOCACHE");
    add("x-ms-throttling-version", "v2");
    add("x-ms-request-id", &own);
    add("x-ms-correlation-request-id", &correlation);
    add("x-ms-routing-request-id", &format!("EASTUS:20250612T091500Z:{correlation}"));
    add(
        "x-msedge-ref",
        &format!("Ref A: {} Ref B: EXAMPLE Ref C: 2025-06-12T09:15:00Z", edge.to_uppercase()),
    );
    if text(head, "x-ms-return-client-request-id") == Some("true")
        && let Some(id) = text(head, "x-ms-client-request-id")
    {
        add("x-ms-client-request-id", id);
    }
    let stated: Vec<String> = fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    for (name, value) in quota.into_iter().filter(|(name, _)| !stated.contains(&(*name).to_owned())) {
        add(name, &value);
    }
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(&value)) {
            headers.append(name, value);
        }
    }
    let bytes = packed.unwrap_or(bytes);
    let body = match fault {
        Some(Fault::Truncate) => {
            headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            let cut = bytes.slice(..bytes.len() / 2);
            let end = Err(io::Error::from(io::ErrorKind::ConnectionReset));
            StreamBody::new(futures_util::stream::iter([Ok(Frame::data(cut)), end])).boxed()
        }
        _ => Full::new(bytes).map_err(|never| match never {}).boxed(),
    };
    response.map(|()| body)
}

fn compress(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(plain).and_then(|()| encoder.finish());
    packed.expect("writing to memory does not fail").into()
}

/// Carries out a call that did not come over the wire.
pub(super) fn behind(estate: &mut Estate, call: &Call) -> Outcome {
    estate.settle(call.now);
    route::dispatch(estate, call)
}
