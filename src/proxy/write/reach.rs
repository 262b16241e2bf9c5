//! What a write may have changed, and what its outcome makes of that.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::super::actors;
use super::super::admit::Caller;
use super::super::forward::{self, Accepts};
use super::super::operations::{Operation, Origin, Subject, Watch, Writer};
use super::super::site::InvalidationCause;
use super::{DEFAULT_SETTLE, Sending};
use crate::cache::groups::{GroupId, GroupName};
use crate::cache::key::CredentialId;
use crate::dialect::{Pending, Task};
use crate::upstream::EndpointId;

/// What a write may have changed. Dropped without a judgement it assumes the worst, so that no way
/// out of the task above can forget it.
pub(super) struct Reach<'s> {
    sending: &'s Sending,
    groups: Arc<[GroupId]>,
    writer: Option<Arc<Writer>>,
    /// The target that reads what was written, where it is a resource.
    resource: Option<String>,
    pub(super) judged: bool,
}

/// What goes on behind an answer.
pub(super) enum Started {
    /// A task that it names.
    Task(Task),
    /// What can be asked after where it says.
    Pending(Pending),
}

impl<'s> Reach<'s> {
    pub(super) fn new(
        sending: &'s Sending,
        groups: Arc<[GroupId]>,
        writer: Option<Arc<Writer>>,
        resource: Option<String>,
    ) -> Self {
        let shared = &sending.site.shared;
        actors::about_to_write(&sending.site, &sending.write);
        shared.groups.write_leaves(&groups);
        Self { sending, groups, writer, resource, judged: false }
    }

    /// Judges a known status (invariant 2).
    pub(super) fn judge(&mut self, status: StatusCode, started: Option<Started>, endpoint: EndpointId) {
        let site = &*self.sending.site;
        let shared = &site.shared;
        let caller = self.sending.write.caller;
        let is_known = self.sending.is_known();
        self.remember_writer(Some(status));
        // A write accepts nobody: a login succeeds whatever other credential stands beside it.
        forward::learn(site, caller, Accepts::Nobody, status);
        match status.as_u16() {
            401 | 403 | 405 | 413 | 415 | 429 | 501 => self.judged = true,
            400 | 422 if !is_known => self.judged = true,
            _ if site.dialect().is_unknown_outcome(status) => self.unknown(Some(endpoint)),
            _ => {
                self.judged = true;
                let settle = self.settle();
                if let Some(started) = started.filter(|_| !self.groups.is_empty()) {
                    let operation = self.operation(site.config.operation_cap, settle, Some(endpoint));
                    let writer = self.writer.take();
                    let operation = match started {
                        Started::Task(task) => site.with_task(operation, task, writer),
                        Started::Pending(pending) => {
                            let resource = self.sending.write.path.as_deref().zip(self.resource.take());
                            site.with_addresses(operation, pending, resource, writer)
                        }
                    };
                    shared.operations.begin(site.id, operation);
                }
                self.overtake(Some((settle, Some(endpoint))));
            }
        }
    }

    /// The outcome is not known: the write may still be running, so its groups stay unsettled, for as
    /// long as a task may run where it starts one.
    pub(super) fn unknown(&mut self, endpoint: Option<EndpointId>) {
        self.judged = true;
        self.remember_writer(None);
        let site = &*self.sending.site;
        let rule = self.sending.write.rule(site);
        let settle = self.settle();
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
    pub(super) fn unlikely(&mut self) {
        self.judged = true;
        self.remember_writer(None);
        let settle = self.settle();
        self.overtake(Some((settle, None)));
    }

    /// How long what the write changes may lag.
    fn settle(&self) -> Duration {
        let site = &*self.sending.site;
        let named = self.sending.write.rule(site).map_or(DEFAULT_SETTLE, |rule| rule.settle);
        named.max(site.dialect().least_settle())
    }

    fn operation(&self, hold: Duration, settle: Duration, endpoint: Option<EndpointId>) -> Operation {
        let Sending { site, write, .. } = self.sending;
        let now = site.shared.clock.now();
        Operation {
            subject: Subject::Write(write.metrics(site).rule().to_owned()),
            names: Vec::new(),
            has_address: false,
            groups: self.groups.clone(),
            rules: site.fingerprint,
            shown: None,
            holds: true,
            since: now,
            known: site.shared.groups.next(),
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
