//! From the workers to a collector of spans.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use carbyne_engine::observe::metrics::Counter;
use carbyne_protos::envoy::config::bootstrap::v3::LayeredRuntime;
use carbyne_protos::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use carbyne_protos::prost_types::{Struct, value::Kind};
use http::StatusCode;
use tokio::sync::Notify;

use super::record::Record;
use super::{otlp, zipkin};
use crate::observe::export::{Batcher, Outcome, Queue, Source};
use crate::plan::service::Service;
use crate::plan::tracing::{Propagation, Provider, Told};

/// All collectors of spans: one exporter for each provider, however many connection managers name it.
#[derive(Debug)]
pub struct Exporters {
    batcher: Arc<Batcher>,
    known: Mutex<BTreeMap<Box<[u8]>, Weak<Exporter>>>,
    open_telemetry: Arc<Statistics>,
    zipkin: Arc<Statistics>,
    settings: Settings,
    /// The node's cluster: the name of the service in Zipkin's eyes.
    service: Box<str>,
    address: Option<IpAddr>,
}

/// One collector of spans.
#[derive(Debug)]
pub struct Exporter {
    queue: Queue<Record>,
    service: Service,
    emitter: Emitter,
    interval: Duration,
    statistics: Arc<Statistics>,
}

#[derive(Debug)]
enum Emitter {
    OpenTelemetry(otlp::Emitter),
    Zipkin(zipkin::Emitter),
}

/// What exporters of one kind count, by Envoy's names.
#[derive(Debug, Default)]
struct Statistics {
    spans_sent: Counter,
    spans_dropped: Counter,
    timer_flushed: Counter,
    reports_sent: Counter,
    reports_dropped: Counter,
    reports_failed: Counter,
    reports_skipped_no_cluster: Counter,
}

/// When messages are sent: Envoy's runtime keys, as far as the bootstrap sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    open_telemetry: Pace,
    zipkin: Pace,
}

/// When messages of one kind are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// `flush_interval_ms`
    interval: Duration,
    /// `min_flush_spans`, of one worker.
    enough: usize,
    /// `request_timeout`, Zipkin only.
    timeout: Option<Duration>,
}

impl Settings {
    /// Of the layers of the bootstrap that stand in it; later ones win.
    pub fn of(runtime: Option<&LayeredRuntime>) -> Self {
        let mut values = BTreeMap::new();
        for layer in runtime.iter().flat_map(|runtime| &runtime.layers) {
            if let Some(LayerSpecifier::StaticLayer(layer)) = &layer.layer_specifier {
                gather("", layer, &mut values);
            }
        }
        let milliseconds = |key: &str| values.get(key).copied().map(Duration::from_millis);
        let pace = |kind: &str| Pace {
            interval: milliseconds(&format!("tracing.{kind}.flush_interval_ms"))
                .filter(|interval| !interval.is_zero())
                .unwrap_or(INTERVAL),
            enough: values
                .get(&format!("tracing.{kind}.min_flush_spans"))
                .and_then(|count| usize::try_from(*count).ok())
                .unwrap_or(ENOUGH),
            timeout: milliseconds(&format!("tracing.{kind}.request_timeout")),
        };
        Self {
            open_telemetry: pace("opentelemetry"),
            zipkin: pace("zipkin"),
        }
    }
}

/// Keys may be written whole or in levels.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturating, which is as good a reading of such values as any"
)]
fn gather(prefix: &str, layer: &Struct, values: &mut BTreeMap<String, u64>) {
    for (key, value) in &layer.fields {
        let key = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match &value.kind {
            Some(Kind::NumberValue(number)) => drop(values.insert(key, *number as u64)),
            Some(Kind::StructValue(below)) => gather(&key, below, values),
            _ => {}
        }
    }
}

impl Exporters {
    /// Those of the node in cluster `service`.
    pub fn new(batcher: Arc<Batcher>, settings: Settings, service: &str) -> Self {
        Self {
            batcher,
            known: Mutex::default(),
            open_telemetry: Arc::default(),
            zipkin: Arc::default(),
            settings,
            service: service.into(),
            address: zipkin::own_address(),
        }
    }

    /// The exporter of a provider; `None` where nobody is told.
    pub fn of(&self, provider: &Provider) -> Option<Arc<Exporter>> {
        let mut service = provider.service.clone()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exporter) = known.get(&provider.key).and_then(Weak::upgrade) {
            return Some(exporter);
        }
        known.retain(|_, exporter| exporter.strong_count() > 0);
        let (emitter, pace, limit, statistics) = match &provider.told {
            Told::OpenTelemetry {
                resource,
                scope,
                limit,
            } => (
                Emitter::OpenTelemetry(otlp::Emitter::new(resource, *scope)),
                self.settings.open_telemetry,
                *limit,
                &self.open_telemetry,
            ),
            Told::Zipkin => {
                let shared =
                    matches!(&provider.propagation, Propagation::B3(rules) if rules.shared);
                let pace = self.settings.zipkin;
                if let Some(timeout) = pace.timeout {
                    service.timeout = timeout;
                }
                (
                    Emitter::Zipkin(zipkin::Emitter::new(&self.service, self.address, shared)),
                    pace,
                    LIMIT,
                    &self.zipkin,
                )
            }
        };
        let exporter = Arc::new(Exporter {
            queue: Queue::new(limit, pace.enough),
            service,
            emitter,
            interval: pace.interval,
            statistics: Arc::clone(statistics),
        });
        known.insert(provider.key.clone(), Arc::downgrade(&exporter));
        self.batcher.add(exporter.clone());
        Some(exporter)
    }

    /// Shows every counter by its name.
    pub fn visit(&self, show: &mut dyn FnMut(&str, u64)) {
        let (open, zipkin) = (&self.open_telemetry, &self.zipkin);
        let counters = [
            ("opentelemetry.spans_sent", &open.spans_sent),
            ("opentelemetry.spans_dropped", &open.spans_dropped),
            ("opentelemetry.timer_flushed", &open.timer_flushed),
            ("zipkin.spans_sent", &zipkin.spans_sent),
            ("zipkin.spans_dropped", &zipkin.spans_dropped),
            ("zipkin.timer_flushed", &zipkin.timer_flushed),
            ("zipkin.reports_sent", &zipkin.reports_sent),
            ("zipkin.reports_dropped", &zipkin.reports_dropped),
            ("zipkin.reports_failed", &zipkin.reports_failed),
            (
                "zipkin.reports_skipped_no_cluster",
                &zipkin.reports_skipped_no_cluster,
            ),
        ];
        for (name, counter) in counters {
            show(&format!("tracing.{name}"), counter.value());
        }
    }
}

impl Exporter {
    /// Takes a span that ended on a worker.
    pub fn push(&self, record: Record) {
        if !self.queue.push(record) {
            self.statistics.spans_dropped.increment();
        }
    }
}

impl Source for Exporter {
    fn service(&self) -> &Service {
        &self.service
    }

    fn words(&self) -> (&'static str, &'static str) {
        match self.emitter {
            Emitter::OpenTelemetry(_) => (otlp::METHOD, otlp::CONTENT),
            Emitter::Zipkin(_) => ("", zipkin::CONTENT),
        }
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn wake(&self) -> &Notify {
        self.queue.wake()
    }

    fn timed(&self) {
        self.statistics.timer_flushed.increment();
    }

    fn next(&self) -> Option<Vec<u8>> {
        let records = self.queue.take(LARGEST);
        if records.is_empty() {
            return None;
        }
        self.statistics.spans_sent.add(records.len() as u64);
        Some(match &self.emitter {
            Emitter::OpenTelemetry(emitter) => emitter.encode(&records),
            Emitter::Zipkin(emitter) => emitter.encode(&records),
        })
    }

    fn ended(&self, outcome: &Outcome) {
        let statistics = &self.statistics;
        match outcome {
            Outcome::NoCluster => &statistics.reports_skipped_no_cluster,
            Outcome::Failed(_) => &statistics.reports_failed,
            // The only answer by which a Zipkin collector says that it took them.
            Outcome::Answered(StatusCode::ACCEPTED) => &statistics.reports_sent,
            Outcome::Answered(_) => &statistics.reports_dropped,
        }
        .increment();
    }
}

/// Longest time that a span waits (Envoy: `flush_interval_ms`).
const INTERVAL: Duration = Duration::from_secs(5);
/// Spans of a worker that are sent at once (Envoy: `min_flush_spans`).
const ENOUGH: usize = 5;
/// Spans of a worker that wait at most.
const LIMIT: usize = 1024;
/// Spans of one message.
const LARGEST: usize = 512;
