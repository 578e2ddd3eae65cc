//! A service that speaks gRPC: `envoy.service.auth.v3.Authorization/Check`, one message each way.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use carbyne_engine::forward::{Answer, Exchange};
use carbyne_engine::http::{Headers, Request};
use carbyne_protos::envoy::config::core::v3::HeaderValueOption;
use carbyne_protos::envoy::config::core::v3::header_value_option::HeaderAppendAction::{
    AppendIfExistsOrAdd, OverwriteIfExistsOrAdd,
};
use carbyne_protos::envoy::service::auth::v3::check_response::HttpResponse;
use carbyne_protos::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use carbyne_protos::{json, prost_types};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use prost::Message as _;
use serde_json::{Map, Value};

use super::LARGEST_ANSWER;
use super::http_service::DENIED;
use super::verdict::{Changes, Verdict, is_framing};
use crate::context::Context;
use crate::filter::addition::Addition;
use crate::filter::reply::GRPC_STATUS;
use crate::filter::upstream::{Called, ClusterLookup, call};

/// Where the service is.
#[derive(Debug)]
pub(super) struct GrpcService {
    pub(super) cluster: Box<str>,
    pub(super) authority: Bytes,
    pub(super) timeout: Option<Duration>,
    pub(super) additions: Box<[(HeaderName, HeaderValue)]>,
    /// Most of a refusal's body that the client gets, in bytes; 0 is all.
    pub(super) largest_body: usize,
}

impl GrpcService {
    pub(super) async fn check<L: ClusterLookup>(
        &self,
        exchange: &Exchange<Context>,
        message: &CheckRequest,
        clusters: &L,
    ) -> Verdict {
        let message = (self.head(), framed(message));
        match call(
            clusters,
            &exchange.worker,
            &self.cluster,
            message,
            self.timeout,
            LARGEST_ANSWER,
        )
        .await
        {
            Ok(called) => match answer(&called) {
                Ok(answer) => self.judge(answer),
                Err(reason) => Verdict::Failed(reason),
            },
            Err(error) => Verdict::Failed(error.to_string()),
        }
    }

    fn head(&self) -> Request {
        let mut headers = Headers::with_capacity(4 + self.additions.len());
        headers.append(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.append(header::TE, HeaderValue::from_static("trailers"));
        if let Some(timeout) = self.timeout
            && let Ok(value) = HeaderValue::try_from(format!("{}m", timeout.as_millis()))
        {
            headers.append(GRPC_TIMEOUT, value);
        }
        for (name, value) in &self.additions {
            headers.append(name.clone(), value.clone());
        }
        Request {
            method: Method::POST,
            secure: None,
            authority: self.authority.clone(),
            host: self.authority.clone(),
            path: Bytes::from_static(CHECK),
            version: Version::HTTP_2,
            headers,
            protocol: None,
        }
    }

    fn judge(&self, answer: CheckResponse) -> Verdict {
        let metadata = object(answer.dynamic_metadata.as_ref());
        let allowed = answer.status.as_ref().is_none_or(|status| status.code == 0);
        let verdict = match (allowed, answer.http_response) {
            (true, None) => changes(OkHttpResponse::default(), metadata)
                .map(|changes| Verdict::Allowed(Box::new(changes))),
            (true, Some(HttpResponse::OkResponse(ok))) => {
                changes(ok, metadata).map(|changes| Verdict::Allowed(Box::new(changes)))
            }
            (true, Some(_)) => Err("a consent with a refusal in it"),
            (false, None) => self
                .refusal(DeniedHttpResponse::default())
                .map(|answer| Verdict::Denied(answer, metadata)),
            (false, Some(HttpResponse::DeniedResponse(denied))) => self
                .refusal(denied)
                .map(|answer| Verdict::Denied(answer, metadata)),
            (false, Some(HttpResponse::OkResponse(_))) => Err("a refusal with a consent in it"),
            (false, Some(HttpResponse::ErrorResponse(_))) => Err("the service failed"),
        };
        verdict.unwrap_or_else(|reason| Verdict::Failed(reason.to_owned()))
    }

    fn refusal(&self, denied: DeniedHttpResponse) -> Result<Answer, &'static str> {
        let status = match denied.status {
            None => StatusCode::FORBIDDEN,
            Some(status) => u16::try_from(status.code)
                .ok()
                .filter(|code| (200..600).contains(code))
                .and_then(|code| StatusCode::from_u16(code).ok())
                .ok_or("a status that is none")?,
        };
        let mut body = Bytes::from(denied.body);
        if self.largest_body > 0 {
            body.truncate(self.largest_body);
        }
        let mut answer = Answer::text(status, body, DENIED);
        for addition in fields(&denied.headers, OverwriteIfExistsOrAdd)? {
            addition.apply(&mut answer.response.headers);
        }
        Ok(answer)
    }
}

fn changes(ok: OkHttpResponse, mut metadata: Map<String, Value>) -> Result<Changes, &'static str> {
    // The older place of the same thing.
    metadata.extend(object(ok.dynamic_metadata.as_ref()));
    let remove = ok
        .headers_to_remove
        .iter()
        .filter(|name| !name.starts_with(':') && !name.eq_ignore_ascii_case("host"));
    let remove = remove.map(|name| HeaderName::from_bytes(name.as_bytes()));
    Ok(Changes {
        request: fields(&ok.headers, OverwriteIfExistsOrAdd)?,
        remove: remove
            .collect::<Result<_, _>>()
            .map_err(|_| "the name of a field that is none")?,
        set_parameters: ok
            .query_parameters_to_set
            .into_iter()
            .map(|parameter| (parameter.key, parameter.value))
            .collect(),
        remove_parameters: ok.query_parameters_to_remove,
        response: fields(&ok.response_headers_to_add, AppendIfExistsOrAdd)?,
        metadata,
    })
}

/// One field that is none makes the whole answer none: nobody knows what the service meant by it.
fn fields(
    messages: &[HeaderValueOption],
    default: carbyne_protos::envoy::config::core::v3::header_value_option::HeaderAppendAction,
) -> Result<Vec<Addition>, &'static str> {
    let read = messages.iter().map(|message| {
        Addition::take(message, default).filter(|addition| !is_framing(&addition.name))
    });
    read.collect::<Option<_>>()
        .ok_or("a field that is none, or that may not be set")
}

/// The one message of the answer.
fn answer(called: &Called) -> Result<CheckResponse, String> {
    if called.response.status != StatusCode::OK {
        return Err(format!("status {}", called.response.status.as_u16()));
    }
    let trailers = called.trailers.as_ref().unwrap_or(&called.response.headers);
    match trailers.text(&GRPC_STATUS) {
        Some("0") => {}
        status => return Err(format!("gRPC status {}", status.unwrap_or("missing"))),
    }
    let [compressed, a, b, c, d, message @ ..] = &*called.body else {
        return Err("no message".to_owned());
    };
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if *compressed != 0 || message.len() != length {
        return Err("not one plain message".to_owned());
    }
    CheckResponse::decode(message).map_err(|error| error.to_string())
}

/// A message behind its length (gRPC over HTTP/2, "Length-Prefixed-Message").
fn framed(message: &CheckRequest) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    // A request's head and a bounded body: far below 4 GiB.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
}

fn object(fields: Option<&prost_types::Struct>) -> Map<String, Value> {
    match fields.map(json::struct_to_json) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

const CHECK: &[u8] = b"/envoy.service.auth.v3.Authorization/Check";
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
