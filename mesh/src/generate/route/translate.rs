//! One `HTTPRoute` and one of its matches → one Envoy route.

use serde_json::{Map, Value, json};

use super::{
    super::{
        json::{any, list, text},
        name,
        proxy::Proxy,
    },
    action::{cors, direct_response, fault, retry_policy},
    hash, matching,
};
use crate::{
    model::{
        Config, Percent, VirtualService, labels_match,
        virtual_service::{Destination, HeaderOperations, Headers, HttpMatch, HttpRoute, Redirect},
    },
    source::Service,
};

/// What translation needs to know about where it is.
pub(super) struct Context<'a> {
    pub(super) proxy: &'a Proxy,
    /// Port of the listener.
    pub(super) port: u32,
    /// `mesh` or `namespace/name`.
    pub(super) gateway: &'a str,
    /// Clients come over TLS.
    pub(super) tls: bool,
    /// Services that routes may lead to here.
    pub(super) lookup: &'a dyn Fn(&str) -> Option<&'a Service>,
}

/// All routes of a VirtualService up to the first that takes everything; empty when none concerns this listener.
pub(super) fn routes(context: &Context<'_>, config: &Config<VirtualService>) -> Vec<Value> {
    let mut out = Vec::new();
    for http in &config.spec.http {
        if http.matching.is_empty() {
            out.extend(route(context, config, http, None));
            break;
        }
        for matching in &http.matching {
            if let Some(built) = route(context, config, http, Some(matching)) {
                let last = takes_all(&built);
                out.push(built);
                if last {
                    return out;
                }
            }
        }
    }
    out
}

/// True for a route without any condition.
pub(super) fn takes_all(route: &Value) -> bool {
    let matching = &route["match"];
    let path = matching["prefix"] == "/" || matching["safeRegex"]["regex"] == ".*";
    path && matching["headers"].is_null()
        && matching["queryParameters"].is_null()
        && matching["dynamicMetadata"].is_null()
}

fn concerns(context: &Context<'_>, matching: &HttpMatch) -> bool {
    if matching.port != 0 && matching.port != context.port {
        return false;
    }
    if !matching.gateways.is_empty() {
        return matching
            .gateways
            .iter()
            .any(|gateway| gateway == context.gateway);
    }
    labels_match(&matching.source_labels, &context.proxy.labels)
        && (matching.source_namespace.is_empty()
            || matching.source_namespace == context.proxy.node.namespace)
}

fn route(
    context: &Context<'_>,
    config: &Config<VirtualService>,
    http: &HttpRoute,
    matching: Option<&HttpMatch>,
) -> Option<Value> {
    if matching.is_some_and(|matching| !concerns(context, matching)) {
        return None;
    }
    let own_name = matching.map_or("", |matching| matching.name.as_str());
    let full_name = if own_name.is_empty() {
        http.name.clone()
    } else {
        format!("{}.{own_name}", http.name)
    };
    let mut out = json!({
        "name": text(&full_name),
        "match": matching::route_match(matching),
        "metadata": {"filterMetadata": {"istio": {"config": config.path("networking.istio.io/v1", "virtual-service")}}},
        "statPrefix": matching.map_or(Value::Null, |matching| text(&matching.stat_prefix)),
    });
    let authority = http
        .headers
        .as_ref()
        .and_then(|headers| apply_headers(&mut out, headers));
    let mut cluster = String::new();
    if let Some(redirect) = &http.redirect {
        out["redirect"] = redirect_action(context, redirect);
    } else if let Some(response) = &http.direct_response {
        out["directResponse"] = direct_response(response);
    } else {
        let action = forward(context, http, &mut out, authority);
        action["cluster"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut cluster);
        out["route"] = action;
    }
    out["decorator"] =
        json!({"operation": operation(&out["match"], &cluster, &config.meta.name, context.port)});
    let mut filters = Map::new();
    if let Some(fault) = http.fault.as_ref().and_then(fault) {
        filters.insert(
            "envoy.filters.http.fault".to_owned(),
            any("envoy.extensions.filters.http.fault.v3.HTTPFault", fault),
        );
    }
    if let Some(policy) = &http.cors_policy {
        filters.insert(
            "envoy.filters.http.cors".to_owned(),
            any(
                "envoy.extensions.filters.http.cors.v3.CorsPolicy",
                cors(policy),
            ),
        );
    }
    if !filters.is_empty() {
        out["typedPerFilterConfig"] = Value::Object(filters);
    }
    Some(out)
}

/// Span name: where the request goes, and the path that was matched.
fn operation(matching: &Value, cluster: &str, service: &str, port: u32) -> String {
    let path = if let Some(prefix) = matching["prefix"].as_str() {
        format!("{prefix}*")
    } else if let Some(path) = matching["path"].as_str() {
        path.to_owned()
    } else if let Some(regex) = matching["safeRegex"]["regex"].as_str() {
        regex.to_owned()
    } else {
        "/*".to_owned()
    };
    match name::parse_outbound(cluster) {
        Some((port, _, host)) => format!("{host}:{port}{path}"),
        None => format!("{service}:{port}{path}"),
    }
}

fn forward(
    context: &Context<'_>,
    http: &HttpRoute,
    out: &mut Value,
    authority: Option<String>,
) -> Value {
    let timeout = http.timeout.unwrap_or_default().to_string();
    let mut action = json!({"timeout": timeout, "maxGrpcTimeout": timeout});
    let mut authority = authority;
    if let Some(rewrite) = &http.rewrite {
        if let Some(regex) = &rewrite.uri_regex_rewrite {
            action["regexRewrite"] =
                json!({"pattern": {"regex": regex.matching}, "substitution": regex.rewrite});
        } else if !rewrite.uri.is_empty() {
            action["prefixRewrite"] = json!(rewrite.uri);
        }
        if !rewrite.authority.is_empty() {
            authority = Some(rewrite.authority.clone());
        }
    }
    let mut mirrors = Vec::new();
    if let Some(mirror) = &http.mirror {
        mirrors.extend(mirror_policy(context, mirror, http.mirror_percentage));
    }
    for mirror in &http.mirrors {
        if let Some(destination) = &mirror.destination {
            mirrors.extend(mirror_policy(context, destination, mirror.percentage));
        }
    }
    action["requestMirrorPolicies"] = list(mirrors);
    let mut hashes = Vec::new();
    let mut hashed = false;
    if let [only] = http.route.as_slice() {
        action["cluster"] = json!(destination_cluster(
            &only.destination,
            (context.lookup)(&only.destination.host),
            context.port
        ));
        if let Some(headers) = &only.headers {
            let own = apply_headers(out, headers);
            authority = authority.or(own);
        }
        let hash = hash::of_destination(context.proxy, &only.destination);
        hashed = hash.is_some();
        hashes.extend(hash.and_then(hash::policy));
    } else {
        let mut clusters = Vec::new();
        for route in http.route.iter().filter(|route| route.weight > 0) {
            let cluster = destination_cluster(
                &route.destination,
                (context.lookup)(&route.destination.host),
                context.port,
            );
            let mut weighted = json!({"name": cluster, "weight": route.weight});
            if let Some(own) = route
                .headers
                .as_ref()
                .and_then(|headers| apply_headers(&mut weighted, headers))
            {
                weighted["hostRewriteLiteral"] = json!(own);
            }
            clusters.push(weighted);
            hashes.extend(
                hash::of_destination(context.proxy, &route.destination).and_then(hash::policy),
            );
        }
        action["weightedClusters"] = json!({"clusters": clusters});
    }
    action["hostRewriteLiteral"] = json!(authority);
    action["hashPolicy"] = list(hashes);
    let retries = http.retries.as_ref().or(context
        .proxy
        .snapshot
        .mesh
        .default_http_retry_policy
        .as_ref());
    action["retryPolicy"] = retry_policy(retries, hashed);
    action
}

/// The cluster of a destination; the port it names, else the service's only port, else the listener's.
pub(in crate::generate) fn destination_cluster(
    destination: &Destination,
    service: Option<&Service>,
    listener_port: u32,
) -> String {
    let only = service
        .filter(|service| service.ports.len() == 1)
        .map(|service| service.ports[0].number);
    let port = destination
        .port
        .map(|port| port.number)
        .or(only)
        .unwrap_or(listener_port);
    name::outbound(port, &destination.subset, &destination.host)
}

/// The route of a service port without a VirtualService.
pub(super) fn default_route(proxy: &Proxy, host: &str, port: u32) -> Value {
    let hash = hash::of_service(proxy, host, port).and_then(hash::policy);
    json!({
        "name": "default",
        "match": {"prefix": "/"},
        "route": {
            "cluster": name::outbound(port, "", host),
            "timeout": "0s",
            "maxGrpcTimeout": "0s",
            "retryPolicy": retry_policy(proxy.snapshot.mesh.default_http_retry_policy.as_ref(), false),
            "hashPolicy": hash.map(|hash| json!([hash])),
        },
        "decorator": {"operation": format!("{host}:{port}/*")},
    })
}

fn mirror_policy(
    context: &Context<'_>,
    destination: &Destination,
    percent: Option<Percent>,
) -> Option<Value> {
    if percent.is_some_and(|percent| percent.value <= 0.0) {
        return None;
    }
    let share = percent.map_or_else(|| json!({"numerator": 100}), fraction);
    Some(json!({
        "cluster": destination_cluster(destination, (context.lookup)(&destination.host), context.port),
        "runtimeFraction": {"defaultValue": share},
        "traceSampled": false,
        "disableShadowHostSuffixAppend": true,
    }))
}

pub(super) fn fraction(percent: Percent) -> Value {
    // In range: percentages are 0 to 100, so this is at most a million.
    json!({"numerator": (percent.value.clamp(0.0, 100.0) * 10_000.0) as u32, "denominator": "MILLION"})
}

/// Writes header operations into a route or weight; gives back the authority that they set.
fn apply_headers(out: &mut Value, headers: &Headers) -> Option<String> {
    let (request, response) = (headers.request.as_ref(), headers.response.as_ref());
    let mut push = |key: &str, values: Vec<Value>| {
        if values.is_empty() {
            return;
        }
        match &mut out[key] {
            Value::Array(list) => list.extend(values),
            other => *other = Value::Array(values),
        }
    };
    let remove = |operations: &HeaderOperations| {
        let kept = operations.remove.iter().filter(|name| !is_internal(name));
        kept.map(|name| json!(name)).collect::<Vec<_>>()
    };
    push(
        "requestHeadersToAdd",
        request.map(additions).unwrap_or_default(),
    );
    push(
        "responseHeadersToAdd",
        response.map(additions).unwrap_or_default(),
    );
    push(
        "requestHeadersToRemove",
        request.map(remove).unwrap_or_default(),
    );
    push(
        "responseHeadersToRemove",
        response.map(remove).unwrap_or_default(),
    );
    let of = |map: &std::collections::BTreeMap<String, String>| {
        map.iter()
            .find(|(name, _)| {
                name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
            })
            .map(|(_, value)| value.clone())
    };
    request.and_then(|operations| of(&operations.set).or_else(|| of(&operations.add)))
}

fn additions(operations: &HeaderOperations) -> Vec<Value> {
    let option = |name: &String, value: &String, overwrite: bool| {
        json!({
            "header": {"key": name, "value": value},
            "appendAction": overwrite.then_some("OVERWRITE_IF_EXISTS_OR_ADD"),
        })
    };
    let set = operations
        .set
        .iter()
        .filter(|(name, _)| !is_internal(name))
        .map(|(name, value)| option(name, value, true));
    let add = operations
        .add
        .iter()
        .filter(|(name, _)| !is_internal(name))
        .map(|(name, value)| option(name, value, false));
    set.chain(add).collect()
}

/// Pseudo headers and Host are not headers to Envoy.
fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn redirect_action(context: &Context<'_>, redirect: &Redirect) -> Value {
    let derived =
        (redirect.derive_port.as_deref() == Some("FROM_REQUEST_PORT")).then_some(context.port);
    let mut port = redirect.port.or(derived).unwrap_or(0);
    let scheme = match redirect.scheme.as_str() {
        "" if context.tls => "https",
        "" => "http",
        scheme => scheme,
    };
    if (port == 80 && scheme == "http") || (port == 443 && scheme == "https") {
        port = 0;
    }
    json!({
        "hostRedirect": text(&redirect.authority),
        "pathRedirect": redirect.uri,
        "schemeRedirect": text(&redirect.scheme),
        "portRedirect": (port > 0).then_some(port),
        "responseCode": match redirect.redirect_code {
            302 => Some("FOUND"),
            303 => Some("SEE_OTHER"),
            307 => Some("TEMPORARY_REDIRECT"),
            308 => Some("PERMANENT_REDIRECT"),
            _ => None,
        },
    })
}
