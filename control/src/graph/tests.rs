//! Every output of `graph` on recorded scrapes, and on a mesh of 200 services.

use std::fmt::Write;

use super::{model::Edge, *};
use crate::output::Text;

/// What three sidecars of the example platform said, cut to the series, labels and buckets that graphs read; and what it does not
/// have: gRPC that fails, TCP, a call that reached nobody, a workload without traffic, a sidecar that does not answer.
fn recorded() -> Graph {
    let mut builder = Builder::default();
    for text in [
        include_str!("tests/portal.txt"),
        include_str!("tests/catalogue.txt"),
        include_str!("tests/billing.txt"),
    ] {
        builder.add(&samples::parse(text));
    }
    builder.add(&samples::parse(ADDED));
    builder.workload("platform", "reports", "reports", "v1");
    builder.build(
        Some(10.0),
        vec!["ledger's sidecar: 127.0.10.4:15000: no answer within 5s".to_owned()],
    )
}

const ADDED: &str = r#"
istio_requests_total{reporter="source",source_workload="catalogue-v1",source_canonical_service="catalogue",source_workload_namespace="platform",destination_workload="prices",destination_workload_namespace="platform",request_protocol="grpc",response_code="200",grpc_response_status="0",response_flags="-"} 90
istio_requests_total{reporter="source",source_workload="catalogue-v1",source_canonical_service="catalogue",source_workload_namespace="platform",destination_workload="prices",destination_workload_namespace="platform",request_protocol="grpc",response_code="200",grpc_response_status="14",response_flags="UF,URX"} 10
istio_tcp_connections_opened_total{reporter="source",source_workload="billing",source_workload_namespace="platform",destination_workload="ledger",destination_workload_namespace="bank",response_flags="-"} 3
istio_tcp_received_bytes_total{reporter="source",source_workload="billing",source_workload_namespace="platform",destination_workload="ledger",destination_workload_namespace="bank"} 4096
istio_requests_total{reporter="source",source_workload="portal",source_workload_namespace="platform",destination_workload="unknown",destination_service_name="reviews",destination_service_namespace="platform",response_code="503",response_flags="UH"} 5
"#;

fn plain(graph: &Graph) -> String {
    let mut text = String::new();
    graph.text(&mut text).unwrap();
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn text() {
    insta::assert_snapshot!(plain(&recorded()));
}

#[test]
fn json() {
    insta::assert_snapshot!(output::json(&recorded()).unwrap());
}

#[test]
fn mermaid() {
    insta::assert_snapshot!(recorded().mermaid());
}

#[test]
fn dot() {
    insta::assert_snapshot!(recorded().dot());
}

#[test]
fn picture() {
    insta::assert_snapshot!(svg(&recorded()));
}

#[test]
fn nothing_of_a_name_becomes_markup() {
    let line = "istio_requests_total{reporter=\"source\",source_workload=\"<script>'\\\"&--#\",source_workload_namespace=\"a\",destination_workload=\"x\\ny\",destination_workload_namespace=\"b\",response_code=\"200\"} 1\n";
    let mut builder = Builder::default();
    builder.add(&samples::parse(line));
    let graph = builder.build(None, Vec::new());
    let picture = svg(&graph);
    assert!(
        !picture.contains("<script") && picture.contains("&lt;script&gt;&#39;&quot;&amp;--#"),
        "{picture}"
    );
    assert!(
        graph.mermaid().contains("#lt;script#gt;'#quot;#amp;--#35;"),
        "{}",
        graph.mermaid()
    );
    assert!(
        graph.dot().contains("a/<script>'\\\"&--#") && !graph.dot().contains("x\ny"),
        "{}",
        graph.dot()
    );
}

#[test]
fn one_namespace_and_its_neighbours() {
    let graph = recorded().of_namespace("nowhere");
    assert_eq!((graph.nodes.len(), graph.edges.len()), (0, 0));
    let graph = recorded().of_namespace("platform");
    assert_eq!(graph.edges.len(), recorded().edges.len());
}

/// Scrapes of a mesh, as its sidecars would answer: each service calls three others.
fn mesh(services: usize) -> Vec<String> {
    let labels = |reporter: &str, from: usize, to: usize, rest: &str| {
        format!(
            "reporter=\"{reporter}\",source_workload=\"service-{from}\",source_workload_namespace=\"shop\",source_canonical_revision=\"v1\",\
             destination_workload=\"service-{to}\",destination_workload_namespace=\"shop\",destination_service_name=\"service-{to}\",{rest}"
        )
    };
    let called = |from: usize| {
        [from * 2 + 1, from * 2 + 2, from + 7]
            .into_iter()
            .filter(move |to| *to < services)
    };
    (0..services)
        .map(|own| {
            let mut text = String::new();
            for to in called(own) {
                let ok = labels(
                    "source",
                    own,
                    to,
                    "response_code=\"200\",response_flags=\"-\"",
                );
                writeln!(text, "istio_requests_total{{{ok}}} {}", 100 + to).unwrap();
                for bound in [
                    "1", "5", "10", "25", "50", "100", "250", "500", "1000", "+Inf",
                ] {
                    let bucket = labels("source", own, to, &format!("le=\"{bound}\""));
                    writeln!(
                        text,
                        "istio_request_duration_milliseconds_bucket{{{bucket}}} {}",
                        100 + to
                    )
                    .unwrap();
                }
            }
            for from in (0..services).filter(|from| called(*from).any(|to| to == own)) {
                let ok = labels(
                    "destination",
                    from,
                    own,
                    "response_code=\"200\",connection_security_policy=\"mutual_tls\"",
                );
                writeln!(text, "istio_requests_total{{{ok}}} {}", 100 + own).unwrap();
            }
            text
        })
        .collect()
}

/// The bench measures the time; here: all of it is there, and the picture is whole.
#[test]
fn two_hundred_services() {
    let mut builder = Builder::default();
    for text in mesh(200) {
        builder.add(&samples::parse(&text));
    }
    let graph = builder.build(None, Vec::new());
    assert_eq!(graph.nodes.len(), 200);
    assert!(graph.edges.len() > 350, "{}", graph.edges.len());
    assert!(graph.edges.iter().all(Edge::locked));
    let picture = svg(&graph);
    assert_eq!(picture.matches("<g class=\"node workload\">").count(), 200);
    assert_eq!(
        picture.matches("class=\"edge good\"").count(),
        graph.edges.len()
    );
}
