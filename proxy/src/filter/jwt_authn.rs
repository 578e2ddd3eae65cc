//! Who sent a request, by the token that it carries: Envoy's jwt_authn filter, as istiod writes RequestAuthentications.
//!
//! | file | what it holds |
//! |---|---|
//! | [`provider`] | an issuer: what is asked of its tokens, what is done with good ones |
//! | [`requirement`] | which tokens a request must have |
//! | [`extract`] | where tokens are |
//! | [`token`] | a token taken apart |
//! | [`key`] | public keys, and signatures |
//! | [`remote`] | keys that are fetched |
//! | [`rule`] | for which requests a requirement stands |
//! | [`status`] | why a token was refused |

mod extract;
mod key;
mod provider;
pub mod remote;
mod requirement;
mod rule;
pub mod status;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use carbyne_engine::forward::{Answer, Exchange};
use carbyne_engine::http::Request;
use carbyne_engine::observe::metrics::Counter;
use carbyne_protos::envoy::extensions::filters::http::jwt_authn::v3 as wire;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use self::provider::{Effects, Keys, Provider};
use self::remote::RemoteKeys;
use self::requirement::{Judge, Requirement};
use self::rule::Rule;
use self::status::Failure;
use super::planned::{Doubts, Planned};
use super::refuse::without_spaces;
use super::upstream::ClusterLookup;
use crate::context::Context;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;

/// Verifies tokens.
#[derive(Debug)]
pub struct JwtAuthnFilter {
    providers: Box<[Provider]>,
    rules: Box<[Rule]>,
    named: BTreeMap<Box<str>, Requirement>,
    bypasses_preflight: bool,
    strips_answer: bool,
    /// Prefix of its counters: `http.{HCM}.jwt_authn.{stat_prefix}{name}`.
    pub stat_prefix: Box<str>,
    /// Its counters.
    pub stats: JwtAuthnStats,
}

/// A route's own requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtAuthnRoute {
    /// None.
    Disabled,
    /// The one of this name in the filter's `requirement_map`.
    Named(Box<str>),
}

/// Counters of a filter.
#[derive(Debug, Default)]
pub struct JwtAuthnStats {
    /// Requests that may go on.
    pub allowed: Counter,
    /// Requests that were refused.
    pub denied: Counter,
    /// Preflights that were not looked at.
    pub cors_preflight_bypassed: Counter,
}

impl JwtAuthnFilter {
    /// Reads the filter's message.
    pub fn plan(message: &wire::JwtAuthentication, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(NAME, scope, |doubts| Self::read(message, scope, doubts))
    }

    fn read(message: &wire::JwtAuthentication, scope: &Scope<'_>, doubts: &Doubts) -> Option<Self> {
        if message.filter_state_rules.is_some() {
            doubts.add(
                &scope.field("filter_state_rules"),
                "requirements by filter state are not served",
            );
        }
        let numbers: BTreeMap<&str, usize> = message
            .providers
            .keys()
            .enumerate()
            .map(|(number, name)| (name.as_str(), number))
            .collect();
        let providers: Vec<Option<Provider>> = (message.providers.iter())
            .map(|(name, provider)| {
                Provider::read(provider, &scope.entry("providers", name), doubts)
            })
            .collect();
        let named: Vec<Option<(Box<str>, Requirement)>> = (message.requirement_map.iter())
            .map(|(name, requirement)| {
                let requirement = Requirement::read(
                    requirement,
                    &numbers,
                    &scope.entry("requirement_map", name),
                    doubts,
                )?;
                Some((name.as_str().into(), requirement))
            })
            .collect();
        let named = named.into_iter().collect::<Option<BTreeMap<_, _>>>();
        let rules: Vec<Option<Rule>> = (message.rules.iter().enumerate())
            .map(|(index, rule)| {
                Rule::read(
                    rule,
                    &numbers,
                    named.as_ref(),
                    &scope.item("rules", index),
                    doubts,
                )
            })
            .collect();
        Some(Self {
            providers: providers.into_iter().collect::<Option<_>>()?,
            rules: rules.into_iter().collect::<Option<_>>()?,
            named: named?,
            bypasses_preflight: message.bypass_cors_preflight,
            strips_answer: message.strip_failure_response,
            stat_prefix: message.stat_prefix.as_str().into(),
            stats: JwtAuthnStats::default(),
        })
    }

    /// Reads a route's message.
    pub fn plan_route(
        message: &wire::PerRouteConfig,
        scope: &Scope<'_>,
    ) -> Option<Planned<JwtAuthnRoute>> {
        use wire::per_route_config::RequirementSpecifier;
        Planned::read(NAME, scope, |_| match &message.requirement_specifier {
            Some(RequirementSpecifier::Disabled(true)) => Some(JwtAuthnRoute::Disabled),
            Some(RequirementSpecifier::RequirementName(name)) if !name.is_empty() => {
                Some(JwtAuthnRoute::Named(name.as_str().into()))
            }
            _ => {
                scope.reject(Fault::Words("write `disabled: true` or `requirement_name`"));
                None
            }
        })
    }

    /// Keys that are fetched: whoever runs the filter runs [`RemoteKeys::keep_fresh`] for those that want it.
    pub fn remote_keys(&self) -> impl Iterator<Item = &Arc<RemoteKeys>> {
        self.providers
            .iter()
            .filter_map(|provider| match &provider.keys {
                Keys::Remote(keys) => Some(keys),
                Keys::Local(_) => None,
            })
    }

    /// Verifies the tokens that the request must have.
    pub async fn request<L: ClusterLookup>(
        &self,
        exchange: &mut Exchange<Context>,
        per_route: Option<&JwtAuthnRoute>,
        clusters: &L,
    ) -> Result<(), Answer> {
        if self.bypasses_preflight && is_preflight(&exchange.request) {
            self.stats.cors_preflight_bypassed.increment();
            self.stats.allowed.increment();
            return Ok(());
        }
        let requirement = match per_route {
            Some(JwtAuthnRoute::Disabled) => None,
            Some(JwtAuthnRoute::Named(name)) => match self.named.get(name) {
                Some(requirement) => Some(requirement),
                None => return Err(self.unknown_name(name)),
            },
            None => self
                .rules
                .iter()
                .find(|rule| rule.matches(&exchange.request))
                .and_then(|rule| rule.requirement.as_ref()),
        };
        let Some(requirement) = requirement else {
            self.stats.allowed.increment();
            return Ok(());
        };
        self.fetch_keys(requirement, exchange, clusters).await;
        // Worded before tokens are taken out of the request.
        let realm = realm(exchange);
        let mut judge = Judge {
            providers: &self.providers,
            request: &mut exchange.request,
            now: now(),
            effects: Effects::default(),
        };
        requirement.visit(&mut |number| self.providers[number].sanitize(judge.request));
        let verified = requirement.verify(&mut judge);
        let effects = judge.effects;
        if !effects.metadata.is_empty() {
            exchange.context.metadata.merge(NAME, effects.metadata);
        }
        if effects.key_id.is_some() {
            exchange.context.token_key_id = effects.key_id;
        }
        match verified {
            Ok(()) => {
                exchange.context.route_cleared |= effects.clears_route;
                self.stats.allowed.increment();
                Ok(())
            }
            Err(failure) => Err(self.refuse(failure, &realm)),
        }
    }

    /// Fetches keys that tokens of this request may need.
    async fn fetch_keys<L: ClusterLookup>(
        &self,
        requirement: &Requirement,
        exchange: &Exchange<Context>,
        clusters: &L,
    ) {
        let mut wanted: Vec<&Arc<RemoteKeys>> = Vec::new();
        requirement.visit(&mut |number| {
            let provider = &self.providers[number];
            if let Keys::Remote(keys) = &provider.keys {
                let mut found = Vec::new();
                provider.places.find(&exchange.request, &mut found);
                if !found.is_empty() {
                    wanted.push(keys);
                }
            }
        });
        for keys in wanted {
            // A provider without keys will refuse its tokens; others may do.
            if keys.ensure(clusters, &exchange.worker).await.is_err() {
                tracing::debug!("tokens are judged without the keys of their issuer");
            }
        }
    }

    fn refuse(&self, failure: Failure, realm: &str) -> Answer {
        self.stats.denied.increment();
        let text = failure.to_string();
        let details = format!("jwt_authn_access_denied{{{}}}", without_spaces(&text));
        if self.strips_answer {
            return Answer::text(failure.status(), "", details);
        }
        let mut answer = Answer::text(failure.status(), text, details);
        let error = if failure == Failure::Missing {
            ""
        } else {
            ", error=\"invalid_token\""
        };
        if let Ok(value) = HeaderValue::try_from(format!("Bearer realm=\"{realm}\"{error}")) {
            answer.response.headers.insert(WWW_AUTHENTICATE, value);
        }
        answer
    }

    fn unknown_name(&self, name: &str) -> Answer {
        self.stats.denied.increment();
        let names: Vec<&str> = self.named.keys().map(AsRef::as_ref).collect();
        let text = format!(
            "Wrong requirement_name: {name}. It should be one of [{}]",
            names.join(",")
        );
        let details = format!("jwt_authn_access_denied{{{}}}", without_spaces(&text));
        let body = if self.strips_answer {
            String::new()
        } else {
            format!("Failed JWT authentication: {text}")
        };
        Answer::text(StatusCode::FORBIDDEN, body, details)
    }
}

/// A preflight carries no credentials (Fetch standard, "CORS-preflight fetch").
fn is_preflight(request: &Request) -> bool {
    let has = |name: &HeaderName| {
        request
            .headers
            .get(name)
            .is_some_and(|value| !value.is_empty())
    };
    request.method == Method::OPTIONS && has(&ORIGIN) && has(&ACCESS_CONTROL_REQUEST_METHOD)
}

/// The address that the client asked for, 256 bytes of its path at most, as a quoted string (RFC 9110 section 5.6.4).
fn realm(exchange: &Exchange<Context>) -> String {
    let request = &exchange.request;
    let told = request
        .headers
        .get(&FORWARDED_PROTO)
        .map(HeaderValue::as_bytes);
    let scheme = told.unwrap_or_else(|| {
        if exchange.downstream.tls.is_some() {
            b"https"
        } else {
            b"http"
        }
    });
    let path = request
        .headers
        .get(&ORIGINAL_PATH)
        .map_or(&*request.path, HeaderValue::as_bytes);
    let path = &path[..path.len().min(LONGEST_PATH)];
    let mut realm = String::new();
    for byte in [scheme, b"://", &request.authority, path].concat() {
        if matches!(byte, b'"' | b'\\') {
            realm.push('\\');
        }
        if byte.is_ascii_graphic() {
            realm.push(char::from(byte));
        }
    }
    realm
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Name of the filter, and the namespace of what it writes.
pub const NAME: &str = "envoy.filters.http.jwt_authn";
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const LONGEST_PATH: usize = 256;
