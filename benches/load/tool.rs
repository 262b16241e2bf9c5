//! The tool of the benchmarks: an origin, a tap that counts calls, and the clients.
//!
//! It speaks just enough HTTP/1.1 to cost less than what it measures, and prints one JSON object. Nothing
//! of forebay is used here, so that both sides of a comparison meet the same generator.

mod burst;
mod client;
mod cpu;
mod delay;
mod drive;
mod origin;
mod poll;
mod tally;
mod tap;
mod targets;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Any error ends a run: a benchmark that lost answers has no result.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about = "Load, origin and counters for forebay's benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer as the query says: size=BYTES, delay=MILLISECONDS, store=no
    Origin(origin::Origin),
    /// Hand connections on to an API and count the calls
    Tap(tap::Tap),
    /// Request without a pause on some connections, and measure a process meanwhile
    Drive(drive::Drive),
    /// Request the same on many connections at once
    Burst(burst::Burst),
    /// Request lists of targets once a second, as dashboards do
    Poll(poll::Poll),
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            match Cli::parse().command {
                Command::Origin(origin) => origin.run().await,
                Command::Tap(tap) => tap.run().await,
                Command::Drive(drive) => drive.run().await,
                Command::Burst(burst) => burst.run().await,
                Command::Poll(poll) => poll.run().await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
