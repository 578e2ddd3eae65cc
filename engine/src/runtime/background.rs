//! Long work beside the workers: configurations that are read, planned and compiled.
//!
//! Each piece gets a thread of its own that ends with it, for two reasons. The thread may have a low priority: where a
//! machine is busy, requests go before a whole configuration. And what was only needed meanwhile leaves nothing behind.
//! Allocators keep pages by thread, and one object that lives keeps its page; of a thread that is gone whole pages are
//! free.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Who goes first where a machine is busy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Priority {
    /// Those who serve: this takes as long as it takes.
    Low,
    /// Nobody: this is little, and somebody waits for it.
    Normal,
}

/// Does `work`, and waits for it without holding the caller's thread.
///
/// # Errors
/// When there is no thread to be had, or the work panicked.
pub async fn run<T: Send + 'static>(
    priority: Priority,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    start(move || {
        // On Linux a thread has a priority of its own, and may always lower it (setpriority(2)).
        if priority == Priority::Low {
            TURN.set(Some(Turn::new(STRETCH)));
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::debug!(%error, "work in the background has the priority of all");
            }
        }
        // Nobody waits any more where the process is ending.
        drop(sender.send(work()));
    })?;
    let done = receiver.await;
    if ENDED.fetch_add(1, Ordering::AcqRel) == 0 {
        tokio::spawn(settle());
    }
    done.map_err(|_| io::Error::other("it broke off"))
}

/// Lets go of what takes its time to be let go of: a whole configuration.
pub fn release<T: Send + 'static>(value: T) {
    let released = run(Priority::Low, move || drop(value));
    // Where there is no thread to be had it was dropped here.
    tokio::spawn(async { drop(released.await) });
}

/// Lets those who serve go first, when it is time: called in the loops of long work, on a thread whose work is
/// [`Priority::Low`]. On others it does nothing.
///
/// A low priority alone does not do that. Linux since 6.6 (EEVDF) lets a thread that computes finish its slice of some
/// milliseconds, until the tick after it, whoever wakes meanwhile. So the thread rests again and again. Beside those who
/// never pause it waits longer than that, and then goes on for longer: its share of the time stays what it is.
pub fn give_way() {
    TURN.with(|turn| {
        if turn.get().is_some_and(|turn| turn.is_over()) {
            let before = Instant::now();
            std::thread::sleep(REST);
            turn.set(Some(Turn::new(before.elapsed() / SHARE)));
        }
    });
}

/// Lets go of many things, giving way meanwhile.
pub fn drop_each<T>(items: impl IntoIterator<Item = T>) {
    for item in items {
        give_way();
        drop(item);
    }
}

fn start(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("background".to_owned());
    thread.spawn(work).map(drop)
}

/// mimalloc keeps free pages for a second, in case they are wanted again, and looks at the time only when it is asked
/// for pages or a thread ends. A node that is idle again does neither, and would keep what a large configuration took
/// to read, for ever: so a thread ends. What is freed after it is kept again, so there is another one for as long as
/// work ended meanwhile.
async fn settle() {
    loop {
        let seen = ENDED.load(Ordering::Acquire);
        tokio::time::sleep(SETTLING_TIME).await;
        // Where there is no thread to be had the next work brings one.
        if let Err(error) = start(|| {}) {
            tracing::debug!(%error, "free memory is not given back yet");
        }
        let none_ended = ENDED.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed);
        if none_ended.is_ok() {
            return;
        }
    }
}

/// How long a thread goes on before it gives way.
#[derive(Clone, Copy, Debug)]
struct Turn {
    since: Instant,
    length: Duration,
}

impl Turn {
    fn new(length: Duration) -> Self {
        Self {
            since: Instant::now(),
            length: length.max(STRETCH),
        }
    }

    fn is_over(&self) -> bool {
        self.since.elapsed() >= self.length
    }
}

thread_local! {
    /// Of a thread that gives way.
    static TURN: Cell<Option<Turn>> = const { Cell::new(None) };
}
/// What a request may have to wait for work beside it.
const STRETCH: Duration = Duration::from_micros(200);
/// How long it leaves the processor alone then, at least: with what it takes to wake, about as long as it worked.
const REST: Duration = Duration::from_micros(150);
/// Of the time of a thread that serves, while both want all of it.
const SHARE: u32 = 10;
/// How much work ended since free memory was given back; somebody waits to do that unless it is 0.
static ENDED: AtomicUsize = AtomicUsize::new(0);
/// Beyond mimalloc's `purge_delay`.
const SETTLING_TIME: Duration = Duration::from_millis(1500);
/// A tenth ([`SHARE`]) of the time of a thread that serves, while both want all of it. At the lowest, 19, it would be a
/// seventieth, and a configuration of two routes takes more than half a minute beside workers and clients that never
/// pause.
const NICENESS: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_has_its_priority_and_a_panic_is_an_error() {
        let mine = rustix::process::nice(0).unwrap();
        for (priority, expected) in [
            (Priority::Low, (mine + NICENESS).min(19)),
            (Priority::Normal, mine),
        ] {
            let there = run(priority, || {
                (rustix::process::nice(0).unwrap(), TURN.get().is_some())
            });
            assert_eq!(there.await.unwrap(), (expected, priority == Priority::Low));
        }
        assert_eq!(
            rustix::process::nice(0).unwrap(),
            mine,
            "the caller keeps its own"
        );
        let panicked = run(Priority::Normal, || panic!("on purpose"));
        assert!(panicked.await.is_err());
    }
}
