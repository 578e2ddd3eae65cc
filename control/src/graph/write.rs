//! A graph in text, Mermaid and Graphviz.

use std::fmt::{self, Write};

use super::model::{Edge, Graph, Health, Kind, Node, Protocol, percent};
use crate::{
    output::{Text, table::Table},
    terminal::{BOLD, DIM, GREEN, RED, YELLOW},
};

impl Text for Graph {
    fn text(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{BOLD}{}{BOLD:#}", self.title())?;
        if self.edges.is_empty() {
            writeln!(out, "no traffic")?;
        } else {
            let rate = if self.window.is_some() {
                "rate"
            } else {
                "requests"
            };
            let mut table = Table::new([
                "", "from", "to", "protocol", rate, "failed", "refused", "p99", "mTLS", "flags",
            ]);
            for edge in &self.edges {
                table.row(self.row(edge));
            }
            table.write(out, "")?;
        }
        let idle: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| {
                !self
                    .edges
                    .iter()
                    .any(|edge| edge.from == node.id || edge.to == node.id)
            })
            .map(Node::full_title)
            .collect();
        if !idle.is_empty() {
            writeln!(out, "{DIM}idle:{DIM:#} {}", idle.join(", "))?;
        }
        let bare: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| node.kind == Kind::Workload && node.sidecar == Some(false))
            .map(Node::full_title)
            .collect();
        if !bare.is_empty() {
            writeln!(
                out,
                "{DIM}no metrics of their own:{DIM:#} {}",
                bare.join(", ")
            )?;
        }
        for missing in &self.missing {
            writeln!(out, "{YELLOW}missing:{YELLOW:#} {missing}")?;
        }
        Ok(())
    }
}

impl Graph {
    /// What it is about.
    #[must_use]
    pub fn title(&self) -> String {
        self.window.map_or_else(
            || "traffic since the sidecars began".to_owned(),
            |seconds| format!("traffic of {} s", super::model::short(seconds)),
        )
    }

    /// A flow chart for Mermaid (GitHub, GitLab and many wikis draw it).
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        // Writing to a string does not fail: `ok()` here and below.
        for (index, node) in self.nodes.iter().enumerate() {
            let (open, close) = match node.kind {
                Kind::Workload => ("[", "]"),
                Kind::Service => ("{{", "}}"),
                Kind::Outside => ("([", "])"),
            };
            let title = for_mermaid(&node.title());
            writeln!(text, "  n{index}{open}\"{title}\"{close}").ok();
        }
        for edge in &self.edges {
            let lock = if edge.locked() { "🔒 " } else { "" };
            let label = for_mermaid(&edge.label());
            let (from, to) = (self.place(&edge.from), self.place(&edge.to));
            writeln!(text, "  n{from} -->|\"{lock}{label}\"| n{to}").ok();
        }
        for (index, edge) in self.edges.iter().enumerate() {
            let colour = match edge.health() {
                Health::Good => continue,
                Health::Warning => "#b7791f",
                Health::Bad => "#c53030",
            };
            writeln!(text, "  linkStyle {index} stroke:{colour}").ok();
        }
        text
    }

    /// A digraph for Graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut text = "digraph services {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n  edge [fontname=\"Helvetica\", fontsize=10];\n".to_owned();
        for node in &self.nodes {
            let shape = match node.kind {
                Kind::Workload => "",
                Kind::Service => ", shape=hexagon, style=solid",
                Kind::Outside => ", shape=ellipse, style=dashed",
            };
            let label = for_dot(&node.title());
            writeln!(
                text,
                "  \"{}\" [label=\"{label}\"{shape}];",
                for_dot(&node.id)
            )
            .ok();
        }
        for edge in &self.edges {
            let lock = if edge.locked() { "mTLS · " } else { "" };
            let colour = match edge.health() {
                Health::Good => "",
                Health::Warning => ", color=\"#b7791f\"",
                Health::Bad => ", color=\"#c53030\"",
            };
            writeln!(
                text,
                "  \"{}\" -> \"{}\" [label=\"{lock}{}\"{colour}];",
                for_dot(&edge.from),
                for_dot(&edge.to),
                for_dot(&edge.label())
            )
            .ok();
        }
        text.push_str("}\n");
        text
    }

    fn row(&self, edge: &Edge) -> [String; 10] {
        let (style, sign) = match edge.health() {
            Health::Good => (GREEN, "√"),
            Health::Warning => (YELLOW, "‼"),
            Health::Bad => (RED, "×"),
        };
        let share = |share: f64| {
            if share > 0.0 {
                percent(share)
            } else {
                String::new()
            }
        };
        let flags: Vec<&str> = edge.flags.keys().map(String::as_str).collect();
        [
            format!("{style}{sign}{style:#}"),
            self.full_title(&edge.from),
            self.full_title(&edge.to),
            edge.protocol.name().to_owned(),
            edge.volume(),
            share(edge.errors),
            share(edge.refused),
            edge.p99.map(super::model::milliseconds).unwrap_or_default(),
            edge.mtls.map_or_else(String::new, |share| {
                if share > 0.0 {
                    percent(share)
                } else {
                    "no".to_owned()
                }
            }),
            flags.join(","),
        ]
    }

    fn place(&self, id: &str) -> usize {
        let found = self.nodes.binary_search_by(|node| node.id.as_str().cmp(id));
        // Every end of an edge is a node: the builder makes both.
        found.unwrap_or_default()
    }
}

impl Edge {
    /// Everything about it, for where there is room.
    #[must_use]
    pub fn story(&self) -> String {
        let mut lines = vec![format!(
            "{} → {} ({})",
            self.from,
            self.to,
            self.protocol.name()
        )];
        lines.push(self.label());
        lines.push(match self.mtls {
            None => "mTLS: the callee does not say".to_owned(),
            Some(share) => format!("mTLS: {}", percent(share)),
        });
        let list = |map: &std::collections::BTreeMap<String, f64>| {
            let all: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}: {}", super::model::short(*value)))
                .collect();
            all.join(", ")
        };
        if self.protocol != Protocol::Tcp && !self.codes.is_empty() {
            lines.push(format!("status {}", list(&self.codes)));
        }
        if !self.flags.is_empty() {
            lines.push(format!("flags {}", list(&self.flags)));
        }
        lines.join("\n")
    }
}

/// Names come from other machines: nothing of them may end a string or begin markup.
fn for_mermaid(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' => "#quot;".to_owned(),
            '#' => "#35;".to_owned(),
            '<' => "#lt;".to_owned(),
            '>' => "#gt;".to_owned(),
            '&' => "#amp;".to_owned(),
            control if control.is_control() => " ".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

fn for_dot(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            control if control.is_control() => " ".to_owned(),
            other => other.to_string(),
        })
        .collect()
}
