//! The plugins of a route, and which instance of each a request gets.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::plugin::instance::Instance;
use crate::plugin::table::State;

/// The plugins of one route in the order in which they run: by priority, and by name where that is the same, both
/// descending.
#[derive(Debug, Default)]
pub struct Chain {
    pub slots: Box<[Slot]>,
    /// Whether any instance writes requests down.
    pub serializes: bool,
    /// Whether any instance has a rewrite phase.
    pub rewrites: bool,
}

/// Instances of one consumer each.
pub type ByConsumer = FxHashMap<Box<str>, Arc<Instance>>;

/// One plugin: of its instances a request gets at most one. The first that exists decides: route, service and
/// consumer; route and consumer; service and consumer; route and service; consumer; route; service; no scope.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Those of a consumer together with the route or the service.
    pub narrow: Option<Arc<ByConsumer>>,
    /// That of the route together with the service.
    pub joint: Option<Arc<Instance>>,
    /// Those of a consumer alone.
    pub consumers: Option<Arc<ByConsumer>>,
    /// That of the route, else of the service, else of nobody in particular.
    pub wide: Option<Arc<Instance>>,
}

/// The instance that a request got, and what it keeps for it.
#[derive(Debug)]
pub struct Selected {
    slot: u32,
    /// Nothing where it is the one that requests without a consumer get.
    own: Option<Arc<Instance>>,
    pub state: State,
}

impl Slot {
    /// The instance for requests of nobody in particular.
    pub fn plain(&self) -> Option<&Arc<Instance>> {
        self.joint.as_ref().or(self.wide.as_ref())
    }

    /// The instance for a consumer, where it is another one.
    fn own(&self, consumer: &str) -> Option<&Arc<Instance>> {
        if let Some(found) = self.narrow.as_ref().and_then(|table| table.get(consumer)) {
            return Some(found);
        }
        if self.joint.is_some() {
            return None;
        }
        self.consumers.as_ref()?.get(consumer)
    }

    /// Any of its instances.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        let tables = [&self.narrow, &self.consumers];
        let tables = tables.into_iter().flatten();
        self.joint
            .iter()
            .chain(&self.wide)
            .chain(tables.flat_map(|table| table.values()))
    }
}

impl Chain {
    pub fn new(slots: Vec<Slot>) -> Self {
        let any = |test: fn(&Instance) -> bool| {
            let mut instances = slots.iter().flat_map(Slot::instances);
            instances.any(|instance| test(instance))
        };
        Self {
            serializes: any(|instance| instance.compiled.serializes()),
            rewrites: any(|instance| instance.compiled.rewrites()),
            slots: slots.into(),
        }
    }

    /// The instance of a slot for a consumer, or for nobody.
    pub fn select(&self, slot: usize, consumer: Option<&str>) -> Option<Selected> {
        let found = self.slots.get(slot)?;
        let own = consumer.and_then(|consumer| found.own(consumer));
        let instance = own.or_else(|| found.plain())?;
        Some(Selected {
            // A chain has as many slots as there are plugins.
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            state: instance.compiled.state(),
            own: own.cloned(),
        })
    }

    /// The instance that was selected.
    pub fn instance<'a>(&'a self, selected: &'a Selected) -> Option<&'a Arc<Instance>> {
        let slot = || self.slots.get(selected.slot as usize)?.plain();
        selected.own.as_ref().or_else(slot)
    }
}
