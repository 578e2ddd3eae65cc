//! security-events: what was refused, why and whom, where the process was told to emit events. An unmodified pod emits none.
//!
//! A refusal is told before its answer is sent. Refusals that are alike are told together (`carbyne_events::teller`).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use carbyne_engine::forward::{Answer, Downstream, Event, Exchange};
use carbyne_engine::tls::Negotiated;
use carbyne_events::emit::Status;
use carbyne_events::event::security_event::Reason;
use carbyne_events::redact::{Short, clipped, key_id};
use carbyne_events::source::Source;
use carbyne_events::teller::{Particulars, Refusal, Teller};
use http::{HeaderName, StatusCode};

use crate::context::Context;

/// Tells what was refused.
#[derive(Clone, Debug)]
pub struct Security(Arc<Source>);

thread_local! {
    /// The worker's own, once it has refused something.
    static TELLER: RefCell<Option<Rc<Teller>>> = const { RefCell::new(None) };
}

impl Security {
    pub const fn new(source: Arc<Source>) -> Self {
        Self(source)
    }

    /// How it goes with this process's events.
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// A request is about to be answered: tells it where the answer is a refusal.
    pub fn answered(&self, exchange: &Exchange<Context>) {
        if exchange.upstream.status.is_some() {
            return;
        }
        let Some(reason) = reason(exchange) else {
            return;
        };
        let downstream = &*exchange.downstream;
        let mut refusal = self.refusal(reason, downstream);
        let context = &exchange.context;
        if let Some(client) = context.client {
            refusal.client_address = Some(self.0.redaction().address(client));
        }
        refusal.policy = match reason {
            Reason::GuardUnavailable => Some(Box::from(&*exchange.details)),
            _ => context.denied_by.as_deref().map(Box::from),
        };
        let response = exchange.response.as_ref();
        refusal.status = response.map(|response| response.status.as_u16());
        refusal.route_id = context
            .route
            .as_ref()
            .map(|route| route.name.as_ref().into());
        refusal.service_id = context.cluster_name.as_deref().map(Box::from);
        let fields = &exchange.request.headers;
        let claims = context.metadata.namespace(TOKENS);
        let claims = claims.and_then(|tokens| tokens.values().find_map(|token| token.as_object()));
        let claim = |name| claims.and_then(|claims| claims.get(name)?.as_str());
        let key = context.token_key_id.as_deref().map(key_id);
        let host = std::str::from_utf8(&exchange.request.host).ok();
        let detail = exchange.details.split('{').next();
        let particulars = Particulars {
            detail: detail.map(|detail| clipped(detail, LONGEST)),
            // A client may have chosen it.
            request_id: fields.text(&REQUEST_ID).filter(|id| is_id(id)),
            traceparent: fields.text(&TRACEPARENT),
            method: Some(clipped(exchange.request.method.as_str(), LONGEST_WORD)),
            host: host.map(|host| clipped(host, LONGEST)),
            token_issuer: claim("iss").map(|issuer| clipped(issuer, LONGEST)),
            token_subject: claim("sub").map(|subject| clipped(subject, LONGEST)),
            token_key_hash: key.as_ref().map(Short::as_str),
            ..Particulars::default()
        };
        self.tell(refusal, &particulars);
    }

    /// Bytes came that are no request.
    pub fn unreadable(&self, downstream: &Downstream, answer: &Answer) {
        let status = answer.response.status;
        // A client that is slow, or says nothing more, is not refused anything.
        if status == StatusCode::REQUEST_TIMEOUT {
            return;
        }
        let too_large = [
            StatusCode::URI_TOO_LONG,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ];
        let reason = match too_large.contains(&status) {
            true => Reason::TooLarge,
            false => Reason::MalformedRequest,
        };
        let mut refusal = self.refusal(reason, downstream);
        refusal.status = Some(status.as_u16());
        let particulars = Particulars {
            detail: Some(clipped(&answer.details, LONGEST)),
            ..Particulars::default()
        };
        self.tell(refusal, &particulars);
    }

    /// A handshake failed.
    pub fn handshake_failed(&self, downstream: &Downstream, detail: &str) {
        self.connection(Reason::HandshakeFailed, downstream, detail);
    }

    /// A connection without TLS came where only TLS is served: STRICT, in Istio's words.
    pub fn plaintext_refused(&self, downstream: &Downstream) {
        self.connection(
            Reason::PlaintextRefused,
            downstream,
            "filter_chain_not_found",
        );
    }

    /// A filter closed a connection before anything of it was read.
    pub fn closed(&self, downstream: &Downstream, details: &str) {
        let reason = match details.strip_prefix(POLICY) {
            Some(_) => Reason::PolicyDenied,
            None => Reason::GuardUnavailable,
        };
        self.connection(reason, downstream, details);
    }

    /// Tells on the calling worker what waits to be told with more of its kind.
    pub fn finish() {
        TELLER.with_borrow(|teller| {
            if let Some(teller) = teller {
                teller.finish();
            }
        });
    }

    fn connection(&self, reason: Reason, downstream: &Downstream, detail: &str) {
        let mut refusal = self.refusal(reason, downstream);
        let policy = detail.strip_prefix(POLICY);
        let policy =
            policy.and_then(|rest| rest.strip_prefix("_matched_policy[")?.strip_suffix(']'));
        refusal.policy = policy.map(Box::from);
        let particulars = Particulars {
            detail: Some(clipped(detail, LONGEST)),
            ..Particulars::default()
        };
        self.tell(refusal, &particulars);
    }

    fn refusal(&self, reason: Reason, downstream: &Downstream) -> Refusal {
        let mut refusal = Refusal::new(reason);
        let tls = downstream.tls.as_deref();
        let peer = tls.and_then(Negotiated::principal);
        refusal.source_principal = peer.map(|name| clipped(name, LONGEST).into());
        let own = tls.and_then(|tls| tls.local.as_deref()?.uri_sans.first());
        refusal.destination_principal = own.map(|name| clipped(name, LONGEST).into());
        let socket = downstream.remote.socket();
        refusal.client_address = socket.map(|socket| self.0.redaction().address(socket.ip()));
        refusal.listener = Some(downstream.local.to_string().into());
        refusal
    }

    fn tell(&self, refusal: Refusal, particulars: &Particulars<'_>) {
        let teller = TELLER.with_borrow_mut(|teller| {
            let new = || Rc::new(self.0.teller());
            teller.get_or_insert_with(new).clone()
        });
        teller.refused(refusal, particulars);
    }
}

/// Why an answer of ours refuses; most do not.
fn reason(exchange: &Exchange<Context>) -> Option<Reason> {
    let details = &*exchange.details;
    if details.starts_with(POLICY) {
        return Some(Reason::PolicyDenied);
    }
    if let Some(text) = details.strip_prefix("jwt_authn_access_denied") {
        return Some(match text.starts_with("{Jwt_is_missing") {
            true => Reason::TokenMissing,
            false => Reason::TokenInvalid,
        });
    }
    match details {
        "ext_authz_denied" => Some(Reason::AuthorizerDenied),
        "ext_authz_error" => Some(Reason::AuthorizerFailed),
        "request_payload_too_large" => Some(Reason::TooLarge),
        _ if exchange.events.contains(Event::RateLimited) => Some(Reason::RateLimited),
        _ if exchange.events.contains(Event::ClientProtocol) => Some(Reason::MalformedRequest),
        _ if details.starts_with("filter_not_served")
            || details.starts_with("configuration_not_understood") =>
        {
            Some(Reason::GuardUnavailable)
        }
        _ => None,
    }
}

/// What `x-request-id` holds where nobody plays with it.
fn is_id(id: &str) -> bool {
    let digits = id.bytes().filter(|byte| *byte != b'-');
    id.len() == 36
        && digits.clone().count() == 32
        && digits.clone().all(|byte| byte.is_ascii_hexdigit())
}

/// Response code details of a denial by policy begin so.
const POLICY: &str = "rbac_access_denied";
/// Where jwt_authn puts the claims of tokens whose signature held.
const TOKENS: &str = "envoy.filters.http.jwt_authn";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const LONGEST: usize = 255;
const LONGEST_WORD: usize = 32;
