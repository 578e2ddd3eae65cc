//! Who we are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use carbyne_protos::envoy::config::core::v3::Node;
use carbyne_protos::prost_types::value::Kind;
use carbyne_protos::prost_types::{Struct, Value};
use http::HeaderValue;
use prost::Message;

use super::{MAGIC, METADATA, METADATA_ID, Peer, STRUCT_URL, string, text};

/// Ourselves, as told to others.
#[derive(Debug)]
pub struct LocalNode {
    /// Ourselves.
    pub peer: Peer,
    /// The node's id.
    pub id: Box<str>,
    /// Version of Istio, for `istio_build`.
    pub istio_version: Box<str>,
    /// Value of `x-envoy-peer-metadata`.
    pub header: HeaderValue,
    /// Value of `x-envoy-peer-metadata-id`.
    pub id_header: HeaderValue,
    /// The frame of the TCP exchange.
    pub frame: Bytes,
    /// The node's metadata as JSON, for CEL's `node`.
    pub metadata: serde_json::Value,
}

impl Default for LocalNode {
    /// Nobody in particular.
    fn default() -> Self {
        Self::new(&Node::default(), &[])
    }
}

impl LocalNode {
    /// Reads the bootstrap's node.
    pub fn new(node: &Node, additional_labels: &[Box<str>]) -> Self {
        let empty = Struct::default();
        let metadata = node.metadata.as_ref().unwrap_or(&empty);
        let mut peer = Peer::from_struct(metadata, additional_labels);
        if let Some(locality) = &node.locality {
            peer.region = locality.region.as_str().into();
            peer.zone = locality.zone.as_str().into();
        }
        let described = peer.to_struct();
        let header = STANDARD.encode(described.encode_to_vec());
        let value = |text: &str| {
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        };
        Self {
            header: value(&header),
            id_header: value(&node.id),
            frame: frame(described, &node.id),
            id: node.id.as_str().into(),
            istio_version: metadata
                .fields
                .get("ISTIO_VERSION")
                .map(text)
                .filter(|text| !text.is_empty())
                .unwrap_or("unknown")
                .into(),
            metadata: carbyne_protos::json::struct_to_json(metadata),
            peer,
        }
    }
}

/// The frame that opens a TCP connection between peers: magic, length, `Any` of a `Struct` (istio.md 5.3).
fn frame(described: Struct, id: &str) -> Bytes {
    let mut both = Struct::default();
    both.fields.insert(
        METADATA.to_owned(),
        Value {
            kind: Some(Kind::StructValue(described)),
        },
    );
    both.fields.insert(METADATA_ID.to_owned(), string(id));
    let any = carbyne_protos::prost_types::Any {
        type_url: STRUCT_URL.to_owned(),
        value: both.encode_to_vec(),
    };
    let payload = any.encode_to_vec();
    let mut frame = Vec::with_capacity(8 + payload.len());
    frame.extend_from_slice(&MAGIC.to_be_bytes());
    // A node's metadata is far below 4 GiB.
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&payload);
    frame.into()
}
