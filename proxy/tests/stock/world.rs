//! One node of the platform with one of the two programs as its sidecar: the pod, the rest of the platform as one machine
//! that has everybody's addresses, and the agent that hands the recorded answers over.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;

use crate::agent::Agent;
use crate::application;
use crate::names;
use crate::recording::Recording;
use crate::support::http1::Connection;
use crate::support::interception::{self, Pod, SDS_SOCKET, XDS_SOCKET};
use crate::support::network::Network;
use crate::support::process::Program;
use crate::support::tls::{Authority, ClientTls, Identity, ServerIdentity};
use crate::support::upstream::Log;

/// Certificates that both worlds of a test share.
#[derive(Debug)]
pub struct Certificates {
    authority: Authority,
    /// Of the sidecar.
    own: Identity,
    /// Of every application.
    server: Identity,
}

#[derive(Debug)]
pub struct World {
    pub pod: Pod,
    pub log: Log,
    network: Network,
    agent: Agent,
    offset: u64,
}

impl Certificates {
    pub fn new(recording: &Recording) -> Self {
        let authority = Authority::new("cluster.local");
        let own = authority.sign("own", &[], &[&recording.identity.spiffe()]);
        // Endpoints of every service stand behind one machine: each client finds the name that it looks for.
        let names = WORKLOADS.map(|(namespace, account)| spiffe(namespace, account));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let server = authority.sign("server", &["api.partner.example"], &names);
        Self {
            authority,
            own,
            server,
        }
    }

    /// A client's certificate.
    pub fn client(&self, namespace: &str, account: &str) -> Identity {
        self.authority
            .sign("client", &[], &[&spiffe(namespace, account)])
    }

    /// A certificate of somebody whom nobody trusts.
    pub fn stranger(&self) -> Identity {
        Authority::new("elsewhere").sign("stranger", &[], &[&spiffe("kong", "kong")])
    }
}

impl World {
    pub fn new(program: Program, recording: &Recording, certificates: &Certificates) -> Self {
        let network = Network::new(NODE);
        let own = recording.identity.address;
        let mut batch = String::new();
        for address in PLATFORM.map(|last| Ipv4Addr::new(192, 0, 2, last)) {
            if address != own {
                batch += &format!("addr add {address}/32 dev br0\n");
            }
        }
        for address in [OUTSIDE, OUTSIDE_TLS] {
            batch += &format!("addr add {address}/32 dev br0\n");
        }
        let names = names::server();
        if !names.is_loopback() {
            batch += &format!("addr add {names}/32 dev br0\n");
        }
        network.node.run("ip", &["-batch", "-"], &batch);
        let mut bootstrap = interception::bootstrap(&recording.identity);
        bootstrap["dynamic_resources"]["ads_config"]["api_type"] = "GRPC".into();
        if recording.router {
            let id = recording
                .identity
                .node_id()
                .replacen("sidecar", "router", 1);
            bootstrap["node"]["id"] = id.into();
        }
        let mut pod = Pod::with_bootstrap(&network, NODE, recording.identity.clone(), &bootstrap);
        let asked = if names.is_loopback() {
            &pod.namespace
        } else {
            &network.node
        };
        names::serve(asked, names, OUTSIDE_TLS);
        let log = Log::default();
        let identity = ServerIdentity::new(
            &certificates.server,
            &["istio-peer-exchange", "istio", "h2", "http/1.1"],
            None,
        );
        for port in PORTS {
            application::serve(&network.node, port, None, &log, identity.clone());
            if !recording.router {
                let pod = &pod.namespace;
                application::serve(pod, port, Some("application"), &log, identity.clone());
            }
        }
        let agent = Agent::start(
            &pod.socket(XDS_SOCKET),
            &pod.socket(SDS_SOCKET),
            recording.answers.clone(),
            certificates.own.clone(),
            certificates.authority.root(),
        );
        if recording.router {
            pod.becomes_a_gateway();
        }
        pod.start_as(program);
        pod.wait_until_ready();
        let told = Arc::clone(&agent.told);
        pod.wait_until("everything accepted", |_| told.settled().then_some(()));
        // Listeners that wait for a secret or for routes are not there yet.
        pod.wait_until("no listener that warms", |pod| {
            let (status, text) = pod.admin("GET", "/config_dump?resource=dynamic_listeners");
            let dump: Value = serde_json::from_str(&text).unwrap_or_default();
            let listeners = dump["configs"].as_array()?;
            let warming = listeners
                .iter()
                .any(|listener| !listener["warming_state"].is_null());
            (status == 200 && !listeners.is_empty() && !warming).then_some(())
        });
        Self {
            pod,
            log,
            network,
            agent,
            offset: 0,
        }
    }

    /// A connection of the application, on the pod's own network.
    pub fn connect_inside(&self, to: SocketAddr) -> std::io::Result<Connection> {
        self.pod.connect(to)
    }

    /// A connection of somebody else on the platform.
    pub fn connect_outside(&self, to: SocketAddr) -> std::io::Result<Connection> {
        self.network.node.inside(|| Connection::open(to))
    }

    /// The same over TLS.
    pub fn over_tls(&self, to: SocketAddr, tls: &ClientTls<'_>) -> std::io::Result<Connection> {
        let handshake = self.network.node.inside(|| tls.connect(to))?;
        Ok(Connection::over(
            Box::new(handshake.stream),
            handshake.socket,
        ))
    }

    /// Lines of the access log since the last call.
    pub fn log_lines(&mut self) -> Vec<String> {
        let (lines, behind) = self.pod.log_lines(self.offset);
        self.offset = behind;
        lines
            .into_iter()
            .filter(|line| line.starts_with('{'))
            .collect()
    }

    /// Panics where the sidecar refused something.
    pub fn check(&self) {
        assert!(self.agent.told.settled());
    }
}

fn spiffe(namespace: &str, account: &str) -> String {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
}

/// The machine that is everybody but the pod.
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Last parts of the addresses of the platform.
const PLATFORM: [u8; 14] = [11, 12, 13, 14, 15, 21, 22, 24, 25, 27, 28, 29, 41, 99];
/// Somewhere that no service is.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);
/// The same for TLS.
pub const OUTSIDE_TLS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 11);
/// Every port on which somebody of the platform listens, and one that belongs to nobody.
const PORTS: [u16; 13] = [
    80, 443, 4318, 5432, 7000, 8000, 8001, 8080, 8088, 8443, 9002, 9090, 9092,
];
/// Whose certificates the applications have.
const WORKLOADS: [(&str, &str); 8] = [
    ("data-platform", "portal"),
    ("data-platform", "datahub-gms"),
    ("data-platform", "datahub-frontend"),
    ("data-platform", "superset"),
    ("data-platform", "postgres"),
    ("data-platform", "sniffed"),
    ("data-platform", "billing"),
    ("kong", "kong"),
];
