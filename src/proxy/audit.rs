//! Audits: a share of the hits is compared with what the API says now, behind the client's back.
//!
//! It is measured trust: of each rule one can say how often what was served was no longer true. A hit
//! that was not invalidates what it casts doubt on, so that everybody gets the truth at the next read.
//! An audit uses the very credential that got the hit and holds it only for that call. Nothing is made
//! of its answer: it never enters the store, so it cannot take the place of anything newer.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;

use super::charge;
use super::counters::{AuditResult, Cause};
use super::forward::{self, Accepts, Answered};
use super::hearing;
use super::route::Read;
use super::site::{InvalidationCause, Site};
use crate::cache::acceptance::Evidence;
use crate::cache::compare::{Comparison, compare};
use crate::cache::entry::Entry;
use crate::cache::groups::{Sequence, Settling};
use crate::cache::key::Key;
use crate::clock::Timestamp;
use crate::dialect::Heard;
use crate::semantics::quota::Charges;
use crate::units::Share;
use crate::upstream::{Answer, EndpointChoice, EndpointId, Outgoing, SendError, Terms};

/// How many audits of one upstream are under way at once: enough to look at every hit of a quiet hour,
/// too few for the API or its clients to notice.
const MAX_AUDITS: usize = 4;

/// Bodies from this size on, in bytes, are compared where a thread may take its time: parsing and sorting
/// them takes milliseconds.
pub(super) const COMPARE_AT_ONCE: usize = 64 * 1024;

/// Which hits are compared, and for which keys that happens now.
pub(super) struct Audits {
    /// A random number below this means an audit; zero: none ever.
    threshold: u64,
    running: Mutex<Vec<Key>>,
}

impl Audits {
    pub(super) fn new(share: Share) -> Self {
        // The cast stops at the largest number, which is every hit but one in 2^64.
        Self { threshold: (share.0 * 2f64.powi(64)) as u64, running: Mutex::default() }
    }

    pub(super) fn running(&self) -> usize {
        self.running.lock().len()
    }
}

/// Compares the hit with the API if it is among the share that is. Where no share is, this is one
/// comparison; otherwise a random number of the thread's own.
#[inline]
pub(super) fn sample<B>(
    site: &Arc<Site>,
    request: &Request<B>,
    read: &Read<'_>,
    client: SocketAddr,
    key: Key,
    entry: &Arc<Entry>,
) {
    let threshold = site.audits.threshold;
    if threshold > 0 && fastrand::u64(..) < threshold {
        begin(site, request, read, client, key, entry);
    }
}

#[cold]
#[inline(never)]
fn begin<B>(
    site: &Arc<Site>,
    request: &Request<B>,
    read: &Read<'_>,
    client: SocketAddr,
    key: Key,
    entry: &Arc<Entry>,
) {
    let count = |result| read.metrics(site).count_audit(&site.shared.registry, result);
    if !is_settled(site, entry) {
        return count(AuditResult::Unsettled);
    }
    let endpoint = read.rule(site).per_endpoint.then(|| site.upstream.first_up());
    // The endpoint may have gone down since the lookup; then another one's answer is another entry.
    let is_the_entrys = |endpoint: EndpointId| read.key(site, request, Some(endpoint.as_u64())) == key;
    let place = endpoint.is_none_or(is_the_entrys).then(|| Place::take(site, key)).flatten();
    let Some(place) = place else { return count(AuditResult::Skipped) };
    // Another spelling of the path may have another answer.
    let own = entry.target().parse().ok().filter(|_| site.rules.fold_case);
    let audit = Audit {
        target: own.or_else(|| request.uri().path_and_query().cloned()).expect("admitted with a path"),
        headers: forward::fill_fields(site, request.headers()),
        principal: read.caller().account(site, client).principal,
        endpoint,
        read: read.clone().detach(),
        entry: entry.clone(),
        place,
    };
    tokio::spawn(audit.run());
}

/// Whether what the API says of an entry's groups is either of before or of after every write.
fn is_settled(site: &Site, entry: &Entry) -> bool {
    let groups = &site.shared.groups;
    !groups.is_being_written(entry.groups())
        && groups.settling(entry.groups(), site.shared.clock.now()) == Settling::Settled
}

/// A place among the audits of an upstream, which no other audit of the same key has.
struct Place {
    site: Arc<Site>,
    key: Key,
}

impl Place {
    fn take(site: &Arc<Site>, key: Key) -> Option<Self> {
        let mut running = site.audits.running.lock();
        if running.len() >= MAX_AUDITS || running.contains(&key) {
            return None;
        }
        running.push(key);
        Some(Self { site: site.clone(), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.site.audits.running.lock().retain(|key| *key != self.key);
    }
}

/// One hit that is compared.
struct Audit {
    place: Place,
    read: Read<'static>,
    entry: Arc<Entry>,
    target: http::uri::PathAndQuery,
    headers: HeaderMap,
    principal: u128,
    endpoint: Option<EndpointId>,
}

/// What an answer of the API says of what was kept.
enum Finding {
    Compared(Comparison),
    /// There is nothing to compare with.
    Nothing,
}

impl Audit {
    async fn run(self) {
        let site = self.place.site.clone();
        let (sequence, left) = (site.shared.groups.next(), site.shared.clock.now());
        let outgoing = self.outgoing(&site);
        let charges = if charge::is_charged(&site) { charge::of(&site, &outgoing) } else { Charges::new() };
        let terms = Terms { charges: &charges, ..Terms::default() };
        let result = match site.upstream.send_if_idle(outgoing, terms).await {
            Ok(answer) => {
                site.note_answer(answer.parts.status, left);
                let finding = self.find(&site, answer, sequence, left).await;
                self.conclude(&site, finding)
            }
            Err(SendError::QueueFull { .. }) => AuditResult::Skipped,
            Err(_) => AuditResult::Error,
        };
        self.read.metrics(&site).count_audit(&site.shared.registry, result);
    }

    /// What the finding means, seen together with what happened meanwhile.
    fn conclude(&self, site: &Site, finding: Finding) -> AuditResult {
        let groups = &site.shared.groups;
        // In this order: a write ends by overtaking first, so whoever sees none under way sees its mark.
        let settled = is_settled(site, &self.entry);
        let names = match finding {
            Finding::Nothing => return AuditResult::Error,
            _ if !groups.is_current(self.entry.sequence(), self.entry.groups()) => {
                return AuditResult::Overtaken;
            }
            _ if !settled => return AuditResult::Unsettled,
            Finding::Compared(Comparison::Same) => return AuditResult::Same,
            Finding::Compared(Comparison::Differs(names)) => names,
        };
        groups.invalidate(&self.read.doubted(site, self.target.query()));
        site.shared.count_invalidation(InvalidationCause::Audit);
        tracing::warn!(
            upstream = %site.config.name,
            rule = %self.read.rule(site).name,
            differs = %names.join(" "),
            "a hit said something else than the API"
        );
        AuditResult::Changed
    }

    /// Reads the answer, learns what it tells of credentials and tasks, and compares it.
    async fn find(&self, site: &Site, answer: Answer, sequence: Sequence, left: Timestamp) -> Finding {
        let status = answer.parts.status;
        let path = &self.read.path;
        if self.endpoint.is_some_and(|endpoint| endpoint != answer.endpoint) {
            // Another node answered than the one that the hit was of.
            return Finding::Nothing;
        }
        let largest = usize::try_from(site.shared.max_object).unwrap_or(usize::MAX);
        let body = match Limited::new(answer.body, largest).collect().await {
            Ok(whole) => whole.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Finding::Compared(Comparison::Differs(vec!["body".to_owned()]));
            }
            Err(_) => return Finding::Nothing,
        };
        let told_in_body = site.dialect().outcome_in_body(path) && status.is_success();
        let told = match told_in_body {
            true => site.dialect().status_in_body(&body).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            false => status,
        };
        let evidence = Evidence { sequence, left };
        let answered = Answered { evidence, sent: &self.headers, fields: &answer.parts.headers };
        let accepts = Accepts::by(Some(self.read.rule(site)), answered);
        forward::learn(site, self.read.caller(), accepts, told);
        let ear = site.ear(&Method::GET, path, self.target.query());
        if ear.hears(site, status) {
            let heard = Heard { path, query: self.target.query(), status, fields: &answer.parts.headers };
            ear.observe(site, hearing::Telling { heard, left: sequence }, std::slice::from_ref(&body), true);
        }
        if told_in_body && !told.is_success() || status != self.entry.status() {
            return self.other_status(site, told);
        }
        self.compare(site, body).await
    }

    /// An answer of another status: the API is down or asks who this is, or what was kept is gone.
    fn other_status(&self, site: &Site, told: StatusCode) -> Finding {
        let dialect = site.dialect();
        let says_nothing = told == StatusCode::UNAUTHORIZED
            || dialect.is_outage(told)
            || told.is_server_error() && !dialect.ends_entry(told);
        match says_nothing {
            true => Finding::Nothing,
            false => Finding::Compared(Comparison::Differs(vec!["status".to_owned()])),
        }
    }

    async fn compare(&self, site: &Site, now: Bytes) -> Finding {
        let (moving, order) = (self.read.rule(site).moving.clone(), site.dialect().list_order());
        let kept = self.entry.body();
        let work = move || compare(&kept, &now, &moving, order);
        if self.entry.body_length() < COMPARE_AT_ONCE {
            return Finding::Compared(work());
        }
        tokio::task::spawn_blocking(work).await.map_or(Finding::Nothing, Finding::Compared)
    }

    fn outgoing(&self, site: &Site) -> Outgoing {
        let rule = self.read.rule(site);
        let counter = self.read.metrics(site).call(&site.shared.registry, Cause::Audit);
        Outgoing {
            endpoint: self.endpoint.map_or(EndpointChoice::Any, EndpointChoice::Prefer),
            captures: forward::limit_captures(site, &rule.captures, &self.read.captures, &self.read.path),
            ..Outgoing::get(self.target.clone(), self.headers.clone(), self.principal, counter)
        }
    }
}
