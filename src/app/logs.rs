//! Where log lines go and in which form.

use std::io;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LogLevel, LogSettings};

/// The process' logs, on standard error.
pub struct Logs;

impl Logs {
    /// Begins to log; only the first call in a process counts.
    pub fn start(settings: &LogSettings) {
        let level = match settings.level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        // The libraries' own lines stay out: at their finer levels they print fields of requests,
        // credentials among them.
        // Lines of requests have a switch of their own, which does not depend on the level.
        let filter = EnvFilter::new(format!("off,forebay={level},forebay::request=info"));
        let logs = fmt::Subscriber::builder().with_env_filter(filter).with_writer(io::stderr);
        let begun = match settings.format {
            LogFormat::Json => tracing::subscriber::set_global_default(logs.json().finish()),
            LogFormat::Text => {
                let colours = io::IsTerminal::is_terminal(&io::stderr());
                tracing::subscriber::set_global_default(logs.with_ansi(colours).finish())
            }
        };
        if begun.is_err() {
            tracing::debug!("logging has begun before");
        }
    }
}
