//! Secrets by name and source, in slots that are filled later and rotate.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use carbyne_engine::tls::{Identity, IdentitySlot, SecretSlot, Trust, TrustSlot};
use rustc_hash::FxHashMap;
use tokio::sync::watch;

/// A secret's name and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretReference {
    /// The name of the resource, such as `default` or `ROOTCA`.
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: SecretSource,
    /// What it is.
    pub kind: SecretKind,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretSource {
    /// The stream that everything comes from.
    Ads,
    /// SDS of this cluster.
    Cluster(Arc<str>),
    /// A file with a `DiscoveryResponse`.
    File(Arc<str>),
    /// The static secrets of the bootstrap.
    Static,
}

/// What a secret is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretKind {
    /// Certificate chain and key.
    Identity,
    /// Roots.
    Trust,
}

/// All secrets that anything refers to.
pub struct Secrets {
    held: Mutex<Held>,
    changed: watch::Sender<u64>,
    arrived: watch::Sender<u64>,
}

#[derive(Default)]
struct Held {
    identities: FxHashMap<SecretReference, Weak<IdentitySlot>>,
    trusts: FxHashMap<SecretReference, Weak<TrustSlot>>,
}

impl Secrets {
    /// The slot of a certificate and key; the same for everybody who asks while one of them holds it.
    pub fn identity(&self, name: &str, source: SecretSource) -> Arc<IdentitySlot> {
        self.slot(name, source, SecretKind::Identity, |held| {
            &mut held.identities
        })
    }

    /// The slot of roots.
    pub fn trust(&self, name: &str, source: SecretSource) -> Arc<TrustSlot> {
        self.slot(name, source, SecretKind::Trust, |held| &mut held.trusts)
    }

    /// Fills a slot, if anybody still holds it; whether something changed.
    pub fn deliver_identity(&self, reference: &SecretReference, identity: Identity) -> bool {
        let slot = self
            .lock()
            .identities
            .get(reference)
            .and_then(Weak::upgrade);
        self.note(slot.is_some_and(|slot| slot.set(identity)))
    }

    /// Fills a slot, if anybody still holds it; whether something changed.
    pub fn deliver_trust(&self, reference: &SecretReference, trust: Trust) -> bool {
        let slot = self.lock().trusts.get(reference).and_then(Weak::upgrade);
        self.note(slot.is_some_and(|slot| slot.set(trust)))
    }

    /// The secrets that somebody holds, sorted, with whether each has come.
    pub fn wanted(&self) -> Vec<(SecretReference, bool)> {
        let mut held = self.lock();
        held.identities.retain(|_, slot| slot.strong_count() > 0);
        held.trusts.retain(|_, slot| slot.strong_count() > 0);
        let identities = held.identities.iter().map(|(reference, slot)| {
            (
                reference.clone(),
                slot.upgrade().is_some_and(|slot| slot.is_ready()),
            )
        });
        let trusts = held.trusts.iter().map(|(reference, slot)| {
            (
                reference.clone(),
                slot.upgrade().is_some_and(|slot| slot.is_ready()),
            )
        });
        let mut wanted: Vec<_> = identities.chain(trusts).collect();
        wanted.sort();
        wanted
    }

    /// Moves whenever somebody asks for a secret that nobody held before.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Moves whenever a secret comes or rotates.
    pub fn arrived(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    fn note(&self, changed: bool) -> bool {
        if changed {
            self.arrived.send_modify(|count| *count += 1);
        }
        changed
    }

    fn slot<T: carbyne_engine::tls::Secret>(
        &self,
        name: &str,
        source: SecretSource,
        kind: SecretKind,
        map: impl FnOnce(&mut Held) -> &mut FxHashMap<SecretReference, Weak<SecretSlot<T>>>,
    ) -> Arc<SecretSlot<T>> {
        let reference = SecretReference {
            name: Arc::from(name),
            source,
            kind,
        };
        let mut held = self.lock();
        let slots = map(&mut held);
        if let Some(slot) = slots.get(&reference).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = SecretSlot::new(name);
        slots.insert(reference, Arc::downgrade(&slot));
        drop(held);
        self.changed.send_modify(|count| *count += 1);
        slot
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            changed: watch::Sender::new(0),
            arrived: watch::Sender::new(0),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.lock();
        f.debug_struct("Secrets")
            .field("identities", &held.identities.keys())
            .field("trusts", &held.trusts.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_shared_while_it_is_held() {
        let secrets = Secrets::default();
        let source = || SecretSource::Cluster(Arc::from("sds-grpc"));
        let first = secrets.identity("default", source());
        let second = secrets.identity("default", source());
        assert!(Arc::ptr_eq(&first, &second));
        let other = secrets.identity("default", SecretSource::Ads);
        assert!(!Arc::ptr_eq(&first, &other));
        let _root = secrets.trust("ROOTCA", source());
        let wanted: Vec<_> = secrets
            .wanted()
            .into_iter()
            .map(|(reference, ready)| (reference.name.to_string(), reference.kind, ready))
            .collect();
        assert_eq!(
            wanted,
            [
                ("ROOTCA".to_owned(), SecretKind::Trust, false),
                ("default".to_owned(), SecretKind::Identity, false),
                ("default".to_owned(), SecretKind::Identity, false),
            ]
        );
        drop((first, second, other));
        assert_eq!(secrets.wanted().len(), 1);
    }
}
