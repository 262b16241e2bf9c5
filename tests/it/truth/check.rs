//! What must hold of every answer that comes through forebay: what holds for every API ([`Showing`],
//! [`super::acceptance`]), and what is special to this one.

use std::io::Read as _;
use std::time::Duration;

use forebay::clock::Timestamp;
use forebay::rules::Sharing;

use super::answers::without_cache_buster;
use super::cells::{Cell, Read, Write};
use super::client::Got;
use super::history::{Cause, Change, Stamp, Told, WriteRecord};
use super::people::rights;
use super::proxmox::FEED;
use super::rules::{Allowed, Rules};
use super::showing::{SHORTLY, SLACK, Seen, Showing};
use super::world::{Answer, World};

/// How soon what the feed tells is seen, if it is read every two seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// How long after a time of trouble the feed may take until it is read evenly again.
const RECOVERS: Duration = Duration::from_secs(8);

/// For how long what a task could change is kept while the feed is not read.
pub const CEILING: Duration = Duration::from_secs(if FEED { 10 } else { 1_000_000 });

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
        let answer = self.answers.remove(&id).ok_or("the answer is none of the API's")?;
        if let Some(etag) = got.field("etag") {
            self.etags.insert(etag.to_owned(), id);
        }
        let judged = judge_bytes(asked, got, &answer)
            .and_then(|()| self.judge_showing(asked, &answer, &self.showing(asked, &answer, &allowed, got)));
        self.learn_from(asked, &answer, &allowed);
        self.answers.insert(id, answer);
        judged.map(|()| Seen::Answer)
    }

    /// A write begins.
    pub fn begin_write(&mut self, write: Write) -> usize {
        let generation = self.generation;
        self.writes.push(WriteRecord::new(write, generation));
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
        self.writes[op].judge(op)?;
        let Some(got) = got.filter(|got| got.whole) else { return Ok((Seen::Lost, None)) };
        let when = self.stamp();
        let Some(id) = got.field("x-model").and_then(|id| u128::from_str_radix(id, 16).ok()) else {
            self.writes[op].is_told(when, Told::Unknown, None);
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
        self.writes[op].is_told(when, told, matches!(status, 200 | 500).then_some(settle));
        self.note(|| format!("write {op} of {credential} is told {status}, task {names:?}"));
        let holder = &mut self.people.credentials[credential].holder;
        // What can be provoked by anybody counts only for those whom the API let in before.
        let counts = status != 400 || holder.was_let_in();
        match status {
            200 => holder.told_of_write(when, self.generation),
            401 => holder.told_of_refusal(when),
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

    /// Who sees it, how old it is, and what is missing.
    fn judge_showing(&self, asked: &Asked, answer: &Answer, showing: &Showing) -> Result<(), String> {
        self.judge_partition(asked, answer, showing)?;
        showing.judge_age()?;
        showing.judge_versions(
            &answer.shows,
            &asked.floors,
            |cell| &self.cells[cell.index()],
            |change| self.judge_gap(showing, change),
        )
    }

    /// No byte crosses a partition, and nothing is shown to who is not accepted.
    fn judge_partition(&self, asked: &Asked, answer: &Answer, showing: &Showing) -> Result<(), String> {
        let allowed = showing.allowed;
        if answer.credential == asked.credential && answer.status != 200 {
            return Ok(());
        }
        let credentials = &self.people.credentials;
        let crossed = match (allowed.share, answer.status) {
            _ if answer.credential == asked.credential => false,
            // A failure, a refusal or what is not for sharing is for its own credential alone.
            (_, status) if status != 200 => true,
            (Sharing::Everyone, _) => false,
            (Sharing::Principal, _) => {
                let of = |credential: Option<usize>| credential.map(|c| credentials[c].principal);
                of(answer.credential) != of(asked.credential)
            }
            (Sharing::Rights, _) => !self.had_equal_rights(asked, answer, showing),
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
        let Some(holder) = showing.holder else {
            return Err("data for a caller without a credential".into());
        };
        let told = self.access_told.is_some_and(|told| told < asked.began);
        let changed = self.access_changed.filter(|_| told);
        if holder.accepted().zip(changed).is_some_and(|(accepted, changed)| accepted < changed) {
            return Err("data for a credential accepted before rights were changed".into());
        }
        holder.judge(showing)
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
    fn had_equal_rights(&self, asked: &Asked, answer: &Answer, showing: &Showing) -> bool {
        let (Some(maker), Some(reader)) = (answer.credential, asked.credential) else { return false };
        let [maker, reader] = [maker, reader].map(|credential| self.people.credentials[credential].principal);
        if maker == reader {
            return true;
        }
        // Nothing was asked before the last change whose writer was told.
        let told = self.access_changed.filter(|_| self.access_told.is_some_and(|told| told < asked.began));
        let began = showing.words_since(self.clock.now());
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
        let before = had(maker, answer.formed.at.before(showing.allowed.accept_for + SLACK), answer.formed);
        let after = had(maker, began.max(answer.formed.at), asked.began);
        let known = before.into_iter().filter(|rights| began <= answer.formed.at || after.contains(rights));
        made_with.into_iter().chain(known).any(|rights| of_reader.contains(&rights))
    }

    fn showing<'a>(
        &'a self,
        asked: &Asked,
        answer: &Answer,
        allowed: &'a Allowed,
        got: &'a Got,
    ) -> Showing<'a> {
        Showing {
            began: asked.began,
            generation: asked.generation,
            fresh: asked.fresh,
            holder: asked.credential.map(|credential| &self.people.credentials[credential].holder),
            formed: answer.formed,
            sent: answer.sent,
            status: answer.status,
            is_brief: answer.in_transition || self.is_settling(asked, answer),
            cache: got.cache(),
            allowed,
            answering: &self.answering,
        }
    }

    /// Whether `answer` was formed while another node might have lagged behind a write that it shows.
    fn is_settling(&self, asked: &Asked, answer: &Answer) -> bool {
        answer.shows.iter().any(|(cell, version)| {
            let Cause::Write(op) = self.cells[cell.index()].history[*version].cause else { return false };
            self.writes[op].is_settling(answer.formed, asked.generation)
        })
    }

    /// Whether a change may be missing from an answer as old as this one.
    fn judge_gap(&self, showing: &Showing, change: Change) -> Result<(), String> {
        let (began, kept) = (showing.began, showing.allowed.kept);
        let fed = |fed: Option<(Stamp, u32)>| {
            fed.is_some_and(|(when, to)| when.at.after(SLACK) < began.at && to == showing.generation)
        };
        let most = match change.cause {
            Cause::Write(op) if showing.was_told(self.writes[op].told()) => kept.min(SHORTLY),
            Cause::BehindTask(task) => {
                let task = &self.tasks[task];
                let known = showing.was_told(task.told_running) || fed(task.fed);
                kept.min(if known { SHORTLY } else { CEILING })
            }
            Cause::Logged(line) if fed(self.log[line].fed) => Duration::ZERO,
            Cause::Logged(_) => kept.min(CEILING),
            Cause::Write(_) | Cause::Behind | Cause::Beginning => kept,
        };
        showing.judge_gap(most)?;
        if showing.is_in_place_of_an_error() && most > Duration::ZERO {
            return Ok(());
        }
        // While nothing breaks the feed tells in time.
        let waited = began.at.since(change.when.at);
        let calm = self.calm_since.is_some_and(|calm| change.when.at > calm.after(RECOVERS));
        let shown_by_feed = matches!(change.cause, Cause::BehindTask(_) | Cause::Logged(_));
        if self.has_feed && calm && shown_by_feed && showing.age() > SLACK && waited > SEEN_WITHIN + SLACK {
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
            let holder = &mut self.people.credentials[credential].holder;
            match answer.status {
                401 => holder.told_of_refusal(stamp),
                200 if !allowed.anonymous => holder.told_of_success(stamp),
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
