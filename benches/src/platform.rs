//! The recorded platform: what istiod answered to a node, as resources that can change from push to push.

use std::fs;
use std::path::{Path, PathBuf};

use carbyne_protos::envoy::config::cluster::v3::Cluster;
use carbyne_protos::envoy::config::core::v3::{Address, SocketAddress, address, socket_address};
use carbyne_protos::envoy::config::core::v3::{DataSource, data_source};
use carbyne_protos::envoy::config::endpoint::v3::ClusterLoadAssignment;
use carbyne_protos::envoy::config::listener::v3::Listener;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use carbyne_protos::envoy::service::discovery::v3::DiscoveryResponse;
use carbyne_protos::prost_types::{Any, Duration};
use prost::{Message, Name};
use serde_json::{Value, json};

use crate::control_plane::{ADS_SOCKET, ControlPlane, Named, SDS_SOCKET};
use crate::error::BenchError;
use crate::scenario::{ADMIN_PORT, PEER_ADDRESS};

/// The sidecar whose answers are replayed: the one with the most of everything.
const NODE: &str = "sotw/portal";

/// What istiod answered to one sidecar.
#[derive(Clone, Debug)]
pub struct Platform {
    clusters: Vec<Cluster>,
    endpoints: Vec<ClusterLoadAssignment>,
    listeners: Vec<Listener>,
    routes: Vec<RouteConfiguration>,
    secrets: Vec<Named>,
}

impl Platform {
    /// Reads the recordings; the secrets are those of the run in `folder`.
    ///
    /// # Errors
    /// When a recording is missing or is none.
    pub fn read(folder: &Path) -> Result<Self, BenchError> {
        let node = recordings()?.join(NODE);
        let mut listeners: Vec<Listener> = resources(&node.join("lds.pb"))?;
        move_ports(&mut listeners);
        Ok(Self {
            clusters: resources(&node.join("cds.pb"))?,
            endpoints: resources(&node.join("eds.pb"))?,
            listeners,
            routes: resources(&node.join("rds.pb"))?,
            secrets: secrets(folder)?,
        })
    }

    /// Publishes everything, with the `number`th value of a field in every resource, so that none is what it was.
    pub fn publish(&mut self, plane: &ControlPlane, number: u32) {
        let step = i32::try_from(number % 1000).unwrap_or(0);
        for cluster in &mut self.clusters {
            cluster.connect_timeout = Some(Duration {
                seconds: 10,
                nanos: step * 1_000_000,
            });
        }
        for assignment in &mut self.endpoints {
            for endpoint in assignment
                .endpoints
                .iter_mut()
                .flat_map(|locality| &mut locality.lb_endpoints)
            {
                endpoint.load_balancing_weight = Some(number % 100 + 1);
            }
        }
        for listener in &mut self.listeners {
            listener.per_connection_buffer_limit_bytes = Some(32 * 1024 + number % 1000);
        }
        for route in &mut self.routes {
            for host in &mut route.virtual_hosts {
                host.per_request_buffer_limit_bytes = Some(64 * 1024 + number % 1000);
            }
        }
        plane.publish(&Secret::type_url(), self.secrets.clone());
        plane.publish(
            &Cluster::type_url(),
            packed(&self.clusters, |cluster| &cluster.name),
        );
        plane.publish(
            &ClusterLoadAssignment::type_url(),
            packed(&self.endpoints, |endpoints| &endpoints.cluster_name),
        );
        plane.publish(
            &Listener::type_url(),
            packed(&self.listeners, |listener| &listener.name),
        );
        plane.publish(
            &RouteConfiguration::type_url(),
            packed(&self.routes, |routes| &routes.name),
        );
    }
}

/// The bootstrap that pilot-agent wrote, with the ports and sockets of the bench.
///
/// # Errors
/// When it is missing.
pub fn bootstrap() -> Result<String, BenchError> {
    let path = recordings()?.join("bootstrap/sotw.json");
    let text = fs::read_to_string(&path).map_err(BenchError::file(&path))?;
    let mut bootstrap: Value =
        serde_json::from_str(&text).map_err(|error| BenchError::file(&path)(error.into()))?;
    let own = |port: u16| json!({"socket_address": {"address": PEER_ADDRESS, "port_value": port}});
    bootstrap["admin"]["address"] = own(ADMIN_PORT);
    let resources = &mut bootstrap["static_resources"];
    for cluster in resources["clusters"].as_array_mut().into_iter().flatten() {
        let address = match cluster["name"].as_str() {
            Some("xds-grpc") => json!({"pipe": {"path": format!("./{ADS_SOCKET}")}}),
            Some("sds-grpc") => json!({"pipe": {"path": format!("./{SDS_SOCKET}")}}),
            Some("prometheus_stats") => own(ADMIN_PORT),
            _ => continue,
        };
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] =
            address;
    }
    for (listener, port) in resources["listeners"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .zip(FIRST_PORT..)
    {
        listener["address"] = own(port);
    }
    Ok(bootstrap.to_string())
}

/// The folder of recordings.
fn recordings() -> Result<PathBuf, BenchError> {
    let shared = std::env::var_os("CARBYNE_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("captures/istio-1.29");
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(BenchError::Missing {
        peer: "the recorded platform",
        hint: format!("{}; CARBYNE_SHARED says where else it is", folder.display()),
    })
}

fn resources<M: Message + Default>(path: &Path) -> Result<Vec<M>, BenchError> {
    let bytes = fs::read(path).map_err(BenchError::file(path))?;
    let undecoded =
        |error: prost::DecodeError| BenchError::file(path)(std::io::Error::other(error));
    let response = DiscoveryResponse::decode(&*bytes).map_err(undecoded)?;
    response
        .resources
        .iter()
        .map(|resource| M::decode(&*resource.value).map_err(undecoded))
        .collect()
}

/// Puts the listeners that listen on the bench's own address, where they are in nobody's way.
fn move_ports(listeners: &mut [Listener]) {
    let listening = listeners
        .iter_mut()
        .filter(|listener| listener.bind_to_port != Some(false));
    // The two before are the bootstrap's own.
    for (listener, port) in listening.zip(u32::from(FIRST_PORT) + 2..) {
        listener.address = Some(Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                address: PEER_ADDRESS.to_string(),
                port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
                ..SocketAddress::default()
            })),
        });
        listener.additional_addresses.clear();
    }
}

fn secrets(folder: &Path) -> Result<Vec<Named>, BenchError> {
    let file = |name: &str| {
        let path = folder.join(name);
        let bytes = fs::read(&path).map_err(BenchError::file(path))?;
        Ok::<_, BenchError>(Some(DataSource {
            specifier: Some(data_source::Specifier::InlineBytes(bytes)),
            ..DataSource::default()
        }))
    };
    let certificate = TlsCertificate {
        certificate_chain: file("server.pem")?,
        private_key: file("server.key")?,
        ..TlsCertificate::default()
    };
    let roots = CertificateValidationContext {
        trusted_ca: file("ca.pem")?,
        ..CertificateValidationContext::default()
    };
    let secrets = [
        ("default", secret::Type::TlsCertificate(certificate)),
        ("ROOTCA", secret::Type::ValidationContext(roots)),
    ]
    .map(|(name, value)| Secret {
        name: name.to_owned(),
        r#type: Some(value),
    });
    Ok(packed(&secrets, |secret| &secret.name))
}

/// Resources as a response carries them.
pub(crate) fn packed<M: Message + Name>(
    messages: &[M],
    name: impl Fn(&M) -> &String,
) -> Vec<Named> {
    messages
        .iter()
        .map(|message| {
            let any = Any {
                type_url: M::type_url(),
                value: message.encode_to_vec(),
            };
            (name(message).clone(), any)
        })
        .collect()
}

/// Ports of everything that listens, counted from here.
const FIRST_PORT: u16 = 21021;
