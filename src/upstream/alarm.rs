//! One timer for a row of waits.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set only when it would ring too late. Nearly every wait ends long before its time,
/// so a timer that is left as it is costs nothing, while one for each wait has to be put into the
/// runtime's wheel and taken out again.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready at `deadline`, which may be another one each time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            // It was set for an earlier wait.
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_each_deadline_whatever_it_was_set_to() {
        let mut alarm = Alarm::default();
        let began = Instant::now();
        for seconds in [5, 7, 6, 20, 20] {
            let deadline = began + Duration::from_secs(seconds);
            poll_fn(|cx| alarm.poll(cx, deadline)).await;
            assert!(Instant::now() >= deadline);
        }
        assert_eq!(began.elapsed().as_secs(), 20);
        let far = Instant::now() + Duration::from_secs(60);
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx, far))).await.is_pending());
        let near = Instant::now() + Duration::from_secs(1);
        poll_fn(|cx| alarm.poll(cx, near)).await;
        assert_eq!(began.elapsed().as_secs(), 21);
    }
}
