//! Plans of listeners made live: filters compiled, routes looked up, logs opened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use carbyne_engine::forward::serve::{Codec, ServeSettings};
use carbyne_engine::forward::tcp::Limits;
use carbyne_engine::http::h1;
use carbyne_engine::http::h2;
use carbyne_engine::runtime::Drain;
use carbyne_protos::envoy::config::core::v3::TrafficDirection;
use carbyne_protos::envoy::config::core::v3::proxy_protocol_config::Version;

use super::http::handler::HttpManager;
use super::listener::{
    Inspector, LiveChain, LiveListener, OriginalSourceRule, ProxyProtocol, TcpProxy, Terminal,
};
use super::listeners::RouteSlot;
use super::overload::Overload;
use super::telemetry::{ConnectionLog, Telemetry, Telling};
use crate::filter::http::HttpFilters;
use crate::filter::network::NetworkFilter;
use crate::plan::Environment;
use crate::plan::chain::ChainPlan;
use crate::plan::error::Rejection;
use crate::plan::filter::{HttpFilterKind, NetworkFilterKind};
use crate::plan::http::{self, HttpPlan, RouteSource};
use crate::plan::listener::{ListenerFilterKind, ListenerPlan};
use crate::plan::tcp::TcpPlan;

/// What all listeners are made with.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// Clusters and secrets.
    pub environment: Environment,
    /// Logs, statistics, the node.
    pub telling: Arc<Telling>,
    /// What is refused while a resource is short.
    pub overload: Arc<Overload>,
}

/// A listener that may still wait for its routes.
#[derive(Debug)]
pub struct Compiled {
    /// What will serve.
    pub listener: LiveListener,
    /// Names of the route configurations that it needs.
    pub routes: BTreeSet<Arc<str>>,
}

/// What a chain has of its listener.
#[derive(Clone, Copy)]
struct Around<'a> {
    listener: &'a ListenerPlan,
    inbound: bool,
    original_source: Option<OriginalSourceRule>,
}

impl Compiler {
    /// Makes a listener live; `slot` gives the place of a route configuration. Chains that are the same in `old`,
    /// which it will replace, are taken over with their connections (Envoy: filter chain only update).
    pub fn compile(
        &self,
        plan: ListenerPlan,
        old: Option<&LiveListener>,
        slot: impl Fn(&Arc<str>) -> RouteSlot,
    ) -> Result<Compiled, Rejection> {
        let inbound = plan.direction == TrafficDirection::Inbound;
        let mut routes = BTreeSet::new();
        let log = ConnectionLog::new(&self.telling, &plan.access_log);
        let mut inspectors = Vec::new();
        let mut original_destination = plan.use_original_dst;
        let refused = plan.refuse.clone();
        let mut proxy_protocol = None;
        let mut original_source = None;
        for filter in &plan.filters {
            match &filter.kind {
                ListenerFilterKind::OriginalDst => original_destination = true,
                ListenerFilterKind::TlsInspector => {
                    inspectors.push((Inspector::Tls, filter.disabled.clone()))
                }
                ListenerFilterKind::HttpInspector => {
                    inspectors.push((Inspector::Http, filter.disabled.clone()))
                }
                ListenerFilterKind::ProxyProtocol(message) => {
                    proxy_protocol = Some(ProxyProtocol {
                        optional: message.allow_requests_without_proxy_protocol,
                        versions: [Version::V1, Version::V2].map(|version| {
                            !message.disallowed_versions.contains(&(version as i32))
                        }),
                        disabled: filter.disabled.clone(),
                    });
                }
                ListenerFilterKind::OriginalSrc { mark, bind_port } => {
                    original_source = Some(OriginalSourceRule {
                        mark: *mark,
                        bind_port: *bind_port,
                    });
                }
            }
        }
        let old = old.filter(|old| old.fingerprint == plan.fingerprint);
        let kept = |chain: &ChainPlan| {
            let mut kept = old?.chains.iter();
            let wanted = chain.fingerprint?;
            let kept = kept.find(|old| old.fingerprint == Some(wanted) && !old.drain.is_started());
            kept.cloned()
        };
        let mut chains = Vec::with_capacity(plan.chains.len());
        for chain in &plan.chains {
            let chain = match kept(chain) {
                Some(chain) => chain,
                None => {
                    let refuse = refused.clone().or_else(|| chain.refuse.clone());
                    let around = Around {
                        listener: &plan,
                        inbound,
                        original_source,
                    };
                    Arc::new(self.chain(chain, refuse, &around, &slot)?)
                }
            };
            routes.extend(chain.routes.iter().cloned());
            chains.push(chain);
        }
        let stat_name = if plan.stat_prefix.is_empty() {
            Arc::from(plan.address.to_string().replace(':', "_"))
        } else {
            plan.stat_prefix.clone()
        };
        let listener = LiveListener {
            name: plan.name,
            fingerprint: plan.fingerprint,
            stats: self.telling.listener_stats(&stat_name),
            stat_name,
            original_destination,
            hands_off: plan.use_original_dst,
            proxy_protocol,
            ignores_connection_limit: plan.ignores_connection_limit,
            overload: self.overload.clone(),
            bypasses_overload: plan.bypasses_overload,
            inspectors,
            inspection_timeout: plan.filters_timeout,
            continue_on_timeout: plan.continue_on_timeout,
            table: plan.table,
            chains,
            routes: routes.clone(),
            inbound,
            log,
            drain: Arc::new(Drain::new()),
        };
        Ok(Compiled { listener, routes })
    }

    fn chain(
        &self,
        chain: &ChainPlan,
        refuse: Option<Arc<str>>,
        around: &Around<'_>,
        slot: &impl Fn(&Arc<str>) -> RouteSlot,
    ) -> Result<LiveChain, Rejection> {
        let mut routes = BTreeSet::new();
        let mut filters = Vec::new();
        let mut terminal = Terminal::Refuse(Arc::from("the chain has no last filter"));
        for filter in &chain.filters {
            match &filter.kind {
                NetworkFilterKind::Http(plan) => {
                    let (manager, settings) =
                        self.http(plan, &chain.name, around, &mut routes, slot)?;
                    terminal = Terminal::Http(Arc::new(manager), Arc::new(settings));
                }
                NetworkFilterKind::Tcp(plan) => {
                    terminal = Terminal::Tcp(Arc::new(self.tcp(plan, chain, around)?));
                }
                _ => filters.extend(NetworkFilter::compile(filter, &self.telling)),
            }
        }
        // HTTP words its own refusals with 503; what the chain itself did not understand (TLS, its match,
        // a network filter) must not be served at all.
        if let Some(reason) = refuse {
            tracing::warn!(chain = %chain.name, %reason, "connections are reset: something that guards is not served");
            terminal = Terminal::Refuse(reason);
        }
        Ok(LiveChain {
            name: chain.name.clone(),
            fingerprint: chain.fingerprint,
            routes,
            drain: Arc::new(Drain::new()),
            tls: chain.tls.clone(),
            handshake_timeout: chain.handshake_timeout.or(Some(HANDSHAKE)),
            filters,
            terminal,
        })
    }

    fn http(
        &self,
        plan: &Arc<HttpPlan>,
        chain: &Arc<str>,
        around: &Around<'_>,
        routes: &mut BTreeSet<Arc<str>>,
        slot: &impl Fn(&Arc<str>) -> RouteSlot,
    ) -> Result<(HttpManager, ServeSettings), Rejection> {
        let Around {
            listener, inbound, ..
        } = *around;
        let table = match &plan.routes {
            RouteSource::Inline(table) => Arc::new(ArcSwapOption::from(Some(table.clone()))),
            RouteSource::Discovery { name, .. } => {
                routes.insert(name.clone());
                slot(name)
            }
        };
        if let Some(reason) = &plan.refuse {
            tracing::warn!(listener = %listener.name, %reason, "requests are refused: something that guards is not served");
        }
        let suppress = plan.filters.iter().any(|filter| match &filter.kind {
            HttpFilterKind::Router(router) => router.suppress_envoy_headers,
            _ => false,
        });
        let manager = HttpManager {
            filters: HttpFilters::compile(&plan.filters, &self.telling, &plan.stat_prefix, inbound),
            routes: table,
            local_address: self.telling.local_address,
            clusters: self.environment.clusters.clone(),
            telemetry: Telemetry::new(&self.telling, plan, listener.direction),
            suppress_envoy_headers: suppress,
            buffer_limit: listener.buffer_limit as usize,
            original_source: around.original_source,
            overload: (!listener.bypasses_overload).then(|| self.overload.clone()),
            plan: plan.clone(),
            filter_chain: chain.clone(),
        };
        Ok((manager, serve_settings(plan)))
    }

    fn tcp(
        &self,
        plan: &Arc<TcpPlan>,
        chain: &ChainPlan,
        around: &Around<'_>,
    ) -> Result<TcpProxy, Rejection> {
        let inbound = around.inbound;
        let mut log = ConnectionLog::new(&self.telling, &plan.access_log);
        for filter in &chain.filters {
            if let NetworkFilterKind::Stats(stats) = &filter.kind {
                log.count(&self.telling, stats, inbound);
            }
        }
        Ok(TcpProxy {
            filter_chain: chain.name.clone(),
            node: self.telling.node.clone(),
            limits: Limits {
                idle: plan.idle_timeout,
                max_duration: plan.max_duration,
            },
            original_source: around.original_source,
            log,
            plan: plan.clone(),
        })
    }
}

fn serve_settings(plan: &HttpPlan) -> ServeSettings {
    let default = h2::Settings::default();
    let http2 = &plan.http2;
    ServeSettings {
        codec: match plan.codec {
            http::Codec::Auto => Codec::Auto,
            http::Codec::Http1 => Codec::Http1,
            http::Codec::Http2 => Codec::Http2,
        },
        limits: h1::Limits {
            head_bytes: plan.limits.head_bytes as usize,
            fields: plan.limits.head_fields as usize,
            // Envoy limits the head as a whole.
            request_line_bytes: usize::MAX,
            non_ascii_target: false,
            registered_methods: !plan.http1.custom_methods,
            refuse_http_10: !plan.http1.accept_http_10,
            forward_expect: plan.fields.proxy_100_continue,
            trailers: plan.http1.trailers,
        },
        http2: h2::Settings {
            max_concurrent_streams: http2
                .max_concurrent_streams
                .unwrap_or(default.max_concurrent_streams),
            stream_window: http2.stream_window.unwrap_or(default.stream_window),
            connection_window: http2.connection_window.unwrap_or(default.connection_window),
            max_header_list: plan.limits.head_bytes,
            connect_protocol: http2.allow_connect || !plan.upgrades.is_empty(),
            ..default
        },
        policy: plan.canonical,
        idle_timeout: plan.limits.idle,
        // Istio sets none in the sidecar; there the listener's own settings rule.
        head_timeout: plan.limits.request_headers,
        default_host: plan
            .http1
            .default_host_for_http_10
            .as_ref()
            .map(|host| Bytes::copy_from_slice(host.as_bytes())),
        forward_interim: plan.fields.proxy_100_continue,
        ..ServeSettings::default()
    }
}

/// How long a client's TLS handshake may take where the chain says nothing.
const HANDSHAKE: Duration = Duration::from_secs(15);
