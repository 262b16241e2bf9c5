//! Connections that have left HTTP: how many there may be, how long one may be silent, and their count.
//!
//! A tunnel holds no place among the calls to an API: those are for what its workers have to do. It has one
//! here instead, from before it is asked for until both its sides are closed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{Counter, Gauge};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::telemetry::Registry;
use crate::upstream::{self, Ended};

/// What tunnels may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelLimits {
    /// How many there may be at once through one upstream, or through all forward proxies together.
    pub most: usize,
    /// For how long nothing may come either way.
    pub idle: Duration,
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self {
            // Two descriptors and 32 KiB of buffers each: far more consoles than people look at, and far
            // fewer than a process may have descriptors.
            most: 1_000,
            // A console says nothing while nothing changes on its screen, and whoever left it open over a
            // meeting wants it back. What was forgotten, or lost its other end without a word, goes.
            idle: Duration::from_secs(3600),
        }
    }
}

/// The tunnels of all upstreams, by the label of their metrics. Those of an upstream outlive a reload.
#[derive(Default)]
pub struct AllTunnels(Mutex<HashMap<String, Weak<Tunnels>>>);

impl AllTunnels {
    /// The tunnels of the upstream `name`; the same ones for as long as anybody has them.
    pub fn of(&self, registry: &Registry, name: &str) -> Arc<Tunnels> {
        let mut all = self.0.lock();
        all.retain(|_, tunnels| tunnels.strong_count() > 0);
        all.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let new = Arc::new(Tunnels::new(registry, name));
            all.insert(name.to_owned(), Arc::downgrade(&new));
            new
        })
    }
}

/// The tunnels of one upstream, or those of the forward proxies.
pub struct Tunnels {
    held: AtomicUsize,
    open: Gauge,
    refused: Counter,
}

/// A place for a tunnel. Dropping it gives it back.
pub struct TunnelPlace(Arc<Tunnels>);

/// A tunnel that is open, as far as its count goes.
struct Open<'t>(&'t Gauge);

impl Tunnels {
    fn new(registry: &Registry, upstream: &str) -> Self {
        let labels = [("upstream", upstream)];
        Self {
            held: AtomicUsize::new(0),
            open: registry.gauge("forebay_tunnels", &labels),
            refused: registry.counter("forebay_tunnels_refused_total", &labels),
        }
    }

    /// A place, unless as many as may be are taken; that is counted.
    pub fn enter(self: &Arc<Self>, limits: TunnelLimits) -> Option<TunnelPlace> {
        let one_more = |now: usize| (now < limits.most).then_some(now + 1);
        match self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Some(TunnelPlace(Arc::clone(self))),
            Err(_) => {
                self.refused.increment(1);
                None
            }
        }
    }
}

impl TunnelPlace {
    /// Hands on what either side sends until both are done or neither says anything for `idle`.
    pub async fn carry<A, B>(self, a: A, b: B, idle: Duration) -> Ended
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        self.0.open.increment(1.0);
        let _open = Open(&self.0.open);
        upstream::splice(a, b, idle).await
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
