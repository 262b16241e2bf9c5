//! The command line.
//!
//! Exit codes: 0 fine, 1 the answer is no (a failed check), 2 bad usage or an unusable file.

mod demo;
mod health;
mod inspect;
mod run;
mod sim;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::units::Span;

/// The answer is no.
const NO: u8 = 1;
/// Bad usage, or a file that is of no use.
const UNUSABLE: u8 = 2;

#[derive(Parser)]
#[command(name = "forebay", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default)
    Run(RunArgs),
    /// Report every mistake in configurations and rule packs as file:line:column
    Check {
        /// Files; without one: the configuration that `run` would use
        files: Vec<PathBuf>,
    },
    /// Say which rule a request meets, its key, groups and lifetimes, and which writes and tasks overtake it
    Explain {
        /// The method
        method: String,
        /// A URL, or its path and query
        url: String,
        /// The configuration whose rules count
        #[arg(long, env = "FOREBAY_CONFIG", conflicts_with = "rules")]
        config: Option<PathBuf>,
        /// A rule pack: proxmox, azure, or a file
        #[arg(long)]
        rules: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a simulated cluster, forebay in front of it and some clients, and show what is saved
    Demo {
        /// Where forebay listens [default: 127.0.0.1:8006, or a free port if that is taken]
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
        /// How long
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// Run a simulated API alone
    Sim {
        /// Which: proxmox or azure
        api: String,
        #[command(flatten)]
        shape: sim::Shape,
    },
    /// Say what the traffic seen so far means for the rules (not built yet)
    Advise {
        /// A log file, or the URL of an admin address
        source: String,
    },
    /// Ask the admin address whether forebay is ready, for container checks
    Health {
        /// The configuration that names the admin address
        #[arg(long, env = "FOREBAY_CONFIG")]
        config: Option<PathBuf>,
    },
}

#[derive(Args, Clone, Default)]
struct RunArgs {
    /// The configuration; without one ./forebay.yaml is looked for
    #[arg(long, env = "FOREBAY_CONFIG")]
    config: Option<PathBuf>,
    /// The API, for a start without a file
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where to listen [default: 127.0.0.1:8006]
    #[arg(long, value_name = "ADDRESS", requires = "upstream")]
    listen: Option<SocketAddr>,
    /// The rules: proxmox, azure, or a file; chosen by asking the API when not named
    #[arg(long, value_name = "PACK", requires = "upstream")]
    rules: Option<String>,
    /// The CA that the API's certificate must come from
    #[arg(long, value_name = "FILE", requires = "upstream", conflicts_with = "pin")]
    ca: Option<PathBuf>,
    /// The SHA-256 fingerprint that the API's certificate must have
    #[arg(long, value_name = "SHA256", requires = "upstream")]
    pin: Option<String>,
}

fn span(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0).map_err(|error| error.to_string())
}

/// Runs the program.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A failure to print to a closed pipe leaves nobody to tell.
            let _nobody_reads = error.print();
            return if error.use_stderr() { UNUSABLE.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(arguments) => run::run(arguments),
        Command::Check { files } => inspect::check(files),
        Command::Explain { method, url, config, rules, json } => {
            inspect::explain(&method, &url, config, rules, json)
        }
        Command::Demo { listen, seconds } => demo::run(listen, seconds),
        Command::Sim { api, shape } => sim::run(&api, shape),
        Command::Advise { .. } => unusable("`advise` is part of the contract but not built yet"),
        Command::Health { config } => health::run(config),
    }
}

/// The configuration to use when none is named.
fn default_config() -> Option<PathBuf> {
    let path = PathBuf::from("forebay.yaml");
    path.exists().then_some(path)
}

fn unusable(message: impl std::fmt::Display) -> ExitCode {
    eprintln!("forebay: {message}");
    UNUSABLE.into()
}

fn report(diagnostics: &[crate::rules::Diagnostic]) -> ExitCode {
    diagnostics.iter().for_each(|diagnostic| eprintln!("{diagnostic}"));
    UNUSABLE.into()
}

/// A runtime with so many worker threads, or one per core.
fn runtime(threads: Option<usize>) -> std::io::Result<tokio::runtime::Runtime> {
    use tokio::runtime::Builder;
    let mut builder = match threads {
        // Alone, a thread need not share its work.
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(threads) = threads.filter(|threads| *threads > 1) {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}
