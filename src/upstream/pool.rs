//! Idle connections of one endpoint: the one used last is used next, and one that lay idle too long
//! is closed before the server closes it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::Connection;

/// How long a request may still take to be sent after its answer has ended, which happens when the
/// server answers early.
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
    connections: Vec<(Instant, Box<Connection>)>,
    sweeping: bool,
}

impl Pool {
    pub(super) fn new(max_idle: Duration, max_requests: Option<u32>) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), max_idle, max_requests })
    }

    /// The connection that came back last, if it is still of use.
    pub(super) fn checkout(&self) -> Option<Box<Connection>> {
        let now = Instant::now();
        loop {
            let mut idle = self.idle.lock();
            let (since, mut connection) = idle.connections.pop()?;
            if now.duration_since(since) < self.max_idle {
                drop(idle);
                if connection.is_ready() {
                    return Some(connection);
                }
                continue;
            }
            // All others are older still.
            let others = std::mem::take(&mut idle.connections);
            drop(idle);
            connection.close();
            close(others);
            return None;
        }
    }

    /// Takes a connection back whose answer has ended, and then drops `held`: what the call held on
    /// to so that the next one finds this connection rather than opening another.
    pub(super) fn give_back<H: Send + 'static>(self: &Arc<Self>, mut connection: Box<Connection>, held: H) {
        if connection.is_ready() {
            match self.max_requests.is_some_and(|max| connection.served >= max) || self.max_idle.is_zero() {
                true => connection.close(),
                false => self.insert(connection),
            }
        } else if connection.is_sending() {
            tokio::spawn(async move {
                connection.linger(LINGER).await;
                drop(held);
            });
        }
    }

    /// Closes what is idle.
    pub(super) fn clear(&self) {
        let closed = std::mem::take(&mut self.idle.lock().connections);
        close(closed);
    }

    fn insert(self: &Arc<Self>, connection: Box<Connection>) {
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
        // Looked at outside of the lock; a call that comes just now opens a connection of its own.
        let connections = std::mem::take(&mut self.idle.lock().connections);
        let (mut kept, mut closed) = (Vec::with_capacity(connections.len()), Vec::new());
        for (since, mut connection) in connections {
            match now.duration_since(since) < self.max_idle && connection.is_ready() {
                true => kept.push((since, connection)),
                false => closed.push((since, connection)),
            }
        }
        let mut idle = self.idle.lock();
        kept.append(&mut idle.connections);
        idle.connections = kept;
        idle.sweeping = !idle.connections.is_empty();
        let swept = if idle.sweeping { Swept::Some } else { Swept::Empty };
        drop(idle);
        close(closed);
        swept
    }
}

fn close(connections: Vec<(Instant, Box<Connection>)>) {
    connections.into_iter().for_each(|(_, connection)| connection.close());
}

#[derive(PartialEq, Eq)]
enum Swept {
    Some,
    Empty,
}
