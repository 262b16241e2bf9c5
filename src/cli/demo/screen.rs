//! What the demo shows while it runs: one block in place on a terminal, one line a second elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::tally::{Counts, Percentiles, saved};

/// Standard output.
pub(super) struct Screen {
    in_place: bool,
    /// Lines of the block on the screen.
    lines: usize,
    before: Moment,
}

/// What is shown at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    /// Time since the clients started.
    pub elapsed: Duration,
    pub counts: Counts,
    /// Calls that the simulator has received.
    pub upstream: u64,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { in_place: io::stdout().is_terminal(), lines: 0, before: Moment::default() }
    }

    /// Shows this moment in place of the one before, or below it.
    pub(super) fn show(&mut self, now: Moment) {
        if !self.in_place {
            return self.say(&line(&now));
        }
        let block = block(&now, &self.before);
        let up = if self.lines > 0 { format!("\x1b[{}F", self.lines) } else { String::new() };
        self.lines = block.len();
        self.before = now;
        let erased: Vec<String> = block.iter().map(|line| format!("{line}\x1b[K")).collect();
        self.say(&format!("{up}{}", erased.join("\n")));
    }

    /// Shows the last moment, with the rates of the whole run.
    pub(super) fn show_last(&mut self, last: Moment) {
        self.before = Moment::default();
        self.show(last);
    }

    /// Writes a line below everything shown so far.
    pub(super) fn say(&self, text: &str) {
        // A reader that went away, as `head` does, is no reason to stop counting.
        let _nobody_reads = writeln!(io::stdout(), "{text}");
    }
}

fn line(now: &Moment) -> String {
    let Moment { elapsed, counts, upstream } = now;
    format!(
        "{:>4}s client_calls={} upstream_calls={upstream} saved={:.1}% hit_p50={} hit_p99={} miss_p50={} \
         miss_p99={} writes={} checked_reads={} stale={} failed={}",
        elapsed.as_secs_f64().round(),
        counts.calls,
        saved(counts.calls, *upstream),
        millis(counts.hits.p50),
        millis(counts.hits.p99),
        millis(counts.misses.p50),
        millis(counts.misses.p99),
        counts.writes,
        counts.checks,
        counts.stale,
        counts.failed,
    )
}

fn block(now: &Moment, before: &Moment) -> Vec<String> {
    let seconds = now.elapsed.saturating_sub(before.elapsed).as_secs_f64().max(0.001);
    let rate = |now: u64, before: u64| (now.saturating_sub(before)) as f64 / seconds;
    let counts = &now.counts;
    let latency = |name: &str, found: &Percentiles| {
        let (p50, p99) = (millis(found.p50), millis(found.p99));
        format!("  {name:<22}{:>9}   p50 {p50:>7}   p99 {p99:>7}", found.count)
    };
    let stale = if counts.stale == 0 { "32" } else { "31" };
    vec![
        format!("  {:<22}{:>8}s", "running for", now.elapsed.as_secs()),
        format!(
            "  {:<22}{:>9}   {:>5.0}/s",
            "calls by clients",
            counts.calls,
            rate(counts.calls, before.counts.calls)
        ),
        format!(
            "  {:<22}{:>9}   {:>5.0}/s",
            "calls at the API",
            now.upstream,
            rate(now.upstream, before.upstream)
        ),
        format!("  {:<22}\x1b[1m{:>8.1}%\x1b[0m", "saved", saved(counts.calls, now.upstream)),
        latency("hits", &counts.hits),
        latency("misses", &counts.misses),
        format!(
            "  {:<22}{:>9}   {} reads compared with the API",
            "writes checked", counts.writes, counts.checks
        ),
        format!("  {:<22}\x1b[1;{stale}m{:>9}\x1b[0m", "stale after own write", counts.stale),
        format!("  {:<22}{:>9}", "failed calls", counts.failed),
    ]
}

fn millis(time: Duration) -> String {
    format!("{:.1}ms", time.as_secs_f64() * 1e3)
}
