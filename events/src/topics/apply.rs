//! Makes a cluster as declared, and sees that it is.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use super::{
    admin::{Admin, AdminError, NewTopicSpec, Verdict},
    desired::Desired,
    incremental::Settings,
    plan::{Change, Permission, Plan, Refusal},
};

/// Why a plan was not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The plan says itself what cannot be.
    #[error("nothing was changed: {} of the plan cannot be", .0.len())]
    Refused(Vec<Refusal>),
    /// The cluster does not answer.
    #[error("{0}")]
    Admin(#[from] AdminError),
    /// The cluster did some and not others.
    #[error("not done: {}", .0.iter().map(|(topic, reason)| format!("{topic}: {reason}")).collect::<Vec<_>>().join("; "))]
    Failed(Vec<(String, String)>),
    /// All is done, and yet not as declared.
    #[error("not as declared after {limit:?}: {reason}")]
    Unsettled {
        /// The time that it had.
        limit: Duration,
        /// What is still different.
        reason: String,
    },
}

/// How far it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The cluster has done it.
    Done {
        /// Which topic.
        topic: String,
        /// What.
        what: &'static str,
    },
    /// It waits, for this.
    Waiting(String),
}

impl Plan {
    /// Has the cluster look at everything without doing it; what it would not do becomes a refusal.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn validate(&mut self, admin: &Admin, desired: &Desired) -> Result<(), AdminError> {
        if !self.refusals.is_empty() {
            return Ok(());
        }
        let work = Work::new(self, desired);
        let mut verdicts = Vec::new();
        if !work.create.is_empty() {
            verdicts.extend(admin.create(work.create, true)?);
        }
        if !work.grow.is_empty() {
            verdicts.extend(admin.grow(work.grow, true)?);
        }
        if !work.set.is_empty() {
            verdicts.extend(admin.set(work.set, true)?);
        }
        let refused = verdicts
            .into_iter()
            .filter_map(|(topic, verdict)| Some((topic, verdict.err()?)));
        self.refusals
            .extend(refused.map(|(topic, code)| Refusal::Broker { topic, code }));
        Ok(())
    }

    /// Does all of it, waits until every partition has a leader, and compares again: nothing may be left.
    ///
    /// # Errors
    /// When the plan has refusals (then nothing is done), or the cluster will not or does not follow in time.
    pub fn apply(
        &self,
        admin: &Admin,
        desired: &Desired,
        limit: Duration,
        mut tell: impl FnMut(Progress),
    ) -> Result<(), ApplyError> {
        if !self.refusals.is_empty() {
            return Err(ApplyError::Refused(self.refusals.clone()));
        }
        let work = Work::new(self, desired);
        let mut failed = Vec::new();
        let mut note = |what: &'static str, verdicts: Vec<Verdict>| {
            for (topic, verdict) in verdicts {
                match verdict {
                    Ok(()) => tell(Progress::Done { topic, what }),
                    Err(reason) => failed.push((topic, reason)),
                }
            }
        };
        if !work.create.is_empty() {
            note("created", admin.create(work.create, false)?);
        }
        if !work.grow.is_empty() {
            note("partitions added", admin.grow(work.grow, false)?);
        }
        if !work.set.is_empty() {
            note("settings changed", admin.set(work.set, false)?);
        }
        if !work.delete.is_empty() {
            note("deleted", admin.delete(work.delete)?);
        }
        if !failed.is_empty() {
            return Err(ApplyError::Failed(failed));
        }
        settle(admin, desired, self, limit, tell)
    }
}

/// A broker may not have heard of what the controller has done: asks until one tells the whole of it.
fn settle(
    admin: &Admin,
    desired: &Desired,
    applied: &Plan,
    limit: Duration,
    mut tell: impl FnMut(Progress),
) -> Result<(), ApplyError> {
    let deadline = Instant::now() + limit;
    let mut last = String::new();
    loop {
        let state = admin.state(|name| desired.topics.contains_key(name))?;
        let rest = Plan::new(desired, &state, &Permission::default());
        let leaderless = desired.topics.keys().find_map(|name| {
            let missing = state.topics.get(name)?.leaderless();
            (missing > 0).then(|| format!("{missing} partitions of {name} have no leader yet"))
        });
        let deleted = |name: &&String| applied.changes.get(*name) == Some(&Change::Delete);
        let reason = if let Some(name) = rest.changes.keys().next() {
            format!(
                "{name} is not yet told as declared ({} are not)",
                rest.changes.len()
            )
        } else if let Some(refusal) = rest.refusals.first() {
            refusal.to_string()
        } else if let Some(name) = rest.extra.iter().find(deleted) {
            format!("{name} is not gone yet")
        } else if let Some(reason) = leaderless {
            reason
        } else {
            return Ok(());
        };
        if Instant::now() > deadline {
            return Err(ApplyError::Unsettled { limit, reason });
        }
        if reason != last {
            tell(Progress::Waiting(reason.clone()));
            last = reason;
        }
        thread::sleep(BETWEEN);
    }
}

/// A plan by the requests that carry it out.
#[derive(Default)]
struct Work {
    create: Vec<NewTopicSpec>,
    grow: Vec<(String, usize)>,
    set: Vec<Settings>,
    delete: Vec<String>,
}

impl Work {
    fn new(plan: &Plan, desired: &Desired) -> Self {
        let mut work = Self::default();
        for (name, change) in &plan.changes {
            match change {
                Change::Create(topic) => work.create.push(NewTopicSpec {
                    name: name.clone(),
                    partitions: topic.partitions,
                    replication: desired.replication,
                    config: topic.config.clone(),
                }),
                Change::Alter(alteration) => {
                    if let Some((_, count)) = alteration.partitions {
                        work.grow.push((name.clone(), count));
                    }
                    let values: BTreeMap<_, _> = alteration
                        .config
                        .iter()
                        .map(|(name, setting)| (name, &setting.to))
                        .collect();
                    if !values.is_empty() {
                        work.set.push(Settings {
                            topic: name.clone(),
                            values: values
                                .into_iter()
                                .map(|(name, to)| (name.clone(), to.clone()))
                                .collect(),
                        });
                    }
                }
                Change::Delete => work.delete.push(name.clone()),
            }
        }
        work
    }
}

const BETWEEN: Duration = Duration::from_millis(100);
