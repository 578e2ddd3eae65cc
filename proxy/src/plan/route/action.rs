//! Forwarding.

use std::time::Duration;

use bytes::Bytes;
use carbyne_engine::forward::Priority;
use carbyne_protos::envoy::config::core::v3::RoutingPriority;
use carbyne_protos::envoy::config::route::v3 as wire;
use carbyne_protos::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use carbyne_protos::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier,
};
use carbyne_protos::envoy::config::route::v3::weighted_cluster::RandomValueSpecifier;
use carbyne_protos::envoy::config::route::v3::weighted_cluster::cluster_weight::HostRewriteSpecifier as WeightedHost;
use carbyne_protos::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig;
use http::{HeaderName, StatusCode};

use super::{Inherited, entry, fields, retry};
use crate::live::matcher::{Fraction, TemplateRewrite};
use crate::live::route::forward::WeightedTarget;
use crate::live::route::{
    ClusterTarget, CookieRule, FilterConfigs, Forward, HashRule, HashSource, HostRewrite,
    MaxStreamDuration, MirrorRule, PathRewrite, RandomSource, TimeoutRules, UpgradeRule,
    WeightedCluster,
};
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

/// Plans a forwarding action; `template` is the URI template that the route matches.
pub fn plan(
    action: &wire::RouteAction,
    inherited: &Inherited<'_>,
    template: Option<&str>,
    scope: &Scope<'_>,
) -> Option<Forward> {
    let target = target(action, scope);
    let not_found =
        match ClusterNotFoundResponseCode::try_from(action.cluster_not_found_response_code) {
            Ok(ClusterNotFoundResponseCode::ServiceUnavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Ok(ClusterNotFoundResponseCode::NotFound) => StatusCode::NOT_FOUND,
            Ok(ClusterNotFoundResponseCode::InternalServerError) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Err(_) => {
                let found = action.cluster_not_found_response_code;
                scope
                    .field("cluster_not_found_response_code")
                    .out_of_range(found, "503, 404 or 500 (0 to 2)");
                return None;
            }
        };
    let priority = match RoutingPriority::try_from(action.priority) {
        Ok(RoutingPriority::High) => Priority::High,
        _ => Priority::Default,
    };
    // The virtual host's policy holds where the route has none.
    let retry = action
        .retry_policy
        .as_ref()
        .or(inherited.message.retry_policy.as_ref());
    let retry = match retry {
        Some(policy) => Some(retry::plan(policy, &scope.field("retry_policy"))?),
        None => None,
    };
    let mirrors = mirrors(action, inherited).iter().enumerate();
    let hash = action.hash_policy.iter().enumerate();
    let upgrades = action.upgrade_configs.iter().map(|upgrade| UpgradeRule {
        protocol: upgrade.upgrade_type.to_ascii_lowercase().into(),
        enabled: upgrade.enabled.unwrap_or(true),
    });
    let timeouts = timeouts(action, retry.as_ref(), scope);
    let path_rewrite = path_rewrite(action, template, scope);
    let host_rewrite = host_rewrite(action, scope);
    let (retry, retriable_requests) = retry.map(|retry| (retry.policy, retry.requests)).unzip();
    Some(Forward {
        target: target?,
        not_found,
        path_rewrite,
        host_rewrite,
        append_forwarded_host: action.append_x_forwarded_host,
        timeouts,
        retry,
        retriable_requests: retriable_requests.unwrap_or_default(),
        hash: hash
            .filter_map(|(index, policy)| hash_rule(policy, &scope.item("hash_policy", index)))
            .collect(),
        mirrors: mirrors
            .filter_map(|(index, policy)| {
                mirror(policy, &scope.item("request_mirror_policies", index))
            })
            .collect(),
        priority,
        upgrades: upgrades.collect(),
    })
}

fn target(action: &wire::RouteAction, scope: &Scope<'_>) -> Option<ClusterTarget> {
    let nowhere = || Some(ClusterTarget::Single(scope.environment().clusters.slot("")));
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if name.is_empty() => {
            scope.field("cluster").missing();
            None
        }
        Some(ClusterSpecifier::Cluster(name)) => Some(ClusterTarget::Single(
            scope.environment().clusters.slot(name),
        )),
        Some(ClusterSpecifier::ClusterHeader(name)) => {
            header_name(name, &scope.field("cluster_header")).map(ClusterTarget::Header)
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted_clusters(weighted, &scope.field("weighted_clusters"))
        }
        Some(
            ClusterSpecifier::ClusterSpecifierPlugin(_)
            | ClusterSpecifier::InlineClusterSpecifierPlugin(_),
        ) => {
            scope.note("cluster specifier plugins are not served: the route finds no cluster");
            nowhere()
        }
        None => {
            scope.field("cluster").missing();
            nowhere()
        }
    }
}

fn weighted_clusters(weighted: &wire::WeightedCluster, scope: &Scope<'_>) -> Option<ClusterTarget> {
    if weighted.clusters.is_empty() {
        scope.field("clusters").missing();
        return None;
    }
    let shares = weighted.clusters.iter().enumerate();
    let clusters: Box<[WeightedCluster]> = shares
        .filter_map(|(index, share)| weighted_cluster(share, &scope.item("clusters", index)))
        .collect();
    let total: u64 = weighted
        .clusters
        .iter()
        .map(|share| u64::from(share.weight.unwrap_or(0)))
        .sum();
    if total == 0 || total > u64::from(u32::MAX) {
        scope
            .field("clusters")
            .out_of_range(total, "a sum of weights from 1 to 4294967295");
        return None;
    }
    if let Some(said) = weighted.total_weight
        && u64::from(said) != total
    {
        scope
            .field("total_weight")
            .out_of_range(said, "the sum of the weights");
    }
    let random = match &weighted.random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => {
            RandomSource::Header(header_name(name, &scope.field("header_name"))?)
        }
        Some(RandomValueSpecifier::UseHashPolicy(true)) => RandomSource::Hash,
        Some(RandomValueSpecifier::UseHashPolicy(false)) | None => RandomSource::Request,
    };
    Some(ClusterTarget::Weighted {
        total,
        random,
        clusters,
    })
}

fn weighted_cluster(
    share: &wire::weighted_cluster::ClusterWeight,
    scope: &Scope<'_>,
) -> Option<WeightedCluster> {
    let target = weighted_target(&share.name, &share.cluster_header, "name", scope);
    let mut filters = Vec::new();
    entry::filter_configs(&share.typed_per_filter_config, scope, &mut filters);
    Some(WeightedCluster {
        target: target?,
        weight: share.weight.unwrap_or(0),
        request_headers: fields::plan_shared(
            &share.request_headers_to_add,
            &share.request_headers_to_remove,
            "request_headers",
            scope,
        ),
        response_headers: fields::plan_shared(
            &share.response_headers_to_add,
            &share.response_headers_to_remove,
            "response_headers",
            scope,
        ),
        host_rewrite: match &share.host_rewrite_specifier {
            Some(WeightedHost::HostRewriteLiteral(host)) => {
                literal_host(host, &scope.field("host_rewrite_literal"))
            }
            None => None,
        },
        refuse: filters.iter().find_map(|(_, config)| config.refuse.clone()),
        filters: FilterConfigs::new(filters),
    })
}

fn weighted_target(
    name: &str,
    header: &str,
    field: &'static str,
    scope: &Scope<'_>,
) -> Option<WeightedTarget> {
    match (name, header) {
        ("", "") => {
            scope.field(field).missing();
            None
        }
        ("", header) => {
            header_name(header, &scope.field("cluster_header")).map(WeightedTarget::Header)
        }
        (name, _) => Some(WeightedTarget::Slot(
            scope.environment().clusters.slot(name),
        )),
    }
}

/// The most specific level that has mirrors decides.
fn mirrors<'a>(
    action: &'a wire::RouteAction,
    inherited: &Inherited<'a>,
) -> &'a [wire::route_action::RequestMirrorPolicy] {
    let levels = [
        &action.request_mirror_policies,
        &inherited.message.request_mirror_policies,
        &inherited.configuration.request_mirror_policies,
    ];
    levels
        .into_iter()
        .find(|policies| !policies.is_empty())
        .map_or(&[], |policies| policies)
}

fn mirror(
    policy: &wire::route_action::RequestMirrorPolicy,
    scope: &Scope<'_>,
) -> Option<MirrorRule> {
    Some(MirrorRule {
        target: weighted_target(&policy.cluster, &policy.cluster_header, "cluster", scope)?,
        fraction: match &policy.runtime_fraction {
            Some(fraction) => value::runtime_fraction(fraction, &scope.field("runtime_fraction"))?,
            None => Fraction::ALL,
        },
        shadow_host: !policy.disable_shadow_host_suffix_append,
        host_rewrite: literal_host(
            &policy.host_rewrite_literal,
            &scope.field("host_rewrite_literal"),
        ),
        sampled: policy.trace_sampled,
    })
}

fn hash_rule(policy: &wire::route_action::HashPolicy, scope: &Scope<'_>) -> Option<HashRule> {
    let source = match &policy.policy_specifier {
        Some(PolicySpecifier::Header(header)) => HashSource::Header {
            name: header_name(
                &header.header_name,
                &scope.field("header").field("header_name"),
            )?,
            rewrite: match &header.regex_rewrite {
                Some(rewrite) => Some(matcher::substitution(
                    rewrite,
                    &scope.field("header").field("regex_rewrite"),
                )?),
                None => None,
            },
        },
        Some(PolicySpecifier::Cookie(cookie)) => {
            HashSource::Cookie(cookie_rule(cookie, &scope.field("cookie"))?)
        }
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
            HashSource::SourceAddress
        }
        Some(PolicySpecifier::ConnectionProperties(_)) => return None,
        Some(PolicySpecifier::QueryParameter(parameter)) => {
            if parameter.name.is_empty() {
                scope.field("query_parameter").field("name").missing();
            }
            HashSource::Query(parameter.name.as_str().into())
        }
        Some(PolicySpecifier::FilterState(state)) => {
            HashSource::FilterState(state.key.as_str().into())
        }
        None => {
            scope.missing();
            return None;
        }
    };
    Some(HashRule {
        source,
        terminal: policy.terminal,
    })
}

fn cookie_rule(
    cookie: &wire::route_action::hash_policy::Cookie,
    scope: &Scope<'_>,
) -> Option<CookieRule> {
    if cookie.name.is_empty() {
        scope.field("name").missing();
        return None;
    }
    let attributes = cookie.attributes.iter();
    Some(CookieRule {
        name: cookie.name.as_str().into(),
        ttl: value::duration(cookie.ttl.as_ref(), &scope.field("ttl")),
        path: cookie.path.as_str().into(),
        attributes: attributes
            .map(|attribute| {
                (
                    attribute.name.as_str().into(),
                    attribute.value.as_str().into(),
                )
            })
            .collect(),
    })
}

fn timeouts(
    action: &wire::RouteAction,
    retry: Option<&retry::Retry>,
    scope: &Scope<'_>,
) -> TimeoutRules {
    let default = Some(Forward::DEFAULT_TIMEOUT);
    let unlimited = |time: Duration| (!time.is_zero()).then_some(time);
    TimeoutRules {
        timeout: value::limit(action.timeout.as_ref(), default, &scope.field("timeout")),
        idle: value::duration(action.idle_timeout.as_ref(), &scope.field("idle_timeout"))
            .map(unlimited),
        max_stream: action.max_stream_duration.as_ref().map(|max| {
            let scope = scope.field("max_stream_duration");
            MaxStreamDuration {
                max: value::duration(
                    max.max_stream_duration.as_ref(),
                    &scope.field("max_stream_duration"),
                ),
                grpc_max: value::duration(
                    max.grpc_timeout_header_max.as_ref(),
                    &scope.field("grpc_timeout_header_max"),
                ),
                grpc_offset: value::duration(
                    max.grpc_timeout_header_offset.as_ref(),
                    &scope.field("grpc_timeout_header_offset"),
                ),
            }
        }),
        max_grpc: value::duration(
            action.max_grpc_timeout.as_ref(),
            &scope.field("max_grpc_timeout"),
        ),
        grpc_offset: value::duration(
            action.grpc_timeout_offset.as_ref(),
            &scope.field("grpc_timeout_offset"),
        ),
        per_try: retry.and_then(|retry| retry.per_try),
        per_try_idle: retry.and_then(|retry| retry.per_try_idle),
    }
}

fn path_rewrite(
    action: &wire::RouteAction,
    template: Option<&str>,
    scope: &Scope<'_>,
) -> Option<PathRewrite> {
    let ways = [
        !action.prefix_rewrite.is_empty(),
        action.regex_rewrite.is_some(),
        action.path_rewrite_policy.is_some(),
    ];
    if ways.iter().filter(|set| **set).count() > 1 {
        scope.reject(Fault::Words(
            "only one of prefix_rewrite, regex_rewrite and path_rewrite_policy may be set",
        ));
        return None;
    }
    if !action.prefix_rewrite.is_empty() {
        return Some(PathRewrite::Prefix(Bytes::copy_from_slice(
            action.prefix_rewrite.as_bytes(),
        )));
    }
    if let Some(rewrite) = &action.regex_rewrite {
        return matcher::substitution(rewrite, &scope.field("regex_rewrite"))
            .map(PathRewrite::Regex);
    }
    let policy = action.path_rewrite_policy.as_ref()?;
    let scope = scope.field("path_rewrite_policy");
    let Some(template) = template else {
        scope.reject(Fault::Words("a template rewrite needs a template match"));
        return None;
    };
    let Some(config) = &policy.typed_config else {
        scope.field("typed_config").missing();
        return None;
    };
    let decoded = carbyne_protos::any::decode_config::<UriTemplateRewriteConfig>(config);
    let config = scope.take(decoded.map_err(|error| Fault::Malformed(error.to_string())))?;
    scope
        .take(TemplateRewrite::new(
            template,
            &config.path_template_rewrite,
        ))
        .map(PathRewrite::Template)
}

fn host_rewrite(action: &wire::RouteAction, scope: &Scope<'_>) -> Option<HostRewrite> {
    match action.host_rewrite_specifier.as_ref()? {
        HostRewriteSpecifier::HostRewriteLiteral(host) => {
            literal_host(host, &scope.field("host_rewrite_literal")).map(HostRewrite::Literal)
        }
        HostRewriteSpecifier::AutoHostRewrite(true) => Some(HostRewrite::Auto),
        HostRewriteSpecifier::AutoHostRewrite(false) => None,
        HostRewriteSpecifier::HostRewriteHeader(name) => {
            header_name(name, &scope.field("host_rewrite_header")).map(HostRewrite::Header)
        }
        HostRewriteSpecifier::HostRewritePathRegex(rewrite) => {
            matcher::substitution(rewrite, &scope.field("host_rewrite_path_regex"))
                .map(HostRewrite::PathRegex)
        }
        HostRewriteSpecifier::HostRewrite(_) => {
            scope
                .field("host_rewrite")
                .note("formatted hosts are not served");
            None
        }
    }
}

fn literal_host(host: &str, scope: &Scope<'_>) -> Option<Bytes> {
    if host.is_empty() {
        return None;
    }
    if host
        .bytes()
        .any(|byte| byte.is_ascii_control() || byte == b' ')
    {
        scope.out_of_range(format_args!("`{host}`"), "a host");
        return None;
    }
    Some(Bytes::copy_from_slice(host.as_bytes()))
}

fn header_name(name: &str, scope: &Scope<'_>) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        scope.out_of_range(format_args!("`{name}`"), "the name of a field");
    }
    parsed
}
