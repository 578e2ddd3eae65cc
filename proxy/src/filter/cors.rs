//! Which pages of other origins may call (Fetch standard, "CORS protocol"): Envoy's cors filter. The filter itself has no settings, routes have.

use std::borrow::Cow;
use std::sync::Arc;

use carbyne_engine::forward::{Answer, Exchange};
use carbyne_engine::http::{Headers, Response};
use carbyne_engine::observe::metrics::Counter;
use carbyne_protos::envoy::extensions::filters::http::cors::v3 as wire;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::planned::Planned;
use super::reading;
use crate::context::Context;
use crate::live::matcher::{Fraction, StringMatcher};
use crate::plan::error::Fault;
use crate::plan::matcher;
use crate::plan::scope::Scope;

/// Answers preflights and marks responses, as the route's policy says.
#[derive(Clone, Debug, Default)]
pub struct CorsFilter {
    /// Its counters.
    pub stats: Arc<CorsStats>,
}

/// Counters of a filter.
#[derive(Debug, Default)]
pub struct CorsStats {
    /// Requests of an origin that the policy knows.
    pub origin_valid: Counter,
    /// Requests of another origin.
    pub origin_invalid: Counter,
}

/// The policy of a route.
#[derive(Clone, Debug)]
pub struct CorsPolicy {
    origins: Box<[StringMatcher]>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
    private_network: bool,
    forward_other_preflights: bool,
    enabled: Fraction,
    shadow: Fraction,
}

impl CorsFilter {
    /// Answers a preflight; any other request passes.
    pub fn request(
        &self,
        exchange: &mut Exchange<Context>,
        per_route: Option<&CorsPolicy>,
    ) -> Result<(), Answer> {
        let Some(policy) = per_route else {
            return Ok(());
        };
        let enabled = policy.enabled.holds(fastrand::u64(..));
        if !enabled && !policy.shadow.holds(fastrand::u64(..)) {
            return Ok(());
        }
        let request = &exchange.request;
        let Some(origin) = request
            .headers
            .get(&ORIGIN)
            .filter(|origin| !origin.is_empty())
        else {
            return Ok(());
        };
        let is_preflight = request.method == Method::OPTIONS
            && request
                .headers
                .get(&ACCESS_CONTROL_REQUEST_METHOD)
                .is_some_and(|method| !method.is_empty());
        if !policy.allows(origin) {
            self.stats.origin_invalid.increment();
            if enabled && is_preflight && !policy.forward_other_preflights {
                return Err(answer(Headers::new()));
            }
            return Ok(());
        }
        self.stats.origin_valid.increment();
        if !enabled || !is_preflight {
            return Ok(());
        }
        let mut headers = Headers::with_capacity(6);
        policy.mark_origin(origin, &mut headers);
        let rest = [
            (ACCESS_CONTROL_ALLOW_METHODS, &policy.methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, &policy.headers),
            (ACCESS_CONTROL_MAX_AGE, &policy.max_age),
        ];
        for (name, value) in rest {
            if let Some(value) = value {
                headers.append(name, value.clone());
            }
        }
        let asks_private = request
            .headers
            .get(&REQUEST_PRIVATE_NETWORK)
            .is_some_and(|asked| asked == "true");
        if policy.private_network && asks_private {
            headers.append(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        Err(answer(headers))
    }

    /// Marks the response to a request of an allowed origin.
    pub fn response(&self, exchange: &mut Exchange<Context>, per_route: Option<&CorsPolicy>) {
        let (Some(policy), Some(response)) = (per_route, &mut exchange.response) else {
            return;
        };
        // A share other than all or nothing is drawn again here: Envoy remembers its draw, nobody sets such shares.
        if !policy.enabled.holds(fastrand::u64(..)) {
            return;
        }
        let Some(origin) = exchange.request.headers.get(&ORIGIN) else {
            return;
        };
        if origin.is_empty() || !policy.allows(origin) {
            return;
        }
        policy.mark_origin(origin, &mut response.headers);
        if let Some(expose) = &policy.expose {
            response
                .headers
                .insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

impl CorsPolicy {
    /// Reads a route's message.
    pub fn plan(message: &wire::CorsPolicy, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(NAME, scope, |_| Self::read(message, scope))
    }

    fn read(message: &wire::CorsPolicy, scope: &Scope<'_>) -> Option<Self> {
        let origins = message.allow_origin_string_match.iter().enumerate();
        let origins = origins.map(|(index, matcher)| {
            matcher::string(matcher, &scope.item("allow_origin_string_match", index))
        });
        let origins = origins.collect::<Option<_>>()?;
        let text = |value: &str, field: &'static str| {
            if value.is_empty() {
                return None;
            }
            let read = HeaderValue::from_str(value);
            if read.is_err() {
                scope
                    .field(field)
                    .reject(Fault::Words("it holds a byte that no field may hold"));
            }
            read.ok()
        };
        let (methods, headers) = (
            text(&message.allow_methods, "allow_methods"),
            text(&message.allow_headers, "allow_headers"),
        );
        let (expose, max_age) = (
            text(&message.expose_headers, "expose_headers"),
            text(&message.max_age, "max_age"),
        );
        Some(Self {
            origins,
            methods,
            headers,
            expose,
            max_age,
            credentials: message.allow_credentials.unwrap_or(false),
            private_network: message.allow_private_network_access.unwrap_or(false),
            forward_other_preflights: message.forward_not_matching_preflights.unwrap_or(true),
            enabled: reading::share(
                message.filter_enabled.as_ref(),
                Fraction::ALL,
                &scope.field("filter_enabled"),
            )?,
            shadow: reading::share(
                message.shadow_enabled.as_ref(),
                Fraction::NONE,
                &scope.field("shadow_enabled"),
            )?,
        })
    }

    /// Whether an origin may call; a matcher that `*` meets stands for all of them, as in Envoy.
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins
            .iter()
            .any(|matcher| matcher.matches(b"*") || matcher.matches(origin.as_bytes()))
    }

    fn mark_origin(&self, origin: &HeaderValue, headers: &mut Headers) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }
}

fn answer(headers: Headers) -> Answer {
    let mut response = Response::new(StatusCode::OK);
    response.headers = headers;
    Answer {
        response,
        body: bytes::Bytes::new(),
        details: Cow::Borrowed("cors_response"),
    }
}

/// Name of the filter.
pub const NAME: &str = "envoy.filters.http.cors";
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
