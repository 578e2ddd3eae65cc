//! Everything that can change while traffic goes through it, changes: no request fails.

use std::time::Duration;

use serde_json::{Value, json};

use super::load::{Kind, Load};
use super::mesh::{Mesh, NAME, PORT, eds_cluster, endpoints, mark_at, rds_listener, routes};
use super::plane::{CLUSTER, ENDPOINT, LISTENER, Protocol, ROUTE, SECRET, encode};
use super::slice;
use crate::support::PATIENCE;
use crate::support::config::{extension, manager, virtual_host};
use crate::support::http1::{Connection, get};
use crate::support::process::settles;
use crate::support::report_cases;
use crate::support::tls::{Authority, ClientTls, Identity};
use crate::support::upstream::{Act, Log, Upstream, reply};

const KINDS: [Kind; 4] = [Kind::Fresh, Kind::Fresh, Kind::Kept, Kind::Http2];

#[test]
fn no_update_costs_a_request_sotw() {
    updates(Protocol::Sotw);
}

#[test]
fn no_update_costs_a_request_delta() {
    updates(Protocol::Delta);
}

/// One way in which the configuration becomes another; the mark says that it is in force.
#[derive(Clone, Copy, Debug)]
enum Step {
    Routes,
    Cluster,
    Endpoints,
    /// Its HTTP settings.
    Manager,
    /// One more chain, or one less.
    Chains,
    /// Another listener beside it, with its own route and cluster, and away again.
    Neighbour,
    /// Away, and another of the same address there, in one answer.
    Renamed,
    Everything,
}

const STEPS: [Step; 8] = [
    Step::Routes,
    Step::Cluster,
    Step::Endpoints,
    Step::Manager,
    Step::Chains,
    Step::Neighbour,
    Step::Renamed,
    Step::Everything,
];

fn updates(protocol: Protocol) {
    let mesh = Mesh::start(protocol);
    let other = Upstream::http("other", &Log::default());
    let load = Load::start(mesh.address(), &KINDS);
    load.goes_on(1);
    let table = format!("updates {protocol:?}");
    let mut random = slice::random(&table);
    let mut steps: Vec<_> = (0..12).flat_map(|_| STEPS).collect();
    random.shuffle(&mut steps);
    let mut name = NAME;
    let mut chained = false;
    for (number, step) in slice::of(&table, steps, 40).into_iter().enumerate() {
        let mark = format!("m{number}");
        let place = &mesh.proxy.place;
        let plane = &mesh.plane;
        let listener = |name: &str| rds_listener(place, name, PORT, &mark);
        match step {
            Step::Routes => {}
            Step::Cluster => plane.set(CLUSTER, NAME, &eds_cluster(NAME, &mark)),
            Step::Endpoints => {
                let port = [mesh.upstream.port(), other.port()][number % 2];
                plane.set(ENDPOINT, NAME, &endpoints(NAME, port));
            }
            Step::Manager => plane.set(LISTENER, name, &listener(name)),
            Step::Chains => {
                let mut value = listener(name);
                chained = !chained;
                if chained {
                    let mut chain = value["filter_chains"][0].clone();
                    chain["name"] = json!("another");
                    chain["filter_chain_match"] = json!({"source_prefix_ranges": [{"address_prefix": "127.9.9.9", "prefix_len": 32}]});
                    value["filter_chains"].as_array_mut().unwrap().push(chain);
                }
                plane.set(LISTENER, name, &value);
            }
            Step::Neighbour => {
                plane.set(CLUSTER, "neighbour", &eds_cluster("neighbour", &mark));
                plane.set(ENDPOINT, "neighbour", &endpoints("neighbour", other.port()));
                plane.set(
                    LISTENER,
                    "neighbour",
                    &rds_listener(place, "neighbour", PORT + 1, &mark),
                );
                plane.set(ROUTE, "neighbour", &routes("neighbour", "neighbour", &mark));
                let address = mesh.proxy.at(PORT + 1);
                assert!(
                    settles(PATIENCE, || mark_at(address).as_deref() == Some(&mark)),
                    "the neighbour does not serve\n{}",
                    mesh.proxy.stderr()
                );
                plane.publish(|all| {
                    for resources in all.values_mut() {
                        resources.remove("neighbour");
                    }
                });
                let closed = || std::net::TcpStream::connect(address).is_err();
                assert!(settles(PATIENCE, closed), "the neighbour stays");
            }
            Step::Renamed => {
                let before = name;
                name = if name == NAME { "two" } else { NAME };
                let listener = encode(LISTENER, &listener(name));
                let table = encode(ROUTE, &routes(name, NAME, "unmarked"));
                plane.publish(|all| {
                    let listeners = all.get_mut(LISTENER).unwrap();
                    listeners.remove(before);
                    listeners.insert(name.to_owned(), listener);
                    let tables = all.get_mut(ROUTE).unwrap();
                    tables.remove(before);
                    tables.insert(name.to_owned(), table);
                });
            }
            Step::Everything => {
                let (cluster, listener) = (
                    encode(CLUSTER, &eds_cluster(NAME, &mark)),
                    encode(LISTENER, &listener(name)),
                );
                plane.publish(|all| {
                    all.get_mut(CLUSTER)
                        .unwrap()
                        .insert(NAME.to_owned(), cluster);
                    all.get_mut(LISTENER)
                        .unwrap()
                        .insert(name.to_owned(), listener);
                });
            }
        }
        plane.set(ROUTE, name, &routes(name, NAME, &mark));
        mesh.serves(&mark);
        load.goes_on(1);
    }
    println!("{protocol:?}: {} requests, none failed", load.end());
    for kind in ["listener_manager.lds", "cluster_manager.cds"] {
        assert_eq!(mesh.stat(&format!("{kind}.update_rejected")), 0, "{kind}");
    }
}

/// Envoy's filter chain update: a chain that stays as it is keeps its connections, one that changes lets them finish.
#[test]
fn chains_that_do_not_change_keep_their_connections() {
    let mesh = Mesh::start(Protocol::Delta);
    let place = &mesh.proxy.place;
    let with_chain = |mark: &str, first: &str| {
        let mut value = rds_listener(place, NAME, PORT, first);
        let mut other = rds_listener(place, NAME, PORT, mark)["filter_chains"][0].clone();
        other["name"] = json!("other");
        other["filter_chain_match"] =
            json!({"source_prefix_ranges": [{"address_prefix": "127.9.9.9", "prefix_len": 32}]});
        value["filter_chains"].as_array_mut().unwrap().push(other);
        value
    };
    let mut kept = Connection::open(mesh.address()).unwrap();
    let mut ask = || {
        kept.send(&get("/").bytes());
        let response = kept.response(false).unwrap();
        response.header("connection").map(str::to_owned)
    };
    assert_eq!(ask(), None);
    for (other, first, expected) in [
        ("second", "first", None),
        ("third", "first", None),
        ("third", "changed", Some("close")),
    ] {
        let mark = mesh.plane.mark();
        mesh.plane.set(LISTENER, NAME, &with_chain(other, first));
        mesh.plane.acked(mark, LISTENER);
        assert_eq!(ask().as_deref(), expected, "{other} {first}");
    }
}

/// A listener that moves: what was begun at the old port ends there, the new port serves, the old one refuses.
#[test]
fn a_listener_moves_to_another_port() {
    for protocol in Protocol::BOTH {
        let mesh = Mesh::start(protocol);
        let place = &mesh.proxy.place;
        mesh.upstream.script(&[vec![
            Act::Wait(Duration::from_millis(300)),
            reply("200 OK", &[], "slow"),
        ]]);
        let mut slow = Connection::open(mesh.address()).unwrap();
        slow.send(&get("/slow").bytes());
        let active = || mesh.stat("http.one.downstream_rq_active") == 1;
        assert!(settles(PATIENCE, active));
        mesh.plane.set(
            LISTENER,
            NAME,
            &rds_listener(place, NAME, PORT + 5, "moved"),
        );
        let there = mesh.proxy.at(PORT + 5);
        assert!(settles(PATIENCE, || mark_at(there).is_some()));
        assert_eq!(
            slow.response(false).map(|response| response.body),
            Ok(b"slow".to_vec())
        );
        let refused = || std::net::TcpStream::connect(mesh.address()).is_err();
        assert!(settles(PATIENCE, refused));
    }
}

/// A certificate is rotated under handshakes and under connections that last.
#[test]
fn a_rotated_certificate_costs_no_request() {
    for protocol in Protocol::BOTH {
        let authority = Authority::new("rotation");
        let mesh = Mesh::start(protocol);
        let secret = |number: usize| {
            let name = format!("n{number}.test");
            secret(&authority.sign(&name, &[&name], &[]))
        };
        mesh.plane.set(SECRET, "identity", &secret(0));
        mesh.plane.set(LISTENER, "tls", &tls_listener(&mesh));
        let address = mesh.proxy.at(PORT + 2);
        let presented = || {
            let tls = ClientTls::default().connect(address).ok()?;
            Some(String::from_utf8_lossy(&tls.certificate).into_owned())
        };
        assert!(
            settles(PATIENCE, || presented().is_some()),
            "no TLS\n{}",
            mesh.proxy.stderr()
        );
        let load = Load::start(address, &[Kind::FreshTls, Kind::KeptTls]);
        for number in 1..6 {
            mesh.plane.set(SECRET, "identity", &secret(number));
            let wanted = format!("n{number}.test");
            let rotated = || presented().is_some_and(|text| text.contains(&wanted));
            assert!(settles(PATIENCE, rotated), "{wanted} is not presented");
            load.goes_on(2);
        }
        load.end();
        report_cases(&format!("rotations {protocol:?}"), 5, 5);
    }
}

/// Secrets that never come: what does not need them serves; when they come, what needs them does, too.
#[test]
fn plaintext_serves_while_secrets_do_not_come() {
    for protocol in Protocol::BOTH {
        let mesh = Mesh::start(protocol);
        mesh.plane.set(LISTENER, "tls", &tls_listener(&mesh));
        let mark = mesh.plane.mark();
        mesh.plane
            .hears(mark.saturating_sub(4), "the wish for the secret", |heard| {
                (heard.type_url == SECRET && heard.names == ["identity"]).then_some(())
            });
        let address = mesh.proxy.at(PORT + 2);
        let load = Load::start(mesh.address(), &KINDS);
        load.goes_on(3);
        mesh.publish("still");
        mesh.serves("still");
        assert!(ClientTls::default().connect(address).is_err());
        let authority = Authority::new("late");
        mesh.plane.set(
            SECRET,
            "identity",
            &secret(&authority.sign("late.test", &["late.test"], &[])),
        );
        assert!(
            settles(PATIENCE, || ClientTls::default().connect(address).is_ok()),
            "the secret came and nobody took it\n{}",
            mesh.proxy.stderr()
        );
        load.goes_on(1);
        load.end();
    }
}

fn secret(identity: &Identity) -> Value {
    json!({"name": "identity", "tls_certificate": {
        "certificate_chain": {"inline_string": identity.chain},
        "private_key": {"inline_string": identity.key},
    }})
}

/// A listener whose certificate comes over ADS.
fn tls_listener(mesh: &Mesh) -> Value {
    let host = virtual_host(
        "v",
        &["*"],
        json!([{"match": {"prefix": "/"}, "route": {"cluster": NAME}}]),
    );
    let manager = manager("tls", json!([host]), vec![], json!({}));
    let mut value =
        crate::support::config::listener(&mesh.proxy.place, "tls", PORT + 2, vec![manager]);
    value["filter_chains"][0]["transport_socket"] = extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": {
            "alpn_protocols": ["http/1.1"],
            "tls_certificate_sds_secret_configs": [{"name": "identity", "sds_config": {"ads": {}, "resource_api_version": "V3"}}],
        }}),
    );
    value
}
