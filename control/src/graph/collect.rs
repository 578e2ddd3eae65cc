//! Samples from running sidecars: one scrape for totals, two for rates.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    build::Builder,
    model::Graph,
    samples::{Sample, increase, parse},
};
use crate::{
    fetch::get,
    running::{Kind, Running},
};

/// A sidecar to scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its workload; empty if only the address is known.
    pub name: String,
    /// Namespace of the workload.
    pub namespace: String,
    /// Its app and version; empty where it says none.
    pub app: String,
    /// See `app`.
    pub version: String,
    /// Admin port, or the port for Prometheus.
    pub address: SocketAddr,
}

/// What sidecars counted up to a moment.
#[derive(Debug)]
pub struct Scrape {
    at: Instant,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    target: Target,
    samples: Result<Vec<Sample>, String>,
}

/// The sidecars of a running platform.
#[must_use]
pub fn targets(running: &Running) -> Vec<Target> {
    running
        .members
        .iter()
        .filter(|member| member.kind == Kind::Sidecar)
        .filter_map(|member| {
            Some(Target {
                name: member.name.clone(),
                namespace: member.namespace.clone(),
                app: member.app.clone(),
                version: member.version.clone(),
                address: member.admin.or(member.metrics)?,
            })
        })
        .collect()
}

/// Asks all of them at once; those that do not answer are in the graph's `missing`.
pub async fn scrape(targets: &[Target], limit: Duration) -> Scrape {
    let mut asked = JoinSet::new();
    for (index, target) in targets.iter().cloned().enumerate() {
        asked.spawn(async move {
            // Of all that a sidecar counts, Istio's metrics only.
            let answer = get(target.address, "/stats/prometheus?filter=istio_", limit).await;
            let samples = answer
                .map(|body| parse(&String::from_utf8_lossy(&body)))
                .map_err(|error| error.to_string());
            (index, Answer { target, samples })
        });
    }
    let mut answers: Vec<(usize, Answer)> = Vec::new();
    while let Some(answer) = asked.join_next().await {
        // A task that panicked would be a bug of ours: its sidecar is then as absent as one that is down.
        answers.extend(answer.ok());
    }
    answers.sort_by_key(|(index, _)| *index);
    Scrape {
        at: Instant::now(),
        answers: answers.into_iter().map(|(_, answer)| answer).collect(),
    }
}

impl Scrape {
    /// Adds what somebody else counted, in Istio's words, as a sidecar would have counted it.
    #[must_use]
    pub fn with(mut self, target: Target, samples: Vec<Sample>) -> Self {
        let samples = Ok(samples);
        self.answers.push(Answer { target, samples });
        self
    }

    /// The graph of all time since the sidecars began.
    #[must_use]
    pub fn graph(&self) -> Graph {
        let mut builder = Builder::default();
        for answer in &self.answers {
            answer.introduce(&mut builder);
            if let Ok(samples) = &answer.samples {
                builder.add(samples);
            }
        }
        builder.build(None, self.missing())
    }

    /// The graph of the time since an earlier scrape.
    #[must_use]
    pub fn since(&self, before: &Self) -> Graph {
        let mut builder = Builder::default();
        for answer in &self.answers {
            answer.introduce(&mut builder);
            let Ok(samples) = &answer.samples else {
                continue;
            };
            let earlier = before
                .answers
                .iter()
                .find(|earlier| earlier.target == answer.target)
                .and_then(|earlier| earlier.samples.as_deref().ok());
            // A sidecar that is new counted everything since then.
            builder.add(&increase(earlier.unwrap_or_default(), samples));
        }
        let window = self.at.saturating_duration_since(before.at).as_secs_f64();
        builder.build(Some(window.max(0.001)), self.missing())
    }

    fn missing(&self) -> Vec<String> {
        let all = self.answers.iter().filter_map(|answer| {
            let error = answer.samples.as_ref().err()?;
            let name = &answer.target.name;
            Some(if name.is_empty() {
                error.clone()
            } else {
                format!("{name}'s sidecar: {error}")
            })
        });
        all.collect()
    }
}

impl Answer {
    fn introduce(&self, builder: &mut Builder) {
        let Target {
            name,
            namespace,
            app,
            version,
            ..
        } = &self.target;
        if let Ok(samples) = &self.samples {
            builder.reporters(samples);
            if !name.is_empty() {
                builder.workload(namespace, name, app, version);
            }
        }
    }
}
