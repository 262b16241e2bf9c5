//! The process' signals as events: TERM and INT drain, the second of them stops, HUP reloads.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Finish what has begun, then stop.
    Drain,
    /// Stop at once.
    Stop,
    /// Read the configuration again.
    Reload,
}

/// The signals from now on; without it the system's defaults apply.
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hang_up: Stream,
    draining: bool,
}

impl Signals {
    /// Takes over TERM, INT and HUP. Needs the runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            draining: false,
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => self.end(),
            _ = self.interrupt.recv() => self.end(),
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }

    fn end(&mut self) -> Signal {
        if std::mem::replace(&mut self.draining, true) { Signal::Stop } else { Signal::Drain }
    }
}
