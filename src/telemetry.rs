//! Metric handles and logs.
//!
//! Every process part resolves its handles once, when it is built: a counter on the request path is
//! one atomic addition. Labels come from closed sets only, never from a path or a credential.

mod counts;

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use counts::{Count, Counts};

static METADATA: Metadata<'static> = Metadata::new("forebay", Level::INFO, None);

/// Upper bounds of the histogram buckets, in seconds: from a hit (tens of microseconds) to the
/// longest call an API makes a client wait for.
const BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
    30.0, 120.0,
];

/// The process' metrics; each application has its own, so two in one process do not mix.
#[derive(Clone)]
pub struct Registry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty registry with forebay's buckets.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)
            .expect("the bucket list is not empty")
            .build_recorder();
        let handle = recorder.handle();
        Self { recorder: Arc::new(recorder), handle }
    }

    /// The counter `name` with `labels`; the same arguments give the same counter.
    pub fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder.register_counter(&key(name, labels), &METADATA)
    }

    /// The gauge `name` with `labels`.
    pub fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    /// The histogram `name` with `labels`, in seconds.
    pub fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        self.recorder.register_histogram(&key(name, labels), &METADATA)
    }

    /// Sets the help text of a metric.
    pub fn describe_counter(&self, name: &'static str, help: &'static str) {
        self.recorder.describe_counter(name.into(), None, help.into());
    }

    /// Sets the help text of a metric of any kind.
    pub fn describe(&self, name: &'static str, help: &'static str) {
        // The exporter keeps one text for a name, whatever it is described as.
        self.recorder.describe_counter(name.into(), None, help.into());
    }

    /// What every counter stands at now.
    pub fn counts(&self) -> Counts {
        Counts::new(self.render())
    }

    /// The Prometheus text exposition of everything counted so far.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Drains the samples that histograms have queued. The exporter keeps every sample until this
    /// runs, so an application calls it every few seconds for as long as it lives.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// How often [`Registry::upkeep`] must run.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(k, v)| Label::new(*k, v.to_string())).collect();
    Key::from_parts(name, labels)
}
