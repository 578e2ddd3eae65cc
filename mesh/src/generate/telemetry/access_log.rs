//! Access logs of a class of listeners.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    super::{json::any, proxy::Proxy},
    Class, applicable, provider,
};
use crate::model::{
    mesh_config::LogEncoding,
    provider::{FileAccessLog, LogFormat},
    telemetry::{AccessLogging, LogFilter},
};

/// Logs of requests and connections.
pub(in crate::generate) fn access_log(proxy: &Proxy, class: Class) -> Value {
    build(proxy, class, None)
}

/// Logs of connections that no chain took.
pub(in crate::generate) fn listener_log(proxy: &Proxy, class: Class) -> Value {
    if proxy.snapshot.mesh.disable_envoy_listener_log {
        return Value::Null;
    }
    build(
        proxy,
        class,
        Some(json!({"responseFlagFilter": {"flags": ["NR"]}})),
    )
}

/// What is logged to one provider.
struct Spec {
    disabled: bool,
    filter: Option<LogFilter>,
}

fn build(proxy: &Proxy, class: Class, own: Option<Value>) -> Value {
    let mesh = &proxy.snapshot.mesh;
    let clauses: Vec<Vec<&AccessLogging>> = applicable(proxy)
        .map(|telemetry| telemetry.access_logging.iter().collect::<Vec<_>>())
        .filter(|clauses| !clauses.is_empty())
        .collect();
    let mut logs = Vec::new();
    if clauses.is_empty() && mesh.default_providers.access_logging.is_empty() {
        if !mesh.access_log_file.is_empty() {
            logs.push(log(&from_mesh(proxy), own.into_iter().collect()));
        }
        return super::super::json::list(logs);
    }
    for (name, spec) in merge(&clauses, &mesh.default_providers.access_logging, class) {
        let Some(found) = provider(proxy, &name) else {
            continue;
        };
        let Some(file) = found.file_access_log() else {
            continue;
        };
        if spec.disabled {
            continue;
        }
        let filters = own
            .iter()
            .cloned()
            .chain(spec.filter.map(|filter| cel(&filter)))
            .collect();
        logs.push(log(&file, filters));
    }
    super::super::json::list(logs)
}

/// Providers by name, the way istiod merges the clauses of mesh, namespace and workload.
fn merge(
    levels: &[Vec<&AccessLogging>],
    defaults: &[String],
    class: Class,
) -> BTreeMap<String, Spec> {
    let empty = || Spec {
        disabled: false,
        filter: None,
    };
    if levels.is_empty() {
        return defaults
            .iter()
            .map(|name| (name.clone(), empty()))
            .collect();
    }
    let concerns = |clause: &AccessLogging| {
        clause
            .matching
            .is_none_or(|matching| class.concerns(matching.mode))
    };
    let mut in_scope: BTreeSet<String> = defaults.iter().cloned().collect();
    let mut filters: BTreeMap<&str, Option<LogFilter>> = BTreeMap::new();
    for level in levels {
        let mut names = BTreeSet::new();
        for clause in level.iter().filter(|clause| concerns(clause)) {
            for provider in &clause.providers {
                names.insert(provider.name.clone());
                filters.insert(&provider.name, clause.filter.clone());
            }
        }
        if !names.is_empty() {
            in_scope = names;
        }
    }
    let mut out = BTreeMap::new();
    let mut inherited: Vec<String> = defaults.to_vec();
    for clause in levels.iter().flatten() {
        if !clause.providers.is_empty() {
            inherited = clause
                .providers
                .iter()
                .map(|provider| provider.name.clone())
                .collect();
        }
        for name in &inherited {
            if !in_scope.contains(name) || !concerns(clause) {
                continue;
            }
            let spec = if clause.disabled == Some(true) {
                Spec {
                    disabled: true,
                    filter: None,
                }
            } else {
                Spec {
                    disabled: false,
                    filter: filters.get(name.as_str()).cloned().flatten(),
                }
            };
            out.insert(name.clone(), spec);
        }
    }
    out
}

fn cel(filter: &LogFilter) -> Value {
    json!({"extensionFilter": {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typedConfig": any(
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            json!({"expression": filter.expression}),
        ),
    }})
}

fn log(file: &FileAccessLog, mut filters: Vec<Value>) -> Value {
    let filter = match filters.len() {
        0 => None,
        1 => filters.pop(),
        _ => Some(json!({"andFilter": {"filters": filters}})),
    };
    let format = match &file.log_format {
        Some(LogFormat {
            labels: Some(labels),
            ..
        }) => {
            let given = labels.as_object().is_some_and(|labels| !labels.is_empty());
            let fields = if given { labels.clone() } else { json_fields() };
            json!({"jsonFormat": fields, "jsonFormatOptions": {}})
        }
        Some(LogFormat {
            text: Some(text), ..
        }) if !text.is_empty() => {
            let newline = if text.ends_with('\n') { "" } else { "\n" };
            json!({"textFormatSource": {"inlineString": format!("{text}{newline}")}})
        }
        _ => json!({"textFormatSource": {"inlineString": TEXT}}),
    };
    let mut format = format;
    if file.omit_empty_values {
        format["omitEmptyValues"] = json!(true);
    }
    json!({
        "name": "envoy.access_loggers.file",
        "filter": filter,
        "typedConfig": any(
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            json!({"path": file.path, "logFormat": format}),
        ),
    })
}

/// `accessLogFile`, `accessLogFormat` and `accessLogEncoding` of the mesh.
fn from_mesh(proxy: &Proxy) -> FileAccessLog {
    let mesh = &proxy.snapshot.mesh;
    let format = match mesh.access_log_encoding {
        LogEncoding::Text => LogFormat {
            text: Some(mesh.access_log_format.clone()),
            labels: None,
        },
        LogEncoding::Json => LogFormat {
            text: None,
            labels: Some(serde_json::from_str(&mesh.access_log_format).unwrap_or(Value::Null)),
        },
    };
    FileAccessLog {
        path: mesh.access_log_file.clone(),
        log_format: Some(format),
        omit_empty_values: false,
    }
}

/// Istio's JSON fields (istio.md 5.4).
fn json_fields() -> Value {
    json!({
        "authority": "%REQ(:AUTHORITY)%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
        "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
        "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "duration": "%DURATION%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "protocol": "%PROTOCOL%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "requested_server_name": "%REQUESTED_SERVER_NAME%",
        "response_code": "%RESPONSE_CODE%",
        "response_code_details": "%RESPONSE_CODE_DETAILS%",
        "response_flags": "%RESPONSE_FLAGS%",
        "route_name": "%ROUTE_NAME%",
        "start_time": "%START_TIME%",
        "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
        "upstream_host": "%UPSTREAM_HOST%",
        "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
        "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
        "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "user_agent": "%REQ(USER-AGENT)%",
        "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    })
}

/// Istio's text line (istio.md 5.4).
const TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
     %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% \
     %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
     \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% \
     %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";
