//! What was committed lately, and a way to wait for more.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::{Changed, Changes, ChangesKind};

/// The latest commits.
#[derive(Debug)]
pub(super) struct Feed {
    recent: Mutex<VecDeque<(u64, Vec<Changed>)>>,
    version: watch::Sender<u64>,
}

/// Who lags behind by more than this many rows reads everything again.
const KEPT: usize = 4096;

impl Feed {
    pub(super) fn new(version: u64) -> Self {
        Self {
            recent: Mutex::default(),
            version: watch::Sender::new(version),
        }
    }

    pub(super) fn publish(&self, version: u64, rows: Vec<Changed>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back((version, rows));
        let mut kept: usize = recent.iter().map(|(_, rows)| rows.len()).sum();
        while kept > KEPT
            && let Some((_, rows)) = recent.pop_front()
        {
            kept -= rows.len();
        }
        drop(recent);
        self.version.send_replace(version);
    }

    /// Everything changed at once.
    pub(super) fn publish_everything(&self, version: u64) {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.version.send_replace(version);
    }

    pub(super) async fn after(&self, version: u64) -> Changes {
        let mut watch = self.version.subscribe();
        // The sender lives as long as this feed.
        drop(watch.wait_for(|current| *current > version).await);
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let current = recent
            .back()
            .map_or_else(|| *self.version.borrow(), |(version, _)| *version);
        let whole = recent
            .front()
            .is_some_and(|(first, _)| *first <= version + 1);
        let kind = if whole {
            let rows = recent
                .iter()
                .filter(|(committed, _)| *committed > version)
                .flat_map(|(_, rows)| rows.clone());
            ChangesKind::Rows(rows.collect())
        } else {
            ChangesKind::Everything
        };
        Changes {
            version: current,
            kind,
        }
    }
}
