//! Filters by the type of their message, and what happens to those that are not served.
//!
//! A filter that is served keeps its message, decoded; whoever writes the filter compiles it. A filter that is not served is left out if it is
//! known to guard nothing; otherwise, known or not, its chain refuses traffic. So does a guard in whose message something was not understood.

use std::sync::Arc;

use bytes::Bytes;
use carbyne_protos::any::{Unwrapped, type_name};
use carbyne_protos::envoy::config::listener::v3 as listener;
use carbyne_protos::envoy::extensions::filters::http as wire;
use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3 as manager;
use carbyne_protos::envoy::extensions::filters::network::rbac::v3 as network_rbac;
use carbyne_protos::envoy::tcp::metadataexchange::config::MetadataExchange;
use carbyne_protos::io::istio::http::peer_metadata;
use carbyne_protos::istio::envoy::config::filter::http::alpn::v2alpha1 as alpn;
use carbyne_protos::prost_types::Any;
use carbyne_protos::stats;
use prost::{Message, Name};

use super::error::Fault;
use super::http::HttpPlan;
use super::scope::Scope;
use super::tcp::TcpPlan;
use super::undecoded::is_known;
use crate::filter::http::compile_route;
use crate::filter::planned::Planned;
use crate::filter::rbac::RbacFilter;
use crate::filter::{HttpFilter, UnknownFilter};
use crate::live::route::FilterConfig;

/// A filter of an HTTP connection manager.
#[derive(Clone, Debug)]
pub struct HttpFilterPlan {
    /// Its name, by which routes configure it.
    pub name: Arc<str>,
    /// What it is.
    pub kind: HttpFilterKind,
    /// It runs only on routes that say so.
    pub disabled: bool,
}

/// HTTP filters that are served.
#[derive(Clone, Debug)]
pub enum HttpFilterKind {
    /// `istio.alpn`.
    Alpn(Arc<alpn::FilterConfig>),
    /// Compression of responses.
    Compressor(Arc<wire::compressor::v3::Compressor>),
    /// Counts gRPC messages.
    GrpcStats(Arc<wire::grpc_stats::v3::FilterConfig>),
    /// Metadata exchange over headers.
    PeerMetadata(Arc<peer_metadata::Config>),
    /// It guards or may guard, and is not served or not understood: 503, with the reason in the log.
    Refuse(Arc<str>),
    /// Forwards; the last one.
    Router(Arc<wire::router::v3::Router>),
    /// Istio's standard metrics.
    Stats(Arc<stats::PluginConfig>),
    /// Judges, changes, delays or refuses requests: access rules, tokens, limits, faults, …
    Traffic(Arc<HttpFilter>),
}

/// A filter of a filter chain.
#[derive(Clone, Debug)]
pub struct NetworkFilterPlan {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: NetworkFilterKind,
}

/// Network filters that are served.
#[derive(Clone, Debug)]
pub enum NetworkFilterKind {
    /// HTTP.
    Http(Arc<HttpPlan>),
    /// Metadata exchange in a frame of its own.
    MetadataExchange(Arc<MetadataExchange>),
    /// Access rules.
    Rbac(Arc<network_rbac::Rbac>),
    /// It guards or may guard, and is not served or not understood: the connection is reset, with the reason in the log.
    Refuse(Arc<str>),
    /// Istio's standard metrics.
    Stats(Arc<stats::PluginConfig>),
    /// Forwards a stream.
    Tcp(Arc<TcpPlan>),
}

/// Plans the HTTP filters of a connection manager; those that are left out are noted.
pub fn http_filters(filters: &[manager::HttpFilter], scope: &Scope<'_>) -> Vec<HttpFilterPlan> {
    let mut planned: Vec<HttpFilterPlan> = Vec::with_capacity(filters.len());
    for (index, filter) in filters.iter().enumerate() {
        let scope = scope.item("http_filters", index);
        if filter.name.is_empty() {
            scope.field("name").missing();
        }
        if planned.iter().any(|held| *held.name == *filter.name) && is_terminal(filter) {
            scope
                .field("name")
                .reject(Fault::Duplicate(filter.name.clone()));
        }
        if let Some(kind) = http_filter(filter, &scope) {
            planned.push(HttpFilterPlan {
                name: Arc::from(filter.name.as_str()),
                kind,
                disabled: filter.disabled,
            });
        }
    }
    match filters.last() {
        None => scope.field("http_filters").missing(),
        Some(last) if !is_terminal(last) => scope
            .item("http_filters", filters.len() - 1)
            .reject(Fault::Words("the last filter has to be the router")),
        Some(_) => {}
    }
    if let Some(early) = filters.iter().rev().skip(1).rev().position(is_terminal) {
        scope
            .item("http_filters", early)
            .reject(Fault::Words("the router has to be the last filter"));
    }
    planned
}

fn is_terminal(filter: &manager::HttpFilter) -> bool {
    let Some(manager::http_filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
        return filter.name == "envoy.filters.http.router";
    };
    Unwrapped::of(config).is_ok_and(|unwrapped| unwrapped.is::<wire::router::v3::Router>())
}

fn http_filter(filter: &manager::HttpFilter, scope: &Scope<'_>) -> Option<HttpFilterKind> {
    let config = match &filter.config_type {
        Some(manager::http_filter::ConfigType::TypedConfig(config)) => config,
        Some(manager::http_filter::ConfigType::ConfigDiscovery(_)) => {
            return left_out(
                filter,
                &scope.field("config_discovery"),
                "filters by discovery are not served",
            );
        }
        None if filter.name == "envoy.filters.http.router" => {
            return Some(HttpFilterKind::Router(Arc::default()));
        }
        None => {
            // An arm that was not decoded is there, only not understood.
            if scope.doubt().is_none() {
                scope.field("typed_config").missing();
            }
            return left_out(filter, scope, "its message was not decoded");
        }
    };
    let scope = scope.field("typed_config");
    let Ok(unwrapped) = Unwrapped::of(config) else {
        return left_out(filter, &scope, "its message cannot be read");
    };
    let name = unwrapped.type_name.as_str();
    macro_rules! dispatch {
        ($($message:ty => $variant:ident),* $(,)?) => {
            $(if unwrapped.is::<$message>() {
                return decode::<$message>(&unwrapped, &scope).map(HttpFilterKind::$variant).or_else(|| left_out(filter, &scope, "its message cannot be read"));
            })*
        };
    }
    if is_guard(name)
        && let Some(doubt) = scope.doubt()
    {
        return Some(HttpFilterKind::Refuse(doubt));
    }
    match HttpFilter::plan(&unwrapped, &scope) {
        Ok(Some(HttpFilter::Refuse(refuse))) => return Some(HttpFilterKind::Refuse(refuse.reason)),
        Ok(planned) => return planned.map(Arc::new).map(HttpFilterKind::Traffic),
        Err(UnknownFilter) => {}
    }
    dispatch!(
        alpn::FilterConfig => Alpn,
        wire::compressor::v3::Compressor => Compressor,
        wire::grpc_stats::v3::FilterConfig => GrpcStats,
        peer_metadata::Config => PeerMetadata,
        wire::router::v3::Router => Router,
        stats::PluginConfig => Stats,
    );
    left_out(filter, &scope, &format!("{name} is not served"))
}

/// A filter that is not served: nothing where it guards nothing, else the mark to refuse.
fn left_out(
    filter: &manager::HttpFilter,
    scope: &Scope<'_>,
    words: &str,
) -> Option<HttpFilterKind> {
    let harmless = match &filter.config_type {
        Some(manager::http_filter::ConfigType::TypedConfig(config)) => {
            HARMLESS.contains(&type_name(&config.type_url))
        }
        _ => false,
    };
    // Optional filters are ones that their author can do without; disabled ones run only where a route says so, which is looked at there.
    if harmless || filter.is_optional || filter.disabled {
        scope.note(words);
        return None;
    }
    Some(HttpFilterKind::Refuse(scope.refuse(words)))
}

/// Plans the network filters of a chain.
pub fn network_filters(filters: &[listener::Filter], scope: &Scope<'_>) -> Vec<NetworkFilterPlan> {
    let plan = |(index, filter): (usize, &listener::Filter)| {
        let scope = scope.item("filters", index);
        if filter.name.is_empty() {
            scope.field("name").missing();
        }
        Some(NetworkFilterPlan {
            name: Arc::from(filter.name.as_str()),
            kind: network_filter(filter, &scope)?,
        })
    };
    let planned: Vec<NetworkFilterPlan> = filters.iter().enumerate().filter_map(plan).collect();
    let last = filters.len().saturating_sub(1);
    for (index, filter) in filters.iter().enumerate() {
        if is_terminal_network(filter) && index != last {
            scope
                .item("filters", index)
                .reject(Fault::Words("it has to be the last filter"));
        }
    }
    planned
}

/// Whether a network filter ends its chain.
fn is_terminal_network(filter: &listener::Filter) -> bool {
    matches!(&filter.config_type, Some(listener::filter::ConfigType::TypedConfig(config)) if matches!(
        type_name(&config.type_url),
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" | "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    ))
}

fn network_filter(filter: &listener::Filter, scope: &Scope<'_>) -> Option<NetworkFilterKind> {
    use carbyne_protos::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
    use manager::HttpConnectionManager;
    let config = match &filter.config_type {
        Some(listener::filter::ConfigType::TypedConfig(config)) => config,
        Some(listener::filter::ConfigType::ConfigDiscovery(_)) => {
            return Some(NetworkFilterKind::Refuse(
                scope
                    .field("config_discovery")
                    .refuse("filters by discovery are not served"),
            ));
        }
        None => {
            if scope.doubt().is_none() {
                scope.field("typed_config").missing();
            }
            return Some(NetworkFilterKind::Refuse(
                scope.refuse("its message was not decoded"),
            ));
        }
    };
    let scope = scope.field("typed_config");
    let refuse = |words: &str| Some(NetworkFilterKind::Refuse(scope.refuse(words)));
    let Ok(unwrapped) = Unwrapped::of(config) else {
        return refuse("its message cannot be read");
    };
    let name = unwrapped.type_name.as_str();
    if is_guard(name)
        && let Some(doubt) = scope.doubt()
    {
        return Some(NetworkFilterKind::Refuse(doubt));
    }
    if unwrapped.is::<HttpConnectionManager>() {
        let message = decode::<HttpConnectionManager>(&unwrapped, &scope)?;
        return super::http::plan(&message, &scope)
            .map(Arc::new)
            .map(NetworkFilterKind::Http);
    }
    if unwrapped.is::<TcpProxy>() {
        let message = decode::<TcpProxy>(&unwrapped, &scope)?;
        return super::tcp::plan(&message, &scope)
            .map(Arc::new)
            .map(NetworkFilterKind::Tcp);
    }
    if unwrapped.is::<MetadataExchange>() {
        return decode(&unwrapped, &scope)
            .map(NetworkFilterKind::MetadataExchange)
            .or_else(|| refuse("its message cannot be read"));
    }
    if unwrapped.is::<network_rbac::Rbac>() {
        let Some(message) = decode::<network_rbac::Rbac>(&unwrapped, &scope) else {
            return refuse("its message cannot be read");
        };
        return match RbacFilter::plan_network(&message, &scope)? {
            Planned::Serves(_) => Some(NetworkFilterKind::Rbac(message)),
            Planned::Refuses(refuse) => Some(NetworkFilterKind::Refuse(refuse.reason)),
        };
    }
    if unwrapped.is::<stats::PluginConfig>() {
        return decode(&unwrapped, &scope)
            .map(NetworkFilterKind::Stats)
            .or_else(|| refuse("its message cannot be read"));
    }
    let words = format!("{name} is not served");
    if HARMLESS.contains(&name) {
        scope.note(words);
        return None;
    }
    refuse(&words)
}

/// A filter's configuration for a route, a virtual host, a table or a weighted cluster.
pub fn per_route(config: &Any, disabled: bool, scope: &Scope<'_>) -> FilterConfig {
    let unwrapped = Unwrapped::of(config);
    let name = unwrapped
        .as_ref()
        .map_or("", |unwrapped| unwrapped.type_name.as_str());
    let known = is_guard(name) || HARMLESS_ON_ROUTES.contains(&name);
    let (compiled, refuse) = match (disabled, known) {
        // What a filter is told that does not run does not matter.
        (true, _) => (None, None),
        (false, false) => (
            None,
            Some(scope.refuse(format!("{name} is not served on routes"))),
        ),
        (false, true) => match scope.doubt().filter(|_| is_guard(name)) {
            Some(doubt) => (None, Some(doubt)),
            None => (compile_route(config, scope), None),
        },
    };
    FilterConfig {
        type_name: Arc::from(name),
        bytes: Bytes::copy_from_slice(&config.value),
        disabled,
        compiled,
        refuse,
    }
}

/// Decodes a message. One that its type's own bytes do not fit is refused; a `TypedStruct` that does not fit is nothing, and has a finding.
pub fn decode<M: Message + Name + Default>(
    unwrapped: &Unwrapped<'_>,
    scope: &Scope<'_>,
) -> Option<Arc<M>> {
    match unwrapped.decode::<M>() {
        Ok(message) => Some(Arc::new(message)),
        Err(carbyne_protos::any::AnyError::Struct { .. }) => None,
        Err(error) => {
            scope.reject(Fault::Malformed(error.to_string()));
            None
        }
    }
}

/// Whether messages of this type decide who may do what: those of the guards that are served.
fn is_guard(name: &str) -> bool {
    GUARDS.contains(&name)
}

/// Whether a filter of this type may be left out.
pub fn is_harmless(config: &Any) -> bool {
    Unwrapped::of(config).is_ok_and(|unwrapped| {
        HARMLESS.contains(&unwrapped.type_name.as_str()) && is_known(&unwrapped.type_name)
    })
}

/// Guards that are served, with what they are told on routes.
pub const GUARDS: [&str; 13] = [
    "envoy.extensions.filters.http.buffer.v3.Buffer",
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    "envoy.extensions.filters.network.rbac.v3.RBAC",
    "envoy.config.rbac.v3.RBAC",
];

/// Filters that guard nothing and may be left out: translations, statistics, affinity.
const HARMLESS: [&str; 8] = [
    "envoy.extensions.filters.http.decompressor.v3.Decompressor",
    "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
    "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    "envoy.extensions.filters.http.on_demand.v3.OnDemand",
    "envoy.extensions.filters.http.original_src.v3.OriginalSrc",
    "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    "envoy.extensions.filters.network.set_filter_state.v3.Config",
];

/// What filters that guard nothing are told on routes.
const HARMLESS_ON_ROUTES: [&str; 9] = [
    "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
    "envoy.extensions.filters.http.cors.v3.CorsPolicy",
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "envoy.extensions.filters.http.on_demand.v3.PerRouteConfig",
    "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
    "stats.PluginConfig",
    "io.istio.http.peer_metadata.Config",
];
