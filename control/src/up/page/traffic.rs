//! The service graph of the page: what the sidecars count, and what the gateway counts of its clients, who have no sidecar.
//!
//! Counts are since the start, so that three calls stay to be seen; rates and p99 are of the last minute, where there was traffic in it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::state::{Edge, Picture};
use crate::{
    fetch::get,
    graph::{
        Graph,
        collect::{Scrape, Target, scrape, targets},
        model::{Health, Kind, Node},
        samples::{Sample, parse_named},
        svg,
    },
    running::{self, Member, Running},
};

/// Scrapes of the last minute.
#[derive(Debug, Default)]
pub struct Traffic {
    before: VecDeque<(Instant, Scrape)>,
}

impl Traffic {
    /// Asks everybody.
    pub async fn look(&mut self, running: &Running) -> Picture {
        let mut now = scrape(&targets(running), LIMIT).await;
        let gateways = running.members.iter();
        for member in gateways.filter(|member| member.kind == running::Kind::Gateway) {
            if let Some((target, samples)) = clients(member).await {
                now = now.with(target, samples);
            }
        }
        let taken = Instant::now();
        while let Some((when, _)) = self.before.front()
            && taken.duration_since(*when) > WINDOW
        {
            self.before.pop_front();
        }
        let of_late = self.before.front().map(|(_, before)| now.since(before));
        let picture = picture(now.graph(), of_late);
        // Enough to always have one of a minute ago, and not one a second: each holds every series.
        if self
            .before
            .back()
            .is_none_or(|(when, _)| taken.duration_since(*when) >= SPACE)
        {
            self.before.push_back((taken, now));
        }
        picture
    }
}

/// What the gateway counted of its clients, as its sidecar would have, had they come through it.
async fn clients(member: &Member) -> Option<(Target, Vec<Sample>)> {
    let address: SocketAddr = member.metrics?;
    // Absent while it starts: then its clients are, too.
    let body = get(address, "/metrics", LIMIT).await.ok()?;
    let samples = parse_named(&String::from_utf8_lossy(&body), "kong_");
    let target = Target {
        name: member.name.clone(),
        namespace: member.namespace.clone(),
        app: member.app.clone(),
        version: member.version.clone(),
        address,
    };
    Some((target, in_istios_words(&samples, member)))
}

fn in_istios_words(samples: &[Sample], member: &Member) -> Vec<Sample> {
    let told = samples.iter().filter_map(|sample| {
        let (name, label, istio) = match sample.name.as_str() {
            "kong_http_requests_total" => ("istio_requests_total", "code", "response_code"),
            "kong_request_latency_ms_bucket" => {
                ("istio_request_duration_milliseconds_bucket", "le", "le")
            }
            _ => return None,
        };
        let mut labels: Vec<(String, String)> = [
            ("reporter", "destination"),
            ("source_workload", "unknown"),
            ("destination_workload", &member.name),
            ("destination_workload_namespace", &member.namespace),
            ("destination_canonical_service", &member.app),
            ("destination_canonical_revision", &member.version),
            ("request_protocol", "http"),
            ("connection_security_policy", "none"),
            (istio, sample.label(label)),
            // Series must stay apart.
            ("route", sample.label("route")),
            ("source", sample.label("source")),
            ("consumer", sample.label("consumer")),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        labels.sort();
        Some(Sample {
            name: name.to_owned(),
            labels,
            value: sample.value,
        })
    });
    told.collect()
}

/// Counts since the start with rates of late.
fn picture(mut graph: Graph, of_late: Option<Graph>) -> Picture {
    if let Some(late) = of_late {
        graph.window = late.window;
        for edge in &mut graph.edges {
            let same = late.edges.iter().find(|other| {
                (&other.from, &other.to, other.protocol) == (&edge.from, &edge.to, edge.protocol)
            });
            if let Some(same) = same {
                (edge.rate, edge.p99) = (same.rate, same.p99);
            }
        }
    }
    for node in &mut graph.nodes {
        if node.kind == Kind::Outside {
            node.name = "clients".to_owned();
        }
    }
    let title = |id: &str| graph.node(id).map_or_else(|| id.to_owned(), Node::title);
    let edges = graph
        .edges
        .iter()
        .map(|edge| Edge {
            from: title(&edge.from),
            to: title(&edge.to),
            requests: edge.requests,
            rate: edge.rate,
            errors: edge.errors,
            refused: edge.refused,
            p99: edge.p99,
            locked: edge.locked(),
            health: match edge.health() {
                Health::Good => "good",
                Health::Warning => "warning",
                Health::Bad => "bad",
            },
            codes: edge.codes.clone(),
        })
        .collect();
    Picture {
        window: graph.window,
        svg: svg::inline(&graph),
        edges,
        missing: graph.missing.clone(),
    }
}

/// How long one answer may take.
const LIMIT: Duration = Duration::from_millis(500);
/// What rates are about.
const WINDOW: Duration = Duration::from_secs(60);
/// Between scrapes that are kept.
const SPACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_clients_are_in_the_graph() {
        let member = Member {
            name: "gateway".to_owned(),
            namespace: "platform".to_owned(),
            app: "gateway".to_owned(),
            version: "v1".to_owned(),
            kind: running::Kind::Gateway,
            pid: None,
            admin: None,
            metrics: None,
            addresses: Vec::new(),
            files: std::collections::BTreeMap::new(),
        };
        let text = "\
# TYPE kong_http_requests_total counter
kong_http_requests_total{service=\"portal\",route=\"portal\",code=\"200\",source=\"service\",workspace=\"default\",consumer=\"shop\"} 3
kong_http_requests_total{service=\"portal\",route=\"portal\",code=\"401\",source=\"kong\",workspace=\"default\",consumer=\"\"} 1
kong_request_latency_ms_bucket{service=\"portal\",route=\"portal\",workspace=\"default\",le=\"25\"} 4
kong_request_latency_ms_bucket{service=\"portal\",route=\"portal\",workspace=\"default\",le=\"+Inf\"} 4
";
        let samples = in_istios_words(&parse_named(text, "kong_"), &member);
        let mut builder = crate::graph::build::Builder::default();
        builder.add(&samples);
        let shown = picture(builder.build(None, Vec::new()), None);
        let [edge] = shown.edges.as_slice() else {
            panic!("one edge: {:?}", shown.edges);
        };
        assert_eq!(
            (edge.from.as_str(), edge.to.as_str()),
            ("clients", "gateway v1")
        );
        assert_eq!(
            (edge.requests, edge.refused, edge.locked),
            (4.0, 0.25, false)
        );
        assert!(edge.p99.is_some_and(|p99| p99 <= 25.0), "{edge:?}");
        assert!(shown.svg.contains("clients"));
    }
}
