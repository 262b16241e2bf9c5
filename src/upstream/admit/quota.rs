//! The way past the API's own buckets.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::super::limit::Charged;
use super::super::message::SendError;
use super::super::quota::{Blocked, Cell, Paid};
use super::{Gate, Visit, timed_out};

/// The tokens that a call has reserved. Dropping them gives them to others.
pub(super) struct Reserved(SmallVec<[Arc<Cell>; 7]>);

impl Gate {
    /// Reserves a token of each bucket, one after the other in the order of the charges. Nobody waits in
    /// one turnstile while it stands in another: whoever waits holds up only those who wait for the same.
    pub(super) async fn reserve(
        &self,
        visit: &mut Visit<'_>,
        call: &Charged<'_>,
    ) -> Result<Box<Reserved>, SendError> {
        let cells = self.quotas.cells(call.charges, visit.bounds.share);
        // First of all the gates, with empty hands.
        while let Some(wait) = cells.iter().find_map(|cell| cell.shut_for(Instant::now())) {
            self.wait_for(visit, Blocked::Shut(wait)).await?;
        }
        let mut reserved = Box::new(Reserved(SmallVec::new()));
        for cell in cells {
            let _spot = match &cell.turnstile {
                Some(turnstile) => match turnstile.try_take() {
                    Some(spot) => Some(spot),
                    None => {
                        // One is in the turnstile, and this call needs a token too.
                        let before = turnstile.ahead(call.claim()) + 1;
                        if let Some(Blocked::Empty(wait)) = cell.blocked(before + 1, Instant::now()) {
                            self.must_fit(visit, wait, timed_out)?;
                        }
                        self.take_place(visit)?;
                        // Nobody is dismissed from a turnstile.
                        visit.by_deadline(turnstile.stand(call.claim())).await?
                    }
                },
                None => None,
            };
            while let Some(blocked) = cell.reserve(Instant::now()) {
                self.wait_for(visit, blocked).await?;
            }
            reserved.0.push(Arc::clone(&cell));
        }
        Ok(reserved)
    }

    /// Waits until a call may leave with what it has reserved: answers to other calls correct levels and
    /// shut gates meanwhile.
    pub(super) async fn hold(&self, visit: &mut Visit<'_>, reserved: &Reserved) -> Result<(), SendError> {
        while let Some(blocked) = reserved.blocked() {
            self.wait_for(visit, blocked).await?;
        }
        Ok(())
    }

    /// Tokens for a call that nobody waits for: where nobody stands in the turnstile, and with half of each
    /// bucket left to others.
    pub(super) fn reserve_spare(&self, visit: &Visit<'_>, call: &Charged<'_>) -> Option<Reserved> {
        let now = Instant::now();
        let mut reserved = Reserved(SmallVec::new());
        for cell in self.quotas.cells(call.charges, visit.bounds.share) {
            let _spot = match &cell.turnstile {
                Some(turnstile) => Some(turnstile.try_take()?),
                None => None,
            };
            if !cell.reserve_spare(now) {
                return None;
            }
            reserved.0.push(Arc::clone(&cell));
        }
        Some(reserved)
    }

    async fn wait_for(&self, visit: &mut Visit<'_>, blocked: Blocked) -> Result<(), SendError> {
        let wait = match blocked {
            Blocked::Shut(wait) => {
                self.must_fit(visit, wait, |retry_after| SendError::Paused { retry_after })?;
                wait
            }
            Blocked::Empty(wait) => {
                self.must_fit(visit, wait, timed_out)?;
                wait
            }
        };
        self.take_place(visit)?;
        // A timer's tick at the least, so that no loop spins.
        tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        Ok(())
    }
}

impl Reserved {
    /// Why the call cannot leave now.
    pub(super) fn blocked(&self) -> Option<Blocked> {
        let now = Instant::now();
        self.0.iter().find_map(|cell| cell.holds(now))
    }

    /// The call leaves at once.
    pub(super) fn take(mut self) -> Paid {
        Paid::take(std::mem::take(&mut self.0), Instant::now())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.iter().for_each(|cell| cell.release());
    }
}
