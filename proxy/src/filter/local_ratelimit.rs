//! So many requests a second and no more: Envoy's local rate limit, one bucket for all workers or one a connection.

mod bucket;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carbyne_engine::forward::{Answer, Downstream, Event, Exchange};
use carbyne_engine::observe::metrics::Counter;
use carbyne_protos::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use carbyne_protos::envoy::extensions::common::ratelimit::v3::XRateLimitHeadersRfcVersion;
use carbyne_protos::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use carbyne_protos::envoy::r#type::v3::TokenBucket;
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use rustc_hash::FxHashMap;

use self::bucket::{Bucket, Rate};
use super::addition::Addition;
use super::planned::{Doubts, Planned};
use super::reading;
use super::reply::GRPC_STATUS;
use crate::context::Context;
use crate::live::matcher::Fraction;
use crate::plan::scope::Scope;
use crate::plan::value;

/// Limits requests. A route's own limit is one of these too, with its own bucket and counters.
#[derive(Debug)]
pub struct LocalRateLimitFilter {
    limit: Option<Limit>,
    enabled: Fraction,
    enforced: Fraction,
    status: StatusCode,
    additions: Box<[Addition]>,
    additions_when_not_enforced: Box<[Addition]>,
    tells_limit: bool,
    tells_retry: bool,
    exhausted: bool,
    /// Prefix of its counters: `{stat_prefix}.http_local_rate_limit.{name}`.
    pub stat_prefix: Box<str>,
    /// Its counters.
    pub stats: LocalRateLimitStats,
}

/// Counters of a filter.
#[derive(Debug, Default)]
pub struct LocalRateLimitStats {
    /// Requests that were looked at.
    pub enabled: Counter,
    /// Requests that were refused.
    pub enforced: Counter,
    /// Requests for which there was a token.
    pub ok: Counter,
    /// Requests for which there was none, refused or not.
    pub rate_limited: Counter,
}

#[derive(Debug)]
struct Limit {
    rate: Rate,
    start: Instant,
    /// `None` where every connection has its own.
    shared: Option<Bucket>,
    /// Tells the buckets of one filter from those of another.
    serial: u64,
}

impl LocalRateLimitFilter {
    /// Reads the filter's message; without a bucket it limits nothing, and waits for routes to have one.
    pub fn plan(message: &LocalRateLimit, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(NAME, scope, |doubts| Self::read(message, scope, doubts))
    }

    /// Reads a route's message, which must have a bucket.
    pub fn plan_route(message: &LocalRateLimit, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(NAME, scope, |doubts| {
            if message.token_bucket.is_none() {
                scope.field("token_bucket").missing();
            }
            Self::read(message, scope, doubts)
        })
    }

    fn read(message: &LocalRateLimit, scope: &Scope<'_>, doubts: &Doubts) -> Option<Self> {
        if !message.descriptors.is_empty() {
            doubts.add(
                &scope.field("descriptors"),
                "limits by descriptor are not served",
            );
        }
        if message.local_cluster_rate_limit.is_some() {
            doubts.add(
                &scope.field("local_cluster_rate_limit"),
                "limits shared by a cluster are not served",
            );
        }
        if !message.rate_limits.is_empty() {
            scope
                .field("rate_limits")
                .note("without descriptors their actions limit nothing");
        }
        let tells_limit =
            match XRateLimitHeadersRfcVersion::try_from(message.enable_x_ratelimit_headers) {
                Ok(XRateLimitHeadersRfcVersion::Off) => false,
                Ok(XRateLimitHeadersRfcVersion::DraftVersion03) => true,
                Err(_) => {
                    doubts.add(
                        &scope.field("enable_x_ratelimit_headers"),
                        "a version that is not known",
                    );
                    false
                }
            };
        let limit = match &message.token_bucket {
            None => None,
            Some(bucket) => {
                let rate = read_bucket(bucket, &scope.field("token_bucket"))?;
                Some(Limit::new(
                    rate,
                    message.local_rate_limit_per_downstream_connection,
                ))
            }
        };
        let status = reading::status(
            message.status.as_ref(),
            StatusCode::TOO_MANY_REQUESTS,
            &scope.field("status"),
        )?;
        let additions = |messages: &[_], field: &'static str| {
            let read = messages.iter().enumerate();
            read.map(|(index, message)| {
                Addition::read(
                    message,
                    HeaderAppendAction::AppendIfExistsOrAdd,
                    &scope.item(field, index),
                    doubts,
                )
            })
            .collect::<Option<Box<[_]>>>()
        };
        let to_response = additions(&message.response_headers_to_add, "response_headers_to_add")?;
        let to_request = additions(
            &message.request_headers_to_add_when_not_enforced,
            "request_headers_to_add_when_not_enforced",
        )?;
        Some(Self {
            limit,
            enabled: reading::share(
                message.filter_enabled.as_ref(),
                Fraction::NONE,
                &scope.field("filter_enabled"),
            )?,
            enforced: reading::share(
                message.filter_enforced.as_ref(),
                Fraction::NONE,
                &scope.field("filter_enforced"),
            )?,
            // A limit never answers with success.
            status: if status.as_u16() < 400 {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                status
            },
            additions: to_response,
            additions_when_not_enforced: to_request,
            tells_limit,
            tells_retry: message.enable_retry_after_header,
            exhausted: message.rate_limited_as_resource_exhausted,
            stat_prefix: message.stat_prefix.as_str().into(),
            stats: LocalRateLimitStats::default(),
        })
    }

    /// Takes a token, or refuses.
    pub fn request(
        &self,
        exchange: &mut Exchange<Context>,
        per_route: Option<&Self>,
    ) -> Result<(), Answer> {
        let own = per_route.unwrap_or(self);
        let Some(limit) = &own.limit else {
            return Ok(());
        };
        if !own.enabled.holds(fastrand::u64(..)) {
            return Ok(());
        }
        own.stats.enabled.increment();
        if limit.take(&exchange.downstream) {
            own.stats.ok.increment();
            return Ok(());
        }
        own.stats.rate_limited.increment();
        if !own.enforced.holds(fastrand::u64(..)) {
            for addition in &own.additions_when_not_enforced {
                addition.apply(&mut exchange.request.headers);
            }
            return Ok(());
        }
        own.stats.enforced.increment();
        exchange.events.insert(Event::RateLimited);
        let mut answer = Answer::text(own.status, DETAILS, DETAILS);
        let headers = &mut answer.response.headers;
        for addition in &own.additions {
            addition.apply(headers);
        }
        if own.tells_retry {
            let wait =
                limit.with_bucket(&exchange.downstream, |bucket, now| bucket.until_next(now));
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if own.exhausted && super::reply::is_grpc(&exchange.request) {
            headers.insert(GRPC_STATUS, HeaderValue::from(RESOURCE_EXHAUSTED));
        }
        Err(answer)
    }

    /// Tells the limit in every response, answers of our own too.
    pub fn response(&self, exchange: &mut Exchange<Context>, per_route: Option<&Self>) {
        let own = per_route.unwrap_or(self);
        let (Some(limit), Some(response)) = (&own.limit, &mut exchange.response) else {
            return;
        };
        if !own.tells_limit {
            return;
        }
        let (left, wait) = limit.with_bucket(&exchange.downstream, |bucket, now| {
            (bucket.left(now), bucket.until_next(now))
        });
        let headers = &mut response.headers;
        headers.insert(LIMIT, HeaderValue::from(limit.rate.most));
        headers.insert(REMAINING, HeaderValue::from(left));
        // Envoy: nobody has to wait while there are tokens.
        headers.insert(
            RESET,
            HeaderValue::from(if left > 0 { 0 } else { whole_seconds(wait) }),
        );
    }
}

impl Limit {
    fn new(rate: Rate, per_connection: bool) -> Self {
        Self {
            rate,
            start: Instant::now(),
            shared: (!per_connection).then(|| Bucket::new(rate)),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn take(&self, downstream: &Rc<Downstream>) -> bool {
        self.with_bucket(downstream, Bucket::take)
    }

    /// The bucket that counts for a connection, and its time.
    fn with_bucket<T>(
        &self,
        downstream: &Rc<Downstream>,
        work: impl FnOnce(&Bucket, Duration) -> T,
    ) -> T {
        if let Some(bucket) = &self.shared {
            return work(bucket, self.start.elapsed());
        }
        OF_CONNECTIONS.with_borrow_mut(|held| {
            let bucket = held.bucket(self.serial, downstream, self.rate);
            work(bucket, downstream.accepted.elapsed())
        })
    }
}

/// Buckets of the connections of one worker: a connection is served by one worker alone.
#[derive(Debug, Default)]
struct OfConnections {
    buckets: FxHashMap<(u64, u64), (Weak<Downstream>, Bucket)>,
    /// At this number those of closed connections are looked for.
    sweep_at: usize,
}

impl OfConnections {
    fn bucket(&mut self, serial: u64, downstream: &Rc<Downstream>, rate: Rate) -> &Bucket {
        let key = (serial, downstream.id);
        if self.buckets.len() >= self.sweep_at.max(SMALLEST_SWEEP)
            && !self.buckets.contains_key(&key)
        {
            self.buckets
                .retain(|_, (connection, _)| connection.strong_count() > 0);
            self.sweep_at = self.buckets.len() * 2;
        }
        let entry = self.buckets.entry(key);
        &entry
            .or_insert_with(|| (Rc::downgrade(downstream), Bucket::new(rate)))
            .1
    }
}

fn read_bucket(message: &TokenBucket, scope: &Scope<'_>) -> Option<Rate> {
    let tokens = message.tokens_per_fill.unwrap_or(1);
    for (field, value) in [
        ("max_tokens", message.max_tokens),
        ("tokens_per_fill", tokens),
    ] {
        if value == 0 {
            scope.field(field).out_of_range(value, "a number above 0");
            return None;
        }
    }
    let scope = scope.field("fill_interval");
    if message.fill_interval.is_none() {
        scope.missing();
    }
    let interval = value::duration(message.fill_interval.as_ref(), &scope)?;
    if interval < SHORTEST_INTERVAL {
        scope.out_of_range(format_args!("{interval:?}"), "50 ms or more");
        return None;
    }
    Some(Rate::new(message.max_tokens, tokens, interval))
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Name of the filter.
pub const NAME: &str = "envoy.filters.http.local_ratelimit";
const DETAILS: &str = "local_rate_limited";
const RESOURCE_EXHAUSTED: u32 = 8;
/// As in Envoy.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
const SMALLEST_SWEEP: usize = 64;
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

static SERIAL: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OF_CONNECTIONS: RefCell<OfConnections> = RefCell::new(OfConnections::default());
}
