//! Notices that files of a folder were saved. Editors write a file several times, or write another and rename it: what belongs
//! together is one change.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{sync::mpsc, time::Instant};

/// A folder under watch.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::UnboundedReceiver<Instant>,
    /// Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

/// A folder could not be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {folder}: {error}")]
pub struct WatchError {
    folder: PathBuf,
    error: notify::Error,
}

impl Watch {
    /// Watches a folder and all below it.
    ///
    /// # Errors
    /// When the system gives no watch.
    pub fn new(folder: &Path) -> Result<Self, WatchError> {
        let fault = |error| WatchError {
            folder: folder.to_owned(),
            error,
        };
        let (sender, events) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error (a lost event among them) may hide a change: look again.
            if event.is_ok_and(|event| !changes(&event.kind)) {
                return;
            }
            // Nobody waits for changes any more at the very end.
            sender.send(Instant::now()).ok();
        })
        .map_err(fault)?;
        watcher.watch(folder, RecursiveMode::Recursive).map_err(fault)?;
        Ok(Self { events, _watcher: watcher })
    }

    /// Waits for the next change and until it is quiet again; gives back when the change began.
    pub async fn changed(&mut self) -> Instant {
        let Some(first) = self.events.recv().await else {
            // The watcher lives as long as we do and holds the sender.
            return std::future::pending().await;
        };
        let latest = first + LONGEST;
        loop {
            let quiet = (Instant::now() + QUIET).min(latest);
            match tokio::time::timeout_at(quiet, self.events.recv()).await {
                Ok(Some(_)) if Instant::now() < latest => {}
                _ => return first,
            }
        }
    }
}

/// Reading is no change; our own reading would never end otherwise.
fn changes(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

const QUIET: Duration = Duration::from_millis(30);
/// A folder that is written to all the time is looked at nevertheless.
const LONGEST: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_save_is_one_change_and_reading_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        let mut watch = Watch::new(folder.path()).unwrap();
        std::fs::write(&file, "a").unwrap();
        std::fs::write(&file, "b").unwrap();
        watch.changed().await;
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "b");
        // Only the next save is seen; the reading before it was not.
        std::fs::rename(&file, folder.path().join("b.yaml")).unwrap();
        let before = Instant::now();
        assert!(watch.changed().await <= before + Duration::from_secs(1));
        assert!(tokio::time::timeout(QUIET * 4, watch.changed()).await.is_err());
    }
}
