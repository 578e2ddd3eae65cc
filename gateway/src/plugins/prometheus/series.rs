//! Series by route, and by consumer where that is asked for. They are kept as long as the process runs, whatever becomes of the
//! routes: a counter never goes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use carbyne_engine::observe::metrics::{Counter, Counters};
use rustc_hash::FxHashMap;

use crate::live::route::LiveService;
use crate::plan::route::Route;
use crate::plugin::serialize::Latencies;

/// What all instances count in.
#[derive(Debug, Default)]
pub struct Shared {
    /// Instances hold the first, and those that ask for the health of targets the second.
    pub(super) enabled: Arc<()>,
    pub(super) health: Arc<()>,
    routes: Mutex<BTreeMap<Labels, Arc<RouteSeries>>>,
    groups: AtomicUsize,
    /// Requests that were not counted, because there are too many series.
    errors: OnceLock<Counter>,
}

/// A route as dashboards know it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Labels {
    pub(super) service: Box<str>,
    pub(super) route: Box<str>,
}

/// The series of one route.
#[derive(Debug, Default)]
pub struct RouteSeries {
    latencies: OnceLock<Counters>,
    plain: Traffic,
    /// By username.
    consumers: RwLock<FxHashMap<Box<str>, Arc<Traffic>>>,
}

/// Requests and bytes of one route and consumer.
#[derive(Debug, Default)]
pub struct Traffic {
    codes: Codes,
    bytes: OnceLock<Counters>,
}

/// Counts by status and source, in the order in which they came first. A list that only grows needs no lock.
#[derive(Debug, Default)]
struct Codes {
    slots: [OnceLock<Code>; 4],
    more: OnceLock<Box<Self>>,
}

#[derive(Debug)]
pub(super) struct Code {
    pub(super) status: u16,
    pub(super) by_service: bool,
    pub(super) count: Counter,
}

/// One of the histograms: Kong's name, help and bounds in milliseconds.
#[derive(Debug)]
pub(super) struct Histogram {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) bounds: &'static [u64],
    /// Where its cells begin: a count for each bound, one beyond them, the sum.
    first: usize,
}

const UPSTREAM_BOUNDS: &[u64] = &[
    25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10_000, 30_000, 60_000,
];
pub(super) const KONG: Histogram = Histogram {
    name: "kong_kong_latency_ms",
    help: "Latency added by Kong and enabled plugins for each service/route in Kong",
    bounds: &[
        1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000,
    ],
    first: 0,
};
pub(super) const REQUEST: Histogram = Histogram {
    name: "kong_request_latency_ms",
    help: "Total latency incurred during requests for each service/route in Kong",
    bounds: UPSTREAM_BOUNDS,
    first: KONG.end(),
};
pub(super) const UPSTREAM: Histogram = Histogram {
    name: "kong_upstream_latency_ms",
    help: "Latency added by upstream response for each service/route in Kong",
    bounds: UPSTREAM_BOUNDS,
    first: REQUEST.end(),
};

/// Routes and consumers that are counted apart: a bound, as Kong's shared memory is one.
const GROUPS: usize = 100_000;

impl Histogram {
    const fn end(&self) -> usize {
        self.first + self.bounds.len() + 2
    }

    fn observe(&self, cells: &Counters, took: Duration) {
        // Not `as_millis`: its 128 bits cost more than the rest.
        let took = took.as_secs() * 1000 + u64::from(took.subsec_millis());
        let bucket = self.bounds.partition_point(|bound| *bound < took);
        cells.add(self.first + bucket, 1);
        cells.add(self.end() - 1, took);
    }

    /// The count of each bucket, and the sum.
    pub(super) fn read(&self, cells: &Counters) -> (Vec<u64>, u64) {
        let buckets = self.first..self.end() - 1;
        let counts = buckets.map(|cell| cells.value(cell)).collect();
        (counts, cells.value(self.end() - 1))
    }
}

impl Shared {
    /// The series of a route; none where there are too many already.
    pub(super) fn of_route(
        &self,
        route: &Route,
        service: Option<&LiveService>,
    ) -> Option<Arc<RouteSeries>> {
        let labels = Labels {
            service: service.map_or_else(Box::default, |service| {
                let plan = &service.plan;
                plan.name.as_ref().unwrap_or(&plan.host).clone()
            }),
            route: route.name.as_ref().unwrap_or(&route.id).clone(),
        };
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = routes.get(&labels) {
            return Some(known.clone());
        }
        if !self.reserve() {
            return None;
        }
        Some(routes.entry(labels).or_default().clone())
    }

    /// Whether there is room for one group more.
    fn reserve(&self) -> bool {
        let has_room = self.groups.fetch_add(1, Ordering::Relaxed) < GROUPS;
        if !has_room {
            self.groups.fetch_sub(1, Ordering::Relaxed);
            self.errors.get_or_init(Counter::new).increment();
        }
        has_room
    }

    /// Whether any instance counts.
    pub fn is_enabled(&self) -> bool {
        Arc::strong_count(&self.enabled) > 1
    }

    /// Whether any instance asks for the health of targets.
    pub fn wants_health(&self) -> bool {
        Arc::strong_count(&self.health) > 1
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.get().map_or(0, Counter::value)
    }

    /// How many groups of series there are, and how many there is room for.
    pub fn size(&self) -> (usize, usize) {
        (self.groups.load(Ordering::Relaxed), GROUPS)
    }

    /// Every route that was counted, in order.
    pub(super) fn routes(&self) -> Vec<(Labels, Arc<RouteSeries>)> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let all = routes.iter();
        all.map(|(labels, series)| (labels.clone(), series.clone()))
            .collect()
    }
}

impl RouteSeries {
    pub(super) fn observe(&self, latencies: &Latencies) {
        let cells = self.latencies.get_or_init(|| Counters::new(UPSTREAM.end()));
        REQUEST.observe(cells, latencies.request);
        if let Some(waited) = latencies.proxy {
            UPSTREAM.observe(cells, waited);
        }
        KONG.observe(cells, latencies.kong);
    }

    /// Lets `count` add to the series of a consumer, or to those of nobody in particular.
    pub(super) fn with_traffic(
        &self,
        shared: &Shared,
        consumer: Option<&str>,
        count: impl FnOnce(&Traffic),
    ) {
        let Some(consumer) = consumer else {
            return count(&self.plain);
        };
        let known = self.consumers.read();
        if let Some(known) = known.unwrap_or_else(PoisonError::into_inner).get(consumer) {
            return count(known);
        }
        let mut consumers = self
            .consumers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if consumers.contains_key(consumer) || shared.reserve() {
            let traffic = consumers.entry(consumer.into()).or_default().clone();
            drop(consumers);
            count(&traffic);
        }
    }

    pub(super) fn latencies(&self) -> Option<&Counters> {
        self.latencies.get()
    }

    /// Traffic by consumer, that of nobody in particular first.
    pub(super) fn traffic(&self, mut visit: impl FnMut(&str, &Traffic)) {
        visit("", &self.plain);
        let consumers = self.consumers.read();
        let consumers = consumers.unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<&str> = consumers.keys().map(|name| &**name).collect();
        names.sort_unstable();
        for name in names {
            if let Some(traffic) = consumers.get(name) {
                visit(name, traffic);
            }
        }
    }
}

impl Traffic {
    pub(super) fn count(&self, status: u16, by_service: bool) {
        let new = || Code {
            status,
            by_service,
            count: Counter::new(),
        };
        let mut codes = &self.codes;
        loop {
            for slot in &codes.slots {
                let code = slot.get_or_init(new);
                if code.status == status && code.by_service == by_service {
                    return code.count.increment();
                }
            }
            codes = codes.more.get_or_init(Box::default);
        }
    }

    pub(super) fn add_bytes(&self, received: u64, sent: u64) {
        let bytes = self.bytes.get_or_init(|| Counters::new(2));
        bytes.add(0, received);
        bytes.add(1, sent);
    }

    /// Bytes from clients and to clients.
    pub(super) fn bytes(&self) -> Option<(u64, u64)> {
        let bytes = self.bytes.get()?;
        Some((bytes.value(0), bytes.value(1)))
    }

    /// The counts by status and source.
    pub(super) fn codes(&self) -> Vec<&Code> {
        let mut all = Vec::new();
        let mut codes = Some(&self.codes);
        while let Some(some) = codes {
            all.extend(some.slots.iter().filter_map(OnceLock::get));
            codes = some.more.get().map(|more| &**more);
        }
        all.sort_unstable_by_key(|code| (code.status, !code.by_service));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_many_threads_add_up() {
        let traffic = Traffic::default();
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let traffic = &traffic;
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(thread);
                    for _ in 0..10_000 {
                        traffic.count(200 + random.u16(..10), random.bool());
                    }
                });
            }
        });
        let codes = traffic.codes();
        assert_eq!(codes.len(), 20);
        assert!(codes.is_sorted_by_key(|code| (code.status, !code.by_service)));
        let sum: u64 = codes.iter().map(|code| code.count.value()).sum();
        assert_eq!(sum, 80_000);
    }

    #[test]
    fn histograms_lie_side_by_side() {
        let cells = Counters::new(UPSTREAM.end());
        for (histogram, took) in [
            (&KONG, 0),
            (&KONG, 1),
            (&KONG, 2),
            (&KONG, 6001),
            (&REQUEST, 25),
            (&UPSTREAM, 60_001),
        ] {
            histogram.observe(&cells, Duration::from_millis(took));
        }
        let (counts, sum) = KONG.read(&cells);
        assert_eq!((counts[0], counts[1], counts[17], sum), (2, 1, 1, 6004));
        let (counts, sum) = REQUEST.read(&cells);
        assert_eq!((counts[0], counts[1..].iter().sum(), sum), (1, 0, 25));
        let (counts, sum) = UPSTREAM.read(&cells);
        assert_eq!((counts[13], counts[..13].iter().sum(), sum), (1, 0, 60_001));
    }
}
