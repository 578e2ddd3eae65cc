//! The request: what the client sent, and what goes to the service.

use bytes::Bytes;
use carbyne_engine::forward::Error;
use carbyne_engine::http::{Body, Headers};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::exit::Exit;
use super::query::{self, Query};
use super::transform::{Transform, transformed};
use crate::proxy::context::Exchange;

/// The request as the client sent it, with what plugins changed (Kong: `kong.request`).
#[derive(Debug)]
pub struct Request<'a> {
    exchange: &'a mut Exchange,
}

/// What goes to the service (Kong: `kong.service.request`).
#[derive(Debug)]
pub struct ServiceRequest<'a> {
    exchange: &'a mut Exchange,
}

impl<'a> Request<'a> {
    pub(super) const fn new(exchange: &'a mut Exchange) -> Self {
        Self { exchange }
    }

    pub const fn method(&self) -> &Method {
        &self.exchange.request.method
    }

    /// `http` or `https`, as the connection is.
    pub fn scheme(&self) -> &'static str {
        self.exchange.context.arrival.scheme()
    }

    /// The scheme that a trusted proxy told, else the connection's.
    pub fn forwarded_scheme(&self) -> &str {
        self.exchange
            .context
            .forwarded_scheme(&self.exchange.request)
    }

    /// The host without its port, lower-case.
    pub fn host(&self) -> &str {
        std::str::from_utf8(&self.exchange.request.host).unwrap_or_default()
    }

    /// The port that the client connected to.
    pub const fn port(&self) -> u16 {
        self.exchange.context.arrival.port
    }

    /// The path, as it was sent, without the query (Kong: `get_raw_path`).
    pub fn raw_path(&self) -> &[u8] {
        self.exchange.request.path_only()
    }

    /// The path in the form that routes are matched with (Kong: `get_path`).
    pub fn path(&self) -> String {
        String::from_utf8_lossy(&crate::router::uri::normalize(self.raw_path())).into_owned()
    }

    /// Path and query as they were sent.
    pub const fn path_with_query(&self) -> &Bytes {
        &self.exchange.request.path
    }

    /// The query as it was sent, without `?`.
    pub fn raw_query(&self) -> &[u8] {
        self.exchange.request.query().unwrap_or_default()
    }

    /// The query's arguments.
    pub fn query(&self) -> Query {
        Query::parse(self.raw_query())
    }

    /// The first value of an argument.
    pub fn query_argument(&self, name: &str) -> Option<String> {
        let raw = self.raw_query();
        if raw.is_empty() {
            return None;
        }
        Query::parse(raw).get(name).map(ToOwned::to_owned)
    }

    pub const fn headers(&self) -> &Headers {
        &self.exchange.request.headers
    }

    /// The first value of a field, as text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.exchange.request.headers.text(name)
    }

    /// What the route's regular expression captured, by name or by number from 1.
    pub fn capture(&self, name: &str) -> Option<&str> {
        self.exchange.context.captures.as_ref()?.get(name)
    }

    /// The body's length where it is told in advance.
    pub fn content_length(&self) -> Option<u64> {
        self.exchange.body.exact_length()
    }

    /// The media type without its parameters, lower-case.
    pub fn media_type(&self) -> Option<String> {
        let value = self.header(&header::CONTENT_TYPE)?;
        let name = value.split(';').next().unwrap_or_default();
        Some(name.trim().to_ascii_lowercase())
    }

    /// The whole body, which stays in place. One above the node's limit answers 413, a broken one 400.
    pub async fn raw_body(&mut self) -> Result<Bytes, Exit> {
        let limit = self.exchange.context.local.node.settings.body_limit();
        self.raw_body_within(limit).await
    }

    /// The same with a limit of the plugin's own.
    pub async fn raw_body_within(&mut self, limit: usize) -> Result<Bytes, Exit> {
        self.exchange
            .buffer_body(limit)
            .await
            .map_err(|error| match error {
                Error::RequestTooLarge { .. } => {
                    Exit::error(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large")
                }
                _ => Exit::error(StatusCode::BAD_REQUEST, "Bad request"),
            })
    }

    /// Lets the body pass through `transform` on its way to the service. Where lengths may change, the service is told
    /// none in advance.
    pub fn transform(&mut self, transform: Box<dyn Transform>) {
        if self.exchange.body.is_end() {
            return;
        }
        if !transform.keeps_length() {
            self.exchange
                .request
                .headers
                .remove(&header::CONTENT_LENGTH);
        }
        let body = std::mem::take(&mut self.exchange.body);
        self.exchange.body = transformed(body, transform);
    }
}

impl<'a> ServiceRequest<'a> {
    pub(super) const fn new(exchange: &'a mut Exchange) -> Self {
        Self { exchange }
    }

    pub fn set_method(&mut self, method: Method) {
        self.exchange.request.method = method;
    }

    /// In place of all fields of that name. `host` is [`ServiceRequest::set_host`].
    pub fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        if name == header::HOST {
            self.set_host(Bytes::copy_from_slice(value.as_bytes()));
        } else {
            self.exchange.request.headers.insert(name, value);
        }
    }

    pub fn add_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.exchange.request.headers.append(name, value);
    }

    pub fn clear_header(&mut self, name: &HeaderName) -> bool {
        self.exchange.request.headers.remove(name)
    }

    pub fn headers(&mut self) -> &mut Headers {
        &mut self.exchange.request.headers
    }

    /// The `Host` that the service sees, whatever the route says.
    pub fn set_host(&mut self, host: Bytes) {
        self.exchange.context.upstream.host = Some(host);
    }

    /// The path that the service sees, unescaped, without a query.
    pub fn set_path(&mut self, path: impl Into<Bytes>) {
        self.exchange.context.upstream.path = path.into();
    }

    /// The path that the service will see, unescaped.
    pub const fn path(&self) -> &Bytes {
        &self.exchange.context.upstream.path
    }

    pub fn set_query(&mut self, query: &Query) {
        self.set_raw_query(query.to_text().as_bytes());
    }

    /// Removes every argument of that name and leaves the others as they were sent.
    pub fn clear_query_argument(&mut self, name: &str) -> bool {
        let raw = self.exchange.request.query().unwrap_or_default();
        let left = query::without(raw, name);
        let found = left.is_some();
        if let Some(left) = left {
            self.set_raw_query(&left);
        }
        found
    }

    pub fn set_raw_query(&mut self, raw: &[u8]) {
        let request = &mut self.exchange.request;
        let end = request.path_only().len();
        if raw.is_empty() {
            request.path.truncate(end);
            return;
        }
        let mut path = Vec::with_capacity(end + 1 + raw.len());
        path.extend_from_slice(&request.path[..end]);
        path.push(b'?');
        path.extend_from_slice(raw);
        request.path = path.into();
    }

    /// In place of the body. Its length is told by the engine.
    pub fn set_raw_body(&mut self, body: impl Into<Bytes>) {
        let headers = &mut self.exchange.request.headers;
        headers.remove(&header::CONTENT_LENGTH);
        self.exchange.body = Body::full(body);
    }

    /// Where the request goes in place of the service's host and port (Kong: `kong.service.set_target`).
    pub fn set_target(&mut self, host: &str, port: u16) {
        self.exchange.context.upstream.target = Some((host.into(), port));
    }
}
