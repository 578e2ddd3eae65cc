//! Faults, CORS, field mutations, buffering; and what all filters have in common.

use std::time::{Duration, Instant};

use ::http::StatusCode;
use carbyne_engine::forward::Event;
use carbyne_engine::http::Body;
use carbyne_protos::any::{Unwrapped, pack};
use carbyne_protos::envoy::extensions::filters::http as wire;
use carbyne_protos::json;
use serde_json::{Value, json};

use super::reply::for_grpc;
use super::testing::{Nobody, exchange, outcome, request, respond, run, served, told, values};
use super::*;
use crate::plan::Environment;
use crate::plan::scope::Room;

fn fault(message: Value) -> FaultFilter {
    served::<wire::fault::v3::HttpFault, _>(message, FaultFilter::plan)
}

#[test]
fn aborts_answer_and_delays_wait() {
    let all = json!({"numerator": 100});
    let abort = |how: Value| {
        let mut how = how;
        how["percentage"] = all.clone();
        json!({"abort": how})
    };
    let grpc = ("content-type", "application/grpc");
    // Message, fields of the request, what is answered.
    let cases: Vec<(Value, Vec<(&str, &str)>, Option<u16>)> = vec![
        (json!({}), vec![], None),
        (abort(json!({"http_status": 503})), vec![], Some(503)),
        (abort(json!({"http_status": 503})), vec![grpc], Some(503)),
        (abort(json!({"grpc_status": 14})), vec![grpc], Some(503)),
        (abort(json!({"grpc_status": 5})), vec![], Some(404)),
        (json!({"abort": {"http_status": 503}}), vec![], None),
        (
            json!({"abort": {"http_status": 503, "percentage": {"numerator": 0}}}),
            vec![],
            None,
        ),
        (
            json!({"abort": {"http_status": 503, "percentage": {"numerator": 1_000_000, "denominator": "MILLION"}}}),
            vec![],
            Some(503),
        ),
        (abort(json!({"header_abort": {}})), vec![], None),
        (
            abort(json!({"header_abort": {}})),
            vec![("x-envoy-fault-abort-request", "418")],
            Some(418),
        ),
        (
            abort(json!({"header_abort": {}})),
            vec![("x-envoy-fault-abort-request", "99")],
            None,
        ),
        (
            abort(json!({"header_abort": {}})),
            vec![("x-envoy-fault-abort-grpc-request", "7")],
            Some(403),
        ),
        (
            abort(json!({"header_abort": {}})),
            vec![
                ("x-envoy-fault-abort-request", "500"),
                ("x-envoy-fault-abort-request-percentage", "0"),
            ],
            None,
        ),
    ];
    for (message, headers, expected) in cases {
        let filter = fault(message.clone());
        let mut exchange = exchange(request("GET", "/", &headers));
        let result = run(filter.request(&mut exchange, None));
        match (result, expected) {
            (Ok(()), None) => assert!(exchange.events.is_empty()),
            (Err(answer), Some(status)) => {
                assert_eq!(
                    told(&answer),
                    (status, "fault filter abort", "fault_filter_abort"),
                    "{message}"
                );
                assert!(exchange.events.contains(Event::FaultInjected));
                assert_eq!(filter.stats.aborts_injected.value(), 1);
            }
            (result, _) => panic!("{message} {headers:?}: {result:?}"),
        }
    }

    let both = fault(
        json!({"delay": {"fixed_delay": "0.02s", "percentage": all}, "abort": {"http_status": 400, "percentage": all, "response_body": "own"}, "max_active_faults": 1}),
    );
    let mut exchange = exchange(request("GET", "/", &[]));
    let start = Instant::now();
    let answer = run(both.request(&mut exchange, None)).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(told(&answer), (400, "own", "fault_filter_abort"));
    assert!(
        exchange.events.contains(Event::DelayInjected)
            && exchange.events.contains(Event::FaultInjected)
    );
}

#[test]
fn a_grpc_status_reaches_grpc_clients() {
    let filter = fault(json!({"abort": {"grpc_status": 10, "percentage": {"numerator": 100}}}));
    let mut exchange = exchange(request(
        "POST",
        "/",
        &[("content-type", "application/grpc+proto")],
    ));
    let mut answer = run(filter.request(&mut exchange, None)).unwrap_err();
    for_grpc(&mut answer, &exchange.request);
    assert_eq!(answer.response.status, StatusCode::OK);
    assert_eq!(values(&answer.response.headers, "grpc-status"), ["10"]);
    assert_eq!(
        values(&answer.response.headers, "grpc-message"),
        ["fault filter abort"]
    );
}

#[test]
fn faults_are_for_some_requests_and_not_for_too_many() {
    let abort = json!({"http_status": 503, "percentage": {"numerator": 100}});
    let meant = fault(
        json!({"abort": abort, "upstream_cluster": "c", "downstream_nodes": ["n"], "headers": [{"name": "x-who", "string_match": {"exact": "me"}}]}),
    );
    for (cluster, node, who, hit) in [
        ("c", "n", "me", true),
        ("d", "n", "me", false),
        ("c", "m", "me", false),
        ("c", "n", "you", false),
    ] {
        let mut exchange = exchange(request(
            "GET",
            "/",
            &[("x-envoy-downstream-service-node", node), ("x-who", who)],
        ));
        exchange.context.cluster_name = Some(cluster.into());
        assert_eq!(
            run(meant.request(&mut exchange, None)).is_err(),
            hit,
            "{cluster} {node} {who}"
        );
    }

    let limited = fault(
        json!({"delay": {"fixed_delay": "0.05s", "percentage": {"numerator": 100}}, "max_active_faults": 1}),
    );
    run(async {
        let (mut first, mut second) = (
            exchange(request("GET", "/", &[])),
            exchange(request("GET", "/", &[])),
        );
        let (left, right) = tokio::join!(
            limited.request(&mut first, None),
            limited.request(&mut second, None)
        );
        assert!(left.is_ok() && right.is_ok());
        assert!(
            first.events.contains(Event::DelayInjected)
                && !second.events.contains(Event::DelayInjected)
        );
    });
    assert_eq!(
        (
            limited.stats.delays_injected.value(),
            limited.stats.faults_overflow.value()
        ),
        (1, 1)
    );
    run(async {
        // The place is given back by a request that goes away while it waits.
        let mut gone = exchange(request("GET", "/", &[]));
        drop(
            tokio::time::timeout(Duration::from_millis(1), limited.request(&mut gone, None)).await,
        );
        let mut next = exchange(request("GET", "/", &[]));
        limited.request(&mut next, None).await.unwrap();
        assert!(next.events.contains(Event::DelayInjected));
    });
    let route = served::<wire::fault::v3::HttpFault, _>(json!({"abort": abort}), Faults::plan);
    assert!(
        run(FaultFilter::default().request(&mut exchange(request("GET", "/", &[])), Some(&route)))
            .is_err()
    );
}

#[test]
fn shares_are_shares() {
    let filter = fault(
        json!({"abort": {"http_status": 503, "percentage": {"numerator": 2500, "denominator": "TEN_THOUSAND"}}}),
    );
    fastrand::seed(7);
    let mut exchange = exchange(request("GET", "/", &[]));
    let hits = (0..4000)
        .filter(|_| run_ready(filter.request(&mut exchange, None)).is_err())
        .count();
    assert!((900..1100).contains(&hits), "{hits}");
}

/// The output of a future that never waits.
fn run_ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future
        .as_mut()
        .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn cors_answers_preflights_and_marks_responses() {
    let policy = |more: Value| {
        let mut message = json!({"allow_origin_string_match": [{"exact": "https://a.example"}, {"suffix": ".b.example"}]});
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        served::<wire::cors::v3::CorsPolicy, _>(message, CorsPolicy::plan)
    };
    let full = policy(
        json!({"allow_methods": "GET,PUT", "allow_headers": "x-a", "expose_headers": "x-b", "max_age": "86400", "allow_credentials": true, "allow_private_network_access": true}),
    );
    let filter = CorsFilter::default();
    let names = |headers: &carbyne_engine::http::Headers| {
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect::<Vec<_>>()
    };

    let preflight = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-private-network", "true"),
        ]
    };
    let mut asked = exchange(request("OPTIONS", "/", &preflight("https://x.b.example")));
    let answer = filter.request(&mut asked, Some(&full)).unwrap_err();
    assert_eq!(told(&answer), (200, "", "cors_response"));
    assert_eq!(
        names(&answer.response.headers),
        [
            "access-control-allow-origin: https://x.b.example",
            "access-control-allow-credentials: true",
            "access-control-allow-methods: GET,PUT",
            "access-control-allow-headers: x-a",
            "access-control-max-age: 86400",
            "access-control-allow-private-network: true",
        ]
    );

    // Method, origin, preflight, policy; whether it is answered, and the marks of the response.
    let shy = policy(json!({"forward_not_matching_preflights": false}));
    let off = policy(json!({"filter_enabled": {"default_value": {"numerator": 0}}}));
    let shadow = policy(
        json!({"filter_enabled": {"default_value": {"numerator": 0}}, "shadow_enabled": {"default_value": {"numerator": 100}}}),
    );
    let marks = [
        "access-control-allow-origin: https://a.example",
        "access-control-allow-credentials: true",
        "access-control-expose-headers: x-b",
    ];
    let cases: Vec<(&str, &str, bool, Option<&CorsPolicy>, bool, &[&str])> = vec![
        (
            "GET",
            "https://a.example",
            false,
            Some(&full),
            false,
            &marks,
        ),
        (
            "OPTIONS",
            "https://a.example",
            false,
            Some(&full),
            false,
            &marks,
        ),
        (
            "GET",
            "https://evil.example",
            false,
            Some(&full),
            false,
            &[],
        ),
        (
            "OPTIONS",
            "https://evil.example",
            true,
            Some(&full),
            false,
            &[],
        ),
        (
            "OPTIONS",
            "https://evil.example",
            true,
            Some(&shy),
            true,
            &[],
        ),
        ("GET", "https://evil.example", true, Some(&shy), false, &[]),
        ("OPTIONS", "https://a.example", true, Some(&off), false, &[]),
        (
            "OPTIONS",
            "https://a.example",
            true,
            Some(&shadow),
            false,
            &[],
        ),
        ("GET", "", false, Some(&full), false, &[]),
        ("GET", "https://a.example", false, None, false, &[]),
    ];
    for (method, origin, is_preflight, policy, answered, expected) in cases {
        let headers = preflight(origin);
        let headers = if is_preflight {
            &headers[..]
        } else {
            &headers[..1]
        };
        let mut exchange = exchange(request(method, "/", headers));
        let result = filter.request(&mut exchange, policy);
        assert_eq!(result.is_err(), answered, "{method} {origin}");
        if let Err(answer) = result {
            assert!(answer.response.headers.is_empty());
        }
        respond(&mut exchange);
        filter.response(&mut exchange, policy);
        assert_eq!(
            names(&exchange.response.as_ref().unwrap().headers),
            expected,
            "{method} {origin}"
        );
    }
    let star = served::<wire::cors::v3::CorsPolicy, _>(
        json!({"allow_origin_string_match": [{"exact": "*"}]}),
        CorsPolicy::plan,
    );
    let mut any = exchange(request("GET", "/", &[("origin", "null")]));
    respond(&mut any);
    filter.response(&mut any, Some(&star));
    assert_eq!(
        names(&any.response.as_ref().unwrap().headers),
        ["access-control-allow-origin: null"]
    );
}

#[test]
fn fields_and_parameters_change() {
    let add = |name: &str, value: &str, action: &str| json!({"append": {"header": {"key": name, "value": value}, "append_action": action}});
    let filter = served::<wire::header_mutation::v3::HeaderMutation, _>(
        json!({"mutations": {
            "request_mutations": [add("x-new", "100%%", "APPEND_IF_EXISTS_OR_ADD"), add("x-old", "2", "OVERWRITE_IF_EXISTS_OR_ADD"), {"remove": "x-gone"}, {"remove_on_match": {"key_matcher": {"prefix": "x-secret-"}}}],
            "query_parameter_mutations": [
                {"remove": "b"},
                {"append": {"record": {"key": "a", "value": "9"}, "action": "ADD_IF_ABSENT"}},
                {"append": {"record": {"key": "c", "value": "x y"}, "action": "ADD_IF_ABSENT"}},
                {"append": {"entry": {"key": "d", "value": "MQ=="}, "action": "OVERWRITE_IF_EXISTS"}}],
            "response_mutations": [add("x-r", "1", "ADD_IF_ABSENT")]}}),
        HeaderMutationFilter::plan,
    );
    let route = served::<wire::header_mutation::v3::HeaderMutationPerRoute, _>(
        json!({"mutations": {"request_mutations": [add("x-new", "2", "APPEND_IF_EXISTS_OR_ADD")], "response_mutations": [{"remove": "x-r"}]}}),
        Mutations::plan,
    );
    let mut exchange = exchange(request(
        "GET",
        "/p?a=1&%62=2&d=3",
        &[
            ("x-old", "1"),
            ("x-gone", "1"),
            ("x-secret-a", "1"),
            ("x-secret-b", "1"),
        ],
    ));
    filter.request(&mut exchange, Some(&route));
    let found: Vec<_> = exchange
        .request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    assert_eq!(found, ["x-old=2", "x-new=100%", "x-new=2"]);
    assert_eq!(exchange.request.path, "/p?a=1&c=x%20y&d=1");
    respond(&mut exchange);
    filter.response(&mut exchange, None);
    assert_eq!(
        values(&exchange.response.as_ref().unwrap().headers, "x-r"),
        ["1"]
    );
    filter.response(&mut exchange, Some(&route));
    assert_eq!(
        values(&exchange.response.as_ref().unwrap().headers, "x-r").len(),
        0
    );

    let mutate = |mutation: Value| json!({"mutations": {"request_mutations": [mutation]}});
    for (message, expected) in [
        (
            mutate(add(":path", "/x", "APPEND_IF_EXISTS_OR_ADD")),
            "refused",
        ),
        (mutate(json!({"remove": "Host"})), "refused"),
        (
            mutate(add("x", "%REQ(y)%", "APPEND_IF_EXISTS_OR_ADD")),
            "refused",
        ),
        (mutate(json!({})), "refused"),
        (
            mutate(add("x y", "1", "APPEND_IF_EXISTS_OR_ADD")),
            "rejected",
        ),
        (
            mutate(add("x", "a\r\nb: c", "APPEND_IF_EXISTS_OR_ADD")),
            "rejected",
        ),
        (
            json!({"mutations": {"response_trailers_mutations": [{"remove": "x"}]}}),
            "refused",
        ),
    ] {
        let found = outcome::<wire::header_mutation::v3::HeaderMutation, _>(
            message.clone(),
            HeaderMutationFilter::plan,
        );
        assert!(found.starts_with(expected), "{message}: {found}");
    }
}

#[test]
fn bodies_are_held_back_up_to_a_limit() {
    let filter =
        served::<wire::buffer::v3::Buffer, _>(json!({"max_request_bytes": 5}), BufferFilter::plan);
    let larger = served::<wire::buffer::v3::BufferPerRoute, _>(
        json!({"buffer": {"max_request_bytes": 10}}),
        BufferFilter::plan_route,
    );
    let off = served::<wire::buffer::v3::BufferPerRoute, _>(
        json!({"disabled": true}),
        BufferFilter::plan_route,
    );
    for (body, route, passes) in [
        ("", None, true),
        ("hello", None, true),
        ("hello!", None, false),
        ("hello!", Some(&larger), true),
        ("hello world", Some(&larger), false),
        ("hello world", Some(&off), true),
    ] {
        let mut exchange = exchange(request("POST", "/", &[]));
        exchange.body = Body::full(body);
        match run(filter.request(&mut exchange, route)) {
            Ok(()) => {
                assert!(passes, "{body}");
                let (kept, _) = run(std::mem::take(&mut exchange.body).collect(100)).unwrap();
                assert_eq!(kept, body);
            }
            Err(answer) => {
                assert!(!passes, "{body}");
                assert_eq!(
                    told(&answer),
                    (413, "Payload Too Large", "request_payload_too_large")
                );
            }
        }
    }
    let mut tunnel = exchange(request("GET", "/", &[]));
    tunnel.upgrade = Some("websocket".into());
    tunnel.body = Body::full("longer than five");
    run(filter.request(&mut tunnel, None)).unwrap();
    assert!(
        outcome::<wire::buffer::v3::Buffer, _>(json!({}), BufferFilter::plan)
            .starts_with("rejected")
    );
}

#[test]
fn filters_are_planned_by_type_and_routes_may_switch_them_off() {
    let environment = Environment::default();
    let plan = |message: Value| {
        let any = json::any_from_json(&message).unwrap();
        let room = Room::new(&environment, Vec::new());
        let planned = HttpFilter::plan(&Unwrapped::of(&any).unwrap(), &room.scope());
        planned.map(Option::unwrap)
    };
    let url = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.http.{name}");
    let deny = plan(json!({"@type": url("rbac.v3.RBAC"), "rules": {}})).unwrap();
    let refuse = plan(json!({"@type": url("rbac.v3.RBAC"), "matcher": {}})).unwrap();
    let cors = plan(json!({"@type": url("cors.v3.Cors")})).unwrap();
    assert!(matches!(refuse, HttpFilter::Refuse(_)));
    assert_eq!(
        plan(json!({"@type": url("router.v3.Router")})).unwrap_err(),
        UnknownFilter
    );
    for name in [
        "jwt_authn.v3.JwtAuthentication",
        "fault.v3.HTTPFault",
        "local_ratelimit.v3.LocalRateLimit",
        "header_mutation.v3.HeaderMutation",
    ] {
        assert!(plan(json!({"@type": url(name)})).is_ok(), "{name}");
    }
    let own = wire::rbac::v3::RbacPerRoute::default();
    let any = pack(&own);
    let room = Room::new(&environment, Vec::new());
    let allow = PerRoute::plan(&Unwrapped::of(&any).unwrap(), &room.scope())
        .unwrap()
        .unwrap();
    let cases = [
        (&deny, None, Some("rbac_access_denied_matched_policy[none]")),
        (&deny, Some(&PerRoute::Disabled), None),
        (&deny, Some(&allow), None),
        (&cors, None, None),
        // Another filter's settings under this one's name: nobody knows what was meant.
        (
            &cors,
            Some(&allow),
            Some("filter_not_served[envoy.filters.http.cors]"),
        ),
        (
            &refuse,
            None,
            Some("filter_not_served[envoy.filters.http.rbac]"),
        ),
        (&refuse, Some(&PerRoute::Disabled), None),
    ];
    for (filter, route, expected) in cases {
        let mut exchange = exchange(request("GET", "/", &[]));
        let result = run(filter.request(&mut exchange, route, &Nobody));
        assert_eq!(
            result
                .err()
                .map(|answer| answer.details.into_owned())
                .as_deref(),
            expected
        );
        respond(&mut exchange);
        filter.response(&mut exchange, route);
    }
}
