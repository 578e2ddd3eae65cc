//! One HTTP connection manager: Envoy's order of things around the engine's exchange.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use carbyne_engine::forward::serve::Refusal;
use carbyne_engine::forward::{
    Answer, Downstream, Error, Event, Exchange, Handler, RetryPolicy, Route, Target, TryEnd,
};
use carbyne_engine::http::{Request, Response};
use carbyne_engine::net::connect::OriginalSource;
use http::{HeaderValue, StatusCode};
use smallvec::SmallVec;

use super::target::{pick, target};
use super::{answer, arrival, local_reply, mirror, names};
use crate::context::Context;
use crate::filter::http::HttpFilters;
use crate::filter::reply;
use crate::live::clusters::Clusters;
use crate::live::route::hash::{HashFacts, HashRule};
use crate::live::route::table::TlsRequirement;
use crate::live::route::{
    Choice, ClusterTarget, Forward, HostRewrite, RouteAction, RouteFacts, RouteTable,
    WeightedCluster,
};
use crate::observe::facts::Facts;
use crate::plan::http::HttpPlan;
use crate::server::listener::OriginalSourceRule;
use crate::server::overload::Overload;

/// A compiled connection manager, shared by all workers.
#[derive(Debug)]
pub struct HttpManager {
    /// Name of its filter chain.
    pub filter_chain: Arc<str>,
    /// What it was told.
    pub plan: Arc<HttpPlan>,
    /// No `x-envoy-*` fields of the router (`suppress_envoy_headers`).
    pub suppress_envoy_headers: bool,
    /// Bytes of a request kept for further tries (`per_connection_buffer_limit_bytes`).
    pub buffer_limit: usize,
    /// What is refused while a resource is short; nothing where the listener is exempt.
    pub overload: Option<Arc<Overload>>,
    /// Hosts see the client's address.
    pub original_source: Option<OriginalSourceRule>,
    /// Where requests go; empty until the route configuration came.
    pub routes: Arc<ArcSwapOption<RouteTable>>,
    /// The filters, in order.
    pub filters: HttpFilters,
    /// What a client on this machine is told to be (Envoy: local info).
    pub local_address: IpAddr,
    /// Clusters by name.
    pub clusters: Arc<Clusters>,
    /// What is told about requests that ended.
    pub telemetry: crate::server::telemetry::Telemetry,
}

/// A manager on one connection.
#[derive(Clone, Debug)]
pub struct HttpHandler {
    /// The manager.
    pub manager: Arc<HttpManager>,
}

impl Handler for HttpHandler {
    type Context = Context;

    fn context(&self) -> Context {
        Context {
            random: fastrand::u64(..),
            filter_chain: Some(self.manager.filter_chain.clone()),
            ..Context::default()
        }
    }

    async fn request(&self, exchange: &mut Exchange<Context>) -> Result<Route, Answer> {
        if let Some(overload) = &self.manager.overload
            && overload.refuses_request()
        {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Answer::text(status, "envoy overloaded", "overload"));
        }
        let filtered = self.filter(exchange).await;
        filtered.map_err(|mut answer| {
            reply::for_grpc(&mut answer, &exchange.request);
            answer
        })
    }

    async fn attempt(
        &self,
        exchange: &mut Exchange<Context>,
        number: u32,
    ) -> Result<Target, Error> {
        let Some(live) = exchange.context.cluster.clone() else {
            return Err(Error::NoCluster);
        };
        let route = exchange.context.route.clone();
        let forward = route.as_ref().and_then(|route| route.forward());
        let host = pick(exchange, &live, forward).ok_or(Error::NoHealthyHost)?;
        if let Some(forward) = forward
            && number == 0
            && matches!(forward.host_rewrite, Some(HostRewrite::Auto))
            && !host.hostname.is_empty()
        {
            let name = bytes::Bytes::copy_from_slice(host.hostname.as_bytes());
            let append = forward.append_forwarded_host;
            crate::live::route::entry::replace_host(
                &mut exchange.request,
                name,
                append,
                !self.manager.suppress_envoy_headers,
            );
        }
        if route.is_some_and(|route| route.attempt_count_in_request) {
            let count = HeaderValue::from(number + 1);
            exchange.request.headers.insert(names::ATTEMPT_COUNT, count);
        }
        let times = exchange.context.timeouts;
        if number > 0 && !self.manager.suppress_envoy_headers {
            let whole = exchange.timing.request_end;
            let elapsed = whole.map(|whole| exchange.timing.start.elapsed().saturating_sub(whole));
            times.tell(&mut exchange.request, elapsed.unwrap_or_default());
        }
        let timeout = times.per_try;
        let source = self.manager.original_source(exchange);
        let target = target(&live, host, exchange, timeout, source);
        if let Some(tracer) = &self.manager.telemetry.tracer {
            tracer.attempt(exchange, &target, number);
        }
        Ok(target)
    }

    fn tried(&self, exchange: &mut Exchange<Context>, end: TryEnd<'_>) {
        if let Some(tracer) = &self.manager.telemetry.tracer {
            tracer.tried(exchange, end);
        }
    }

    async fn response(&self, exchange: &mut Exchange<Context>) -> Result<(), Answer> {
        let manager = &*self.manager;
        if let Some(answer) = unsuccessful_handshake(exchange) {
            return Err(answer);
        }
        exchange.details = "via_upstream".into();
        // Envoy tells it only where the request was complete; one that asks for a tunnel never is.
        if !manager.suppress_envoy_headers
            && !exchange.asks_for_tunnel()
            && exchange.timing.request_end.is_some()
            && let Some(sent) = exchange
                .timing
                .upstream_end
                .or(exchange.timing.upstream_start)
            && let Some(arrived) = exchange.timing.response_start
            && let Some(response) = &mut exchange.response
        {
            // Envoy measures from the first byte sent upstream to the response's head.
            let start = exchange.timing.upstream_start.unwrap_or(sent);
            let elapsed = arrived.saturating_sub(start).as_millis();
            let value = HeaderValue::from(u64::try_from(elapsed).unwrap_or(u64::MAX));
            response.headers.insert(names::UPSTREAM_SERVICE_TIME, value);
        }
        manager.depart(exchange, true);
        manager.filters.response(exchange);
        Ok(())
    }

    fn error(&self, exchange: &mut Exchange<Context>, error: &Error) -> Answer {
        let not_found = exchange
            .context
            .route
            .as_ref()
            .and_then(|route| route.forward())
            .map_or(StatusCode::SERVICE_UNAVAILABLE, |forward| forward.not_found);
        let circumstances = local_reply::Circumstances {
            not_found,
            retried: exchange.attempts > 1,
            complete: exchange.timing.request_end.is_some(),
        };
        let mut answer = local_reply::error(error, circumstances);
        if matches!(error, Error::MaxDuration) {
            // Not what the HTTP status stands for: the deadline was the client's own.
            reply::for_grpc_as(&mut answer, &exchange.request, reply::DEADLINE_EXCEEDED);
        } else {
            reply::for_grpc(&mut answer, &exchange.request);
        }
        exchange.response = Some(answer.response);
        self.finish_local(exchange);
        if let Some(response) = exchange.response.take() {
            answer.response = response;
        } else {
            answer.response = Response::new(not_found);
        }
        answer
    }

    fn broken(&self, exchange: &mut Exchange<Context>, error: &Error) {
        exchange.details = local_reply::details(error, exchange.response.is_some());
    }

    fn answered(&self, exchange: &mut Exchange<Context>) {
        self.finish_local(exchange);
    }

    fn ending(&self, exchange: &mut Exchange<Context>) {
        self.manager.telemetry.ending(exchange);
    }

    fn log(&self, exchange: &Exchange<Context>) {
        self.manager.filters.log(exchange);
        self.manager.telemetry.ended(exchange);
    }

    fn refused(&self, downstream: &Downstream, refusal: &Refusal) -> Answer {
        let mut answer = local_reply::refused(refusal);
        self.manager.set_server(&mut answer.response);
        self.manager.telemetry.refused(downstream, refusal, &answer);
        answer
    }
}

impl HttpHandler {
    /// Everything that a request passes before its first try.
    async fn filter(&self, exchange: &mut Exchange<Context>) -> Result<Route, Answer> {
        let manager = &*self.manager;
        let plan = &manager.plan;
        exchange.context.client = arrival::settle(
            &mut exchange.request,
            &exchange.downstream,
            &plan.client,
            &plan.fields,
            manager.local_address,
        );
        manager.telemetry.arrived();
        if exchange.request.path.first() == Some(&b'*') {
            // `OPTIONS *` asks the proxy itself.
            let details = "absolute_path_rejected";
            return Err(Answer::text(StatusCode::NOT_FOUND, "", details));
        }
        if let Some(reason) = &manager.plan.refuse {
            let details = format!("configuration_not_understood{{{reason}}}").replace(' ', "_");
            return Err(Answer::text(StatusCode::SERVICE_UNAVAILABLE, "", details));
        }
        manager.choose(exchange);
        if let Some(tracer) = &manager.telemetry.tracer {
            tracer.begin(exchange);
        }
        for index in 0..manager.filters.len() {
            manager
                .filters
                .request(index, exchange, &manager.clusters)
                .await?;
            if exchange.context.route_cleared {
                exchange.context.route_cleared = false;
                manager.choose(exchange);
            }
        }
        manager.route(exchange)
    }

    fn finish_local(&self, exchange: &mut Exchange<Context>) {
        self.manager.depart(exchange, false);
        self.manager.filters.response(exchange);
    }
}

impl HttpManager {
    /// Chooses the route and, with it, the cluster: filters look at both.
    fn choose(&self, exchange: &mut Exchange<Context>) {
        let table = self.routes.load();
        let context = &mut exchange.context;
        context.route = None;
        context.cluster = None;
        context.cluster_name = None;
        context.weighted = None;
        context.virtual_host = None;
        context.tls_required = false;
        let Some(table) = &*table else { return };
        let tls = exchange.downstream.tls.as_deref();
        let facts = RouteFacts {
            request: &exchange.request,
            random: context.random,
            metadata: &context.metadata,
            certificate_presented: tls.is_some_and(|tls| tls.peer.is_some()),
            certificate_validated: tls.is_some_and(|tls| tls.peer_verified),
        };
        let route = match table.choose(&facts) {
            Choice::Route(route) => route.clone(),
            Choice::RequiresTls(host) => {
                context.tls_required = host.require_tls != TlsRequirement::None;
                context.virtual_host = Some(host.name.clone());
                return;
            }
            Choice::NoRoute(host) => {
                context.virtual_host = Some(host.name.clone());
                return;
            }
            Choice::NoVirtualHost => return,
        };
        context.virtual_host = Some(route.virtual_host.clone());
        if let Some(forward) = route.forward() {
            let hash = evaluate_hash(
                forward,
                &exchange.request,
                &exchange.downstream,
                context.client,
            );
            context.hash = hash.hash;
            context.set_cookies = hash.set_cookies;
            let pick = forward.pick(&self.clusters, &exchange.request, context.random, hash.hash);
            context.weighted = pick.weighted.map(|_| pick.number);
            if let Some(slot) = &pick.slot {
                context.cluster_name = Some(slot.name().clone());
                context.cluster.clone_from(&slot.load());
            }
        }
        context.route = Some(route);
    }

    /// What the router filter does before the first try.
    fn route(&self, exchange: &mut Exchange<Context>) -> Result<Route, Answer> {
        let limits = &self.plan.limits;
        let Some(route) = exchange.context.route.clone() else {
            if exchange.context.tls_required {
                return Err(answer::redirect_to_tls(&exchange.request));
            }
            exchange.events.insert(Event::NoRoute);
            return Err(Answer::text(StatusCode::NOT_FOUND, "", "route_not_found"));
        };
        let forward = match &route.action {
            RouteAction::Forward(forward) => forward,
            RouteAction::Direct(direct) => return Err(answer::direct(exchange, direct)),
            RouteAction::Redirect(redirect) => {
                let tell = !self.suppress_envoy_headers;
                return Err(answer::redirect(exchange, &route, redirect, tell));
            }
            RouteAction::NonForwarding => {
                exchange.events.insert(Event::NoCluster);
                return Err(Answer::text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "",
                    "cluster_not_found",
                ));
            }
            RouteAction::Refuse(reason) => {
                let details = format!("configuration_not_understood{{{reason}}}").replace(' ', "_");
                return Err(Answer::text(StatusCode::SERVICE_UNAVAILABLE, "", details));
            }
        };
        if exchange.context.cluster.is_none() {
            exchange.events.insert(Event::NoCluster);
            return Err(Answer::text(forward.not_found, "", "cluster_not_found"));
        }
        let weighted = exchange
            .context
            .weighted
            .and_then(|number| share(forward, number));
        let times = forward.timeouts.resolve(
            &mut exchange.request,
            limits.max_stream,
            self.suppress_envoy_headers,
        );
        exchange.context.timeouts = times;
        if let Some(reason) = weighted.and_then(|weighted| weighted.refuse.as_ref()) {
            let details = format!("configuration_not_understood{{{reason}}}").replace(' ', "_");
            return Err(Answer::text(StatusCode::SERVICE_UNAVAILABLE, "", details));
        }
        // The head is taken out, so that values may tell everything about the exchange while it changes.
        let mut request = std::mem::replace(&mut exchange.request, Request::get("", ""));
        route.apply_request_headers(weighted, &mut request, |text, request, value| {
            super::text::word(text, &Facts::of_request(exchange, request), value);
        });
        route.rewrite(weighted, &mut request, !self.suppress_envoy_headers);
        exchange.request = request;
        let request = &exchange.request;
        let upgrade = exchange.upgrade.as_deref().or(request.protocol.as_deref());
        let upgrade = match upgrade {
            Some(protocol) => forward.allows_upgrade(protocol, self.allows_upgrade(protocol)),
            None => {
                request.method == http::Method::CONNECT
                    && forward.allows_upgrade(b"connect", self.allows_upgrade(b"connect"))
            }
        };
        let asked = exchange.upgrade.is_some()
            || exchange.request.protocol.is_some()
            || exchange.request.method == http::Method::CONNECT;
        if asked && !upgrade {
            // Envoy refuses upgrades that nobody allowed.
            return Err(Answer::text(StatusCode::FORBIDDEN, "", "upgrade_failed"));
        }
        Ok(Route {
            timeout: times.global,
            idle_timeout: forward.timeouts.idle.unwrap_or(limits.stream_idle),
            max_duration: times.max_duration,
            retry: retry_of(forward, &exchange.request),
            priority: forward.priority,
            buffer_limit: route
                .buffer_limit
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(self.buffer_limit),
            mirrors: mirror::mirrors(
                exchange,
                forward,
                &self.clusters,
                self.telemetry.tracer.as_ref(),
            ),
            upgrade,
        })
    }

    /// Whether the listener lets an upgrade through.
    fn allows_upgrade(&self, protocol: &[u8]) -> bool {
        self.plan
            .upgrades
            .iter()
            .any(|(name, enabled)| *enabled && name.as_bytes().eq_ignore_ascii_case(protocol))
    }

    /// Where connections to hosts come from, if not from here.
    fn original_source(&self, exchange: &Exchange<Context>) -> Option<OriginalSource> {
        self.original_source
            .and_then(|rule| rule.source(&exchange.downstream.remote))
    }
}

/// A WebSocket handshake that the host answered with success, but not with the protocol: the client gets the status
/// and no body, for its next bytes may be frames (Envoy: `websocket_handshake_unsuccessful`).
fn unsuccessful_handshake(exchange: &Exchange<Context>) -> Option<Answer> {
    let upgrade = exchange.upgrade.as_deref()?;
    let status = exchange.response.as_ref()?.status;
    (upgrade.eq_ignore_ascii_case(b"websocket") && status.is_success())
        .then(|| Answer::text(status, "", "websocket_handshake_unsuccessful"))
}

fn evaluate_hash(
    forward: &Forward,
    request: &Request,
    downstream: &Downstream,
    client: Option<IpAddr>,
) -> crate::live::route::hash::HashOutcome {
    if forward.hash.is_empty() {
        return crate::live::route::hash::HashOutcome {
            hash: None,
            set_cookies: SmallVec::new(),
        };
    }
    let facts = HashFacts {
        request,
        remote: client.or_else(|| downstream.remote.socket().map(|address| address.ip())),
        connection: &downstream.id.to_ne_bytes(),
    };
    HashRule::evaluate(&forward.hash, &facts)
}

/// The share of a weighted route by its number.
pub fn share(forward: &Forward, number: usize) -> Option<&WeightedCluster> {
    match &forward.target {
        ClusterTarget::Weighted { clusters, .. } => clusters.get(number),
        ClusterTarget::Header(_) | ClusterTarget::Single(_) => None,
    }
}

/// When a request is tried again: only where it meets what the policy asks of requests.
fn retry_of(forward: &Forward, request: &Request) -> Option<Arc<RetryPolicy>> {
    let wanted = &forward.retriable_requests;
    let meant = wanted.is_empty() || wanted.iter().any(|wanted| wanted.matches(request));
    forward.retry.clone().filter(|_| meant)
}
