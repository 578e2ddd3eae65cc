//! Micro-benches of what a request passes in the proxy: route table, access rules, balancers, the line of the access log.
//!
//! `cargo bench -p carbyne-benches --bench proxy`. Rules, routes and log format are those of the side-by-side run.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot set up has nothing to measure"
)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use carbyne_engine::cluster::settings::{BalancerSettings, RingHashFunction};
use carbyne_engine::cluster::{
    Assignment, Cluster, Endpoint, LocalityEndpoints, PickContext, Picker, Settings,
};
use carbyne_engine::forward::{Counts, Downstream, Events, Exchange, Timing, Upstream};
use carbyne_engine::http::{Body, Headers, Request, Response};
use carbyne_engine::net::Address;
use carbyne_engine::runtime::Worker;
use carbyne_protos::envoy::config::core::v3::SubstitutionFormatString;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::envoy::extensions::filters::http::rbac::v3::Rbac;
use carbyne_protos::json::from_json;
use carbyne_proxy::context::{Context, Metadata};
use carbyne_proxy::filter::planned::Planned;
use carbyne_proxy::filter::rbac::RbacFilter;
use carbyne_proxy::live::route::RouteFacts;
use carbyne_proxy::observe::access_log::LineFormat;
use carbyne_proxy::observe::facts::Facts;
use carbyne_proxy::plan::{Environment, route};
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

fn request() -> Request {
    let mut request = Request::get("bench.local", Bytes::from_static(b"/1k"));
    request.host = Bytes::from_static(b"bench.local");
    for (name, value) in [
        ("user-agent", "carbyne-bench"),
        ("accept", "*/*"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "0d5f2a4e-7b58-4b43-9a53-0d8a7c1e6f00"),
    ] {
        let (name, value) = (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        request.headers.append(name, value);
    }
    request
}

fn exchange() -> Exchange<Context> {
    let address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 40_000)));
    let tasks = tokio::task::LocalSet::new();
    let _entered = tasks.enter();
    Exchange {
        worker: Worker::new(None),
        downstream: Rc::new(Downstream {
            id: 7,
            local: address.clone(),
            remote: address.clone(),
            direct_remote: address,
            server_name: None,
            tls: None,
            accepted: Instant::now(),
        }),
        request: request(),
        body: Body::empty(),
        upgrade: None,
        response: Some(Response::new(StatusCode::OK)),
        response_body: Body::empty(),
        response_trailers: None,
        context: Context::default(),
        timing: Timing {
            start: Instant::now(),
            start_time: SystemTime::now(),
            request_end: Some(Duration::ZERO),
            upstream_start: None,
            upstream_end: None,
            response_start: None,
            response_end: None,
            end: Some(Duration::from_millis(3)),
        },
        upstream: Upstream::default(),
        attempts: 1,
        events: Events::default(),
        details: "via_upstream".into(),
        counts: Counts::default(),
    }
}

/// The first object under `key` in a bootstrap of the side-by-side run.
fn of_bootstrap(text: &str, key: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    fn find(value: &Value, key: &str, wanted: &dyn Fn(&Value) -> bool) -> Option<Value> {
        let below = |child: &Value| find(child, key, wanted);
        match value {
            Value::Object(fields) => fields
                .get(key)
                .filter(|found| wanted(found))
                .cloned()
                .or_else(|| fields.values().find_map(below)),
            Value::Array(items) => items.iter().find_map(below),
            _ => None,
        }
    }
    find(&serde_json::from_str(text).unwrap(), key, &wanted).unwrap()
}

fn routes(criterion: &mut Criterion) {
    let environment = Environment::default();
    let many: Vec<Value> = (0..10_000)
        .map(|number| {
            json!({"match": {"prefix": format!("/api/v1/service-{number}/")}, "direct_response": {"status": 204}})
        })
        .chain([json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}})])
        .collect();
    let host = |routes: Value| json!({"virtual_hosts": [{"name": "bench", "domains": ["bench.local", "*.example"], "routes": routes}]});
    let few = of_bootstrap(
        include_str!("../bootstraps/proxy.json"),
        "route_config",
        |_| true,
    );
    for (name, message) in [("three", few), ("ten thousand", host(json!(many)))] {
        let message: RouteConfiguration = from_json(&message).unwrap();
        let table = environment
            .plan_message(&message, route::plan)
            .unwrap()
            .plan;
        let request = request();
        let metadata = Metadata::default();
        criterion.bench_function(&format!("route/{name}"), |bencher| {
            bencher.iter(|| {
                let choice = table.choose(&RouteFacts {
                    request: black_box(&request),
                    random: 7,
                    metadata: &metadata,
                    certificate_presented: false,
                    certificate_validated: false,
                });
                black_box(&choice);
            });
        });
    }
}

fn rules(criterion: &mut Criterion) {
    let bootstrap = include_str!("../bootstraps/istio.json");
    let environment = Environment::default();
    for action in ["DENY", "ALLOW"] {
        let is_wanted =
            |config: &Value| config["rules"]["action"].as_str().unwrap_or("ALLOW") == action;
        let config = of_bootstrap(bootstrap, "typed_config", |config| {
            config["@type"]
                .as_str()
                .is_some_and(|name| name.ends_with("rbac.v3.RBAC"))
                && is_wanted(config)
        });
        let message = json!({"rules": config["rules"]});
        let message: Rbac = from_json(&message).unwrap();
        let planned = environment.plan_message(&message, RbacFilter::plan);
        let Planned::Serves(filter) = planned.unwrap().plan else {
            unreachable!("the rules of the bench are served");
        };
        let mut exchange = exchange();
        criterion.bench_function(&format!("rbac/{}", action.to_lowercase()), |bencher| {
            bencher.iter(|| {
                let verdict = filter.request(black_box(&mut exchange), None);
                black_box(verdict.is_ok())
            });
        });
    }
}

fn balancers(criterion: &mut Criterion) {
    let now = Instant::now();
    let endpoints = (1..=100).map(|host| Endpoint::at(SocketAddr::from(([10, 0, 0, host], 80))));
    let assignment = Assignment::of(vec![LocalityEndpoints {
        endpoints: endpoints.collect(),
        ..LocalityEndpoints::default()
    }]);
    for (name, balancer) in [
        (
            "round robin",
            BalancerSettings::RoundRobin { slow_start: None },
        ),
        (
            "least request",
            BalancerSettings::LeastRequest {
                choice_count: 2,
                active_request_bias: 1.0,
                slow_start: None,
            },
        ),
        ("random", BalancerSettings::Random),
        (
            "ring hash",
            BalancerSettings::RingHash {
                min_size: 1024,
                max_size: 8_388_608,
                hash: RingHashFunction::XxHash,
                use_hostname: false,
            },
        ),
    ] {
        let cluster = Cluster::new(
            Settings {
                balancer,
                ..Settings::named("bench")
            },
            now,
        );
        cluster.update_endpoints(assignment.clone(), now);
        let set = cluster.endpoints();
        let mut picker = Picker::new(7);
        let mut hash = 0_u64;
        criterion.bench_function(&format!("balance/{name}"), |bencher| {
            bencher.iter(|| {
                hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let context = PickContext {
                    hash: Some(hash),
                    tried: &[],
                    reselections: 0,
                    tried_priorities: &[],
                    now,
                };
                black_box(picker.pick(&set, &context).is_some())
            });
        });
    }
}

fn log_line(criterion: &mut Criterion) {
    let format = of_bootstrap(
        include_str!("../bootstraps/proxy.json"),
        "log_format",
        |_| true,
    );
    let message: SubstitutionFormatString = from_json(&format).unwrap();
    let environment = Environment::default();
    let planned = environment.plan_message(&message, LineFormat::plan);
    let format = planned.unwrap().plan;
    let exchange = exchange();
    let mut line = Vec::new();
    criterion.bench_function("access log/json line", |bencher| {
        bencher.iter(|| {
            line.clear();
            format.render(&Facts::of(black_box(&exchange)), &mut line);
            black_box(line.len())
        });
    });
}

fn header_lists(criterion: &mut Criterion) {
    let headers = request().headers;
    let name = HeaderName::from_static("x-request-id");
    criterion.bench_function("headers/get", |bencher| {
        bencher.iter(|| black_box(&headers).get(black_box(&name)).is_some());
    });
    criterion.bench_function("headers/to a map and back", |bencher| {
        bencher.iter(|| Headers::from(http::HeaderMap::from(black_box(headers.clone()))).len());
    });
}

criterion_group!(proxy, routes, rules, balancers, log_line, header_lists);
criterion_main!(proxy);
