//! Answers to clients, and the last step of every request: counting and logging it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;

use super::body::Body;
use super::casing;
use super::counters::{Outcome, RuleMetrics};
use super::links::{self, Arrived, Placed};
use super::route::{Read, path_of};
use super::{Failure, Site};
use crate::cache::entry::{Entry, Head};
use crate::cache::flight::{FlightBody, Keeping};
use crate::cache::key::{Key, Secret};
use crate::clock::Timestamp;
use crate::dialect::Dialect;
use crate::semantics::cache_status::{self, CACHE_STATUS, CacheStatus, Detail, Forward};
use crate::semantics::{conditional, encoding};

/// Stands in the log for what names an operation.
const NAMELESS: &str = "*";

/// How large a body may be to be compressed while its client waits (well under a millisecond);
/// larger ones are compressed behind the scenes, for the next client.
const COMPRESS_AT_ONCE: usize = 128 * 1024;

/// How many fields most stored answers have, with those added here: the map of a hit is made once, in
/// the largest size that needs no more than 16 places.
const FIELDS: usize = 12;

/// What the end of a request is told: who asked for what, and when.
pub(super) struct Asked<'s> {
    pub site: &'s Site,
    pub metrics: &'s RuleMetrics,
    pub client: SocketAddr,
    pub started: Timestamp,
    pub line: Option<Line>,
    /// How long the upstream was waited for, if it was.
    pub upstream: Option<Duration>,
    /// Where addresses in the answer lead, if they are changed.
    pub arrived: Option<Arrived>,
}

/// Method and path of a request for its log line; the query may hold secrets and is left out.
pub(super) struct Line(String);

impl<'s> Asked<'s> {
    pub fn new<B>(
        site: &'s Site,
        metrics: &'s RuleMetrics,
        request: &Request<B>,
        client: SocketAddr,
        started: Timestamp,
    ) -> Self {
        let logged = site.shared.log_requests.load(Ordering::Relaxed);
        let line = logged.then(|| Line(format!("{} {}", request.method(), shown(site, request))));
        let arrived = site.links.as_ref().and_then(|_| Arrived::of(request.extensions()).cloned());
        Self { site, metrics, client, started, line, upstream: None, arrived }
    }

    /// Ends the request, which was for `path`, with an error of forebay's own.
    pub fn fail(self, path: &str, failure: Failure) -> Response<Body> {
        let response = failed(self.site, path, failure);
        self.conclude(Outcome::Other(failure.detail()), response)
    }

    /// Counts, measures and logs the answer on its way out.
    pub fn conclude(self, outcome: Outcome, mut response: Response<Body>) -> Response<Body> {
        let shared = &self.site.shared;
        if let Some(arrived) = &self.arrived {
            links::depart(self.site, arrived, outcome.content(), &mut response);
        }
        self.metrics.count(&shared.registry, outcome);
        let took = shared.clock.now().since(self.started);
        self.site.seconds.record(took.as_secs_f64());
        if outcome == Outcome::Collapsed {
            self.site.collapsed.increment(1);
        }
        if let Some(Line(line)) = self.line {
            tracing::info!(
                target: "forebay::request",
                client = %self.client,
                upstream = %self.site.config.name,
                rule = self.metrics.rule(),
                outcome = outcome.as_str(),
                status = response.status().as_u16(),
                milliseconds = milliseconds(took),
                upstream_milliseconds = self.upstream.map(milliseconds),
                "{line}"
            );
        }
        response
    }
}

/// The path of a request as it may be shown: where it asks after an operation, what names that is left out.
/// Whoever has such an address may ask there, and some have a signature.
fn shown<'r, B>(site: &Site, request: &'r Request<B>) -> Cow<'r, str> {
    let raw = request.uri().path();
    if !site.dialect().has_addresses() {
        return Cow::Borrowed(raw);
    }
    // What cannot be read in one way could be such an address as well.
    let Some(path) = site.dialect().read_path(raw) else { return Cow::Borrowed(NAMELESS) };
    let known = || match site.asks_after_operation(&Method::GET, &path, request.uri().query()) {
        true => path.rfind('/').map(|end| end + 1),
        false => None,
    };
    match site.dialect().name_of_operation(&path).or_else(known) {
        Some(name) => Cow::Owned(format!("{}{NAMELESS}", path.get(..name).unwrap_or_default())),
        None => Cow::Borrowed(raw),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// The answer to a request that no rule was looked for.
pub(super) fn refused<B>(
    site: &Site,
    request: &Request<B>,
    client: SocketAddr,
    started: Timestamp,
    failure: Failure,
) -> Response<Body> {
    let asked = Asked::new(site, &site.unmatched, request, client, started);
    let mut response = failed(site, &path_of(site, request, failure), failure);
    // What could not be understood once may be followed by what was meant as its content.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    asked.conclude(Outcome::Other(failure.detail()), response)
}

/// An error of forebay's own for a request to `path`.
pub(super) fn failed(site: &Site, path: &str, failure: Failure) -> Response<Body> {
    failure.response(site.dialect(), path)
}

/// A fresh answer from the store.
pub(super) fn hit<B>(
    site: &Site,
    request: &Request<B>,
    read: &Read<'_>,
    client: SocketAddr,
    now: Timestamp,
    key: Key,
    entry: &Arc<Entry>,
) -> Response<Body> {
    let asked = Asked::new(site, read.metrics(site), request, client, now);
    let ceiling = site.ceiling(read.rule, now);
    let status = |ttl| CacheStatus::Hit { ttl, detail: None };
    let response = stored(site, request, now, key, entry, ceiling, status);
    asked.conclude(Outcome::Hit, response)
}

/// An answer from the store, with the status that `status` makes of the seconds left to it, which is
/// fresh for `ceiling` at most.
pub(super) fn stored<B>(
    site: &Site,
    request: &Request<B>,
    now: Timestamp,
    key: Key,
    entry: &Arc<Entry>,
    ceiling: Duration,
    status: impl FnOnce(i64) -> CacheStatus,
) -> Response<Body> {
    let placed = Placed::of(site, request.extensions(), entry);
    // As long as the body that is kept, so addresses stand at the same places.
    let respelled = casing::respelled(site, request.uri().path(), entry);
    let request = request.headers();
    let coded = if respelled.is_none()
        && entry.compressible()
        && encoding::preferred(request) == encoding::Coding::Gzip
    {
        compressed(site, key, entry, placed)
    } else {
        None
    };
    let entry = coded.as_ref().unwrap_or(entry);
    let age = entry.age(now);
    let left = entry.lifetimes().fresh.min(ceiling).as_secs() as i64 - age.as_secs() as i64;
    let mut fields = HeaderMap::with_capacity(FIELDS);
    entry.write_fields(&mut fields);
    site.dialect().sign(request, &mut fields);
    fields.insert(header::AGE, cache_status::age(age.as_secs()));
    fields.append(CACHE_STATUS, status(left).value());
    let matches = request.contains_key(header::IF_NONE_MATCH)
        && fields
            .get(header::ETAG)
            .and_then(|etag| etag.to_str().ok())
            .is_some_and(|etag| conditional::none_match_names(request, etag));
    if matches && entry.status() == StatusCode::OK {
        fields.remove(header::CONTENT_TYPE);
        fields.remove(header::CONTENT_ENCODING);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = fields;
        return response;
    }
    let body = respelled.unwrap_or_else(|| entry.body());
    let mut response = Response::new(match (placed, &coded) {
        (Some(placed), None) => Body::pieces(placed.pieces(&body)),
        _ => Body::full(body),
    });
    *response.status_mut() = entry.status();
    *response.headers_mut() = fields;
    add_reason(&mut response, entry.reason());
    response
}

/// The gzip form of an entry: made once, kept beside it, and only used while it is of the same fetch.
/// `None` while somebody else makes it.
fn compressed(site: &Site, key: Key, entry: &Arc<Entry>, placed: Option<Placed<'_>>) -> Option<Arc<Entry>> {
    let (shared, dialect) = (&site.shared, site.dialect());
    let key = match placed {
        None => key.gzip(),
        Some(placed) => key.gzip().form(shared.secret.content(&[placed.text()])),
    };
    if let Some(kept) = shared.memory.get(key)
        && kept.sequence() == entry.sequence()
    {
        return Some(kept);
    }
    if let Some(placed) = placed {
        // Once for each name that clients have for this listener, while they wait or not at all.
        if entry.body_length() > COMPRESS_AT_ONCE {
            return None;
        }
        let whole = placed.pieces(&entry.body()).concat();
        let coded = Arc::new(compress(entry, &whole, &shared.secret, dialect));
        shared.memory.insert(key, coded.clone());
        return Some(coded);
    }
    // Others take the body as it is meanwhile; so do all if the store has no room for both forms.
    if !entry.begin_compressing() {
        return None;
    }
    if entry.body_length() > COMPRESS_AT_ONCE {
        let (shared, entry) = (shared.clone(), entry.clone());
        tokio::task::spawn_blocking(move || {
            let coded = compress(&entry, &entry.body(), &shared.secret, dialect);
            shared.memory.insert(key, Arc::new(coded));
        });
        return None;
    }
    let coded = Arc::new(compress(entry, &entry.body(), &shared.secret, dialect));
    shared.memory.insert(key, coded.clone());
    Some(coded)
}

fn compress(entry: &Entry, body: &[u8], secret: &Secret, dialect: Dialect) -> Entry {
    let body = gzip(body);
    let mut fields = HeaderMap::new();
    entry.write_fields(&mut fields);
    fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    if !dialect.takes_validators() {
        return entry.recoded(fields, body, None);
    }
    // Another representation has another validator (RFC 9110 §8.8.3.3).
    fields.remove(header::ETAG);
    let etag = etag(secret, std::slice::from_ref(&body));
    entry.recoded(fields, body, Some(&etag))
}

/// The gzip form of a body, always the same for the same body.
pub(super) fn gzip(body: &[u8]) -> Bytes {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(4));
    encoder.write_all(body).expect("writing to memory does not fail");
    Bytes::from(encoder.finish().expect("writing to memory does not fail"))
}

/// A strong validator of forebay's own for a body.
pub(super) fn etag(secret: &Secret, body: &[Bytes]) -> String {
    conditional::own(secret.content(body))
}

/// The fields of an answer for `request`, which somebody else caused.
pub(super) fn of_another(dialect: Dialect, request: &HeaderMap, head: &Head) -> HeaderMap {
    let Some(mut fields) = dialect.without_own(&head.fields) else { return head.fields.clone() };
    dialect.sign(request, &mut fields);
    fields
}

/// An answer that is on its way for everybody who waits, with the fields for one of them.
pub(super) fn shared(
    head: &Head,
    mut fields: HeaderMap,
    keeping: Keeping,
    body: FlightBody<Failure>,
    forward: Forward,
    collapsed: bool,
    detail: Option<Detail>,
) -> Response<Body> {
    let length = head.fields.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    fields.remove(header::CONTENT_LENGTH);
    let status =
        CacheStatus::Forwarded { forward, status: None, stored: keeping == Keeping::Kept, collapsed, detail };
    fields.append(CACHE_STATUS, status.value());
    let mut response = Response::new(Body::Shared(body.with_length(length)));
    *response.status_mut() = head.status;
    *response.headers_mut() = fields;
    add_reason(&mut response, head.reason.as_ref());
    response
}

/// An answer of the upstream for this client alone.
pub(super) fn forwarded(head: Head, body: Body, status: CacheStatus) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.fields;
    response.headers_mut().append(CACHE_STATUS, status.value());
    add_reason(&mut response, head.reason.as_ref());
    response
}

fn add_reason(response: &mut Response<Body>, reason: Option<&Bytes>) {
    if let Some(reason) = reason.and_then(|r| ReasonPhrase::try_from(r.clone()).ok()) {
        response.extensions_mut().insert(reason);
    }
}
