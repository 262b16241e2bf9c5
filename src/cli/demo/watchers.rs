//! Clients that only look: dashboards and exporters.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::client::Client;
use super::lab::Guest;

/// How often a dashboard refreshes what it shows.
const DASHBOARD_EVERY: Duration = Duration::from_secs(1);
/// How often an exporter is scraped.
const SCRAPE_EVERY: Duration = Duration::from_secs(5);

/// A dashboard: the cluster, its tasks, each node with its guests, and some guests in detail.
pub(super) async fn dashboard(mut client: Client, nodes: Vec<String>, shown: Vec<Guest>) {
    let mut paths: Vec<String> = ["/cluster/resources", "/cluster/tasks", "/nodes"].map(String::from).into();
    for node in &nodes {
        paths.extend(["status", "qemu", "lxc"].map(|below| format!("/nodes/{node}/{below}")));
    }
    for guest in &shown {
        paths.extend(["status/current", "config"].map(|below| format!("{}/{below}", guest.path())));
    }
    repeat(&mut client, DASHBOARD_EVERY, &paths).await;
}

/// What prometheus-pve-exporter asks for in one scrape, its repetitions included.
pub(super) async fn exporter(mut client: Client, nodes: Vec<String>, guests: Vec<Guest>) {
    let mut paths: Vec<String> = [
        "/cluster/status",
        "/cluster/status",
        "/cluster/status",
        "/cluster/status",
        "/cluster/resources?type=vm",
        "/cluster/resources?type=storage",
        "/cluster/resources",
        "/version",
        "/cluster/backup-info/not-backed-up",
    ]
    .map(String::from)
    .into();
    for node in &nodes {
        paths.extend(["qemu", "lxc", "subscription", "replication"].map(|at| format!("/nodes/{node}/{at}")));
    }
    paths.extend(guests.iter().map(|guest| format!("{}/config", guest.path())));
    repeat(&mut client, SCRAPE_EVERY, &paths).await;
}

/// Reads all of `paths`, in order, again and again.
async fn repeat(client: &mut Client, every: Duration, paths: &[String]) {
    let mut rounds = interval(every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        for path in paths {
            // What fails has been counted, and the next round asks again, as these clients do.
            drop(client.get(path).await);
        }
    }
}
