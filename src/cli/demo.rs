//! `forebay demo`: a simulated cluster, forebay in front of it, some clients, and what is saved, live.
//!
//! Everything runs in this process, but clients, forebay and the API talk over real sockets, and what
//! reached the API is counted by the simulator, not by forebay.

mod client;
mod lab;
mod operator;
mod screen;
mod tally;
mod watchers;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::{NO, report, runtime, unusable};
use crate::app::{App, AppError, Logs};
use crate::cache::key::Secret;
use crate::clock::Clock;
use crate::config::{LogLevel, LogSettings, Settings};
use crate::rules::Diagnostic;
use crate::server::signals::Signals;
use crate::sim::proxmox::{self, Sim};
use client::Client;
use operator::Operator;
use screen::{Moment, Screen};
use tally::{Tally, saved};

/// Where forebay listens when nobody says and it is free.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8006);
/// Where the admin address is when it is free.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9006);
const DASHBOARDS: usize = 20;
const EXPORTERS: usize = 2;
/// Guests that an operator changes.
const CHANGED: usize = 3;
/// Guests that the dashboards show in detail: those that change, and some that do not.
const SHOWN: usize = 5;
/// How often the numbers are shown.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(listen: Option<SocketAddr>, seconds: u64) -> ExitCode {
    Logs::start(&LogSettings { level: LogLevel::Warn, ..LogSettings::default() });
    match runtime(None) {
        Ok(runtime) => {
            let code = runtime.block_on(demonstrate(listen, Duration::from_secs(seconds)));
            // Kept connections of other clients do not hold up the exit.
            runtime.shutdown_background();
            code
        }
        Err(error) => unusable(error),
    }
}

/// Why the demo cannot start.
enum Unusable {
    Io(io::Error),
    App(AppError),
    Settings(Vec<Diagnostic>),
}

async fn demonstrate(listen: Option<SocketAddr>, duration: Duration) -> ExitCode {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return unusable(error),
    };
    let (sim, app) = match start(listen).await {
        Ok(started) => started,
        Err(Unusable::Io(error)) => return unusable(error),
        Err(Unusable::App(error)) => return unusable(error),
        Err(Unusable::Settings(mistakes)) => return report(&mistakes),
    };
    let address = app.addresses()[0];
    let (tally, mut screen) = (Arc::new(Tally::default()), Screen::new());
    introduce(&screen, &app, &sim, address);

    let started = Instant::now();
    let moment = || Moment { elapsed: started.elapsed(), counts: tally.counts(), upstream: sim.calls() };
    let mut clients = spawn_clients(address, &sim, &tally);
    let mut shown = interval(SHOWN_EVERY);
    shown.tick().await;
    let end = sleep(duration);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = signals.next() => break,
            _ = shown.tick() => screen.show(moment()),
        }
    }
    clients.shutdown().await;
    // The simulator may still be reading a call that a client has just left behind, but nothing new comes.
    let last = moment();
    screen.show_last(last);
    conclude(&screen, &last, &tally.findings())
}

async fn start(listen: Option<SocketAddr>) -> Result<(Arc<Sim>, App), Unusable> {
    let sim = lab::start().await.map_err(Unusable::Io)?;
    let url = format!("http://{}", sim.address());
    let listen = listen.unwrap_or_else(|| free_or_any(DEFAULT_LISTEN));
    let settings = Settings::for_upstream(&url, Some(listen), Some("proxmox"), None, None);
    let mut settings = settings.map_err(Unusable::Settings)?;
    settings.admin.address = free_or_any(DEFAULT_ADMIN);
    for upstream in &mut settings.upstreams {
        upstream.site.credential = Some(lab::credential());
    }
    let app = App::start_with(settings, Clock::system(), Secret::random()).await.map_err(Unusable::App)?;
    Ok((Arc::new(sim), app))
}

/// The address, or one with any free port when it is taken.
fn free_or_any(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_free) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

fn introduce(screen: &Screen, app: &App, sim: &Sim, address: SocketAddr) {
    let (token, secret) = (proxmox::ADMIN_TOKEN, proxmox::ADMIN_TOKEN_SECRET);
    screen.say(&format!(
        "A simulated Proxmox VE cluster ({} nodes, {} guests, {} ms a call, {} s a task) at http://{}",
        lab::NODES,
        lab::GUESTS,
        lab::LATENCY.as_millis(),
        lab::TASK_TIME.as_secs(),
        sim.address(),
    ));
    screen.say(&format!("forebay in front of it, with its built-in rules, at http://{address}"));
    screen.say(&format!("  token    {token}={secret}"));
    screen.say(&format!(
        "  look     curl -i -H 'Authorization: PVEAPIToken={token}={secret}' http://{address}/api2/json/cluster/resources"
    ));
    if let Some(admin) = app.admin_address() {
        screen.say(&format!("  metrics  curl http://{admin}/metrics"));
    }
    screen.say(&format!(
        "{DASHBOARDS} dashboards with one token refresh every second, {EXPORTERS} exporters with another scrape \
         every 5 s,\nan operator with a third reconciles all guests and changes {CHANGED} of them."
    ));
    screen.say(
        "A read is stale when it differs from what the simulator itself holds after forebay has told the writer\n\
         that its write, or the write's task, is done. The writer and a client with another token read each.\n",
    );
}

fn spawn_clients(address: SocketAddr, sim: &Arc<Sim>, tally: &Arc<Tally>) -> JoinSet<()> {
    let client = |(token, secret)| Client::new(address, token, secret, tally);
    let dashboard = (lab::DASHBOARD_TOKEN, lab::DASHBOARD_SECRET);
    let exporter = (proxmox::AUDITOR_TOKEN, proxmox::AUDITOR_TOKEN_SECRET);
    let operator = (proxmox::ADMIN_TOKEN, proxmox::ADMIN_TOKEN_SECRET);
    let guests = lab::guests(sim);
    let machines: Vec<_> = guests.iter().filter(|guest| guest.kind == "qemu").cloned().collect();
    // The further guests are under nobody's high availability, so a task's end is the end of the change.
    let mut shown: Vec<_> = machines.iter().filter(|guest| guest.name.starts_with("app-")).cloned().collect();
    shown.truncate(SHOWN);
    let changed = shown[..CHANGED.min(shown.len())].to_vec();
    let mut clients = JoinSet::new();
    for number in 0..DASHBOARDS {
        let run = watchers::dashboard(client(dashboard), lab::nodes(), shown.clone());
        // People open their dashboards at different moments.
        let begun = Duration::from_secs(1) * number as u32 / DASHBOARDS as u32;
        clients.spawn(async move {
            sleep(begun).await;
            run.await;
        });
    }
    for _ in 0..EXPORTERS {
        clients.spawn(watchers::exporter(client(exporter), lab::nodes(), guests.clone()));
    }
    clients.spawn(operator::reconciler(client(operator), machines));
    for guest in changed {
        let operator = Operator {
            client: client(operator),
            second: client(dashboard),
            guest,
            sim: sim.clone(),
            tally: tally.clone(),
        };
        clients.spawn(operator.run());
    }
    clients
}

fn conclude(screen: &Screen, last: &Moment, findings: &[String]) -> ExitCode {
    screen.say("");
    for finding in findings {
        screen.say(&format!("stale: {finding}"));
    }
    let counts = &last.counts;
    if counts.checks == 0 {
        screen.say("no write was checked: let it run for longer");
    }
    screen.say(&format!(
        "saved={:.1}% client_calls={} upstream_calls={} stale_after_write={}",
        saved(counts.calls, last.upstream),
        counts.calls,
        last.upstream,
        counts.stale,
    ));
    if counts.stale > 0 || counts.checks == 0 { NO.into() } else { ExitCode::SUCCESS }
}
