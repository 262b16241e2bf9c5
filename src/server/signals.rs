//! The process' signals as events: TERM and INT drain, the second of them stops, HUP reloads. XFSZ is none: a file
//! that may not grow is an error of whoever writes it.

use std::io;

use rustix::process::Signal as Number;
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
    /// By default the system ends a process that writes past its limit (`ulimit -f`); the call fails as well, and
    /// a store that takes nothing more is no reason to stop serving.
    _file_size: Stream,
    draining: bool,
}

impl Signals {
    /// Takes over TERM, INT, HUP and XFSZ. Needs the runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            _file_size: signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?,
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
