//! A service that speaks plain HTTP: it is sent the request's head, its status is the verdict.

use std::time::Duration;

use bytes::Bytes;
use carbyne_engine::forward::{Answer, Exchange};
use carbyne_engine::http::{Headers, Request, Response};
use carbyne_protos::envoy::config::core::v3::header_value_option::HeaderAppendAction::{
    AppendIfExistsOrAdd, OverwriteIfExistsOrAdd,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use serde_json::{Map, Value};

use super::attributes::Allowed;
use super::verdict::{Changes, Verdict, is_framing};
use super::{BodySettings, LARGEST_ANSWER, PARTIAL_BODY};
use crate::context::Context;
use crate::filter::addition::Addition;
use crate::filter::body::Ahead;
use crate::filter::upstream::{Called, ClusterLookup, call};
use crate::live::matcher::StringMatcher;

/// Where the service is, and what passes either way.
#[derive(Debug)]
pub(super) struct HttpService {
    pub(super) cluster: Box<str>,
    pub(super) timeout: Option<Duration>,
    pub(super) path: ServicePath,
    pub(super) additions: Box<[(HeaderName, HeaderValue)]>,
    /// Fields of the answer that replace those of the request.
    pub(super) to_host: Fields,
    /// Fields of the answer that come beside those of the request.
    pub(super) to_host_too: Fields,
    /// Fields of a refusal that the client gets beside the usual ones; `None` is all.
    pub(super) to_client: Option<Fields>,
    /// Fields of a consent that the client gets.
    pub(super) to_client_on_success: Fields,
    /// Fields of the answer that other filters get.
    pub(super) to_metadata: Fields,
    /// Most of a refusal's body that the client gets, in bytes; 0 is all.
    pub(super) largest_body: usize,
}

/// The path that the service is asked at.
#[derive(Debug)]
pub(super) enum ServicePath {
    /// The request's behind a prefix.
    Prefix(Bytes),
    /// Always this.
    Always(Bytes),
}

/// Names of fields.
pub(super) type Fields = std::sync::Arc<[StringMatcher]>;

impl HttpService {
    pub(super) async fn check<L: ClusterLookup>(
        &self,
        exchange: &Exchange<Context>,
        allowed: &Allowed,
        body: Option<&(Ahead, BodySettings)>,
        clusters: &L,
    ) -> Verdict {
        let request = self.request(exchange, allowed, body);
        let body = body
            .map(|(ahead, _)| ahead.bytes.clone())
            .unwrap_or_default();
        match call(
            clusters,
            &exchange.worker,
            &self.cluster,
            (request, body),
            self.timeout,
            LARGEST_ANSWER,
        )
        .await
        {
            Ok(called) => self.judge(called),
            Err(error) => Verdict::Failed(error.to_string()),
        }
    }

    /// The request's head: method, path, host, `authorization` and what is allowed beside. A value joins those before it of its name.
    fn request(
        &self,
        exchange: &Exchange<Context>,
        allowed: &Allowed,
        body: Option<&(Ahead, BodySettings)>,
    ) -> Request {
        let from = &exchange.request;
        let mut headers = Headers::with_capacity(from.headers.len() + 4);
        for (name, value) in &from.headers {
            let usual = *name == header::AUTHORIZATION;
            let passes = if usual {
                !is_never(allowed, name)
            } else {
                allowed.allows(name.as_str(), false)
            };
            if !passes || is_framing(name) || *name == PARTIAL_BODY {
                continue;
            }
            let joined = headers.get(name).and_then(|held| {
                HeaderValue::from_bytes(&[held.as_bytes(), b",", value.as_bytes()].concat()).ok()
            });
            headers.insert(name.clone(), joined.unwrap_or_else(|| value.clone()));
        }
        if let Some((ahead, _)) = body {
            let partial = if ahead.complete { "false" } else { "true" };
            headers.insert(PARTIAL_BODY, HeaderValue::from_static(partial));
        }
        for (name, value) in &self.additions {
            headers.insert(name.clone(), value.clone());
        }
        headers.insert(INTERNAL, HeaderValue::from_static("true"));
        if body.is_none() {
            // Envoy says it of every check, whatever its method.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some(timeout) = self.timeout {
            headers.insert(
                EXPECTED_TIME,
                HeaderValue::from(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            );
        }
        let path = match &self.path {
            ServicePath::Always(path) => path.clone(),
            ServicePath::Prefix(prefix) if prefix.is_empty() => from.path.clone(),
            ServicePath::Prefix(prefix) => Bytes::from([prefix, &*from.path].concat()),
        };
        Request {
            // A tunnel is asked about, not opened.
            method: if from.method == Method::CONNECT {
                Method::GET
            } else {
                from.method.clone()
            },
            secure: from.secure,
            authority: from.authority.clone(),
            host: from.host.clone(),
            path,
            version: Version::HTTP_11,
            headers,
            protocol: None,
        }
    }

    /// 200 is yes, 5xx is a failure, anything else is no.
    fn judge(&self, called: Called) -> Verdict {
        let Called { response, body, .. } = called;
        let status = response.status;
        if status.is_server_error() {
            return Verdict::Failed(format!("status {}", status.as_u16()));
        }
        let metadata = response
            .headers
            .iter()
            .filter(|(name, _)| matches(&self.to_metadata, name));
        let metadata = metadata.map(|(name, value)| {
            (
                name.to_string(),
                Value::from(String::from_utf8_lossy(value.as_bytes())),
            )
        });
        let metadata: Map<String, Value> = metadata.collect();
        if status == StatusCode::OK {
            return Verdict::Allowed(Box::new(self.changes(&response, metadata)));
        }
        let mut headers = Headers::new();
        for (name, value) in &response.headers {
            let usual = [header::LOCATION, header::WWW_AUTHENTICATE].contains(name);
            if !is_framing(name)
                && (usual
                    || self
                        .to_client
                        .as_ref()
                        .is_none_or(|fields| matches(fields, name)))
            {
                headers.append(name.clone(), value.clone());
            }
        }
        let body = if self.largest_body > 0 {
            body.slice(..body.len().min(self.largest_body))
        } else {
            body
        };
        if !body.is_empty() && !headers.contains(&header::CONTENT_TYPE) {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        let mut answer = Answer::text(status, body, DENIED);
        answer.response.headers = headers;
        Verdict::Denied(answer, metadata)
    }

    fn changes(&self, response: &Response, metadata: Map<String, Value>) -> Changes {
        let mut changes = Changes {
            metadata,
            ..Changes::default()
        };
        let addition = |name: &HeaderName, value: &HeaderValue, action| Addition {
            name: name.clone(),
            value: value.clone(),
            action,
        };
        for (name, value) in response
            .headers
            .iter()
            .filter(|(name, _)| !is_framing(name))
        {
            if matches(&self.to_host, name) {
                changes
                    .request
                    .push(addition(name, value, OverwriteIfExistsOrAdd));
            }
            if matches(&self.to_host_too, name) {
                changes
                    .request
                    .push(addition(name, value, AppendIfExistsOrAdd));
            }
            if matches(&self.to_client_on_success, name) {
                changes
                    .response
                    .push(addition(name, value, AppendIfExistsOrAdd));
            }
            if *name == REMOVE {
                let names = value
                    .as_bytes()
                    .split(|byte| *byte == b',')
                    .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
                changes
                    .remove
                    .extend(names.filter(|name| *name != header::HOST));
            }
        }
        changes
    }
}

fn matches(fields: &Fields, name: &HeaderName) -> bool {
    fields
        .iter()
        .any(|matcher| matcher.matches(name.as_str().as_bytes()))
}

fn is_never(allowed: &Allowed, name: &HeaderName) -> bool {
    allowed
        .never
        .as_ref()
        .is_some_and(|fields| matches(fields, name))
}

pub(super) const DENIED: &str = "ext_authz_denied";
const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const EXPECTED_TIME: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
