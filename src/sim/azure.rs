//! A simulated Azure Resource Manager: one subscription with its state, operations that take time, rights,
//! throttling, and a login authority on the same address.
//!
//! Names, shapes, fields and errors are those of recorded answers; every id, name and key is invented.
//! Time is tokio's: nothing happens in the background, every call first lets the subscription catch up
//! ([`estate::Estate::settle`]), so a test that pauses time sees operations end exactly when they should.
//!
//! Invariant: a handler runs to its end under the subscription's lock and never waits; waiting (latency,
//! gates) is done by the request's own task.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::time::Instant;

mod actions;
mod answer;
mod backrefs;
mod blobs;
mod bodies;
mod buckets;
mod call;
mod deployments;
mod estate;
mod exchange;
mod graph;
mod groups;
mod lists;
mod login;
mod model;
mod operations;
mod parts;
mod provide;
mod published;
mod reads;
mod refusal;
mod rights;
mod route;
mod scopes;
mod seed;
mod target;
#[cfg(test)]
mod tests;
mod token;
mod view;
mod wire;
mod writes;

pub use super::watch::{Gate, HoldAt, Watch};
pub use buckets::{BucketState, Throttle};
pub use model::Ending;
pub use refusal::Refusal;
pub use rights::Role;

use super::front::Front;
use answer::Body;
use call::Call;
use estate::{Estate, Planned};
use token::Actor;

/// The subscription.
pub const SUBSCRIPTION: &str = "11111111-aaaa-4bbb-8ccc-000000000001";
/// The other subscription, where there are two: with a group that has a network in it, `rg-gamma`.
pub const SECOND_SUBSCRIPTION: &str = "11111111-aaaa-4bbb-8ccc-000000000011";
/// The tenant.
pub const TENANT: &str = "22222222-aaaa-4bbb-8ccc-000000000002";
/// The application that owns the subscription.
pub const ADMIN_CLIENT_ID: &str = "33333333-aaaa-4bbb-8ccc-000000000003";
/// The secret of [`ADMIN_CLIENT_ID`].
pub const ADMIN_CLIENT_SECRET: &str = "simulated-admin-secret";
/// The object id of [`ADMIN_CLIENT_ID`].
pub const ADMIN_OBJECT_ID: &str = "44444444-aaaa-4bbb-8ccc-000000000004";
/// An application that may read one of the two groups, `rg-beta`.
pub const DEV_CLIENT_ID: &str = "55555555-aaaa-4bbb-8ccc-000000000005";
/// The secret of [`DEV_CLIENT_ID`].
pub const DEV_CLIENT_SECRET: &str = "simulated-dev-secret";
/// The object id of [`DEV_CLIENT_ID`].
pub const DEV_OBJECT_ID: &str = "66666666-aaaa-4bbb-8ccc-000000000006";

/// Where the absolute addresses in answers point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Links {
    /// At the scheme and authority that the request named.
    AsAsked,
    /// At the public host, whoever asks: `https://management.azure.com`.
    Public,
    /// In turn at the public host of a region, at the public host with its port, and at the public host.
    Mixed,
    /// At this scheme and authority.
    At(String),
}

/// How a request is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This refusal takes the place of the answer; nothing is carried out.
    Answer(Refusal),
    /// The connection closes without an answer; nothing is carried out.
    Close,
    /// The call is carried out, and the connection closes without an answer.
    LoseAnswer,
    /// Announces a body, sends half of it and closes.
    Truncate,
    /// Never answers; ends when the client closes or the simulation stops.
    Stall,
}

/// How a simulated subscription is built and how it behaves.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Virtual machines; the first seven are always the same.
    pub vms: usize,
    /// Time each call takes, half of it before the state is read and half after.
    pub latency: Duration,
    /// Time from the start of an operation to its end.
    pub task_time: Duration,
    /// What `Retry-After` says on 202 and on polls, in seconds. ARM says 10 and more; a test need not wait so long.
    pub retry_after: u64,
    /// Items on a page of a compute list. Lists of other providers have pages of 250 at least.
    pub page_size: usize,
    /// Where addresses in answers point.
    pub links: Links,
    /// What the token buckets do.
    pub throttle: Throttle,
    /// The part of the documented quota that there is; 1 is all of it.
    pub quota: f64,
    /// Whether there are two subscriptions.
    pub second_subscription: bool,
    /// Refuses one read in so many, on each address, as if there were no token for the next second.
    pub refuse_every: Option<NonZeroU64>,
    /// Where random numbers start.
    pub seed: u64,
    /// Serves TLS with these settings; plain HTTP without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            vms: 10,
            latency: Duration::ZERO,
            task_time: Duration::from_secs(2),
            retry_after: 1,
            page_size: 6,
            links: Links::AsAsked,
            throttle: Throttle::Off,
            quota: 1.0,
            second_subscription: false,
            refuse_every: None,
            seed: 1,
            tls: None,
        }
    }
}

/// An application that can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// What it is called.
    pub name: String,
    /// Its client id, `appid` in tokens.
    pub client_id: String,
    /// Its client secret.
    pub secret: String,
    /// Its object id, `oid` in tokens.
    pub object_id: String,
}

/// What all connections of one listening address share.
struct Shared {
    config: SimConfig,
    /// The subscription, the same for every address of it.
    estate: Arc<Mutex<Estate>>,
    buckets: Arc<Mutex<buckets::Buckets>>,
    blobs: Arc<Mutex<blobs::Blobs>>,
    watch: Watch<Fault>,
    logins: AtomicU64,
    reads: AtomicU64,
}

impl Shared {
    fn count_login(&self) {
        self.logins.fetch_add(1, Ordering::SeqCst);
    }
}

/// A simulated front door that listens on one address; it ends when it is stopped or dropped. Its [`Watch`] counts
/// the calls to the API that came here, and holds or fails them; logins are counted apart.
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
    /// Starts a subscription on `address` (port 0 takes a free one) and serves in background tasks of the
    /// current runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(config: SimConfig, address: SocketAddr) -> io::Result<Sim> {
        let mut sims = Self::start_at(config, &[address]).await?;
        Ok(sims.pop().expect("one address gives one listener"))
    }

    /// Starts one subscription that listens on several addresses, each with counts of its own: a second one
    /// can play the public host, so that what goes round a proxy is seen.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub async fn start_at(config: SimConfig, addresses: &[SocketAddr]) -> io::Result<Vec<Sim>> {
        let estate = Arc::new(Mutex::new(seed::estate(&config, Instant::now())));
        let (buckets, blobs) = (Arc::default(), Arc::default());
        let mut sims = Vec::with_capacity(addresses.len());
        for address in addresses {
            let shared = Arc::new(Shared {
                config: config.clone(),
                estate: Arc::clone(&estate),
                buckets: Arc::clone(&buckets),
                blobs: Arc::clone(&blobs),
                watch: Watch::default(),
                logins: AtomicU64::new(0),
                reads: AtomicU64::new(0),
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

    /// Requests to the login authority received here.
    pub fn logins(&self) -> u64 {
        self.shared.logins.load(Ordering::SeqCst)
    }

    /// Lets the next `times` operations of writes whose method and path start with `prefix` end so.
    pub fn end_operations(&self, prefix: &str, ending: Ending, times: u32) {
        let planned = Planned { prefix: prefix.to_owned(), ending, left: times };
        self.shared.estate.lock().planned.push(planned);
    }

    /// Ends every operation that is under way now.
    pub fn settle(&self) {
        self.shared.estate.lock().settle_all(Instant::now());
    }

    /// Operations that are under way.
    pub fn under_way(&self) -> usize {
        let mut estate = self.shared.estate.lock();
        estate.settle(Instant::now());
        estate.under_way()
    }

    /// What happened to every token bucket so far.
    pub fn buckets(&self) -> Vec<BucketState> {
        self.shared.buckets.lock().states()
    }

    /// The buckets that were ever asked for a token when they had none.
    pub fn overdrawn(&self) -> Vec<BucketState> {
        self.buckets().into_iter().filter(|bucket| bucket.overdrawn > 0).collect()
    }

    /// A new token of this application for ARM, without a login; every one is different.
    ///
    /// # Panics
    /// There is no such application.
    pub fn token(&self, client_id: &str) -> String {
        self.token_with(client_id, &Map::new())
    }

    /// The same with these claims replaced or added, `exp` for example.
    ///
    /// # Panics
    /// There is no such application.
    pub fn token_with(&self, client_id: &str, claims: &Map<String, Value>) -> String {
        let mut estate = self.shared.estate.lock();
        let wall = estate.wall(Instant::now());
        let known = estate.principals.iter().find(|known| known.client_id == client_id);
        let principal = known.expect("the application was added before").clone();
        estate.issuer.issue(&principal, "https://management.azure.com", wall, claims)
    }

    /// Adds an application with a role on a scope (`/subscriptions/ID/resourceGroups/NAME`).
    pub fn add_principal(&self, name: &str, role: Role, scope: &str) -> Principal {
        let mut estate = self.shared.estate.lock();
        let (client_id, object_id) = (estate.guid(), estate.guid());
        let principal =
            Principal { name: name.to_owned(), client_id, secret: format!("secret-of-{name}"), object_id };
        let scope = scope.trim_matches('/').to_ascii_lowercase();
        let assignment =
            rights::Assignment { name: estate.guid(), scope, object: principal.object_id.clone(), role };
        estate.assignments.push(assignment);
        estate.principals.push(principal.clone());
        principal
    }

    /// Refuses every token that an application has so far, with a claims challenge that a new one answers.
    pub fn revoke(&self, client_id: &str) {
        let mut estate = self.shared.estate.lock();
        let (number, wall) = (estate.issuer.next_number(), estate.wall(Instant::now()));
        let object = estate.principals.iter().find(|one| one.client_id == client_id);
        if let Some(object) = object.map(|one| one.object_id.clone()) {
            estate.revoked.insert(object, (number, wall));
        }
    }

    /// Carries out an API call as the subscription's owner behind everybody's back: no request is made or
    /// counted, no bucket pays. `target` is path and query.
    ///
    /// # Errors
    /// The status and body that a client would have got.
    ///
    /// # Panics
    /// `method` is no HTTP method.
    pub fn change_behind(&self, method: &str, target: &str, body: Value) -> Result<Value, (u16, Value)> {
        let who = Actor {
            object: ADMIN_OBJECT_ID.to_owned(),
            application: ADMIN_CLIENT_ID.to_owned(),
            number: 0,
            expires: 0,
            audience: String::new(),
            tenant: TENANT.to_owned(),
        };
        let method = method.parse().expect("a method of HTTP");
        let mut call = Call::new(method, target, who, "https://management.azure.com", Instant::now());
        call.body = body;
        let of = |body| if let Body::Json(value) = body { value } else { Value::Null };
        exchange::behind(&mut self.shared.estate.lock(), &call)
            .map(|reply| of(reply.body))
            .map_err(|refused| (refused.status, of(refused.body)))
    }

    /// Stops listening, closes all connections and waits until every background task has ended.
    pub async fn stop(mut self) {
        self.front.stop().await;
    }
}
