//! Tracing of HTTP connection managers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::{
        json::{duration, extension},
        name,
        proxy::Proxy,
    },
    Class, Provider, applicable, provider,
};
use crate::model::telemetry::{CustomTag, Mode};

/// What Telemetry resources say about spans of a class.
struct Spec<'a> {
    provider: Option<Provider<'a>>,
    disabled: bool,
    sampling: Option<f64>,
    tags: Option<&'a BTreeMap<String, CustomTag>>,
    by_request_id: bool,
    istio_tags: bool,
}

/// `tracing` of a connection manager (or null), and whether request ids carry the sampling decision.
pub(in crate::generate) fn tracing(proxy: &Proxy, class: Class) -> (Value, bool) {
    let mesh = &proxy.snapshot.mesh;
    let clauses: Vec<_> = applicable(proxy)
        .flat_map(|telemetry| &telemetry.tracing)
        .collect();
    let default = mesh.default_providers.tracing.first();
    if clauses.is_empty() && default.is_none() {
        let plain = mesh.enable_tracing.then(|| {
            let mut plain = json!({});
            sampling(&mut plain, default_sampling(proxy));
            plain["customTags"] = Value::Array(istio_tags(proxy).into_values().collect());
            plain
        });
        return (plain.unwrap_or(Value::Null), true);
    }
    let mut spec = Spec {
        provider: default.and_then(|name| provider(proxy, name)),
        disabled: false,
        sampling: None,
        tags: None,
        by_request_id: true,
        istio_tags: true,
    };
    for clause in clauses {
        let mode = clause
            .matching
            .map_or(Mode::ClientAndServer, |matching| matching.mode);
        if !class.concerns(mode) {
            continue;
        }
        if let Some(named) = clause.providers.first() {
            spec.provider = provider(proxy, &named.name);
        }
        spec.disabled = clause.disable_span_reporting.unwrap_or(spec.disabled);
        spec.tags = clause.custom_tags.as_ref().or(spec.tags);
        spec.sampling = clause.random_sampling_percentage.or(spec.sampling);
        spec.by_request_id = clause
            .use_request_id_for_trace_sampling
            .unwrap_or(spec.by_request_id);
        spec.istio_tags = clause.enable_istio_tags.unwrap_or(spec.istio_tags);
    }
    let Some(found) = spec.provider.as_ref().filter(|_| !spec.disabled) else {
        return (Value::Null, true);
    };
    let Some((exporter, longest)) = exporter(proxy, found) else {
        return (Value::Null, true);
    };
    let mut out = json!({"provider": exporter});
    sampling(
        &mut out,
        spec.sampling.unwrap_or_else(|| default_sampling(proxy)),
    );
    let mut tags = if spec.istio_tags {
        istio_tags(proxy)
    } else {
        BTreeMap::new()
    };
    for (name, tag) in spec.tags.into_iter().flatten() {
        if let Some(tag) = custom_tag(name, tag) {
            tags.insert(name.clone(), tag);
        }
    }
    out["customTags"] = super::super::json::list(tags.into_values().collect());
    let longest = if longest > 0 {
        longest
    } else {
        mesh.default_config.tracing.max_path_tag_length
    };
    if longest > 0 {
        out["maxPathTagLength"] = json!(longest);
    }
    if proxy.is_router() {
        out["spawnUpstreamSpan"] = json!(true);
    }
    (out, spec.by_request_id)
}

fn default_sampling(proxy: &Proxy) -> f64 {
    let said = proxy.snapshot.mesh.default_config.tracing.sampling;
    if said > 0.0 { said } else { 1.0 }
}

fn sampling(out: &mut Value, random: f64) {
    out["clientSampling"] = json!({"value": 100.0});
    out["randomSampling"] = json!({"value": random});
    out["overallSampling"] = json!({"value": 100.0});
}

/// Tracer and its longest path tag; none when its service is not known, and then nothing is traced.
fn exporter(proxy: &Proxy, provider: &Provider<'_>) -> Option<(Value, u32)> {
    let config = provider.config()?;
    if let Some(otel) = &config.opentelemetry {
        let (host, cluster) = super::lookup(proxy, &otel.service, otel.port)?;
        let mut exporter = json!({"serviceName": proxy.node.cluster});
        match &otel.http {
            Some(http) => {
                exporter["httpService"] = json!({"httpUri": {
                    "uri": format!("{host}/{}", http.path.trim_start_matches('/')),
                    "cluster": cluster,
                    "timeout": duration(http.timeout),
                }});
            }
            None => {
                exporter["grpcService"] =
                    json!({"envoyGrpc": {"clusterName": cluster, "authority": host}})
            }
        }
        let built = extension(
            "envoy.tracers.opentelemetry",
            "envoy.config.trace.v3.OpenTelemetryConfig",
            exporter,
        );
        return Some((built, otel.max_tag_length));
    }
    let zipkin = config.zipkin.as_ref()?;
    let (host, cluster) = super::lookup(proxy, &zipkin.service, zipkin.port)?;
    let path = if zipkin.path.is_empty() {
        "/api/v2/spans"
    } else {
        zipkin.path.as_str()
    };
    let built = extension(
        "envoy.tracers.zipkin",
        "envoy.config.trace.v3.ZipkinConfig",
        json!({
            "collectorCluster": cluster,
            "collectorEndpoint": path,
            "collectorHostname": host,
            "collectorEndpointVersion": "HTTP_JSON",
            "traceId128bit": !zipkin.enable_64bit_trace_id,
            "sharedSpanContext": false,
        }),
    );
    Some((built, zipkin.max_tag_length))
}

/// Tags that Istio puts on every span: dry-run verdicts and who the workload is.
fn istio_tags(proxy: &Proxy) -> BTreeMap<String, Value> {
    let mut tags = BTreeMap::new();
    for action in ["allow", "deny"] {
        for (what, key) in [("name", "effective_policy_id"), ("result", "engine_result")] {
            let name = format!("istio.authorization.dry_run.{action}_policy.{what}");
            let path = format!("istio_dry_run_{action}_shadow_{key}");
            let tag = json!({"tag": name, "metadata": {
                "kind": {"request": {}},
                "metadataKey": {"key": "envoy.filters.http.rbac", "path": [{"key": path}]},
            }});
            tags.insert(name, tag);
        }
    }
    let or = |value: Option<&String>, default: &str| {
        value
            .filter(|value| !value.is_empty())
            .map_or(default, |value| value)
            .to_owned()
    };
    let label = |key: &str, default: &str| or(proxy.labels.get(key), default);
    let literals = [
        (
            "istio.canonical_revision",
            label("service.istio.io/canonical-revision", "latest"),
        ),
        (
            "istio.canonical_service",
            label("service.istio.io/canonical-name", "unknown"),
        ),
        ("istio.mesh_id", or(Some(&proxy.node.mesh_id), "unknown")),
        (
            "istio.namespace",
            or(Some(&proxy.node.namespace), "default"),
        ),
        (
            "istio.cluster_id",
            or(Some(&proxy.node.cluster_id), "unknown"),
        ),
    ];
    for (name, value) in literals {
        tags.insert(
            name.to_owned(),
            json!({"tag": name, "literal": {"value": value}}),
        );
    }
    tags
}

fn custom_tag(name: &str, tag: &CustomTag) -> Option<Value> {
    if let Some(literal) = &tag.literal {
        return Some(json!({"tag": name, "literal": {"value": literal.value}}));
    }
    let (key, named) = match (&tag.environment, &tag.header) {
        (Some(environment), _) => ("environment", environment),
        (_, Some(header)) => ("requestHeader", header),
        _ => return None,
    };
    Some(
        json!({"tag": name, key: {"name": named.name, "defaultValue": super::super::json::text(&named.default_value)}}),
    )
}

/// Cluster of a provider's service.
pub(super) fn cluster(host: &str, port: u32) -> String {
    name::outbound(port, "", host)
}
