//! Members that log plugins add to what they write (`custom_fields_by_lua`). Kong runs Lua for them; served is Lua that returns a
//! constant, which is how members are taken out and set. Anything else is refused: leaving it out could write down what was meant
//! to be taken out.

use std::collections::BTreeMap;

use super::Refusal;
use crate::value::{Object, Value, put};

/// Paths and what they are set to; null takes out.
#[derive(Clone, Debug, Default)]
pub struct CustomFields(Vec<(Box<str>, Value)>);

impl CustomFields {
    pub fn read(configured: Option<BTreeMap<Box<str>, Box<str>>>) -> Result<Self, Refusal> {
        let fields = configured.unwrap_or_default().into_iter();
        let one = |(path, lua): (Box<str>, Box<str>)| match constant(&lua) {
            Some(value) => Ok((path, value)),
            None => Err(Refusal::new(
                format!("custom_fields_by_lua.{path}"),
                "needs Lua: served is `return` with a text, a number, true, false or nil",
            )),
        };
        fields.map(one).collect::<Result<_, _>>().map(Self)
    }

    pub fn apply(&self, written: &mut Object) {
        for (path, value) in &self.0 {
            if value.is_null() {
                take_out(written, path);
            } else {
                put(written, path, value.clone());
            }
        }
    }
}

fn take_out(object: &mut Object, path: &str) {
    match path.split_once('.') {
        None => drop(object.shift_remove(path)),
        Some((head, rest)) => {
            if let Some(Value::Object(inner)) = object.get_mut(head) {
                take_out(inner, rest);
            }
        }
    }
}

/// What a chunk of Lua returns that does nothing else.
fn constant(lua: &str) -> Option<Value> {
    let returned = lua.trim().strip_prefix("return")?;
    if !returned.starts_with([' ', '\t', '\n', '"', '\'']) && !returned.is_empty() {
        return None;
    }
    let returned = returned.trim().trim_end_matches(';').trim_end();
    Some(match returned {
        "" | "nil" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        text => {
            let quote = text.chars().next()?;
            if ['"', '\''].contains(&quote) {
                let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
                if inner.contains([quote, '\\', '\n']) {
                    return None;
                }
                return Some(inner.into());
            }
            let number: f64 = text.parse().ok()?;
            if !number.is_finite() || !text.ends_with(|letter: char| letter.is_ascii_digit()) {
                return None;
            }
            Value::Number(number)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object;

    #[test]
    fn constants_are_set_and_members_taken_out() {
        let fields = [
            ("a", "return 'x'"),
            ("b.c", "return 5"),
            ("request.headers", "return nil"),
            ("gone.too", "return"),
            ("t", " return true; "),
        ];
        let fields = fields.map(|(path, lua)| (path.into(), lua.into()));
        let fields = CustomFields::read(Some(fields.into())).unwrap();
        let mut written = object! { "request": object! { "headers": object! {}, "uri": "/" } };
        fields.apply(&mut written);
        assert_eq!(
            Value::from(written).to_json(),
            r#"{"request":{"uri":"/"},"a":"x","b":{"c":5},"t":true}"#
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for lua in [
            "return kong.request.get_header('x')",
            "return 'a' .. 'b'",
            "local x = 1 return x",
            "returnx",
            "return \"a\\nb\"",
            "return inf",
        ] {
            let fields = BTreeMap::from([("x".into(), lua.into())]);
            let refusal = CustomFields::read(Some(fields)).unwrap_err();
            let told = refusal.to_string();
            assert!(
                told.starts_with("config.custom_fields_by_lua.x: "),
                "{lua}: {told}"
            );
        }
    }
}
