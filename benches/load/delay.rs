//! Waiting to the point: the runtime's own timers are up to two milliseconds late, and a measure in which
//! two delays follow each other is of milliseconds.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Result;

/// As long as nobody waits.
const IDLE: Duration = Duration::from_secs(60);

/// All delays of one origin, in a thread that sleeps until the next of them is over.
#[derive(Clone)]
pub struct Delays {
    waiting: Arc<Mutex<BinaryHeap<Waiting>>>,
    thread: Thread,
}

/// One who waits; the greatest is who has to be woken first.
struct Waiting {
    end: Instant,
    waker: oneshot::Sender<()>,
}

impl Delays {
    /// Starts the thread, which runs for as long as the process.
    pub fn start() -> Self {
        let waiting = Arc::<Mutex<BinaryHeap<Waiting>>>::default();
        let shared = waiting.clone();
        let thread = thread::spawn(move || {
            loop {
                let left = wake(&mut shared.lock().expect("nobody panics with it"));
                thread::park_timeout(left);
            }
        });
        Self { waiting, thread: thread.thread().clone() }
    }

    /// Waits until `end`.
    pub async fn until(&self, end: Instant) -> Result<()> {
        let (waker, ended) = oneshot::channel();
        let is_next = {
            let mut waiting = self.waiting.lock().expect("nobody panics with it");
            let is_next = waiting.peek().is_none_or(|next| end < next.end);
            waiting.push(Waiting { end, waker });
            is_next
        };
        if is_next {
            self.thread.unpark();
        }
        Ok(ended.await?)
    }
}

/// Wakes whose time has come, and says how long the next one still waits.
fn wake(waiting: &mut BinaryHeap<Waiting>) -> Duration {
    while let Some(next) = waiting.peek() {
        let left = next.end.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return left;
        }
        // Whoever waited may have gone.
        let _gone = waiting.pop().map(|next| next.waker.send(()));
    }
    IDLE
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        other.end.cmp(&self.end)
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.end == other.end
    }
}

impl Eq for Waiting {}
