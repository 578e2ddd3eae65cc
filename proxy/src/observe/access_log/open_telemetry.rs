//! Access logs as OTLP log records, told to a collector.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use carbyne_engine::observe::metrics::Counter;
use carbyne_protos::envoy::config::core::v3::Node;
use carbyne_protos::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use carbyne_protos::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use carbyne_protos::opentelemetry::proto::common::v1::any_value::Value as Wire;
use carbyne_protos::opentelemetry::proto::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList,
};
use carbyne_protos::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use carbyne_protos::opentelemetry::proto::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::Notify;

use crate::observe::export::{Batcher, Outcome, Queue, Source};
use crate::observe::facts::Facts;
use crate::observe::format::Format;
use crate::observe::trace::tag::Tag;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::service::Service;
use crate::plan::tracing::detected;
use crate::plan::value;

/// All collectors of logs: one for each configuration, however many listeners have it.
#[derive(Debug, Default)]
pub struct Collectors {
    batcher: Arc<Batcher>,
    node: Node,
    known: Mutex<BTreeMap<Box<[u8]>, Weak<Collector>>>,
    statistics: Mutex<BTreeMap<Box<str>, Arc<Statistics>>>,
}

/// A logger that tells a collector.
#[derive(Debug)]
pub(super) struct CollectorLog {
    body: Option<Value>,
    attributes: Box<[(Box<str>, Value)]>,
    tags: Arc<[Tag]>,
    collector: Arc<Collector>,
}

#[derive(Debug)]
struct Collector {
    queue: Queue<LogRecord>,
    service: Service,
    resource: Resource,
    interval: Duration,
    statistics: Arc<Statistics>,
    /// Records of the message that is under way.
    told: AtomicU64,
}

#[derive(Debug, Default)]
struct Statistics {
    written: Counter,
    dropped: Counter,
}

/// What a record holds; texts have operators.
#[derive(Debug)]
enum Value {
    Text(Format),
    List(Box<[Self]>),
    Pairs(Box<[(Box<str>, Self)]>),
}

impl Collectors {
    /// Those of this node.
    pub fn new(batcher: Arc<Batcher>, node: Node) -> Self {
        Self {
            batcher,
            node,
            ..Self::default()
        }
    }

    /// Plans a logger.
    pub(super) fn plan(
        &self,
        config: &OpenTelemetryAccessLogConfig,
        key: Box<[u8]>,
        scope: &Scope<'_>,
    ) -> Option<CollectorLog> {
        let common = config.common_config.as_ref();
        let place = scope.field("common_config");
        let service = match (&config.http_service, &config.grpc_service) {
            (Some(service), _) => Service::http(service, &scope.field("http_service")),
            (None, Some(service)) => Service::grpc(service, &scope.field("grpc_service")),
            (None, None) => match common.and_then(|common| common.grpc_service.as_ref()) {
                Some(service) => Service::grpc(service, &place.field("grpc_service")),
                None => {
                    scope.field("grpc_service").missing();
                    None
                }
            },
        }?;
        let body = match &config.body {
            Some(body) => Some(Value::plan(body, &scope.field("body"))?),
            None => None,
        };
        let attributes = pairs(config.attributes.as_ref(), &scope.field("attributes"));
        let interval = config
            .buffer_flush_interval
            .or_else(|| common.and_then(|common| common.buffer_flush_interval));
        let interval =
            value::positive_duration(interval.as_ref(), &scope.field("buffer_flush_interval"));
        let tags = Tag::plan(&config.custom_tags, scope);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let collector = known.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let collector = Arc::new(Collector {
                queue: Queue::new(LIMIT, ENOUGH),
                service,
                resource: Resource {
                    attributes: self.resource(config, scope),
                    dropped_attributes_count: 0,
                },
                interval: interval.unwrap_or(INTERVAL),
                statistics: self.statistics(&config.stat_prefix),
                told: AtomicU64::new(0),
            });
            known.retain(|_, collector| collector.strong_count() > 0);
            known.insert(key, Arc::downgrade(&collector));
            self.batcher.add(collector.clone());
            collector
        });
        Some(CollectorLog {
            body,
            attributes,
            tags,
            collector,
        })
    }

    /// Shows every counter by its name.
    pub fn visit(&self, show: &mut dyn FnMut(&str, u64)) {
        let held = self
            .statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (prefix, statistics) in held.iter() {
            let name = format!("access_logs.open_telemetry_access_log.{prefix}");
            show(&format!("{name}logs_written"), statistics.written.value());
            show(&format!("{name}logs_dropped"), statistics.dropped.value());
        }
    }

    fn statistics(&self, prefix: &str) -> Arc<Statistics> {
        let mut held = self
            .statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}.")
        };
        held.entry(prefix.into()).or_default().clone()
    }

    /// Who tells.
    fn resource(&self, config: &OpenTelemetryAccessLogConfig, scope: &Scope<'_>) -> Vec<KeyValue> {
        let mut attributes = Vec::new();
        if !config.disable_builtin_labels {
            let common = config.common_config.as_ref();
            let name = common.map_or("", |common| &common.log_name);
            let name = if config.log_name.is_empty() {
                name
            } else {
                &config.log_name
            };
            let zone = self.node.locality.as_ref();
            attributes.extend([
                text("log_name", name),
                text("zone_name", zone.map_or("", |locality| &locality.zone)),
                text("cluster_name", &self.node.cluster),
                text("node_name", &self.node.id),
            ]);
        }
        let own = config
            .resource_attributes
            .iter()
            .flat_map(|own| &own.values);
        attributes.extend(own.cloned());
        let detected = detected(&config.resource_detectors, scope);
        attributes.extend(detected.iter().map(|(key, value)| text(key, value)));
        attributes
    }
}

impl CollectorLog {
    /// Tells what is over.
    pub(super) fn log(&self, facts: &Facts<'_>) {
        let collector = &self.collector;
        let start = facts.timing.map(|timing| timing.start_time);
        let span = facts.context.and_then(|context| context.span.as_deref());
        let span = span.map(|span| span.context());
        let mut attributes: Vec<_> = self
            .attributes
            .iter()
            .map(|(key, value)| pair(key, value.render(facts)))
            .collect();
        let tags = self.tags.iter();
        attributes.extend(tags.filter_map(|tag| Some(text(&tag.name, &tag.value(facts)?))));
        let record = LogRecord {
            time_unix_nano: start.map_or(0, nanoseconds),
            body: self.body.as_ref().map(|body| body.render(facts)),
            attributes,
            trace_id: span
                .map(|span| span.trace_id().to_vec())
                .unwrap_or_default(),
            span_id: span.map(|span| span.span_id().to_vec()).unwrap_or_default(),
            ..LogRecord::default()
        };
        if !collector.queue.push(record) {
            collector.statistics.dropped.increment();
        }
    }
}

impl Value {
    fn plan(value: &AnyValue, scope: &Scope<'_>) -> Option<Self> {
        Some(match &value.value {
            Some(Wire::StringValue(text)) => {
                let format = Format::parse(text, false);
                let format = format.map_err(|error| Fault::Malformed(error.to_string()));
                Self::Text(scope.field("string_value").take(format)?)
            }
            Some(Wire::ArrayValue(list)) => {
                let place = scope.field("array_value");
                let values = list.values.iter().enumerate();
                let values =
                    values.map(|(index, value)| Self::plan(value, &place.item("values", index)));
                Self::List(values.collect::<Option<_>>()?)
            }
            Some(Wire::KvlistValue(list)) => {
                Self::Pairs(pairs(Some(list), &scope.field("kvlist_value")))
            }
            // As Envoy.
            _ => {
                scope.reject(Fault::Words("write a text, a list or pairs"));
                return None;
            }
        })
    }

    fn render(&self, facts: &Facts<'_>) -> AnyValue {
        let value = match self {
            Self::Text(format) => {
                let mut out = Vec::new();
                format.render(facts, &mut out);
                Wire::StringValue(String::from_utf8_lossy(&out).into_owned())
            }
            Self::List(values) => Wire::ArrayValue(ArrayValue {
                values: values.iter().map(|value| value.render(facts)).collect(),
            }),
            Self::Pairs(values) => Wire::KvlistValue(KeyValueList {
                values: values
                    .iter()
                    .map(|(key, value)| pair(key, value.render(facts)))
                    .collect(),
            }),
        };
        AnyValue { value: Some(value) }
    }
}

impl Source for Collector {
    fn service(&self) -> &Service {
        &self.service
    }

    fn words(&self) -> (&'static str, &'static str) {
        (METHOD, CONTENT)
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn wake(&self) -> &Notify {
        self.queue.wake()
    }

    fn timed(&self) {}

    fn next(&self) -> Option<Vec<u8>> {
        let records = self.queue.take(LARGEST);
        if records.is_empty() {
            return None;
        }
        self.told.store(records.len() as u64, Ordering::Relaxed);
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource.clone()),
                scope_logs: vec![ScopeLogs {
                    log_records: records,
                    ..ScopeLogs::default()
                }],
                schema_url: String::new(),
            }],
        };
        Some(request.encode_to_vec())
    }

    fn ended(&self, outcome: &Outcome) {
        let told = self.told.swap(0, Ordering::Relaxed);
        match outcome {
            Outcome::Answered(status) if status.is_success() => &self.statistics.written,
            _ => &self.statistics.dropped,
        }
        .add(told);
    }
}

fn pairs(list: Option<&KeyValueList>, scope: &Scope<'_>) -> Box<[(Box<str>, Value)]> {
    let Some(list) = list else {
        return Box::default();
    };
    let pairs = list.values.iter().enumerate().filter_map(|(index, pair)| {
        let place = scope.item("values", index);
        let empty = AnyValue::default();
        let value = pair.value.as_ref().unwrap_or(&empty);
        Some((
            pair.key.as_str().into(),
            Value::plan(value, &place.field("value"))?,
        ))
    });
    pairs.collect()
}

fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(Wire::StringValue(value.to_owned()));
    pair(key, AnyValue { value })
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

const METHOD: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const CONTENT: &str = "application/x-protobuf";
/// Envoy's `buffer_flush_interval`.
const INTERVAL: Duration = Duration::from_secs(1);
/// Records of a worker that are sent at once.
const ENOUGH: usize = 64;
/// Records of a worker that wait at most.
const LIMIT: usize = 4096;
/// Records of one message.
const LARGEST: usize = 1024;
