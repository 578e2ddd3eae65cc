//! External authorization: AuthorizationPolicy with `action: CUSTOM`.

use serde_json::{Value, json};

use super::super::{
    json::{any, duration, flag, list, text},
    proxy::Proxy,
    telemetry,
};
use crate::model::{
    Duration,
    provider::{ExtAuthzGrpc, ExtAuthzHttp, RequestBody},
};

/// Filters for HTTP and for TCP chains; TCP has none with an HTTP authorizer.
pub(super) struct External {
    pub(super) http: Value,
    pub(super) tcp: Option<Value>,
}

/// The authorizer of a provider; none when it cannot be reached by configuration, and then everything it guards is refused.
pub(super) fn external(proxy: &Proxy, provider: &str) -> Option<External> {
    let providers = &proxy.snapshot.mesh.extension_providers;
    let config = providers.iter().find(|config| config.name == provider)?;
    if let Some(http) = &config.envoy_ext_authz_http {
        return over_http(proxy, http);
    }
    over_grpc(proxy, config.envoy_ext_authz_grpc.as_ref()?)
}

fn over_http(proxy: &Proxy, config: &ExtAuthzHttp) -> Option<External> {
    let (host, cluster) = telemetry::lookup(proxy, &config.service, config.port)?;
    let additional: Vec<Value> = config
        .include_additional_headers_in_check
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let request = (!additional.is_empty()).then(|| json!({"headersToAdd": additional}));
    let answers = [
        &config.headers_to_upstream_on_allow,
        &config.headers_to_downstream_on_deny,
        &config.headers_to_downstream_on_allow,
    ];
    let response = answers.iter().any(|headers| !headers.is_empty()).then(|| {
        json!({
            "allowedUpstreamHeaders": headers(&config.headers_to_upstream_on_allow),
            "allowedClientHeaders": headers(&config.headers_to_downstream_on_deny),
            "allowedClientHeadersOnSuccess": headers(&config.headers_to_downstream_on_allow),
        })
    });
    let http = any(
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        json!({
            "statusOnError": status(&config.status_on_error),
            "failureModeAllow": flag(config.fail_open),
            "transportApiVersion": "V3",
            "httpService": {
                "serverUri": {"uri": format!("http://{host}"), "cluster": cluster, "timeout": timeout(config.timeout)},
                "pathPrefix": text(&config.path_prefix),
                "authorizationRequest": request,
                "authorizationResponse": response,
            },
            "filterEnabledMetadata": enabled("envoy.filters.http.rbac"),
            "withRequestBody": body(config.include_request_body_in_check),
            "allowedHeaders": headers(&config.include_request_headers_in_check),
        }),
    );
    Some(External { http, tcp: None })
}

fn over_grpc(proxy: &Proxy, config: &ExtAuthzGrpc) -> Option<External> {
    let (host, cluster) = telemetry::lookup(proxy, &config.service, config.port)?;
    let service = json!({"envoyGrpc": {"clusterName": cluster, "authority": host}, "timeout": timeout(config.timeout)});
    let http = any(
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        json!({
            "statusOnError": status(&config.status_on_error),
            "failureModeAllow": flag(config.fail_open),
            "transportApiVersion": "V3",
            "grpcService": service,
            "filterEnabledMetadata": enabled("envoy.filters.http.rbac"),
            "withRequestBody": body(config.include_request_body_in_check),
        }),
    );
    let tcp = any(
        "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
        json!({
            "statPrefix": "tcp.",
            "failureModeAllow": flag(config.fail_open),
            "transportApiVersion": "V3",
            "grpcService": service,
            "filterEnabledMetadata": enabled("envoy.filters.network.rbac"),
        }),
    );
    Some(External {
        http,
        tcp: Some(tcp),
    })
}

/// The authorizer is asked only where the shadow rules before it matched.
fn enabled(filter: &str) -> Value {
    json!({
        "filter": filter,
        "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"stringMatch": {"prefix": "istio-ext-authz"}},
    })
}

fn headers(names: &[String]) -> Value {
    if names.is_empty() {
        return Value::Null;
    }
    let patterns = names.iter().map(|name| {
        let mut pattern = if let Some(suffix) = name.strip_prefix('*') {
            json!({"suffix": suffix})
        } else if let Some(prefix) = name.strip_suffix('*') {
            json!({"prefix": prefix})
        } else {
            json!({"exact": name})
        };
        pattern["ignoreCase"] = json!(true);
        pattern
    });
    json!({"patterns": list(patterns.collect())})
}

fn status(code: &str) -> Value {
    match code
        .parse::<u16>()
        .ok()
        .and_then(|code| http::StatusCode::from_u16(code).ok())
    {
        // Envoy's enumeration has numbers for names; the number is accepted in JSON.
        Some(code) => json!({"code": code.as_u16()}),
        None => Value::Null,
    }
}

fn timeout(given: Option<Duration>) -> Value {
    duration(given.or(Some(Duration::from_secs(600))))
}

fn body(settings: Option<RequestBody>) -> Value {
    settings.map_or(Value::Null, |settings| {
        json!({
            "maxRequestBytes": settings.max_request_bytes,
            "allowPartialMessage": flag(settings.allow_partial_message),
            "packAsBytes": flag(settings.pack_as_bytes),
        })
    })
}
