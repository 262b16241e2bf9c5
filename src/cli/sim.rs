//! `forebay sim`: a simulated API alone, and the counts of what it was asked.
//!
//! The counts have an address of their own, so that asking for them changes none of them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{runtime, span, unusable};
use crate::server::signals::Signals;
use crate::server::{Handler, Listener, ListenerConfig, Peer, Protocols, Refusal, TlsIn, tls_config};
use crate::sim::proxmox::{self, Sim, SimConfig, Watch};
use crate::telemetry::Registry;

mod azure;

/// Guests of a simulated cluster, when nobody says how many.
const GUESTS: usize = 12;
/// Nodes of a simulated cluster, when nobody says how many.
const NODES: usize = 3;

/// How the simulated API is built.
#[derive(clap::Args)]
pub(super) struct Shape {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8016")]
    listen: SocketAddr,
    /// Virtual machines [default: 12 guests of a cluster, 10 of a subscription]
    #[arg(long)]
    vms: Option<usize>,
    /// Nodes in the cluster [default: 3]
    #[arg(long)]
    nodes: Option<usize>,
    /// Time that each call takes
    #[arg(long, default_value = "0ms", value_parser = span)]
    latency: Duration,
    /// Time for which one answer in eight is under way longer
    #[arg(long, default_value = "0ms", value_parser = span)]
    straggling: Duration,
    /// Time that each task takes
    #[arg(long, default_value = "2s", value_parser = span)]
    task_time: Duration,
    /// Serve TLS with a certificate of a private CA kept in this directory [azure: always, in sim-certs]
    #[arg(long, value_name = "DIRECTORY")]
    tls: Option<PathBuf>,
    /// Serve plaintext all the same (azure); its clients refuse to log in over it
    #[arg(long, conflicts_with = "tls")]
    plain: bool,
    /// Where addresses in answers point (azure): as-asked, public, mixed, or a URL [default: as-asked]
    #[arg(long, value_name = "WHERE")]
    links: Option<String>,
    /// What the token buckets do (azure) [default: on]
    #[arg(long)]
    throttle: Option<Throttling>,
    /// Refuse one read in so many as the front door does whose bucket is empty for a second (azure)
    #[arg(long, value_name = "N")]
    refuse_every: Option<NonZeroU64>,
    /// Listen here too, as the public cloud: with certificates for its names, and counted apart (azure)
    #[arg(long, value_name = "ADDRESS", conflicts_with = "plain")]
    public: Option<SocketAddr>,
    /// Say there, in plain text, how many calls came: `calls N`, then a line for each method and target
    #[arg(long, value_name = "ADDRESS")]
    stats: Option<SocketAddr>,
}

/// What the simulated token buckets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Throttling {
    /// There are none
    Off,
    /// They count and refuse nothing
    Count,
    /// They refuse what is too much
    On,
}

impl Shape {
    /// The first option that was given and that only one of the APIs has.
    fn foreign(&self, api: &str) -> Option<&'static str> {
        let of_azure = [
            (self.plain, "--plain"),
            (self.links.is_some(), "--links"),
            (self.throttle.is_some(), "--throttle"),
            (self.refuse_every.is_some(), "--refuse-every"),
            (self.public.is_some(), "--public"),
        ];
        let of_proxmox = [(self.nodes.is_some(), "--nodes"), (!self.straggling.is_zero(), "--straggling")];
        let mut given = match api {
            "proxmox" => of_azure.to_vec(),
            _ => of_proxmox.to_vec(),
        };
        given.retain(|(given, _)| *given);
        given.first().map(|(_, name)| *name)
    }
}

pub(super) fn run(api: &str, shape: Shape) -> ExitCode {
    if !matches!(api, "proxmox" | "azure") {
        return unusable(format!("`{api}` is no simulated API; there are: proxmox, azure"));
    }
    if let Some(name) = shape.foreign(api) {
        return unusable(format!("`{name}` means nothing to `sim {api}`"));
    }
    match (runtime(None), api) {
        (Ok(runtime), "azure") => runtime.block_on(azure::serve(shape)),
        (Ok(runtime), _) => runtime.block_on(serve(shape)),
        (Err(error), _) => unusable(error),
    }
}

async fn serve(shape: Shape) -> ExitCode {
    let protocols = Protocols { http1: true, http2: false };
    let tls = shape.tls.map(|certs| tls_config(&TlsIn::Auto { certs }, protocols, shape.listen.ip()));
    let tls = match tls.transpose() {
        Ok(tls) => tls,
        Err(error) => return unusable(error),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let config = SimConfig {
        nodes: shape.nodes.unwrap_or(NODES),
        vms: shape.vms.unwrap_or(GUESTS),
        latency: shape.latency,
        straggling: shape.straggling,
        task_time: shape.task_time,
        tls,
        ..SimConfig::default()
    };
    let (sim, mut signals) = match (Sim::start(config, shape.listen).await, Signals::new()) {
        (Ok(sim), Ok(signals)) => (Arc::new(sim), signals),
        (Err(error), _) | (_, Err(error)) => return unusable(error),
    };
    let told = Arc::clone(&sim);
    let stats = match stats(shape.stats, move || text(&*told, "")).await {
        Ok(stats) => stats,
        Err(error) => return unusable(error),
    };
    println!("a simulated Proxmox VE cluster at {scheme}://{}", sim.address());
    println!("  user  {} password {}", proxmox::ROOT_USER, proxmox::ROOT_PASSWORD);
    println!("  token {}={}", proxmox::ADMIN_TOKEN, proxmox::ADMIN_TOKEN_SECRET);
    println!("  token {}={}", proxmox::AUDITOR_TOKEN, proxmox::AUDITOR_TOKEN_SECRET);
    println!("  token {}={} (may do nothing)", proxmox::POWERLESS_TOKEN, proxmox::POWERLESS_TOKEN_SECRET);
    ending(stats, &mut signals).await;
    // A reader of the counts that outlived the drain keeps its share; the process ends all the same.
    if let Some(sim) = Arc::into_inner(sim) {
        sim.stop().await;
    }
    ExitCode::SUCCESS
}

/// Says where the counts are, and waits until the process is told to end.
async fn ending(stats: Option<Listener>, signals: &mut Signals) {
    if let Some(stats) = &stats {
        println!("  counts at http://{}", stats.address());
    }
    signals.next().await;
    if let Some(stats) = stats {
        stats.drain().await;
    }
}

/// Serves the counts at `address`, if there is one.
async fn stats(
    address: Option<SocketAddr>,
    text: impl Fn() -> String + Send + Sync + 'static,
) -> Result<Option<Listener>, crate::server::ServerError> {
    let Some(address) = address else { return Ok(None) };
    let handler = Stats(Arc::new(text));
    Listener::bind(ListenerConfig::new(address), handler, &Registry::new()).await.map(Some)
}

/// What a simulation was asked: totals first, then `more`, then each method and target behind its count.
fn text<F: Clone>(sim: &Watch<F>, more: &str) -> String {
    let (calls, connections, peak) = (sim.calls(), sim.connections(), sim.peak_concurrency());
    let mut text = format!("calls {calls}\nconnections {connections}\npeak_concurrency {peak}\n{more}");
    for (line, count) in sim.calls_seen() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{count} {line}");
    }
    text
}

/// The counts as text, made anew for each who asks.
#[derive(Clone)]
struct Stats(Arc<dyn Fn() -> String + Send + Sync>);

impl Handler for Stats {
    type Body = Full<Bytes>;

    async fn handle(&self, _: Request<Incoming>, _: Arc<Peer>) -> Response<Full<Bytes>> {
        Response::new(Full::from((self.0)()))
    }

    fn refused(&self, refusal: Refusal, _: &Peer) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(refusal.message()));
        *response.status_mut() = refusal.status();
        response
    }
}
