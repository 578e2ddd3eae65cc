//! A control plane that sends nonsense: what cannot be applied is refused by name, its siblings are applied, the last
//! good stays, and traffic does not notice.

use carbyne_protos::envoy::service::discovery::v3 as wire;
use carbyne_protos::prost_types::Any;
use prost::Message;
use serde_json::{Value, json};

use super::load::{Kind, Load};
use super::mesh::{Mesh, NAME, PORT, eds_cluster, rds_listener, routes};
use super::plane::{CLUSTER, ENDPOINT, LISTENER, Protocol, ROUTE, any, framed};
use crate::support::config::{json_log, listener, manager, virtual_host};
use crate::support::report_cases;

/// What the control plane is to hear.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Ack,
    /// With each of these in its text.
    Nack(&'static [&'static str]),
    /// Nothing: the message is passed over.
    Silence,
    /// The stream is given up and opened again.
    Reconnect,
}

struct Case {
    name: &'static str,
    body: Vec<u8>,
    type_url: &'static str,
    expected: Expected,
}

/// The case behind which the siblings are looked for.
const SIBLING: &str = "a sibling that is bad";

#[test]
fn nonsense_is_refused_by_name_sotw() {
    refuse(Protocol::Sotw);
}

#[test]
fn nonsense_is_refused_by_name_delta() {
    refuse(Protocol::Delta);
}

fn refuse(protocol: Protocol) {
    let mesh = Mesh::start(protocol);
    let load = Load::start(mesh.address(), &[Kind::Fresh, Kind::Kept, Kind::Http2]);
    let cases = cases(&mesh, protocol);
    report_cases(&format!("nonsense {protocol:?}"), cases.len(), cases.len());
    for case in cases {
        let mark = mesh.plane.mark();
        let streams = mesh.plane.streams();
        mesh.plane.send_raw(case.body);
        match case.expected {
            Expected::Ack => mesh.plane.acked(mark, case.type_url),
            Expected::Nack(parts) => {
                let text = mesh.plane.nacked(mark, case.type_url);
                for part in parts {
                    assert!(text.contains(part), "{}: {text}", case.name);
                }
            }
            Expected::Silence => {
                // What comes behind it is answered, and it is not.
                mesh.plane.send_raw(unchanged(&mesh, protocol));
                mesh.plane.acked(mark, CLUSTER);
                let heard = mesh.plane.heard(mark);
                assert_eq!(heard.len(), 1, "{}: {heard:?}", case.name);
            }
            Expected::Reconnect => {
                mesh.plane.hears(mark, "a new stream", |heard| {
                    (heard.stream > streams && heard.type_url == LISTENER).then_some(())
                });
            }
        }
        assert_eq!(mesh.mark().as_deref(), Some("first"), "{}", case.name);
        load.goes_on(1);
        if case.name == SIBLING {
            let (_, clusters) = mesh.proxy.admin("GET", "/clusters").unwrap();
            let there = ["sibling::", "one::", "bad::"].map(|name| clusters.contains(name));
            assert_eq!(there, [true, true, false], "{}: {clusters}", case.name);
        }
    }
    load.goes_on(2);
    println!("{protocol:?}: {} requests, none failed", load.end());
    // And the next good word is taken.
    mesh.publish("after");
    mesh.serves("after");
}

fn cases(mesh: &Mesh, protocol: Protocol) -> Vec<Case> {
    let place = &mesh.proxy.place;
    let say = |type_url, resources: Vec<(&str, Any)>, removed: &[&str]| {
        response(protocol, type_url, "x1", resources, removed)
    };
    let good_cluster = (NAME, any(CLUSTER, &eds_cluster(NAME, "first")));
    let good_listener = (
        NAME,
        any(LISTENER, &rds_listener(place, NAME, PORT, "first")),
    );
    let good_routes = (NAME, any(ROUTE, &routes(NAME, NAME, "first")));
    let listener_at = |name: &str, port: u16| rds_listener(place, name, port, "bad");
    let mut cut = good_listener.1.clone();
    cut.value.truncate(cut.value.len() - 3);
    let mut bad_cluster = eds_cluster("bad", "x");
    bad_cluster["connect_timeout"] = json!("-1s");
    let mut bad_port = listener_at("bad", 8099);
    bad_port["address"]["socket_address"]["port_value"] = json!(99_999);
    let mut bad_log = manager("bad", json!([]), vec![], json!({}));
    bad_log["typed_config"]["access_log"] = json!([json_log(json!({"a": "b"}))]);
    bad_log["typed_config"]["access_log"][0]["typed_config"]["path"] = json!("no/such/folder/log");
    let no_log = listener(place, NAME, PORT, vec![bad_log]);
    let bad_route = |value: Value| {
        let mut table = routes(NAME, NAME, "bad");
        table["virtual_hosts"] = json!([virtual_host("v", &["*"], json!([value]))]);
        any(ROUTE, &table)
    };
    let case = |name, type_url, body, expected| Case {
        name,
        body,
        type_url,
        expected,
    };
    let mut cases = vec![
        case(
            "a name twice",
            ROUTE,
            say(
                ROUTE,
                vec![
                    (NAME, any(ROUTE, &routes(NAME, NAME, "bad"))),
                    (NAME, any(ROUTE, &routes(NAME, "nowhere", "bad"))),
                ],
                &[],
            ),
            Expected::Nack(&["one: named twice"]),
        ),
        case(
            SIBLING,
            CLUSTER,
            say(
                CLUSTER,
                vec![
                    good_cluster.clone(),
                    ("bad", any(CLUSTER, &bad_cluster)),
                    ("sibling", any(CLUSTER, &eds_cluster("sibling", "x"))),
                ],
                &[],
            ),
            Expected::Nack(&["bad: connect_timeout"]),
        ),
        case(
            "the same again",
            CLUSTER,
            say(
                CLUSTER,
                vec![
                    good_cluster.clone(),
                    ("sibling", any(CLUSTER, &eds_cluster("sibling", "x"))),
                ],
                &[],
            ),
            Expected::Ack,
        ),
        case(
            "another type inside",
            LISTENER,
            say(
                LISTENER,
                vec![good_listener.clone(), ("bad", good_cluster.1.clone())],
                &[],
            ),
            Expected::Nack(&["does not match the message-wide type URL"]),
        ),
        case(
            "bytes cut off",
            LISTENER,
            say(LISTENER, vec![(NAME, cut)], &[]),
            Expected::Nack(&["one: does not decode"]),
        ),
        case(
            "a port that is none",
            LISTENER,
            say(
                LISTENER,
                vec![good_listener.clone(), ("bad", any(LISTENER, &bad_port))],
                &[],
            ),
            Expected::Nack(&["bad: address", "99999"]),
        ),
        case(
            "an address that another listener has",
            LISTENER,
            say(
                LISTENER,
                vec![
                    good_listener.clone(),
                    ("bad", any(LISTENER, &listener_at("bad", PORT))),
                ],
                &[],
            ),
            Expected::Nack(&["bad: address", "listener one has it"]),
        ),
        case(
            "an address that another process has",
            LISTENER,
            say(
                LISTENER,
                vec![good_listener.clone(), ("bad", any(LISTENER, &taken(mesh)))],
                &[],
            ),
            Expected::Nack(&["bad: address", "in use"]),
        ),
        case(
            "a log that cannot be written",
            LISTENER,
            say(LISTENER, vec![(NAME, any(LISTENER, &no_log))], &[]),
            Expected::Nack(&["one: ", "no/such/folder/log"]),
        ),
        case(
            "an expression that does not compile",
            ROUTE,
            say(
                ROUTE,
                vec![(
                    NAME,
                    bad_route(
                        json!({"match": {"safe_regex": {"regex": "("}}, "route": {"cluster": NAME}}),
                    ),
                )],
                &[],
            ),
            Expected::Nack(&["one: virtual_hosts[0].routes[0].match"]),
        ),
        case(
            "a route without an action",
            ROUTE,
            say(
                ROUTE,
                vec![(NAME, bad_route(json!({"match": {"prefix": "/"}})))],
                &[],
            ),
            Expected::Nack(&["one: virtual_hosts[0].routes[0]"]),
        ),
        case(
            "endpoints that nobody asked for",
            ENDPOINT,
            say(
                ENDPOINT,
                vec![("nobody", any(ENDPOINT, &json!({"cluster_name": "nobody"})))],
                &[],
            ),
            Expected::Ack,
        ),
        case(
            "routes that nobody asked for",
            ROUTE,
            say(
                ROUTE,
                vec![
                    good_routes,
                    ("nobody", any(ROUTE, &routes("nobody", NAME, "bad"))),
                ],
                &[],
            ),
            Expected::Ack,
        ),
        case(
            "a type that nobody asked for",
            CLUSTER,
            say(
                "type.googleapis.com/envoy.service.runtime.v3.Runtime",
                vec![],
                &[],
            ),
            Expected::Silence,
        ),
        case(
            "a type that there is not",
            CLUSTER,
            say(
                "type.googleapis.com/no.Such",
                vec![good_cluster.clone()],
                &[],
            ),
            Expected::Silence,
        ),
        case(
            "a message of nothing",
            CLUSTER,
            framed(&[]).to_vec(),
            Expected::Silence,
        ),
        case("no bytes at all", CLUSTER, vec![], Expected::Silence),
        case(
            "no message of discovery",
            LISTENER,
            framed(&[0xff, 0xff]).to_vec(),
            Expected::Reconnect,
        ),
        case(
            "a compressed message",
            LISTENER,
            vec![1, 0, 0, 0, 1, 0],
            Expected::Reconnect,
        ),
        case(
            "a message of four gigabytes",
            LISTENER,
            vec![0, 0xff, 0xff, 0xff, 0xff, 0],
            Expected::Reconnect,
        ),
    ];
    match protocol {
        Protocol::Sotw => cases.push(case(
            "no name",
            ROUTE,
            say(ROUTE, vec![("", any(ROUTE, &routes("", NAME, "bad")))], &[]),
            Expected::Nack(&["resources[0]: has no name"]),
        )),
        Protocol::Delta => cases.extend([
            case(
                "nothing",
                LISTENER,
                say(LISTENER, vec![], &[]),
                Expected::Ack,
            ),
            case(
                "an end of what never was",
                CLUSTER,
                say(CLUSTER, vec![], &["never"]),
                Expected::Ack,
            ),
            case(
                "sent and removed",
                CLUSTER,
                say(
                    CLUSTER,
                    vec![(NAME, any(CLUSTER, &eds_cluster(NAME, "bad")))],
                    &[NAME],
                ),
                Expected::Nack(&["one: sent and removed"]),
            ),
        ]),
    }
    cases
}

/// A listener at the address of the upstream, which is another socket without SO_REUSEPORT.
fn taken(mesh: &Mesh) -> Value {
    let mut taken = rds_listener(&mesh.proxy.place, "bad", mesh.upstream.port(), "bad");
    taken["address"]["socket_address"]["address"] = json!("127.0.0.1");
    taken
}

/// What the proxy holds anyway.
fn unchanged(mesh: &Mesh, protocol: Protocol) -> Vec<u8> {
    let _ = mesh;
    let resources = vec![
        (NAME, any(CLUSTER, &eds_cluster(NAME, "first"))),
        ("sibling", any(CLUSTER, &eds_cluster("sibling", "x"))),
    ];
    response(protocol, CLUSTER, "same", resources, &[])
}

/// A response, framed; the nonce is one that no request knows.
fn response(
    protocol: Protocol,
    type_url: &str,
    nonce: &str,
    resources: Vec<(&str, Any)>,
    removed: &[&str],
) -> Vec<u8> {
    let message = match protocol {
        Protocol::Sotw => wire::DiscoveryResponse {
            version_info: nonce.to_owned(),
            nonce: nonce.to_owned(),
            type_url: type_url.to_owned(),
            resources: resources.into_iter().map(|(_, any)| any).collect(),
            ..wire::DiscoveryResponse::default()
        }
        .encode_to_vec(),
        Protocol::Delta => wire::DeltaDiscoveryResponse {
            nonce: nonce.to_owned(),
            type_url: type_url.to_owned(),
            resources: resources
                .into_iter()
                .map(|(name, any)| wire::Resource {
                    name: name.to_owned(),
                    version: format!("{nonce}-{name}"),
                    resource: Some(any),
                    ..wire::Resource::default()
                })
                .collect(),
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..wire::DeltaDiscoveryResponse::default()
        }
        .encode_to_vec(),
    };
    framed(&message).to_vec()
}

/// A response of many megabytes is one like any other, and so is one that takes everything away.
#[test]
fn giant_and_empty_answers_are_answers() {
    for protocol in Protocol::BOTH {
        let mesh = Mesh::start(protocol);
        let load = Load::start(mesh.address(), &[Kind::Fresh, Kind::Kept, Kind::Http2]);
        let mut giant = routes(NAME, NAME, "giant");
        let hosts: Vec<_> = (0..20_000)
            .map(|number| {
                let domain = format!("host-{number}.{}.test", "x".repeat(200));
                let action = json!([{"match": {"prefix": "/"}, "route": {"cluster": NAME}}]);
                virtual_host(&format!("v{number}"), &[domain.as_str()], action)
            })
            .chain([giant["virtual_hosts"][0].clone()])
            .collect();
        giant["virtual_hosts"] = hosts.into();
        let mark = mesh.plane.mark();
        mesh.plane.set(ROUTE, NAME, &giant);
        mesh.plane.acked(mark, ROUTE);
        mesh.serves("giant");
        load.goes_on(3);
        load.end();
        // Removed: nobody listens. Added again: somebody does.
        mesh.plane.publish(std::collections::BTreeMap::clear);
        let refused = || std::net::TcpStream::connect(mesh.address()).is_err();
        assert!(crate::support::process::settles(
            crate::support::PATIENCE,
            refused
        ));
        mesh.publish("again");
        mesh.serves("again");
    }
}
