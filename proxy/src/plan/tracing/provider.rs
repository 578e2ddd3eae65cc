//! Whom spans are told, and in which words: OpenTelemetry and Zipkin.

use std::collections::BTreeMap;

use carbyne_protos::any::{Unwrapped, decode_config};
use carbyne_protos::envoy::config::core::v3::TypedExtensionConfig;
use carbyne_protos::envoy::config::trace::v3::tracing::Http;
use carbyne_protos::envoy::config::trace::v3::tracing::http::ConfigType;
use carbyne_protos::envoy::config::trace::v3::zipkin_config::{
    CollectorEndpointVersion, TraceContextOption,
};
use carbyne_protos::envoy::config::trace::v3::{OpenTelemetryConfig, ZipkinConfig};
use carbyne_protos::envoy::extensions::tracers::opentelemetry::resource_detectors::v3::{
    EnvironmentResourceDetectorConfig, StaticConfigResourceDetectorConfig,
};
use carbyne_protos::envoy::extensions::tracers::opentelemetry::samplers::v3::{
    AlwaysOnSamplerConfig, ParentBasedSamplerConfig, TraceIdRatioBasedSamplerConfig,
};
use carbyne_protos::envoy::r#type::v3::fractional_percent::DenominatorType;
use carbyne_protos::prost_types::Any;

use crate::observe::trace::context::B3Rules;
use crate::observe::trace::sampler::{Ratio, Sampler};
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::service::Service;

/// Whom spans are told.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The message as it came: connection managers with one provider share its exporter.
    pub key: Box<[u8]>,
    /// How contexts are read and told on.
    pub propagation: Propagation,
    /// In which words.
    pub told: Told,
    /// Where to; spans are made and dropped without.
    pub service: Option<Service>,
}

/// How contexts are read and told on.
#[derive(Clone, Debug, PartialEq)]
pub enum Propagation {
    /// `traceparent`, and who draws beside the connection manager.
    W3c(Option<Sampler>),
    /// B3.
    B3(B3Rules),
}

/// In which words spans are told.
#[derive(Clone, Debug)]
pub enum Told {
    /// OTLP.
    OpenTelemetry {
        /// Who tells: `service.name` and what else is known of it.
        resource: BTreeMap<String, String>,
        /// The program names itself as the instrumentation's scope.
        scope: bool,
        /// Spans that a worker keeps.
        limit: usize,
    },
    /// Zipkin's JSON of version 2.
    Zipkin,
}

/// Plans a provider; `None` where it is not served.
pub fn provider(message: &Http, scope: &Scope<'_>) -> Option<Provider> {
    let place = scope.field("typed_config");
    let Some(ConfigType::TypedConfig(config)) = &message.config_type else {
        place.missing();
        return None;
    };
    let malformed = |error: carbyne_protos::any::AnyError| Fault::Malformed(error.to_string());
    let unwrapped = place.take(Unwrapped::of(config).map_err(malformed))?;
    let key = || [config.type_url.as_bytes(), &config.value].concat().into();
    if unwrapped.is::<OpenTelemetryConfig>() {
        let config = place.take(unwrapped.decode().map_err(malformed))?;
        open_telemetry(&config, key(), &place)
    } else if unwrapped.is::<ZipkinConfig>() {
        let config = place.take(unwrapped.decode().map_err(malformed))?;
        zipkin(&config, key(), &place)
    } else {
        place.note(format!(
            "tracer {} is not served: nobody is told of spans",
            unwrapped.type_name
        ));
        None
    }
}

fn open_telemetry(
    config: &OpenTelemetryConfig,
    key: Box<[u8]>,
    scope: &Scope<'_>,
) -> Option<Provider> {
    let service = match (&config.grpc_service, &config.http_service) {
        (Some(_), Some(_)) => {
            scope.reject(Fault::Words(
                "write `grpc_service` or `http_service`, not both",
            ));
            None
        }
        (Some(service), None) => Service::grpc(service, &scope.field("grpc_service")),
        (None, Some(service)) => Service::http(service, &scope.field("http_service")),
        (None, None) => {
            if config.exporter.is_some() {
                scope
                    .field("exporter")
                    .note("exporters of their own are not served");
            }
            None
        }
    };
    let sampler = config
        .sampler
        .as_ref()
        .and_then(|sampler| self::sampler(sampler, &scope.field("sampler")));
    Some(Provider {
        key,
        propagation: Propagation::W3c(sampler),
        told: Told::OpenTelemetry {
            resource: resource(config, scope),
            scope: config.set_instrumentation_scope.unwrap_or(true),
            limit: config.max_cache_size.unwrap_or(LIMIT) as usize,
        },
        service,
    })
}

/// Who tells, as Envoy puts it together: detectors win over what is configured, later ones over earlier ones.
fn resource(config: &OpenTelemetryConfig, scope: &Scope<'_>) -> BTreeMap<String, String> {
    let mut resource = BTreeMap::new();
    let mut set = |key: &str, value: &str| resource.insert(key.to_owned(), value.to_owned());
    if config.set_telemetry_sdk_resource_attributes.unwrap_or(true) {
        set("telemetry.sdk.language", "rust");
        set("telemetry.sdk.name", "carbyne");
        set("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    }
    if config.set_service_name_resource_attribute.unwrap_or(true) {
        let name = config.service_name.as_str();
        // The name that the specification wants of a program without one.
        let name = if name.is_empty() {
            "unknown_service:carbyne-proxy"
        } else {
            name
        };
        set("service.name", name);
    }
    resource.extend(detected(&config.resource_detectors, scope));
    resource
}

/// What the detectors of the list that is the field `resource_detectors` of what `scope` stands for know of this process.
pub fn detected(detectors: &[TypedExtensionConfig], scope: &Scope<'_>) -> BTreeMap<String, String> {
    let mut resource = BTreeMap::new();
    for (index, detector) in detectors.iter().enumerate() {
        let scope = scope.item("resource_detectors", index);
        let Some(config) = typed(detector, &scope) else {
            continue;
        };
        if config.0 == name_of::<EnvironmentResourceDetectorConfig>() {
            let variable = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
            let pairs = variable.split(',').filter_map(|pair| pair.split_once('='));
            resource.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        } else if config.0 == name_of::<StaticConfigResourceDetectorConfig>() {
            let decoded = decode_config::<StaticConfigResourceDetectorConfig>(config.1);
            let decoded = decoded.map_err(|error| Fault::Malformed(error.to_string()));
            if let Some(config) = scope.field("typed_config").take(decoded) {
                resource.extend(config.attributes);
            }
        } else {
            scope.note(format!("resource detector {} is not served", config.0));
        }
    }
    resource
}

fn sampler(message: &TypedExtensionConfig, scope: &Scope<'_>) -> Option<Sampler> {
    let (name, config) = typed(message, scope)?;
    let place = scope.field("typed_config");
    let malformed = |error: carbyne_protos::any::AnyError| Fault::Malformed(error.to_string());
    if name == name_of::<AlwaysOnSamplerConfig>() {
        return Some(Sampler::Always);
    }
    if name == name_of::<ParentBasedSamplerConfig>() {
        let config = decode_config::<ParentBasedSamplerConfig>(config).map_err(malformed);
        let config = place.take(config)?;
        let inside = place.field("wrapped_sampler");
        let Some(wrapped) = &config.wrapped_sampler else {
            inside.missing();
            return None;
        };
        return sampler(wrapped, &inside).map(|root| Sampler::ParentBased(Box::new(root)));
    }
    if name == name_of::<TraceIdRatioBasedSamplerConfig>() {
        let config = decode_config::<TraceIdRatioBasedSamplerConfig>(config).map_err(malformed);
        let share = place.take(config)?.sampling_percentage.unwrap_or_default();
        let place = place.field("sampling_percentage");
        let whole = match DenominatorType::try_from(share.denominator) {
            Ok(DenominatorType::Hundred) => 100.0,
            Ok(DenominatorType::TenThousand) => 10_000.0,
            Ok(DenominatorType::Million) => 1_000_000.0,
            Err(_) => {
                place.out_of_range(
                    share.denominator,
                    "one of the denominators 100, 10000, 1000000",
                );
                return None;
            }
        };
        return Some(Sampler::Ratio(Ratio::new(
            f64::from(share.numerator) / whole,
        )));
    }
    scope.note(format!(
        "sampler {name} is not served: the shares of the connection manager decide alone"
    ));
    None
}

/// The type and the message of an extension.
fn typed<'a>(message: &'a TypedExtensionConfig, scope: &Scope<'_>) -> Option<(String, &'a Any)> {
    let place = scope.field("typed_config");
    let Some(config) = &message.typed_config else {
        place.missing();
        return None;
    };
    let unwrapped = Unwrapped::of(config);
    let unwrapped = place.take(unwrapped.map_err(|error| Fault::Malformed(error.to_string())))?;
    Some((unwrapped.type_name, config))
}

fn name_of<M: prost::Name>() -> String {
    M::full_name()
}

fn zipkin(config: &ZipkinConfig, key: Box<[u8]>, scope: &Scope<'_>) -> Option<Provider> {
    let service = match &config.collector_service {
        Some(service) => Service::http(service, &scope.field("collector_service"))?,
        None => {
            for (field, text) in [
                ("collector_cluster", &config.collector_cluster),
                ("collector_endpoint", &config.collector_endpoint),
            ] {
                if text.is_empty() {
                    scope.field(field).missing();
                }
            }
            let host = if config.collector_hostname.is_empty() {
                &config.collector_cluster
            } else {
                &config.collector_hostname
            };
            Service::collector(&config.collector_cluster, host, &config.collector_endpoint)
        }
    };
    let place = scope.field("collector_endpoint_version");
    let service = match CollectorEndpointVersion::try_from(config.collector_endpoint_version) {
        Ok(CollectorEndpointVersion::HttpJson) => Some(service),
        Ok(CollectorEndpointVersion::HttpProto | CollectorEndpointVersion::Grpc) => {
            place.note("only HTTP_JSON is served: nobody is told of spans");
            None
        }
        Ok(CollectorEndpointVersion::DeprecatedAndUnavailableDoNotUse) | Err(_) => {
            place.out_of_range(config.collector_endpoint_version, "HTTP_JSON (1)");
            None
        }
    };
    let w3c = config.trace_context_option == TraceContextOption::UseB3WithW3cPropagation as i32;
    Some(Provider {
        key,
        propagation: Propagation::B3(B3Rules {
            wide: config.trace_id_128bit,
            shared: config.shared_span_context.unwrap_or(true),
            w3c,
        }),
        told: Told::Zipkin,
        service,
    })
}

/// Envoy's `max_cache_size`.
const LIMIT: u32 = 1024;
