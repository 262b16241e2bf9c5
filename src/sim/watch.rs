//! What a test watches and steers on one listening address: counts, faults, gates.
//!
//! Nothing here is part of a simulated API; what a fault looks like is each simulation's own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

/// Distinct targets that are counted one by one; later ones are counted without their query.
const TARGETS_COUNTED: usize = 50_000;

/// Where in its life a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldAt {
    /// Before the state is read: the answer is as new as the opening of the gate.
    BeforeReading,
    /// After the state was read: the answer is as old as the request.
    BeforeAnswering,
}

/// Holds matching requests while it exists and is not opened.
pub struct Gate {
    open: watch::Sender<bool>,
    arrived: watch::Receiver<usize>,
}

impl Gate {
    /// Lets everything through that is held, and everything to come.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until `count` requests have come to the gate.
    pub async fn arrived(&self, count: usize) {
        let mut arrived = self.arrived.clone();
        // The sending side lives in the simulation; once that is gone nothing can arrive any more.
        let _ = arrived.wait_for(|seen| *seen >= count).await;
    }
}

struct Held {
    prefix: String,
    at: HoldAt,
    open: watch::Receiver<bool>,
    arrived: watch::Sender<usize>,
}

struct Injected<F> {
    prefix: String,
    fault: F,
    left: u32,
}

/// The counters and levers of one listening address.
pub struct Watch<F> {
    calls: AtomicU64,
    connections: AtomicU64,
    active: AtomicU64,
    peak: AtomicU64,
    targets: Mutex<BTreeMap<String, u64>>,
    faults: Mutex<Vec<Injected<F>>>,
    gates: Mutex<Vec<Held>>,
}

/// Counts a request as active until dropped.
pub(super) struct Active<'a>(&'a AtomicU64);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// Not derived: a fault need not have a default.
impl<F> Default for Watch<F> {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            active: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            targets: Mutex::default(),
            faults: Mutex::default(),
            gates: Mutex::default(),
        }
    }
}

impl<F: Clone> Watch<F> {
    /// Requests received here, all of them, refused ones included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Requests received here whose method and target start so, for example `GET /api2/json/nodes`.
    pub fn calls_to(&self, prefix: &str) -> u64 {
        let targets = self.targets.lock();
        let from = targets.range(prefix.to_owned()..);
        from.take_while(|(target, _)| target.starts_with(prefix)).map(|(_, count)| count).sum()
    }

    /// Every method and target received here so far with its count, in order of the target.
    pub fn calls_seen(&self) -> Vec<(String, u64)> {
        self.targets.lock().iter().map(|(target, count)| (target.clone(), *count)).collect()
    }

    /// Connections accepted here so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// The most requests that were being answered here at one time so far.
    pub fn peak_concurrency(&self) -> u64 {
        self.peak.load(Ordering::SeqCst)
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a request with this method and target.
    pub(super) fn received(&self, line: &str) -> Active<'_> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut targets = self.targets.lock();
        let full = targets.len() >= TARGETS_COUNTED;
        match targets.get_mut(line) {
            Some(count) => *count += 1,
            None if full => {
                let path = line.split('?').next().unwrap_or(line);
                *targets.entry(path.to_owned()).or_default() += 1;
            }
            None => drop(targets.insert(line.to_owned(), 1)),
        }
        let active = self.active.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(active, Ordering::SeqCst);
        Active(&self.active)
    }

    /// Makes the next `times` requests whose method and target start with `prefix` fail as `fault` says.
    pub fn inject(&self, prefix: &str, fault: F, times: u32) {
        self.faults.lock().push(Injected { prefix: prefix.to_owned(), fault, left: times });
    }

    /// The fault that this request meets, used up once.
    pub(super) fn fault(&self, line: &str) -> Option<F> {
        let mut faults = self.faults.lock();
        let place = faults.iter().position(|known| known.left > 0 && line.starts_with(&known.prefix))?;
        faults[place].left -= 1;
        let fault = faults[place].fault.clone();
        faults.retain(|known| known.left > 0);
        Some(fault)
    }

    /// Holds every request whose method and target start with `prefix` until the gate is opened or dropped.
    pub fn hold(&self, prefix: &str, at: HoldAt) -> Gate {
        let (open, opened) = watch::channel(false);
        let (arrived, arrivals) = watch::channel(0);
        self.gates.lock().push(Held { prefix: prefix.to_owned(), at, open: opened, arrived });
        Gate { open, arrived: arrivals }
    }

    /// Waits at every closed gate that this request meets here.
    pub(super) async fn pass(&self, line: &str, at: HoldAt) {
        let waits: Vec<_> = {
            let mut gates = self.gates.lock();
            gates.retain(|gate| gate.open.has_changed().is_ok() && !*gate.open.borrow());
            let met = gates.iter().filter(|gate| gate.at == at && line.starts_with(&gate.prefix));
            met.map(|gate| {
                gate.arrived.send_modify(|seen| *seen += 1);
                gate.open.clone()
            })
            .collect()
        };
        for mut open in waits {
            // An error means that the gate was dropped, which opens it.
            let _ = open.wait_for(|open| *open).await;
        }
    }
}
