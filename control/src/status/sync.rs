//! What the control plane knows of its proxies: who is connected, and how old the last acknowledgement is. `up` serves it on its
//! page's port as `/proxies`; `carbyne status` reads it there.

use carbyne_mesh::serve::status::{Connection, SyncState};
use serde::{Deserialize, Serialize};

/// One connected proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    /// Node id: `sidecar~ADDRESS~NAME.NAMESPACE~…`.
    pub node: String,
    /// Version that it was brought up to.
    pub version: String,
    /// Per type, in the order of their names.
    pub types: Vec<Kind>,
}

/// One type that a proxy subscribes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kind {
    /// `Cluster`, `Listener`, `RouteConfiguration`, `ClusterLoadAssignment`, `Secret`.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// Seconds since the last acknowledgement; none before the first.
    pub acknowledged: Option<u64>,
    /// Why the last answer was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// How a type stands, in istioctl's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The last answer was accepted.
    Synced,
    /// Nothing was sent: there is nothing of the type for this proxy.
    Unsent,
    /// Sent, and not answered yet.
    Stale,
    /// Refused.
    Refused,
}

/// All connections of a control plane.
#[must_use]
pub fn of(connections: &[Connection]) -> Vec<Sync> {
    connections
        .iter()
        .map(|connection| Sync {
            node: connection.node.clone(),
            version: connection.version.clone(),
            types: connection
                .types
                .iter()
                .map(|(kind, (state, _))| {
                    let (state, error) = match state {
                        SyncState::NotSent => (State::Unsent, String::new()),
                        SyncState::Synced => (State::Synced, String::new()),
                        SyncState::Stale => (State::Stale, String::new()),
                        SyncState::Error(error) => (State::Refused, error.clone()),
                    };
                    let at = connection.acknowledged.get(kind);
                    Kind {
                        name: kind
                            .type_url()
                            .rsplit('.')
                            .next()
                            .unwrap_or_default()
                            .to_owned(),
                        state,
                        acknowledged: at.map(|at| at.elapsed().as_secs()),
                        error,
                    }
                })
                .collect(),
        })
        .collect()
}

impl Sync {
    /// The workload's name in the node id.
    #[must_use]
    pub fn workload(&self) -> &str {
        let pod = self.node.split('~').nth(2).unwrap_or_default();
        pod.split('.').next().unwrap_or_default()
    }

    /// The worst state of any type, and the youngest acknowledgement.
    #[must_use]
    pub fn worst(&self) -> (State, Option<u64>) {
        let state = self
            .types
            .iter()
            .map(|kind| kind.state)
            .filter(|state| *state != State::Unsent)
            .max();
        let youngest = self.types.iter().filter_map(|kind| kind.acknowledged).min();
        (state.unwrap_or(State::Unsent), youngest)
    }
}
