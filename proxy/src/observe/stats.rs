//! The statistics of the process by Envoy's names: who has them, which of them are shown, and what becomes labels.
//!
//! | file | what it holds |
//! |---|---|
//! | here | sources of statistics, and the walk over them |
//! | [`config`] | the bootstrap's `stats_config`: tags, matchers, buckets |

mod config;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use carbyne_engine::observe::metrics::HistogramSnapshot;
use rustc_hash::FxHashMap;

pub use self::config::StatsRules;
pub use carbyne_engine::observe::metrics::DEFAULT_BOUNDS;

use self::config::Tagged;
use super::istio::{SeriesValue, Store};
use crate::admin::histogram::Distribution;
use crate::admin::state::{Statistic, StatisticValue};

/// Whoever has statistics: clusters, listeners, connection managers, the server. They are read when somebody looks.
pub trait Source: Send + Sync {
    /// Shows each by its whole name, such as `cluster.NAME.upstream_rq_total`.
    fn visit(&self, show: &mut dyn FnMut(&str, Reading<'_>));
}

/// Something with counters of its own that many parts have: a filter of a listener, which comes and goes with it.
pub trait Counted: Send + Sync {
    /// Shows each by its name below the prefix under which it was published.
    fn visit(&self, show: &mut dyn FnMut(&str, Reading<'_>));

    /// Shows those whose whole names are its own affair.
    fn outside(&self, show: &mut dyn FnMut(&str, Reading<'_>)) {
        let _nothing = show;
    }
}

/// What a statistic says now.
#[derive(Clone, Copy, Debug)]
pub enum Reading<'a> {
    /// How often something happened.
    Counter(u64),
    /// How much there is of something.
    Gauge(u64),
    /// A text.
    Text(&'a str),
    /// A distribution.
    Histogram(&'a HistogramSnapshot),
}

/// All statistics of the process.
pub struct Registry {
    rules: StatsRules,
    /// Istio's metrics, which come with their labels.
    istio: Arc<Store>,
    istio_version: Box<str>,
    sources: Mutex<Vec<Weak<dyn Source>>>,
    published: Mutex<Published>,
    /// What counters said when they were last set to zero.
    zeroes: Mutex<FxHashMap<Box<str>, u64>>,
    /// What the rules say about a name; names are few and stay.
    judged: Mutex<FxHashMap<Box<str>, Option<Arc<Tagged>>>>,
}

impl Registry {
    /// A registry with the bootstrap's rules.
    pub fn new(rules: StatsRules, istio_version: &str) -> Arc<Self> {
        let bounds = rules.clone();
        Arc::new(Self {
            istio: Arc::new(Store::new(move |name| {
                bounds.bounds(&format!("{CUSTOM}{name}"))
            })),
            rules,
            istio_version: istio_version.into(),
            sources: Mutex::default(),
            published: Mutex::default(),
            zeroes: Mutex::default(),
            judged: Mutex::default(),
        })
    }

    /// Where Istio's metrics are kept.
    pub const fn istio(&self) -> &Arc<Store> {
        &self.istio
    }

    /// The bootstrap's rules.
    pub const fn rules(&self) -> &StatsRules {
        &self.rules
    }

    /// Adds a source, which is asked as long as somebody else holds it.
    pub fn register(&self, source: &Arc<impl Source + 'static>) {
        let source: Arc<dyn Source> = Arc::clone(source) as Arc<dyn Source>;
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() == sources.capacity() {
            sources.retain(|source| source.strong_count() > 0);
        }
        sources.push(Arc::downgrade(&source));
    }

    /// Adds counters below a prefix. Those of one name count together, and go on when one of them is gone.
    pub fn publish(&self, prefix: &str, counted: Arc<impl Counted + 'static>) {
        let counted: Arc<dyn Counted> = counted;
        let mut published = self.published();
        if published.present.len() == published.present.capacity() {
            published.retire();
        }
        published.present.push((prefix.into(), counted));
    }

    /// From now on counters count from zero (Envoy: `/reset_counters`). They themselves go on: nobody has to be told who is about to add.
    pub fn reset(&self, each: impl FnOnce(&mut dyn FnMut(&str, u64))) {
        let mut zeroes = FxHashMap::default();
        let mut note = |name: &str, value: u64| {
            zeroes.insert(Box::from(name), value);
        };
        each(&mut note);
        self.counters(&mut |name, reading| {
            if let Reading::Counter(value) = reading {
                note(name, value);
            }
        });
        *self.zeroes.lock().unwrap_or_else(PoisonError::into_inner) = zeroes;
    }

    /// Shows every statistic that the rules admit.
    pub fn visit(&self, show: &mut dyn FnMut(Statistic<'_>)) {
        self.counters(&mut |name, reading| self.show(name, reading, show));
        self.show_istio(show);
    }

    /// What sources have, and what was published.
    fn counters(&self, show: &mut dyn FnMut(&str, Reading<'_>)) {
        let sources: Vec<_> = self
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for source in sources {
            source.visit(show);
        }
        for (name, value) in self.published().sums() {
            show(&name, Reading::Counter(value));
        }
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn since_reset(&self, name: &str, value: u64) -> u64 {
        let zeroes = self.zeroes.lock().unwrap_or_else(PoisonError::into_inner);
        value.saturating_sub(zeroes.get(name).copied().unwrap_or(0))
    }

    /// Shows one statistic, if the rules admit its name: for statistics that no source has.
    pub fn show(&self, name: &str, reading: Reading<'_>, show: &mut dyn FnMut(Statistic<'_>)) {
        let Some(tagged) = self.judge(name) else {
            return;
        };
        let tags: smallvec::SmallVec<[(&str, &str); 4]> = tagged
            .tags
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let distribution;
        let (value, used) = match reading {
            Reading::Counter(value) => {
                let value = self.since_reset(name, value);
                (StatisticValue::Counter(value), value > 0)
            }
            Reading::Gauge(value) => (StatisticValue::Gauge(value), value > 0),
            Reading::Text(text) => (StatisticValue::Text(text), !text.is_empty()),
            Reading::Histogram(snapshot) => {
                distribution = converted(snapshot);
                (StatisticValue::Histogram(&distribution), snapshot.count > 0)
            }
        };
        show(Statistic {
            name,
            tag_extracted_name: &tagged.name,
            tags: &tags,
            value,
            // Envoy's `server.state` of a live server is 0 and counts as used: a gauge that was ever set is.
            used: used || ALWAYS_USED.contains(&name),
        });
    }

    fn show_istio(&self, show: &mut dyn FnMut(Statistic<'_>)) {
        self.istio.visit(|series| {
            let metric = format!("{CUSTOM}{}", series.name);
            let mut name = metric.clone();
            for (label, value) in series.labels {
                name.extend([".", &**label, ".", &**value]);
            }
            if !self.rules.admits(&name) {
                return;
            }
            let tags: Vec<(&str, &str)> = series
                .labels
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            let distribution;
            let value = match series.value {
                SeriesValue::Counter(counter) => StatisticValue::Counter(counter.value()),
                SeriesValue::Histogram(histogram) => {
                    distribution = converted(&histogram.snapshot());
                    StatisticValue::Histogram(&distribution)
                }
            };
            show(Statistic {
                name: &name,
                tag_extracted_name: &metric,
                tags: &tags,
                value,
                used: true,
            });
        });
        let name = format!(
            "{CUSTOM}istio_build.component.proxy.tag.{}",
            self.istio_version
        );
        if self.rules.admits(&name) {
            show(Statistic {
                name: &name,
                tag_extracted_name: "istiocustom.istio_build",
                tags: &[("component", "proxy"), ("tag", &self.istio_version)],
                value: StatisticValue::Gauge(1),
                used: true,
            });
        }
    }

    fn judge(&self, name: &str) -> Option<Arc<Tagged>> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = judged.get(name) {
            return known.clone();
        }
        if judged.len() >= MOST_NAMES {
            judged.clear();
        }
        let verdict = self
            .rules
            .admits(name)
            .then(|| Arc::new(self.rules.tags(name)));
        judged.insert(name.into(), verdict.clone());
        verdict
    }
}

/// Counters of parts that come and go.
#[derive(Default)]
struct Published {
    present: Vec<(Box<str>, Arc<dyn Counted>)>,
    /// The sums of those that are gone.
    past: BTreeMap<String, u64>,
}

impl Published {
    /// Folds those that nobody else holds any more into the past.
    fn retire(&mut self) {
        let past = &mut self.past;
        self.present.retain(|(prefix, counted)| {
            let alive = Arc::strong_count(counted) > 1;
            if !alive {
                add(prefix, &**counted, past);
            }
            alive
        });
    }

    fn sums(&mut self) -> BTreeMap<String, u64> {
        self.retire();
        let mut sums = self.past.clone();
        for (prefix, counted) in &self.present {
            add(prefix, &**counted, &mut sums);
        }
        sums
    }
}

fn add(prefix: &str, counted: &dyn Counted, sums: &mut BTreeMap<String, u64>) {
    let mut note = |name: String, reading: Reading<'_>| {
        if let Reading::Counter(value) = reading {
            *sums.entry(name).or_default() += value;
        }
    };
    counted.visit(&mut |name, reading| note(format!("{prefix}{name}"), reading));
    counted.outside(&mut |name, reading| note(name.to_owned(), reading));
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

fn converted(snapshot: &HistogramSnapshot) -> Distribution {
    Distribution {
        buckets: snapshot.buckets.clone(),
        sum: snapshot.sum,
        count: snapshot.count,
    }
}

/// Namespace of Istio's metrics, which go without a prefix.
const CUSTOM: &str = "istiocustom.";
/// Gauges that are set whatever their value: pilot-agent asks for them with `usedonly`.
const ALWAYS_USED: [&str; 3] = [
    "server.state",
    "server.live",
    "listener_manager.workers_started",
];
/// Names whose verdict is kept.
const MOST_NAMES: usize = 200_000;
