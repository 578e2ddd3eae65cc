//! TLS on both sides: which chain a client meets, what the upstream is told about it.

use serde_json::{Value, json};

use super::to;
use crate::case::{Case, PORT, Side, Table, case, does};
use crate::support::PATIENCE;
use crate::support::config::{
    any, cluster, extension, json_log, listener, listener_with, log_fields, manager, virtual_host,
};
use crate::support::http1::{Connection, get};
use crate::support::http2 as h2;
use crate::support::tls::{Authority, ClientTls, Identity, ServerIdentity};
use crate::support::transcript::Transcript;
use crate::support::upstream::Upstream;
use crate::support::upstream2::Upstream2;

/// The details that mutual TLS tells on.
const DETAILS: [&str; 4] = ["append", "sanitize", "forward", "always"];

#[test]
fn secure() {
    let mut table = Table::new("secure", &["one"]);
    let authority = Authority::new("root");
    let stranger = Authority::new("stranger");
    let server = authority.sign(
        "server",
        &["server.test", "upstream.test"],
        &["spiffe://cluster.local/ns/one/sa/server"],
    );
    table.upstreams.push(Upstream::https(
        "tls",
        &table.log,
        ServerIdentity::new(&server, &["http/1.1"], None),
    ));
    table.upstreams.push(Upstream::https(
        "mutual",
        &table.log,
        ServerIdentity::new(&server, &[], Some(&authority.root())),
    ));
    table.upstreams2.push(Upstream2::tls(
        "second",
        &table.log,
        ServerIdentity::new(&server, &["h2", "http/1.1"], None),
    ));
    let ports = table.ports(&[0, 1, 2]);
    let second = table.upstreams2[0].port();
    let client = authority.sign(
        "client",
        &["client.test"],
        &["spiffe://cluster.local/ns/one/sa/client"],
    );
    let unknown = stranger.sign(
        "unknown",
        &[],
        &["spiffe://cluster.local/ns/one/sa/unknown"],
    );
    let chains = [
        ("exact", "a.test"),
        ("wild", "b.test"),
        ("fallback", "c.test"),
    ]
    .map(|(name, host)| (name, authority.sign(name, &[host], &[])));
    let root = authority.root();
    let own = client.clone();
    table.resources = Box::new(move |place| {
        std::fs::write(place.folder().join("root.crt"), &root).unwrap();
        own.write(place.folder(), "client");
        server.write(place.folder(), "server");
        for (name, identity) in &chains {
            identity.write(place.folder(), name);
        }
        let mut listeners = vec![by_name(place), plain(place)];
        for (detail, port) in DETAILS.iter().zip(PORT + 1..) {
            listeners.push(mutual(place, detail, port));
        }
        (listeners, clusters(&ports, second))
    });
    table.cases = [chosen(), details(client, unknown), upstreams()]
        .into_iter()
        .flatten()
        .collect();
    table.run();
}

fn files(name: &str) -> Value {
    json!([{"certificate_chain": {"filename": format!("{name}.crt")}, "private_key": {"filename": format!("{name}.key")}}])
}

fn downstream(common: Value, require: bool) -> Value {
    extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": common, "require_client_certificate": require}),
    )
}

fn hosts() -> Value {
    let routes = [
        "tls",
        "mutual",
        "second",
        "wrong-name",
        "wrong-root",
        "auto",
    ]
    .map(|name| to(name, json!({"prefix": format!("/{name}")}), name));
    let mut routes = routes.to_vec();
    routes.push(to("rest", json!({"prefix": "/"}), "one"));
    json!([virtual_host("all", &["*"], routes.into())])
}

fn log() -> Value {
    let mut fields = log_fields();
    for (name, operator) in [
        ("tls", "DOWNSTREAM_TLS_VERSION"),
        ("peer_san", "DOWNSTREAM_PEER_URI_SAN"),
        ("local_san", "DOWNSTREAM_LOCAL_URI_SAN"),
        ("subject", "DOWNSTREAM_PEER_SUBJECT"),
        ("issuer", "DOWNSTREAM_PEER_ISSUER"),
    ] {
        fields[name] = format!("%{operator}%").into();
    }
    json!([json_log(fields)])
}

/// Three chains by server name, and one by protocol.
fn by_name(place: &crate::support::place::Place) -> Value {
    let chain = |name: &str, matcher: Value, protocols: &[&str]| {
        json!({"name": name, "filter_chain_match": matcher,
            "filters": [manager(name, hosts(), Vec::new(), json!({"access_log": log()}))],
            "transport_socket": downstream(json!({"tls_certificates": files(name), "alpn_protocols": protocols}), false)})
    };
    listener_with(
        place,
        "names",
        PORT,
        json!({
            "listener_filters": [extension("envoy.filters.listener.tls_inspector", "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", json!({}))],
            "filter_chains": [
                chain("exact", json!({"server_names": ["a.test"]}), &["h2", "http/1.1"]),
                chain("wild", json!({"server_names": ["*.b.test"]}), &["http/1.1"]),
            ],
            "default_filter_chain": chain("fallback", json!({}), &[]),
        }),
    )
}

fn plain(place: &crate::support::place::Place) -> Value {
    listener(
        place,
        "plain",
        PORT + 9,
        vec![manager("plain", hosts(), Vec::new(), json!({}))],
    )
}

fn mutual(place: &crate::support::place::Place, name: &str, port: u16) -> Value {
    let mode = match name {
        "append" => "APPEND_FORWARD",
        "sanitize" => "SANITIZE_SET",
        "forward" => "FORWARD_ONLY",
        _ => "ALWAYS_FORWARD_ONLY",
    };
    let fields = json!({"access_log": log(), "forward_client_cert_details": mode,
        "set_current_client_cert_details": {"subject": true, "uri": true, "dns": true}});
    listener_with(
        place,
        name,
        port,
        json!({"filter_chains": [{"filters": [manager(name, hosts(), Vec::new(), fields)],
        "transport_socket": downstream(json!({"tls_certificates": files("server"), "validation_context": {"trusted_ca": {"filename": "root.crt"}}}), name == "sanitize")}]}),
    )
}

fn clusters(ports: &[u16], second: u16) -> Vec<Value> {
    let upstream = |common: Value, sni: &str| {
        json!({"transport_socket": extension("envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            json!({"common_tls_context": common, "sni": sni}))})
    };
    let trusted = |name: &str| {
        json!({"validation_context": {"trusted_ca": {"filename": "root.crt"}, "match_typed_subject_alt_names": [
            {"san_type": "DNS", "matcher": {"exact": name}}]}})
    };
    let mut with_client = trusted("server.test");
    with_client["tls_certificates"] = files("client");
    let mut spiffe = trusted("x");
    spiffe["validation_context"]["match_typed_subject_alt_names"] = json!([{"san_type": "URI", "matcher": {"exact": "spiffe://cluster.local/ns/one/sa/server"}}]);
    spiffe["alpn_protocols"] = json!(["h2"]);
    let mut second_fields = upstream(spiffe, "second.test");
    second_fields["typed_extension_protocol_options"] =
        crate::support::config::http2()["typed_extension_protocol_options"].clone();
    let mut auto = upstream(trusted("server.test"), "auto.test");
    auto["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
        any("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", json!({"auto_config": {}}))});
    let mut foreign = trusted("server.test");
    foreign["validation_context"]["trusted_ca"]["filename"] = "exact.crt".into();
    vec![
        cluster("one", &ports[..1], json!({})),
        cluster(
            "tls",
            &ports[1..2],
            upstream(trusted("upstream.test"), "sni.test"),
        ),
        cluster("mutual", &ports[2..3], upstream(with_client, "")),
        cluster(
            "wrong-name",
            &ports[1..2],
            upstream(trusted("other.test"), "x.test"),
        ),
        cluster("wrong-root", &ports[1..2], upstream(foreign, "x.test")),
        cluster("second", &[second], second_fields),
        cluster("auto", &[second], auto),
    ]
}

/// Which certificate and protocol a client meets, and one request over them.
fn meets(side: &Side<'_>, transcript: &mut Transcript, tls: &ClientTls<'_>, request: &[u8]) {
    let handshake = match tls.connect(side.process.at(side.port)) {
        Ok(handshake) => handshake,
        Err(error) => return transcript.line(format!("no handshake: {error}")),
    };
    transcript.line(format!("protocol {:?}", handshake.protocol));
    for name in ["exact", "wild", "fallback", "server"] {
        if handshake
            .certificate
            .windows(name.len())
            .any(|window| window == name.as_bytes())
        {
            transcript.line(format!("certificate {name}"));
            break;
        }
    }
    if handshake.protocol.as_deref() == Some("h2") {
        let mut client = h2::Client::over(Box::new(handshake.stream), handshake.socket);
        client.send(&h2::headers(
            1,
            true,
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "a.test"),
                (":path", "/"),
            ],
        ));
        transcript.answer(&client.answer(1, PATIENCE));
        return;
    }
    let mut connection = Connection::over(Box::new(handshake.stream), handshake.socket);
    connection.send(request);
    transcript.response(&connection.response(false));
}

fn chosen() -> Vec<Case> {
    let by = |name: &str,
              server_name: Option<&'static str>,
              protocols: &'static [&'static str],
              expect: &[&str]| {
        does(name, expect, move |side, transcript| {
            meets(
                side,
                transcript,
                &ClientTls {
                    server_name,
                    protocols,
                    identity: None,
                },
                &get("/").bytes(),
            );
        })
    };
    vec![
        by(
            "chain of a name",
            Some("a.test"),
            &["http/1.1"],
            &[
                "certificate exact",
                "status 200",
                "log server_name \"a.test\"",
                "upstream one header x-forwarded-proto: https",
            ],
        ),
        by(
            "chain of a name in another case",
            Some("A.TEST"),
            &[],
            &["certificate exact"],
        ),
        by(
            "chain of a name over HTTP/2",
            Some("a.test"),
            &["h2", "http/1.1"],
            &["protocol Some(\"h2\")", "status 200 HTTP/2"],
        ),
        by(
            "chain of a wildcard",
            Some("x.b.test"),
            &[],
            &["certificate wild"],
        ),
        by(
            "chain of a deeper wildcard",
            Some("x.y.b.test"),
            &[],
            &["certificate wild"],
        ),
        by(
            "wildcard does not take the bare name",
            Some("b.test"),
            &[],
            &["certificate fallback"],
        ),
        by(
            "no name",
            None,
            &[],
            &["certificate fallback", "log server_name null"],
        ),
        by(
            "no protocol in common",
            Some("x.b.test"),
            &["foo"],
            &["certificate wild"],
        ),
        by(
            "protocol not offered",
            Some("x.b.test"),
            &["h2"],
            &["certificate wild"],
        ),
        case("no tls at all", get("/"), &["no response: closed"])
            .logs(0)
            .differs(
                "RFC 8446 section 6.2: an alert goes before the end; it tells a client without TLS what it did wrong",
                &["no response: broken: closed after \"\\u{15}\\u{3}"],
            ),
    ]
}

fn details(client: Identity, unknown: Identity) -> Vec<Case> {
    let mut cases = Vec::new();
    let claims = [
        ("nothing claimed", None),
        (
            "something claimed",
            Some("By=spiffe://x;Hash=00;URI=spiffe://y"),
        ),
    ];
    for (detail, port) in DETAILS.iter().zip(PORT + 1..) {
        for (name, claim) in claims {
            for (whose, identity) in [("client", Some(client.clone())), ("nobody", None)] {
                let request = claim.iter().fold(get("/"), |request, claim| {
                    request.header("x-forwarded-client-cert", claim)
                });
                let expect: &[&str] = if whose == "client" {
                    &["status 200"]
                } else {
                    &["protocol "]
                };
                let logs = usize::from(whose == "client" || *detail != "sanitize");
                cases.push(
                    does(
                        &format!("{detail}: {name}, {whose}"),
                        expect,
                        move |side, transcript| {
                            meets(
                                side,
                                transcript,
                                &ClientTls {
                                    identity: identity.as_ref(),
                                    ..ClientTls::default()
                                },
                                &request.bytes(),
                            );
                        },
                    )
                    .port(port)
                    .logs(logs),
                );
            }
        }
    }
    cases.push(
        does(
            "certificate of a stranger",
            &["protocol ", "no response"],
            move |side, transcript| {
                meets(
                    side,
                    transcript,
                    &ClientTls {
                        identity: Some(&unknown),
                        ..ClientTls::default()
                    },
                    &get("/").bytes(),
                );
            },
        )
        .port(PORT + 1)
        .logs(0),
    );
    cases
}

fn upstreams() -> Vec<Case> {
    let through =
        |name: &str, target: &str, expect: &[&str]| case(name, get(target), expect).port(PORT + 9);
    vec![
        through(
            "upstream over tls",
            "/tls",
            &["status 200", "upstream tls tls: sni=sni.test"],
        ),
        through(
            "upstream with our certificate",
            "/mutual",
            &["status 200", "upstream mutual tls: sni=- * client=1"],
        ),
        through(
            "upstream over HTTP/2",
            "/second",
            &["status 200", "upstream second tls: sni=second.test alpn=h2"],
        ),
        through(
            "upstream chosen by its protocol",
            "/auto",
            &["status 200", "upstream second tls: sni=auto.test alpn=h2"],
        ),
        through(
            "upstream of another name",
            "/wrong-name",
            &[
                "status 503",
                "log flags \"UF\"",
                "log transport_failure \"TLS_error",
            ],
        )
        .differs(REASON, VERIFY_FAILED),
        through(
            "upstream of another root",
            "/wrong-root",
            &["status 503", "log flags \"UF\""],
        )
        .differs(REASON, VERIFY_FAILED),
    ]
}

/// Where a handshake with the host fails, the log's details differ and nothing else does.
const REASON: &str = "the texts of TLS errors are those of the library, BoringSSL's with numbers of its source; \
                      ours has the word that alerts look for";
const VERIFY_FAILED: &[&str] = &[
    "status 503 Service Unavailable",
    "body \"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure\"",
    "log flags \"UF\"",
    "log details \"upstream_reset_before_response_started{remote_connection_failure|CERTIFICATE_VERIFY_FAILED}\"",
    "log transport_failure \"CERTIFICATE_VERIFY_FAILED\"",
    "log upstream \"",
    "log attempts 1",
    "reached 0 times",
];
