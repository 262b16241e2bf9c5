//! Work that belongs to nobody, carried as long as possible by whoever began it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// A future that whoever began it polls beside its own waiting. When that one has what it came for, or
/// is gone, the rest goes on as a task. Most fetches end before that, and cost no task and no switch
/// to one.
pub(super) struct Carried(Option<Work>);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Carried {
    pub fn new(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }

    /// Goes on with the work. A panic ends it, as it would end a task, and harms nobody else.
    pub fn poll(&mut self, context: &mut Context<'_>) {
        let Some(work) = &mut self.0 else { return };
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) | Err(_) => self.0 = None,
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and the work with it.
        if let Some(work) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_left_goes_on_as_a_task() {
        let (open, gate) = oneshot::channel::<()>();
        let (done, end) = oneshot::channel();
        let mut carried = Carried::new(async move {
            let _ = gate.await;
            let _ = done.send(());
        });
        carried.poll(&mut Context::from_waker(Waker::noop()));
        drop(carried);
        open.send(()).unwrap();
        end.await.unwrap();
    }

    #[test]
    fn what_has_ended_is_not_polled_again() {
        let mut carried = Carried::new(async {});
        carried.poll(&mut Context::from_waker(Waker::noop()));
        carried.poll(&mut Context::from_waker(Waker::noop()));
    }

    #[test]
    fn a_panic_ends_the_work_alone() {
        let mut carried = Carried::new(async { panic!("as a test") });
        carried.poll(&mut Context::from_waker(Waker::noop()));
        assert!(carried.0.is_none());
    }
}
