//! Values that filters share: shares of requests, statuses, names and values of fields.

use std::sync::Arc;

use carbyne_protos::envoy::config::core::v3::{HeaderValue as WireValue, RuntimeFractionalPercent};
use carbyne_protos::envoy::r#type::matcher::v3::ListStringMatcher;
use carbyne_protos::envoy::r#type::v3::HttpStatus;
use http::{HeaderName, HeaderValue, StatusCode};

use super::planned::Doubts;
use crate::live::matcher::{Fraction, StringMatcher};
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

/// A field whose value has no operators; `%%` stands for `%`.
pub(super) fn header_value(
    message: &WireValue,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<(HeaderName, HeaderValue)> {
    let name = header_name(&message.key, &scope.field("key"))?;
    let scope = scope.field("value");
    let text = if message.raw_value.is_empty() {
        message.value.as_bytes()
    } else {
        &message.raw_value
    };
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest) {
        if rest.get(at + 1) != Some(&b'%') {
            doubts.add(&scope, "operators (`%…%`) in this value are not served");
            return None;
        }
        plain.extend_from_slice(&rest[..=at]);
        rest = &rest[at + 2..];
    }
    plain.extend_from_slice(rest);
    let value = HeaderValue::from_bytes(&plain).ok();
    if value.is_none() {
        scope.reject(Fault::Words("it holds a byte that no field may hold"));
    }
    Some((name, value?))
}

/// The name of a header field.
pub(super) fn header_name(name: &str, scope: &Scope<'_>) -> Option<HeaderName> {
    let read = HeaderName::from_bytes(name.as_bytes()).ok();
    if read.is_none() {
        scope.out_of_range(format_args!("`{name}`"), "the name of a field");
    }
    read
}

/// A share of requests, and `absent` where none is set. A message without a default is nothing in Envoy's eyes.
pub(super) fn share(
    message: Option<&RuntimeFractionalPercent>,
    absent: Fraction,
    scope: &Scope<'_>,
) -> Option<Fraction> {
    match message {
        None => Some(absent),
        Some(message) if message.default_value.is_none() => {
            scope.field("default_value").missing();
            None
        }
        Some(message) => value::runtime_fraction(message, scope),
    }
}

/// A status of an answer; `absent` where there is none.
pub(super) fn status(
    message: Option<&HttpStatus>,
    absent: StatusCode,
    scope: &Scope<'_>,
) -> Option<StatusCode> {
    match message {
        None => Some(absent),
        Some(message) => status_code(i64::from(message.code), &scope.field("code")),
    }
}

/// A status of an answer.
pub(super) fn status_code(code: i64, scope: &Scope<'_>) -> Option<StatusCode> {
    let status = u16::try_from(code)
        .ok()
        .filter(|code| (200..600).contains(code));
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    if status.is_none() {
        scope.out_of_range(code, "a status of an answer (200 to 599)");
    }
    status
}

/// Text matchers, any of which may match; `None` where the message is missing.
pub(super) fn string_list(
    message: Option<&ListStringMatcher>,
    scope: &Scope<'_>,
) -> Option<Arc<[StringMatcher]>> {
    let plan = |(index, pattern)| matcher::string(pattern, &scope.item("patterns", index));
    Some(
        message?
            .patterns
            .iter()
            .enumerate()
            .filter_map(plan)
            .collect(),
    )
}
