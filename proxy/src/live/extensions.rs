//! Filters by discovery (ECDS): their configurations by name, in slots that are filled later and change while traffic flows.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use rustc_hash::FxHashMap;

use crate::plan::filter::{HttpFilterKind, NetworkFilterKind};

/// The place of one filter's configuration, whether it has come or not.
pub struct ExtensionSlot<K> {
    name: Arc<str>,
    current: ArcSwapOption<Extension<K>>,
}

/// A filter's configuration as it came.
#[derive(Debug)]
pub struct Extension<K> {
    /// The type of its message.
    pub type_name: Box<str>,
    /// What it is; nothing where it may be left out.
    pub kind: Option<K>,
}

/// All slots that anything refers to: an HTTP filter and a network filter may share a name.
#[derive(Default)]
pub struct Extensions {
    http: Mutex<Slots<HttpFilterKind>>,
    network: Mutex<Slots<NetworkFilterKind>>,
}

type Slots<K> = FxHashMap<Arc<str>, Weak<ExtensionSlot<K>>>;

impl<K> ExtensionSlot<K> {
    /// The resource's name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What has come.
    pub fn load(&self) -> Option<Arc<Extension<K>>> {
        self.current.load_full()
    }

    /// Takes a new version, or forgets the one it has.
    pub fn store(&self, extension: Option<Extension<K>>) {
        self.current.store(extension.map(Arc::new));
    }
}

impl Extensions {
    /// The slot of an HTTP filter; the same for everybody who asks while one of them holds it.
    pub fn http(&self, name: &str) -> Arc<ExtensionSlot<HttpFilterKind>> {
        slot(&self.http, name)
    }

    /// The slot of a network filter.
    pub fn network(&self, name: &str) -> Arc<ExtensionSlot<NetworkFilterKind>> {
        slot(&self.network, name)
    }

    /// The slots of a name that somebody holds.
    pub fn held(&self, name: &str) -> Held {
        Held {
            http: lock(&self.http).get(name).and_then(Weak::upgrade),
            network: lock(&self.network).get(name).and_then(Weak::upgrade),
        }
    }

    /// The names that somebody waits for or uses.
    pub fn wanted(&self) -> Vec<Arc<str>> {
        let mut names = held_names(&self.http);
        names.extend(held_names(&self.network));
        names
    }

    /// Whether a configuration of this name has come to everybody who asks for it.
    pub fn has(&self, name: &str) -> bool {
        let Held { http, network } = self.held(name);
        http.is_none_or(|slot| slot.load().is_some())
            && network.is_none_or(|slot| slot.load().is_some())
    }
}

/// The slots of one name.
#[derive(Debug)]
pub struct Held {
    /// Of an HTTP filter.
    pub http: Option<Arc<ExtensionSlot<HttpFilterKind>>>,
    /// Of a network filter.
    pub network: Option<Arc<ExtensionSlot<NetworkFilterKind>>>,
}

fn slot<K>(slots: &Mutex<Slots<K>>, name: &str) -> Arc<ExtensionSlot<K>> {
    let mut slots = lock(slots);
    if let Some(slot) = slots.get(name).and_then(Weak::upgrade) {
        return slot;
    }
    let slot = Arc::new(ExtensionSlot {
        name: Arc::from(name),
        current: ArcSwapOption::empty(),
    });
    slots.insert(slot.name.clone(), Arc::downgrade(&slot));
    slot
}

fn held_names<K>(slots: &Mutex<Slots<K>>) -> Vec<Arc<str>> {
    let mut slots = lock(slots);
    slots.retain(|_, slot| slot.strong_count() > 0);
    slots.keys().cloned().collect()
}

fn lock<K>(slots: &Mutex<Slots<K>>) -> MutexGuard<'_, Slots<K>> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K> fmt::Debug for ExtensionSlot<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtensionSlot")
            .field("name", &self.name)
            .field("present", &self.current.load().is_some())
            .finish()
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions")
            .field("wanted", &self.wanted())
            .finish()
    }
}
