//! How the proxy words what it has to answer itself, as Envoy does.

use std::borrow::Cow;

use bytes::Bytes;
use carbyne_engine::forward::serve::Refusal;
use carbyne_engine::forward::{Answer, Error, Reset};
use carbyne_engine::http::h1::HeadError;
use http::{HeaderValue, StatusCode};

use super::names;

/// What is known of an exchange when it fails.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The answer where the cluster does not exist.
    pub not_found: StatusCode,
    /// It was not the first try.
    pub retried: bool,
    /// The request had come whole.
    pub complete: bool,
}

/// The answer to an error of forwarding.
pub fn error(error: &Error, circumstances: Circumstances) -> Answer {
    // RFC 9110 §15.5.9: a request that came whole did not take too long; its answer did.
    let late = if circumstances.complete {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::REQUEST_TIMEOUT
    };
    let (status, body): (StatusCode, Cow<'static, str>) = match error {
        Error::NoCluster => (circumstances.not_found, "".into()),
        Error::NoHealthyHost => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no healthy upstream".into(),
        ),
        Error::TryTimeout | Error::Timeout => (
            StatusCode::GATEWAY_TIMEOUT,
            "upstream request timeout".into(),
        ),
        Error::StreamIdle => (late, "stream timeout".into()),
        Error::MaxDuration => (late, "downstream duration timeout".into()),
        Error::ClientGone => (StatusCode::BAD_REQUEST, "".into()),
        Error::Refused { status, .. } => (*status, "".into()),
        Error::RequestBody(_) => (StatusCode::BAD_REQUEST, "Bad Request".into()),
        Error::RequestTooLarge { .. } => {
            (StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large".into())
        }
        Error::RequestEncoding(_) => (StatusCode::BAD_REQUEST, "".into()),
        Error::Connect { .. }
        | Error::ConnectTimeout
        | Error::Overflow { .. }
        | Error::Tls { .. }
        | Error::UpstreamProtocol(_)
        | Error::UpstreamReset { .. }
        | Error::UpstreamTruncated(_) => {
            let status = match error {
                Error::UpstreamProtocol(_) => StatusCode::BAD_GATEWAY,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            let retried = if circumstances.retried {
                "retried and the latest "
            } else {
                ""
            };
            let reason = reset_reason(error).unwrap_or_default();
            let body = format!(
                "upstream connect error or disconnect/reset before headers. {retried}reset reason: {reason}"
            );
            (status, body.into())
        }
    };
    let mut answer = Answer::text(
        status,
        Bytes::from(body.into_owned()),
        details(error, false),
    );
    if matches!(error, Error::Overflow { .. }) {
        answer
            .response
            .headers
            .append(names::OVERLOADED, HeaderValue::from_static("true"));
    }
    answer
}

/// Envoy's response code details of an error; `started` says that the response's head was sent.
pub fn details(error: &Error, started: bool) -> Cow<'static, str> {
    if let Some(reason) = reset_reason(error) {
        let when = if started { "after" } else { "before" };
        // The client is not told why the transport failed, the log is.
        let (separator, transport) = match error {
            Error::Connect { reason } | Error::Tls { reason } => ("|", &**reason),
            _ => ("", ""),
        };
        return format!("upstream_reset_{when}_response_started{{{reason}{separator}{transport}}}")
            .replace(' ', "_")
            .into();
    }
    match error {
        Error::NoCluster => "cluster_not_found",
        Error::NoHealthyHost => "no_healthy_upstream",
        Error::TryTimeout => "upstream_per_try_timeout",
        Error::Timeout => "response_timeout",
        Error::StreamIdle => "stream_idle_timeout",
        Error::MaxDuration => "max_duration_timeout",
        Error::ClientGone => "downstream_remote_disconnect",
        Error::RequestTooLarge { .. } => "request_payload_too_large",
        Error::Refused { details, .. }
        | Error::RequestBody(details)
        | Error::RequestEncoding(details) => details,
        // Worded above.
        _ => "",
    }
    .into()
}

/// Envoy's word for a try that the host, or the way to it, ended.
const fn reset_reason(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Connect { .. } | Error::Tls { .. } => "remote connection failure",
        Error::ConnectTimeout => "connection timeout",
        Error::Overflow { .. } => "overflow",
        Error::UpstreamProtocol(_) => "protocol error",
        Error::UpstreamReset { reset, .. } | Error::UpstreamTruncated(reset) => match reset {
            Reset::Connection => "connection termination",
            Reset::Stream => "remote reset",
            Reset::Refused => "remote refused stream reset",
        },
        _ => return None,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_worded_as_envoy_words_them() {
        let first = Circumstances {
            not_found: StatusCode::SERVICE_UNAVAILABLE,
            retried: false,
            complete: true,
        };
        let retried = Circumstances {
            retried: true,
            ..first
        };
        let incomplete = Circumstances {
            complete: false,
            ..first
        };
        let refused = || Error::Connect {
            reason: "delayed connect error: Connection refused".into(),
        };
        let table = [
            (
                Error::NoHealthyHost,
                first,
                503,
                "no healthy upstream",
                "no_healthy_upstream",
            ),
            (
                refused(),
                first,
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            ),
            (
                refused(),
                retried,
                503,
                "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure",
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            ),
            (
                Error::UpstreamProtocol("http1.incomplete_head"),
                first,
                502,
                "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
                "upstream_reset_before_response_started{protocol_error}",
            ),
            (
                Error::Timeout,
                first,
                504,
                "upstream request timeout",
                "response_timeout",
            ),
            (
                Error::StreamIdle,
                first,
                504,
                "stream timeout",
                "stream_idle_timeout",
            ),
            (
                Error::StreamIdle,
                incomplete,
                408,
                "stream timeout",
                "stream_idle_timeout",
            ),
            (Error::NoCluster, first, 503, "", "cluster_not_found"),
        ];
        for (failure, circumstances, status, body, details) in table {
            let answer = error(&failure, circumstances);
            assert_eq!(answer.response.status, status);
            assert_eq!(answer.body, body);
            assert_eq!(answer.details, details);
        }
    }

    #[test]
    fn what_breaks_a_response_off_is_told_in_the_details() {
        let table = [
            (
                Error::UpstreamTruncated(Reset::Stream),
                "upstream_reset_after_response_started{remote_reset}",
            ),
            (
                Error::UpstreamProtocol("http1.incomplete_body"),
                "upstream_reset_after_response_started{protocol_error}",
            ),
            (Error::Timeout, "response_timeout"),
            (Error::ClientGone, "downstream_remote_disconnect"),
        ];
        for (failure, expected) in table {
            assert_eq!(details(&failure, true), expected);
        }
    }
}
