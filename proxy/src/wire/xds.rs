//! The client of the aggregated discovery service, as a state machine without I/O.
//!
//! What happened goes in ([`Ads::connected`], [`Ads::receive`], [`Ads::applied`], [`Ads::want`],
//! [`Ads::disconnected`]); what to send comes out of [`Ads::next_request`], what to apply out of
//! [`Ads::receive`]. Nothing is sent while an update is being applied, so the acknowledgement of the
//! clusters always goes out before the request for their endpoints. `stream` runs it over a connection.
//!
//! | file | what lives there |
//! |---|---|
//! | [`resource_type`] | the six types that we ask for, in the order in which we ask |
//! | [`resource`] | one resource as it arrived, and how its name is found |
//! | `table` | what we want and hold of one type; sorts a response into new, equal and gone |
//! | [`sotw`], [`delta`] | the two protocols |
//! | [`back_off`] | how long to wait before connecting again |

pub mod back_off;
pub mod delta;
mod gate;
pub mod resource;
pub mod resource_type;
pub mod sotw;
mod table;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carbyne_protos::envoy::config::core::v3::Node;
use prost::Message;

pub use back_off::BackOff;
pub use delta::DeltaMachine;
pub use resource::Resource;
pub use resource_type::ResourceType;
pub use sotw::SotwMachine;
pub use table::{Failure, Interest, Statistics};

/// The ADS client in the protocol that the bootstrap names (`ads_config.api_type`).
#[derive(Debug)]
pub enum Ads {
    /// State of the world: every response to a full-state type lists all of it.
    Sotw(SotwMachine),
    /// Incremental: responses list what changed and what went.
    Delta(DeltaMachine),
}

/// Which of the two protocols a stream speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// `api_type: GRPC`.
    Sotw,
    /// `api_type: DELTA_GRPC`.
    Delta,
}

/// What a machine is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who asks: the bootstrap's node.
    pub node: Node,
    /// Whether the node goes into every request (`set_node_on_first_message_only: false`).
    pub node_in_every_request: bool,
    /// How long the first request for listeners waits for clusters and their endpoints. Envoy asks for
    /// listeners when its clusters are initialised, which its `initial_fetch_timeout` bounds.
    pub listeners_wait: Duration,
}

/// Resources of one response, sorted; hand it back to [`Ads::applied`] when it is applied.
#[derive(Debug)]
pub struct Update {
    /// What the resources are.
    pub resource_type: ResourceType,
    /// The version that the control plane gives this state.
    pub version: Arc<str>,
    /// Resources whose bytes differ from those applied last. May be empty.
    pub upserts: Vec<Arc<Resource>>,
    /// Names that are gone. May be empty.
    pub removed: Vec<Arc<str>>,
    /// Refused before anything was applied: wrong type, named twice, not protobuf.
    refused: Vec<Rejected>,
    /// The same, of resources whose names cannot be told.
    nameless: Vec<Rejected>,
    /// Resources that came again with equal bytes, and their version now.
    unchanged: Vec<(Arc<str>, Arc<str>)>,
    /// What to answer; none for resources that are applied again from what we hold.
    reply: Option<ReplyTo>,
}

/// A resource that was not applied, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejected {
    /// The resource's name.
    pub name: Arc<str>,
    /// Why, for the owner to read; the name is not repeated in it.
    pub reason: String,
}

/// Applies updates to the running configuration. What is rejected must leave the last good version in place.
pub trait Apply {
    /// Applies `upserts`, forgets `removed`, and names what could not be applied. Called for every
    /// response, also when nothing changed: the first answer counts even if it is empty.
    fn apply(
        &mut self,
        resource_type: ResourceType,
        upserts: &[Arc<Resource>],
        removed: &[Arc<str>],
    ) -> impl Future<Output = Vec<Rejected>>;
}

/// Why bytes of the stream were not understood; the stream must be ended.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Not a discovery response.
    #[error("response does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A response while no stream is open, or while the one before is still being applied.
    #[error("response out of turn")]
    OutOfTurn,
}

/// Identifies the response that an update came in.
#[derive(Debug)]
struct ReplyTo {
    /// Counts streams: an answer to an old stream is not sent on a new one.
    stream: u64,
    nonce: String,
}

/// An acknowledgement that is due.
#[derive(Debug)]
struct Owed {
    resource_type: ResourceType,
    nonce: String,
    /// `Some` makes it a refusal.
    error: Option<String>,
}

impl Ads {
    /// A machine that wants nothing yet.
    pub fn new(protocol: Protocol, settings: Settings) -> Self {
        match protocol {
            Protocol::Sotw => Self::Sotw(SotwMachine::new(settings)),
            Protocol::Delta => Self::Delta(DeltaMachine::new(settings)),
        }
    }

    /// The protocol spoken.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Sotw(_) => Protocol::Sotw,
            Self::Delta(_) => Protocol::Delta,
        }
    }

    /// A stream was opened at `now` (a monotonic time with any origin).
    pub fn connected(&mut self, now: Duration) {
        match self {
            Self::Sotw(machine) => machine.connected(now),
            Self::Delta(machine) => machine.connected(now),
        }
    }

    /// The stream ended. What is held stays; what was owed is dropped.
    pub fn disconnected(&mut self) {
        match self {
            Self::Sotw(machine) => machine.disconnected(),
            Self::Delta(machine) => machine.disconnected(),
        }
    }

    /// One gRPC message arrived. `None` where there is nothing to apply: a type that was not asked for.
    pub fn receive(
        &mut self,
        message: &[u8],
        time: SystemTime,
    ) -> Result<Option<Update>, ReceiveError> {
        match self {
            Self::Sotw(machine) => machine.receive(message, time),
            Self::Delta(machine) => machine.receive(message, time),
        }
    }

    /// An update was applied except for `rejected`: its acknowledgement is now due.
    pub fn applied(&mut self, update: Update, rejected: Vec<Rejected>, time: SystemTime) {
        match self {
            Self::Sotw(machine) => machine.applied(update, rejected, time),
            Self::Delta(machine) => machine.applied(update, rejected, time),
        }
    }

    /// From now on `interest` is wanted of a type. Resources that are wanted anew and still held are
    /// returned to be applied again: the control plane may not repeat them. Not to be called between
    /// [`Ads::receive`] and [`Ads::applied`], and [`Ads::next_request`] is to be asked before the next
    /// response is taken: what arrives for a name that is on its way out is not kept.
    pub fn want(&mut self, resource_type: ResourceType, interest: Interest) -> Option<Update> {
        match self {
            Self::Sotw(machine) => machine.want(resource_type, interest),
            Self::Delta(machine) => machine.want(resource_type, interest),
        }
    }

    /// Whether the first request for listeners waits for clusters that are not warm.
    pub fn hold_listeners(&mut self, held: bool) {
        match self {
            Self::Sotw(machine) => machine.hold_listeners(held),
            Self::Delta(machine) => machine.hold_listeners(held),
        }
    }

    /// The next message to send, encoded; `None` when all is said for now.
    pub fn next_request(&mut self, now: Duration) -> Option<Vec<u8>> {
        match self {
            Self::Sotw(machine) => machine
                .next_request(now)
                .map(|request| request.encode_to_vec()),
            Self::Delta(machine) => machine
                .next_request(now)
                .map(|request| request.encode_to_vec()),
        }
    }

    /// When to call [`Ads::next_request`] again though nothing happened.
    pub fn wake_at(&self) -> Option<Duration> {
        match self {
            Self::Sotw(machine) => machine.wake_at(),
            Self::Delta(machine) => machine.wake_at(),
        }
    }

    /// The resources of a type that were applied last, by name.
    pub fn resources(&self, resource_type: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.table(resource_type).resources()
    }

    /// The resources of a type whose newest version was refused, by name.
    pub fn failures(
        &self,
        resource_type: ResourceType,
    ) -> impl Iterator<Item = (&Arc<str>, &Failure)> {
        self.table(resource_type).failures()
    }

    /// What is counted about a type.
    pub fn statistics(&self, resource_type: ResourceType) -> &Statistics {
        &self.table(resource_type).statistics
    }

    /// Whether a stream is open (`control_plane.connected_state`).
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Sotw(machine) => machine.is_connected(),
            Self::Delta(machine) => machine.is_connected(),
        }
    }

    /// Who the control plane said it is (`control_plane.identifier`).
    pub fn control_plane(&self) -> &str {
        match self {
            Self::Sotw(machine) => machine.control_plane(),
            Self::Delta(machine) => machine.control_plane(),
        }
    }

    fn table(&self, resource_type: ResourceType) -> &table::Table {
        match self {
            Self::Sotw(machine) => machine.table(resource_type),
            Self::Delta(machine) => machine.table(resource_type),
        }
    }
}

impl Protocol {
    /// The gRPC path of the aggregated discovery service in this protocol.
    pub fn path(self) -> &'static str {
        match self {
            Self::Sotw => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
            }
            Self::Delta => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
            }
        }
    }
}

/// The text of a NACK: names every resource, as Envoy words it. Envoy cuts it at 4096 bytes, because it
/// may end up in a gRPC header.
fn nack_message(resource_type: ResourceType, rejected: &[Rejected]) -> String {
    let mut message = format!("Error adding/updating {}", resource_type.noun());
    for (index, rejected) in rejected.iter().enumerate() {
        message.push_str(if index == 0 { " " } else { ", " });
        message.push_str(&rejected.name);
        message.push_str(": ");
        message.push_str(&rejected.reason);
        if message.len() > NACK_LIMIT {
            break;
        }
    }
    if message.len() > NACK_LIMIT {
        let cut = (0..=NACK_LIMIT - NACK_CUT.len())
            .rev()
            .find(|&at| message.is_char_boundary(at));
        message.truncate(cut.unwrap_or(0));
        message.push_str(NACK_CUT);
    }
    message
}

/// The code of a NACK's status: Envoy sends INTERNAL.
const NACK_CODE: i32 = 13;
const NACK_LIMIT: usize = 4096;
const NACK_CUT: &str = "...(truncated)";

#[cfg(test)]
mod tests;
