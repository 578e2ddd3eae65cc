//! The goals, and the table that puts what was measured beside them: for the terminal, the README and docs/performance.md.

use std::fs;
use std::path::Path;

use crate::error::BenchError;
use crate::report::{Figure, PeerReport, ScenarioReport, median, short};

/// A figure of a scenario and what it may be.
struct Goal {
    scenario: &'static str,
    figure: Figure,
    bound: Bound,
    /// Whether it stands in the README, too: what a reader of ten minutes asks.
    front: bool,
}

/// Which goals a page shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rows {
    /// Those of the README.
    Front,
    All,
}

#[derive(Clone, Copy)]
enum Bound {
    Least(f64),
    Most(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Least(least) => value >= least,
            Self::Most(most) => value <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Least(least) => format!("≥ {least}"),
            Self::Most(most) => format!("≤ {most}"),
        }
    }
}

const fn goal(scenario: &'static str, figure: Figure, most: f64) -> Goal {
    Goal {
        scenario,
        figure,
        bound: Bound::Most(most),
        front: false,
    }
}

const fn least(scenario: &'static str, figure: Figure, least: f64) -> Goal {
    Goal {
        scenario,
        figure,
        bound: Bound::Least(least),
        front: false,
    }
}

/// The goal as a row of the README.
const fn front(goal: Goal) -> Goal {
    Goal {
        front: true,
        ..goal
    }
}

/// In the order of the table.
const GOALS: &[Goal] = &[
    front(goal("h1-keepalive", Figure::UserInstructions, 35.0)),
    front(goal("h1-keepalive", Figure::CpuOverEnvoy, 0.30)),
    goal("h1-keepalive", Figure::Syscalls, 5.0),
    front(goal("mtls-in", Figure::UserInstructions, 45.0)),
    goal("mtls-in", Figure::CpuOverEnvoy, 0.32),
    front(goal("mesh-pair", Figure::UserInstructions, 90.0)),
    front(goal("mesh-pair", Figure::CpuOverEnvoy, 0.32)),
    goal("istio-pair", Figure::UserInstructions, 160.0),
    goal("post-16k", Figure::UserInstructions, 45.0),
    goal("post-16k", Figure::CpuOverEnvoy, 0.40),
    front(goal("h2-unary", Figure::UserInstructions, 75.0)),
    front(goal("h2-unary", Figure::CpuOverEnvoy, 0.30)),
    goal("new-connection", Figure::UserInstructions, 55.0),
    front(goal("new-connection", Figure::CpuOverEnvoy, 0.50)),
    goal("new-mtls-connection", Figure::UserInstructions, 2500.0),
    front(goal("new-mtls-connection", Figure::CpuOverEnvoy, 0.70)),
    goal("l4", Figure::UserInstructions, 20.0),
    front(goal("l4", Figure::CpuOverEnvoy, 1.0)),
    front(goal("idle", Figure::Rss, 15.0)),
    goal("idle-connections", Figure::PerConnection, 8.0),
    goal("idle-mtls-connections", Figure::PerConnection, 24.0),
    goal("churn", Figure::Growth, 1.05),
    goal("platform", Figure::Rss, 25.0),
    goal("platform", Figure::Growth, 1.05),
    goal("gateway-plain", Figure::UserInstructions, 40.0),
    front(goal("gateway-plugins", Figure::UserInstructions, 65.0)),
    front(least("gateway-plugins", Figure::Throughput, 10_000.0)),
    goal("gateway-plain-events", Figure::UserInstructions, 44.0),
    goal("gateway-plugins-events", Figure::UserInstructions, 69.0),
    front(goal("gateway-latency", Figure::AddedTail, 5_000.0)),
    goal("gateway-1000-routes", Figure::Rss, 25.0),
    goal("gateway-1000-routes", Figure::RssStored, 25.0),
    front(goal("gateway-10000-routes", Figure::Rss, 60.0)),
    goal("gateway-10000-routes", Figure::RssStored, 60.0),
    goal("gateway-reload", Figure::Applied, 2_000.0),
    front(goal("gateway-reload", Figure::TailMoved, 1_000.0)),
    front(goal("gateway-reloads", Figure::Growth, 1.05)),
    goal("gateway-write", Figure::LiveWorst, 50.0),
    front(goal("whole-path", Figure::AddedTail, 15_000.0)),
    front(goal("events-emission", Figure::EmitInstructions, 3.0)),
    goal("events-emission", Figure::EmitCalls, 0.0),
    front(least("events-shipping", Figure::EventRate, 100_000.0)),
    front(goal("events-shipping", Figure::RssMost, 128.0)),
    front(goal("events-shipping", Figure::Missing, 0.0)),
    goal("events-backlog", Figure::FirstShipped, 1_000.0),
    front(goal("carbyne-up", Figure::Rss, 60.0)),
    goal("carbyne-lint", Figure::Took, 1_000.0),
    goal("carbyne-graph", Figure::Took, 1_000.0),
];

/// Peers of the table, with the heads of their columns.
const PEERS: [(&str, &str); 3] = [
    ("envoy", "Envoy"),
    ("nginx", "nginx"),
    ("haproxy", "HAProxy"),
];

/// The lines between which a page holds the table.
const MARKS: (&str, &str) = ("<!-- make bench -->", "<!-- /make bench -->");

/// The table of those goals whose scenario has a file in `folder`.
///
/// # Errors
/// When a file is no report.
pub fn table(folder: &Path, rows: Rows) -> Result<String, BenchError> {
    let mut text = String::from("| scenario | figure | goal | Carbyne |");
    for (_, head) in PEERS {
        text += &format!(" {head} |");
    }
    text += "\n|---|---|---|---|---|---|---|\n";
    let mut origin = None;
    for goal in GOALS {
        if rows == Rows::Front && !goal.front {
            continue;
        }
        let Some(report) = ScenarioReport::read(folder, goal.scenario)? else {
            continue;
        };
        let value = |peer: &str| {
            report
                .peers
                .get(peer)
                .and_then(|peer| value(peer, goal.figure))
        };
        // What the gateway, events and verbs do is nobody's else.
        let own = ["ours", "gateway", "events", "carbyne"];
        let Some(ours) = own.into_iter().find_map(value) else {
            continue;
        };
        let verdict = if goal.bound.holds(ours) { "" } else { " ✗" };
        text += &format!(
            "| {} | {} | {} | **{}**{verdict} |",
            goal.scenario,
            goal.figure.label(),
            goal.bound.text(),
            short(ours),
        );
        for (peer, _) in PEERS {
            text += &format!(" {} |", value(peer).map(short).unwrap_or_default());
        }
        text.push('\n');
        let machine = &report.machine;
        origin.get_or_insert_with(|| {
            format!(
                "\n{}, {} cores, kernel {}; commit {}, {}. More, with ranges and versions: [side-by-side.md]({{results}}/side-by-side.md).\n",
                machine.processor, machine.cores, machine.kernel, machine.commit, machine.day
            )
        });
    }
    Ok(text + &origin.unwrap_or_default())
}

/// Puts the table into every page that has a place for it; `results` is the folder as the pages see it.
///
/// # Errors
/// When a page cannot be read or written.
pub fn publish(folder: &Path) -> Result<(), BenchError> {
    for (page, results, rows) in [
        ("README.md", "benches/results", Rows::Front),
        ("docs/performance.md", "../benches/results", Rows::All),
    ] {
        let table = table(folder, rows)?;
        let path = Path::new(page);
        let Ok(old) = fs::read_to_string(path) else {
            // Run from elsewhere: there is no page to keep true.
            continue;
        };
        if let Some(new) = replaced(&old, &table.replace("{results}", results)) {
            fs::write(path, new).map_err(BenchError::file(path))?;
        }
    }
    Ok(())
}

/// The page with what stands between the marks replaced; nothing if it has no marks.
fn replaced(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS.0)?;
    let (_, after) = rest.split_once(MARKS.1)?;
    let (open, close) = MARKS;
    Some(format!("{before}{open}\n\n{table}\n{close}{after}"))
}

fn value(peer: &PeerReport, figure: Figure) -> Option<f64> {
    median(peer.figures.get(&figure)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn a_page_keeps_what_is_around_the_table() {
        let page = "a\n<!-- make bench -->\nold\n<!-- /make bench -->\nb\n";
        let expected = "a\n<!-- make bench -->\n\nnew\n\n<!-- /make bench -->\nb\n";
        assert_eq!(replaced(page, "new\n").as_deref(), Some(expected));
        assert_eq!(replaced("no place", "new\n"), None);
    }

    #[test]
    fn every_goal_has_a_scenario() {
        for goal in GOALS {
            let known = SCENARIOS
                .iter()
                .any(|scenario| scenario.name == goal.scenario);
            assert!(known, "{}", goal.scenario);
        }
    }
}
