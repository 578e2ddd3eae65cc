//! What the control plane says on a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use carbyne_protos::envoy::service::discovery::v3 as wire;
use carbyne_protos::prost_types::Any;
use prost::Message;
use xxhash_rust::xxh64::xxh64;

use super::cut::CutStream;
use super::{Heard, ORDER, Protocol, Shared};

/// One connection and its streams, until it breaks or is to close.
pub async fn connection(shared: Arc<Shared>, number: usize, stream: CutStream) {
    let mut changed = shared.changed.subscribe();
    let closed = async {
        // The sender lives in what this holds.
        let closed = changed.wait_for(|_| shared.state().closed >= number).await;
        closed.map(drop).unwrap_or_default();
    };
    tokio::select! {
        () = streams(Arc::clone(&shared), stream) => {}
        () = closed => {}
    }
}

async fn streams(shared: Arc<Shared>, stream: CutStream) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        let protocol = if path.ends_with("/StreamAggregatedResources") {
            Protocol::Sotw
        } else if path.ends_with("/DeltaAggregatedResources") {
            Protocol::Delta
        } else {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        };
        let head = http::Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let Ok(send) = respond.send_response(head, false) else {
            return;
        };
        let conversation = Conversation {
            shared: Arc::clone(&shared),
            stream: {
                let mut state = shared.state();
                state.streams += 1;
                state.streams
            },
            protocol,
            send,
            subscriptions: BTreeMap::new(),
        };
        tokio::task::spawn_local(conversation.run(request.into_body()));
    }
}

struct Conversation {
    shared: Arc<Shared>,
    stream: usize,
    protocol: Protocol,
    send: h2::SendStream<Bytes>,
    subscriptions: BTreeMap<String, Subscription>,
}

/// What the proxy asked for of one type, and what it was sent.
#[derive(Debug, Default)]
struct Subscription {
    /// All of the type where nothing was named.
    names: BTreeSet<String>,
    /// Versions of what it holds, as far as we know.
    sent: BTreeMap<String, String>,
    answered: bool,
    due: bool,
}

impl Conversation {
    async fn run(mut self, mut body: h2::RecvStream) {
        let mut changed = self.shared.changed.subscribe();
        let mut buffer = BytesMut::new();
        loop {
            if self.say().is_none() {
                return;
            }
            tokio::select! {
                data = body.data() => {
                    let Some(Ok(data)) = data else { return };
                    body.flow_control().release_capacity(data.len()).unwrap_or_default();
                    buffer.extend_from_slice(&data);
                    while let Some(message) = unframed(&mut buffer) {
                        self.hear(&message);
                    }
                }
                change = changed.changed() => {
                    if change.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn hear(&mut self, message: &[u8]) {
        let heard = match self.protocol {
            Protocol::Sotw => {
                let request = wire::DiscoveryRequest::decode(message).unwrap();
                let subscription = self
                    .subscriptions
                    .entry(request.type_url.clone())
                    .or_default();
                let names: BTreeSet<_> = request.resource_names.iter().cloned().collect();
                subscription.due |= names != subscription.names;
                subscription.names = names;
                Heard {
                    stream: self.stream,
                    type_url: request.type_url,
                    nonce: request.response_nonce,
                    error: request.error_detail.map(|status| status.message),
                    names: request.resource_names,
                    held: BTreeMap::new(),
                }
            }
            Protocol::Delta => {
                let request = wire::DeltaDiscoveryRequest::decode(message).unwrap();
                let subscription = self
                    .subscriptions
                    .entry(request.type_url.clone())
                    .or_default();
                subscription
                    .sent
                    .extend(request.initial_resource_versions.clone());
                for name in &request.resource_names_subscribe {
                    subscription.due = true;
                    subscription.names.insert(name.clone());
                    if !request.initial_resource_versions.contains_key(name) {
                        subscription.sent.remove(name);
                    }
                }
                for name in &request.resource_names_unsubscribe {
                    subscription.names.remove(name);
                    subscription.sent.remove(name);
                }
                Heard {
                    stream: self.stream,
                    type_url: request.type_url,
                    nonce: request.response_nonce,
                    error: request.error_detail.map(|status| status.message),
                    names: request.resource_names_subscribe,
                    held: request.initial_resource_versions,
                }
            }
        };
        self.shared.state().heard.push(heard);
    }

    /// Sends what is due; `None` when the stream has broken.
    fn say(&mut self) -> Option<()> {
        while let Some(body) = self.next_raw() {
            self.send.send_data(body.into(), false).ok()?;
        }
        for type_url in ORDER {
            let Some(subscription) = self.subscriptions.get_mut(type_url) else {
                continue;
            };
            let mut state = self.shared.state();
            let all = state.resources.get(type_url).cloned().unwrap_or_default();
            let wildcard = subscription.names.is_empty() || subscription.names.contains("*");
            let wanted: Vec<_> = all
                .into_iter()
                .filter(|(name, _)| wildcard || subscription.names.contains(name))
                .map(|(name, bytes)| (name, format!("{:x}", xxh64(&bytes, 0)), bytes))
                .collect();
            let versions: BTreeMap<_, _> = wanted
                .iter()
                .map(|(name, version, _)| (name.clone(), version.clone()))
                .collect();
            if subscription.answered && !subscription.due && versions == subscription.sent {
                continue;
            }
            state.nonces += 1;
            let nonce = format!("n{}", state.nonces);
            drop(state);
            let message = match self.protocol {
                Protocol::Sotw => wire::DiscoveryResponse {
                    version_info: nonce.clone(),
                    resources: wanted
                        .into_iter()
                        .map(|(_, _, value)| Any {
                            type_url: type_url.to_owned(),
                            value,
                        })
                        .collect(),
                    type_url: type_url.to_owned(),
                    nonce,
                    ..wire::DiscoveryResponse::default()
                }
                .encode_to_vec(),
                Protocol::Delta => {
                    let gone = subscription.sent.keys().chain(&subscription.names);
                    let gone: BTreeSet<_> = gone
                        .filter(|name| !versions.contains_key(*name) && *name != "*")
                        .cloned()
                        .collect();
                    let news = wanted
                        .into_iter()
                        .filter(|(name, version, _)| subscription.sent.get(name) != Some(version))
                        .map(|(name, version, value)| wire::Resource {
                            name,
                            version,
                            resource: Some(Any {
                                type_url: type_url.to_owned(),
                                value,
                            }),
                            ..wire::Resource::default()
                        });
                    wire::DeltaDiscoveryResponse {
                        resources: news.collect(),
                        removed_resources: gone.into_iter().collect(),
                        type_url: type_url.to_owned(),
                        nonce,
                        ..wire::DeltaDiscoveryResponse::default()
                    }
                    .encode_to_vec()
                }
            };
            subscription.sent = versions;
            subscription.answered = true;
            subscription.due = false;
            self.send.send_data(framed(&message), false).ok()?;
        }
        Some(())
    }

    fn next_raw(&self) -> Option<Vec<u8>> {
        self.shared.state().raw.pop_front()
    }
}

/// A message with gRPC's prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

fn unframed(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().unwrap()) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}
