//! Counters, gauges and histograms whose cells belong to workers.
//!
//! A worker adds to its own cell without a locked instruction; a scrape sums the cells. Threads that are
//! not workers (control runtime, blocking pool) share cell 0 and add atomically.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A monotonically growing count.
#[derive(Clone, Debug)]
pub struct Counter {
    cells: Arc<[AtomicU64]>,
}

/// Several counts that are made together: those of a worker lie side by side, in one allocation for all.
#[derive(Clone, Debug)]
pub struct Counters {
    width: usize,
    cells: Arc<[AtomicU64]>,
}

/// A value that goes up and down, such as open connections.
#[derive(Clone, Debug, Default)]
pub struct Gauge {
    value: Arc<AtomicI64>,
}

/// The bounds of a histogram of milliseconds that nobody set: those that dashboards made for Envoy expect.
pub const DEFAULT_BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// A distribution over fixed bucket bounds.
#[derive(Clone, Debug)]
pub struct Histogram {
    inner: Arc<HistogramInner>,
}

/// What a scrape reads from a [`Histogram`].
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bound and cumulative count of each bucket; the last bound is infinity.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all observed values.
    pub sum: f64,
    /// Number of observations.
    pub count: u64,
}

#[derive(Debug)]
struct HistogramInner {
    bounds: Arc<[f64]>,
    /// One counter a bucket, the last one for what exceeds every bound.
    buckets: Box<[Counter]>,
    /// Sum in thousandths, so that cells stay integers.
    sum_thousandths: Counter,
}

/// Says how many workers there will be. Takes effect once, before the first metric is made; without it
/// there is one worker cell.
pub fn configure_workers(workers: usize) {
    // A second call would come from a second runtime in one process (tests): the first one counts.
    WORKERS.get_or_init(|| workers.max(1));
}

/// Makes the calling thread worker `index` (from 0) for all metrics.
pub fn enter_worker(index: usize) {
    CELL.with(|cell| cell.set(index + 1));
}

impl Counter {
    /// A counter at zero.
    pub fn new() -> Self {
        let workers = *WORKERS.get_or_init(|| 1);
        Self {
            cells: (0..=workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        let index = CELL.with(Cell::get);
        match self.cells.get(index) {
            // Only this thread writes this cell.
            Some(cell) if index > 0 => {
                cell.store(cell.load(Ordering::Relaxed) + n, Ordering::Relaxed);
            }
            _ => {
                self.cells[0].fetch_add(n, Ordering::Relaxed);
            }
        }
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// The sum over all workers.
    pub fn value(&self) -> u64 {
        self.cells
            .iter()
            .map(|cell| cell.load(Ordering::Relaxed))
            .sum()
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// So many counters at zero.
    pub fn new(width: usize) -> Self {
        let workers = *WORKERS.get_or_init(|| 1);
        let cells = (0..(workers + 1) * width).map(|_| AtomicU64::new(0));
        Self {
            width,
            cells: cells.collect(),
        }
    }

    /// Adds `n` to the counter of that index.
    #[inline]
    pub fn add(&self, index: usize, n: u64) {
        debug_assert!(index < self.width);
        let worker = CELL.with(Cell::get);
        match self.cells.get(worker * self.width + index) {
            // Only this thread writes this cell.
            Some(cell) if worker > 0 => {
                cell.store(cell.load(Ordering::Relaxed) + n, Ordering::Relaxed);
            }
            _ => {
                self.cells[index].fetch_add(n, Ordering::Relaxed);
            }
        }
    }

    /// The sum over all workers of the counter of that index.
    pub fn value(&self, index: usize) -> u64 {
        let cells = self.cells.iter().skip(index).step_by(self.width);
        cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

impl Gauge {
    /// Adds `n`, which may be negative.
    #[inline]
    pub fn add(&self, n: i64) {
        self.value.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Takes one away.
    #[inline]
    pub fn decrement(&self) {
        self.add(-1);
    }

    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.value.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> i64 {
        self.value.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// A histogram over `bounds`, which must ascend.
    pub fn new(bounds: Arc<[f64]>) -> Self {
        debug_assert!(bounds.is_sorted());
        Self {
            inner: Arc::new(HistogramInner {
                buckets: (0..=bounds.len()).map(|_| Counter::new()).collect(),
                bounds,
                sum_thousandths: Counter::new(),
            }),
        }
    }

    /// Counts one observation of `value`.
    #[inline]
    pub fn observe(&self, value: f64) {
        let inner = &*self.inner;
        let bucket = inner.bounds.partition_point(|bound| *bound < value);
        inner.buckets[bucket].increment();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "observations are sizes and durations: positive and far below 2^53"
        )]
        inner.sum_thousandths.add((value * 1000.0) as u64);
    }

    /// Counts a time in whole milliseconds, as Envoy does.
    #[inline]
    pub fn observe_milliseconds(&self, took: Duration) {
        // Not `as_millis`: its 128 bits cost more than the rest.
        let seconds = u32::try_from(took.as_secs()).unwrap_or(u32::MAX);
        self.observe(f64::from(seconds) * 1000.0 + f64::from(took.subsec_millis()));
    }

    /// Cumulative buckets, sum and count.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the text format carries doubles"
    )]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let inner = &*self.inner;
        let mut count = 0;
        let buckets = inner
            .buckets
            .iter()
            .enumerate()
            .map(|(index, bucket)| {
                count += bucket.value();
                let bound = inner.bounds.get(index).copied().unwrap_or(f64::INFINITY);
                (bound, count)
            })
            .collect();
        HistogramSnapshot {
            buckets,
            sum: inner.sum_thousandths.value() as f64 / 1000.0,
            count,
        }
    }
}

static WORKERS: OnceLock<usize> = OnceLock::new();

thread_local! {
    /// Index of this thread's cell; 0 is everybody who is not a worker.
    static CELL: Cell<usize> = const { Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_all_threads_sum_up() {
        let counter = Counter::new();
        counter.add(2);
        let other = counter.clone();
        std::thread::spawn(move || {
            enter_worker(0);
            other.add(3);
        })
        .join()
        .unwrap();
        assert_eq!(counter.value(), 5);
    }

    #[test]
    fn counters_side_by_side_keep_apart() {
        let counters = Counters::new(3);
        counters.add(2, 5);
        let other = counters.clone();
        std::thread::spawn(move || {
            enter_worker(0);
            other.add(0, 1);
            other.add(2, 2);
        })
        .join()
        .unwrap();
        assert_eq!([0, 1, 2].map(|index| counters.value(index)), [1, 0, 7]);
    }

    #[test]
    fn histogram_buckets_are_cumulative_and_inclusive() {
        let histogram = Histogram::new(Arc::from([1.0, 5.0]));
        for value in [0.5, 1.0, 3.0, 9.0] {
            histogram.observe(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets, [(1.0, 2), (5.0, 3), (f64::INFINITY, 4)]);
        assert_eq!(snapshot.sum, 13.5);
        assert_eq!(snapshot.count, 4);
    }
}
