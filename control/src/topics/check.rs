//! `carbyne topics check`.

use std::fmt;

use carbyne_events::topics::{Change, Desired, Permission, Plan, Refusal, Setting, State};
use serde::Serialize;

use super::{
    access::{Cluster, Declared, Stop},
    show::{self, counted},
};
use crate::{
    output::{Finding, Findings, Options, Outcome, Text, code},
    terminal::GREEN,
};

/// Arguments of `carbyne topics check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The file.
    #[command(flatten)]
    pub declared: Declared,
    /// The cluster.
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Compares and looks.
///
/// # Errors
/// When the file or the cluster cannot be read.
pub fn run(arguments: &Arguments, options: &Options) -> Result<Outcome, Stop> {
    let desired = arguments.declared.desired()?;
    let admin = arguments.cluster.admin()?;
    let state = admin.state(|name| desired.topics.contains_key(name))?;
    let checked = Checked {
        bootstrap: admin.bootstrap().to_owned(),
        cluster: state.cluster.clone(),
        brokers: state.brokers.len(),
        profile: desired.profile.clone(),
        topics: desired.topics.len(),
        findings: findings(&desired, &state).into(),
    };
    options.show(&checked)?;
    Ok(checked.findings.outcome())
}

#[derive(Debug, Serialize)]
struct Checked {
    bootstrap: String,
    cluster: String,
    brokers: usize,
    profile: String,
    topics: usize,
    #[serde(flatten)]
    findings: Findings,
}

impl Text for Checked {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        show::head(out, &self.bootstrap, &self.cluster, self.brokers)?;
        self.findings.text(out)?;
        if self.findings.outcome() == Outcome::Well {
            let topics = counted(self.topics as u64, "topic");
            writeln!(
                out,
                "{GREEN}√{GREEN:#} {topics} as declared (profile {}), every partition is led and copied",
                self.profile
            )?;
        }
        Ok(())
    }
}

fn findings(desired: &Desired, state: &State) -> Vec<Finding> {
    let plan = Plan::new(desired, state, &Permission::default());
    let mut findings = Vec::new();
    for refusal in &plan.refusals {
        findings.push(refused(refusal));
    }
    if matches!(plan.refusals[..], [Refusal::Cluster { .. }]) {
        // The rest is about another cluster.
        return findings;
    }
    let differs =
        |topic: &str, message: String| Finding::new(&code::TOPIC_DIFFERS, message).about(topic);
    for (topic, change) in &plan.changes {
        match change {
            Change::Create(_) => findings.push(differs(topic, "is not there".to_owned())),
            Change::Alter(alteration) => {
                if let Some((has, declared)) = alteration.partitions {
                    findings.push(differs(
                        topic,
                        format!("has {has} partitions, {declared} are declared"),
                    ));
                }
                for (name, setting) in &alteration.config {
                    findings.push(differs(topic, difference(name, setting)));
                }
            }
            Change::Delete => {}
        }
    }
    for name in desired.topics.keys() {
        let Some(actual) = state.topics.get(name) else {
            continue;
        };
        let all = actual.partitions.len();
        match actual.leaderless() {
            0 => {}
            some => {
                let message = format!("{some} of {all} partitions have no leader");
                findings.push(Finding::new(&code::TOPIC_WITHOUT_LEADER, message).about(name));
            }
        }
        match actual.behind() {
            0 => {}
            some => {
                let message = format!("{some} of {all} partitions have copies that are behind");
                findings.push(Finding::new(&code::TOPIC_BEHIND, message).about(name));
            }
        }
        let broker = state.broker_config.get("message.max.bytes");
        let largest = actual.config.get("max.message.bytes").or(broker);
        if let Some(largest) = largest
            .and_then(|bytes| bytes.parse::<u64>().ok())
            .filter(|bytes| *bytes < LARGEST_SENT)
        {
            let message = format!("takes messages up to {largest} bytes");
            findings.push(Finding::new(&code::SMALL_MESSAGES, message).about(name));
        }
    }
    if state
        .broker_config
        .get("auto.create.topics.enable")
        .is_some_and(|value| value == "true")
    {
        let message = "auto.create.topics.enable is true";
        findings.push(Finding::new(&code::BROKER_MAKES_TOPICS, message));
    }
    let extra = plan
        .extra
        .iter()
        .map(|name| Finding::new(&code::TOPIC_EXTRA, "is not declared").about(name));
    findings.extend(extra);
    findings
}

fn refused(refusal: &Refusal) -> Finding {
    let finding = Finding::new(&code::TOPIC_REFUSED, refusal.to_string());
    match refusal {
        Refusal::Cluster { .. } => finding.fix("name the cluster that the file is about, or correct its `cluster:`"),
        Refusal::Brokers { .. } => finding.fix("start more brokers, or choose another `--profile`"),
        Refusal::Repartition { .. } => finding.fix("`carbyne topics apply --allow-repartition` where the order of old and new messages of a key does not matter"),
        Refusal::Replication { .. } => finding.fix("kafka-reassign-partitions moves copies; or choose another `--profile`"),
        _ => finding,
    }
}

fn difference(name: &str, setting: &Setting) -> String {
    match (&setting.from, &setting.to) {
        (Some(is), Some(declared)) => format!("{name} is {is}, {declared} is declared"),
        (None, Some(declared)) => format!("{name} is not set, {declared} is declared"),
        (Some(is), None) => format!("{name} is {is}, which nobody declared"),
        (None, None) => name.to_owned(),
    }
}

/// librdkafka's message.max.bytes.
const LARGEST_SENT: u64 = 1_000_000;
