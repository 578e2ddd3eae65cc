//! Listeners.

use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::net::Address;
use carbyne_protos::any::Unwrapped;
use carbyne_protos::envoy::config::accesslog::v3::AccessLog;
use carbyne_protos::envoy::config::core::v3::TrafficDirection;
use carbyne_protos::envoy::config::listener::v3 as wire;
use carbyne_protos::envoy::config::listener::v3::listener::connection_balance_config::BalanceType;
use carbyne_protos::envoy::config::listener::v3::listener_filter_chain_match_predicate::Rule;
use carbyne_protos::envoy::extensions::filters::listener as filters;
use prost::Message;
use xxhash_rust::xxh64::xxh64;

use super::chain::{self, ChainPlan};
use super::error::Fault;
use super::filter::decode;
use super::scope::Scope;
use super::value;
use crate::live::chain::ChainTable;

/// A planned listener.
#[derive(Debug)]
pub struct ListenerPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The same for listeners that differ in their chains alone, whose equal chains need not change.
    pub fingerprint: u64,
    /// Prefix of its statistics; empty takes the address.
    pub stat_prefix: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// Where else.
    pub additional_addresses: Vec<Address>,
    /// Whether it listens at all; otherwise connections are handed to it by their original destination.
    pub bind_to_port: bool,
    /// Hand connections to the listener of their original destination.
    pub use_original_dst: bool,
    /// Which way its traffic goes.
    pub direction: TrafficDirection,
    /// What looks at connections before their chain is chosen.
    pub filters: Vec<ListenerFilterPlan>,
    /// How long that may take; `None` is no limit (Envoy's default is 15 s).
    pub filters_timeout: Option<Duration>,
    /// When that time is up, go on instead of closing.
    pub continue_on_timeout: bool,
    /// Which chain serves which connection.
    pub table: ChainTable,
    /// The chains, by the table's numbers.
    pub chains: Vec<ChainPlan>,
    /// What is logged of connections.
    pub access_log: Arc<[AccessLog]>,
    /// Bytes buffered for a connection (1 MiB).
    pub buffer_limit: u32,
    /// Give connections to workers in turn.
    pub exact_balance: bool,
    /// `IP_TRANSPARENT`.
    pub transparent: bool,
    /// `IP_FREEBIND`.
    pub freebind: bool,
    /// A socket for each worker (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Connections that wait to be accepted; `None` takes the system's limit.
    pub backlog: Option<u32>,
    /// Mode of the file of a Unix socket.
    pub socket_mode: Option<u32>,
    /// IPv4 connections on an IPv6 socket.
    pub ipv4_compat: bool,
    /// Connections accepted at a time.
    pub accepts_per_event: Option<u32>,
    /// `filter_metadata` as JSON.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// Something that may guard all of it was not understood: every connection is reset.
    pub refuse: Option<Arc<str>>,
}

/// Looks at a connection before its chain is chosen.
#[derive(Debug)]
pub struct ListenerFilterPlan {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: ListenerFilterKind,
    /// Connections that it leaves alone.
    pub disabled: Option<Predicate>,
}

/// Listener filters that are served.
#[derive(Debug)]
pub enum ListenerFilterKind {
    /// Finds out whether plain bytes are HTTP.
    HttpInspector,
    /// Takes the address that the client meant from the system.
    OriginalDst,
    /// Connects with the client's address.
    OriginalSrc {
        /// `SO_MARK` of the connection; 0 for none.
        mark: u32,
        /// Use this port, too.
        bind_port: bool,
    },
    /// Reads PROXY protocol.
    ProxyProtocol(Arc<filters::proxy_protocol::v3::ProxyProtocol>),
    /// Reads the ClientHello.
    TlsInspector,
}

/// What a listener filter is left out for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// All of these.
    And(Box<[Self]>),
    /// Everything, or (false) nothing.
    Any(bool),
    /// The original destination's port is in `start..end`.
    DestinationPort(std::ops::Range<u32>),
    /// Not this.
    Not(Box<Self>),
    /// One of these.
    Or(Box<[Self]>),
}

impl Predicate {
    /// Whether a connection meant for this port is one of them.
    pub fn holds(&self, port: u16) -> bool {
        match self {
            Self::And(rules) => rules.iter().all(|rule| rule.holds(port)),
            Self::Any(value) => *value,
            Self::DestinationPort(range) => range.contains(&u32::from(port)),
            Self::Not(rule) => !rule.holds(port),
            Self::Or(rules) => rules.iter().any(|rule| rule.holds(port)),
        }
    }
}

/// Plans a listener.
pub fn plan(message: &wire::Listener, scope: &Scope<'_>) -> Option<ListenerPlan> {
    let address = value::address(message.address.as_ref(), &scope.field("address"));
    let additional = message.additional_addresses.iter().enumerate();
    let additional = additional.filter_map(|(index, more)| {
        value::address(
            more.address.as_ref(),
            &scope.item("additional_addresses", index).field("address"),
        )
    });
    let additional_addresses = additional.collect();
    let (filters, refuse) = listener_filters(&message.listener_filters, scope);
    let (table, chains) = chains(message, scope);
    if message.udp_listener_config.is_some() {
        scope
            .field("udp_listener_config")
            .reject(Fault::Words("UDP (HTTP/3) is not served"));
    }
    if message.listener_specifier.is_some() {
        scope
            .field("internal_listener")
            .reject(Fault::Words("internal listeners are not served"));
    }
    let refuse = refuse
        .or_else(|| {
            message.filter_chain_matcher.is_some().then(|| {
                scope
                    .field("filter_chain_matcher")
                    .refuse("matcher trees are not served")
            })
        })
        .or_else(|| {
            message.fcds_config.is_some().then(|| {
                scope
                    .field("fcds_config")
                    .refuse("filter chains by discovery are not served")
            })
        });
    let balance = message
        .connection_balance_config
        .as_ref()
        .and_then(|config| config.balance_type.as_ref());
    let bound = message
        .bind_to_port
        .or_else(|| message.deprecated_v1.and_then(|old| old.bind_to_port));
    let pipe_mode = message
        .address
        .as_ref()
        .and_then(|address| address.address.as_ref())
        .and_then(|address| match address {
            carbyne_protos::envoy::config::core::v3::address::Address::Pipe(pipe)
                if pipe.mode != 0 =>
            {
                Some(pipe.mode)
            }
            _ => None,
        });
    Some(ListenerPlan {
        name: Arc::from(message.name.as_str()),
        fingerprint: fingerprint(message, refuse.as_deref()),
        stat_prefix: Arc::from(message.stat_prefix.as_str()),
        address: address?,
        additional_addresses,
        bind_to_port: bound.unwrap_or(true),
        use_original_dst: message.use_original_dst.unwrap_or(false),
        direction: TrafficDirection::try_from(message.traffic_direction).unwrap_or_default(),
        filters,
        filters_timeout: value::limit(
            message.listener_filters_timeout.as_ref(),
            Some(FIFTEEN_SECONDS),
            &scope.field("listener_filters_timeout"),
        ),
        continue_on_timeout: message.continue_on_listener_filters_timeout,
        table: table?,
        chains,
        access_log: message.access_log.as_slice().into(),
        buffer_limit: message.per_connection_buffer_limit_bytes.unwrap_or(1 << 20),
        exact_balance: matches!(balance, Some(BalanceType::ExactBalance(_))),
        transparent: message.transparent.unwrap_or(false),
        freebind: message.freebind.unwrap_or(false),
        reuse_port: message.enable_reuse_port.unwrap_or(true),
        backlog: message.tcp_backlog_size,
        socket_mode: pipe_mode,
        ipv4_compat: ipv4_compat(message),
        accepts_per_event: message
            .max_connections_to_accept_per_socket_event
            .filter(|accepts| *accepts > 0),
        metadata: value::metadata(message.metadata.as_ref()),
        refuse,
    })
}

/// The chains, and the table that tells which serves what; the default chain comes last.
fn chains(message: &wire::Listener, scope: &Scope<'_>) -> (Option<ChainTable>, Vec<ChainPlan>) {
    let mut matches = Vec::new();
    let mut chains = Vec::new();
    let mut complete = true;
    for (index, chain) in message.filter_chains.iter().enumerate() {
        match chain::plan(chain, &scope.item("filter_chains", index)) {
            Some((wanted, plan)) => {
                matches.push(wanted);
                chains.push(plan);
            }
            None => complete = false,
        }
    }
    let mut default = None;
    if let Some(chain) = &message.default_filter_chain {
        match chain::plan(chain, &scope.field("default_filter_chain")) {
            Some((_, plan)) => {
                default = Some(chains.len());
                chains.push(plan);
            }
            None => complete = false,
        }
    }
    if message.filter_chains.is_empty() && message.default_filter_chain.is_none() {
        scope.field("filter_chains").missing();
    }
    // Numbers in a conflict are those of the message only if no chain was left out.
    let table = if complete {
        scope
            .field("filter_chains")
            .take(ChainTable::new(&matches, default))
    } else {
        None
    };
    (table, chains)
}

fn listener_filters(
    wanted: &[wire::ListenerFilter],
    scope: &Scope<'_>,
) -> (Vec<ListenerFilterPlan>, Option<Arc<str>>) {
    let mut planned = Vec::new();
    let mut refuse = None;
    for (index, filter) in wanted.iter().enumerate() {
        let scope = scope.item("listener_filters", index);
        // What it looks at decides which chain takes a connection, and who the client is taken for.
        if let Some(doubt) = scope.doubt() {
            refuse = refuse.or(Some(doubt));
            continue;
        }
        let disabled = filter
            .filter_disabled
            .as_ref()
            .map(|rule| predicate(rule, &scope.field("filter_disabled")));
        match listener_filter(filter, &scope) {
            Ok(kind) => planned.push(ListenerFilterPlan {
                name: Arc::from(filter.name.as_str()),
                kind,
                // A predicate that was not understood leaves nothing out.
                disabled: disabled.flatten(),
            }),
            Err(reason) => refuse = refuse.or(Some(reason)),
        }
    }
    (planned, refuse)
}

fn listener_filter(
    filter: &wire::ListenerFilter,
    scope: &Scope<'_>,
) -> Result<ListenerFilterKind, Arc<str>> {
    let config = match &filter.config_type {
        Some(wire::listener_filter::ConfigType::TypedConfig(config)) => config,
        Some(wire::listener_filter::ConfigType::ConfigDiscovery(_)) => {
            return Err(scope
                .field("config_discovery")
                .refuse("listener filters by discovery are not served"));
        }
        None => {
            scope.field("typed_config").missing();
            return Err(scope.refuse("its message was not decoded"));
        }
    };
    let scope = scope.field("typed_config");
    let Ok(unwrapped) = Unwrapped::of(config) else {
        return Err(scope.refuse("its message cannot be read"));
    };
    let unreadable = || scope.refuse("its message cannot be read");
    Ok(match unwrapped.type_name.as_str() {
        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector" => {
            ListenerFilterKind::HttpInspector
        }
        "envoy.extensions.filters.listener.original_dst.v3.OriginalDst" => {
            ListenerFilterKind::OriginalDst
        }
        "envoy.extensions.filters.listener.original_src.v3.OriginalSrc" => {
            let message = decode::<filters::original_src::v3::OriginalSrc>(&unwrapped, &scope)
                .ok_or_else(unreadable)?;
            scope.note("not served: connections are reset");
            ListenerFilterKind::OriginalSrc {
                mark: message.mark,
                bind_port: message.bind_port,
            }
        }
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol" => {
            scope.note("not served: connections are reset");
            ListenerFilterKind::ProxyProtocol(decode(&unwrapped, &scope).ok_or_else(unreadable)?)
        }
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector" => {
            ListenerFilterKind::TlsInspector
        }
        name => return Err(scope.refuse(format!("{name} is not served"))),
    })
}

fn predicate(
    rule: &wire::ListenerFilterChainMatchPredicate,
    scope: &Scope<'_>,
) -> Option<Predicate> {
    let set =
        |rules: &[wire::ListenerFilterChainMatchPredicate], name| -> Option<Box<[Predicate]>> {
            let scope = scope.field(name);
            rules
                .iter()
                .enumerate()
                .map(|(index, rule)| predicate(rule, &scope.item("rules", index)))
                .collect()
        };
    match &rule.rule {
        Some(Rule::OrMatch(rules)) => set(&rules.rules, "or_match").map(Predicate::Or),
        Some(Rule::AndMatch(rules)) => set(&rules.rules, "and_match").map(Predicate::And),
        Some(Rule::NotMatch(rule)) => {
            predicate(rule, &scope.field("not_match")).map(|rule| Predicate::Not(Box::new(rule)))
        }
        Some(Rule::AnyMatch(value)) => Some(Predicate::Any(*value)),
        Some(Rule::DestinationPortRange(range)) => {
            let bounds = u32::try_from(range.start)
                .ok()
                .zip(u32::try_from(range.end).ok());
            let bounds = bounds.filter(|(start, end)| start < end && *end <= 65_536);
            if bounds.is_none() {
                let found = format_args!("{}..{}", range.start, range.end);
                scope
                    .field("destination_port_range")
                    .out_of_range(found, "a range of ports");
            }
            bounds.map(|(start, end)| Predicate::DestinationPort(start..end))
        }
        None => {
            scope.missing();
            None
        }
    }
}

/// What was not decoded is not encoded again: the seed stands for it where it matters.
fn fingerprint(message: &wire::Listener, refuse: Option<&str>) -> u64 {
    let without_chains = wire::Listener {
        filter_chains: Vec::new(),
        default_filter_chain: None,
        ..message.clone()
    };
    let seed = refuse.map_or(0, |reason| xxh64(reason.as_bytes(), 1));
    xxh64(&without_chains.encode_to_vec(), seed)
}

fn ipv4_compat(message: &wire::Listener) -> bool {
    use carbyne_protos::envoy::config::core::v3::address::Address::SocketAddress;
    matches!(message.address.as_ref().and_then(|address| address.address.as_ref()), Some(SocketAddress(socket)) if socket.ipv4_compat)
}

const FIFTEEN_SECONDS: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicates() {
        let port = |start, end| Predicate::DestinationPort(start..end);
        let either = Predicate::Or([port(80, 81), port(8000, 9000)].into());
        let neither = Predicate::Not(Box::new(either.clone()));
        for (number, expected) in [(80, true), (81, false), (8000, true), (9000, false)] {
            assert_eq!(either.holds(number), expected);
            assert_eq!(neither.holds(number), !expected);
        }
        assert!(Predicate::Any(true).holds(1) && !Predicate::Any(false).holds(1));
        assert!(!Predicate::And([Predicate::Any(true), port(1, 2)].into()).holds(2));
    }
}
