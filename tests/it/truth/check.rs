//! What must hold of every answer that comes through forebay.
//!
//! A read is judged by what was promised before it began: each of its cells has a floor, the version that
//! some client was told of before. Between the floor and the truth there may be a gap, whose width depends
//! on who made the change: somebody behind forebay's back (the rule's lifetimes), or a write through forebay
//! whose task runs on or whose outcome nobody knows (nothing but an answer that was on its way).

use std::io::Read as _;
use std::time::Duration;

use forebay::clock::Timestamp;
use forebay::rules::Sharing;

use super::answers::without_cache_buster;
use super::cells::{Cell, Read, Write};
use super::client::Got;
use super::people::{Standing, rights};
use super::proxmox::FEED;
use super::rules::{Allowed, Rules};
use super::run::FIRST_BYTE;
use super::world::{Answer, Cause, Change, Stamp, Told, World, WriteRecord};

/// How far forebay's clock may have moved on between the last byte of an answer and the moment in which
/// forebay took notice. The clock only moves when what was written has had many turns to be read.
pub const SLACK: Duration = Duration::from_secs(1);

/// How soon what the feed tells is seen, if it is read every two seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// How long after a time of trouble the feed may take until it is read evenly again.
const RECOVERS: Duration = Duration::from_secs(8);

/// For how long what a task could change is kept while the feed is not read.
pub const CEILING: Duration = Duration::from_secs(if FEED { 10 } else { 1_000_000 });

/// The longest that an answer is kept which shows something in transition, or whose groups were written to
/// lately.
pub const SHORTLY: Duration = Duration::from_secs(1);

/// A read that a client is about to send.
pub struct Asked {
    /// When.
    pub began: Stamp,
    /// To which forebay.
    pub generation: u32,
    /// What.
    pub read: Read,
    /// The target as it is sent.
    pub target: String,
    /// With which credential.
    pub credential: Option<usize>,
    /// Whether the answer must be fetched for it.
    pub fresh: bool,
    /// Whether it was HEAD.
    pub bodiless: bool,
    /// The floors when it began.
    floors: Vec<(Cell, usize)>,
}

/// What came of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// An answer of the API.
    Answer,
    /// An error of forebay's own.
    Refused,
    /// Nothing whole.
    Lost,
}

impl World {
    /// A read begins.
    pub fn begin_read(&mut self, read: Read, target: String, credential: Option<usize>) -> Asked {
        let mut cells = read.cells();
        if let (Some(credential), false) = (credential, read.is_for_everyone()) {
            cells.push(Cell::rights(self.people.credentials[credential].principal));
        }
        if let Some(guest) = read.guest() {
            cells.push(Cell::guest(guest));
        }
        let floors = cells.iter().map(|cell| (*cell, self.cells[cell.index()].floor)).collect();
        Asked {
            began: self.stamp(),
            generation: self.generation,
            read,
            target,
            credential,
            fresh: false,
            bodiless: false,
            floors,
        }
    }

    /// Judges what came of a read, and takes note of what its client knows now.
    pub fn judge_read(&mut self, asked: &Asked, got: &Got, rules: &mut Rules) -> Result<Seen, String> {
        if !got.whole {
            return Ok(Seen::Lost);
        }
        let Some(id) = self.origin_of(asked, got)? else { return Ok(Seen::Refused) };
        let path = asked.target.split('?').next().unwrap_or_default();
        let allowed = rules.of(path, None);
        let accept_for = rules.accept_for;
        let answer = self.answers.remove(&id).ok_or("the answer is none of the API's")?;
        if let Some(etag) = got.field("etag") {
            self.etags.insert(etag.to_owned(), id);
        }
        let judged = judge_bytes(asked, got, &answer)
            .and_then(|()| self.judge_partition(asked, &answer, &allowed, accept_for, got))
            .and_then(|()| self.judge_age(asked, &answer, &allowed, got))
            .and_then(|()| self.judge_versions(asked, &answer, &allowed, got));
        self.learn_from(asked, &answer, &allowed);
        self.answers.insert(id, answer);
        judged.map(|()| Seen::Answer)
    }

    /// A write begins.
    pub fn begin_write(&mut self, write: Write) -> usize {
        let generation = self.generation;
        self.writes.push(WriteRecord { write, generation, executed: 0, delivered: None, settles: None });
        self.writes.len() - 1
    }

    /// Judges what came of the write `op`, which `credential` sent to `target`, and takes note of what its
    /// client knows now: the task that it may wait for.
    pub fn judge_write(
        &mut self,
        op: usize,
        credential: usize,
        target: &str,
        got: Option<&Got>,
        settle: Duration,
    ) -> Result<(Seen, Option<usize>), String> {
        if self.writes[op].executed > 1 {
            return Err(format!("write {op} was carried out {} times", self.writes[op].executed));
        }
        let Some(got) = got.filter(|got| got.whole) else { return Ok((Seen::Lost, None)) };
        let when = self.stamp();
        let Some(id) = got.field("x-model").and_then(|id| u128::from_str_radix(id, 16).ok()) else {
            self.writes[op].delivered = Some((when, Told::Unknown));
            self.note(|| format!("nobody knows what became of write {op}: {}", got.status));
            return Ok((Seen::Refused, None));
        };
        let answer = self.answers.get(&id).ok_or("the answer is none of the API's")?;
        if answer.credential != Some(credential) || answer.target != target || got.body != answer.body {
            return Err(format!("the answer to write {op} of {credential} is another's"));
        }
        let (status, names, shows, formed) =
            (answer.status, answer.names, answer.shows.clone(), answer.formed);
        let unknown = matches!(status, 502 | 504 | 596 | 599);
        let told = if unknown { Told::Unknown } else { Told::Outcome };
        self.writes[op].delivered = Some((when, told));
        if matches!(status, 200 | 500) {
            self.writes[op].settles = Some((when, when.at.after(settle)));
        }
        self.note(|| format!("write {op} of {credential} is told {status}, task {names:?}"));
        let holder = &mut self.people.credentials[credential];
        // What can be provoked by anybody counts only for those whom the API let in before.
        let counts = status != 400 || holder.told_accepted.is_some();
        match status {
            200 => holder.wrote = Some((when, self.generation)),
            401 if holder.standing != Standing::Valid => drop(holder.told_refused.get_or_insert(when)),
            _ => {}
        }
        if status == 200 && matches!(self.writes[op].write, Write::Acl(_) | Write::User) {
            (self.access_changed, self.access_told) = (Some(formed), Some(when));
        }
        for (cell, version) in shows.into_iter().filter(|_| counts && !unknown) {
            self.promise(cell, version, &format!("write {op}"));
        }
        Ok((Seen::Answer, names))
    }

    /// The number of the answer that `got` is, if it is one of the API's.
    fn origin_of(&mut self, asked: &Asked, got: &Got) -> Result<Option<u128>, String> {
        let named = got.field("x-model").and_then(|id| u128::from_str_radix(id, 16).ok());
        match named {
            Some(id) => Ok(Some(id)),
            None if got.status == 304 => {
                let etag = got.field("etag").ok_or("a 304 without a validator")?;
                self.etags
                    .get(etag)
                    .copied()
                    .map(Some)
                    .ok_or(format!("a 304 with a strange validator {etag}"))
            }
            // Forebay refuses nobody's credential on its own.
            None if got.status >= 429 => Ok(None),
            None => Err(format!("{} without the API's mark for {}", got.status, asked.target)),
        }
    }

    /// No byte crosses a partition, and nothing is shown to who is not accepted.
    fn judge_partition(
        &self,
        asked: &Asked,
        answer: &Answer,
        allowed: &Allowed,
        accept_for: Duration,
        got: &Got,
    ) -> Result<(), String> {
        if answer.credential == asked.credential && answer.status != 200 {
            return Ok(());
        }
        let credentials = &self.people.credentials;
        let holder = asked.credential.map(|credential| &credentials[credential]);
        let crossed = match (allowed.share, answer.status) {
            _ if answer.credential == asked.credential => false,
            // A failure, a refusal or what is not for sharing is for its own credential alone.
            (_, status) if status != 200 => true,
            (Sharing::Everyone, _) => false,
            (Sharing::Principal, _) => {
                let of = |credential: Option<usize>| credential.map(|c| credentials[c].principal);
                of(answer.credential) != of(asked.credential)
            }
            (Sharing::Rights, _) => !self.had_equal_rights(asked, answer, accept_for, got),
            _ => true,
        };
        if crossed {
            return Err(format!(
                "made for {:?} with {}, shown to {:?}",
                answer.credential, answer.status, asked.credential
            ));
        }
        if allowed.anonymous || answer.status != 200 {
            return Ok(());
        }
        let Some(holder) = holder else { return Err("data for a caller without a credential".into()) };
        let Some(accepted) = holder.accepted else {
            return Err(format!("data for a credential that the API never accepted: {:?}", holder.standing));
        };
        let now = self.now_for_acceptance(asked);
        // For the last known state only the time counts in which the API answered.
        let troubles = [self.last_outage, self.silence.last(asked.began.at.after(SLACK))];
        let was_in = got.cache().contains("stale-if-error")
            && troubles.into_iter().flatten().any(|trouble| trouble >= accepted.at);
        let age = now.since(accepted.at);
        if accepted < self.access_changed.unwrap_or(accepted)
            && self.access_told.is_some_and(|t| t < asked.began)
        {
            return Err("data for a credential accepted before rights were changed".into());
        }
        if !was_in && age > accept_for + SLACK {
            return Err(format!("data for a credential whose acceptance is {age:?} old"));
        }
        if holder.told_refused.is_some_and(|told| told < asked.began) {
            return Err("data for a credential whose holder was told that it is refused".into());
        }
        Ok(())
    }

    /// Whether somebody else fetched what was shown, and not because it is the same for everybody.
    pub fn is_of_an_equal(&self, asked: &Asked, got: &Got) -> bool {
        let id = got.field("x-model").and_then(|id| u128::from_str_radix(id, 16).ok());
        let maker = id.and_then(|id| self.answers.get(&id)?.credential);
        let of = |credential: usize| self.people.credentials[credential].principal;
        let others = maker.zip(asked.credential).is_some_and(|(maker, asked)| of(maker) != of(asked));
        others && !asked.read.is_for_everyone()
    }

    /// Whether the API may have said of both, lately enough, that they may do the same.
    fn had_equal_rights(&self, asked: &Asked, answer: &Answer, accept_for: Duration, got: &Got) -> bool {
        let (Some(maker), Some(reader)) = (answer.credential, asked.credential) else { return false };
        let [maker, reader] = [maker, reader].map(|credential| self.people.credentials[credential].principal);
        if maker == reader {
            return true;
        }
        // Nothing was asked before the last change whose writer was told.
        let told = self.access_changed.filter(|_| self.access_told.is_some_and(|told| told < asked.began));
        let since = |now: Timestamp| now.before(accept_for + SLACK);
        let began = match got.cache().contains("stale-if-error") {
            // In an outage words count as they did before.
            true => since(answer.formed.at),
            false => since(self.now_for_acceptance(asked)),
        };
        let had = |principal: usize, from: Timestamp, until: Stamp| {
            let history = &self.cells[Cell::rights(principal).index()].history;
            let lasted = move |version: &usize| {
                let ended = history.get(version + 1).map(|change| change.when);
                history[*version].when <= until
                    && ended.is_none_or(|ended| ended.at >= from && told.is_none_or(|told| ended > told))
            };
            (0..history.len())
                .filter(lasted)
                .map(move |version| rights(principal, version))
                .collect::<Vec<_>>()
        };
        let of_reader = had(reader, began, asked.began);
        // What it was made with; or what was known of its maker then, and either is still or was again.
        let version = answer.shows.iter().find(|(cell, _)| *cell == Cell::rights(maker)).map(|(_, v)| *v);
        let made_with = version.map(|version| rights(maker, version));
        let before = had(maker, since(answer.formed.at), answer.formed);
        let after = had(maker, began.max(answer.formed.at), asked.began);
        let known = before.into_iter().filter(|rights| began <= answer.formed.at || after.contains(rights));
        made_with.into_iter().chain(known).any(|rights| of_reader.contains(&rights))
    }

    /// While the API is silent acceptance stands still, from its last answer on; while it says that it is
    /// down, only the last known state is shown.
    fn now_for_acceptance(&self, asked: &Asked) -> Timestamp {
        let now = match self.last_pause.filter(|(_, end)| end.after(SLACK) >= asked.began.at) {
            _ if self.last_answer <= asked.began.at.before(SLACK) => self.last_answer,
            Some((start, _)) => start,
            None => asked.began.at,
        };
        let last = self.silence.last(asked.began.at.after(SLACK));
        let silent = last.is_some_and(|last| last.after(FIRST_BYTE + SLACK) >= now);
        if silent { now.min(asked.began.at) } else { asked.began.at }
    }

    /// Nothing is shown for longer than its rule allows.
    fn judge_age(&self, asked: &Asked, answer: &Answer, allowed: &Allowed, got: &Got) -> Result<(), String> {
        if asked.fresh && answer.formed < asked.began {
            return Err("an answer from before the request, which asked for its own".into());
        }
        let Some(sent) = answer.sent else { return Ok(()) };
        let age = asked.began.at.since(sent.at);
        let in_outage = got.cache().contains("stale-if-error");
        let wrote = asked.credential.and_then(|credential| self.people.credentials[credential].wrote);
        if got.cache().contains("stale-")
            && wrote.is_some_and(|(when, to)| when < asked.began && to == asked.generation)
        {
            return Err("what has expired for somebody who wrote lately".into());
        }
        let most = match answer.status {
            200 if in_outage => allowed.in_outage,
            200 if answer.in_transition || self.is_settling(asked, answer) => allowed.kept.min(SHORTLY),
            200 => allowed.kept,
            _ => Duration::ZERO,
        };
        if age > most + SLACK {
            return Err(format!("an answer {age:?} old, where {most:?} is allowed"));
        }
        Ok(())
    }

    /// Whether `answer` was formed while another node might have lagged behind a write that it shows.
    fn is_settling(&self, asked: &Asked, answer: &Answer) -> bool {
        answer.shows.iter().any(|(cell, version)| {
            let Cause::Write(op) = self.cells[cell.index()].history[*version].cause else { return false };
            let record = &self.writes[op];
            let still =
                |(since, until): (Stamp, _)| answer.formed > since && answer.formed.at.after(SLACK) < until;
            record.generation == asked.generation && record.settles.is_some_and(still)
        })
    }

    /// Nothing is shown that was the past when the request began.
    fn judge_versions(
        &self,
        asked: &Asked,
        answer: &Answer,
        allowed: &Allowed,
        got: &Got,
    ) -> Result<(), String> {
        for (cell, version) in &answer.shows {
            let state = &self.cells[cell.index()];
            let floor = asked.floors.iter().find(|(c, _)| c == cell).map_or(0, |(_, floor)| *floor);
            if *version < floor {
                return Err(format!(
                    "the past: {cell} at {version}, after {floor} was promised by {}",
                    state.promised_by
                ));
            }
            for (missed, change) in state.history.iter().enumerate().skip(version + 1) {
                if change.when > asked.began {
                    break;
                }
                self.judge_gap(asked, answer, allowed, got, *change).map_err(|what| {
                    format!("{what}: {cell} at {version} without {missed} by {:?}", change.cause)
                })?;
            }
        }
        Ok(())
    }

    /// Whether a change may be missing from an answer as old as this one.
    fn judge_gap(
        &self,
        asked: &Asked,
        answer: &Answer,
        allowed: &Allowed,
        got: &Got,
        change: Change,
    ) -> Result<(), String> {
        let age = answer.sent.map_or(Duration::ZERO, |sent| asked.began.at.since(sent.at));
        // What a forebay knew that was stopped since, the next one does not.
        let told = |told: Option<(Stamp, u32)>| {
            told.is_some_and(|(when, to)| when < asked.began && to == asked.generation)
        };
        let fed = |fed: Option<(Stamp, u32)>| {
            fed.is_some_and(|(when, to)| when.at.after(SLACK) < asked.began.at && to == asked.generation)
        };
        let shortly = allowed.kept.min(SHORTLY);
        let most = match change.cause {
            Cause::Write(op) => {
                let record = &self.writes[op];
                let known = told(record.delivered.map(|(when, _)| (when, record.generation)));
                if known { shortly } else { allowed.kept }
            }
            Cause::BehindTask(task) => {
                let task = &self.tasks[task];
                if told(task.told_running) || fed(task.fed) { shortly } else { allowed.kept.min(CEILING) }
            }
            Cause::Logged(line) if fed(self.log[line].fed) => Duration::ZERO,
            Cause::Logged(_) => allowed.kept.min(CEILING),
            Cause::Behind | Cause::Beginning => allowed.kept,
        };
        if got.cache().contains("stale-if-error") && most > Duration::ZERO {
            return if age > allowed.in_outage + SLACK { Err(format!("{age:?} behind")) } else { Ok(()) };
        }
        if age > most + SLACK {
            return Err(format!("{age:?} behind, where {most:?} is allowed"));
        }
        // While nothing breaks the feed tells in time.
        let waited = asked.began.at.since(change.when.at);
        let calm = self.calm_since.is_some_and(|calm| change.when.at > calm.after(RECOVERS));
        let shown_by_feed = matches!(change.cause, Cause::BehindTask(_) | Cause::Logged(_));
        if self.has_feed && calm && shown_by_feed && age > SLACK && waited > SEEN_WITHIN + SLACK {
            return Err(format!("not seen for {waited:?}"));
        }
        Ok(())
    }

    /// What the client of an answer knows from here on.
    fn learn_from(&mut self, asked: &Asked, answer: &Answer, allowed: &Allowed) {
        // A HEAD tells nobody what the content would say.
        let (ended, running) =
            if asked.bodiless { (&[][..], &[][..]) } else { (&*answer.ended, &*answer.running) };
        for place in ended {
            self.tasks[*place].told_ended = true;
            for (cell, version) in self.tasks[*place].left.clone() {
                self.promise(cell, version, &format!("the end of task {place}"));
            }
        }
        let stamp = self.stamp();
        for place in running {
            let told = &mut self.tasks[*place].told_running;
            if told.is_none_or(|(_, to)| to != asked.generation) {
                *told = Some((stamp, asked.generation));
            }
        }
        if let Some(credential) = asked.credential {
            let holder = &mut self.people.credentials[credential];
            match answer.status {
                401 if holder.standing != Standing::Valid => drop(holder.told_refused.get_or_insert(stamp)),
                200 if !allowed.anonymous => drop(holder.told_accepted.get_or_insert(stamp)),
                _ => {}
            }
        }
    }
}

/// What is shown is what the API said, and to this request.
fn judge_bytes(asked: &Asked, got: &Got, answer: &Answer) -> Result<(), String> {
    if without_cache_buster(&answer.target) != without_cache_buster(&asked.target) {
        return Err(format!("the answer to {} was shown for {}", answer.target, asked.target));
    }
    if asked.bodiless || got.status == 304 {
        return Ok(());
    }
    let same = match got.field("content-encoding") {
        Some("gzip") => {
            let mut body = Vec::new();
            let read = flate2::read::GzDecoder::new(&*got.body).read_to_end(&mut body);
            read.is_ok() && body == answer.body
        }
        _ => got.body == answer.body,
    };
    if !same {
        return Err(format!("other bytes than the API's: {}", String::from_utf8_lossy(&got.body)));
    }
    Ok(())
}
