//! A small mesh of one proxy: what its control plane has, and the proxy that asks for it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::plane::{CLUSTER, ENDPOINT, LISTENER, Plane, Protocol, ROUTE, encode};
use crate::support::PATIENCE;
use crate::support::config::{bootstrap, cluster, http2, listener, manager, socket, virtual_host};
use crate::support::http1::{Connection, get};
use crate::support::place::Place;
use crate::support::process::{Process, Program, settles};
use crate::support::upstream::{Log, Upstream};

/// Where the proxy serves.
pub const PORT: u16 = 8080;

/// A control plane, a proxy that is fed by it, and an upstream.
pub struct Mesh {
    pub plane: Plane,
    pub proxy: Process,
    pub upstream: Upstream,
}

/// How the resources are called.
pub const NAME: &str = "one";

impl Mesh {
    /// Everything is there and served.
    pub fn start(protocol: Protocol) -> Self {
        Self::with(protocol, |_, _| {})
    }

    /// The same with more in the bootstrap, which is given with the place.
    pub fn with(protocol: Protocol, more: impl FnOnce(&Place, &mut Value)) -> Self {
        let plane = Plane::start();
        let upstream = Upstream::http("upstream", &Log::default());
        let mut address = None;
        let mut proxy = Process::proxy_unready(Program::Carbyne, |place| {
            address = Some(place.at(PORT));
            let mut bootstrap = bootstrap_of(place, protocol, plane.port);
            more(place, &mut bootstrap);
            fill(&plane, place, upstream.port(), "first");
            bootstrap
        });
        proxy.wait_until("LIVE at /ready", |proxy| {
            let (status, _) = proxy.admin("GET", "/ready").ok()?;
            (status == 200).then_some(())
        });
        let mesh = Self {
            plane,
            proxy,
            upstream,
        };
        mesh.serves("first");
        mesh
    }

    pub fn address(&self) -> SocketAddr {
        self.proxy.at(PORT)
    }

    /// The value of a route's mark that requests meet now.
    pub fn mark(&self) -> Option<String> {
        mark_at(self.address())
    }

    /// Waits until requests meet the routes with this mark.
    pub fn serves(&self, mark: &str) {
        let mut last = None;
        let met = settles(PATIENCE, || {
            last = self.mark();
            last.as_deref() == Some(mark)
        });
        assert!(met, "serves {last:?}, not {mark}\n{}", self.proxy.stderr());
    }

    /// Publishes a whole new configuration whose answers carry this mark.
    pub fn publish(&self, mark: &str) {
        fill(&self.plane, &self.proxy.place, self.upstream.port(), mark);
    }

    /// The value of a statistic.
    pub fn stat(&self, name: &str) -> u64 {
        stat(&self.proxy, name)
    }
}

/// The value of a statistic; 0 where it does not show.
pub fn stat(proxy: &Process, name: &str) -> u64 {
    let (_, body) = proxy.admin("GET", "/stats").unwrap();
    let line = body
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The mark that a request to this address meets.
pub fn mark_at(address: SocketAddr) -> Option<String> {
    let mut connection = Connection::open(address).ok()?;
    connection.send(&get("/mark").bytes());
    let response = connection.response(false).ok()?;
    response.header("x-mark").map(str::to_owned)
}

/// Cluster, endpoints, listener and route, told at once.
fn fill(plane: &Plane, place: &Place, upstream: u16, mark: &str) {
    let resources = [
        (CLUSTER, encode(CLUSTER, &eds_cluster(NAME, mark))),
        (ENDPOINT, encode(ENDPOINT, &endpoints(NAME, upstream))),
        (
            LISTENER,
            encode(LISTENER, &rds_listener(place, NAME, PORT, mark)),
        ),
        (ROUTE, encode(ROUTE, &routes(NAME, NAME, mark))),
    ];
    plane.publish(|all| {
        for (type_url, bytes) in resources {
            all.entry(type_url)
                .or_default()
                .insert(NAME.to_owned(), bytes);
        }
    });
}

pub fn eds_cluster(name: &str, mark: &str) -> Value {
    cluster(
        name,
        &[],
        json!({
            "type": "EDS",
            "load_assignment": null,
            "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
            "alt_stat_name": format!("{name}_{mark}"),
        }),
    )
}

pub fn endpoints(cluster: &str, port: u16) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket("127.0.0.1", port)}}]}],
    })
}

/// A listener whose manager fetches its routes; `mark` makes it another.
pub fn rds_listener(place: &Place, name: &str, port: u16, mark: &str) -> Value {
    let http = manager(
        name,
        json!([]),
        vec![],
        json!({
            "route_config": null,
            "rds": {"route_config_name": name, "config_source": {"ads": {}, "resource_api_version": "V3"}},
            "server_name": mark,
        }),
    );
    listener(place, name, port, vec![http])
}

/// Routes that send everything to a cluster and mark the answers.
pub fn routes(name: &str, cluster: &str, mark: &str) -> Value {
    json!({
        "name": name,
        "virtual_hosts": [virtual_host(name, &["*"], json!([{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]))],
        "response_headers_to_add": [{"header": {"key": "x-mark", "value": mark}}],
        "validate_clusters": false,
    })
}

/// A bootstrap that asks a control plane for everything, and soon again where that breaks.
pub fn bootstrap_of(place: &Place, protocol: Protocol, plane: u16) -> Value {
    let mut bootstrap = bootstrap(place, vec![], vec![cluster("plane", &[plane], http2())]);
    bootstrap["dynamic_resources"] = json!({
        "ads_config": {
            "api_type": match protocol { Protocol::Sotw => "GRPC", Protocol::Delta => "DELTA_GRPC" },
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{"envoy_grpc": {
                "cluster_name": "plane",
                "retry_policy": {"retry_back_off": {"base_interval": "0.005s", "max_interval": "0.02s"}},
            }}],
        },
        "cds_config": {"ads": {}, "resource_api_version": "V3"},
        "lds_config": {"ads": {}, "resource_api_version": "V3"},
    });
    bootstrap
}
