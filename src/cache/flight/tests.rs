use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;

use super::*;
use crate::cache::groups::{GroupName, Groups};
use crate::cache::key::{Key, KeyParts, Partition, Secret};
use crate::semantics::query::Syntax;

#[derive(Clone, Debug, PartialEq)]
enum Failure {
    Upstream,
    Leader,
}

impl From<LeaderLost> for Failure {
    fn from(_: LeaderLost) -> Self {
        Failure::Leader
    }
}

struct Rig {
    flights: Arc<Flights<Failure>>,
    groups: Groups,
    key: Key,
    ids: Arc<[GroupId]>,
    one: CredentialId,
    other: CredentialId,
}

impl Rig {
    fn new() -> Self {
        let secret = Secret::random();
        let key = secret.key(&KeyParts {
            site: 0,
            rule: 0,
            partition: Partition::of(CredentialId::ANONYMOUS),
            endpoint: None,
            path: "/a",
            query: None,
            syntax: Syntax::Plain,
            ignored_query: &[],
            variant: None,
        });
        let (one, other) = (secret.credential(&[b"one"]), secret.credential(&[b"other"]));
        let groups = Groups::new(secret);
        let ids = [groups.id(0, GroupName::Named("g"))].into();
        Self { flights: Arc::default(), groups, key, ids, one, other }
    }

    fn begin(&self, join: Join) -> Begin<Failure> {
        self.board(Passenger { who: self.one, company: Company::Shared, join, form: 0 })
    }

    fn board(&self, passenger: Passenger) -> Begin<Failure> {
        self.flights.begin(self.key, &self.groups, passenger, || self.ids.clone(), || None)
    }

    fn lead(&self) -> (Fill<Failure>, Waiter<Failure>) {
        self.lead_as(self.one, Company::Shared)
    }

    fn lead_as(&self, who: CredentialId, company: Company) -> (Fill<Failure>, Waiter<Failure>) {
        match self.board(Passenger { who, company, join: Join::Allowed, form: 0 }) {
            Begin::Leads(fill, waiter) => (fill, waiter),
            _ => panic!("expected to lead"),
        }
    }

    fn join(&self) -> Waiter<Failure> {
        self.join_as(self.one)
    }

    fn join_as(&self, who: CredentialId) -> Waiter<Failure> {
        match self.board(Passenger { who, company: Company::Shared, join: Join::Allowed, form: 0 }) {
            Begin::Joined(waiter) => waiter,
            _ => panic!("expected to join"),
        }
    }
}

fn head() -> Arc<Head> {
    Arc::new(Head { status: StatusCode::OK, reason: None, fields: HeaderMap::new() })
}

async fn shared(waiter: Waiter<Failure>) -> FlightBody<Failure> {
    match waiter.landing().await {
        Landing::Shared(_, _, body) => body,
        _ => panic!("expected a shared answer"),
    }
}

#[tokio::test]
async fn everybody_reads_the_whole_body_whenever_they_came() {
    let rig = Rig::new();
    let (fill, first) = rig.lead();
    let second = rig.join();
    fill.share(head(), Keeping::Kept, Crossing::Everybody);
    fill.push(Bytes::from_static(b"ab")).expect("kept");
    let late = rig.join();
    fill.push(Bytes::from_static(b"c")).expect("kept");
    let stored = AtomicUsize::new(0);
    fill.finish(|| stored.store(1, Ordering::SeqCst));
    for waiter in [first, second, late] {
        let whole = shared(waiter).await.collect().await.expect("whole").to_bytes();
        assert_eq!(&whole[..], b"abc");
    }
    assert_eq!(stored.into_inner(), 1);
    assert!(rig.flights.is_empty());
}

#[tokio::test]
async fn a_failure_reaches_all_waiters_and_a_lost_leader_is_one() {
    let rig = Rig::new();
    let (fill, first) = rig.lead();
    let second = rig.join();
    fill.fail(Failure::Upstream);
    for waiter in [first, second] {
        assert!(matches!(waiter.landing().await, Landing::Failed(Failure::Upstream)));
    }
    let (fill, waiter) = rig.lead();
    drop(fill);
    assert!(matches!(waiter.landing().await, Landing::Failed(Failure::Leader)));
    let (fill, waiter) = rig.lead();
    fill.share(head(), Keeping::Kept, Crossing::Everybody);
    drop(fill);
    assert_eq!(shared(waiter).await.collect().await.expect_err("broken"), Interrupted::Upstream);
    assert!(rig.flights.is_empty());
}

#[tokio::test]
async fn an_answer_that_is_not_for_sharing_releases_all() {
    let rig = Rig::new();
    let (fill, first) = rig.lead();
    let second = rig.join();
    fill.release();
    for waiter in [first, second] {
        assert!(matches!(waiter.landing().await, Landing::Alone));
    }
}

#[tokio::test]
async fn a_reader_after_a_write_does_not_join_and_the_old_flight_stores_nothing() {
    let rig = Rig::new();
    let (old, before) = rig.lead();
    rig.groups.invalidate(&rig.ids);
    let (new, after) = rig.lead();
    assert!(new.sequence() > old.sequence());
    let stored = parking_lot::Mutex::new(Vec::new());
    for (fill, name) in [(old, "old"), (new, "new")] {
        fill.share(head(), Keeping::Kept, Crossing::Everybody);
        fill.finish(|| stored.lock().push(name));
    }
    assert_eq!(stored.into_inner(), ["new"]);
    shared(before).await;
    shared(after).await;
}

#[tokio::test]
async fn a_forced_fetch_is_new_and_later_readers_join_it() {
    let rig = Rig::new();
    let (old, _waiter) = rig.lead();
    let Begin::Leads(new, _waiter) = rig.begin(Join::Refused) else { panic!("expected to lead") };
    assert_eq!(rig.join().sequence(), new.sequence());
    assert_ne!(old.sequence(), new.sequence());
}

#[tokio::test]
async fn a_body_that_only_streams_is_held_for_the_slowest_reader_until_it_is_cut() {
    let rig = Rig::new();
    let (fill, fast) = rig.lead();
    let slow = rig.join();
    fill.share(head(), Keeping::Kept, Crossing::Everybody);
    let (mut fast, mut slow) = (shared(fast).await, shared(slow).await);
    fill.stream_only();
    assert!(rig.flights.is_empty(), "nobody may join what is not kept");
    let chunk = Bytes::from(vec![7; WINDOW]);
    for _ in 0..2 {
        fill.push(chunk.clone()).expect("two read");
        assert_eq!(fast.frame().await.expect("a frame").expect("data").into_data().expect("data"), chunk);
    }
    assert!(futures_util::poll!(std::pin::pin!(fill.room())).is_pending());
    fill.cut_slowest();
    fill.room().await;
    assert_eq!(slow.frame().await.expect("an end").expect_err("cut"), Interrupted::TooSlow);
    assert_eq!(rig.flights.len(), 0);
    drop((fast, slow));
    assert_eq!(fill.push(chunk), Err(NobodyWaits));
}

#[tokio::test]
async fn a_waiter_that_leaves_harms_nobody() {
    let rig = Rig::new();
    let (fill, leader) = rig.lead();
    let other = rig.join();
    drop(leader);
    fill.share(head(), Keeping::Kept, Crossing::Everybody);
    fill.push(Bytes::from_static(b"x")).expect("kept");
    fill.finish(|| ());
    assert_eq!(&shared(other).await.collect().await.expect("whole").to_bytes()[..], b"x");
}

#[tokio::test]
async fn whoever_waits_learns_of_every_end_in_whatever_order_the_fill_was_used() {
    type End = fn(Fill<Failure>);
    let ends: [End; 4] =
        [|fill| fill.finish(|| ()), Fill::break_off, Fill::release, |fill| fill.fail(Failure::Upstream)];
    for end in ends {
        let rig = Rig::new();
        let (fill, waiter) = rig.lead();
        let mut landing = std::pin::pin!(waiter.landing());
        assert!(futures_util::poll!(&mut landing).is_pending());
        end(fill);
        assert!(futures_util::poll!(&mut landing).is_ready(), "who waits for the head");
    }
    for end in ends {
        let rig = Rig::new();
        let (fill, waiter) = rig.lead();
        fill.share(head(), Keeping::Kept, Crossing::Everybody);
        let mut body = std::pin::pin!(shared(waiter).await.collect());
        assert!(futures_util::poll!(&mut body).is_pending());
        end(fill);
        assert!(futures_util::poll!(&mut body).is_ready(), "who reads the body");
    }
}

#[tokio::test]
async fn a_store_that_panics_leaves_no_flight_and_nobody_hanging() {
    let rig = Rig::new();
    let (fill, waiter) = rig.lead();
    fill.share(head(), Keeping::Kept, Crossing::Everybody);
    let finish = std::panic::AssertUnwindSafe(|| fill.finish(|| panic!("the store fails")));
    std::panic::catch_unwind(finish).expect_err("panics");
    assert!(rig.flights.is_empty());
    assert_eq!(shared(waiter).await.collect().await.expect_err("broken"), Interrupted::Upstream);
}

#[tokio::test]
async fn nobody_is_cut_who_made_room_in_time() {
    let rig = Rig::new();
    let (fill, reader) = rig.lead();
    fill.share(head(), Keeping::Kept, Crossing::Everybody);
    let mut reader = shared(reader).await;
    fill.stream_only();
    fill.push(Bytes::from(vec![7; WINDOW + 1])).expect("one reads");
    assert!(futures_util::poll!(std::pin::pin!(fill.room())).is_pending());
    reader.frame().await.expect("a frame").expect("data");
    fill.cut_slowest();
    fill.push(Bytes::from_static(b"x")).expect("one still reads");
    reader.frame().await.expect("a frame").expect("not cut");
}

#[tokio::test]
async fn a_detached_flight_serves_who_waits_and_nobody_else() {
    let rig = Rig::new();
    let (fill, waiter) = rig.lead();
    assert_eq!(rig.flights.detach_all(), 1);
    let (second, _waiter) = rig.lead();
    fill.share(head(), Keeping::Kept, Crossing::Everybody);
    fill.push(Bytes::from_static(b"old")).unwrap();
    fill.finish(|| panic!("a detached flight stores nothing"));
    assert_eq!(shared(waiter).await.collect().await.unwrap().to_bytes(), "old");
    assert_eq!(rig.flights.len(), 1, "the second flight is still under way");
    drop(second);
}

#[tokio::test]
async fn only_what_is_for_the_store_crosses_from_one_credential_to_another() {
    type End = fn(Fill<Failure>);
    let ends: [(End, bool); 9] = [
        (|fill| fill.fail(Failure::Upstream), false),
        (drop, false),
        (|fill| fill.share(head(), Keeping::Shared, Crossing::Owner), false),
        (|fill| fill.share(head(), Keeping::Kept, Crossing::Everybody), true),
        (
            |fill| {
                fill.share(head(), Keeping::Kept, Crossing::Undecided);
                fill.judged(Crossing::Everybody);
                fill.finish(|| ());
            },
            true,
        ),
        (
            |fill| {
                fill.share(head(), Keeping::Kept, Crossing::Undecided);
                fill.judged(Crossing::Owner);
                fill.finish(|| ());
            },
            false,
        ),
        // Nobody judged it.
        (
            |fill| {
                fill.share(head(), Keeping::Kept, Crossing::Undecided);
                fill.finish(|| ());
            },
            false,
        ),
        (
            |fill| {
                fill.share(head(), Keeping::Kept, Crossing::Undecided);
                fill.break_off();
            },
            false,
        ),
        (
            |fill| {
                fill.share(head(), Keeping::Kept, Crossing::Undecided);
                fill.stream_only();
                std::mem::forget(fill);
            },
            false,
        ),
    ];
    for (number, (end, crosses)) in ends.into_iter().enumerate() {
        let rig = Rig::new();
        let (fill, own) = rig.lead();
        let (second, foreign) = (rig.join(), rig.join_as(rig.other));
        assert!(own.is_owner() && second.is_owner() && !foreign.is_owner());
        let mut waits = std::pin::pin!(foreign.landing());
        assert!(futures_util::poll!(&mut waits).is_pending());
        end(fill);
        for own in [own, second] {
            assert!(!matches!(own.landing().await, Landing::Apart), "end {number}");
        }
        match waits.await {
            Landing::Shared(..) => assert!(crosses, "end {number}"),
            Landing::Apart => assert!(!crosses, "end {number}"),
            _ => panic!("end {number}"),
        }
    }
}

#[tokio::test]
async fn until_the_body_is_judged_another_credential_sees_nothing_of_it() {
    let rig = Rig::new();
    let (fill, own) = rig.lead();
    let foreign = rig.join_as(rig.other);
    fill.share(head(), Keeping::Kept, Crossing::Undecided);
    fill.push(Bytes::from_static(b"ab")).expect("kept");
    let mut own = shared(own).await;
    assert_eq!(own.frame().await.expect("a frame").expect("whole").into_data().expect("data"), "ab");
    let mut waits = std::pin::pin!(shared(foreign));
    assert!(futures_util::poll!(&mut waits).is_pending());
    fill.push(Bytes::from_static(b"c")).expect("kept");
    fill.judged(Crossing::Everybody);
    fill.finish(|| ());
    assert_eq!(waits.await.collect().await.expect("whole").to_bytes(), "abc");
}

#[tokio::test]
async fn a_flight_beside_others_is_joined_by_its_own_kind_and_stores_for_all() {
    let rig = Rig::new();
    let (together, _waiter) = rig.lead();
    let (apart, own) = rig.lead_as(rig.other, Company::Own);
    let (third, _another) = rig.lead_as(rig.one, Company::Own);
    assert_eq!(rig.flights.len(), 3);
    let passenger = Passenger { who: rig.other, company: Company::Own, join: Join::Allowed, form: 0 };
    let Begin::Joined(second) = rig.board(passenger) else { panic!("expected to join") };
    assert!(second.is_owner());
    let stored = parking_lot::Mutex::new(Vec::new());
    apart.share(head(), Keeping::Kept, Crossing::Everybody);
    apart.finish(|| stored.lock().push("apart"));
    for waiter in [own, second] {
        shared(waiter).await;
    }
    together.finish(|| stored.lock().push("together"));
    // Overtaken in the table, so it is not the one of its key any more.
    let passenger = Passenger { who: rig.one, company: Company::Own, join: Join::Refused, form: 0 };
    let Begin::Leads(newer, _waiter) = rig.board(passenger) else { panic!("expected to lead") };
    third.finish(|| stored.lock().push("third"));
    drop(newer);
    assert_eq!(stored.into_inner(), ["apart", "together"]);
    assert!(rig.flights.is_empty());
}

#[test]
fn a_flight_has_only_so_many_waiters_and_the_others_are_counted() {
    let rig = Rig::new();
    let (_fill, _leader) = rig.lead();
    let waiters: Vec<_> = (1..MAX_WAITERS).map(|_| rig.join()).collect();
    assert_eq!(rig.flights.turned_away(), 0);
    for n in 1..3 {
        assert!(matches!(rig.begin(Join::Allowed), Begin::Full));
        assert_eq!(rig.flights.turned_away(), n);
    }
    drop(waiters);
    rig.join();
}
