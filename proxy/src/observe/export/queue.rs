//! What waits to be sent. A worker locks its own shard, which nobody else touches but the batcher now and then.

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

    /// Adds an item of a worker (`None` is the control runtime); false where there is no room, and it is dropped.
    pub fn push(&self, worker: Option<usize>, item: T) -> bool {
        let shard = worker.map_or(0, |index| index + 1) % SHARDS;
        let mut waiting = lock(&self.shards[shard]);
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

/// More workers than that share.
const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_but_what_has_no_room() {
        let queue = Queue::new(3, 2);
        let workers = [None, Some(0), Some(1), Some(SHARDS)];
        let mut dropped = 0;
        for number in 0..20 {
            if !queue.push(workers[number % 4], number) {
                dropped += 1;
            }
        }
        // The last worker shares the shard of the second.
        assert_eq!(dropped, 20 - 9);
        let mut taken = queue.take(4);
        assert_eq!(taken.len(), 4);
        taken.extend(queue.take(100));
        taken.sort_unstable();
        assert_eq!(
            taken,
            [0, 1, 2, 3, 4, 6, 8, 10, 5]
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
        assert!(queue.take(1).is_empty());
        assert!(queue.push(None, 1));
    }

    #[tokio::test]
    async fn enough_wakes() {
        let queue = Queue::new(10, 2);
        queue.push(Some(0), 1);
        queue.push(Some(1), 1);
        let waits = tokio::time::timeout(std::time::Duration::ZERO, queue.wake().notified());
        assert!(waits.await.is_err());
        queue.push(Some(0), 1);
        queue.wake().notified().await;
    }
}
