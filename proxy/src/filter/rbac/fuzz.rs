//! The entry of the fuzz target: bytes that claim to be a policy are read and asked, and nothing may panic.

use std::time::Instant;

use bytes::Bytes;
use carbyne_engine::forward::Downstream;
use carbyne_engine::http::Request;
use carbyne_engine::net::Address;
use carbyne_protos::envoy::extensions::filters::http::rbac::v3::Rbac;
use prost::Message;

use super::{Facts, RbacFilter};
use crate::context::Metadata;
use crate::filter::planned::Planned;
use crate::plan::Environment;
use crate::plan::scope::Room;

/// Decodes `bytes` as the HTTP filter's message, plans it and, where it is served, judges a request and a connection by it.
pub fn fuzz_rbac(bytes: &[u8]) {
    let Ok(message) = Rbac::decode(bytes) else {
        return;
    };
    let environment = Environment::default();
    let room = Room::new(&environment, Vec::new());
    let planned = RbacFilter::plan(&message, &room.scope());
    let Ok(accepted) = room.finish(planned) else {
        return;
    };
    let Planned::Serves(filter) = accepted.plan else {
        return;
    };
    let metadata = Metadata::default();
    let loopback = Address::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 8080)));
    let downstream = Downstream {
        id: 1,
        local: loopback.clone(),
        remote: loopback.clone(),
        direct_remote: loopback,
        server_name: None,
        tls: None,
        accepted: Instant::now(),
    };
    let request = Request::get(
        Bytes::from_static(b"a.example"),
        Bytes::from_static(b"/a/b?c=d"),
    );
    let mut facts = Facts::connection(&downstream, &metadata);
    let _: super::Decision = filter.check_connection(&facts, &mut Metadata::default());
    facts.request = Some(&request);
    let _: super::Decision = filter.check_connection(&facts, &mut Metadata::default());
}
