//! One route.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use carbyne_engine::http::{Headers, Request};
use http::{HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

use super::forward::{Forward, HostRewrite, WeightedCluster};
use super::headers::{HeaderOperations, HeaderText};
use super::redirect::Redirect;
use crate::live::matcher::PathMatcher;
use crate::observe::access_log::LineFormat;
use crate::plan::tracing::RouteTracing;

/// A compiled route; requests hold it until they end, whatever becomes of its table.
#[derive(Debug)]
pub struct RouteEntry {
    /// Its name, may be empty.
    pub name: Arc<str>,
    /// Name of its virtual host.
    pub virtual_host: Arc<str>,
    /// Name of its table.
    pub table: Arc<str>,
    /// The path that it matches, for rewrites.
    pub path: PathMatcher,
    /// What it does.
    pub action: RouteAction,
    /// Request fields in the order of application: route, virtual host, table, or the other way round.
    pub request_headers: SmallVec<[Arc<HeaderOperations>; 3]>,
    /// Response fields in the order of application.
    pub response_headers: SmallVec<[Arc<HeaderOperations>; 3]>,
    /// Whether a weighted cluster's operations come last instead of first.
    pub most_specific_wins: bool,
    /// Name of the operation in spans.
    pub decorator: Option<Decorator>,
    /// What of its requests is traced, where it differs from the connection manager's.
    pub tracing: Option<Arc<RouteTracing>>,
    /// `filter_metadata` as JSON.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// Configurations of filters for this route: those of the table, the virtual host and the route.
    pub filters: FilterConfigs,
    /// Prefix of the route's own statistics; empty for none.
    pub stat_prefix: Arc<str>,
    /// Tell the host the number of the try (`x-envoy-attempt-count`).
    pub attempt_count_in_request: bool,
    /// Tell the client the number of tries.
    pub attempt_count_in_response: bool,
    /// Request bytes kept for further tries and mirrors, where it differs from the listener's limit.
    pub buffer_limit: Option<u64>,
}

/// What a route does.
#[derive(Debug)]
pub enum RouteAction {
    /// Answers itself.
    Direct(DirectResponse),
    /// Sends the request on.
    Forward(Box<Forward>),
    /// Answers with another address.
    Redirect(Redirect),
    /// Means a server that needs no proxy (`non_forwarding_action`): it leads to no cluster.
    NonForwarding,
    /// Something about the route was not understood: 503, with the reason in the log.
    Refuse(Arc<str>),
}

/// An answer of a route's own.
#[derive(Clone, Debug)]
pub struct DirectResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    /// What is made of the body before it is sent.
    pub format: Option<BodyFormat>,
}

/// A body that is worded for each request.
#[derive(Clone, Debug)]
pub struct BodyFormat {
    /// The text.
    pub format: Arc<LineFormat>,
    /// Its `content-type`.
    pub content_type: HeaderValue,
}

/// Name of the operation in spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decorator {
    /// The name.
    pub operation: Arc<str>,
    /// Whether the host is told (`x-envoy-decorator-operation`).
    pub propagate: bool,
}

/// A filter's configuration for one route.
#[derive(Clone)]
pub struct FilterConfig {
    /// Full name of the message.
    pub type_name: Arc<str>,
    /// The message as it came.
    pub bytes: Bytes,
    /// The filter is left out.
    pub disabled: bool,
    /// What the filter compiled of the message.
    pub compiled: Option<Arc<dyn Any + Send + Sync>>,
    /// The filter is a guard, and something of the message was not understood: routes with it refuse.
    pub refuse: Option<Arc<str>>,
}

/// Configurations of filters by name, least specific first.
#[derive(Clone, Debug, Default)]
pub struct FilterConfigs {
    entries: Arc<[(Arc<str>, FilterConfig)]>,
}

impl RouteEntry {
    /// The forwarding, if it forwards.
    pub const fn forward(&self) -> Option<&Forward> {
        match &self.action {
            RouteAction::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// The most specific configuration of a filter for this route.
    pub fn filter<'a>(
        &'a self,
        name: &str,
        weighted: Option<&'a WeightedCluster>,
    ) -> Option<&'a FilterConfig> {
        weighted
            .and_then(|weighted| weighted.filters.most_specific(name))
            .or_else(|| self.filters.most_specific(name))
    }

    /// Applies the operations on the request's fields; `resolve` words what is not literal.
    pub fn apply_request_headers(
        &self,
        weighted: Option<&WeightedCluster>,
        request: &mut Request,
        mut resolve: impl FnMut(&HeaderText, &Request, &mut Vec<u8>),
    ) {
        let own = weighted.and_then(|weighted| weighted.request_headers.as_deref());
        for operations in self.ordered(own, &self.request_headers) {
            // Values see the fields as they were before this level.
            let values = operations.values(|text, value| resolve(text, request, value));
            operations.apply(&mut request.headers, values);
        }
    }

    /// Applies the operations on the response's fields; `resolve` words what is not literal.
    pub fn apply_response_headers(
        &self,
        weighted: Option<&WeightedCluster>,
        headers: &mut Headers,
        mut resolve: impl FnMut(&HeaderText, &Headers, &mut Vec<u8>),
    ) {
        let own = weighted.and_then(|weighted| weighted.response_headers.as_deref());
        for operations in self.ordered(own, &self.response_headers) {
            let values = operations.values(|text, value| resolve(text, headers, value));
            operations.apply(headers, values);
        }
    }

    /// Weighted cluster, route, virtual host, table; or the other way round where the most specific shall win.
    fn ordered<'a>(
        &self,
        own: Option<&'a HeaderOperations>,
        rest: &'a [Arc<HeaderOperations>],
    ) -> impl Iterator<Item = &'a HeaderOperations> {
        let (first, last) = if self.most_specific_wins {
            (None, own)
        } else {
            (own, None)
        };
        first
            .into_iter()
            .chain(rest.iter().map(|operations| &**operations))
            .chain(last)
    }

    /// Rewrites host and path as the route says, and where `tell` holds also says what they were (`x-envoy-original-host`,
    /// `x-envoy-original-path`). Field operations come before. A host that is that of the chosen endpoint is not known here:
    /// [`HostRewrite::Auto`].
    pub fn rewrite(&self, weighted: Option<&WeightedCluster>, request: &mut Request, tell: bool) {
        let Some(forward) = self.forward() else {
            return;
        };
        let path = forward
            .path_rewrite
            .as_ref()
            .and_then(|rewrite| rewrite.apply(&self.path, request));
        let host = match (
            weighted.and_then(|weighted| weighted.host_rewrite.as_ref()),
            &forward.host_rewrite,
        ) {
            (Some(host), _) | (None, Some(HostRewrite::Literal(host))) => Some(host.clone()),
            (None, Some(HostRewrite::Header(name))) => request
                .headers
                .get(name)
                .filter(|value| !value.is_empty())
                .map(|value| Bytes::copy_from_slice(value.as_bytes())),
            (None, Some(HostRewrite::PathRegex(substitution))) => Some(Bytes::from(
                substitution.apply(request.path_only()).into_owned(),
            )),
            (None, None | Some(HostRewrite::Auto)) => None,
        };
        if let Some(host) = host {
            // Envoy does not tell what the host was where a weighted cluster has one of its own.
            let own = weighted.is_some_and(|weighted| weighted.host_rewrite.is_some());
            replace_host(request, host, forward.append_forwarded_host, tell && !own);
        }
        if let Some(path) = path {
            replace_path(request, path, tell);
        }
    }
}

/// Gives the request another host. The old one is appended to `x-forwarded-host` where the route wants it, unless it is the last one there,
/// and told in `x-envoy-original-host` where `tell` holds.
pub fn replace_host(request: &mut Request, host: Bytes, append_forwarded_host: bool, tell: bool) {
    let old: &[u8] = &request.authority;
    if append_forwarded_host && !old.is_empty() {
        let value = match request.headers.get(&X_FORWARDED_HOST) {
            Some(hosts) => {
                let last = hosts.as_bytes().rsplit(|byte| *byte == b',').next();
                (last != Some(old)).then(|| [hosts.as_bytes(), b",", old].concat())
            }
            None => Some(old.to_vec()),
        };
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            request.headers.insert(X_FORWARDED_HOST, value);
        }
    }
    if tell && let Ok(original) = HeaderValue::from_bytes(&request.authority) {
        request.headers.insert(X_ENVOY_ORIGINAL_HOST, original);
    }
    request.authority = host;
}

/// Gives the request another path, and tells the old one in `x-envoy-original-path` where `tell` holds.
pub fn replace_path(request: &mut Request, path: Bytes, tell: bool) {
    if tell && let Ok(original) = HeaderValue::from_bytes(&request.path) {
        request.headers.insert(X_ENVOY_ORIGINAL_PATH, original);
    }
    request.path = path;
}

impl FilterConfigs {
    /// Configurations from the least to the most specific.
    pub fn new(entries: Vec<(Arc<str>, FilterConfig)>) -> Self {
        Self {
            entries: entries.into(),
        }
    }

    /// The most specific one of a filter.
    pub fn most_specific(&self, name: &str) -> Option<&FilterConfig> {
        self.entries
            .iter()
            .rev()
            .find_map(|(held, config)| (**held == *name).then_some(config))
    }

    /// All of a filter, least specific first.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a FilterConfig> {
        self.entries
            .iter()
            .filter_map(move |(held, config)| (**held == *name).then_some(config))
    }

    /// All of all filters.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &FilterConfig)> {
        self.entries.iter().map(|(name, config)| (name, config))
    }
}

impl fmt::Debug for FilterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterConfig")
            .field("type_name", &self.type_name)
            .field("bytes", &self.bytes.len())
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

const X_ENVOY_ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const X_ENVOY_ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
