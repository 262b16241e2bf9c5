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

mod steps;

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
