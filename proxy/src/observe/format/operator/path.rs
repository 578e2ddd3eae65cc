//! Path and query of the request.

use super::{Operator, put};
use crate::live::matcher::HeaderField;
use crate::observe::facts::Facts;

/// Which path `PATH` means.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Original {
    /// What the client asked for, before rewrites.
    Only,
    /// What is sent on.
    Never,
    /// The former where it was rewritten.
    Prefer,
}

impl Original {
    /// Appends the path, with its query or without.
    pub(super) fn write(self, facts: &Facts<'_>, query: bool, out: &mut Vec<u8>) -> bool {
        let Some(request) = facts.request else {
            return false;
        };
        let asked = || {
            request
                .headers
                .get(&X_ENVOY_ORIGINAL_PATH)
                .map(http::HeaderValue::as_bytes)
        };
        let path = match self {
            Self::Only => asked(),
            Self::Never => HeaderField::Path.first(request),
            Self::Prefer => asked().or_else(|| HeaderField::Path.first(request)),
        };
        let Some(path) = path else { return false };
        let end = if query {
            path.len()
        } else {
            memchr::memchr(b'?', path).unwrap_or(path.len())
        };
        put(out, &path[..end])
    }
}

/// `PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)`.
pub(super) fn path(argument: &str) -> Result<Operator, String> {
    let (query, original) = argument.split_once(':').unwrap_or((argument, ""));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(format!("expected WQ or NQ, found `{other}`")),
    };
    let original = match original {
        "" | "ORIG_OR_PATH" => Original::Prefer,
        "ORIG" => Original::Only,
        "PATH" => Original::Never,
        other => {
            return Err(format!(
                "expected ORIG, PATH or ORIG_OR_PATH, found `{other}`"
            ));
        }
    };
    Ok(Operator::Path { original, query })
}

/// The first value of a query parameter.
pub(super) fn query_parameter<'a>(facts: &Facts<'a>, name: &[u8]) -> Option<&'a [u8]> {
    facts
        .request?
        .query()?
        .split(|byte| *byte == b'&')
        .find_map(|pair| {
            let rest = pair.strip_prefix(name)?;
            rest.strip_prefix(b"=")
                .or_else(|| rest.is_empty().then_some(rest))
        })
}

const X_ENVOY_ORIGINAL_PATH: http::HeaderName =
    http::HeaderName::from_static("x-envoy-original-path");
