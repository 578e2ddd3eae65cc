use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use carbyne_engine::forward::{Downstream, Timing, Upstream};
use carbyne_engine::http::{Request, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::*;
use crate::context::Metadata;
use crate::observe::facts::StreamRecord;
use crate::observe::flags::{Flag, Flags};
use crate::observe::peer::Peer;

struct Sample {
    downstream: Rc<Downstream>,
    request: Request,
    response: Response,
    timing: Timing,
    metadata: Metadata,
    peer: Arc<Peer>,
}

fn address(text: &str) -> carbyne_engine::net::Address {
    text.parse::<SocketAddr>().unwrap().into()
}

fn sample() -> Sample {
    let mut request = Request::get("a.example:8080", "/new?x=1&y=%22");
    for (name, value) in [
        ("x-envoy-original-path", "/old?x=1"),
        ("user-agent", "say \"hi\" \\ \u{e9}"),
        ("x-request-id", "3c1e"),
    ] {
        request.headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let mut response = Response::new(StatusCode::OK);
    response.headers.append(
        HeaderName::from_static("x-envoy-upstream-service-time"),
        HeaderValue::from_static("7"),
    );
    let mut metadata = Metadata::default();
    let object = json!({"a": {"b": 1}, "text": "t", "none": null});
    metadata.merge("ns", object.as_object().unwrap().clone());
    Sample {
        downstream: Rc::new(Downstream {
            id: 5,
            local: address("10.0.0.1:8080"),
            remote: address("10.0.0.2:40000"),
            direct_remote: address("[::1]:40001"),
            server_name: Some(Arc::from("sni.example")),
            tls: None,
            accepted: Instant::now(),
        }),
        request,
        response,
        timing: Timing {
            start: Instant::now(),
            start_time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_123),
            request_end: Some(Duration::from_millis(1)),
            upstream_start: Some(Duration::from_millis(2)),
            upstream_end: Some(Duration::from_millis(3)),
            response_start: Some(Duration::from_millis(5)),
            response_end: Some(Duration::from_millis(8)),
            end: Some(Duration::from_micros(9_900)),
        },
        metadata,
        peer: Arc::new(Peer {
            workload: "w".into(),
            namespace: "n".into(),
            ..Peer::default()
        }),
    }
}

impl Sample {
    fn facts(&self) -> Facts<'_> {
        Facts {
            downstream: Some(&self.downstream),
            request: Some(&self.request),
            response: Some(&self.response),
            timing: Some(&self.timing),
            counts: carbyne_engine::forward::Counts {
                received: 11,
                sent: 22,
                wire_received: 33,
                wire_sent: 44,
                ..Default::default()
            },
            flags: Flags::NONE,
            details: "via_upstream",
            attempts: 1,
            route: "default",
            cluster: Some("outbound|80||a"),
            metadata: Some(&self.metadata),
            upstream_peer: Some(&self.peer),
            ..Facts::default()
        }
    }
}

fn text(format: &str, facts: &Facts<'_>) -> String {
    let mut out = Vec::new();
    Format::parse(format, false)
        .unwrap()
        .render(facts, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn operators() {
    let sample = sample();
    let facts = sample.facts();
    let cases: &[(&str, &str)] = &[
        ("plain %% text", "plain % text"),
        ("%START_TIME%", "2024-02-29T12:34:56.123Z"),
        ("%START_TIME(%s.%3f)%", "1709210096.123"),
        ("%REQ(:METHOD)% %REQ(:PATH)%", "GET /new?x=1&y=%22"),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/old?x=1"),
        ("%REQ(NONE?:AUTHORITY)%", "a.example:8080"),
        ("%REQ(NONE)%|%REQ(:AUTHORITY):3%|", "-|a.e|"),
        ("%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/old"),
        (
            "%PATH(NQ:PATH)% %PATH(WQ:ORIG)% %PATH(NQ)%",
            "/new /old?x=1 /old",
        ),
        ("%QUERY_PARAM(x)% %QUERY_PARAM(z)%", "1 -"),
        (
            "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% %RESP(:STATUS)% %TRAILER(a)%",
            "7 200 -",
        ),
        (
            "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%",
            "HTTP/1.1 200 - -",
        ),
        (
            "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%",
            "via_upstream -",
        ),
        (
            "%BYTES_RECEIVED% %BYTES_SENT% %DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT%",
            "11 22 33 44",
        ),
        (
            "%DURATION% %REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%",
            "9 1 3 5 4",
        ),
        ("%COMMON_DURATION(US_RX_BEG:US_RX_END:us)%", "3000"),
        (
            "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%",
            "10.0.0.1:8080 8080",
        ),
        (
            "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "10.0.0.2:40000 10.0.0.2",
        ),
        (
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
            "[::1]:40001 ::1",
        ),
        (
            "%UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%",
            "- - outbound|80||a outbound|80||a",
        ),
        (
            "%REQUESTED_SERVER_NAME% %ROUTE_NAME% %CONNECTION_ID%",
            "sni.example default 5",
        ),
        (
            "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %STREAM_ID% %ACCESS_LOG_TYPE%",
            "1 3c1e DownstreamEnd",
        ),
        (
            "%DYNAMIC_METADATA(ns:a)% %DYNAMIC_METADATA(ns:a:b)% %DYNAMIC_METADATA(ns:text)% %DYNAMIC_METADATA(ns:none)% %DYNAMIC_METADATA(x)%",
            "{\"b\":1} 1 t - -",
        ),
        ("%METADATA(DYNAMIC:ns:text)%", "t"),
        (
            "%FILTER_STATE(upstream_peer:PLAIN)% %FILTER_STATE(upstream_peer:FIELD:namespace)% %FILTER_STATE(downstream_peer)%",
            "workload=w,namespace=n n -",
        ),
        (
            "%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_TLS_VERSION% %UPSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_CERT_V_START%",
            "- - - -",
        ),
        ("%GRPC_STATUS% %GRPC_STATUS_NUMBER%", "- -"),
        (
            "%CEL(request.url_path + ':' + string(response.code))%",
            "/new:200",
        ),
        ("%UPSTREAM_CONNECTION_ID%%TRACE_ID%", "--"),
    ];
    for (format, expected) in cases {
        assert_eq!(text(format, &facts), *expected, "{format}");
    }
}

#[test]
fn grpc_statuses() {
    let mut sample = sample();
    sample.request.headers.append(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc+proto"),
    );
    for (status, expected) in [
        ("0", "OK OK 0"),
        ("5", "NotFound NOT_FOUND 5"),
        ("99", "99 99 99"),
        ("x", "Unknown UNKNOWN 2"),
    ] {
        sample.response.headers.insert(
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static(status),
        );
        assert_eq!(
            text(
                "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%",
                &sample.facts()
            ),
            expected
        );
    }
}

#[test]
fn faults_name_their_position() {
    let cases: &[(&str, usize, &str)] = &[
        ("ab %WHAT%", 3, "`WHAT` is not an operator that is served"),
        (
            "%REQ%",
            0,
            "`REQ`: expected the name of a header field in parentheses",
        ),
        (
            "%REQ(a b)%",
            0,
            "`REQ`: `a b` is not the name of a header field",
        ),
        ("x %", 2, "expected an operator"),
        ("%PROTOCOL", 0, "expected an operator"),
        ("%PROTOCOL:5%", 0, "`PROTOCOL`: it takes no length"),
        ("%PROTOCOL(x)%", 0, "`PROTOCOL`: it takes no parameter"),
        (
            "%START_TIME(%Q)%",
            0,
            "`START_TIME`: `%Q` is not a conversion",
        ),
        (
            "%FILTER_STATE(upstream_peer:X)%",
            0,
            "`FILTER_STATE`: expected PLAIN",
        ),
        ("%CEL(nope)%", 0, "`CEL`: at position 0"),
    ];
    for (format, position, reason) in cases {
        let error = Format::parse(format, false).unwrap_err();
        assert_eq!(error.position, *position, "{format}");
        assert!(
            error.reason.starts_with(reason),
            "{format}: {}",
            error.reason
        );
    }
}

#[test]
fn header_values_are_empty_for_what_is_missing() {
    let sample = sample();
    let mut out = Vec::new();
    Format::header("%REQ(NONE)%")
        .unwrap()
        .render(&sample.facts(), &mut out);
    assert!(out.is_empty());
    assert_eq!(Format::header("a%%").unwrap().literal(), Some(&b"a%"[..]));
    assert_eq!(Format::header("%PROTOCOL%").unwrap().literal(), None);
}

fn json_line(format: &serde_json::Value, omit_empty: bool, facts: &Facts<'_>) -> String {
    let format = crate::observe::peer::described(format);
    let mut out = Vec::new();
    JsonFormat::plan(&format, omit_empty)
        .unwrap()
        .render(facts, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_keeps_types_and_order() {
    let sample = sample();
    let facts = sample.facts();
    let format = json!({
        "z": "%RESPONSE_CODE%", "a": "%REQ(USER-AGENT)%", "m": {"bytes": "%BYTES_SENT%", "none": "%REQ(NONE)%"},
        "mixed": "%PROTOCOL% %REQ(NONE)%", "n": 3, "f": 1.5, "t": true, "nil": null, "l": ["%DURATION%", "x"],
        "port": "%DOWNSTREAM_LOCAL_PORT%", "meta": "%DYNAMIC_METADATA(ns)%", "peer": "%FILTER_STATE(upstream_peer)%", "flags": "%RESPONSE_FLAGS%"
    });
    assert_eq!(
        json_line(&format, false, &facts),
        "{\"a\":\"say \\\"hi\\\" \\\\ \u{e9}\",\"f\":1.5,\"flags\":\"-\",\"l\":[9,\"x\"],\"m\":{\"bytes\":22,\"none\":null},\
         \"meta\":{\"a\":{\"b\":1},\"none\":null,\"text\":\"t\"},\"mixed\":\"HTTP/1.1 -\",\"n\":3,\"nil\":null,\
         \"peer\":{\"namespace\":\"n\",\"workload\":\"w\"},\"port\":8080,\"t\":true,\"z\":200}"
    );
    let sparse = json!({"a": "%REQ(NONE)%", "b": {"c": "%REQ(NONE)%"}, "d": "x%REQ(NONE)%", "e": "%PROTOCOL%"});
    assert_eq!(
        json_line(&sparse, true, &facts),
        "{\"b\":{},\"d\":\"x\",\"e\":\"HTTP/1.1\"}"
    );
}

#[test]
fn every_byte_makes_valid_json() {
    let mut sample = sample();
    for byte in (32..=255_u8).filter(|byte| *byte != 127).chain([b'\t']) {
        sample.request.headers.insert(
            HeaderName::from_static("user-agent"),
            HeaderValue::from_bytes(&[b'a', byte, b'z']).unwrap(),
        );
        let line = json_line(
            &json!({"v": "%REQ(USER-AGENT)%", "w": "<%REQ(USER-AGENT)%>"}),
            false,
            &sample.facts(),
        );
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        if byte < 128 {
            assert_eq!(parsed["v"], format!("a{}z", char::from(byte)));
        }
    }
}

#[test]
fn json_faults_name_their_key() {
    let format = crate::observe::peer::described(&json!({"a": {"b": "%X%"}, "c": ["%Y%"]}));
    let errors = JsonFormat::plan(&format, false).unwrap_err();
    let paths: Vec<&str> = errors.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["a.b", "c[0]"]);
}

#[test]
fn streams_and_refused_connections() {
    let sample = sample();
    let mut record = StreamRecord::new(Rc::clone(&sample.downstream));
    record.flags = Flags::only(Flag::NoRouteFound);
    record.upstream = Upstream {
        failure: Some("TLS error: bad".into()),
        ..Upstream::default()
    };
    record.termination = "rbac_access_denied_matched_policy[a b]".into();
    record.end(Instant::now());
    let facts = Facts::of_stream(&record);
    let line = text(
        "%REQ(:METHOD)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %ACCESS_LOG_TYPE%",
        &facts,
    );
    assert_eq!(
        line,
        "- - 0 NR rbac_access_denied_matched_policy[a_b] TLS_error:_bad TcpConnectionEnd"
    );
}
