//! Telling connections to finish: HTTP/1 says `connection: close` on its next answer, HTTP/2 sends GOAWAY,
//! idle connections close.
//!
//! A connection waits for the start with every wait for a request, so that waiting must cost nothing: its waker is
//! noted once and stays until the connection ends.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The end that starts a drain.
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
    started: AtomicBool,
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
        if self.shared.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let places = std::mem::take(&mut self.shared.waiting().places);
        // Outside the lock: a waker may run anything.
        places.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether it started.
    pub fn is_started(&self) -> bool {
        self.shared.is_started()
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
        self.shared.is_started()
    }

    /// Waits for the start; for ever where the [`Drain`] is gone without having started.
    pub async fn started(&mut self) {
        poll_fn(|cx| self.poll_started(cx)).await;
    }

    /// Ready once it started.
    #[inline]
    pub fn poll_started(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_started() {
            return Poll::Ready(());
        }
        match &self.noted {
            Some((_, waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            _ => self.note(cx.waker()),
        }
    }

    #[cold]
    fn note(&mut self, waker: &Waker) -> Poll<()> {
        let mut waiting = self.shared.waiting();
        // Whoever starts it sets the flag before it takes the lock: here the waker is seen, or the flag.
        if self.shared.is_started() {
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
        // Once it started there are no places any more.
        if let Some(noted) = waiting.places.get_mut(place) {
            let waker = noted.take();
            waiting.free.push(place);
            drop(waiting);
            drop(waker);
        }
    }
}

impl Shared {
    fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that can panic runs under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
