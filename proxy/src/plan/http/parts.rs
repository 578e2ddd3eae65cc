//! Limits, what is told of the client, and fields that are set.

use std::time::Duration;

use carbyne_protos::any::decode_config;
use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{ForwardClientCertDetails, ServerHeaderTransformation};
use carbyne_protos::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use http::HeaderValue;

use super::{CertificateDetails, ClientRules, FieldRules, HttpLimits};
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::value;

pub(super) fn limits(message: &wire::HttpConnectionManager, scope: &Scope<'_>) -> HttpLimits {
    let common = message.common_http_protocol_options.unwrap_or_default();
    let common_scope = scope.field("common_http_protocol_options");
    let time = |value: Option<&carbyne_protos::prost_types::Duration>, name, default| {
        value::limit(value, default, &scope.field(name))
    };
    HttpLimits {
        idle: value::limit(
            common.idle_timeout.as_ref(),
            Some(HOUR),
            &common_scope.field("idle_timeout"),
        ),
        max_connection: value::limit(
            common.max_connection_duration.as_ref(),
            None,
            &common_scope.field("max_connection_duration"),
        ),
        max_requests: common
            .max_requests_per_connection
            .filter(|requests| *requests > 0),
        stream_idle: time(
            message.stream_idle_timeout.as_ref(),
            "stream_idle_timeout",
            Some(FIVE_MINUTES),
        ),
        max_stream: value::limit(
            common.max_stream_duration.as_ref(),
            None,
            &common_scope.field("max_stream_duration"),
        ),
        request: time(message.request_timeout.as_ref(), "request_timeout", None),
        request_headers: time(
            message.request_headers_timeout.as_ref(),
            "request_headers_timeout",
            None,
        ),
        drain: time(
            message.drain_timeout.as_ref(),
            "drain_timeout",
            Some(FIVE_SECONDS),
        )
        .unwrap_or_default(),
        delayed_close: time(
            message.delayed_close_timeout.as_ref(),
            "delayed_close_timeout",
            Some(SECOND),
        )
        .unwrap_or_default(),
        head_bytes: 1024
            * value::within(
                message.max_request_headers_kb,
                1..=8192,
                "1 to 8192",
                60,
                &scope.field("max_request_headers_kb"),
            ),
        head_fields: value::within(
            common.max_headers_count,
            1..=u32::MAX,
            "1 or more",
            100,
            &common_scope.field("max_headers_count"),
        ),
        stream_error_only: message
            .stream_error_on_invalid_http_message
            .unwrap_or(false),
    }
}

pub(super) fn client(message: &wire::HttpConnectionManager, scope: &Scope<'_>) -> ClientRules {
    let details = message.set_current_client_cert_details.unwrap_or_default();
    let internal = message.internal_address_config.as_ref();
    let ranges = internal.map_or(&[][..], |internal| &internal.cidr_ranges);
    let forward = ForwardClientCertDetails::try_from(message.forward_client_cert_details);
    if forward.is_err() {
        let expected = "a way to forward certificates (0 to 4)";
        scope
            .field("forward_client_cert_details")
            .out_of_range(message.forward_client_cert_details, expected);
    }
    ClientRules {
        use_remote_address: message.use_remote_address.unwrap_or(false),
        trusted_hops: message.xff_num_trusted_hops,
        skip_forwarded_for: message.skip_xff_append,
        internal: value::cidrs(
            ranges,
            "cidr_ranges",
            &scope.field("internal_address_config"),
        )
        .into(),
        internal_unix: internal.is_some_and(|internal| internal.unix_sockets),
        forward_certificate: forward.unwrap_or(ForwardClientCertDetails::Sanitize),
        certificate_details: CertificateDetails {
            subject: details.subject.unwrap_or(false),
            cert: details.cert,
            chain: details.chain,
            dns: details.dns,
            uri: details.uri,
        },
        append_forwarded_port: message.append_x_forwarded_port,
        ipv4_as_ipv6: message.represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
    }
}

pub(super) fn fields(
    message: &wire::HttpConnectionManager,
    scope: &Scope<'_>,
) -> Option<FieldRules> {
    let server = ServerHeaderTransformation::try_from(message.server_header_transformation);
    if server.is_err() {
        let found = message.server_header_transformation;
        scope.field("server_header_transformation").out_of_range(
            found,
            "OVERWRITE, APPEND_IF_ABSENT or PASS_THROUGH (0 to 2)",
        );
    }
    let text = |value: &str, default: &'static str, name: &'static str| {
        let value = if value.is_empty() { default } else { value };
        scope.field(name).take(
            HeaderValue::from_str(value)
                .map_err(|_| Fault::Words("holds bytes that do not belong into a field")),
        )
    };
    let request_id = message
        .request_id_extension
        .as_ref()
        .and_then(|extension| extension.typed_config.as_ref());
    let uuid = match request_id {
        Some(config) => decode_config::<UuidRequestIdConfig>(config).unwrap_or_else(|_| {
            scope
                .field("request_id_extension")
                .note("only UUIDs are served");
            UuidRequestIdConfig::default()
        }),
        None => UuidRequestIdConfig::default(),
    };
    let scheme = message.scheme_header_transformation.as_ref();
    let overwrite = scheme
        .and_then(|scheme| scheme.transformation.as_ref())
        .map(|transformation| {
            use core::scheme_header_transformation::Transformation::SchemeToOverwrite;
            let SchemeToOverwrite(scheme) = transformation;
            scheme == "https"
        });
    Some(FieldRules {
        server_name: text(&message.server_name, "envoy", "server_name")?,
        server: server.unwrap_or(ServerHeaderTransformation::Overwrite),
        via: match message.via.as_str() {
            "" => None,
            via => Some(text(via, "", "via")?),
        },
        generate_request_id: message.generate_request_id.unwrap_or(true),
        preserve_external_request_id: message.preserve_external_request_id,
        request_id_in_response: message.always_set_request_id_in_response,
        pack_trace_reason: uuid.pack_trace_reason.unwrap_or(true),
        sample_by_request_id: uuid.use_request_id_for_trace_sampling.unwrap_or(true),
        proxy_100_continue: message.proxy_100_continue,
        scheme: overwrite,
        scheme_of_upstream: scheme.is_some_and(|scheme| scheme.match_upstream),
        add_user_agent: message.add_user_agent.unwrap_or(false),
    })
}

const SECOND: Duration = Duration::from_secs(1);
const FIVE_SECONDS: Duration = Duration::from_secs(5);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);
