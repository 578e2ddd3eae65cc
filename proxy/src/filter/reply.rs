//! Answers of our own to gRPC requests: status in a field, no body.

use bytes::Bytes;
use carbyne_engine::forward::Answer;
use carbyne_engine::http::Request;
use http::{HeaderName, HeaderValue, StatusCode, header};

/// Whether a request is gRPC: `application/grpc`, alone or with a suffix such as `+proto`.
pub fn is_grpc(request: &Request) -> bool {
    let Some(kind) = request.headers.get(&header::CONTENT_TYPE) else {
        return false;
    };
    let rest = kind.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// Gives an answer the form that gRPC clients read, where `request` is gRPC: status 200, `grpc-status` from the HTTP status unless a filter
/// set one, `grpc-message` from the body (Envoy's local replies). An answer that has this form already stays as it is.
pub fn for_grpc(answer: &mut Answer, request: &Request) {
    for_grpc_as(answer, request, status_from_http(answer.response.status));
}

/// The same with a status that does not follow from the HTTP status.
pub fn for_grpc_as(answer: &mut Answer, request: &Request, status: u32) {
    let headers = &mut answer.response.headers;
    let done = headers
        .get(&header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if done || !is_grpc(request) {
        return;
    }
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    if !headers.contains(&GRPC_STATUS) {
        headers.insert(GRPC_STATUS, HeaderValue::from(status));
    }
    let body = std::mem::take(&mut answer.body);
    if !body.is_empty()
        && let Ok(message) = HeaderValue::try_from(percent_encoded(&body))
    {
        headers.insert(GRPC_MESSAGE, message);
    }
    answer.response.status = StatusCode::OK;
}

/// gRPC's DEADLINE_EXCEEDED.
pub const DEADLINE_EXCEEDED: u32 = 4;

/// The gRPC status that an HTTP status stands for (grpc/doc/http-grpc-status-mapping.md).
pub const fn status_from_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The HTTP status for a gRPC status where the client does not speak gRPC, as Envoy chooses it.
pub const fn status_to_http(status: u32) -> StatusCode {
    match status {
        0 => StatusCode::OK,
        // A client that cancels; 499 has no name.
        1 => match StatusCode::from_u16(499) {
            Ok(status) => status,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        },
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `grpc-message`: everything but visible ASCII without `%` is escaped (gRPC over HTTP/2, "Responses").
fn percent_encoded(body: &Bytes) -> String {
    let mut text = String::with_capacity(body.len());
    for &byte in body {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The status of a gRPC answer.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The text of a gRPC answer.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: Option<&'static str>) -> Request {
        let mut request = Request::get("a", "/");
        if let Some(kind) = kind {
            request
                .headers
                .append(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        request
    }

    #[test]
    fn only_grpc_requests_get_grpc_answers() {
        let cases: &[(Option<&'static str>, bool)] = &[
            (None, false),
            (Some("application/grpc"), true),
            (Some("application/grpc+proto"), true),
            (Some("application/grpc-web"), false),
            (Some("application/json"), false),
        ];
        for (kind, grpc) in cases {
            let mut answer = Answer::text(StatusCode::FORBIDDEN, "RBAC: access denied", "x");
            for_grpc(&mut answer, &request(*kind));
            let status = answer.response.headers.text(&GRPC_STATUS);
            assert_eq!(status, grpc.then_some("7"), "{kind:?}");
            assert_eq!(answer.response.status == StatusCode::OK, *grpc);
            assert_eq!(answer.body.is_empty(), *grpc);
        }
    }

    #[test]
    fn a_chosen_status_stays_and_the_message_is_escaped() {
        let mut answer = Answer::text(StatusCode::TOO_MANY_REQUESTS, "100 %\u{fc}", "x");
        answer
            .response
            .headers
            .insert(GRPC_STATUS, HeaderValue::from(8));
        for_grpc(&mut answer, &request(Some("application/grpc")));
        for_grpc(&mut answer, &request(Some("application/grpc")));
        assert_eq!(answer.response.headers.text(&GRPC_STATUS), Some("8"));
        assert_eq!(
            answer.response.headers.text(&GRPC_MESSAGE),
            Some("100 %25%C3%BC")
        );
    }
}
