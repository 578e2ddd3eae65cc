//! What the service said, and what it does to the request.

use carbyne_engine::forward::Answer;
use carbyne_engine::http::Request;
use http::{HeaderName, header};
use serde_json::{Map, Value};

use crate::filter::addition::Addition;
use crate::filter::query;

/// What the service said.
#[derive(Debug)]
pub(super) enum Verdict {
    Allowed(Box<Changes>),
    /// With what it tells other filters and the log.
    Denied(Answer, Map<String, Value>),
    /// Nothing that could be understood: why.
    Failed(String),
}

/// What becomes of an allowed request.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) request: Vec<Addition>,
    pub(super) remove: Vec<HeaderName>,
    pub(super) set_parameters: Vec<(String, String)>,
    pub(super) remove_parameters: Vec<String>,
    /// For the response, when it comes.
    pub(super) response: Vec<Addition>,
    pub(super) metadata: Map<String, Value>,
}

impl Changes {
    /// Changes the request; true if there was something to change.
    pub(super) fn apply(&self, request: &mut Request) -> bool {
        for addition in &self.request {
            addition.apply(&mut request.headers);
        }
        for name in &self.remove {
            request.headers.remove(name);
        }
        for (key, value) in &self.set_parameters {
            query::remove(request, key);
            query::append(request, key, value);
        }
        for key in &self.remove_parameters {
            query::remove(request, key);
        }
        !(self.request.is_empty()
            && self.remove.is_empty()
            && self.set_parameters.is_empty()
            && self.remove_parameters.is_empty())
    }
}

/// Fields about a connection or a body's framing: they never pass from the service's answer to the client or the host.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::HOST,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}
