//! The HTTP filters of a connection manager, in order.

use std::any::Any;
use std::sync::Arc;

use carbyne_engine::forward::{Answer, Exchange};
use carbyne_protos::envoy::extensions::filters::http as wire;
use carbyne_protos::prost_types;
use prost::{Message, Name};

use super::cors::{CorsFilter, CorsPolicy};
use super::fault::{FaultFilter, Faults};
use super::local_ratelimit::LocalRateLimitFilter;
use super::planned::Planned;
use super::rbac::{RbacFilter, RbacRoute};
use super::refuse::Refuse;
use crate::context::Context;
use crate::live::route::FilterConfig;
use crate::plan::Environment;
use crate::plan::error::Rejection;
use crate::plan::filter::{HttpFilterKind, HttpFilterPlan};
use crate::plan::scope::Scope;
use crate::server::http::handler::share;

/// Compiled filters.
#[derive(Debug)]
pub struct HttpFilters(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    filter: HttpFilter,
    /// It runs only on routes that say so.
    disabled: bool,
}

/// One compiled filter.
#[derive(Debug)]
enum HttpFilter {
    Cors(CorsFilter),
    Fault(FaultFilter),
    LocalRateLimit(LocalRateLimitFilter),
    Rbac(RbacFilter),
    Refuse(Refuse),
}

impl HttpFilters {
    /// Compiles the filters that the plan kept.
    pub fn compile(plans: &[HttpFilterPlan], environment: &Environment) -> Result<Self, Rejection> {
        let mut entries = Vec::with_capacity(plans.len());
        for plan in plans {
            if let Some(filter) = compile(plan, environment)? {
                entries.push(Entry {
                    name: plan.name.clone(),
                    filter,
                    disabled: plan.disabled,
                });
            }
        }
        Ok(Self(entries))
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
    pub async fn request(&self, index: usize, exchange: &mut Exchange<Context>) -> Result<(), Answer> {
        let entry = &self.0[index];
        let route = match entry.route(exchange)? {
            Configured::Off => return Ok(()),
            Configured::On(route) => route,
        };
        match &entry.filter {
            HttpFilter::Cors(filter) => filter.request(exchange, of(route.as_ref())),
            HttpFilter::Fault(filter) => filter.request(exchange, of::<Faults>(route.as_ref())).await,
            HttpFilter::LocalRateLimit(filter) => filter.request(exchange, of(route.as_ref())),
            HttpFilter::Rbac(filter) => filter.request(exchange, of::<RbacRoute>(route.as_ref())),
            HttpFilter::Refuse(filter) => filter.request(exchange),
        }
    }

    /// Runs the filters on a response, last one first.
    pub fn response(&self, exchange: &mut Exchange<Context>) {
        for entry in self.0.iter().rev() {
            let Ok(Configured::On(route)) = entry.route(exchange) else {
                continue;
            };
            match &entry.filter {
                HttpFilter::Cors(filter) => filter.response(exchange, of::<CorsPolicy>(route.as_ref())),
                HttpFilter::LocalRateLimit(filter) => filter.response(exchange, of(route.as_ref())),
                HttpFilter::Fault(_) | HttpFilter::Rbac(_) | HttpFilter::Refuse(_) => {}
            }
        }
    }
}

/// Whether a filter runs on a route, and with what.
enum Configured {
    Off,
    On(Option<Arc<dyn Any + Send + Sync>>),
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
            Some(FilterConfig { refuse: Some(reason), .. }) => {
                Err(Refuse::because(&self.name, reason.clone()).answer())
            }
            Some(config) => Ok(Configured::On(config.compiled.clone())),
            None if self.disabled => Ok(Configured::Off),
            None => Ok(Configured::On(None)),
        }
    }
}

/// What a filter compiled for a route.
fn of<T: Any>(compiled: Option<&Arc<dyn Any + Send + Sync>>) -> Option<&T> {
    compiled.and_then(|compiled| compiled.downcast_ref())
}

fn compile(plan: &HttpFilterPlan, environment: &Environment) -> Result<Option<HttpFilter>, Rejection> {
    Ok(Some(match &plan.kind {
        HttpFilterKind::Cors(message) => HttpFilter::Cors(CorsFilter::plan((**message).clone())),
        HttpFilterKind::Fault(message) => planned(&**message, environment, FaultFilter::plan, HttpFilter::Fault)?,
        HttpFilterKind::LocalRateLimit(message) => {
            planned(&**message, environment, LocalRateLimitFilter::plan, HttpFilter::LocalRateLimit)?
        }
        HttpFilterKind::Rbac(message) => planned(&**message, environment, RbacFilter::plan, HttpFilter::Rbac)?,
        HttpFilterKind::Refuse(reason) => HttpFilter::Refuse(Refuse::because(&plan.name, reason.clone())),
        HttpFilterKind::Router(_) => return Ok(None),
        // Guards whose room is not furnished yet: their traffic is refused, never let through.
        HttpFilterKind::ExtAuthz(_) | HttpFilterKind::JwtAuthn(_) => {
            HttpFilter::Refuse(Refuse::because(&plan.name, "not served"))
        }
        HttpFilterKind::Alpn(_)
        | HttpFilterKind::Compressor(_)
        | HttpFilterKind::GrpcStats(_)
        | HttpFilterKind::PeerMetadata(_)
        | HttpFilterKind::Stats(_) => return Ok(None),
    }))
}

fn planned<M, F>(
    message: &M,
    environment: &Environment,
    plan: impl FnOnce(&M, &Scope<'_>) -> Option<Planned<F>>,
    wrap: impl FnOnce(F) -> HttpFilter,
) -> Result<HttpFilter, Rejection>
where
    M: Message + Name,
{
    let planned = environment.plan_message(message, plan)?;
    Ok(match planned.plan {
        Planned::Serves(filter) => wrap(filter),
        Planned::Refuses(refuse) => HttpFilter::Refuse(refuse),
    })
}

/// Compiles a filter's configuration for a route; `Err` is the mark to refuse the route's requests.
pub fn compile_route(
    type_name: &str,
    config: &prost_types::Any,
    scope: &Scope<'_>,
) -> Result<Option<Arc<dyn Any + Send + Sync>>, Arc<str>> {
    fn read<M, F>(
        config: &prost_types::Any,
        scope: &Scope<'_>,
        plan: impl FnOnce(&M, &Scope<'_>) -> Option<Planned<F>>,
    ) -> Result<Option<Arc<dyn Any + Send + Sync>>, Arc<str>>
    where
        M: Message + Name + Default,
        F: Any + Send + Sync,
    {
        let message: M = match carbyne_protos::any::decode_config(config) {
            Ok(message) => message,
            Err(error) => {
                scope.reject(crate::plan::error::Fault::Malformed(error.to_string()));
                return Ok(None);
            }
        };
        match plan(&message, scope) {
            None => Ok(None),
            Some(Planned::Serves(filter)) => Ok(Some(Arc::new(filter))),
            Some(Planned::Refuses(refuse)) => Err(refuse.reason),
        }
    }
    match type_name {
        "envoy.extensions.filters.http.cors.v3.CorsPolicy" => {
            read::<wire::cors::v3::CorsPolicy, _>(config, scope, CorsPolicy::plan)
        }
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
            read::<wire::fault::v3::HttpFault, _>(config, scope, Faults::plan)
        }
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit" => {
            read::<wire::local_ratelimit::v3::LocalRateLimit, _>(config, scope, LocalRateLimitFilter::plan_route)
        }
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute" => {
            read::<wire::rbac::v3::RbacPerRoute, _>(config, scope, RbacRoute::plan)
        }
        _ => Ok(None),
    }
}
