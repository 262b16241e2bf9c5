//! Answers that tell how operations stand: they are read, and overtake what they make old, before anybody
//! else hears of it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::Failure;
use super::body::Body;
use super::forward::{Gathered, LARGEST_READ, gather, joined};
use super::operations::{News, Operation, Subject, Target, Watch, Writer};
use super::site::Site;
use super::tasks::Elsewhere;
use crate::cache::groups::Sequence;
use crate::dialect::{
    Address, AddressName, Heard, OperationId, Pending, Progress, Task, TaskEvent, TaskState,
};
use crate::upstream::AnswerBody;

/// What the answer to a read may tell.
pub(super) enum Ear {
    /// Nothing of operations.
    Deaf,
    /// How tasks stand, wherever the API shows them.
    Tasks,
    /// How an operation stands that has this address.
    Address(Names),
}

/// What a read would ask after.
pub(super) struct Names {
    /// The operation with this address.
    address: Option<OperationId>,
    /// Whether it is one that is followed.
    is_known: bool,
    /// The operation that changes the resource which is read.
    resource: Option<OperationId>,
}

/// The answer to a read that left at `left`: by the logical clock, since the other may stand still between two
/// things that happen.
#[derive(Clone, Copy)]
pub(super) struct Telling<'a> {
    pub heard: Heard<'a>,
    pub left: Sequence,
}

impl Ear {
    /// Whether an answer with this status may tell anything.
    pub(super) fn hears(&self, site: &Site, status: StatusCode) -> bool {
        match self {
            Ear::Deaf => false,
            Ear::Tasks => status.is_success(),
            Ear::Address(_) => site.dialect().may_say_progress(status),
        }
    }

    /// Whether an answer must come as it is, to be read.
    pub(super) fn listens(&self) -> bool {
        !matches!(self, Ear::Deaf)
    }

    /// Takes what an answer tells, before anybody hears of it. What the rest of one tells that is not whole,
    /// nobody will have read.
    pub(super) fn observe(&self, site: &Site, answer: Telling<'_>, chunks: &[Bytes], is_whole: bool) {
        match self {
            Ear::Deaf => {}
            _ if !is_whole => site.told_more_than_can_be_read(),
            Ear::Tasks => {
                site.told_of_tasks(&site.dialect().tasks_told(answer.heard.path, &joined(chunks)));
            }
            Ear::Address(names) => drop(site.told_of_progress(answer, names, &joined(chunks))),
        }
    }

    /// A body for one client alone, when it has been observed.
    pub(super) async fn observed(
        &self,
        site: &Site,
        answer: Telling<'_>,
        mut body: AnswerBody,
    ) -> Result<Body, Failure> {
        let gathered = gather(&mut body, LARGEST_READ).await.map_err(|_| Failure::Lost)?;
        let Gathered { chunks, whole, .. } = gathered;
        self.observe(site, answer, &chunks, whole);
        Ok(match whole {
            true => Body::full(joined(&chunks)),
            false => Body::upstream_behind(chunks, body),
        })
    }
}

impl Site {
    /// What the answer to such a read may tell. Where the API does not name operations by addresses this
    /// looks at the path alone.
    pub(super) fn ear(&self, method: &Method, path: &str, query: Option<&str>) -> Ear {
        let dialect = self.dialect();
        if !dialect.has_addresses() {
            return if dialect.tells_of_operations(path) { Ear::Tasks } else { Ear::Deaf };
        }
        let has_form = dialect.has_address_form(path);
        let operations = &self.shared.operations;
        if *method != Method::GET || !has_form && !operations.any_addresses() {
            return Ear::Deaf;
        }
        let address = self.sealed(&dialect.address_name(path, query));
        let is_known = operations.knows(self.id, &address);
        let resource = self.sealed(&dialect.resource_name(path));
        let resource = Some(resource).filter(|resource| operations.knows(self.id, resource));
        match (has_form || is_known).then_some(address) {
            None if resource.is_none() => Ear::Deaf,
            address => Ear::Address(Names { address, is_known, resource }),
        }
    }

    /// Whether a read asks after an operation, so that its answer is for nobody else and for no other time.
    pub(super) fn asks_after_operation(&self, method: &Method, path: &str, query: Option<&str>) -> bool {
        self.dialect().has_addresses()
            && matches!(self.ear(method, path, query), Ear::Address(Names { address: Some(_), .. }))
    }

    /// Whether fields of an answer are for those who ask now: trailers are announced, or an operation is named by
    /// its address.
    pub(super) fn passes_away(&self, fields: &HeaderMap) -> bool {
        fields.contains_key(http::header::TRAILER) || self.dialect().names_operation(fields)
    }

    /// The name of an operation here: a keyed hash of its address, which may hold a secret.
    fn sealed(&self, name: &AddressName) -> OperationId {
        OperationId(format!("{:032x}", self.shared.secret.operation(self.id, name.0.as_bytes())))
    }

    /// An answer at an operation's address, or for a resource that one changes. To be called before anybody
    /// else hears of it: when this returns, everything that the news makes old has been overtaken.
    pub(super) fn told_of_progress(&self, answer: Telling<'_>, names: &Names, body: &[u8]) -> Progress {
        let (dialect, operations, heard) = (self.dialect(), &self.shared.operations, &answer.heard);
        let mut said = Progress::Unsaid;
        if let Some(id) = &names.address {
            said = dialect.progress(heard, body);
            match said {
                Progress::Runs(pace) | Progress::RunsPerhaps(pace) => {
                    let further = dialect.addresses(heard);
                    let further: Vec<_> = further.iter().map(|address| self.sealed(&address.name)).collect();
                    operations.runs(self.id, id, pace, &further);
                }
                Progress::Forgotten => self.count(operations.let_go(self.id, id, answer.left)),
                Progress::Ended => self.told(id, TaskState::Ended { at: None }, heard.path),
                Progress::Perhaps | Progress::Unsaid => {}
            }
            if names.is_known && matches!(said, Progress::Perhaps | Progress::RunsPerhaps(_)) {
                self.told(id, TaskState::Ending { sign: None }, heard.path);
            }
        }
        let Some(id) = &names.resource else { return said };
        let shown = dialect.resource_progress(heard, body);
        match shown {
            Progress::Runs(pace) => operations.runs(self.id, id, pace, &[]),
            Progress::Ended => self.count(operations.let_go(self.id, id, answer.left)),
            Progress::Perhaps => self.told(id, TaskState::Ending { sign: None }, heard.path),
            _ => {}
        }
        if names.address.is_some() { said } else { shown }
    }

    fn count(&self, news: News) {
        self.count_news([news]);
    }

    fn told(&self, id: &OperationId, state: TaskState, path: &str) {
        let task = task(id.clone(), "operation".to_owned());
        let reach = self.dialect().address_reach(path);
        let elsewhere = |task: &Task| self.elsewhere(task, Elsewhere::Below(reach));
        self.count_news(self.shared.operations.told(self.id, &[TaskEvent { task, state }], elsewhere));
    }

    /// The operation of a write whose answer says that it goes on: it ends with what is told at one of its
    /// addresses, or in the state of the resource itself. `target` reads the resource, if the write was to
    /// one.
    pub(super) fn with_addresses(
        &self,
        operation: Operation,
        pending: Pending,
        resource: Option<(&str, String)>,
        writer: Option<Arc<Writer>>,
    ) -> Operation {
        let dialect = self.dialect();
        let resource = resource.filter(|_| pending.moves);
        let mut names: Vec<OperationId> = Vec::with_capacity(4);
        for address in &pending.addresses {
            let id = self.sealed(&address.name);
            if !names.contains(&id) {
                names.push(id);
            }
        }
        let has_address = !names.is_empty();
        names.extend(resource.as_ref().map(|(path, _)| self.sealed(&dialect.resource_name(path))));
        let Some(id) = names.first().cloned() else {
            let until = operation.since.after(pending.unknown_cap).min(operation.until);
            return Operation { until, earliest: until, ..operation };
        };
        let target = match pending.addresses.into_iter().next() {
            Some(Address { target, region, .. }) => {
                Some(Target { text: target, host: region.and_then(|region| self.regional_host(&region)) })
            }
            None => resource.map(|(_, target)| Target::from(target)),
        };
        let kind = match &operation.subject {
            Subject::Write(rule) => rule.clone(),
            Subject::Task(task) => task.kind.clone(),
        };
        let watch = writer.zip(target);
        Operation {
            subject: Subject::Task(task(id, kind)),
            watch: watch
                .map(|(writer, target)| Watch::of_address(writer, target, pending.pace, operation.since)),
            names,
            has_address,
            ..operation
        }
    }
}

/// An operation of which nothing is known but a name.
fn task(id: OperationId, kind: String) -> Task {
    let (object, node, who, resource) = Default::default();
    Task { id, kind, object, node, who, started: 0, resource }
}
