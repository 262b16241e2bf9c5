//! The way past the API's own buckets, with time paused and no sockets.

use std::sync::Arc;

use parking_lot::Mutex;

use super::admit::{Charge as Part, Gate, QueueBounds};
use super::limit::Charged;
use super::line::Line;
use super::*;
use crate::semantics::quota::{Charge, Meter, Quota};
use crate::units::Share;

const BOUNDS: QueueBounds = QueueBounds { length: 1_000, wait: Duration::from_secs(10), share: Share(1.0) };

struct GateBench {
    gate: Arc<Gate>,
    places: Arc<Line>,
    started: Instant,
}

/// One call of a kind.
#[derive(Clone, Copy)]
struct Caller {
    principal: u128,
    urgency: Urgency,
}

const READER: Caller = Caller { principal: 1, urgency: Urgency::Read };

fn charge(meter: &'static str, burst: u32, per_second: u32) -> Charge {
    let key = meter.bytes().fold(1, |key, byte| key * 31 + u128::from(byte));
    Charge { meter: Meter(meter), key, quota: Some(Quota::smooth(burst, per_second)) }
}

impl GateBench {
    fn new(places: usize) -> Self {
        let gate = Arc::new(Gate::new("lab", &[], &Registry::new()));
        Self { gate, places: Line::new(places), started: Instant::now() }
    }

    /// One call; when it left, in milliseconds since the start.
    fn pass(
        &self,
        caller: Caller,
        charges: &[Charge],
    ) -> impl Future<Output = Result<u64, SendError>> + Send + use<> {
        let (gate, places, started) = (Arc::clone(&self.gate), Arc::clone(&self.places), self.started);
        let charges = charges.to_vec();
        async move {
            let Caller { principal, urgency } = caller;
            let kind = CallKind::Read;
            let call = Charged { kind, principal, captures: &[], urgency, charges: &charges };
            let id = "http://arm".parse::<Endpoint>().unwrap().id();
            let priority = match urgency {
                Urgency::Background => Priority::Background,
                _ => Priority::Client,
            };
            let mut visit = gate.visit(BOUNDS, priority);
            let spot = gate.admit(&mut visit, &call, Part::All, id, &places).await?;
            let left = started.elapsed().as_millis() as u64;
            let paid = visit.take_paid();
            assert_eq!(paid.is_some(), !charges.is_empty());
            drop((paid, spot));
            Ok(left)
        }
    }

    fn cell(&self, charge: Charge) -> Arc<super::quota::Cell> {
        self.gate.quotas.cells(&[charge], Share(1.0)).remove(0)
    }
}

/// Lets everything run that can run without time passing.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_scarcest_of_its_buckets_and_takes_from_all() {
    let bench = GateBench::new(100);
    let (scarce, plenty) = (charge("scarce", 2, 1), charge("plenty", 5, 1));
    let mut left = Vec::new();
    for _ in 0..4 {
        left.push(bench.pass(READER, &[scarce, plenty]).await.unwrap());
    }
    assert_eq!(left, [0, 0, 1_000, 2_000]);
    // Two seconds later: five less four, and two more.
    let cell = bench.cell(plenty);
    assert!(cell.blocked(3, Instant::now()).is_none() && cell.blocked(4, Instant::now()).is_some());
    // Whoever waits for the scarce one does not hold up those who need the other alone.
    let waits = tokio::spawn(bench.pass(READER, &[scarce, plenty]));
    settle().await;
    assert_eq!(bench.pass(READER, &[plenty]).await.unwrap(), 2_000);
    assert_eq!(waits.await.unwrap().unwrap(), 3_000);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_have_a_token_in_time_is_told_when_to_come() {
    let bench = GateBench::new(100);
    let slow = charge("slow", 1, 1);
    let mut calls: Vec<_> = (0..30).map(|_| tokio::spawn(bench.pass(READER, &[slow]))).collect();
    settle().await;
    let refused = calls.split_off(11);
    for (index, call) in refused.into_iter().enumerate() {
        let error = call.await.unwrap().unwrap_err();
        assert!(
            matches!(error, SendError::QueueTimeout { retry_after } if retry_after > 10),
            "{index} {error:?}"
        );
    }
    assert_eq!(bench.started.elapsed(), Duration::ZERO, "refused at once");
    for (index, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), index as u64 * 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn the_urgent_come_first_and_principals_take_turns() {
    let bench = GateBench::new(100);
    let slow = charge("slow", 1, 1);
    bench.pass(READER, &[slow]).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut calls = tokio::task::JoinSet::new();
    let mut start = |name: &'static str, caller| {
        let (call, order) = (bench.pass(caller, &[slow]), Arc::clone(&order));
        calls.spawn(async move {
            call.await.unwrap();
            order.lock().push(name);
        });
    };
    for _ in 0..4 {
        start("many", READER);
        settle().await;
    }
    // The first of `many` has its place already; among those that wait both have one turn each.
    start("one", Caller { principal: 2, ..READER });
    start("poll", Caller { principal: 1, urgency: Urgency::Change });
    settle().await;
    while calls.join_next().await.is_some() {}
    assert_eq!(*order.lock(), ["many", "poll", "many", "one", "many", "many"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_passes_a_shut_gate() {
    let bench = GateBench::new(1);
    let (gate, other) = (Charge { quota: None, ..charge("gate", 1, 1) }, charge("other", 9, 9));
    let taken = bench.places.try_take();
    // It has seen its gate open, and now waits for a place.
    let stands = tokio::spawn(bench.pass(READER, &[gate, other]));
    settle().await;
    bench.cell(gate).shut(Some(Duration::from_secs(5)), Instant::now());
    drop(taken);
    settle().await;
    assert!(!stands.is_finished());
    assert_eq!(bench.pass(READER, &[other]).await.unwrap(), 0, "the place is free for others");
    let left = stands.await.unwrap().unwrap();
    assert!((5_000..5_502).contains(&left), "{left}");
    // Whoever waits at a gate holds up nobody elsewhere, wherever it stands.
    bench.cell(gate).shut(Some(Duration::from_secs(5)), Instant::now());
    let waits: Vec<_> = (0..20).map(|_| tokio::spawn(bench.pass(READER, &[other, gate]))).collect();
    settle().await;
    for _ in 0..8 {
        assert_eq!(bench.pass(READER, &[other]).await.unwrap(), left, "with nothing taken from it");
    }
    for call in waits {
        call.await.unwrap().unwrap();
    }
    // Longer than the queue's wait.
    bench.cell(gate).shut(Some(Duration::from_secs(372)), Instant::now());
    let error = bench.pass(READER, &[gate]).await.unwrap_err();
    assert!(matches!(error, SendError::Paused { retry_after: 60 }), "{error:?}");
    tokio::time::advance(Duration::from_secs(300)).await;
    assert!(bench.pass(READER, &[gate]).await.is_err(), "the gate knows the true time");
    tokio::time::advance(Duration::from_secs(111)).await;
    bench.pass(READER, &[gate]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_seen_may_be_gone_when_the_call_can_leave() {
    let bench = GateBench::new(1);
    let bucket = charge("bucket", 5, 1);
    let taken = bench.places.try_take();
    let stands = tokio::spawn(bench.pass(READER, &[bucket]));
    settle().await;
    // An answer to another call says that all is used up.
    bench.cell(bucket).is_left(0, Instant::now());
    drop(taken);
    assert_eq!(stands.await.unwrap().unwrap(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn background_calls_leave_half() {
    let bench = GateBench::new(100);
    let bucket = charge("bucket", 4, 1);
    let quiet = Caller { urgency: Urgency::Background, ..READER };
    assert!(bench.pass(quiet, &[bucket]).await.is_ok());
    assert!(bench.pass(quiet, &[bucket]).await.is_ok());
    assert!(bench.pass(quiet, &[bucket]).await.is_err(), "two are left to others");
    bench.pass(READER, &[bucket]).await.unwrap();
    bench.pass(READER, &[bucket]).await.unwrap();
    tokio::time::advance(Duration::from_secs(9)).await;
    bench.cell(bucket).shut(Some(Duration::from_secs(1)), Instant::now());
    assert!(bench.pass(quiet, &[bucket]).await.is_err(), "shut");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_breaks_off_frees_its_turn() {
    let bench = GateBench::new(100);
    let slow = charge("slow", 1, 1);
    bench.pass(READER, &[slow]).await.unwrap();
    let gone = tokio::spawn(bench.pass(READER, &[slow]));
    settle().await;
    let next = tokio::spawn(bench.pass(READER, &[slow]));
    settle().await;
    gone.abort();
    assert_eq!(next.await.unwrap().unwrap(), 1_000);
}
