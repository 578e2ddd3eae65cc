//! What a message holds that this program does not decode.
//!
//! prost drops fields that it does not know, and a message of an unknown type inside an `Any` stays closed. Security
//! configuration that is not understood must not be ignored, so this walk names every such place: unknown field numbers
//! (a oneof whose member is unknown among them), unknown enum values, unknown types inside `Any`s at every depth, and
//! `TypedStruct`s whose value does not fit the type that they name. It is exact, where comparing encoded lengths is not.

use std::fmt;

use prost_types::Any;

use crate::any::{Content, Unwrapped, type_name};
use crate::json::{self, JsonErrors};
use crate::schema::{self, Kind, Message, Shape};
use crate::wire::{self, DEPTH, Fields, Malformed, Raw};

/// One place that was not decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Undecoded {
    /// Where, such as `filter_chains[2].filters[0].typed_config.http_filters[1].typed_config`; empty for the whole.
    pub path: String,
    /// What stands there.
    pub what: What,
}

/// What was not decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// A field number that the message (full name) does not have.
    Field(u32, &'static str),
    /// A number that the enum (full name) does not name.
    EnumValue(i32, &'static str),
    /// A type URL that names no message of this program.
    Type(String),
    /// A `TypedStruct` of a known type whose value does not fit it.
    Struct(String),
    /// Bytes that are not the message they should be.
    Malformed,
}

impl fmt::Display for Undecoded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        match &self.what {
            What::Field(number, name) => write!(formatter, "unknown field {number} of {name}"),
            What::EnumValue(number, name) => write!(formatter, "unknown value {number} of {name}"),
            What::Type(url) => write!(formatter, "unknown type {url}"),
            What::Struct(reason) => formatter.write_str(reason),
            What::Malformed => formatter.write_str("malformed"),
        }
    }
}

/// Everything inside an `Any` that is not decoded; empty when all of it is understood.
pub fn undecoded(any: &Any) -> Vec<Undecoded> {
    let mut walk = Walk {
        found: Vec::new(),
        path: Vec::new(),
    };
    walk.any(&any.type_url, &any.value, DEPTH);
    walk.found
}

/// Everything inside an encoded message of this full name that is not decoded.
pub fn undecoded_message(full_name: &str, bytes: &[u8]) -> Vec<Undecoded> {
    let mut walk = Walk {
        found: Vec::new(),
        path: Vec::new(),
    };
    match schema::message(full_name) {
        Some(schema) => walk.message(schema, bytes, DEPTH),
        None => walk.report(What::Type(full_name.to_owned())),
    }
    walk.found
}

struct Walk {
    found: Vec<Undecoded>,
    path: Vec<Segment>,
}

/// A field's name, and the index of its element if it is a list.
type Segment = (&'static str, Option<usize>);

impl Walk {
    fn message(&mut self, schema: &'static Message, bytes: &[u8], depth: usize) {
        if self.walk(schema, bytes, depth).is_err() {
            self.report(What::Malformed);
        }
    }

    fn walk(
        &mut self,
        schema: &'static Message,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        if schema.shape == Shape::Any {
            let any = <Any as prost::Message>::decode(bytes).map_err(|_| Malformed)?;
            let mut fields = Fields::new(bytes);
            while let Some((number, _)) = fields.next_field()? {
                if schema.field(number).is_none() {
                    self.report(What::Field(number, schema.name()));
                }
            }
            self.any(&any.type_url, &any.value, depth);
            return Ok(());
        }
        let mut counts: Vec<(u32, usize)> = Vec::new();
        let mut fields = Fields::new(bytes);
        while let Some((number, raw)) = fields.next_field()? {
            let Some(field) = schema.field(number) else {
                self.report(What::Field(number, schema.name()));
                continue;
            };
            let index = match field.label {
                schema::Label::Repeated | schema::Label::Map => {
                    let at = counts
                        .iter()
                        .position(|count| count.0 == number)
                        .unwrap_or_else(|| {
                            counts.push((number, 0));
                            counts.len() - 1
                        });
                    counts[at].1 += 1;
                    Some(counts[at].1 - 1)
                }
                _ => None,
            };
            self.path.push((field.name(), index));
            let result = self.field(field, raw, depth);
            self.path.pop();
            result?;
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &schema::Field,
        raw: Raw<'_>,
        depth: usize,
    ) -> Result<(), Malformed> {
        match (field.kind, raw) {
            (Kind::Message(_), Raw::Bytes(bytes)) => {
                self.message(field.kind.message().ok_or(Malformed)?, bytes, depth);
            }
            (Kind::Enum(_), Raw::Varint(value)) => self.enumerated(field.kind, value as i32),
            (Kind::Enum(_), Raw::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    self.enumerated(field.kind, wire::varint(&mut packed)? as i32);
                }
            }
            (Kind::String, Raw::Bytes(text)) => {
                std::str::from_utf8(text).map_err(|_| Malformed)?;
            }
            (Kind::Bytes, Raw::Bytes(_)) => {}
            (Kind::Message(_) | Kind::String | Kind::Bytes, _) | (_, Raw::Group) => {
                return Err(Malformed);
            }
            _ => {}
        }
        Ok(())
    }

    fn enumerated(&mut self, kind: Kind, number: i32) {
        if let Some(declared) = kind.enumeration()
            && declared.value_name(number).is_none()
        {
            self.report(What::EnumValue(number, declared.name()));
        }
    }

    fn any(&mut self, type_url: &str, bytes: &[u8], depth: usize) {
        if type_url.is_empty() && bytes.is_empty() {
            return;
        }
        let Some(schema) = schema::message(type_name(type_url)) else {
            return self.report(What::Type(type_url.to_owned()));
        };
        self.message(schema, bytes, depth);
        if !schema.name().ends_with(".TypedStruct") {
            return;
        }
        let any = Any {
            type_url: type_url.to_owned(),
            value: bytes.to_vec(),
        };
        let Ok(Unwrapped {
            type_name,
            content: Content::Struct(fields),
        }) = Unwrapped::of(&any)
        else {
            return;
        };
        if schema::message(&type_name).is_none() {
            return self.report(What::Type(type_name));
        }
        let mut described = json::struct_to_json(&fields);
        if let Some(object) = described.as_object_mut() {
            object.insert(
                "@type".to_owned(),
                serde_json::Value::from(type_name.as_str()),
            );
        }
        match json::any_from_json(&described) {
            Ok(inner) => self.any(&inner.type_url, &inner.value, depth.saturating_sub(1)),
            Err(JsonErrors(errors)) => {
                for error in errors {
                    self.path.push(("value", None));
                    self.report(What::Struct(error.to_string()));
                    self.path.pop();
                }
            }
        }
    }

    fn report(&mut self, what: What) {
        let mut path = String::new();
        for (name, index) in &self.path {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            if let Some(index) = index {
                path.push_str(&format!("[{index}]"));
            }
        }
        self.found.push(Undecoded { path, what });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use prost::Message as _;
    use serde_json::json;

    use super::*;

    fn texts(any: &Any) -> Vec<String> {
        undecoded(any).iter().map(ToString::to_string).collect()
    }

    fn packed(value: &serde_json::Value) -> Any {
        json::any_from_json(value).unwrap()
    }

    #[test]
    fn nothing_in_understood_messages() {
        for value in [
            json!({"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "a", "connect_timeout": "1s", "type": "EDS"}),
            json!({"@type": "type.googleapis.com/google.protobuf.UInt32Value", "value": 7}),
            json!({"@type": "a/udpa.type.v1.TypedStruct", "type_url": "a/stats.PluginConfig", "value": {"tcpReportingDuration": "5s"}}),
        ] {
            assert_eq!(texts(&packed(&value)), Vec::<String>::new(), "{value}");
        }
    }

    #[test]
    fn finds_unknown_fields_values_and_types() {
        let filter = |config: serde_json::Value| json!({"@type": "a/envoy.config.listener.v3.Listener", "filter_chains": [{}, {"filters": [{"typed_config": config}]}]});
        let at = "filter_chains[1].filters[0].typed_config";
        for (config, expected) in [
            (
                json!({"@type": "a/no.Such"}),
                format!("{at}: unknown type a/no.Such"),
            ),
            (
                json!({"@type": "a/xds.type.v3.TypedStruct", "type_url": "a/no.Such"}),
                format!("{at}: unknown type no.Such"),
            ),
            (
                json!({"@type": "a/udpa.type.v1.TypedStruct", "type_url": "a/stats.PluginConfig", "value": {"rules": []}}),
                format!("{at}.value: rules: stats.PluginConfig has no such field"),
            ),
            (
                json!({"@type": "a/envoy.extensions.filters.network.rbac.v3.RBAC", "rules": {"action": 9}}),
                format!("{at}.rules.action: unknown value 9 of envoy.config.rbac.v3.RBAC.Action"),
            ),
        ] {
            assert_eq!(texts(&packed(&filter(config))), [expected]);
        }
    }

    #[test]
    fn finds_fields_that_prost_drops() {
        let name = "envoy.config.rbac.v3.Permission";
        // Field 200 is unknown; 2047 << 3 | 3 opens a group.
        let mut bytes = Vec::new();
        wire::put_bytes(&mut bytes, 200, b"x");
        wire::put_key(&mut bytes, 2047, 3);
        wire::put_key(&mut bytes, 2047, 4);
        let found = undecoded_message(name, &bytes);
        assert_eq!(
            found.iter().map(|place| &place.what).collect::<Vec<_>>(),
            [&What::Field(200, name), &What::Field(2047, name)]
        );
        assert_eq!(
            crate::envoy::config::rbac::v3::Permission::decode(bytes.as_slice())
                .unwrap()
                .rule,
            None
        );
        assert_eq!(
            undecoded_message(name, &[0x0a, 0x05])[0].what,
            What::Malformed
        );
        assert_eq!(
            undecoded_message("no.Such", &[])[0].what,
            What::Type("no.Such".to_owned())
        );
    }
}
