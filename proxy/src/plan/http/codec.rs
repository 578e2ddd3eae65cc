//! Settings of the two codecs, for listeners and clusters.

use std::sync::Arc;
use std::time::Duration;

use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::config::core::v3::http1_protocol_options::header_key_format::HeaderFormat;

use super::{Http1, Http2, Keepalive};
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

/// HTTP/1 settings.
pub fn http1(options: Option<&core::Http1ProtocolOptions>, scope: &Scope<'_>) -> Http1 {
    let Some(options) = options else {
        return Http1::default();
    };
    let format = options
        .header_key_format
        .as_ref()
        .and_then(|format| format.header_format.as_ref());
    let ignored = options.ignore_http_11_upgrade.iter().enumerate();
    Http1 {
        accept_http_10: options.accept_http_10,
        default_host_for_http_10: (!options.default_host_for_http_10.is_empty())
            .then(|| Arc::from(options.default_host_for_http_10.as_str())),
        preserve_case: matches!(format, Some(HeaderFormat::StatefulFormatter(_))),
        proper_case: matches!(format, Some(HeaderFormat::ProperCaseWords(_))),
        trailers: options.enable_trailers,
        custom_methods: options.allow_custom_methods,
        ignored_upgrades: ignored
            .filter_map(|(index, wanted)| {
                matcher::string(wanted, &scope.item("ignore_http_11_upgrade", index))
            })
            .collect(),
    }
}

/// HTTP/2 settings.
pub fn http2(options: Option<&core::Http2ProtocolOptions>, scope: &Scope<'_>) -> Http2 {
    let Some(options) = options else {
        return Http2::default();
    };
    let window = |value: Option<u32>, name| {
        let bounds = 65_535..=2_147_483_647;
        value.map(|value| {
            value::within(
                Some(value),
                bounds,
                "a window of 65535 to 2147483647 bytes",
                65_535,
                &scope.field(name),
            )
        })
    };
    let streams = |value: u32| {
        value::within(
            Some(value),
            1..=2_147_483_647,
            "1 to 2147483647",
            100,
            &scope.field("max_concurrent_streams"),
        )
    };
    Http2 {
        max_concurrent_streams: options.max_concurrent_streams.map(streams),
        stream_window: window(
            options.initial_stream_window_size,
            "initial_stream_window_size",
        ),
        connection_window: window(
            options.initial_connection_window_size,
            "initial_connection_window_size",
        ),
        allow_connect: options.allow_connect,
        keepalive: options.connection_keepalive.as_ref().map(|keepalive| {
            let scope = scope.field("connection_keepalive");
            if keepalive.timeout.is_none() {
                scope.field("timeout").missing();
            }
            Keepalive {
                interval: value::positive_duration(
                    keepalive.interval.as_ref(),
                    &scope.field("interval"),
                ),
                timeout: value::positive_duration(
                    keepalive.timeout.as_ref(),
                    &scope.field("timeout"),
                )
                .unwrap_or(SECOND),
                idle_interval: value::positive_duration(
                    keepalive.connection_idle_interval.as_ref(),
                    &scope.field("connection_idle_interval"),
                ),
            }
        }),
    }
}

const SECOND: Duration = Duration::from_secs(1);
