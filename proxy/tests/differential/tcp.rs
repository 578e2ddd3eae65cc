//! Streams of bytes: tcp_proxy with half-close, who is chosen, who refuses.

use serde_json::{Value, json};

use crate::case::{Case, PORT, Side, Table, does};
use crate::support::PATIENCE;
use crate::support::config::{cluster, json_log, listener, listener_with, network_filter};
use crate::support::http1::{End, get};
use crate::support::transcript::Transcript;
use crate::support::upstream::{Act, Upstream, dead_port, raw};

#[test]
fn tcp() {
    let mut table = Table::new("tcp", &[]);
    table.upstreams.push(Upstream::tcp("bytes", &table.log));
    let ports = table.ports(&[0]);
    let dead = dead_port();
    table.resources = Box::new(move |place| {
        let rbac = |action: &str| {
            network_filter(
                "envoy.filters.network.rbac",
                "rbac.v3.RBAC",
                json!({"stat_prefix": "tcp", "rules": {"action": action,
            "policies": {"everybody": {"permissions": [{"any": true}], "principals": [{"direct_remote_ip": {"address_prefix": "127.0.0.1", "prefix_len": 32}}]}}}}),
            )
        };
        let weights = json!({"weighted_clusters": {"clusters": [{"name": "bytes", "weight": 1}]}});
        let listeners = vec![
            listener(
                place,
                "plain",
                PORT,
                vec![proxy(json!({"cluster": "bytes"}))],
            ),
            listener(
                place,
                "dead",
                PORT + 1,
                vec![proxy(json!({"cluster": "dead", "max_connect_attempts": 2}))],
            ),
            listener(place, "weights", PORT + 2, vec![proxy(weights)]),
            listener(
                place,
                "idle",
                PORT + 3,
                vec![proxy(json!({"cluster": "bytes", "idle_timeout": "0.1s"}))],
            ),
            listener(
                place,
                "missing",
                PORT + 4,
                vec![proxy(json!({"cluster": "nowhere"}))],
            ),
            listener(
                place,
                "denied",
                PORT + 5,
                vec![rbac("DENY"), proxy(json!({"cluster": "bytes"}))],
            ),
            listener(
                place,
                "allowed",
                PORT + 6,
                vec![rbac("ALLOW"), proxy(json!({"cluster": "bytes"}))],
            ),
            listener(
                place,
                "duration",
                PORT + 7,
                vec![proxy(
                    json!({"cluster": "bytes", "max_downstream_connection_duration": "0.1s"}),
                )],
            ),
            listener(
                place,
                "empty",
                PORT + 8,
                vec![proxy(json!({"cluster": "empty"}))],
            ),
            listener_with(
                place,
                "by-source",
                PORT + 9,
                json!({"filter_chains": [{"name": "nobody", "filter_chain_match":
                {"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}, "filters": [proxy(json!({"cluster": "bytes"}))]}]}),
            ),
        ];
        (
            listeners,
            vec![
                cluster("bytes", &ports, json!({})),
                cluster("dead", &[dead], json!({})),
                cluster("empty", &[], json!({})),
            ],
        )
    });
    table.cases = cases();
    table.run();
}

fn proxy(fields: Value) -> Value {
    let mut proxy = fields;
    proxy["stat_prefix"] = "tcp".into();
    proxy["access_log"] = json!([json_log(json!({
        "flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%", "termination": "%CONNECTION_TERMINATION_DETAILS%",
        "received": "%BYTES_RECEIVED%", "sent": "%BYTES_SENT%", "upstream": "%UPSTREAM_HOST%", "cluster": "%UPSTREAM_CLUSTER%",
        "status": "%RESPONSE_CODE%", "method": "%REQ(:METHOD)%", "protocol": "%PROTOCOL%", "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "route": "%ROUTE_NAME%", "wire_received": "%UPSTREAM_WIRE_BYTES_RECEIVED%",
        "wire_sent": "%UPSTREAM_WIRE_BYTES_SENT%",
    }))]);
    network_filter(
        "envoy.filters.network.tcp_proxy",
        "tcp_proxy.v3.TcpProxy",
        proxy,
    )
}

fn end(transcript: &mut Transcript, bytes: &[u8], end: &End) {
    transcript.line(format!(
        "bytes {:?}, then {end}",
        String::from_utf8_lossy(bytes)
    ));
}

/// Says something, ends its direction, and reads all.
fn says(text: &'static str) -> impl Fn(&Side<'_>, &mut Transcript) {
    move |side, transcript| {
        let mut connection = side.connect();
        connection.send(text.as_bytes());
        connection.finish();
        let (bytes, reason) = connection.read_to_end(PATIENCE);
        end(transcript, &bytes, &reason);
    }
}

/// Says something and waits for the other side to end. Where nobody may read what is said, nothing is: it is
/// chance whether the kernel makes a reset of an end behind which there are bytes that nobody read.
fn listens(text: &'static str) -> impl Fn(&Side<'_>, &mut Transcript) {
    move |side, transcript| {
        let mut connection = side.connect();
        connection.send(text.as_bytes());
        let (bytes, reason) = connection.read_to_end(PATIENCE);
        end(transcript, &bytes, &reason);
    }
}

fn cases() -> Vec<Case> {
    vec![
        does(
            "echo",
            &[
                "bytes \"hello\", then closed",
                "log received 5",
                "log sent 5",
                "log cluster \"bytes\"",
            ],
            says("hello"),
        ),
        does(
            "nothing said",
            &["bytes \"\", then closed", "log received 0"],
            says(""),
        ),
        does(
            "upstream speaks first",
            &["bytes \"greeting\", then closed"],
            says(""),
        )
        .script(0, vec![vec![raw("greeting"), Act::Close]]),
        does(
            "upstream ends first",
            &["log sent 3"],
            |side, transcript| {
                let mut connection = side.connect();
                transcript.line(format!("first {:?}", connection.read_exactly(3)));
                transcript.line(format!("end {:?}", connection.closes(PATIENCE)));
                connection.send(b"still here");
                connection.finish();
            },
        )
        .script(
            0,
            vec![vec![raw("bye"), Act::Finish, Act::Expect(10), Act::Close]],
        ),
        does("upstream resets", &["bytes \"\", then "], listens("x"))
            .script(0, vec![vec![Act::Expect(1), Act::Reset]]),
        does("client resets", &["log received 1"], |side, transcript| {
            let mut connection = side.connect();
            connection.send(b"x");
            transcript.line(format!("echo {:?}", connection.read_exactly(1)));
            connection.reset();
        }),
        does("megabyte", &["bytes 1000000"], |side, transcript| {
            let mut connection = side.connect();
            connection.send(&vec![7; 1_000_000]);
            connection.finish();
            let (bytes, reason) = connection.read_to_end(PATIENCE);
            transcript.line(format!("bytes {}, then {reason}", bytes.len()));
        })
        .script(
            0,
            vec![vec![
                Act::Expect(1_000_000),
                Act::Send(vec![7; 1_000_000]),
                Act::Close,
            ]],
        ),
        does(
            "nobody there",
            &["bytes \"\", then closed", "log flags \"UF,URX\""],
            listens(""),
        )
        .port(PORT + 1),
        does(
            "weights",
            &["bytes \"hi\"", "log cluster \"bytes\""],
            says("hi"),
        )
        .port(PORT + 2),
        does(
            "idle",
            &["bytes \"x\", then ", "log received 1"],
            listens("x"),
        )
        .port(PORT + 3),
        does(
            "cluster is missing",
            &["bytes \"\", then closed", "log flags \"NC\""],
            listens(""),
        )
        .port(PORT + 4),
        does(
            "denied",
            &[
                "bytes \"\", then closed",
                "log termination \"rbac_access_denied_matched_policy[everybody]\"",
                "log upstream \"bytes\"",
            ],
            listens("x"),
        )
        .port(PORT + 5)
        .differs(
            "a client that is denied is not let to the host and hears nothing from it: Envoy connects first, \
             decides on the first byte and passes on what the host says before it",
            &[
                "bytes \"\", then closed",
                "log termination \"rbac_access_denied_matched_policy[everybody]\"",
                "log cluster \"bytes\"",
                "log upstream null",
                "log flags \"-\"",
                "1 log lines",
            ],
        ),
        does("allowed", &["bytes \"hi\""], says("hi")).port(PORT + 6),
        does("longest duration", &["bytes \"x\", then "], listens("x")).port(PORT + 7),
        does(
            "no endpoint",
            &["bytes \"\", then closed", "log flags \"UH\""],
            listens(""),
        )
        .port(PORT + 8),
        does(
            "no chain for the source",
            &["bytes \"\", then closed"],
            listens(""),
        )
        .port(PORT + 9)
        .logs(0),
        does("http through", &["status 200"], |side, transcript| {
            let mut connection = side.connect();
            connection.send(&get("/").bytes());
            transcript.response(&connection.response(false));
        })
        .script(
            0,
            vec![vec![
                Act::Expect(get("/").bytes().len()),
                raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
                Act::Close,
            ]],
        ),
    ]
}
