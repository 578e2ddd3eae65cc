//! Services that the proxy itself calls to tell something: collectors of spans and logs, behind one of its clusters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carbyne_engine::http::{Headers, Request};
use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::config::core::v3::grpc_service::TargetSpecifier;
use carbyne_protos::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use carbyne_protos::envoy::config::core::v3::http_uri::HttpUpstreamType;
use http::{HeaderName, HeaderValue, Method, Version, header};

use super::error::Fault;
use super::scope::Scope;
use super::value;
use crate::observe::facts::Facts;
use crate::observe::format::Format;
use crate::wire::grpc;

/// Where something is told.
#[derive(Clone, Debug)]
pub struct Service {
    /// The cluster.
    pub cluster: Arc<str>,
    /// How long an answer may take.
    pub timeout: Duration,
    authority: Bytes,
    /// Fields of every request; their values may have operators, such as those of the environment.
    fields: Box<[Field]>,
    protocol: Protocol,
}

/// What is spoken.
#[derive(Clone, Debug)]
enum Protocol {
    Grpc,
    Http { path: Bytes },
}

#[derive(Clone, Debug)]
struct Field {
    name: HeaderName,
    value: Format,
    /// Beside a field of that name, not in its place.
    append: bool,
}

impl Service {
    /// Plans a gRPC service; `None` where it cannot be used, which has been said then.
    pub fn grpc(message: &core::GrpcService, scope: &Scope<'_>) -> Option<Self> {
        let target = match &message.target_specifier {
            Some(TargetSpecifier::EnvoyGrpc(target)) => target,
            Some(TargetSpecifier::GoogleGrpc(_)) => {
                scope
                    .field("google_grpc")
                    .note("only clusters are called: write `envoy_grpc`");
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
        let authority = if target.authority.is_empty() {
            &target.cluster_name
        } else {
            &target.authority
        };
        let fields = message.initial_metadata.iter().enumerate();
        let fields = fields
            .filter_map(|(index, sent)| field(sent, false, &scope.item("initial_metadata", index)));
        let timeout = value::limit(message.timeout.as_ref(), None, &scope.field("timeout"));
        Some(Self {
            cluster: Arc::from(target.cluster_name.as_str()),
            timeout: timeout.unwrap_or(PATIENCE),
            authority: Bytes::copy_from_slice(authority.as_bytes()),
            fields: fields.collect(),
            protocol: Protocol::Grpc,
        })
    }

    /// Plans an HTTP service.
    pub fn http(message: &core::HttpService, scope: &Scope<'_>) -> Option<Self> {
        let place = scope.field("http_uri");
        let Some(uri) = &message.http_uri else {
            place.missing();
            return None;
        };
        let cluster = uri.http_upstream_type.as_ref();
        let cluster = cluster.map_or("", |HttpUpstreamType::Cluster(name)| name);
        if cluster.is_empty() {
            place.field("cluster").missing();
        }
        if uri.uri.is_empty() {
            place.field("uri").missing();
        }
        if uri.timeout.is_none() {
            place.field("timeout").missing();
        }
        let timeout = value::limit(uri.timeout.as_ref(), None, &place.field("timeout"));
        // istiod writes it without a scheme.
        let rest = uri
            .uri
            .split_once("://")
            .map_or(&*uri.uri, |(_, rest)| rest);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let fields = message.request_headers_to_add.iter().enumerate();
        let fields = fields.filter_map(|(index, option)| {
            let scope = scope.item("request_headers_to_add", index);
            let append = match HeaderAppendAction::try_from(option.append_action) {
                Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => false,
                _ => option.append.unwrap_or(true),
            };
            match &option.header {
                Some(header) => field(header, append, &scope.field("header")),
                None => {
                    scope.field("header").missing();
                    None
                }
            }
        });
        Some(Self {
            cluster: Arc::from(cluster),
            timeout: timeout.unwrap_or(PATIENCE),
            authority: Bytes::copy_from_slice(authority.as_bytes()),
            fields: fields.collect(),
            protocol: Protocol::Http {
                path: Bytes::copy_from_slice(if path.is_empty() { "/" } else { path }.as_bytes()),
            },
        })
    }

    /// A collector that takes bodies at a path of a cluster.
    pub fn collector(cluster: &str, authority: &str, path: &str) -> Self {
        Self {
            cluster: Arc::from(cluster),
            timeout: COLLECTOR_PATIENCE,
            authority: Bytes::copy_from_slice(authority.as_bytes()),
            fields: Box::default(),
            protocol: Protocol::Http {
                path: Bytes::copy_from_slice(path.as_bytes()),
            },
        }
    }

    /// Whether gRPC is spoken.
    pub const fn is_grpc(&self) -> bool {
        matches!(self.protocol, Protocol::Grpc)
    }

    /// A request that carries `message`: for gRPC to the method at `method`, else as a body of type `content`.
    pub fn request(
        &self,
        method: &'static str,
        content: &'static str,
        message: Vec<u8>,
    ) -> (Request, Bytes) {
        let mut headers = Headers::with_capacity(4 + self.fields.len());
        let (path, version, body) = match &self.protocol {
            Protocol::Grpc => {
                headers.append(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/grpc"),
                );
                headers.append(header::TE, HeaderValue::from_static("trailers"));
                (
                    Bytes::from_static(method.as_bytes()),
                    Version::HTTP_2,
                    grpc::framed(&message),
                )
            }
            Protocol::Http { path } => {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(content));
                (path.clone(), Version::HTTP_11, Bytes::from(message))
            }
        };
        headers.append(header::USER_AGENT, HeaderValue::from_static(AGENT));
        let mut text = Vec::new();
        for field in &self.fields {
            text.clear();
            field.value.render(&Facts::default(), &mut text);
            // A variable with bytes that no field may hold is left out.
            let Ok(value) = HeaderValue::from_bytes(&text) else {
                continue;
            };
            if field.append {
                headers.append(field.name.clone(), value);
            } else {
                headers.insert(field.name.clone(), value);
            }
        }
        let request = Request {
            method: Method::POST,
            secure: None,
            authority: self.authority.clone(),
            host: self.authority.clone(),
            path,
            version,
            headers,
            protocol: None,
        };
        (request, body)
    }
}

fn field(message: &core::HeaderValue, append: bool, scope: &Scope<'_>) -> Option<Field> {
    let malformed = |error: &dyn std::fmt::Display| Fault::Malformed(error.to_string());
    let name = HeaderName::from_bytes(message.key.as_bytes());
    let name = scope
        .field("key")
        .take(name.map_err(|error| malformed(&error)));
    // What is missing is told as `-` here, other than in fields of forwarded requests (Envoy).
    let value = Format::parse(&message.value, false);
    let value = scope
        .field("value")
        .take(value.map_err(|error| malformed(&error)));
    Some(Field {
        name: name?,
        value: value?,
        append,
    })
}

/// How long an answer may take where nothing says so: the time of OTLP's specification.
const PATIENCE: Duration = Duration::from_secs(10);
/// Envoy's `tracing.zipkin.request_timeout`.
const COLLECTOR_PATIENCE: Duration = Duration::from_secs(5);
const AGENT: &str = concat!("OTel-OTLP-Exporter-Carbyne/", env!("CARGO_PKG_VERSION"));
