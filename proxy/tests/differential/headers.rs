//! Header operations: every append action, every level, what is substituted.

use serde_json::{Value, json};

use crate::case::{Case, PORT, Table, case};
use crate::support::config::{cluster, listener, manager};
use crate::support::http1::get;
use crate::support::upstream::{Act, reply};

#[test]
fn headers() {
    let mut table = Table::new("headers", &["one"]);
    let ports = table.ports(&[0]);
    table.resources = Box::new(move |place| {
        let mut fields = json!({});
        fields["route_config"] = json!({
            "name": "headers",
            "virtual_hosts": hosts(),
            "request_headers_to_add": [add("x-level", "config", "APPEND_IF_EXISTS_OR_ADD")],
            "request_headers_to_remove": ["x-remove-config"],
            "response_headers_to_add": [add("x-out-level", "config", "APPEND_IF_EXISTS_OR_ADD")],
            "response_headers_to_remove": ["x-out-remove-config"],
        });
        let top = manager("headers", json!([]), Vec::new(), fields.clone());
        fields["route_config"]["most_specific_header_mutations_wins"] = true.into();
        let wins = manager("wins", json!([]), Vec::new(), fields);
        (
            vec![
                listener(place, "headers", PORT, vec![top]),
                listener(place, "wins", PORT + 1, vec![wins]),
            ],
            vec![cluster("one", &ports, json!({}))],
        )
    });
    table.cases = [actions(), substitutions()].into_iter().flatten().collect();
    table.run();
}

fn add(name: &str, value: &str, action: &str) -> Value {
    json!({"header": {"key": name, "value": value}, "append_action": action})
}

const ACTIONS: [(&str, &str); 4] = [
    ("append", "APPEND_IF_EXISTS_OR_ADD"),
    ("absent", "ADD_IF_ABSENT"),
    ("over", "OVERWRITE_IF_EXISTS_OR_ADD"),
    ("only", "OVERWRITE_IF_EXISTS"),
];

const SUBSTITUTED: [(&str, &str); 16] = [
    ("x-protocol", "%PROTOCOL%"),
    ("x-host-kept", "%REQ(:AUTHORITY)%"),
    ("x-agent", "%REQ(USER-AGENT):5%"),
    ("x-alternative", "%REQ(X-FIRST?X-SECOND)%"),
    ("x-missing", "%REQ(X-NOT-THERE)%"),
    ("x-percent", "100%%"),
    ("x-client", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ("x-local", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("x-port", "%DOWNSTREAM_LOCAL_PORT%"),
    ("x-route", "%ROUTE_NAME%"),
    ("x-cluster", "%UPSTREAM_CLUSTER%"),
    ("x-host-name", "%VIRTUAL_CLUSTER_NAME%"),
    ("x-tls", "%DOWNSTREAM_TLS_VERSION%"),
    ("x-sni", "%REQUESTED_SERVER_NAME%"),
    ("x-metadata", "%METADATA(ROUTE:suite:key)%"),
    ("x-path", "%PATH(NQ)%"),
];

fn hosts() -> Value {
    let all = |prefix: &str| -> Vec<Value> {
        ACTIONS
            .iter()
            .map(|(name, action)| add(&format!("{prefix}{name}"), "added", action))
            .collect()
    };
    let substituted: Vec<Value> = SUBSTITUTED
        .iter()
        .map(|(name, value)| add(name, value, "OVERWRITE_IF_EXISTS_OR_ADD"))
        .collect();
    json!([{
        "name": "all", "domains": ["*"],
        "request_headers_to_add": [add("x-level", "host", "APPEND_IF_EXISTS_OR_ADD")],
        "request_headers_to_remove": ["x-remove-host"],
        "response_headers_to_add": [add("x-out-level", "host", "APPEND_IF_EXISTS_OR_ADD")],
        "routes": [
            {"name": "actions", "match": {"prefix": "/actions"}, "route": {"cluster": "one"},
             "request_headers_to_add": all("x-"), "response_headers_to_add": all("x-out-"),
             "request_headers_to_remove": ["x-remove-route"], "response_headers_to_remove": ["x-out-remove", "server"]},
            {"name": "levels", "match": {"prefix": "/levels"}, "route": {"cluster": "one"},
             "request_headers_to_add": [add("x-level", "route", "APPEND_IF_EXISTS_OR_ADD")],
             "response_headers_to_add": [add("x-out-level", "route", "APPEND_IF_EXISTS_OR_ADD")]},
            {"name": "overwrites", "match": {"prefix": "/overwrites"}, "route": {"cluster": "one"},
             "request_headers_to_add": [add("x-level", "route", "OVERWRITE_IF_EXISTS_OR_ADD")]},
            {"name": "weighted", "match": {"prefix": "/weighted"}, "route": {"weighted_clusters": {"clusters": [
                {"name": "one", "weight": 1, "request_headers_to_add": [add("x-level", "weight", "APPEND_IF_EXISTS_OR_ADD")],
                 "request_headers_to_remove": ["x-remove-weight"],
                 "response_headers_to_add": [add("x-out-level", "weight", "APPEND_IF_EXISTS_OR_ADD")]}]}},
             "request_headers_to_add": [add("x-level", "route", "APPEND_IF_EXISTS_OR_ADD")]},
            {"name": "substituted", "match": {"prefix": "/substituted"}, "route": {"cluster": "one"},
             "metadata": {"filter_metadata": {"suite": {"key": "from metadata"}}},
             "request_headers_to_add": substituted,
             "response_headers_to_add": [
                add("x-status", "%RESPONSE_CODE%", "OVERWRITE_IF_EXISTS_OR_ADD"),
                add("x-out-host", "%UPSTREAM_HOST%", "OVERWRITE_IF_EXISTS_OR_ADD"),
                add("x-out-flags", "%RESPONSE_FLAGS%", "OVERWRITE_IF_EXISTS_OR_ADD"),
                add("x-out-type", "%RESP(CONTENT-TYPE)%", "OVERWRITE_IF_EXISTS_OR_ADD")]},
            {"name": "empty", "match": {"prefix": "/empty"}, "route": {"cluster": "one"},
             "request_headers_to_add": [
                {"header": {"key": "x-kept-empty", "value": "%REQ(X-NOT-THERE)%"}, "keep_empty_value": true},
                {"header": {"key": "x-dropped-empty", "value": ""}}]},
            {"name": "direct", "match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "x"}},
             "response_headers_to_add": [add("x-direct", "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%", "APPEND_IF_EXISTS_OR_ADD")]},
        ],
    }])
}

fn actions() -> Vec<Case> {
    let sent = get("/actions")
        .header("x-append", "mine")
        .header("x-absent", "mine")
        .header("x-over", "mine")
        .header("x-only", "mine");
    let out = || -> Vec<Act> {
        vec![reply(
            "200 OK",
            &[
                "x-out-append: mine",
                "x-out-absent: mine",
                "x-out-over: mine",
                "x-out-only: mine",
                "x-out-remove: gone",
                "x-out-remove-config: gone",
                "server: theirs",
            ],
            "ok",
        )]
    };
    vec![
        case(
            "actions on headers that are there",
            sent,
            &[
                "upstream one header x-append: mine",
                "upstream one header x-append: added",
                "upstream one header x-absent: mine",
                "upstream one header x-over: added",
                "upstream one header x-only: added",
                "header x-out-append: mine",
                "header x-out-append: added",
                "header x-out-absent: mine",
                "header x-out-over: added",
                "header x-out-only: added",
            ],
        )
        .never(&["header x-out-remove", "upstream one header x-over: mine"])
        .script(0, vec![out()]),
        case(
            "actions on headers that are not there",
            get("/actions"),
            &[
                "upstream one header x-append: added",
                "upstream one header x-absent: added",
                "upstream one header x-over: added",
                "header x-out-over: added",
            ],
        )
        .never(&["upstream one header x-only", "header x-out-only"]),
        case(
            "removed at every level",
            get("/actions")
                .header("x-remove-route", "1")
                .header("X-Remove-Host", "1")
                .header("x-remove-config", "1"),
            &["status 200"],
        )
        .never(&["upstream one header x-remove"]),
        case(
            "levels in order",
            get("/levels"),
            &[
                "upstream one header x-level: route",
                "header x-out-level: route",
            ],
        ),
        case(
            "levels, the most specific first",
            get("/levels"),
            &["upstream one header x-level: config"],
        )
        .port(PORT + 1),
        case(
            "overwritten by a later level",
            get("/overwrites"),
            &["upstream one header x-level: "],
        ),
        case(
            "overwritten by the most specific",
            get("/overwrites"),
            &["upstream one header x-level: "],
        )
        .port(PORT + 1),
        case(
            "level of the weighted cluster",
            get("/weighted").header("x-remove-weight", "1"),
            &[
                "upstream one header x-level: weight",
                "header x-out-level: weight",
            ],
        )
        .never(&["upstream one header x-remove-weight"]),
        case(
            "headers of a direct response",
            get("/direct"),
            &[
                "header x-direct: 0 direct_response",
                "header x-out-level: host",
            ],
        ),
    ]
}

fn substitutions() -> Vec<Case> {
    vec![
        case(
            "substituted",
            get("/substituted/p?q=1")
                .header("user-agent", "curl/8.0")
                .header("x-second", "two")
                .host("s.test:1"),
            &[
                "upstream one header x-protocol: HTTP/1.1",
                "upstream one header x-agent: curl/",
                "upstream one header x-alternative: two",
                "upstream one header x-percent: 100%",
                "upstream one header x-client: 127.0.0.1",
                "upstream one header x-metadata: from metadata",
                "header x-status: 200",
            ],
        ),
        case(
            "substituted without what is asked for",
            get("/substituted"),
            &["status 200"],
        ),
        case(
            "empty values",
            get("/empty"),
            &["upstream one header x-kept-empty: "],
        )
        .never(&["upstream one header x-dropped-empty"]),
    ]
}
