//! What is wanted and held of one type.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::resource::name_of;
use super::{Rejected, Resource, ResourceType, Update};

/// What of a type is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Interest {
    /// All that the control plane has for this node.
    All,
    /// These names; none means that nothing is asked for.
    Names(BTreeSet<Arc<str>>),
}

/// A version of a resource that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What was refused; none where its name or bytes could not be read.
    pub resource: Option<Arc<Resource>>,
    /// Why.
    pub reason: String,
    /// The version of the response.
    pub version: Arc<str>,
    /// When.
    pub time: SystemTime,
}

/// What is counted about a type, under Envoy's names (`cluster_manager.cds.…`, `listener_manager.lds.…`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// `update_attempt`: requests sent.
    pub update_attempt: u64,
    /// `update_success`: responses applied whole.
    pub update_success: u64,
    /// `update_rejected`: responses refused in part or whole.
    pub update_rejected: u64,
    /// `update_failure`: streams that ended while the type was asked for.
    pub update_failure: u64,
    /// `config_reload`: applied responses that changed something.
    pub config_reload: u64,
    /// `version_text`: the version applied last.
    pub version: Arc<str>,
    /// `update_time`: when a response was applied last.
    pub update_time: Option<SystemTime>,
}

#[derive(Debug)]
pub(super) struct Table {
    resource_type: ResourceType,
    interest: Interest,
    entries: BTreeMap<Arc<str>, Entry>,
    /// Whether a response was applied since the machine was made.
    answered: bool,
    pub(super) statistics: Statistics,
}

#[derive(Debug, Default)]
struct Entry {
    accepted: Option<Accepted>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Accepted {
    resource: Arc<Resource>,
    /// The newest version under which the same bytes came.
    version: Arc<str>,
}

/// A resource that cannot be looked at closer.
enum Refused {
    Named(Rejected),
    Nameless(Rejected),
}

/// One resource of a response, before it is looked at.
pub(super) struct Arrived {
    /// The name that the response gives, if the protocol has that.
    pub(super) name: Option<String>,
    pub(super) version: Arc<str>,
    pub(super) type_url: String,
    pub(super) bytes: Vec<u8>,
}

impl Update {
    /// Refuses what the response says two things of: neither is done, the last good stays.
    pub(super) fn contradicted(&mut self, names: BTreeSet<Arc<str>>, reason: &str) {
        if names.is_empty() {
            return;
        }
        self.upserts
            .retain(|resource| !names.contains(&resource.name));
        self.unchanged.retain(|(name, _)| !names.contains(name));
        self.removed.retain(|name| !names.contains(name));
        self.refused.extend(names.into_iter().map(|name| Rejected {
            name,
            reason: reason.to_owned(),
        }));
    }

    /// Names of what the response holds, whatever becomes of it.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let upserts = self.upserts.iter().map(|resource| &resource.name);
        let unchanged = self.unchanged.iter().map(|(name, _)| name);
        let refused = self.refused.iter().map(|rejected| &rejected.name);
        upserts.chain(unchanged).chain(refused)
    }
}

impl Table {
    pub(super) fn new(resource_type: ResourceType) -> Self {
        Self {
            resource_type,
            interest: Interest::Names(BTreeSet::new()),
            entries: BTreeMap::new(),
            answered: false,
            statistics: Statistics::default(),
        }
    }

    pub(super) fn all() -> [Self; ResourceType::ALL.len()] {
        ResourceType::ALL.map(Self::new)
    }

    pub(super) fn interest(&self) -> &Interest {
        &self.interest
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        match &self.interest {
            Interest::All => true,
            Interest::Names(names) => names.contains(name),
        }
    }

    /// Changes the interest. What is held of names that are wanted anew is returned, to be applied again.
    pub(super) fn want(&mut self, interest: Interest) -> Option<Update> {
        let before = std::mem::replace(&mut self.interest, interest);
        let (Interest::Names(before), Interest::Names(after)) = (before, &self.interest) else {
            return None;
        };
        let held: Vec<_> = after
            .difference(&before)
            .filter_map(|name| Some(self.entries.get(name)?.accepted.as_ref()?.resource.clone()))
            .collect();
        (!held.is_empty()).then(|| Update {
            resource_type: self.resource_type,
            version: self.statistics.version.clone(),
            upserts: held,
            removed: Vec::new(),
            refused: Vec::new(),
            nameless: Vec::new(),
            unchanged: Vec::new(),
            reply: None,
        })
    }

    /// Forgets what is not wanted. Called when the control plane is told: until then it would not send
    /// again what is wanted again.
    pub(super) fn forget_unwanted(&mut self) {
        if let Interest::Names(names) = &self.interest {
            self.entries.retain(|name, _| names.contains(name));
        }
    }

    /// Sorts the resources of a response into new, equal and refused.
    pub(super) fn sort(
        &self,
        version: Arc<str>,
        arrived: impl Iterator<Item = Arrived>,
        time: SystemTime,
    ) -> Update {
        let mut update = Update {
            resource_type: self.resource_type,
            version,
            upserts: Vec::new(),
            removed: Vec::new(),
            refused: Vec::new(),
            nameless: Vec::new(),
            unchanged: Vec::new(),
            reply: None,
        };
        let mut seen = BTreeSet::new();
        let mut contradicted = BTreeSet::new();
        for (index, arrived) in arrived.enumerate() {
            match self.look_at(index, arrived, time) {
                Ok(Some(resource)) if !seen.insert(resource.name.clone()) => {
                    contradicted.insert(resource.name);
                }
                Ok(Some(resource)) => match self.accepted(&resource.name) {
                    Some(accepted) if accepted.bytes == resource.bytes => {
                        update
                            .unchanged
                            .push((accepted.name.clone(), resource.version));
                    }
                    _ => update.upserts.push(Arc::new(resource)),
                },
                Ok(None) => {}
                Err(Refused::Named(rejected)) => update.refused.push(rejected),
                Err(Refused::Nameless(rejected)) => update.nameless.push(rejected),
            }
        }
        update.contradicted(contradicted, "named twice in one response");
        update
    }

    /// Names of what is held and not in `update`: gone, where a response is the full state. A resource
    /// that was refused is there, only not understood, so it stays; one without a name may be any.
    pub(super) fn missing_from(&self, update: &Update) -> Vec<Arc<str>> {
        if !update.nameless.is_empty() {
            return Vec::new();
        }
        let there: BTreeSet<_> = update.names().collect();
        self.entries
            .keys()
            .filter(|name| !there.contains(name))
            .cloned()
            .collect()
    }

    /// Takes over what was applied; returns all that was refused.
    pub(super) fn applied(
        &mut self,
        update: Update,
        rejected: Vec<Rejected>,
        response: bool,
        time: SystemTime,
    ) -> Vec<Rejected> {
        let changed = !(update.upserts.is_empty() && update.removed.is_empty());
        for (name, version) in update.unchanged {
            if let Some(entry) = self.entries.get_mut(&name) {
                if let Some(accepted) = &mut entry.accepted {
                    accepted.version = version;
                }
                entry.failure = None;
            }
        }
        for name in update.removed {
            self.entries.remove(&name);
        }
        let failed: BTreeMap<&str, &Rejected> = rejected
            .iter()
            .map(|rejected| (&*rejected.name, rejected))
            .collect();
        for resource in update.upserts {
            if !self.wants(&resource.name) {
                continue;
            }
            let entry = self.entries.entry(resource.name.clone()).or_default();
            if let Some(rejected) = failed.get(&*resource.name) {
                entry.failure = Some(Failure {
                    reason: rejected.reason.clone(),
                    version: update.version.clone(),
                    time,
                    resource: Some(resource),
                });
            } else {
                entry.failure = None;
                entry.accepted = Some(Accepted {
                    version: resource.version.clone(),
                    resource,
                });
            }
        }
        for refused in &update.refused {
            if !self.wants(&refused.name) {
                continue;
            }
            self.entries
                .entry(refused.name.clone())
                .or_default()
                .failure = Some(Failure {
                reason: refused.reason.clone(),
                version: update.version.clone(),
                time,
                resource: None,
            });
        }
        let mut all_rejected = update.refused;
        all_rejected.extend(update.nameless);
        all_rejected.extend(rejected);
        if response {
            self.answered = true;
            if all_rejected.is_empty() {
                self.statistics.update_success += 1;
                self.statistics.config_reload += u64::from(changed);
                self.statistics.version = update.version;
                self.statistics.update_time = Some(time);
            } else {
                self.statistics.update_rejected += 1;
            }
        }
        all_rejected
    }

    /// The newest version of each resource that is held and wanted.
    pub(super) fn versions(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.entries
            .iter()
            .filter(|(name, _)| self.wants(name))
            .filter_map(|(name, entry)| Some((name, &entry.accepted.as_ref()?.version)))
    }

    pub(super) fn holds(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    pub(super) fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.entries
            .values()
            .filter_map(|entry| Some(&entry.accepted.as_ref()?.resource))
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = (&Arc<str>, &Failure)> {
        self.entries
            .iter()
            .filter_map(|(name, entry)| Some((name, entry.failure.as_ref()?)))
    }

    fn accepted(&self, name: &str) -> Option<&Resource> {
        Some(&*self.entries.get(name)?.accepted.as_ref()?.resource)
    }

    /// Reads the name; `None` for what nobody wants.
    fn look_at(
        &self,
        index: usize,
        arrived: Arrived,
        time: SystemTime,
    ) -> Result<Option<Resource>, Refused> {
        let refuse =
            |name: Option<String>, reason: String| match name.filter(|name| !name.is_empty()) {
                Some(name) => Refused::Named(Rejected {
                    name: name.into(),
                    reason,
                }),
                None => Refused::Nameless(Rejected {
                    name: format!("resources[{index}]").into(),
                    reason,
                }),
            };
        if arrived.type_url != self.resource_type.type_url() {
            let reason = format!(
                "type URL {} embedded in an individual Any does not match the message-wide type URL {}",
                arrived.type_url,
                self.resource_type.type_url()
            );
            return Err(refuse(arrived.name, reason));
        }
        let inner = match name_of(&arrived.bytes) {
            Ok(name) => name,
            Err(malformed) => {
                return Err(refuse(
                    arrived.name.or(malformed.name),
                    "does not decode".to_owned(),
                ));
            }
        };
        let name = arrived
            .name
            .filter(|name| !name.is_empty())
            .unwrap_or(inner);
        if name.is_empty() {
            return Err(refuse(None, "has no name".to_owned()));
        }
        Ok(self.wants(&name).then(|| Resource {
            resource_type: self.resource_type,
            name: name.into(),
            version: arrived.version,
            bytes: Bytes::from(arrived.bytes),
            received: time,
        }))
    }
}
