//! `google.protobuf.Any`: making one, decoding one strictly by its type, and unwrapping Istio's and xDS's `TypedStruct`.

use prost::{Message, Name};
use prost_types::{Any, Struct};

use crate::json::{self, JsonErrors};
use crate::schema;

/// The host part of every type URL that Envoy and istiod write.
pub const TYPE_URL_HOST: &str = "type.googleapis.com/";

/// Why an `Any` is not the message that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AnyError {
    /// The type URL names another message.
    #[error("expected {expected}, found {found:?}")]
    Type {
        /// Full name asked for.
        expected: String,
        /// Type URL in the `Any`.
        found: String,
    },
    /// The bytes are not such a message.
    #[error("malformed {type_name}: {source}")]
    Malformed {
        /// Full name asked for.
        type_name: String,
        /// What prost found.
        source: prost::DecodeError,
    },
    /// The `TypedStruct` does not describe such a message.
    #[error("TypedStruct of {type_name}: {source}")]
    Struct {
        /// Full name asked for.
        type_name: String,
        /// Every place that does not fit.
        source: JsonErrors,
    },
}

/// What an `Any` holds once a `TypedStruct` around it is taken off.
#[derive(Clone, Debug, PartialEq)]
pub struct Unwrapped<'any> {
    /// Full name of the message, without the host part of its type URL.
    pub type_name: String,
    /// Its content.
    pub content: Content<'any>,
}

/// The two ways in which a configuration comes.
#[derive(Clone, Debug, PartialEq)]
pub enum Content<'any> {
    /// Encoded.
    Encoded(&'any [u8]),
    /// As the JSON-like value of a `TypedStruct`.
    Struct(Struct),
}

/// The full message name of a type URL: what follows its last slash.
pub fn type_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// Whether the crate has the message of this type URL.
pub fn is_known(type_url: &str) -> bool {
    schema::message(type_name(type_url)).is_some()
}

/// Packs a message under its type URL.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

/// Decodes an `Any` whose type URL must name `M`.
pub fn decode_any<M: Message + Name + Default>(any: &Any) -> Result<M, AnyError> {
    expect_type::<M>(type_name(&any.type_url), &any.type_url)?;
    decode(any.value.as_slice())
}

/// Decodes an `Any` that holds `M` itself or a `TypedStruct` of it, as Envoy does for every `typed_config`.
pub fn decode_config<M: Message + Name + Default>(any: &Any) -> Result<M, AnyError> {
    Unwrapped::of(any)?.decode()
}

impl<'any> Unwrapped<'any> {
    /// Takes a `udpa.type.v1.TypedStruct` or `xds.type.v3.TypedStruct` off; anything else stays as it is.
    pub fn of(any: &'any Any) -> Result<Self, AnyError> {
        let (type_url, value) = match type_name(&any.type_url) {
            "udpa.type.v1.TypedStruct" => {
                let typed: crate::udpa::r#type::v1::TypedStruct = decode_any(any)?;
                (typed.type_url, typed.value)
            }
            "xds.type.v3.TypedStruct" => {
                let typed: crate::xds::r#type::v3::TypedStruct = decode_any(any)?;
                (typed.type_url, typed.value)
            }
            name => {
                return Ok(Self {
                    type_name: name.to_owned(),
                    content: Content::Encoded(&any.value),
                });
            }
        };
        Ok(Self {
            type_name: type_name(&type_url).to_owned(),
            content: Content::Struct(value.unwrap_or_default()),
        })
    }

    /// Whether this is the message `M`.
    pub fn is<M: Name>(&self) -> bool {
        self.type_name == M::full_name()
    }

    /// Whether the crate has the message.
    pub fn is_known(&self) -> bool {
        schema::message(&self.type_name).is_some()
    }

    /// Decodes it as `M`; its type must be `M`'s.
    pub fn decode<M: Message + Name + Default>(&self) -> Result<M, AnyError> {
        expect_type::<M>(&self.type_name, &self.type_name)?;
        match &self.content {
            Content::Encoded(bytes) => decode(bytes),
            Content::Struct(fields) => {
                json::from_struct(fields).map_err(|source| AnyError::Struct {
                    type_name: M::full_name(),
                    source,
                })
            }
        }
    }
}

fn expect_type<M: Name>(name: &str, found: &str) -> Result<(), AnyError> {
    let expected = M::full_name();
    if name == expected {
        Ok(())
    } else {
        Err(AnyError::Type {
            expected,
            found: found.to_owned(),
        })
    }
}

fn decode<M: Message + Name + Default>(bytes: &[u8]) -> Result<M, AnyError> {
    M::decode(bytes).map_err(|source| AnyError::Malformed {
        type_name: M::full_name(),
        source,
    })
}
