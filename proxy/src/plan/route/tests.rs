use std::sync::Arc;

use carbyne_engine::http::Request;
use carbyne_protos::any::pack;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::json;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::context::Metadata;
use crate::live::route::{Choice, RouteAction, RouteEntry, RouteFacts, RouteTable};
use crate::plan::{Environment, route};

fn table(environment: &Environment, value: &Value) -> Arc<RouteTable> {
    let message: RouteConfiguration =
        json::from_json(value).unwrap_or_else(|error| panic!("{error}"));
    let planned = environment
        .plan::<RouteConfiguration, _>(&pack(&message), route::plan)
        .unwrap_or_else(|rejection| panic!("{rejection}"));
    assert!(planned.findings.is_empty(), "{:?}", planned.findings);
    planned.plan
}

fn request(
    authority: &'static str,
    path: &'static str,
    fields: &[(&'static str, &'static str)],
) -> Request {
    let mut request = Request::get(authority, path);
    request.host = authority
        .split(':')
        .next()
        .unwrap()
        .to_ascii_lowercase()
        .into();
    for (name, value) in fields {
        request.headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    request
}

fn choose<'a>(table: &'a RouteTable, request: &Request, random: u64) -> Choice<'a> {
    table.choose(&RouteFacts {
        request,
        random,
        metadata: &Metadata::default(),
        certificate_presented: false,
        certificate_validated: false,
    })
}

fn name(choice: Choice<'_>) -> String {
    match choice {
        Choice::Route(entry) => entry.name.to_string(),
        Choice::RequiresTls(host) => format!("tls {}", host.name),
        Choice::NoRoute(host) => format!("none {}", host.name),
        Choice::NoVirtualHost => "no host".to_owned(),
    }
}

fn entry(choice: Choice<'_>) -> Arc<RouteEntry> {
    match choice {
        Choice::Route(entry) => Arc::clone(entry),
        other => panic!("{other:?}"),
    }
}

#[test]
fn routes_are_chosen_as_in_envoy() {
    let environment = Environment::default();
    let forward = json!({"cluster": "c"});
    let table = table(
        &environment,
        &json!({"name": "80", "ignore_port_in_host_matching": true, "virtual_hosts": [
            {"name": "a", "domains": ["a.example", "a"], "routes": [
                {"name": "header", "match": {"prefix": "/", "headers": [{"name": "x-canary", "string_match": {"exact": "true"}}]}, "route": forward},
                {"name": "without", "match": {"prefix": "/w", "headers": [{"name": "x-no", "present_match": true, "invert_match": true}]}, "route": forward},
                {"name": "query", "match": {"prefix": "/", "query_parameters": [{"name": "canary", "string_match": {"safe_regex": {"regex": "^(1|yes)$"}}}]}, "route": forward},
                {"name": "exact", "match": {"path": "/exact", "case_sensitive": false}, "route": forward},
                {"name": "segments", "match": {"path_separated_prefix": "/seg"}, "route": forward},
                {"name": "regex", "match": {"safe_regex": {"regex": "/r/[0-9]+"}}, "route": forward},
                {"name": "template", "match": {"path_match_policy": {"name": "t", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": "/t/*/x/**"}}}, "route": forward},
                {"name": "grpc", "match": {"prefix": "/", "grpc": {}}, "route": forward},
                {"name": "half", "match": {"prefix": "/half", "runtime_fraction": {"default_value": {"numerator": 50}}}, "route": forward},
                {"name": "method", "match": {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}, "route": forward},
            ]},
            {"name": "wild", "domains": ["*.example"], "require_tls": "ALL", "routes": [{"name": "tls", "match": {"prefix": "/"}, "route": forward}]},
        ]}),
    );
    let https: &[(&str, &str)] = &[("x-forwarded-proto", "https")];
    let grpc: &[(&str, &str)] = &[("content-type", "application/grpc+proto")];
    let cases: &[(Request, &str)] = &[
        (
            request("A.example:8080", "/", &[("x-canary", "true")]),
            "header",
        ),
        (request("a", "/w", &[]), "without"),
        (request("a", "/w", &[("x-no", "1")]), "none a"),
        (request("a", "/?canary=yes", &[]), "query"),
        (request("a", "/EXACT?q=1", &[]), "exact"),
        (request("a", "/seg/x", &[]), "segments"),
        (request("a", "/segx", &[]), "none a"),
        (request("a", "/r/12", &[]), "regex"),
        (request("a", "/r/x", &[]), "none a"),
        (request("a", "/t/1/x/2/3", &[]), "template"),
        (request("a", "/svc/Method", grpc), "grpc"),
        (request("a", "/half", &[]), "half"),
        (request("b.example", "/", https), "tls"),
        (request("b.example", "/", &[]), "tls wild"),
        (request("other", "/", &[]), "no host"),
    ];
    for (request, expected) in cases {
        assert_eq!(
            name(choose(&table, request, 0)),
            *expected,
            "{} {:?}",
            String::from_utf8_lossy(&request.authority),
            request.path
        );
    }
    assert_eq!(
        name(choose(&table, &request("a", "/half", &[]), 50)),
        "none a"
    );
}

#[test]
fn weights_are_drawn_by_the_random_number() {
    let environment = Environment::default();
    let table = table(
        &environment,
        &json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
            {"name": "v1", "weight": 90}, {"name": "none", "weight": 0}, {"name": "v2", "weight": 10}]}}}]}]}),
    );
    let request = request("a", "/", &[]);
    let entry = entry(choose(&table, &request, 0));
    let mut counts = [0; 3];
    for random in 0..1000 {
        let pick = entry
            .forward()
            .unwrap()
            .pick(&environment.clusters, &request, random, None);
        counts[pick.number] += 1;
        assert_eq!(
            pick.slot.unwrap().name().as_ref(),
            ["v1", "none", "v2"][pick.number]
        );
    }
    assert_eq!(counts, [900, 0, 100]);
}

#[test]
fn rewrites_and_fields() {
    let environment = Environment::default();
    let add = |value: &str| json!([{"header": {"key": "x-level", "value": value}}]);
    let table = table(
        &environment,
        &json!({"name": "r", "request_headers_to_add": add("table"), "virtual_hosts": [{"name": "v", "domains": ["*"], "request_headers_to_add": add("host"), "routes": [
            {"match": {"prefix": "/old"}, "request_headers_to_add": add("route"), "request_headers_to_remove": ["x-debug"],
             "response_headers_to_remove": ["server-timing"],
             "route": {"cluster": "c", "prefix_rewrite": "/new", "host_rewrite_literal": "b", "append_x_forwarded_host": true}},
            {"match": {"safe_regex": {"regex": "^/entities/(v1|v2)/.*"}},
             "route": {"cluster": "c", "regex_rewrite": {"pattern": {"regex": "^/entities/(v1|v2)/(.*)"}, "substitution": "/openapi/\\1/\\2"}}},
        ]}]}),
    );
    let mut sent = request("a", "/old/x?q=1", &[("x-debug", "1")]);
    let chosen = entry(choose(&table, &sent, 0));
    chosen.apply_request_headers(None, &mut sent, |_, _, _| panic!("nothing to word"));
    chosen.rewrite(None, &mut sent, true);
    assert_eq!(
        (&*sent.path, &*sent.authority),
        (&b"/new/x?q=1"[..], &b"b"[..])
    );
    let text = |name: &'static str| {
        sent.headers
            .text(&HeaderName::from_static(name))
            .unwrap_or_default()
    };
    assert_eq!(text("x-envoy-original-path"), "/old/x?q=1");
    assert_eq!(text("x-envoy-original-host"), "a");
    assert_eq!(text("x-forwarded-host"), "a");
    assert_eq!(text("x-debug"), "");
    let level = HeaderName::from_static("x-level");
    let levels: Vec<_> = sent
        .headers
        .all(&level)
        .map(|value| value.to_str().unwrap())
        .collect();
    assert_eq!(levels, ["route", "host", "table"]);

    let mut sent = request("a", "/entities/v2/x?q=1", &[]);
    entry(choose(&table, &sent, 0)).rewrite(None, &mut sent, false);
    assert_eq!(&*sent.path, b"/openapi/v2/x?q=1");
}

#[test]
fn answers_of_routes() {
    let environment = Environment::default();
    let table = table(
        &environment,
        &json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
            {"match": {"path": "/gone"}, "direct_response": {"status": 410, "body": {"inline_string": "moved for good"}}},
            {"match": {"path": "/"}, "redirect": {"path_redirect": "/home", "response_code": "FOUND"}},
        ]}]}),
    );
    let gone = request("a", "/gone", &[]);
    match &entry(choose(&table, &gone, 0)).action {
        RouteAction::Direct(direct) => assert_eq!(
            (direct.status, &*direct.body),
            (StatusCode::GONE, &b"moved for good"[..])
        ),
        other => panic!("{other:?}"),
    }
    let root = request("a", "/?q=1", &[]);
    let chosen = entry(choose(&table, &root, 0));
    match &chosen.action {
        RouteAction::Redirect(redirect) => {
            assert_eq!(redirect.status, StatusCode::FOUND);
            assert_eq!(
                redirect.location(&root, true).unwrap(),
                "https://a/home?q=1"
            );
        }
        other => panic!("{other:?}"),
    }
}
