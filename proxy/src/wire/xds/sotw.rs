//! State of the world: `StreamAggregatedResources`, and SDS's `StreamSecrets`.
//!
//! Every request lists all names that are wanted and repeats the version that is applied; the nonce of the
//! newest response makes it an acknowledgement, or a refusal where `error_detail` is set. A response may
//! answer an acknowledgement (istiod does that while clusters warm).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carbyne_protos::envoy::service::discovery::v3::{
    DiscoveryRequest, DiscoveryResponse, Resource as Wrapper,
};
use carbyne_protos::google::rpc::Status;
use prost::Message;

use super::table::{Arrived, Interest, Table};
use super::{
    NACK_CODE, Owed, ReceiveError, Rejected, ReplyTo, ResourceType, Settings, Update, gate::Gate,
    nack_message,
};

/// The client's side of state-of-the-world xDS.
#[derive(Debug)]
pub struct SotwMachine {
    settings: Settings,
    tables: [Table; ResourceType::ALL.len()],
    gate: Gate,
    /// Counts streams.
    stream: u64,
    open: Option<Open>,
    /// An update was given out and is not applied yet. Until it is, nothing is said, not even on the next
    /// stream: that would tell what is held without it.
    applying: bool,
    control_plane: String,
}

/// State that lives as long as one stream.
#[derive(Debug, Default)]
struct Open {
    node_sent: bool,
    owed: VecDeque<Owed>,
    types: [Asked; ResourceType::ALL.len()],
}

/// What was said about one type on the stream.
#[derive(Debug, Default)]
struct Asked {
    /// Names of the last request; none before the first one.
    names: Option<BTreeSet<Arc<str>>>,
    /// Whether they are others than those of the first request.
    changed: bool,
    /// Nonce of the newest response.
    nonce: String,
}

impl SotwMachine {
    /// A machine that wants nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            gate: Gate::new(settings.listeners_wait),
            settings,
            tables: Table::all(),
            stream: 0,
            open: None,
            applying: false,
            control_plane: String::new(),
        }
    }

    /// See [`super::Ads::connected`].
    pub fn connected(&mut self, now: Duration) {
        self.stream += 1;
        self.open = Some(Open::default());
        self.gate.start(now);
        // A new stream has no subscriptions yet, so none has to be ended first.
        self.tables.iter_mut().for_each(Table::forget_unwanted);
    }

    /// See [`super::Ads::disconnected`].
    pub fn disconnected(&mut self) {
        let Some(open) = self.open.take() else { return };
        for (table, asked) in self.tables.iter_mut().zip(&open.types) {
            table.statistics.update_failure += u64::from(asked.names.is_some());
        }
    }

    /// See [`super::Ads::receive`].
    pub fn receive(
        &mut self,
        message: &[u8],
        time: SystemTime,
    ) -> Result<Option<Update>, ReceiveError> {
        let response = DiscoveryResponse::decode(message)?;
        let Some(open) = &mut self.open else {
            return Err(ReceiveError::OutOfTurn);
        };
        if self.applying || !open.owed.is_empty() {
            return Err(ReceiveError::OutOfTurn);
        }
        if let Some(control_plane) = response.control_plane {
            self.control_plane = control_plane.identifier;
        }
        let Some(resource_type) = ResourceType::from_type_url(&response.type_url) else {
            tracing::warn!(
                type_url = response.type_url,
                "ignoring a response of a type that was not asked for"
            );
            return Ok(None);
        };
        let asked = &mut open.types[resource_type.index()];
        if asked.names.is_none() {
            tracing::warn!(
                type_url = response.type_url,
                "ignoring a response of a type that was not asked for"
            );
            return Ok(None);
        }
        asked.nonce.clone_from(&response.nonce);
        let version: Arc<str> = response.version_info.into();
        let table = &self.tables[resource_type.index()];
        let arrived = response
            .resources
            .into_iter()
            .map(|any| unwrap(any, &version));
        let mut update = table.sort(version.clone(), arrived, time);
        if resource_type.is_full_state() {
            update.removed = table.missing_from(&update);
        }
        update.reply = Some(ReplyTo {
            stream: self.stream,
            nonce: response.nonce,
        });
        self.applying = true;
        Ok(Some(update))
    }

    /// See [`super::Ads::applied`].
    pub fn applied(&mut self, mut update: Update, rejected: Vec<Rejected>, time: SystemTime) {
        let resource_type = update.resource_type;
        let reply = update.reply.take();
        let rejected =
            self.tables[resource_type.index()].applied(update, rejected, reply.is_some(), time);
        let Some(reply) = reply else { return };
        self.applying = false;
        if let Some(open) = &mut self.open
            && reply.stream == self.stream
        {
            let error = (!rejected.is_empty()).then(|| nack_message(resource_type, &rejected));
            if error.is_some() && open.types[resource_type.index()].changed {
                // istiod does not read the names of a refusal, and may have taken the request that changed them
                // for stale. So they are told once more, with the nonce that it expects, before the refusal.
                open.owed.push_back(Owed {
                    resource_type,
                    nonce: reply.nonce.clone(),
                    error: None,
                });
            }
            open.owed.push_back(Owed {
                resource_type,
                nonce: reply.nonce,
                error,
            });
        }
    }

    /// See [`super::Ads::want`].
    pub fn want(&mut self, resource_type: ResourceType, interest: Interest) -> Option<Update> {
        self.tables[resource_type.index()].want(interest)
    }

    /// Whether the first request for listeners waits for clusters that are not warm.
    pub fn hold_listeners(&mut self, held: bool) {
        self.gate.hold(held);
    }

    /// The next message to send; `None` when all is said for now.
    pub fn next_request(&mut self, now: Duration) -> Option<DiscoveryRequest> {
        let open = self.open.as_mut()?;
        if self.applying {
            return None;
        }
        if let Some(owed) = open.owed.pop_front() {
            let error = owed.error.map(|message| Status {
                code: NACK_CODE,
                message,
                ..Status::default()
            });
            return Some(self.request(owed.resource_type, true, error));
        }
        self.gate.look(&self.tables, now);
        let due = ResourceType::ALL
            .into_iter()
            .filter(|&resource_type| self.gate.admits(resource_type))
            .find(|&resource_type| {
                let asked = open.types[resource_type.index()].names.as_ref();
                match (self.tables[resource_type.index()].interest(), asked) {
                    (Interest::All, asked) => asked.is_none(),
                    // An empty first request would ask for everything.
                    (Interest::Names(names), None) => !names.is_empty(),
                    (Interest::Names(names), Some(asked)) => names != asked,
                }
            })?;
        Some(self.request(due, false, None))
    }

    /// See [`super::Ads::wake_at`].
    pub fn wake_at(&self) -> Option<Duration> {
        self.open.as_ref().and_then(|_| self.gate.opens_at())
    }

    /// See [`super::Ads::is_connected`].
    pub fn is_connected(&self) -> bool {
        self.open.is_some()
    }

    /// See [`super::Ads::control_plane`].
    pub fn control_plane(&self) -> &str {
        &self.control_plane
    }

    pub(super) fn table(&self, resource_type: ResourceType) -> &Table {
        &self.tables[resource_type.index()]
    }

    /// A request for all that is wanted of a type, or the reply to its newest response.
    fn request(
        &mut self,
        resource_type: ResourceType,
        reply: bool,
        error_detail: Option<Status>,
    ) -> DiscoveryRequest {
        let table = &mut self.tables[resource_type.index()];
        table.statistics.update_attempt += 1;
        let asked = self
            .open
            .as_ref()
            .and_then(|open| open.types[resource_type.index()].names.clone());
        let names = match (table.interest(), asked) {
            // A changed set follows in a request of its own. Where istiod took a request that dropped a name for
            // stale, an acknowledgement that has the name again would look to it as if nothing had happened,
            // while we threw away what it sent last.
            (_, Some(asked)) if reply => asked,
            (Interest::All, _) => BTreeSet::new(),
            (Interest::Names(names), _) => {
                let names = names.clone();
                table.forget_unwanted();
                names
            }
        };
        let mut request = DiscoveryRequest {
            version_info: table.statistics.version.to_string(),
            resource_names: names.iter().map(|name| name.to_string()).collect(),
            type_url: resource_type.type_url().to_owned(),
            error_detail,
            ..DiscoveryRequest::default()
        };
        if let Some(open) = &mut self.open {
            let asked = &mut open.types[resource_type.index()];
            request.response_nonce.clone_from(&asked.nonce);
            asked.changed |= asked.names.as_ref().is_some_and(|before| *before != names);
            asked.names = Some(names);
            if !open.node_sent || self.settings.node_in_every_request {
                request.node = Some(self.settings.node.clone());
                open.node_sent = true;
            }
        }
        request
    }
}

/// A resource may come wrapped, with its name outside; what is in it counts.
fn unwrap(any: carbyne_protos::prost_types::Any, version: &Arc<str>) -> Arrived {
    if any.type_url == WRAPPER_URL
        && let Ok(wrapper) = Wrapper::decode(&*any.value)
        && let Some(inner) = wrapper.resource
    {
        return Arrived {
            name: Some(wrapper.name),
            version: version.clone(),
            type_url: inner.type_url,
            bytes: inner.value,
        };
    }
    Arrived {
        name: None,
        version: version.clone(),
        type_url: any.type_url,
        bytes: any.value,
    }
}

const WRAPPER_URL: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";
