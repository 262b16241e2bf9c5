//! The task behind a flight: it fetches, hands the answer to everybody who waits, and stores it.
//! It belongs to nobody who waits: a client that leaves does not end it. Only here are entries made.

mod call;
pub(super) mod items;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::oneshot;

pub(super) use call::Behalf;

use super::admit::{Account, Caller};
use super::counters::Cause;
use super::forward::{self, Accepts, Answered, Gathered, LARGEST_READ, gather, joined};
use super::hearing::{Ear, Telling};
use super::pages::Page;
use super::respond;
use super::rights;
use super::route::Read;
use super::site::Site;
use super::{Body, Failure};
use crate::cache::acceptance::Evidence;
use crate::cache::entry::{Entry, Head, Lifetimes, Provenance};
use crate::cache::flight::{Crossing, Fill, Keeping};
use crate::cache::groups::Settling;
use crate::cache::key::{Key, Partition};
use crate::cache::storable::{self, BodyVerdict, HeadVerdict, SHORTLY};
use crate::clock::Timestamp;
use crate::dialect::Heard;
use crate::upstream::{Answer, AnswerBody, Delimited, EndpointId, Terms};

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
    pub account: Account,
    pub cause: Cause,
    /// What the read is among the pages of a list.
    pub page: Page,
    pub behalf: Behalf,
}

/// An answer for the client alone that caused the fetch.
pub(super) struct Direct {
    pub head: Head,
    pub body: Body,
}

/// Fetches, shares and stores. `direct` takes the answer if it turns out to be for one client alone.
pub(super) async fn run(errand: Errand, fill: Fill<Failure>, direct: Option<oneshot::Sender<Direct>>) {
    let shared = &errand.site.shared;
    let _watched = errand.site.begin_fetch(errand.read.rule);
    let left = shared.clock.now();
    let settling = shared.groups.settling(fill.groups(), left);
    let troubled = |status| errand.troubled(&fill, status);
    let terms = Terms { urgency: Some(errand.urgency()), troubled: Some(&troubled), ..Terms::default() };
    let sending = forward::send_on(&errand.site, errand.account.standing, errand.outgoing(&fill), terms);
    let answer = match sending.await {
        Ok(answer) => answer,
        Err(error) => return fill.fail(Failure::from(&error)),
    };
    let at = shared.clock.now();
    let Answer { parts, body, endpoint, .. } = answer;
    let head = forward::head_of(parts);
    let verdict = errand.judge(&head, &body, endpoint);
    if !errand.told_in_body(&head) {
        errand.learn(&fill, head.status, &head, left);
    }
    errand.answered(&fill, head.status);
    if verdict == HeadVerdict::Alone {
        errand.pass_for_a_while(&fill);
        let body = match errand.tells(&head) {
            true => match errand.ear().observed(&errand.site, errand.telling(&fill, &head), body).await {
                Ok(body) => body,
                Err(failure) => return fill.fail(failure),
            },
            false => Body::upstream(body),
        };
        if let Some(direct) = direct {
            let _gone_if_the_client_left = direct.send(Direct { head, body });
        }
        return fill.release();
    }
    match errand.hand_over(&fill, head, body, verdict).await {
        Handed::Whole(head) => {
            let chunks = fill.body();
            let status = errand.status(&head, &chunks);
            if errand.told_in_body(&head) {
                errand.learn(&fill, status, &head, left);
            }
            errand.tell_items(&fill, &head, verdict, left, at).await;
            let judged = match verdict.lifetimes() {
                Some(lifetimes) if status.is_success() || !errand.told_in_body(&head) => {
                    Some((lifetimes, errand.judge_body(&chunks)))
                }
                _ => None,
            };
            let is_storable = judged.is_some_and(|(_, verdict)| verdict != BodyVerdict::Refuse);
            fill.judged(if is_storable { Crossing::Everybody } else { Crossing::Owner });
            let entry = judged
                .and_then(|(lifetimes, verdict)| errand.bounded(&fill, settling, lifetimes, verdict))
                .and_then(|lifetimes| errand.page.bounded(&errand.site, lifetimes, at))
                .map(|lifetimes| Arc::new(errand.entry(&fill, &head, &chunks, lifetimes, at)));
            match entry {
                Some(entry) => {
                    errand.site.note_kept(errand.read.rule, entry.lifetimes(), at);
                    errand.keep_warm(left);
                    errand.note_next(&fill, &entry, at);
                    fill.finish(|| {
                        shared.memory.insert_newer(errand.key, entry.clone());
                        shared.remember(errand.read.rule(&errand.site), errand.key, &entry);
                    });
                }
                None => fill.finish(|| ()),
            }
        }
        Handed::TooLarge | Handed::Trailed => fill.finish(|| ()),
        Handed::Lost => fill.fail(Failure::Lost),
        Handed::Broken => fill.break_off(),
    }
}

/// How far an answer came on its way to those who wait.
enum Handed {
    /// All of it, and all of it is held.
    Whole(Arc<Head>),
    /// All of it, but it was too large to be held.
    TooLarge,
    /// All of it, with trailer fields behind, which a store has no place for: a hit would lack them, and
    /// that it does nobody could see (RFC 9111 §3.1 lets a cache discard them, but asks for nothing).
    Trailed,
    /// It broke off before anybody was given any of it.
    Lost,
    /// It broke off.
    Broken,
}

impl Errand {
    fn caller(&self) -> Caller {
        self.read.caller()
    }

    /// Whether credentials share what is fetched.
    fn is_shared(&self) -> bool {
        self.read.partition != Partition::of(self.read.credential)
    }

    /// Whether the body tells of tasks, so that it is read before anybody else does.
    fn tells(&self, head: &Head) -> bool {
        self.ear().hears(&self.site, head.status)
    }

    fn ear(&self) -> Ear {
        self.site.ear(&Method::GET, &self.read.path, self.target.query())
    }

    fn telling<'h>(&'h self, fill: &Fill<Failure>, head: &'h Head) -> Telling<'h> {
        let (path, query) = (&*self.read.path, self.target.query());
        Telling {
            heard: Heard { path, query, status: head.status, fields: &head.fields },
            left: fill.sequence(),
        }
    }

    /// Whether the outcome stands in the body.
    fn told_in_body(&self, head: &Head) -> bool {
        self.site.dialect().outcome_in_body(&self.read.path) && head.status.is_success()
    }

    /// The outcome, wherever it stands.
    fn status(&self, head: &Head, body: &[Bytes]) -> StatusCode {
        if !self.told_in_body(head) {
            return head.status;
        }
        self.site.dialect().status_in_body(&joined(body)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What an outcome tells of the credential and of what is stored. What others may see ends by what
    /// the API says to a credential that it has accepted, so that nobody empties it with made-up ones.
    fn learn(&self, fill: &Fill<Failure>, status: StatusCode, head: &Head, left: Timestamp) {
        let site = &self.site;
        let ends =
            site.dialect().ends_entry(status) && (!self.is_shared() || self.caller().is_accepted(site));
        let evidence = Evidence { sequence: fill.sequence(), left };
        let answered = Answered { evidence, sent: &self.headers, fields: &head.fields };
        forward::learn(site, self.caller(), Accepts::by(Some(self.read.rule(site)), answered), status);
        if ends {
            site.shared.forget(self.key);
        }
    }

    fn judge(&self, head: &Head, body: &AnswerBody, endpoint: EndpointId) -> HeadVerdict {
        let length = body.size_hint().exact();
        let rule = self.read.rule(&self.site);
        match storable::judge_head(rule, head, length, self.site.shared.max_object) {
            // Another endpoint answered than the one that the key names.
            HeadVerdict::Keep(_) if self.endpoint.is_some_and(|e| e != endpoint.as_u64()) => {
                HeadVerdict::ShareOnly
            }
            // Its end cannot be told from a cut, so it is never known to be whole.
            HeadVerdict::Keep(_) if body.delimited() == Delimited::ByClose => HeadVerdict::ShareOnly,
            // A hit would lack the trailer fields; addresses of operations are never kept.
            HeadVerdict::Keep(_) if self.site.passes_away(&head.fields) => HeadVerdict::ShareOnly,
            // Its rights are not known to be those that it shares for any more.
            HeadVerdict::Keep(_)
                if !rights::may_make(&self.site, &self.read, self.site.shared.clock.now()) =>
            {
                HeadVerdict::ShareOnly
            }
            // What one credential is refused is no news for another, whatever the rule keeps.
            HeadVerdict::Keep(_) if self.is_shared() && !head.status.is_success() => HeadVerdict::ShareOnly,
            verdict => verdict,
        }
    }

    /// Hands the answer to everybody who waits, the first byte as soon as it is here, but for two kinds:
    /// what tells of a task's end is read before anybody hears of it, and an error that announces no
    /// length gets one, which clients handle better.
    async fn hand_over(
        &self,
        fill: &Fill<Failure>,
        mut head: Head,
        mut body: AnswerBody,
        verdict: HeadVerdict,
    ) -> Handed {
        let site = &self.site;
        // Where the body decides, nothing can be promised with the head.
        let rule = self.read.rule(site);
        let decided = !self.told_in_body(&head) && !storable::needs_body(rule);
        let crossing = match verdict {
            HeadVerdict::Keep(_) if self.told_in_body(&head) || storable::looks_into_body(rule) => {
                Crossing::Undecided
            }
            HeadVerdict::Keep(_) => Crossing::Everybody,
            _ => Crossing::Owner,
        };
        let keeping = match verdict {
            HeadVerdict::Keep(_) if decided => Keeping::Kept,
            _ => Keeping::Shared,
        };
        let tells = self.tells(&head);
        let mut before = Gathered::default();
        if tells || !head.status.is_success() && body.size_hint().exact().is_none() {
            let largest = usize::try_from(site.shared.max_object).unwrap_or(usize::MAX);
            let most = if tells { LARGEST_READ } else { largest };
            let Ok(gathered) = gather(&mut body, most).await else { return Handed::Lost };
            if tells {
                self.ear().observe(site, self.telling(fill, &head), &gathered.chunks, gathered.whole);
            }
            // In HTTP/1.1 a content with a length has no trailers.
            if gathered.whole && gathered.trailers.is_none() {
                let length: usize = gathered.chunks.iter().map(Bytes::len).sum();
                head.fields.insert(http::header::CONTENT_LENGTH, length.into());
            }
            before = gathered;
        }
        let head = Arc::new(head);
        fill.share(head.clone(), keeping, crossing);
        self.stream(fill, before, body, head).await
    }

    /// Hands the body on, piece by piece as it comes.
    async fn stream(
        &self,
        fill: &Fill<Failure>,
        before: Gathered,
        mut body: AnswerBody,
        head: Arc<Head>,
    ) -> Handed {
        let shared = &self.site.shared;
        let (mut received, mut keeping) = (0u64, true);
        let (mut before, mut trailers) = (before.chunks.into_iter(), before.trailers);
        loop {
            let chunk = match before.next() {
                Some(chunk) => chunk,
                None => match body.frame().await {
                    None => break,
                    Some(Err(_)) => return Handed::Broken,
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(chunk) => chunk,
                        Err(other) => {
                            trailers = other.into_trailers().ok();
                            continue;
                        }
                    },
                },
            };
            received += chunk.len() as u64;
            if keeping && received > shared.max_object {
                keeping = false;
                self.pass_for_a_while(fill);
                fill.stream_only();
            }
            if fill.push(chunk).is_err() {
                return Handed::Broken;
            }
            if !keeping && tokio::time::timeout(SLOWEST_WAITS, fill.room()).await.is_err() {
                fill.cut_slowest();
            }
        }
        match trailers {
            Some(trailers) => {
                fill.push_trailers(trailers);
                Handed::Trailed
            }
            None if keeping => Handed::Whole(head),
            None => Handed::TooLarge,
        }
    }

    fn judge_body(&self, chunks: &[Bytes]) -> BodyVerdict {
        let rule = self.read.rule(&self.site);
        match storable::looks_into_body(rule) {
            true => storable::judge_body(rule, &joined(chunks)),
            false => BodyVerdict::Keep,
        }
    }

    /// The lifetimes that the body and the writes around the fetch leave; `None`: not kept.
    fn bounded(
        &self,
        fill: &Fill<Failure>,
        settling: Settling,
        lifetimes: Lifetimes,
        verdict: BodyVerdict,
    ) -> Option<Lifetimes> {
        let shared = &self.site.shared;
        let shortly = Lifetimes {
            fresh: lifetimes.fresh.min(SHORTLY),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        };
        // What was fetched while a task ran or the nodes may have disagreed stays suspect afterwards.
        let now = shared.groups.settling(fill.groups(), shared.clock.now());
        let settled = settling == Settling::Settled && now == Settling::Settled;
        match verdict {
            BodyVerdict::Refuse => None,
            BodyVerdict::Keep if settled => Some(lifetimes),
            BodyVerdict::Keep | BodyVerdict::KeepShortly => Some(shortly),
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
        let about = Provenance {
            target: self.target.as_str().to_owned(),
            rule: self.site.reads[self.read.rule].name.clone(),
            share: self.read.share,
            maker: self.read.credential,
            site: self.site.id,
            sequence: fill.sequence(),
            groups: fill.groups().clone(),
            at,
            initial_age: items::initial_age(&head.fields),
            lifetimes,
        };
        let dialect = self.site.dialect();
        let own = (!head.fields.contains_key(http::header::ETAG) && dialect.takes_validators())
            .then(|| respond::etag(&self.site.shared.secret, chunks));
        let kept = dialect.without_own(&head.fields).map(|fields| Head { fields, ..head.clone() });
        Entry::assemble(kept.as_ref().unwrap_or(head), chunks, about, own.as_deref())
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
        (self.head, self.body)
    }
}
