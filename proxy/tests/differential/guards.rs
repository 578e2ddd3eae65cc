//! Filters that refuse, delay or ask: fault, CORS, RBAC, external authorization, local rate limit.

mod authority;

use authority::{authz, permissions};
use serde_json::{Value, json};

use crate::case::{Case, PORT, Table, case};
use crate::support::config::{
    any, cluster, http_filter, json_log, listener, log_fields, manager, virtual_host,
};
use crate::support::http1::{get, post, request};
use crate::support::upstream::{dead_port, reply};

const FAULT: &str = "envoy.filters.http.fault";
const CORS: &str = "envoy.filters.http.cors";
const RBAC: &str = "envoy.filters.http.rbac";
const AUTHZ: &str = "envoy.filters.http.ext_authz";
const LIMIT: &str = "envoy.filters.http.local_ratelimit";

#[test]
fn guards() {
    let mut table = Table::new("guards", &["one", "authority"]);
    let ports = table.ports(&[0, 1]);
    let dead = dead_port();
    table.resources = Box::new(move |place| {
        let mut number = PORT;
        let mut on = |name: &str, filters: Vec<Value>, per_route: Value| {
            number += 1;
            let mut fields = log_fields();
            fields["shadow"] =
                "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_effective_policy_id)%".into();
            fields["shadow_result"] =
                "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_engine_result)%".into();
            let manager = manager(
                name,
                json!([host(per_route)]),
                filters,
                json!({"access_log": [json_log(fields)]}),
            );
            listener(place, name, number - 1, vec![manager])
        };
        let listeners = vec![
            on(
                "fault",
                vec![http_filter(FAULT, "fault.v3.HTTPFault", fault())],
                json!({}),
            ),
            on(
                "cors",
                vec![http_filter(CORS, "cors.v3.Cors", json!({}))],
                json!({(CORS): cors()}),
            ),
            on(
                "deny",
                vec![http_filter(RBAC, "rbac.v3.RBAC", deny())],
                json!({}),
            ),
            on(
                "allow",
                vec![http_filter(RBAC, "rbac.v3.RBAC", allow())],
                json!({}),
            ),
            on(
                "shadow",
                vec![http_filter(RBAC, "rbac.v3.RBAC", shadow())],
                json!({}),
            ),
            on(
                "authz",
                vec![http_filter(
                    AUTHZ,
                    "ext_authz.v3.ExtAuthz",
                    authz("authority", false),
                )],
                json!({}),
            ),
            on(
                "authz-closed",
                vec![http_filter(
                    AUTHZ,
                    "ext_authz.v3.ExtAuthz",
                    authz("dead", false),
                )],
                json!({}),
            ),
            on(
                "authz-open",
                vec![http_filter(
                    AUTHZ,
                    "ext_authz.v3.ExtAuthz",
                    authz("dead", true),
                )],
                json!({}),
            ),
            on(
                "limit",
                vec![http_filter(
                    LIMIT,
                    "local_ratelimit.v3.LocalRateLimit",
                    limit(),
                )],
                json!({}),
            ),
        ];
        let clusters = vec![
            cluster("one", &ports[..1], json!({})),
            cluster("authority", &ports[1..], json!({})),
            cluster("dead", &[dead], json!({})),
        ];
        (listeners, clusters)
    });
    table.cases = [faults(), origins(), rules(), permissions(), limits()]
        .into_iter()
        .flatten()
        .collect();
    table.run();
}

fn host(per_filter: Value) -> Value {
    let off = json!({(AUTHZ): any("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", json!({"disabled": true}))});
    let mut host = virtual_host(
        "all",
        &["*"],
        json!([
            {"name": "unguarded", "match": {"prefix": "/open"}, "route": {"cluster": "one"}, "typed_per_filter_config": off},
            {"name": "rest", "match": {"prefix": "/"}, "route": {"cluster": "one"}},
        ]),
    );
    if per_filter
        .as_object()
        .is_some_and(|object| !object.is_empty())
    {
        host["typed_per_filter_config"] = per_filter;
    }
    host
}

fn fault() -> Value {
    json!({
        "headers": [{"name": "x-fault", "present_match": true}],
        "abort": {"header_abort": {}, "percentage": {"numerator": 100}},
        "delay": {"header_delay": {}, "percentage": {"numerator": 100}},
    })
}

fn cors() -> Value {
    any(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        json!({
            "allow_origin_string_match": [{"exact": "https://good.test"}, {"suffix": ".wild.test"}],
            "allow_methods": "GET, PUT", "allow_headers": "x-one, x-two", "expose_headers": "x-out", "max_age": "600", "allow_credentials": true,
        }),
    )
}

fn rule(permission: Value, principal: Value) -> Value {
    json!({"permissions": [permission], "principals": [principal]})
}

fn deny() -> Value {
    let header = |name: &str, value: &str| json!({"header": {"name": name, "string_match": {"exact": value}}});
    json!({"rules": {"action": "DENY", "policies": {
        "ns[one]-policy[paths]-rule[0]": rule(json!({"url_path": {"path": {"prefix": "/denied"}}}), json!({"any": true})),
        "headers": rule(json!({"any": true}), header("x-who", "mallory")),
        "methods": rule(json!({"and_rules": {"rules": [header(":method", "DELETE"), {"not_rule": {"url_path": {"path": {"exact": "/deletable"}}}}]}}), json!({"any": true})),
        "ports": rule(json!({"destination_port": 1}), json!({"any": true})),
        "hosts": rule(json!({"any": true}), header(":authority", "denied.test")),
    }}})
}

fn allow() -> Value {
    json!({"rules": {"action": "ALLOW", "policies": {
        "local": rule(json!({"or_rules": {"rules": [{"url_path": {"path": {"exact": "/allowed"}}}, {"url_path": {"path": {"safe_regex": {"regex": "/v[0-9]+"}}}}]}}),
            json!({"direct_remote_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}})),
        "remote": rule(json!({"any": true}), json!({"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}})),
        "not": rule(json!({"url_path": {"path": {"exact": "/not"}}}), json!({"not_id": {"header": {"name": "x-not", "present_match": true}}})),
        "authenticated": rule(json!({"url_path": {"path": {"exact": "/tls"}}}), json!({"authenticated": {}})),
        "nested": rule(json!({"url_path": {"path": {"exact": "/both"}}}), json!({"and_ids": {"ids": [
            {"header": {"name": "x-a", "string_match": {"contains": "1"}}}, {"header": {"name": "x-b", "string_match": {"suffix": "2"}}}]}})),
    }}})
}

fn shadow() -> Value {
    json!({"shadow_rules": {"action": "DENY", "policies": {
        "would-deny": rule(json!({"url_path": {"path": {"prefix": "/shadow"}}}), json!({"any": true}))}}})
}

fn limit() -> Value {
    let all = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "3600s"},
        "filter_enabled": all, "filter_enforced": all,
        "response_headers_to_add": [{"header": {"key": "x-limited", "value": "yes"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
    })
}

fn on(listener: u16, name: &str, request: crate::support::http1::Request, expect: &[&str]) -> Case {
    case(name, request, expect).port(PORT + listener)
}

fn faults() -> Vec<Case> {
    let fault = || get("/x").header("x-fault", "1");
    vec![
        on(0, "no fault", get("/x"), &["status 200"]),
        on(
            0,
            "fault aborts",
            fault().header("x-envoy-fault-abort-request", "418"),
            &[
                "status 418",
                "body \"fault filter abort\"",
                "log flags \"FI\"",
                "log details \"fault_filter_abort\"",
            ],
        ),
        on(
            0,
            "fault aborts at a share of none",
            fault()
                .header("x-envoy-fault-abort-request", "503")
                .header("x-envoy-fault-abort-request-percentage", "0"),
            &["status 200"],
        ),
        on(
            0,
            "fault delays",
            fault().header("x-envoy-fault-delay-request", "30"),
            &["status 200", "log flags \"DI\""],
        ),
        on(
            0,
            "fault delays and aborts",
            fault()
                .header("x-envoy-fault-delay-request", "20")
                .header("x-envoy-fault-abort-request", "500"),
            &["status 500", "log flags \"DI,FI\""],
        ),
        on(
            0,
            "fault of another route",
            get("/x").header("x-envoy-fault-abort-request", "418"),
            &["status 200"],
        ),
        on(
            0,
            "fault of no status",
            fault().header("x-envoy-fault-abort-request", "9999"),
            &["status "],
        ),
    ]
}

fn origins() -> Vec<Case> {
    let preflight = |origin: &str| {
        request("OPTIONS", "/x")
            .header("origin", origin)
            .header("access-control-request-method", "PUT")
    };
    vec![
        on(
            1,
            "cors preflight",
            preflight("https://good.test"),
            &[
                "status 200",
                "header access-control-allow-origin: https://good.test",
                "header access-control-allow-methods: GET, PUT",
                "header access-control-allow-headers: x-one, x-two",
                "header access-control-max-age: 600",
                "header access-control-allow-credentials: true",
                "reached 0 times",
            ],
        ),
        on(
            1,
            "cors preflight of a suffix",
            preflight("https://x.wild.test"),
            &["header access-control-allow-origin: https://x.wild.test"],
        ),
        on(
            1,
            "cors preflight of a stranger",
            preflight("https://bad.test"),
            &["status 200", "reached 1 times"],
        ),
        on(
            1,
            "cors options that ask no method",
            request("OPTIONS", "/x").header("origin", "https://good.test"),
            &["reached 1 times"],
        ),
        on(
            1,
            "cors simple",
            get("/x").header("origin", "https://good.test"),
            &[
                "header access-control-allow-origin: https://good.test",
                "header access-control-expose-headers: x-out",
                "header access-control-allow-credentials: true",
                "reached 1 times",
            ],
        ),
        on(
            1,
            "cors simple of a stranger",
            get("/x").header("origin", "https://bad.test"),
            &["status 200"],
        )
        .never(&["header access-control"]),
        on(1, "cors simple of nobody", get("/x"), &["status 200"])
            .never(&["header access-control"]),
        on(
            1,
            "cors over the upstream's own",
            get("/x").header("origin", "https://good.test"),
            &["status 200"],
        )
        .script(
            0,
            vec![vec![reply(
                "200 OK",
                &[
                    "access-control-allow-origin: *",
                    "access-control-expose-headers: theirs",
                ],
                "ok",
            )]],
        ),
    ]
}

fn rules() -> Vec<Case> {
    vec![
        on(
            2,
            "denied by path",
            get("/denied/x?q"),
            &[
                "status 403 Forbidden",
                "body \"RBAC: access denied\"",
                "header content-type: text/plain",
                "log details \"rbac_access_denied_matched_policy[ns[one]-policy[paths]-rule[0]]\"",
                "log flags \"-\"",
                "reached 0 times",
            ],
        ),
        on(
            2,
            "denied by header",
            get("/x").header("x-who", "mallory"),
            &[
                "status 403",
                "log details \"rbac_access_denied_matched_policy[headers]\"",
            ],
        ),
        on(
            2,
            "denied by one of two header lines",
            get("/x")
                .header("x-who", "alice")
                .header("x-who", "mallory"),
            &["status "],
        ),
        on(
            2,
            "denied by method",
            request("DELETE", "/x"),
            &["status 403"],
        ),
        on(
            2,
            "denied by method but for a path",
            request("DELETE", "/deletable"),
            &["status 200"],
        ),
        on(
            2,
            "denied by host",
            get("/x").host("denied.test"),
            &["status 403"],
        ),
        on(
            2,
            "denied by host in another case",
            get("/x").host("DENIED.test"),
            &["status "],
        ),
        on(2, "not denied", get("/x"), &["status 200"]),
        on(
            2,
            "denied post leaves its body",
            post("/denied", "body"),
            &["status 403"],
        ),
        on(
            3,
            "allowed by path and address",
            get("/allowed?q=1"),
            &["status 200"],
        ),
        on(3, "allowed by regex", get("/v12"), &["status 200"]),
        on(
            3,
            "allowed by nothing",
            get("/other"),
            &[
                "status 403",
                "log details \"rbac_access_denied_matched_policy[none]\"",
            ],
        ),
        on(
            3,
            "allowed by the address that was forwarded",
            get("/other").header("x-forwarded-for", "10.1.2.3"),
            &["status 200"],
        ),
        on(3, "allowed by not", get("/not"), &["status 200"]),
        on(
            3,
            "refused by not",
            get("/not").header("x-not", ""),
            &["status 403"],
        ),
        on(3, "allowed only with tls", get("/tls"), &["status 403"]),
        on(
            3,
            "allowed by both headers",
            get("/both").header("x-a", "010").header("x-b", "12"),
            &["status 200"],
        ),
        on(
            3,
            "refused by one of both",
            get("/both").header("x-a", "010"),
            &["status 403"],
        ),
        on(
            4,
            "shadow rule that matches",
            get("/shadow"),
            &[
                "status 200",
                "log shadow \"would-deny\"",
                "log shadow_result \"denied\"",
            ],
        ),
        on(
            4,
            "shadow rule that does not",
            get("/x"),
            &["status 200", "log shadow_result \"allowed\""],
        ),
    ]
}

fn limits() -> Vec<Case> {
    vec![
        on(
            8,
            "first within the limit",
            get("/x"),
            &[
                "status 200",
                "header x-ratelimit-limit: 2",
                "header x-ratelimit-remaining: 1",
            ],
        ),
        on(
            8,
            "second within the limit",
            get("/x"),
            &["status 200", "header x-ratelimit-remaining: 0"],
        ),
        on(
            8,
            "third over the limit",
            get("/x"),
            &[
                "status 429 Too Many Requests",
                "body \"local_rate_limited\"",
                "header x-limited: yes",
                "log flags \"RL\"",
                "log details \"local_rate_limited\"",
                "reached 0 times",
            ],
        ),
        on(
            8,
            "over the limit to HEAD",
            request("HEAD", "/x"),
            &["status 429"],
        ),
    ]
}
