//! What is spoken to hosts.

use std::sync::Arc;

use carbyne_engine::cluster::settings::{Http2Keepalive, Http2Settings, Protocol};
use carbyne_protos::any::{decode_config, type_name};
use carbyne_protos::envoy::config::cluster::v3 as wire;
use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use carbyne_protos::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use carbyne_protos::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;

use super::ClusterPlan;
use crate::plan::error::Fault;
use crate::plan::http;
use crate::plan::scope::Scope;
use crate::plan::value;

/// Protocol facts beside the engine's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolPlan {
    /// The server name of TLS is the request's host.
    pub auto_sni: bool,
    /// The request field that it is taken from instead.
    pub auto_sni_header: Option<Box<str>>,
    /// The certificate has to be good for that name.
    pub auto_san_validation: bool,
    /// HTTP/1 names go out in the case in which they came in.
    pub preserve_case: bool,
    /// HTTP/1 names go out `Like-This`.
    pub proper_case: bool,
    /// Fields that a response's head may have.
    pub response_fields: Option<u32>,
    /// Bytes that a response's head may have.
    pub response_head_bytes: Option<u32>,
    /// ALPN decides between HTTP/1 and HTTP/2.
    pub by_alpn: bool,
}

/// Plans what is spoken; the mark to refuse where it is nothing that is served.
pub fn plan(
    message: &wire::Cluster,
    plan: &mut ClusterPlan,
    scope: &Scope<'_>,
) -> Option<Arc<str>> {
    deprecated(message, plan, scope);
    let mut refuse = None;
    for (name, config) in &message.typed_extension_protocol_options {
        let scope = scope.entry("typed_extension_protocol_options", name);
        if type_name(&config.type_url) != "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" {
            scope.note(format!("{} is not served", type_name(&config.type_url)));
            continue;
        }
        match decode_config::<HttpProtocolOptions>(config) {
            Ok(options) => refuse = http_options(&options, plan, &scope).or(refuse),
            Err(error) => scope.reject(Fault::Malformed(error.to_string())),
        }
    }
    refuse
}

/// Fields of the cluster itself, as old configurations have them.
fn deprecated(message: &wire::Cluster, plan: &mut ClusterPlan, scope: &Scope<'_>) {
    if let Some(options) = &message.http2_protocol_options {
        let settings = http2(Some(options), &scope.field("http2_protocol_options"));
        plan.settings.protocol = if message.protocol_selection
            == wire::cluster::ClusterProtocolSelection::UseDownstreamProtocol as i32
        {
            Protocol::AsDownstream(settings)
        } else {
            Protocol::Http2(settings)
        };
    } else if message.protocol_selection
        == wire::cluster::ClusterProtocolSelection::UseDownstreamProtocol as i32
    {
        plan.settings.protocol = Protocol::AsDownstream(Http2Settings::default());
    }
    if let Some(requests) = message
        .max_requests_per_connection
        .filter(|requests| *requests > 0)
    {
        plan.settings.max_requests_per_connection = Some(requests.into());
    }
    common(
        message.common_http_protocol_options.as_ref(),
        plan,
        &scope.field("common_http_protocol_options"),
    );
    upstream(message.upstream_http_protocol_options.as_ref(), plan);
    http1(
        message.http_protocol_options.as_ref(),
        plan,
        &scope.field("http_protocol_options"),
    );
}

fn http_options(
    options: &HttpProtocolOptions,
    plan: &mut ClusterPlan,
    scope: &Scope<'_>,
) -> Option<Arc<str>> {
    common(
        options.common_http_protocol_options.as_ref(),
        plan,
        &scope.field("common_http_protocol_options"),
    );
    upstream(options.upstream_http_protocol_options.as_ref(), plan);
    if !options.http_filters.is_empty() {
        // The codec filter, which ends every such chain, is what the engine does anyway.
        let codec = |filter: &carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter| {
            use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType::TypedConfig;
            matches!(&filter.config_type, Some(TypedConfig(config)) if type_name(&config.type_url) == "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
        };
        if !options.http_filters.iter().all(codec) {
            return Some(
                scope
                    .field("http_filters")
                    .refuse("filters of requests to hosts are not served"),
            );
        }
    }
    let mut refuse = None;
    match &options.upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            let scope = scope.field("explicit_http_config");
            match &explicit.protocol_config {
                Some(ProtocolConfig::HttpProtocolOptions(options)) => {
                    plan.settings.protocol = Protocol::Http1;
                    http1(Some(options), plan, &scope.field("http_protocol_options"));
                }
                Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
                    plan.settings.protocol = Protocol::Http2(http2(
                        Some(options),
                        &scope.field("http2_protocol_options"),
                    ));
                }
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                    refuse = Some(
                        scope
                            .field("http3_protocol_options")
                            .refuse("HTTP/3 is not served"),
                    );
                }
                None => scope.missing(),
            }
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(downstream)) => {
            let scope = scope.field("use_downstream_protocol_config");
            plan.settings.protocol = match &downstream.http2_protocol_options {
                Some(options) => Protocol::AsDownstream(http2(
                    Some(options),
                    &scope.field("http2_protocol_options"),
                )),
                // Without HTTP/2 settings HTTP/1 is spoken, as in Envoy.
                None => Protocol::Http1,
            };
            http1(
                downstream.http_protocol_options.as_ref(),
                plan,
                &scope.field("http_protocol_options"),
            );
        }
        Some(UpstreamProtocolOptions::AutoConfig(auto)) => {
            let scope = scope.field("auto_config");
            plan.protocol.by_alpn = true;
            plan.settings.protocol = Protocol::Http2(http2(
                auto.http2_protocol_options.as_ref(),
                &scope.field("http2_protocol_options"),
            ));
            http1(
                auto.http_protocol_options.as_ref(),
                plan,
                &scope.field("http_protocol_options"),
            );
            scope.note("by ALPN: HTTP/2 is offered first");
        }
        None => scope.field("upstream_protocol_options").missing(),
    }
    refuse
}

fn common(options: Option<&core::HttpProtocolOptions>, plan: &mut ClusterPlan, scope: &Scope<'_>) {
    let Some(options) = options else { return };
    let settings = &mut plan.settings;
    settings.idle_timeout = value::limit(
        options.idle_timeout.as_ref(),
        settings.idle_timeout,
        &scope.field("idle_timeout"),
    );
    settings.max_connection_duration = value::limit(
        options.max_connection_duration.as_ref(),
        None,
        &scope.field("max_connection_duration"),
    );
    if let Some(requests) = options.max_requests_per_connection {
        settings.max_requests_per_connection = (requests > 0).then_some(requests.into());
    }
    plan.protocol.response_fields = options.max_headers_count;
    plan.protocol.response_head_bytes = options
        .max_response_headers_kb
        .map(|kilobytes| kilobytes.saturating_mul(1024));
}

fn upstream(options: Option<&core::UpstreamHttpProtocolOptions>, plan: &mut ClusterPlan) {
    let Some(options) = options else { return };
    plan.protocol.auto_sni = options.auto_sni;
    plan.protocol.auto_san_validation = options.auto_san_validation;
    plan.protocol.auto_sni_header = (!options.override_auto_sni_header.is_empty())
        .then(|| options.override_auto_sni_header.as_str().into());
}

fn http1(options: Option<&core::Http1ProtocolOptions>, plan: &mut ClusterPlan, scope: &Scope<'_>) {
    if options.is_none() {
        return;
    }
    let planned = http::http1(options, scope);
    plan.protocol.preserve_case = planned.preserve_case;
    plan.protocol.proper_case = planned.proper_case;
    plan.settings.http1_trailers = planned.trailers;
}

fn http2(options: Option<&core::Http2ProtocolOptions>, scope: &Scope<'_>) -> Http2Settings {
    let planned = http::http2(options, scope);
    Http2Settings {
        max_concurrent_streams: planned.max_concurrent_streams,
        initial_stream_window: planned.stream_window,
        initial_connection_window: planned.connection_window,
        keepalive: planned.keepalive.map(|keepalive| Http2Keepalive {
            interval: keepalive.interval,
            timeout: keepalive.timeout,
            idle_interval: keepalive.idle_interval,
        }),
    }
}
