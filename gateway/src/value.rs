//! What entities are made of: JSON as Kong sees it. Objects keep their order, every number is a
//! double (Lua knows no other), and a member that is absent differs from one that is null.

use carbyne_engine::runtime::background::give_way;
use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

pub mod pretty;

/// An object whose members keep the order in which they came.
pub type Object = IndexMap<String, Value>;

/// A JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    Array(Vec<Self>),
    Boolean(bool),
    Number(f64),
    Object(Object),
    String(String),
}

impl Value {
    /// Reads JSON text.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The text that [`Value::from_json`] reads.
    pub fn to_json(&self) -> String {
        // Serialisation of this type cannot fail: keys are strings and the writer is memory.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What null, an empty string and an empty table are not.
    pub fn is_nonempty(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Array(items) => !items.is_empty(),
            Self::Object(members) => !members.is_empty(),
            Self::String(text) => !text.is_empty(),
            Self::Boolean(_) | Self::Number(_) => true,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    /// The member that a dotted path names; null has no members.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.')
            .try_fold(self, |value, name| value.get(name))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl From<Object> for Value {
    fn from(members: Object) -> Self {
        Self::Object(members)
    }
}

impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::Array(items)
    }
}

/// The member of an object that a dotted path names.
pub fn at<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => object.get(path),
        Some((head, rest)) => object.get(head)?.at(rest),
    }
}

/// Puts a value where a dotted path says, making objects on the way. A text that stands in the
/// way stays: what it says about the whole is worth more than what is said about a part.
pub fn put(object: &mut Object, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.into(), value);
        }
        Some((head, rest)) => {
            let inner = object
                .entry(head.into())
                .or_insert_with(|| Object::new().into());
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// A number as Kong prints it: without a fraction where there is none.
pub fn number_text(number: f64) -> String {
    match as_integer(number) {
        Some(integer) => integer.to_string(),
        None => number.to_string(),
    }
}

/// The integer that a number is, if it is one that a double holds exactly.
pub fn as_integer(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Array(items) => items.serialize(serializer),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Number(number) => match as_integer(*number) {
                Some(integer) => serializer.serialize_i64(integer),
                None => serializer.serialize_f64(*number),
            },
            Self::Object(members) => members.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "every number is a double, as in Lua"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "every number is a double, as in Lua"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            give_way();
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Object::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            give_way();
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

/// An object literal: `object! { "name": value, … }`.
#[macro_export]
macro_rules! object {
    ($($name:literal: $value:expr),* $(,)?) => {{
        #[allow(unused_mut, reason = "an empty literal")]
        let mut members = $crate::value::Object::new();
        $(members.insert($name.to_owned(), $crate::value::Value::from($value));)*
        members
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_kong_prints_them() {
        for (text, printed) in [
            ("5.0", "5"),
            ("-1", "-1"),
            ("0.001", "0.001"),
            ("1699999999.123", "1699999999.123"),
            ("1e3", "1000"),
            ("2147483646", "2147483646"),
        ] {
            let value = Value::from_json(text.as_bytes()).unwrap();
            assert_eq!(value.to_json(), printed);
        }
    }

    #[test]
    fn objects_keep_their_order_and_nulls() {
        let text = r#"{"b":null,"a":[],"c":{"z":1,"y":""}}"#;
        assert_eq!(Value::from_json(text.as_bytes()).unwrap().to_json(), text);
    }

    #[test]
    fn paths_lead_into_objects_only() {
        let mut object = object! { "a": object! { "b": 1 }, "n": Value::Null };
        assert_eq!(at(&object, "a.b"), Some(&Value::Number(1.0)));
        assert_eq!(at(&object, "n.b"), None);
        put(&mut object, "x.y", true.into());
        assert_eq!(at(&object, "x.y"), Some(&true.into()));
    }
}
