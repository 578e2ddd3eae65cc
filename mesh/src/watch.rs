//! A folder under watch: what is saved is live at once, what is wrong changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use notify::{EventKind, RecursiveMode, Watcher as _, event::AccessKind};

/// A running watch; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    _watcher: notify::RecommendedWatcher,
}

/// Why a folder cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be watched: {error}", folder.display())]
pub struct WatchError {
    folder: PathBuf,
    error: notify::Error,
}

/// Calls `changed` (on a thread of its own) whenever files of the folder were written, once they have been quiet for a moment.
///
/// # Errors
/// When the system refuses the watch.
pub fn watch(folder: &Path, changed: impl Fn() + Send + 'static) -> Result<Watch, WatchError> {
    let failed = |error| WatchError {
        folder: folder.to_owned(),
        error,
    };
    let (told, events) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = event.as_ref().map_or(true, |event| {
            !matches!(event.kind, EventKind::Access(kind) if !matches!(kind, AccessKind::Close(_)))
        });
        if matters && told.send(()).is_err() {
            tracing::trace!("the watch has ended");
        }
    })
    .map_err(failed)?;
    watcher
        .watch(folder, RecursiveMode::Recursive)
        .map_err(failed)?;
    std::thread::Builder::new()
        .name("mesh-watch".to_owned())
        .spawn(move || debounce(&events, &changed))
        .map_err(|error| failed(notify::Error::io(error)))?;
    Ok(Watch { _watcher: watcher })
}

/// Waits for quiet (editors write a file in several steps), at most ten times as long.
fn debounce(events: &mpsc::Receiver<()>, changed: &dyn Fn()) {
    while events.recv().is_ok() {
        let first = Instant::now();
        while first.elapsed() < QUIET * 10 {
            match events.recv_timeout(QUIET) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
        changed();
    }
}

/// istiod's debounce (istio.md 2.6).
const QUIET: Duration = Duration::from_millis(100);
