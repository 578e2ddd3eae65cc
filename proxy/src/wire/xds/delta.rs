//! Incremental: `DeltaAggregatedResources`.
//!
//! Subscriptions change in requests of their own, without nonce: istiod takes names in an acknowledgement
//! for a mistake. An acknowledgement is the nonce alone. On a new stream everything that is held is listed
//! with its version, so that the control plane can say what is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carbyne_protos::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Wrapper,
};
use carbyne_protos::google::rpc::Status;
use prost::Message;

use super::gate::Gate;
use super::table::{Arrived, Interest, Table};
use super::{
    NACK_CODE, Owed, ReceiveError, Rejected, ReplyTo, ResourceType, Settings, Update, nack_message,
};

/// The client's side of incremental xDS.
#[derive(Debug)]
pub struct DeltaMachine {
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
    owed: Option<Owed>,
    /// What was subscribed to on this stream, by type; none before the first request.
    subscribed: [Option<BTreeSet<Arc<str>>>; ResourceType::ALL.len()],
}

impl DeltaMachine {
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
        for (table, subscribed) in self.tables.iter_mut().zip(&open.subscribed) {
            table.statistics.update_failure += u64::from(subscribed.is_some());
        }
    }

    /// See [`super::Ads::receive`].
    pub fn receive(
        &mut self,
        message: &[u8],
        time: SystemTime,
    ) -> Result<Option<Update>, ReceiveError> {
        let response = DeltaDiscoveryResponse::decode(message)?;
        let Some(open) = &mut self.open else {
            return Err(ReceiveError::OutOfTurn);
        };
        if self.applying || open.owed.is_some() {
            return Err(ReceiveError::OutOfTurn);
        }
        if let Some(control_plane) = response.control_plane {
            self.control_plane = control_plane.identifier;
        }
        let resource_type = ResourceType::from_type_url(&response.type_url)
            .filter(|resource_type| open.subscribed[resource_type.index()].is_some());
        let Some(resource_type) = resource_type else {
            tracing::warn!(
                type_url = response.type_url,
                "ignoring a response of a type that was not asked for"
            );
            return Ok(None);
        };
        let table = &self.tables[resource_type.index()];
        let arrived = response.resources.into_iter().filter_map(unwrap);
        let mut update = table.sort(response.system_version_info.into(), arrived, time);
        let gone: BTreeSet<String> = response
            .removed_resources
            .into_iter()
            .filter(|name| match table.interest() {
                Interest::All => table.holds(name),
                // That a name does not exist ends the wait for it.
                Interest::Names(names) => names.contains(&**name),
            })
            .collect();
        update.removed = gone.into_iter().map(Arc::from).collect();
        let both = update.names().filter(|name| update.removed.contains(name));
        let both = both.cloned().collect();
        update.contradicted(both, "sent and removed in one response");
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
            open.owed = Some(Owed {
                resource_type,
                nonce: reply.nonce,
                error: (!rejected.is_empty()).then(|| nack_message(resource_type, &rejected)),
            });
        }
    }

    /// See [`super::Ads::want`].
    pub fn want(&mut self, resource_type: ResourceType, interest: Interest) -> Option<Update> {
        self.tables[resource_type.index()].want(interest)
    }

    /// The next message to send; `None` when all is said for now.
    pub fn next_request(&mut self, now: Duration) -> Option<DeltaDiscoveryRequest> {
        let open = self.open.as_mut()?;
        if self.applying {
            return None;
        }
        if let Some(owed) = open.owed.take() {
            let error_detail = owed.error.map(|message| Status {
                code: NACK_CODE,
                message,
                ..Status::default()
            });
            return Some(self.finish(
                owed.resource_type,
                DeltaDiscoveryRequest {
                    response_nonce: owed.nonce,
                    error_detail,
                    ..DeltaDiscoveryRequest::default()
                },
            ));
        }
        self.gate.look(&self.tables, now);
        let due = ResourceType::ALL
            .into_iter()
            .filter(|&resource_type| self.gate.admits(resource_type))
            .find(|&resource_type| {
                let subscribed = open.subscribed[resource_type.index()].as_ref();
                match (self.tables[resource_type.index()].interest(), subscribed) {
                    (Interest::All, subscribed) => subscribed.is_none(),
                    // An empty first request would ask for everything.
                    (Interest::Names(names), None) => !names.is_empty(),
                    (Interest::Names(names), Some(subscribed)) => names != subscribed,
                }
            })?;
        let request = self.subscribe(due);
        Some(self.finish(due, request))
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

    /// A request that brings the control plane's idea of a subscription up to date.
    fn subscribe(&mut self, resource_type: ResourceType) -> DeltaDiscoveryRequest {
        let table = &mut self.tables[resource_type.index()];
        table.forget_unwanted();
        let wanted = match table.interest() {
            Interest::All => BTreeSet::from([Arc::from(WILDCARD)]),
            Interest::Names(names) => names.clone(),
        };
        let slot = self
            .open
            .as_mut()
            .map(|open| &mut open.subscribed[resource_type.index()]);
        let before = slot.and_then(|slot| slot.replace(wanted.clone()));
        let strings =
            |names: Vec<&Arc<str>>| names.into_iter().map(|name| name.to_string()).collect();
        match before {
            None => DeltaDiscoveryRequest {
                resource_names_subscribe: strings(wanted.iter().collect()),
                initial_resource_versions: table
                    .versions()
                    .map(|(name, version)| (name.to_string(), version.to_string()))
                    .collect(),
                ..DeltaDiscoveryRequest::default()
            },
            Some(before) => DeltaDiscoveryRequest {
                resource_names_subscribe: strings(wanted.difference(&before).collect()),
                resource_names_unsubscribe: strings(before.difference(&wanted).collect()),
                ..DeltaDiscoveryRequest::default()
            },
        }
    }

    /// Adds what every request carries.
    fn finish(
        &mut self,
        resource_type: ResourceType,
        mut request: DeltaDiscoveryRequest,
    ) -> DeltaDiscoveryRequest {
        resource_type.type_url().clone_into(&mut request.type_url);
        self.tables[resource_type.index()].statistics.update_attempt += 1;
        if let Some(open) = &mut self.open
            && (!open.node_sent || self.settings.node_in_every_request)
        {
            request.node = Some(self.settings.node.clone());
            open.node_sent = true;
        }
        request
    }
}

/// A resource without content is a heartbeat for one that is held.
fn unwrap(wrapper: Wrapper) -> Option<Arrived> {
    let inner = wrapper.resource?;
    Some(Arrived {
        name: Some(wrapper.name),
        version: wrapper.version.into(),
        type_url: inner.type_url,
        bytes: inner.value,
    })
}

const WILDCARD: &str = "*";
