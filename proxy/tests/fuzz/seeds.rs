//! Targets, and what their seeds are made of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use carbyne_engine::http::{canonical, h1, h2};
use carbyne_engine::tls::{hello, sniff};
use carbyne_protos::json;
use carbyne_proxy::filter::{metadata_exchange, rbac};
use carbyne_proxy::wire::bootstrap;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};

use crate::support::hpack;
use crate::support::http2::{self, PREFACE};
use crate::support::report_cases;

type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

const TARGETS: [Target; 11] = [
    ("bootstrap", bootstrap::fuzz, bootstraps),
    ("canonical", canonical::fuzz_canonical, places),
    ("client_hello", hello::fuzz_hello, hellos),
    ("h1_chunked", h1::chunked::fuzz_chunked, chunks),
    ("h1_heads", h1::head::fuzz_heads, heads),
    ("h1_round_trip", h1::encode::fuzz_round_trip, heads),
    ("h2_frames", h2::fuzz::frames, frames),
    ("h2_hpack", h2::fuzz::hpack, blocks),
    ("metadata_exchange", metadata_exchange::tcp::fuzz, peers),
    ("rbac", rbac::fuzz::fuzz_rbac, rules),
    ("sniff", sniff::fuzz_sniff, heads),
];

#[test]
fn every_seed_is_replayed() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    if std::env::var("CARBYNE_WRITE_SEEDS").is_ok_and(|value| value == "1") {
        write(&home);
    }
    let mut replayed = 0;
    for (name, target, _) in TARGETS {
        let files = files(&home.join("seeds").join(name));
        assert!(files.len() >= 4, "{name} has {} seeds", files.len());
        for file in &files {
            // The name shows up with a panic.
            println!("{}", file.display());
            target(&std::fs::read(file).unwrap());
        }
        replayed += files.len();
    }
    report_cases("fuzz seeds", replayed, replayed);
    // Each target has its program, and each program is replayed here.
    let programs: BTreeSet<_> = files(&home.join("targets"))
        .iter()
        .map(|file| file.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let replayed: BTreeSet<_> = TARGETS.iter().map(|target| target.0.to_owned()).collect();
    assert_eq!(programs, replayed);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn write(home: &Path) {
    for (name, _, seeds) in TARGETS {
        let folder = home.join("seeds").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds().into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:02}")), seed).unwrap();
        }
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn bootstraps() -> Vec<Vec<u8>> {
    let route = json!({"match": {"safe_regex": {"regex": "/a.*"}}, "route": {"cluster": "c", "timeout": "1.5s"}});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    });
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let bootstrap = json!({
        "node": {"id": "sidecar~10.0.0.1~a.b~c", "cluster": "a", "metadata": {"LABELS": {"app": "a"}}},
        "admin": {"address": address},
        "static_resources": {
            "listeners": [{"name": "l", "address": address, "filter_chains": [{"filter_chain_match": {"server_names": ["a.test"]}, "filters": [{"name": "h", "typed_config": manager}]}]}],
            "clusters": [{"name": "c", "type": "STRICT_DNS", "connect_timeout": "1s", "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}}],
        },
        "stats_config": {"stats_tags": [{"tag_name": "a", "regex": "^a(.*)b$"}]},
    });
    let discovery = json!({"dynamic_resources": {"ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "c"}}]}, "cds_config": {"ads": {}}, "lds_config": {"ads": {}}}});
    let mut encoded = bootstrap.clone();
    encoded["@type"] = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap".into();
    let mut seeds = vec![
        bootstrap.to_string().into_bytes(),
        discovery.to_string().into_bytes(),
        json::any_from_json(&encoded).unwrap().value,
    ];
    seeds.extend(texts(&[
        "admin: {address: {socket_address: {address: ::1, port_value: 15000}}}\nnode:\n  id: a\n",
        "static_resources:\n  clusters:\n  - name: c\n    connect_timeout: 0.25s\n    lb_policy: MAGLEV\n",
        "static_resources:\n  clusters: &c\n  - name: c\n    connect_timeout: 1h\n  listeners: *c\n",
        "{\"nodeId\": 1, \"node\": {\"id\": [1.5e300, null, true]}}",
    ]));
    seeds
}

fn places() -> Vec<Vec<u8>> {
    texts(&[
        "a.test\n/a/../b//c/%2e%2E/d?q=1#f",
        "A.TEST.:80\n/%2F/%5c\\..",
        "[::1]:8080\n//",
        "user@a\n*",
        "a\n/\u{0}%00%zz",
        "/just/a/path/./",
    ])
}

fn hellos() -> Vec<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let hello = |name: &'static str, alpn: &[&[u8]]| {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(name).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    };
    let whole = hello(
        "outbound_.80_._.a.test",
        &[b"istio-peer-exchange", b"istio", b"h2"],
    );
    // The same in two records.
    let (head, body) = whole.split_at(5);
    let (first, second) = body.split_at(40);
    let mut split = Vec::new();
    for part in [first, second] {
        split.extend_from_slice(&head[..3]);
        split.extend_from_slice(&(part.len() as u16).to_be_bytes());
        split.extend_from_slice(part);
    }
    vec![
        hello("a.test", &[]),
        hello("127.0.0.1", &[b"http/1.1"]),
        whole[..60].to_vec(),
        whole,
        split,
        b"GET / HTTP/1.1\r\n".to_vec(),
    ]
}

fn chunks() -> Vec<Vec<u8>> {
    texts(&[
        "5\r\nhello\r\n0\r\n\r\n",
        "a;x=y\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "0000005\r\nhello\r\n",
        "5\nhello\n0\n\n",
        "0\r\ncontent-length: 1\r\n\r\nGET",
    ])
}

fn heads() -> Vec<Vec<u8>> {
    texts(&[
        "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n",
        "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: keep-alive, x\r\nX: 1\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n",
        "GET http://a.test/x HTTP/1.0\r\ncookie: a=b\r\ncookie: c=d\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "GET /\t HTTP/1.1\r\nhost : a\r\n folded\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ])
}

fn frames() -> Vec<Vec<u8>> {
    let request = http2::headers(
        1,
        false,
        &[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ],
    );
    let open = [PREFACE, &http2::settings(&[(3, 100), (4, 65535)])].concat();
    let mut continued = http2::frame(http2::kind::HEADERS, 0, 3, &request[9..15]);
    for _ in 0..4 {
        continued.extend(http2::frame(http2::kind::CONTINUATION, 0, 3, b""));
    }
    vec![
        [
            open.clone(),
            request.clone(),
            http2::data(1, true, b"hello"),
        ]
        .concat(),
        [open.clone(), request.clone(), http2::reset(1, 8)].concat(),
        [
            open.clone(),
            http2::frame(http2::kind::PING, 0, 0, &[0; 8]),
            http2::goaway(0, 0),
        ]
        .concat(),
        [open.clone(), continued].concat(),
        [
            request,
            http2::data(1, false, b""),
            http2::window_update(0, 1),
        ]
        .concat(),
        open,
    ]
}

fn blocks() -> Vec<Vec<u8>> {
    let fields = [("x-a", "1"), ("x-b", "2"), ("accept", "*/*")];
    let mut kept = Vec::new();
    for _ in 0..2 {
        hpack::indexed_literal(&mut kept, b"x-a", b"1");
        hpack::index(&mut kept, 62);
    }
    let mut resized = Vec::new();
    hpack::integer(&mut resized, 0x20, 5, 100);
    resized.extend(hpack::block(&fields));
    vec![
        // RFC 7541 appendix C.4.1: Huffman's code.
        vec![
            0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab,
            0x90, 0xf4, 0xff,
        ],
        hpack::block(&fields),
        kept,
        resized,
        hpack::block(&[(":path", "/"), ("X-Upper", "\r\n")]),
    ]
}

fn peers() -> Vec<Vec<u8>> {
    let any = |value: Value| json::any_from_json(&value).unwrap();
    let peer = any(
        json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": {
            "x-envoy-peer-metadata": {"NAME": "a-1", "NAMESPACE": "ns", "LABELS": {"app": "a"}, "WORKLOAD_NAME": "a"},
            "x-envoy-peer-metadata-id": "sidecar~10.0.0.1~a-1.ns~ns.svc.cluster.local",
        }}),
    );
    let payload = prost::Message::encode_to_vec(&peer);
    let frame = |magic: u32, length: u32, payload: &[u8]| {
        [&magic.to_be_bytes()[..], &length.to_be_bytes(), payload].concat()
    };
    let length = payload.len() as u32;
    vec![
        frame(0x3D23_0467, length, &payload),
        frame(0x3D23_0467, length, &payload[..payload.len() / 2]),
        frame(0x3D23_0467, u32::MAX, b""),
        frame(0x3D23_0467, 0, b"GET / HTTP/1.1"),
        frame(0, length, &payload),
    ]
}

fn rules() -> Vec<Vec<u8>> {
    let rbac = |action: &str, permission: Value, principal: Value| json!({"rules": {"action": action, "policies": {"ns[a]-policy[b]-rule[0]": {"permissions": [permission], "principals": [principal]}}}});
    let header = json!({"header": {"name": ":method", "string_match": {"exact": "GET"}}});
    let path = json!({"url_path": {"path": {"safe_regex": {"regex": "/a/.*"}}}});
    let spiffe = json!({"authenticated": {"principal_name": {"suffix": "/ns/a/sa/b"}}});
    let address = json!({"direct_remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}});
    let metadata = json!({"metadata": {"filter": "istio_authn", "path": [{"key": "request.auth.claims"}, {"key": "iss"}], "value": {"list_match": {"one_of": {"string_match": {"exact": "i"}}}}}});
    let all = [
        rbac(
            "ALLOW",
            json!({"and_rules": {"rules": [{"or_rules": {"rules": [header, path]}}, {"destination_port": 80}]}}),
            json!({"and_ids": {"ids": [spiffe, address]}}),
        ),
        rbac(
            "DENY",
            json!({"not_rule": {"any": true}}),
            json!({"not_id": {"or_ids": {"ids": [metadata, {"any": true}]}}}),
        ),
        rbac(
            "LOG",
            json!({"requested_server_name": {"prefix": "a"}}),
            json!({"source_ip": {"address_prefix": "::1", "prefix_len": 128}}),
        ),
        json!({"shadow_rules": {"policies": {}}, "shadow_rules_stat_prefix": "x_"}),
        json!({}),
    ];
    let encoded = all.into_iter().map(|mut value| {
        value["@type"] = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC".into();
        json::any_from_json(&value).unwrap().value
    });
    encoded.collect()
}
