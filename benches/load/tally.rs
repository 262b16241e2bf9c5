//! What an origin or a tap has seen.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::Instant;

/// Asks for the report.
pub const REPORT: &str = "/__report";
/// Asks for the report and starts anew.
pub const RESET: &str = "/__reset";

/// The calls since the last reset.
pub struct Tally {
    start: Cell<Instant>,
    calls: Cell<u64>,
    open: Cell<u64>,
    most_open: Cell<u64>,
    times: Option<RefCell<BTreeMap<String, Vec<u64>>>>,
}

impl Tally {
    /// Counts calls; with `times` each target's times are kept too.
    pub fn new(times: bool) -> Self {
        Self {
            start: Cell::new(Instant::now()),
            calls: Cell::new(0),
            open: Cell::new(0),
            most_open: Cell::new(0),
            times: times.then(RefCell::default),
        }
    }

    /// A call for `target` has come.
    pub fn begin(&self, target: &str) {
        self.calls.set(self.calls.get() + 1);
        self.open.set(self.open.get() + 1);
        self.most_open.set(self.most_open.get().max(self.open.get()));
        if let Some(times) = &self.times {
            let at = self.start.get().elapsed().as_millis() as u64;
            times.borrow_mut().entry(target.to_owned()).or_default().push(at);
        }
    }

    /// A call is answered.
    pub fn end(&self) {
        self.open.set(self.open.get().saturating_sub(1));
    }

    /// Calls, the most at once, and for each target the milliseconds at which it was called.
    pub fn report(&self) -> Value {
        json!({
            "calls": self.calls.get(),
            "most_open": self.most_open.get(),
            "times": self.times.as_ref().map(|times| times.borrow().clone()),
        })
    }

    /// Forgets what was counted.
    pub fn reset(&self) {
        self.start.set(Instant::now());
        self.calls.set(0);
        self.most_open.set(self.open.get());
        if let Some(times) = &self.times {
            times.borrow_mut().clear();
        }
    }

    /// The whole answer to a request for the report, if `target` asks for it.
    pub fn answer(&self, target: &str) -> Option<String> {
        let reset = target == RESET;
        if !reset && target != REPORT {
            return None;
        }
        let body = self.report().to_string();
        if reset {
            self.reset();
        }
        Some(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

/// The target of the request whose head `head` begins with.
pub fn target(head: &[u8]) -> &str {
    head.split(|byte| *byte == b' ').nth(1).and_then(|t| std::str::from_utf8(t).ok()).unwrap_or_default()
}
