//! The border between credentials, under many orders of events: what one fetched reaches another only if
//! the API has accepted that one too, and only if it may be stored.
//!
//! Behind the real `Flights`, `Memory`, `Acceptance` and `Groups` stands an API that knows two tickets of
//! one principal and refuses a third, forged one, which claims the same principal. Readers fly with all
//! three, fetches end in every way, and meanwhile one of the true tickets is taken away: by a write
//! through forebay, or behind its back, which a 401 tells. After every step:
//!
//! 1. The forged ticket never gets an answer that was made for another.
//! 2. A failure is told to nobody but the credential that it was given to.
//! 3. Who reads after its ticket was known to be gone gets nothing, not even what was under way; once a
//!    401 has told it, nothing of others is handed over either.
//! 4. An entry never replaces a newer one, and only successes are stored.
//! 5. Nobody hangs.
//!
//! Each [`Mutation`] is one wrong use, and must be found.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::core::{Core, NoAnswer, entry, head};
use crate::cache::acceptance::{self, Acceptance, Evidence};
use crate::cache::flight::{Begin, Company, Crossing, Fill, Join, Keeping, Landing, Passenger, Waiter};
use crate::cache::groups::{GroupId, GroupName, Groups};
use crate::cache::key::{CredentialId, Key, Secret};
use crate::cache::memory::Memory;
use crate::clock::Timestamp;
use crate::rules::template::ACCEPTANCES;

const NOW: Timestamp = Timestamp::from_nanos(1_000);
const ONE: usize = 0;
const OTHER: usize = 1;
const FORGED: usize = 2;

/// Many more than are needed to find any mutation.
const SCHEDULES: u64 = 10_000;
const MOST_STEPS: usize = 2_000;

/// One wrong use of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    /// A credential that the API has not accepted joins the flight that others share.
    UnacceptedJoins,
    /// What a credential claims is enough for a hit.
    ClaimTrusted,
    /// Whoever waits gets the failure of whoever leads.
    FailureCrosses,
    /// A body that says whether it is a success is handed on before it was read.
    UnjudgedCrosses,
    /// A refusal accepts, too.
    RefusalAccepts,
    /// An acceptance is numbered when its answer comes instead of when its request left.
    AcceptedAtArrival,
    /// A write that takes rights away leaves the acceptances as they are.
    RightsKeepAcceptances,
    /// An answer is handed over without asking once more whether its reader is still accepted.
    HandedUnasked,
    /// A fetch beside others stores without looking at what is there.
    ReplacesNewer,
}

/// How an answer to a true ticket goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Whole,
    /// A success as its body says.
    Judged,
    /// A failure as its body says.
    Condemned,
    Fails,
    Lost,
}

/// What a body is: a version of the object, or a failure that one credential was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Version,
    FailureOf(usize),
}

enum Landed {
    Body { said: Option<Said>, is_owner: bool },
    Apart,
    Failed { is_owner: bool },
}

type Waiting = Pin<Box<dyn Future<Output = Landed>>>;

enum Machine {
    Looks(usize, Join),
    /// With whom it may fly, and whether it started after its ticket was known to be gone.
    Begins(usize, Join, Company, bool),
    Waits(usize, Waiting, bool),
    Fetches(usize, Fate, Fill<NoAnswer>),
    Ends(usize, Said, Fate, Fill<NoAnswer>),
    /// The API takes a ticket away, then forebay learns of it.
    Revokes(Told),
    Tells(Told),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    ByWrite,
    ByRefusal,
}

struct World<'w> {
    core: &'w Core,
    groups: &'w Arc<Groups>,
    acceptance: Acceptance,
    memory: Memory,
    who: [CredentialId; 3],
    acceptances: GroupId,
    key: Key,
    random: fastrand::Rng,
    mutation: Option<Mutation>,
    machines: Vec<Machine>,
    /// Whether the API has taken a ticket away, and how that is known here.
    revoked: bool,
    told: Option<Told>,
    newest_stored: Option<crate::cache::groups::Sequence>,
}

impl World<'_> {
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..MOST_STEPS {
            if self.machines.is_empty() {
                return match self.core.flights.is_empty() {
                    true => Ok(()),
                    false => Err("a flight is left".into()),
                };
            }
            let machine = self.machines.swap_remove(self.random.usize(..self.machines.len()));
            let next = self.step(machine)?;
            self.machines.extend(next);
            let stored = self.memory.get(self.key).map(|entry| entry.sequence());
            if stored < self.newest_stored {
                return Err("an entry replaced a newer one".into());
            }
            self.newest_stored = stored;
        }
        Err("somebody hangs".into())
    }

    fn mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn is_accepted(&self, who: usize) -> bool {
        self.acceptance.is_accepted(0, self.who[who], NOW, Duration::MAX)
    }

    fn company(&self, who: usize) -> Company {
        match self.is_accepted(who) || self.mutated(Mutation::UnacceptedJoins) {
            true => Company::Shared,
            false => Company::Own,
        }
    }

    /// The API refused `who`. What it fetches for itself is overtaken, unless nothing was known of it.
    fn refuse(&mut self, who: usize) {
        if self.acceptance.refuse(0, self.who[who]).was_known {
            self.groups.invalidate(&[self.core.ids[1 + who]]);
            if who == OTHER {
                self.told.get_or_insert(Told::ByRefusal);
            }
        }
    }

    /// What the store has for `who`.
    fn hit(&self, who: usize) -> bool {
        let entry = self.memory.get(self.key);
        let is_current = entry.is_some_and(|entry| self.groups.is_current(entry.sequence(), entry.groups()));
        is_current && (self.is_accepted(who) || self.mutated(Mutation::ClaimTrusted))
    }

    fn is_gone(&self, who: usize) -> bool {
        who == FORGED || who == OTHER && self.told.is_some()
    }

    /// `who` gets `said`, which others fetched if not `own`.
    fn got(&self, who: usize, said: Said, own: bool, was_gone: bool) -> Result<(), String> {
        match said {
            Said::FailureOf(whose) if whose != who => Err(format!("ticket {who} got the failure of {whose}")),
            Said::Version if who == FORGED => Err("the forged ticket got an answer".into()),
            Said::Version if was_gone => Err("a ticket that was gone got an answer".into()),
            Said::Version if !own && who == OTHER && self.told == Some(Told::ByRefusal) => {
                Err("a refused ticket got what another fetched".into())
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, machine: Machine) -> Result<Vec<Machine>, String> {
        Ok(match machine {
            Machine::Looks(who, join) => {
                let was_gone = self.is_gone(who);
                if join == Join::Allowed && self.hit(who) {
                    self.got(who, Said::Version, false, was_gone)?;
                    return Ok(Vec::new());
                }
                vec![Machine::Begins(who, join, self.company(who), was_gone)]
            }
            Machine::Begins(who, join, company, was_gone) => self.begin(who, join, company, was_gone)?,
            Machine::Waits(who, mut waiting, was_gone) => {
                match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Pending => vec![Machine::Waits(who, waiting, was_gone)],
                    Poll::Ready(Landed::Apart) => {
                        vec![Machine::Begins(who, Join::Allowed, Company::Own, was_gone)]
                    }
                    Poll::Ready(Landed::Body { said: Some(said), is_owner }) => {
                        let asked = is_owner || self.is_accepted(who);
                        let unasked = [Mutation::HandedUnasked, Mutation::UnacceptedJoins];
                        if !asked && !unasked.iter().any(|mutation| self.mutated(*mutation)) {
                            return Ok(vec![Machine::Begins(who, Join::Allowed, Company::Own, was_gone)]);
                        }
                        self.got(who, said, is_owner, was_gone)?;
                        Vec::new()
                    }
                    Poll::Ready(Landed::Failed { is_owner: false }) => {
                        return Err(format!("ticket {who} got the failure of another"));
                    }
                    Poll::Ready(Landed::Failed { .. } | Landed::Body { said: None, .. }) => Vec::new(),
                }
            }
            Machine::Fetches(who, fate, fill) => {
                let refused = who == FORGED || who == OTHER && self.revoked;
                let said = match refused || fate == Fate::Condemned {
                    true => Said::FailureOf(who),
                    false => Said::Version,
                };
                vec![Machine::Ends(who, said, fate, fill)]
            }
            Machine::Ends(who, said, fate, fill) => {
                self.end(who, said, fate, fill)?;
                Vec::new()
            }
            Machine::Revokes(told) => {
                self.revoked = true;
                vec![Machine::Tells(told)]
            }
            Machine::Tells(told) => {
                match told {
                    Told::ByWrite if self.mutated(Mutation::RightsKeepAcceptances) => {
                        self.groups.invalidate(&[self.core.ids[0]]);
                    }
                    Told::ByWrite => {
                        self.groups.invalidate(&[self.core.ids[0], self.acceptances]);
                    }
                    Told::ByRefusal => {
                        self.refuse(OTHER);
                        return Ok(Vec::new());
                    }
                }
                self.told = Some(told);
                Vec::new()
            }
        })
    }

    fn begin(
        &mut self,
        who: usize,
        join: Join,
        company: Company,
        was_gone: bool,
    ) -> Result<Vec<Machine>, String> {
        // Who claims to be the leader is told what the leader is.
        let named = if self.mutated(Mutation::FailureCrosses) { ONE } else { who };
        let passenger = Passenger { who: self.who[named], company, join, form: 0 };
        let begun = self.core.flights.begin(
            self.key,
            self.groups,
            passenger,
            || match company {
                Company::Shared => self.core.groups_of(&[0]),
                Company::Own => self.core.groups_of(&[0, 1 + who]),
            },
            || self.memory.get(self.key).filter(|_| self.hit(who)),
        );
        let wait = |waiter: Waiter<NoAnswer>| {
            let is_owner = waiter.is_owner();
            let landing = async move {
                match waiter.landing().await {
                    Landing::Shared(_, _, body) => {
                        let body = body.collect().await.ok().map(|body| body.to_bytes());
                        let said = body.map(|body| match body[..] {
                            [b'f', whose, ..] => Said::FailureOf(whose.into()),
                            _ => Said::Version,
                        });
                        Landed::Body { said, is_owner }
                    }
                    Landing::Apart => Landed::Apart,
                    Landing::Alone | Landing::Failed(NoAnswer) => Landed::Failed { is_owner },
                }
            };
            Machine::Waits(who, Box::pin(landing), was_gone)
        };
        Ok(match begun {
            Begin::Stored(_) => {
                self.got(who, Said::Version, false, was_gone)?;
                Vec::new()
            }
            Begin::Joined(waiter) => vec![wait(waiter)],
            Begin::Leads(fill, waiter) => {
                let fates =
                    [Fate::Whole, Fate::Whole, Fate::Judged, Fate::Condemned, Fate::Fails, Fate::Lost];
                let fate = fates[self.random.usize(..fates.len())];
                vec![wait(waiter), Machine::Fetches(who, fate, fill)]
            }
            Begin::Full => return Err("a flight of a few readers is full".into()),
        })
    }

    /// An answer arrives: what it tells of its credential, and who gets it.
    fn end(&mut self, who: usize, said: Said, fate: Fate, fill: Fill<NoAnswer>) -> Result<(), String> {
        match fate {
            Fate::Fails => {
                fill.fail(NoAnswer);
                return Ok(());
            }
            Fate::Lost => return Ok(()),
            _ => {}
        }
        let is_success = said == Said::Version;
        let in_body = matches!(fate, Fate::Judged | Fate::Condemned);
        let crossing = match (in_body, is_success) {
            (true, _) if self.mutated(Mutation::UnjudgedCrosses) => Crossing::Everybody,
            (true, _) => Crossing::Undecided,
            (false, true) => Crossing::Everybody,
            (false, false) => Crossing::Owner,
        };
        fill.share(head(), Keeping::Shared, crossing);
        let body = match said {
            Said::Version => Bytes::from_static(b"version!"),
            Said::FailureOf(whose) => Bytes::copy_from_slice(&[b'f', whose as u8]),
        };
        let _nobody_may_wait = fill.push(body);
        if is_success || self.mutated(Mutation::RefusalAccepts) {
            let sequence = match self.mutated(Mutation::AcceptedAtArrival) {
                true => self.groups.next(),
                false => fill.sequence(),
            };
            let evidence = Evidence { sequence, left: NOW };
            self.acceptance.accept(0, self.who[who], evidence, acceptance::Said::default);
        } else if !in_body {
            self.refuse(who);
        }
        fill.judged(if is_success { Crossing::Everybody } else { Crossing::Owner });
        if !is_success {
            fill.finish(|| ());
            return Ok(());
        }
        let kept = entry(1, fill.sequence(), fill.groups().clone());
        fill.finish(|| match self.mutated(Mutation::ReplacesNewer) {
            true => self.memory.insert(self.key, kept),
            false => self.memory.insert_newer(self.key, kept),
        });
        Ok(())
    }
}

/// Runs one schedule that `seed` draws.
fn schedule(core: &Core, groups: &Arc<Groups>, seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let secret = Secret::from_bytes(&[9; 16]);
    let acceptances = groups.id(0, GroupName::Named(ACCEPTANCES));
    let who = [&b"one"[..], b"other", b"forged"].map(|text| secret.credential(&[text]));
    let acceptance = Acceptance::new(groups.clone());
    for who in [who[ONE], who[OTHER]] {
        if random.u8(..4) > 0 {
            let evidence = Evidence { sequence: groups.next(), left: NOW };
            acceptance.accept(0, who, evidence, acceptance::Said::default);
        }
    }
    let mut machines: Vec<Machine> = (0..random.usize(3..8))
        .map(|_| {
            let join = if random.u8(..5) == 0 { Join::Refused } else { Join::Allowed };
            Machine::Looks(random.usize(..3), join)
        })
        .collect();
    match random.u8(..3) {
        0 => machines.push(Machine::Revokes(Told::ByWrite)),
        1 => machines.push(Machine::Revokes(Told::ByRefusal)),
        _ => {}
    }
    let memory = Memory::new(1 << 20, 1 << 10);
    let key = core.keys[0];
    let mut world = World {
        core,
        groups,
        acceptance,
        memory,
        who,
        acceptances,
        key,
        random,
        mutation,
        machines,
        revoked: false,
        told: None,
        newest_stored: None,
    };
    world.run().map_err(|what| format!("{what} (seed {seed})"))
}

/// What one schedule leaves in the table of marks is older than every number that the next takes.
fn parts() -> (Core, Arc<Groups>) {
    (Core::new(), Arc::new(Groups::new(Secret::from_bytes(&[7; 16]))))
}

#[test]
fn nothing_crosses_the_border_between_credentials() {
    let (core, groups) = parts();
    for seed in 0..SCHEDULES {
        schedule(&core, &groups, seed, None).unwrap_or_else(|found| panic!("{found}"));
    }
}

#[test]
fn every_wrong_use_of_the_border_is_found() {
    let cases = [
        (Mutation::UnacceptedJoins, "got an answer"),
        (Mutation::ClaimTrusted, "got an answer"),
        (Mutation::FailureCrosses, "got the failure of"),
        (Mutation::UnjudgedCrosses, "got the failure of"),
        (Mutation::RefusalAccepts, "got"),
        (Mutation::AcceptedAtArrival, "got"),
        (Mutation::RightsKeepAcceptances, "that was gone got an answer"),
        (Mutation::HandedUnasked, "a refused ticket got"),
        (Mutation::ReplacesNewer, "replaced a newer"),
    ];
    for (mutation, what) in cases {
        // Of its own: what it leaves behind must not reach the next.
        let (core, groups) = parts();
        let found = (0..SCHEDULES).find_map(|seed| schedule(&core, &groups, seed, Some(mutation)).err());
        let found = found.unwrap_or_else(|| panic!("{mutation:?} was not found"));
        assert!(found.contains(what), "{mutation:?} was found as {found}");
    }
}
