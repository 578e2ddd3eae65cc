//! What goes back to the client.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use http_body_util::Full;

use crate::error::{Code, Error};
use crate::object;
use crate::value::{Object, Value};

/// An answer of the Admin API.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    body: Content,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug)]
enum Content {
    Nothing,
    Json(Value),
    /// Of a type that the headers say.
    Text(String),
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Value>) -> Self {
        Self {
            status,
            body: Content::Json(body.into()),
            headers: Vec::new(),
        }
    }

    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// Together with another member of its body.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Content::Json(Value::Object(body)) = &mut self.body {
            body.insert(name.to_owned(), value.into());
        }
        self
    }

    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            body: Content::Nothing,
            headers: Vec::new(),
        }
    }

    /// A text of another type than JSON.
    pub(super) fn text(content_type: HeaderValue, text: String) -> Self {
        Self {
            body: Content::Text(text),
            headers: vec![(header::CONTENT_TYPE, content_type)],
            ..Self::empty(200)
        }
    }

    pub(super) fn ok(body: impl Into<Value>) -> Self {
        Self::new(200, body)
    }

    pub(super) fn message(status: u16, message: &str) -> Self {
        Self::new(status, object! { "message": message })
    }

    pub(super) fn not_found() -> Self {
        Self::message(404, "Not found")
    }

    /// What may be asked of a path.
    pub(super) fn options(methods: &[&str], wanted: Option<HeaderValue>) -> Self {
        let methods = HeaderValue::from_str(&methods.join(", "));
        let methods = methods.unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"));
        let allowed = wanted.unwrap_or(HeaderValue::from_static("Content-Type"));
        let headers = vec![
            (header::ALLOW, methods.clone()),
            (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed),
        ];
        Self {
            status: 204,
            body: Content::Nothing,
            headers,
        }
    }

    pub(super) fn into_response(self, is_head: bool) -> Response<Full<Bytes>> {
        let body = match self.body {
            Content::Nothing => None,
            Content::Json(value) => Some(Bytes::from(value.to_json())),
            Content::Text(text) => Some(Bytes::from(text)),
        };
        let length = body.as_ref().map(Bytes::len);
        let sent = body.filter(|_| !is_head).unwrap_or_default();
        let mut response = Response::new(Full::new(sent));
        *response.status_mut() = http::StatusCode::from_u16(self.status)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        let status = error.code.status();
        if status < 500 {
            return Self::new(status, error.body());
        }
        tracing::error!(code = error.code.name(), %error, "a request to the Admin API failed");
        // Why a write did not happen is the operator's business, and nobody else asks here.
        match error.code {
            Code::DatabaseError => Self::message(status, &error.message),
            _ => Self::message(status, "An unexpected error occurred"),
        }
    }
}

/// A listing: `next` is null on the last page, and `offset` is absent.
pub(super) fn listing(
    data: Vec<Value>,
    offset: Option<String>,
    next: impl FnOnce(&str) -> String,
) -> Answer {
    let mut body = object! { "data": data };
    let next = offset.as_deref().map(next);
    if let Some(offset) = offset {
        body.insert("offset".into(), offset.into());
    }
    body.insert("next".into(), next.map_or(Value::Null, Value::from));
    Answer::ok(body)
}

/// An entity, or that there is none.
pub(super) fn entity(found: Option<Object>) -> Answer {
    found.map_or_else(Answer::not_found, Answer::ok)
}
