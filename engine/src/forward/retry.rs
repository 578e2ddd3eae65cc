//! When to try again, and how long to wait.

use std::time::Duration;

use http::{HeaderName, StatusCode};
use smallvec::SmallVec;

use super::error::Error;
use crate::http::{Request, Response};

/// When a request is tried again. The conditions are those of Envoy's `retry_on`.
#[derive(Clone, Debug, Default)]
pub struct RetryPolicy {
    /// Conditions.
    pub on: Conditions,
    /// Statuses for [`Condition::RetriableStatus`].
    pub statuses: SmallVec<[u16; 4]>,
    /// Response fields whose presence asks for another try, for [`Condition::RetriableHeaders`].
    pub headers: Vec<HeaderName>,
    /// Tries after the first.
    pub retries: u32,
    /// Time of one try, from the end of the request to the head of the response.
    pub try_timeout: Option<Duration>,
    /// Waiting time between tries.
    pub back_off: BackOff,
    /// Hosts tried before are passed over (`previous_hosts`).
    pub other_hosts: bool,
    /// How often a host is drawn again to find another one.
    pub host_attempts: u32,
    /// Priorities tried before are passed over, recomputed each so many tries (`previous_priorities`).
    pub other_priorities: Option<u32>,
}

/// Exponential back-off with full jitter, as Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// The first wait is up to this.
    pub base: Duration,
    /// No wait is longer.
    pub max: Duration,
}

/// One condition of `retry_on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// Any 5xx, or no answer at all.
    ServerError,
    /// 502, 503, 504.
    GatewayError,
    /// The host reset or closed before answering, or a try timed out.
    Reset,
    /// As `Reset`, while nothing of the request had been sent.
    ResetBeforeRequest,
    /// No connection.
    ConnectFailure,
    /// The host refused the stream (HTTP/2 REFUSED_STREAM).
    RefusedStream,
    /// 409.
    Conflict,
    /// The policy's statuses.
    RetriableStatus,
    /// The policy's response fields.
    RetriableHeaders,
    /// gRPC status `CANCELLED` in the head.
    GrpcCancelled,
    /// gRPC status `DEADLINE_EXCEEDED` in the head.
    GrpcDeadlineExceeded,
    /// gRPC status `INTERNAL` in the head.
    GrpcInternal,
    /// gRPC status `RESOURCE_EXHAUSTED` in the head.
    GrpcResourceExhausted,
    /// gRPC status `UNAVAILABLE` in the head.
    GrpcUnavailable,
}

/// A set of [`Condition`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions(u32);

impl Conditions {
    /// Reads Envoy's comma-separated `retry_on`; words that Envoy does not know are returned.
    pub fn parse(text: &str) -> (Self, Vec<&str>) {
        let mut conditions = Self::default();
        let mut unknown = Vec::new();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match CONDITIONS.iter().find(|(name, _)| *name == word) {
                Some((_, condition)) => conditions.insert(*condition),
                None if IGNORED.contains(&word) => {}
                None => unknown.push(word),
            }
        }
        (conditions, unknown)
    }

    /// Adds `condition`.
    pub const fn insert(&mut self, condition: Condition) {
        self.0 |= 1 << condition as u8;
    }

    /// Whether `condition` is in it.
    pub const fn contains(self, condition: Condition) -> bool {
        self.0 & (1 << condition as u8) != 0
    }
}

impl RetryPolicy {
    /// Whether `response` asks for another try.
    pub fn wants_after_response(&self, response: &Response) -> bool {
        let status = response.status.as_u16();
        let on = self.on;
        if on.contains(Condition::ServerError) && response.status.is_server_error()
            || on.contains(Condition::GatewayError) && matches!(status, 502..=504)
            || on.contains(Condition::Conflict) && response.status == StatusCode::CONFLICT
            || on.contains(Condition::RetriableStatus) && self.statuses.contains(&status)
        {
            return true;
        }
        if on.contains(Condition::RetriableHeaders)
            && self
                .headers
                .iter()
                .any(|name| response.headers.contains(name))
        {
            return true;
        }
        let Some(code) = response
            .headers
            .text(&GRPC_STATUS)
            .and_then(|code| code.parse::<u8>().ok())
        else {
            return false;
        };
        GRPC_CODES
            .iter()
            .any(|(condition, value)| *value == code && on.contains(*condition))
    }

    /// Whether `error` asks for another try; `sent` says whether a byte of the request had left.
    pub fn wants_after_error(&self, error: &Error, sent: bool) -> bool {
        let on = self.on;
        match error {
            Error::Connect { .. } | Error::ConnectTimeout | Error::Tls { .. } => {
                on.contains(Condition::ConnectFailure)
                    || on.contains(Condition::ServerError)
                    || on.contains(Condition::GatewayError)
                    || on.contains(Condition::Reset)
                    || on.contains(Condition::ResetBeforeRequest)
            }
            Error::UpstreamReset { unprocessed, .. } => {
                on.contains(Condition::ServerError)
                    || on.contains(Condition::GatewayError)
                    || on.contains(Condition::Reset)
                    || *unprocessed && on.contains(Condition::RefusedStream)
                    || (!sent || *unprocessed) && on.contains(Condition::ResetBeforeRequest)
            }
            Error::TryTimeout | Error::UpstreamProtocol(_) => {
                on.contains(Condition::ServerError)
                    || on.contains(Condition::GatewayError)
                    || on.contains(Condition::Reset)
            }
            // An open breaker is answered, never tried again: more load is what it guards against.
            _ => false,
        }
    }

    /// Whether the request asks for its own conditions in `x-envoy-retry-on` is for the front to decide;
    /// this is the wait before try `number` (from 1), `random` being uniform in 0..1.
    pub fn wait(&self, number: u32, random: f64) -> Duration {
        // Envoy: uniform in [0, (2^n − 1) · base), at most `max`.
        let steps = 2_f64.powi(i32::try_from(number.min(30)).unwrap_or(30)) - 1.0;
        let ceiling = self.back_off.base.mul_f64(steps).min(self.back_off.max);
        ceiling.mul_f64(random)
    }

    /// Whether a request may be repeated at all: a tunnel may not.
    pub fn is_repeatable(request: &Request) -> bool {
        request.method != http::Method::CONNECT
    }
}

impl Default for BackOff {
    /// Envoy's 25 ms base and 250 ms ceiling.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(25),
            max: Duration::from_millis(250),
        }
    }
}

/// Envoy's words.
const CONDITIONS: [(&str, Condition); 14] = [
    ("5xx", Condition::ServerError),
    ("gateway-error", Condition::GatewayError),
    ("reset", Condition::Reset),
    ("reset-before-request", Condition::ResetBeforeRequest),
    ("connect-failure", Condition::ConnectFailure),
    ("refused-stream", Condition::RefusedStream),
    ("retriable-4xx", Condition::Conflict),
    ("retriable-status-codes", Condition::RetriableStatus),
    ("retriable-headers", Condition::RetriableHeaders),
    ("cancelled", Condition::GrpcCancelled),
    ("deadline-exceeded", Condition::GrpcDeadlineExceeded),
    ("internal", Condition::GrpcInternal),
    ("resource-exhausted", Condition::GrpcResourceExhausted),
    ("unavailable", Condition::GrpcUnavailable),
];

/// Words of features that cannot occur here: rate limiting by Envoy's global service, and HTTP/3.
const IGNORED: [&str; 2] = ["envoy-ratelimited", "http3-post-connect-failure"];

/// RFC-less, from the gRPC core list of codes.
const GRPC_CODES: [(Condition, u8); 5] = [
    (Condition::GrpcCancelled, 1),
    (Condition::GrpcDeadlineExceeded, 4),
    (Condition::GrpcResourceExhausted, 8),
    (Condition::GrpcInternal, 13),
    (Condition::GrpcUnavailable, 14),
];

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on: &str) -> RetryPolicy {
        RetryPolicy {
            on: Conditions::parse(on).0,
            statuses: SmallVec::from_slice(&[503]),
            ..RetryPolicy::default()
        }
    }

    #[test]
    fn responses_by_condition() {
        let table = [
            ("5xx", 500, true),
            ("5xx", 499, false),
            ("gateway-error", 500, false),
            ("gateway-error", 502, true),
            ("retriable-4xx", 409, true),
            ("retriable-status-codes", 503, true),
            ("retriable-status-codes", 500, false),
            ("connect-failure", 503, false),
        ];
        for (on, status, expected) in table {
            let response = Response::new(StatusCode::from_u16(status).unwrap());
            assert_eq!(
                policy(on).wants_after_response(&response),
                expected,
                "{on} {status}"
            );
        }
    }

    #[test]
    fn errors_by_condition() {
        let reset = |unprocessed| Error::UpstreamReset {
            reset: super::super::Reset::Connection,
            reason: "".into(),
            unprocessed,
        };
        let refused = Error::Connect { reason: "".into() };
        let overflow = Error::Overflow { resource: "" };
        let table = [
            ("connect-failure", &refused, false, true),
            ("refused-stream", &refused, false, false),
            ("reset", &reset(false), true, true),
            ("reset-before-request", &reset(false), true, false),
            ("reset-before-request", &reset(false), false, true),
            ("refused-stream", &reset(true), true, true),
            ("refused-stream", &reset(false), true, false),
            ("5xx", &overflow, false, false),
        ];
        for (on, error, sent, expected) in table {
            assert_eq!(
                policy(on).wants_after_error(error, sent),
                expected,
                "{on} {error}"
            );
        }
    }

    #[test]
    fn waits_grow_and_are_capped() {
        let policy = policy("5xx");
        assert_eq!(policy.wait(1, 1.0), Duration::from_millis(25));
        assert_eq!(policy.wait(2, 1.0), Duration::from_millis(75));
        assert_eq!(policy.wait(9, 1.0), Duration::from_millis(250));
        assert_eq!(policy.wait(9, 0.0), Duration::ZERO);
    }

    #[test]
    fn unknown_words_are_named() {
        assert_eq!(Conditions::parse("5xx, nonsense").1, ["nonsense"]);
    }
}
