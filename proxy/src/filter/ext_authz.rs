//! Somebody else decides: Envoy's ext_authz filter, as istiod writes AuthorizationPolicies of action CUSTOM.
//!
//! | file | what it holds |
//! |---|---|
//! | [`read`] | message → settings |
//! | [`attributes`] | what the service is told about a request |
//! | [`http_service`] | a service that speaks plain HTTP |
//! | [`grpc_service`] | a service that speaks `envoy.service.auth.v3.Authorization` |
//! | [`verdict`] | what the service said, and what it does to the request |

mod attributes;
mod grpc_service;
mod http_service;
mod read;
#[cfg(test)]
mod tests;
mod verdict;

use std::sync::Arc;

use carbyne_engine::forward::{Answer, Event, Exchange};
use carbyne_engine::observe::metrics::Counter;
use carbyne_protos::envoy::extensions::filters::http::ext_authz::v3 as wire;
use http::{HeaderName, HeaderValue, StatusCode};

use self::attributes::{Allowed, Told};
use self::grpc_service::GrpcService;
use self::http_service::HttpService;
use self::verdict::Verdict;
use super::body::{is_tunnel, read_ahead, too_large};
use super::planned::Planned;
use super::upstream::ClusterLookup;
use crate::context::Context;
use crate::live::matcher::{Fraction, MetadataMatcher};
use crate::plan::scope::Scope;

/// Asks a service about every request.
#[derive(Debug)]
pub struct ExtAuthzFilter {
    service: Service,
    enabled: Fraction,
    enabled_metadata: Option<MetadataMatcher>,
    denies_where_disabled: bool,
    body: Option<BodySettings>,
    failure_allows: bool,
    tells_failure: bool,
    status_on_error: StatusCode,
    clears_route: bool,
    ingests_metadata: bool,
    told: Told,
    allowed: Allowed,
    /// Prefix of its counters, between `ext_authz.` and the name.
    pub stat_prefix: Box<str>,
    /// Its counters.
    pub stats: ExtAuthzStats,
}

/// A route's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtAuthzRoute {
    /// The service is not asked.
    Disabled,
    /// Asked with these.
    Settings {
        /// Told to the service beside the request.
        extensions: Arc<[(Box<str>, Box<str>)]>,
        /// How much of the body is told; `None` as in the filter, `Some(None)` none.
        body: Option<Option<BodySettings>>,
    },
}

/// How much of a body the service is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodySettings {
    /// Bytes.
    pub limit: usize,
    /// A longer body is told in part; otherwise it is refused with 413.
    pub allow_partial: bool,
    /// As bytes and not as text (gRPC only).
    pub as_bytes: bool,
}

/// Counters of a filter.
#[derive(Debug, Default)]
pub struct ExtAuthzStats {
    /// The service said yes.
    pub ok: Counter,
    /// The service said no.
    pub denied: Counter,
    /// The service could not be asked, or its answer was none.
    pub error: Counter,
    /// Requests about which it was not asked.
    pub disabled: Counter,
    /// Errors that let requests pass.
    pub failure_mode_allowed: Counter,
}

#[derive(Debug)]
enum Service {
    Grpc(GrpcService),
    Http(Box<HttpService>),
}

impl ExtAuthzFilter {
    /// Reads the filter's message.
    pub fn plan(message: &wire::ExtAuthz, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(NAME, scope, |doubts| read::filter(message, scope, doubts))
    }

    /// Reads a route's message.
    pub fn plan_route(
        message: &wire::ExtAuthzPerRoute,
        scope: &Scope<'_>,
    ) -> Option<Planned<ExtAuthzRoute>> {
        Planned::read(NAME, scope, |doubts| read::route(message, scope, doubts))
    }

    /// Asks, and does what the service says. The call is given up when the client goes away.
    pub async fn request<L: ClusterLookup>(
        &self,
        exchange: &mut Exchange<Context>,
        per_route: Option<&ExtAuthzRoute>,
        clusters: &L,
    ) -> Result<(), Answer> {
        let (extensions, body) = match per_route {
            Some(ExtAuthzRoute::Disabled) => return Ok(()),
            Some(ExtAuthzRoute::Settings { extensions, body }) => {
                (&**extensions, body.unwrap_or(self.body))
            }
            None => (&[][..], self.body),
        };
        let wanted = self
            .enabled_metadata
            .as_ref()
            .is_none_or(|matcher| matcher.matches(&exchange.context.metadata));
        if !wanted || !self.enabled.holds(fastrand::u64(..)) {
            self.stats.disabled.increment();
            if self.denies_where_disabled {
                return Err(self.error_answer(exchange));
            }
            return Ok(());
        }
        let ahead = match body {
            Some(settings) if !exchange.body.is_end() && !is_tunnel(exchange) => {
                let ahead = read_ahead(exchange, settings.limit).await?;
                if !ahead.complete && !settings.allow_partial {
                    return Err(too_large());
                }
                Some((ahead, settings))
            }
            _ => None,
        };
        // Nobody but we may say so.
        exchange.request.headers.remove(&FAILURE_ALLOWED);
        let verdict = match &self.service {
            Service::Http(service) => {
                service
                    .check(exchange, &self.allowed, ahead.as_ref(), clusters)
                    .await
            }
            Service::Grpc(service) => {
                let request =
                    self.told
                        .check_request(exchange, &self.allowed, extensions, ahead.as_ref());
                service.check(exchange, &request, clusters).await
            }
        };
        self.obey(exchange, verdict)
    }

    /// Adds the fields that the service wants in the response.
    pub fn response(&self, exchange: &mut Exchange<Context>) {
        let additions = std::mem::take(&mut exchange.context.response_additions);
        if let Some(response) = &mut exchange.response {
            for addition in additions {
                addition.apply(&mut response.headers);
            }
        }
    }

    fn obey(&self, exchange: &mut Exchange<Context>, verdict: Verdict) -> Result<(), Answer> {
        match verdict {
            Verdict::Allowed(changes) => {
                self.stats.ok.increment();
                self.note(exchange, changes.metadata.clone());
                let touched = changes.apply(&mut exchange.request);
                exchange.context.route_cleared |= touched && self.clears_route;
                exchange.context.response_additions.extend(changes.response);
                Ok(())
            }
            Verdict::Denied(answer, metadata) => {
                self.stats.denied.increment();
                self.note(exchange, metadata);
                exchange.events.insert(Event::Unauthorized);
                exchange.context.denied_by = Some(Arc::from(NAME));
                Err(answer)
            }
            Verdict::Failed(reason) => {
                self.stats.error.increment();
                tracing::debug!(reason, "an authorization service gave no answer");
                if !self.failure_allows {
                    return Err(self.error_answer(exchange));
                }
                self.stats.failure_mode_allowed.increment();
                if self.tells_failure {
                    exchange
                        .request
                        .headers
                        .insert(FAILURE_ALLOWED, HeaderValue::from_static("true"));
                }
                Ok(())
            }
        }
    }

    fn note(
        &self,
        exchange: &mut Exchange<Context>,
        metadata: serde_json::Map<String, serde_json::Value>,
    ) {
        if self.ingests_metadata && !metadata.is_empty() {
            exchange.context.metadata.merge(NAME, metadata);
        }
    }

    fn error_answer(&self, exchange: &mut Exchange<Context>) -> Answer {
        exchange.events.insert(Event::Unauthorized);
        exchange.context.denied_by = Some(Arc::from(NAME));
        Answer::text(self.status_on_error, "", "ext_authz_error")
    }
}

/// Name of the filter, and the namespace of what it writes.
pub const NAME: &str = "envoy.filters.http.ext_authz";
const FAILURE_ALLOWED: HeaderName = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");
const PARTIAL_BODY_NAME: &str = "x-envoy-auth-partial-body";
const PARTIAL_BODY: HeaderName = HeaderName::from_static(PARTIAL_BODY_NAME);
/// Longest answer of a service.
const LARGEST_ANSWER: usize = 1 << 20;
