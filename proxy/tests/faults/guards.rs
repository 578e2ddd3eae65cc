//! Security configuration that is not understood is refused traffic, not ignored: every guard that is served, with an
//! unknown field at every depth and with every arm exchanged for an unknown one, and every kind of filter that is not
//! served. Each variant is accepted, refuses exactly what it guards, is listed at `/config_dump` and counted.
//!
//! A variant has a chain of its own, which a destination address of its own leads to, or a route of its own.

mod mutate;
mod samples;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use carbyne_protos::any::pack;
use carbyne_protos::envoy::config::cluster::v3::Cluster;
use carbyne_protos::envoy::config::core::v3::transport_socket;
use carbyne_protos::envoy::config::listener::v3::{self as wire, filter, listener_filter};
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use carbyne_protos::json;
use carbyne_protos::prost_types::Any;
use prost::Message;
use serde_json::{Value, json};

use self::mutate::{Variant, variants};
use super::mesh::{Mesh, NAME, PORT, routes};
use super::plane::{CLUSTER, LISTENER, Plane, Protocol, ROUTE};
use super::slice;
use crate::support::PATIENCE;
use crate::support::config::{manager, network_filter, socket, virtual_host};
use crate::support::http1::{Connection, End, get};
use crate::support::process::{Process, settles};
use crate::support::tls::ClientTls;
use crate::support::upstream::dead_port;

/// Variants that one listener holds.
const BATCH: usize = 200;

/// Every variant of these samples, by type and place.
fn all(samples: Vec<Any>) -> Vec<(String, Any)> {
    let named = |any: &Any, variant: Variant| {
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        let mutated = Any {
            type_url: any.type_url.clone(),
            value: variant.bytes,
        };
        (format!("{name}: {}", variant.place), mutated)
    };
    let of = |any: Any| -> Vec<_> {
        let variants = variants(&any);
        variants
            .into_iter()
            .map(|variant| named(&any, variant))
            .collect()
    };
    samples.into_iter().flat_map(of).collect()
}

#[test]
fn http_guards_answer_503() {
    let mut cases = all(samples::http());
    cases.extend(samples::not_served("http"));
    let cases = slice::of("guards http", cases, 2 * BATCH);
    let mesh = Mesh::start(Protocol::Delta);
    // As they are, they serve: what refuses below is what was changed.
    let whole: Vec<_> = samples::http()
        .into_iter()
        .map(|any| (any.type_url.clone(), any))
        .collect();
    let listener = Chains::new(&mesh, "whole", &whole, http_chain);
    for (index, (name, _)) in whole.iter().enumerate() {
        let status = listener.status(index);
        assert!(matches!(status, Ok(200 | 401 | 403)), "{name}: {status:?}");
    }
    assert_eq!(mesh.stat("listener_manager.lds.not_served"), 0);
    for batch in cases.chunks(BATCH) {
        let listener = Chains::new(&mesh, "guards", batch, http_chain);
        for (index, (name, _)) in batch.iter().enumerate() {
            assert_eq!(listener.status(index), Ok(503), "{name}");
        }
        listener.are_listed(&mesh, batch.len(), |index| {
            format!("filter_chains[{index}].filters[0].typed_config.http_filters[0].typed_config")
        });
    }
}

#[test]
fn network_guards_reset() {
    let mut cases = all(samples::network());
    cases.extend(samples::not_served("network"));
    let cases = slice::of("guards network", cases, BATCH);
    let mesh = Mesh::start(Protocol::Sotw);
    for batch in cases.chunks(BATCH) {
        let listener = Chains::new(&mesh, "guards", batch, network_chain);
        for (index, (name, _)) in batch.iter().enumerate() {
            assert_eq!(listener.status(index), Err(End::Reset), "{name}");
        }
        listener.are_listed(&mesh, batch.len(), |index| {
            format!("filter_chains[{index}].filters[0].typed_config")
        });
    }
}

#[test]
fn tls_that_is_not_understood_resets() {
    let cases = slice::of("guards tls", all(vec![samples::downstream_tls()]), BATCH);
    let mesh = Mesh::start(Protocol::Delta);
    for batch in cases.chunks(BATCH) {
        let listener = Chains::new(&mesh, "guards", batch, tls_chain);
        for (index, (name, _)) in batch.iter().enumerate() {
            let address = listener.address(index);
            assert!(
                ClientTls::default().connect(address).is_err(),
                "{name}: a handshake"
            );
            assert_eq!(listener.status(index), Err(End::Reset), "{name}: no TLS");
        }
        listener.are_listed(&mesh, batch.len(), |index| {
            format!("filter_chains[{index}].transport_socket.typed_config")
        });
    }
}

#[test]
fn what_routes_say_to_guards_refuses_their_requests() {
    let mut cases = all(samples::per_route());
    cases.extend(samples::not_served("route"));
    let cases = slice::of("guards routes", cases, 2 * BATCH);
    let mesh = Mesh::start(Protocol::Sotw);
    let mut table: RouteConfiguration = json::from_json(&routes(NAME, NAME, "guards")).unwrap();
    let host = &mut table.virtual_hosts[0];
    let plain = host.routes[0].clone();
    host.routes = cases
        .iter()
        .enumerate()
        .map(|(index, (_, any))| {
            let matched =
                json!({"match": {"prefix": format!("/{index}/")}, "route": {"cluster": NAME}});
            let mut route: carbyne_protos::envoy::config::route::v3::Route =
                json::from_json(&matched).unwrap();
            route
                .typed_per_filter_config
                .insert("guard".to_owned(), any.clone());
            route
        })
        .chain([plain])
        .collect();
    let mark = mesh.plane.mark();
    put(&mesh.plane, ROUTE, NAME, table.encode_to_vec());
    mesh.plane.acked(mark, ROUTE);
    mesh.serves("guards");
    for (index, (name, _)) in cases.iter().enumerate() {
        assert_eq!(
            status(mesh.address(), &format!("/{index}/")),
            Ok(503),
            "{name}"
        );
    }
    assert_eq!(status(mesh.address(), "/plain"), Ok(200));
    assert!(mesh.stat("listener_manager.rds.not_served") >= cases.len() as u64);
    let listed = error_of(&mesh.proxy, "routes", NAME);
    for index in 0..cases.len() {
        let place = format!("virtual_hosts[0].routes[{index}].typed_per_filter_config[\"guard\"]");
        assert!(listed.contains(&place), "{place} is not listed");
    }
}

#[test]
fn tls_to_hosts_that_is_not_understood_connects_to_none() {
    let cases = slice::of(
        "guards upstream tls",
        all(vec![samples::upstream_tls()]),
        BATCH,
    );
    let mesh = Mesh::start(Protocol::Delta);
    let mut table = routes(NAME, NAME, "guards");
    let mut rows: Vec<Value> = (0..cases.len())
        .map(|index| json!({"match": {"prefix": format!("/{index}/")}, "route": {"cluster": format!("tls{index}")}}))
        .collect();
    rows.extend(
        table["virtual_hosts"][0]["routes"]
            .as_array()
            .unwrap()
            .clone(),
    );
    table["virtual_hosts"][0]["routes"] = rows.into();
    let mark = mesh.plane.mark();
    mesh.plane.publish(|all| {
        for (index, (_, any)) in cases.iter().enumerate() {
            let name = format!("tls{index}");
            let value = crate::support::config::cluster(&name, &[mesh.upstream.port()], json!({}));
            let mut cluster: Cluster = json::from_json(&value).unwrap();
            cluster.transport_socket = Some(socket_of(any));
            all.entry(CLUSTER)
                .or_default()
                .insert(name, cluster.encode_to_vec());
        }
    });
    mesh.plane.acked(mark, CLUSTER);
    mesh.plane.set(ROUTE, NAME, &table);
    mesh.serves("guards");
    for (index, (name, _)) in cases.iter().enumerate() {
        let mut connection = Connection::open(mesh.address()).unwrap();
        connection.send(&get(&format!("/{index}/")).bytes());
        let response = connection.response(false).unwrap();
        assert_eq!(
            (response.status, response.body.as_slice()),
            (503, &b"no healthy upstream"[..]),
            "{name}"
        );
        let listed = error_of(&mesh.proxy, "clusters", &format!("tls{index}"));
        assert!(
            listed.contains("transport_socket.typed_config"),
            "{name}: {listed}"
        );
    }
    assert!(mesh.stat("cluster_manager.cds.not_served") >= cases.len() as u64);
    assert_eq!(status(mesh.address(), "/plain"), Ok(200));
}

#[test]
fn listener_filters_that_are_not_understood_reset() {
    let mut cases = all(samples::listener_filters());
    cases.extend(samples::not_served("listener"));
    let mesh = Mesh::start(Protocol::Sotw);
    let count = cases.len();
    for (index, (name, any)) in slice::of("guards listener filters", cases, count)
        .iter()
        .enumerate()
    {
        let port = PORT + 100 + index as u16;
        let mut listener = listener_message(&mesh, name, port);
        listener.filter_chains.push(wire::FilterChain {
            filters: vec![network_json(&plain_manager())],
            ..wire::FilterChain::default()
        });
        listener.listener_filters.push(wire::ListenerFilter {
            name: "guard".to_owned(),
            config_type: Some(listener_filter::ConfigType::TypedConfig(any.clone())),
            ..wire::ListenerFilter::default()
        });
        let mark = mesh.plane.mark();
        put(&mesh.plane, LISTENER, name, listener.encode_to_vec());
        mesh.plane.acked(mark, LISTENER);
        assert_eq!(status(mesh.proxy.at(port), "/"), Err(End::Reset), "{name}");
        let listed = error_of(&mesh.proxy, "listeners", name);
        assert!(listed.contains("listener_filters[0]"), "{name}: {listed}");
    }
    mesh.serves("first");
}

/// A listener on every address, with a chain for each variant.
struct Chains {
    port: u16,
}

impl Chains {
    fn new(
        mesh: &Mesh,
        name: &str,
        cases: &[(String, Any)],
        chain: fn(&Any) -> wire::FilterChain,
    ) -> Self {
        let this = Self { port: dead_port() };
        let mut listener = listener_message(mesh, name, this.port);
        listener.address = Some(json::from_json(&socket("0.0.0.0", this.port)).unwrap());
        listener.filter_chains = cases
            .iter()
            .enumerate()
            .map(|(index, (_, any))| {
                let address = this.address(index).ip().to_string();
                let wanted =
                    json!({"prefix_ranges": [{"address_prefix": address, "prefix_len": 32}]});
                wire::FilterChain {
                    filter_chain_match: Some(json::from_json(&wanted).unwrap()),
                    name: format!("chain {index}"),
                    ..chain(any)
                }
            })
            .collect();
        let mark = mesh.plane.mark();
        put(&mesh.plane, LISTENER, name, listener.encode_to_vec());
        mesh.plane.acked(mark, LISTENER);
        let open = || std::net::TcpStream::connect(this.address(0)).is_ok();
        assert!(settles(PATIENCE, open), "{}", mesh.proxy.stderr());
        this
    }

    fn address(&self, index: usize) -> SocketAddr {
        let ip = Ipv4Addr::new(127, 200, (index / 250) as u8, (index % 250) as u8 + 1);
        SocketAddrV4::new(ip, self.port).into()
    }

    fn status(&self, index: usize) -> Result<u16, End> {
        status(self.address(index), "/")
    }

    fn are_listed(&self, mesh: &Mesh, count: usize, place: impl Fn(usize) -> String) {
        let listed = error_of(&mesh.proxy, "listeners", "guards");
        for index in 0..count {
            assert!(
                listed.contains(&place(index)),
                "{} is not listed",
                place(index)
            );
        }
        assert!(mesh.stat("listener_manager.lds.not_served") >= count as u64);
    }
}

fn status(address: SocketAddr, path: &str) -> Result<u16, End> {
    let mut connection = Connection::open(address).map_err(|_| End::Reset)?;
    if !connection.send(&get(path).bytes()) {
        // The error of a write is the reset, told once.
        return Err(End::Reset);
    }
    connection.response(false).map(|response| response.status)
}

fn put(plane: &Plane, type_url: &'static str, name: &str, bytes: Vec<u8>) {
    plane.publish(|all| {
        all.entry(type_url)
            .or_default()
            .insert(name.to_owned(), bytes);
    });
}

/// What `/config_dump` says under `error_state` of a resource.
fn error_of(proxy: &Process, kind: &str, name: &str) -> String {
    let (_, body) = proxy.admin("GET", "/config_dump").unwrap();
    let dump: Value = serde_json::from_str(&body).unwrap();
    let (list, held) = match kind {
        "listeners" => ("dynamic_listeners", None),
        "clusters" => ("dynamic_active_clusters", Some("cluster")),
        _ => ("dynamic_route_configs", Some("route_config")),
    };
    let sections = dump["configs"].as_array().unwrap().iter();
    let mut entries = sections
        .filter_map(|section| section[list].as_array())
        .flatten();
    let found = entries.find(|entry| {
        let own = held.map_or(&entry["name"], |held| &entry[held]["name"]);
        own == name
    });
    let found = found.unwrap_or_else(|| panic!("{name} is not among the {kind}"));
    found["error_state"]["details"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn listener_message(mesh: &Mesh, name: &str, port: u16) -> wire::Listener {
    let address = mesh.proxy.place.address.to_string();
    json::from_json(&json!({"name": name, "address": socket(&address, port)})).unwrap()
}

fn plain_manager() -> Value {
    let host = virtual_host(
        "v",
        &["*"],
        json!([{"match": {"prefix": "/"}, "route": {"cluster": NAME}}]),
    );
    manager("guarded", json!([host]), vec![], json!({"access_log": []}))
}

fn network_json(value: &Value) -> wire::Filter {
    json::from_json(value).unwrap()
}

fn http_chain(guard: &Any) -> wire::FilterChain {
    let mut outer = network_json(&plain_manager());
    let Some(filter::ConfigType::TypedConfig(config)) = &outer.config_type else {
        panic!("no typed_config");
    };
    let mut manager = HttpConnectionManager::decode(config.value.as_slice()).unwrap();
    let mut inner = manager.http_filters[0].clone();
    inner.name = "guard".to_owned();
    inner.config_type = Some(http_filter::ConfigType::TypedConfig(guard.clone()));
    manager.http_filters.insert(0, inner);
    outer.config_type = Some(filter::ConfigType::TypedConfig(pack(&manager)));
    wire::FilterChain {
        filters: vec![outer],
        ..wire::FilterChain::default()
    }
}

fn network_chain(guard: &Any) -> wire::FilterChain {
    let tcp = network_filter(
        "envoy.filters.network.tcp_proxy",
        "tcp_proxy.v3.TcpProxy",
        json!({"stat_prefix": "tcp", "cluster": NAME}),
    );
    let mut guarded = network_json(&tcp);
    guarded.name = "guard".to_owned();
    guarded.config_type = Some(filter::ConfigType::TypedConfig(guard.clone()));
    wire::FilterChain {
        filters: vec![guarded, network_json(&tcp)],
        ..wire::FilterChain::default()
    }
}

fn tls_chain(context: &Any) -> wire::FilterChain {
    wire::FilterChain {
        filters: vec![network_json(&plain_manager())],
        transport_socket: Some(socket_of(context)),
        ..wire::FilterChain::default()
    }
}

fn socket_of(context: &Any) -> carbyne_protos::envoy::config::core::v3::TransportSocket {
    carbyne_protos::envoy::config::core::v3::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(context.clone())),
    }
}
