//! A secret that arrives after the configuration that names it, and is replaced while connections live.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

/// What a slot may hold.
pub trait Secret: Send + Sync + 'static {
    /// Whether `other` is the same secret: a delivery that changes nothing must not end resumption or rebuild configurations.
    fn same(&self, other: &Self) -> bool;
}

/// A named place that SDS (or a file watcher) fills and rotates. Readers take the current value without a lock.
pub struct SecretSlot<T> {
    name: Box<str>,
    value: ArcSwapOption<Stamped<T>>,
    /// The generation of the current value, 0 while there is none.
    changed: watch::Sender<u64>,
    next: AtomicU64,
}

struct Stamped<T> {
    generation: u64,
    value: Arc<T>,
}

impl<T: Secret> SecretSlot<T> {
    /// An empty slot; `name` is how errors speak of it (the SDS resource name, or a path).
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            value: ArcSwapOption::empty(),
            changed: watch::Sender::new(0),
            next: AtomicU64::new(1),
        })
    }

    /// A slot that is filled from the start, for secrets that stand inline in the configuration.
    pub fn filled(name: &str, value: T) -> Arc<Self> {
        let slot = Self::new(name);
        slot.set(value);
        slot
    }

    /// The name given at creation.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces the value. Returns false, and changes nothing, when the slot already holds the same secret.
    pub fn set(&self, value: T) -> bool {
        if self.load().is_some_and(|held| held.same(&value)) {
            return false;
        }
        let generation = self.next.fetch_add(1, Ordering::Relaxed);
        self.value.store(Some(Arc::new(Stamped {
            generation,
            value: Arc::new(value),
        })));
        EPOCH.fetch_add(1, Ordering::Release);
        self.changed.send_replace(generation);
        true
    }

    /// Empties the slot: its users are not ready until the next value.
    pub fn clear(&self) {
        self.value.store(None);
        EPOCH.fetch_add(1, Ordering::Release);
        self.changed.send_replace(0);
    }

    /// The current value.
    pub fn load(&self) -> Option<Arc<T>> {
        self.value
            .load()
            .as_ref()
            .map(|held| Arc::clone(&held.value))
    }

    /// Counts the values this slot has held; 0 while it is empty.
    pub fn generation(&self) -> u64 {
        self.value.load().as_ref().map_or(0, |held| held.generation)
    }

    /// Whether a value is there.
    pub fn is_ready(&self) -> bool {
        self.generation() != 0
    }

    /// Waits until a value is there.
    pub async fn ready(&self) {
        // The sender lives in `self`, so the wait cannot end in an error.
        drop(
            self.changed
                .subscribe()
                .wait_for(|generation| *generation != 0)
                .await,
        );
    }

    /// Follows the generation, for whoever must act on rotation.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl<T> fmt::Debug for SecretSlot<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SecretSlot")
            .field("name", &self.name)
            .field("generation", &*self.changed.borrow())
            .finish()
    }
}

/// Moves whenever any slot changes, so that a handshake learns with one load that nothing did.
pub(super) fn epoch() -> u64 {
    EPOCH.load(Ordering::Acquire)
}

static EPOCH: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests {
    use super::*;

    impl Secret for u8 {
        fn same(&self, other: &Self) -> bool {
            self == other
        }
    }

    #[test]
    fn a_repeated_value_changes_nothing() {
        let slot = SecretSlot::new("default");
        assert!(!slot.is_ready());
        assert!(slot.set(1_u8));
        let generation = slot.generation();
        assert!(!slot.set(1));
        assert_eq!(slot.generation(), generation);
        assert!(slot.set(2));
        assert!(slot.generation() > generation);
        slot.clear();
        assert_eq!(slot.generation(), 0);
        assert!(slot.set(2));
        assert!(slot.generation() > generation);
    }

    #[tokio::test]
    async fn ready_wakes_when_the_secret_comes() {
        let slot = SecretSlot::new("ROOTCA");
        let ((), changed) = tokio::join!(slot.ready(), async { slot.set(7_u8) });
        assert!(changed);
        slot.ready().await;
    }
}
