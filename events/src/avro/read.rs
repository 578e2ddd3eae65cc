//! A body, read by its schema and told in JSON.

use super::{Schema, Type};

/// A body that its schema does not explain.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Corrupt {
    #[error("the body ends within {field}")]
    Short { field: &'static str },
    #[error("{field} holds what its type does not know")]
    Value { field: &'static str },
    #[error("{bytes} bytes stand behind the last field")]
    Behind { bytes: usize },
}

/// Appends a body's JSON form: an object with the schema's fields in their order; null where a union holds none.
pub fn to_json(schema: &'static Schema, body: &[u8], into: &mut String) -> Result<(), Corrupt> {
    let mut rest = Rest {
        bytes: body,
        field: "",
    };
    into.push('{');
    for (index, field) in schema.fields.iter().enumerate() {
        if index > 0 {
            into.push(',');
        }
        rest.field = field.name;
        quote(field.name, into);
        into.push(':');
        value(field.of, &mut rest, into)?;
    }
    into.push('}');
    match rest.bytes.len() {
        0 => Ok(()),
        bytes => Err(Corrupt::Behind { bytes }),
    }
}

fn value(of: Type, rest: &mut Rest<'_>, into: &mut String) -> Result<(), Corrupt> {
    match of {
        Type::Boolean => match rest.byte()? {
            0 => into.push_str("false"),
            1 => into.push_str("true"),
            _ => return Err(rest.wrong()),
        },
        Type::Long => print(rest.long()?, into),
        Type::Double => match rest.double()? {
            // JSON has no word for the others.
            number if number.is_finite() => print(format_args!("{number:?}"), into),
            _ => into.push_str("null"),
        },
        Type::String => quote(rest.string()?, into),
        Type::Strings => {
            into.push('[');
            let mut first = true;
            rest.blocks(|rest| {
                separate(&mut first, into);
                quote(rest.string()?, into);
                Ok(())
            })?;
            into.push(']');
        }
        Type::Map => {
            into.push('{');
            let mut first = true;
            rest.blocks(|rest| {
                separate(&mut first, into);
                quote(rest.string()?, into);
                into.push(':');
                quote(rest.string()?, into);
                Ok(())
            })?;
            into.push('}');
        }
        Type::Optional(of) => match rest.long()? {
            0 => into.push_str("null"),
            1 => value(*of, rest, into)?,
            _ => return Err(rest.wrong()),
        },
    }
    Ok(())
}

fn separate(first: &mut bool, into: &mut String) {
    if !std::mem::take(first) {
        into.push(',');
    }
}

fn print(number: impl std::fmt::Display, into: &mut String) {
    into.push_str(&number.to_string());
}

/// Appends text as a JSON string.
pub(crate) fn quote(text: &str, into: &mut String) {
    into.push('"');
    for character in text.chars() {
        match character {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            control if control < ' ' => {
                print(format_args!("\\u{:04x}", u32::from(control)), into);
            }
            other => into.push(other),
        }
    }
    into.push('"');
}

/// What is left of a body.
struct Rest<'a> {
    bytes: &'a [u8],
    field: &'static str,
}

impl<'a> Rest<'a> {
    const fn short(&self) -> Corrupt {
        Corrupt::Short { field: self.field }
    }

    const fn wrong(&self) -> Corrupt {
        Corrupt::Value { field: self.field }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or_else(|| self.short())?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Corrupt> {
        let (byte, rest) = self.bytes.split_first().ok_or_else(|| self.short())?;
        self.bytes = rest;
        Ok(*byte)
    }

    fn long(&mut self) -> Result<i64, Corrupt> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.wrong());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let sign = (value & 1).wrapping_neg();
                return Ok(((value >> 1) ^ sign).cast_signed());
            }
        }
        Err(self.wrong())
    }

    fn double(&mut self) -> Result<f64, Corrupt> {
        let taken = self.take(8)?;
        let bytes = taken.try_into().map_err(|_| self.short())?;
        Ok(f64::from_le_bytes(bytes))
    }

    fn string(&mut self) -> Result<&'a str, Corrupt> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| self.wrong())?;
        let taken = self.take(length)?;
        std::str::from_utf8(taken).map_err(|_| self.wrong())
    }

    /// The items of an array or a map, which come in blocks; a negative count has the block's size behind it.
    fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Corrupt>,
    ) -> Result<(), Corrupt> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Field, long, string};
    use super::*;

    static SCHEMA: Schema = Schema {
        name: "carbyne.events.Probe",
        fingerprint: 0,
        text: "",
        fields: &[
            Field {
                name: "number",
                of: Type::Long,
            },
            Field {
                name: "word",
                of: Type::Optional(&Type::String),
            },
            Field {
                name: "words",
                of: Type::Strings,
            },
        ],
    };

    fn read(body: &[u8]) -> Result<String, Corrupt> {
        let mut text = String::new();
        to_json(&SCHEMA, body, &mut text)?;
        Ok(text)
    }

    #[test]
    fn numbers_are_written_as_the_specification_shows() {
        for (number, bytes) in [
            (0, &[0][..]),
            (1, &[2]),
            (63, &[0x7e]),
            (64, &[0x80, 1]),
            (
                u64::MAX,
                &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            let mut written = Vec::new();
            long(number, &mut written);
            assert_eq!(written, bytes, "{number}");
        }
    }

    #[test]
    fn bodies_are_told_in_json() {
        // -1; "a\"\u{1}"; two blocks, the second with its size.
        let mut body = vec![1, 2];
        string("a\"\u{1}", &mut body);
        body.extend_from_slice(&[2, 2, b'x', 1, 4, 2, b'y', 0]);
        assert_eq!(
            read(&body).unwrap(),
            r#"{"number":-1,"word":"a\"\u0001","words":["x","y"]}"#
        );
    }

    #[test]
    fn what_a_schema_does_not_explain_is_refused() {
        let within = |field| Err(Corrupt::Short { field });
        let wrong = |field| Err(Corrupt::Value { field });
        for (body, expected) in [
            (&[][..], within("number")),
            (&[0x80], within("number")),
            (&[0xff; 11], wrong("number")),
            (&[0, 4], wrong("word")),
            (&[0, 2, 1], wrong("word")),
            (&[0, 2, 2, 0xff], wrong("word")),
            (&[0, 2, 8, b'x'], within("word")),
            (&[0, 0, 2, 2, b'x'], within("words")),
            (&[0, 0, 0, 0], Err(Corrupt::Behind { bytes: 1 })),
        ] {
            assert_eq!(read(body), expected, "{body:?}");
        }
    }
}
