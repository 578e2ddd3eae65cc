//! A control plane that can be told to misbehave: ADS in both protocols over HTTP/2, on a port of its own.

mod conversation;
mod cut;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carbyne_protos::json;
use carbyne_protos::prost_types::Any;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::watch;

pub use self::conversation::framed;
use self::cut::CutStream;
pub use self::cut::{Cut, How};
use crate::support::{PATIENCE, poll};

pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// The order in which a good control plane sends: what is needed comes before who needs it.
const ORDER: [&str; 5] = [CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET];

/// Which protocol a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Sotw,
    Delta,
}

impl Protocol {
    pub const BOTH: [Self; 2] = [Self::Sotw, Self::Delta];
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Which stream, from 1; there may be several on a connection.
    pub stream: usize,
    pub type_url: String,
    /// Empty in the first request of a type on a stream.
    pub nonce: String,
    /// The text of a refusal.
    pub error: Option<String>,
    /// Names that are asked for (Delta: newly).
    pub names: Vec<String>,
    /// Delta: what the proxy holds already.
    pub held: BTreeMap<String, String>,
}

/// Everything of one type that there is, by name, encoded.
pub type Resources = BTreeMap<String, Vec<u8>>;

/// A running control plane; ends with the value.
#[derive(Debug)]
pub struct Plane {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    resources: BTreeMap<&'static str, Resources>,
    /// Whole gRPC bodies to send as they are on the stream that is open.
    raw: VecDeque<Vec<u8>>,
    heard: Vec<Heard>,
    /// What is done to the next connections.
    cuts: VecDeque<Cut>,
    connections: usize,
    streams: usize,
    /// Connections up to this one are to be closed.
    closed: usize,
    /// Bytes written on each connection.
    written: Vec<u64>,
    gone: bool,
    nonces: u64,
}

impl Plane {
    pub fn start() -> Self {
        let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (changed, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed,
        });
        let inside = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime: LocalRuntime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())
                .unwrap();
            runtime.block_on(serve(inside, listener, address));
        });
        Self {
            port: address.port(),
            shared,
        }
    }

    /// Changes what there is and tells the streams.
    pub fn publish(&self, change: impl FnOnce(&mut BTreeMap<&'static str, Resources>)) {
        change(&mut self.shared.state().resources);
        self.shared.tell();
    }

    /// One resource, told at once.
    pub fn set(&self, type_url: &'static str, name: &str, value: &Value) {
        let encoded = encode(type_url, value);
        self.publish(|all| {
            all.entry(type_url)
                .or_default()
                .insert(name.to_owned(), encoded);
        });
    }

    /// Sends bytes on the open stream as they are: any number of gRPC messages, or none.
    pub fn send_raw(&self, body: Vec<u8>) {
        self.shared.state().raw.push_back(body);
        self.shared.tell();
    }

    /// The next connection is cut.
    pub fn cut_next(&self, cut: Cut) {
        self.shared.state().cuts.push_back(cut);
    }

    /// Closes what is open; new connections are welcome.
    pub fn disconnect(&self) {
        let mut state = self.shared.state();
        state.closed = state.connections;
        drop(state);
        self.shared.tell();
    }

    /// Nobody listens any more, or somebody does again.
    pub fn gone(&self, gone: bool) {
        let mut state = self.shared.state();
        state.gone = gone;
        state.closed = state.connections;
        drop(state);
        self.shared.tell();
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Streams so far.
    pub fn streams(&self) -> usize {
        self.shared.state().streams
    }

    /// Bytes written on a connection, from 1.
    pub fn written(&self, connection: usize) -> u64 {
        self.shared.state().written[connection - 1]
    }

    /// How much was heard: where the next [`Plane::hears`] begins to look.
    pub fn mark(&self) -> usize {
        self.shared.state().heard.len()
    }

    /// Waits for a request behind the mark.
    pub fn hears<T>(
        &self,
        mark: usize,
        what: &str,
        mut wanted: impl FnMut(&Heard) -> Option<T>,
    ) -> T {
        poll(PATIENCE, || {
            let state = self.shared.state();
            state.heard[mark.min(state.heard.len())..]
                .iter()
                .find_map(&mut wanted)
        })
        .unwrap_or_else(|| {
            let state = self.shared.state();
            panic!(
                "the control plane waited for {what}; heard {:#?}",
                &state.heard[mark.min(state.heard.len())..]
            )
        })
    }

    /// Waits for an acknowledgement of this type behind the mark.
    pub fn acked(&self, mark: usize, type_url: &str) {
        self.hears(mark, &format!("an ACK of {type_url}"), |heard| {
            (heard.type_url == type_url && !heard.nonce.is_empty() && heard.error.is_none())
                .then_some(())
        });
    }

    /// Waits for a refusal of this type behind the mark; its text.
    pub fn nacked(&self, mark: usize, type_url: &str) -> String {
        self.hears(mark, &format!("a NACK of {type_url}"), |heard| {
            heard.error.clone().filter(|_| heard.type_url == type_url)
        })
    }

    /// Everything that was heard behind the mark.
    pub fn heard(&self, mark: usize) -> Vec<Heard> {
        self.shared.state().heard[mark..].to_vec()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.gone(true);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that fails while it looks leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|change| *change += 1);
    }
}

/// The bytes of a resource.
pub fn encode(type_url: &str, value: &Value) -> Vec<u8> {
    let mut value = value.clone();
    value["@type"] = type_url.into();
    json::any_from_json(&value)
        .unwrap_or_else(|error| panic!("{type_url}: {error}"))
        .value
}

pub fn any(type_url: &str, value: &Value) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value: encode(type_url, value),
    }
}

async fn serve(shared: Arc<Shared>, first: StdTcpListener, address: SocketAddr) {
    let mut first = Some(first);
    let mut changed = shared.changed.subscribe();
    loop {
        let listener = match first.take() {
            Some(listener) => listener,
            None => {
                let gone = changed.wait_for(|_| !shared.state().gone).await;
                if gone.is_err() {
                    return;
                }
                StdTcpListener::bind(address).unwrap()
            }
        };
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = changed.wait_for(|_| shared.state().gone) => break,
            };
            let Ok((socket, _)) = accepted else {
                continue;
            };
            let (number, cut) = {
                let mut state = shared.state();
                state.connections += 1;
                state.written.push(0);
                (state.connections, state.cuts.pop_front())
            };
            let stream = CutStream::new(socket, number, cut, Arc::clone(&shared));
            tokio::task::spawn_local(conversation::connection(
                Arc::clone(&shared),
                number,
                stream,
            ));
        }
    }
}
