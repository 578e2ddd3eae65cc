//! Faults on purpose: delays and aborts, Envoy's fault filter as VirtualServices set it per route.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use carbyne_engine::forward::{Answer, Event, Exchange};
use carbyne_engine::http::Request;
use carbyne_engine::observe::metrics::Counter;
use carbyne_protos::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier as WireDelay;
use carbyne_protos::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use carbyne_protos::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault};
use carbyne_protos::envoy::r#type::v3::FractionalPercent;
use carbyne_protos::envoy::r#type::v3::fractional_percent::DenominatorType;
use http::{HeaderName, HeaderValue, StatusCode};

use super::planned::Planned;
use super::reading;
use super::reply::{GRPC_STATUS, is_grpc, status_to_http};
use crate::context::Context;
use crate::live::matcher::HeaderMatcher;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

/// Delays and aborts requests.
#[derive(Clone, Debug, Default)]
pub struct FaultFilter {
    settings: Faults,
    active: Arc<AtomicU32>,
    /// Its counters; per-route settings count in those of their filter.
    pub stats: Arc<FaultStats>,
}

/// Settings of the filter, or of a route in their place.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    delay: Option<(Delay, Share)>,
    abort: Option<(Abort, Share)>,
    abort_body: Option<Box<str>>,
    /// Only for requests to this cluster.
    cluster: Option<Box<str>>,
    headers: Box<[HeaderMatcher]>,
    /// Only for requests of these clients (`x-envoy-downstream-service-node`).
    nodes: Box<[Box<str>]>,
    most_active: Option<u32>,
}

/// Counters of a filter.
#[derive(Debug, Default)]
pub struct FaultStats {
    /// Requests delayed.
    pub delays_injected: Counter,
    /// Requests aborted.
    pub aborts_injected: Counter,
    /// Faults left out because too many were active.
    pub faults_overflow: Counter,
}

#[derive(Clone, Copy, Debug)]
enum Delay {
    Fixed(Duration),
    /// The request says how long.
    Asked,
}

#[derive(Clone, Copy, Debug)]
enum Abort {
    Http(StatusCode),
    Grpc(u32),
    /// The request says how.
    Asked,
}

/// So many of so many; a request may ask for fewer, not for more.
#[derive(Clone, Copy, Debug)]
struct Share {
    numerator: u32,
    denominator: u32,
}

/// One fault under way; counts as long as it lives.
#[derive(Debug)]
struct Active(Arc<AtomicU32>);

impl FaultFilter {
    /// Reads the filter's message.
    pub fn plan(message: &HttpFault, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Some(Faults::plan(message, scope)?.map(|settings| Self {
            settings,
            ..Self::default()
        }))
    }

    /// Delays, then aborts.
    pub async fn request(
        &self,
        exchange: &mut Exchange<Context>,
        per_route: Option<&Faults>,
    ) -> Result<(), Answer> {
        let settings = per_route.unwrap_or(&self.settings);
        if settings.is_empty() || !settings.is_meant(exchange) {
            return Ok(());
        }
        let mut active = None;
        if let Some(wait) = settings.delay(&exchange.request) {
            active = self.activate(settings);
            if active.is_some() {
                self.stats.delays_injected.increment();
                exchange.events.insert(Event::DelayInjected);
                tokio::time::sleep(wait).await;
            }
        }
        let Some(abort) = settings.abort(&exchange.request) else {
            return Ok(());
        };
        if active.is_none() {
            active = self.activate(settings);
        }
        if active.is_none() {
            return Ok(());
        }
        self.stats.aborts_injected.increment();
        exchange.events.insert(Event::FaultInjected);
        Err(settings.answer(abort, &exchange.request))
    }

    /// Takes a place among the active faults; one place covers a delay and the abort after it.
    fn activate(&self, settings: &Faults) -> Option<Active> {
        let limit = settings.most_active.unwrap_or(u32::MAX);
        let taken = self
            .active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |active| {
                (active < limit).then_some(active + 1)
            });
        if taken.is_err() {
            self.stats.faults_overflow.increment();
            return None;
        }
        Some(Active(Arc::clone(&self.active)))
    }
}

impl Faults {
    /// Reads the message of the filter or of a route.
    pub fn plan(message: &HttpFault, scope: &Scope<'_>) -> Option<Planned<Self>> {
        // Faults guard nothing: what is not served of them is noted, and left out.
        Self::read(message, scope).map(Planned::Serves)
    }

    fn read(message: &HttpFault, scope: &Scope<'_>) -> Option<Self> {
        if message.response_rate_limit.is_some() {
            scope
                .field("response_rate_limit")
                .note("responses are not slowed down");
        }
        let runtime_keys = [
            ("delay_percent_runtime", &message.delay_percent_runtime),
            ("abort_percent_runtime", &message.abort_percent_runtime),
            ("delay_duration_runtime", &message.delay_duration_runtime),
            (
                "abort_http_status_runtime",
                &message.abort_http_status_runtime,
            ),
            (
                "max_active_faults_runtime",
                &message.max_active_faults_runtime,
            ),
            (
                "abort_grpc_status_runtime",
                &message.abort_grpc_status_runtime,
            ),
        ];
        for (field, key) in runtime_keys {
            if !key.is_empty() {
                scope
                    .field(field)
                    .note("runtime keys are never set; the value in the message counts");
            }
        }
        let delay = match &message.delay {
            None => None,
            Some(delay) => {
                let scope = scope.field("delay");
                let share = Share::read(delay.percentage.as_ref(), &scope)?;
                let what = match &delay.fault_delay_secifier {
                    Some(WireDelay::FixedDelay(fixed)) => Delay::Fixed(value::positive_duration(
                        Some(fixed),
                        &scope.field("fixed_delay"),
                    )?),
                    Some(WireDelay::HeaderDelay(_)) => Delay::Asked,
                    None => {
                        scope.reject(Fault::Words("write `fixed_delay` or `header_delay`"));
                        return None;
                    }
                };
                Some((what, share))
            }
        };
        let abort = match &message.abort {
            None => None,
            Some(abort) => {
                let scope = scope.field("abort");
                Some((
                    Abort::read(abort, &scope)?,
                    Share::read(abort.percentage.as_ref(), &scope)?,
                ))
            }
        };
        Some(Self {
            delay,
            abort,
            abort_body: message
                .abort
                .as_ref()
                .map(|abort| abort.response_body.as_str())
                .filter(|body| !body.is_empty())
                .map(Box::from),
            cluster: (!message.upstream_cluster.is_empty())
                .then(|| message.upstream_cluster.as_str().into()),
            headers: matcher::headers(&message.headers, "headers", scope),
            nodes: message
                .downstream_nodes
                .iter()
                .map(|node| node.as_str().into())
                .collect(),
            most_active: message.max_active_faults,
        })
    }

    /// Whether nothing is ever done.
    pub const fn is_empty(&self) -> bool {
        self.delay.is_none() && self.abort.is_none()
    }

    fn is_meant(&self, exchange: &Exchange<Context>) -> bool {
        let cluster = self
            .cluster
            .as_deref()
            .is_none_or(|wanted| exchange.context.cluster_name.as_deref() == Some(wanted));
        let headers = &exchange.request.headers;
        let node = self.nodes.is_empty()
            || headers.get(&NODE).is_some_and(|node| {
                self.nodes
                    .iter()
                    .any(|wanted| wanted.as_bytes() == node.as_bytes())
            });
        cluster
            && node
            && self
                .headers
                .iter()
                .all(|matcher| matcher.matches(&exchange.request))
    }

    fn delay(&self, request: &Request) -> Option<Duration> {
        let (delay, share) = self.delay?;
        let wait = match delay {
            Delay::Fixed(wait) => wait,
            Delay::Asked => Duration::from_millis(number(request, &ASKED_DELAY)?),
        };
        (share.draw(
            request,
            matches!(delay, Delay::Asked).then_some(&ASKED_DELAY_SHARE),
        ) && !wait.is_zero())
        .then_some(wait)
    }

    fn abort(&self, request: &Request) -> Option<Abort> {
        let (abort, share) = self.abort?;
        let abort = match abort {
            Abort::Asked => {
                let http =
                    number(request, &ASKED_ABORT).and_then(|status| u16::try_from(status).ok());
                let http = http
                    .filter(|status| (200..600).contains(status))
                    .and_then(|status| StatusCode::from_u16(status).ok());
                match http {
                    Some(status) => Abort::Http(status),
                    None => Abort::Grpc(u32::try_from(number(request, &ASKED_GRPC_ABORT)?).ok()?),
                }
            }
            fixed => fixed,
        };
        share
            .draw(
                request,
                matches!(self.abort, Some((Abort::Asked, _))).then_some(&ASKED_ABORT_SHARE),
            )
            .then_some(abort)
    }

    fn answer(&self, abort: Abort, request: &Request) -> Answer {
        let body = self.abort_body.as_deref().unwrap_or(BODY).to_owned();
        match abort {
            Abort::Http(status) => Answer::text(status, body, DETAILS),
            Abort::Grpc(status) => {
                let mut answer = Answer::text(status_to_http(status), body, DETAILS);
                if is_grpc(request) {
                    answer
                        .response
                        .headers
                        .insert(GRPC_STATUS, HeaderValue::from(status));
                }
                answer
            }
            // `abort` resolved it.
            Abort::Asked => Answer::text(StatusCode::SERVICE_UNAVAILABLE, body, DETAILS),
        }
    }
}

impl Abort {
    fn read(message: &FaultAbort, scope: &Scope<'_>) -> Option<Self> {
        match &message.error_type {
            Some(ErrorType::HttpStatus(code)) => {
                reading::status_code(i64::from(*code), &scope.field("http_status")).map(Self::Http)
            }
            Some(ErrorType::GrpcStatus(status)) => Some(Self::Grpc(*status)),
            Some(ErrorType::HeaderAbort(_)) => Some(Self::Asked),
            None => {
                scope.reject(Fault::Words(
                    "write `http_status`, `grpc_status` or `header_abort`",
                ));
                None
            }
        }
    }
}

impl Share {
    /// Without a percentage nobody is meant, as in Envoy.
    fn read(message: Option<&FractionalPercent>, scope: &Scope<'_>) -> Option<Self> {
        let (numerator, denominator) = match message {
            None => (0, 100),
            Some(message) => match DenominatorType::try_from(message.denominator) {
                Ok(DenominatorType::Hundred) => (message.numerator, 100),
                Ok(DenominatorType::TenThousand) => (message.numerator, 10_000),
                Ok(DenominatorType::Million) => (message.numerator, 1_000_000),
                Err(_) => {
                    let scope = scope.field("percentage");
                    scope.field("denominator").out_of_range(
                        message.denominator,
                        "one of the denominators 100, 10000, 1000000",
                    );
                    return None;
                }
            },
        };
        Some(Self {
            numerator,
            denominator,
        })
    }

    fn draw(self, request: &Request, asked: Option<&HeaderName>) -> bool {
        let asked = asked
            .and_then(|name| number(request, name))
            .and_then(|share| u32::try_from(share).ok());
        let numerator = asked.map_or(self.numerator, |asked| asked.min(self.numerator));
        numerator >= self.denominator || fastrand::u32(..self.denominator) < numerator
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn number(request: &Request, name: &HeaderName) -> Option<u64> {
    request.headers.text(name)?.parse().ok()
}

/// Name of the filter.
pub const NAME: &str = "envoy.filters.http.fault";
const DETAILS: &str = "fault_filter_abort";
const BODY: &str = "fault filter abort";
const ASKED_DELAY: HeaderName = HeaderName::from_static("x-envoy-fault-delay-request");
const ASKED_DELAY_SHARE: HeaderName =
    HeaderName::from_static("x-envoy-fault-delay-request-percentage");
const ASKED_ABORT: HeaderName = HeaderName::from_static("x-envoy-fault-abort-request");
const ASKED_ABORT_SHARE: HeaderName =
    HeaderName::from_static("x-envoy-fault-abort-request-percentage");
const ASKED_GRPC_ABORT: HeaderName = HeaderName::from_static("x-envoy-fault-abort-grpc-request");
const NODE: HeaderName = HeaderName::from_static("x-envoy-downstream-service-node");
