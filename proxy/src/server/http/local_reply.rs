//! How the proxy words what it has to answer itself, as Envoy does.

use std::borrow::Cow;

use bytes::Bytes;
use carbyne_engine::forward::serve::Refusal;
use carbyne_engine::forward::{Answer, Error};
use carbyne_engine::http::h1::HeadError;
use http::{HeaderValue, StatusCode};

use super::names;

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
        // Envoy asks for a newer version whatever the version is.
        Refusal::Head(HeadError::VersionNotSupported) => {
            malformed(StatusCode::UPGRADE_REQUIRED, "low_version")
        }
        Refusal::Head(error) => malformed(error.status(), error.detail()),
        Refusal::Request(rejection) => malformed(rejection.status(), rejection.detail()),
        Refusal::HeadTimeout => {
            Answer::text(StatusCode::REQUEST_TIMEOUT, "", "request_header_timeout")
        }
    }
}

fn malformed(status: StatusCode, details: &'static str) -> Answer {
    Answer::text(
        status,
        status.canonical_reason().unwrap_or_default(),
        details,
    )
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
}
