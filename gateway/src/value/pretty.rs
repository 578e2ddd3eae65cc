//! Tables in messages, as Penlight's `pretty.write` prints them: `{a="x",["b-c"]=1}`.

use super::{Value, number_text};

/// On one line, with null written as Lua prints the value that stands for it.
pub fn line(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, None);
    out
}

/// On one line, with a plain `null`, as messages about uniqueness have it.
pub fn line_with_nulls(value: &Value) -> String {
    line(value).replace(NULL, "null")
}

/// On several lines, indented by two spaces.
pub fn lines(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, Some(0));
    out
}

/// What `tostring(ngx.null)` is, quoted by Penlight.
const NULL: &str = "\"userdata: NULL\"";

/// Lua's reserved words cannot stand bare as keys.
const RESERVED: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

fn write(out: &mut String, value: &Value, indent: Option<usize>) {
    match value {
        Value::Null => out.push_str(NULL),
        Value::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number_text(*number)),
        Value::String(text) => quote(out, text),
        Value::Array(items) if items.is_empty() => empty(out),
        Value::Object(members) if members.is_empty() => empty(out),
        Value::Array(items) => {
            let gap = items.iter().position(Value::is_null).unwrap_or(items.len());
            // A Lua sequence ends at its first hole; what follows has its index written.
            let rows = items.iter().enumerate().filter(|(_, item)| !item.is_null());
            table(out, indent, rows, |out, (index, item), indent| {
                if index > gap {
                    out.push_str(&format!("[{}]{}", index + 1, equals(indent)));
                }
                write(out, item, indent);
            });
        }
        Value::Object(members) => {
            let mut rows: Vec<_> = members.iter().collect();
            rows.sort_by(|a, b| a.0.cmp(b.0));
            table(
                out,
                indent,
                rows.into_iter(),
                |out, (name, value), indent| {
                    key(out, name);
                    out.push_str(equals(indent));
                    write(out, value, indent);
                },
            );
        }
    }
}

fn empty(out: &mut String) {
    out.push_str("{}");
}

fn table<T>(
    out: &mut String,
    indent: Option<usize>,
    rows: impl Iterator<Item = T>,
    mut row: impl FnMut(&mut String, T, Option<usize>),
) {
    out.push('{');
    let inner = indent.map(|depth| depth + 1);
    for (index, item) in rows.enumerate() {
        if index > 0 {
            out.push(',');
        }
        newline(out, inner);
        row(out, item, inner);
    }
    newline(out, indent);
    out.push('}');
}

fn newline(out: &mut String, indent: Option<usize>) {
    if let Some(depth) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

fn equals(indent: Option<usize>) -> &'static str {
    if indent.is_some() { " = " } else { "=" }
}

fn key(out: &mut String, name: &str) {
    let bare = name.bytes().enumerate().all(|(index, byte)| {
        byte == b'_' || byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit())
    });
    if bare && !name.is_empty() && !RESERVED.contains(&name) {
        out.push_str(name);
    } else {
        out.push('[');
        quote(out, name);
        out.push(']');
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object;

    #[test]
    fn tables_are_printed_on_a_line() {
        for (json, printed) in [
            (
                r#"{"name":"x","b":1,"key-x":"y","c":{"id":"u"}}"#,
                r#"{b=1,c={id="u"},["key-x"]="y",name="x"}"#,
            ),
            (r#"["a","b"]"#, r#"{"a","b"}"#),
            (
                r#"[null,{"host":"required field missing"}]"#,
                r#"{[2]={host="required field missing"}}"#,
            ),
            (
                r#"{"services":[{"host":"required field missing"}]}"#,
                r#"{services={{host="required field missing"}}}"#,
            ),
            (r#"{"end":1}"#, r#"{["end"]=1}"#),
        ] {
            assert_eq!(line(&Value::from_json(json.as_bytes()).unwrap()), printed);
        }
    }

    #[test]
    fn tables_are_printed_on_lines() {
        let value = Value::from(vec![Value::from("bad"), Value::from("worse")]);
        assert_eq!(lines(&value), "{\n  \"bad\",\n  \"worse\"\n}");
        assert_eq!(lines(&object! { "a": "b" }.into()), "{\n  a = \"b\"\n}");
    }

    #[test]
    fn unique_keys_have_plain_nulls() {
        let key = object! { "name": "key-auth", "consumer": Value::Null };
        assert_eq!(
            line_with_nulls(&key.into()),
            r#"{consumer=null,name="key-auth"}"#
        );
    }
}
