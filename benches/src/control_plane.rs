//! A control plane of recorded answers: ADS and SDS in the state of the world, over Unix sockets as pilot-agent has them.
//!
//! It serves what [`ControlPlane::publish`] was given, names that it was not asked for left out, and knows which version of which type the
//! proxy has acknowledged. One proxy at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use carbyne_protos::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use carbyne_protos::prost_types::Any;
use http::{HeaderMap, HeaderValue, Response};
use prost::Message;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::error::BenchError;

/// The socket of ADS, below the folder of the run.
pub const ADS_SOCKET: &str = "xds.sock";
/// The socket of SDS.
pub const SDS_SOCKET: &str = "sds.sock";

/// A resource under its name.
pub type Named = (String, Any);

/// What is served, and how far the proxy is.
#[derive(Clone, Debug, Default)]
pub struct ControlPlane {
    state: Rc<RefCell<State>>,
    /// Something was published.
    published: Rc<Notify>,
    /// Something was acknowledged or refused.
    answered: Rc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    types: BTreeMap<String, Published>,
    refused: Option<String>,
}

#[derive(Debug, Default)]
struct Published {
    version: u64,
    acknowledged: u64,
    resources: Vec<Named>,
}

/// What one stream was sent of one type.
#[derive(Debug, Default)]
struct Subscription {
    names: BTreeSet<String>,
    sent: u64,
    /// The names that were asked for are others than those that were answered.
    unanswered: bool,
}

impl ControlPlane {
    /// Listens in `folder` until the runtime ends. Must be called inside a `LocalSet`.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub fn serve(&self, folder: &Path) -> Result<(), BenchError> {
        for name in [ADS_SOCKET, SDS_SOCKET] {
            let path = folder.join(name);
            if path.exists() {
                fs::remove_file(&path).map_err(BenchError::file(&path))?;
            }
            let listener = UnixListener::bind(&path).map_err(BenchError::file(path))?;
            let plane = self.clone();
            spawn_local(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    spawn_local(plane.clone().connection(socket));
                }
            });
        }
        Ok(())
    }

    /// Forgets everything, for the next proxy.
    pub fn clear(&self) {
        let mut state = self.state.borrow_mut();
        *state = State {
            // Versions only grow: streams of the proxy before are told nothing.
            version: state.version,
            ..State::default()
        };
    }

    /// Serves these resources of a type from now on, and pushes them.
    pub fn publish(&self, type_url: &str, resources: Vec<Named>) {
        let mut state = self.state.borrow_mut();
        state.version += 1;
        let version = state.version;
        let published = state.types.entry(type_url.to_owned()).or_default();
        published.version = version;
        published.resources = resources;
        drop(state);
        self.published.notify_waiters();
    }

    /// Waits until the proxy has acknowledged everything published.
    ///
    /// # Errors
    /// When it refuses something, or says nothing.
    pub async fn acknowledged(&self) -> Result<(), BenchError> {
        let all = async {
            loop {
                let answered = self.answered.notified();
                {
                    let state = self.state.borrow();
                    if let Some(why) = &state.refused {
                        return Err(BenchError::Helper {
                            program: "carbyne-proxy",
                            what: format!("refused what was published: {why}"),
                        });
                    }
                    if state
                        .types
                        .values()
                        .all(|published| published.acknowledged >= published.version)
                    {
                        return Ok(());
                    }
                }
                answered.await;
            }
        };
        match tokio::time::timeout(PATIENCE, all).await {
            Ok(outcome) => outcome,
            Err(_) => Err(BenchError::Helper {
                program: "carbyne-proxy",
                what: format!("does not acknowledge: {}", self.waiting()),
            }),
        }
    }

    fn waiting(&self) -> String {
        let state = self.state.borrow();
        let waiting: Vec<&str> = state
            .types
            .iter()
            .filter(|(_, published)| published.acknowledged < published.version)
            .map(|(name, _)| name.rsplit('.').next().unwrap_or(name))
            .collect();
        waiting.join(", ")
    }

    async fn connection(self, socket: UnixStream) {
        let Ok(mut connection) = h2::server::handshake(socket).await else {
            return;
        };
        while let Some(Ok((request, answer))) = connection.accept().await {
            let plane = self.clone();
            // A stream that breaks is opened anew by the proxy.
            spawn_local(async move { drop(plane.stream(request, answer).await) });
        }
    }

    async fn stream(
        self,
        request: http::Request<h2::RecvStream>,
        mut answer: h2::server::SendResponse<Bytes>,
    ) -> Result<(), h2::Error> {
        let mut head = Response::new(());
        head.headers_mut()
            .insert("content-type", HeaderValue::from_static("application/grpc"));
        let mut out = answer.send_response(head, false)?;
        let mut body = request.into_body();
        let mut buffer = BytesMut::new();
        let mut subscriptions: BTreeMap<String, Subscription> = BTreeMap::new();
        loop {
            let published = self.published.notified();
            for (type_url, subscription) in &mut subscriptions {
                if let Some(response) = self.response(type_url, subscription) {
                    out.send_data(frame(&response), false)?;
                }
            }
            tokio::select! {
                data = body.data() => {
                    let Some(data) = data else { break };
                    let data = data?;
                    body.flow_control().release_capacity(data.len())?;
                    buffer.extend_from_slice(&data);
                    while let Some(message) = unframe(&mut buffer) {
                        self.receive(&message, &mut subscriptions);
                    }
                }
                () = published => {}
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        out.send_trailers(trailers)
    }

    fn receive(&self, message: &[u8], subscriptions: &mut BTreeMap<String, Subscription>) {
        let Ok(request) = DiscoveryRequest::decode(message) else {
            return;
        };
        let mut state = self.state.borrow_mut();
        if let Some(error) = request.error_detail {
            state.refused.get_or_insert(error.message);
        } else if let Ok(version) = request.version_info.parse()
            && let Some(published) = state.types.get_mut(&request.type_url)
        {
            published.acknowledged = published.acknowledged.max(version);
        }
        drop(state);
        let subscription = subscriptions.entry(request.type_url).or_default();
        let names = request.resource_names.into_iter().collect();
        subscription.unanswered |= subscription.names != names;
        subscription.names = names;
        self.answered.notify_waiters();
    }

    /// What the stream has to be told of a type now.
    fn response(
        &self,
        type_url: &str,
        subscription: &mut Subscription,
    ) -> Option<DiscoveryResponse> {
        let state = self.state.borrow();
        let published = state.types.get(type_url)?;
        if published.version <= subscription.sent && !subscription.unanswered {
            return None;
        }
        subscription.sent = published.version;
        subscription.unanswered = false;
        let wanted =
            |name: &String| subscription.names.is_empty() || subscription.names.contains(name);
        Some(DiscoveryResponse {
            version_info: published.version.to_string(),
            resources: published
                .resources
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(_, resource)| resource.clone())
                .collect(),
            type_url: type_url.to_owned(),
            nonce: published.version.to_string(),
            ..DiscoveryResponse::default()
        })
    }
}

fn frame(message: &DiscoveryResponse) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.put(message.encode_to_vec().as_slice());
    out.freeze()
}

/// The next whole message.
fn unframe(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = buffer.get(1..5)?.try_into().ok().map(u32::from_be_bytes)?;
    let length = usize::try_from(length).ok()?;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}

/// A proxy that says nothing for so long has lost the answer.
const PATIENCE: Duration = Duration::from_secs(60);
