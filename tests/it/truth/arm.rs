//! The same for Azure's Resource Manager: a model of it that knows what each request may be shown.
//!
//! Two subscriptions with two groups each, machines with their disks and interfaces, networks, accounts, and a
//! site of a provider that no rule is about, each with the parts that live in or below it ([`cells`]). A write
//! changes what the providers change, not what forebay's rules say ([`writes`]): a machine takes its disk, its
//! interface and the subnet with it, an interface shows in whatever it leads to, a deployment changes what it
//! likes in any group of the subscription, a group goes with all that is in it, resources move between
//! subscriptions. Reads show them as items, with `$expand`, as parts, in lists of groups, subscriptions and a
//! location, page after page, in two versions of the API and three ways of writing letters ([`reads`]).
//!
//! Writes are done at once, or answered with 200 or 201 and a state that moves, or with 202; operations have
//! addresses of every kind under all hosts that ARM names ([`operations`], [`answers`]), and some can only be
//! told by their resource. Tokens are JWTs of users and applications, of which two are the same user with other
//! groups; some end by themselves, some are taken back and challenged, some are forged ([`people`]).
//!
//! What holds ([`check`]) is what holds for Proxmox, and beyond it:
//!
//! - A read that began after a client was told of an operation's end, at any of its addresses or by the state of
//!   its resource, shows what it did, in every form and list, whoever asks.
//! - What shows a state that moves is kept for a second, whoever began that.
//! - A page is never older than the page that named it.
//! - What must be ARM's own answer is: for those that read in order to write or wait (`CommandName`), with a
//!   condition, a second token or a wish for another form, at an operation's address, by POST, by HEAD.
//! - Nothing is shown past a token's own end.
//! - Every address in an answer leads to forebay, and nothing else in it is changed.
//!
//! In every eighth seed (3, 11, ...) every token lives for seconds, and few things are read, which are kept for long
//! or on their way for long: what is special to the end of a token shows only there.
//!
//! In another eighth (7, 15, ...) the rules of `deploy/azure-fewer-calls.yaml` stand in front: lists are read in place
//! of interfaces and addresses, and lag behind them for some seconds; one entry is for all spellings ([`bytes`]).
//!
//! There is no feed: what others do shows within the lifetimes. In half of all seeds principals share, and the
//! last known state is shown in outages. `tests/mutations/run` breaks what is special to this API too; the
//! patches say so with `# test: truth::arm::long`. What it printed, in operations until the first violation:
//!
//! | broken | found after | as |
//! |---|---|---|
//! | a page that comes anew leaves those behind it | 4,863 | a page that is older than the one before it |
//! | groups keep the letters of the client | 2,260 | the past, after a write was told |
//! | groups keep the version of the API | 2,374 | the past, after a write was told |
//! | a deployment reaches its own group only | 604 | the past, after a write was told |
//! | that a resource moves no more ends nothing | 174 | the past, after its state was told |
//! | the end of an operation overtakes nothing | 174 | the past, after its end was told |
//! | operations of others end without a word | 1,730 | the past, after an operation's end was told |
//! | a second token beside the first is ignored | 245 | an answer from before the request |
//! | those that read to write see the cache | 61 | an answer from before the request |
//! | two tokens of a user with other groups are one | 2,104 | made for one, shown to another |
//! | a claimed principal is trusted | 2,221 | data for a credential that the API never accepted |
//! | addresses at a region's host stay | 27 | other bytes than the API's |
//! | a write overtakes after its answer was handed over | 117 | the past, after a write was told |
//! | a hit does not ask what overtook it | 113 | the past, after a write was told |
//! | the key leaves out whose answer it is | 21 | made for one, shown to another |
//! | a failure crosses credentials | 4,131 | made for one with 403, shown to another |
//! | a 401 ends no acceptance | 2,349 | data after its holder was told of the 401 |
//! | kept for long while an operation runs, or right after a write | 251 | an answer that is too old |
//! | a state that moves is kept as long as all else | 16,202 | an answer that is too old |
//! | a token never ends | 4,199 | data for a token that has ended by itself |
//! | a token that has ended joins what it asked for before | 4,414 | data for a token that has ended by itself |
//! | a list tells of what was written a moment ago | 13,544 | the past, after its state was told |
//! | what is kept warm belongs to no group | 32,936, in seed 17 | the past, after an operation's end was told |
//! | an entry for all spellings is shown as it came | 12,106 | other bytes than the API's |

mod answers;
mod api;
mod bytes;
mod cells;
mod check;
mod operations;
mod people;
mod plan;
mod reads;
mod world;
mod writes;

use super::field::Tally;
use super::{many, one};

/// The seeds of every `cargo test`, and how many requests each has.
const SHORT: [u64; 3] = [6, 14, 23];
const OF_SHORT: u64 = 1_000;

/// The name of the test with as many as are asked for.
const LONG: &str = "truth::arm::long";

/// A few seeds, always the same.
#[test]
fn short() {
    let mut sum = Tally::default();
    for seed in SHORT {
        sum.add(&one(LONG, api::run, seed, OF_SHORT).unwrap_or_else(|found| panic!("{found}")));
    }
    assert!(sum.hits > sum.operations / 10, "next to nothing was kept, so nothing was tried: {sum:?}");
    assert!(sum.refreshed > 40 + sum.stale, "next to nothing was kept warm: {sum:?}");
    assert!(sum.written > 30 && sum.ended > 10 && sum.restarts > 0 && sum.reloads > 0, "{sum:?}");
}

/// As many as are asked for, on every core.
#[test]
#[ignore = "a million operations take minutes; see CONTRIBUTING.md"]
fn long() {
    many(LONG, api::run);
}
