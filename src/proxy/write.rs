//! Writes: sent at most once, and judged before the first byte of their answer leaves.
//!
//! A write runs in a task of its own, so that its outcome is learnt although the client that sent it
//! may have gone; an outcome that is never learnt counts as the worst. Where a rule says so several go as one
//! ([`meet`]).

mod meet;
mod reach;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::Failure;
use super::admit::{Account, Caller};
use super::body::Body;
use super::content;
use super::counters::{Cause, Outcome};
use super::forward::{self, LARGEST_READ};
use super::links;
use super::operations::Writer;
use super::precondition;
use super::respond::{self, Asked};
use super::route::Write;
use super::site::Site;
use crate::cache::entry::Head;
use crate::cache::groups::GroupId;
use crate::cache::key::CredentialId;
use crate::clock::Timestamp;
use crate::dialect::{Dialect, Heard};
use crate::rules::Fields;
use crate::semantics::cache_status::{CacheStatus, Detail, Forward};
use crate::upstream::{self, AnswerBody, CallKind, EndpointId, Outgoing, OutgoingBody, SendError};

pub(super) use meet::Meetings;
use meet::Part;
use reach::{Reach, Started};

/// How long the nodes may disagree after a write that no rule names.
pub(super) const DEFAULT_SETTLE: Duration = Duration::from_secs(3);

/// Sends a write and hands its answer over when what it changed has been overtaken.
pub(super) async fn write(
    site: Arc<Site>,
    request: Request<Incoming>,
    client: SocketAddr,
    started: Timestamp,
    write: Write<'static>,
) -> Response<Body> {
    let mut asked = Asked::new(&site, write.metrics(&site), &request, client, started);
    let path = write.path.as_deref().unwrap_or(request.uri().path()).to_owned();
    let (sender, receiver) = oneshot::channel();
    let meets = meet::concerns(&site, &write);
    let task = Sending { site: site.clone(), client, write };
    match meets {
        true => drop(tokio::spawn(meet::run(task, request, sender))),
        false => drop(tokio::spawn(async move {
            let _gone_if_the_client_left = sender.send(task.run(request).await);
        })),
    }
    match receiver.await.unwrap_or(Err(Failure::LeaderLost)) {
        Ok(Answered { head, body, took, part }) => {
            asked.upstream = Some(took);
            let detail = match part {
                Part::Sent | Part::Collapsed => Detail::Write,
                Part::Held | Part::Replaced => Detail::Batched,
            };
            let status = CacheStatus::Forwarded {
                forward: Forward::Method,
                status: None,
                stored: false,
                collapsed: matches!(part, Part::Collapsed | Part::Replaced),
                detail: Some(detail),
            };
            let outcome = if part == Part::Collapsed { Outcome::Collapsed } else { Outcome::Other(detail) };
            asked.conclude(outcome, respond::forwarded(head, body, status))
        }
        Err(failure) => asked.fail(&path, failure),
    }
}

/// The answer to a write for one of its callers, when everything that it changed has been overtaken.
struct Answered {
    head: Head,
    body: Body,
    /// How long the upstream was waited for.
    took: Duration,
    part: Part,
}

/// The answer to a write.
struct Sent {
    head: Head,
    body: SentBody,
    took: Duration,
}

enum SentBody {
    /// As it comes, for one caller.
    Coming(AnswerBody),
    /// For as many as there are.
    Whole(Bytes),
}

impl SentBody {
    fn into_body(self) -> Body {
        match self {
            SentBody::Coming(body) => Body::upstream(body),
            SentBody::Whole(whole) => Body::full(whole),
        }
    }
}

/// A write on its way.
struct Sending {
    site: Arc<Site>,
    client: SocketAddr,
    write: Write<'static>,
}

/// A write that can be sent.
struct Ready {
    parts: Parts,
    /// The fields that go out.
    headers: HeaderMap,
    body: OutgoingBody,
    /// What templates may name; `None`: the rule needs the content, and it could not be read.
    fields: Option<Fields>,
    account: Account,
}

impl Sending {
    async fn run(self, request: Request<Incoming>) -> Result<Answered, Failure> {
        let ready = self.ready(request).await?;
        self.run_ready(ready).await
    }

    async fn run_ready(&self, ready: Ready) -> Result<Answered, Failure> {
        let Sent { head, body, took } = self.send(ready, &mut || 1).await?;
        Ok(Answered { head, body: body.into_body(), took, part: Part::Sent })
    }

    /// Takes the request as far as its content has to be here before it is sent.
    async fn ready(&self, request: Request<Incoming>) -> Result<Ready, Failure> {
        let site = &self.site;
        let rule = self.write.rule(site);
        let (mut parts, body) = request.into_parts();
        precondition::judge(site, self.write.caller, self.client, self.write.metrics(site), &mut parts)
            .await?;
        let needs_fields = rule.is_some_and(|rule| rule.needs_body);
        let reads = needs_fields || rule.is_some_and(|rule| !rule.meeting.is_off());
        let account = self.write.caller.account(site, self.client);
        let body = content::take(site, body, reads, account.standing).await?;
        let query = parts.uri.query();
        let fields = fields(site.dialect(), &parts.headers, query, &body, reads)
            .or_else(|| (!needs_fields).then(|| Fields::from_query(query.unwrap_or_default())));
        let mut headers = forward::outgoing_fields(site, &parts.headers);
        links::ask_for_plain(&parts.extensions, &mut headers);
        // An answer that is read here must come as it is.
        let path = self.write.path.as_deref().unwrap_or_default();
        if site.dialect().outcome_in_body(path) || self.names_operation() {
            headers.remove(header::ACCEPT_ENCODING);
        }
        Ok(Ready { parts, headers, body, fields, account })
    }

    /// Whether the answer may name what goes on behind it.
    fn names_operation(&self) -> bool {
        match self.write.rule(&self.site) {
            Some(rule) => rule.operation.is_some(),
            None => self.site.dialect().has_addresses(),
        }
    }

    /// Sends it. `head_came` is told when an answer begins, before it is judged, and says how many it is for.
    async fn send(
        &self,
        ready: Ready,
        head_came: &mut (dyn FnMut() -> usize + Send),
    ) -> Result<Sent, Failure> {
        let site = &self.site;
        let rule = self.write.rule(site);
        let path = self.write.path.as_deref().unwrap_or_default();
        let Ready { parts, headers, body, fields, account } = ready;
        let counter = self.write.metrics(site).call(&site.shared.registry, Cause::Write);
        let captures = rule.map_or_else(Vec::new, |rule| {
            forward::limit_captures(site, &rule.captures, &self.write.captures, path)
        });
        let outgoing = Outgoing {
            body,
            captures,
            ..forward::of_client(CallKind::Write, &parts, headers, account.principal, counter)
        };
        let groups: Arc<[GroupId]> = self.write.groups(site, fields.as_ref()).into();
        let writer = self.writer(&parts.headers);
        let is_resource =
            site.dialect().has_addresses() && matches!(parts.method, Method::PUT | Method::PATCH);
        let resource = is_resource.then(|| outgoing.target.as_str().to_owned());
        let mut reach = Reach::new(self, groups, writer, resource);
        let answer = forward::send(site, account.standing, outgoing).await;
        let callers = head_came();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                match error.outcome() {
                    upstream::Outcome::NeverSent => reach.judged = true,
                    // Anybody can hang up within a request; holding groups by it takes somebody known.
                    upstream::Outcome::Unknown
                        if matches!(error, SendError::RequestBody) && !self.is_known() =>
                    {
                        reach.unlikely();
                    }
                    upstream::Outcome::Unknown => reach.unknown(None),
                }
                return Err(Failure::from(&error));
            }
        };
        let took = answer.waited + answer.took;
        let head = forward::head_of(answer.parts);
        let in_body = site.dialect().outcome_in_body(path) && head.status.is_success();
        let names_task = head.status.is_success() && self.names_operation();
        let pending = |body: Option<&[u8]>| {
            let (status, fields) = (head.status, &head.fields);
            site.dialect().pending(&Heard { path, query: parts.uri.query(), status, fields }, body)
        };
        if !in_body && !names_task {
            reach.judge(head.status, pending(None).map(Started::Pending), answer.endpoint);
            self.remember_console(head.status, answer.endpoint);
            let body = match callers {
                0 | 1 => SentBody::Coming(answer.body),
                _ => SentBody::Whole(whole(answer.body).await?),
            };
            return Ok(Sent { head, body, took });
        }
        let Ok(whole) = whole(answer.body).await else {
            reach.unknown(Some(answer.endpoint));
            return Err(Failure::Lost);
        };
        let told = if in_body { site.dialect().status_in_body(&whole) } else { Some(head.status) };
        let task = names_task.then(|| site.dialect().operation_started(&whole)).flatten();
        let started = task.map(Started::Task).or_else(|| pending(Some(&whole)).map(Started::Pending));
        match told {
            Some(status) => reach.judge(status, started, answer.endpoint),
            None => reach.unknown(Some(answer.endpoint)),
        }
        self.remember_console(head.status, answer.endpoint);
        Ok(Sent { head, body: SentBody::Whole(whole), took })
    }

    /// Whether the API accepted this caller ever and has not refused it since, however long ago: a write
    /// may be the first call after a pause. Of fields that have more than one reading only the API knows.
    fn is_known(&self) -> bool {
        let shared = &self.site.shared;
        match self.write.caller {
            Caller::Ambiguous => true,
            Caller::One(credential) => {
                let now = shared.clock.now();
                let (acceptance, id) = (&shared.acceptance, self.site.id);
                // Whoever only writes is known by what was changed before.
                acceptance.is_known(id, credential) || acceptance.is_actor(id, credential, now, Duration::MAX)
            }
        }
    }

    /// The credential, where the write may start a task that has to be asked after.
    fn writer(&self, headers: &HeaderMap) -> Option<Arc<Writer>> {
        let site = &self.site;
        match self.write.rule(site) {
            Some(rule) => rule.operation.is_some().then_some(())?,
            None => site.dialect().has_addresses().then_some(())?,
        }
        match self.write.caller {
            Caller::One(credential) if credential != CredentialId::ANONYMOUS => {
                let principal = self.write.caller.account(site, self.client).principal;
                Some(Writer::new(headers, &site.config.credentials, credential, principal))
            }
            _ => None,
        }
    }

    fn remember_console(&self, status: StatusCode, endpoint: EndpointId) {
        let site = &self.site;
        if let (true, Some(path), Caller::One(caller)) =
            (status.is_success(), self.write.path.as_deref(), self.write.caller)
            && let Some(owner) = site.dialect().console(path)
        {
            site.shared.console_opened(site.id, caller, owner, endpoint);
        }
    }
}

/// The whole of an answer's body, as far as one is read.
async fn whole(body: AnswerBody) -> Result<Bytes, Failure> {
    let whole = Limited::new(body, LARGEST_READ).collect().await;
    whole.map(|whole| whole.to_bytes()).map_err(|_| Failure::Lost)
}

/// The fields that a rule's templates name. `None`: the rule needs the content and it could not be
/// read.
fn fields(
    dialect: Dialect,
    headers: &HeaderMap,
    query: Option<&str>,
    body: &OutgoingBody,
    needed: bool,
) -> Option<Fields> {
    let mut fields = Fields::from_query(query.unwrap_or_default());
    if !needed {
        return Some(fields);
    }
    let content = match body {
        OutgoingBody::Empty => Bytes::new(),
        OutgoingBody::Full(content) => content.clone(),
        OutgoingBody::Stream { .. } => return None,
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let in_content = match kind.split(';').next().unwrap_or_default().trim() {
        kind if kind.eq_ignore_ascii_case("application/json") => Fields::from_json(&content).body,
        _ => Fields::from_form(&content).body,
    };
    fields.body = if dialect.query_is_content() { fields.query.clone() } else { Vec::new() };
    fields.body.extend(in_content);
    Some(fields)
}
