//! Dashboards: each requests a list of targets once a second, on a connection of its own.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::Result;
use super::client::{Connector, Peer};
use super::cpu::Reading;

/// `load poll`
#[derive(Args)]
pub struct Poll {
    #[command(flatten)]
    peer: Peer,
    /// A file with one target a line
    #[arg(long)]
    targets: PathBuf,
    /// Dashboards
    #[arg(long, default_value_t = 50)]
    dashboards: usize,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Processes whose CPU time is divided by the requests
    #[arg(long)]
    pid: Vec<u32>,
}

#[derive(Default)]
struct Counts {
    microseconds: RefCell<Vec<u32>>,
    failed: RefCell<Vec<String>>,
    late: RefCell<u64>,
}

impl Poll {
    /// Runs, and prints what the clients saw.
    pub async fn run(self) -> Result<()> {
        let text = std::fs::read_to_string(&self.targets)?;
        let rest = self.peer.rest();
        let requests: Rc<Vec<Vec<u8>>> =
            Rc::new(text.lines().map(|target| [b"GET ", target.as_bytes(), &rest].concat()).collect());
        let counts = Rc::new(Counts::default());
        let (before, start) = (Reading::of(&self.pid)?, Instant::now());
        let mut dashboards = Vec::new();
        for number in 0..self.dashboards {
            let (connector, requests, counts) = (self.peer.connector()?, requests.clone(), counts.clone());
            // Dashboards do not tick together.
            let first = start + Duration::from_millis(1000 * number as u64 / self.dashboards as u64);
            dashboards.push(tokio::task::spawn_local(async move {
                for second in 0..self.seconds {
                    let due = first + Duration::from_secs(second);
                    if Instant::now() > due + Duration::from_millis(100) {
                        *counts.late.borrow_mut() += 1;
                    }
                    sleep_until(due).await;
                    if let Err(error) = round(&connector, &requests, &counts).await {
                        counts.failed.borrow_mut().push(error.to_string());
                    }
                }
            }));
        }
        for dashboard in dashboards {
            dashboard.await?;
        }
        let used = Reading::of(&self.pid)?.since(&before);
        let mut times = counts.microseconds.take();
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
        let report = json!({
            "requests": times.len(),
            "failed": counts.failed.take(),
            "late_rounds": counts.late.take(),
            "cpu_us": used as f64 / 1000.0 / times.len().max(1) as f64,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
            "max_us": times.last(),
        });
        println!("{report}");
        Ok(())
    }
}

async fn round(connector: &Connector, requests: &[Vec<u8>], counts: &Counts) -> Result<()> {
    let mut connection = connector.connect().await?;
    for request in requests {
        let start = Instant::now();
        let answer = connection.get(request).await?;
        if answer.status != 200 {
            return Err(format!("an answer with status {}", answer.status).into());
        }
        counts.microseconds.borrow_mut().push(start.elapsed().as_micros() as u32);
    }
    Ok(())
}
