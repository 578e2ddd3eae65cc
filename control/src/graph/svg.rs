//! A graph as a picture: SVG that stands alone, light or dark as its reader has it.

use std::fmt::Write;

use super::{
    layout::{Arrow, Course, Point, Size, layout},
    model::{Edge, Graph, Health, Kind, Node},
};

/// Draws it.
#[must_use]
pub fn svg(graph: &Graph) -> String {
    draw_with(graph, STYLE)
}

/// Draws it for a page that has [`style`].
#[must_use]
pub fn inline(graph: &Graph) -> String {
    draw_with(graph, "")
}

/// How its classes look: CSS.
#[must_use]
pub fn style() -> &'static str {
    STYLE
        .trim()
        .trim_start_matches("<style>")
        .trim_end_matches("</style>")
}

fn draw_with(graph: &Graph, style: &str) -> String {
    let boxes: Vec<Size> = graph.nodes.iter().map(|node| size(graph, node)).collect();
    let labels: Vec<String> = graph.edges.iter().map(Edge::label).collect();
    let place = |id: &str| {
        let found = graph
            .nodes
            .binary_search_by(|node| node.id.as_str().cmp(id));
        // Every end of an edge is a node: the builder makes both.
        found.unwrap_or_default()
    };
    let arrows: Vec<Arrow> = graph
        .edges
        .iter()
        .zip(&labels)
        .map(|(edge, label)| Arrow {
            from: place(&edge.from),
            to: place(&edge.to),
            label: Size {
                width: width(label, LABEL_CHARACTER) + lock_width(edge),
                height: 15.0,
            },
        })
        .collect();
    let placed = layout(&boxes, &arrows);
    let size = Size {
        width: placed.size.width.max(LEAST_WIDTH),
        height: placed.size.height + TITLE,
    };
    let mut text = String::new();
    // Writing to a string does not fail: `ok()` here and below.
    writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" width=\"{:.0}\" height=\"{:.0}\" class=\"service-graph\" role=\"img\" aria-label=\"service graph\">",
        size.width, size.height, size.width, size.height
    )
    .ok();
    text.push_str(style);
    for class in ["good", "warning", "bad"] {
        writeln!(
            text,
            "<marker id=\"service-graph-{class}\" class=\"{class}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker>"
        )
        .ok();
    }
    writeln!(
        text,
        "<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n<text class=\"title\" x=\"24\" y=\"26\">{}</text>",
        escaped(&graph.title())
    )
    .ok();
    writeln!(text, "<g transform=\"translate(0 {TITLE})\">").ok();
    for (edge, course) in graph.edges.iter().zip(&placed.arrows) {
        line(&mut text, edge, course);
    }
    for (node, (corner, size)) in graph.nodes.iter().zip(placed.boxes.iter().zip(&boxes)) {
        draw(&mut text, node, *corner, *size);
    }
    for ((edge, course), label) in graph.edges.iter().zip(&placed.arrows).zip(&labels) {
        write_label(&mut text, edge, course, label);
    }
    text.push_str("</g>\n</svg>\n");
    text
}

/// Wide enough for its words, high enough for its arrows.
fn size(graph: &Graph, node: &Node) -> Size {
    let words = width(&node.title(), TITLE_CHARACTER).max(width(&subtitle(node), LABEL_CHARACTER));
    let out = graph
        .edges
        .iter()
        .filter(|edge| edge.from == node.id)
        .count();
    let into = graph.edges.iter().filter(|edge| edge.to == node.id).count();
    #[expect(clippy::cast_precision_loss, reason = "numbers of arrows are small")]
    let arrows = out.max(into) as f64;
    Size {
        width: (words + 28.0).max(90.0),
        height: (arrows * 12.0 + 12.0).clamp(44.0, 132.0),
    }
}

fn subtitle(node: &Node) -> String {
    match node.kind {
        Kind::Workload if node.sidecar == Some(false) => format!("{} · no metrics", node.namespace),
        Kind::Workload => node.namespace.clone(),
        Kind::Service => format!("{} · service", node.namespace),
        Kind::Outside => "no sidecar".to_owned(),
    }
}

fn draw(text: &mut String, node: &Node, corner: Point, size: Size) {
    let class = match node.kind {
        Kind::Workload => "workload",
        Kind::Service => "service",
        Kind::Outside => "outside",
    };
    let middle = corner.x + size.width / 2.0;
    let y = corner.y + size.height / 2.0;
    writeln!(
        text,
        "<g class=\"node {class}\"><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"8\"/><text class=\"name\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text><text class=\"place\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text></g>",
        escaped(&node.id),
        corner.x,
        corner.y,
        size.width,
        size.height,
        y - 2.0,
        escaped(&node.title()),
        y + 13.0,
        escaped(&subtitle(node)),
    )
    .ok();
}

fn line(text: &mut String, edge: &Edge, course: &Course) {
    let Some((first, rest)) = course.points.split_first() else {
        return;
    };
    let class = class(edge);
    write!(
        text,
        "<path class=\"edge {class}\" marker-end=\"url(#service-graph-{class})\" d=\"M{:.1} {:.1}",
        first.x, first.y
    )
    .ok();
    let mut from = *first;
    for to in rest {
        if (to.y - from.y).abs() < 0.05 {
            write!(text, "L{:.1} {:.1}", to.x, to.y).ok();
        } else {
            let bend = (to.x - from.x) / 2.0;
            write!(
                text,
                "C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
                from.x + bend,
                from.y,
                to.x - bend,
                to.y,
                to.x,
                to.y
            )
            .ok();
        }
        from = *to;
    }
    writeln!(text, "\"><title>{}</title></path>", escaped(&edge.story())).ok();
}

fn write_label(text: &mut String, edge: &Edge, course: &Course, label: &str) {
    let Point { x, y } = course.label;
    let class = class(edge);
    write!(
        text,
        "<g class=\"label {class}\"><title>{}</title>",
        escaped(&edge.story())
    )
    .ok();
    if edge.locked() {
        // A padlock: shackle and body.
        write!(
            text,
            "<path class=\"shackle\" d=\"M{:.1} {:.1}v-2.2a2.6 2.6 0 0 1 5.2 0v2.2\"/><rect class=\"lock\" x=\"{x:.1}\" y=\"{:.1}\" width=\"8\" height=\"6.2\" rx=\"1.2\"/>",
            x + 1.4,
            y - 6.0,
            y - 6.2
        )
        .ok();
    }
    writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text></g>",
        x + lock_width(edge),
        escaped(label)
    )
    .ok();
}

fn class(edge: &Edge) -> &'static str {
    match edge.health() {
        Health::Good => "good",
        Health::Warning => "warning",
        Health::Bad => "bad",
    }
}

fn lock_width(edge: &Edge) -> f64 {
    if edge.locked() { 12.0 } else { 0.0 }
}

/// What a text needs, about: the reader's fonts are not known here.
fn width(text: &str, character: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "texts are short")]
    let characters = text.chars().count() as f64;
    characters * character
}

/// Names come from other machines and the picture goes into pages: nothing of them may become markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML has no other control characters.
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

const TITLE: f64 = 28.0;
const LEAST_WIDTH: f64 = 320.0;
const TITLE_CHARACTER: f64 = 7.8;
const LABEL_CHARACTER: f64 = 6.1;
/// Every rule begins with the picture's own class: put into a page, it must not colour the page.
const STYLE: &str = "<style>
.service-graph { --ground: #ffffff; --box: #f7f9fc; --line: #c3ccd9; --words: #1a202c; --quiet: #68778d; --good: #2f855a; --warning: #b7791f; --bad: #c53030 }
@media (prefers-color-scheme: dark) { .service-graph { --ground: #14181f; --box: #1e2530; --line: #3b4657; --words: #e6ebf2; --quiet: #93a1b5; --good: #48bb78; --warning: #ecc94b; --bad: #fc8181 } }
.service-graph text { font-family: system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: var(--words) }
.service-graph .ground { fill: var(--ground) } .service-graph .title { font-size: 13px; fill: var(--quiet) }
.service-graph .node rect { fill: var(--box); stroke: var(--line); stroke-width: 1.2 } .service-graph .node text { text-anchor: middle }
.service-graph .node .name { font-size: 13px; font-weight: 600 } .service-graph .node .place { font-size: 11px; fill: var(--quiet) }
.service-graph .service rect { stroke-dasharray: 5 3 } .service-graph .outside rect { stroke-dasharray: 2 3 }
.service-graph .edge { fill: none; stroke-width: 1.6 }
.service-graph .label text { font-size: 11px; paint-order: stroke; stroke: var(--ground); stroke-width: 3px; stroke-linejoin: round }
.service-graph .edge.good { stroke: var(--good) } .service-graph .edge.warning { stroke: var(--warning) } .service-graph .edge.bad { stroke: var(--bad) }
.service-graph marker.good { fill: var(--good) } .service-graph marker.warning { fill: var(--warning) } .service-graph marker.bad { fill: var(--bad) }
.service-graph .label.warning text { fill: var(--warning) } .service-graph .label.bad text { fill: var(--bad) }
.service-graph .lock { fill: var(--good) } .service-graph .shackle { fill: none; stroke: var(--good); stroke-width: 1.3 }
</style>
";
