//! The machines against hand-written conversations, recorded answers and a model of istiod.

mod captures;
mod conversation;
mod istiod;
mod random;

use std::time::Duration;

use super::{Ads, Protocol, Settings};
use carbyne_protos::envoy::config::core::v3::Node;

/// A machine whose node is called `node`.
fn machine(protocol: Protocol) -> Ads {
    Ads::new(
        protocol,
        Settings {
            node: Node {
                id: "node".to_owned(),
                ..Node::default()
            },
            node_in_every_request: false,
            listeners_wait: Duration::from_secs(15),
        },
    )
}

/// A message with `name` in field 1 and a number in field 15: the shape of every resource, as far as the
/// machines look.
fn message(name: &str, number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::string::encode(1, &name.to_owned(), &mut bytes);
    prost::encoding::uint64::encode(15, &number, &mut bytes);
    bytes
}
