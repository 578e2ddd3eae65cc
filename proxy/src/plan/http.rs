//! HTTP connection manager.
//!
//! | file | what it plans |
//! |---|---|
//! | here | filters, routes, how requests become canonical |
//! | [`codec`] | settings of the two codecs |
//! | [`parts`] | limits, what is told of the client, fields that are set |

use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::http::canonical::{EscapedSlashes, Policy, StripPort, Underscores};
use carbyne_protos::envoy::config::accesslog::v3::AccessLog;
use carbyne_protos::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    self as manager, CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation, StripPortMode,
};
use http::HeaderValue;

use super::filter::{HttpFilterKind, HttpFilterPlan, http_filters};
use super::route;
use super::scope::Scope;
use super::tracing::{self, TracingPlan};
use super::value::{self, ResourceSource};
use crate::live::matcher::{Cidr, StringMatcher};
use crate::live::route::RouteTable;

pub mod codec;
mod parts;

pub use self::codec::{http1, http2};
use self::parts::{client, fields, limits};

/// A planned connection manager. Times are `None` where there is no limit.
#[derive(Debug)]
pub struct HttpPlan {
    /// Which protocols are spoken.
    pub codec: Codec,
    /// Prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// Filters in their order.
    pub filters: Vec<HttpFilterPlan>,
    /// Where its routes come from.
    pub routes: RouteSource,
    /// How requests become canonical.
    pub canonical: Policy,
    /// HTTP/1.
    pub http1: Http1,
    /// HTTP/2.
    pub http2: Http2,
    /// Limits.
    pub limits: HttpLimits,
    /// The client and its certificate.
    pub client: ClientRules,
    /// Fields that are set.
    pub fields: FieldRules,
    /// Spans.
    pub tracing: Option<Arc<TracingPlan>>,
    /// What is logged.
    pub access_log: Arc<[AccessLog]>,
    /// How what is logged is flushed.
    pub access_log_options: Option<manager::HcmAccessLogOptions>,
    /// Upgrades that go through: lower-case name, whether enabled.
    pub upgrades: Box<[(Box<str>, bool)]>,
    /// Rewriting of answers of the proxy's own.
    pub local_reply: Option<Arc<wire::LocalReplyConfig>>,
    /// Something that guards was not understood: 503.
    pub refuse: Option<Arc<str>>,
}

/// Which protocols are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// What the client begins with, or ALPN says.
    #[default]
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// Where routes come from.
#[derive(Clone, Debug)]
pub enum RouteSource {
    /// They stand in the message.
    Inline(Arc<RouteTable>),
    /// They come by discovery.
    Discovery {
        /// Name of the route configuration.
        name: Arc<str>,
        /// Where it comes from.
        source: ResourceSource,
    },
}

/// HTTP/1 settings.
#[derive(Debug, Default)]
pub struct Http1 {
    /// HTTP/1.0 is answered.
    pub accept_http_10: bool,
    /// The host of HTTP/1.0 requests without one.
    pub default_host_for_http_10: Option<Arc<str>>,
    /// Names go out in the case in which they came in.
    pub preserve_case: bool,
    /// Names go out `Like-This`.
    pub proper_case: bool,
    /// Trailers go through.
    pub trailers: bool,
    /// Methods outside of the registries are taken.
    pub custom_methods: bool,
    /// Upgrades that are passed over, with what else of the head asks for them.
    pub ignored_upgrades: Box<[StringMatcher]>,
}

/// HTTP/2 settings; `None` leaves the codec's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http2 {
    /// Streams at once.
    pub max_concurrent_streams: Option<u32>,
    /// Window of a stream, in bytes.
    pub stream_window: Option<u32>,
    /// Window of the connection, in bytes.
    pub connection_window: Option<u32>,
    /// Extended CONNECT is offered.
    pub allow_connect: bool,
    /// Pings on connections.
    pub keepalive: Option<Keepalive>,
}

/// Pings on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Time between them; `None` sends none but on idle.
    pub interval: Option<Duration>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Ping before the next request after this silence.
    pub idle_interval: Option<Duration>,
}

/// Limits of connections and streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// A connection without requests (1 h).
    pub idle: Option<Duration>,
    /// Age of a connection.
    pub max_connection: Option<Duration>,
    /// Requests of a connection; `None` is no limit.
    pub max_requests: Option<u32>,
    /// Silence on a stream (5 min).
    pub stream_idle: Option<Duration>,
    /// Age of a stream.
    pub max_stream: Option<Duration>,
    /// From the first byte of a request to its last.
    pub request: Option<Duration>,
    /// From the first byte of a head to its last.
    pub request_headers: Option<Duration>,
    /// From GOAWAY to closing (5 s).
    pub drain: Duration,
    /// From the last byte to closing (1 s).
    pub delayed_close: Duration,
    /// Bytes of a head (60 KiB).
    pub head_bytes: u32,
    /// Fields of a head (100).
    pub head_fields: u32,
    /// A malformed HTTP/1 message costs its stream instead of the connection.
    pub stream_error_only: bool,
}

/// Who the client is, and what is told of it.
#[derive(Debug)]
pub struct ClientRules {
    /// The connection's client is the request's: an edge.
    pub use_remote_address: bool,
    /// Proxies in front whose `x-forwarded-for` is trusted.
    pub trusted_hops: u32,
    /// Leave `x-forwarded-for` as it is.
    pub skip_forwarded_for: bool,
    /// Addresses whose clients are internal.
    pub internal: Arc<[Cidr]>,
    /// Clients of Unix sockets are internal.
    pub internal_unix: bool,
    /// What becomes of `x-forwarded-client-cert`.
    pub forward_certificate: ForwardClientCertDetails,
    /// Which parts of the certificate are told.
    pub certificate_details: CertificateDetails,
    /// Add `x-forwarded-port`.
    pub append_forwarded_port: bool,
    /// IPv4 addresses are told as IPv6.
    pub ipv4_as_ipv6: bool,
}

/// Which parts of the client's certificate are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateDetails {
    /// `Subject`.
    pub subject: bool,
    /// `Cert`.
    pub cert: bool,
    /// `Chain`.
    pub chain: bool,
    /// `DNS`.
    pub dns: bool,
    /// `URI`.
    pub uri: bool,
}

/// Fields that are set.
#[derive(Debug)]
pub struct FieldRules {
    /// Value of `server`.
    pub server_name: HeaderValue,
    /// When it is set.
    pub server: ServerHeaderTransformation,
    /// Value of `via`.
    pub via: Option<HeaderValue>,
    /// Make up an `x-request-id`.
    pub generate_request_id: bool,
    /// Keep that of clients from outside.
    pub preserve_external_request_id: bool,
    /// Tell it to the client.
    pub request_id_in_response: bool,
    /// The id says whether its trace is sampled.
    pub pack_trace_reason: bool,
    /// Sampling follows the id.
    pub sample_by_request_id: bool,
    /// `100-continue` is the upstream's affair.
    pub proxy_100_continue: bool,
    /// `:scheme` is set to this.
    pub scheme: Option<bool>,
    /// `:scheme` is that of the upstream connection.
    pub scheme_of_upstream: bool,
    /// Add `user-agent`.
    pub add_user_agent: bool,
}

/// Plans a connection manager.
pub fn plan(message: &wire::HttpConnectionManager, scope: &Scope<'_>) -> Option<HttpPlan> {
    if message.stat_prefix.is_empty() {
        scope.field("stat_prefix").missing();
    }
    let codec = match CodecType::try_from(message.codec_type) {
        Ok(CodecType::Auto) => Codec::Auto,
        Ok(CodecType::Http1) => Codec::Http1,
        Ok(CodecType::Http2) => Codec::Http2,
        Ok(CodecType::Http3) | Err(_) => {
            scope
                .field("codec_type")
                .out_of_range(message.codec_type, "AUTO, HTTP1 or HTTP2 (0 to 2)");
            return None;
        }
    };
    let filters = http_filters(&message.http_filters, scope);
    let (routes, route_doubt) = routes(message, scope)?;
    let (canonical, canonical_doubt) = canonical(message, scope);
    let refuse = filters
        .iter()
        .find_map(|filter| match &filter.kind {
            HttpFilterKind::Refuse(reason) => Some(Arc::clone(reason)),
            _ => None,
        })
        .or(route_doubt)
        .or(canonical_doubt);
    let upgrades = message.upgrade_configs.iter();
    Some(HttpPlan {
        codec,
        stat_prefix: Arc::from(message.stat_prefix.as_str()),
        filters,
        routes,
        canonical,
        http1: http1(
            message.http_protocol_options.as_ref(),
            &scope.field("http_protocol_options"),
        ),
        http2: http2(
            message.http2_protocol_options.as_ref(),
            &scope.field("http2_protocol_options"),
        ),
        limits: limits(message, scope),
        client: client(message, scope),
        fields: fields(message, scope)?,
        tracing: message
            .tracing
            .as_ref()
            .map(|message| Arc::new(tracing::plan(message, &scope.field("tracing")))),
        access_log: message.access_log.as_slice().into(),
        access_log_options: message.access_log_options,
        upgrades: upgrades
            .map(|upgrade| {
                (
                    upgrade.upgrade_type.to_ascii_lowercase().into(),
                    upgrade.enabled.unwrap_or(true),
                )
            })
            .collect(),
        local_reply: message.local_reply_config.clone().map(Arc::new),
        refuse,
    })
}

/// The routes, or why requests have to be refused.
fn routes(
    message: &wire::HttpConnectionManager,
    scope: &Scope<'_>,
) -> Option<(RouteSource, Option<Arc<str>>)> {
    let nothing = || RouteSource::Inline(Arc::new(RouteTable::new(Arc::from(""), false)));
    match &message.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            let scope = scope.field("rds");
            if rds.route_config_name.is_empty() {
                scope.field("route_config_name").missing();
            }
            let source =
                value::config_source(rds.config_source.as_ref(), &scope.field("config_source"))?;
            let name = Arc::from(rds.route_config_name.as_str());
            Some((RouteSource::Discovery { name, source }, None))
        }
        Some(RouteSpecifier::RouteConfig(configuration)) => {
            let table = route::plan(configuration, &scope.field("route_config"))?;
            Some((RouteSource::Inline(table), None))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Some((
            nothing(),
            Some(
                scope
                    .field("scoped_routes")
                    .refuse("scoped routes are not served"),
            ),
        )),
        None => {
            scope.field("route_specifier").missing();
            Some((nothing(), Some(Arc::from("the routes were not decoded"))))
        }
    }
}

/// How paths and hosts become canonical. What access rules compare depends on it, so nothing of it may be passed over.
fn canonical(
    message: &wire::HttpConnectionManager,
    scope: &Scope<'_>,
) -> (Policy, Option<Arc<str>>) {
    let mut doubt = None;
    let escaped_slashes =
        match PathWithEscapedSlashesAction::try_from(message.path_with_escaped_slashes_action) {
            Ok(
                PathWithEscapedSlashesAction::ImplementationSpecificDefault
                | PathWithEscapedSlashesAction::KeepUnchanged,
            ) => EscapedSlashes::Keep,
            Ok(PathWithEscapedSlashesAction::RejectRequest) => EscapedSlashes::Reject,
            Ok(PathWithEscapedSlashesAction::UnescapeAndForward) => {
                EscapedSlashes::UnescapeAndForward
            }
            Ok(PathWithEscapedSlashesAction::UnescapeAndRedirect) => {
                EscapedSlashes::UnescapeAndRedirect
            }
            Err(_) => {
                doubt = scope.field("path_with_escaped_slashes_action").doubt();
                EscapedSlashes::Reject
            }
        };
    if message.path_normalization_options.is_some() {
        doubt = Some(
            scope
                .field("path_normalization_options")
                .refuse("path transformations are not served"),
        );
    }
    let underscores = message
        .common_http_protocol_options
        .as_ref()
        .map_or(0, |options| options.headers_with_underscores_action);
    let underscores = match HeadersWithUnderscoresAction::try_from(underscores) {
        Ok(HeadersWithUnderscoresAction::Allow) => Underscores::Allow,
        Ok(HeadersWithUnderscoresAction::RejectRequest) => Underscores::Reject,
        Ok(HeadersWithUnderscoresAction::DropHeader) => Underscores::Drop,
        Err(_) => {
            doubt = scope
                .field("common_http_protocol_options")
                .field("headers_with_underscores_action")
                .doubt();
            Underscores::Reject
        }
    };
    let strip_any = matches!(
        message.strip_port_mode,
        Some(StripPortMode::StripAnyHostPort(true))
    );
    let policy = Policy {
        normalize_path: message.normalize_path.unwrap_or(false),
        merge_slashes: message.merge_slashes,
        escaped_slashes,
        underscores,
        strip_port: match (strip_any, message.strip_matching_host_port) {
            (true, _) => StripPort::Any,
            // The port is that of the listener, which whoever builds it knows.
            (false, true) => StripPort::Matching(0),
            (false, false) => StripPort::Keep,
        },
        strip_trailing_dot: message.strip_trailing_host_dot,
        ..Policy::default()
    };
    (policy, doubt)
}
