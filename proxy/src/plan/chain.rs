//! Filter chains.

use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::tls::ServerTls;
use carbyne_protos::envoy::config::listener::v3 as wire;
use carbyne_protos::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use prost::Message;
use xxhash_rust::xxh64::xxh64;

use super::filter::{NetworkFilterKind, NetworkFilterPlan, network_filters};
use super::scope::Scope;
use super::{tls, value};
use crate::live::chain::{ChainMatch, SourceType};

/// A planned filter chain.
#[derive(Clone, Debug)]
pub struct ChainPlan {
    /// Its name, may be empty.
    pub name: Arc<str>,
    /// The same for chains that are the same; `None` where something of it was not decoded.
    pub fingerprint: Option<u64>,
    /// TLS that it terminates.
    pub tls: Option<Arc<ServerTls>>,
    /// How long the client may take for its handshake.
    pub handshake_timeout: Option<Duration>,
    /// Filters in their order.
    pub filters: Vec<NetworkFilterPlan>,
    /// `filter_metadata` as JSON.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// Something that guards was not understood (a criterion, TLS, a network filter): connections are reset, those of HTTP too. What HTTP filters
    /// and routes guard is refused by HTTP, with 503: [`super::http::HttpPlan::refuse`].
    pub refuse: Option<Arc<str>>,
}

/// Plans a chain with what it asks of connections.
pub fn plan(chain: &wire::FilterChain, scope: &Scope<'_>) -> Option<(ChainMatch, ChainPlan)> {
    let wanted = match &chain.filter_chain_match {
        Some(wanted) => chain_match(wanted, &scope.field("filter_chain_match")),
        None => Some(ChainMatch::default()),
    };
    let transport = match &chain.transport_socket {
        Some(socket) => tls::downstream(socket, &scope.field("transport_socket")),
        None => Some(tls::Downstream::Raw),
    };
    let filters = network_filters(&chain.filters, scope);
    let (tls, mut refuse) = match transport? {
        tls::Downstream::Raw => (None, None),
        tls::Downstream::Refuse(reason) => (None, Some(reason)),
        tls::Downstream::Tls(tls) => (Some(tls), None),
    };
    // A criterion that is not understood would let the chain take connections that are meant for another.
    refuse = refuse
        .or_else(|| scope.field("filter_chain_match").doubt())
        .or_else(|| {
            filters.iter().find_map(|filter| match &filter.kind {
                NetworkFilterKind::Refuse(reason) => Some(Arc::clone(reason)),
                NetworkFilterKind::Tcp(tcp) => tcp.refuse.clone(),
                _ => None,
            })
        });
    let plan = ChainPlan {
        name: Arc::from(chain.name.as_str()),
        // What was not decoded is not encoded again either.
        fingerprint: scope
            .doubt()
            .is_none()
            .then(|| xxh64(&chain.encode_to_vec(), 0)),
        tls,
        handshake_timeout: value::limit(
            chain.transport_socket_connect_timeout.as_ref(),
            None,
            &scope.field("transport_socket_connect_timeout"),
        ),
        filters,
        metadata: value::metadata(chain.metadata.as_ref()),
        refuse,
    };
    Some((wanted?, plan))
}

fn chain_match(wanted: &wire::FilterChainMatch, scope: &Scope<'_>) -> Option<ChainMatch> {
    let source_type = match ConnectionSourceType::try_from(wanted.source_type) {
        Ok(ConnectionSourceType::Any) => SourceType::Any,
        Ok(ConnectionSourceType::SameIpOrLoopback) => SourceType::Local,
        Ok(ConnectionSourceType::External) => SourceType::External,
        Err(_) => SourceType::Any,
    };
    let name = |(index, name): (usize, &String)| {
        // `*.example.com` stands for names below; `*` alone, or a star elsewhere, for nothing that Envoy knows.
        if name.strip_prefix("*.").unwrap_or(name).contains('*') {
            scope
                .item("server_names", index)
                .out_of_range(format_args!("`{name}`"), "a name, or *. and a name");
        }
        name.to_ascii_lowercase()
    };
    let port =
        |(index, port): (usize, &u32)| value::port(*port, &scope.item("source_ports", index));
    Some(ChainMatch {
        destination_port: match wanted.destination_port {
            Some(port) => Some(value::port(port, &scope.field("destination_port"))?),
            None => None,
        },
        destination: value::cidrs(&wanted.prefix_ranges, "prefix_ranges", scope),
        server_names: wanted.server_names.iter().enumerate().map(name).collect(),
        transport_protocol: (!wanted.transport_protocol.is_empty())
            .then(|| wanted.transport_protocol.clone()),
        application_protocols: wanted.application_protocols.clone(),
        direct_source: value::cidrs(
            &wanted.direct_source_prefix_ranges,
            "direct_source_prefix_ranges",
            scope,
        ),
        source_type,
        source: value::cidrs(&wanted.source_prefix_ranges, "source_prefix_ranges", scope),
        source_ports: wanted
            .source_ports
            .iter()
            .enumerate()
            .filter_map(port)
            .collect(),
    })
}
