//! Who calls whom: workloads, and what flows between them.

use std::collections::BTreeMap;

use serde::Serialize;

/// A service graph over a stretch of time; nodes and edges in the order of their ids, so that equal traffic makes equal graphs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Graph {
    /// Seconds that it is about; none when it counts since the sidecars began.
    pub window: Option<f64>,
    /// Workloads and services.
    pub nodes: Vec<Node>,
    /// Traffic, seen by its caller where that has a sidecar.
    pub edges: Vec<Edge>,
    /// What was left out, and why: sidecars that did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A workload, or a service of which no workload is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// `NAMESPACE/WORKLOAD`, `service:NAMESPACE/NAME`, or `outside`.
    pub id: String,
    /// What it is called: its app, that is its canonical service, as in Kiali's graph of versioned apps; its workload where it says none.
    pub name: String,
    /// The workload; empty where there is none.
    pub workload: String,
    /// Where it lives; empty outside.
    pub namespace: String,
    /// Its canonical revision; empty if it has none.
    pub version: String,
    /// What it is.
    pub kind: Kind,
    /// True when its own sidecar reported; none where nobody can know.
    pub sidecar: Option<bool>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Runs, and answers or asks.
    #[default]
    Workload,
    /// Is asked by name; which workload answers is not known, or none did.
    Service,
    /// Whoever has no sidecar and says no name.
    Outside,
}

/// Traffic from one node to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Edge {
    /// Id of the caller.
    pub from: String,
    /// Id of the callee.
    pub to: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// Requests, of TCP opened connections.
    pub requests: f64,
    /// Requests (connections) a second; none when counted since the start.
    pub rate: Option<f64>,
    /// Share of requests that failed: 5xx, no answer, a gRPC status other than 0.
    pub errors: f64,
    /// Share of requests that were refused: 4xx.
    pub refused: f64,
    /// Milliseconds within which 99 of 100 requests were answered, as the caller saw it.
    pub p99: Option<f64>,
    /// Share of requests that came by mutual TLS; none when the callee does not say.
    pub mtls: Option<f64>,
    /// Bytes to the callee and back; TCP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<(f64, f64)>,
    /// Requests by status (by gRPC status behind `grpc `).
    pub codes: BTreeMap<String, f64>,
    /// Requests by Envoy's response flag.
    pub flags: BTreeMap<String, f64>,
}

/// What an edge carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP.
    #[default]
    Http,
    /// gRPC.
    Grpc,
    /// Anything else.
    Tcp,
}

/// How an edge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// All is answered.
    Good,
    /// Some requests fail, or more than one in ten is refused.
    Warning,
    /// One in ten fails, or more.
    Bad,
}

impl Graph {
    /// The node of an id.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<&Node> {
        let found = self.nodes.binary_search_by(|node| node.id.as_str().cmp(id));
        found.ok().map(|index| &self.nodes[index])
    }

    /// A node's namespace, name and version; of an id that is nobody's, the id.
    #[must_use]
    pub fn full_title(&self, id: &str) -> String {
        self.node(id)
            .map_or_else(|| id.to_owned(), Node::full_title)
    }

    /// Edges from and to one namespace, with their ends.
    #[must_use]
    pub fn of_namespace(mut self, namespace: &str) -> Self {
        let here: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| node.namespace == namespace)
            .map(|node| node.id.clone())
            .collect();
        self.edges
            .retain(|edge| here.contains(&edge.from) || here.contains(&edge.to));
        let edges = &self.edges;
        self.nodes.retain(|node| {
            here.contains(&node.id)
                || edges
                    .iter()
                    .any(|edge| edge.from == node.id || edge.to == node.id)
        });
        self
    }
}

impl Node {
    /// Name and version: `catalogue v2`.
    #[must_use]
    pub fn title(&self) -> String {
        if self.version.is_empty() {
            self.name.clone()
        } else {
            format!("{} {}", self.name, self.version)
        }
    }

    /// The same with its namespace: `platform/catalogue v2`. Of what is no workload, the id.
    #[must_use]
    pub fn full_title(&self) -> String {
        match self.kind {
            Kind::Workload => format!("{}/{}", self.namespace, self.title()),
            Kind::Service | Kind::Outside => self.id.clone(),
        }
    }
}

impl Edge {
    /// How it does, by the bounds that Kiali begins with.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.errors >= 0.1 {
            Health::Bad
        } else if self.errors > 0.0 || self.refused >= 0.1 {
            Health::Warning
        } else {
            Health::Good
        }
    }

    /// True when all of it came by mutual TLS.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.mtls.is_some_and(|share| share > 0.999)
    }

    /// What stands on the edge: rate, failures, refusals, p99.
    #[must_use]
    pub fn label(&self) -> String {
        let mut parts = vec![self.volume()];
        if self.errors > 0.0 {
            parts.push(format!("{} failed", percent(self.errors)));
        }
        if self.refused > 0.0 {
            parts.push(format!("{} refused", percent(self.refused)));
        }
        if let Some(p99) = self.p99 {
            parts.push(format!("p99 {}", milliseconds(p99)));
        }
        parts.join(" · ")
    }

    /// How many requests (connections).
    #[must_use]
    pub fn count(&self) -> String {
        let noun = if self.protocol == Protocol::Tcp {
            "connection"
        } else {
            "request"
        };
        let plural = if self.requests == 1.0 { "" } else { "s" };
        format!("{} {noun}{plural}", short(self.requests))
    }

    /// Requests a second, or how many.
    #[must_use]
    pub fn volume(&self) -> String {
        let noun = if self.protocol == Protocol::Tcp {
            " conn"
        } else {
            ""
        };
        match self.rate {
            Some(rate) => format!("{}{noun}/s", short(rate)),
            None if noun.is_empty() => format!("{} req", short(self.requests)),
            None => format!("{}{noun}", short(self.requests)),
        }
    }
}

impl Protocol {
    /// As Istio writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// A share in percent; what is more than nothing and less than all never reads 0 % or 100 %.
#[must_use]
pub fn percent(share: f64) -> String {
    let hundredths = share * 100.0;
    if hundredths > 0.0 && hundredths < 0.1 {
        "<0.1 %".to_owned()
    } else if hundredths < 10.0 {
        let text = format!("{hundredths:.1}");
        format!("{} %", text.trim_end_matches(".0"))
    } else if hundredths < 100.0 {
        // All of it is all of it: nothing below is rounded up to that.
        format!("{:.0} %", hundredths.round().min(99.0))
    } else {
        "100 %".to_owned()
    }
}

/// A duration with as many digits as matter.
#[must_use]
pub fn milliseconds(value: f64) -> String {
    if value >= 1000.0 {
        format!("{:.1} s", value / 1000.0)
    } else if value >= 10.0 {
        format!("{value:.0} ms")
    } else {
        format!("{value:.1} ms")
    }
}

/// A number with as many digits as matter.
#[must_use]
pub fn short(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.1}M", value / 1e6)
    } else if value >= 1e4 {
        format!("{:.1}k", value / 1e3)
    } else if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        for (share, expected) in [
            (0.0, "0 %"),
            (0.0004, "<0.1 %"),
            (0.005, "0.5 %"),
            (0.05, "5 %"),
            (0.995, "99 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), expected);
        }
        for (value, expected) in [
            (0.25, "0.25"),
            (3.0, "3"),
            (7.26, "7.3"),
            (123.4, "123"),
            (12_345.0, "12.3k"),
        ] {
            assert_eq!(short(value), expected);
        }
        assert_eq!(milliseconds(4.96), "5.0 ms");
        assert_eq!(milliseconds(2500.0), "2.5 s");
    }

    #[test]
    fn an_edge_says_how_it_does() {
        let edge = |errors, refused| Edge {
            requests: 100.0,
            errors,
            refused,
            ..Edge::default()
        };
        assert_eq!(edge(0.0, 0.0).health(), Health::Good);
        assert_eq!(edge(0.01, 0.0).health(), Health::Warning);
        assert_eq!(edge(0.0, 0.2).health(), Health::Warning);
        assert_eq!(edge(0.5, 0.0).health(), Health::Bad);
        assert_eq!(
            edge(0.5, 0.2).label(),
            "100 req · 50 % failed · 20 % refused"
        );
    }
}
