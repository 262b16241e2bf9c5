//! The simulated Azure Resource Manager: TLS unless plaintext is asked for, because its clients refuse to
//! send a token without.
//!
//! A second address can play the public cloud, for clients to whom its names are given there: what reaches it
//! is what went round a proxy that stands before the first.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::{Shape, Throttling, ending, stats, text};
use crate::cli::unusable;
use crate::server::certs::Authority;
use crate::server::signals::Signals;
use crate::server::{Protocols, ServerError, TlsIn, issued_tls_config, tls_config};
use crate::sim::azure::{self, Links, Sim, SimConfig, Throttle};

/// Virtual machines, when nobody says how many.
const MACHINES: usize = 10;
/// Where the CA and the certificate are kept, when nobody says where.
const CERTIFICATES: &str = "sim-certs";

/// The names of the public cloud: its API, that of its regions, the login authority, the blobs.
const PUBLIC_NAMES: [&str; 5] = [
    "management.azure.com",
    "*.management.azure.com",
    "login.microsoftonline.com",
    "login.windows.net",
    "*.blob.core.windows.net",
];

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

/// TLS for the addresses of `shape`.
fn tls(shape: &Shape, certs: &Path) -> Result<Option<Arc<rustls::ServerConfig>>, ServerError> {
    let protocols = Protocols { http1: true, http2: true };
    if shape.plain {
        return Ok(None);
    }
    let Some(public) = shape.public else {
        return tls_config(&TlsIn::Auto { certs: certs.into() }, protocols, shape.listen.ip()).map(Some);
    };
    // One certificate for both addresses, made anew each time: nobody is to find one for these names on a disk.
    let mut names: Vec<String> = PUBLIC_NAMES.map(str::to_owned).into();
    names.extend(["localhost".to_owned(), shape.listen.ip().to_string(), public.ip().to_string()]);
    issued_tls_config(Authority::make_or_load(certs)?.issue(&names)?, protocols).map(Some)
}

pub(super) async fn serve(shape: Shape) -> ExitCode {
    let Some(links) = links(shape.links.as_deref()) else {
        return unusable(
            "`--links` is as-asked, public, mixed, or a URL to which addresses in answers point",
        );
    };
    let certs = shape.tls.clone().unwrap_or_else(|| PathBuf::from(CERTIFICATES));
    let tls = match tls(&shape, &certs) {
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
        refuse_every: shape.refuse_every,
        tls,
        ..SimConfig::default()
    };
    let addresses: Vec<_> = [Some(shape.listen), shape.public].into_iter().flatten().collect();
    let (sims, mut signals) = match (Sim::start_at(config, &addresses).await, Signals::new()) {
        (Ok(sims), Ok(signals)) => (Arc::new(sims), signals),
        (Err(error), _) | (_, Err(error)) => return unusable(error),
    };
    let told = Arc::clone(&sims);
    let stats = match stats(shape.stats, move || counts(&told)).await {
        Ok(stats) => stats,
        Err(error) => return unusable(error),
    };
    println!("a simulated Azure Resource Manager at {scheme}://{}", sims[0].address());
    for public in &sims[1..] {
        println!("  as the public cloud at {}", public.address());
    }
    if !shape.plain {
        println!("  trust {}", certs.join("ca.pem").display());
    }
    println!("  login at the same address, tenant {}", azure::TENANT);
    println!("  subscription {}", azure::SUBSCRIPTION);
    println!("  client {} secret {}", azure::ADMIN_CLIENT_ID, azure::ADMIN_CLIENT_SECRET);
    println!("  client {} secret {} (may read rg-beta)", azure::DEV_CLIENT_ID, azure::DEV_CLIENT_SECRET);
    ending(stats, &mut signals).await;
    // A reader of the counts that outlived the drain keeps its share; the process ends all the same.
    for sim in Arc::into_inner(sims).into_iter().flatten() {
        sim.stop().await;
    }
    ExitCode::SUCCESS
}

/// What came to each address; the first is the one that is meant to be asked.
fn counts(sims: &[Sim]) -> String {
    let (sim, public) = (&sims[0], &sims[1..]);
    // The buckets are of the subscription, whichever way a call came.
    let overdrawn: u64 = sim.overdrawn().iter().map(|bucket| bucket.overdrawn).sum();
    let logins: u64 = sims.iter().map(Sim::logins).sum();
    let refused: u64 = sims.iter().map(Sim::refused).sum();
    let past: u64 = public.iter().map(|sim| sim.calls()).sum();
    let mut more =
        format!("logins {logins}\noverdrawn {overdrawn}\nrefused {refused}\npublic_calls {past}\n");
    for (line, count) in public.iter().flat_map(|sim| sim.calls_seen()) {
        // Writing to a string cannot fail.
        let _ = writeln!(more, "public {count} {line}");
    }
    text(sim, &more)
}
