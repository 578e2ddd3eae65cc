//! Files of format 1.1 and 2.1: before 3.0 a path said by its characters whether it was a regular
//! expression.

use crate::schema::normalize_path;
use crate::value::{Object, Value};

/// Turns a document of an older format into one of 3.0.
pub(super) fn migrate(document: &mut Object) {
    if !matches!(
        document.get("_format_version").and_then(Value::as_str),
        Some("1.1" | "2.1")
    ) {
        return;
    }
    routes(document.get_mut("routes"));
    if let Some(Value::Array(services)) = document.get_mut("services") {
        for service in services {
            if let Value::Object(service) = service {
                routes(service.get_mut("routes"));
            }
        }
    }
    document.insert("_format_version".into(), "3.0".into());
}

fn routes(routes: Option<&mut Value>) {
    let Some(Value::Array(routes)) = routes else {
        return;
    };
    for route in routes {
        let Value::Object(route) = route else {
            continue;
        };
        let Some(Value::Array(paths)) = route.get_mut("paths") else {
            continue;
        };
        for path in paths {
            if let Value::String(text) = path {
                *text = migrated(text);
            }
        }
    }
}

fn migrated(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/%".contains(&byte);
    if path.bytes().all(plain) {
        normalize_path(path)
    } else {
        format!("~{}", unescaped(path))
    }
}

/// Undoes percent-encoding for the last time: reserved characters stay encoded, and what means
/// something in a regular expression is escaped for it.
fn unescaped(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut rest = regex;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = after
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if b"!#$%&'()*+,/:;=?@[]".contains(&byte) => {
                out.push_str(&format!("%{byte:02X}"))
            }
            Some(byte) if b".^-{}\\|".contains(&byte) => {
                out.push('\\');
                out.push(char::from(byte));
            }
            Some(byte) if byte.is_ascii() => out.push(char::from(byte)),
            // Bytes beyond ASCII are parts of characters: they stay as they are.
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            None => out.push('%'),
        }
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_look_like_regular_expressions_become_ones() {
        for (old, new) in [
            ("/a/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%62", "/a/b"),
            (r"/status/\d+", r"~/status/\d+"),
            ("/(a)%2e%2f", r"~/(a)\.%2F"),
        ] {
            assert_eq!(migrated(old), new, "{old}");
        }
    }
}
