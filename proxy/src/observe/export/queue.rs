//! What waits to be sent. A worker locks its own shard, which nobody else touches but the batcher now and then.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bounded, in order within a worker.
#[derive(Debug)]
pub struct Queue<T> {
    shards: [Mutex<Vec<T>>; SHARDS],
    /// Items of a shard.
    limit: usize,
    /// Items of a shard that wake whoever sends them.
    enough: usize,
    wake: Notify,
}

impl<T> Queue<T> {
    /// An empty one: `limit` items of a worker wait at most, and `enough` of them wake the sender.
    pub fn new(limit: usize, enough: usize) -> Self {
        Self {
            shards: Default::default(),
            limit,
            enough: enough.max(1),
            wake: Notify::new(),
        }
    }

    /// Adds an item of this thread; false where there is no room, and it is dropped.
    pub fn push(&self, item: T) -> bool {
        let mut waiting = lock(&self.shards[SHARD.with(|shard| *shard)]);
        if waiting.len() >= self.limit {
            return false;
        }
        waiting.push(item);
        let wake = waiting.len() == self.enough;
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
        true
    }

    /// Takes `most` items at most.
    pub fn take(&self, most: usize) -> Vec<T> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let mut waiting = lock(shard);
            let room = most - taken.len();
            if taken.is_empty() && waiting.len() <= room {
                std::mem::swap(&mut taken, &mut waiting);
            } else {
                let count = room.min(waiting.len());
                taken.extend(waiting.drain(..count));
            }
        }
        taken
    }

    /// Woken when a worker has enough.
    pub const fn wake(&self) -> &Notify {
        &self.wake
    }
}

fn lock<T>(shard: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The shard of this thread.
    static SHARD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// More threads than that share.
const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn nothing_is_lost_but_what_has_no_room() {
        let queue = Arc::new(Queue::new(3, 2));
        // Threads of their own have shards of their own, as long as there are some.
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let queue = queue.clone();
                std::thread::spawn(move || {
                    let kept = (0..5).filter(|item| queue.push(thread * 5 + item));
                    kept.collect::<Vec<i32>>()
                })
            })
            .collect();
        for (thread, kept) in threads.into_iter().enumerate() {
            let first = i32::try_from(thread).unwrap() * 5;
            let kept: Vec<_> = kept
                .join()
                .unwrap()
                .iter()
                .map(|item| first + item)
                .collect();
            assert_eq!(kept, [first, first + 1, first + 2]);
        }
        let mut taken = queue.take(4);
        assert_eq!(taken.len(), 4);
        taken.extend(queue.take(100));
        let taken: BTreeSet<_> = taken.into_iter().collect();
        assert_eq!(taken, [0, 1, 2, 5, 6, 7, 10, 11, 12, 15, 16, 17].into());
        assert!(queue.take(1).is_empty());
        assert!(queue.push(1));
    }

    #[tokio::test]
    async fn enough_wakes() {
        let queue = Queue::new(10, 2);
        queue.push(1);
        let waits = tokio::time::timeout(std::time::Duration::ZERO, queue.wake().notified());
        assert!(waits.await.is_err());
        queue.push(1);
        queue.wake().notified().await;
    }
}
