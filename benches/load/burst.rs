//! The same request on many connections at once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::Result;
use super::client::Peer;

/// `load burst`
#[derive(Args)]
pub struct Burst {
    #[command(flatten)]
    peer: Peer,
    /// The target
    #[arg(long)]
    path: String,
    /// Connections, opened before the requests are sent
    #[arg(long, default_value_t = 1000)]
    connections: usize,
}

impl Burst {
    /// Runs, and prints when the answers were there.
    pub async fn run(self) -> Result<()> {
        let connector = self.peer.connector()?.small();
        let request = [b"GET ".as_slice(), self.path.as_bytes(), &self.peer.rest()].concat();
        let (go, ready) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let start = Rc::new(Cell::new(Instant::now()));
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            let mut connection = connector.connect().await?;
            let (go, ready, start, request) = (go.clone(), ready.clone(), start.clone(), request.clone());
            clients.push(tokio::task::spawn_local(async move {
                ready.set(ready.get() + 1);
                go.notified().await;
                let answer = connection.get(&request).await.map_err(|error| error.to_string())?;
                // It stays open until all are served: clients keep their connections.
                Ok::<_, String>((answer, start.get().elapsed(), connection))
            }));
        }
        while ready.get() < self.connections {
            sleep(Duration::from_millis(1)).await;
        }
        // Accepting must not be part of what is measured.
        sleep(Duration::from_millis(300)).await;
        start.set(Instant::now());
        go.notify_waiters();
        let (mut times, mut failed, mut hits, mut kept) = (Vec::new(), 0, 0, Vec::new());
        for client in clients {
            match client.await? {
                Ok((answer, took, connection)) if answer.status == 200 => {
                    kept.push(connection);
                    hits += u64::from(answer.hit);
                    times.push(took.as_secs_f64() * 1000.0);
                }
                _ => failed += 1,
            }
        }
        times.sort_by(f64::total_cmp);
        let report = json!({
            "failed": failed,
            "hits": hits,
            "p50_ms": times.get(times.len() / 2),
            "last_ms": times.last(),
        });
        println!("{report}");
        Ok(())
    }
}
