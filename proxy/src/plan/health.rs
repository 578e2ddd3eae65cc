//! Active health checks and outlier detection.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::cluster::health::{HealthCheckSettings, HttpProbe, Probe};
use carbyne_engine::cluster::outlier::{FailurePercentage, OutlierSettings, Run, SuccessRate};
use carbyne_protos::envoy::config::cluster::v3::OutlierDetection;
use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::config::core::v3::health_check::payload::Payload;
use carbyne_protos::envoy::config::core::v3::health_check::{self, HealthChecker};
use carbyne_protos::envoy::r#type::v3::{CodecClientType, Int64Range};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::scope::Scope;
use super::value;

/// Plans a health check; nothing where its kind is not served.
pub fn plan(check: &core::HealthCheck, scope: &Scope<'_>) -> Option<HealthCheckSettings> {
    let needed = |value: Option<&carbyne_protos::prost_types::Duration>, name| {
        if value.is_none() {
            scope.field(name).missing();
        }
        value::positive_duration(value, &scope.field(name))
    };
    let optional = |value: Option<&carbyne_protos::prost_types::Duration>, name| {
        value::positive_duration(value, &scope.field(name))
    };
    let threshold = |value: Option<u32>, name| {
        if value.is_none() {
            scope.field(name).missing();
        }
        value.unwrap_or(1).max(1)
    };
    let timeout = needed(check.timeout.as_ref(), "timeout");
    let interval = needed(check.interval.as_ref(), "interval");
    let probe = match &check.health_checker {
        Some(HealthChecker::HttpHealthCheck(http)) => {
            http_probe(http, &scope.field("http_health_check")).map(Probe::Http)
        }
        Some(HealthChecker::TcpHealthCheck(tcp)) => {
            let scope = scope.field("tcp_health_check");
            let receive = tcp.receive.iter().enumerate();
            Some(Probe::Tcp {
                send: tcp
                    .send
                    .as_ref()
                    .and_then(|send| bytes(send, &scope.field("send")))
                    .unwrap_or_default(),
                receive: receive
                    .filter_map(|(index, part)| bytes(part, &scope.item("receive", index)))
                    .collect(),
            })
        }
        Some(HealthChecker::GrpcHealthCheck(grpc)) => Some(Probe::Grpc {
            service: Arc::from(grpc.service_name.as_str()),
            authority: Arc::from(grpc.authority.as_str()),
        }),
        Some(HealthChecker::CustomHealthCheck(_)) => {
            scope
                .field("custom_health_check")
                .note("custom health checks are not served");
            None
        }
        None => {
            scope.field("health_checker").missing();
            None
        }
    };
    Some(HealthCheckSettings {
        timeout: timeout?,
        interval: interval?,
        initial_jitter: value::duration(
            check.initial_jitter.as_ref(),
            &scope.field("initial_jitter"),
        )
        .unwrap_or_default(),
        interval_jitter: value::duration(
            check.interval_jitter.as_ref(),
            &scope.field("interval_jitter"),
        )
        .unwrap_or_default(),
        interval_jitter_percent: check.interval_jitter_percent,
        unhealthy_threshold: threshold(check.unhealthy_threshold, "unhealthy_threshold"),
        healthy_threshold: threshold(check.healthy_threshold, "healthy_threshold"),
        no_traffic_interval: optional(check.no_traffic_interval.as_ref(), "no_traffic_interval")
            .unwrap_or(MINUTE),
        no_traffic_healthy_interval: optional(
            check.no_traffic_healthy_interval.as_ref(),
            "no_traffic_healthy_interval",
        ),
        unhealthy_interval: optional(check.unhealthy_interval.as_ref(), "unhealthy_interval"),
        unhealthy_edge_interval: optional(
            check.unhealthy_edge_interval.as_ref(),
            "unhealthy_edge_interval",
        ),
        healthy_edge_interval: optional(
            check.healthy_edge_interval.as_ref(),
            "healthy_edge_interval",
        ),
        reuse_connection: check.reuse_connection.unwrap_or(true),
        transport: None,
        port: match check.alt_port {
            Some(port) => Some(value::port(port, &scope.field("alt_port"))?),
            None => None,
        },
        probe: probe?,
    })
}

fn http_probe(check: &health_check::HttpHealthCheck, scope: &Scope<'_>) -> Option<HttpProbe> {
    if check.path.is_empty() {
        scope.field("path").missing();
    }
    let method = match core::RequestMethod::try_from(check.method) {
        Ok(core::RequestMethod::MethodUnspecified) => Method::GET,
        Ok(core::RequestMethod::Connect) | Err(_) => {
            scope
                .field("method")
                .out_of_range(check.method, "a method other than CONNECT");
            return None;
        }
        Ok(method) => Method::from_bytes(method.as_str_name().as_bytes()).ok()?,
    };
    let mut headers = HeaderMap::new();
    for (index, option) in check.request_headers_to_add.iter().enumerate() {
        let scope = scope.item("request_headers_to_add", index);
        let Some(header) = &option.header else {
            scope.field("header").missing();
            continue;
        };
        match (
            HeaderName::from_bytes(header.key.as_bytes()),
            HeaderValue::from_str(&header.value),
        ) {
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            _ => scope
                .field("header")
                .out_of_range(format_args!("`{}`", header.key), "a field with a value"),
        }
    }
    let ranges = |ranges: &[Int64Range], name| -> Vec<Range<u16>> {
        let range = |(index, range): (usize, &Int64Range)| {
            let bounds = u16::try_from(range.start)
                .ok()
                .zip(u16::try_from(range.end).ok());
            let bounds = bounds.filter(|(start, end)| *start >= 100 && start < end && *end <= 600);
            if bounds.is_none() {
                scope.item(name, index).out_of_range(
                    format_args!("{}..{}", range.start, range.end),
                    "a range within 100..600",
                );
            }
            bounds.map(|(start, end)| start..end)
        };
        ranges.iter().enumerate().filter_map(range).collect()
    };
    let expected = ranges(&check.expected_statuses, "expected_statuses");
    Some(HttpProbe {
        method,
        host: Arc::from(check.host.as_str()),
        path: Arc::from(check.path.as_str()),
        headers,
        expected: if expected.is_empty() {
            std::iter::once(200..201).collect()
        } else {
            expected
        },
        retriable: ranges(&check.retriable_statuses, "retriable_statuses"),
        http2: check.codec_client_type == CodecClientType::Http2 as i32,
    })
}

/// Bytes of a payload; text is hexadecimal.
fn bytes(payload: &health_check::Payload, scope: &Scope<'_>) -> Option<Vec<u8>> {
    match payload.payload.as_ref()? {
        Payload::Binary(bytes) => Some(bytes.clone()),
        Payload::Text(text) => {
            let digits: Option<Vec<u8>> = text
                .chars()
                .map(|digit| {
                    digit
                        .to_digit(16)
                        .and_then(|digit| u8::try_from(digit).ok())
                })
                .collect();
            let digits = digits.filter(|digits| !digits.is_empty() && digits.len() % 2 == 0);
            if digits.is_none() {
                scope
                    .field("text")
                    .out_of_range(format_args!("`{text}`"), "bytes in hexadecimal");
            }
            digits.map(|digits| {
                digits
                    .chunks_exact(2)
                    .map(|pair| pair[0] << 4 | pair[1])
                    .collect()
            })
        }
    }
}

/// Plans outlier detection.
pub fn outlier(message: &OutlierDetection, scope: &Scope<'_>) -> OutlierSettings {
    let time = |value: Option<&carbyne_protos::prost_types::Duration>, name, default| {
        value::positive_duration(value, &scope.field(name)).unwrap_or(default)
    };
    let percent = |value: Option<u32>, name, default| {
        value::within(
            value,
            0..=100,
            "a percentage from 0 to 100",
            default,
            &scope.field(name),
        )
    };
    let base_ejection_time = time(
        message.base_ejection_time.as_ref(),
        "base_ejection_time",
        HALF_MINUTE,
    );
    if !message.monitors.is_empty() {
        scope.field("monitors").note("monitors are not served");
    }
    OutlierSettings {
        interval: time(message.interval.as_ref(), "interval", TEN_SECONDS),
        base_ejection_time,
        max_ejection_time: time(
            message.max_ejection_time.as_ref(),
            "max_ejection_time",
            FIVE_MINUTES.max(base_ejection_time),
        ),
        max_ejection_time_jitter: value::duration(
            message.max_ejection_time_jitter.as_ref(),
            &scope.field("max_ejection_time_jitter"),
        )
        .unwrap_or_default(),
        max_ejection_percent: percent(message.max_ejection_percent, "max_ejection_percent", 10),
        always_eject_one: message.always_eject_one_host.unwrap_or(false),
        split_local_origin: message.split_external_local_origin_errors,
        successful_check_unejects: message
            .successful_active_health_check_uneject_host
            .unwrap_or(true),
        consecutive_5xx: Run {
            length: message.consecutive_5xx.unwrap_or(5),
            enforcing: percent(
                message.enforcing_consecutive_5xx,
                "enforcing_consecutive_5xx",
                100,
            ),
        },
        consecutive_gateway_failure: Run {
            length: message.consecutive_gateway_failure.unwrap_or(5),
            enforcing: percent(
                message.enforcing_consecutive_gateway_failure,
                "enforcing_consecutive_gateway_failure",
                0,
            ),
        },
        consecutive_local_origin_failure: Run {
            length: message.consecutive_local_origin_failure.unwrap_or(5),
            enforcing: percent(
                message.enforcing_consecutive_local_origin_failure,
                "enforcing_consecutive_local_origin_failure",
                100,
            ),
        },
        success_rate: SuccessRate {
            minimum_hosts: message.success_rate_minimum_hosts.unwrap_or(5) as usize,
            request_volume: u64::from(message.success_rate_request_volume.unwrap_or(100)),
            stdev_factor: message.success_rate_stdev_factor.unwrap_or(1900),
            enforcing: percent(
                message.enforcing_success_rate,
                "enforcing_success_rate",
                100,
            ),
            enforcing_local_origin: percent(
                message.enforcing_local_origin_success_rate,
                "enforcing_local_origin_success_rate",
                100,
            ),
        },
        failure_percentage: FailurePercentage {
            minimum_hosts: message.failure_percentage_minimum_hosts.unwrap_or(5) as usize,
            request_volume: u64::from(message.failure_percentage_request_volume.unwrap_or(50)),
            threshold: percent(
                message.failure_percentage_threshold,
                "failure_percentage_threshold",
                85,
            ),
            enforcing: percent(
                message.enforcing_failure_percentage,
                "enforcing_failure_percentage",
                0,
            ),
            enforcing_local_origin: percent(
                message.enforcing_failure_percentage_local_origin,
                "enforcing_failure_percentage_local_origin",
                0,
            ),
        },
    }
}

const TEN_SECONDS: Duration = Duration::from_secs(10);
const HALF_MINUTE: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
