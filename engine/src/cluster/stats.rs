//! Counters and gauges of one cluster, named and meant as Envoy's cluster statistics
//! (docs: "Cluster statistics", <https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats>).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::observe::metrics::{DEFAULT_BOUNDS, Histogram, HistogramSnapshot};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

/// Whether a statistic is a counter or a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It grows and shrinks.
    Gauge,
}

impl Counter {
    /// Adds `amount`.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum of everything added.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// Adds `amount`.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Subtracts `amount`, which an earlier `add` put in.
    #[inline]
    pub fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The current value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! statistics {
    ($(#[$type_doc:meta])* $name:ident { counters { $($(#[$counter_doc:meta])* $counter:ident,)* } gauges { $($(#[$gauge_doc:meta])* $gauge:ident,)* } }) => {
        $(#[$type_doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$counter_doc])* pub $counter: Counter,)*
            $($(#[$gauge_doc])* pub $gauge: Gauge,)*
        }

        impl $name {
            /// Calls `each` with the name (Envoy's, without prefix), the kind and the value of every statistic.
            pub fn visit(&self, mut each: impl FnMut(&'static str, Kind, u64)) {
                $(each(stringify!($counter), Kind::Counter, self.$counter.value());)*
                $(each(stringify!($gauge), Kind::Gauge, self.$gauge.value());)*
            }
        }
    };
}

statistics! {
    /// The statistics of one cluster, without the `cluster.<name>.` prefix.
    Stats {
        counters {
            /// Connections opened.
            upstream_cx_total,
            /// Connections that spoke HTTP/1.
            upstream_cx_http1_total,
            /// Connections that spoke HTTP/2.
            upstream_cx_http2_total,
            /// Connections that could not be established.
            upstream_cx_connect_fail,
            /// Connections that ran into the connect timeout.
            upstream_cx_connect_timeout,
            /// Connections closed for being idle.
            upstream_cx_idle_timeout,
            /// Connections closed at their maximum duration.
            upstream_cx_max_duration_reached,
            /// Connections closed at their maximum number of requests.
            upstream_cx_max_requests,
            /// Times the connection breaker was open.
            upstream_cx_overflow,
            /// Connection attempts that were retried after a failure within one request.
            upstream_cx_connect_attempts_exceeded,
            /// Connections closed, whoever did it.
            upstream_cx_destroy,
            /// Connections closed by this side.
            upstream_cx_destroy_local,
            /// Connections closed by the other side.
            upstream_cx_destroy_remote,
            /// Connections closed with requests on them.
            upstream_cx_destroy_with_active_rq,
            /// Connections closed by this side with requests on them.
            upstream_cx_destroy_local_with_active_rq,
            /// Connections closed by the other side with requests on them.
            upstream_cx_destroy_remote_with_active_rq,
            /// Connections closed because HTTP/1 asked for it.
            upstream_cx_close_notify,
            /// Connections closed for a protocol error of the other side.
            upstream_cx_protocol_error,
            /// Bytes received.
            upstream_cx_rx_bytes_total,
            /// Bytes sent.
            upstream_cx_tx_bytes_total,
            /// Times no connection could be had for a TCP stream because no host was healthy, or for lack of a host.
            upstream_cx_none_healthy,
            /// Requests sent.
            upstream_rq_total,
            /// Requests that waited for a connection.
            upstream_rq_pending_total,
            /// Requests refused because the pending or request breaker was open.
            upstream_rq_pending_overflow,
            /// Requests that failed because no connection could be established.
            upstream_rq_pending_failure_eject,
            /// Requests cancelled before a connection was had.
            upstream_rq_cancelled,
            /// Requests that waited longer than the maintenance allows, answered by maintenance mode.
            upstream_rq_maintenance_mode,
            /// Requests that ran into the route's timeout.
            upstream_rq_timeout,
            /// Requests that ran into the maximum stream duration.
            upstream_rq_max_duration_reached,
            /// Tries that ran into the per-try timeout.
            upstream_rq_per_try_timeout,
            /// Tries that ran into the per-try idle timeout.
            upstream_rq_per_try_idle_timeout,
            /// Requests reset by the other side.
            upstream_rq_rx_reset,
            /// Requests reset by this side.
            upstream_rq_tx_reset,
            /// Retries.
            upstream_rq_retry,
            /// Retries after exponential back-off.
            upstream_rq_retry_backoff_exponential,
            /// Retries after the wait that a response header asked for.
            upstream_rq_retry_backoff_ratelimited,
            /// Requests that were not retried because the retry limit was reached.
            upstream_rq_retry_limit_exceeded,
            /// Retries that succeeded.
            upstream_rq_retry_success,
            /// Requests that were not retried because the breaker or the budget was exhausted.
            upstream_rq_retry_overflow,
            /// Internal redirects that failed.
            upstream_internal_redirect_failed_total,
            /// Internal redirects that succeeded.
            upstream_internal_redirect_succeeded_total,
            /// Flow control paused reading from the other side.
            upstream_flow_control_paused_reading_total,
            /// Flow control resumed reading from the other side.
            upstream_flow_control_resumed_reading_total,
            /// Times the connection count of the binding address ran out.
            bind_errors,
            /// Times hosts were added or removed.
            membership_change,
            /// Picks while a priority was in panic.
            lb_healthy_panic,
            /// Endpoint or DNS updates asked for.
            update_attempt,
            /// Endpoint or DNS updates that changed or confirmed the set.
            update_success,
            /// Endpoint or DNS updates that failed.
            update_failure,
            /// Endpoint or DNS updates that came in empty.
            update_empty,
            /// Endpoint updates that equalled what was there.
            update_no_rebuild,
            /// Updates dropped because the assignment outlived its time.
            assignment_timeout_received,
            /// Assignments that went stale.
            assignment_stale,
            /// Retries of the original-destination host that was not valid.
            original_dst_host_invalid,
        }
        gauges {
            /// Open connections.
            upstream_cx_active,
            /// Bytes buffered from the other side.
            upstream_cx_rx_bytes_buffered,
            /// Bytes buffered to the other side.
            upstream_cx_tx_bytes_buffered,
            /// Requests that wait for a connection.
            upstream_rq_pending_active,
            /// Hosts.
            membership_total,
            /// Healthy hosts (degraded ones not among them).
            membership_healthy,
            /// Degraded hosts.
            membership_degraded,
            /// Hosts that await their first health check.
            membership_excluded,
            /// The largest number of hosts with a fill of the ring or table: entries.
            ring_size,
            /// Fewest hashes of a host on the ring or table.
            min_hashes_per_host,
            /// Most hashes of a host on the ring or table.
            max_hashes_per_host,
        }
    }
}

statistics! {
    /// The statistics of outlier detection, without the `cluster.<name>.outlier_detection.` prefix.
    OutlierStats {
        counters {
            /// Ejections enforced, of every kind.
            ejections_enforced_total,
            /// Ejections that `max_ejection_percent` prevented.
            ejections_overflow,
            /// Enforced for consecutive 5xx.
            ejections_enforced_consecutive_5xx,
            /// Detected (enforced or not) for consecutive 5xx.
            ejections_detected_consecutive_5xx,
            /// Enforced for consecutive gateway failures.
            ejections_enforced_consecutive_gateway_failure,
            /// Detected for consecutive gateway failures.
            ejections_detected_consecutive_gateway_failure,
            /// Enforced for consecutive local-origin failures.
            ejections_enforced_consecutive_local_origin_failure,
            /// Detected for consecutive local-origin failures.
            ejections_detected_consecutive_local_origin_failure,
            /// Enforced for success rate.
            ejections_enforced_success_rate,
            /// Detected for success rate.
            ejections_detected_success_rate,
            /// Enforced for local-origin success rate.
            ejections_enforced_local_origin_success_rate,
            /// Detected for local-origin success rate.
            ejections_detected_local_origin_success_rate,
            /// Enforced for failure percentage.
            ejections_enforced_failure_percentage,
            /// Detected for failure percentage.
            ejections_detected_failure_percentage,
            /// Enforced for local-origin failure percentage.
            ejections_enforced_failure_percentage_local_origin,
            /// Detected for local-origin failure percentage.
            ejections_detected_failure_percentage_local_origin,
            /// Envoy's deprecated sum: consecutive 5xx and success-rate ejections, enforced or not.
            ejections_total,
            /// Envoy's deprecated counter of consecutive 5xx detections.
            ejections_consecutive_5xx,
            /// Envoy's deprecated counter of success-rate detections.
            ejections_success_rate,
        }
        gauges {
            /// Hosts ejected now.
            ejections_active,
        }
    }
}

statistics! {
    /// The statistics of active health checks, without the `cluster.<name>.health_check.` prefix.
    HealthCheckStats {
        counters {
            /// Checks made.
            attempt,
            /// Checks that succeeded.
            success,
            /// Checks that failed, for whatever reason.
            failure,
            /// Failures that traffic noticed (`x-envoy-immediate-health-check-fail`).
            passive_failure,
            /// Failures of the connection, including timeouts.
            network_failure,
            /// Checks that failed to verify the cluster's name.
            verify_cluster,
        }
        gauges {
            /// Hosts that health checking (of every kind) holds for healthy.
            healthy,
            /// Hosts held for degraded.
            degraded,
        }
    }
}

/// Responses by status: one addition a response, from which `upstream_rq_completed`, `upstream_rq_<n>xx` and `upstream_rq_<nnn>` are read.
/// The cells are made for the first response, as most clusters of a mesh never see one.
#[derive(Debug, Default)]
pub struct Responses(OnceLock<Box<[Counter]>>);

/// How long things took, in milliseconds; made when first needed.
#[derive(Debug, Default)]
pub struct Times {
    request: OnceLock<Histogram>,
    connect: OnceLock<Histogram>,
    connection: OnceLock<Histogram>,
}

impl Responses {
    /// Counts one final response.
    #[inline]
    pub fn count(&self, status: u16) {
        let cells = self
            .0
            .get_or_init(|| (0..STATUSES).map(|_| Counter::default()).collect());
        // Beyond 599 there is nothing; the last cell is for what no status should be.
        let index = usize::from(status).wrapping_sub(FIRST_STATUS);
        if let Some(cell) = cells.get(index.min(STATUSES - 1)) {
            cell.add(1);
        }
    }

    /// Shows those of which there was any, with their sums.
    pub fn visit(&self, mut each: impl FnMut(&str, u64)) {
        let Some(cells) = self.0.get() else {
            return;
        };
        let mut completed = 0;
        let mut classes = [0; 5];
        for (index, cell) in cells.iter().enumerate() {
            let count = cell.value();
            if count == 0 {
                continue;
            }
            completed += count;
            if let Some(class) = classes.get_mut(index / 100) {
                *class += count;
                each(&format!("upstream_rq_{}", index + FIRST_STATUS), count);
            }
        }
        each("upstream_rq_completed", completed);
        for (class, count) in classes.iter().enumerate() {
            if *count > 0 {
                each(&format!("upstream_rq_{}xx", class + 1), *count);
            }
        }
    }
}

impl Times {
    /// From the first byte of a request to the last of its response.
    #[inline]
    pub fn request(&self, took: Duration) {
        observe(&self.request, took);
    }

    /// From the first packet to the end of the handshakes.
    pub fn connect(&self, took: Duration) {
        observe(&self.connect, took);
    }

    /// From the connection's beginning to its end.
    pub fn connection(&self, took: Duration) {
        observe(&self.connection, took);
    }

    /// Shows those that were ever observed.
    pub fn visit(&self, mut each: impl FnMut(&'static str, &HistogramSnapshot)) {
        for (name, histogram) in [
            ("upstream_rq_time", &self.request),
            ("upstream_cx_connect_ms", &self.connect),
            ("upstream_cx_length_ms", &self.connection),
        ] {
            if let Some(histogram) = histogram.get() {
                each(name, &histogram.snapshot());
            }
        }
    }
}

fn observe(histogram: &OnceLock<Histogram>, took: Duration) {
    let histogram = histogram.get_or_init(|| Histogram::new(Arc::from(DEFAULT_BOUNDS)));
    histogram.observe_milliseconds(took);
}

const FIRST_STATUS: usize = 100;
const STATUSES: usize = 501;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_by_class() {
        let responses = Responses::default();
        responses.visit(|name, _| panic!("{name} although nobody answered"));
        for status in [100, 200, 200, 204, 302, 404, 503, 599, 600, 0] {
            responses.count(status);
        }
        let mut shown = Vec::new();
        responses.visit(|name, value| {
            shown.push(format!("{}: {value}", name.replace("upstream_rq_", "")));
        });
        let expected = [
            "100: 1",
            "200: 2",
            "204: 1",
            "302: 1",
            "404: 1",
            "503: 1",
            "599: 1",
            "completed: 10",
            "1xx: 1",
            "2xx: 3",
            "3xx: 1",
            "4xx: 1",
            "5xx: 2",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn visit_names_every_statistic_once() {
        let stats = Stats::default();
        stats.upstream_cx_active.set(7);
        let mut names = std::collections::BTreeSet::new();
        let mut active = 0;
        stats.visit(|name, kind, value| {
            assert!(names.insert(name), "{name} twice");
            if name == "upstream_cx_active" {
                assert_eq!(kind, Kind::Gauge);
                active = value;
            }
        });
        assert_eq!(active, 7);
        assert!(names.contains("membership_total"));
    }
}
