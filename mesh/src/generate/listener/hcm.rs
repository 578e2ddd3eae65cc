//! HTTP connection managers and their filter chain (istio.md 3.5).

use serde_json::{Value, json};

use super::super::{
    authorize,
    json::{ads, any, duration, extension, flag, typed_struct},
    proxy::Proxy,
    telemetry::{self, Class},
};
use crate::{model::mesh_config::Normalization, source::Protocol};

/// Where routes come from.
pub(super) enum Routes {
    /// By name over RDS.
    Named(String),
    /// In place.
    Inline(Value),
}

/// One connection manager.
pub(super) struct Hcm {
    pub(super) class: Class,
    pub(super) stat_prefix: String,
    pub(super) routes: Routes,
    pub(super) protocol: Protocol,
}

impl Hcm {
    /// The network filter.
    pub(super) fn build(self, proxy: &Proxy) -> Value {
        let mesh = &proxy.snapshot.mesh;
        let (normalize, merge, slashes) = match mesh.path_normalization.normalization {
            Normalization::None => (false, false, "KEEP_UNCHANGED"),
            Normalization::Base | Normalization::Default => (true, false, "KEEP_UNCHANGED"),
            Normalization::MergeSlashes => (true, true, "KEEP_UNCHANGED"),
            Normalization::DecodeAndMergeSlashes => (true, true, "UNESCAPE_AND_FORWARD"),
        };
        let (tracing, by_request_id) = telemetry::tracing(proxy, self.class);
        let mut config = json!({
            "statPrefix": self.stat_prefix,
            "httpFilters": filters(proxy, self.class, self.protocol),
            "tracing": tracing,
            "streamIdleTimeout": "0s",
            "accessLog": telemetry::access_log(proxy, self.class),
            "useRemoteAddress": self.class == Class::Gateway,
            "proxy100Continue": true,
            "upgradeConfigs": [{"upgradeType": "websocket"}],
            "normalizePath": normalize,
            "mergeSlashes": flag(merge),
            "pathWithEscapedSlashesAction": slashes,
            "requestIdExtension": {"typedConfig": any(
                "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                json!({"useRequestIdForTraceSampling": by_request_id}),
            )},
            "commonHttpProtocolOptions": proxy.node.idle_timeout.map(|idle| json!({"idleTimeout": duration(Some(idle))})),
        });
        match self.routes {
            Routes::Named(name) => {
                config["rds"] = json!({"configSource": ads(), "routeConfigName": name})
            }
            Routes::Inline(routes) => config["routeConfig"] = routes,
        }
        let http1 = proxy.node.http10.then(|| json!({"acceptHttp10": true}));
        match self.class {
            Class::Outbound => config["httpProtocolOptions"] = json!(http1),
            Class::Inbound => {
                config["httpProtocolOptions"] = json!(http1);
                config["http2ProtocolOptions"] = if self.protocol.is_http2() {
                    json!({})
                } else {
                    Value::Null
                };
                config["serverName"] = json!(SERVER);
                config["forwardClientCertDetails"] = json!("APPEND_FORWARD");
                config["setCurrentClientCertDetails"] =
                    json!({"subject": true, "dns": true, "uri": true});
            }
            Class::Gateway => {
                let hops = mesh.default_config.gateway_topology.num_trusted_proxies;
                config["httpProtocolOptions"] = http1.unwrap_or_else(|| json!({}));
                config["serverName"] = json!(SERVER);
                config["xffNumTrustedHops"] = if hops > 0 { json!(hops) } else { Value::Null };
                config["forwardClientCertDetails"] = json!("SANITIZE_SET");
                config["setCurrentClientCertDetails"] =
                    json!({"subject": true, "cert": true, "dns": true, "uri": true});
            }
        }
        extension(
            NAME,
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            config,
        )
    }
}

fn filters(proxy: &Proxy, class: Class, protocol: Protocol) -> Vec<Value> {
    let mut filters = vec![peer_metadata(class)];
    if class != Class::Outbound {
        filters.extend(authorize::custom(proxy, false));
        filters.extend(authorize::jwt(proxy));
        filters.extend(authorize::local(proxy, false));
    }
    if protocol == Protocol::GrpcWeb {
        filters.push(extension(
            "envoy.filters.http.grpc_web",
            "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
            json!({}),
        ));
    }
    filters.push(extension(
        "envoy.filters.http.grpc_stats",
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        json!({"emitFilterState": true, "statsForAllMethods": false}),
    ));
    if class != Class::Inbound {
        filters.push(alpn());
    }
    filters.push(extension(
        "envoy.filters.http.fault",
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
        json!({}),
    ));
    filters.push(extension(
        "envoy.filters.http.cors",
        "envoy.extensions.filters.http.cors.v3.Cors",
        json!({}),
    ));
    filters.extend(telemetry::stats(proxy, class));
    filters.push(extension(
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
        json!({}),
    ));
    filters
}

/// Who is on the other side: headers first, then the workload list.
fn peer_metadata(class: Class) -> Value {
    let side = if class == Class::Inbound {
        "downstream"
    } else {
        "upstream"
    };
    typed_struct(
        "istio.metadata_exchange",
        "io.istio.http.peer_metadata.Config",
        json!({
            format!("{side}_discovery"): [{"istio_headers": {}}, {"workload_discovery": {}}],
            format!("{side}_propagation"): [{"istio_headers": {}}],
        }),
    )
}

/// Which protocols the upstream TLS handshake offers, so that the other side's chains can be told apart.
fn alpn() -> Value {
    extension(
        "istio.alpn",
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        json!({"alpnOverride": [
            {"alpnOverride": ["istio-http/1.0", "istio", "http/1.0"]},
            {"upstreamProtocol": "HTTP11", "alpnOverride": ["istio-http/1.1", "istio", "http/1.1"]},
            {"upstreamProtocol": "HTTP2", "alpnOverride": ["istio-h2", "istio", "h2"]},
        ]}),
    )
}

const NAME: &str = "envoy.filters.network.http_connection_manager";
const SERVER: &str = "istio-envoy";
