//! Spans: which requests are traced, what is told of them, and to whom.
//!
//! | file | what it holds |
//! |---|---|
//! | [`decision`] | whether a request is traced, and how its id says so |
//! | [`context`] | whose trace a request belongs to, read from its fields and told on: W3C `traceparent`, B3 |
//! | [`sampler`] | samplers of OpenTelemetry |
//! | [`tag`] | custom tags |
//! | [`span`] | the span of a request while it is under way |
//! | [`tracer`] | the tracing of one connection manager |
//! | [`record`] | a span that ended: its tags in Envoy's words |
//! | [`otlp`], [`zipkin`] | records in the words of collectors |
//! | [`exporter`] | from the workers to a collector |

pub mod context;
pub mod decision;
pub mod exporter;
pub mod otlp;
pub mod record;
pub mod sampler;
pub mod span;
pub mod tag;
pub mod tracer;
pub mod zipkin;

pub use self::context::SpanContext;
pub use self::span::Span;
pub use self::tracer::Tracer;
