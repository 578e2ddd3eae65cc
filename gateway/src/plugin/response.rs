//! The response on its way to the client.

use carbyne_engine::http::Headers;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::transform::{Transform, transformed};
use crate::proxy::context::{Exchange, Source};

/// The response, in the header filter (Kong: `kong.response`). In earlier phases what is set here is kept for the
/// response that will come.
#[derive(Debug)]
pub struct Response<'a> {
    exchange: &'a mut Exchange,
}

impl<'a> Response<'a> {
    pub(super) const fn new(exchange: &'a mut Exchange) -> Self {
        Self { exchange }
    }

    /// The status; `None` before there is a response.
    pub fn status(&self) -> Option<StatusCode> {
        let response = self.exchange.response.as_ref();
        response.map(|response| response.status)
    }

    pub fn set_status(&mut self, status: StatusCode) {
        if let Some(response) = &mut self.exchange.response {
            response.status = status;
        }
    }

    /// Who made the response (Kong: `get_source`).
    pub fn source(&self) -> Source {
        self.exchange.context.source
    }

    /// The first value of a field, as text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        let response = self.exchange.response.as_ref()?;
        response.headers.text(name)
    }

    /// The fields of the response that is here, else those that are kept for it.
    pub fn headers(&mut self) -> &mut Headers {
        match &mut self.exchange.response {
            Some(response) => &mut response.headers,
            None => &mut self.exchange.context.response_headers,
        }
    }

    /// In place of all fields of that name.
    pub fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers().insert(name, value);
    }

    pub fn add_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers().append(name, value);
    }

    pub fn clear_header(&mut self, name: &HeaderName) -> bool {
        self.headers().remove(name)
    }

    /// Lets the body pass through `transform`. Where lengths may change, the client is told none in advance.
    pub fn transform(&mut self, transform: Box<dyn Transform>) {
        if !transform.keeps_length()
            && let Some(response) = &mut self.exchange.response
        {
            response.headers.remove(&header::CONTENT_LENGTH);
        }
        let body = std::mem::take(&mut self.exchange.response_body);
        self.exchange.response_body = transformed(body, transform);
    }
}
