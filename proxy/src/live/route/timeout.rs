//! The times of one request: the route's, and what the request itself asks for.

use std::cell::RefCell;
use std::time::Duration;

use carbyne_engine::http::Request;
use http::{HeaderName, HeaderValue};

use super::table::is_grpc;

/// How long things may take on a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutRules {
    /// From the end of the request to the end of the response; `None` is no limit. Envoy's default is 15 s.
    pub timeout: Option<Duration>,
    /// Longest silence on the stream: unset takes the listener's, `Some(None)` is no limit.
    pub idle: Option<Option<Duration>>,
    /// Limits that replace `timeout` where they are set.
    pub max_stream: Option<MaxStreamDuration>,
    /// `grpc-timeout` counts up to this much; zero is whatever it says (`max_grpc_timeout`).
    pub max_grpc: Option<Duration>,
    /// Taken off a `grpc-timeout`, so that it ends before the client's (`grpc_timeout_offset`).
    pub grpc_offset: Option<Duration>,
    /// One try; `None` is no limit of its own.
    pub per_try: Option<Duration>,
    /// Longest silence of one try.
    pub per_try_idle: Option<Duration>,
}

/// Envoy's `max_stream_duration` of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxStreamDuration {
    /// From the start of the request to the end of the response: unset takes the listener's, zero is no limit.
    pub max: Option<Duration>,
    /// `grpc-timeout` counts, up to this much; zero is whatever it says.
    pub grpc_max: Option<Duration>,
    /// Taken off a `grpc-timeout`.
    pub grpc_offset: Option<Duration>,
}

/// The times of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request to the end of the response.
    pub global: Option<Duration>,
    /// One try.
    pub per_try: Option<Duration>,
    /// Longest silence of one try.
    pub per_try_idle: Option<Duration>,
    /// From the start of the request to the end of the response.
    pub max_duration: Option<Duration>,
}

impl Timeouts {
    /// Tells the host how long we wait, when `elapsed` of it has passed since the request came whole (Envoy: `setTimeoutHeaders`).
    pub fn tell(&self, request: &mut Request, elapsed: Duration) {
        let Some(mut expected) = self.per_try.or(self.global) else {
            return;
        };
        if let Some(global) = self.global {
            // No time would mean no limit.
            let left = global.saturating_sub(elapsed);
            expected = expected.min(left).max(Duration::from_millis(1));
        }
        let milliseconds = u64::try_from(expected.as_millis()).unwrap_or(u64::MAX);
        let value = TOLD.with_borrow_mut(|told| {
            if told.0 != milliseconds {
                *told = (milliseconds, HeaderValue::from(milliseconds));
            }
            told.1.clone()
        });
        request.headers.insert(EXPECTED_RQ_TIMEOUT, value);
    }
}

thread_local! {
    /// What the worker told last: nearly always the next request's as well.
    static TOLD: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static("0"))) };
}

impl TimeoutRules {
    /// The times of a request. Fields by which the request asks for others are taken off it and what remains is told to the host
    /// (`x-envoy-expected-rq-timeout-ms`), unless `suppress_headers`. `listener_max` is the listener's `max_stream_duration`.
    pub fn resolve(
        &self,
        request: &mut Request,
        listener_max: Option<Duration>,
        suppress_headers: bool,
    ) -> Timeouts {
        let grpc = is_grpc(request);
        let asked = grpc
            .then(|| request.headers.get(&GRPC_TIMEOUT).and_then(grpc_timeout))
            .flatten();
        let mut times = Timeouts {
            global: None,
            per_try: self.per_try,
            per_try_idle: self.per_try_idle,
            max_duration: self.max_duration(asked, listener_max),
        };
        if self.max_stream.is_none() {
            times.global = match self.max_grpc {
                Some(cap) if grpc => {
                    capped(offset(asked.unwrap_or_default(), self.grpc_offset), cap)
                }
                _ => self.timeout,
            };
        }
        if let Some(milliseconds) = take_milliseconds(request, &RQ_TIMEOUT) {
            times.global = positive(milliseconds);
        }
        if let Some(milliseconds) = take_milliseconds(request, &RQ_PER_TRY_TIMEOUT) {
            times.per_try = positive(milliseconds);
        }
        if let (Some(per_try), Some(global)) = (times.per_try, times.global)
            && per_try >= global
        {
            times.per_try = None;
        }
        if !suppress_headers {
            times.tell(request, Duration::ZERO);
        }
        times
    }

    fn max_duration(
        &self,
        asked: Option<Duration>,
        listener: Option<Duration>,
    ) -> Option<Duration> {
        let rules = self.max_stream.unwrap_or_default();
        match (asked, rules.grpc_max) {
            (Some(asked), Some(cap)) => {
                let capped = if cap.is_zero() { asked } else { asked.min(cap) };
                positive(offset(capped, rules.grpc_offset))
            }
            _ => rules.max.map_or(listener, positive),
        }
    }
}

/// A time with something taken off, unless that would leave nothing: zero means no limit.
fn offset(time: Duration, offset: Option<Duration>) -> Duration {
    match offset {
        Some(offset) if offset < time => time - offset,
        _ => time,
    }
}

/// A time up to `cap`, where zero means no limit for both.
fn capped(time: Duration, cap: Duration) -> Option<Duration> {
    match (positive(time), positive(cap)) {
        (Some(time), Some(cap)) => Some(time.min(cap)),
        (time, cap) => time.or(cap),
    }
}

fn positive(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn take_milliseconds(request: &mut Request, name: &HeaderName) -> Option<Duration> {
    let value = request.headers.take(name)?;
    value.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

/// `grpc-timeout`: up to eight digits and a unit.
pub fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = value
        .to_str()
        .ok()?
        .split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

const EXPECTED_RQ_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const RQ_PER_TRY_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");
const RQ_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn request(fields: &[(&'static str, &'static str)]) -> Request {
        let mut request = Request::get("h", "/");
        for (name, value) in fields {
            request.headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        request
    }

    const GRPC: (&str, &str) = ("content-type", "application/grpc");

    #[test]
    fn global_timeouts() {
        let plain = TimeoutRules {
            timeout: Some(seconds(15)),
            ..TimeoutRules::default()
        };
        let grpc = TimeoutRules {
            max_grpc: Some(seconds(5)),
            ..plain
        };
        let any_grpc = TimeoutRules {
            max_grpc: Some(Duration::ZERO),
            ..plain
        };
        let less = TimeoutRules {
            grpc_offset: Some(seconds(1)),
            ..any_grpc
        };
        let stream = TimeoutRules {
            max_stream: Some(MaxStreamDuration::default()),
            ..plain
        };
        type Fields = &'static [(&'static str, &'static str)];
        let cases: &[(&TimeoutRules, Fields, Option<u64>)] = &[
            (&plain, &[], Some(15)),
            (&TimeoutRules::default(), &[], None),
            (
                &plain,
                &[("x-envoy-upstream-rq-timeout-ms", "3000")],
                Some(3),
            ),
            (&plain, &[("x-envoy-upstream-rq-timeout-ms", "0")], None),
            (&plain, &[("x-envoy-upstream-rq-timeout-ms", "x")], Some(15)),
            (&plain, &[GRPC, ("grpc-timeout", "2S")], Some(15)),
            (&grpc, &[("grpc-timeout", "2S")], Some(15)),
            (&grpc, &[GRPC, ("grpc-timeout", "2S")], Some(2)),
            (&grpc, &[GRPC, ("grpc-timeout", "1M")], Some(5)),
            (&grpc, &[GRPC], Some(5)),
            (&any_grpc, &[GRPC], None),
            (&any_grpc, &[GRPC, ("grpc-timeout", "1H")], Some(3600)),
            (&less, &[GRPC, ("grpc-timeout", "3S")], Some(2)),
            (&less, &[GRPC, ("grpc-timeout", "1S")], Some(1)),
            (&stream, &[], None),
        ];
        for (rules, fields, expected) in cases {
            let mut request = request(fields);
            let times = rules.resolve(&mut request, None, false);
            assert_eq!(times.global, expected.map(seconds), "{rules:?} {fields:?}");
            assert!(!request.headers.contains(&RQ_TIMEOUT));
            let told = request
                .headers
                .text(&EXPECTED_RQ_TIMEOUT)
                .map(|value| value.parse::<u64>().unwrap());
            assert_eq!(told, expected.map(|seconds| seconds * 1000));
        }
    }

    #[test]
    fn longest_durations() {
        let rules = |max: Option<u64>, grpc_max: Option<u64>| TimeoutRules {
            max_stream: Some(MaxStreamDuration {
                max: max.map(seconds),
                grpc_max: grpc_max.map(seconds),
                grpc_offset: None,
            }),
            ..TimeoutRules::default()
        };
        let asks = [GRPC, ("grpc-timeout", "8S")];
        for (rules, fields, expected) in [
            (rules(None, None), &asks[..0], Some(60)),
            (rules(Some(0), Some(0)), &asks[..0], None),
            (rules(Some(9), None), &asks[..], Some(9)),
            (rules(Some(9), Some(0)), &asks[..], Some(8)),
            (rules(Some(9), Some(3)), &asks[..], Some(3)),
            (TimeoutRules::default(), &asks[..], Some(60)),
        ] {
            let times = rules.resolve(&mut request(fields), Some(seconds(60)), true);
            assert_eq!(times.max_duration, expected.map(seconds), "{rules:?}");
        }
    }

    #[test]
    fn a_try_is_shorter_than_the_whole() {
        let rules = TimeoutRules {
            timeout: Some(seconds(2)),
            per_try: Some(seconds(2)),
            ..TimeoutRules::default()
        };
        assert_eq!(rules.resolve(&mut request(&[]), None, false).per_try, None);
        let fields = &[("x-envoy-upstream-rq-per-try-timeout-ms", "500")];
        assert_eq!(
            rules.resolve(&mut request(fields), None, false).per_try,
            Some(Duration::from_millis(500))
        );
    }

    #[test]
    fn grpc_timeouts() {
        for (text, expected) in [
            ("1H", Some(seconds(3600))),
            ("100m", Some(Duration::from_millis(100))),
            ("5", None),
            ("S", None),
            ("123456789S", None),
            ("+1S", None),
        ] {
            assert_eq!(
                grpc_timeout(&HeaderValue::from_static(text)),
                expected,
                "{text}"
            );
        }
    }
}
