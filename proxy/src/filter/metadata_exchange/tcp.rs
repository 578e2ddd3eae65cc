//! The frame at the head of TCP streams between peers (istio.md 5.3). Where both sides agreed on the protocol by ALPN, each sends one frame
//! before its first byte, whichever side speaks first. Getting this wrong corrupts the stream, so the decoder is a function without state or
//! sockets: it looks at what arrived so far.

use std::sync::Arc;

use bytes::Bytes;
use carbyne_engine::tls::Negotiated;
use carbyne_protos::envoy::tcp::metadataexchange::config::MetadataExchange;
use carbyne_protos::prost_types::value::Kind;
use carbyne_protos::prost_types::{Any, Struct};
use prost::Message;

use crate::observe::peer::{LARGEST, LocalNode, MAGIC, METADATA, Peer};

/// The exchange of one listener or cluster.
#[derive(Clone, Debug)]
pub struct TcpExchange {
    protocol: Box<[u8]>,
    node: Arc<LocalNode>,
    labels: Arc<[Box<str>]>,
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The frame is not complete: wait for more.
    More,
    /// A frame; the application's bytes begin after it.
    Frame {
        /// Its length in bytes.
        length: usize,
        /// Who sent it, where the description was understood.
        peer: Option<Arc<Peer>>,
    },
    /// No frame: all of it is the application's.
    NoFrame,
    /// A frame of such a length is no peer's: close the connection.
    TooLarge,
}

impl TcpExchange {
    /// Reads the message.
    pub fn plan(message: &MetadataExchange, node: &Arc<LocalNode>) -> Self {
        Self {
            protocol: if message.protocol.is_empty() {
                DEFAULT_PROTOCOL.into()
            } else {
                message.protocol.as_bytes().into()
            },
            node: Arc::clone(node),
            labels: message
                .additional_labels
                .iter()
                .map(|label| label.as_str().into())
                .collect(),
        }
    }

    /// Whether both sides exchange frames: TLS agreed on exactly this protocol.
    pub fn applies(&self, tls: Option<&Negotiated>) -> bool {
        tls.and_then(|tls| tls.alpn.as_deref()) == Some(&*self.protocol)
    }

    /// The frame that is written before the first byte of ours.
    pub fn frame(&self) -> Bytes {
        self.node.frame.clone()
    }

    /// Looks at everything that arrived so far; `end` where nothing follows.
    pub fn decode(&self, arrived: &[u8], end: bool) -> Decoded {
        decode(arrived, end, &self.labels)
    }
}

/// Looks at the head of a stream.
pub fn decode(arrived: &[u8], end: bool, labels: &[Box<str>]) -> Decoded {
    let magic = MAGIC.to_be_bytes();
    let compared = arrived.len().min(magic.len());
    // The first byte that differs decides: a peer without a frame must not wait for eight bytes.
    if arrived[..compared] != magic[..compared] {
        return Decoded::NoFrame;
    }
    let incomplete = if end { Decoded::NoFrame } else { Decoded::More };
    let Some(length) = arrived
        .get(4..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_be_bytes)
    else {
        return incomplete;
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > LARGEST {
        return Decoded::TooLarge;
    }
    let Some(payload) = arrived.get(8..8 + length) else {
        return incomplete;
    };
    Decoded::Frame {
        length: 8 + length,
        peer: described(payload, labels).map(Arc::new),
    }
}

/// The peer that a payload describes.
fn described(payload: &[u8], labels: &[Box<str>]) -> Option<Peer> {
    let any = Any::decode(payload).ok()?;
    if carbyne_protos::any::type_name(&any.type_url) != "google.protobuf.Struct" {
        return None;
    }
    let both = Struct::decode(any.value.as_slice()).ok()?;
    match &both.fields.get(METADATA)?.kind {
        Some(Kind::StructValue(fields)) => Some(Peer::from_struct(fields, labels)),
        _ => None,
    }
}

/// The entry of the fuzz target: whatever arrives, the decoder answers, never asks for more once it decided, and takes no more than there is.
pub fn fuzz(data: &[u8]) {
    let mut decided = None;
    for end in 0..=data.len().min(256) {
        let decoded = decode(&data[..end], false, &[]);
        if let Some(before) = &decided {
            assert_eq!(before, &decoded, "more bytes changed the answer");
        } else if decoded != Decoded::More {
            decided = Some(decoded);
        }
    }
    if let Decoded::Frame { length, .. } = decode(data, true, &[]) {
        assert!(length <= data.len(), "longer than what arrived");
    }
}

const DEFAULT_PROTOCOL: &[u8] = b"istio-peer-exchange";

#[cfg(test)]
mod tests {
    use carbyne_protos::envoy::config::core::v3::Node;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn node() -> Arc<LocalNode> {
        let metadata =
            json!({"NAME": "a-1", "NAMESPACE": "ns", "WORKLOAD_NAME": "a", "LABELS": {"app": "a"}});
        let node = Node {
            id: "sidecar~192.0.2.1~a-1.ns~x".to_owned(),
            metadata: Some(crate::observe::peer::described(&metadata)),
            ..Node::default()
        };
        Arc::new(LocalNode::new(&node, &[]))
    }

    #[test]
    fn a_frame_is_found_however_it_is_cut() {
        let node = node();
        let exchange = TcpExchange::plan(&MetadataExchange::default(), &node);
        let frame = exchange.frame();
        let mut stream = frame.to_vec();
        stream.extend_from_slice(b"payload");
        for end in 0..=stream.len() {
            let decoded = exchange.decode(&stream[..end], false);
            if end < frame.len() {
                assert_eq!(decoded, Decoded::More, "{end}");
                assert_eq!(
                    exchange.decode(&stream[..end], true),
                    Decoded::NoFrame,
                    "{end}"
                );
            } else {
                let expected = Decoded::Frame {
                    length: frame.len(),
                    peer: Some(Arc::new(node.peer.clone())),
                };
                assert_eq!(decoded, expected, "{end}");
            }
        }
    }

    #[test]
    fn what_is_no_frame() {
        let frame = |payload: &[u8]| {
            [
                &MAGIC.to_be_bytes()[..],
                &(payload.len() as u32).to_be_bytes(),
                payload,
            ]
            .concat()
        };
        let other = Any {
            type_url: "type.googleapis.com/other".to_owned(),
            value: Vec::new(),
        };
        let found = |length| Decoded::Frame { length, peer: None };
        let cases: &[(Vec<u8>, Decoded)] = &[
            (b"G".to_vec(), Decoded::NoFrame),
            (b"=x".to_vec(), Decoded::NoFrame),
            (b"".to_vec(), Decoded::More),
            (
                b"\x3d\x23\x04\x67\xff\xff\xff\xff".to_vec(),
                Decoded::TooLarge,
            ),
            (frame(b""), found(8)),
            (frame(b"\xff\xff"), found(10)),
            (
                frame(&other.encode_to_vec()),
                found(8 + other.encoded_len()),
            ),
        ];
        for (arrived, expected) in cases {
            assert_eq!(decode(arrived, false, &[]), *expected, "{arrived:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(mut data in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
            if magic {
                data.splice(0..0, MAGIC.to_be_bytes());
            }
            fuzz(&data);
        }
    }
}
