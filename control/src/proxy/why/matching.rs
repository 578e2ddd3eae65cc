//! Envoy's matchers. None: it depends on something that nobody said.

use std::net::IpAddr;

use regex::Regex;
use serde_json::Value;

use super::walk::Ask;
use crate::admin::{number, text};

/// A StringMatcher (also a PathMatcher's or a principal's).
pub(super) fn string(matcher: &Value, value: &str) -> Option<bool> {
    let fold = matcher.get("ignore_case") == Some(&Value::Bool(true));
    let value = if fold {
        value.to_lowercase()
    } else {
        value.to_owned()
    };
    let word = |key: &str| {
        let word = matcher.get(key)?.as_str()?;
        Some(if fold {
            word.to_lowercase()
        } else {
            word.to_owned()
        })
    };
    if let Some(exact) = word("exact") {
        Some(value == exact)
    } else if let Some(prefix) = word("prefix") {
        Some(value.starts_with(&prefix))
    } else if let Some(suffix) = word("suffix") {
        Some(value.ends_with(&suffix))
    } else if let Some(part) = word("contains") {
        Some(value.contains(&part))
    } else if let Some(pattern) = matcher.pointer("/safe_regex/regex").and_then(Value::as_str) {
        regex(pattern, &value)
    } else {
        None
    }
}

/// A whole text.
pub(super) fn regex(pattern: &str, value: &str) -> Option<bool> {
    Some(
        Regex::new(&format!("^(?:{pattern})$"))
            .ok()?
            .is_match(value),
    )
}

/// A HeaderMatcher.
pub(super) fn header(matcher: &Value, ask: &Ask) -> Option<bool> {
    let name = text(matcher, "/name").to_lowercase();
    let value = ask.field(&name);
    let matched = if let Some(present) = matcher.get("present_match").and_then(Value::as_bool) {
        Some(value.is_some() == present)
    } else {
        match &value {
            None if matcher.get("treat_missing_header_as_empty") != Some(&Value::Bool(true)) => {
                Some(false)
            }
            value => {
                let value = value.as_deref().unwrap_or_default();
                let old = [
                    ("exact_match", "exact"),
                    ("prefix_match", "prefix"),
                    ("suffix_match", "suffix"),
                    ("contains_match", "contains"),
                ];
                let old = old
                    .iter()
                    .find_map(|(key, name)| Some(serde_json::json!({*name: matcher.get(*key)?})));
                let matcher = matcher.get("string_match").cloned().or(old).or_else(|| {
                    Some(serde_json::json!({"safe_regex": matcher.get("safe_regex_match")?}))
                });
                match matcher {
                    Some(matcher) => string(&matcher, value),
                    // Only its name is given: it must be there.
                    None if matcher.is_none() => Some(true),
                    None => None,
                }
            }
        }
    };
    let inverted = matcher.get("invert_match") == Some(&Value::Bool(true));
    matched.map(|matched| matched != inverted)
}

/// A CidrRange.
pub(super) fn cidr(range: &Value, address: Option<IpAddr>) -> Option<bool> {
    let address = address?;
    let prefix: IpAddr = text(range, "/address_prefix").parse().ok()?;
    let length = number(range, "/prefix_len").unwrap_or(0.0);
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32.0),
        IpAddr::V6(address) => (u128::from(address), 128.0),
    };
    let ((address, width), (prefix, other)) = (bits(address), bits(prefix));
    if width != other {
        return Some(false);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 128, clamped"
    )]
    let length = length.clamp(0.0, width) as u32;
    let shift = 128 - length;
    Some(shift == 128 || (address ^ prefix) >> shift == 0)
}

/// True if any is, unknown if none is but one may be.
pub(super) fn any(values: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut unknown = false;
    for value in values {
        match value {
            Some(true) => return value,
            Some(false) => {}
            None => unknown = true,
        }
    }
    (!unknown).then_some(false)
}

/// False if any is, unknown if none is but one may be.
pub(super) fn all(values: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    any(values.map(|value| value.map(|value| !value))).map(|value| !value)
}
