//! Parts of a route that need nothing but the resource: retries, answers in place, faults, CORS.

use serde_json::{Value, json};

use super::{
    super::json::{duration, extension, list, text},
    matching,
    translate::fraction,
};
use crate::model::{
    Duration,
    virtual_service::{Cors, DirectResponse, Fault, Retries},
};

/// Retries by Istio's defaults: twice, never the host just tried (unless a hash chose it).
pub(super) fn retry_policy(retries: Option<&Retries>, hashed: bool) -> Value {
    const RETRY_ON: &str =
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
    if retries.is_some_and(|retries| retries.attempts <= 0) {
        return Value::Null;
    }
    let previous_hosts = || {
        json!([extension(
            "envoy.retry_host_predicates.previous_hosts",
            "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            json!({}),
        )])
    };
    let ignore_previous = retries
        .and_then(|retries| retries.retry_ignore_previous_hosts)
        .unwrap_or(!hashed);
    let mut policy = json!({
        "retryOn": RETRY_ON,
        "numRetries": 2,
        "hostSelectionRetryMaxAttempts": "5",
        "retryHostPredicate": ignore_previous.then(previous_hosts),
    });
    let Some(retries) = retries else {
        return policy;
    };
    policy["numRetries"] = json!(retries.attempts);
    if !retries.retry_on.is_empty() {
        let parts = retries
            .retry_on
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let (codes, mut words): (Vec<&str>, Vec<&str>) = parts.partition(|part| is_status(part));
        if !codes.is_empty() && !words.contains(&"retriable-status-codes") {
            words.push("retriable-status-codes");
        }
        policy["retryOn"] = json!(words.join(","));
        policy["retriableStatusCodes"] = list(
            codes
                .iter()
                .filter_map(|code| code.parse::<u32>().ok())
                .map(Value::from)
                .collect(),
        );
    }
    policy["perTryTimeout"] = duration(retries.per_try_timeout);
    if retries.retry_remote_localities == Some(true) {
        policy["retryPriority"] = extension(
            "envoy.retry_priorities.previous_priorities",
            "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            json!({"updateFrequency": 2}),
        );
    }
    if let Some(backoff) = retries.backoff {
        policy["retryBackOff"] = json!({"baseInterval": backoff.to_string()});
    }
    policy
}

/// A number that HTTP knows as a status.
fn is_status(text: &str) -> bool {
    text.parse::<u16>()
        .ok()
        .and_then(|code| http::StatusCode::from_u16(code).ok())
        .is_some_and(|code| code.canonical_reason().is_some())
}

pub(super) fn direct_response(response: &DirectResponse) -> Value {
    let body = response.body.as_ref().map(|body| {
        json!({
            "inlineString": body.string,
            "inlineBytes": body.bytes.as_ref().filter(|_| body.string.is_none()),
        })
    });
    json!({"status": response.status, "body": body})
}

pub(super) fn fault(fault: &Fault) -> Option<Value> {
    let delay = fault.delay.as_ref().and_then(|delay| {
        let share = delay
            .percentage
            .map_or_else(|| json!({"numerator": delay.percent}), fraction);
        let fixed: Duration = delay.fixed_delay?;
        Some(json!({"percentage": share, "fixedDelay": fixed.to_string()}))
    });
    let abort = fault.abort.as_ref().and_then(|abort| {
        let share = abort.percentage.map(fraction);
        let grpc = abort.grpc_status.as_deref().map(grpc_code);
        (abort.http_status.is_some() || grpc.is_some()).then(
            || json!({"percentage": share, "httpStatus": abort.http_status, "grpcStatus": grpc}),
        )
    });
    (delay.is_some() || abort.is_some()).then(|| json!({"delay": delay, "abort": abort}))
}

/// gRPC's status names; what is unknown counts as UNKNOWN.
fn grpc_code(name: &str) -> u32 {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES
        .iter()
        .zip(0..)
        .find(|(known, _)| **known == name)
        .map_or(2, |(_, code)| code)
}

pub(super) fn cors(policy: &Cors) -> Value {
    json!({
        "allowOriginStringMatch": list(policy.allow_origins.iter().filter_map(matching::string_match).collect()),
        "allowMethods": text(&policy.allow_methods.join(",")),
        "allowHeaders": text(&policy.allow_headers.join(",")),
        "exposeHeaders": text(&policy.expose_headers.join(",")),
        "maxAge": policy.max_age.map(|age| age.0.as_secs().to_string()),
        "allowCredentials": policy.allow_credentials,
        "filterEnabled": {"defaultValue": {"numerator": 100}},
        "forwardNotMatchingPreflights": policy.unmatched_preflights != "IGNORE",
    })
}
