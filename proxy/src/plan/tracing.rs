//! Tracing of connection managers and of routes.
//!
//! A tracer that is not served guards nothing: it is accepted and listed, requests go on, and nobody is told of their spans.

use std::sync::Arc;

use carbyne_protos::envoy::config::route::v3 as route;
use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as manager;
use carbyne_protos::envoy::r#type::v3::{FractionalPercent, Percent};

use super::error::Fault;
use super::scope::Scope;
use super::value;
use crate::live::matcher::Fraction;
use crate::observe::format::Format;
use crate::observe::trace::decision::Sampling;
use crate::observe::trace::tag::Tag;

mod provider;

pub use self::provider::{Propagation, Provider, Told, detected, provider};

/// Tracing of a connection manager.
#[derive(Debug)]
pub struct TracingPlan {
    /// What is traced.
    pub sampling: Sampling,
    /// What is told beside the usual.
    pub tags: Arc<[Tag]>,
    /// Phases of a request are told too.
    pub verbose: bool,
    /// Tries have spans of their own.
    pub spawns: bool,
    /// Contexts are told on.
    pub propagates: bool,
    /// Bytes of the path that are told.
    pub longest_path: usize,
    /// Name of the operation.
    pub operation: Option<Format>,
    /// Name of the operation of tries.
    pub upstream_operation: Option<Format>,
    /// Whom to tell; without one whom the bootstrap names.
    pub provider: Option<Provider>,
}

/// Tracing of a route.
#[derive(Debug)]
pub struct RouteTracing {
    /// What is traced.
    pub sampling: Sampling,
    /// What is told beside the usual; these win over those of the connection manager.
    pub tags: Arc<[Tag]>,
    /// Name of the operation.
    pub operation: Option<Format>,
    /// Name of the operation of tries.
    pub upstream_operation: Option<Format>,
}

/// Plans that of a connection manager.
pub fn plan(message: &manager::Tracing, scope: &Scope<'_>) -> TracingPlan {
    // A number of hundredths in Envoy, whatever the fraction.
    let client = message.client_sampling.map_or(Fraction::ALL, |share| {
        percent(&share, &scope.field("client_sampling"));
        Fraction::percent(share.value.trunc())
    });
    let share = |share: Option<&Percent>, name| {
        share.map_or(Fraction::ALL, |share| percent(share, &scope.field(name)))
    };
    TracingPlan {
        sampling: Sampling {
            client,
            random: share(message.random_sampling.as_ref(), "random_sampling"),
            overall: share(message.overall_sampling.as_ref(), "overall_sampling"),
        },
        tags: Tag::plan(&message.custom_tags, scope),
        verbose: message.verbose,
        spawns: message.spawn_upstream_span.unwrap_or(false),
        propagates: !message.no_context_propagation,
        longest_path: message
            .max_path_tag_length
            .map_or(LONGEST_PATH, |length| length as usize),
        operation: operation(&message.operation, "operation", scope),
        upstream_operation: operation(&message.upstream_operation, "upstream_operation", scope),
        provider: message
            .provider
            .as_ref()
            .and_then(|message| provider(message, &scope.field("provider"))),
    }
}

/// Plans that of a route.
pub fn route(message: &route::Tracing, scope: &Scope<'_>) -> Arc<RouteTracing> {
    let share = |share: Option<&FractionalPercent>, name| {
        share.map_or(Fraction::ALL, |share| {
            value::fraction(share, &scope.field(name)).unwrap_or(Fraction::ALL)
        })
    };
    Arc::new(RouteTracing {
        sampling: Sampling {
            client: share(message.client_sampling.as_ref(), "client_sampling"),
            random: share(message.random_sampling.as_ref(), "random_sampling"),
            overall: share(message.overall_sampling.as_ref(), "overall_sampling"),
        },
        tags: Tag::plan(&message.custom_tags, scope),
        operation: operation(&message.operation, "operation", scope),
        upstream_operation: operation(&message.upstream_operation, "upstream_operation", scope),
    })
}

fn percent(share: &Percent, scope: &Scope<'_>) -> Fraction {
    value::percent(Some(share), scope).map_or(Fraction::ALL, Fraction::percent)
}

fn operation(text: &str, name: &'static str, scope: &Scope<'_>) -> Option<Format> {
    if text.is_empty() {
        return None;
    }
    let format = Format::header(text).map_err(|error| Fault::Malformed(error.to_string()));
    scope.field(name).take(format)
}

/// Envoy's `max_path_tag_length`.
const LONGEST_PATH: usize = 256;
