//! `json_format`: a structure whose texts are formats. A text that is one operator keeps the operator's type (numbers, `null` for what is
//! missing, objects of metadata); other texts stay texts. Keys are printed in order, as Envoy does.

use carbyne_protos::prost_types::value::Kind;
use carbyne_protos::prost_types::{Struct, Value};

use super::operator::Shape;
use super::{Field, FormatError, Part, parse};
use crate::observe::facts::Facts;

/// A compiled structure.
#[derive(Clone, Debug)]
pub struct JsonFormat {
    root: Node,
    omit_empty: bool,
}

#[derive(Clone, Debug)]
enum Node {
    /// Each with its key as it is printed: behind a comma, quoted, with the colon.
    Object(Box<[(Box<[u8]>, Self)]>),
    List(Box<[Self]>),
    /// Printed as it stands.
    Literal(Box<[u8]>),
    Field(Field),
    /// The literals are escaped already.
    Text(Box<[Part]>),
}

impl JsonFormat {
    /// Compiles; every text that is no format is told with its path below the structure.
    pub fn plan(format: &Struct, omit_empty: bool) -> Result<Self, Vec<(String, FormatError)>> {
        let mut errors = Vec::new();
        let root = object(format, "", &mut errors);
        if errors.is_empty() {
            Ok(Self { root, omit_empty })
        } else {
            Err(errors)
        }
    }

    /// An object without fields.
    pub fn empty() -> Self {
        Self {
            root: Node::Object(Box::default()),
            omit_empty: false,
        }
    }

    /// Appends the object, without a newline.
    pub fn render(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        self.node(&self.root, facts, out);
    }

    /// Appends one node; false where it is left out.
    fn node(&self, node: &Node, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        match node {
            Node::Object(entries) => {
                out.push(b'{');
                let mut first = true;
                for (key, value) in entries {
                    let start = out.len();
                    // The first one goes without its comma.
                    out.extend_from_slice(&key[usize::from(first)..]);
                    if self.node(value, facts, out) {
                        first = false;
                    } else {
                        out.truncate(start);
                    }
                }
                out.push(b'}');
            }
            Node::List(entries) => {
                out.push(b'[');
                let mut first = true;
                for value in entries {
                    let start = out.len();
                    if !first {
                        out.push(b',');
                    }
                    if self.node(value, facts, out) {
                        first = false;
                    } else {
                        out.truncate(start);
                    }
                }
                out.push(b']');
            }
            Node::Literal(text) => out.extend_from_slice(text),
            Node::Field(field) => {
                if !field.write_json(facts, out) {
                    if self.omit_empty {
                        return false;
                    }
                    out.extend_from_slice(b"null");
                }
            }
            Node::Text(parts) => {
                out.push(b'"');
                for part in parts {
                    match part {
                        Part::Literal(text) => out.extend_from_slice(text),
                        Part::Field(field) => {
                            let start = out.len();
                            if field.write(facts, out) {
                                escape_from(out, start);
                            } else if !self.omit_empty {
                                out.push(b'-');
                            }
                        }
                    }
                }
                out.push(b'"');
            }
        }
        true
    }
}

impl Field {
    /// Appends the value with its type; false where there is none, and nothing is appended then.
    fn write_json(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let present = match self.operator.shape() {
            Shape::Number => self.operator.write(facts, out),
            Shape::Any => self.operator.write_json(facts, out),
            Shape::Text => {
                out.push(b'"');
                let present = self.write(facts, out);
                if !self.operator.is_plain() {
                    escape_from(out, start + 1);
                }
                out.push(b'"');
                present
            }
        };
        if !present {
            out.truncate(start);
        }
        present
    }
}

/// Appends `text` as it stands between the quotes of a JSON string; bytes that are no UTF-8 become U+FFFD.
pub fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                8 => out.extend_from_slice(b"\\b"),
                12 => out.extend_from_slice(b"\\f"),
                0..32 | 127 => {
                    const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
                    out.extend_from_slice(b"\\u00");
                    out.push(HEXADECIMAL[usize::from(byte >> 4)]);
                    out.push(HEXADECIMAL[usize::from(byte & 15)]);
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Escapes what stands in the buffer from `start` on. Most values need nothing.
fn escape_from(out: &mut Vec<u8>, start: usize) {
    if is_plain(&out[start..]) {
        return;
    }
    let raw = out.split_off(start);
    write_escaped(&raw, out);
}

/// Whether all bytes are printable ASCII other than `"` and `\`: eight at a time, with the bit tricks of "Bit Twiddling Hacks".
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([128; 8]);
    // The high bit of a byte of the result is set where that byte is zero; a borrow may set more, above a byte that is.
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let odd = |word: u64| {
        let below_space = word.wrapping_sub(ONES * 32) & !word;
        let above_ascii = word;
        ((below_space | above_ascii) & HIGH)
            | has_zero(word ^ (ONES * u64::from(b'"')))
            | has_zero(word ^ (ONES * u64::from(b'\\')))
            | has_zero(word ^ (ONES * 127))
    };
    let Some(last) = text.last_chunk::<8>() else {
        let word = text
            .iter()
            .fold(ONES * 32, |word, byte| word << 8 | u64::from(*byte));
        return odd(word) == 0;
    };
    // The last eight bytes overlap the words before them.
    let (words, _) = text.as_chunks::<8>();
    let found = words
        .iter()
        .fold(0, |found, word| found | odd(u64::from_ne_bytes(*word)));
    found | odd(u64::from_ne_bytes(*last)) == 0
}

fn object(fields: &Struct, path: &str, errors: &mut Vec<(String, FormatError)>) -> Node {
    let mut sorted: Vec<_> = fields.fields.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    let entries = sorted.into_iter().map(|(key, value)| {
        let mut printed = b",\"".to_vec();
        write_escaped(key.as_bytes(), &mut printed);
        printed.extend_from_slice(b"\":");
        let below = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        (printed.into_boxed_slice(), node(value, &below, errors))
    });
    Node::Object(entries.collect())
}

fn node(value: &Value, path: &str, errors: &mut Vec<(String, FormatError)>) -> Node {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Node::Literal(b"null".as_slice().into()),
        Some(Kind::BoolValue(value)) => {
            Node::Literal(if *value { b"true".as_slice() } else { b"false" }.into())
        }
        Some(Kind::NumberValue(number)) => Node::Literal(number_text(*number).into_bytes().into()),
        Some(Kind::StructValue(fields)) => object(fields, path, errors),
        Some(Kind::ListValue(list)) => Node::List(
            list.values
                .iter()
                .enumerate()
                .map(|(index, value)| node(value, &format!("{path}[{index}]"), errors))
                .collect(),
        ),
        Some(Kind::StringValue(text)) => match parse::parse(text) {
            Ok(parts) => text_node(parts),
            Err(error) => {
                errors.push((path.to_owned(), error));
                Node::Literal(Box::default())
            }
        },
    }
}

fn text_node(mut parts: Vec<Part>) -> Node {
    if let [Part::Field(_)] = &*parts
        && let Some(Part::Field(field)) = parts.pop()
    {
        return Node::Field(field);
    }
    for part in &mut parts {
        if let Part::Literal(text) = part {
            let mut escaped = Vec::new();
            write_escaped(text, &mut escaped);
            *text = escaped.into();
        }
    }
    Node::Text(parts.into())
}

/// A number as JSON; whole ones without a fraction.
fn number_text(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        format!("{number:.0}")
    } else {
        serde_json::Number::from_f64(number)
            .map_or_else(|| "null".to_owned(), |number| number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_told_from_text_to_escape_at_every_place() {
        for byte in 0..=u8::MAX {
            let plain = matches!(byte, 32..127) && byte != b'"' && byte != b'\\';
            for length in 1..20 {
                for place in 0..length {
                    for around in [b' ', b'!', b'#', b'[', b']', b'a', b'~'] {
                        let mut text = vec![around; length];
                        text[place] = byte;
                        assert_eq!(is_plain(&text), plain, "{text:?}");
                    }
                }
            }
        }
        assert!(is_plain(b""));
    }
}
