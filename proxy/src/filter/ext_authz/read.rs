//! Message → settings.

use bytes::Bytes;
use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::config::core::v3::ApiVersion;
use carbyne_protos::envoy::config::core::v3::grpc_service::TargetSpecifier;
use carbyne_protos::envoy::config::core::v3::http_uri::HttpUpstreamType;
use carbyne_protos::envoy::extensions::filters::http::ext_authz::v3 as wire;
use carbyne_protos::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use carbyne_protos::envoy::extensions::filters::http::ext_authz::v3::ext_authz_per_route::Override;
use carbyne_protos::envoy::r#type::matcher::v3::ListStringMatcher;
use http::StatusCode;

use super::attributes::{Allowed, Told};
use super::grpc_service::GrpcService;
use super::http_service::{Fields, HttpService, ServicePath};
use super::{BodySettings, ExtAuthzFilter, ExtAuthzRoute, ExtAuthzStats, Service};
use crate::filter::planned::Doubts;
use crate::filter::reading;
use crate::live::matcher::Fraction;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

pub(super) fn filter(
    message: &wire::ExtAuthz,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<ExtAuthzFilter> {
    if !matches!(
        ApiVersion::try_from(message.transport_api_version),
        Ok(ApiVersion::V3 | ApiVersion::Auto)
    ) {
        doubts.add(
            &scope.field("transport_api_version"),
            "only version 3 is spoken",
        );
    }
    not_served(message, scope, doubts);
    let mut allowed = Allowed {
        only: reading::string_list(
            message.allowed_headers.as_ref(),
            &scope.field("allowed_headers"),
        ),
        never: reading::string_list(
            message.disallowed_headers.as_ref(),
            &scope.field("disallowed_headers"),
        ),
    };
    let largest_body = message.max_denied_response_body_bytes as usize;
    let service = match &message.services {
        Some(Services::GrpcService(service)) => {
            grpc(service, largest_body, &scope.field("grpc_service"), doubts).map(Service::Grpc)
        }
        Some(Services::HttpService(service)) => {
            let scope = scope.field("http_service");
            let request = scope.field("authorization_request");
            let older = service
                .authorization_request
                .as_ref()
                .and_then(|request| request.allowed_headers.as_ref());
            if allowed.only.is_none() {
                allowed.only = reading::string_list(older, &request.field("allowed_headers"));
            }
            http(service, largest_body, &scope, doubts)
                .map(|service| Service::Http(Box::new(service)))
        }
        None => {
            scope.reject(Fault::Words("write `grpc_service` or `http_service`"));
            None
        }
    };
    let enabled_metadata = match &message.filter_enabled_metadata {
        None => None,
        Some(metadata) => Some(matcher::metadata(
            metadata,
            &scope.field("filter_enabled_metadata"),
        )?),
    };
    Some(ExtAuthzFilter {
        service: service?,
        enabled: reading::share(
            message.filter_enabled.as_ref(),
            Fraction::ALL,
            &scope.field("filter_enabled"),
        )?,
        enabled_metadata,
        denies_where_disabled: message
            .deny_at_disable
            .as_ref()
            .and_then(|flag| flag.default_value)
            .unwrap_or(false),
        body: match &message.with_request_body {
            None => None,
            Some(settings) => Some(body(*settings, &scope.field("with_request_body"))?),
        },
        failure_allows: message.failure_mode_allow,
        tells_failure: message.failure_mode_allow_header_add,
        status_on_error: reading::status(
            message.status_on_error.as_ref(),
            StatusCode::FORBIDDEN,
            &scope.field("status_on_error"),
        )?,
        clears_route: message.clear_route_cache,
        ingests_metadata: message.enable_dynamic_metadata_ingestion.unwrap_or(true),
        told: Told {
            certificate: message.include_peer_certificate,
            tls_session: message.include_tls_session,
            raw_headers: message.encode_raw_headers,
            metadata: message
                .metadata_context_namespaces
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
        },
        allowed,
        stat_prefix: message.stat_prefix.as_str().into(),
        stats: ExtAuthzStats::default(),
    })
}

pub(super) fn route(
    message: &wire::ExtAuthzPerRoute,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<ExtAuthzRoute> {
    match &message.r#override {
        Some(Override::Disabled(true)) => Some(ExtAuthzRoute::Disabled),
        Some(Override::CheckSettings(settings)) => {
            let scope = scope.field("check_settings");
            if settings.service_override.is_some() {
                doubts.add(&scope, "a service of the route's own is not served");
            }
            let own = match &settings.with_request_body {
                None => None,
                Some(settings) => Some(Some(body(*settings, &scope.field("with_request_body"))?)),
            };
            Some(ExtAuthzRoute::Settings {
                extensions: (settings.context_extensions.iter())
                    .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                    .collect(),
                body: if settings.disable_request_body_buffering {
                    Some(None)
                } else {
                    own
                },
            })
        }
        _ => {
            scope.reject(Fault::Words("write `disabled: true` or `check_settings`"));
            None
        }
    }
}

/// What may change a verdict and is not served refuses traffic; the rest is noted.
fn not_served(message: &wire::ExtAuthz, scope: &Scope<'_>, doubts: &Doubts) {
    let guards = [
        (
            "typed_metadata_context_namespaces",
            !message.typed_metadata_context_namespaces.is_empty(),
        ),
        (
            "route_metadata_context_namespaces",
            !message.route_metadata_context_namespaces.is_empty(),
        ),
        (
            "route_typed_metadata_context_namespaces",
            !message.route_typed_metadata_context_namespaces.is_empty(),
        ),
        (
            "bootstrap_metadata_labels_key",
            !message.bootstrap_metadata_labels_key.is_empty(),
        ),
        (
            "decoder_header_mutation_rules",
            message.decoder_header_mutation_rules.is_some(),
        ),
        ("shadow_mode", message.shadow_mode),
    ];
    for (field, _) in guards.into_iter().filter(|(_, present)| *present) {
        doubts.add(
            &scope.field(field),
            "it is not served, and may change a verdict",
        );
    }
    let others = [
        (
            "charge_cluster_response_stats",
            message.charge_cluster_response_stats == Some(false),
            "checks count in the cluster's statistics",
        ),
        (
            "emit_filter_state_stats",
            message.emit_filter_state_stats,
            "nothing reads it",
        ),
        (
            "filter_metadata",
            message.filter_metadata.is_some(),
            "nothing reads it",
        ),
        (
            "enforce_response_header_limits",
            message.enforce_response_header_limits,
            "the limits of the connection hold",
        ),
    ];
    for (field, _, why) in others.into_iter().filter(|(_, present, _)| *present) {
        scope.field(field).note(why);
    }
}

fn body(message: wire::BufferSettings, scope: &Scope<'_>) -> Option<BodySettings> {
    if message.max_request_bytes == 0 {
        scope
            .field("max_request_bytes")
            .out_of_range(0, "a number above 0");
        return None;
    }
    Some(BodySettings {
        limit: message.max_request_bytes as usize,
        allow_partial: message.allow_partial_message,
        as_bytes: message.pack_as_bytes,
    })
}

fn grpc(
    message: &core::GrpcService,
    largest_body: usize,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<GrpcService> {
    let target = match &message.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(target)) => target,
        Some(TargetSpecifier::GoogleGrpc(_)) => {
            doubts.add(
                &scope.field("google_grpc"),
                "only clusters are called: write `envoy_grpc`",
            );
            return None;
        }
        None => {
            scope.field("envoy_grpc").missing();
            return None;
        }
    };
    if target.cluster_name.is_empty() {
        scope.field("envoy_grpc").field("cluster_name").missing();
    }
    if message.retry_policy.is_some() || target.retry_policy.is_some() {
        scope.field("retry_policy").note("a check is sent once");
    }
    let additions = message.initial_metadata.iter().enumerate();
    let additions = additions.map(|(index, field)| {
        reading::header_value(field, &scope.item("initial_metadata", index), doubts)
    });
    let authority = if target.authority.is_empty() {
        &target.cluster_name
    } else {
        &target.authority
    };
    Some(GrpcService {
        cluster: target.cluster_name.as_str().into(),
        authority: Bytes::copy_from_slice(authority.as_bytes()),
        timeout: value::limit(message.timeout.as_ref(), None, &scope.field("timeout")),
        additions: additions.collect::<Option<_>>()?,
        largest_body,
    })
}

fn http(
    message: &wire::HttpService,
    largest_body: usize,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<HttpService> {
    let uri = message.server_uri.as_ref();
    let cluster = uri
        .and_then(|uri| uri.http_upstream_type.as_ref())
        .map_or("", |HttpUpstreamType::Cluster(name)| name);
    if cluster.is_empty() {
        scope.field("server_uri").field("cluster").missing();
    }
    if message.retry_policy.is_some() {
        scope.field("retry_policy").note("a check is sent once");
    }
    let path = match (message.path_prefix.as_str(), message.path_override.as_str()) {
        (prefix, "") => ServicePath::Prefix(Bytes::copy_from_slice(prefix.as_bytes())),
        ("", always) => ServicePath::Always(Bytes::copy_from_slice(always.as_bytes())),
        _ => {
            scope.field("path_override").reject(Fault::Words(
                "write `path_prefix` or `path_override`, not both",
            ));
            return None;
        }
    };
    for text in [&message.path_prefix, &message.path_override] {
        if !text.is_empty() && !text.starts_with('/') {
            scope.out_of_range(format_args!("`{text}`"), "a path that begins with `/`");
        }
    }
    let request = message.authorization_request.as_ref();
    let additions = request
        .map_or(&[][..], |request| &request.headers_to_add)
        .iter()
        .enumerate();
    let place = scope.field("authorization_request");
    let additions = additions.map(|(index, field)| {
        reading::header_value(field, &place.item("headers_to_add", index), doubts)
    });
    let response = message.authorization_response.clone().unwrap_or_default();
    let place = scope.field("authorization_response");
    let fields = |list: Option<&ListStringMatcher>, field: &'static str| -> Fields {
        reading::string_list(list, &place.field(field)).unwrap_or_default()
    };
    let to_client = fields(
        response.allowed_client_headers.as_ref(),
        "allowed_client_headers",
    );
    Some(HttpService {
        cluster: cluster.into(),
        timeout: value::limit(
            uri.and_then(|uri| uri.timeout.as_ref()),
            None,
            &scope.field("server_uri").field("timeout"),
        ),
        path,
        additions: additions.collect::<Option<_>>()?,
        to_host: fields(
            response.allowed_upstream_headers.as_ref(),
            "allowed_upstream_headers",
        ),
        to_host_too: fields(
            response.allowed_upstream_headers_to_append.as_ref(),
            "allowed_upstream_headers_to_append",
        ),
        to_client: (!to_client.is_empty()).then_some(to_client),
        to_client_on_success: fields(
            response.allowed_client_headers_on_success.as_ref(),
            "allowed_client_headers_on_success",
        ),
        to_metadata: fields(
            response.dynamic_metadata_from_headers.as_ref(),
            "dynamic_metadata_from_headers",
        ),
        largest_body,
    })
}
