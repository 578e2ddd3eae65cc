//! One node: what every part of the data path shares for the life of the process.

use std::sync::Arc;

use arc_swap::ArcSwap;
use carbyne_engine::tls::IdentitySlot;
use carbyne_events::source::Source;

use crate::balance::Balancers;
use crate::live::Snapshot;
use crate::plugin::records::Generations;
use crate::plugin::table::Shared;
use crate::proxy::listener::Connections;
use crate::proxy::settings::Settings;
use crate::store::Store;

/// The node.
#[derive(Debug)]
pub struct Node {
    /// Its id, as the Admin API tells it.
    pub id: Box<str>,
    pub settings: Settings,
    /// Which hosts there are, and who of them is well.
    pub balancers: Arc<Balancers>,
    pub store: Arc<dyn Store>,
    /// What requests are served with from now on.
    pub snapshot: ArcSwap<Snapshot>,
    /// What each plugin's instances share.
    pub shared: Shared,
    pub generations: Generations,
    /// Connections and requests of clients.
    pub connections: Connections,
    /// What clients are shown that ask for no name that a certificate is for.
    pub default_certificates: Vec<Arc<IdentitySlot>>,
    /// Where events go; nowhere unless the node was told to emit them.
    pub events: Option<Arc<Source>>,
}

impl Node {
    /// A node that has no configuration yet.
    pub fn new(
        id: &str,
        settings: Settings,
        store: Arc<dyn Store>,
        balancers: Arc<Balancers>,
        default_certificates: Vec<Arc<IdentitySlot>>,
        events: Option<Arc<Source>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            settings,
            balancers,
            store,
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            shared: Shared::default(),
            generations: Generations::default(),
            connections: Connections::default(),
            default_certificates,
            events,
        })
    }
}
