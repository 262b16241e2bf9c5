//! Which operations forebay asks after itself, when, and as whom: with the credential of the writer, which
//! is held for that alone and goes with the operation, with a refusal or with the cap.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Name, Open, Operation, Operations, Origin};
use crate::cache::key::CredentialId;
use crate::clock::Timestamp;
use crate::dialect::{TaskEvent, TaskState};

/// How many operations have a credential at once. One more is not asked after: its end is learnt from
/// others, or it ends with the cap. With the largest heads that Proxmox takes they are 8 MB.
pub(super) const MAX_WATCHED: usize = 1_000;

/// How long after the last news of an operation forebay asks: a little more than most clients wait
/// between their own polls (1 s and 2 s), so that where a client polls it costs nothing.
pub(super) const FIRST_PACE: Duration = Duration::from_millis(2_500);

/// The slowest pace, and how long a question without an answer rests.
pub(super) const LAST_PACE: Duration = Duration::from_secs(5);

/// How many questions an upstream has to answer at once. A node of Proxmox has three workers.
const ASKED_AT_ONCE: usize = 2;

/// After so many answers that say nothing an operation is not asked after any more.
const STRIKES: u8 = 3;

/// A credential that wrote, for asking after what it started.
pub struct Writer {
    fields: HeaderMap,
    /// The credential.
    pub credential: CredentialId,
    /// Who is charged for the calls.
    pub principal: u128,
}

impl Writer {
    /// The credential among `headers`; `more` names further fields that are one.
    pub fn new(
        headers: &HeaderMap,
        more: &[HeaderName],
        credential: CredentialId,
        principal: u128,
    ) -> Arc<Self> {
        let mut fields = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::COOKIE].iter().chain(more) {
            for value in headers.get_all(name) {
                // A copy, because the field of a request keeps all that was read with it.
                let Ok(mut value) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
                value.set_sensitive(true);
                fields.append(name.clone(), value);
            }
        }
        Arc::new(Self { fields, credential, principal })
    }

    /// The fields of a request with this credential.
    pub fn fields(&self) -> HeaderMap {
        self.fields.clone()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

/// What is read: a path and a query, which may hold a signature, at a host by name if there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The path and query.
    pub text: String,
    /// The `Host` field.
    pub host: Option<HeaderValue>,
}

impl From<String> for Target {
    fn from(text: String) -> Self {
        Self { text, host: None }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}

/// How forebay asks after an operation.
#[derive(Debug)]
pub struct Watch {
    writer: Arc<Writer>,
    /// What is read: how the task stands, or a list of all that run.
    target: Target,
    due: Timestamp,
    pace: Duration,
    strikes: u8,
    is_asked: bool,
    /// When it was last asked after.
    pub(super) asked: Option<Timestamp>,
}

impl Watch {
    /// Asks for `target` as `writer`, for the first time at `due`.
    pub fn new(writer: Arc<Writer>, target: impl Into<Target>, due: Timestamp) -> Self {
        let target = target.into();
        Self { writer, target, due, pace: FIRST_PACE, strikes: 0, is_asked: false, asked: None }
    }

    /// Asks how a task stands that was heard of at `now`.
    pub fn of_task(writer: Arc<Writer>, target: String, now: Timestamp) -> Self {
        Self::new(writer, target, now.after(FIRST_PACE))
    }

    /// Asks at `target` after an operation of which the API says at `now` that it is to be asked after in
    /// `pace`.
    pub fn of_address(writer: Arc<Writer>, target: Target, pace: Duration, now: Timestamp) -> Self {
        let pace = patience(pace);
        Self { pace, ..Self::new(writer, target, now.after(pace)) }
    }

    /// Somebody else was told that it runs, and to ask again in `pace`.
    pub(super) fn heard_of(&mut self, now: Timestamp, pace: Duration) {
        self.pace = patience(pace);
        self.heard(now);
    }

    /// Somebody else was told that it runs.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.due = self.due.max(now.after(self.pace));
    }
}

/// How long after the last news forebay asks where clients are told to ask in `pace`: never sooner than they,
/// and so that where one asks it costs nothing.
fn patience(pace: Duration) -> Duration {
    (pace * 3 / 2).max(FIRST_PACE)
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A task.
    Task(Name),
    /// A write whose outcome is not known.
    Write(u64),
}

/// A question that is due.
#[derive(Debug)]
pub struct Question {
    /// About what.
    pub about: About,
    /// What is read.
    pub target: Target,
    /// As whom.
    pub writer: Arc<Writer>,
    /// The endpoint that took the write.
    pub endpoint: Option<u64>,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The task runs, or nothing was learnt of what a write started.
    Runs,
    /// The operation runs, and is not to be asked after sooner than this.
    RunsFor(Duration),
    /// Everything that runs and that the write may have started is known.
    AllKnown,
    /// The credential may not ask.
    Refused,
    /// An answer that does not say.
    Unclear,
    /// No answer, or none of the API's own.
    Nothing,
}

impl Open {
    fn operation(&mut self, about: &About) -> Option<&mut Operation> {
        match about {
            About::Task(name) => self.named.get_mut(name),
            About::Write(number) => self.nameless.get_mut(number).map(|(_, operation)| operation),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = (About, u32, &mut Operation)> {
        let named = self.named.iter_mut().map(|(name, op)| (About::Task(name.clone()), name.0, op));
        let nameless =
            self.nameless.iter_mut().map(|(number, (site, op))| (About::Write(*number), *site, op));
        named.chain(nameless)
    }

    /// How many operations have a credential.
    pub(super) fn watched(&self) -> usize {
        let nameless = self.nameless.values().map(|(_, operation)| operation);
        self.named.values().chain(nameless).filter(|operation| operation.watch.is_some()).count()
    }
}

impl Operations {
    /// Waits until there is an operation to ask after.
    pub async fn any_watched(&self) {
        loop {
            let told = self.watched.notified();
            if self.open.lock().watched() > 0 {
                return;
            }
            told.await;
        }
    }

    /// The questions about operations of `site` that are due and may be asked now; the caller owes each
    /// [`Operations::replied`].
    pub fn questions(&self, site: u32) -> Vec<Question> {
        let now = self.clock.now();
        let mut open = self.open.lock();
        let mut asked = 0;
        let mut due = Vec::new();
        for (about, of, operation) in open.all().filter(|(_, of, _)| *of == site) {
            debug_assert_eq!(of, site);
            match &operation.watch {
                Some(watch) if watch.is_asked => asked += 1,
                Some(watch) if watch.due <= now => due.push((watch.due, about)),
                _ => {}
            }
        }
        due.sort_by_key(|(due, _)| *due);
        due.truncate(ASKED_AT_ONCE.saturating_sub(asked));
        let question = |about: About| {
            let operation = open.operation(&about)?;
            let watch = operation.watch.as_mut()?;
            watch.is_asked = true;
            watch.asked = Some(now);
            let (target, writer) = (watch.target.clone(), watch.writer.clone());
            Some(Question { about, target, writer, endpoint: operation.endpoint })
        };
        due.into_iter().map(|(_, about)| about).filter_map(question).collect()
    }

    /// What came of a question.
    pub fn replied(&self, about: &About, reply: Reply) {
        let now = self.clock.now();
        let mut open = self.open.lock();
        if let (About::Write(number), Reply::AllKnown) = (about, reply) {
            if let Some((_, operation)) = open.nameless.remove(number) {
                self.end(&operation);
            }
            return;
        }
        // An end was told before, and has taken the operation with it.
        let Some(operation) = open.operation(about) else { return };
        let Some(watch) = &mut operation.watch else { return };
        watch.is_asked = false;
        watch.due = watch.due.max(now.after(LAST_PACE));
        match reply {
            Reply::Runs | Reply::AllKnown => {
                watch.strikes = 0;
                watch.pace = (watch.pace * 3 / 2).min(LAST_PACE);
                watch.due = now.after(watch.pace);
            }
            Reply::RunsFor(pace) => {
                (watch.strikes, watch.pace) = (0, patience(pace));
                watch.due = now.after(watch.pace);
            }
            Reply::Unclear => {
                watch.strikes += 1;
                if watch.strikes >= STRIKES {
                    operation.watch = None;
                }
            }
            Reply::Refused => operation.watch = None,
            Reply::Nothing => {}
        }
    }

    /// Asks as `writer` after those of `events` that run and that nobody asks after; `target` says where.
    pub fn adopt(
        &self,
        site: u32,
        events: &[TaskEvent],
        writer: &Arc<Writer>,
        target: impl Fn(&TaskEvent) -> Option<String>,
    ) {
        let now = self.clock.now();
        let mut open = self.open.lock();
        for event in events.iter().filter(|event| event.state == TaskState::Running) {
            let is_full = open.watched() >= MAX_WATCHED;
            let Some(operation) = open.named.get_mut(&(site, event.task.id.clone())) else { continue };
            if operation.watch.is_none() && operation.origin == Origin::Elsewhere && !is_full {
                let target = target(event);
                operation.watch = target.map(|target| Watch::of_task(writer.clone(), target, now));
            }
        }
    }

    /// Lists that left at `left` showed every task of `site` that runs, and they were told: what else a
    /// write with an unknown outcome may have started has ended, if it has been given long enough.
    pub fn all_running_told(&self, site: u32, left: Timestamp) {
        let mut open = self.open.lock();
        open.nameless.retain(|_, (of, operation)| {
            let is_over = *of == site && operation.earliest <= left;
            if is_over {
                self.end(operation);
            }
            !is_over
        });
    }

    /// Drops the credentials of operations of other upstreams than `sites`.
    pub fn keep_credentials_of(&self, sites: &[u32]) {
        let mut open = self.open.lock();
        for (_, _, operation) in open.all().filter(|(_, of, _)| !sites.contains(of)) {
            operation.watch = None;
        }
    }
}
