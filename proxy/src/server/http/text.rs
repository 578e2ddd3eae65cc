//! Field values with operators, such as `%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%`.

use carbyne_engine::forward::Downstream;
use carbyne_engine::http::{Headers, Request};

use crate::context::Context;
use crate::live::route::HeaderText;

/// What field values may tell.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The client's connection.
    pub downstream: &'a Downstream,
    /// What filters found out.
    pub context: &'a Context,
}

impl Facts<'_> {
    /// Words a value for a request.
    pub fn request_text(&self, text: &HeaderText, request: &Request, value: &mut Vec<u8>) {
        self.word(text, request, None, value);
    }

    /// Words a value for a response.
    pub fn response_text(
        &self,
        text: &HeaderText,
        request: &Request,
        headers: &Headers,
        value: &mut Vec<u8>,
    ) {
        self.word(text, request, Some(headers), value);
    }

    fn word(
        &self,
        text: &HeaderText,
        _request: &Request,
        _headers: Option<&Headers>,
        value: &mut Vec<u8>,
    ) {
        match text {
            HeaderText::Literal(literal) => value.extend_from_slice(literal.as_bytes()),
            HeaderText::Format(format) => value.extend_from_slice(format.as_bytes()),
        }
    }
}
