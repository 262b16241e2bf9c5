//! The simulated Azure Resource Manager: TLS unless plaintext is asked for, because its clients refuse to
//! send a token without.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::{Counted, Shape, Throttling, ending, stats, text};
use crate::cli::unusable;
use crate::server::signals::Signals;
use crate::server::{Protocols, TlsIn, tls_config};
use crate::sim::azure::{self, Links, Sim, SimConfig, Throttle};

/// Virtual machines, when nobody says how many.
const MACHINES: usize = 10;
/// Where the CA and the certificate are kept, when nobody says where.
const CERTIFICATES: &str = "sim-certs";

impl Counted for Sim {
    fn totals(&self) -> [u64; 3] {
        [self.calls(), self.connections(), self.peak_concurrency()]
    }

    fn seen(&self) -> Vec<(String, u64)> {
        self.calls_seen()
    }
}

/// Where addresses in answers point: `as-asked`, `public`, `mixed`, or a URL.
fn links(text: Option<&str>) -> Option<Links> {
    Some(match text {
        None | Some("as-asked") => Links::AsAsked,
        Some("public") => Links::Public,
        Some("mixed") => Links::Mixed,
        Some(base) if base.starts_with("http://") || base.starts_with("https://") => {
            Links::At(base.to_owned())
        }
        Some(_) => return None,
    })
}

pub(super) async fn serve(shape: Shape) -> ExitCode {
    let Some(links) = links(shape.links.as_deref()) else {
        return unusable(
            "`--links` is as-asked, public, mixed, or a URL to which addresses in answers point",
        );
    };
    let protocols = Protocols { http1: true, http2: true };
    let certs = shape.tls.unwrap_or_else(|| PathBuf::from(CERTIFICATES));
    let tls = (!shape.plain)
        .then(|| tls_config(&TlsIn::Auto { certs: certs.clone() }, protocols, shape.listen.ip()))
        .transpose();
    let tls = match tls {
        Ok(tls) => tls,
        Err(error) => return unusable(error),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let throttle = match shape.throttle {
        Some(Throttling::Off) => Throttle::Off,
        Some(Throttling::Count) => Throttle::Count,
        None | Some(Throttling::On) => Throttle::Refuse,
    };
    let config = SimConfig {
        vms: shape.vms.unwrap_or(MACHINES),
        latency: shape.latency,
        task_time: shape.task_time,
        links,
        throttle,
        tls,
        ..SimConfig::default()
    };
    let (sim, mut signals) = match (Sim::start(config, shape.listen).await, Signals::new()) {
        (Ok(sim), Ok(signals)) => (Arc::new(sim), signals),
        (Err(error), _) | (_, Err(error)) => return unusable(error),
    };
    let told = Arc::clone(&sim);
    let of = move || {
        let overdrawn: u64 = told.overdrawn().iter().map(|bucket| bucket.overdrawn).sum();
        text(&*told, &format!("logins {}\noverdrawn {overdrawn}\n", told.logins()))
    };
    let stats = match stats(shape.stats, of).await {
        Ok(stats) => stats,
        Err(error) => return unusable(error),
    };
    println!("a simulated Azure Resource Manager at {scheme}://{}", sim.address());
    if !shape.plain {
        println!("  trust {}", certs.join("ca.pem").display());
    }
    println!("  login at the same address, tenant {}", azure::TENANT);
    println!("  subscription {}", azure::SUBSCRIPTION);
    println!("  client {} secret {}", azure::ADMIN_CLIENT_ID, azure::ADMIN_CLIENT_SECRET);
    println!("  client {} secret {} (may read rg-beta)", azure::DEV_CLIENT_ID, azure::DEV_CLIENT_SECRET);
    ending(stats, &mut signals).await;
    // A reader of the counts that outlived the drain keeps its share; the process ends all the same.
    if let Some(sim) = Arc::into_inner(sim) {
        sim.stop().await;
    }
    ExitCode::SUCCESS
}
