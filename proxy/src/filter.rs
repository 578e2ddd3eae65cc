//! One file a filter: each turns its message into a compiled filter and runs it on an exchange.
//!
//! | file | what it holds |
//! |---|---|
//! | [`rbac`] | who may do what, for requests and TCP connections |
//! | [`jwt_authn`] | who sent a request, by its token |
//! | [`ext_authz`] | a service decides |
//! | [`local_ratelimit`] | so many and no more |
//! | [`cors`], [`fault`], [`header_mutation`], [`buffer`] | what their names say |
//! | [`refuse`] | in place of a guard that was not understood |
//! | [`planned`] | what a filter's message turned out to be |
//! | [`upstream`] | calls that filters make themselves |
//! | [`reply`] | answers in the form that gRPC clients read |
//! | [`addition`], [`body`], [`query`], [`reading`] | what several filters need |
//!
//! A filter has `plan(message, scope)` and, where routes may configure it, a message of theirs; it runs as `request(exchange, per_route)` in the
//! order of the chain, and as `response` in reverse. An answer of a filter is worded for HTTP; [`reply::for_grpc`] turns it.

pub mod addition;
pub mod alpn;
mod body;
pub mod buffer;
pub mod compressor;
pub mod cors;
mod counted;
pub mod ext_authz;
pub mod fault;
pub mod grpc_stats;
pub mod header_mutation;
pub mod http;
pub mod jwt_authn;
pub mod local_ratelimit;
pub mod metadata_exchange;
pub mod network;
pub mod planned;
mod query;
pub mod rbac;
mod reading;
pub mod refuse;
pub mod reply;
pub mod stats;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod upstream;

use carbyne_engine::forward::{Answer, Exchange};
use carbyne_protos::any::{AnyError, Unwrapped};
use prost::{Message, Name};

use self::buffer::{BufferFilter, BufferRoute};
use self::cors::{CorsFilter, CorsPolicy};
use self::ext_authz::{ExtAuthzFilter, ExtAuthzRoute};
use self::fault::{FaultFilter, Faults};
use self::header_mutation::{HeaderMutationFilter, Mutations};
use self::jwt_authn::{JwtAuthnFilter, JwtAuthnRoute};
use self::local_ratelimit::LocalRateLimitFilter;
use self::planned::Planned;
use self::rbac::{RbacFilter, RbacRoute};
use self::refuse::Refuse;
use self::upstream::ClusterLookup;
use crate::context::Context;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;

/// One filter of an HTTP chain.
#[derive(Debug)]
pub enum HttpFilter {
    /// Holds requests back until they are complete.
    Buffer(BufferFilter),
    /// Answers preflights, marks responses.
    Cors(CorsFilter),
    /// Asks a service.
    ExtAuthz(Box<ExtAuthzFilter>),
    /// Delays and aborts.
    Fault(FaultFilter),
    /// Changes fields.
    HeaderMutation(HeaderMutationFilter),
    /// Verifies tokens.
    JwtAuthn(Box<JwtAuthnFilter>),
    /// Limits.
    LocalRateLimit(Box<LocalRateLimitFilter>),
    /// Judges by rules.
    Rbac(Box<RbacFilter>),
    /// Refuses everything, in place of a guard that was not understood.
    Refuse(Refuse),
}

/// A filter's configuration for one route.
#[derive(Debug)]
pub enum PerRoute {
    /// The filter is left out.
    Disabled,
    /// Of the buffer filter.
    Buffer(BufferRoute),
    /// Of the cors filter.
    Cors(CorsPolicy),
    /// Of the ext_authz filter.
    ExtAuthz(ExtAuthzRoute),
    /// Of the fault filter.
    Fault(Faults),
    /// Of the header_mutation filter.
    HeaderMutation(Mutations),
    /// Of the jwt_authn filter.
    JwtAuthn(JwtAuthnRoute),
    /// Of the local rate limit filter.
    LocalRateLimit(LocalRateLimitFilter),
    /// Of the rbac filter.
    Rbac(RbacRoute),
    /// What the route says of a guard was not understood: it refuses.
    Refuse(Refuse),
}

/// None of these filters has this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownFilter;

/// The filter's own type of route configuration; a route that has another's under its name refuses.
macro_rules! own {
    ($per_route:expr, $arm:ident, $name:expr, $exchange:expr) => {
        match $per_route {
            None => None,
            Some(PerRoute::$arm(own)) => Some(own),
            Some(_) => {
                return Refuse::because($name, "the route has another filter's configuration for it")
                    .request($exchange)
            }
        }
    };
}

impl HttpFilter {
    /// Reads a filter's message by its type. The outer result says whether it is one of these filters; `None` that it was rejected, and why is
    /// noted in `scope`.
    pub fn plan(config: &Unwrapped<'_>, scope: &Scope<'_>) -> Result<Option<Self>, UnknownFilter> {
        use carbyne_protos::envoy::extensions::filters::http as wire;
        let planned = if config.is::<wire::rbac::v3::Rbac>() {
            read(config, scope, RbacFilter::plan)
                .map(|planned| planned.map(|filter| Self::Rbac(Box::new(filter))))
        } else if config.is::<wire::jwt_authn::v3::JwtAuthentication>() {
            read(config, scope, JwtAuthnFilter::plan)
                .map(|planned| planned.map(|filter| Self::JwtAuthn(Box::new(filter))))
        } else if config.is::<wire::ext_authz::v3::ExtAuthz>() {
            read(config, scope, ExtAuthzFilter::plan)
                .map(|planned| planned.map(|filter| Self::ExtAuthz(Box::new(filter))))
        } else if config.is::<wire::fault::v3::HttpFault>() {
            read(config, scope, FaultFilter::plan).map(|planned| planned.map(Self::Fault))
        } else if config.is::<wire::cors::v3::Cors>() {
            Some(Planned::Serves(Self::Cors(CorsFilter::default())))
        } else if config.is::<wire::local_ratelimit::v3::LocalRateLimit>() {
            read(config, scope, LocalRateLimitFilter::plan)
                .map(|planned| planned.map(|filter| Self::LocalRateLimit(Box::new(filter))))
        } else if config.is::<wire::header_mutation::v3::HeaderMutation>() {
            read(config, scope, HeaderMutationFilter::plan)
                .map(|planned| planned.map(Self::HeaderMutation))
        } else if config.is::<wire::buffer::v3::Buffer>() {
            read(config, scope, BufferFilter::plan).map(|planned| planned.map(Self::Buffer))
        } else {
            return Err(UnknownFilter);
        };
        Ok(planned.map(|planned| match planned {
            Planned::Serves(filter) => filter,
            Planned::Refuses(refuse) => Self::Refuse(refuse),
        }))
    }

    /// Runs it on a request, after `clusters` where it has to call somebody.
    pub async fn request<L: ClusterLookup>(
        &self,
        exchange: &mut Exchange<Context>,
        per_route: Option<&PerRoute>,
        clusters: &L,
    ) -> Result<(), Answer> {
        match per_route {
            Some(PerRoute::Disabled) => return Ok(()),
            Some(PerRoute::Refuse(refuse)) => return refuse.request(exchange),
            _ => {}
        }
        match self {
            Self::Buffer(filter) => {
                filter
                    .request(exchange, own!(per_route, Buffer, buffer::NAME, exchange))
                    .await
            }
            Self::Cors(filter) => {
                filter.request(exchange, own!(per_route, Cors, cors::NAME, exchange))
            }
            Self::ExtAuthz(filter) => {
                filter
                    .request(
                        exchange,
                        own!(per_route, ExtAuthz, ext_authz::NAME, exchange),
                        clusters,
                    )
                    .await
            }
            Self::Fault(filter) => {
                filter
                    .request(exchange, own!(per_route, Fault, fault::NAME, exchange))
                    .await
            }
            Self::HeaderMutation(filter) => {
                filter.request(
                    exchange,
                    own!(per_route, HeaderMutation, header_mutation::NAME, exchange),
                );
                Ok(())
            }
            Self::JwtAuthn(filter) => {
                filter
                    .request(
                        exchange,
                        own!(per_route, JwtAuthn, jwt_authn::NAME, exchange),
                        clusters,
                    )
                    .await
            }
            Self::LocalRateLimit(filter) => filter.request(
                exchange,
                own!(per_route, LocalRateLimit, local_ratelimit::NAME, exchange),
            ),
            Self::Rbac(filter) => {
                filter.request(exchange, own!(per_route, Rbac, rbac::HTTP, exchange))
            }
            Self::Refuse(refuse) => refuse.request(exchange),
        }
    }

    /// Runs it on a response, answers of our own too.
    pub fn response(&self, exchange: &mut Exchange<Context>, per_route: Option<&PerRoute>) {
        match (self, per_route) {
            (_, Some(PerRoute::Disabled)) => {}
            (Self::Cors(filter), Some(PerRoute::Cors(policy))) => {
                filter.response(exchange, Some(policy))
            }
            (Self::ExtAuthz(filter), _) => filter.response(exchange),
            (Self::HeaderMutation(filter), Some(PerRoute::HeaderMutation(own))) => {
                filter.response(exchange, Some(own))
            }
            (Self::HeaderMutation(filter), _) => filter.response(exchange, None),
            (Self::LocalRateLimit(filter), Some(PerRoute::LocalRateLimit(own))) => {
                filter.response(exchange, Some(own))
            }
            (Self::LocalRateLimit(filter), _) => filter.response(exchange, None),
            _ => {}
        }
    }
}

impl PerRoute {
    /// Reads a route's message by its type, as [`HttpFilter::plan`] does.
    pub fn plan(config: &Unwrapped<'_>, scope: &Scope<'_>) -> Result<Option<Self>, UnknownFilter> {
        use carbyne_protos::envoy::extensions::filters::http as wire;
        let planned = if config.is::<wire::rbac::v3::RbacPerRoute>() {
            read(config, scope, RbacRoute::plan).map(|planned| planned.map(Self::Rbac))
        } else if config.is::<wire::jwt_authn::v3::PerRouteConfig>() {
            read(config, scope, JwtAuthnFilter::plan_route)
                .map(|planned| planned.map(Self::JwtAuthn))
        } else if config.is::<wire::ext_authz::v3::ExtAuthzPerRoute>() {
            read(config, scope, ExtAuthzFilter::plan_route)
                .map(|planned| planned.map(Self::ExtAuthz))
        } else if config.is::<wire::fault::v3::HttpFault>() {
            read(config, scope, Faults::plan).map(|planned| planned.map(Self::Fault))
        } else if config.is::<wire::cors::v3::CorsPolicy>() {
            read(config, scope, CorsPolicy::plan).map(|planned| planned.map(Self::Cors))
        } else if config.is::<wire::local_ratelimit::v3::LocalRateLimit>() {
            read(config, scope, LocalRateLimitFilter::plan_route)
                .map(|planned| planned.map(Self::LocalRateLimit))
        } else if config.is::<wire::header_mutation::v3::HeaderMutationPerRoute>() {
            read(config, scope, Mutations::plan).map(|planned| planned.map(Self::HeaderMutation))
        } else if config.is::<wire::buffer::v3::BufferPerRoute>() {
            read(config, scope, BufferFilter::plan_route).map(|planned| planned.map(Self::Buffer))
        } else {
            return Err(UnknownFilter);
        };
        Ok(planned.map(|planned| match planned {
            Planned::Serves(own) => own,
            Planned::Refuses(refuse) => Self::Refuse(refuse),
        }))
    }
}

fn read<M, F>(
    config: &Unwrapped<'_>,
    scope: &Scope<'_>,
    plan: impl FnOnce(&M, &Scope<'_>) -> Option<Planned<F>>,
) -> Option<Planned<F>>
where
    M: Message + Name + Default,
{
    let message: Result<M, AnyError> = config.decode();
    match message {
        Ok(message) => plan(&message, scope),
        Err(error) => {
            scope.reject(Fault::Malformed(error.to_string()));
            None
        }
    }
}
