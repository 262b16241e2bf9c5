//! Asking after open operations with the credential that wrote, where nobody else tells of their end.

use std::sync::Arc;

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::admit::Caller;
use super::counters::Cause;
use super::forward::{self, Accepts, LARGEST_READ};
use super::hearing::{Ear, Telling};
use super::operations::{About, Question, Reply};
use super::site::Site;
use crate::dialect::{Heard, Progress, TaskEvent, TaskState};
use crate::upstream::{EndpointChoice, EndpointId, Outgoing, Terms, Urgency};

/// A question under way: whatever becomes of it, another may be asked.
struct Asking<'s> {
    site: &'s Site,
    about: About,
    reply: Reply,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.site.shared.operations.replied(&self.about, self.reply);
    }
}

impl Site {
    /// The questions about open operations that are due.
    pub fn questions(&self) -> Vec<Question> {
        self.shared.operations.questions(self.id)
    }

    /// Asks one, and acts on the answer.
    pub async fn ask_after(self: Arc<Self>, question: Question) {
        let mut asking = Asking { site: &self, about: question.about.clone(), reply: Reply::Nothing };
        asking.reply = self.ask(question).await.unwrap_or(Reply::Nothing);
    }

    /// What is learnt; `None` when there was no answer of the API's own.
    async fn ask(&self, question: Question) -> Option<Reply> {
        let Question { about, target, writer, endpoint } = question;
        let host = target.host;
        let target: http::uri::PathAndQuery = target.text.parse().ok()?;
        let path = self.dialect().read_path(target.path()).unwrap_or(target.path().into()).into_owned();
        let query = target.query().map(str::to_owned);
        let endpoint =
            endpoint.map_or(EndpointChoice::Any, |id| EndpointChoice::Prefer(EndpointId::from_u64(id)));
        let read = forward::own_read(self, target, writer.fields(), writer.principal, Cause::Operation);
        let outgoing = Outgoing { host, endpoint, ..read };
        let caller = Caller::One(writer.credential);
        let left = self.shared.groups.next();
        let terms = Terms { urgency: Some(Urgency::Change), ..Terms::default() };
        let answer = forward::send_on(self, caller.standing(self), outgoing, terms).await.ok()?;
        let status = answer.parts.status;
        // That forebay uses a credential says nothing of whoever it belongs to; that it is refused does.
        forward::learn(self, caller, Accepts::Nobody, status);
        let ear = self.ear(&Method::GET, &path, query.as_deref());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Some(Reply::Refused),
            _ if matches!(ear, Ear::Address(_)) => {}
            status if self.dialect().is_outage(status) => return None,
            status if !status.is_success() => return Some(Reply::Unclear),
            _ => {}
        }
        let body = Limited::new(answer.body, LARGEST_READ).collect().await.ok()?.to_bytes();
        if let Ear::Address(names) = &ear {
            let (query, fields) = (query.as_deref(), &answer.parts.headers);
            let heard = Heard { path: &path, query, status, fields };
            return match self.told_of_progress(Telling { heard, left }, names, &body) {
                Progress::Runs(pace) | Progress::RunsPerhaps(pace) => Some(Reply::RunsFor(pace)),
                Progress::Perhaps => Some(Reply::Unclear),
                Progress::Unsaid if !self.dialect().may_say_progress(status) => None,
                Progress::Unsaid => Some(Reply::Unclear),
                Progress::Forgotten | Progress::Ended => Some(Reply::AllKnown),
            };
        }
        let told = self.dialect().tasks_told(&path, &body);
        self.told_of_tasks(&told);
        Some(match about {
            About::Task(_) if told.iter().any(|event| event.state == TaskState::Running) => Reply::Runs,
            // An answer without a word of the task. After its end nobody listens any more.
            About::Task(_) => Reply::Unclear,
            // The one may be left out.
            About::Write(_) if !self.dialect().lists_all_tasks(&body) => Reply::Unclear,
            About::Write(_) => {
                // What runs is known by its name now, and asked after by that.
                let target = |event: &TaskEvent| self.dialect().task_status(&event.task);
                self.shared.operations.adopt(self.id, &told, &writer, target);
                Reply::AllKnown
            }
        })
    }
}
