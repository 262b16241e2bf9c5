//! Writes that meet: one call for those that are the same and under way at the same time, and for rapid ones to
//! one target.
//!
//! Off unless a rule names it. [`table`] decides; here are the tasks that wait and send, and the callers that
//! are answered. A call is judged once, before any of its callers is answered, and belongs to no client: what
//! was taken is sent whoever leaves.

mod slot;
mod table;
mod terms;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::super::actors;
use super::super::counters::Met;
use super::super::respond;
use super::super::route::Write;
use super::super::site::{Shared, Site};
use super::{Answered, Failure, Ready, Sending, Sent, SentBody};
use crate::cache::entry::Head;
use crate::cache::groups::GroupId;
use slot::Turn;
use table::{Arrival, Coming, Holding, Table, Ticket};

pub(super) use slot::Part;
use terms::stands_alone;

/// How long the end of the process waits for what was held and has been sent: as long as for what clients wait
/// for themselves.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

/// The writes that others may join or wait for.
#[derive(Default)]
pub(in crate::proxy) struct Meetings {
    table: Mutex<Table<Payload, Waiting>>,
    /// How many the table has.
    known: AtomicUsize,
    /// Told when it has none any more.
    emptied: Notify,
}

/// What is needed to send a write.
struct Payload {
    sending: Sending,
    ready: Ready,
}

/// Who waits for an answer.
struct Waiting {
    sender: oneshot::Sender<Result<Answered, Failure>>,
    /// The fields of its own request.
    headers: HeaderMap,
    _unsettled: Option<Unsettled>,
}

/// What a write changes that has been taken and not sent: what is fetched meanwhile is not kept for longer than
/// a second, and shared with nobody by what rights were.
struct Unsettled {
    shared: Arc<Shared>,
    groups: Arc<[GroupId]>,
}

impl Unsettled {
    fn new(shared: &Arc<Shared>, groups: &Arc<[GroupId]>) -> Self {
        shared.groups.open(groups);
        Self { shared: shared.clone(), groups: groups.clone() }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.shared.groups.close(&self.groups);
    }
}

impl Meetings {
    fn with<R>(&self, what: impl FnOnce(&mut Table<Payload, Waiting>) -> R) -> R {
        let mut table = self.table.lock();
        let result = what(&mut table);
        let known = table.len();
        self.known.store(known, Ordering::SeqCst);
        drop(table);
        if known == 0 {
            self.emptied.notify_waiters();
        }
        result
    }
}

impl Shared {
    /// How many writes are held, or wait for one that was.
    pub fn writes_held(&self) -> usize {
        self.meetings.table.lock().held()
    }

    /// How many clients wait for writes that others may join, or in whose place others may be sent.
    pub fn writers_waiting(&self) -> usize {
        self.meetings.table.lock().callers()
    }

    /// How often a write went alone because as many as may be were known.
    pub fn writes_turned_away(&self) -> u64 {
        self.meetings.table.lock().turned_away()
    }

    /// Sends the writes to the upstream `site` that are held.
    pub(in crate::proxy) fn release_writes(&self, site: u32) {
        self.meetings.with(|table| table.release(Some(site)));
    }

    /// Sends the writes that are held, and holds none any more.
    pub fn hold_no_more_writes(&self) {
        self.meetings.with(Table::hold_no_more);
    }

    /// Waits for the writes that were held, or joined, whoever has left.
    pub async fn writes_finished(&self) {
        let finished = async {
            loop {
                let mut emptied = std::pin::pin!(self.meetings.emptied.notified());
                emptied.as_mut().enable();
                if self.meetings.known.load(Ordering::SeqCst) == 0 {
                    return;
                }
                emptied.await;
            }
        };
        if tokio::time::timeout(FINISH_WITHIN, finished).await.is_err() {
            tracing::warn!("the process ends before every write that was held has its answer");
        }
    }
}

/// Whether a write may go with others or has to look out for them. Others cost nothing but this look.
pub(super) fn concerns(site: &Site, write: &Write<'_>) -> bool {
    site.shared.meetings.known.load(Ordering::SeqCst) > 0
        || write.rule(site).is_some_and(|rule| !rule.meeting.is_off())
}

/// A place in the table, given back however its task ends.
struct Seat {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Seat {
    fn close(&self) -> Vec<(Waiting, Part)> {
        self.shared.meetings.with(|table| table.close(&self.ticket))
    }

    /// Sends what the callers of this seat wait for, and answers them.
    async fn send(self, Payload { sending, ready }: Payload) {
        let mut callers = Vec::new();
        let sent = sending
            .send(ready, &mut || {
                callers.extend(self.close());
                callers.len()
            })
            .await;
        // Whatever ended before an answer could begin.
        callers.extend(self.close());
        answer(&sending.site, sent, callers);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.meetings.with(|table| table.end(&self.ticket));
    }
}

/// Takes a write that [`concerns`] others. Its answer goes to `sender`.
pub(super) async fn run(
    sending: Sending,
    request: Request<Incoming>,
    sender: oneshot::Sender<Result<Answered, Failure>>,
) {
    let site = sending.site.clone();
    let shared = &site.shared;
    let alone = stands_alone(request.headers());
    let ready = match sending.ready(request).await {
        Ok(ready) => ready,
        Err(failure) => return drop(sender.send(Err(failure))),
    };
    let terms = terms::of(&sending, &ready, alone);
    let Some(met) = terms.met else {
        let (ticket, before) = shared.meetings.with(|table| table.pass(terms.place, terms.holding));
        let _others_wait_for_it = ticket.map(|ticket| Seat { shared: shared.clone(), ticket });
        ended(before).await;
        let _gone_if_the_client_left = sender.send(sending.run_ready(ready).await);
        return;
    };
    let is_held = terms.holding == Holding::Window;
    if is_held {
        actors::about_to_write(&site, &sending.write);
    }
    let coming = Coming {
        place: terms.place,
        collapse: terms.collapse,
        holding: terms.holding,
        caller: Waiting {
            sender,
            headers: ready.parts.headers.clone(),
            _unsettled: is_held.then(|| Unsettled::new(shared, &terms.groups)),
        },
        groups: terms.groups,
        write: met.with(Payload { sending, ready }),
    };
    match shared.meetings.with(|table| table.arrive(&shared.groups, coming)) {
        Arrival::Joined => {}
        Arrival::Held(ticket, before) => {
            let seat = Seat { shared: shared.clone(), ticket };
            tokio::select! {
                () = tokio::time::sleep(terms.window) => {}
                () = seat.ticket.turn.released() => {}
            }
            ended(before).await;
            if let Some(payload) = shared.meetings.with(|table| table.go(&shared.groups, &seat.ticket)) {
                seat.send(payload).await;
            }
        }
        Arrival::Goes(payload, table::Seat::Taken(ticket), before) => {
            let seat = Seat { shared: shared.clone(), ticket };
            ended(before).await;
            seat.send(payload).await;
        }
        Arrival::Goes(payload, table::Seat::None(caller), before) => {
            ended(before).await;
            let sent = payload.sending.send(payload.ready, &mut || 1).await;
            answer(&site, sent, vec![(caller, Part::Sent)]);
        }
    }
}

async fn ended(before: Vec<Arc<Turn>>) {
    for turn in before {
        turn.ended().await;
    }
}

/// Gives everybody the answer of the one call.
fn answer(site: &Site, sent: Result<Sent, Failure>, callers: Vec<(Waiting, Part)>) {
    let Sent { head, body, took } = match sent {
        Ok(sent) => sent,
        Err(failure) => {
            for (caller, part) in callers {
                count(site, part);
                let _gone_if_the_client_left = caller.sender.send(Err(failure));
            }
            return;
        }
    };
    let whole = match body {
        SentBody::Whole(whole) => whole,
        // It is for one, or nobody waits any more whom it could be for.
        SentBody::Coming(body) => {
            if let Some((caller, part)) = callers.into_iter().next() {
                let answered = Answered { head, body: SentBody::Coming(body).into_body(), took, part };
                let _gone_if_the_client_left = caller.sender.send(Ok(answered));
            }
            return;
        }
    };
    for (caller, part) in callers {
        count(site, part);
        let head = match part {
            Part::Sent | Part::Held => head.clone(),
            Part::Collapsed | Part::Replaced => {
                let fields = respond::of_another(site.dialect(), &caller.headers, &head);
                Head { status: head.status, reason: head.reason.clone(), fields }
            }
        };
        let answered = Answered { head, body: SentBody::Whole(whole.clone()).into_body(), took, part };
        let _gone_if_the_client_left = caller.sender.send(Ok(answered));
    }
}

/// Counts a caller whose own write was not sent.
fn count(site: &Site, part: Part) {
    match part {
        Part::Sent | Part::Held => {}
        Part::Collapsed => site.met.count(Met::Collapsed),
        Part::Replaced => site.met.count(Met::Batched),
    }
}

#[cfg(test)]
mod tests;
