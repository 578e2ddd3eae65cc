//! Telling connections to finish, in two steps. When a drain starts, HTTP/1 says `connection: close` on its next answer
//! and HTTP/2 sends GOAWAY. An idle HTTP/1 connection stays open: its client may be sending just now, and nothing
//! tells it in time not to. When the drain finishes, idle connections close.
//!
//! A connection waits for the end with every wait for a request, so that waiting must cost nothing: its waker is
//! noted once and stays until the connection ends.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The end that starts and finishes a drain.
#[derive(Debug, Default)]
pub struct Drain {
    shared: Arc<Shared>,
}

/// The end that connections hold.
#[derive(Debug)]
pub struct DrainSignal {
    shared: Arc<Shared>,
    /// Where our waker is noted, and a copy of it.
    noted: Option<(usize, Waker)>,
}

#[derive(Debug, Default)]
struct Shared {
    /// [`STARTED`], [`FINISHED`], or nothing yet.
    step: AtomicU8,
    waiting: Mutex<Waiting>,
}

/// Wakers by place; free places are used again.
#[derive(Debug, Default)]
struct Waiting {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Drain {
    /// A drain that has not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts it; a second call changes nothing.
    pub fn start(&self) {
        self.step(STARTED);
    }

    /// Lets idle connections close; starts it where it has not started. A second call changes nothing.
    pub fn finish(&self) {
        self.step(FINISHED);
    }

    /// Whether it started.
    pub fn is_started(&self) -> bool {
        self.shared.reached(STARTED)
    }

    /// Whether any connection holds a signal.
    pub fn is_watched(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    fn step(&self, step: u8) {
        if self.shared.step.fetch_max(step, Ordering::AcqRel) >= step {
            return;
        }
        // Who waits for the end still waits after the start, so that places are kept.
        let wakers: Vec<_> = self
            .shared
            .waiting()
            .places
            .iter()
            .flatten()
            .cloned()
            .collect();
        // Outside the lock: a waker may run anything.
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A signal for a connection.
    pub fn signal(&self) -> DrainSignal {
        DrainSignal {
            shared: self.shared.clone(),
            noted: None,
        }
    }
}

impl DrainSignal {
    /// Whether it started.
    #[inline]
    pub fn is_started(&self) -> bool {
        self.shared.reached(STARTED)
    }

    /// Waits for the start; for ever where the [`Drain`] is gone without having started.
    pub async fn started(&mut self) {
        poll_fn(|cx| self.poll_started(cx)).await;
    }

    /// Waits until idle connections are to close.
    pub async fn finished(&mut self) {
        poll_fn(|cx| self.poll_finished(cx)).await;
    }

    /// Ready once it started.
    #[inline]
    pub fn poll_started(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, STARTED)
    }

    /// Ready once idle connections are to close.
    #[inline]
    pub fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, FINISHED)
    }

    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>, step: u8) -> Poll<()> {
        if self.shared.reached(step) {
            return Poll::Ready(());
        }
        match &self.noted {
            Some((_, waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            _ => self.note(cx.waker(), step),
        }
    }

    #[cold]
    fn note(&mut self, waker: &Waker, step: u8) -> Poll<()> {
        let mut waiting = self.shared.waiting();
        // Whoever takes the step says so before it takes the lock: here the waker is seen, or the step.
        if self.shared.reached(step) {
            return Poll::Ready(());
        }
        let place = match &self.noted {
            Some((place, _)) => *place,
            None => waiting.free.pop().unwrap_or(waiting.places.len()),
        };
        if place == waiting.places.len() {
            waiting.places.push(None);
        }
        let before = waiting.places[place].replace(waker.clone());
        drop(waiting);
        drop(before);
        self.noted = Some((place, waker.clone()));
        Poll::Pending
    }
}

impl Clone for DrainSignal {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            noted: None,
        }
    }
}

impl Drop for DrainSignal {
    fn drop(&mut self) {
        let Some((place, _)) = self.noted.take() else {
            return;
        };
        let mut waiting = self.shared.waiting();
        if let Some(noted) = waiting.places.get_mut(place) {
            let waker = noted.take();
            waiting.free.push(place);
            drop(waiting);
            drop(waker);
        }
    }
}

impl Shared {
    fn reached(&self, step: u8) -> bool {
        self.step.load(Ordering::Acquire) >= step
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that can panic runs under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections finish with their next answer.
const STARTED: u8 = 1;
/// Idle connections close.
const FINISHED: u8 = 2;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Debug, Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn poll(self: &Arc<Self>, signal: &mut DrainSignal) -> Poll<()> {
            let waker = Waker::from(self.clone());
            signal.poll_started(&mut Context::from_waker(&waker))
        }

        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn everybody_who_waits_is_told_once() {
        let drain = Drain::new();
        let (first, second, moved) = (Arc::default(), Arc::default(), Arc::default());
        let (mut a, mut b) = (drain.signal(), drain.signal());
        let mut c = a.clone();
        let polls = [(&first, &mut a), (&second, &mut b), (&second, &mut c)];
        for (count, signal) in polls {
            assert_eq!(Count::poll(count, signal), Poll::Pending);
            assert_eq!(Count::poll(count, signal), Poll::Pending);
        }
        // The task that asks last is the one that waits.
        assert_eq!(Count::poll(&moved, &mut a), Poll::Pending);
        assert!(!a.is_started());
        drain.start();
        drain.start();
        assert_eq!([first.woken(), second.woken(), moved.woken()], [0, 2, 1]);
        assert!(drain.is_started() && a.is_started());
        assert_eq!(Count::poll(&first, &mut b), Poll::Ready(()));
        assert_eq!(Count::poll(&first, &mut drain.signal()), Poll::Ready(()));
    }

    #[test]
    fn who_waits_for_the_end_is_woken_by_both_steps() {
        let drain = Drain::new();
        let count: Arc<Count> = Arc::default();
        let mut signal = drain.signal();
        let waker = Waker::from(count.clone());
        let mut poll = |cx: &mut Context<'_>| signal.poll_finished(cx);
        let mut cx = Context::from_waker(&waker);
        assert_eq!(poll(&mut cx), Poll::Pending);
        drain.start();
        assert_eq!((poll(&mut cx), count.woken()), (Poll::Pending, 1));
        drain.finish();
        drain.finish();
        assert_eq!((poll(&mut cx), count.woken()), (Poll::Ready(()), 2));
        assert!(drain.is_watched());
        drop(signal);
        assert!(!drain.is_watched() && drain.is_started());
    }

    #[test]
    fn places_are_used_again() {
        let drain = Drain::new();
        let count = Arc::default();
        let mut kept = drain.signal();
        assert_eq!(Count::poll(&count, &mut kept), Poll::Pending);
        for _ in 0..10 {
            let mut gone = drain.signal();
            assert_eq!(Count::poll(&count, &mut gone), Poll::Pending);
        }
        assert_eq!(drain.shared.waiting().places.len(), 2);
        drain.start();
        assert_eq!(count.woken(), 1);
    }

    #[test]
    fn a_start_is_never_missed_by_another_thread() {
        for _ in 0..200 {
            let drain = Drain::new();
            let mut signal = drain.signal();
            let waiter = std::thread::spawn(move || {
                tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap()
                    .block_on(signal.started());
            });
            drain.start();
            waiter.join().unwrap();
        }
    }
}
