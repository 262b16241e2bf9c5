//! Waiting for what must happen, with a limit for what never does.

use std::time::Duration;

use tokio::sync::watch;

/// Nothing in a test takes longer than this; what does, hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Holds whoever waits until it is opened, once and for all.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everybody through.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        let opened = self.0.subscribe().wait_for(|open| *open).await.is_ok();
        assert!(opened, "the sender lives in self");
    }
}

/// Waits until `condition` holds; `what` says in a failure what was awaited.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    within(what, waiting).await;
}

/// `future`, unless it hangs. The limit is counted in real time: tests move the runtime's clock.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    for _ in 0..PATIENCE.as_secs() {
        // A test that moves time on ends one of these early, not the whole wait.
        if let Ok(done) = tokio::time::timeout(Duration::from_secs(1), &mut future).await {
            return done;
        }
    }
    panic!("waited too long: {what}");
}
