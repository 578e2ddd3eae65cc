//! The HTTP filters of a connection manager, in order.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use carbyne_engine::forward::{Answer, Event, Exchange, Protocol, Target};
use carbyne_engine::runtime::Worker;
use carbyne_protos::any::Unwrapped;
use carbyne_protos::prost_types::Any;
use http::StatusCode;

use super::alpn::AlpnFilter;
use super::compressor::{Compressor, CompressorFilter};
use super::grpc_stats::GrpcStats;
use super::metadata_exchange::MetadataExchangeFilter;
use super::refuse::Refuse;
use super::stats::StatsFilter;
use super::upstream::ClusterLookup;
use super::{HttpFilter, PerRoute};
use crate::context::Context;
use crate::live::clusters::Clusters;
use crate::live::extensions::Extension;
use crate::live::route::FilterConfig;
use crate::plan::discovered::Discovered;
use crate::plan::filter::{HttpFilterKind, HttpFilterPlan};
use crate::plan::scope::Scope;
use crate::server::http::handler::share;
use crate::server::telemetry::Telling;

/// Compiled filters.
#[derive(Debug)]
pub struct HttpFilters(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    filter: Filter,
    /// It runs only on routes that say so.
    disabled: bool,
}

#[derive(Debug)]
enum Filter {
    /// Decides about requests.
    Traffic(Arc<HttpFilter>),
    /// Offers Istio's ALPN names to hosts.
    Alpn(AlpnFilter),
    /// Compresses responses.
    Compressor(CompressorFilter),
    /// Whatever came by discovery.
    Discovered(Box<DiscoveredFilter>),
    /// Counts gRPC messages.
    GrpcStats(GrpcStats),
    /// Exchanges workload metadata over headers.
    PeerMetadata(MetadataExchangeFilter),
    /// Istio's standard metrics.
    Stats(StatsFilter),
}

/// Whether a filter runs on a route, and with what.
enum Configured {
    Off,
    On(Option<Arc<dyn std::any::Any + Send + Sync>>),
}

impl HttpFilters {
    /// Compiles the filters that the plan kept.
    pub fn compile(
        plans: &[HttpFilterPlan],
        telling: &Arc<Telling>,
        stat_prefix: &str,
        inbound: bool,
    ) -> Self {
        let mut entries = Vec::with_capacity(plans.len());
        // They decide together which of them compresses.
        let compressors = plans.iter().filter_map(|plan| match &plan.kind {
            HttpFilterKind::Compressor(compressor) => Some((**compressor).clone()),
            _ => None,
        });
        let compressors: Arc<[Compressor]> = compressors.collect();
        let mut number = 0;
        for plan in plans {
            if let HttpFilterKind::Compressor(_) = &plan.kind {
                entries.push(Entry {
                    name: plan.name.clone(),
                    filter: Filter::Compressor(CompressorFilter::new(compressors.clone(), number)),
                    disabled: plan.disabled,
                });
                number += 1;
            }
            let maker = Maker {
                name: plan.name.clone(),
                telling: telling.clone(),
                stat_prefix: stat_prefix.into(),
                inbound,
            };
            if let Some(filter) = maker.compile(&plan.kind) {
                entries.push(Entry {
                    name: plan.name.clone(),
                    filter,
                    disabled: plan.disabled,
                });
            }
        }
        Self(entries)
    }

    /// Number of filters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs filter `index` on a request.
    pub async fn request(
        &self,
        index: usize,
        exchange: &mut Exchange<Context>,
        clusters: &Clusters,
    ) -> Result<(), Answer> {
        let entry = &self.0[index];
        let route = match entry.route(exchange)? {
            Configured::Off => return Ok(()),
            Configured::On(route) => route,
        };
        let resolved = entry.filter.resolve();
        match resolved.get() {
            None => Ok(()),
            Some(Filter::Discovered(_)) => Err(missing(exchange)),
            Some(Filter::Traffic(filter)) => {
                let route = route.as_ref().and_then(|route| route.downcast_ref());
                filter.request(exchange, route, clusters).await
            }
            Some(Filter::Alpn(filter)) => {
                filter.request(exchange);
                Ok(())
            }
            Some(Filter::GrpcStats(filter)) => {
                filter.request(exchange);
                Ok(())
            }
            Some(Filter::PeerMetadata(filter)) => {
                filter.request(exchange);
                Ok(())
            }
            Some(Filter::Compressor(filter)) => {
                filter.request(exchange);
                Ok(())
            }
            Some(Filter::Stats(_)) => Ok(()),
        }
    }

    /// Runs the filters on a response, last one first.
    pub fn response(&self, exchange: &mut Exchange<Context>) {
        for entry in self.0.iter().rev() {
            let Ok(Configured::On(route)) = entry.route(exchange) else {
                continue;
            };
            let resolved = entry.filter.resolve();
            match resolved.get() {
                Some(Filter::Traffic(filter)) => {
                    let route = route.as_ref().and_then(|route| route.downcast_ref());
                    filter.response(exchange, route);
                }
                Some(Filter::Compressor(filter)) => filter.response(exchange),
                Some(Filter::GrpcStats(filter)) => filter.response(exchange),
                Some(Filter::PeerMetadata(filter)) => filter.response(exchange),
                None | Some(Filter::Alpn(_) | Filter::Discovered(_) | Filter::Stats(_)) => {}
            }
        }
    }

    /// A request is over.
    pub fn log(&self, exchange: &Exchange<Context>) {
        for entry in &self.0 {
            if let Some(Filter::Stats(filter)) = entry.filter.resolve().get() {
                filter.log(exchange);
            }
        }
    }
}

impl Entry {
    fn route(&self, exchange: &Exchange<Context>) -> Result<Configured, Answer> {
        let context = &exchange.context;
        let config = context.route.as_ref().and_then(|route| {
            let weighted = context
                .weighted
                .and_then(|number| route.forward().and_then(|forward| share(forward, number)));
            route.filter(&self.name, weighted)
        });
        match config {
            Some(config) if config.disabled => Ok(Configured::Off),
            Some(FilterConfig {
                refuse: Some(reason),
                ..
            }) => Err(Refuse::because(&self.name, reason.clone()).answer()),
            Some(config) => Ok(Configured::On(config.compiled.clone())),
            None if self.disabled => Ok(Configured::Off),
            None => Ok(Configured::On(None)),
        }
    }
}

impl ClusterLookup for Clusters {
    fn target(&self, cluster: &str, worker: &Worker) -> Option<Target> {
        let slot = self.find(cluster.as_bytes())?;
        let live = (*slot.load()).clone()?;
        let protocol = match live.cluster.settings().protocol {
            carbyne_engine::cluster::settings::Protocol::Http1 => Protocol::Http1,
            _ => Protocol::Http2,
        };
        crate::server::call::target(worker, &live, protocol)
    }
}

/// A filter whose configuration came by discovery, compiled when it is first used.
#[derive(Debug)]
struct DiscoveredFilter {
    source: Discovered<HttpFilterKind>,
    maker: Maker,
    made: ArcSwapOption<Made>,
}

/// A version of a configuration, compiled.
#[derive(Debug)]
struct Made {
    of: Arc<Extension<HttpFilterKind>>,
    /// Nothing where the filter may be left out.
    filter: Option<Filter>,
}

/// What filters are made with.
#[derive(Debug)]
struct Maker {
    name: Arc<str>,
    telling: Arc<Telling>,
    stat_prefix: Box<str>,
    inbound: bool,
}

/// The filter that runs for an entry.
enum Resolved<'a> {
    Own(&'a Filter),
    Made(Arc<Made>),
}

impl Resolved<'_> {
    /// Nothing where it may be left out; the entry itself where its configuration has not come.
    fn get(&self) -> Option<&Filter> {
        match self {
            Self::Own(filter) => Some(filter),
            Self::Made(made) => made.filter.as_ref(),
        }
    }
}

impl Filter {
    fn resolve(&self) -> Resolved<'_> {
        match self {
            Self::Discovered(discovered) => discovered
                .current()
                .map_or(Resolved::Own(self), Resolved::Made),
            filter => Resolved::Own(filter),
        }
    }
}

impl DiscoveredFilter {
    fn current(&self) -> Option<Arc<Made>> {
        let of = self.source.current()?;
        if let Some(made) = self.made.load_full()
            && Arc::ptr_eq(&made.of, &of)
        {
            return Some(made);
        }
        let filter = of.kind.as_ref().and_then(|kind| self.maker.compile(kind));
        let made = Arc::new(Made { of, filter });
        self.made.store(Some(made.clone()));
        Some(made)
    }
}

impl Maker {
    fn compile(&self, kind: &HttpFilterKind) -> Option<Filter> {
        let telling = &*self.telling;
        Some(match kind {
            HttpFilterKind::Traffic(filter) => {
                let prefix = format!("http.{}.", self.stat_prefix);
                telling.registry.publish(&prefix, filter.clone());
                Filter::Traffic(filter.clone())
            }
            HttpFilterKind::Refuse(reason) => {
                let refuse = Refuse::because(&self.name, reason.clone());
                Filter::Traffic(Arc::new(HttpFilter::Refuse(refuse)))
            }
            HttpFilterKind::GrpcStats(message) => Filter::GrpcStats(GrpcStats::plan(message).0),
            HttpFilterKind::Alpn(filter) => Filter::Alpn(filter.clone()),
            HttpFilterKind::PeerMetadata(filter) => Filter::PeerMetadata(filter.clone()),
            HttpFilterKind::Stats(plan) => {
                let store = telling.registry.istio();
                Filter::Stats(StatsFilter::new(plan, self.inbound, &telling.node, store))
            }
            HttpFilterKind::Discovered(source) => Filter::Discovered(Box::new(DiscoveredFilter {
                source: (**source).clone(),
                maker: Self {
                    name: self.name.clone(),
                    telling: self.telling.clone(),
                    stat_prefix: self.stat_prefix.clone(),
                    inbound: self.inbound,
                },
                made: ArcSwapOption::empty(),
            })),
            // The router is the handler itself; compressors are made together, and one that is discovered compresses nothing.
            HttpFilterKind::Router(_) | HttpFilterKind::Compressor(_) => return None,
        })
    }
}

/// Nothing passes a filter of which nobody knows what it is.
fn missing(exchange: &mut Exchange<Context>) -> Answer {
    exchange.events.insert(Event::NoFilterConfig);
    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "", "")
}

/// Compiles a filter's configuration for a route; nothing where no filter here has such a message.
pub fn compile_route(
    config: &Any,
    scope: &Scope<'_>,
) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
    let unwrapped = Unwrapped::of(config).ok()?;
    let planned: PerRoute = PerRoute::plan(&unwrapped, scope).ok()??;
    Some(Arc::new(planned))
}
