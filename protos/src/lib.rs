//! The Envoy and Istio messages that Carbyne reads or prints: types, JSON both ways, and what is inside an `Any`.

pub mod any;
pub mod json;
pub mod schema;
pub mod undecoded;

mod wire;

pub use generated::*;
pub use prost_types;

#[allow(clippy::all, clippy::pedantic, clippy::use_self, clippy::str_to_string, missing_docs, unreachable_pub, unused_qualifications)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

/// Debug output of a data source names its kind and size only: it may hold a private key.
impl std::fmt::Debug for envoy::config::core::v3::data_source::Specifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Filename(path) => write!(formatter, "file {path:?}"),
            Self::EnvironmentVariable(name) => write!(formatter, "environment {name:?}"),
            Self::InlineBytes(bytes) => write!(formatter, "{} bytes", bytes.len()),
            Self::InlineString(text) => write!(formatter, "{} bytes", text.len()),
        }
    }
}

impl std::fmt::Debug for envoy::config::core::v3::DataSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DataSource").field("specifier", &self.specifier).finish_non_exhaustive()
    }
}
