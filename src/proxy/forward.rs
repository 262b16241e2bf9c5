//! Calls to the upstream: what goes out, what is learnt from what comes back, and the straight way
//! through for what the cache has no part in.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::Either;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use smallvec::SmallVec;

use super::Failure;
use super::admit::{Caller, CallerStanding};
use super::body::Body;
use super::charge;
use super::content;
use super::counters::{Cause, Outcome};
use super::hearing;
use super::links;
use super::respond::{self, Asked};
use super::route::Pass;
use super::share;
use super::site::{InvalidationCause, Site};
use crate::cache::acceptance::Evidence;
use crate::cache::entry::Head;
use crate::cache::groups::GroupName;
use crate::cache::key::{CredentialId, Key, Partition};
use crate::cache::storable::{self, HeadVerdict};
use crate::clock::Timestamp;
use crate::dialect::Heard;
use crate::rules::{ReadRule, Reuse};
use crate::semantics::cache_control::RequestDirectives;
use crate::semantics::cache_status::CacheStatus;
use crate::semantics::{conditional, fields};
use crate::upstream::{
    Answer, AnswerBody, AnswerError, CallCounter, CallKind, Outgoing, Repeat, SendError, Terms, Urgency,
};

/// How much of an answer is read before it is handed on, where it tells of an outcome or of tasks.
pub(super) const LARGEST_READ: usize = 16 << 20;

/// Fields that speak of the client's own copy or wish; they are forebay's to judge, and an upstream
/// that answered them with 304 or a part would leave nothing to store.
static OF_THE_CLIENTS_CACHE: [HeaderName; 8] = [
    header::IF_NONE_MATCH,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
    header::CACHE_CONTROL,
    header::ACCEPT_ENCODING,
];

/// The end-to-end fields of a request, for the upstream.
pub(super) fn outgoing_fields(site: &Site, headers: &HeaderMap) -> HeaderMap {
    fields_without(site, headers, &[])
}

/// The fields of a request whose answer may be stored.
pub(super) fn fill_fields(site: &Site, headers: &HeaderMap) -> HeaderMap {
    fields_without(site, headers, &OF_THE_CLIENTS_CACHE)
}

fn fields_without(site: &Site, headers: &HeaderMap, more: &[HeaderName]) -> HeaderMap {
    let wants_trailers = fields::accepts_trailers(headers);
    let internal = site.dialect().internal_fields();
    let mut headers = headers.clone();
    fields::remove_named_by_connection(&mut headers);
    fields::remove_where(&mut headers, |name| {
        fields::is_connection_specific(name)
            || name == header::EXPECT
            || name == header::CONTENT_LENGTH
            || internal.contains(name)
            || more.contains(name)
    });
    conditional::remove_own(&mut headers);
    // It speaks of this connection, but who bears trailers is the client behind it. Servers that know no
    // chunks have none.
    if wants_trailers && site.dialect().server_limits().chunked_requests {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers
}

/// Status, reason and end-to-end fields of an answer.
pub(super) fn head_of(mut parts: http::response::Parts) -> Head {
    fields::remove_connection_specific(&mut parts.headers);
    let reason =
        parts.extensions.remove::<ReasonPhrase>().map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    Head { status: parts.status, reason, fields: parts.headers }
}

/// Whether a success says that the API accepted the credential that came with the request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Accepts<'a> {
    /// The API gives this answer only to a credential that it accepts.
    Caller(Answered<'a>),
    /// The API may give this answer to anybody, whatever credential stands beside it: reads that need
    /// none, paths that no rule names, logins.
    Nobody,
}

/// A request and its answer, as far as they tell of the credential.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered<'a> {
    /// Which request it was.
    pub evidence: Evidence,
    /// Its fields.
    pub sent: &'a HeaderMap,
    /// Those of the answer.
    pub fields: &'a HeaderMap,
}

impl<'a> Accepts<'a> {
    /// By the rule of a read, if one matches.
    pub fn by(rule: Option<&ReadRule>, answered: Answered<'a>) -> Self {
        match rule {
            Some(rule) if !rule.anonymous => Accepts::Caller(answered),
            _ => Accepts::Nobody,
        }
    }
}

/// What the status of an answer tells of the credential of its request.
pub(super) fn learn(site: &Site, caller: Caller, accepts: Accepts<'_>, status: StatusCode) {
    let Caller::One(credential) = caller else { return };
    let shared = &site.shared;
    match accepts {
        _ if status == StatusCode::UNAUTHORIZED && credential != CredentialId::ANONYMOUS => {
            refused(site, credential);
        }
        Accepts::Caller(Answered { evidence, sent, fields }) if status.is_success() => {
            let said = || share::said(site, sent, fields, evidence.left);
            shared.acceptance.accept(site.id, credential, evidence, said);
        }
        _ => {}
    }
}

/// The API refused a credential: its partition is emptied. So is its principal's if the API had accepted
/// it before, since the news may be about the principal (disabled, removed); that costs a call for each
/// entry. Made-up credentials overtake nothing.
fn refused(site: &Site, credential: CredentialId) {
    let shared = &site.shared;
    let refused = shared.acceptance.refuse(site.id, credential);
    if !refused.was_known {
        return;
    }
    let partitions = [Some(Partition::of(credential)), refused.principal];
    let group = |partition| shared.groups.id(site.id, GroupName::Partition(partition));
    let groups: SmallVec<[_; 2]> = partitions.into_iter().flatten().map(group).collect();
    shared.groups.invalidate(&groups);
    shared.count_invalidation(InvalidationCause::Credential);
}

/// Sends a call. Callers that the API has not accepted lately share a quarter of what may be in
/// flight, so that made-up credentials cannot keep out those that count.
pub(super) async fn send(
    site: &Site,
    caller: CallerStanding,
    outgoing: Outgoing,
) -> Result<Answer, SendError> {
    send_on(site, caller, outgoing, Terms::default()).await
}

/// The same on terms of its own.
pub(super) fn send_on<'a>(
    site: &'a Site,
    caller: CallerStanding,
    outgoing: Outgoing,
    terms: Terms<'a>,
) -> impl Future<Output = Result<Answer, SendError>> {
    // In a box: the others do not carry the room for the charges.
    match charge::is_charged(site) {
        true => Either::Left(Box::pin(charge::send(site, caller, outgoing, terms))),
        false => Either::Right(send_by_standing(site, caller, outgoing, terms)),
    }
}

/// The same when it is known whether it is charged.
///
/// No `async fn`, as [`send_on`]: those keep their arguments twice.
pub(super) fn send_by_standing<'a>(
    site: &'a Site,
    caller: CallerStanding,
    outgoing: Outgoing,
    terms: Terms<'a>,
) -> impl Future<Output = Result<Answer, SendError>> {
    let left = site.shared.clock.now();
    let sending = match caller {
        CallerStanding::Accepted => Either::Left(site.upstream.send_on(outgoing, terms)),
        CallerStanding::Stranger => Either::Right(site.upstream.send_stranger_on(outgoing, terms)),
    };
    async move {
        let result = sending.await;
        site.note(&result, left);
        result
    }
}

/// What has been read of a body before anybody hears of it.
#[derive(Default)]
pub(super) struct Gathered {
    pub chunks: Vec<Bytes>,
    pub trailers: Option<HeaderMap>,
    pub whole: bool,
}

/// Reads a body until its end or until `most` bytes.
pub(super) async fn gather(body: &mut AnswerBody, most: usize) -> Result<Gathered, AnswerError> {
    let (mut gathered, mut length) = (Gathered::default(), 0);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(chunk) => {
                length += chunk.len();
                gathered.chunks.push(chunk);
            }
            Err(other) => gathered.trailers = other.into_trailers().ok(),
        }
        if length >= most {
            return Ok(gathered);
        }
    }
    gathered.whole = true;
    Ok(gathered)
}

pub(super) fn joined(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [only] => only.clone(),
        _ => chunks.concat().into(),
    }
}

/// The values of the captures that limits count by.
pub(super) fn limit_captures(
    site: &Site,
    names: &[String],
    captures: &crate::rules::Captures,
    path: &str,
) -> Vec<(String, String)> {
    let wanted = &site.config.limit_captures;
    if wanted.is_empty() {
        return Vec::new();
    }
    names
        .iter()
        .enumerate()
        .filter(|(_, name)| wanted.contains(name))
        .map(|(position, name)| (name.clone(), captures.get(path, position).to_owned()))
        .collect()
}

/// A read of forebay's own in the name of `principal`: it is counted and limited as a client's would be.
pub(super) fn own_read(
    site: &Site,
    target: PathAndQuery,
    headers: HeaderMap,
    principal: u128,
    cause: Cause,
) -> Outgoing {
    let path = site.dialect().read_path(target.path()).unwrap_or(target.path().into());
    let found = site.rules.read(&path, None);
    let metrics = found.as_ref().map_or(&site.unmatched, |found| &site.reads[found.index].metrics);
    let captures = found
        .as_ref()
        .map_or_else(Vec::new, |found| limit_captures(site, &found.rule.captures, &found.captures, &path));
    let counter = metrics.call(&site.shared.registry, cause);
    // The path was a loan from the target.
    drop(path);
    Outgoing { captures, ..Outgoing::get(target, headers, principal, counter) }
}

/// A client's request as it goes on, with these fields: without content, and with no captures for limits.
#[inline]
pub(super) fn of_client(
    kind: CallKind,
    parts: &Parts,
    headers: HeaderMap,
    principal: u128,
    counter: CallCounter,
) -> Outgoing {
    let target = parts.uri.path_and_query().expect("admitted with a path").clone();
    let method = parts.method.clone();
    let host = links::host(&parts.extensions);
    Outgoing { kind, method, host, ..Outgoing::get(target, headers, principal, counter) }
}

/// Forwards a request and its answer as they are. `key` is that of a read whose answer was found not
/// to be storable, which is judged anew by every answer.
#[expect(clippy::manual_async_fn, reason = "an `async fn` would keep its arguments twice")]
pub(super) fn pass(
    site: Arc<Site>,
    request: Request<Incoming>,
    client: SocketAddr,
    started: Timestamp,
    pass: Pass<'static>,
    key: Option<Key>,
) -> impl Future<Output = Response<Body>> {
    async move {
        let mut asked = Asked::new(&site, pass.metrics(&site), &request, client, started);
        let outcome = Outcome::Other(pass.detail);
        if RequestDirectives::of(request.headers()).only_if_cached {
            return asked.fail(&pass.path, Failure::OnlyIfCached);
        }
        let (parts, body) = request.into_parts();
        let account = pass.caller.account(&site, client);
        let body = match content::take(&site, body, false, account.standing).await {
            Ok(body) => body,
            Err(failure) => {
                return asked.fail(&pass.path, failure);
            }
        };
        let mut headers = outgoing_fields(&site, &parts.headers);
        let ear = site.ear(&parts.method, &pass.path, parts.uri.query());
        links::ask_for_plain(&parts.extensions, &mut headers);
        if ear.listens() {
            // What is read here must come as it is.
            headers.remove(header::ACCEPT_ENCODING);
        }
        let counter = pass.metrics(&site).call(&site.shared.registry, Cause::Pass);
        let outgoing =
            Outgoing { body, ..of_client(CallKind::Read, &parts, headers, account.principal, counter) };
        let (sequence, left) = (site.shared.groups.next(), site.shared.clock.now());
        let rule = pass.rule.map(|rule| &site.rules.reads[rule]);
        let repeat = match rule {
            Some(rule) if rule.reuse == Reuse::Pass => Repeat::IfNeverSent,
            _ => Repeat::AsItMay,
        };
        let urgency = ear.listens().then_some(Urgency::Change);
        let terms = Terms { urgency, repeat, ..Terms::default() };
        let answer = match send_on(&site, account.standing, outgoing, terms).await {
            Ok(answer) => answer,
            Err(error) => {
                return asked.fail(&pass.path, Failure::from(&error));
            }
        };
        asked.upstream = Some(answer.waited + answer.took);
        let head = head_of(answer.parts);
        // The rule speaks of reads: a preflight is answered to anybody. What stands in a body that is only
        // forwarded is not read.
        let accepts = match parts.method {
            Method::GET | Method::HEAD
                if head.status.is_success() && !site.dialect().outcome_in_body(&pass.path) =>
            {
                let evidence = Evidence { sequence, left };
                Accepts::by(rule, Answered { evidence, sent: &parts.headers, fields: &head.fields })
            }
            _ => Accepts::Nobody,
        };
        learn(&site, pass.caller, accepts, head.status);
        if let (Some(key), Some(rule)) = (key, rule)
            && let HeadVerdict::Keep(_) =
                storable::judge_head(rule, &head, answer.body.size_hint().exact(), site.shared.max_object)
        {
            site.shared.forget_uncacheable(key);
        }
        let body = if ear.hears(&site, head.status) {
            let (status, fields) = (head.status, &head.fields);
            let heard = Heard { path: &pass.path, query: parts.uri.query(), status, fields };
            // In a box: hardly any answer is heard.
            match Box::pin(ear.observed(&site, hearing::Telling { heard, left: sequence }, answer.body)).await
            {
                Ok(body) => body,
                Err(failure) => return asked.fail(&pass.path, failure),
            }
        } else {
            Body::upstream(answer.body)
        };
        let status = CacheStatus::Forwarded {
            forward: pass.forward,
            status: None,
            stored: false,
            collapsed: false,
            detail: Some(pass.detail),
        };
        asked.conclude(outcome, respond::forwarded(head, body, status))
    }
}
