//! One timer for all deadlines of a task, one after another.
//!
//! A request sets several deadlines and nearly always keeps them. Registering a timer for each costs more than the
//! rest of the wait, and wakes the runtime's driver where it is the earliest. So the timer stays armed for the
//! earliest deadline it was ever asked for, and moves on only when it fires.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Sleep, sleep_until};

/// A timer that is asked for one deadline after another.
#[derive(Debug, Default)]
pub struct Timer {
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
    /// Who is woken; `None` where nobody was registered.
    waker: Option<Waker>,
}

impl Timer {
    /// Ready when `due` has passed. The task may be woken earlier than that.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        match &self.armed {
            Some(armed) if armed.stands(cx, due) => Poll::Pending,
            _ => self.rearm(cx, due),
        }
    }

    #[cold]
    fn rearm(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        if Instant::now() >= due {
            return Poll::Ready(());
        }
        let armed = self.armed.get_or_insert_with(|| Armed {
            sleep: Box::pin(sleep_until(due.into())),
            at: due,
            waker: None,
        });
        loop {
            if armed.at > due || armed.sleep.is_elapsed() {
                armed.sleep.as_mut().reset(due.into());
                armed.at = due;
            }
            // Out of budget, the sleep wakes the task at once and registers nobody.
            let registers = has_budget_remaining();
            if armed.sleep.as_mut().poll(cx).is_pending() {
                armed.waker = registers.then(|| cx.waker().clone());
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(());
            }
        }
    }
}

impl Armed {
    /// Whether it fires in time and wakes this task.
    fn stands(&self, cx: &Context<'_>, due: Instant) -> bool {
        self.at <= due
            && self
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            && !self.sleep.is_elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    }

    #[test]
    fn deadlines_may_come_in_any_order() {
        runtime().block_on(async {
            let mut timer = Timer::default();
            for milliseconds in [20, 3, 9, 0, 1] {
                let due = Instant::now() + Duration::from_millis(milliseconds);
                poll_fn(|cx| timer.poll(cx, due)).await;
                assert!(Instant::now() >= due);
            }
        });
    }

    #[test]
    fn a_deadline_given_up_neither_delays_nor_ends_the_next_one() {
        runtime().block_on(async {
            let mut timer = Timer::default();
            let start = Instant::now();
            let early = start + Duration::from_millis(5);
            let late = start + Duration::from_millis(15);
            let far = start + Duration::from_secs(3600);
            for due in [far, early, far] {
                poll_fn(|cx| {
                    assert!(timer.poll(cx, due).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
            poll_fn(|cx| timer.poll(cx, late)).await;
            assert!(Instant::now() >= late);
        });
    }

    #[test]
    fn the_task_that_asked_last_is_woken() {
        runtime().block_on(async {
            let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
            let mut timer = Timer::default();
            let due = Instant::now() + Duration::from_millis(5);
            for count in &counts {
                let waker = Waker::from(count.clone());
                let mut cx = Context::from_waker(&waker);
                assert!(timer.poll(&mut cx, due).is_pending());
            }
            sleep_until((due + Duration::from_millis(5)).into()).await;
            let woken = counts.map(|count| count.0.load(Ordering::Relaxed));
            assert_eq!(woken, [0, 1]);
        });
    }
}
