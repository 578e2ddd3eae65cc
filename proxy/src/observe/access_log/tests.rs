use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use carbyne_engine::forward::Timing;
use carbyne_engine::http::{Request, Response};
use carbyne_protos::envoy::config::accesslog::v3::AccessLogFilter;
use carbyne_protos::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::context::Metadata;
use crate::observe::flags::{Flag, Flags};
use crate::plan::Environment;
use crate::plan::error::Rejection;

/// Plans the loggers of a message that has `access_log`; the findings as text.
fn plan(loggers: &Value, sinks: &Arc<LogSinks>) -> Result<(AccessLogs, Vec<String>), Rejection> {
    let message: TcpProxy =
        carbyne_protos::json::from_json(&json!({"stat_prefix": "x", "access_log": loggers}))
            .unwrap();
    let environment = Environment {
        logs: Some(sinks.clone()),
        ..Environment::default()
    };
    let planned = environment.plan_message(&message, |message, scope| {
        Some(AccessLogs::plan(&message.access_log, scope))
    })?;
    Ok((
        planned.plan,
        planned.findings.iter().map(ToString::to_string).collect(),
    ))
}

fn file_logger(path: &str, rest: Value) -> Value {
    let mut config = json!({"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": path});
    config
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    json!({"name": "envoy.access_loggers.file", "typed_config": config})
}

#[test]
fn lines_reach_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let files = Arc::<LogSinks>::default();
    let path_text = path.to_str().unwrap();
    let mut only_errors = file_logger(
        path_text,
        json!({"log_format": {"json_format": {"code": "%RESPONSE_CODE%"}}}),
    );
    only_errors.as_object_mut().unwrap().insert("filter".to_owned(), json!({"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "k"}}}}));
    let loggers = json!([
        file_logger(path_text, json!({"log_format": {"text_format_source": {"inline_string": "%REQ(:PATH)% %RESPONSE_CODE%\n"}}})),
        only_errors,
        file_logger("/dev/null", json!({})),
        {"name": "als", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"}}
    ]);
    let (logs, findings) = plan(&loggers, &files).unwrap();
    assert_eq!(
        (logs.loggers.len(), files.files.len()),
        (2, 1),
        "one file for both; nothing for /dev/null and what is not served"
    );
    assert!(
        findings
            .iter()
            .any(|finding| finding.starts_with("access_log[3].typed_config: access logger")),
        "{findings:?}"
    );
    let request = Request::get("a", "/p");
    for status in [200, 503] {
        let response = Response::new(StatusCode::from_u16(status).unwrap());
        logs.log(&Facts {
            request: Some(&request),
            response: Some(&response),
            ..Facts::default()
        });
    }
    files.files.close();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "/p 200\n/p 503\n{\"code\":503}\n"
    );
}

#[test]
fn what_is_malformed_is_rejected_by_path() {
    let files = Arc::default();
    let loggers = json!([
        file_logger("/dev/null", json!({"log_format": {"text_format": "%WHAT%"}})),
        file_logger("", json!({})),
        {"name": "none"},
        file_logger("/nonexistent-folder/x", json!({})),
        {"name": "f", "filter": {"response_flag_filter": {"flags": ["ZZ"]}}, "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null"}}
    ]);
    let text = plan(&loggers, &files).unwrap_err().to_string();
    for part in [
        "access_log[0].typed_config.log_format.text_format: malformed: at position 0: `WHAT`",
        "access_log[1].typed_config.path: required",
        "access_log[2].typed_config: required",
        "access_log[3].typed_config.path: cannot read",
        "access_log[4].filter.response_flag_filter.flags[0]: `ZZ` is not a response flag",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn filters() {
    let mut request = Request::get("a", "/p");
    request.headers.append(
        HeaderName::from_static("x-a"),
        HeaderValue::from_static("1"),
    );
    request.headers.append(
        HeaderName::from_static("x-request-id"),
        HeaderValue::from_static("00000005-aaaa"),
    );
    let mut response = Response::new(StatusCode::NOT_FOUND);
    response.headers.append(
        HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("7"),
    );
    let timing = Timing {
        start: Instant::now(),
        start_time: SystemTime::UNIX_EPOCH,
        request_end: None,
        upstream_start: None,
        upstream_end: None,
        response_start: None,
        response_end: None,
        end: Some(Duration::from_millis(100)),
    };
    let mut metadata = Metadata::default();
    metadata.merge("ns", json!({"k": "v"}).as_object().unwrap().clone());
    let facts = Facts {
        request: Some(&request),
        response: Some(&response),
        timing: Some(&timing),
        metadata: Some(&metadata),
        flags: Flags::only(Flag::NoRouteFound),
        ..Facts::default()
    };
    let compare = |op: &str, value: u32| json!({"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "k"}}});
    let status = |op: &str, value: u32| json!({"status_code_filter": compare(op, value)});
    let cel = |text: &str| json!({"extension_filter": {"name": "cel", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", "expression": text}}});
    let wanted = |value: &str| json!({"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": value}}});
    let cases: &[(Value, bool)] = &[
        (status("GE", 400), true),
        (status("EQ", 400), false),
        (status("LE", 404), true),
        (status("NE", 404), false),
        (json!({"duration_filter": compare("GE", 100)}), true),
        (json!({"duration_filter": compare("GE", 101)}), false),
        (json!({"not_health_check_filter": {}}), true),
        (json!({"traceable_filter": {}}), false),
        (
            json!({"and_filter": {"filters": [status("GE", 400), status("GE", 500)]}}),
            false,
        ),
        (
            json!({"or_filter": {"filters": [status("GE", 400), status("GE", 500)]}}),
            true,
        ),
        (
            json!({"header_filter": {"header": {"name": "x-a", "string_match": {"exact": "1"}}}}),
            true,
        ),
        (
            json!({"header_filter": {"header": {"name": "x-b", "present_match": true}}}),
            false,
        ),
        (
            json!({"response_flag_filter": {"flags": ["NR", "UF"]}}),
            true,
        ),
        (json!({"response_flag_filter": {"flags": ["UF"]}}), false),
        (json!({"response_flag_filter": {}}), true),
        (
            json!({"grpc_status_filter": {"statuses": ["PERMISSION_DENIED"]}}),
            true,
        ),
        (
            json!({"grpc_status_filter": {"statuses": ["PERMISSION_DENIED"], "exclude": true}}),
            false,
        ),
        (json!({"metadata_filter": {"matcher": wanted("v")}}), true),
        (json!({"metadata_filter": {"matcher": wanted("w")}}), false),
        (
            json!({"metadata_filter": {"matcher": {"filter": "x", "path": [{"key": "k"}], "value": {"present_match": true}}, "match_if_key_not_found": false}}),
            false,
        ),
        (
            json!({"log_type_filter": {"types": ["DownstreamEnd"]}}),
            true,
        ),
        (
            json!({"log_type_filter": {"types": ["DownstreamEnd"], "exclude": true}}),
            false,
        ),
        (cel("response.code >= 400"), true),
        (cel("response.code >= 500"), false),
        // The id's first digits are 5: 5 of 100.
        (
            json!({"runtime_filter": {"runtime_key": "k", "percent_sampled": {"numerator": 6, "denominator": "HUNDRED"}}}),
            true,
        ),
        (
            json!({"runtime_filter": {"runtime_key": "k", "percent_sampled": {"numerator": 5, "denominator": "HUNDRED"}}}),
            false,
        ),
    ];
    for (config, expected) in cases {
        let message: AccessLogFilter = carbyne_protos::json::from_json(config).unwrap();
        let planned = Environment::default().plan_message(&message, |message, scope| {
            LogFilter::plan(message, scope).ok()
        });
        assert_eq!(planned.unwrap().plan.holds(&facts), *expected, "{config}");
    }
    // Shared by path.
    let files = Arc::<LogSinks>::default();
    assert!(files.files.is_empty());
}
