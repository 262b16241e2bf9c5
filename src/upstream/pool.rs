//! Idle connections of one endpoint: the one used last is used next, and one that lay idle too long
//! is closed before the server closes it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connect::Connection;

/// How long a connection may take to become ready after its answer has ended. It is not ready as
/// long as the request is still being sent, which happens when the server answers early.
const LINGER: Duration = Duration::from_secs(5);

/// The idle connections.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    max_idle: Duration,
    max_requests: Option<u32>,
}

#[derive(Default)]
struct Idle {
    /// In order of return, so the oldest is first.
    connections: Vec<(Instant, Connection)>,
    sweeping: bool,
}

impl Pool {
    pub(super) fn new(max_idle: Duration, max_requests: Option<u32>) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), max_idle, max_requests })
    }

    /// The connection that came back last, if it is still of use.
    pub(super) fn checkout(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut closed = Vec::new();
        let mut idle = self.idle.lock();
        let found = loop {
            let (since, connection) = match idle.connections.pop() {
                Some(last) => last,
                None => break None,
            };
            if now.duration_since(since) >= self.max_idle {
                // All others are older still.
                closed.append(&mut idle.connections);
                closed.push((since, connection));
                break None;
            }
            if connection.sender.is_ready() {
                break Some(connection);
            }
            closed.push((since, connection));
        };
        drop(idle);
        drop(closed);
        found
    }

    /// Takes a connection back whose answer has ended, and then drops `held`: what the call held on
    /// to so that the next one finds this connection rather than opening another.
    pub(super) fn give_back<H: Send + 'static>(self: &Arc<Self>, mut connection: Connection, held: H) {
        if self.max_requests.is_some_and(|max| connection.served >= max) || self.max_idle.is_zero() {
            return;
        }
        if connection.sender.is_ready() {
            self.insert(connection);
            return;
        }
        if connection.sender.is_closed() {
            return;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            match tokio::time::timeout(LINGER, connection.sender.ready()).await {
                Ok(Ok(())) => pool.insert(connection),
                Ok(Err(_)) => {}
                Err(_) => connection.task.abort(),
            }
            drop(held);
        });
    }

    /// Closes what is idle.
    pub(super) fn clear(&self) {
        let closed = std::mem::take(&mut self.idle.lock().connections);
        drop(closed);
    }

    fn insert(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.idle.lock();
        idle.connections.push((Instant::now(), connection));
        if !std::mem::replace(&mut idle.sweeping, true) {
            drop(idle);
            let pool = Arc::downgrade(self);
            let every = self.max_idle;
            // Lives only while something is idle, and not longer than the pool.
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    let Some(pool) = pool.upgrade() else { return };
                    if pool.sweep() == Swept::Empty {
                        return;
                    }
                }
            });
        }
    }

    fn sweep(&self) -> Swept {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let keep = |(since, connection): &mut (Instant, Connection)| {
            now.duration_since(*since) >= self.max_idle || connection.sender.is_closed()
        };
        let closed: Vec<_> = idle.connections.extract_if(.., keep).collect();
        idle.sweeping = !idle.connections.is_empty();
        let swept = if idle.sweeping { Swept::Some } else { Swept::Empty };
        drop(idle);
        drop(closed);
        swept
    }
}

#[derive(PartialEq, Eq)]
enum Swept {
    Some,
    Empty,
}
