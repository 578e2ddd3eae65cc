//! One route.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use carbyne_protos::any::type_name;
use carbyne_protos::envoy::config::route::v3 as wire;
use carbyne_protos::envoy::config::route::v3::route::Action;
use carbyne_protos::envoy::config::route::v3::route_match::PathSpecifier;
use carbyne_protos::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use carbyne_protos::prost_types::Any;

use super::{Inherited, action, answer, fields};
use crate::live::matcher::{PathMatcher, PathRule, Template};
use crate::live::route::{
    Decorator, FilterConfig, FilterConfigs, RouteAction, RouteEntry, RouteMatch, TlsMatch,
};
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::undecoded::is_known;
use crate::plan::{filter, matcher, tracing, value};

/// Plans one route.
pub fn plan(
    route: &wire::Route,
    inherited: &Inherited<'_>,
    scope: &Scope<'_>,
) -> Option<(RouteMatch, Arc<RouteEntry>)> {
    let mut wanted = match &route.r#match {
        Some(wanted) => route_match(wanted, &scope.field("match")),
        None => {
            scope.field("match").missing();
            None
        }
    };
    let own_action = route_action(route, inherited, scope);
    let request = fields::plan_shared(
        &route.request_headers_to_add,
        &route.request_headers_to_remove,
        "request_headers",
        scope,
    );
    let response = fields::plan_shared(
        &route.response_headers_to_add,
        &route.response_headers_to_remove,
        "response_headers",
        scope,
    );
    let mut filters = inherited.filters.clone();
    filter_configs(&route.typed_per_filter_config, scope, &mut filters);
    // A criterion that is not understood would let the route match too much; a guard's configuration that is not understood, too little.
    let mut doubt = scope.field("match").doubt();
    if wanted.is_none() && doubt.is_some() {
        // Every request that may have been meant is refused.
        wanted = Some(RouteMatch::path(PathMatcher::prefix("")));
    }
    doubt = doubt.or_else(|| filters.iter().find_map(|(_, config)| config.refuse.clone()));
    let (wanted, own_action) = (wanted?, own_action?);
    let entry = RouteEntry {
        name: Arc::from(route.name.as_str()),
        virtual_host: Arc::clone(&inherited.host),
        table: Arc::clone(&inherited.table),
        path: wanted.path.clone(),
        action: match doubt {
            Some(reason) => RouteAction::Refuse(reason),
            None => own_action,
        },
        request_headers: inherited.ordered(request, &inherited.request_headers),
        response_headers: inherited.ordered(response, &inherited.response_headers),
        most_specific_wins: inherited.most_specific_wins,
        decorator: route.decorator.as_ref().map(|decorator| Decorator {
            operation: Arc::from(decorator.operation.as_str()),
            propagate: decorator.propagate.unwrap_or(true),
        }),
        tracing: route
            .tracing
            .as_ref()
            .map(|message| tracing::route(message, &scope.field("tracing"))),
        metadata: value::metadata(route.metadata.as_ref()),
        filters: FilterConfigs::new(filters),
        stat_prefix: Arc::from(route.stat_prefix.as_str()),
        attempt_count_in_request: inherited.message.include_request_attempt_count,
        attempt_count_in_response: inherited.message.include_attempt_count_in_response,
        buffer_limit: route
            .request_body_buffer_limit
            .or_else(|| route.per_request_buffer_limit_bytes.map(u64::from))
            .or(inherited.message.request_body_buffer_limit)
            .or_else(|| {
                inherited
                    .message
                    .per_request_buffer_limit_bytes
                    .map(u64::from)
            }),
    };
    Some((wanted, Arc::new(entry)))
}

fn route_action(
    route: &wire::Route,
    inherited: &Inherited<'_>,
    scope: &Scope<'_>,
) -> Option<RouteAction> {
    match &route.action {
        Some(Action::Route(action)) => {
            let template = route.r#match.as_ref().and_then(path_template);
            let forward = action::plan(
                action,
                inherited,
                template.as_deref(),
                &scope.field("route"),
            )?;
            Some(RouteAction::Forward(Box::new(forward)))
        }
        Some(Action::Redirect(redirect)) => {
            answer::redirect(redirect, &scope.field("redirect")).map(RouteAction::Redirect)
        }
        Some(Action::DirectResponse(direct)) => answer::direct(
            direct,
            inherited.largest_body,
            &scope.field("direct_response"),
        )
        .map(RouteAction::Direct),
        Some(Action::FilterAction(_)) => Some(RouteAction::Refuse(
            scope
                .field("filter_action")
                .refuse("filter actions are not served"),
        )),
        Some(Action::NonForwardingAction(_)) => Some(RouteAction::NonForwarding),
        None => {
            scope.field("route").missing();
            Some(RouteAction::Refuse(Arc::from(
                "the route's action was not decoded",
            )))
        }
    }
}

fn route_match(wanted: &wire::RouteMatch, scope: &Scope<'_>) -> Option<RouteMatch> {
    let text = |text: &str, name| -> Box<[u8]> {
        if text.contains(['?', '#']) {
            scope.field(name).out_of_range(
                format_args!("`{text}`"),
                "a path without query and fragment",
            );
        }
        text.as_bytes().into()
    };
    let rule = match &wanted.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => Some(PathRule::Prefix(text(prefix, "prefix"))),
        Some(PathSpecifier::Path(path)) => Some(PathRule::Exact(text(path, "path"))),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            if !prefix.starts_with('/') || prefix.ends_with('/') {
                let expected = "a path that begins with / and does not end with it";
                scope
                    .field("path_separated_prefix")
                    .out_of_range(format_args!("`{prefix}`"), expected);
            }
            Some(PathRule::Segments(text(prefix, "path_separated_prefix")))
        }
        Some(PathSpecifier::SafeRegex(regex)) => {
            matcher::regex(regex, &scope.field("safe_regex")).map(PathRule::Regex)
        }
        Some(PathSpecifier::ConnectMatcher(_)) => Some(PathRule::Connect),
        Some(PathSpecifier::PathMatchPolicy(policy)) => path_policy(
            policy.typed_config.as_ref(),
            &scope.field("path_match_policy"),
        )
        .map(PathRule::Template),
        None => {
            scope.field("path_specifier").missing();
            None
        }
    };
    let fraction = match &wanted.runtime_fraction {
        Some(fraction) => Some(value::runtime_fraction(
            fraction,
            &scope.field("runtime_fraction"),
        )?),
        None => None,
    };
    let query = wanted.query_parameters.iter().enumerate();
    let metadata = wanted.dynamic_metadata.iter().enumerate();
    Some(RouteMatch {
        path: PathMatcher::new(rule?, wanted.case_sensitive == Some(false)),
        headers: matcher::headers(&wanted.headers, "headers", scope),
        query: query
            .filter_map(|(index, query)| {
                matcher::query(query, &scope.item("query_parameters", index))
            })
            .collect(),
        metadata: metadata
            .filter_map(|(index, wanted)| {
                matcher::metadata(wanted, &scope.item("dynamic_metadata", index))
            })
            .collect(),
        grpc: wanted.grpc.is_some(),
        fraction,
        tls: wanted.tls_context.as_ref().map(|tls| TlsMatch {
            presented: tls.presented,
            validated: tls.validated,
        }),
    })
}

/// A path match extension; only URI templates exist.
fn path_policy(config: Option<&Any>, scope: &Scope<'_>) -> Option<Template> {
    let Some(config) = config else {
        scope.field("typed_config").missing();
        return None;
    };
    if !is_known(&config.type_url) {
        return None;
    }
    let decoded = carbyne_protos::any::decode_config::<UriTemplateMatchConfig>(config);
    let template = scope.take(decoded.map_err(|error| Fault::Malformed(error.to_string())))?;
    scope
        .field("typed_config")
        .field("path_template")
        .take(Template::new(&template.path_template))
}

/// The URI template that a route matches, for rewrites by its names.
fn path_template(wanted: &wire::RouteMatch) -> Option<String> {
    let Some(PathSpecifier::PathMatchPolicy(policy)) = &wanted.path_specifier else {
        return None;
    };
    let template: UriTemplateMatchConfig =
        carbyne_protos::any::decode_config(policy.typed_config.as_ref()?).ok()?;
    Some(template.path_template)
}

/// Adds the configurations of filters of one level.
pub fn filter_configs(
    configs: &BTreeMap<String, Any>,
    scope: &Scope<'_>,
    into: &mut Vec<(Arc<str>, FilterConfig)>,
) {
    for (name, config) in configs {
        let scope = scope.entry("typed_per_filter_config", name);
        if let Some(config) = filter_config(config, &scope) {
            into.push((Arc::from(name.as_str()), config));
        }
    }
}

/// A configuration, perhaps in a `FilterConfig` that says whether the filter runs at all.
fn filter_config(config: &Any, scope: &Scope<'_>) -> Option<FilterConfig> {
    if type_name(&config.type_url) != "envoy.config.route.v3.FilterConfig" {
        return Some(filter::per_route(config, false, scope));
    }
    let decoded = carbyne_protos::any::decode_any::<wire::FilterConfig>(config);
    let wrapper = scope.take(decoded.map_err(|error| Fault::Malformed(error.to_string())))?;
    match &wrapper.config {
        Some(inner) if wrapper.is_optional && !is_known(&inner.type_url) => None,
        Some(inner) => Some(filter::per_route(
            inner,
            wrapper.disabled,
            &scope.field("config"),
        )),
        None => Some(FilterConfig {
            type_name: Arc::from(""),
            bytes: Bytes::new(),
            disabled: wrapper.disabled,
            compiled: None,
            refuse: None,
        }),
    }
}
