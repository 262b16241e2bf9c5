//! `forebay run`: serve until a signal says otherwise.

use std::process::ExitCode;

use super::{RunArgs, default_config, report, runtime, unusable};
use crate::app::{App, Logs};
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::rules::Diagnostic;
use crate::server::signals::{Signal, Signals};
use crate::server::watch::Watcher;
use crate::server::{TlsIn, certs};

pub(super) fn run(arguments: RunArgs) -> ExitCode {
    let settings = match settings(&arguments) {
        Ok(found) => found,
        Err(Unusable::Nothing) => {
            return unusable("nothing to serve: name a file with --config or an API with --upstream URL");
        }
        Err(Unusable::Mistakes(mistakes)) => return report(&mistakes),
    };
    Logs::start(&settings.log);
    match runtime(settings.threads) {
        Ok(runtime) => {
            let code = runtime.block_on(serve(settings));
            // What a drain left behind does not hold up the exit.
            runtime.shutdown_background();
            code
        }
        Err(error) => unusable(error),
    }
}

enum Unusable {
    Nothing,
    Mistakes(Vec<Diagnostic>),
}

fn settings(arguments: &RunArgs) -> Result<Settings, Unusable> {
    if let Some(url) = &arguments.upstream {
        let (rules, pin) = (arguments.rules.as_deref(), arguments.pin.as_deref());
        let settings = Settings::for_upstream(url, arguments.listen, rules, arguments.ca.as_deref(), pin);
        return settings.map_err(Unusable::Mistakes);
    }
    let file = arguments.config.clone().or_else(default_config).ok_or(Unusable::Nothing)?;
    config::load(&file).map_err(Unusable::Mistakes)
}

async fn serve(settings: Settings) -> ExitCode {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return unusable(error),
    };
    let files = settings.file.iter().cloned().chain(settings.files());
    let mut watcher = Watcher::new(files.collect());
    // Once more under watch: nobody would notice a change between the first reading and the watch.
    let settings = match settings.file.clone().map_or(Ok(settings), |file| config::load(&file)) {
        Ok(settings) => settings,
        Err(mistakes) => return report(&mistakes),
    };
    let begun = tokio::select! {
        begun = App::start(settings.clone(), Clock::system()) => begun,
        _ = signals.next() => return ExitCode::SUCCESS,
    };
    let app = match begun {
        Ok(app) => app,
        Err(error) => return unusable(error),
    };
    announce(&app, &settings);
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = watcher.changed() => Signal::Reload,
            () = app.reloaded() => {
                watcher.set_files(app.files());
                continue;
            }
        };
        match signal {
            Signal::Reload => {
                watcher.look();
                // What comes of it is logged there.
                let _taken = app.reload_file().await;
            }
            Signal::Drain => break,
            Signal::Stop => return ExitCode::SUCCESS,
        }
    }
    tracing::info!("draining; a second signal stops at once");
    tokio::select! {
        () = app.drain() => {}
        _ = signals.next() => {}
    }
    ExitCode::SUCCESS
}

/// Says where clients connect, and what they must trust to.
fn announce(app: &App, settings: &Settings) {
    for (address, listener) in app.addresses().iter().zip(&settings.listeners) {
        let scheme = if listener.config.tls.is_some() { "https" } else { "http" };
        tracing::info!(upstream = %listener.upstream, "serving {scheme}://{address}");
        if let Some(TlsIn::Auto { certs }) = &listener.config.tls
            && let Ok(made) = certs::make_or_load(certs, Some(address.ip()))
        {
            tracing::info!(
                fingerprint = %made.ca_fingerprint_sha256,
                "clients must trust the CA in {}",
                made.ca_path.display()
            );
        }
    }
    for (address, forward) in app.forward_addresses().iter().zip(&settings.forwards) {
        let scheme = if forward.config.tls.is_some() { "https" } else { "http" };
        tracing::info!("a forward proxy: clients set HTTPS_PROXY={scheme}://{address}");
    }
    if let Some((path, fingerprint)) = app.forward_ca() {
        tracing::info!(
            %fingerprint,
            "clients of a forward proxy must trust the CA in {} besides the public roots: SSL_CERT_FILE (Go, \
             OpenSSL) and REQUESTS_CA_BUNDLE (Python) name a file with both, NODE_EXTRA_CA_CERTS this one alone",
            path.display()
        );
    }
    if let Some(address) = app.admin_address() {
        tracing::info!("metrics, health and the API for operators at http://{address}");
    }
}
