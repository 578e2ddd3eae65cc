//! A small model of istiod's side of a stream, in both protocols, that also judges what a client sends.

use std::collections::{BTreeMap, BTreeSet};

use carbyne_protos::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use carbyne_protos::prost_types::Any;
use prost::Message;

use super::super::{Protocol, ResourceType};
use super::message;

/// What exists: by type and name a number, the resource's content.
pub(super) type World = BTreeMap<(ResourceType, String), u64>;

/// One stream as istiod sees it.
#[derive(Debug)]
pub(super) struct Istiod {
    protocol: Protocol,
    requests: usize,
    nonces: u64,
    version: u64,
    pub(super) watches: BTreeMap<ResourceType, Watch>,
}

/// What a client watches of one type.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) names: BTreeSet<String>,
    pub(super) wildcard: bool,
    pub(super) nonce_sent: String,
    pub(super) nonce_acked: String,
    pub(super) nonce_refused: String,
    /// Numbers that were sent, to find what changed and went.
    sent: BTreeMap<String, u64>,
    /// Answer the next acknowledgement too (istiod's AlwaysRespond while clusters warm).
    always_respond: bool,
}

impl Istiod {
    pub(super) fn new(protocol: Protocol, version: u64) -> Self {
        Self {
            protocol,
            requests: 0,
            nonces: version * 1_000_000,
            version,
            watches: BTreeMap::new(),
        }
    }

    /// Reads a request; returns the answer.
    pub(super) fn request(&mut self, bytes: &[u8], world: &World) -> Option<Vec<u8>> {
        self.requests += 1;
        match self.protocol {
            Protocol::Sotw => self.sotw(DiscoveryRequest::decode(bytes).unwrap(), world),
            Protocol::Delta => self.delta(DeltaDiscoveryRequest::decode(bytes).unwrap(), world),
        }
    }

    /// Pushes a watched type; `None` where it is not watched or nothing changed.
    pub(super) fn push(
        &mut self,
        resource_type: ResourceType,
        world: &World,
        version: u64,
    ) -> Option<Vec<u8>> {
        self.version = version;
        let watch = self.watches.get(&resource_type)?;
        if self.protocol == Protocol::Sotw {
            return Some(self.answer(resource_type, world, None));
        }
        let changed: BTreeSet<String> = existing(resource_type, watch, world)
            .filter(|(name, number)| watch.sent.get(*name) != Some(number))
            .map(|(name, _)| name.to_owned())
            .collect();
        let gone = watch
            .sent
            .keys()
            .any(|name| !world.contains_key(&(resource_type, name.clone())));
        (gone || !changed.is_empty()).then(|| self.answer(resource_type, world, Some(changed)))
    }

    fn sotw(&mut self, request: DiscoveryRequest, world: &World) -> Option<Vec<u8>> {
        assert_eq!(
            request.node.is_some(),
            self.requests == 1,
            "the node is in the first request alone"
        );
        let resource_type = ResourceType::from_type_url(&request.type_url).unwrap();
        let names: BTreeSet<String> = request.resource_names.iter().cloned().collect();
        assert_eq!(names.len(), request.resource_names.len(), "every name once");
        if let Some(error) = request.error_detail {
            assert!(!error.message.is_empty());
            let watch = self
                .watches
                .get_mut(&resource_type)
                .expect("refusal of what was sent");
            if request.response_nonce == watch.nonce_sent {
                watch.nonce_refused = request.response_nonce;
            }
            return None;
        }
        if names.is_empty() && !resource_type.is_full_state() {
            assert!(
                self.watches.remove(&resource_type).is_some() || !request.response_nonce.is_empty(),
                "no stream begins with wanting nothing"
            );
            return None;
        }
        let Some(watch) = self.watches.get_mut(&resource_type) else {
            self.watches.insert(
                resource_type,
                Watch {
                    wildcard: resource_type.is_full_state(),
                    names,
                    ..Watch::default()
                },
            );
            return Some(self.answer(resource_type, world, None));
        };
        if request.response_nonce.is_empty() {
            watch.names = names;
            return Some(self.answer(resource_type, world, None));
        }
        if request.response_nonce != watch.nonce_sent {
            return None;
        }
        watch.nonce_acked = request.response_nonce;
        let added = names.iter().any(|name| !watch.names.contains(name));
        watch.names = names;
        let respond = std::mem::take(&mut watch.always_respond) || added;
        respond.then(|| self.answer(resource_type, world, None))
    }

    fn delta(&mut self, request: DeltaDiscoveryRequest, world: &World) -> Option<Vec<u8>> {
        assert_eq!(
            request.node.is_some(),
            self.requests == 1,
            "the node is in the first request alone"
        );
        let resource_type = ResourceType::from_type_url(&request.type_url).unwrap();
        let subscribe: BTreeSet<String> =
            request.resource_names_subscribe.iter().cloned().collect();
        let unsubscribe: BTreeSet<String> =
            request.resource_names_unsubscribe.iter().cloned().collect();
        if !request.response_nonce.is_empty() {
            assert!(
                subscribe.is_empty() && unsubscribe.is_empty(),
                "no subscriptions in an acknowledgement"
            );
            assert!(request.initial_resource_versions.is_empty());
            let watch = self
                .watches
                .get_mut(&resource_type)
                .expect("acknowledgement of what was sent");
            if request.response_nonce != watch.nonce_sent {
                return None;
            }
            if request.error_detail.is_some() {
                watch.nonce_refused = request.response_nonce;
                return None;
            }
            watch.nonce_acked = request.response_nonce;
            let respond = std::mem::take(&mut watch.always_respond);
            return respond.then(|| self.answer(resource_type, world, None));
        }
        assert!(request.error_detail.is_none());
        if let Some(watch) = self.watches.get_mut(&resource_type) {
            assert!(
                request.initial_resource_versions.is_empty(),
                "only the first request tells versions"
            );
            let added: BTreeSet<String> = subscribe.difference(&watch.names).cloned().collect();
            watch.names.extend(subscribe);
            watch.names.retain(|name| !unsubscribe.contains(name));
            watch.sent.retain(|name, _| !unsubscribe.contains(name));
            return (!added.is_empty()).then(|| self.answer(resource_type, world, Some(added)));
        }
        assert!(unsubscribe.is_empty());
        let wildcard = subscribe.contains("*") || subscribe.is_empty();
        assert_eq!(wildcard, resource_type.is_full_state());
        let mut names = subscribe;
        names.extend(request.initial_resource_versions.keys().cloned());
        names.remove("*");
        let sent = request
            .initial_resource_versions
            .keys()
            .map(|name| (name.clone(), u64::MAX))
            .collect();
        self.watches.insert(
            resource_type,
            Watch {
                names,
                wildcard,
                sent,
                ..Watch::default()
            },
        );
        Some(self.answer(resource_type, world, None))
    }

    /// A response with `only` these names, or everything that is watched.
    fn answer(
        &mut self,
        resource_type: ResourceType,
        world: &World,
        only: Option<BTreeSet<String>>,
    ) -> Vec<u8> {
        self.nonces += 1;
        let nonce = format!("nonce-{}", self.nonces);
        let watch = self
            .watches
            .get_mut(&resource_type)
            .expect("answers what is watched");
        watch.nonce_sent.clone_from(&nonce);
        let generated: BTreeMap<String, u64> = existing(resource_type, watch, world)
            .filter(|(name, _)| only.as_ref().is_none_or(|only| only.contains(*name)))
            .map(|(name, number)| (name.to_owned(), *number))
            .collect();
        let any = |name: &str, number: u64| Any {
            type_url: resource_type.type_url().to_owned(),
            value: message(name, number),
        };
        if self.protocol == Protocol::Sotw {
            let response = DiscoveryResponse {
                version_info: self.version.to_string(),
                type_url: resource_type.type_url().to_owned(),
                resources: generated
                    .iter()
                    .map(|(name, number)| any(name, *number))
                    .collect(),
                nonce,
                ..DiscoveryResponse::default()
            };
            return response.encode_to_vec();
        }
        let looked_at =
            only.map(|only| only.into_iter().chain(watch.sent.keys().cloned()).collect());
        let looked_at: BTreeSet<String> = looked_at.unwrap_or_else(|| {
            watch
                .names
                .iter()
                .chain(watch.sent.keys())
                .cloned()
                .collect()
        });
        let removed: Vec<String> = looked_at
            .into_iter()
            .filter(|name| !world.contains_key(&(resource_type, name.clone())))
            .collect();
        watch.sent.retain(|name, _| !removed.contains(name));
        watch.sent.extend(
            generated
                .iter()
                .map(|(name, number)| (name.clone(), *number)),
        );
        let response = DeltaDiscoveryResponse {
            system_version_info: self.version.to_string(),
            type_url: resource_type.type_url().to_owned(),
            resources: generated
                .iter()
                .map(|(name, number)| Resource {
                    name: name.clone(),
                    version: number.to_string(),
                    resource: Some(any(name, *number)),
                    ..Resource::default()
                })
                .collect(),
            removed_resources: removed,
            nonce,
            ..DeltaDiscoveryResponse::default()
        };
        response.encode_to_vec()
    }

    /// Lets the next acknowledgement of a type be answered.
    pub(super) fn always_respond(&mut self, resource_type: ResourceType) {
        if let Some(watch) = self.watches.get_mut(&resource_type) {
            watch.always_respond = true;
        }
    }
}

fn existing<'a>(
    resource_type: ResourceType,
    watch: &'a Watch,
    world: &'a World,
) -> impl Iterator<Item = (&'a str, &'a u64)> {
    world
        .iter()
        .filter(move |((other, name), _)| {
            *other == resource_type && (watch.wildcard || watch.names.contains(name))
        })
        .map(|((_, name), number)| (&**name, number))
}
