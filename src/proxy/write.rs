//! Writes: sent at most once, and judged before the first byte of their answer leaves.
//!
//! A write runs in a task of its own, so that its outcome is learnt although the client that sent it
//! may have gone; an outcome that is never learnt counts as the worst.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::Failure;
use super::actors;
use super::admit::Caller;
use super::body::Body;
use super::content;
use super::counters::{Cause, Outcome};
use super::forward::{self, Accepts, LARGEST_READ};
use super::links;
use super::operations::{Operation, Origin, Subject, Watch, Writer};
use super::precondition;
use super::respond::{self, Asked};
use super::route::Write;
use super::site::{InvalidationCause, Site};
use crate::cache::entry::Head;
use crate::cache::groups::{GroupId, GroupName};
use crate::cache::key::CredentialId;
use crate::clock::Timestamp;
use crate::dialect::{Dialect, Task};
use crate::rules::Fields;
use crate::semantics::cache_status::{CacheStatus, Detail, Forward};
use crate::upstream::{self, CallKind, EndpointChoice, EndpointId, Outgoing, OutgoingBody, SendError};

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
    let task = Sending { site: site.clone(), client, write };
    tokio::spawn(async move {
        let _gone_if_the_client_left = sender.send(task.run(request).await);
    });
    match receiver.await.unwrap_or(Err(Failure::LeaderLost)) {
        Ok(Answered { head, body, took }) => {
            asked.upstream = Some(took);
            let status = CacheStatus::Forwarded {
                forward: Forward::Method,
                status: None,
                stored: false,
                collapsed: false,
                detail: Some(Detail::Write),
            };
            asked.conclude(Outcome::Other(Detail::Write), respond::forwarded(head, body, status))
        }
        Err(failure) => asked.fail(&path, failure),
    }
}

/// The answer to a write, when everything that it changed has been overtaken.
struct Answered {
    head: Head,
    body: Body,
    /// How long the upstream was waited for.
    took: Duration,
}

/// A write on its way.
struct Sending {
    site: Arc<Site>,
    client: SocketAddr,
    write: Write<'static>,
}

impl Sending {
    async fn run(self, request: Request<Incoming>) -> Result<Answered, Failure> {
        let site = &self.site;
        let rule = self.write.rule(site);
        let (mut parts, body) = request.into_parts();
        precondition::judge(site, self.write.caller, self.client, self.write.metrics(site), &mut parts)
            .await?;
        let needs_fields = rule.is_some_and(|rule| rule.needs_body);
        let account = self.write.caller.account(site, self.client);
        let body = content::take(site, body, needs_fields, account.standing).await?;
        let fields = fields(site.dialect(), &parts.headers, parts.uri.query(), &body, needs_fields);
        let path = self.write.path.as_deref().unwrap_or_default();
        let mut headers = forward::outgoing_fields(site, &parts.headers);
        links::ask_for_plain(&parts.extensions, &mut headers);
        // An answer that is read here must come as it is.
        if site.dialect().outcome_in_body(path) || rule.is_some_and(|rule| rule.operation.is_some()) {
            headers.remove(header::ACCEPT_ENCODING);
        }
        let outgoing = Outgoing {
            method: parts.method.clone(),
            target: parts.uri.path_and_query().expect("admitted with a path").clone(),
            headers,
            host: links::host(&parts.extensions),
            body,
            endpoint: EndpointChoice::Any,
            kind: CallKind::Write,
            principal: account.principal,
            captures: rule.map_or_else(Vec::new, |rule| {
                forward::limit_captures(site, &rule.captures, &self.write.captures, path)
            }),
            counter: self.write.metrics(site).call(&site.shared.registry, Cause::Write),
            upgrade: false,
        };
        let groups: Arc<[GroupId]> = self.write.groups(site, fields.as_ref()).into();
        let writer = self.writer(&parts.headers);
        let mut reach = Reach::new(&self, groups, writer);
        let answer = match forward::send(site, account.standing, outgoing).await {
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
        let names_task = head.status.is_success() && rule.is_some_and(|rule| rule.operation.is_some());
        if !in_body && !names_task {
            reach.judge(head.status, None, answer.endpoint);
            self.remember_console(head.status, answer.endpoint);
            return Ok(Answered { head, body: Body::upstream(answer.body), took });
        }
        let Ok(whole) = Limited::new(answer.body, LARGEST_READ).collect().await.map(|whole| whole.to_bytes())
        else {
            reach.unknown(Some(answer.endpoint));
            return Err(Failure::Lost);
        };
        let told = if in_body { site.dialect().status_in_body(&whole) } else { Some(head.status) };
        let operation = names_task.then(|| site.dialect().operation_started(&whole)).flatten();
        match told {
            Some(status) => reach.judge(status, operation, answer.endpoint),
            None => reach.unknown(Some(answer.endpoint)),
        }
        self.remember_console(head.status, answer.endpoint);
        Ok(Answered { head, body: Body::full(whole), took })
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
        self.write.rule(site)?.operation.as_ref()?;
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

/// What a write may have changed. Dropped without a judgement it assumes the worst, so that no way
/// out of the task above can forget it.
struct Reach<'s> {
    sending: &'s Sending,
    groups: Arc<[GroupId]>,
    writer: Option<Arc<Writer>>,
    judged: bool,
}

impl<'s> Reach<'s> {
    fn new(sending: &'s Sending, groups: Arc<[GroupId]>, writer: Option<Arc<Writer>>) -> Self {
        let shared = &sending.site.shared;
        actors::about_to_write(&sending.site, &sending.write);
        shared.groups.write_leaves(&groups);
        Self { sending, groups, writer, judged: false }
    }

    /// Judges a known status (invariant 2).
    fn judge(&mut self, status: StatusCode, task: Option<Task>, endpoint: EndpointId) {
        let site = &*self.sending.site;
        let shared = &site.shared;
        let caller = self.sending.write.caller;
        let is_known = self.sending.is_known();
        let rule = self.sending.write.rule(site);
        self.remember_writer(Some(status));
        // A write accepts nobody: a login succeeds whatever other credential stands beside it.
        forward::learn(site, caller, Accepts::Nobody, status);
        match status.as_u16() {
            401 | 403 | 405 | 413 | 415 | 429 | 501 => self.judged = true,
            400 | 422 if !is_known => self.judged = true,
            _ if site.dialect().is_unknown_outcome(status) => self.unknown(Some(endpoint)),
            _ => {
                self.judged = true;
                let settle = rule.map_or(DEFAULT_SETTLE, |rule| rule.settle);
                if let Some(task) = task {
                    let operation = self.operation(site.config.operation_cap, settle, Some(endpoint));
                    shared.operations.begin(site.id, site.with_task(operation, task, self.writer.take()));
                }
                self.overtake(Some((settle, Some(endpoint))));
            }
        }
    }

    /// The outcome is not known: the write may still be running, so its groups stay unsettled, for as
    /// long as a task may run where it starts one.
    fn unknown(&mut self, endpoint: Option<EndpointId>) {
        self.judged = true;
        self.remember_writer(None);
        let site = &*self.sending.site;
        let rule = self.sending.write.rule(site);
        let settle = rule.map_or(DEFAULT_SETTLE, |rule| rule.settle);
        let starts_task = rule.is_some_and(|rule| rule.operation.is_some());
        // A stranger, whom the API may never have let in, holds nothing for as long as a task may run.
        let hold = match starts_task && self.sending.is_known() {
            true => site.config.operation_cap,
            false => site.config.unknown_hold,
        };
        let mut operation = self.operation(hold, settle, endpoint);
        if starts_task {
            // What it started shows in the API's own list; until then a call that was given up may go on.
            operation.earliest = operation.since.after(site.config.unknown_hold);
            let path = self.sending.write.path.as_deref().unwrap_or_default();
            let watch = self.writer.take().zip(site.dialect().tasks_running(path));
            operation.watch = watch.map(|(writer, list)| Watch::new(writer, list, operation.earliest));
        }
        if !self.groups.is_empty() {
            site.shared.operations.begin(site.id, operation);
        }
        self.overtake(None);
    }

    /// The content broke off, of somebody whom the API need not know: it hardly did anything, and if so
    /// the settle time covers it.
    fn unlikely(&mut self) {
        self.judged = true;
        self.remember_writer(None);
        let site = &*self.sending.site;
        let settle = self.sending.write.rule(site).map_or(DEFAULT_SETTLE, |rule| rule.settle);
        self.overtake(Some((settle, None)));
    }

    fn operation(&self, hold: Duration, settle: Duration, endpoint: Option<EndpointId>) -> Operation {
        let Sending { site, write, .. } = self.sending;
        let now = site.shared.clock.now();
        Operation {
            subject: Subject::Write(write.metrics(site).rule().to_owned()),
            groups: self.groups.clone(),
            rules: site.fingerprint,
            shown: None,
            holds: true,
            since: now,
            until: now.after(hold),
            earliest: now.after(hold),
            settle,
            endpoint: endpoint.map(EndpointId::as_u64),
            origin: Origin::Write,
            watch: None,
        }
    }

    fn remember_writer(&self, status: Option<StatusCode>) {
        let Sending { site, client, write } = self.sending;
        actors::wrote(site, write, *client, status);
    }

    /// Overtakes what the write changes, which settles for so long, at this endpoint.
    fn overtake(&self, settles: Option<(Duration, Option<EndpointId>)>) {
        let site = &*self.sending.site;
        let (shared, now) = (&site.shared, site.shared.clock.now());
        let overtake = |groups: &[GroupId]| {
            if let Some((settle, endpoint)) = settles {
                shared.groups.settle(groups, now.after(settle), endpoint.map(EndpointId::as_u64));
            }
            shared.groups.invalidate(groups);
        };
        overtake(&self.groups);
        // The entries of rules that have replaced these since may have groups of other names. Those that
        // replace them after this look know what settles.
        let replaced = !site.is_in_force();
        if replaced {
            overtake(&[shared.groups.id(site.id, GroupName::Subtree(""))]);
        }
        if self.groups.is_empty() && !replaced {
            return;
        }
        // Whoever changed something, or may have, is an actor; a login or a console changes nothing.
        if let Caller::One(credential) = self.sending.write.caller
            && credential != CredentialId::ANONYMOUS
        {
            site.shared.acceptance.wrote(site.id, credential, site.shared.clock.now());
        }
        site.shared.count_invalidation(match self.sending.write.rule {
            Some(_) => InvalidationCause::Write,
            None => InvalidationCause::UnknownWrite,
        });
    }
}

impl Drop for Reach<'_> {
    fn drop(&mut self) {
        if !self.judged {
            self.unknown(None);
        }
        self.sending.site.shared.groups.write_judged(&self.groups);
    }
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
