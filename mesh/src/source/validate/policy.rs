//! security.istio.io, telemetry.istio.io and the mesh configuration.

use super::Report;
use crate::model::{
    AuthorizationPolicy, MeshConfig, PeerAuthentication, RequestAuthentication, Telemetry,
    security::{Action, Operation, Source},
};

pub(in crate::source) fn peer_authentication(spec: &PeerAuthentication, report: &mut Report<'_>) {
    let selected = spec
        .selector
        .as_ref()
        .is_some_and(|selector| !selector.match_labels.is_empty());
    if !spec.port_level_mtls.is_empty() && !selected {
        report.error("/spec/portLevelMtls", "`portLevelMtls` needs a `selector`");
    }
    for key in spec.port_level_mtls.keys() {
        match key.parse::<u32>() {
            Ok(number) => report.port(&format!("/spec/portLevelMtls/{key}"), number),
            Err(_) => report.error(
                &format!("/spec/portLevelMtls/{key}"),
                format!("`{key}` is not a port number"),
            ),
        }
    }
}

pub(in crate::source) fn authorization_policy(spec: &AuthorizationPolicy, report: &mut Report<'_>) {
    if spec.action == Action::Custom
        && spec
            .provider
            .as_ref()
            .is_none_or(|provider| provider.name.is_empty())
    {
        report.error("/spec", "`action: CUSTOM` needs `provider.name`");
    }
    if spec.action == Action::Deny && spec.rules.is_empty() {
        report.error(
            "/spec",
            "a DENY policy without rules never matches; istiod refuses it",
        );
    }
    for (index, rule) in spec.rules.iter().enumerate() {
        let pointer = format!("/spec/rules/{index}");
        for (at, from) in rule.from.iter().enumerate() {
            source(&from.source, &format!("{pointer}/from/{at}/source"), report);
        }
        for (at, to) in rule.to.iter().enumerate() {
            operation(
                &to.operation,
                &format!("{pointer}/to/{at}/operation"),
                report,
            );
        }
        for (at, when) in rule.when.iter().enumerate() {
            let pointer = format!("{pointer}/when/{at}");
            if !known_attribute(&when.key) {
                report.error(
                    &format!("{pointer}/key"),
                    format!("`{}` is not an attribute", when.key),
                );
            }
            if when.values.is_empty() && when.not_values.is_empty() {
                report.error(&pointer, "one of `values` and `notValues` is needed");
            }
            if matches!(
                when.key.as_str(),
                "source.ip" | "remote.ip" | "destination.ip"
            ) {
                cidrs("values", &when.values, &pointer, report);
                cidrs("notValues", &when.not_values, &pointer, report);
            }
            if when.key == "destination.port" {
                ports("values", &when.values, &pointer, report);
                ports("notValues", &when.not_values, &pointer, report);
            }
        }
    }
}

fn source(source: &Source, pointer: &str, report: &mut Report<'_>) {
    cidrs("ipBlocks", &source.ip_blocks, pointer, report);
    cidrs("notIpBlocks", &source.not_ip_blocks, pointer, report);
    cidrs("remoteIpBlocks", &source.remote_ip_blocks, pointer, report);
    cidrs(
        "notRemoteIpBlocks",
        &source.not_remote_ip_blocks,
        pointer,
        report,
    );
    let accounts = !source.service_accounts.is_empty() || !source.not_service_accounts.is_empty();
    let others = !source.principals.is_empty() || !source.namespaces.is_empty();
    if accounts && others {
        report.error(
            pointer,
            "`serviceAccounts` cannot be given together with `principals` or `namespaces`",
        );
    }
}

fn operation(operation: &Operation, pointer: &str, report: &mut Report<'_>) {
    ports("ports", &operation.ports, pointer, report);
    ports("notPorts", &operation.not_ports, pointer, report);
    for (name, paths) in [
        ("paths", &operation.paths),
        ("notPaths", &operation.not_paths),
    ] {
        for (index, path) in paths.iter().enumerate() {
            if (path.contains('{') || path.contains('}')) && !good_template(path) {
                report.error(
                    &format!("{pointer}/{name}/{index}"),
                    format!("`{path}`: only {{*}} as a whole segment and {{**}} as the last wildcard are templates"),
                );
            }
        }
    }
}

/// Istio's path templates: segments that are `{*}` or `{**}`, nothing else in braces, no `*` outside.
fn good_template(path: &str) -> bool {
    let mut any = false;
    for segment in path.trim_start_matches('/').split('/') {
        match segment {
            "{*}" if any => return false,
            "{**}" if any => return false,
            "{**}" => any = true,
            "{*}" => {}
            literal if literal.contains(['{', '}', '*']) => return false,
            _ => {}
        }
    }
    true
}

fn cidrs(name: &str, values: &[String], pointer: &str, report: &mut Report<'_>) {
    for (index, value) in values.iter().enumerate() {
        report.cidr(&format!("{pointer}/{name}/{index}"), value);
    }
}

fn ports(name: &str, values: &[String], pointer: &str, report: &mut Report<'_>) {
    for (index, value) in values.iter().enumerate() {
        if !value.parse::<u32>().is_ok_and(|port| port <= 65_535) {
            report.error(
                &format!("{pointer}/{name}/{index}"),
                format!("`{value}` is not a port"),
            );
        }
    }
}

fn known_attribute(key: &str) -> bool {
    const WHOLE: [&str; 11] = [
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
        "connection.sni",
    ];
    let bracketed = |prefix: &str| {
        key.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('[') && rest.ends_with(']') && rest.len() > 2)
    };
    WHOLE.contains(&key)
        || bracketed("request.headers")
        || bracketed("request.auth.claims")
        || (key.starts_with("experimental.envoy.filters.")
            && key.ends_with(']')
            && key.contains('['))
}

pub(in crate::source) fn request_authentication(
    spec: &RequestAuthentication,
    report: &mut Report<'_>,
) {
    for (index, rule) in spec.jwt_rules.iter().enumerate() {
        let pointer = format!("/spec/jwtRules/{index}");
        if rule.issuer.is_empty() {
            report.error(&pointer, "an `issuer` is missing");
        }
        if rule.jwks.is_empty() {
            // istiod would fetch them; this control plane has no network of its own.
            report.error(
                &pointer,
                "`jwks` is missing; keys are taken from the YAML, `jwksUri` is not fetched here",
            );
        } else if !jwks(&rule.jwks) {
            report.error(&format!("{pointer}/jwks"), "this is not a JSON Web Key Set");
        }
        for (at, header) in rule.from_headers.iter().enumerate() {
            if header.name.is_empty() {
                report.error(
                    &format!("{pointer}/fromHeaders/{at}"),
                    "a `name` is missing",
                );
            }
        }
    }
}

fn jwks(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text)
        .is_ok_and(|set| set.get("keys").is_some_and(serde_json::Value::is_array))
}

pub(in crate::source) fn telemetry(spec: &Telemetry, report: &mut Report<'_>) {
    for (index, tracing) in spec.tracing.iter().enumerate() {
        if let Some(percent) = tracing.random_sampling_percentage
            && !(0.0..=100.0).contains(&percent)
        {
            report.error(
                &format!("/spec/tracing/{index}/randomSamplingPercentage"),
                format!("{percent} is not between 0 and 100"),
            );
        }
        if tracing.providers.len() > 1 {
            report.error(
                &format!("/spec/tracing/{index}/providers"),
                "only one tracing provider can be given",
            );
        }
    }
    for (index, metrics) in spec.metrics.iter().enumerate() {
        for (at, change) in metrics.overrides.iter().enumerate() {
            if let Some(metric) = &change.matching.metric
                && !METRICS.contains(&metric.as_str())
            {
                report.error(
                    &format!("/spec/metrics/{index}/overrides/{at}/match/metric"),
                    format!("`{metric}` is not one of {}", METRICS.join(", ")),
                );
            }
        }
    }
}

pub(in crate::source) fn mesh(mesh: &MeshConfig, report: &mut Report<'_>) {
    if mesh.trust_domain.is_empty() {
        report.error("/trustDomain", "a trust domain is needed");
    }
    let mut names = std::collections::BTreeSet::new();
    for (index, provider) in mesh.extension_providers.iter().enumerate() {
        let pointer = format!("/extensionProviders/{index}");
        if provider.name.is_empty() {
            report.error(&pointer, "the provider needs a `name`");
        } else if !names.insert(&provider.name) {
            report.error(
                &format!("{pointer}/name"),
                format!("the provider `{}` is there twice", provider.name),
            );
        }
        let kinds = [
            provider.prometheus.is_some(),
            provider.envoy_file_access_log.is_some(),
            provider.opentelemetry.is_some(),
            provider.zipkin.is_some(),
            provider.envoy_ext_authz_http.is_some(),
            provider.envoy_ext_authz_grpc.is_some(),
        ];
        if kinds.iter().filter(|kind| **kind).count() != 1 {
            report.error(
                &pointer,
                "exactly one of prometheus, envoyFileAccessLog, opentelemetry, zipkin, envoyExtAuthzHttp, envoyExtAuthzGrpc is served",
            );
        }
    }
}

/// Istio's metric names.
pub(crate) const METRICS: [&str; 11] = [
    "ALL_METRICS",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_OPENED_CONNECTIONS",
    "TCP_RECEIVED_BYTES",
    "TCP_SENT_BYTES",
];
