//! What the service is told about a request (`envoy.service.auth.v3.AttributeContext`).

use std::collections::BTreeMap;
use std::sync::Arc;

use carbyne_engine::forward::Exchange;
use carbyne_engine::net::Address as EngineAddress;
use carbyne_engine::tls::CertificateFacts;
use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::config::core::v3::address::Address as WireAddress;
use carbyne_protos::envoy::config::core::v3::socket_address::PortSpecifier;
use carbyne_protos::envoy::service::auth::v3 as auth;
use carbyne_protos::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, TlsSession};
use carbyne_protos::{json, prost_types};
use http::Version;

use super::{BodySettings, PARTIAL_BODY_NAME};
use crate::context::Context;
use crate::filter::body::Ahead;
use crate::live::matcher::StringMatcher;

/// What is told beside the request itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) certificate: bool,
    pub(super) tls_session: bool,
    /// Fields as bytes, each value alone.
    pub(super) raw_headers: bool,
    pub(super) metadata: Box<[Box<str>]>,
}

/// Which fields of the request the service may see.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    /// `None` is all of them for gRPC and the usual ones for HTTP.
    pub(super) only: Option<Arc<[StringMatcher]>>,
    pub(super) never: Option<Arc<[StringMatcher]>>,
}

impl Allowed {
    /// Whether a field may be seen; `default` where nothing is said about it.
    pub(super) fn allows(&self, name: &str, default: bool) -> bool {
        let any = |matchers: &Arc<[StringMatcher]>| {
            matchers
                .iter()
                .any(|matcher| matcher.matches(name.as_bytes()))
        };
        !self.never.as_ref().is_some_and(any) && self.only.as_ref().map_or(default, any)
    }
}

impl Told {
    /// The whole message.
    pub(super) fn check_request(
        &self,
        exchange: &Exchange<Context>,
        allowed: &Allowed,
        extensions: &[(Box<str>, Box<str>)],
        body: Option<&(Ahead, BodySettings)>,
    ) -> auth::CheckRequest {
        let tls = exchange.downstream.tls.as_deref();
        let peer = tls.and_then(|tls| tls.peer.as_deref().filter(|_| tls.peer_verified));
        let own = tls.and_then(|tls| tls.local.as_deref());
        let time = exchange
            .timing
            .start_time
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let attributes = auth::AttributeContext {
            source: Some(Peer {
                address: Some(address(&exchange.downstream.remote)),
                principal: peer.map(principal).unwrap_or_default(),
                certificate: peer
                    .filter(|_| self.certificate)
                    .map(|peer| peer.pem_url_encoded().to_owned())
                    .unwrap_or_default(),
                ..Peer::default()
            }),
            destination: Some(Peer {
                address: Some(address(&exchange.downstream.local)),
                principal: own.map(principal).unwrap_or_default(),
                ..Peer::default()
            }),
            request: Some(auth::attribute_context::Request {
                time: Some(prost_types::Timestamp {
                    seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
                    nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
                }),
                http: Some(self.request(exchange, allowed, body)),
            }),
            context_extensions: extensions
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            metadata_context: Some(self.metadata(exchange)),
            route_metadata_context: None,
            tls_session: tls.filter(|_| self.tls_session).map(|tls| TlsSession {
                sni: tls.sni.as_deref().unwrap_or_default().to_owned(),
            }),
        };
        auth::CheckRequest {
            attributes: Some(attributes),
        }
    }

    fn request(
        &self,
        exchange: &Exchange<Context>,
        allowed: &Allowed,
        body: Option<&(Ahead, BodySettings)>,
    ) -> HttpRequest {
        let request = &exchange.request;
        let mut message = HttpRequest {
            id: exchange.context.random.to_string(),
            method: request.method.to_string(),
            path: text(&request.path),
            host: text(&request.authority),
            scheme: scheme(exchange).to_owned(),
            size: exchange
                .body
                .exact_length()
                .and_then(|length| i64::try_from(length).ok())
                .unwrap_or(-1),
            protocol: match request.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            }
            .to_owned(),
            ..HttpRequest::default()
        };
        if let Some((ahead, settings)) = body {
            if settings.as_bytes {
                message.raw_body = ahead.bytes.to_vec();
            } else {
                message.body = text(&ahead.bytes);
            }
        }
        let mut fields = fields(exchange, allowed);
        if let Some((ahead, _)) = body {
            fields.push((
                PARTIAL_BODY_NAME,
                if ahead.complete { b"false" } else { b"true" },
            ));
        }
        if self.raw_headers {
            let headers = fields.iter().map(|(name, value)| core::HeaderValue {
                key: (*name).to_owned(),
                value: String::new(),
                raw_value: value.to_vec(),
            });
            message.header_map = Some(core::HeaderMap {
                headers: headers.collect(),
            });
        } else {
            message.headers = joined(&fields);
        }
        message
    }

    fn metadata(&self, exchange: &Exchange<Context>) -> core::Metadata {
        let mut metadata = core::Metadata::default();
        for name in &self.metadata {
            if let Some(object) = exchange.context.metadata.namespace(name) {
                metadata
                    .filter_metadata
                    .insert(name.to_string(), json::struct_from_json(object));
            }
        }
        metadata
    }
}

/// Every value of every field that the service may see, pseudo-headers first.
fn fields<'a>(exchange: &'a Exchange<Context>, allowed: &Allowed) -> Vec<(&'a str, &'a [u8])> {
    let request = &exchange.request;
    let pseudo: [(&str, &[u8]); 4] = [
        (":authority", &request.authority),
        (":method", request.method.as_str().as_bytes()),
        (":path", &request.path),
        (":scheme", scheme(exchange).as_bytes()),
    ];
    let fields = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    // What says whether the body is whole is ours to say.
    let fields = fields.filter(|(name, _)| *name != PARTIAL_BODY_NAME);
    pseudo
        .into_iter()
        .chain(fields)
        .filter(|(name, _)| allowed.allows(name, true))
        .collect()
}

/// Values of one field joined by commas: the service gets all of them.
fn joined(fields: &[(&str, &[u8])]) -> BTreeMap<String, String> {
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in fields {
        let value = text(value);
        match map.get_mut(*name) {
            Some(held) => {
                held.push(',');
                held.push_str(&value);
            }
            None => {
                map.insert((*name).to_owned(), value);
            }
        }
    }
    map
}

/// What the client asked for, as `x-forwarded-proto` or the connection tells.
fn scheme(exchange: &Exchange<Context>) -> &'static str {
    let told = exchange
        .request
        .headers
        .get(&FORWARDED_PROTO)
        .map(http::HeaderValue::as_bytes);
    let secure = told.map_or_else(
        || exchange.downstream.tls.is_some(),
        |told| told == b"https",
    );
    if secure { "https" } else { "http" }
}

/// URI name, else DNS name, else subject.
fn principal(certificate: &CertificateFacts) -> String {
    let first = certificate
        .uri_sans
        .first()
        .or_else(|| certificate.dns_sans.first());
    first.unwrap_or(&certificate.subject).to_string()
}

fn address(address: &EngineAddress) -> core::Address {
    let address = match address {
        EngineAddress::Tcp(socket) => WireAddress::SocketAddress(core::SocketAddress {
            address: socket.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(socket.port()))),
            ..core::SocketAddress::default()
        }),
        EngineAddress::Unix(path) => WireAddress::Pipe(core::Pipe {
            path: path.display().to_string(),
            mode: 0,
        }),
    };
    core::Address {
        address: Some(address),
    }
}

/// protobuf texts are UTF-8.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const FORWARDED_PROTO: http::HeaderName = http::HeaderName::from_static("x-forwarded-proto");
