//! What must hold of every answer that comes through forebay: what holds for every API ([`Showing`],
//! [`super::super::acceptance`]), and what is special to this one. There is no feed: what somebody does behind
//! forebay's back shows within the lifetimes.

use std::time::Duration;

use forebay::rules::Sharing;

use super::super::client::Got;
use super::super::history::{Cause, Change, Stamp, Told, WriteRecord};
use super::super::rules::{Allowed, Rules};
use super::super::showing::{SHORTLY, Seen, Showing};
use super::answers::FOREBAY;
use super::bytes::{origin_of, plain};
use super::cells::Cell;
use super::reads::Read;
use super::world::{Answer, LEAST_SETTLE, World};
use super::writes::{Address, Write};

/// A read that a client is about to send.
pub struct Asked {
    /// When.
    pub began: Stamp,
    /// In which second of the wall clock.
    wall: u64,
    /// To which forebay.
    pub generation: u32,
    /// What.
    pub read: Read,
    /// The target as it is sent.
    pub target: String,
    /// With which token.
    pub credential: Option<usize>,
    /// Whether the answer must be fetched for it.
    pub fresh: bool,
    /// Whether it was HEAD.
    pub bodiless: bool,
    /// Whether a second token goes with it: nobody can say which of the two a refusal is about.
    pub doubled: bool,
    /// When the page was formed that named it.
    pub after: Option<Stamp>,
    /// The floors when it began.
    floors: Vec<(Cell, usize)>,
}

/// What a client learns of an operation that it waits for, or of the next page.
pub struct Learnt {
    /// What came of the read.
    pub seen: Seen,
    /// Where the next page is, and when this one was formed.
    pub next: Option<(String, Stamp)>,
}

impl World {
    /// A read begins.
    pub fn begin_read(&mut self, read: Read, target: String, credential: Option<usize>) -> Asked {
        let mut cells = read.cells();
        if let (Some(credential), false) = (credential, read.is_for_everyone()) {
            let principal = self.people.credentials[credential].principal;
            cells.extend(read.subscriptions().into_iter().map(|s| Cell::rights(principal, s)));
        }
        cells.extend(read.item());
        let floors = cells.iter().map(|cell| (*cell, self.cells[cell.index()].floor)).collect();
        Asked {
            began: self.stamp(),
            wall: self.clock.wall_seconds(),
            generation: self.generation,
            read,
            target,
            credential,
            fresh: false,
            bodiless: false,
            doubled: false,
            after: None,
            floors,
        }
    }

    /// Judges what came of a read, and takes note of what its client knows now.
    pub fn judge_read(&mut self, asked: &Asked, got: &Got, rules: &mut Rules) -> Result<Learnt, String> {
        let nothing = |seen| Ok(Learnt { seen, next: None });
        if !got.whole {
            return nothing(Seen::Lost);
        }
        let Some((id, is_item)) = origin_of(asked, got)? else { return nothing(Seen::Refused) };
        let (path, query) = plain(&asked.target);
        let allowed = match asked.read.is_posted() {
            true => rules.nothing(),
            false => rules.of(&path, Some(&query)),
        };
        let told = self.answers.remove(&id).ok_or("the answer is none of the API's")?;
        let item = if is_item { Some(self.as_item(asked, got, &told)?) } else { None };
        let answer = item.as_ref().unwrap_or(&told);
        let judged = self
            .judge_bytes(asked, got, answer)
            .and_then(|()| judge_addresses(got))
            .and_then(|()| self.judge_showing(asked, answer, &self.showing(asked, answer, &allowed, got)));
        self.learn_from(asked, answer, &allowed);
        let next = next_page(asked, got, answer);
        self.answers.insert(id, told);
        judged.map(|()| Learnt { seen: Seen::Answer, next })
    }

    /// A write begins.
    pub fn begin_write(&mut self, write: Write) -> usize {
        let generation = self.generation;
        self.writes.push(WriteRecord::new(write, generation));
        self.writes.len() - 1
    }

    /// Judges what came of the write `op`, which `credential` sent to `target`, and takes note of what its
    /// client knows now: the operation that it may wait for.
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
            self.write_down(|| format!("nobody knows what became of write {op}: {}", got.status));
            return Ok((Seen::Refused, None));
        };
        judge_addresses(got)?;
        let answer = self.answers.get(&id).ok_or("the answer is none of the API's")?;
        if answer.credential != Some(credential) || answer.target != target || got.body != answer.body {
            return Err(format!("the answer to write {op} of {credential} is another's"));
        }
        let (status, names, shows) = (answer.status, answer.names, answer.shows.clone());
        let unknown = matches!(status, 502 | 504);
        let told = if unknown { Told::Unknown } else { Told::Outcome };
        let is_done = (200..300).contains(&status);
        let settles = (is_done || matches!(status, 409 | 412 | 500)).then(|| settle.max(LEAST_SETTLE));
        self.writes[op].is_told(when, told, settles);
        self.write_down(|| format!("write {op} of {credential} is told {status}, operation {names:?}"));
        let holder = &mut self.people.credentials[credential].holder;
        // What can be provoked by anybody counts only for those whom the API let in before.
        let counts = status != 400 || holder.was_let_in();
        match status {
            200..300 => holder.told_of_write(when, self.generation),
            401 => holder.told_of_refusal(when),
            _ => {}
        }
        for (cell, version) in shows.into_iter().filter(|_| counts && !unknown) {
            self.promise(cell, version, &format!("write {op}"));
        }
        Ok((Seen::Answer, names.filter(|_| is_done)))
    }

    /// Who sees it, how old it is, and what is missing.
    fn judge_showing(&self, asked: &Asked, answer: &Answer, showing: &Showing) -> Result<(), String> {
        self.judge_partition(asked, answer, showing)?;
        showing.judge_age()?;
        if asked.after.is_some_and(|after| answer.formed < after) {
            return Err("a page that is older than the one before it".into());
        }
        // What a forebay without a disk knew of the last minute ends with it, and lists lag.
        let holds =
            |(cell, floor): &&(Cell, usize)| !answer.listed || *floor > self.floors_before[cell.index()];
        let floors: Vec<_> = asked.floors.iter().filter(holds).copied().collect();
        showing.judge_versions(
            &answer.shows,
            &floors,
            |cell| &self.cells[cell.index()],
            |change| self.judge_gap(showing, change),
        )
    }

    /// No byte crosses a partition, and nothing is shown to who is not accepted.
    fn judge_partition(&self, asked: &Asked, answer: &Answer, showing: &Showing) -> Result<(), String> {
        let allowed = showing.allowed;
        let is_success = answer.status < 300;
        if answer.credential == asked.credential && !is_success {
            return Ok(());
        }
        let crossed = match (allowed.share, is_success) {
            _ if answer.credential == asked.credential => false,
            // A failure, a refusal or what is not for sharing is for its own token alone.
            (_, false) => true,
            (Sharing::Everyone, _) => false,
            (Sharing::Principal, _) => !self.people.are_one(answer.credential, asked.credential),
            _ => true,
        };
        if crossed {
            return Err(format!(
                "made for {:?} with {}, shown to {:?}",
                answer.credential, answer.status, asked.credential
            ));
        }
        if allowed.anonymous || !is_success || asked.read.is_for_everyone() {
            return Ok(());
        }
        let holder = asked.credential.map(|credential| &self.people.credentials[credential]);
        let Some(holder) = holder else { return Err("data for a caller without a token".into()) };
        holder.holder.judge(showing)?;
        // What the API formed before knew nothing of the end that has come.
        if answer.formed < asked.began && asked.wall >= holder.ends {
            return Err("data for a token that has ended by itself".into());
        }
        Ok(())
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
            is_brief: answer.moves || self.is_settling(asked, answer),
            cache: got.cache(),
            allowed,
            answering: &self.answering,
        }
    }

    /// Whether `answer` was formed while the API might have lagged behind a write that it shows.
    fn is_settling(&self, asked: &Asked, answer: &Answer) -> bool {
        answer.shows.iter().any(|(cell, version)| {
            let Cause::Write(op) = self.cells[cell.index()].history[*version].cause else { return false };
            self.writes[op].is_settling(answer.formed, asked.generation)
        })
    }

    /// Whether a change may be missing from an answer as old as this one.
    fn judge_gap(&self, showing: &Showing, change: Change) -> Result<(), String> {
        let kept = showing.allowed.kept;
        let most = match change.cause {
            Cause::Write(op) if showing.was_told(self.writes[op].told()) => kept.min(SHORTLY),
            _ => kept,
        };
        showing.judge_gap(most)
    }

    /// What the client of an answer knows from here on.
    fn learn_from(&mut self, asked: &Asked, answer: &Answer, allowed: &Allowed) {
        if let (Some((place, false)), false) = (answer.tells, asked.bodiless) {
            self.told_of_end(place, asked);
        }
        // A resource that was answered as moving and does so no more: what its write did is done.
        // A list is not heard for that.
        if let (Some(item), 200, false) = (asked.read.item(), answer.status, asked.bodiless || answer.listed)
            && matches!(asked.read, Read::Item(_) | Read::Expanded(_))
        {
            for place in 0..self.operations.len() {
                let operation = &self.operations[place];
                let Cause::Write(op) = operation.cause else { continue };
                let record = &self.writes[op];
                let shows_it = operation.moves
                    && operation.write.resource() == Some(item)
                    && matches!(operation.write.request().0, "PUT" | "PATCH");
                let delivered = record.delivered.filter(|(_, told)| *told == Told::Outcome);
                let knew = delivered.is_some_and(|(when, _)| when < asked.began);
                let is_over = operation.ended.is_some_and(|ended| ended < answer.formed);
                let same = record.generation == asked.generation;
                if shows_it && knew && is_over && same && !answer.moves && !operation.told_ended {
                    self.told_ended(place, &format!("the state of {item} after operation {place}"), None);
                }
            }
        }
        let stamp = self.stamp();
        if let Some(credential) = asked.credential {
            let holder = &mut self.people.credentials[credential].holder;
            match answer.status {
                401 if !asked.doubled => holder.told_of_refusal(stamp),
                200..300 if !allowed.anonymous => holder.told_of_success(stamp),
                _ => {}
            }
        }
    }

    /// A client was told at an address that an operation has ended.
    fn told_of_end(&mut self, place: usize, asked: &Asked) {
        let operation = &self.operations[place];
        let same = match operation.cause {
            Cause::Write(op) => {
                let record = &self.writes[op];
                record.generation == asked.generation
                    && record
                        .delivered
                        .is_some_and(|(when, told)| when < asked.began && told == Told::Outcome)
            }
            _ => false,
        };
        let is_odd = matches!(operation.addresses.as_slice(), [(Address::Odd, _), ..]);
        let by = format!("the end of operation {place}");
        match same {
            true => self.told_ended(place, &by, None),
            // One that this forebay knows nothing of: its address names a subscription, if it has the form.
            false if !is_odd => {
                let subscription = operation.write.subscription();
                self.told_ended(place, &by, Some(subscription));
            }
            false => self.operations[place].told_ended = true,
        }
    }

    fn told_ended(&mut self, place: usize, by: &str, within: Option<usize>) {
        self.operations[place].told_ended = true;
        for (cell, version) in self.operations[place].left.clone() {
            if within.is_none_or(|subscription| cell.subscription() == subscription) {
                self.promise(cell, version, by);
            }
        }
    }

    /// Whether somebody else's token fetched what was shown.
    pub fn is_of_another(&self, asked: &Asked, got: &Got) -> bool {
        let id = origin_of(asked, got).ok().flatten();
        let maker = id.and_then(|(id, _)| self.answers.get(&id)?.credential);
        maker != asked.credential && !asked.read.is_for_everyone()
    }
}

/// Every address in a head leads to forebay.
fn judge_addresses(got: &Got) -> Result<(), String> {
    for name in ["azure-asyncoperation", "operation-location", "location"] {
        if let Some(address) = got.field(name).filter(|address| !address.starts_with(FOREBAY)) {
            return Err(format!("{name} leads past forebay: {address}"));
        }
    }
    Ok(())
}

/// Where the next page is, by the body that a client got.
fn next_page(asked: &Asked, got: &Got, answer: &Answer) -> Option<(String, Stamp)> {
    asked.read.page()?;
    let text = std::str::from_utf8(&answer.body).ok().filter(|_| got.status == 200)?;
    let link = text.split_once(r#""nextLink":""#)?.1.split('"').next()?;
    Some((link.strip_prefix(FOREBAY)?.to_owned(), answer.formed))
}
