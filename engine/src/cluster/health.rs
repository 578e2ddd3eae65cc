//! Active health checks, sans-io: when to check a host next, and what an outcome means. Whoever drives it makes the connection and
//! reports the outcome. Rules of Envoy's documentation ("Health checking").

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One kind of check on every host of a cluster. Defaults are Envoy's.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheckSettings {
    /// How long a check may take before it counts as a network failure.
    pub timeout: Duration,
    /// Time between checks.
    pub interval: Duration,
    /// Upper bound of a random wait before the first check.
    pub initial_jitter: Duration,
    /// Upper bound of a random addition to every wait.
    pub interval_jitter: Duration,
    /// The same in percent of the wait.
    pub interval_jitter_percent: u32,
    /// Failures in a row after which a host is unhealthy.
    pub unhealthy_threshold: u32,
    /// Successes in a row after which a host is healthy again; the first check of all decides alone.
    pub healthy_threshold: u32,
    /// Time between checks while the cluster has never had a connection (60 s).
    pub no_traffic_interval: Duration,
    /// The same for hosts that are healthy.
    pub no_traffic_healthy_interval: Option<Duration>,
    /// Time between checks of unhealthy hosts.
    pub unhealthy_interval: Option<Duration>,
    /// Time between checks while a healthy host fails, until it is unhealthy.
    pub unhealthy_edge_interval: Option<Duration>,
    /// Time between checks while an unhealthy host succeeds, until it is healthy.
    pub healthy_edge_interval: Option<Duration>,
    /// Keep the connection from check to check (true).
    pub reuse_connection: bool,
    /// The transport of checks, if not that of the host: index into the cluster's transports.
    pub transport: Option<u16>,
    /// Another port than the host's.
    pub port: Option<u16>,
    /// What is sent, and what is expected.
    pub probe: Probe,
}

/// What a check sends, and what it expects.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// A request over HTTP.
    Http(HttpProbe),
    /// Bytes over TCP; without any, a connection is enough.
    Tcp {
        /// Sent at once.
        send: Vec<u8>,
        /// Found in the answer, in this order, anything between them.
        receive: Vec<Vec<u8>>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service asked for; empty for the server.
        service: Arc<str>,
        /// The `:authority`; empty for the cluster's name.
        authority: Arc<str>,
    },
}

/// A request whose answer tells the health.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProbe {
    /// The method.
    pub method: http::Method,
    /// `Host`; empty for the cluster's name.
    pub host: Arc<str>,
    /// Path and query.
    pub path: Arc<str>,
    /// Fields added.
    pub headers: http::HeaderMap,
    /// Statuses that mean success (200 only).
    pub expected: Vec<Range<u16>>,
    /// Statuses that count towards the unhealthy threshold, instead of failing at once.
    pub retriable: Vec<Range<u16>>,
    /// Over HTTP/2.
    pub http2: bool,
}

/// What a check brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOutcome {
    /// As expected.
    Success,
    /// As expected, but the host calls itself degraded (`x-envoy-degraded`).
    Degraded,
    /// The host answered, and not as expected: unhealthy at once.
    Unexpected,
    /// The host answered with something that may be repeated: counts towards the threshold.
    Retriable,
    /// No connection, or it broke.
    Network,
    /// Nothing in time.
    Timeout,
}

/// What a check changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Nothing.
    Unchanged,
    /// It goes on in the new direction, but is not there yet.
    Pending,
    /// The host is healthy now.
    BecameHealthy,
    /// The host is unhealthy now.
    BecameUnhealthy,
    /// Healthy as before, but degraded now, or no longer.
    DegradedChanged,
}

/// The checks of one kind on one host.
#[derive(Debug)]
pub struct Checker {
    settings: Arc<HealthCheckSettings>,
    random: fastrand::Rng,
    due: Instant,
    first: bool,
    healthy: bool,
    degraded: bool,
    timed_out: bool,
    successes: u32,
    failures: u32,
}

impl Checker {
    /// Checks of a host that counts as unhealthy until the first says otherwise; it is due within the initial jitter.
    #[must_use]
    pub fn new(settings: Arc<HealthCheckSettings>, now: Instant, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let due = now + up_to(settings.initial_jitter, &mut random);
        Self {
            settings,
            random,
            due,
            first: true,
            healthy: false,
            degraded: false,
            timed_out: false,
            successes: 0,
            failures: 0,
        }
    }

    /// When the next check is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// How to check.
    #[must_use]
    pub fn settings(&self) -> &Arc<HealthCheckSettings> {
        &self.settings
    }

    /// Whether the host is healthy as far as these checks go.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// Whether the host called itself degraded.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// Whether the last check timed out.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.timed_out
    }

    /// Takes the outcome of the check that was due and plans the next one. `had_traffic`: the cluster ever had a connection.
    pub fn next(&mut self, now: Instant, outcome: CheckOutcome, had_traffic: bool) -> Transition {
        self.timed_out = outcome == CheckOutcome::Timeout;
        let succeeded = matches!(outcome, CheckOutcome::Success | CheckOutcome::Degraded);
        let transition = if succeeded {
            self.succeed(outcome == CheckOutcome::Degraded)
        } else {
            self.fail(outcome)
        };
        self.first = false;
        self.due = now + self.wait(succeeded, transition, had_traffic);
        transition
    }

    fn succeed(&mut self, degraded: bool) -> Transition {
        self.failures = 0;
        let was_degraded = std::mem::replace(&mut self.degraded, degraded);
        if self.healthy {
            return if degraded == was_degraded {
                Transition::Unchanged
            } else {
                Transition::DegradedChanged
            };
        }
        self.successes = self.successes.saturating_add(1);
        if self.first || self.successes >= self.settings.healthy_threshold {
            self.healthy = true;
            return Transition::BecameHealthy;
        }
        Transition::Pending
    }

    fn fail(&mut self, outcome: CheckOutcome) -> Transition {
        self.successes = 0;
        if !self.healthy {
            return Transition::Unchanged;
        }
        self.failures = self.failures.saturating_add(1);
        if outcome == CheckOutcome::Unexpected || self.failures >= self.settings.unhealthy_threshold
        {
            self.healthy = false;
            return Transition::BecameUnhealthy;
        }
        Transition::Pending
    }

    fn wait(&mut self, succeeded: bool, transition: Transition, had_traffic: bool) -> Duration {
        let settings = &self.settings;
        let unhealthy = settings.unhealthy_interval.unwrap_or(settings.interval);
        let base = match (had_traffic, succeeded, transition) {
            (false, true, transition) if transition != Transition::Pending => settings
                .no_traffic_healthy_interval
                .unwrap_or(settings.no_traffic_interval),
            (false, _, _) => settings.no_traffic_interval,
            (true, true, Transition::Pending) => {
                settings.healthy_edge_interval.unwrap_or(settings.interval)
            }
            (true, true, _) => settings.interval,
            (true, false, Transition::Pending) => {
                settings.unhealthy_edge_interval.unwrap_or(unhealthy)
            }
            (true, false, _) => unhealthy,
        };
        let percent = base * settings.interval_jitter_percent / 100;
        let wait = base
            + up_to(percent, &mut self.random)
            + up_to(settings.interval_jitter, &mut self.random);
        wait.max(LEAST_WAIT)
    }
}

impl HttpProbe {
    /// What an answer with this status means.
    #[must_use]
    pub fn judge(&self, status: u16, degraded: bool) -> CheckOutcome {
        let within = |ranges: &[Range<u16>]| ranges.iter().any(|range| range.contains(&status));
        let expected = if self.expected.is_empty() {
            status == 200
        } else {
            within(&self.expected)
        };
        match (expected, degraded) {
            (true, true) => CheckOutcome::Degraded,
            (true, false) => CheckOutcome::Success,
            (false, _) if within(&self.retriable) => CheckOutcome::Retriable,
            (false, _) => CheckOutcome::Unexpected,
        }
    }
}

/// The framed message of `grpc.health.v1.Health/Check` for a service.
#[must_use]
pub fn grpc_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, length-delimited.
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(
        &u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    framed.append(&mut message);
    framed
}

/// Whether a framed `HealthCheckResponse` says SERVING. It has one field, an enumeration; what else may come in time is passed over.
#[must_use]
pub fn grpc_serves(framed: &[u8]) -> bool {
    let Some((&[0, a, b, c, d], message)) = framed.split_first_chunk::<5>() else {
        return false;
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let Some(mut rest) = message.get(..length) else {
        return false;
    };
    let mut status = 0;
    while let Some(tag) = varint(&mut rest) {
        let skipped = match tag & 7 {
            0 => match varint(&mut rest) {
                Some(value) => {
                    if tag >> 3 == 1 {
                        status = value;
                    }
                    0
                }
                None => return false,
            },
            1 => 8,
            2 => match varint(&mut rest).and_then(|length| usize::try_from(length).ok()) {
                Some(length) => length,
                None => return false,
            },
            5 => 4,
            _ => return false,
        };
        match rest.get(skipped..) {
            Some(left) => rest = left,
            None => return false,
        }
    }
    status == SERVING
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

const SERVING: u64 = 1;

/// Whether `received` holds the `expected` pieces in order, anything between them.
#[must_use]
pub fn tcp_matches(expected: &[Vec<u8>], received: &[u8]) -> bool {
    let mut rest = received;
    expected.iter().all(|piece| {
        let found = memchr::memmem::find(rest, piece);
        if let Some(at) = found {
            rest = rest.get(at + piece.len()..).unwrap_or_default();
        }
        found.is_some()
    })
}

impl Default for HealthCheckSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(5),
            initial_jitter: Duration::ZERO,
            interval_jitter: Duration::ZERO,
            interval_jitter_percent: 0,
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            no_traffic_interval: Duration::from_secs(60),
            no_traffic_healthy_interval: None,
            unhealthy_interval: None,
            unhealthy_edge_interval: None,
            healthy_edge_interval: None,
            reuse_connection: true,
            transport: None,
            port: None,
            probe: Probe::Tcp {
                send: Vec::new(),
                receive: Vec::new(),
            },
        }
    }
}

/// No check follows another without a pause, whatever the settings.
const LEAST_WAIT: Duration = Duration::from_millis(1);

fn up_to(bound: Duration, random: &mut fastrand::Rng) -> Duration {
    bound.mul_f64(random.f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckOutcome::{Degraded, Network, Retriable, Success, Timeout, Unexpected};
    use Transition::{BecameHealthy, BecameUnhealthy, DegradedChanged, Pending, Unchanged};

    fn checker(settings: HealthCheckSettings) -> (Checker, Instant) {
        let now = Instant::now();
        (Checker::new(Arc::new(settings), now, 1), now)
    }

    #[test]
    fn thresholds_decide_except_for_the_first_check_and_plain_answers() {
        let cases: &[&[(CheckOutcome, Transition)]] = &[
            // The first success is enough; later ones are not.
            &[
                (Success, BecameHealthy),
                (Unexpected, BecameUnhealthy),
                (Success, Pending),
                (Success, BecameHealthy),
            ],
            // The first failure confirms what was assumed, and then the threshold of 2 counts.
            &[
                (Network, Unchanged),
                (Success, Pending),
                (Network, Unchanged),
                (Success, Pending),
                (Success, BecameHealthy),
            ],
            // Network failures, timeouts and retriable answers count towards 3; a success begins anew.
            &[
                (Success, BecameHealthy),
                (Network, Pending),
                (Timeout, Pending),
                (Success, Unchanged),
                (Retriable, Pending),
                (Network, Pending),
                (Timeout, BecameUnhealthy),
                (Timeout, Unchanged),
            ],
            &[
                (Degraded, BecameHealthy),
                (Degraded, Unchanged),
                (Success, DegradedChanged),
                (Degraded, DegradedChanged),
            ],
        ];
        for steps in cases {
            let (mut checker, mut now) = checker(HealthCheckSettings::default());
            for (step, (outcome, expected)) in steps.iter().enumerate() {
                now = checker.due();
                assert_eq!(
                    checker.next(now, *outcome, true),
                    *expected,
                    "step {step} of {steps:?}"
                );
                assert_eq!(checker.is_timed_out(), *outcome == Timeout);
            }
            assert!(checker.due() > now);
        }
    }

    #[test]
    fn waits_depend_on_state_and_traffic() {
        let seconds = Duration::from_secs;
        let settings = HealthCheckSettings {
            interval: seconds(1),
            no_traffic_interval: seconds(60),
            no_traffic_healthy_interval: Some(seconds(50)),
            unhealthy_interval: Some(seconds(2)),
            unhealthy_edge_interval: Some(seconds(3)),
            healthy_edge_interval: Some(seconds(4)),
            ..HealthCheckSettings::default()
        };
        // (outcomes, traffic) → the wait after the last
        let cases: &[(&[CheckOutcome], bool, u64)] = &[
            (&[Success], true, 1),
            (&[Success, Success], true, 1),
            (&[Success, Network], true, 3),
            (&[Success, Network, Network, Network], true, 2),
            (&[Network, Network], true, 2),
            (&[Network, Success], true, 4),
            (&[Network, Success, Success], true, 1),
            (&[Success], false, 50),
            (&[Network], false, 60),
        ];
        for (outcomes, had_traffic, wait) in cases {
            let (mut checker, now) = checker(settings.clone());
            assert_eq!(checker.due(), now);
            for outcome in *outcomes {
                checker.next(now, *outcome, *had_traffic);
            }
            assert_eq!(
                checker.due() - now,
                seconds(*wait),
                "{outcomes:?} {had_traffic}"
            );
        }
    }

    #[test]
    fn jitter_only_adds() {
        let settings = HealthCheckSettings {
            initial_jitter: Duration::from_secs(5),
            interval_jitter: Duration::from_secs(1),
            interval_jitter_percent: 10,
            ..HealthCheckSettings::default()
        };
        for seed in 0..50 {
            let now = Instant::now();
            let mut checker = Checker::new(Arc::new(settings.clone()), now, seed);
            assert!(checker.due() - now <= Duration::from_secs(5));
            checker.next(now, Success, true);
            let wait = checker.due() - now;
            assert!(
                wait >= Duration::from_secs(5) && wait <= Duration::from_millis(6500),
                "{wait:?}"
            );
        }
    }

    #[test]
    fn statuses_are_judged_by_ranges() {
        let probe = |expected: Vec<Range<u16>>, retriable: Vec<Range<u16>>| HttpProbe {
            method: http::Method::GET,
            host: Arc::from(""),
            path: Arc::from("/"),
            headers: http::HeaderMap::new(),
            expected,
            retriable,
            http2: false,
        };
        let plain = probe(Vec::new(), Vec::new());
        let ranged = probe(
            vec![200..201, 300..400],
            std::iter::once(500..504).collect(),
        );
        // (probe, status, degraded) → outcome
        let cases = [
            (&plain, 200, false, Success),
            (&plain, 201, false, Unexpected),
            (&plain, 200, true, Degraded),
            (&ranged, 399, false, Success),
            (&ranged, 400, false, Unexpected),
            (&ranged, 503, false, Retriable),
            (&ranged, 504, true, Unexpected),
        ];
        for (probe, status, degraded, expected) in cases {
            assert_eq!(
                probe.judge(status, degraded),
                expected,
                "{status} {degraded}"
            );
        }
    }

    #[test]
    fn grpc_messages_are_those_of_the_health_service() {
        assert_eq!(grpc_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(grpc_request("ab"), *b"\0\0\0\0\x04\x0a\x02ab");
        assert_eq!(grpc_request(&"x".repeat(200))[5..8], [0x0a, 0xc8, 0x01]);
        let cases: [(&[u8], bool); 8] = [
            (b"\0\0\0\0\x02\x08\x01", true),
            (b"\0\0\0\0\x02\x08\x02", false),
            (b"\0\0\0\0\0", false),
            (b"", false),
            (b"\x01\0\0\0\x02\x08\x01", false),
            (b"\0\0\0\0\x03\x08\x01", false),
            // A field of tomorrow before it, and one behind.
            (b"\0\0\0\0\x08\x12\x01x\x08\x01\x1d\0\0", false),
            (b"\0\0\0\0\x0a\x12\x01x\x08\x01\x1d\0\0\0\0", true),
        ];
        for (framed, serves) in cases {
            assert_eq!(grpc_serves(framed), serves, "{framed:?}");
        }
    }

    #[test]
    fn received_bytes_match_in_order() {
        let pieces = |texts: &[&str]| -> Vec<Vec<u8>> {
            texts.iter().map(|text| text.as_bytes().to_vec()).collect()
        };
        let cases: &[(&[&str], &str, bool)] = &[
            (&[], "", true),
            (&["PONG"], "+PONG\r\n", true),
            (&["a", "b"], "xxaxxbxx", true),
            (&["b", "a"], "xxaxxbxx", false),
            (&["aa", "aa"], "aaa", false),
            (&["a"], "", false),
        ];
        for (expected, received, matches) in cases {
            assert_eq!(
                tcp_matches(&pieces(expected), received.as_bytes()),
                *matches,
                "{expected:?} {received}"
            );
        }
    }
}
