//! `forebay sim`: a simulated API alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{runtime, unusable};
use crate::server::signals::Signals;
use crate::server::{Protocols, TlsIn, tls_config};
use crate::sim::proxmox::{self, Sim, SimConfig};

/// How the simulated API is built.
pub(super) struct Shape {
    pub listen: SocketAddr,
    pub vms: usize,
    pub nodes: usize,
    pub latency: Duration,
    pub task_time: Duration,
    pub tls: Option<PathBuf>,
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
        task_time: shape.task_time,
        tls,
        ..SimConfig::default()
    };
    let (sim, mut signals) = match (Sim::start(config, shape.listen).await, Signals::new()) {
        (Ok(sim), Ok(signals)) => (sim, signals),
        (Err(error), _) | (_, Err(error)) => return unusable(error),
    };
    println!("a simulated Proxmox VE cluster at {scheme}://{}", sim.address());
    println!("  user  {} password {}", proxmox::ROOT_USER, proxmox::ROOT_PASSWORD);
    println!("  token {}={}", proxmox::ADMIN_TOKEN, proxmox::ADMIN_TOKEN_SECRET);
    println!("  token {}={}", proxmox::AUDITOR_TOKEN, proxmox::AUDITOR_TOKEN_SECRET);
    signals.next().await;
    sim.stop().await;
    ExitCode::SUCCESS
}
