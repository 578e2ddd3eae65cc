//! The Envoy and Istio messages that Carbyne reads or prints: types, JSON both ways, and what is inside an `Any`.
//!
//! * Types: one module per protobuf package, `envoy::config::cluster::v3::Cluster` for `envoy.config.cluster.v3.Cluster`;
//!   also `xds`, `udpa`, `istio`, `io`, `stats`, `google::rpc`, `opentelemetry`. Every message has [`prost::Name`]. Maps are
//!   `BTreeMap`s, so that encoding is canonical; the well-known types are those of [`prost_types`].
//! * [`any`]: pack, decode strictly by type URL, unwrap `TypedStruct`. [`any::decode_config`] is what a `typed_config` needs.
//! * [`json`]: proto3-JSON. Prints with the names of the .proto files, `Any`s resolved at every depth, on demand with
//!   secrets redacted or defaults spelt out; parses both spellings, strictly or telling which names it ignored.
//! * [`undecoded`]: names every place of a message that this program does not decode.
//! * [`schema`]: the static tables behind `json` and `undecoded`.
//!
//! Where it comes from: `closure/` (a tool outside the workspace, run by hand) takes the .proto files of the registry
//! package `envoy-types` and our own in `proto/`, keeps what `closure/roots.txt` names and whatever that refers to, and
//! writes `descriptors/`. `build.rs` makes the types (prost) and the schema tables of that: no protoc, no network. A new
//! message is a line in `roots.txt` and a run of the tool; it is then known everywhere, there is no registry to extend.
//!
//! Why walk a schema instead of deriving serde: serde code for a thousand messages takes minutes to compile, a descriptor
//! pool takes tens of MiB at run time, and neither tells what prost dropped. The tables are read-only data of the program
//! file. Printing and parsing go through the encoded form, which is how most messages arrive and leave anyway.

pub mod any;
pub mod json;
pub mod schema;
pub mod undecoded;

mod wire;

pub use generated::*;
pub use prost_types;

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::use_self,
    clippy::str_to_string,
    missing_docs,
    unreachable_pub,
    unused_qualifications
)]
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
        formatter
            .debug_struct("DataSource")
            .field("specifier", &self.specifier)
            .finish_non_exhaustive()
    }
}
