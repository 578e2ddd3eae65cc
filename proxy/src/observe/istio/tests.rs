use std::time::{Instant, SystemTime};

use carbyne_engine::cluster::Cluster;
use carbyne_engine::forward::{Counts, Timing};
use carbyne_engine::http::{Request, Response};
use carbyne_protos::envoy::config::core::v3::Node;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::live::clusters::LiveCluster;
use crate::observe::peer::Peer;
use crate::observe::stats::DEFAULT_BOUNDS;
use crate::plan::Environment;
use crate::plan::cluster::{ClusterPlan, ServiceFacts};

fn node() -> Arc<LocalNode> {
    let metadata = json!({
        "NAME": "me-1", "NAMESPACE": "home", "WORKLOAD_NAME": "me", "CLUSTER_ID": "Kubernetes",
        "LABELS": {"app": "me", "version": "v2", "service.istio.io/canonical-name": "me-svc", "service.istio.io/canonical-revision": "v2"}
    });
    let node = Node {
        metadata: Some(crate::observe::peer::described(&metadata)),
        ..Node::default()
    };
    Arc::new(LocalNode::new(&node, &[]))
}

fn peer() -> Arc<Peer> {
    Arc::new(Peer {
        workload: "you".into(),
        namespace: "away".into(),
        canonical_service: "you-svc".into(),
        app: "you".into(),
        cluster: "c2".into(),
        ..Peer::default()
    })
}

fn planned(config: &Value, inbound: bool) -> (IstioStats, Arc<Store>) {
    let store = Arc::new(Store::new(|_| Arc::from(DEFAULT_BOUNDS)));
    let message: PluginConfig = carbyne_protos::json::from_json(config).unwrap();
    let plan = Environment::default()
        .plan_message(&message, |message, scope| {
            Some(StatsPlan::read(message, &node(), scope))
        })
        .unwrap()
        .plan;
    let stats = IstioStats::new(&plan, inbound, &node(), &store);
    (stats, store)
}

fn timing() -> Timing {
    Timing {
        start: Instant::now(),
        start_time: SystemTime::UNIX_EPOCH,
        request_end: None,
        upstream_start: None,
        upstream_end: None,
        response_start: None,
        response_end: None,
        end: Some(Duration::from_millis(7)),
    }
}

/// `name{labels} value` of every series, sorted; histograms by count and sum.
fn lines(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    store.visit(|series| {
        let labels: Vec<String> = series
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let value = match series.value {
            SeriesValue::Counter(counter) => counter.value().to_string(),
            SeriesValue::Histogram(histogram) => {
                let snapshot = histogram.snapshot();
                format!("{}/{}", snapshot.count, snapshot.sum)
            }
        };
        lines.push(format!("{}{{{}}} {value}", series.name, labels.join(",")));
    });
    lines
}

fn cluster(name: &str, service: bool) -> LiveCluster {
    let mut plan = ClusterPlan::named(name);
    if service {
        plan.istio.services = vec![ServiceFacts {
            host: Arc::from("you.away.svc.cluster.local"),
            name: Arc::from("you"),
            namespace: Arc::from("away"),
        }];
    }
    LiveCluster {
        cluster: Cluster::new(plan.settings.clone(), Instant::now()),
        plan: Arc::new(plan),
    }
}

const COUNTS: Counts = Counts {
    received: 1,
    sent: 2,
    wire_received: 300,
    wire_sent: 400,
    upstream_received: 0,
    upstream_sent: 0,
};

#[test]
fn the_client_reports_every_label() {
    let (stats, store) = planned(&json!({}), false);
    let (request, response, timing, peer, cluster) = (
        Request::get("you:80", "/"),
        Response::new(StatusCode::OK),
        timing(),
        peer(),
        cluster("outbound|80||you", true),
    );
    let facts = Facts {
        request: Some(&request),
        response: Some(&response),
        timing: Some(&timing),
        counts: COUNTS,
        upstream_peer: Some(&peer),
        cluster: Some("outbound|80||you"),
        cluster_plan: Some(&cluster.plan),
        ..Facts::default()
    };
    for _ in 0..3 {
        stats.request(&facts);
    }
    let labels = "reporter=source,source_workload=me,source_canonical_service=me-svc,source_canonical_revision=v2,source_workload_namespace=home,source_principal=unknown,\
                  source_app=me,source_version=v2,source_cluster=Kubernetes,destination_workload=you,destination_workload_namespace=away,destination_principal=unknown,\
                  destination_app=you,destination_version=unknown,destination_service=you.away.svc.cluster.local,destination_canonical_service=you-svc,\
                  destination_canonical_revision=latest,destination_service_name=you,destination_service_namespace=away,destination_cluster=c2,request_protocol=http,\
                  response_code=200,grpc_response_status=,response_flags=-,connection_security_policy=unknown";
    let expected: Vec<String> = [
        ("request_bytes", "3/900"),
        ("request_duration_milliseconds", "3/21"),
        ("requests_total", "3"),
        ("response_bytes", "3/1200"),
    ]
    .into_iter()
    .map(|(name, value)| format!("istio_{name}{{{labels}}} {value}"))
    .collect();
    assert_eq!(lines(&store), expected);
}

#[test]
fn the_server_reports_an_unknown_client_and_grpc() {
    let (stats, store) = planned(&json!({}), true);
    let mut request = Request::get("me.home:8080", "/");
    request.headers.append(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let mut response = Response::new(StatusCode::OK);
    response.headers.append(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("13"),
    );
    let facts = Facts {
        request: Some(&request),
        response: Some(&response),
        grpc_messages: (2, 5),
        ..Facts::default()
    };
    stats.request(&facts);
    let lines = lines(&store);
    let requests = lines
        .iter()
        .find(|line| line.starts_with("istio_requests_total"))
        .unwrap();
    for part in [
        "reporter=destination,source_workload=unknown,source_canonical_service=unknown,source_canonical_revision=latest,",
        "destination_workload=me,destination_workload_namespace=home,",
        "destination_service=me.home:8080,",
        "destination_service_name=unknown,",
        "request_protocol=grpc,response_code=200,grpc_response_status=13,response_flags=-,connection_security_policy=none}",
    ] {
        assert!(requests.contains(part), "{part} in {requests}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("istio_request_messages_total") && line.ends_with(" 2"))
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("istio_response_messages_total") && line.ends_with(" 5"))
    );
}

#[test]
fn services_without_metadata_are_named_by_cluster_or_route() {
    let cases: &[(Value, &str, &str, &str, &str)] = &[
        (
            json!({}),
            "PassthroughCluster",
            "allow_any",
            "a.example",
            "PassthroughCluster",
        ),
        (
            json!({}),
            "BlackHoleCluster",
            "",
            "a.example",
            "BlackHoleCluster",
        ),
        (json!({}), "", "block_all", "a.example", "BlackHoleCluster"),
        (
            json!({"disable_host_header_fallback": true}),
            "InboundPassthroughCluster",
            "",
            "unknown",
            "InboundPassthroughCluster",
        ),
        (json!({}), "other", "", "a.example", "unknown"),
    ];
    for (config, cluster, route, host, name) in cases {
        let (stats, store) = planned(config, false);
        let request = Request::get("a.example", "/");
        stats.request(&Facts {
            request: Some(&request),
            cluster: Some(cluster),
            route,
            ..Facts::default()
        });
        let lines = lines(&store);
        assert!(
            lines[0].contains(&format!("destination_service={host},")),
            "{}",
            lines[0]
        );
        assert!(
            lines[0].contains(&format!("destination_service_name={name},")),
            "{}",
            lines[0]
        );
    }
}

#[test]
fn streams() {
    let (stats, store) = planned(&json!({"tcp_reporting_duration": "15s"}), false);
    assert_eq!(stats.tcp_reporting, Duration::from_secs(15));
    let peer = peer();
    let facts = Facts {
        upstream_peer: Some(&peer),
        is_stream: true,
        ..Facts::default()
    };
    let series = stats.stream(&facts);
    assert!(Rc::ptr_eq(&series, &stats.stream(&facts)));
    series.opened();
    series.bytes(10, 20);
    series.bytes(1, 0);
    series.closed();
    let lines = lines(&store);
    assert_eq!(lines.len(), 4);
    for (line, value) in lines.iter().zip(["1", "1", "11", "20"]) {
        assert!(
            line.contains(
                "request_protocol=tcp,response_flags=-,connection_security_policy=unknown}"
            ) && line.ends_with(&format!("}} {value}")),
            "{line}"
        );
    }
}

#[test]
fn overrides() {
    let config = json!({"metrics": [
        {"name": "requests_total", "dimensions": {"request_method": "request.method", "response_code": "'x'", "bad": "nope"}, "tags_to_remove": ["destination_canonical_revision"]},
        {"name": "request_bytes", "drop": true},
        {"tags_to_remove": ["source_app"]}
    ]});
    let (stats, store) = planned(&config, false);
    for method in [http::Method::GET, http::Method::POST, http::Method::GET] {
        let mut request = Request::get("a", "/");
        request.method = method;
        stats.request(&Facts {
            request: Some(&request),
            ..Facts::default()
        });
    }
    let lines = lines(&store);
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("istio_request_bytes") || line.contains("source_app="))
    );
    let requests: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("istio_requests_total"))
        .collect();
    assert_eq!(requests.len(), 2);
    for (line, (method, count)) in requests.iter().zip([("GET", 2), ("POST", 1)]) {
        assert!(
            line.contains(&format!("request_method={method}"))
                && line.contains("response_code=x")
                && line.contains("bad=unknown"),
            "{line}"
        );
        assert!(
            !line.contains("destination_canonical_revision")
                && line.ends_with(&format!(" {count}")),
            "{line}"
        );
    }
}
