//! Samples become a graph.
//!
//! A request is counted twice, by the caller's sidecar (`reporter="source"`) and by the callee's. An edge takes its numbers from the
//! caller where that counted any: it alone sees requests that never arrived. The callee says whether they came by mutual TLS, which
//! the caller's labels never do.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    model::{Edge, Graph, Kind, Node, Protocol},
    samples::Sample,
};

/// Collects samples of all sidecars.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: BTreeMap<String, Node>,
    edges: BTreeMap<(String, String, Protocol), Sides>,
}

/// What each side counted.
#[derive(Debug, Default)]
struct Sides {
    source: Counts,
    destination: Counts,
    locked: f64,
    told: f64,
}

#[derive(Debug, Default)]
struct Counts {
    requests: f64,
    failed: f64,
    refused: f64,
    sent: f64,
    received: f64,
    codes: BTreeMap<String, f64>,
    flags: BTreeMap<String, f64>,
    /// Upper bound in milliseconds (as text, which sorts no numbers) → requests up to it.
    buckets: BTreeMap<String, f64>,
}

impl Builder {
    /// A workload that is there, with or without traffic; app and version are empty where nobody says them.
    pub fn workload(&mut self, namespace: &str, name: &str, app: &str, version: &str) {
        let node = self.node(namespace, name, app, version);
        if let Some(node) = self.nodes.get_mut(&node) {
            node.sidecar = Some(true);
        }
    }

    /// The workloads that report these samples, whatever they counted.
    pub fn reporters(&mut self, samples: &[Sample]) {
        for sample in samples {
            let names = if sample.label("reporter") == "destination" {
                &DESTINATION
            } else {
                &SOURCE
            };
            let id = self.end(sample, names, None);
            self.reported(&id);
        }
    }

    /// Takes samples in: what a sidecar counted since its start, or between two scrapes.
    pub fn add(&mut self, samples: &[Sample]) {
        for sample in samples.iter().filter(|sample| sample.value > 0.0) {
            let Some(what) = What::of(&sample.name) else {
                continue;
            };
            self.take(what, sample);
        }
    }

    /// The graph; `window` seconds is what the samples are about, none if all time since the sidecars' start.
    #[must_use]
    pub fn build(mut self, window: Option<f64>, missing: Vec<String>) -> Graph {
        let mut edges = Vec::new();
        for ((from, to, protocol), sides) in std::mem::take(&mut self.edges) {
            if let Some(edge) = sides.edge(from, to, protocol, window) {
                edges.push(edge);
            }
        }
        // A service node is for calls that reached nobody; `outside` for callers without a name.
        let used: BTreeSet<&str> = edges
            .iter()
            .flat_map(|edge| [edge.from.as_str(), edge.to.as_str()])
            .collect();
        self.nodes
            .retain(|id, node| node.sidecar == Some(true) || used.contains(id.as_str()));
        self.tell_apart();
        Graph {
            window,
            nodes: self.nodes.into_values().collect(),
            edges,
            missing,
        }
    }

    /// Workloads that call themselves the same version of the same app go by their own names.
    fn tell_apart(&mut self) {
        let mut same: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for (id, node) in &self.nodes {
            if node.kind == Kind::Workload {
                let who = (node.namespace.clone(), node.title());
                same.entry(who).or_default().push(id.clone());
            }
        }
        for id in same.into_values().filter(|ids| ids.len() > 1).flatten() {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.name.clone_from(&node.workload);
            }
        }
    }

    fn take(&mut self, what: What, sample: &Sample) {
        let source = sample.label("reporter") != "destination";
        let from = self.end(sample, &SOURCE, None);
        let service = (
            sample.label("destination_service_namespace"),
            sample.label("destination_service_name"),
        );
        let to = self.end(sample, &DESTINATION, Some(service));
        self.reported(if source { &from } else { &to });
        let protocol = match sample.label("request_protocol") {
            "grpc" => Protocol::Grpc,
            _ if what.tcp() => Protocol::Tcp,
            _ => Protocol::Http,
        };
        let sides = self.edges.entry((from, to, protocol)).or_default();
        if !source && what.counts() {
            match sample.label("connection_security_policy") {
                "mutual_tls" => {
                    sides.locked += sample.value;
                    sides.told += sample.value;
                }
                "none" => sides.told += sample.value,
                _ => {}
            }
        }
        let counts = if source {
            &mut sides.source
        } else {
            &mut sides.destination
        };
        counts.take(what, protocol, sample);
    }

    /// Who reports has a sidecar.
    fn reported(&mut self, id: &str) {
        if let Some(node) = self.nodes.get_mut(id)
            && node.kind == Kind::Workload
        {
            node.sidecar = Some(true);
        }
    }

    /// The node at one end of an edge.
    fn end(&mut self, sample: &Sample, names: &[&str; 5], service: Option<(&str, &str)>) -> String {
        let [namespace, workload, app, revision, version] =
            names.map(|name| known(sample.label(name)));
        // `latest` is Istio's word for a workload without the label of its revision.
        let version = if matches!(revision, "" | "latest") {
            version
        } else {
            revision
        };
        if !workload.is_empty() {
            return self.node(namespace, workload, app, version);
        }
        let (namespace, name) = service.unwrap_or_default();
        let (namespace, name) = (known(namespace), known(name));
        let (id, kind) = if name.is_empty() {
            (OUTSIDE.to_owned(), Kind::Outside)
        } else {
            (format!("service:{namespace}/{name}"), Kind::Service)
        };
        self.nodes.entry(id.clone()).or_insert_with(|| Node {
            id: id.clone(),
            name: if name.is_empty() { OUTSIDE } else { name }.to_owned(),
            workload: String::new(),
            namespace: namespace.to_owned(),
            version: String::new(),
            kind,
            sidecar: None,
        });
        id
    }

    fn node(&mut self, namespace: &str, workload: &str, app: &str, version: &str) -> String {
        // As Kiali: a workload is a node of its own even where two have the same app and version.
        let id = format!("{namespace}/{workload}");
        let node = self.nodes.entry(id.clone()).or_insert_with(|| Node {
            id: id.clone(),
            name: workload.to_owned(),
            workload: workload.to_owned(),
            namespace: namespace.to_owned(),
            version: String::new(),
            kind: Kind::Workload,
            sidecar: Some(false),
        });
        if !app.is_empty() {
            app.clone_into(&mut node.name);
        }
        if node.version.is_empty() {
            version.clone_into(&mut node.version);
        }
        id
    }
}

impl Sides {
    fn edge(
        self,
        from: String,
        to: String,
        protocol: Protocol,
        window: Option<f64>,
    ) -> Option<Edge> {
        let Self {
            source,
            destination,
            locked,
            told,
        } = self;
        let counts = if source.requests > 0.0 {
            source
        } else {
            destination
        };
        let tcp = protocol == Protocol::Tcp;
        if counts.requests == 0.0 && counts.sent + counts.received == 0.0 {
            return None;
        }
        let share = |part: f64| {
            if counts.requests > 0.0 {
                part / counts.requests
            } else {
                0.0
            }
        };
        Some(Edge {
            rate: window.map(|window| counts.requests / window),
            errors: share(counts.failed),
            refused: share(counts.refused),
            p99: quantile(0.99, &counts.buckets),
            mtls: (told > 0.0).then(|| locked / told),
            // Istio counts from the callee's side: received is what came with requests.
            bytes: tcp.then_some((counts.received, counts.sent)),
            requests: counts.requests,
            codes: counts.codes,
            flags: counts.flags,
            from,
            to,
            protocol,
        })
    }
}

impl Counts {
    fn take(&mut self, what: What, protocol: Protocol, sample: &Sample) {
        let value = sample.value;
        let flags = |flags: &mut BTreeMap<String, f64>| {
            let said = sample.label("response_flags");
            for flag in said
                .split(',')
                .filter(|flag| !flag.is_empty() && *flag != "-")
            {
                *flags.entry(flag.to_owned()).or_default() += value;
            }
        };
        match what {
            What::Requests => {
                self.requests += value;
                flags(&mut self.flags);
                let status = sample.label("response_code");
                let grpc = sample.label("grpc_response_status");
                let (code, failed) = if protocol == Protocol::Grpc && !grpc.is_empty() {
                    (format!("grpc {grpc}"), grpc != "0")
                } else {
                    // 0 is no answer: the connection broke, or the client left.
                    (
                        status.to_owned(),
                        !matches!(status.as_bytes().first(), Some(b'1'..=b'4')),
                    )
                };
                *self.codes.entry(code).or_default() += value;
                if failed {
                    self.failed += value;
                } else if protocol == Protocol::Http && status.starts_with('4') {
                    self.refused += value;
                }
            }
            What::Opened => {
                self.requests += value;
                flags(&mut self.flags);
            }
            What::Sent => self.sent += value,
            What::Received => self.received += value,
            What::Duration => {
                *self
                    .buckets
                    .entry(sample.label("le").to_owned())
                    .or_default() += value;
            }
        }
    }
}

/// Metrics that a graph is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Requests,
    Duration,
    Opened,
    Sent,
    Received,
}

impl What {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "istio_requests_total" => Self::Requests,
            "istio_request_duration_milliseconds_bucket" => Self::Duration,
            "istio_tcp_connections_opened_total" => Self::Opened,
            "istio_tcp_sent_bytes_total" => Self::Sent,
            "istio_tcp_received_bytes_total" => Self::Received,
            _ => return None,
        })
    }

    const fn tcp(self) -> bool {
        matches!(self, Self::Opened | Self::Sent | Self::Received)
    }

    const fn counts(self) -> bool {
        matches!(self, Self::Requests | Self::Opened)
    }
}

/// Prometheus' histogram_quantile: linear inside a bucket, the last finite bound above it.
fn quantile(part: f64, buckets: &BTreeMap<String, f64>) -> Option<f64> {
    let mut bounds: Vec<(f64, f64)> = buckets
        .iter()
        .filter_map(|(bound, count)| Some((bound.trim_start_matches('+').parse().ok()?, *count)))
        .collect();
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (_, all) = *bounds.last()?;
    if all <= 0.0 {
        return None;
    }
    let rank = part * all;
    let (mut below, mut count_below) = (0.0, 0.0);
    for (bound, count) in bounds {
        if count >= rank {
            if bound.is_infinite() {
                return Some(below);
            }
            let inside = count - count_below;
            let step = if inside > 0.0 {
                (rank - count_below) / inside
            } else {
                0.0
            };
            return Some(below + (bound - below) * step);
        }
        (below, count_below) = (bound, count);
    }
    None
}

/// Istio writes `unknown` where it does not know.
fn known(label: &str) -> &str {
    if label == "unknown" { "" } else { label }
}

const OUTSIDE: &str = "outside";
const SOURCE: [&str; 5] = [
    "source_workload_namespace",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_version",
];
const DESTINATION: [&str; 5] = [
    "destination_workload_namespace",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_version",
];

#[cfg(test)]
mod tests {
    use super::super::samples::parse;
    use super::*;

    fn line(name: &str, labels: &str, value: f64) -> String {
        format!("istio_{name}{{{labels}}} {value}\n")
    }

    fn graph(lines: &[String]) -> Graph {
        let mut builder = Builder::default();
        builder.add(&parse(&lines.concat()));
        builder.build(Some(10.0), Vec::new())
    }

    const PORTAL_TO_BILLING: &str = "source_workload=\"portal\",source_workload_namespace=\"shop\",source_canonical_revision=\"v1\",\
        destination_workload=\"billing\",destination_workload_namespace=\"shop\",destination_service_name=\"billing\",destination_service_namespace=\"shop\"";

    #[test]
    fn the_caller_counts_and_the_callee_says_how_it_came() {
        let labels = |rest: &str| format!("{PORTAL_TO_BILLING},{rest}");
        let graph = graph(&[
            line(
                "requests_total",
                &labels(
                    "reporter=\"source\",response_code=\"200\",response_flags=\"-\",connection_security_policy=\"unknown\"",
                ),
                30.0,
            ),
            line(
                "requests_total",
                &labels("reporter=\"source\",response_code=\"403\",response_flags=\"-\""),
                10.0,
            ),
            line(
                "requests_total",
                &labels("reporter=\"source\",response_code=\"503\",response_flags=\"UF,URX\""),
                10.0,
            ),
            line(
                "requests_total",
                &labels(
                    "reporter=\"destination\",response_code=\"200\",connection_security_policy=\"mutual_tls\"",
                ),
                30.0,
            ),
            line(
                "requests_total",
                &labels(
                    "reporter=\"destination\",response_code=\"403\",connection_security_policy=\"mutual_tls\"",
                ),
                10.0,
            ),
            line(
                "request_duration_milliseconds_bucket",
                &labels("reporter=\"source\",le=\"5\""),
                25.0,
            ),
            line(
                "request_duration_milliseconds_bucket",
                &labels("reporter=\"source\",le=\"10\""),
                50.0,
            ),
            line(
                "request_duration_milliseconds_bucket",
                &labels("reporter=\"source\",le=\"+Inf\""),
                50.0,
            ),
        ]);
        assert_eq!(graph.nodes.len(), 2, "{graph:#?}");
        let portal = graph.node("shop/portal").unwrap();
        assert_eq!(
            (portal.title().as_str(), portal.sidecar),
            ("portal v1", Some(true))
        );
        let [edge] = graph.edges.as_slice() else {
            panic!("{graph:#?}");
        };
        assert_eq!((edge.requests, edge.rate), (50.0, Some(5.0)));
        assert_eq!(
            (edge.errors, edge.refused, edge.mtls),
            (0.2, 0.2, Some(1.0))
        );
        assert!((edge.p99.unwrap() - 9.9).abs() < 1e-9, "{edge:?}");
        assert_eq!(
            edge.flags,
            BTreeMap::from([("UF".to_owned(), 10.0), ("URX".to_owned(), 10.0)])
        );
        assert_eq!(
            edge.label(),
            "5/s · 20 % failed · 20 % refused · p99 9.9 ms"
        );
        assert!(edge.locked());
    }

    #[test]
    fn workloads_are_versions_of_apps() {
        let to = |workload: &str, app: &str, version: &str| {
            line(
                "requests_total",
                &format!(
                    "reporter=\"source\",source_workload=\"portal\",source_workload_namespace=\"shop\",source_canonical_service=\"portal\",\
                     destination_workload=\"{workload}\",destination_workload_namespace=\"shop\",destination_canonical_service=\"{app}\",\
                     destination_canonical_revision=\"{version}\",response_code=\"200\""
                ),
                1.0,
            )
        };
        let graph = graph(&[
            to("catalogue-v1", "catalogue", "v1"),
            to("catalogue-v2", "catalogue", "v2"),
            to("blue", "prices", "v1"),
            to("green", "prices", "v1"),
            to("bare", "unknown", "latest"),
        ]);
        let told: Vec<(&str, String)> = graph
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node.title()))
            .collect();
        let expected = [
            ("shop/bare", "bare"),
            ("shop/blue", "blue v1"),
            ("shop/catalogue-v1", "catalogue v1"),
            ("shop/catalogue-v2", "catalogue v2"),
            ("shop/green", "green v1"),
            ("shop/portal", "portal"),
        ];
        assert_eq!(told, expected.map(|(id, title)| (id, title.to_owned())));
    }

    #[test]
    fn callers_without_a_sidecar_and_calls_that_reach_nobody() {
        let graph = graph(&[
            line(
                "requests_total",
                "reporter=\"destination\",source_workload=\"unknown\",source_workload_namespace=\"unknown\",destination_workload=\"portal\",destination_workload_namespace=\"shop\",response_code=\"200\",connection_security_policy=\"none\"",
                4.0,
            ),
            line(
                "requests_total",
                "reporter=\"source\",source_workload=\"portal\",source_workload_namespace=\"shop\",destination_workload=\"unknown\",destination_service_name=\"gone\",destination_service_namespace=\"shop\",response_code=\"503\",response_flags=\"UH\"",
                2.0,
            ),
        ]);
        let ids: Vec<&str> = graph.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["outside", "service:shop/gone", "shop/portal"]);
        assert_eq!(graph.edges[0].mtls, Some(0.0));
        assert_eq!(graph.edges[1].errors, 1.0);
        assert_eq!(graph.node("outside").unwrap().kind, Kind::Outside);
    }

    #[test]
    fn tcp_counts_connections_and_bytes_and_grpc_its_own_status() {
        let labels = |rest: &str| format!("{PORTAL_TO_BILLING},reporter=\"source\",{rest}");
        let graph = graph(&[
            line(
                "tcp_connections_opened_total",
                &labels("response_flags=\"-\""),
                3.0,
            ),
            line("tcp_sent_bytes_total", &labels(""), 100.0),
            line("tcp_received_bytes_total", &labels(""), 700.0),
            line(
                "requests_total",
                &labels(
                    "request_protocol=\"grpc\",response_code=\"200\",grpc_response_status=\"14\"",
                ),
                1.0,
            ),
        ]);
        assert_eq!(graph.edges.len(), 2);
        let (grpc, tcp) = (&graph.edges[0], &graph.edges[1]);
        assert_eq!((grpc.protocol, grpc.errors), (Protocol::Grpc, 1.0));
        assert_eq!(grpc.codes, BTreeMap::from([("grpc 14".to_owned(), 1.0)]));
        assert_eq!((tcp.requests, tcp.bytes), (3.0, Some((700.0, 100.0))));
        assert_eq!(tcp.label(), "0.30 conn/s");
    }

    #[test]
    fn quantiles_are_prometheus_own() {
        let of = |pairs: &[(&str, f64)]| {
            let map = pairs
                .iter()
                .map(|(bound, count)| ((*bound).to_owned(), *count))
                .collect();
            quantile(0.99, &map)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("+Inf", 0.0)]), None);
        assert_eq!(of(&[("0.5", 100.0), ("+Inf", 100.0)]), Some(0.495));
        // Beyond the last finite bound nothing more is known than the bound.
        assert_eq!(
            of(&[("5", 1.0), ("1000", 2.0), ("+Inf", 100.0)]),
            Some(1000.0)
        );
    }
}
