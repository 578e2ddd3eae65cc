//! Secrets that do not come, and certificates as the admin port shows them.

use std::net::TcpStream;

use serde_json::{Value, json};

use super::to;
use crate::case::{PORT, Table, case, does};
use crate::support::config::{
    bootstrap, cluster, extension, http2, listener, listener_with, manager, virtual_host,
};
use crate::support::http1::{Connection, get};
use crate::support::place::ADMIN_PORT;
use crate::support::process::{Process, Program};
use crate::support::tls::{Authority, ClientTls};
use crate::support::upstream::{Upstream, dead_port};

#[test]
fn secrets() {
    let mut table = Table::new("secrets", &["one"]);
    let ports = table.ports(&[0]);
    let dead = dead_port();
    let authority = Authority::new("root");
    let server = authority.sign(
        "server",
        &["server.test"],
        &["spiffe://cluster.local/ns/one/sa/server"],
    );
    table.resources = Box::new(move |place| {
        server.write(place.folder(), "server");
        std::fs::write(place.folder().join("root.crt"), authority.root()).unwrap();
        let routes = json!([
            to("secured", json!({"prefix": "/secured"}), "secured"),
            to("rest", json!({"prefix": "/"}), "one"),
        ]);
        let filter = |name: &str| {
            manager(
                name,
                json!([virtual_host("all", &["*"], routes.clone())]),
                Vec::new(),
                json!({}),
            )
        };
        let late =
            downstream(json!({"tls_certificate_sds_secret_configs": [sds("default", "0.2s")]}));
        let files = downstream(json!({
            "tls_certificates": [{"certificate_chain": {"filename": "server.crt"}, "private_key": {"filename": "server.key"}}],
            "validation_context": {"trusted_ca": {"filename": "root.crt"}},
        }));
        let secured = extension(
            "envoy.transport_sockets.tls",
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            json!({"common_tls_context": {"validation_context_sds_secret_config": sds("ROOTCA", "0.2s")}, "sni": "x"}),
        );
        let chain = |name: &str, socket: &Value| json!({"filter_chains": [{"filters": [filter(name)], "transport_socket": socket}]});
        (
            vec![
                listener(place, "plain", PORT, vec![filter("plain")]),
                listener_with(place, "late", PORT + 1, chain("late", &late)),
                listener_with(place, "files", PORT + 2, chain("files", &files)),
            ],
            vec![
                cluster("one", &ports, json!({})),
                cluster("sds", &[dead], http2()),
                cluster("secured", &ports, json!({"transport_socket": secured})),
            ],
        )
    });
    table.cases = vec![
        case("a plaintext listener serves", get("/"), &["status 200 *"]),
        does(
            "a listener without its certificate closes",
            &["no handshake"],
            |side, transcript| {
                let tls = ClientTls::default();
                // The listener waits for its secret first; who comes meanwhile is turned away without being counted.
                let mut shaken = false;
                let missed = crate::support::poll(crate::support::PATIENCE, || {
                    shaken |= tls.connect(side.process.at(PORT + 1)).is_ok();
                    let (_, body) = side
                        .process
                        .admin("GET", "/stats?filter=downstream_context_secrets_not_ready")
                        .unwrap();
                    let counted = |line: &str| {
                        let value = line.rsplit_once("secrets_not_ready: ");
                        value.is_some_and(|(_, count)| count != "0")
                    };
                    body.lines().any(counted).then_some(())
                })
                .is_some();
                transcript.line(if shaken {
                    "a handshake"
                } else {
                    "no handshake"
                });
                transcript.line(format!("counted {missed}"));
            },
        )
        .logs(0)
        .without(&["log ", "0 log", "1 log"]),
        case(
            "a cluster without its roots fails",
            get("/secured"),
            &["status 503 *"],
        )
        // How it is worded which secret is missing is each program's own affair.
        .without(&[
            "body",
            "header content-length",
            "log transport_failure",
            "log details",
            "log sent",
        ]),
        does("certificates", &["chain *"], |side, transcript| {
            let (status, body) = side.process.admin("GET", "/certs").unwrap();
            transcript.line(format!("admin {status}"));
            let page: Value = serde_json::from_str(&body).unwrap();
            for entry in page["certificates"].as_array().unwrap() {
                for (kind, list) in [("root", "ca_cert"), ("chain", "cert_chain")] {
                    for certificate in entry[list].as_array().unwrap() {
                        transcript.line(format!("{kind} {certificate}"));
                    }
                }
            }
            let (_, body) = side
                .process
                .admin("GET", "/stats?filter=days_until_first_cert")
                .unwrap();
            transcript.line(body.trim());
        })
        .logs(0),
    ];
    table.run();
}

/// Where Envoy would not listen at all we serve what needs no secret, and say that we are not ready.
#[test]
fn secrets_that_never_come() {
    let log = crate::support::upstream::Log::default();
    let one = Upstream::http("one", &log);
    let dead = dead_port();
    let mut process = Process::proxy_unready(Program::Carbyne, |place| {
        let host = || {
            json!([virtual_host(
                "all",
                &["*"],
                json!([to("one", json!({"prefix": "/"}), "one")])
            )])
        };
        let filter = |name: &str| manager(name, host(), Vec::new(), json!({}));
        let mutual =
            downstream(json!({"tls_certificate_sds_secret_configs": [sds("default", "0s")]}));
        let tls = json!({"filter_chain_match": {"transport_protocol": "tls"}, "filters": [filter("tls")], "transport_socket": mutual});
        let permissive = json!({
            "listener_filters": [extension("envoy.filters.listener.tls_inspector", "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", json!({}))],
            "filter_chains": [tls, {"filters": [filter("plain")]}],
        });
        let strict = json!({"filter_chains": [{"filters": [filter("strict")], "transport_socket": downstream(json!({"tls_certificate_sds_secret_configs": [sds("default", "0s")]}))}]});
        bootstrap(
            place,
            vec![
                listener_with(place, "permissive", PORT, permissive),
                listener_with(place, "strict", PORT + 1, strict),
            ],
            vec![
                cluster("one", &[one.port()], json!({})),
                cluster("sds", &[dead], http2()),
            ],
        )
    });
    process.wait_for_port(ADMIN_PORT);
    process.wait_for_port(PORT);
    let mut connection = Connection::open(process.at(PORT)).unwrap();
    connection.send(&get("/").bytes());
    assert_eq!(connection.response(false).unwrap().status, 200);
    assert!(ClientTls::default().connect(process.at(PORT)).is_err());
    assert!(
        TcpStream::connect(process.at(PORT + 1)).is_err(),
        "nothing of it can be served"
    );
    let (status, body) = process.admin("GET", "/ready").unwrap();
    assert_eq!((status, body.trim()), (503, "INITIALIZING"));
    let (_, body) = process.admin("GET", "/init_dump").unwrap();
    for name in ["listener permissive", "listener strict", "sds default"] {
        assert!(body.contains(name), "{name} in {body}");
    }
}

fn downstream(common: Value) -> Value {
    extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": common}),
    )
}

/// A secret of a service that nobody runs.
fn sds(name: &str, patience: &str) -> Value {
    json!({"name": name, "sds_config": {"resource_api_version": "V3", "initial_fetch_timeout": patience, "api_config_source": {
        "api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "sds"}}]}}})
}
