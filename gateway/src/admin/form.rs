//! Names of form fields as paths: `a.b`, `a[]`, `a[1]`, `a[b]`, `a[1].b`.

use crate::value::{Object, Value};

/// A step of a path.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Append,
    Index(usize),
    Name(&'a str),
}

/// No form needs longer lists; a single index must not make us allocate for the ones before it.
const LONGEST: usize = 1000;

/// Builds what a form's fields describe. A field that comes twice is a list.
pub(super) fn decode(fields: impl IntoIterator<Item = (String, Value)>) -> Object {
    let mut out = Value::from(Object::new());
    for (name, value) in fields {
        put(&mut out, &steps(&name), value);
    }
    match out {
        Value::Object(members) => members,
        _ => Object::new(),
    }
}

/// Fields of `application/x-www-form-urlencoded`, or of a query.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(name, true), unescape(value, true))
    })
}

/// Undoes percent-encoding; in forms `+` is a space.
pub(super) fn unescape(text: &str, form: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = (bytes[index] == b'%')
            .then(|| text.get(index + 1..index + 3))
            .flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(if form && bytes[index] == b'+' {
                    b' '
                } else {
                    bytes[index]
                });
                index += 1;
            }
        }
    }
    String::from_utf8(out)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Escapes what may not stand in a query.
pub(super) fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(one).collect()
}

fn steps(name: &str) -> Vec<Step<'_>> {
    if name.starts_with('.') || name.ends_with('.') {
        return vec![Step::Name(name)];
    }
    let mut steps = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        if let Some((inner, after)) = rest
            .strip_prefix('[')
            .and_then(|inner| inner.split_once(']'))
            && !steps.is_empty()
        {
            steps.push(match (inner, inner.parse()) {
                ("", _) => Step::Append,
                (_, Ok(index)) => Step::Index(index),
                (name, Err(_)) => Step::Name(name),
            });
            rest = after.strip_prefix('.').unwrap_or(after);
            continue;
        }
        let marks = rest
            .char_indices()
            .skip(1)
            .find(|(_, character)| matches!(character, '.' | '['));
        let (name, after) = rest.split_at(marks.map_or(rest.len(), |(place, _)| place));
        steps.push(Step::Name(name));
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    steps
}

fn put(slot: &mut Value, steps: &[Step<'_>], value: Value) {
    let Some((step, rest)) = steps.split_first() else {
        match slot {
            Value::Null => *slot = value,
            Value::Array(items) => items.push(value),
            other => *other = vec![std::mem::take(other), value].into(),
        }
        return;
    };
    match step {
        Step::Name(name) => {
            if slot.is_null() {
                *slot = Object::new().into();
            }
            if let Value::Object(members) = slot {
                put(members.entry((*name).into()).or_default(), rest, value);
            }
        }
        Step::Append | Step::Index(_) => {
            if slot.is_null() {
                *slot = Vec::new().into();
            }
            let Value::Array(items) = slot else { return };
            let index = match step {
                Step::Index(index) => index.saturating_sub(1),
                _ if rest.is_empty() => items.len(),
                _ => 0,
            };
            if index >= LONGEST {
                return;
            }
            if items.len() <= index {
                items.resize(index + 1, Value::Null);
            }
            put(&mut items[index], rest, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths() {
        for (form, object) in [
            ("a=1&b=2", r#"{"a":"1","b":"2"}"#),
            ("a.b.c=v", r#"{"a":{"b":{"c":"v"}}}"#),
            ("x[]=a&x[]=b", r#"{"x":["a","b"]}"#),
            ("x%5B%5D=a&x%5B%5D=b", r#"{"x":["a","b"]}"#),
            ("x[1]=a&x[2]=b", r#"{"x":["a","b"]}"#),
            ("x=a&x=b&x=c", r#"{"x":["a","b","c"]}"#),
            (
                "sources[1].ip=1.2.3.4&sources[1].port=1",
                r#"{"sources":[{"ip":"1.2.3.4","port":"1"}]}"#,
            ),
            ("headers.x-foo[]=v", r#"{"headers":{"x-foo":["v"]}}"#),
            ("headers[x-foo]=v", r#"{"headers":{"x-foo":"v"}}"#),
            (
                "config.limits.sms.minute=1",
                r#"{"config":{"limits":{"sms":{"minute":"1"}}}}"#,
            ),
            ("name=a+b%26c", r#"{"name":"a b&c"}"#),
            (".a=1&b.=2", r#"{".a":"1","b.":"2"}"#),
            ("x[99999999]=a", r#"{"x":[]}"#),
        ] {
            let fields = pairs(form).map(|(name, value)| (name, value.into()));
            assert_eq!(Value::from(decode(fields)).to_json(), object, "{form}");
        }
    }

    #[test]
    fn texts_survive_escaping() {
        for text in ["a b", "ä/ö", "100%", "a+b=c&d"] {
            assert_eq!(unescape(&escape(text), true), text);
        }
    }
}
