//! The watch over changes made elsewhere: reads the API's change feed with the upstream's own credential,
//! while something is kept that it could overtake, and hands what is new to whoever acts on news.
//!
//! What is read is compared with what was read before, however long ago that was, so nothing that happens
//! while the watch rests is missed. Where something may have been missed all the same (a list or a log that
//! moved past what was known, the first reading of all), everything that it may have changed is overtaken.
//! Nothing is stored here.

mod log;
mod tasks;

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::uri::PathAndQuery;
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;

use self::log::{Log, LogSince};
use self::tasks::Tasks;
use super::Proxy;
use super::admit::Caller;
use super::counters::Cause;
use super::feed::FeedState;
use super::forward::{self, Accepts, LARGEST_READ};
use super::own::OwnCredential;
use super::site::Site;
use crate::cache::key::CredentialId;
use crate::clock::Timestamp;
use crate::dialect::{Credential, FeedReads, FeedRights, LogNews, TaskEvent};
use crate::upstream::{Repeat, Terms, Urgency};

/// The feed counts as lost when so many readings in a row were due and none succeeded.
const LOST_AFTER: u32 = 3;

/// How long one reading may take, at the least: a slow API has a feed too.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// How often the rights of the credential are looked at again: without them the lists are empty or short, but
/// no error says so.
const RIGHTS_EVERY: Duration = Duration::from_secs(60);

/// How many tasks that are no longer shown are asked after in one turn.
const ASKED_AFTER: usize = 4;

/// Why the feed could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The credential is refused.
    Refused,
    /// It is accepted, but may not read the feed.
    NoRight,
    /// No answer, or none in time.
    NoAnswer,
    /// An answer that is none.
    Status(StatusCode),
    /// An answer that cannot be read.
    Unreadable,
}

/// Watches for as long as the process runs, whatever site the proxy is reloaded with.
pub async fn watch(proxy: Proxy) {
    let mut watch = Watch::default();
    loop {
        let site = proxy.site();
        let (Some(reads), Some(own)) = (site.dialect().feed(), site.config.credential.clone()) else {
            site.feed.cannot_read();
            site.feed.stand(FeedState::NoCredential);
            proxy.reloaded().await;
            continue;
        };
        watch.meet(&site, &own);
        let began = Instant::now();
        let state = watch.turn(&site, reads, &own).await;
        let rest = async {
            // From the beginning of one reading to that of the next.
            let every = if state == FeedState::NoRight { RIGHTS_EVERY } else { site.config.feed.every };
            tokio::time::sleep_until(began + every).await;
            if !site.wants_feed() {
                if state == FeedState::Live {
                    watch.stand(&site, FeedState::Idle, None);
                }
                site.stirred().await;
                // Whatever is being fetched is older than the next reading when it is kept.
                tokio::time::sleep(site.config.feed.every).await;
            }
        };
        tokio::select! {
            () = rest => {}
            () = proxy.reloaded() => {}
        }
    }
}

/// What is known from readings before.
#[derive(Default)]
struct Watch {
    /// The upstream that it is known of.
    site: Option<u32>,
    credential: Option<OwnCredential>,
    rights: Option<(FeedRights, Timestamp)>,
    tasks: Tasks,
    log: Log,
    /// When a reading last succeeded, and when it left.
    read: Option<Timestamp>,
}

impl Watch {
    /// Forgets what is not known of this upstream, or not by this credential.
    fn meet(&mut self, site: &Site, own: &OwnCredential) {
        if self.site != Some(site.id) {
            *self = Self { site: Some(site.id), ..Self::default() };
        }
        if self.credential.as_ref() != Some(own) {
            self.credential = Some(own.clone());
            self.rights = None;
        }
    }

    /// One reading, and what becomes of the watch by it.
    async fn turn(&mut self, site: &Site, reads: FeedReads, own: &OwnCredential) -> FeedState {
        let every = site.config.feed.every;
        let patience = (every * (LOST_AFTER - 1)).max(LEAST_PATIENCE);
        let left = site.shared.clock.now();
        let reader = Reader { site, own };
        let read = tokio::time::timeout(patience, self.read(&reader, reads)).await;
        match read.unwrap_or(Err(Trouble::NoAnswer)) {
            Ok(()) => {
                self.read = Some(left);
                let reads_log = self.rights.is_some_and(|(rights, _)| rights.log);
                site.feed.has_read(left.after(every + patience), reads_log);
                self.stand(site, FeedState::Live, None)
            }
            Err(trouble) => {
                let is_refused = matches!(trouble, Trouble::Refused | Trouble::NoRight);
                // After an error nothing is known of the rights.
                self.rights = None;
                let is_late = self.read.is_none_or(|read| left.since(read) >= every * LOST_AFTER);
                match (is_refused, is_late) {
                    (true, _) => {
                        site.feed.cannot_read();
                        self.stand(site, FeedState::NoRight, Some(trouble))
                    }
                    (false, true) => self.stand(site, FeedState::Lost, Some(trouble)),
                    (false, false) => site.feed.standing().state,
                }
            }
        }
    }

    /// Reads the lists, after the rights if those are due, and acts on what is new.
    async fn read(&mut self, reader: &Reader<'_>, reads: FeedReads) -> Result<(), Trouble> {
        let site = reader.site;
        let now = site.shared.clock.now();
        let mut is_fresh = false;
        let rights = match self.rights {
            Some((rights, at)) if now.since(at) < RIGHTS_EVERY => rights,
            _ => {
                is_fresh = true;
                self.ask_rights(reader, reads).await?
            }
        };
        // The log first: that a task started is told by the list.
        let lines = match rights.log {
            true => Some(self.read_log(reader, reads).await?),
            false => None,
        };
        let left = site.shared.clock.now();
        let body = reader.get(reads.tasks).await?;
        let list = site.dialect().feed_tasks(&body).ok_or(Trouble::Unreadable)?;
        if list.tasks.is_empty() && self.tasks.is_any_known() && !is_fresh {
            // Lists do not become empty by themselves.
            self.ask_rights(reader, reads).await?;
        }
        let news = self.tasks.since(&list);
        let is_first = self.read.is_none();
        if is_first || lines == Some(LogSince::Unknown) {
            // What else was read tells of all that is going on, but not of what is over.
            site.told_of_nothing_before();
        }
        site.told_of_tasks(&news.told);
        if list.shows_all_that_run {
            site.shared.operations.all_running_told(site.id, left);
        }
        for node in &news.lost {
            tracing::info!(upstream = %site.config.name, node, "the API shows only tasks that are new");
            site.told_of_unknown_tasks(node);
        }
        match lines {
            Some(LogSince::Lines(lines)) => lines.into_iter().for_each(|news| act(site, news)),
            Some(LogSince::Lost) => {
                tracing::info!(upstream = %site.config.name, "the log shows only lines that are new");
                site.told_of_unknown_tasks("");
            }
            Some(LogSince::Unknown) | None => {}
        }
        self.ask_after(reader).await
    }

    async fn ask_rights(&mut self, reader: &Reader<'_>, reads: FeedReads) -> Result<FeedRights, Trouble> {
        let body = reader.get(reads.rights).await?;
        let rights = reader.site.dialect().feed_rights(&body).ok_or(Trouble::Unreadable)?;
        if !rights.tasks {
            return Err(Trouble::NoRight);
        }
        if !rights.log {
            self.log = Log::default();
        }
        self.rights = Some((rights, reader.site.shared.clock.now()));
        Ok(rights)
    }

    async fn read_log(&mut self, reader: &Reader<'_>, reads: FeedReads) -> Result<LogSince, Trouble> {
        let lines = |body: Bytes| reader.site.dialect().feed_log(&body).ok_or(Trouble::Unreadable);
        let latest = lines(reader.get(reads.log).await?)?;
        if !self.log.has_moved_past(&latest) {
            return Ok(self.log.since(latest));
        }
        // A caller without the right sees some lines only.
        self.ask_rights(reader, reads).await?;
        let all = lines(reader.get(reads.whole_log).await?)?;
        Ok(self.log.since(all))
    }

    /// Asks how the tasks stand that were running and are not shown any more: there is only so much room in
    /// the list.
    async fn ask_after(&mut self, reader: &Reader<'_>) -> Result<(), Trouble> {
        let site = reader.site;
        for task in self.tasks.missing(ASKED_AFTER) {
            let Some(target) = site.dialect().task_status(&task) else { continue };
            let told = match reader.get(&target).await {
                Ok(body) => {
                    let path = site.dialect().read_path(&target).unwrap_or_default();
                    site.dialect().tasks_told(&path, &body)
                }
                // The node has forgotten it, or is gone.
                Err(Trouble::Status(status)) if site.dialect().ends_entry(status) => Vec::new(),
                Err(_) => continue,
            };
            site.told_of_tasks(&told);
            let runs = |event: &TaskEvent| event.state == crate::dialect::TaskState::Running;
            if !told.iter().any(runs) {
                self.tasks.forget(&task.id);
            }
        }
        Ok(())
    }

    /// Notes how the watch stands and says so where it is new.
    fn stand(&self, site: &Site, state: FeedState, trouble: Option<Trouble>) -> FeedState {
        if site.feed.stand(state) {
            let upstream = &site.config.name;
            let (state, ceiling) = (state.as_str(), crate::units::Span(site.config.feed.ceiling));
            match trouble {
                None => tracing::info!(%upstream, state, "the watch over changes made elsewhere"),
                Some(trouble) => tracing::warn!(
                    %upstream,
                    state,
                    trouble = trouble.as_str(),
                    "changes made elsewhere are not seen: what tasks could change is kept for {ceiling} at most"
                ),
            }
        }
        state
    }
}

fn act(site: &Site, news: LogNews) {
    match news {
        LogNews::Task(event) => site.told_of_tasks(&[event]),
        LogNews::Change(change) => site.told_of_change(&change),
        LogNews::Nothing => {}
    }
}

/// Reads as the upstream's own credential.
struct Reader<'s> {
    site: &'s Site,
    own: &'s OwnCredential,
}

impl Reader<'_> {
    /// The body of a success.
    async fn get(&self, target: &str) -> Result<Bytes, Trouble> {
        let site = self.site;
        let target: PathAndQuery = target.parse().map_err(|_| Trouble::Unreadable)?;
        let credential = self.credential();
        let fields = self.own.fields().clone();
        let outgoing = forward::own_read(site, target, fields, credential.as_u128(), Cause::Watch);
        let left = site.shared.clock.now();
        // The next reading is the retry.
        let (urgency, repeat) = (Some(Urgency::Change), Repeat::IfNeverSent);
        let terms = Terms { urgency, repeat, ..Terms::default() };
        // Clients that fill the queue must not keep the truth from those who get a hit meanwhile.
        let result = site.upstream.send_aside(outgoing, terms).await;
        site.note(&result, left);
        let answer = result.map_err(|_| Trouble::NoAnswer)?;
        let status = answer.parts.status;
        forward::learn(site, Caller::One(credential), Accepts::Nobody, status);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Trouble::Refused),
            status if status != StatusCode::OK => return Err(Trouble::Status(status)),
            _ => {}
        }
        let body = Limited::new(answer.body, LARGEST_READ).collect().await;
        body.map(|whole| whole.to_bytes()).map_err(|_| Trouble::NoAnswer)
    }

    /// Which credential it is: nobody else is charged for its calls, or learns by them.
    fn credential(&self) -> CredentialId {
        let (secret, fields) = (&self.site.shared.secret, self.own.fields());
        match self.site.dialect().credential(fields, &self.site.config.credentials) {
            Credential::Present(parts) => secret.credential(&parts),
            _ => secret.credential(&fields.values().map(|value| value.as_bytes()).collect::<Vec<_>>()),
        }
    }
}

impl Trouble {
    fn as_str(self) -> &'static str {
        match self {
            Trouble::Refused => "the API refuses the credential",
            Trouble::NoRight => "the credential may not see the tasks of others",
            Trouble::NoAnswer => "no answer",
            Trouble::Status(_) => "an answer that is no success",
            Trouble::Unreadable => "an answer that cannot be read",
        }
    }
}
