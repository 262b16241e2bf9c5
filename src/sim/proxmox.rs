//! A simulated Proxmox VE cluster: state, tasks, privileges, and pveproxy's HTTP as it is on the wire.
//!
//! The wire is an own small HTTP/1.1 server, because a correct HTTP library cannot be made to answer
//! like pveproxy does (two contradicting `Connection` fields, an empty 401 without `Content-Length`,
//! free reason phrases).
//! Time is tokio's: nothing happens in the background, every call first lets the cluster catch up
//! ([`state::Cluster::settle`]), so a test that pauses time sees tasks end exactly when they should.
//!
//! Invariant: a handler runs to its end under the cluster's lock and never waits; waiting (latency, the
//! dead guest agent's three seconds, the 401 penalty) is done by the connection that carries the call.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

mod access;
mod answer;
mod auth;
mod call;
mod cluster;
mod console;
mod effects;
mod exchange;
mod fault;
mod firewall;
mod guest_tasks;
mod guest_writes;
mod guests;
mod ha;
mod model;
mod node;
mod pools;
mod resources;
mod rights;
mod route;
mod seed;
mod sha1;
mod state;
mod storage;
mod storage_writes;
mod tasks;
#[cfg(test)]
mod tests;
mod upload;
mod wire;

pub use super::watch::{Gate, HoldAt, Watch};
pub use fault::Fault;

use super::front::Front;
use call::{Call, Method};
use state::Cluster;

/// The superuser, which logs in with [`ROOT_PASSWORD`] and passes every check.
pub const ROOT_USER: &str = "root@pam";
/// The password of [`ROOT_USER`].
pub const ROOT_PASSWORD: &str = "simulated-root-password";
/// A token with the role Administrator on `/` (no privilege separation): name, then [`ADMIN_TOKEN_SECRET`].
pub const ADMIN_TOKEN: &str = "terraform@pve!tf";
/// The secret of [`ADMIN_TOKEN`].
pub const ADMIN_TOKEN_SECRET: &str = "a1a1a1a1-0000-4000-8000-000000000001";
/// A token with the role PVEAuditor on `/`.
pub const AUDITOR_TOKEN: &str = "monitor@pve!exporter";
/// The secret of [`AUDITOR_TOKEN`].
pub const AUDITOR_TOKEN_SECRET: &str = "a2a2a2a2-0000-4000-8000-000000000002";
/// A user with rights on the members of `/pool/dev` only, which logs in with [`POOL_PASSWORD`].
pub const POOL_USER: &str = "dev@pve";
/// The password of [`POOL_USER`].
pub const POOL_PASSWORD: &str = "simulated-dev-password";
/// A valid token without any right (privilege separation, no access control entry).
pub const POWERLESS_TOKEN: &str = "terraform@pve!limited";
/// The secret of [`POWERLESS_TOKEN`].
pub const POWERLESS_TOKEN_SECRET: &str = "a3a3a3a3-0000-4000-8000-000000000003";

/// How a simulated cluster is built and how it behaves.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Nodes in the cluster, named `pve1` and on.
    pub nodes: usize,
    /// Guests in total, virtual machines and containers; the first nine are always the same.
    pub vms: usize,
    /// Time each call takes, half of it before the state is read and half after, so that an answer can
    /// be old by the time it arrives.
    pub latency: Duration,
    /// Time for which one answer in eight, chosen at random, is under way longer than the others: it
    /// arrives after answers that were formed later.
    pub straggling: Duration,
    /// Time from the start of a task to its end.
    pub task_time: Duration,
    /// Time from the start of a request to its 401.
    pub penalty_401: Duration,
    /// Silence after which a connection is closed, also in the middle of a request.
    pub idle_close: Duration,
    /// Requests on one connection; the answer to the last one says `Connection: close`.
    pub requests_per_connection: u32,
    /// Age of names, states and numbers in `/cluster/resources`, `/nodes` and pools.
    pub resources_lag: Duration,
    /// Time that a call to a guest agent that does not answer takes.
    pub dead_agent_delay: Duration,
    /// Time until the high-availability manager carries out a request (one of its rounds).
    pub ha_round: Duration,
    /// Calls that one node answers at a time through its privileged daemon; others queue, at most 30 s.
    pub protected_workers: usize,
    /// Whether error bodies carry `message`; servers older than January 2025 did not.
    pub message_in_body: bool,
    /// Where random order and random numbers start.
    pub seed: u64,
    /// Serves TLS with these settings; plain HTTP without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            nodes: 3,
            vms: 12,
            latency: Duration::ZERO,
            straggling: Duration::ZERO,
            task_time: Duration::from_secs(2),
            penalty_401: Duration::from_secs(3),
            idle_close: Duration::from_secs(5),
            requests_per_connection: 100,
            resources_lag: Duration::from_secs(10),
            dead_agent_delay: Duration::from_secs(3),
            ha_round: Duration::from_secs(10),
            protected_workers: 3,
            message_in_body: true,
            seed: 1,
            tls: None,
        }
    }
}

/// What all connections of one listening address share.
struct Shared {
    config: SimConfig,
    /// The cluster, the same for every address of it.
    cluster: Arc<Mutex<Cluster>>,
    /// The node that listens here, as an index into the cluster's nodes.
    node: usize,
    watch: Watch<Fault>,
    /// Permits for the privileged daemon of each node, the same for every address of the cluster.
    workers: Arc<Vec<tokio::sync::Semaphore>>,
}

/// A simulated node that listens on one address; it ends when it is stopped or dropped. Its [`Watch`] counts the
/// calls that came here, and holds or fails them.
pub struct Sim {
    shared: Arc<Shared>,
    front: Front,
}

/// What was called here, and what shall happen to calls.
impl Deref for Sim {
    type Target = Watch<Fault>;

    fn deref(&self) -> &Watch<Fault> {
        &self.shared.watch
    }
}

impl Sim {
    /// Starts a cluster of which the first node listens on `address` (port 0 takes a free one) and
    /// serves in background tasks of the current runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(config: SimConfig, address: SocketAddr) -> io::Result<Sim> {
        let mut sims = Self::start_cluster(config, &[address]).await?;
        Ok(sims.pop().expect("one address gives one listener"))
    }

    /// Starts one cluster that listens on several addresses: the first is served by node `pve1`, the
    /// second by `pve2` and so on, round again once the nodes are used up.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub async fn start_cluster(config: SimConfig, addresses: &[SocketAddr]) -> io::Result<Vec<Sim>> {
        let nodes = config.nodes.max(1);
        let permits = config.protected_workers.max(1);
        let workers = Arc::new((0..nodes).map(|_| tokio::sync::Semaphore::new(permits)).collect::<Vec<_>>());
        let cluster = Arc::new(Mutex::new(seed::cluster(&config, Instant::now())));
        let mut sims = Vec::with_capacity(addresses.len());
        for (index, address) in addresses.iter().enumerate() {
            let shared = Arc::new(Shared {
                config: config.clone(),
                cluster: Arc::clone(&cluster),
                node: index % nodes,
                watch: Watch::default(),
                workers: Arc::clone(&workers),
            });
            let serving = Arc::clone(&shared);
            let connect = move |stream| wire::connect(stream, Arc::clone(&serving));
            sims.push(Sim { front: Front::open(*address, connect).await?, shared });
        }
        Ok(sims)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// The name of the node that listens here.
    pub fn node(&self) -> String {
        self.shared.cluster.lock().nodes[self.shared.node].name.clone()
    }

    /// Adds an API token without privilege separation, and its user if there is none of that name.
    /// `name` has the form `user@realm!id`; anything else is not added.
    pub fn add_token(&self, name: &str, secret: &str) {
        self.shared.cluster.lock().accounts.add_token(name, secret);
    }

    /// Adds a user, or sets the password of the user of that name.
    pub fn add_user(&self, user: &str, password: &str) {
        self.shared.cluster.lock().accounts.add_user(user, password);
    }

    /// A ticket of `user` as a login would give it and its CSRF prevention token, without a login.
    pub fn ticket(&self, user: &str) -> (String, String) {
        let cluster = self.shared.cluster.lock();
        let wall = cluster.wall(Instant::now());
        (cluster.accounts.ticket(user, wall), cluster.accounts.csrf(user, wall))
    }

    /// Carries out an API call as `user` (or a full token name) behind everybody's back: no request is
    /// made or counted. `method` is `GET`, `POST`, `PUT` or `DELETE`; `path` starts behind `/api2/json`.
    ///
    /// # Errors
    /// The status and reason phrase that a client would have got.
    pub fn change_behind(
        &self,
        user: &str,
        method: &str,
        path: &str,
        params: &[(&str, &str)],
    ) -> Result<Value, (u16, String)> {
        let not_available = || (501, format!("method '{method}' not available"));
        let method = Method::parse(method).ok_or_else(not_available)?;
        let call = Call::internal(method, path, params, user, self.shared.node, Instant::now());
        let mut cluster = self.shared.cluster.lock();
        cluster.settle(call.now);
        route::dispatch(&mut cluster, &call)
            .map(|reply| reply.data)
            .map_err(|failure| (failure.status, failure.reason()))
    }

    /// Sets one configuration key of a guest directly, as an edit of its file would: no task, no log.
    /// Returns whether the guest exists.
    pub fn set_guest_config(&self, vmid: u32, key: &str, value: Value) -> bool {
        let mut cluster = self.shared.cluster.lock();
        let now = Instant::now();
        cluster.settle(now);
        cluster.edit_guest(vmid, now, |guest| drop(guest.config.insert(key.to_owned(), value))).is_some()
    }

    /// Ends everything that is under way now: running tasks, and what the lagging lists have not shown.
    pub fn settle(&self) {
        self.shared.cluster.lock().settle_all(Instant::now());
    }

    /// Takes a node off the cluster's network or puts it back: calls for it answer 595 through the others.
    pub fn set_node_online(&self, node: &str, online: bool) {
        let mut cluster = self.shared.cluster.lock();
        if let Some(node) = cluster.nodes.iter_mut().find(|known| known.name == node) {
            node.online = online;
        }
    }

    /// Stops listening, closes all connections and waits until every background task has ended.
    pub async fn stop(mut self) {
        self.front.stop().await;
    }
}
