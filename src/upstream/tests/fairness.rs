//! An operator beside 200 pollers that never pause, before three nodes with three workers each: simulated,
//! in paused time, with the very lines and limits that calls go through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Gauge;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::upstream::adaptive::{Adaptive, Sample};
use crate::upstream::gauge::Gauge as Gauged;
use crate::upstream::line::{Claim, Line};
use crate::upstream::message::Urgency;

const POLLERS: u128 = 200;
const WORKERS: usize = 3;
const SIMULATED: Duration = Duration::from_secs(60);
/// How long it takes until what calls cost is learnt, which happens once.
const LEARNT_AFTER: Duration = Duration::from_secs(2);
/// What a call takes on the way to a node, and its answer on the way back; a worker that is free has nothing to
/// do for as long, unless another call is there already.
const WAY: Duration = Duration::from_millis(1);

/// One node: what forebay lets through to it, and its workers.
struct Node {
    line: Arc<Line>,
    adaptive: Option<Adaptive>,
    workers: Semaphore,
    /// Calls that chose it.
    load: Gauged,
    /// How long its workers worked, in microseconds.
    worked: AtomicU64,
}

/// What came of it.
#[derive(Debug)]
struct Report {
    operator_p99: Duration,
    /// How much of the workers' time was used.
    used: f64,
    most_at_a_node: usize,
}

/// Everything that is asked goes through here.
async fn call(nodes: &[Node], claim: Claim, most: &AtomicUsize) {
    let busy = |node: &&Node| (node.load.get() + 1) * 1_000 / node.line.limit();
    let node = nodes.iter().min_by_key(busy).expect("there are three");
    let _load = node.load.enter();
    let spot = match node.line.try_take() {
        Some(spot) => spot,
        None => node.line.stand(claim).await.expect("nobody is dismissed"),
    };
    let in_flight = node.line.taken();
    most.fetch_max(in_flight, Ordering::SeqCst);
    let kind = usize::from(fastrand::u8(0..3));
    let began = Instant::now();
    tokio::time::sleep(WAY).await;
    let worker = node.workers.acquire().await.expect("open");
    let cost = [4_000, 30_000, 80_000][kind] * fastrand::u64(70..130) / 100;
    tokio::time::sleep(Duration::from_micros(cost)).await;
    node.worked.fetch_add(cost, Ordering::SeqCst);
    drop(worker);
    tokio::time::sleep(WAY).await;
    if let Some(adaptive) = &node.adaptive
        && adaptive.learn(Sample { kind, in_flight, took: began.elapsed() })
    {
        node.line.set_limit(adaptive.limit());
    }
    drop(spot);
}

/// Runs it, either in order of arrival with sixteen calls for each node, or fairly with what each bears.
async fn run(fair: bool) -> Report {
    fastrand::seed(7);
    let node = |_| {
        let adaptive = fair.then(|| Adaptive::new(Gauge::noop()));
        let line = Line::new(adaptive.as_ref().map_or(16, Adaptive::limit));
        Node {
            line,
            adaptive,
            workers: Semaphore::new(WORKERS),
            load: Gauged::default(),
            worked: AtomicU64::new(0),
        }
    };
    let nodes: Arc<Vec<Node>> = Arc::new((0..3).map(node).collect());
    let most = Arc::new(AtomicUsize::new(0));
    let mut pollers = tokio::task::JoinSet::new();
    for poller in 0..POLLERS {
        let (nodes, most) = (nodes.clone(), most.clone());
        // Two exporters, each with a hundred; in order of arrival all are one.
        let claim = Claim { urgency: Urgency::Read, principal: if fair { poller % 2 } else { 0 } };
        pollers.spawn(async move {
            loop {
                call(&nodes, claim, &most).await;
            }
        });
    }
    tokio::time::sleep(LEARNT_AFTER).await;
    let worked = || nodes.iter().map(|node| node.worked.load(Ordering::SeqCst)).sum::<u64>();
    let (began, before) = (Instant::now(), worked());
    let mut took = Vec::new();
    let claim = Claim { urgency: Urgency::Read, principal: if fair { 1_000 } else { 0 } };
    while began.elapsed() < SIMULATED {
        let asked = Instant::now();
        call(&nodes, claim, &most).await;
        took.push(asked.elapsed());
    }
    let used =
        (worked() - before) as f64 / 1e6 / (began.elapsed().as_secs_f64() * (WORKERS * nodes.len()) as f64);
    pollers.shutdown().await;
    took.sort_unstable();
    Report {
        operator_p99: took[(took.len() * 99).div_ceil(100) - 1],
        used,
        most_at_a_node: most.load(Ordering::SeqCst),
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_beside_pollers_waits_less_than_half_as_long() {
    let (before, after) = (run(false).await, run(true).await);
    eprintln!("in order: {before:?}; fairly: {after:?}");
    assert!(after.operator_p99 * 2 <= before.operator_p99, "{before:?} {after:?}");
    assert!(after.used >= before.used * 0.995, "{before:?} {after:?}");
    assert!(after.most_at_a_node < before.most_at_a_node, "{before:?} {after:?}");
}
