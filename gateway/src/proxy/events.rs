//! What events say of requests: audit-api-calls of each that was answered, security-events of each that was refused.
//!
//! Nothing of what the client proved itself with is passed on, and of addresses, paths and queries only what
//! [`carbyne_events::redact`] lets through.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carbyne_engine::forward::{Answer, Downstream, Error};
use carbyne_engine::tls::{Negotiated, TlsError};
use carbyne_events::event::audit_api_call::{AnsweredBy, AuditApiCall};
use carbyne_events::event::security_event::Reason;
use carbyne_events::redact::clipped;
use carbyne_events::teller::{Particulars, Refusal, Teller};
use http::{HeaderName, StatusCode, Version};

use super::context::{Exchange, Refused, RequestId, Source};
use crate::live::route::LiveRoute;
use crate::plugin::exit::Exit;
use crate::plugin::instance::Instance;
use crate::plugin::table::Compiled;

/// Tells of a request whose answer is about to end, or that has none.
pub(super) fn answered(teller: &Rc<Teller>, exchange: &Exchange) {
    let context = &exchange.context;
    let route = context.route.as_deref();
    let service = context.service();
    let consumer = context.consumer.as_deref();
    let tls = exchange.downstream.tls.as_deref();
    let rules = teller.redaction();
    let client = rules.address(context.arrival.client);
    let target = std::str::from_utf8(&context.original.path).unwrap_or_default();
    let query = target.split_once('?').map(|(_, query)| query);
    let query = query.and_then(|query| rules.query(query));
    let total = exchange.elapsed();
    let tried = context.tries.last().map(|tried| tried.start);
    let answer = exchange.timing.response_start;
    let waited = tried
        .zip(answer)
        .map(|(began, head)| head.saturating_sub(began));
    // What comes behind the head is the service's to send and the client's to take.
    let after = match waited {
        Some(_) => answer.map_or(Duration::ZERO, |head| total.saturating_sub(head)),
        None => Duration::ZERO,
    };
    let own = total.saturating_sub(waited.unwrap_or_default() + after);
    let event = AuditApiCall {
        time: microseconds(exchange.timing.start_time),
        node: teller.node(),
        request_id: context.id.as_str(),
        traceparent: exchange.request.headers.text(&TRACEPARENT),
        consumer_id: consumer.map(|consumer| &*consumer.id),
        consumer_name: consumer.and_then(|consumer| {
            let name = consumer.username.as_deref();
            name.or(consumer.custom_id.as_deref())
        }),
        credential_id: context.credential.as_ref().map(|known| &*known.id),
        route_id: route.map(|route| &*route.plan.id),
        route_name: route.and_then(|route| route.plan.name.as_deref()),
        service_id: service.map(|service| &*service.id),
        service_name: service.and_then(|service| service.name.as_deref()),
        method: clipped(context.original.method.as_str(), LONGEST_WORD),
        scheme: context.arrival.scheme(),
        protocol: match exchange.request.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        host: host(exchange),
        path_template: route.and_then(|route| template(route, target)),
        path: rules.path(target),
        query: query.as_deref(),
        status: status(exchange).as_u16().into(),
        answered_by: match context.source {
            Source::Error => AnsweredBy::Gateway,
            Source::Exit => AnsweredBy::Plugin,
            Source::Service => AnsweredBy::Service,
        },
        latency_total_us: in_microseconds(total),
        latency_gateway_us: in_microseconds(own),
        latency_upstream_us: waited.map(in_microseconds),
        bytes_in: exchange.counts.received,
        bytes_out: exchange.counts.sent,
        tries: u32::try_from(context.tries.len()).unwrap_or(u32::MAX),
        client_address: Some(client.as_str()),
        tls_version: tls.map(|tls| tls.version.as_str()),
        source_principal: tls.and_then(principal),
        destination_principal: exchange.upstream.tls.as_deref().and_then(principal),
    };
    // What has no room is counted.
    teller.emit(&event).ok();
    if let Some(refused) = &context.refused {
        let mut refusal = Refusal::new(refused.reason);
        if let Some(instance) = &refused.instance {
            refusal.policy = Some(instance.name.into());
            refusal.policy_id = Some(instance.id.clone());
        }
        refusal.status = Some(status(exchange).as_u16());
        refusal.source_principal = event.source_principal.map(Box::from);
        refusal.client_address = Some(client);
        refusal.route_id = event.route_id.map(Box::from);
        refusal.service_id = event.service_id.map(Box::from);
        refusal.consumer_id = event.consumer_id.map(Box::from);
        let particulars = Particulars {
            request_id: Some(event.request_id),
            traceparent: event.traceparent,
            method: Some(event.method),
            host: event.host,
            path_template: event.path_template,
            credential_id: event.credential_id,
            ..Particulars::default()
        };
        teller.refused(refusal, &particulars);
    }
}

/// Tells of bytes that were no request, and of the answer to them.
pub(super) fn unreadable(
    teller: &Rc<Teller>,
    downstream: &Downstream,
    answer: &Answer,
    id: RequestId,
) {
    let status = answer.response.status;
    let socket = downstream.remote.socket();
    let client = socket.map(|socket| teller.redaction().address(socket.ip()));
    let tls = downstream.tls.as_deref();
    let event = AuditApiCall {
        time: microseconds(SystemTime::now()),
        node: teller.node(),
        request_id: id.as_str(),
        traceparent: None,
        consumer_id: None,
        consumer_name: None,
        credential_id: None,
        route_id: None,
        route_name: None,
        service_id: None,
        service_name: None,
        method: "",
        scheme: if tls.is_some() { "https" } else { "http" },
        protocol: "",
        host: None,
        path_template: None,
        path: None,
        query: None,
        status: status.as_u16().into(),
        answered_by: AnsweredBy::Gateway,
        latency_total_us: 0,
        latency_gateway_us: 0,
        latency_upstream_us: None,
        bytes_in: 0,
        bytes_out: answer.body.len() as u64,
        tries: 0,
        client_address: client.as_ref().map(|client| client.as_str()),
        tls_version: tls.map(|tls| tls.version.as_str()),
        source_principal: tls.and_then(principal),
        destination_principal: None,
    };
    teller.emit(&event).ok();
    // A client that is slow, or says nothing more, is not refused anything.
    if status == StatusCode::REQUEST_TIMEOUT {
        return;
    }
    let mut refusal = Refusal::new(match status {
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Reason::TooLarge,
        _ => Reason::MalformedRequest,
    });
    refusal.status = Some(status.as_u16());
    refusal.client_address = client;
    refusal.source_principal = event.source_principal.map(Box::from);
    let particulars = Particulars {
        request_id: Some(event.request_id),
        ..Particulars::default()
    };
    teller.refused(refusal, &particulars);
}

/// Tells of a connection that did not become one of TLS.
pub(super) fn handshake_failed(teller: &Rc<Teller>, downstream: &Downstream, error: &TlsError) {
    let mut refusal = Refusal::new(Reason::HandshakeFailed);
    let socket = downstream.remote.socket();
    refusal.client_address = socket.map(|socket| teller.redaction().address(socket.ip()));
    refusal.listener = Some(downstream.local.to_string().into());
    let detail = error.to_string();
    let particulars = Particulars {
        detail: Some(clipped(&detail, LONGEST_DETAIL)),
        ..Particulars::default()
    };
    teller.refused(refusal, &particulars);
}

/// What a plugin's answer refuses. Plugins that guard nothing answer as well, which refuses nobody.
pub(super) fn refused(exit: &Exit, instance: &Arc<Instance>) -> Option<Refused> {
    let cannot_run = matches!(instance.compiled, Compiled::Refused);
    let reason = match instance.name {
        _ if cannot_run => Reason::GuardUnavailable,
        "key-auth" | "basic-auth" | "jwt" | "acl" if exit.status().is_server_error() => {
            Reason::GuardUnavailable
        }
        "key-auth" | "basic-auth" | "jwt" | "acl" if exit.is_anonymous() => {
            Reason::AuthenticationMissing
        }
        "key-auth" | "basic-auth" | "jwt" => Reason::AuthenticationInvalid,
        "acl" => Reason::AccessDenied,
        "ip-restriction" => Reason::AddressDenied,
        "rate-limiting" => Reason::RateLimited,
        "request-size-limiting" => Reason::TooLarge,
        _ => return None,
    };
    Some(Refused {
        reason,
        instance: Some(instance.clone()),
    })
}

/// The node's own limit of bodies.
pub(super) const fn too_large() -> Refused {
    Refused {
        reason: Reason::TooLarge,
        instance: None,
    }
}

/// A path that nobody may read in two ways.
pub(super) const fn malformed() -> Refused {
    Refused {
        reason: Reason::MalformedRequest,
        instance: None,
    }
}

/// Takes note of an error that is a refusal.
pub(super) fn failed(exchange: &mut Exchange, error: &Error) {
    let reason = match error {
        Error::RequestTooLarge { .. } => Reason::TooLarge,
        Error::Refused { .. } => Reason::MalformedRequest,
        _ => return,
    };
    exchange.context.refused = Some(Refused {
        reason,
        instance: None,
    });
}

/// nginx's word for a client that left is 499.
fn status(exchange: &Exchange) -> StatusCode {
    let response = exchange.response.as_ref();
    let gone = || StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
    response.map_or_else(gone, |response| response.status)
}

fn host(exchange: &Exchange) -> Option<&str> {
    let host = std::str::from_utf8(&exchange.request.host).ok()?;
    (!host.is_empty()).then(|| clipped(host, LONGEST_NAME))
}

/// The route's path that a request's begins with: of several the longest; a regular expression where no prefix fits.
fn template<'a>(route: &'a LiveRoute, target: &str) -> Option<&'a str> {
    let plan = &route.plan;
    if let [only] = &*plan.paths {
        return Some(only);
    }
    let prefixes = plan
        .paths
        .iter()
        .filter(|path| target.starts_with(&***path));
    let longest = prefixes.max_by_key(|path| path.len());
    let expression = || plan.paths.iter().find(|path| path.starts_with('~'));
    let found = longest.or_else(expression).map(|path| &**path);
    found.or(plan.expression.as_deref())
}

/// Whom a certificate is for, where it was verified.
fn principal(tls: &Negotiated) -> Option<&str> {
    let name = tls.principal()?;
    Some(clipped(name, LONGEST_NAME))
}

fn microseconds(time: SystemTime) -> u64 {
    in_microseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn in_microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const LONGEST_WORD: usize = 32;
const LONGEST_NAME: usize = 255;
const LONGEST_DETAIL: usize = 200;
