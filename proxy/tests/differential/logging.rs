//! The access log: every operator in text and JSON, its filters.

use serde_json::{Value, json};

use super::routes;
use crate::case::{Case, PORT, Table, case};
use crate::support::config::{
    cluster, extension, json_log, listener, manager, text_log, virtual_host,
};
use crate::support::http1::{get, post, request};
use crate::support::upstream::{dead_port, reply};

#[test]
fn logging() {
    let mut table = Table::new("logging", &["one"]);
    let ports = table.ports(&[0]);
    let dead = dead_port();
    table.resources = Box::new(move |place| {
        let with = |name: &str, port: u16, logs: Value| {
            let mut host = virtual_host("host", &["*"], all_routes());
            // Its digits would count among the bytes of the head.
            host["response_headers_to_remove"] = json!(["x-envoy-upstream-service-time"]);
            let hosts = json!([host]);
            listener(
                place,
                name,
                port,
                vec![manager(
                    name,
                    hosts,
                    Vec::new(),
                    json!({"access_log": logs}),
                )],
            )
        };
        let listeners = vec![
            with("text", PORT, json!([text_log(&text())])),
            with("json", PORT + 1, json!([json_log(fields())])),
            with(
                "default",
                PORT + 2,
                json!([
                    extension(
                        "envoy.access_loggers.file",
                        FILE,
                        json!({"path": "default.log"})
                    ),
                    text_log("default %RESPONSE_CODE%\n")
                ]),
            ),
            with(
                "errors",
                PORT + 3,
                json!([
                    filtered(json!({"status_code_filter": {"comparison": {"op": "GE",
                "value": {"default_value": 400, "runtime_key": "k"}}}})),
                    text_log("always %RESPONSE_CODE%\n")
                ]),
            ),
            with(
                "flags",
                PORT + 4,
                json!([
                    filtered(json!({"response_flag_filter": {"flags": ["UH", "UF"]}})),
                    text_log("always %RESPONSE_CODE%\n")
                ]),
            ),
            with(
                "not-health",
                PORT + 5,
                json!([
                    filtered(json!({"not_health_check_filter": {}})),
                    text_log("always\n")
                ]),
            ),
            with(
                "header",
                PORT + 6,
                json!([
                    filtered(
                        json!({"header_filter": {"header": {"name": "x-log", "present_match": true}}})
                    ),
                    text_log("always\n")
                ]),
            ),
            with(
                "both",
                PORT + 7,
                json!([
                    filtered(json!({"and_filter": {"filters": [
                {"header_filter": {"header": {"name": "x-log", "present_match": true}}},
                {"or_filter": {"filters": [{"response_flag_filter": {}}, {"status_code_filter": {"comparison": {"op": "EQ",
                    "value": {"default_value": 200, "runtime_key": "k"}}}}]}}]}})),
                    text_log("always\n")
                ]),
            ),
            with(
                "cel",
                PORT + 8,
                json!([
                    filtered(
                        json!({"extension_filter": extension("cel", "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                json!({"expression": "response.code >= 400 || request.path.startsWith('/re/logged')"}))})
                    ),
                    text_log("always\n")
                ]),
            ),
            with(
                "omit",
                PORT + 9,
                json!([extension(
                    "envoy.access_loggers.file",
                    FILE,
                    json!({"path": "access.log",
                "log_format": {"json_format": fields(), "omit_empty_values": true}})
                )]),
            ),
        ];
        (
            listeners,
            vec![
                cluster("one", &ports, json!({"alt_stat_name": "other_name"})),
                cluster("dead", &[dead], json!({})),
            ],
        )
    });
    table.cases = cases();
    table.run();
}

const FILE: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";

fn filtered(filter: Value) -> Value {
    let mut log = text_log("filtered %RESPONSE_CODE% %RESPONSE_FLAGS%\n");
    log["filter"] = filter;
    log
}

fn all_routes() -> Value {
    json!([
        {"name": "own", "match": {"prefix": "/own"}, "direct_response": {"status": 418}, "metadata": {"filter_metadata": {"suite": {"a": "b", "n": 7, "l": [1, "x"]}}}},
        routes("dead", json!({"prefix": "/dead"}), json!({"cluster": "dead"})),
        {"name": "rest", "match": {"prefix": "/"}, "route": {"cluster": "one", "prefix_rewrite": "/re/"},
         "metadata": {"filter_metadata": {"suite": {"a": "b", "n": 7, "l": [1, "x"]}}},
         "response_headers_to_add": [{"header": {"key": "x-own", "value": "route"}}]},
    ])
}

/// What is logged, with a name for JSON.
const OPERATORS: [(&str, &str); 50] = [
    ("protocol", "%PROTOCOL%"),
    ("code", "%RESPONSE_CODE%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("flags_long", "%RESPONSE_FLAGS_LONG%"),
    ("termination", "%CONNECTION_TERMINATION_DETAILS%"),
    ("received", "%BYTES_RECEIVED%"),
    ("sent", "%BYTES_SENT%"),
    ("request_header_bytes", "%REQUEST_HEADERS_BYTES%"),
    ("response_header_bytes", "%RESPONSE_HEADERS_BYTES%"),
    ("response_trailer_bytes", "%RESPONSE_TRAILERS_BYTES%"),
    ("wire_received", "%DOWNSTREAM_WIRE_BYTES_RECEIVED%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(:PATH)%"),
    ("original", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("scheme", "%REQ(:SCHEME)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("short", "%REQ(USER-AGENT):4%"),
    ("missing", "%REQ(X-MISSING)%"),
    ("either", "%REQ(X-MISSING?USER-AGENT)%"),
    ("response_header", "%RESP(X-OWN)%"),
    ("trailer", "%TRAILER(X-T)%"),
    ("upstream", "%UPSTREAM_HOST%"),
    ("upstream_remote", "%UPSTREAM_REMOTE_ADDRESS%"),
    ("upstream_address", "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_cluster_raw", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_protocol", "%UPSTREAM_PROTOCOL%"),
    ("upstream_failure", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("local", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("local_address", "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"),
    ("local_port", "%DOWNSTREAM_LOCAL_PORT%"),
    ("client", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    (
        "direct_client",
        "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    ),
    ("server_name", "%REQUESTED_SERVER_NAME%"),
    ("tls", "%DOWNSTREAM_TLS_VERSION%"),
    ("cipher", "%DOWNSTREAM_TLS_CIPHER%"),
    ("peer", "%DOWNSTREAM_PEER_URI_SAN%"),
    ("route", "%ROUTE_NAME%"),
    ("grpc_status", "%GRPC_STATUS%"),
    ("grpc_number", "%GRPC_STATUS_NUMBER%"),
    ("local_reply", "%LOCAL_REPLY_BODY%"),
    ("metadata", "%METADATA(ROUTE:suite:a)%"),
    ("metadata_number", "%METADATA(ROUTE:suite:n)%"),
    ("metadata_all", "%METADATA(ROUTE:suite)%"),
    ("dynamic", "%DYNAMIC_METADATA(nobody)%"),
    ("environment", "%ENVIRONMENT(CARBYNE_NOT_SET)%"),
    ("query", "%QUERY_PARAM(q)%"),
    ("path_only", "%PATH(NQ:ORIG)%"),
];

fn text() -> String {
    let parts: Vec<String> = OPERATORS
        .iter()
        .map(|(name, operator)| format!("{name}={operator}"))
        .collect();
    parts.join(" | ") + " 100%%\n"
}

fn fields() -> Value {
    let mut fields = Value::Object(
        OPERATORS
            .iter()
            .map(|(name, operator)| ((*name).to_owned(), Value::from(*operator)))
            .collect(),
    );
    fields["mixed"] = "%REQ(:METHOD)% in %PROTOCOL%".into();
    fields["plain"] = "as it is".into();
    fields["number"] = 5.into();
    fields["nested"] = json!({"code": "%RESPONSE_CODE%", "list": ["%PROTOCOL%", "x"]});
    fields
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, port) in [("text", PORT), ("json", PORT + 1), ("omit", PORT + 9)] {
        let on = |what: &str, request, expect: &[&str]| {
            case(&format!("{name}: {what}"), request, expect).port(port)
        };
        cases.push(on(
            "get",
            get("/x?q=1&r=2").header("user-agent", "agent/1.0"),
            &["log "],
        ));
        cases.push(on("post", post("/x", "12345"), &["log "]));
        cases.push(on("head", request("HEAD", "/x"), &["log "]));
        cases.push(on("own answer", get("/own"), &["log "]));
        cases.push(on("nobody there", get("/dead"), &["log "]));
        cases.push(on(
            "quotes and bytes",
            get("/x").header("user-agent", "a\"b\\c\u{e9}\td"),
            &["log "],
        ));
        cases.push(on("response with trailers", get("/x"), &["log "]).script(0, vec![vec![crate::support::upstream::raw(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n")]]));
        cases.push(
            on(
                "grpc",
                post("/x", "").header("content-type", "application/grpc"),
                &["log "],
            )
            .script(
                0,
                vec![vec![reply(
                    "200 OK",
                    &["content-type: application/grpc", "grpc-status: 5"],
                    "",
                )]],
            ),
        );
    }
    let filtered = |name: &str, port: u16, request, lines: usize| {
        case(name, request, &[&format!("{lines} log lines")])
            .port(PORT + port)
            .logs(lines)
    };
    cases.extend([
        filtered("default format goes to its file", 2, get("/x"), 1),
        filtered("status filter lets through", 3, get("/own"), 2),
        filtered("status filter holds back", 3, get("/x"), 1),
        filtered("flag filter lets through", 4, get("/dead"), 2),
        filtered("flag filter holds back", 4, get("/own"), 1),
        filtered("not a health check", 5, get("/x"), 2),
        filtered(
            "header filter lets through",
            6,
            get("/x").header("x-log", ""),
            2,
        ),
        filtered("header filter holds back", 6, get("/x"), 1),
        filtered(
            "both filters let through",
            7,
            get("/x").header("x-log", "1"),
            2,
        ),
        filtered(
            "both filters and a flag",
            7,
            get("/dead").header("x-log", "1"),
            2,
        ),
        filtered(
            "both filters hold back",
            7,
            get("/own").header("x-log", "1"),
            1,
        ),
        filtered("expression by code", 8, get("/own"), 2),
        filtered("expression by path", 8, get("/logged/x"), 2),
        filtered("expression holds back", 8, get("/x"), 1),
    ]);
    cases
}
