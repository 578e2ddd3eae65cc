//! Values, and how they compare.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::Write;
use std::time::Duration;

use carbyne_engine::http::Headers;
use http::HeaderName;
use serde_json::Value as Json;

use crate::context::Metadata;
use crate::observe::peer::Peer;

/// A value while an expression is computed.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Duration(Duration),
    Json(&'a Json),
    Object(&'a serde_json::Map<String, Json>),
    Headers(&'a Headers),
    Metadata(&'a Metadata),
    Peer(&'a Peer),
    /// `filter_state`: upstream's and downstream's peer.
    Peers(Option<&'a Peer>, Option<&'a Peer>),
    List(Vec<Self>),
}

impl<'a> Value<'a> {
    /// A text, which may not be UTF-8.
    pub(super) fn bytes(bytes: &'a [u8]) -> Self {
        Self::Text(String::from_utf8_lossy(bytes))
    }

    /// A number.
    pub(super) fn number(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// A JSON value as the simplest value that it is.
    fn json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => number.as_i64().map_or_else(
                || Self::Double(number.as_f64().unwrap_or(f64::NAN)),
                Self::Int,
            ),
            Json::String(text) => Self::Text(Cow::Borrowed(text)),
            Json::Array(_) => Self::Json(json),
            Json::Object(object) => Self::Object(object),
        }
    }

    /// A member by name; `None` where there is none.
    pub(super) fn member(&self, name: &str) -> Option<Self> {
        match self {
            Self::Json(json) => json.get(name).map(Self::json),
            Self::Object(object) => object.get(name).map(Self::json),
            Self::Headers(headers) => {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                headers
                    .get(&name)
                    .map(|value| Value::bytes(value.as_bytes()))
            }
            Self::Metadata(metadata) => metadata.namespace(name).map(Self::Object),
            Self::Peer(peer) => match name {
                // Istio knows these labels by name.
                "labels" => None,
                name => peer
                    .field(name)
                    .map(|text| Value::Text(Cow::Borrowed(text))),
            },
            Self::Peers(upstream, downstream) => match name {
                "upstream_peer" | "wasm.upstream_peer" => upstream.map(Self::Peer),
                "downstream_peer" | "wasm.downstream_peer" => downstream.map(Self::Peer),
                _ => None,
            },
            _ => None,
        }
    }

    /// A member by a computed key, or an element by its number.
    pub(super) fn index(&self, key: &Value<'_>) -> Option<Self> {
        match (self, key) {
            (Self::List(list), Value::Int(number)) => {
                list.get(usize::try_from(*number).ok()?).cloned()
            }
            (Self::Json(json), Value::Int(number)) => {
                json.get(usize::try_from(*number).ok()?).map(Self::json)
            }
            (_, key) => self.member(key.text()?),
        }
    }

    /// Whether a list has the element, or a map the key.
    pub(super) fn holds(&self, element: &Value<'_>) -> Option<bool> {
        Some(match self {
            Self::List(list) => list.iter().any(|value| value.equals(element)),
            Self::Json(Json::Array(list)) => {
                list.iter().any(|value| Self::json(value).equals(element))
            }
            _ => self.member(element.text()?).is_some(),
        })
    }

    /// Number of elements or characters.
    pub(super) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) => text.chars().count(),
            Self::List(list) => list.len(),
            Self::Json(Json::Array(list)) => list.len(),
            Self::Object(object) => object.len(),
            Self::Headers(headers) => headers.len(),
            _ => return None,
        })
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Values of different types are not equal, but numbers compare as numbers.
    pub(super) fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(left), Value::Bool(right)) => left == right,
            (Self::List(left), Value::List(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .zip(right)
                        .all(|(left, right)| left.equals(right))
            }
            (Self::Json(left), Value::Json(right)) => left == right,
            (Self::Object(left), Value::Object(right)) => left == right,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// How two values of one type stand to each other.
    pub(super) fn order(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Value::Int(right)) => Some(left.cmp(right)),
            (Self::Int(left), Value::Double(right)) => (*left as f64).partial_cmp(right),
            (Self::Double(left), Value::Int(right)) => left.partial_cmp(&(*right as f64)),
            (Self::Double(left), Value::Double(right)) => left.partial_cmp(right),
            (Self::Text(left), Value::Text(right)) => Some(left.as_ref().cmp(right.as_ref())),
            (Self::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }

    /// Appends a simple value.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Bool(value) => write!(out, "{value}").is_ok(),
            Self::Int(value) => write!(out, "{value}").is_ok(),
            Self::Double(value) => write!(out, "{value}").is_ok(),
            Self::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                true
            }
            Self::Duration(value) => write!(out, "{}s", value.as_secs_f64()).is_ok(),
            Self::Json(json) => serde_json::to_writer(out, json).is_ok(),
            Self::Object(object) => serde_json::to_writer(out, object).is_ok(),
            Self::Peer(peer) => {
                peer.write_pairs(out);
                true
            }
            Self::Null | Self::Headers(_) | Self::Metadata(_) | Self::Peers(..) | Self::List(_) => {
                false
            }
        }
    }
}
