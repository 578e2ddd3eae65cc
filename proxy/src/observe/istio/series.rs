//! All series of the process: by metric and labels, found again by whoever words the same labels.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carbyne_engine::observe::metrics::{Counter, Histogram};

/// Where series are kept. Locked only when a worker sees a label set for the first time, and to be read.
pub struct Store {
    series: Mutex<BTreeMap<Key, SeriesValue>>,
    bounds: Box<dyn Fn(&str) -> Arc<[f64]> + Send + Sync>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("series", &self.lock().len())
            .finish_non_exhaustive()
    }
}

/// Name and labels.
type Key = (&'static str, Vec<(Arc<str>, Box<str>)>);

/// A series as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// The metric.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a [(Arc<str>, Box<str>)],
    /// Its value.
    pub value: &'a SeriesValue,
}

/// What a series counts.
#[derive(Clone, Debug)]
pub enum SeriesValue {
    /// A count.
    Counter(Counter),
    /// A distribution.
    Histogram(Histogram),
}

impl Store {
    /// An empty store; `bounds` tells the buckets of a metric.
    pub fn new(bounds: impl Fn(&str) -> Arc<[f64]> + Send + Sync + 'static) -> Self {
        Self {
            series: Mutex::default(),
            bounds: Box::new(bounds),
        }
    }

    /// The counter of these labels.
    pub fn counter(&self, name: &'static str, labels: Vec<(Arc<str>, Box<str>)>) -> Counter {
        let held = self
            .lock()
            .entry((name, labels))
            .or_insert_with(|| SeriesValue::Counter(Counter::new()))
            .clone();
        match held {
            SeriesValue::Counter(counter) => counter,
            // One name is one kind: this counter is shown nowhere.
            SeriesValue::Histogram(_) => Counter::new(),
        }
    }

    /// The histogram of these labels.
    pub fn histogram(&self, name: &'static str, labels: Vec<(Arc<str>, Box<str>)>) -> Histogram {
        let bounds = (self.bounds)(name);
        let held = self
            .lock()
            .entry((name, labels))
            .or_insert_with(|| SeriesValue::Histogram(Histogram::new(Arc::clone(&bounds))))
            .clone();
        match held {
            SeriesValue::Histogram(histogram) => histogram,
            SeriesValue::Counter(_) => Histogram::new(bounds),
        }
    }

    /// Shows every series, by name and labels.
    pub fn visit(&self, mut show: impl FnMut(Series<'_>)) {
        for ((name, labels), value) in &*self.lock() {
            show(Series {
                name,
                labels,
                value,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, SeriesValue>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
