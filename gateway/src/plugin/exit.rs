//! Answers in place of the service's.

use std::borrow::Cow;

use bytes::Bytes;
use carbyne_engine::http::Headers;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::store::StoreError;
use crate::value::Object;

/// An answer of a plugin. What [`Exit::error`] says is worded by what the client accepts, everything else goes as it is.
#[derive(Debug)]
pub struct Exit(Box<Reply>);

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
    pub(crate) content: Content,
    /// The client did not say who it is.
    pub(crate) anonymous: bool,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// These bytes, and their type where it was said.
    Bytes(Bytes),
    /// JSON; for gRPC its `message` goes into the head.
    Json(Object),
    /// A text within the node's template for what the client accepts (Kong: `kong.response.error`).
    Error(Cow<'static, str>),
    /// `{"message": …}` on one line; for gRPC the message goes into the head (Kong: `kong.response.exit`).
    Message(Cow<'static, str>),
    /// As an error, where nginx words it in Kong: without an `Accept` the form is the node's default.
    Own(Cow<'static, str>),
}

impl Exit {
    /// The text in the form that the client accepts, as Kong's own errors (Kong: `kong.response.error`).
    pub fn error(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self::of(status, Content::Error(text.into()))
    }

    /// `{"message":"…"}` (Kong: `kong.response.exit(status, { message = … })`).
    pub fn message(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self::of(status, Content::Message(text.into()))
    }

    /// A body of JSON.
    pub fn json(status: StatusCode, body: Object) -> Self {
        Self::of(status, Content::Json(body))
    }

    /// Any body, or none; its type is a header like others.
    pub fn body(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::of(status, Content::Bytes(body.into()))
    }

    /// What Kong says where a plugin fails.
    pub fn unexpected() -> Self {
        Self::message(
            StatusCode::INTERNAL_SERVER_ERROR,
            "An unexpected error occurred",
        )
    }

    /// An error that nginx finds in Kong, before any of Kong's code ran.
    pub(crate) fn own(status: StatusCode, text: &'static str) -> Self {
        Self::of(status, Content::Own(text.into()))
    }

    /// The plugin that guards this cannot run.
    pub(crate) fn refused() -> Self {
        Self::message(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable")
    }

    /// With a header field, in place of those of the same name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// With one more header field.
    #[must_use]
    pub fn append(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    /// The client is refused because it did not say who it is: not for saying something wrong.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.0.anonymous = true;
        self
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.0.anonymous
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    fn of(status: StatusCode, content: Content) -> Self {
        Self(Box::new(Reply {
            status,
            headers: Headers::new(),
            content,
            anonymous: false,
        }))
    }

    pub(crate) fn into_reply(self) -> Reply {
        *self.0
    }
}

/// The store does not answer: nobody can be told from anybody else.
impl From<StoreError> for Exit {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a plugin cannot look an entity up");
        Self::unexpected()
    }
}
