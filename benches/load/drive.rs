//! Requests without a pause on some connections.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Result;
use super::client::Peer;
use super::cpu::Reading;
use super::targets::{Shape, Targets};

/// `load drive`
#[derive(Args)]
pub struct Drive {
    #[command(flatten)]
    peer: Peer,
    #[command(flatten)]
    shape: Shape,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// A new connection for each request
    #[arg(long)]
    reconnect: bool,
    /// Seconds before anything is counted
    #[arg(long, default_value_t = 0.3)]
    warm: f64,
    /// Seconds that are counted
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Processes whose CPU time is divided by the requests
    #[arg(long)]
    pid: Vec<u32>,
}

/// What was counted since the warm-up.
#[derive(Default)]
struct Counts {
    requests: Cell<u64>,
    hits: Cell<u64>,
    statuses: RefCell<BTreeMap<u16, u64>>,
    microseconds: RefCell<Vec<u32>>,
    running: Cell<usize>,
    failure: RefCell<Option<String>>,
}

impl Drive {
    /// Runs, and prints what was counted.
    pub async fn run(self) -> Result<()> {
        let counts = Rc::new(Counts::default());
        let targets = Rc::new(Targets::new(&self.shape));
        counts.running.set(self.connections);
        for _ in 0..self.connections {
            let (counts, targets) = (counts.clone(), targets.clone());
            let (connector, rest) = (self.peer.connector()?, self.peer.rest());
            tokio::task::spawn_local(async move {
                let ended = client(connector, &rest, &targets, &counts, self.reconnect).await;
                counts.running.set(counts.running.get() - 1);
                if let Err(error) = ended {
                    counts.failure.replace(Some(error.to_string()));
                }
            });
        }
        wait(&counts, self.warm).await;
        counts.requests.set(0);
        counts.hits.set(0);
        counts.microseconds.borrow_mut().clear();
        let (before, start) = (Reading::of(&self.pid)?, Instant::now());
        wait(&counts, self.seconds).await;
        let (used, took) = (Reading::of(&self.pid)?.since(&before), start.elapsed());
        if let Some(failure) = counts.failure.take() {
            return Err(failure.into());
        }
        let requests = counts.requests.get();
        let mut times = counts.microseconds.take();
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
        let report = json!({
            "requests": requests,
            "hits": counts.hits.get(),
            "statuses": counts.statuses.take(),
            "seconds": took.as_secs_f64(),
            "cpu_us": used as f64 / 1000.0 / requests.max(1) as f64,
            "busy": used as f64 / took.as_nanos() as f64,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
        });
        println!("{report}");
        // Clients are still running; there is nothing left to learn from them.
        std::process::exit(0)
    }
}

/// Waits for a time, or until all clients have ended.
async fn wait(counts: &Counts, seconds: f64) {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while counts.running.get() > 0 && counts.failure.borrow().is_none() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        sleep(left.min(Duration::from_millis(20))).await;
    }
}

async fn client(
    connector: super::client::Connector,
    rest: &[u8],
    targets: &Targets,
    counts: &Counts,
    reconnect: bool,
) -> Result<()> {
    let mut request = Vec::new();
    let mut kept = None;
    loop {
        request.clear();
        request.extend_from_slice(b"GET ");
        if !targets.write(&mut request) {
            return Ok(());
        }
        request.extend_from_slice(rest);
        let start = Instant::now();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => connector.connect().await?,
        };
        let answer = connection.get(&request).await?;
        counts.microseconds.borrow_mut().push(start.elapsed().as_micros() as u32);
        counts.requests.set(counts.requests.get() + 1);
        counts.hits.set(counts.hits.get() + u64::from(answer.hit));
        *counts.statuses.borrow_mut().entry(answer.status).or_default() += 1;
        if answer.status != 200 {
            return Err(format!("an answer with status {}", answer.status).into());
        }
        if !reconnect {
            kept = Some(connection);
        }
    }
}
