//! What is compiled from a plan and the current secrets, rebuilt when one of them changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;

use super::error::TlsError;
use super::slot;

/// The generations of the secrets that something was built from.
pub(super) type Stamps = SmallVec<[u64; 4]>;

/// A value bound to the generations of its secrets. The usual path costs two atomic loads and one reference count.
pub(super) struct Live<T> {
    current: ArcSwapOption<Built<T>>,
    /// The epoch at which `current` was last found to be up to date.
    seen: AtomicU64,
    /// Taken only when a secret has changed, so that workers do not build the same thing at once.
    building: Mutex<()>,
}

struct Built<T> {
    stamps: Stamps,
    value: Arc<T>,
}

impl<T> Live<T> {
    pub(super) fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            seen: AtomicU64::new(0),
            building: Mutex::new(()),
        }
    }

    /// The value for the secrets as they are now; `build` runs when they are not those of the last value.
    pub(super) fn obtain(
        &self,
        stamps: impl FnOnce() -> Stamps,
        build: impl FnOnce() -> Result<T, TlsError>,
    ) -> Result<Arc<T>, TlsError> {
        if self.seen.load(Ordering::Acquire) == slot::epoch()
            && let Some(built) = self.current.load().as_ref()
        {
            return Ok(Arc::clone(&built.value));
        }
        let _building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the stamps: a change between the two moves the epoch past what is stored below, and the next caller looks again.
        let epoch = slot::epoch();
        let stamps = stamps();
        let kept = self
            .current
            .load()
            .as_ref()
            .filter(|built| built.stamps == stamps)
            .map(|built| Arc::clone(&built.value));
        let value = match kept {
            Some(value) => value,
            None => {
                let value = Arc::new(build()?);
                self.current.store(Some(Arc::new(Built {
                    stamps,
                    value: Arc::clone(&value),
                })));
                value
            }
        };
        self.seen.store(epoch, Ordering::Release);
        Ok(value)
    }

    /// Forgets the value, and with it every session that could be resumed.
    pub(super) fn forget(&self) {
        self.current.store(None);
    }
}
