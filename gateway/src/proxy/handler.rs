//! The way of a request through routes and plugins: Kong's order of things around the engine's exchange.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carbyne_engine::forward::retry::{Condition, Conditions};
use carbyne_engine::forward::serve::Refusal;
use carbyne_engine::forward::{
    Answer, Downstream, Error, Handler, RetryPolicy, Route, Target, TryEnd,
};
use carbyne_engine::http::Body;
use carbyne_engine::http::body::{BodyError, Frame};
use http::{HeaderValue, Method, StatusCode, Version, header};

use super::access_log::AccessLog;
use super::arrival::Arrival;
use super::context::{Context, Exchange, Original, RequestId, Source, Try};
use super::{departure, error, events, phases};
use crate::balance::Outcome;
use crate::live::local::Local;
use crate::live::route::{Asked, LiveRoute, LiveService};
use crate::plan::route::Protocol;
use crate::plugin::Flow;
use crate::plugin::exit::Exit;
use crate::router::uri;

/// One connection's requests.
#[derive(Debug)]
pub struct Gateway {
    pub local: Rc<Local>,
    pub log: Option<AccessLog>,
}

impl Handler for Gateway {
    type Context = Context;

    fn context(&self) -> Context {
        Context::new(self.local.clone())
    }

    async fn request(&self, exchange: &mut Exchange) -> Result<Route, Answer> {
        self.local.node.connections.requests.increment();
        begin(exchange);
        let passed = match enter(exchange)
            .and_then(|()| phases::rewrite(exchange))
            .and_then(|()| route(exchange))
        {
            Ok(()) => pass(exchange).await,
            Err(exit) => Err(exit),
        };
        match passed {
            Ok(route) => Ok(route),
            Err(exit) => Err(phases::finish(exchange, exit).await),
        }
    }

    async fn attempt(&self, exchange: &mut Exchange, _number: u32) -> Result<Target, Error> {
        let began = exchange.elapsed();
        let Some(service) = service_of(exchange) else {
            return Err(Error::NoCluster);
        };
        let target = service.upstream.target(exchange, &service.plan).await?;
        if let Some(address) = target.host.address.socket() {
            exchange.context.tries.push(Try {
                start: began,
                address,
                failed: None,
                balancing: exchange.elapsed().saturating_sub(began),
            });
        }
        Ok(target)
    }

    fn tried(&self, exchange: &mut Exchange, end: TryEnd<'_>) {
        let outcome = match end {
            TryEnd::Failed(error) => {
                if let Some(tried) = exchange.context.tries.last_mut() {
                    tried.failed = Some(error::of_forwarding(error, false).0.as_u16());
                }
                outcome_of(error)
            }
            TryEnd::Response | TryEnd::Again => {
                let timing = &exchange.timing;
                let began = exchange.context.tries.last().map(|tried| tried.start);
                let took = timing.response_start.zip(began);
                exchange.upstream.status.map(|status| Outcome::Status {
                    status: status.as_u16(),
                    took: took.map_or(Duration::ZERO, |(answered, began)| {
                        answered.saturating_sub(began)
                    }),
                })
            }
        };
        if let Some(outcome) = outcome
            && let Some(service) = service_of(exchange)
        {
            service.upstream.report(exchange, outcome);
        }
    }

    async fn response(&self, exchange: &mut Exchange) -> Result<(), Answer> {
        exchange.context.source = Source::Service;
        let kept = std::mem::take(&mut exchange.context.response_headers);
        if let Some(response) = &mut exchange.response {
            for (name, value) in kept {
                response.headers.insert(name, value);
            }
        }
        set_cookie(exchange);
        phases::header_filters(exchange);
        departure::to_client(exchange);
        Ok(())
    }

    fn error(&self, exchange: &mut Exchange, error: &Error) -> Answer {
        let (status, text) = error::of_forwarding(error, exchange.context.unresolved);
        events::failed(exchange, error);
        let context = &exchange.context;
        let settings = &context.local.node.settings;
        let told = exchange.context.too_large;
        let told = told.filter(|_| matches!(error, Error::RequestTooLarge { .. }));
        let answer = if let Some((status, text)) = told {
            let reply = Exit::error(status, text).into_reply();
            error::answer(reply, &exchange.request, context.id, settings)
        } else if matches!(error, Error::NoHealthyHost) {
            // Found by Kong's balancer and not by nginx: other rules for the form.
            let reply = Exit::error(status, text).into_reply();
            error::answer(reply, &exchange.request, context.id, settings)
        } else {
            error::own(status, &text, &exchange.request, context.id, settings)
        };
        exchange.context.source = Source::Error;
        phases::finish_now(exchange, answer)
    }

    fn answered(&self, _exchange: &mut Exchange) {
        // `phases` did it, with the body as well.
    }

    fn ending(&self, exchange: &mut Exchange) {
        if let Some(teller) = &self.local.teller {
            events::answered(teller, exchange);
            exchange.context.told = true;
        }
    }

    fn log(&self, exchange: &Exchange) {
        self.local.node.connections.ended.increment();
        if let Some(teller) = &self.local.teller
            && !exchange.context.told
        {
            events::answered(teller, exchange);
        }
        phases::log(exchange);
        if let Some(log) = &self.log {
            log.write(exchange);
        }
    }

    fn refused(&self, downstream: &Downstream, refusal: &Refusal) -> Answer {
        let status = match refusal {
            // nginx tells 400 where a head is too large (it keeps its own 494 to itself); only a long target has a word.
            Refusal::Head(error)
                if error.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE =>
            {
                StatusCode::BAD_REQUEST
            }
            Refusal::Head(error) => error.status(),
            Refusal::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Refusal::Request(rejection) => rejection.status(),
        };
        let id = RequestId::random();
        let settings = &self.local.node.settings;
        let mut answer = error::refused(status, id, settings);
        if settings.headers.server {
            answer
                .response
                .headers
                .insert(header::SERVER, departure::server());
        }
        if settings.headers.request_id {
            answer
                .response
                .headers
                .insert(departure::REQUEST_ID, id.to_header());
        }
        if let Some(teller) = &self.local.teller {
            events::unreadable(teller, downstream, &answer, id);
        }
        if let Some(log) = &self.log {
            log.refused(downstream, &answer, id);
        }
        answer
    }
}

/// Everything before the first plugin.
fn begin(exchange: &mut Exchange) {
    let local = exchange.context.local.clone();
    let settings = &local.node.settings;
    exchange.context.arrival =
        Arrival::of(&exchange.downstream, &exchange.request.headers, settings);
    exchange.context.original = Original {
        method: exchange.request.method.clone(),
        path: exchange.request.path.clone(),
        authority: exchange.request.authority.clone(),
    };
    if exchange.upgrade.is_some() && !opens_websocket(exchange) {
        exchange.upgrade = None;
    }
}

/// Whether a request opens a WebSocket (RFC 6455 section 4.1). Kong passes on no other upgrade, and this one also where
/// nothing but `Upgrade` speaks of it; here that is an ordinary request.
fn opens_websocket(exchange: &Exchange) -> bool {
    let headers = &exchange.request.headers;
    let protocol = exchange.upgrade.as_ref();
    protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && exchange.request.method == Method::GET
        && headers.contains(&header::SEC_WEBSOCKET_KEY)
        && headers.contains(&header::SEC_WEBSOCKET_VERSION)
}

/// What is refused whatever the configuration says.
fn enter(exchange: &mut Exchange) -> Flow {
    // nginx takes neither of them.
    if [Method::CONNECT, Method::TRACE].contains(&exchange.request.method) {
        return Err(Exit::own(
            StatusCode::METHOD_NOT_ALLOWED,
            "Method not allowed",
        ));
    }
    if uri::is_ambiguous(exchange.request.path_only()) {
        exchange.context.refused = Some(events::malformed());
        return Err(Exit::own(StatusCode::BAD_REQUEST, "Bad request"));
    }
    let limit = exchange.context.local.node.settings.client_max_body_size;
    if limit > 0 && !exchange.body.is_end() {
        within(exchange, limit)?;
    }
    Ok(())
}

/// Refuses a body that is too large: at once where its length is told, else when it has become too large.
fn within(exchange: &mut Exchange, limit: u64) -> Flow {
    match exchange.body.exact_length() {
        Some(length) if length > limit => {
            exchange.context.refused = Some(events::too_large());
            Err(Exit::own(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Payload too large",
            ))
        }
        Some(_) => Ok(()),
        None => {
            let counting = Box::new(super::limit::Counting::new(limit));
            let body = std::mem::take(&mut exchange.body);
            exchange.body = crate::plugin::transform::transformed(body, counting);
            Ok(())
        }
    }
}

/// Finds the route, and what must be true of its requests before any plugin runs.
fn route(exchange: &mut Exchange) -> Flow {
    let snapshot = exchange.context.snapshot.clone();
    let arrival = exchange.context.arrival;
    let asked = Asked {
        request: &exchange.request,
        arrival: &arrival,
        server_name: exchange.downstream.server_name.as_deref(),
        server: exchange.downstream.local.socket(),
    };
    let Some(matched) = snapshot.routes.find(&asked) else {
        return Err(Exit::error(
            StatusCode::NOT_FOUND,
            "no Route matched with those values",
        ));
    };
    let context = &mut exchange.context;
    context.upstream.path = matched.path;
    context.upstream.prefix = matched.prefix;
    context.captures = matched.captures;
    let route = matched.route;
    context.chain = Some(route.chain.clone());
    context.route = Some(route.clone());
    let forwarded = context.forwarded_scheme(&exchange.request);
    let is = |protocol| route.plan.protocols.contains(&protocol);
    let secure = forwarded == "https";
    if is(Protocol::Https) && !is(Protocol::Http) && !secure {
        return Err(to_https(exchange, &route));
    }
    if is(Protocol::Grpc) || is(Protocol::Grpcs) {
        return check_grpc(
            exchange,
            is(Protocol::Grpcs) && !is(Protocol::Grpc) && !secure,
        );
    }
    Ok(())
}

/// Sends a client that came by plain HTTP to HTTPS.
fn to_https(exchange: &Exchange, route: &LiveRoute) -> Exit {
    let status = route.plan.https_redirect_status_code;
    if status == StatusCode::UPGRADE_REQUIRED {
        return Exit::error(status, "Please use HTTPS protocol")
            .header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(
                header::UPGRADE,
                HeaderValue::from_static("TLS/1.2, HTTP/1.1"),
            );
    }
    let mut location = b"https://".to_vec();
    location.extend_from_slice(&exchange.request.host);
    location.extend_from_slice(&exchange.context.original.path);
    let exit = Exit::body(status, Bytes::new());
    match HeaderValue::from_bytes(&location) {
        Ok(location) => exit.header(header::LOCATION, location),
        Err(_) => exit,
    }
}

fn check_grpc(exchange: &Exchange, insecure: bool) -> Flow {
    if !error::sends_grpc(&exchange.request.headers) {
        return Err(Exit::error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Non-gRPC request matched gRPC route",
        ));
    }
    if exchange.request.version != Version::HTTP_2 {
        return Err(
            Exit::error(StatusCode::UPGRADE_REQUIRED, "Please use HTTP2 protocol")
                .header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
                .header(header::UPGRADE, HeaderValue::from_static("HTTP/2")),
        );
    }
    if insecure {
        return Err(Exit::body(StatusCode::OK, Bytes::new())
            .header(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            )
            .header(departure::GRPC_STATUS, HeaderValue::from_static("1"))
            .header(
                departure::GRPC_MESSAGE,
                HeaderValue::from_static("gRPC request matched gRPCs route"),
            ));
    }
    Ok(())
}

/// The access phase, and the way to the service.
async fn pass(exchange: &mut Exchange) -> Result<Route, Exit> {
    if let Some(chain) = exchange.context.chain.clone() {
        phases::access(exchange, &chain).await?;
        if chain.serializes {
            exchange.context.logged_headers = Some(exchange.request.headers.clone());
        }
    }
    let Some(route) = exchange.context.route.clone() else {
        return Err(Exit::unexpected());
    };
    let Some(service) = &route.service else {
        let text = "no Service found with those values";
        return Err(Exit::error(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    // Streams of gRPC may wait for an answer to what they have sent: nginx buffers none of them.
    if route.plan.request_buffering && !service.plan.is_grpc() {
        read_ahead(exchange).await?;
    }
    departure::to_service(exchange);
    let plan = &service.plan;
    Ok(Route {
        idle_timeout: Some(plan.read_timeout.max(plan.write_timeout)),
        retry: service.upstream.retries(&exchange.request.method),
        buffer_limit: KEPT_FOR_RETRIES,
        upgrade: true,
        ..Route::default()
    })
}

/// Reads a small body before a host is asked, as `request_buffering` wants: a slow client then holds no connection of
/// the service's. What is larger goes on as it comes.
async fn read_ahead(exchange: &mut Exchange) -> Flow {
    if exchange.body.is_end() || exchange.upgrade.is_some() {
        return Ok(());
    }
    let mut body = std::mem::take(&mut exchange.body);
    let mut frames = VecDeque::new();
    let mut size = 0;
    let limit = exchange.context.local.node.settings.client_body_timeout;
    while size < READ_AHEAD {
        let Ok(frame) = tokio::time::timeout(limit, body.frame()).await else {
            return Err(Exit::own(StatusCode::REQUEST_TIMEOUT, "Request timeout"));
        };
        match frame {
            Some(Ok(frame)) => {
                if let Frame::Data(bytes) = &frame {
                    size += bytes.len();
                }
                frames.push_back(frame);
            }
            Some(Err(BodyError::TooLarge { .. })) => {
                exchange.context.refused = Some(events::too_large());
                return Err(match exchange.context.too_large {
                    Some((status, text)) => Exit::error(status, text),
                    None => Exit::own(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"),
                });
            }
            Some(Err(_)) => return Err(Exit::own(StatusCode::BAD_REQUEST, "Bad request")),
            None => {
                body = Body::empty();
                break;
            }
        }
    }
    exchange.body = Body::chain(frames, body);
    Ok(())
}

/// The cookie by which the client comes back to the same target, in place of one of that name.
fn set_cookie(exchange: &mut Exchange) {
    let cookie = exchange
        .context
        .affinity
        .as_mut()
        .and_then(|affinity| affinity.cookie.take());
    let (Some(cookie), Some(response)) = (cookie, &mut exchange.response) else {
        return;
    };
    let Ok(value) = HeaderValue::from_str(&cookie.field) else {
        return;
    };
    let is_same = |value: &HeaderValue| {
        let rest = value.as_bytes().strip_prefix(cookie.name.as_bytes());
        rest.is_some_and(|rest| rest.first() == Some(&b'='))
    };
    response
        .headers
        .retain(|name, value| *name != header::SET_COOKIE || !is_same(value));
    response.headers.append(header::SET_COOKIE, value);
}

fn service_of(exchange: &Exchange) -> Option<Arc<LiveService>> {
    let route = exchange.context.route.as_ref()?;
    route.service.clone()
}

/// What passive health checks count an error as; nothing where the host is not to blame.
fn outcome_of(error: &Error) -> Option<Outcome> {
    match error {
        Error::ConnectTimeout | Error::TryTimeout | Error::Timeout | Error::StreamIdle => {
            Some(Outcome::Timeout)
        }
        Error::Connect { .. }
        | Error::Tls { .. }
        | Error::UpstreamProtocol(_)
        | Error::UpstreamReset { .. }
        | Error::UpstreamTruncated(_) => Some(Outcome::TcpFailure),
        _ => None,
    }
}

/// When a request may be tried again: Kong's balancer does so after a connection that failed, whatever the method, and
/// after one that broke or said nothing where a repetition changes nothing (nginx: `proxy_next_upstream error timeout`).
pub(super) fn retry_policy(retries: u32, idempotent: bool) -> RetryPolicy {
    let mut on = Conditions::default();
    on.insert(Condition::ConnectFailure);
    on.insert(Condition::RefusedStream);
    on.insert(if idempotent {
        Condition::Reset
    } else {
        Condition::ResetBeforeRequest
    });
    RetryPolicy {
        on,
        retries,
        back_off: carbyne_engine::forward::retry::BackOff {
            base: Duration::ZERO,
            max: Duration::ZERO,
        },
        ..RetryPolicy::default()
    }
}

/// Bytes of a request kept for further tries.
const KEPT_FOR_RETRIES: usize = 1024 * 1024;
/// Bytes of a body that are waited for before a host is asked.
const READ_AHEAD: usize = 64 * 1024;
