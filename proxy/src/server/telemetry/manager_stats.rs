//! What connection managers count.

use std::sync::Arc;

use carbyne_engine::observe::metrics::{Counter, Gauge, Histogram};

use crate::observe::stats::Registry;
use crate::observe::trace::decision::Reasons;

/// What a connection manager counts, by Envoy's names.
#[derive(Debug)]
pub struct ManagerStats {
    /// `downstream_cx_total`
    pub connections: Counter,
    /// `downstream_cx_active`
    pub connected: Gauge,
    /// `downstream_cx_ssl_total`
    pub secure_connections: Counter,
    /// `downstream_rq_total`
    pub requests: Counter,
    /// `downstream_rq_http2_total`
    pub http2_requests: Counter,
    /// `downstream_rq_active`
    pub active: Gauge,
    /// `downstream_rq_1xx` to `downstream_rq_5xx`
    pub by_class: [Counter; 5],
    /// `downstream_cx_protocol_error`
    pub protocol_errors: Counter,
    /// `downstream_rq_overload_close`
    pub overloaded: Counter,
    /// `downstream_rq_rx_reset`
    pub resets: Counter,
    /// `downstream_rq_idle_timeout`
    pub idle: Counter,
    /// `no_route`
    pub no_route: Counter,
    /// `no_cluster`
    pub no_cluster: Counter,
    /// `rq_direct_response`
    pub direct: Counter,
    /// `rq_total`: requests that went to a cluster.
    pub routed: Counter,
    /// `downstream_rq_time`
    pub request_time: Histogram,
    /// `downstream_cx_length_ms`
    pub connection_length: Histogram,
    /// `tracing.*`
    pub tracing: Arc<Reasons>,
}

impl ManagerStats {
    pub(super) fn new(prefix: &str, registry: &Registry) -> Self {
        let histogram = |name: &str| {
            let bounds = registry.rules().bounds(&format!("http.{prefix}.{name}"));
            Histogram::new(bounds)
        };
        Self {
            connections: Counter::new(),
            connected: Gauge::default(),
            secure_connections: Counter::new(),
            requests: Counter::new(),
            http2_requests: Counter::new(),
            active: Gauge::default(),
            by_class: Default::default(),
            protocol_errors: Counter::new(),
            overloaded: Counter::new(),
            resets: Counter::new(),
            idle: Counter::new(),
            tracing: Arc::default(),
            no_route: Counter::new(),
            no_cluster: Counter::new(),
            direct: Counter::new(),
            routed: Counter::new(),
            request_time: histogram("downstream_rq_time"),
            connection_length: histogram("downstream_cx_length_ms"),
        }
    }
}
