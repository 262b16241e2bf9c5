//! Answers that go on for long: downloads, events as they happen.
//!
//! What a call's place in flight protects is the API's work on the answer. Whoever still reads after a minute
//! is fed from a socket, or waits for what has not happened yet, and must not keep others out for hours. Such
//! an answer gets a place here instead, of which there are so many that they bound memory and descriptors and
//! nothing else; without one free it stays where it is.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;

use super::gauge::{Entered, Gauge};
use crate::telemetry::Registry;

/// For how long an answer is an ordinary call. The slowest calls of the APIs that forebay knows are given up
/// after half a minute or a minute.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// How many answers may go on for longer beside the calls in flight: as many as there may be tunnels by
/// default, which cost the same.
const MOST: usize = 1_000;

/// The long answers of one upstream.
pub(super) struct Streams {
    open: Gauge,
    shown: metrics::Gauge,
    refused: Counter,
    most: usize,
}

/// A long answer's place; dropping it gives it back.
pub(super) struct StreamPlace {
    _open: Entered,
    streams: Arc<Streams>,
}

impl Streams {
    pub(super) fn new(upstream: &str, registry: &Registry) -> Arc<Self> {
        Self::with(upstream, registry, MOST)
    }

    fn with(upstream: &str, registry: &Registry, most: usize) -> Arc<Self> {
        let labels = [("upstream", upstream)];
        Arc::new(Self {
            open: Gauge::default(),
            shown: registry.gauge("forebay_streams", &labels),
            refused: registry.counter("forebay_streams_refused_total", &labels),
            most,
        })
    }

    /// A place, unless as many as may be are taken; that is counted.
    pub(super) fn enter(self: &Arc<Self>) -> Option<StreamPlace> {
        let Some(open) = self.open.enter_below(self.most) else {
            self.refused.increment(1);
            return None;
        };
        self.shown.increment(1.0);
        Some(StreamPlace { _open: open, streams: Arc::clone(self) })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.streams.shown.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_no_more() {
        let registry = Registry::new();
        let streams = Streams::with("lab", &registry, 2);
        let (one, two) = (streams.enter(), streams.enter());
        assert!(one.is_some() && two.is_some() && streams.enter().is_none());
        assert!(registry.render().contains("forebay_streams{upstream=\"lab\"} 2"));
        assert!(registry.render().contains("forebay_streams_refused_total{upstream=\"lab\"} 1"));
        drop(one);
        assert!(streams.enter().is_some());
        drop(two);
        assert!(registry.render().contains("forebay_streams{upstream=\"lab\"} 0"));
    }
}
