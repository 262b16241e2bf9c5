//! What a call has taken from the buckets, until its answer tells what the API made of it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{Cell, Quotas};
use crate::semantics::quota::{QuotaReading, Refusal, RefusedBy, Told};
use crate::upstream::message::Answer;
use crate::upstream::pause;

/// So much of a refusal is read to see what it means. The API's own are under 1 KiB.
const MOST_READ: usize = 16 << 10;
/// So long is waited for that.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// The tokens of one call. Dropping them ends the call without a word of the API's.
pub(in crate::upstream) struct Paid {
    cells: SmallVec<[Arc<Cell>; 7]>,
}

impl Paid {
    /// Takes what a call has reserved.
    pub(in crate::upstream) fn take(cells: SmallVec<[Arc<Cell>; 7]>, now: Instant) -> Self {
        cells.iter().for_each(|cell| cell.leave(now));
        Self { cells }
    }

    /// The API never counted the call.
    pub(in crate::upstream) fn refund(mut self) {
        let now = Instant::now();
        std::mem::take(&mut self.cells).iter().for_each(|cell| cell.end_uncounted(now));
    }

    /// Learns what the answer tells. A refusal is read here, as far as it is short; the body has all of it
    /// afterwards.
    pub(in crate::upstream) async fn settle(
        self,
        quotas: &Quotas,
        reading: QuotaReading,
        mut answer: Answer,
    ) -> Answer {
        self.learn(quotas, reading, &mut answer).await;
        answer
    }

    async fn learn(self, quotas: &Quotas, reading: QuotaReading, answer: &mut Answer) {
        let (status, now) = (answer.parts.status, Instant::now());
        match (reading.told)(status, &answer.parts.headers) {
            Told::NotCharged => return self.refund(),
            Told::Left(left) => {
                for remaining in left {
                    let Some(cell) = self.cells.iter().find(|cell| cell.meter == remaining.meter) else {
                        continue;
                    };
                    cell.is_left(remaining.calls, now);
                    if let (0, Some(resets_in)) = (remaining.calls, remaining.resets_in) {
                        cell.is_used_up(resets_in, now);
                    }
                }
            }
        }
        if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return self.cells.iter().for_each(|cell| cell.passed(now));
        }
        let asked = pause::named(&answer.parts.headers, crate::clock::wall().into());
        let body = answer.body.peek(MOST_READ, READ_WITHIN).await;
        let Some(Refusal { by, meters }) = (reading.refused)(status, &answer.parts.headers, &body) else {
            return;
        };
        quotas.count_refusal(by);
        let of = |meter: &_| self.cells.iter().find(|cell| cell.meter == *meter);
        let shut = meters.iter().find_map(of);
        if let Some(cell) = shut {
            cell.shut(asked, now);
        }
        tracing::info!(
            upstream = %quotas.upstream,
            by = by.as_str(),
            bucket = shut.map_or("none", |cell| cell.meter.0),
            seconds = asked.map(|asked| asked.as_secs()),
            "{}",
            if by == RefusedBy::Lock { "the API refused a call for another one" } else { "the API throttles" },
        );
    }
}

impl Drop for Paid {
    fn drop(&mut self) {
        let now = Instant::now();
        self.cells.iter().for_each(|cell| cell.end(now));
    }
}
