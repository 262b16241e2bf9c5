//! `forebay sim`: a simulated API alone, and the counts of what it was asked.
//!
//! The counts have an address of their own, so that asking for them changes none of them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{runtime, unusable};
use crate::server::signals::Signals;
use crate::server::{Handler, Listener, ListenerConfig, Peer, Protocols, Refusal, TlsIn, tls_config};
use crate::sim::proxmox::{self, Sim, SimConfig};
use crate::telemetry::Registry;

/// How the simulated API is built.
pub(super) struct Shape {
    pub listen: SocketAddr,
    pub vms: usize,
    pub nodes: usize,
    pub latency: Duration,
    pub straggling: Duration,
    pub task_time: Duration,
    pub tls: Option<PathBuf>,
    pub stats: Option<SocketAddr>,
}

pub(super) fn run(api: &str, shape: Shape) -> ExitCode {
    match api {
        "proxmox" => match runtime(None) {
            Ok(runtime) => runtime.block_on(serve(shape)),
            Err(error) => unusable(error),
        },
        "azure" => unusable("`sim azure` is part of the contract but not built yet"),
        other => unusable(format!("`{other}` is no simulated API; there is: proxmox")),
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
        nodes: shape.nodes,
        vms: shape.vms,
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
    let stats = match shape.stats {
        Some(address) => {
            let stats = Stats(Arc::clone(&sim));
            match Listener::bind(ListenerConfig::new(address), stats, &Registry::new()).await {
                Ok(listener) => Some(listener),
                Err(error) => return unusable(error),
            }
        }
        None => None,
    };
    println!("a simulated Proxmox VE cluster at {scheme}://{}", sim.address());
    println!("  user  {} password {}", proxmox::ROOT_USER, proxmox::ROOT_PASSWORD);
    println!("  token {}={}", proxmox::ADMIN_TOKEN, proxmox::ADMIN_TOKEN_SECRET);
    println!("  token {}={}", proxmox::AUDITOR_TOKEN, proxmox::AUDITOR_TOKEN_SECRET);
    println!("  token {}={} (may do nothing)", proxmox::POWERLESS_TOKEN, proxmox::POWERLESS_TOKEN_SECRET);
    if let Some(stats) = &stats {
        println!("  counts at http://{}", stats.address());
    }
    signals.next().await;
    if let Some(stats) = stats {
        stats.drain().await;
    }
    // A reader of the counts that outlived the drain keeps its share; the process ends all the same.
    if let Some(sim) = Arc::into_inner(sim) {
        sim.stop().await;
    }
    ExitCode::SUCCESS
}

/// What the simulation was asked, as text: totals first, then each method and target behind its count.
#[derive(Clone)]
struct Stats(Arc<Sim>);

impl Stats {
    fn text(&self) -> String {
        let sim = &self.0;
        let mut text = format!(
            "calls {}\nconnections {}\npeak_concurrency {}\n",
            sim.calls(),
            sim.connections(),
            sim.peak_concurrency()
        );
        for (line, count) in sim.calls_seen() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{count} {line}");
        }
        text
    }
}

impl Handler for Stats {
    type Body = Full<Bytes>;

    async fn handle(&self, _: Request<Incoming>, _: Arc<Peer>) -> Response<Full<Bytes>> {
        Response::new(Full::from(self.text()))
    }

    fn refused(&self, refusal: Refusal, _: &Peer) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(refusal.message()));
        *response.status_mut() = refusal.status();
        response
    }
}
