//! `carbyne topics describe`.

use std::{collections::BTreeMap, fmt};

use carbyne_events::topics::{Actual, State};
use serde::Serialize;

use super::{
    access::{Cluster, Stop},
    show,
};
use crate::{
    output::{Finding, Options, Outcome, Text, code, table::Table},
    terminal::BOLD,
};

/// Arguments of `carbyne topics describe`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Topics to show in full [default: a list of all]
    pub name: Vec<String>,
    /// The cluster.
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Shows them.
///
/// # Errors
/// When the cluster cannot be read, or has no such topic.
pub fn run(arguments: &Arguments, options: &Options) -> Result<Outcome, Stop> {
    let admin = arguments.cluster.admin()?;
    let wanted = |name: &str| {
        arguments.name.is_empty() || arguments.name.iter().any(|wanted| wanted == name)
    };
    let mut state = admin.state(wanted)?;
    if let Some(missing) = arguments
        .name
        .iter()
        .find(|name| !state.topics.contains_key(*name))
    {
        return Err(Finding::new(&code::NO_TOPIC, format!("there is no topic {missing}")).into());
    }
    state.topics.retain(|name, _| wanted(name));
    let described = Described {
        bootstrap: admin.bootstrap().to_owned(),
        full: !arguments.name.is_empty(),
        state,
    };
    options.show(&described)?;
    Ok(Outcome::Well)
}

#[derive(Debug, Serialize)]
struct Described {
    bootstrap: String,
    #[serde(skip)]
    full: bool,
    #[serde(flatten)]
    state: State,
}

impl Text for Described {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        show::head(
            out,
            &self.bootstrap,
            &self.state.cluster,
            self.state.brokers.len(),
        )?;
        writeln!(out)?;
        if self.full {
            for (name, topic) in &self.state.topics {
                full(out, name, topic)?;
            }
            return Ok(());
        }
        list(&self.state.topics).write(out, "")
    }
}

fn list(topics: &BTreeMap<String, Actual>) -> Table<6> {
    let mut table = Table::new([
        "topic",
        "partitions",
        "copies",
        "cleanup",
        "retention",
        "state",
    ]);
    for (name, topic) in topics {
        let setting = |name: &str| topic.config.get(name).cloned().unwrap_or_default();
        let state = match (topic.leaderless(), topic.behind()) {
            (0, 0) => "√ well".to_owned(),
            (0, behind) => format!("‼ {behind} behind"),
            (leaderless, _) => format!("× {leaderless} without a leader"),
        };
        table.row([
            name.clone(),
            topic.partitions.len().to_string(),
            topic.replication().to_string(),
            setting("cleanup.policy"),
            days(&setting("retention.ms")),
            state,
        ]);
    }
    table
}

fn full(out: &mut dyn fmt::Write, name: &str, topic: &Actual) -> fmt::Result {
    writeln!(out, "{BOLD}{name}{BOLD:#}")?;
    for (setting, value) in &topic.config {
        writeln!(out, "  {setting} = {value}")?;
    }
    let mut table = Table::new(["partition", "leader", "copies on", "in sync"]);
    let list = |brokers: &[i32]| {
        brokers
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (number, partition) in topic.partitions.iter().enumerate() {
        let leader = partition
            .leader
            .map(|leader| leader.to_string())
            .unwrap_or_default();
        table.row([
            number.to_string(),
            leader,
            list(&partition.replicas),
            list(&partition.in_sync),
        ]);
    }
    table.write(out, "  ")
}

fn days(milliseconds: &str) -> String {
    match milliseconds.parse::<i64>() {
        Ok(-1) => "for ever".to_owned(),
        Ok(time) if time >= DAY && time % DAY == 0 => format!("{} d", time / DAY),
        Ok(time) => format!("{time} ms"),
        Err(_) => String::new(),
    }
}

const DAY: i64 = 86_400_000;
