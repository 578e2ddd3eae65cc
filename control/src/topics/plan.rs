//! `carbyne topics plan`.

use std::fmt;

use carbyne_events::topics::{Admin, Change, Desired, Permission, Plan, State};
use serde::Serialize;

use super::{
    access::{Cluster, Declared, Stop},
    show,
};
use crate::output::{Options, Outcome, Text};

/// Arguments of `carbyne topics plan`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The file.
    #[command(flatten)]
    pub declared: Declared,
    /// The cluster.
    #[command(flatten)]
    pub cluster: Cluster,
    /// What may be done.
    #[command(flatten)]
    pub allowed: Allowed,
}

/// What is done only when somebody says so.
#[derive(Clone, Debug, clap::Args)]
pub struct Allowed {
    /// Add partitions to topics with keys, too: their keys go to other partitions than before
    #[arg(long)]
    pub allow_repartition: bool,
    /// Delete this topic with all its messages; it must not be declared
    #[arg(long, value_name = "NAME")]
    pub prune: Vec<String>,
}

/// Shows what `apply` would do.
///
/// # Errors
/// When the file or the cluster cannot be read.
pub fn run(arguments: &Arguments, options: &Options) -> Result<Outcome, Stop> {
    let desired = arguments.declared.desired()?;
    let admin = arguments.cluster.admin()?;
    let shown = Shown::new(&admin, &desired, &arguments.allowed)?;
    options.show(&shown)?;
    Ok(shown.outcome())
}

/// A plan with what one must know to judge it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    bootstrap: String,
    cluster: String,
    brokers: Vec<i32>,
    profile: String,
    replication: usize,
    #[serde(flatten)]
    pub(super) plan: Plan,
    /// How many messages each topic holds that will go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) losses: Vec<Loss>,
    pub(super) summary: Summary,
    /// What is said after all; `apply` has more to say.
    #[serde(skip)]
    pub(super) applying: bool,
}

/// Messages that go with a topic.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Loss {
    pub(super) topic: String,
    pub(super) messages: u64,
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) create: usize,
    pub(super) alter: usize,
    pub(super) delete: usize,
    pub(super) refused: usize,
    pub(super) extra: usize,
}

impl Shown {
    /// Compares, and has the cluster look at what would be done.
    pub(super) fn new(admin: &Admin, desired: &Desired, allowed: &Allowed) -> Result<Self, Stop> {
        let state = admin.state(|name| desired.topics.contains_key(name))?;
        let permission = Permission {
            repartition: allowed.allow_repartition,
            prune: allowed.prune.iter().cloned().collect(),
        };
        let mut plan = Plan::new(desired, &state, &permission);
        plan.validate(admin, desired)?;
        let losses = losses(admin, &plan, &state)?;
        let count =
            |of: fn(&Change) -> bool| plan.changes.values().filter(|change| of(change)).count();
        let summary = Summary {
            create: count(|change| matches!(change, Change::Create(_))),
            alter: count(|change| matches!(change, Change::Alter(_))),
            delete: count(|change| matches!(change, Change::Delete)),
            refused: plan.refusals.len(),
            extra: plan.extra.len(),
        };
        Ok(Self {
            bootstrap: admin.bootstrap().to_owned(),
            cluster: state.cluster,
            brokers: state.brokers,
            profile: desired.profile.clone(),
            replication: desired.replication,
            plan,
            losses,
            summary,
            applying: false,
        })
    }

    /// Refusals are errors, changes are differences.
    pub(super) fn outcome(&self) -> Outcome {
        if self.summary.refused > 0 {
            Outcome::Failed
        } else if self.plan.is_empty() {
            Outcome::Well
        } else {
            Outcome::Differs
        }
    }
}

fn losses(admin: &Admin, plan: &Plan, state: &State) -> Result<Vec<Loss>, Stop> {
    let mut losses = Vec::new();
    for (topic, change) in &plan.changes {
        if let (Change::Delete, Some(actual)) = (change, state.topics.get(topic)) {
            let messages = admin.messages(topic, actual.partitions.len())?;
            losses.push(Loss {
                topic: topic.clone(),
                messages,
            });
        }
    }
    Ok(losses)
}

impl Text for Shown {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        show::head(out, &self.bootstrap, &self.cluster, self.brokers.len())?;
        writeln!(
            out,
            "profile {}, copies of each partition: {}\n",
            self.profile, self.replication
        )?;
        for (topic, change) in &self.plan.changes {
            match change {
                Change::Create(declared) => show::create(out, topic, declared)?,
                Change::Alter(alteration) => show::alter(out, topic, alteration)?,
                Change::Delete => {
                    let loss = self.losses.iter().find(|loss| loss.topic == *topic);
                    show::delete(out, topic, loss.map_or(0, |loss| loss.messages))?;
                }
            }
        }
        for refusal in &self.plan.refusals {
            show::refusal(out, refusal)?;
        }
        for topic in &self.plan.extra {
            show::extra(out, topic)?;
        }
        if !(self.plan.is_empty() && self.plan.extra.is_empty()) {
            writeln!(out)?;
        }
        let Summary {
            create,
            alter,
            delete,
            refused,
            ..
        } = self.summary;
        if refused > 0 {
            return writeln!(
                out,
                "{refused} of it cannot be: nothing will be done. Without that: {create} to create, {alter} to change, {delete} to delete."
            );
        }
        if self.plan.is_empty() {
            return writeln!(out, "Nothing to change: the topics are as declared.");
        }
        writeln!(
            out,
            "{create} to create, {alter} to change, {delete} to delete."
        )?;
        if !self.applying {
            writeln!(out, "`carbyne topics apply` does it.")?;
        }
        Ok(())
    }
}
