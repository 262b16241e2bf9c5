//! The task behind a flight: it fetches, hands the answer to everybody who waits, and stores it.
//! It belongs to nobody who waits: a client that leaves does not end it. Only here are entries made.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use tokio::sync::oneshot;

use super::admit::Caller;
use super::forward::{self, Accepts, HOLD};
use super::respond;
use super::route::Read;
use super::site::{Cause, Site};
use super::{Body, Failure};
use crate::cache::entry::{Entry, Head, Lifetimes, Provenance};
use crate::cache::flight::{Fill, Keeping};
use crate::cache::groups::Settling;
use crate::cache::key::Key;
use crate::cache::storable::{self, BodyVerdict, HeadVerdict, SHORTLY};
use crate::clock::Timestamp;
use crate::upstream::{
    Answer, AnswerBody, CallKind, Delimited, EndpointChoice, EndpointId, Outgoing, OutgoingBody,
};

/// How long a reader may hold up the others of an answer too large to keep.
const SLOWEST_WAITS: Duration = Duration::from_secs(30);

/// What is to be fetched.
pub(super) struct Errand {
    pub site: Arc<Site>,
    pub read: Read<'static>,
    pub key: Key,
    /// The endpoint that the key names, where the rule keeps answers by endpoint.
    pub endpoint: Option<u64>,
    pub target: PathAndQuery,
    pub headers: HeaderMap,
    pub principal: u128,
    pub cause: Cause,
}

/// An answer for the client alone that caused the fetch.
pub(super) struct Direct {
    pub head: Head,
    pub body: AnswerBody,
}

/// Fetches, shares and stores. `direct` takes the answer if it turns out to be for one client alone.
pub(super) async fn run(errand: Errand, fill: Fill<Failure>, direct: Option<oneshot::Sender<Direct>>) {
    let site = errand.site.clone();
    let shared = &site.shared;
    let left = shared.clock.now();
    let settling = shared.groups.settling(fill.groups(), left);
    let caller = Caller::One(errand.read.partition);
    let answer = match forward::send(&site, caller, errand.outgoing(&fill)).await {
        Ok(answer) => answer,
        Err(error) => return fill.fail(Failure::from(&error)),
    };
    let at = shared.clock.now();
    let rule = errand.read.rule(&site);
    let path = &*errand.read.path;
    let Answer { parts, body, endpoint, .. } = answer;
    let length = body.size_hint().exact();
    let mut head = forward::head_of(parts);
    let told_later = site.dialect().outcome_in_body(path) && head.status.is_success();
    if !told_later {
        forward::learn(&site, caller, Accepts::by(Some(rule)), head.status, left);
    }
    if site.dialect().ends_entry(head.status) {
        shared.memory.remove(errand.key);
    }
    let verdict = match storable::judge_head(rule, &head, length, shared.max_object) {
        // Another endpoint answered than the one that the key names.
        HeadVerdict::Keep(_) if errand.endpoint.is_some_and(|e| e != endpoint.as_u64()) => {
            HeadVerdict::ShareOnly
        }
        // Its end cannot be told from a cut, so it is never known to be whole.
        HeadVerdict::Keep(_) if body.delimited() == Delimited::ByClose => HeadVerdict::ShareOnly,
        verdict => verdict,
    };
    if verdict == HeadVerdict::Alone {
        shared.remember_uncacheable(errand.key, at);
        if let Some(direct) = direct {
            let _gone_if_the_client_left = direct.send(Direct { head, body });
        }
        return fill.release();
    }
    // Where the body decides, nothing can be promised with the head.
    let decided = !told_later && !storable::needs_body(rule);
    let keeping = match verdict {
        HeadVerdict::Keep(_) if decided && settling != Settling::Open => Keeping::Kept,
        _ => Keeping::Shared,
    };
    // What tells of a task's end must be read before anybody hears of it; an error that announces no
    // length gets one, which clients handle better.
    let tells = site.dialect().tells_of_operations(path) && head.status.is_success();
    let whole = if tells || length.is_none() && !head.status.is_success() {
        let Ok(whole) = Limited::new(body, HOLD).collect().await else { return fill.fail(Failure::Lost) };
        let whole = whole.to_bytes();
        if tells {
            forward::observe(&site, path, &whole);
        }
        head.fields.insert(http::header::CONTENT_LENGTH, whole.len().into());
        let head = Arc::new(head);
        fill.share(head.clone(), keeping);
        let kept = fill.push(whole).is_ok();
        kept.then_some(head)
    } else {
        let head = Arc::new(head);
        fill.share(head.clone(), keeping);
        match stream(&errand, &fill, body).await {
            Streamed::Whole => Some(head),
            Streamed::TooLarge => None,
            Streamed::Broken => return fill.break_off(),
        }
    };
    let entry = whole.zip(verdict.lifetimes()).and_then(|(head, lifetimes)| {
        let chunks = fill.body();
        let told = told_later.then(|| site.dialect().status_in_body(&joined(&chunks))).flatten();
        if told_later {
            let status = told.unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
            forward::learn(&site, caller, Accepts::by(Some(rule)), status, left);
            if site.dialect().ends_entry(status) {
                shared.memory.remove(errand.key);
            }
            if !status.is_success() {
                return None;
            }
        }
        let lifetimes = bounded(&errand, &fill, settling, lifetimes, &chunks)?;
        Some(errand.entry(&fill, &head, &chunks, lifetimes, at))
    });
    match entry {
        Some(entry) => fill.finish(|| shared.memory.insert(errand.key, Arc::new(entry))),
        None => fill.finish(|| ()),
    }
}

enum Streamed {
    Whole,
    TooLarge,
    Broken,
}

/// Hands the body on, piece by piece as it comes.
async fn stream(errand: &Errand, fill: &Fill<Failure>, mut body: AnswerBody) -> Streamed {
    let shared = &errand.site.shared;
    let mut received = 0u64;
    let mut keeping = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Streamed::Broken };
        let Ok(chunk) = frame.into_data() else { continue };
        received += chunk.len() as u64;
        if keeping && received > shared.max_object {
            keeping = false;
            shared.remember_uncacheable(errand.key, shared.clock.now());
            fill.stream_only();
        }
        if fill.push(chunk).is_err() {
            return Streamed::Broken;
        }
        if !keeping && tokio::time::timeout(SLOWEST_WAITS, fill.room()).await.is_err() {
            fill.cut_slowest();
        }
    }
    if keeping { Streamed::Whole } else { Streamed::TooLarge }
}

/// The lifetimes that the body and the writes around the fetch leave; `None`: not kept.
fn bounded(
    errand: &Errand,
    fill: &Fill<Failure>,
    settling: Settling,
    lifetimes: Lifetimes,
    chunks: &[Bytes],
) -> Option<Lifetimes> {
    let shared = &errand.site.shared;
    let shortly = Lifetimes {
        fresh: lifetimes.fresh.min(SHORTLY),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    };
    let lifetimes = match storable::judge_body(errand.read.rule(&errand.site), &joined(chunks)) {
        BodyVerdict::Refuse => return None,
        BodyVerdict::KeepShortly => shortly,
        BodyVerdict::Keep => lifetimes,
    };
    // What was fetched while the nodes may have disagreed stays suspect when they agree again.
    match (settling, shared.groups.settling(fill.groups(), shared.clock.now())) {
        (Settling::Open, _) | (_, Settling::Open) => None,
        (Settling::Settled, Settling::Settled) => Some(lifetimes),
        _ => Some(shortly),
    }
}

fn joined(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [only] => only.clone(),
        _ => chunks.concat().into(),
    }
}

impl Errand {
    fn outgoing(&self, fill: &Fill<Failure>) -> Outgoing {
        let site = &self.site;
        let now = site.shared.clock.now();
        let endpoint = self
            .endpoint
            .or_else(|| site.shared.groups.settled_by(fill.groups(), now))
            .map_or(EndpointChoice::Any, |id| EndpointChoice::Prefer(EndpointId::from_u64(id)));
        let rule = self.read.rule(site);
        Outgoing {
            method: Method::GET,
            target: self.target.clone(),
            headers: self.headers.clone(),
            host: None,
            body: OutgoingBody::Empty,
            endpoint,
            kind: CallKind::Read,
            principal: self.principal,
            captures: forward::limit_captures(site, &rule.captures, &self.read.captures, &self.read.path),
            counter: self.read.metrics(site).call(&site.shared.registry, self.cause),
            upgrade: false,
        }
    }

    fn entry(
        &self,
        fill: &Fill<Failure>,
        head: &Head,
        chunks: &[Bytes],
        lifetimes: Lifetimes,
        at: Timestamp,
    ) -> Entry {
        let age = head.fields.get(http::header::AGE).and_then(|age| age.to_str().ok()?.parse().ok());
        let about = Provenance {
            target: self.target.as_str().to_owned(),
            rule: self.site.reads[self.read.rule].name.clone(),
            site: self.site.id,
            sequence: fill.sequence(),
            groups: fill.groups().clone(),
            at,
            initial_age: Duration::from_secs(age.unwrap_or(0)),
            lifetimes,
        };
        let own = (!head.fields.contains_key(http::header::ETAG))
            .then(|| respond::etag(&self.site.shared.secret, chunks));
        Entry::assemble(head, chunks, about, own.as_deref())
    }
}

impl HeadVerdict {
    fn lifetimes(self) -> Option<Lifetimes> {
        match self {
            HeadVerdict::Keep(lifetimes) => Some(lifetimes),
            _ => None,
        }
    }
}

impl Direct {
    /// The body for the client.
    pub fn into_parts(self) -> (Head, Body) {
        (self.head, Body::Upstream(Box::new(self.body)))
    }
}
