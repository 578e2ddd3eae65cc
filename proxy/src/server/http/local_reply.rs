//! How the proxy words what it has to answer itself, as Envoy does.

use std::borrow::Cow;

use bytes::Bytes;
use carbyne_engine::forward::serve::Refusal;
use carbyne_engine::forward::{Answer, Error};
use carbyne_engine::http::{Request, Response};
use http::{HeaderValue, StatusCode, header};

use super::names;
use crate::live::route::table::is_grpc;

/// The answer to an error of forwarding.
pub fn error(error: &Error, not_found: StatusCode) -> Answer {
    let (status, body, details): (StatusCode, Cow<'static, str>, Cow<'static, str>) = match error {
        Error::NoCluster => (not_found, "".into(), "cluster_not_found".into()),
        Error::NoHealthyHost => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no healthy upstream".into(),
            "no_healthy_upstream".into(),
        ),
        Error::Overflow { .. } => reset(StatusCode::SERVICE_UNAVAILABLE, "overflow", None),
        Error::Connect { reason } => reset(
            StatusCode::SERVICE_UNAVAILABLE,
            "remote connection failure",
            Some(reason),
        ),
        Error::Tls { reason } => reset(
            StatusCode::SERVICE_UNAVAILABLE,
            "remote connection failure",
            Some(reason),
        ),
        Error::ConnectTimeout => reset(StatusCode::SERVICE_UNAVAILABLE, "connection timeout", None),
        Error::UpstreamReset { reason, .. } if reason.starts_with("remote reset") => {
            reset(StatusCode::SERVICE_UNAVAILABLE, "remote reset", None)
        }
        Error::UpstreamReset { .. } | Error::UpstreamTruncated => reset(
            StatusCode::SERVICE_UNAVAILABLE,
            "connection termination",
            None,
        ),
        Error::UpstreamProtocol(_) => reset(StatusCode::BAD_GATEWAY, "protocol error", None),
        Error::TryTimeout => (
            StatusCode::GATEWAY_TIMEOUT,
            "upstream request timeout".into(),
            "upstream_per_try_timeout".into(),
        ),
        Error::Timeout => (
            StatusCode::GATEWAY_TIMEOUT,
            "upstream request timeout".into(),
            "response_timeout".into(),
        ),
        Error::StreamIdle => (
            StatusCode::REQUEST_TIMEOUT,
            "stream timeout".into(),
            "stream_idle_timeout".into(),
        ),
        Error::MaxDuration => (
            StatusCode::REQUEST_TIMEOUT,
            "downstream duration timeout".into(),
            "max_duration_timeout".into(),
        ),
        Error::ClientGone => (
            StatusCode::BAD_REQUEST,
            "".into(),
            "downstream_remote_disconnect".into(),
        ),
        Error::Refused { status, details } => (*status, "".into(), (*details).into()),
        Error::RequestBody(details) => (
            StatusCode::BAD_REQUEST,
            "Bad Request".into(),
            (*details).into(),
        ),
        Error::RequestTooLarge { .. } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "Payload Too Large".into(),
            "request_payload_too_large".into(),
        ),
        Error::RequestEncoding(details) => (StatusCode::BAD_REQUEST, "".into(), (*details).into()),
    };
    let mut answer = Answer::text(status, Bytes::from(body.into_owned()), details);
    if matches!(error, Error::Overflow { .. }) {
        answer
            .response
            .headers
            .append(names::OVERLOADED, HeaderValue::from_static("true"));
    }
    answer
}

/// The answer to bytes that are no request.
pub fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Head(error) => {
            let status = error.status();
            let body = status.canonical_reason().unwrap_or_default();
            Answer::text(status, body, error.detail())
        }
        Refusal::HeadTimeout => {
            Answer::text(StatusCode::REQUEST_TIMEOUT, "", "request_header_timeout")
        }
    }
}

/// gRPC clients look at `grpc-status`, never at the status: what we answer them is a head with it
/// (Envoy: `Utility::sendLocalReply`).
pub fn for_grpc(request: &Request, answer: &mut Answer) {
    if !is_grpc(request) {
        return;
    }
    let code = grpc_status(answer.response.status);
    let mut response = Response::new(StatusCode::OK);
    response.headers.append(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
        .headers
        .append(names::GRPC_STATUS, HeaderValue::from(code));
    let message = percent_encode(&std::mem::take(&mut answer.body));
    if let Ok(message) = HeaderValue::from_str(&message)
        && !message.is_empty()
    {
        response.headers.append(names::GRPC_MESSAGE, message);
    }
    answer.response = response;
}

/// The gRPC status of an HTTP status (gRPC: "HTTP to gRPC Status Code Mapping").
const fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

fn reset(
    status: StatusCode,
    reason: &str,
    transport: Option<&Cow<'static, str>>,
) -> (StatusCode, Cow<'static, str>, Cow<'static, str>) {
    let mut body = format!(
        "upstream connect error or disconnect/reset before headers. reset reason: {reason}"
    );
    let mut details = reason.to_owned();
    if let Some(transport) = transport {
        let text = transport.replace("delayed_connect_error", "delayed connect error");
        body = format!("{body}, transport failure reason: {text}");
        details = format!("{details}|{text}");
    }
    let details = details.replace(' ', "_");
    (
        status,
        body.into(),
        format!("upstream_reset_before_response_started{{{details}}}").into(),
    )
}

/// gRPC's Percent-Encoded: printable ASCII but `%` stays.
fn percent_encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_worded_as_envoy_words_them() {
        let table = [
            (
                Error::NoHealthyHost,
                503,
                "no healthy upstream",
                "no_healthy_upstream",
            ),
            (
                Error::Connect {
                    reason: "delayed_connect_error: 111".into(),
                },
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: 111",
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_111}",
            ),
            (
                Error::Timeout,
                504,
                "upstream request timeout",
                "response_timeout",
            ),
            (Error::NoCluster, 503, "", "cluster_not_found"),
        ];
        for (failure, status, body, details) in table {
            let answer = error(&failure, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.response.status, status);
            assert_eq!(answer.body, body);
            assert_eq!(answer.details, details);
        }
    }

    #[test]
    fn grpc_clients_get_a_grpc_status() {
        let mut request = Request::get("h", "/");
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers.append(header::CONTENT_TYPE, grpc);
        let mut answer = error(&Error::NoHealthyHost, StatusCode::SERVICE_UNAVAILABLE);
        for_grpc(&request, &mut answer);
        assert_eq!(answer.response.status, StatusCode::OK);
        assert_eq!(
            answer.response.headers.text(&names::GRPC_STATUS),
            Some("14")
        );
        let message = answer.response.headers.text(&names::GRPC_MESSAGE);
        assert_eq!(message, Some("no healthy upstream"));
        assert!(answer.body.is_empty());
    }
}
