//! Kong's errors, in the form that the client accepts.

use std::borrow::Cow;

use bytes::Bytes;
use carbyne_engine::forward::{Answer, Error};
use carbyne_engine::http::{Headers, Request, Response};
use http::{HeaderValue, Method, StatusCode, Version, header};

use super::context::RequestId;
use super::departure::{GRPC_MESSAGE, GRPC_STATUS};
use super::settings::Settings;
use crate::plugin::exit::{Content, Reply};
use crate::value::Value;

/// A form of error bodies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Grpc,
    Html,
    Json,
    Plain,
    Xml,
}

/// Words a plugin's answer.
pub(super) fn answer(
    reply: Reply,
    request: &Request,
    id: RequestId,
    settings: &Settings,
) -> Answer {
    let Reply {
        status,
        headers,
        content,
        anonymous: _,
    } = reply;
    let mut response = Response::new(status);
    response.headers = headers;
    // Whoever said what the body is meant that body.
    let grpc = is_grpc(request) && !response.headers.contains(&header::CONTENT_TYPE);
    let body = match content {
        Content::Bytes(bytes) if grpc => {
            let text = String::from_utf8_lossy(&bytes);
            worded(&mut response, Form::Grpc, &text, id, settings)
        }
        Content::Bytes(bytes) => bytes,
        Content::Own(text) => return own(status, &text, request, id, settings),
        Content::Error(text) => {
            let accept = request.headers.text(&header::ACCEPT);
            let form = if grpc {
                Form::Grpc
            } else {
                accept.map_or(Form::Json, accepted)
            };
            worded(&mut response, form, &text, id, settings)
        }
        Content::Json(members) if grpc => {
            let text = members.get("message").and_then(Value::as_str);
            let text = text.unwrap_or_default().to_owned();
            worded(&mut response, Form::Grpc, &text, id, settings)
        }
        Content::Message(text) if grpc => worded(&mut response, Form::Grpc, &text, id, settings),
        Content::Json(members) => {
            set_type(&mut response.headers, Form::Json);
            Value::from(members).to_json().into()
        }
        Content::Message(text) => compact(&mut response.headers, &text),
    };
    finished(response, body, request)
}

/// `{"message":"…"}`, Kong's errors without a template.
fn compact(headers: &mut Headers, text: &str) -> Bytes {
    set_type(headers, Form::Json);
    let mut body = String::from("{\"message\":");
    body.push_str(&Value::from(text).to_json());
    body.push('}');
    body.into()
}

/// Words an error that is Kong's own, with the same rules as nginx's: what the client accepts, else what it sent, else
/// the node's default.
pub(super) fn own(
    status: StatusCode,
    text: &str,
    request: &Request,
    id: RequestId,
    settings: &Settings,
) -> Answer {
    let fields = &request.headers;
    let said = fields
        .text(&header::ACCEPT)
        .or_else(|| fields.text(&header::CONTENT_TYPE));
    let said = said.unwrap_or(&settings.error_default_type);
    let mut response = Response::new(status);
    let body = if is_grpc(request) {
        worded(&mut response, Form::Grpc, text, id, settings)
    } else if said.starts_with(GRPC) {
        // Its client cannot speak gRPC over what it speaks.
        compact(&mut response.headers, text)
    } else {
        worded(&mut response, accepted(said), text, id, settings)
    };
    finished(response, body, request)
}

/// Words what a client is told that sent no request.
pub(super) fn refused(status: StatusCode, id: RequestId, settings: &Settings) -> Answer {
    let mut response = Response::new(status);
    let form = accepted(&settings.error_default_type);
    let body = worded(&mut response, form, &text_of(status), id, settings);
    Answer {
        response,
        body,
        details: "refused".into(),
    }
}

/// The status and the words for an error of forwarding.
pub(super) fn of_forwarding(error: &Error, unresolved: bool) -> (StatusCode, Cow<'static, str>) {
    let status = match error {
        Error::NoHealthyHost if unresolved => {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                "name resolution failed".into(),
            );
        }
        Error::NoHealthyHost => {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                "failure to get a peer from the ring-balancer".into(),
            );
        }
        Error::NoCluster | Error::Overflow { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Error::Connect { .. }
        | Error::Tls { .. }
        | Error::UpstreamProtocol(_)
        | Error::UpstreamReset { .. }
        | Error::UpstreamTruncated(_) => StatusCode::BAD_GATEWAY,
        Error::ConnectTimeout
        | Error::MaxDuration
        | Error::StreamIdle
        | Error::Timeout
        | Error::TryTimeout => StatusCode::GATEWAY_TIMEOUT,
        Error::Refused { status, .. } => *status,
        Error::RequestTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::ClientGone | Error::RequestBody(_) | Error::RequestEncoding(_) => {
            StatusCode::BAD_REQUEST
        }
    };
    (status, text_of(status))
}

/// Kong's words for a status.
fn text_of(status: StatusCode) -> Cow<'static, str> {
    Cow::Borrowed(match status.as_u16() {
        400 => "Bad request",
        404 => "Not found",
        405 => "Method not allowed",
        408 => "Request timeout",
        411 => "Length required",
        412 => "Precondition failed",
        413 => "Payload too large",
        414 => "URI too long",
        417 => "Expectation failed",
        431 | 494 => "Request header or cookie too large",
        500 => "An unexpected error occurred",
        502 => "An invalid response was received from the upstream server",
        503 => "The upstream server is currently unavailable",
        504 => "The upstream server is timing out",
        other => return format!("The upstream server responded with {other}").into(),
    })
}

/// Whether a request is gRPC: by what it sends, and that it is HTTP/2.
pub(super) fn is_grpc(request: &Request) -> bool {
    request.version == Version::HTTP_2 && sends_grpc(&request.headers)
}

/// Whether a body is said to be gRPC's.
pub(super) fn sends_grpc(fields: &Headers) -> bool {
    let content = fields.get(&header::CONTENT_TYPE);
    content.is_some_and(|value| value.as_bytes().starts_with(GRPC.as_bytes()))
}

/// The form that an `Accept` prefers. JSON where it says nothing that is known.
fn accepted(accept: &str) -> Form {
    let mut best = (0.0, Form::Json);
    for part in accept.split(',') {
        let mut pieces = part.split(';').map(str::trim);
        let Some(form) = pieces.next().and_then(form_of) else {
            continue;
        };
        let quality = pieces.find_map(|piece| {
            piece
                .strip_prefix("q=")
                .or_else(|| piece.strip_prefix("Q="))
        });
        let quality = quality
            .and_then(|quality| quality.parse().ok())
            .unwrap_or(1.0);
        if quality > best.0 {
            best = (quality, form);
        }
    }
    best.1
}

/// The form for a media type. A type that is not known asks for JSON as any other does.
fn form_of(name: &str) -> Option<Form> {
    let (kind, rest) = name.split_once('/')?;
    Some(
        match (
            kind.to_ascii_lowercase().as_str(),
            rest.to_ascii_lowercase().as_str(),
        ) {
            ("text", "html" | "*") => Form::Html,
            ("text", "plain") => Form::Plain,
            ("application" | "text", "xml") => Form::Xml,
            ("application", rest) if rest.starts_with("grpc") => Form::Grpc,
            _ => Form::Json,
        },
    )
}

fn set_type(headers: &mut Headers, form: Form) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(match form {
            Form::Grpc => "application/grpc",
            Form::Html => "text/html; charset=utf-8",
            Form::Json => "application/json; charset=utf-8",
            Form::Plain => "text/plain; charset=utf-8",
            Form::Xml => "application/xml; charset=utf-8",
        }),
    );
}

fn worded(
    response: &mut Response,
    form: Form,
    text: &str,
    id: RequestId,
    settings: &Settings,
) -> Bytes {
    set_type(&mut response.headers, form);
    let templates = &settings.templates;
    let (own, kongs) = match form {
        Form::Grpc => {
            // The status of HTTP stays, as in Kong: clients of gRPC read `grpc-status` before it.
            let code = grpc_status(response.status.as_u16());
            response
                .headers
                .insert(GRPC_STATUS, HeaderValue::from(code));
            let text = match text {
                "" => grpc_word(code),
                text => text,
            };
            if let Ok(message) = HeaderValue::from_str(&percent_encoded(text)) {
                response.headers.insert(GRPC_MESSAGE, message);
            }
            return Bytes::new();
        }
        Form::Html => (&templates.html, HTML),
        Form::Json => (&templates.json, JSON),
        Form::Plain => (&templates.plain, PLAIN),
        Form::Xml => (&templates.xml, XML),
    };
    let template = own.as_deref().unwrap_or(kongs);
    let escaped = match form {
        Form::Json => {
            let quoted = Value::from(text).to_json();
            Cow::Owned(quoted[1..quoted.len() - 1].to_owned())
        }
        Form::Html | Form::Xml if text.contains(['<', '>', '&', '"']) => Cow::Owned(
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;"),
        ),
        _ => Cow::Borrowed(text),
    };
    let mut body = String::with_capacity(template.len() + escaped.len() + 32);
    let mut words = [&*escaped, id.as_str()].into_iter();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("%s") {
        body.push_str(before);
        body.push_str(words.next().unwrap_or_default());
        rest = after;
    }
    body.push_str(rest);
    body.into()
}

fn finished(response: Response, body: Bytes, request: &Request) -> Answer {
    let bodyless = response.is_bodyless(&request.method) && request.method != Method::HEAD;
    Answer {
        response,
        body: if bodyless { Bytes::new() } else { body },
        details: "kong".into(),
    }
}

fn grpc_status(status: u16) -> u16 {
    match status {
        200 => 0,
        401 => 16,
        403 => 7,
        404 => 5,
        409 => 6,
        429 => 8,
        499 => 1,
        501 => 12,
        503 => 14,
        504 => 4,
        400..=499 => 3,
        500..=599 => 13,
        _ => 2,
    }
}

/// gRPC's own name of a code, where there are no words.
fn grpc_word(code: u16) -> &'static str {
    match code {
        0 => "OK",
        1 => "Canceled",
        3 => "InvalidArgument",
        4 => "DeadlineExceeded",
        5 => "NotFound",
        6 => "AlreadyExists",
        7 => "PermissionDenied",
        8 => "ResourceExhausted",
        12 => "Unimplemented",
        13 => "Internal",
        14 => "Unavailable",
        16 => "Unauthenticated",
        _ => "Unknown",
    }
}

/// A text as `grpc-message` holds it: `%` and what is not printable are escaped.
fn percent_encoded(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'%';
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut all = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if plain(byte) {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(all)
}

/// What types of gRPC's bodies begin with.
const GRPC: &str = "application/grpc";
const HTML: &str = "<!doctype html>
<html>
  <head>
    <meta charset=\"utf-8\">
    <title>Error</title>
  </head>
  <body>
    <h1>Error</h1>
    <p>%s.</p>
    <p>request_id: %s</p>
  </body>
</html>
";
const JSON: &str = "{\n  \"message\":\"%s\",\n  \"request_id\":\"%s\"\n}";
const PLAIN: &str = "%s\nrequest_id: %s\n";
const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>%s</message>\n  <requestid>%s</requestid>\n</error>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_form_wins() {
        for (accept, form) in [
            ("", Form::Json),
            ("*/*", Form::Json),
            ("text/html", Form::Html),
            ("text/html;q=0.1, application/xml;q=0.9", Form::Xml),
            ("text/plain;q=0.5, text/html;q=0.5", Form::Plain),
            ("image/png", Form::Json),
            ("text/html, */*;q=0.1", Form::Html),
        ] {
            assert_eq!(accepted(accept), form, "{accept}");
        }
    }
}
