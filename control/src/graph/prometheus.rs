//! A graph from a Prometheus, with the queries that Kiali asks: rates of Istio's metrics by the labels that name both ends.

use std::time::Duration;

use serde::Deserialize;

use super::{build::Builder, model::Graph, samples::Sample};
use crate::{
    fetch::get_url,
    output::{Finding, code},
};

/// Asks a Prometheus about the last `window`.
///
/// # Errors
/// When it does not answer, or refuses a query.
pub async fn graph(url: &str, window: Duration, limit: Duration) -> Result<Graph, Finding> {
    let seconds = window.as_secs().max(1);
    let mut builder = Builder::default();
    for metric in METRICS {
        let query = query(metric, seconds);
        let address = format!(
            "{}/api/v1/query?query={}",
            url.trim_end_matches('/'),
            encoded(&query)
        );
        let body = get_url(&address, limit).await.map_err(|error| {
            Finding::new(&code::NO_ANSWER, error.to_string()).about(url.to_owned())
        })?;
        builder.add(&read(metric, &body, seconds, url)?);
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds that somebody waits for"
    )]
    let window = seconds as f64;
    Ok(builder.build(Some(window), Vec::new()))
}

/// `sum(rate(…)) by (…) > 0`, as Kiali's graph has it.
fn query(metric: &str, seconds: u64) -> String {
    let mut labels = ENDS.join(",");
    match metric {
        "istio_requests_total" => {
            labels.push_str(",request_protocol,response_code,grpc_response_status,response_flags");
        }
        "istio_request_duration_milliseconds_bucket" => labels.push_str(",le,request_protocol"),
        _ => labels.push_str(",response_flags"),
    }
    format!("sum(rate({metric}[{seconds}s])) by ({labels}) > 0")
}

fn read(metric: &str, body: &[u8], seconds: u64, url: &str) -> Result<Vec<Sample>, Finding> {
    let wrong =
        |message: String| Finding::new(&code::UNREADABLE_ANSWER, message).about(url.to_owned());
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| wrong(format!("this is not Prometheus' answer: {error}")))?;
    let Some(data) = answer.data else {
        return Err(wrong(answer.error));
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds that somebody waits for"
    )]
    let seconds = seconds as f64;
    let samples = data.result.into_iter().filter_map(|series| {
        let rate: f64 = series.value.1.parse().ok()?;
        Some(Sample {
            name: metric.to_owned(),
            labels: series.metric.into_iter().collect(),
            value: rate * seconds,
        })
    });
    Ok(samples.filter(|sample| sample.value.is_finite()).collect())
}

/// For a query string: all but what is safe in percent.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: std::collections::BTreeMap<String, String>,
    value: (f64, String),
}

const METRICS: [&str; 5] = [
    "istio_requests_total",
    "istio_request_duration_milliseconds_bucket",
    "istio_tcp_connections_opened_total",
    "istio_tcp_sent_bytes_total",
    "istio_tcp_received_bytes_total",
];
const ENDS: [&str; 12] = [
    "reporter",
    "source_workload_namespace",
    "source_workload",
    "source_canonical_revision",
    "source_version",
    "destination_service_namespace",
    "destination_service_name",
    "destination_workload_namespace",
    "destination_workload",
    "destination_canonical_revision",
    "destination_version",
    "connection_security_policy",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_name_both_ends() {
        let query = query("istio_requests_total", 60);
        assert!(
            query.starts_with("sum(rate(istio_requests_total[60s])) by (reporter,"),
            "{query}"
        );
        assert!(
            query.ends_with(",response_code,grpc_response_status,response_flags) > 0"),
            "{query}"
        );
        assert_eq!(encoded("a(b)[1s] > 0"), "a%28b%29%5B1s%5D%20%3E%200");
    }

    #[test]
    fn rates_become_requests_and_refusals_errors() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"reporter":"source","source_workload":"a"},"value":[1700000000.1,"2.5"]},
            {"metric":{},"value":[1700000000.1,"NaN"]}]}}"#;
        let samples = read("istio_requests_total", body, 60, "http://x").unwrap();
        assert_eq!(samples.len(), 1);
        assert_eq!(
            (samples[0].label("source_workload"), samples[0].value),
            ("a", 150.0)
        );
        let refused = br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert!(
            read("x", refused, 60, "http://x")
                .unwrap_err()
                .to_string()
                .contains("parse error")
        );
        assert!(read("x", b"<html>", 60, "http://x").is_err());
    }
}
