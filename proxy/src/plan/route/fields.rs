//! Fields added and removed.

use std::sync::Arc;

use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use http::{HeaderName, HeaderValue};

use crate::live::route::{
    AppendAction, HeaderAddition, HeaderFormat, HeaderOperations, HeaderText,
};
use crate::observe::format::Format;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;

/// Plans operations; nothing where there are none. `name` is `request_headers` or `response_headers`.
pub fn plan(
    add: &[core::HeaderValueOption],
    remove: &[String],
    name: &'static str,
    scope: &Scope<'_>,
) -> Option<HeaderOperations> {
    let (added, removed) = match name {
        "request_headers" => ("request_headers_to_add", "request_headers_to_remove"),
        _ => ("response_headers_to_add", "response_headers_to_remove"),
    };
    let remove = remove.iter().enumerate();
    let add = add.iter().enumerate();
    let operations = HeaderOperations {
        remove: remove
            .filter_map(|(index, name)| field_name(name, &scope.item(removed, index)))
            .collect(),
        add: add
            .filter_map(|(index, option)| addition(option, &scope.item(added, index)))
            .collect(),
    };
    (!operations.is_empty()).then_some(operations)
}

/// The same, to be shared by many routes.
pub fn plan_shared(
    add: &[core::HeaderValueOption],
    remove: &[String],
    name: &'static str,
    scope: &Scope<'_>,
) -> Option<Arc<HeaderOperations>> {
    plan(add, remove, name, scope).map(Arc::new)
}

/// Plans one addition.
pub fn addition(option: &core::HeaderValueOption, scope: &Scope<'_>) -> Option<HeaderAddition> {
    let Some(header) = &option.header else {
        scope.field("header").missing();
        return None;
    };
    let header_scope = scope.field("header");
    let name = field_name(&header.key, &header_scope.field("key"));
    let value = if header.raw_value.is_empty() {
        header.value.as_bytes()
    } else {
        &header.raw_value
    };
    let text = text(value, &header_scope.field("value"));
    let action = match (
        option.append,
        HeaderAppendAction::try_from(option.append_action),
    ) {
        // The deprecated switch, where it is set.
        (Some(true), _) => AppendAction::Append,
        (Some(false), _) => AppendAction::Overwrite,
        (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => AppendAction::Append,
        (None, Ok(HeaderAppendAction::AddIfAbsent)) => AppendAction::AddIfAbsent,
        (None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => AppendAction::Overwrite,
        (None, Ok(HeaderAppendAction::OverwriteIfExists)) => AppendAction::OverwriteIfExists,
        (None, Err(_)) => {
            scope
                .field("append_action")
                .out_of_range(option.append_action, "an append action (0 to 3)");
            return None;
        }
    };
    Some(HeaderAddition {
        name: name?,
        text: text?,
        action,
        keep_empty: option.keep_empty_value,
    })
}

/// A literal, or a text with operators. `%%` is a percent sign.
fn text(value: &[u8], scope: &Scope<'_>) -> Option<HeaderText> {
    let literal = |bytes: &[u8]| {
        let value = HeaderValue::from_bytes(bytes);
        if value.is_err() {
            scope.reject(Fault::Words("holds bytes that do not belong into a field"));
        }
        value.ok().map(HeaderText::Literal)
    };
    if !value.contains(&b'%') {
        return literal(value);
    }
    let Ok(text) = std::str::from_utf8(value) else {
        scope.reject(Fault::Words("is not UTF-8"));
        return None;
    };
    let format = scope.take(Format::header(text))?;
    match format.literal() {
        Some(text) => literal(text),
        None => Some(HeaderText::Format(Arc::new(HeaderFormat {
            raw: text.into(),
            format,
        }))),
    }
}

/// A field that may be changed: `host` and pseudo-headers may not.
pub fn field_name(name: &str, scope: &Scope<'_>) -> Option<HeaderName> {
    if name.is_empty() {
        scope.missing();
        return None;
    }
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        scope.out_of_range(
            format_args!("`{name}`"),
            "a field that may be changed (pseudo-headers and host may not)",
        );
        return None;
    }
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        scope.out_of_range(format_args!("`{name}`"), "the name of a field");
    }
    parsed
}
