//! One request through: filters, attempts, response, log.

use std::cell::Cell;
use std::pin::pin;

use http::{Method, header};

use super::attempt::{Progress, Replay, send_head, translate_upgrade, wait_for_head};
use super::download::{self, Download};
use super::error::Error;
use super::exchange::{Event, Exchange};
use super::responder::Responder;
use super::watch::Watch;
use super::{Answer, Handler, Mirror, RetryPolicy, Route, Target, TryEnd};
use crate::cluster::breaker::{Permit, Resource};
use crate::cluster::outlier::LocalFailure;
use crate::cluster::pool::{Lease, Session};
use crate::http::Body;
use crate::runtime::Timer;

/// Serves one exchange to its end, or refuses it at the `entrance`; true if an HTTP/1 connection may carry another one.
pub(super) async fn serve<H: Handler>(
    handler: &H,
    exchange: &mut Exchange<H::Context>,
    responder: &mut Responder,
    timer: &mut Timer,
    entrance: Result<(), Stop>,
) -> bool {
    let mut watch = Watch::new(timer);
    let outcome = match entrance {
        Ok(()) => run(handler, exchange, responder, &mut watch).await,
        Err(stop) => Err(stop),
    };
    let complete = match outcome {
        Ok(()) => true,
        Err(Stop::Answer(answer)) => {
            download::answer(handler, exchange, responder, *answer, true).await
        }
        Err(Stop::Error(error)) => {
            exchange.note(&error);
            if responder.head_sent() || matches!(error, Error::ClientGone) {
                handler.broken(exchange, &error);
                responder.reset();
                false
            } else {
                if matches!(error, Error::Refused { .. }) {
                    // Whoever sends such a head may have meant something else by what follows it.
                    responder.close();
                }
                let answer = handler.error(exchange, &error);
                download::answer(handler, exchange, responder, answer, false).await
            }
        }
    };
    exchange.timing.end = Some(exchange.elapsed());
    responder.count(
        &exchange.request,
        exchange.response.as_ref(),
        &mut exchange.counts,
    );
    handler.log(exchange);
    complete
}

/// Why the ordinary way was left.
pub(super) enum Stop {
    /// A filter answers.
    Answer(Box<Answer>),
    /// Something went wrong.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

/// What one try led to.
enum Tried {
    /// The response was sent.
    Done,
    /// The response asked for another try, which was granted.
    Again(Permit),
    /// It failed.
    Failed(Error),
}

async fn run<H: Handler>(
    handler: &H,
    exchange: &mut Exchange<H::Context>,
    responder: &mut Responder,
    watch: &mut Watch<'_>,
) -> Result<(), Stop> {
    let route = {
        // Pinned here: a future that is handed on by value is copied, and this one has room for every filter.
        let filtered = pin!(handler.request(exchange));
        watch.over(responder, filtered).await??
    };
    let now = exchange.timing.start;
    watch.max = route.max_duration.map(|limit| now + limit);
    watch.idle = route.idle_timeout;
    for mirror in &route.mirrors {
        send_mirror(exchange, mirror, route.buffer_limit).await?;
    }
    let keep = if route.retry.is_some() {
        route.buffer_limit
    } else {
        0
    };
    let body = std::mem::take(&mut exchange.body);
    let progress = Progress::default();
    let mut replay = Replay::new(body, keep, &progress);
    if replay.is_empty() {
        if exchange.timing.request_end.is_none() {
            exchange.timing.request_end = Some(exchange.elapsed());
        }
        watch.response = route.timeout.map(|limit| now + limit);
    }
    let result = tries(handler, exchange, responder, watch, &route, &mut replay).await;
    exchange.counts.received = progress.received.get();
    result
}

async fn tries<H: Handler>(
    handler: &H,
    exchange: &mut Exchange<H::Context>,
    responder: &mut Responder,
    watch: &mut Watch<'_>,
    route: &Route,
    replay: &mut Replay<'_>,
) -> Result<(), Stop> {
    // Held while a retry is under way: the breaker counts it.
    let mut _retrying: Option<Permit> = None;
    loop {
        let chosen = {
            let number = exchange.attempts;
            let chosen = pin!(handler.attempt(exchange, number));
            watch.over(responder, chosen).await?
        };
        exchange.attempts += 1;
        let target = chosen?;
        let tried = once(handler, exchange, responder, watch, route, &target, replay).await;
        watch.attempt = None;
        let end = match &tried {
            Ok(Tried::Done) | Err(Stop::Answer(_)) => TryEnd::Response,
            Ok(Tried::Again(_)) => TryEnd::Again,
            Ok(Tried::Failed(error)) | Err(Stop::Error(error)) => TryEnd::Failed(error),
        };
        handler.tried(exchange, end);
        _retrying = Some(match tried? {
            Tried::Done => return Ok(()),
            Tried::Again(permit) => permit,
            Tried::Failed(error) => {
                let sent = exchange.timing.upstream_start.is_some();
                let permit = route
                    .retry
                    .as_ref()
                    .filter(|policy| {
                        replay.is_repeatable()
                            && RetryPolicy::is_repeatable(&exchange.request)
                            && policy.wants_after_error(&error, sent)
                    })
                    .and_then(|policy| take_retry(exchange, policy, route, &target));
                match permit {
                    Some(permit) => permit,
                    None => return Err(Stop::Error(error)),
                }
            }
        });
        if let Some(policy) = &route.retry {
            let wait = policy.wait(exchange.attempts, fastrand::f64());
            let pause = pin!(tokio::time::sleep(wait));
            watch.over(responder, pause).await?;
        }
    }
}

/// Takes the right to try once more, from the policy's count and the cluster's breaker.
fn take_retry<C>(
    exchange: &mut Exchange<C>,
    policy: &RetryPolicy,
    route: &Route,
    target: &Target,
) -> Option<Permit> {
    let stats = target.cluster.stats();
    if exchange.attempts > policy.retries {
        if policy.retries > 0 {
            exchange.events.insert(Event::RetryLimit);
            stats.upstream_rq_retry_limit_exceeded.add(1);
        }
        return None;
    }
    let breakers = target.cluster.breakers();
    let permit = breakers.try_take(route.priority, Resource::Retries);
    match &permit {
        Some(_) => stats.upstream_rq_retry.add(1),
        None => {
            exchange.events.insert(Event::Overflow);
            stats.upstream_rq_retry_overflow.add(1);
        }
    }
    permit
}

/// One try, through to the end of the response if nothing asks for another.
async fn once<H: Handler>(
    handler: &H,
    exchange: &mut Exchange<H::Context>,
    responder: &mut Responder,
    watch: &mut Watch<'_>,
    route: &Route,
    target: &Target,
    replay: &mut Replay<'_>,
) -> Result<Tried, Stop> {
    let stats = target.cluster.stats();
    exchange.upstream.cluster = Some(target.cluster.clone());
    exchange.upstream.host = Some(target.host.clone());
    exchange.upstream.tls = None;
    exchange.upstream.local = None;
    exchange.upstream.status = None;
    exchange.upstream.protocol = None;
    exchange.timing.upstream_start = None;
    exchange.timing.response_start = None;
    exchange.timing.response_end = None;
    let breakers = target.cluster.breakers();
    let Some(_permit) = breakers.try_take(route.priority, Resource::Requests) else {
        stats.upstream_rq_pending_overflow.add(1);
        return Ok(Tried::Failed(Error::Overflow {
            resource: "requests",
        }));
    };
    stats.upstream_rq_total.add(1);
    let _active = target.host.start_request();
    let worker = exchange.worker.clone();
    let acquired = {
        let lease = pin!(worker.pools.acquire(target, route.priority));
        watch.over(responder, lease).await?
    };
    let mut lease = match acquired {
        Ok(lease) => lease,
        Err(error) => {
            if matches!(error, Error::Overflow { .. }) {
                // Nobody asked the host for anything.
                exchange.upstream.host = None;
            } else {
                // Passed over by the next try as well as one that answered badly.
                exchange.upstream.tried.push(target.host.id);
                let cluster = &target.cluster;
                cluster.on_local_failure(&target.host, LocalFailure::Connect);
            }
            return Ok(Tried::Failed(error));
        }
    };
    exchange.upstream.local.clone_from(&lease.facts.local);
    exchange.upstream.protocol = Some(target.protocol);
    exchange.upstream.tls.clone_from(&lease.facts.tls);
    exchange.upstream.tried.push(target.host.id);
    let start = exchange.timing.start;
    exchange.timing.upstream_start = Some(start.elapsed());
    let upgrade = exchange.upgrade.clone().filter(|_| route.upgrade);
    let tunnel = upgrade.is_some()
        || exchange.request.protocol.is_some()
        || exchange.request.method == Method::CONNECT;
    let halves = send_head(
        &mut lease,
        &exchange.request,
        upgrade.as_ref(),
        replay,
        target.cluster.settings().h1_limits(),
    );
    let (mut writer, mut reader) = match halves {
        Ok(halves) => halves,
        Err(error @ Error::RequestEncoding(_)) => return Err(Stop::Error(error)),
        Err(error) => return Ok(Tried::Failed(error)),
    };
    let announced = !replay.is_empty() && exchange.request.headers.contains(&header::EXPECT);
    let method = exchange.request.method.clone();
    let request_end = Cell::new(exchange.timing.request_end);
    let sent = Cell::new(None);
    let progress = replay.progress();
    let (outcome, uploaded) = {
        // RFC 9110 §7.8: what follows an Upgrade is not part of the request; it waits for the answer
        // (CVE-2026-2833, CVE-2025-64763).
        let mut upload = pin!(replay.upload(&mut writer, tunnel, announced));
        let mut uploading = true;
        let reply = wait_for_head(
            upload.as_mut(),
            &mut uploading,
            &mut reader,
            &method,
            responder,
            watch,
            |watch| {
                let now = start.elapsed();
                sent.set(Some(now));
                if request_end.get().is_none() {
                    request_end.set(Some(now));
                    watch.response = route.timeout.map(|limit| start + now + limit);
                }
                watch.attempt = target.timeout.map(|limit| start + now + limit);
            },
        )
        .await;
        exchange.timing.upstream_end = sent.get();
        exchange.timing.request_end = request_end.get();
        watch.attempt = None;
        match reply {
            Err(error) => return failed(exchange, target, &lease, error),
            Ok(reply)
                if reply.response.status == http::StatusCode::SWITCHING_PROTOCOLS
                    && (!tunnel || reply.response.version == http::Version::HTTP_2) =>
            {
                // RFC 9110 §15.2.2: only in answer to Upgrade; HTTP/2 has no such answer at all.
                let error = Error::UpstreamProtocol("unexpected_switching_protocols");
                return failed(exchange, target, &lease, error);
            }
            Ok(mut reply) => {
                exchange.timing.response_start = Some(start.elapsed());
                exchange.upstream.status = Some(reply.response.status);
                let status = reply.response.status.as_u16();
                target.cluster.on_response(&target.host, status);
                target.cluster.responses().count(status);
                if let Some(policy) = &route.retry
                    && !tunnel
                    && progress.repeatable.get()
                    && policy.wants_after_response(&reply.response)
                    && let Some(permit) = take_retry(exchange, policy, route, target)
                {
                    if reply.body.is_end() {
                        exchange.timing.response_end = exchange.timing.response_start;
                    }
                    drop(reply);
                    return Ok(Tried::Again(permit));
                }
                translate_upgrade(&mut reply, &exchange.request, upgrade.as_ref());
                let download = Download {
                    handler,
                    exchange,
                    responder,
                    watch,
                    progress,
                };
                if tunnel && reply.is_tunnel(&method) {
                    (Outcome::Tunnel(Box::new(reply)), false)
                } else {
                    let keep_alive = reply.keep_alive;
                    let sent = download.run(reply, upload, &mut uploading).await;
                    (Outcome::Sent(sent.map(|()| keep_alive)), !uploading)
                }
            }
        }
    };
    match outcome {
        Outcome::Tunnel(reply) => {
            let download = Download {
                handler,
                exchange,
                responder,
                watch,
                progress,
            };
            let body = replay.take_body();
            let result = download.tunnel(*reply, body, writer, &lease).await;
            count(exchange, &lease);
            result.map(|()| Tried::Done)
        }
        Outcome::Sent(sent) => {
            count(exchange, &lease);
            let keep_alive = sent?;
            let end = exchange.timing.response_end.unwrap_or_default();
            let sent = exchange.timing.upstream_start.unwrap_or_default();
            target.cluster.times().request(end.saturating_sub(sent));
            let over = start + end;
            drop((writer, reader));
            if keep_alive && uploaded {
                worker.pools.release_at(target, lease, over);
            }
            Ok(Tried::Done)
        }
    }
}

enum Outcome {
    Tunnel(Box<super::attempt::Reply>),
    Sent(Result<bool, Stop>),
}

/// Counts a try that brought no head.
fn failed<C>(
    exchange: &mut Exchange<C>,
    target: &Target,
    lease: &Lease,
    error: Error,
) -> Result<Tried, Stop> {
    count(exchange, lease);
    let stats = target.cluster.stats();
    match &error {
        Error::TryTimeout => {
            stats.upstream_rq_per_try_timeout.add(1);
            target
                .cluster
                .on_local_failure(&target.host, LocalFailure::Timeout);
            Ok(Tried::Failed(error))
        }
        Error::Timeout => {
            stats.upstream_rq_timeout.add(1);
            target
                .cluster
                .on_local_failure(&target.host, LocalFailure::Timeout);
            Err(Stop::Error(error))
        }
        Error::UpstreamReset { .. } | Error::UpstreamProtocol(_) => {
            stats.upstream_rq_rx_reset.add(1);
            target
                .cluster
                .on_local_failure(&target.host, LocalFailure::Reset);
            Ok(Tried::Failed(error))
        }
        _ => Err(Stop::Error(error)),
    }
}

fn count<C>(exchange: &mut Exchange<C>, lease: &Lease) {
    if let Session::H1(connection) = &lease.session {
        let (received, sent) = connection.take_counts();
        exchange.counts.upstream_received += received;
        exchange.counts.upstream_sent += sent;
    }
}

/// Sends a copy of the request elsewhere; nobody waits for its answer.
async fn send_mirror<C>(
    exchange: &mut Exchange<C>,
    mirror: &Mirror,
    limit: usize,
) -> Result<(), Stop> {
    let bytes = match exchange.buffer_body(limit).await {
        Ok(bytes) => bytes,
        Err(Error::RequestTooLarge { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let worker = exchange.worker.clone();
    let Mirror { target, request } = mirror.clone();
    tokio::task::spawn_local(async move {
        let limit = target.timeout.unwrap_or(MIRROR_LIMIT);
        let copied = super::client::send(&worker, &target, request, Body::full(bytes));
        // The copy's fate changes nothing for the client.
        if let Ok(Ok(mut response)) = tokio::time::timeout(limit, copied).await {
            while let Some(Ok(_)) = response.body.frame().await {}
            response.finish(&worker, &target);
        }
    });
    Ok(())
}

/// How long a mirrored request may take where its route sets nothing.
const MIRROR_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);
