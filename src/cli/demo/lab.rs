//! The simulated cluster as the demo uses it, and the truth behind forebay's back.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::proxy::OwnCredential;
use crate::sim::proxmox::{AUDITOR_TOKEN, AUDITOR_TOKEN_SECRET, ROOT_USER, Sim, SimConfig};

/// Nodes of the cluster.
pub(super) const NODES: usize = 3;
/// Guests of the cluster.
pub(super) const GUESTS: usize = 36;
/// Time that each call to the API takes.
pub(super) const LATENCY: Duration = Duration::from_millis(20);
/// Time that each task takes.
pub(super) const TASK_TIME: Duration = Duration::from_secs(2);
/// The token that the dashboards share, of a user who may read everything.
pub(super) const DASHBOARD_TOKEN: &str = "monitor@pve!dashboard";
/// The secret of [`DASHBOARD_TOKEN`].
pub(super) const DASHBOARD_SECRET: &str = "a4a4a4a4-0000-4000-8000-000000000004";

/// A guest and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guest {
    pub vmid: u64,
    pub node: String,
    /// `qemu` or `lxc`.
    pub kind: String,
    pub name: String,
}

impl Guest {
    /// The guest's own path, behind `/api2/json`.
    pub(super) fn path(&self) -> String {
        format!("/nodes/{}/{}/{}", self.node, self.kind, self.vmid)
    }
}

/// Starts the cluster on a free port.
pub(super) async fn start() -> std::io::Result<Sim> {
    let config = SimConfig {
        nodes: NODES,
        vms: GUESTS,
        latency: LATENCY,
        task_time: TASK_TIME,
        ..SimConfig::default()
    };
    let sim = Sim::start(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    sim.add_token(DASHBOARD_TOKEN, DASHBOARD_SECRET);
    Ok(sim)
}

/// What forebay itself reads the cluster's change feed with.
pub(super) fn credential() -> OwnCredential {
    let line = format!("Authorization: PVEAPIToken={AUDITOR_TOKEN}={AUDITOR_TOKEN_SECRET}");
    OwnCredential::parse(line.as_bytes(), PathBuf::new(), false, None, &[])
        .expect("a header line with the name of a token and its secret, both of them plain letters")
}

/// What the API itself would answer now: asked inside the simulator, so that no call is made or counted.
/// `None` where it would refuse.
pub(super) fn truth(sim: &Sim, path: &str) -> Option<Value> {
    sim.change_behind(ROOT_USER, "GET", path, &[]).ok()
}

/// Every guest but the templates.
pub(super) fn guests(sim: &Sim) -> Vec<Guest> {
    let resources = truth(sim, "/cluster/resources").unwrap_or_default();
    let items = resources.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let guest = |item: &Value| Guest {
        vmid: item["vmid"].as_u64().unwrap_or_default(),
        node: text(item, "node"),
        kind: text(item, "type"),
        name: text(item, "name"),
    };
    let is_guest = |item: &&Value| item["vmid"].is_u64() && item["template"].as_u64() != Some(1);
    let mut guests: Vec<Guest> = items.iter().filter(is_guest).map(guest).collect();
    guests.sort_by_key(|guest| guest.vmid);
    guests
}

/// The names of the nodes.
pub(super) fn nodes() -> Vec<String> {
    (1..=NODES).map(|number| format!("pve{number}")).collect()
}
